"""The log in one SQLite file.

    async with SqliteStore.open("runs.db") as store:
        landed = await store.append("run/4wq2mzkq7xha", 0, [event])
        assert await store.read("run/4wq2mzkq7xha")

Writing goes through one writer in groups that share a sync; reading through a
connection of its own that never writes and never holds a transaction. Small
reads happen on the event loop's thread, for they take less time than the way to
another thread; long ones on a thread that only reads.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

from playhead.clock import Clock, SystemClock, new_id
from playhead.errors import (
    BadValue,
    Busy,
    ForkedStore,
    ImportRefused,
    NotAStore,
    PlayheadError,
    ReadOnly,
    StoreError,
)
from playhead.log import guards
from playhead.log.backup import copy_to
from playhead.log.committer import Committer
from playhead.log.driver import (
    PAGE_BYTES,
    Durability,
    connect_writer,
    place_of,
    roll_back,
    sqlite,
    translated,
)
from playhead.log.envelope import (
    APPEND_ID_BYTES,
    PAYLOAD_BYTES_MAX,
    Append,
    Appended,
    Event,
    Head,
    NewEvent,
    Told,
)
from playhead.log.erasing import Erasing
from playhead.log.filelock import FileLock, WorkerFiles
from playhead.log.follow import News
from playhead.log.graft import check_copies, graft, pages_of
from playhead.log.migrations import prepare
from playhead.log.reader import LogReader
from playhead.log.scrubbing import owed_path, scrub_under_lock
from playhead.log.verify import verify
from playhead.log.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from playhead.log.graft import Grafted, StreamCopy
    from playhead.log.verify import Verification

T = TypeVar("T")
Mode = Literal["write", "read"]

LEASE_TTL_S: Final = 20.0
BUSY_BUDGET_S: Final = 10.0
INLINE_READ_EVENTS_MAX: Final = 64
FOLLOW_PAGE_EVENTS: Final = 256


class Statistics(NamedTuple):
    """Groups committed, those of them on the loop's thread, checkpoints, events that wait, time of a sync."""

    groups: int
    inline_groups: int
    checkpoints: int
    waiting_events: int
    sync_ns: float | None


