"""A bundle from a stranger: read without unpacking anything, and every claim in it held against its events.

    found = check_bundle(data, keys)
    found.faults, found.said

Nothing is written anywhere, nothing is decompressed, and nothing is believed: what was read is packed again,
and has to be the same to the byte; the chains are verified as those of any import; and each receipt is made
again from the events.
"""

from __future__ import annotations

import io
import re
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from playhead.errors import BadEvent, BadValue, ImportRefused
from playhead.events.erasing import restored
from playhead.log.chain import GENESIS
from playhead.log.checkpoints import Checkpoint, parse
from playhead.log.evidence import Expectation
from playhead.log.merkle import includes, leaf_hash
from playhead.log.transfer import event_line, header_line, import_lines
from playhead_projections.evidence import agents_protocol, bundle, envelope
from playhead_projections.evidence.canonical import read, written
from playhead_projections.evidence.checking import (
    Checked,
    check_consistency,
    check_opened,
    check_receipt,
    say_who_signed,
    unhex,
)
from playhead_projections.evidence.gathered import EVIDENCE_MAX, Gathered, Leaf, gather
from playhead_projections.evidence.proof import BUILDER, committed_of, written_inclusion, written_proof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from playhead.log.envelope import Event
    from playhead.log.graft import StreamCopy
    from playhead.sign import Keys

_NAME: Final = re.compile(
    r"manifest\.json|events\.jsonl|proofs\.json|attestation\.json|receipts/[a-z0-9]{1,64}\.json"
)
_READ_ERRORS: Final = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


def check_bundle(data: bytes, keys: Keys) -> Checked:
    """Check all that a bundle says. Raises `ImportRefused` for what is none, or is not whole."""
    members = unpacked(data)
    manifest = _manifest(members)
    try:
        copies = {
            copy.stream: copy for copy in import_lines(members[bundle.EVENTS].splitlines(keepends=True))
        }
        found = _Bundle(str(manifest["run"]), members, copies, keys)
        found.check()
        _check_program(manifest, found)
    except (BadValue, BadEvent) as error:
        raise ImportRefused(error.message, expected=error.expected, found=error.found) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImportRefused(f"this is no bundle as it is written: {error!r}.") from error
    return Checked("bundle", found.faults, found.said)


def unpacked(data: bytes) -> dict[str, bytes]:
    """The members of a bundle, in their order. Raises `ImportRefused` for any other zip."""
    if len(data) > bundle.BUNDLE_BYTES_MAX:
        raise ImportRefused(f"a bundle has at most {bundle.BUNDLE_BYTES_MAX:,} bytes.", found=len(data))
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = file.infolist()
            _check_entries(entries, len(data))
            for entry in entries:
                members[entry.filename] = file.read(entry)
    except _READ_ERRORS as error:
        raise ImportRefused(f"this is no zip that can be read: {error}.") from error
    if bundle.packed(members) != data:
        raise ImportRefused("this zip is not written as a bundle is, so something in it was changed.")
    return members


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Before a byte is read: raise `ImportRefused` for whatever a bundle never holds."""
    names = [entry.filename for entry in entries]
    if len(names) > bundle.MEMBERS_MAX:
        raise ImportRefused(f"a bundle has at most {bundle.MEMBERS_MAX:,} members.", found=len(names))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ImportRefused(f"{name[:80]!a} is no member of a bundle.")
    if len(set(names)) < len(names):
        raise ImportRefused("a member stands in it twice.")
    for entry in entries:
        if (
            entry.compress_type != zipfile.ZIP_STORED
            or entry.compress_size != entry.file_size
            or entry.flag_bits
        ):
            raise ImportRefused(f"{entry.filename} is packed or encrypted; members of a bundle never are.")
    if sum(entry.file_size for entry in entries) > size:
        raise ImportRefused("its members say that they are larger than the file.", found=size)


def _manifest(members: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest, whose every line is true. Raises `ImportRefused`."""
    try:
        manifest = read(members[bundle.MANIFEST])
        told = {one["name"]: (one["bytes"], one["sha256"]) for one in manifest["members"]}
        schema, names = manifest["schema"], [one["name"] for one in manifest["members"]]
    except (BadValue, KeyError, TypeError) as error:
        raise ImportRefused(f"this bundle has no manifest that can be read: {error}") from error
    if schema != bundle.SCHEMA:
        raise ImportRefused("this is a bundle of another version.", expected=bundle.SCHEMA, found=schema)
    if [bundle.MANIFEST, *names] != list(members):
        raise ImportRefused("the manifest names other members than there are.", expected=names)
    for name, (size, hashed) in told.items():
        if (size, hashed) != (len(members[name]), sha256(members[name]).hexdigest()):
            raise ImportRefused(f"{name} is not what the manifest says.", expected=hashed)
    return manifest


