"""What every store promises, whatever it is made of.

The conformance suite in tests/log/ runs against each implementation: SQLite on
disk, and the model in memory that simulations use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from playhead.clock import Clock
    from playhead.log.envelope import Append, Appended, Event, Head, NewEvent, Told
    from playhead.log.erasing import Erasure, Scrubbed
    from playhead.log.graft import Grafted, StreamCopy
    from playhead.log.verify import Verification


class LogStore(Protocol):
    """Events in streams, appended all or none, chained, and never changed."""

    clock: Clock
    worker: str
    """The id under which this open store claims leases."""

    def submit(self, append: Append) -> None:
        """Queue `append`. On the loop's own thread, `append.done(append)` is called once it is settled.

        The hot path: no task and no future is made. An `urgent` append may be settled before this
        returns. Raises `ForkedStore`, `ReadOnly` and, when far too much waits, `Busy` at once; every
        other error is the append's outcome. A crash before `done` leaves all of its events or none.
        """
        ...

    async def append(
        self,
        stream: str,
        expected: int,
        events: Sequence[NewEvent],
        *,
        append_id: bytes | None = None,
        epoch: int = 0,
        claim: str | None = None,
        release: bool = False,
        status: str | None = None,
        wake_at: int | None = None,
        anchor: bool = False,
    ) -> Appended:
        """Append `events` at `expected`, all or none, and return when they are durable.

        The same append again (same id, same place, same content) gives the first answer.
        Raises `Conflict`, `Fenced`, `Held`, `IdReuse`, `Busy`, `StorageFull` with nothing written, and
        `OutcomeUnknown` when only a second try can tell. Cancelling the caller does not cancel the
        append: it lands or fails as a whole, and the append id decides later.
        """
        ...

    async def room(self, events: int = 1, size: int = 0) -> None:
        """Return when the queue has room for that many more events and bytes."""
        ...

    async def drained(self) -> None:
        """Return when every append submitted so far is settled."""
        ...

    async def read(
        self, stream: str, start: int = 0, limit: int = 1000, *, types: Sequence[str] | None = None
    ) -> list[Event]:
        """Events of `stream` from seq `start`, at most `limit`, gapless unless `types` filters them."""
        ...

    async def tell(self, stream: str, start: int = 0, limit: int = 1000) -> list[Told]:
        """What the events of `stream` say from seq `start`, at most `limit`, gapless: a cheaper `read`."""
        ...

    async def head(self, stream: str) -> Head:
        """The end of `stream`; seq 0 and epoch 0 for one that does not exist."""
        ...

    async def heads(self, kind: str, *, status: Sequence[str] | None = None, limit: int = 1000) -> list[Head]:
        """Ends of the streams of `kind`, newest stream first; only those in `status` when given."""
        ...

    async def tails(self, kind: str, prefix: str = "", after: str = "", *, limit: int = 1000) -> list[Event]:
        """The last event of each stream of `kind` whose id starts with `prefix`.

        They are sorted by the names of their streams, of which the first is the next one after `after`.
        """
        ...

    async def feed(self, after: int, limit: int = 1000) -> list[Event]:
        """Events of all streams with position above `after`, in order, without gaps."""
        ...

    def follow(self, after: int) -> AsyncIterator[Event]:
        """Every event above `after`, then new ones as they are committed, by any process, in order."""
        ...

    async def alive(self, worker: str) -> bool:
        """Whether `worker` still runs and its leases are not over."""
        ...

    async def enlist(self) -> None:
        """Begin to live, as far as others can see: the first claim of a lease does this by itself.

        For a worker that answers for something without owning a stream. Durable on return.
        """
        ...

    async def renew(self) -> bool:
        """Extend all leases of this store's worker. False when they were already over."""
        ...

    async def put_blob(self, data: bytes) -> bytes:
        """Keep `data` under its SHA-256, which is returned. Durable on return."""
        ...

    async def get_blob(self, address: bytes) -> bytes:
        """The bytes under `address`. Raises `NotFound`, and `Corrupt` where they do not match it."""
        ...

    async def graft(self, copies: Sequence[StreamCopy]) -> Grafted:
        """Keep whole streams from elsewhere as they are, all of them or none.

        Everything that a digest covers stays; positions are this store's own. A stream that is here
        already with the same events is left alone. Raises `ImportRefused`.
        """
        ...

    async def erase(self, erasure: Erasure) -> Scrubbed:
        """Take payloads out of the log for good, and append the events that say so, in one transaction.

        A crash leaves both done or neither. Then the bytes are taken out of the WAL and of what was derived
        from the log; what others keep from going meanwhile is told, and `scrub` or the next open finishes it.
        Raises `Conflict` where the stream does not end as expected, and `Held` while a living worker owns it.
        """
        ...

    async def scrub(self) -> Scrubbed:
        """Finish what erasures left owing; says what cannot be reached yet."""
        ...

    async def verify(self) -> Verification:
        """Check everything that can be checked, and say where it is broken."""
        ...

    async def backup(self, to: Path) -> None:
        """Write a whole, verified copy to `to`, atomically. A crash leaves no file or a temporary one."""
        ...

    async def close(self) -> None:
        """Settle what is queued, give up leases, and close."""
        ...
