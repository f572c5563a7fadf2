"""Whether a receipt, an envelope or a proof of consistency holds: from itself and public keys, without a log.

    found = check_file(data, keys={"ada": ("ed25519:…",)})
    found.faults                                   # [] where it holds
    found.said                                     # ['signed by ada', …]

docs/verify_receipt.py does the same in a file of its own, and shares nothing with this one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from playhead.errors import BadValue
from playhead.log.chain import event_digest, named_in
from playhead.log.checkpoints import Checkpoint, parse
from playhead.log.merkle import consistent, includes, leaf_hash
from playhead_projections.evidence import agents_protocol, envelope, run_receipt
from playhead_projections.evidence.canonical import read, told

if TYPE_CHECKING:
    from playhead.sign import Keys

CONSISTENCY: Final = "playhead.consistency/1"
UNSIGNED: Final = "unsigned"
UNSIGNED_SAID: Final = (
    "the receipt itself is unsigned: only that these events of the run stand there is proven,"
    " and nothing else in it"
)
NOT_ASKED: Final = "signed, but no key was given to hold that against"

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_EVENT: Final = re.compile(r"(run/[^\x00-\x1f\x7f]+)@(0|[1-9][0-9]{0,18})")


class Checked(NamedTuple):
    """What was found: what is wrong, and what can be said. `what` is what it is, as `receipt`."""

    what: str
    faults: list[str]
    said: list[str]


def check_file(data: bytes, keys: Keys) -> Checked:
    """Check what is in a file of JSON. Raises `BadValue` for one that is nothing of that, or was changed."""
    document = read(data)
    if document.get("schema") == CONSISTENCY:
        return check_consistency(document, keys)
    return check_envelope(data, keys) if "payloadType" in document else check_bare(document, keys)


def check_bare(document: dict[str, Any], keys: Keys) -> Checked:
    """Check a receipt that nobody signed: whoever has one can write another around the same proofs."""
    found = check_receipt(document, keys)
    if keys:
        found.faults.append("the receipt is unsigned.")
    else:
        found.said.append(UNSIGNED_SAID)
    return found


def check_envelope(data: bytes, keys: Keys) -> Checked:
    """Check a signed receipt: its signature, what it is about, and the receipt in it."""
    return check_opened(envelope.opened(data), keys)


def check_opened(found: envelope.Opened, keys: Keys) -> Checked:
    """Check an envelope that was read."""
    inside = check_receipt(found.receipt, keys, sealed=True)
    faults, said = inside.faults, inside.said
    signer = found.signer(keys) if keys else None
    if signer is not None:
        said.insert(0, f"signed by {signer}")
    elif keys:
        faults.append(
            f"it is signed with {found.key}, which is none of the keys, or with another receipt in it."
        )
    else:
        said.insert(0, f"{NOT_ASKED}: {found.key}")
    if not faults and found.subjects != envelope.subjects_of(found.receipt):
        faults.append("the statement is about something else than its receipt.")
    return Checked("envelope", faults, said)


def check_receipt(document: dict[str, Any], keys: Keys, *, sealed: bool = False) -> Checked:
    """Check a receipt: its shape, its hash, its checkpoint and its proofs.

    Where it is `sealed`, in an envelope or beside one, its checkpoint need not be signed.
    """
    faults: list[str] = []
    said: list[str] = []
    try:
        run = _whole(document)
        about = document["metadata"]["playhead"]
        checkpoint = parse(about["checkpoint"])
        events = [about["inclusion"], *about["evidence"]]
        for one in events:
            faults += _included(run, one, checkpoint)
        faults += _rooted(document, about, checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadValue(f"this is no receipt with proofs: {error!r}.") from error
    said.append(f"{len(events)} of its events stand under {_called(checkpoint)}")
    say_who_signed(checkpoint, keys, faults, said, needed=not sealed)
    return Checked("receipt", faults, said)


def _whole(document: dict[str, Any]) -> str:
    """The run that a receipt is of. Raises `BadValue` where its shape or its hash is another."""
    if document.get("schema") == agents_protocol.SCHEMA:
        agents_protocol.check(document)
        if document.get("signatures"):
            raise BadValue("there are signatures in the receipt that nobody can verify.", expected=[])
        run, kept = document["identifiers"]["task_id"], document["chain"]["receipt_hash"]
        if (document["subject"]["id"], document["receipt_id"]) != (run, agents_protocol.id_of(run)):
            raise BadValue("the receipt names two runs.", expected=run, found=document["subject"]["id"])
        found = agents_protocol.receipt_hash(document)
    elif document.get("schema") == run_receipt.SCHEMA:
        if document.keys() != run_receipt.KEYS:
            raise BadValue("the receipt has other members than it should.", expected=sorted(run_receipt.KEYS))
        run = str(document["id"]).removeprefix(agents_protocol.id_of(""))
        kept, found = document["metadata"]["playhead"]["receipt_hash"], run_receipt.receipt_hash(document)
    else:
        raise BadValue(
            "this is no receipt.",
            expected=f"{agents_protocol.SCHEMA} or {run_receipt.SCHEMA}",
            found=ascii(document.get("schema"))[:80],
        )
    if kept != found:
        raise BadValue("the hash of the receipt is another.", expected=kept, found=found)
    return f"run/{run}"


def _included(run: str, one: dict[str, Any], checkpoint: Checkpoint) -> list[str]:
    """What is wrong with the proof of one event."""
    named = _EVENT.fullmatch(one["event"])
    if named is None or named[1] != run:
        return [f"{one['event']!a} is no event of {run}."]
    header, digest = bytes.fromhex(one["header"]), unhex(one["digest"])
    made = event_digest(unhex(one["previous"]), header, unhex(one["commitment"]))
    if (
        named_in(header) != (run, int(named[2]), one["type"])
        or header.hex() != one["header"]
        or made != digest
    ):
        return [f"{one['event']}: its digest is the digest of something else."]
    path = [unhex(step) for step in one["path"]]
    leaf, index = leaf_hash(digest), one["index"]
    if type(index) is int and includes(checkpoint.root, checkpoint.size, index, leaf, path):
        return []
    return [f"{one['event']} does not stand under {_called(checkpoint)}."]


def _rooted(document: dict[str, Any], about: dict[str, Any], checkpoint: Checkpoint) -> list[str]:
    """What is wrong with the names of the log and of its root that a receipt repeats."""
    roots = {about["merkle_root"], document.get("chain", about)["merkle_root"]}
    faults = [] if roots == {told(checkpoint.root)} else ["its merkle_root is not that of its checkpoint."]
    issuer = document.get("issuer")
    if issuer is not None and issuer["id"] != checkpoint.origin:
        faults.append("its checkpoint is one of another log than its issuer.")
    return faults


def check_consistency(document: dict[str, Any], keys: Keys) -> Checked:
    """Check that a log only grew from one checkpoint to another."""
    faults: list[str] = []
    said: list[str] = []
    try:
        older, newer = parse(document["older"]), parse(document["newer"])
        path = [unhex(step) for step in document["path"]]
        whole = len(document) == 4
    except (KeyError, TypeError, ValueError) as error:
        raise BadValue("this is no proof of consistency.", expected=CONSISTENCY) from error
    if not whole or older.origin != newer.origin:
        faults.append("the checkpoints are of two logs.")
    elif not consistent(older.size, older.root, newer.size, newer.root, path):
        faults.append(f"{_called(newer)} does not begin with what {_called(older)} knew.")
    else:
        said.append(f"from {older.size} to {newer.size} events the log only grew")
    for one in (older, newer):
        say_who_signed(one, keys, faults, said, needed=True)
    return Checked("consistency", faults, said)


def check_alone(checkpoint: Checkpoint, keys: Keys) -> Checked:
    """Check who signed a checkpoint. What it says of its log, only that log can tell."""
    found = Checked("checkpoint", [], [f"{checkpoint.size} events of {checkpoint.origin}"])
    say_who_signed(checkpoint, keys, found.faults, found.said, needed=True)
    return found


def say_who_signed(
    checkpoint: Checkpoint, keys: Keys, faults: list[str], said: list[str], *, needed: bool
) -> None:
    """Say who signed a checkpoint. With keys, one that is signed with none of them is a fault.

    So is one that is not signed at all, where a signature is `needed`.
    """
    who = checkpoint.signer(keys) if keys else None
    if who is not None:
        said.append(f"{_called(checkpoint)} is signed by {who}")
    elif keys and (needed or checkpoint.signatures):
        faults.append(f"{_called(checkpoint)} is signed with none of the keys.")
    else:
        said.append(f"{_called(checkpoint)} is {NOT_ASKED if checkpoint.signatures else UNSIGNED}")


def _called(checkpoint: Checkpoint) -> str:
    return f"the checkpoint at {checkpoint.size}"


def unhex(text: Any) -> bytes:
    """32 bytes from lower-case hex. Raises `ValueError`."""
    if not _HEX.fullmatch(cast("str", text)):
        raise ValueError(f"{text!r} is no digest")
    return bytes.fromhex(text)
