"""What `playhead verify` makes of files that are no store: receipts, envelopes, checkpoints and bundles."""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playhead.errors import BadValue, ImportRefused
from playhead_projections.cli.faults import BROKEN, DONE, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.log.checkpoints import Checkpoint
    from playhead.log.evidence import Fault
    from playhead.sign import Keys
    from playhead_projections.cli.session import Session
    from playhead_projections.evidence.checking import Checked

BEGINNINGS: Final = {b"PK": "bundle", b"{": "document", b"playhead.log/": "checkpoint"}
INLINE: Final = "ed25519:"
START_BYTES: Final = 64


def kind_of(path: Path) -> str | None:
    """What kind of evidence a file begins like; None for everything else."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = (
            file.read(START_BYTES).removeprefix(BOM_UTF8).lstrip()
        )  # nobody's way to write it, but no store
    return next((kind for begins, kind in BEGINNINGS.items() if start.startswith(begins)), None)


def keys_of(words: Sequence[str]) -> Keys:
    """Whose keys are whose: of public keys as `key new` prints them, and of keyrings in files."""
    from playhead.sign import fingerprint, keyring

    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        if word.startswith(INLINE):
            found[fingerprint(word)] = (word,)
        elif not word.strip():
            raise Usage("--key names no key.", expected=f"{INLINE}… or a keyring", found=word)
        else:
            for name, keys in keyring(word).items():
                found[name] = (*found.get(name, ()), *keys)
    return found


def verify_file(session: Session, path: Path, kind: str, keys: Keys, *, as_json: bool) -> int:
    """Check a file that is no store, say what is so and what is not, and return the exit code."""
    try:
        found = _checked(path, kind, keys)
        what, faults, said = found
    except (BadValue, ImportRefused) as error:
        what, said = kind, []
        more = [f"expected {error.expected}"] if error.expected is not None else []
        more += [f"found {error.found}"] if error.found is not None else []
        faults = [" ".join([error.message, *([f"({', '.join(more)})"] if more else [])])]
    if as_json:
        body = {"path": str(path), "what": what, "ok": not faults, "said": said, "faults": faults}
        session.out.document("playhead.evidence/1", body)
        return BROKEN if faults else DONE
    out = session.out
    for fault in faults:
        out.line(fault)
    if faults:
        out.line(f"{out.word('no')}: this {what} does not hold")
        return BROKEN
    out.line(f"{out.word('ok')}  {what}")
    for line in said:
        out.line(f"  {line}")
    return DONE


def _checked(path: Path, kind: str, keys: Keys) -> Checked:
    from playhead_projections.cli.checkpointing import checkpoint_in
    from playhead_projections.evidence.bundle import BUNDLE_BYTES_MAX
    from playhead_projections.evidence.checking import check_alone, check_file

    if kind == "checkpoint":
        return check_alone(checkpoint_in(path), keys)
    if path.stat().st_size > BUNDLE_BYTES_MAX:
        raise BadValue(f"{path} is too large to be evidence.", expected=f"at most {BUNDLE_BYTES_MAX:,} bytes")
    data = path.read_bytes()
    if kind == "bundle":
        from playhead_projections.evidence.unpacking import check_bundle

        return check_bundle(data, keys)
    return check_file(data, keys)


def checkpoints_met(store: Path, given: Sequence[Path], keys: Keys) -> tuple[list[Checkpoint], list[Fault]]:
    """The checkpoints beside a store and in files, and what the log or their signatures say against them."""
    from playhead.log.checkpoints import check, fault, look_beside, named
    from playhead.log.reader import LogReader
    from playhead_projections.cli.checkpointing import checkpoint_in

    beside = look_beside(store)
    try:
        every = [*beside.checkpoints, *(checkpoint_in(path) for path in given)]
    except BadValue as error:
        raise Usage(f"--checkpoint: {error.message}", expected=error.expected, found=error.found) from error
    faults = [fault(sentence) for sentence in beside.faults]
    if every:
        with LogReader(store) as log:
            faults += check(log, every)
    if keys:
        unknown = [one for one in every if not one.signer(keys)]
        faults += (fault(f"{named(one)} is signed with none of the keys.") for one in unknown)
    return every, faults