class _Bundle:
    """What is in a bundle, while it is checked."""

    def __init__(
        self, run: str, members: Mapping[str, bytes], copies: Mapping[str, StreamCopy], keys: Keys
    ) -> None:
        self.run = run
        self.members = members
        self.copies = copies
        self.keys = keys
        self.sealed = bundle.ATTESTATION in members
        self.faults: list[str] = []
        self.said: list[str] = []
        self.gathered = {
            name.partition("/")[2]: gather(
                name.partition("/")[2], restored(copy.events, to_show=True), _left(copy)
            )
            for name, copy in copies.items()
            if name.startswith("run/")
        }

    def check(self) -> None:
        events, streams = sum(len(copy.events) for copy in self.copies.values()), len(self.copies)
        whole = "its chain whole" if streams == 1 else "each chain whole"
        self.said.append(f"{events} events in {streams} stream{'s' * (streams != 1)}, {whole}")
        if f"receipts/{self.run}.json" not in self.members or f"run/{self.run}" not in self.copies:
            raise ImportRefused(
                f"there is no receipt of {ascii(self.run)[:80]} in this bundle, or no events of it."
            )
        runs = self._family()
        proven = self._proofs()
        for name, data in self.members.items():
            if name.startswith("receipts/"):
                self._receipt(name, data, proven)
        receipts = [f"receipts/{run}.json" for run in runs if run == self.run or self.gathered[run].over]
        ends = [bundle.ATTESTATION] * self.sealed
        if list(self.members) != [bundle.MANIFEST, bundle.EVENTS, bundle.PROVEN, *receipts, *ends]:
            self.faults.append("there are other receipts than of the run and its child runs that are over.")
        if self.sealed:
            self._attestation()
        else:
            self.said.append("the receipt is unsigned")

    def _family(self) -> list[str]:
        """The runs that belong in it, in their order: there is no other stream, and none is missing."""
        runs = [self.run]
        for run in runs:
            for child, ended in bundle.children_of(self.gathered[run]):
                if child in self.gathered and child not in runs:
                    runs.append(child)
                elif ended and child not in self.gathered:
                    self.faults.append(f"run/{run} heard from run {child!a}, and there are no events of it.")
            mailbox = self.copies.get(f"mailbox/{run}")
            lacking = bundle.unheard(self.gathered[run], len(mailbox.events) if mailbox else 0)
            self.faults += [f"{lacking} in it."] if lacking else []
        names = [name for run in runs for name in (f"run/{run}", f"mailbox/{run}") if name in self.copies]
        if names != list(self.copies):
            self.faults.append("there are other streams than those of the run and its child runs.")
        elif self.members[bundle.EVENTS] != b"".join(
            _lines(bundle.writer_of(self.gathered[self.run]), self.copies)
        ):
            self.faults.append(f"{bundle.EVENTS} is not written as an export is.")
        return runs

    def _proofs(self) -> set[str]:
        """The checkpoints that are proven to be of one log."""
        proofs = read(self.members[bundle.PROVEN])
        if proofs["schema"] != bundle.PROOFS:
            raise ImportRefused("the proofs are of another version.", expected=bundle.PROOFS)
        checkpoint = parse(proofs["checkpoint"])
        covered = self.sealed and list(self.copies) == [f"run/{self.run}"]
        say_who_signed(checkpoint, self.keys, self.faults, self.said, needed=not covered)
        for one in proofs["consistency"]:
            self.faults += check_consistency(one, {}).faults
        paths = {one["older"]: one["path"] for one in proofs["consistency"]}
        older = bundle.others(
            (read(data) for name, data in self.members.items() if name.startswith("receipts/")), checkpoint
        )
        ends = [_end_of(copy) for copy in self.copies.values()]
        if [one["event"] for one in proofs["streams"]] != [_name(end) for end in ends]:
            self.faults.append("the proofs are of other streams than there are.")
            return {checkpoint.text, *paths}
        again = {
            "schema": bundle.PROOFS,
            "checkpoint": checkpoint.text,
            "streams": [
                self._proven(end, one, checkpoint) for end, one in zip(ends, proofs["streams"], strict=True)
            ],
            "consistency": [
                bundle.written_consistency(parse(text), checkpoint, paths.get(text)) for text in older
            ],
        }
        if written(again) != self.members[bundle.PROVEN]:
            self.faults.append(f"{bundle.PROVEN}: these events make other proofs.")
        return {checkpoint.text, *paths}

    def _proven(self, leaf: Leaf, one: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
        """The proof of an event, made again: only where it stands and the way up are from the document."""
        event, path = leaf.event, [unhex(step) for step in one["path"]]
        index = one["index"]
        hashed = leaf_hash(event.digest)
        if type(index) is not int or not includes(checkpoint.root, checkpoint.size, index, hashed, path):
            self.faults.append(
                f"{event.stream}@{event.seq} does not stand under the checkpoint at {checkpoint.size}."
            )
        return written_inclusion(leaf, index, one["path"])

    def _receipt(self, name: str, data: bytes, proven: set[str]) -> None:
        """One receipt: it holds by itself, and it is the one that the events make."""
        document = read(data)
        found = check_receipt(document, self.keys, sealed=self.sealed)
        self.faults += (f"{name}: {fault}" for fault in found.faults)
        about = document["metadata"]["playhead"]
        if about["checkpoint"] not in proven:
            self.faults.append(f"{name}: its checkpoint is not proven to be one of the same log.")
        run = document["identifiers"]["task_id"]
        if name != f"receipts/{run}.json" or run not in self.gathered:
            self.faults.append(f"{name}: it is the receipt of another run.")
            return
        gathered = self.gathered[run]
        rests_on = gathered.evidence[:EVIDENCE_MAX]
        builder = about.get("builder")
        if type(builder) is not int or not 1 <= builder <= BUILDER:
            rules = f"by rules {ascii(builder)[:40]}, and this playhead knows those up to {BUILDER}"
            self.faults.append(f"{name} was made {rules}: a newer one may verify it.")
        elif [one["event"] for one in about["evidence"]] != [_name(leaf) for leaf in rests_on]:
            self.faults.append(f"{name}: it rests on other events than those that it proves.")
        elif self._made_again(gathered, rests_on, about) != data:
            self.faults.append(f"{name}: the events make another receipt.")

    def _made_again(self, run: Gathered, rests_on: list[Leaf], about: dict[str, Any]) -> bytes:
        assert run.leaf is not None
        checkpoint = parse(about["checkpoint"])
        told = zip((run.leaf, *rests_on), (about["inclusion"], *about["evidence"]), strict=True)
        found = [self._proven(leaf, one, checkpoint) for leaf, one in told]
        left_out = len(run.evidence) - len(rests_on)
        proof = written_proof(checkpoint, found, left_out, builder=about["builder"])
        return written(agents_protocol.receipt(run, issuer=checkpoint.origin, proof=proof))

    def _attestation(self) -> None:
        opened = envelope.opened(self.members[bundle.ATTESTATION])
        found = check_opened(opened, self.keys)
        self.faults += (
            f"{bundle.ATTESTATION}: {fault}" for fault in found.faults if fault not in self.faults
        )
        self.said.append(f"the receipt is {found.said[0]}" if found.said else "the receipt is unsigned")
        if written(opened.receipt) != self.members[f"receipts/{self.run}.json"]:
            self.faults.append(f"{bundle.ATTESTATION}: another receipt was signed.")


def _lines(wrote: str, copies: Mapping[str, StreamCopy]) -> Iterator[bytes]:
    """The lines of an export of these streams, as the playhead of version `wrote` writes them."""
    for copy in copies.values():
        last = copy.events[-1]
        yield header_line(Expectation(copy.stream, last.seq, last.digest), version=wrote)
        for event in copy.events:
            yield event_line(event, copy.commitments)


def _name(leaf: Leaf) -> str:
    return f"{leaf.event.stream}@{leaf.event.seq}"


def _end_of(copy: StreamCopy) -> Leaf:
    end, before = copy.events[-1], copy.events[-2].digest if len(copy.events) > 1 else GENESIS
    return Leaf(end, before, committed_of(end, lambda: copy.commitments[end.position]))


def _left(copy: StreamCopy) -> Callable[[Event], bytes]:
    return lambda event: copy.commitments[event.position]


def _check_program(manifest: dict[str, Any], found: _Bundle) -> None:
    """Whether the manifest says of the program what the events say."""
    rest = {name: data for name, data in found.members.items() if name != bundle.MANIFEST}
    if bundle.manifest_of(found.gathered[found.run], rest) != manifest:
        found.faults.append(f"{bundle.MANIFEST}: the events say something else of the program.")
