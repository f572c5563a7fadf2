"""`playhead verify`: nothing was edited, lost, moved or put in, and what to keep to prove it later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from playhead.errors import Corrupt, NotFound, StoreError
from playhead_projections.cli.faults import BROKEN, DONE, Usage
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command, json_option, refuse_directory

if TYPE_CHECKING:
    from playhead.log.evidence import Expectation, Verification
    from playhead.sign import Keys

ANCHORS_SHOWN = 10
GAPS_SHOWN = 20
RESTORE = "Restore a backup."  # whoever verifies need not be told to verify


@command("verify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--expect",
    multiple=True,
    metavar="RUN@SEQ:DIGEST",
    help="An anchor kept elsewhere; several may be given.",
)
@click.option(
    "--checkpoint",
    "given",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A checkpoint that was kept; several may be given. Those beside the store are met as well.",
)
@click.option(
    "--key",
    "key_words",
    multiple=True,
    metavar="KEY",
    help="A public key, or a keyring: then what is signed has to be signed with one of them.",
)
@click.option("--all", "everything", is_flag=True, help="Print every anchor.")
@json_option
def verify(
    session: Session,
    *,
    file: Path | None,
    expect: tuple[str, ...],
    given: tuple[Path, ...],
    key_words: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> int:
    """Check FILE, or the store, against itself, its anchors, its checkpoints and --expect.

    FILE may also be a receipt, an envelope, a checkpoint or a bundle. Exit code 4 where it is broken.
    """
    from playhead.log.verify import verify as check
    from playhead_projections.cli.verifying_files import keys_of, kind_of, verify_file

    keys = keys_of(key_words)
    if file is not None and (kind := kind_of(file)) is not None:
        if expect or given:
            raise Usage("--expect and --checkpoint are about a store.", found=str(file))
        return verify_file(session, file, kind, keys, as_json=as_json)
    path = file or session.store
    if not path.exists():
        raise NotFound(f"there is no store at {path}.")
    refuse_directory(path)
    result = check(path, expect=[_expectation(path, text) for text in expect])
    result, met = _checkpoints(path, given, keys, result)
    if as_json:
        body: dict[str, Any] = {
            "path": str(path),
            "ok": result.ok,
            "events": result.events,
            "streams": result.streams,
            "erased": result.erased,
            "erasures": _gaps(path, result.erased),
            "anchors": [str(end) for end in result.ends],
            "store_anchor": str(result.store),
            "checkpoints": met,
            "faults": [
                {**fault._asdict(), "sentence": fault.sentence.replace(Corrupt.next_step, RESTORE)}
                for fault in result.faults
            ],
            "faults_unlisted": result.faults_unlisted,
        }
        session.out.document("playhead.verification/1", body)
        return DONE if result.ok else BROKEN
    _print(session, path, result, met, everything=everything)
    return DONE if result.ok else BROKEN


def _print(session: Session, path: Path, result: Verification, met: int, *, everything: bool) -> None:
    out = session.out
    for fault in result.faults:
        out.line(str(fault).replace(Corrupt.next_step, RESTORE))
    if result.faults_unlisted:
        out.line(f"… and {result.faults_unlisted:,} faults more, which are only counted")
    total = len(result.faults) + result.faults_unlisted
    verdict = (
        out.word("ok") if result.ok else out.word("no") + f": {total:,} {'fault' if total == 1 else 'faults'}"
    )
    erased = f", {count(result.erased, 'payload')} erased" if result.erased else ""
    out.line(f"{verdict}  {count(result.events, 'event')} in {count(result.streams, 'stream')}{erased}")
    if result.ok and met:
        out.line(f"    what {count(met, 'checkpoint')} say{'s' if met == 1 else ''} of it is so")
    gaps = _gaps(path, result.erased)
    for gap in gaps if everything else gaps[:GAPS_SHOWN]:
        out.line(gap["words"])
    if len(gaps) > GAPS_SHOWN and not everything:
        out.line(f"… and {len(gaps) - GAPS_SHOWN:,} more: --all")
    if result.ok:
        out.line(f"\nkeep elsewhere, for --expect:\n  {result.store}")
        listed = result.ends if everything else result.ends[-ANCHORS_SHOWN:]
        for end in listed:
            out.line(f"  {end}")
        if len(listed) < len(result.ends):
            out.line(f"  … {len(result.ends) - len(listed):,} more: --all")


def _checkpoints(
    path: Path, given: tuple[Path, ...], keys: Keys, result: Verification
) -> tuple[Verification, int]:
    """The same, with what checkpoints say against the log; and how many there are."""
    from playhead.log.checkpoints import fault
    from playhead_projections.cli.verifying_files import checkpoints_met

    try:
        met, faults = checkpoints_met(path, given, keys)
    except StoreError as error:
        if result.ok:
            raise
        met, faults = [], [fault(f"checkpoints were not looked at: {error.message}")]
    return result._replace(faults=(*result.faults, *faults)), len(met)


def _gaps(path: Path, erased: int) -> list[dict[str, Any]]:
    """What the log says of the payloads that are gone; nothing where it cannot be read so far."""
    if not erased:
        return []
    from playhead_projections.cli.erased import gaps

    try:
        return gaps(path)
    except StoreError:
        return []  # what is broken was told already


def _expectation(path: Path, text: str) -> Expectation:
    """An anchor as `verify` prints it, or with a run in place of the stream."""
    from playhead.log.evidence import Expectation
    from playhead.log.reader import LogReader
    from playhead_projections.cli.addresses import find_run

    try:
        expected = Expectation.parse(text)
    except ValueError as error:
        raise Usage(
            f"--expect {text!r} is no anchor.",
            expected="RUN@SEQ:DIGEST, as `playhead verify` prints it",
            found=text,
        ) from error
    if "/" in expected.stream or expected.stream == "store":
        return expected
    try:
        with LogReader(path) as log:
            return expected._replace(stream=f"run/{find_run(log, path, expected.stream)}")
    except NotFound:
        # The run may be what was taken out: then its whole id is needed, and its absence is the fault.
        return expected._replace(stream=f"run/{expected.stream}")
