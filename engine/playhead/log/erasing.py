"""Taking payloads out of the log: the bytes go, their commitments stay, and an event says so.

    await store.erase(Erasure("run/4wq2mzkq7xha", expected=10, events=[erased]))    # erased.cause == 4

Each event to append is of the type `payload.erased` and names by its cause the
event whose payload goes. Both happen in one transaction: a crash leaves the payload
and no such event, or the event and no payload. What the transaction cannot reach
(the WAL, read models) is scrubbed right after it, see `scrubbing.py`; a note that
was made before the commit says that this is owed, so a crash in between loses none of it.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from playhead.errors import BadValue, Held, NotFound, PlayheadError
from playhead.log.admission import Group
from playhead.log.chain import commitment
from playhead.log.envelope import APPEND_ID_BYTES, PAYLOAD_INLINE_BYTES_MAX, Append, Appended, NewEvent
from playhead.log.evidence import ERASED_TYPE
from playhead.log.scrubbing import SCRUB_BUDGET_S, owe, scrub

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from playhead.clock import Clock
    from playhead.log.admission import HeadState, Ledger
    from playhead.log.committer import Committer
    from playhead.log.driver import sqlite
    from playhead.log.memory_store import MemoryLog
    from playhead.log.writer import Writer

_PAYLOAD: Final = (
    "select p.position, p.salt, coalesce(p.bytes, b.bytes), p.blob from payloads p"
    " left join blobs b on p.blob is not null and b.address = p.blob where p.position ="
    " (select position from events where seq = ?2"
    " and stream = (select stream from streams where name = ?1))"
)
_BLANK: Final = (
    "update payloads set salt = null, bytes = null, blob = null, commitment = ? where position = ?"
)
_USED: Final = "select 1 from payloads where blob = ? limit 1"


class Erasure(NamedTuple):
    """What is to be erased in one stream, which ends at `expected`, and the events that say so."""

    stream: str
    expected: int
    events: Sequence[NewEvent]


class Scrubbed(NamedTuple):
    """Whether the bytes are gone wherever they can be reached, and else in words where some may be left."""

    left: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        return not self.left


def check(erasure: Erasure) -> None:
    """Raise `BadValue` for an erasure that no log could prove."""
    for event in erasure.events:
        if event.type != ERASED_TYPE or event.cause is None or not 0 <= event.cause < erasure.expected:
            raise BadValue(
                f"{erasure.stream}: this event erases nothing.",
                expected=f"a {ERASED_TYPE} whose cause is an event of the stream",
                found=f"{event.type} with cause {event.cause}",
            )


def _admitted(ledger: Ledger, clock: Clock, erasure: Erasure) -> Group:
    """The group that appends what is said. Raises `Conflict`, and `Held` for a stream of a living worker."""
    head: HeadState | None = ledger.state.heads.get(erasure.stream) or ledger.load(erasure.stream)
    if head is None:
        raise NotFound(f"there is no stream {erasure.stream}.")
    if head.worker is not None and ledger.lives(head.worker):
        raise Held(erasure.stream, worker=head.worker)
    group = Group(ledger, clock)
    append = Append(
        erasure.stream,
        erasure.expected,
        erasure.events,
        append_id=clock.entropy(APPEND_ID_BYTES),
        epoch=head.epoch,
    )
    group.admit(append)
    if isinstance(append.outcome, PlayheadError):
        raise append.outcome
    return group


def erase(cursor: sqlite.Cursor, writer: Writer, clock: Clock, erasure: Erasure) -> Appended | PlayheadError:
    """Blank payloads and append what says so, inside the transaction that is open.

    A refusal is returned and not raised, with nothing written, so that it fails nobody else in the group.
    """
    try:
        group = _admitted(writer, clock, erasure)
    except PlayheadError as refused:
        return refused
    cursor.execute("pragma secure_delete = on").fetchall()
    owe(writer.path)
    writer.write(group)
    for event in erasure.events:
        _blank(cursor, erasure.stream, event.cause)
    outcome = group.accepted[0].outcome
    assert isinstance(outcome, Appended)
    return outcome


def _blank(cursor: sqlite.Cursor, stream: str, seq: int | None) -> None:
    position, salt, data, address = cursor.execute(_PAYLOAD, (stream, seq)).fetchone()
    if salt is None:
        return  # erased before
    cursor.execute(_BLANK, (commitment(salt, data), position))
    if address is not None and cursor.execute(_USED, (address,)).fetchone() is None:
        cursor.execute("delete from blobs where address = ?", (address,))


class Erasing:
    """The part of a `SqliteStore` that erases."""

    if TYPE_CHECKING:
        path: Path
        clock: Clock
        _committer: Committer | None
        _refusal: PlayheadError | None

        def _refused(self) -> PlayheadError: ...

    async def erase(self, erasure: Erasure, *, scrub_budget_s: float = SCRUB_BUDGET_S) -> Scrubbed:
        """Take payloads out of the log for good, and append the events of `erasure` that say so.

        See `LogStore.erase`. Waits up to `scrub_budget_s` for readers that keep the old bytes in the WAL.
        """
        if self._committer is None or self._refusal is not None:
            raise self._refused()
        check(erasure)
        writer = self._committer.writer

        def work(cursor: sqlite.Cursor) -> Any:
            return erase(cursor, writer, self.clock, erasure)

        outcome: Appended | PlayheadError = await self._committer.run(work)
        if isinstance(outcome, PlayheadError):
            raise outcome
        return await self.scrub(scrub_budget_s=scrub_budget_s)

    async def scrub(self, *, scrub_budget_s: float = SCRUB_BUDGET_S) -> Scrubbed:
        """Finish what erasures left owing: see `LogStore.scrub`."""
        if self._committer is None or self._refusal is not None:
            raise self._refused()
        return Scrubbed(await asyncio.to_thread(scrub, self.path, scrub_budget_s))


def erase_in_memory(log: MemoryLog, ledger: Ledger, clock: Clock, erasure: Erasure) -> Group:
    """The same in a model: blanks the payloads and returns the group to keep. Raises what refuses it."""
    check(erasure)
    group = _admitted(ledger, clock, erasure)
    for new in erasure.events:
        assert new.cause is not None
        event = log.streams[erasure.stream][new.cause]
        if event.payload is None or event.salt is None:
            continue
        log.commitments[event.position] = commitment(event.salt, event.payload)
        blank = event._replace(salt=None, payload=None)
        log.streams[erasure.stream][new.cause] = log.events[event.position - 1] = blank
        address = sha256(event.payload).digest()
        large = (e.payload for e in log.events if e.payload and len(e.payload) > PAYLOAD_INLINE_BYTES_MAX)
        if address in log.blobs and all(sha256(payload).digest() != address for payload in large):
            del log.blobs[address]
    return group