class SqliteStore(Erasing):
    """A `LogStore` in one file. Made by `open`; belongs to one event loop and one process."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        mode: Mode,
        durability: Durability,
        lease_ttl_s: float,
        busy_budget_s: float,
    ) -> None:
        self.path = path
        self.clock = clock
        self.mode: Mode = mode
        self.worker = f"{os.getpid()}-{new_id(clock)}"
        self._lease_ttl_ns = int(lease_ttl_s * 1e9)
        self._renewal: asyncio.Task[None] | None = None
        self._claimed = False
        self._closed = False
        self._reader: LogReader
        self._far: LogReader
        self._readers_back: asyncio.Event | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="playhead-read")
        self._lock: FileLock | None = None
        self._workers = WorkerFiles(path)
        self._committer: Committer | None = None
        self._refusal: PlayheadError | None = None
        if mode == "write":
            self._lock = FileLock(path.with_name(path.name + "-lock"))
            writer = Writer(
                path,
                clock=clock,
                lock=self._lock,
                workers=self._workers,
                durability=durability,
                busy_budget_s=busy_budget_s,
                lease_ttl_ns=self._lease_ttl_ns,
            )
            self._committer = Committer(writer, settled=self._tell, readers=self)
        self._busy_budget_s = busy_budget_s
        self._durability: Durability = durability

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path | str,
        *,
        clock: Clock | None = None,
        mode: Mode = "write",
        durability: Durability = "full",
        lease_ttl_s: float = LEASE_TTL_S,
        busy_budget_s: float = BUSY_BUDGET_S,
    ) -> AsyncGenerator[SqliteStore]:
        """Open the store at `path`, making it first where there is none and `mode` is "write".

        `durability="os"` leaves syncing to the operating system: an acknowledged append then survives a
        crash of the process, but not of the machine. The store's own `path` is where the file lies, symlinks
        followed. Raises `ReadOnly`, `NotAStore`, `NewerFormat`,
        `UnsafeFilesystem`, and `Busy` when another process keeps the lock longer than the budget.
        """
        store = await cls.opened(
            path,
            clock=clock,
            mode=mode,
            durability=durability,
            lease_ttl_s=lease_ttl_s,
            busy_budget_s=busy_budget_s,
        )
        try:
            yield store
        finally:
            await store.close()

    @classmethod
    async def opened(
        cls,
        path: Path | str,
        *,
        clock: Clock | None = None,
        mode: Mode = "write",
        durability: Durability = "full",
        lease_ttl_s: float = LEASE_TTL_S,
        busy_budget_s: float = BUSY_BUDGET_S,
    ) -> SqliteStore:
        """As `open`, for those who call `close` themselves."""
        place = place_of(path)
        if mode == "write":
            guards.check_place(place)
        elif not place.exists():
            raise NotAStore(f"{place}: there is no such file.", next_step="Check the path.")
        store = cls(
            place,
            clock=clock or SystemClock(),
            mode=mode,
            durability=durability,
            lease_ttl_s=lease_ttl_s,
            busy_budget_s=busy_budget_s,
        )
        try:
            await store._start()
        except BaseException:
            store._drop()
            raise
        return store

    async def _start(self) -> None:
        if self._lock is not None:
            await asyncio.to_thread(self._prepare, self._lock)
        self._reader = LogReader(self.path)
        self._far = LogReader(self.path)
        guards.register_live(self.path)
        guards.poison_on_fork(self)
        self._news = News(self._data_version)
        if self._committer is not None:
            await self._committer.open()

    def _prepare(self, lock: FileLock) -> None:
        """Make or lift the file, and sweep up after dead workers, all under the lock."""
        if not lock.acquire(self._busy_budget_s):
            raise Busy(lock.busy_message())
        try:
            if self.path.exists() and self.path.stat().st_size:
                roll_back(self.path)
                # Settings must not be written into a stranger's file.
                LogReader(self.path, unmade=True).close()
            db = connect_writer(self.path, durability=self._durability, create=True)
            try:
                prepare(db, self.path)
                self._workers.sweep()
            finally:
                db.close()
            if owed_path(self.path).exists():
                scrub_under_lock(self.path)
        except sqlite.Error as error:
            raise translated(error, self.path) from error
        finally:
            lock.release()

    # --- writing ----------------------------------------------------------------------------------

    def submit(self, append: Append) -> None:
        """Queue `append`; `append.done(append)` is called on the loop's thread once it is settled.

        Raises `ForkedStore`, `ReadOnly`, and `Busy` when the queue is beyond its second bound; every
        other error is the append's outcome. A crash before `done` leaves all of its events or none.
        """
        if self._committer is None or self._refusal is not None:
            raise self._refused()
        if append.claim is not None and not self._claimed:
            self._keep_leases()
        self._committer.submit(append)

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

        Cancelling the caller does not cancel the append: it lands or fails as a whole, and the append
        id decides later. See `LogStore.append` for what is raised.
        """
        if self._committer is None or self._refusal is not None:
            raise self._refused()
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

        append = Append(
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
        await self._committer.room(len(events))
        self.submit(append)
        return await future

    async def room(self, events: int = 1, size: int = 0) -> None:
        """Return when the queue has room for that many more events and bytes."""
        if self._committer is not None:
            await self._committer.room(events, size)

    async def drained(self) -> None:
        """Return when every append submitted so far is settled."""
        if self._committer is not None:
            await self._committer.drained()

    async def put_blob(self, data: bytes) -> bytes:
        """Keep `data` under its SHA-256, which is returned. Durable on return."""
        if self._committer is None or self._refusal is not None:
            raise self._refused()
        if len(data) > PAYLOAD_BYTES_MAX:
            raise BadValue(
                f"a blob of {len(data)} bytes is too long.", expected=PAYLOAD_BYTES_MAX, found=len(data)
            )
        address = sha256(data).digest()

        def work(cursor: sqlite.Cursor) -> None:
            cursor.execute("insert or ignore into blobs values (?,?)", (address, data))

        await self._committer.run(work)
        return address

    async def graft(self, copies: Sequence[StreamCopy]) -> Grafted:
        """Keep whole streams from elsewhere as they are, all of them or none.

        Raises `ImportRefused` where a copy does not prove itself, or a stream of its name is here with
        other events. A crash leaves none of it or all.
        """
        if self._committer is None or self._refusal is not None:
            raise self._refused()
        await asyncio.to_thread(check_copies, copies)
        writer = self._committer.writer

        def work(cursor: sqlite.Cursor) -> Grafted | ImportRefused:
            writer.frames += pages_of(copies, PAGE_BYTES)
            return graft(cursor, writer.state, copies)

        outcome: Grafted | ImportRefused = await self._committer.run(work)
        if isinstance(outcome, ImportRefused):
            raise outcome
        return outcome

    def statistics(self) -> Statistics:
        """What the writer has done since the store was opened; zeros where it was opened for reading."""
        if self._committer is None:
            return Statistics(0, 0, 0, 0, None)
        return Statistics(
            self._committer.writer.groups,
            self._committer.inline_groups,
            self._committer.writer.checkpoints,
            self._committer.waiting_events,
            self._committer.sync_ns,
        )

    def _tell(self) -> None:
        self._news.tell()

    def _refused(self) -> PlayheadError:
        if self._refusal is not None:
            return self._refusal
        return ReadOnly(f"{self.path.name} was opened for reading.", next_step='Open it with mode="write".')

    # --- leases -----------------------------------------------------------------------------------

    async def alive(self, worker: str) -> bool:
        """Whether `worker` still runs and its leases are not over."""
        await self._readable()
        if not self._workers.lives(worker):
            return False
        lease = self._reader.worker_lease(worker)
        return lease is not None and lease[0] == self.clock.boot() and lease[1] > self.clock.boottime()

    async def enlist(self) -> None:
        """Begin to live, as far as others can see: the first claim of a lease does this by itself."""
        if self._committer is None or self._refusal is not None:
            raise self._refused()
        writer = self._committer.writer
        self._keep_leases()
        await self._committer.run(lambda cursor: writer.enlist(cursor, self.worker))

    async def renew(self) -> bool:
        """Extend all leases of this store's worker. False when they were already over."""
        if self._committer is None or self._refusal is not None:
            raise self._refused()
        writer, worker = self._committer.writer, self.worker

        def work(cursor: sqlite.Cursor) -> bool:
            row = cursor.execute("select boot, until from workers where worker=?", (worker,)).fetchone()
            if row is None or row[0] != self.clock.boot() or row[1] <= self.clock.boottime():
                return False
            writer.lease(cursor, worker)
            return True

        return bool(await self._committer.run(work))

    @property
    def lease_age_s(self) -> float | None:
        """Seconds since the last confirmed claim or renewal; None before the first claim.

        An engine stops working on its runs by itself when this passes three quarters of `lease_ttl_s`.
        """
        if self._committer is None or self._committer.writer.confirmed_at is None:
            return None
        return (self.clock.boottime() - self._committer.writer.confirmed_at) / 1e9

    @property
    def lease_ttl_s(self) -> float:
        """How long a lease lasts after its last renewal."""
        return self._lease_ttl_ns / 1e9

    def _keep_leases(self) -> None:
        self._claimed = True
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(
                self._renew_often(), name="playhead-leases"
            )

    async def _renew_often(self) -> None:
        """Renew every quarter of the ttl. Ends when the leases were over: a new claim starts it again."""
        while True:
            await asyncio.sleep(self.lease_ttl_s / 4)
            # A failed renewal is tried again; what it means is read from lease_age_s.
            with suppress(StoreError):
                if not await self.renew():
                    self._claimed = False
                    return

    # --- reading ----------------------------------------------------------------------------------

    async def read(
        self, stream: str, start: int = 0, limit: int = 1000, *, types: Sequence[str] | None = None
    ) -> list[Event]:
        """Events of `stream` from seq `start`, at most `limit`, gapless unless `types` filters them."""
        await self._readable()
        if limit <= INLINE_READ_EVENTS_MAX and types is None:
            return self._reader.read(stream, start, limit)
        return await self._away(lambda log: log.read(stream, start, limit, types=types))

    async def tell(self, stream: str, start: int = 0, limit: int = 1000) -> list[Told]:
        """What the events of `stream` say from seq `start`, at most `limit`, gapless: a cheaper `read`."""
        await self._readable()
        if limit <= INLINE_READ_EVENTS_MAX:
            return self._reader.tell(stream, start, limit)
        return await self._away(lambda log: log.tell(stream, start, limit))

    async def head(self, stream: str) -> Head:
        """The end of `stream`; seq 0 and epoch 0 for one that does not exist."""
        await self._readable()
        return self._reader.head(stream)

    async def heads(self, kind: str, *, status: Sequence[str] | None = None, limit: int = 1000) -> list[Head]:
        """Ends of the streams of `kind`, newest stream first; only those in `status` when given."""
        await self._readable()
        return await self._away(lambda log: log.heads(kind, status=status, limit=limit))

    async def tails(self, kind: str, prefix: str = "", after: str = "", *, limit: int = 1000) -> list[Event]:
        """The last event of each stream of `kind` whose id starts with `prefix`, by name, from `after` on."""
        await self._readable()
        return await self._away(lambda log: log.tails(kind, prefix, after, limit))

    async def feed(self, after: int, limit: int = 1000) -> list[Event]:
        """Events of all streams with position above `after`, in order."""
        await self._readable()
        if limit <= INLINE_READ_EVENTS_MAX:
            return self._reader.feed(after, limit)
        return await self._away(lambda log: log.feed(after, limit))

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """Every event above `after`, then new ones as they are committed, by any process, in order."""
        while True:
            await self._readable()
            version = self._news.version()
            page = await self._away(partial(_page, after=after))
            for event in page:
                yield event
                after = event.position
            if not page:
                await self._news.wait(version)

    async def get_blob(self, address: bytes) -> bytes:
        """The bytes under `address`. Raises `NotFound`, and `Corrupt` where they do not match it."""
        await self._readable()
        return await self._away(lambda log: log.blob(address))

    async def verify(self) -> Verification:
        """Check everything that can be checked, and say where it is broken."""
        self._check()
        return await asyncio.to_thread(verify, self.path)

    async def backup(self, to: Path) -> None:
        """Write a whole, verified copy to `to`, atomically. A crash leaves no file or a temporary one."""
        self._check()
        await asyncio.to_thread(copy_to, self.path, Path(to))

    async def _away(self, ask: Callable[[LogReader], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: ask(self._far))

    async def _readable(self) -> None:
        if self._readers_back is not None:
            await self._readers_back.wait()
        self._check()

    async def suspend(self) -> None:
        """Close the readers while the writer opens the file afresh. Reads wait for `resume`."""
        self._readers_back = asyncio.Event()
        await asyncio.get_running_loop().run_in_executor(self._threads, self._far.close)
        self._reader.close()

    async def resume(self) -> None:
        """Open the readers again. Where that fails, the store refuses every further use."""
        back, self._readers_back = self._readers_back, None
        try:
            self._reader, self._far = LogReader(self.path), LogReader(self.path)
        except StoreError as error:
            self._refusal = error
            raise
        finally:
            if back is not None:
                back.set()

    def _data_version(self) -> int:
        """Another number than before, too, while there is no reader: whoever waits then finds out why."""
        reader: LogReader | None = self.__dict__.get("_reader")
        return -1 if self._readers_back is not None or reader is None else reader.data_version()

    def _check(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    # --- the end ----------------------------------------------------------------------------------

    def poison(self) -> None:
        """In a forked child: refuse every use. The connections stay open, for the parent's sake."""
        self._refusal = ForkedStore(f"{self.path.name} was opened before a fork, in the parent process.")
        if self._committer is not None:
            self._committer.refuse(self._refusal)
        if self._lock is not None:
            self._lock.abandon()
        self._workers.abandon()

    async def close(self) -> None:
        """Settle what is queued, give up leases, and close.

        Raises `Corrupt` where the file was deleted or replaced meanwhile, and something was acknowledged.
        """
        if self._closed or isinstance(self._refusal, ForkedStore):
            return
        self._closed = True
        if self._renewal is not None:
            self._renewal.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewal
        try:
            if self._committer is not None:
                await self._give_up_leases(self._committer)
                self._refusal = StoreError(f"{self.path.name} is closed.")
                self._committer.refuse(self._refusal)
                await self._committer.drained()
                # Readers first: SQLite tidies up when the last connection closes, and
                # that has to be the one which holds the lock.
                self._close_readers()
                await self._committer.close()
        finally:
            self._drop()

    async def _give_up_leases(self, committer: Committer) -> None:
        if not self._claimed:
            return

        def work(cursor: sqlite.Cursor) -> None:
            cursor.execute("delete from workers where worker=?", (self.worker,))
            self._workers.leave()

        # Where it cannot be said, the lock file says it as soon as this process is gone.
        with suppress(StoreError):
            await committer.run(work)

    def _close_readers(self) -> None:
        self._threads.shutdown(wait=True)
        for name in ("_reader", "_far"):
            reader: LogReader | None = self.__dict__.pop(name, None)
            if reader is not None:
                reader.close()
                if name == "_reader":
                    guards.unregister_live(self.path)

    def _drop(self) -> None:
        """Close what is open, in whatever state the store is."""
        self._refusal = self._refusal or StoreError(f"{self.path.name} is closed.")
        if "_news" in self.__dict__:
            self._news.close()
        self._close_readers()
        guards.forget(self)
        self._workers.leave()
        if self._lock is not None:
            self._lock.close()


def _page(log: LogReader, *, after: int) -> list[Event]:
    return log.feed(after, FOLLOW_PAGE_EVENTS)
