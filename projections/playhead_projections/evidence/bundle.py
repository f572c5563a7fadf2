"""The evidence bundle: all that there is to hand over of a run, in one file that checks itself.

    data = bundle(log, "4wq2mzkq7xha", signer=None)

A zip of files that are stored and not packed, at one time, in one order, so that the same evidence is the
same to the byte:

    manifest.json         every other member with its size and hash, what the program was and ran on
    events.jsonl          the run, its mailbox, its child runs and theirs, as `playhead export` writes them
    proofs.json           a checkpoint, and for each of these streams the proof that its end stands under it
    receipts/RUN.json     the receipt of the run, and of each child run that is over
    attestation.json      the receipt of the run once more, signed, where there was a key
"""

from __future__ import annotations

import io
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from playhead.errors import BadValue
from playhead.events.catalog import ChildRequested
from playhead.events.erasing import MARK
from playhead.log.checkpoints import origin_of, parse
from playhead.log.transfer import export_lines
from playhead_projections.evidence import agents_protocol
from playhead_projections.evidence.canonical import written
from playhead_projections.evidence.checking import CONSISTENCY
from playhead_projections.evidence.envelope import sealed
from playhead_projections.evidence.gathered import Gathered, gather_run
from playhead_projections.evidence.proof import first_over, inclusion_of, leaf_of, proof_of, tree_at
from playhead_projections.evidence.unbroken import expect_unbroken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from playhead.log.checkpoints import Checkpoint
    from playhead.log.envelope import Event
    from playhead.log.proofs import LogTree
    from playhead.log.reader import LogReader
    from playhead.sign import Signer

SCHEMA: Final = "playhead.bundle/1"
PROOFS: Final = "playhead.proofs/1"
BUNDLE_BYTES_MAX: Final = 1024 * 1024 * 1024
MEMBERS_MAX: Final = 10_000
SPARE_BYTES: Final = 8 * 1024 * 1024
"""For the manifest, and for what a zip says about each member."""

MANIFEST: Final = "manifest.json"
EVENTS: Final = "events.jsonl"
PROVEN: Final = "proofs.json"
ATTESTATION: Final = "attestation.json"

_TIME: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_MODE: Final = 0o100644 << 16


def bundle(log: LogReader, run: str, *, signer: Signer | None = None) -> bytes:
    """The evidence of a run that is over.

    Raises `NotFound`, `BadValue` for a run that is not over, or whose evidence is too large, and `Corrupt`
    where an event that goes in was changed.
    """
    runs = _family(log, run)
    if len(runs) > MEMBERS_MAX - 4:
        raise BadValue(f"run {run} has too many child runs for one bundle.", found=f"{len(runs):,} runs")
    streams = [name for each in runs for name in (f"run/{each}", f"mailbox/{each}") if log.head(name).seq]
    lines = list(export_lines(log, streams, version=writer_of(runs[run])))
    ends = _ends(log, lines)
    origin = origin_of(log)
    receipts: dict[str, dict[str, Any]] = {}
    for each, gathered in runs.items():
        if each == run or gathered.over:
            assert gathered.last is not None
            proof = proof_of(log, gathered, first_over(log, gathered.last.position))
            receipts[each] = agents_protocol.receipt(gathered, issuer=origin, proof=proof)
    members = {
        EVENTS: b"".join(lines),
        PROVEN: written(_proofs(log, ends, receipts)),
        **{f"receipts/{each}.json": written(receipt) for each, receipt in receipts.items()},
    }
    if signer is not None:
        members[ATTESTATION] = sealed(signer, receipts[run])
    size = sum(map(len, members.values()))
    if size > BUNDLE_BYTES_MAX - SPARE_BYTES:
        raise BadValue(f"the evidence of run {run} is too large for one bundle.", found=f"{size:,} bytes")
    return packed({MANIFEST: written(manifest_of(runs[run], members)), **members})


def writer_of(run: Gathered) -> str:
    """Which playhead the lines of a bundle name: the one that recorded the run, whoever hands it over."""
    return run.started.playhead if run.started else ""


