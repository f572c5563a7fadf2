"""Who commits, and when: from any number of tasks to one writer, and back.

`submit` only queues, and asks the loop for one flush; so whatever the tasks of
this turn submit shares a transaction and its sync. The flush commits on the
loop's own thread where a sync takes less time than the way to another thread
and back, and nobody else has the lock; else a pump hands the group to the
connection's thread with `await db.commit()`. Which one is decided by measuring.

An append is settled on the loop's thread, after the sync that covers it. A
crash before that leaves all of its events or none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiosqlite

from playhead.errors import Busy, ForkedStore, OutcomeUnknown, PlayheadError, StoreError
from playhead.log.driver import sqlite, translated
from playhead.log.writer import Chore, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from playhead.log.envelope import Append

INLINE_SYNC_NS_MAX: Final = 1_000_000
QUEUE_EVENTS_MAX: Final = 20_000
QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
QUEUE_HARD_FACTOR: Final = 4


class Readers(Protocol):
    """Connections of the same process that have to be closed before the file is opened afresh."""

    async def suspend(self) -> None:
        """Close them; whoever wants to read waits."""
        ...

    async def resume(self) -> None:
        """Open them again."""
        ...


class Committer:
    """The queue in front of a `Writer`, and the one task that drives its thread.

    The queue is bounded twice. `room()` waits below the first bound, and so does the store's `append`.
    `submit` cannot wait: beyond the second bound, four times the first, it raises `Busy`.
    """

    def __init__(self, writer: Writer, *, settled: Callable[[], None], readers: Readers) -> None:
        self.writer = writer
        self.sync_ns: float | None = None
        self.inline_groups = 0
        self._loop = asyncio.get_running_loop()
        self._settled = settled
        self._readers = readers
        self._db: aiosqlite.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._refusal: PlayheadError | None = None
        self._lost: StoreError | None = None
        self._events = 0
        self._bytes = 0
        self._scheduled = False
        self._away = False
        self._dispatching = False
        self._closing = False
        self._waiting_for_room: list[asyncio.Future[None]] = []
        self._waiting_for_calm: list[asyncio.Future[None]] = []

    # --- the way in -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the connection on its thread and start the pump."""
        self._db = await aiosqlite.Connection(self.writer.connect, 64)
        self._task = self._loop.create_task(self._pump(), name="playhead-log")

    def refuse(self, refusal: PlayheadError) -> None:
        """From now on every submission raises `refusal`."""
        self._refusal = refusal

    def check(self) -> None:
        """Raise what a submission would raise."""
        if self._refusal is not None:
            raise self._refusal

    def submit(self, append: Append) -> None:
        """Queue `append` for the next group."""
        if self._refusal is not None:
            raise self._refusal
        events = append.events
        size = 0
        try:
            for event in events:
                size += len(event[5])
        except (TypeError, IndexError):
            size = 0  # no event at all; admission says so
        if self._events and self._full(len(events), size, QUEUE_HARD_FACTOR):
            raise Busy(f"{self._events} events wait to be written already.", next_step="Await room() first.")
        append.outcome = None
        self._events += len(events)
        self._bytes += size
        self.writer.queue.append((append, size))
        if self._scheduled:
            return
        if append.urgent and not self._dispatching:
            self._flush()  # inside an answer it would be a deeper call for each append of a run
        else:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    async def run(self, work: Callable[[sqlite.Cursor], Any]) -> Any:
        """Do `work` inside the next group's transaction and return what it returned, once durable."""
        self.check()
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(chore: Chore) -> None:
            if future.done():
                return
            if chore.error is not None:
                future.set_exception(chore.error)
            else:
                future.set_result(chore.result)

        self.writer.chores.append(Chore(work, done))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return await future

    def _full(self, events: int, size: int, factor: int = 1) -> bool:
        return (
            self._events + events > QUEUE_EVENTS_MAX * factor or self._bytes + size > QUEUE_BYTES_MAX * factor
        )

    @property
    def waiting_events(self) -> int:
        """How many events were submitted and are not settled."""
        return self._events

    @property
    def idle(self) -> bool:
        """Whether everything submitted is settled."""
        return not self._events and not self.writer.queue and not self.writer.chores

    async def room(self, events: int = 1, size: int = 0) -> None:
        """Return when an append of that size may be submitted. An empty queue takes any."""
        while self._events and self._full(events, size):
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting_for_room.append(future)
            await future

    async def drained(self) -> None:
        """Return when everything submitted so far is settled."""
        while not self.idle:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting_for_calm.append(future)
            await future

    # --- the way through --------------------------------------------------------------------------

    def _flush(self) -> None:
        """Commit what is queued: here and now if that is quick, else by the pump."""
        self._scheduled = False
        if self._away or (self._refusal is not None and isinstance(self._refusal, ForkedStore)):
            return
        writer = self.writer
        if not writer.queue and not writer.chores:
            return
        quick = self.sync_ns is not None and self.sync_ns < INLINE_SYNC_NS_MAX
        if not quick or writer.broken or writer.checkpoint_due or self._lost is not None:
            self._send_away()
            return
        try:
            done = writer.try_work()
        finally:
            if writer.settled or writer.settled_chores:
                self.inline_groups += 1
                self._dispatch()
        if not done or writer.broken or writer.checkpoint_due:
            self._send_away()
        elif writer.queue or writer.chores:
            self._again()

    def _again(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _send_away(self) -> None:
        self._away = True
        self._wake.set()
        if self._task is None or self._task.done():  # somebody cancelled every task of the loop
            self._task = self._loop.create_task(self._pump(), name="playhead-log")

    async def _pump(self) -> None:
        """Drive the connection's thread: groups that are not quick, checkpoints, reopening."""
        try:
            while not self._closing:
                await self._wake.wait()
                self._wake.clear()
                await self._work_away()
                self._back()
        finally:
            self._back()

    def _back(self) -> None:
        self._away = False
        if self.writer.queue or self.writer.chores:
            self._again()

    async def _work_away(self) -> None:
        writer = self.writer
        try:
            self._lost = self._lost or writer.lost
            if writer.broken and self._lost is None:
                await self._reopen()
            if self._lost is not None:
                self._fail_queue(self._lost)
            elif self._db is not None:
                await self._db.commit()
        except (Exception, asyncio.CancelledError) as error:  # whatever it is, nobody may wait for ever
            writer.broken = True
            unknown = OutcomeUnknown(f"{writer.path.name}: {error!r}.")
            for append, _ in writer.settled:
                append.outcome = append.outcome or unknown
            for chore in writer.settled_chores:
                chore.error = chore.error or unknown
            if isinstance(error, asyncio.CancelledError):
                self._dispatch()
                raise
        self._dispatch()
        if writer.checkpoint_due and not writer.broken and self._db is not None:
            # After the answers are out: nobody waits for a checkpoint but the next group.
            writer.checkpoint_only = True
            await self._db.commit()

    async def _reopen(self) -> None:
        """Close a connection that cannot be trusted and open another one, which looks at what is there."""
        writer = self.writer
        try:
            if self._db is not None:
                # Readers of this process are open and share SQLite's lock, so this
                # close copies nothing and deletes nothing, as it must not here. Then
                # they go too: all connections of a process share one view of the WAL.
                await self._db.close()
                self._db = None
            if writer.lost is not None:
                self._lost = writer.lost
                return
            await self._readers.suspend()
            try:
                self._db = await aiosqlite.Connection(writer.connect, 64)
            finally:
                await self._readers.resume()
        except sqlite.Error as error:
            self._fail_queue(translated(error, writer.path))
            return
        except StoreError as error:
            self._lost = error
            return
        writer.broken = False
        writer.truncate_due = True

    def _fail_queue(self, error: StoreError) -> None:
        writer = self.writer
        while writer.queue:
            entry = writer.queue.popleft()
            entry[0].outcome = error
            writer.settled.append(entry)
        while writer.chores:
            chore = writer.chores.popleft()
            chore.error = error
            writer.settled_chores.append(chore)

    # --- the way back -----------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Tell everybody whose append was in the group. Runs on the loop's thread."""
        writer = self.writer
        self._measure(writer.sync_ns)
        writer.sync_ns = 0
        settled, writer.settled = writer.settled, []
        chores, writer.settled_chores = writer.settled_chores, []
        self._dispatching = True
        for append, size in settled:
            self._events -= len(append.events)
            self._bytes -= size
            done = append.done
            if done is not None:
                try:
                    done(append)
                except Exception as error:  # noqa: BLE001  (one caller's mistake; the others wait)
                    self._report(error)
        for chore in chores:
            chore.done(chore)
        self._dispatching = False
        if self._waiting_for_room:
            waiting, self._waiting_for_room = self._waiting_for_room, []
            _wake_all(waiting)
        if self._waiting_for_calm and self.idle:
            waiting, self._waiting_for_calm = self._waiting_for_calm, []
            _wake_all(waiting)
        if settled:
            self._settled()

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "append.done raised", "exception": error})

    def _measure(self, sync_ns: int) -> None:
        """Follow the time of a sync: down quickly, up slowly, so that one slow sync decides nothing."""
        if sync_ns <= 0:
            return
        if self.sync_ns is None:
            self.sync_ns = float(sync_ns)
            return
        weight = 0.5 if sync_ns < self.sync_ns else 0.1
        self.sync_ns += weight * (sync_ns - self.sync_ns)

    # --- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Settle what is queued and close the connection, leaving an empty WAL behind.

        Raises `Corrupt` where something was acknowledged into a file that is no longer the store.
        """
        await self.drained()
        self._closing = True
        self._wake.set()
        if self._task is not None and not self._task.done():
            await self._task
        if self._db is not None:
            await self._db.close()
            self._db = None
        if self.writer.lost is not None and self.writer.acknowledged:
            raise self.writer.lost

    def kill_silently(self) -> None:
        """In a forked child: the thread is gone and the loop is another's; touch neither."""
        self._refusal = ForkedStore("this store was opened before a fork, in the parent process.")


def _wake_all(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
