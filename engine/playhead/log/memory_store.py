"""The log as a model: the same answers as the file, from dictionaries.

    log = MemoryLog()
    store = MemoryStore(clock, log)       # a worker
    other = MemoryStore(clock, log)       # another one, as if in another process
    store.kill()                          # what it had not settled is lost, its leases can be taken

Admission, digests and erasure are the file's own code, so what a simulation
finds here holds there. There are no threads, no files and no timers: the same
submissions in the same order give the same log, bit for bit, when the clock does.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from playhead.clock import Clock, SystemClock, new_id
from playhead.errors import BadValue, Corrupt, ImportRefused, NotFound, PlayheadError, StoreError
from playhead.log.admission import Group, HeadState, LogState
from playhead.log.chain import GENESIS, STORE_SCHEME, store_digest
from playhead.log.envelope import (
    APPEND_ID_BYTES,
    PAYLOAD_BYTES_MAX,
    Anchor,
    Append,
    Appended,
    Event,
    Head,
    NewEvent,
    Told,
    kind_of,
)
from playhead.log.erasing import Erasure, Scrubbed, erase_in_memory
from playhead.log.evidence import STORE, Expectation, Verification, Walk
from playhead.log.follow import News
from playhead.log.graft import Grafted, StreamCopy, check_copies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from pathlib import Path

LEASE_TTL_S: Final = 20.0
FOLLOW_PAGE_EVENTS: Final = 256


class MemoryLog:
    """What several `MemoryStore`s share: the file, so to speak."""

    def __init__(self) -> None:
        self.state = LogState()
        self.events: list[Event] = []
        self.streams: dict[str, list[Event]] = {}
        self.blobs: dict[bytes, bytes] = {}
        self.commitments: dict[int, bytes] = {}  # of erased payloads, by position
        self.anchors: list[Anchor] = []
        self.workers: dict[str, MemoryStore] = {}
        self.news = News(None)
        self.key = b""
        """What would stand in a file beside the store."""


class MemoryStore:
    """A `LogStore` on a `MemoryLog`: one worker, as if it were a process of its own."""

    def __init__(
        self, clock: Clock | None = None, log: MemoryLog | None = None, *, lease_ttl_s: float = LEASE_TTL_S
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.log = log or MemoryLog()
        self.worker = new_id(self.clock)
        self.lease_ttl_s = lease_ttl_s
        self.before_settling: Callable[[Sequence[Append]], None] | None = None
        """Called with a group that is in the log and not yet acknowledged: the moment to `kill`."""
        self._queue: list[Append] = []
        self._scheduled = False
        self._refusal: PlayheadError | None = None
        self._stopped_at: int | None = None
        self._claimed = False
        self._calm: list[asyncio.Future[None]] = []
        self.log.workers[self.worker] = self

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, clock: Clock | None = None, log: MemoryLog | None = None, lease_ttl_s: float = LEASE_TTL_S
    ) -> AsyncGenerator[MemoryStore]:
        """A store that is closed at the end of the block."""
        store = cls(clock, log, lease_ttl_s=lease_ttl_s)
        try:
            yield store
        finally:
            await store.close()

    # --- what can happen to a process -------------------------------------------------------------

    def kill(self) -> None:
        """Die at once: what is not in the log is lost, nobody is told, and every lease can be taken."""
        self._queue.clear()
        self._refusal = StoreError("this store's process was killed.")
        self.log.workers.pop(self.worker, None)
        self.log.news.tell()

    def stop(self) -> None:
        """Be stopped, as by SIGSTOP: leases are kept until their ttl is over. Appends still get through."""
        self._stopped_at = self.clock.boottime()

    def go_on(self) -> None:
        """Be continued. Leases that nobody took meanwhile are held again."""
        self._stopped_at = None

    def _lives(self) -> bool:
        # A process that runs renews in time, so only a stopped one asks the clock.
        if self._refusal is not None:
            return False
        if self._stopped_at is None:
            return True
        return self.clock.boottime() < self._stopped_at + int(self.lease_ttl_s * 1e9)

    # --- what admission asks ----------------------------------------------------------------------

    @property
    def state(self) -> LogState:
        return self.log.state

    def load(self, stream: str) -> HeadState | None:
        """Every stream there is has its head in memory already."""
        return self.log.state.heads.get(stream)

    def stored(self, stream: str, start: int, limit: int) -> Sequence[Event]:
        return self.log.streams.get(stream, [])[start : start + limit]

    def lives(self, worker: str) -> bool:
        other = self.log.workers.get(worker)
        return other is not None and other._lives()  # noqa: SLF001  (its own class)

    # --- writing ----------------------------------------------------------------------------------

    def submit(self, append: Append) -> None:
        """Queue `append`; `append.done(append)` is called on the loop's thread once it is settled."""
        if self._refusal is not None:
            raise self._refusal
        append.outcome = None
        self._queue.append(append)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

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
        """Append `events` at `expected`, all or none. See `LogStore.append`."""
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()

        def done(append: Append) -> None:
            if future.done():
                return
            outcome = append.outcome
            if isinstance(outcome, Appended):
                future.set_result(outcome)
            else:
                assert outcome is not None
                future.set_exception(outcome)

        self.submit(
            Append(
                stream,
                expected,
                events,
                append_id=append_id or self.clock.entropy(APPEND_ID_BYTES),
                epoch=epoch,
                claim=claim,
                release=release,
                status=status,
                wake_at=wake_at,
                anchor=anchor,
                done=done,
            )
        )
        return await future

    def _flush(self) -> None:
        """Commit what is queued as one group, and settle it."""
        self._scheduled = False
        batch, self._queue = self._queue, []
        if not batch:
            return
        group = Group(self, self.clock)
        for append in batch:
            group.admit(append)
        if group.events:
            self._keep(group)
        if self.before_settling is not None:
            self.before_settling(batch)
        if self._refusal is not None:  # killed between the commit and the answer
            return
        for append in batch:
            if append.done is not None:
                try:
                    append.done(append)
                except Exception as error:  # noqa: BLE001  (one caller's mistake; the others wait)
                    context = {"message": "append.done raised", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
        self.log.news.tell()
        if self._calm and not self._queue:
            calm, self._calm = self._calm, []
            for future in calm:
                if not future.done():
                    future.set_result(None)

    def _keep(self, group: Group) -> None:
        log = self.log
        for head in group.streams:
            log.streams[head.name] = []
        rows = iter(zip(group.events, group.payloads, strict=True))
        for append in group.accepted:
            stream, events = append.stream, log.streams[append.stream]
            for new in append.events:
                row, payload = next(rows)
                position, _, seq, type_, version, at, epoch, op, cause, append_id, digest, _ = row
                event = Event(
                    position,
                    stream,
                    seq,
                    type_,
                    version,
                    at,
                    epoch,
                    op,
                    cause,
                    append_id,
                    payload[1],
                    new[5],
                    digest,
                )
                events.append(event)
                log.events.append(event)
        log.blobs.update(group.blobs)
        for stream in dict.fromkeys(group.anchored):
            state, head = log.state, log.state.heads[stream]
            log.anchors.append(
                Anchor(state.position, state.position, state.running, stream, head.seq - 1, head.digest)
            )
        if group.claimants:
            self._claimed = True

    async def room(self, events: int = 1, size: int = 0) -> None:
        """There is always room: a model has no disk to wait for."""

    async def drained(self) -> None:
        """Return when every append submitted so far is settled."""
        while self._queue:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._calm.append(future)
            await future

    async def put_blob(self, data: bytes) -> bytes:
        """Keep `data` under its SHA-256, which is returned."""
        self._check()
        if len(data) > PAYLOAD_BYTES_MAX:
            raise BadValue(
                f"a blob of {len(data)} bytes is too long.", expected=PAYLOAD_BYTES_MAX, found=len(data)
            )
        address = sha256(data).digest()
        self.log.blobs[address] = data
        return address

    async def erase(self, erasure: Erasure) -> Scrubbed:
        """Take payloads out of the log, and append the events that say so. See `LogStore.erase`."""
        self._check()
        await self.drained()
        self._keep(erase_in_memory(self.log, self, self.clock, erasure))
        self.log.news.tell()
        return Scrubbed()

    async def scrub(self) -> Scrubbed:
        """A model has no WAL and no files: nothing is ever owed."""
        self._check()
        return Scrubbed()

    async def graft(self, copies: Sequence[StreamCopy]) -> Grafted:
        """Keep whole streams from elsewhere as they are, all of them or none. Raises `ImportRefused`."""
        self._check()
        check_copies(copies)
        new: list[StreamCopy] = []
        for copy in copies:
            here, last = self.log.streams.get(copy.stream), copy.events[-1]
            if here is None:
                new.append(copy)
            elif len(here) <= last.seq or here[last.seq].digest != last.digest:
                raise ImportRefused(f"{copy.stream} is here already, with other events.")
        for copy in new:
            self._plant(copy)
        self.log.news.tell()
        names = {copy.stream for copy in new}
        already = tuple(copy.stream for copy in copies if copy.stream not in names)
        return Grafted(tuple(copy.stream for copy in new), already)

    def _plant(self, copy: StreamCopy) -> None:
        log, last = self.log, copy.events[-1]
        state = log.state
        head = HeadState(copy.stream, copy.stream.encode())
        head.key, state.next_key = state.next_key, state.next_key + 1
        head.seq, head.digest, head.epoch = last.seq + 1, last.digest, last.epoch
        state.heads[copy.stream] = head
        events = log.streams[copy.stream] = []
        for event in copy.events:
            state.position += 1
            state.running = store_digest(state.running, state.position, event.digest)
            if event.payload is None:
                log.commitments[state.position] = copy.commitments[event.position]
            planted = event._replace(position=state.position)
            events.append(planted)
            log.events.append(planted)

    # --- leases -----------------------------------------------------------------------------------

    async def alive(self, worker: str) -> bool:
        """Whether `worker` still runs and its leases are not over."""
        self._check()
        return self.lives(worker)

    async def enlist(self) -> None:
        """Begin to live, as far as others can see: the first claim of a lease does this by itself."""
        self._check()
        self._claimed = True

    async def renew(self) -> bool:
        """Extend all leases of this store's worker. False when they were already over."""
        self._check()
        return self._claimed and self._lives()

    @property
    def lease_age_s(self) -> float | None:
        """Seconds since the last confirmed renewal; None before the first claim."""
        if not self._claimed:
            return None
        return 0.0 if self._stopped_at is None else (self.clock.boottime() - self._stopped_at) / 1e9

    # --- reading ----------------------------------------------------------------------------------

    async def read(
        self, stream: str, start: int = 0, limit: int = 1000, *, types: Sequence[str] | None = None
    ) -> list[Event]:
        """Events of `stream` from seq `start`, at most `limit`, gapless unless `types` filters them."""
        self._check()
        events = self.log.streams.get(stream, [])
        if types is None:
            return events[start : start + limit]
        return [event for event in events[start:] if event.type in types][:limit]

    async def tell(self, stream: str, start: int = 0, limit: int = 1000) -> list[Told]:
        """What the events of `stream` say from seq `start`, at most `limit`, gapless: a cheaper `read`."""
        return [
            Told(event.stream, event.seq, event.type, event.version, event.at, event.op, event.payload)
            for event in await self.read(stream, start, limit)
        ]

    async def head(self, stream: str) -> Head:
        """The end of `stream`; seq 0 and epoch 0 for one that does not exist."""
        self._check()
        found = self.log.state.heads.get(stream)
        return _head_of(found) if found is not None else Head(stream, 0, GENESIS, 0, None, "", None)

    async def heads(self, kind: str, *, status: Sequence[str] | None = None, limit: int = 1000) -> list[Head]:
        """Ends of the streams of `kind`, newest stream first; only those in `status` when given."""
        self._check()
        found: list[Head] = []
        for name, head in reversed(self.log.state.heads.items()):
            if len(found) == limit:
                break
            if kind_of(name) == kind and (status is None or head.status in status):
                found.append(_head_of(head))
        return found

    async def tails(self, kind: str, prefix: str = "", after: str = "", *, limit: int = 1000) -> list[Event]:
        """The last event of each stream of `kind` whose id starts with `prefix`, by name, from `after` on."""
        self._check()
        found = [name for name in self.log.streams if name.startswith(f"{kind}/{prefix}") and name > after]
        return [self.log.streams[name][-1] for name in sorted(found)[:limit]]

    async def feed(self, after: int, limit: int = 1000) -> list[Event]:
        """Events of all streams with position above `after`, in order."""
        self._check()
        # Positions of a model count without holes, so they are places in the list.
        return self.log.events[max(after, 0) : max(after, 0) + limit]

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """Every event above `after`, then new ones as they are committed, by any worker, in order."""
        while True:
            page = await self.feed(after, FOLLOW_PAGE_EVENTS)
            for event in page:
                yield event
                after = event.position
            if not page:
                await self.log.news.wait(0)

    async def get_blob(self, address: bytes) -> bytes:
        """The bytes under `address`. Raises `NotFound`, and `Corrupt` where they do not match it."""
        self._check()
        if address not in self.log.blobs:
            raise NotFound(f"no blob {address.hex()}.")
        data = self.log.blobs[address]
        if sha256(data).digest() != address:
            raise Corrupt(f"blob {address.hex()} holds other bytes than its address says.")
        return data

    async def verify(self) -> Verification:
        """Check everything that can be checked, and say where it is broken."""
        self._check()
        state = self.log.state
        # No event has its running digest beside it here, so the last one is held against the walk.
        end = [Expectation(STORE, state.position, state.running)] if state.position else []
        walk = Walk(expect=end, anchors=self.log.anchors)
        walk.store(STORE_SCHEME)
        for head in state.heads.values():
            walk.head(head.name, head.seq, head.digest, head.epoch)
        for event in self.log.events:
            walk.event(event, self.log.commitments.get(event.position))
        return walk.finish()

    async def backup(self, to: Path) -> None:
        """A model has nothing to copy. Raises `StoreError`."""
        raise StoreError(f"a store in memory cannot be copied to {to}.", next_step="Use a SqliteStore.")

    async def close(self) -> None:
        """Settle what is queued, give up leases, and close."""
        if self._refusal is not None:
            return
        await self.drained()
        self._refusal = StoreError("this store is closed.")
        self.log.workers.pop(self.worker, None)
        self.log.news.tell()

    def _check(self) -> None:
        if self._refusal is not None:
            raise self._refusal


def _head_of(head: HeadState) -> Head:
    return Head(head.name, head.seq, head.digest, head.epoch, head.worker, head.status, head.wake_at)