def packed(members: Mapping[str, bytes]) -> bytes:
    """A zip of `members` in their order: the same members are always the same bytes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED, allowZip64=False) as file:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            file.writestr(entry, data)
    return held.getvalue()


def _family(log: LogReader, run: str) -> dict[str, Gathered]:
    """A run, its child runs and theirs, those that are here."""
    found: dict[str, Gathered] = {}
    todo = [run]
    for each in todo:
        if each in found or (found and not log.head(f"run/{each}").seq):
            continue
        expect_unbroken(log, [name for name in (f"run/{each}", f"mailbox/{each}") if log.head(name).seq])
        found[each] = gather_run(log, each)
        if (lacking := unheard(found[each], log.head(f"mailbox/{each}").seq)) is not None:
            raise BadValue(f"{lacking} in this log, so there is no evidence of all of it.")
        for child, ended in children_of(found[each]):
            if ended and not log.head(f"run/{child}").seq:
                raise BadValue(f"run {each} heard from run {child}, which is not in this log.")
            todo.append(child)
    return found


def unheard(run: Gathered, messages: int) -> str | None:
    """What is said where a mailbox of so many `messages` lacks some that its run took; None where none is."""
    if run.heard <= messages:
        return None
    return f"run {run.run} took message {run.heard - 1} of its mailbox, which is not"


def children_of(run: Gathered) -> list[tuple[str, bool]]:
    """The child runs that a run asked for, and whether it heard what came of each.

    One whose name was erased is none of them: nobody can tell which it is.
    """
    return [
        (one.fact.run, one.status in {"completed", "failed"})
        for one in run.of_kind("child")
        if isinstance(one.fact, ChildRequested) and one.fact.run != MARK
    ]


def _ends(log: LogReader, lines: Sequence[bytes]) -> list[Event]:
    """The last event of each stream as it was exported."""
    ends: list[Event] = []
    for line in lines:
        head: dict[str, Any] = msgspec.json.decode(line)
        if "anchor" in head:
            ends += log.read(head["stream"], head["events"] - 1, 1)
    return ends


def _proofs(log: LogReader, ends: Sequence[Event], receipts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The ends of all streams under one checkpoint, and that the log only grew from those of the receipts."""
    checkpoint = first_over(log, max(event.position for event in ends))
    tree = tree_at(log, checkpoint)
    return {
        "schema": PROOFS,
        "checkpoint": checkpoint.text,
        "streams": [inclusion_of(tree, leaf_of(log, event)) for event in ends],
        "consistency": [
            consistency_of(tree, parse(text), checkpoint) for text in others(receipts.values(), checkpoint)
        ],
    }


def others(receipts: Iterable[dict[str, Any]], checkpoint: Checkpoint) -> list[str]:
    """The checkpoints of `receipts` that are another than `checkpoint`, in order."""
    about = {receipt["metadata"]["playhead"]["checkpoint"] for receipt in receipts}
    return sorted(about - {checkpoint.text}, key=lambda text: (parse(text).size, text))


def consistency_of(tree: LogTree, older: Checkpoint, newer: Checkpoint) -> dict[str, Any]:
    """The proof that the log only grew from one checkpoint to another; `tree` is the one of the newer."""
    path = tree.consistency(older.size, newer.size)
    return written_consistency(older, newer, [step.hex() for step in path])


def written_consistency(older: Checkpoint, newer: Checkpoint, path: Any) -> dict[str, Any]:
    """The proof as it is written."""
    return {"schema": CONSISTENCY, "older": older.text, "newer": newer.text, "path": path}


def manifest_of(run: Gathered, members: Mapping[str, bytes]) -> dict[str, Any]:
    """What stands in a bundle of a run with these other members, and what its program was and ran on."""
    started = run.started
    return {
        "schema": SCHEMA,
        "run": run.run,
        "members": [
            {"name": name, "bytes": len(data), "sha256": sha256(data).hexdigest()}
            for name, data in members.items()
        ],
        "environment": {
            "python": started.python if started else None,
            "playhead": started.playhead if started else None,
            "anyio": started.anyio if started else None,
        },
        "code": {"module": started.module if started else None, "digests": dict(sorted(run.codes.items()))},
    }
