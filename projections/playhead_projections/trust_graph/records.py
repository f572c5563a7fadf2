"""From a fact of the log to a trust record: the same record on every rebuild.

    record = record_of(event, fact)       # None for any other fact

Nothing is made up. The id of a record follows from the time and the place of its event, its trace
is the run, and the time is that of the event. What a record of this form must name and a fact of
a stranger does not is "unknown", so that one odd event does not keep all others from being told.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from playhead.events.autonomy import TierChanged, TrustRecorded
from playhead.events.words import GrantWords
from playhead.log.envelope import Event
from playhead.trust.book import DEMOTE, PROMOTE, TRANSITION
from playhead.trust.record import TrustRecord
from playhead.trust.timestamp import written
from playhead_projections.projection import RUN_STREAMS

TRUST_STREAMS: Final = "trust/"
TYPES: Final = ("trust.recorded", "trust.tier_changed")
UNKNOWN: Final = "unknown"
UNSIGNED: Final = "unsigned"
MICROS: Final = 1_000_000
ALONE: Final = "act_auto"
"""The only tier that bounds are about, and so the one that a transition leads away from."""

_STREAMS: Final = {"trust.recorded": RUN_STREAMS, "trust.tier_changed": TRUST_STREAMS}
_INSTANT_MAX: Final = 2**63 - 1
"""The last time that the log can hold, in nanoseconds since the epoch."""
_MOVE: Final = {"promote": PROMOTE, "demote": DEMOTE}


def is_told(event: Event) -> bool:
    """Whether the event is one that a record is made of, and stands where such events do."""
    streams = _STREAMS.get(event.type)
    return streams is not None and event.stream.startswith(streams)


def record_of(event: Event, fact: object) -> TrustRecord | None:
    """What the fact says, as a record that stands in no chain yet; None where it says nothing of trust."""
    if not is_told(event):
        return None
    if isinstance(fact, TrustRecorded):
        if fact.copied:
            return None
        return _of_effect(event, fact)
    if isinstance(fact, TierChanged) and event.stream == f"{TRUST_STREAMS}{fact.agent}":
        return _of_move(event, fact)
    return None  # as whoever looks up an agent believes nothing that stands with another


def record_id(event: Event) -> str:
    """A UUIDv7 of the time of the event and of where it stands: of the same event always the same."""
    time = f"{(max(event.at, 0) // 1_000_000):012x}"[-12:]
    chance = sha256(f"{event.stream}\0{event.seq}".encode()).hexdigest()
    variant = "89ab"[int(chance[3], 16) % 4]
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


def place_of(event: Event) -> str:
    """Where an event stands, as people name it: RUN@N, or the name of another stream in place of the run."""
    return f"{event.stream.removeprefix(RUN_STREAMS)}@{event.seq}"


def _of_effect(event: Event, fact: TrustRecorded) -> TrustRecord:
    about: dict[str, Any] = {"autonomy.enforcement": fact.enforcement, "builtin": fact.tool}
    if fact.action == TRANSITION:
        about |= {"control": True, "from_tier": ALONE, "to_tier": fact.tier}
    else:
        about["action_class"] = fact.action
    if fact.request:
        about["approval_request_id"] = fact.request
    if fact.reason:
        about["reason"] = fact.reason
    signatures = [_signature(each) for each in fact.granted if each.reviewer.strip()]
    approver = _said(fact.approver) or (signatures[-1]["reviewer"] if signatures else None)
    if signatures:
        about["approval"] = {"required": True, "quorum": max(fact.quorum, 1), "signatures": signatures}
    about["event"] = place_of(event)
    cost = fact.cost_micros
    return TrustRecord(
        record_id=record_id(event),
        agent=fact.agent or UNKNOWN,
        action=fact.action or UNKNOWN,
        approver=approver,
        outcome=fact.outcome,
        trace_id=event.stream.removeprefix(RUN_STREAMS) or UNKNOWN,
        autonomy_tier=fact.tier,
        timestamp=_time(event.at),
        cost_usd=None if cost is None or cost < 0 else cost / MICROS,
        metadata=about,
    )


def _of_move(event: Event, fact: TierChanged) -> TrustRecord:
    about: dict[str, Any] = {"control": True, "from_tier": fact.before, "to_tier": fact.after}
    if fact.reason:
        about["reason"] = fact.reason
    about["signature"] = fact.signature or UNSIGNED
    if fact.key:
        about["key"] = fact.key
    about["event"] = place_of(event)
    return TrustRecord(
        record_id=record_id(event),
        agent=fact.agent or UNKNOWN,
        action=_MOVE[fact.action],
        approver=_said(fact.by),
        outcome="success",
        trace_id=place_of(event),
        autonomy_tier=fact.after,
        timestamp=_time(event.at),
        metadata=about,
    )


def _signature(grant: GrantWords) -> dict[str, str]:
    """Who agreed, with the signature that the run verified; without one it is called unsigned."""
    if grant.signed != "valid" or not grant.signature:
        return {"reviewer": grant.reviewer, "signed_at": _time(grant.said_at), "signature": UNSIGNED}
    signed = {"signed_at": _time(grant.signed_at), "signature": grant.signature, "key": grant.key}
    return {"reviewer": grant.reviewer} | signed


def _said(name: str | None) -> str | None:
    return name if name and name.strip() else None


def _time(instant_ns: int) -> str:
    return written(min(instant_ns, _INSTANT_MAX))
