"""The chain of all trust records of a log, in the order of the log, and the read model that keeps it.

    with LogReader(path) as log:
        records = list(chain_of(log))               # a fold from zero
        report = verify_kept(log, kept)             # what is kept, held against that fold

The log only grows at its end, so the chain does: every earlier root is that of a beginning of it.
Nothing is written when a run appends. What is kept is made of the log when somebody asks, goes on
from where it stood, and can be thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from playhead.events.codec import CATALOG, Catalog, Erased, Unknown
from playhead.events.erasing import mended
from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.trust.chain import TOPIC
from playhead.trust.record import HASH_PREFIX, TrustRecord, hash_of
from playhead_projections.listing import Listing, Row
from playhead_projections.trust_graph.records import TYPES, is_told, record_of

WHOLE: Final = ""
"""The key of the one state: there is one chain."""


class Head(msgspec.Struct, kw_only=True):
    """The end of the chain. `erased` is how many events there were of which nobody knows what they said."""

    total: int = 0
    root: str | None = None
    erased: int = 0


class Body(msgspec.Struct, frozen=True, array_like=True):
    """What of a record stands in no column of its own."""

    record_id: str
    approver: str | None
    trace_id: str
    timestamp: str
    cost_usd: float | None
    previous: bytes
    entry: bytes
    metadata: dict[str, Any]


class TrustGraph(Listing[Head]):
    """One chain for the whole log, a row for each record."""

    name = TOPIC
    version = 3
    state = Head
    columns: ClassVar[Mapping[str, str]] = {
        "n": "integer not null unique",
        "position": "integer not null",
        "agent": "text not null",
        "action": "text not null",
        "outcome": "text not null",
        "tier": "text not null",
        "at": "integer not null",
        "body": "blob not null",
    }
    together = "agent, at, n"
    indexes = ("at, n", "position")

    def key(self, event: Event) -> str | None:
        return WHOLE if is_told(event) else None

    def initial(self, key: str) -> Head:
        return Head()

    def add(self, state: Head, event: Event, fact: Fact | Unknown | Erased) -> tuple[Head, Row | None]:
        record = follow(state, event, fact)
        return state, None if record is None else row_of(record, event)


def follow(head: Head, event: Event, fact: object) -> TrustRecord | None:
    """The next record of the chain, if the event makes one. Moves `head`."""
    record = record_of(event, fact)
    if record is None:
        head.erased += isinstance(fact, Erased) and is_told(event)
        return None
    linked = msgspec.structs.replace(record, chain_index=head.total + 1, previous_hash=head.root)
    head.total, head.root = linked.chain_index, hash_of(linked)
    return msgspec.structs.replace(linked, entry_hash=head.root)


def chained_events(events: Iterable[Event], *, catalog: Catalog = CATALOG) -> Iterator[TrustRecord]:
    """The chain that these events make, from the first of a log on."""
    head = Head()
    for event in events:
        if is_told(event) and (record := follow(head, event, catalog.decode(event))) is not None:
            yield record


def events_of(log: LogReader, position: int | None = None) -> Iterator[Event]:
    """The events of the log that records are made of, in order, up to a position."""
    after = 0
    while page := log.feed(after, types=TYPES):
        for event in mended(log, page):
            if position is not None and event.position > position:
                return
            yield event
        after = page[-1].position


def chain_of(log: LogReader, position: int | None = None) -> Iterator[TrustRecord]:
    """The chain as it stood at a position of the log, or stands now: a fold from zero. Raises `BadEvent`."""
    return chained_events(events_of(log, position))


# -------------------------------------------------------------------- rows


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Body).decode


def row_of(record: TrustRecord, event: Event) -> Row:
    """A record as a row of the read model."""
    body = Body(
        record.record_id,
        record.approver,
        record.trace_id,
        record.timestamp,
        record.cost_usd,
        _packed(record.previous_hash),
        _packed(record.entry_hash),
        record.metadata,
    )
    return (
        record.chain_index,
        event.position,
        record.agent,
        record.action,
        record.outcome,
        record.autonomy_tier,
        event.at,
        _encode(body),
    )


RECORD_COLUMNS: Final = "n, agent, action, outcome, tier, body"


def record_in(row: Row) -> TrustRecord:
    """The record in the columns RECORD_COLUMNS of a row. Raises `msgspec.MsgspecError` for a damaged one."""
    n, agent, action, outcome, tier, packed = row
    body = _decode(packed)
    return TrustRecord(
        record_id=body.record_id,
        agent=agent,
        action=action,
        approver=body.approver,
        outcome=outcome,
        trace_id=body.trace_id,
        autonomy_tier=tier,
        timestamp=body.timestamp,
        cost_usd=body.cost_usd,
        chain_index=n,
        previous_hash=f"{HASH_PREFIX}{body.previous.hex()}" if body.previous else None,
        entry_hash=f"{HASH_PREFIX}{body.entry.hex()}",
        metadata=body.metadata,
    )


def _packed(hash_: str | None) -> bytes:
    return bytes.fromhex(hash_[len(HASH_PREFIX) :]) if hash_ is not None else b""
