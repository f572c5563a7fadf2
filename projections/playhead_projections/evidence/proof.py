r"""What makes a receipt checkable without the log: a checkpoint, and the proofs that events stand under it.

    proof = proof_of(log, run, first_over(log, run.last.position))
    # {"checkpoint": "playhead.log/…\n41\n…", "inclusion": {"event": "run/…@8", "index": 8, …}, …}

The last event of a run is proven, because its digest covers every event of the run before it, and so are the
events that single claims rest on. The checkpoint is the oldest one beside the log that knows all of them, so
that a receipt which is made again later is the same to the byte. Where there is none yet, it is what a
checkpoint would have said right behind the run, signed by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from playhead.errors import Corrupt
from playhead.log import checkpoints
from playhead.log.chain import GENESIS, commitment
from playhead.log.checkpoints import Checkpoint, kept_beside
from playhead.log.graft import commitments_of
from playhead.log.proofs import LogTree
from playhead_projections.evidence.canonical import told
from playhead_projections.evidence.gathered import EVIDENCE_MAX, Gathered, Leaf

if TYPE_CHECKING:
    from playhead.log.envelope import Event
    from playhead.log.reader import LogReader

SCHEMA: Final = "playhead.proof/1"
BUILDER: Final = 1
"""The rules by which receipts are made. It grows whenever the same events would give another receipt.

What was made by any number up to this one verifies for ever: where rules differ, the `builder` in a receipt
says which are meant, and no rule is taken away. tests/evidence/golden keeps a bundle of each.
"""


def first_over(log: LogReader, position: int) -> Checkpoint:
    """The oldest checkpoint beside the log that knows the event at `position`; else an unsigned one there.

    Raises `Corrupt` where the checkpoints beside it cannot be read: the oldest may be one of these.
    """
    origin = checkpoints.origin_of(log)
    for kept in kept_beside(log.path):
        if kept.origin == origin and kept.size >= position:
            return kept
    return checkpoints.parse(checkpoints.of(log, LogTree.of(log, position)))


def proof_of(log: LogReader, run: Gathered, checkpoint: Checkpoint) -> dict[str, Any]:
    """The proofs of a run that is over. Raises `Corrupt` where the log is not what the checkpoint says."""
    assert run.leaf is not None
    tree = tree_at(log, checkpoint)
    evidence = run.evidence[:EVIDENCE_MAX]
    found = [inclusion_of(tree, leaf) for leaf in (run.leaf, *evidence)]
    return written_proof(checkpoint, found, len(run.evidence) - len(evidence))


def written_proof(
    checkpoint: Checkpoint, found: list[dict[str, Any]], left_out: int, *, builder: int = BUILDER
) -> dict[str, Any]:
    """The proofs as they stand in a receipt: first that of the last event of its run."""
    return {
        "schema": SCHEMA,
        "builder": builder,
        "checkpoint": checkpoint.text,
        "merkle_root": told(checkpoint.root),
        "inclusion": found[0],
        "evidence": found[1:],
        "evidence_left_out": left_out,
    }


def tree_at(log: LogReader, checkpoint: Checkpoint) -> LogTree:
    """The tree that a checkpoint is about. Raises `Corrupt` where the log is not what it says."""
    if checkpoint.size <= log.position():
        tree = LogTree.of(log, checkpoint.size)
        if tree.root() == checkpoint.root:
            return tree
    raise Corrupt(f"the log is not what {checkpoints.named(checkpoint)} says.")


def leaf_of(log: LogReader, event: Event) -> Leaf:
    """An event with what its digest is made of."""
    previous = log.read(event.stream, event.seq - 1, 1)[0].digest if event.seq else GENESIS
    return Leaf(event, previous, committed_of(event, lambda: commitments_of(log, [event])[event.position]))


def committed_of(event: Event, left: Callable[[], bytes]) -> bytes:
    """The commitment to the payload of an event; `left` is asked for that of an erased one."""
    if event.salt is None or event.payload is None:
        return left()
    return commitment(event.salt, event.payload)


def inclusion_of(tree: LogTree, leaf: Leaf) -> dict[str, Any]:
    """The proof that an event stands in the log: its number there, its digest, and the way to the root."""
    place = leaf.event.position
    return written_inclusion(leaf, place - 1, [step.hex() for step in tree.inclusion(place)])


def written_inclusion(leaf: Leaf, index: Any, path: Any) -> dict[str, Any]:
    """The proof of an event as it is written, with all that its digest is the digest of but the payload."""
    event = leaf.event
    return {
        "event": f"{event.stream}@{event.seq}",
        "type": event.type,
        "index": index,
        "digest": event.digest.hex(),
        "previous": leaf.previous.hex(),
        "header": leaf.header.hex(),
        "commitment": leaf.committed.hex(),
        "path": path,
    }
