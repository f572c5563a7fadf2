"""The whole locked group, in one call: either every event of it is durable, or none is there.

    lock → begin immediate → admit each append → insert → commit (one sync) → look at the WAL → unlock

`Writer` is synchronous and runs in one thread at a time: on a thread of its own
behind aiosqlite, or on the event loop's thread where a sync is faster than the
way to another thread (`committer.py` decides). A crash anywhere leaves the log
as it was before the group or as it is after it.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from playhead.errors import Busy, Corrupt, OutcomeUnknown, StoreError
from playhead.log.admission import EventRow, Group, HeadState, LogState
from playhead.log.anchors import write_anchors
from playhead.log.driver import PAGE_BYTES, Durability, code_of, connect_writer, sqlite, translated
from playhead.log.envelope import Anchor, Append, Appended, Event
from playhead.log.guards import FileWatch
from playhead.log.reader import SELECT_HEAD, SELECT_STREAM, events_of
from playhead.logger import log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from playhead.clock import Clock
    from playhead.log.filelock import FileLock, WorkerFiles

GROUP_EVENTS_MAX: Final = 2_000
GROUP_BYTES_MAX: Final = 16 * 1024 * 1024
HEADS_CACHED_MAX: Final = 50_000
ANCHOR_EVERY_EVENTS: Final = 1_000
ANCHORS_OWED_MAX: Final = 1_000
CHECKPOINT_FRAMES: Final = 1_000
ROWS_PER_STATEMENT: Final = 25

# Pages that a group of any size writes: events, their index, payloads. And those that it writes
# besides when an owner says something or a stream is made: heads, their index, streams or workers.
_FRAMES_BASE: Final = 3
_FRAMES_HEADS: Final = 3
_EVENT_ROW_BYTES: Final = 200
_INDEX_ROWS_PER_PAGE: Final = 300
_HEADS_PER_PAGE: Final = 60

_FULL, _BUSY, _IOERR, _CORRUPT = 13, 5, 10, 11

_DATA_VERSION: Final = "pragma data_version"
_END: Final = (
    "select position, running, (select max(stream) from streams) from events order by position desc limit 1"
)
# For bytes and None the sqlite3 module looks for an adapter in four places and words an error at each, every
# time: a fifth of what an operation cost. For a bytearray it does not, so rows are bound as bytearrays and
# an append id that is not there as an empty one.
_INSERT_EVENTS: Final = "insert into events values (?,?,?,?,?,?,?,?,?,nullif(?,x''),?,?)"
_MANY_EVENTS: Final = _INSERT_EVENTS + ",(?,?,?,?,?,?,?,?,?,nullif(?,x''),?,?)" * (ROWS_PER_STATEMENT - 1)
_INSERT_PAYLOADS: Final = "insert into payloads (position, salt, bytes) values (?,?,?)"
_MANY_PAYLOADS: Final = _INSERT_PAYLOADS + ",(?,?,?)" * (ROWS_PER_STATEMENT - 1)
_INSERT_LARGE: Final = "insert into payloads (position, salt, blob) values (?,?,?)"
_INSERT_BLOB: Final = "insert or ignore into blobs values (?,?)"
_INSERT_STREAMS: Final = "insert into streams values (?,?,'playhead.event/1')"
_INSERT_HEADS: Final = (
    "insert into heads (seq, digest, epoch, worker, status, wake_at, stream) values (?,?,?,?,?,?,?)"
)
_SET_HEAD: Final = "update heads set seq=?, digest=?, epoch=?, worker=?, status=?, wake_at=? where stream=?"
_SET_WORKER: Final = (
    "insert into workers values (?,?,?)"
    " on conflict (worker) do update set boot=excluded.boot, until=excluded.until"
)


class Chore:
    """Something else to be done inside a group's transaction: a renewal, a blob."""

    __slots__ = ("done", "error", "result", "run")

    def __init__(self, run: Callable[[sqlite.Cursor], Any], done: Callable[[Chore], None]) -> None:
        self.run = run
        self.done = done
        self.result: Any = None
        self.error: BaseException | None = None


class GroupConnection(sqlite.Connection):
    """A connection whose `commit()` is the whole locked group, so that it is one callable to aiosqlite."""

    writer: Writer

    def commit(self) -> None:
        """Commit one group of what is queued, or make the checkpoint that is due."""
        self.writer.work()

    def close(self) -> None:
        """Close under the lock: SQLite checkpoints when the last connection goes."""
        with self.writer.closing():
            super().close()


class Writer:
    """Commits groups. Never entered by two threads at once: the mutex sees to it."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        lock: FileLock,
        workers: WorkerFiles,
        durability: Durability,
        busy_budget_s: float,
        lease_ttl_ns: int,
        checkpoint_frames: int = CHECKPOINT_FRAMES,
    ) -> None:
        self.path = path
        self.state = LogState()
        self.queue: deque[tuple[Append, int]] = deque()
        self.chores: deque[Chore] = deque()
        self.settled: list[tuple[Append, int]] = []
        self.settled_chores: list[Chore] = []
        self.broken = False
        self.truncate_due = False
        self.checkpoint_only = False
        self.sync_ns = 0
        self.groups = 0
        self.checkpoints = 0
        self.frames = 0
        self._taken_bytes = 0
        self.confirmed_at: int | None = None
        self._leased_at: int | None = None
        self._clock = clock
        self._lock = lock
        self._workers = workers
        self._durability: Durability = durability
        self._busy_budget_s = busy_budget_s
        self._lease_ttl_ns = lease_ttl_ns
        self._checkpoint_frames = checkpoint_frames
        self._mutex = threading.Lock()
        self._wal = FileWatch(f"{path}-wal")
        self._file = FileWatch(path)
        self.lost: StoreError | None = None
        self._data_version = -1
        self._acknowledged: tuple[int, bytes] | None = None
        self._anchored_at = 0
        self._anchors_owed: deque[Anchor] = deque(maxlen=ANCHORS_OWED_MAX)
        self._anchors_fail = False
        self._db: GroupConnection
        self._cursor: sqlite.Cursor

    # --- one connection ---------------------------------------------------------------------------

    def connect(self) -> GroupConnection:
        """Open the connection; aiosqlite calls this on its thread. Checks what was acknowledged before."""
        db: GroupConnection = connect_writer(self.path, factory=GroupConnection, durability=self._durability)
        db.writer = self
        try:
            self._begin_with(db)
        except BaseException:
            db.close()
            raise
        return db

    def _begin_with(self, db: GroupConnection) -> None:
        self._db = db
        self._cursor = db.cursor()
        self._data_version = -1
        self.state = LogState()
        self._cursor.execute("select id from store").fetchone()  # opens the WAL
        self._wal.start()
        if not self._file.started:
            self._file.start()
        elif (lost := self._lost_file()) is not None:
            raise lost
        if self._acknowledged is None:
            return
        position, digest = self._acknowledged
        row = self._cursor.execute("select digest from events where position=?", (position,)).fetchone()
        if row is None or row[0] != digest:
            raise Corrupt(
                f"{self.path.name}: event {position} was acknowledged and is no longer there.",
                expected=digest.hex(),
                found=None if row is None else row[0].hex(),
            )

    @contextmanager
    def closing(self) -> Generator[None]:
        """Hold the lock, if it comes in time, and empty the WAL, if the connection can be trusted."""
        with self._mutex:
            self._lost_file()
            locked = self._lock.acquire(self._busy_budget_s)
            try:
                if locked and not self.broken:
                    self._checkpoint("truncate")
                yield
            finally:
                if locked:
                    self._lock.release()

    # --- one group --------------------------------------------------------------------------------

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough frames stand in the WAL to be worth copying into the database."""
        return self.frames >= self._checkpoint_frames

    def work(self) -> None:
        """Commit one group, waiting for the lock in turn; with nothing queued, make a due checkpoint."""
        checkpoint_only, self.checkpoint_only = self.checkpoint_only, False
        with self._mutex:
            if not self._lock.acquire(self._busy_budget_s):
                if checkpoint_only:
                    self.frames = 0  # whoever holds the lock now will come to it as well
                    return
                self._take()
                self._settle_all(Busy(self._lock.busy_message()))
                return
            try:
                if self.truncate_due:
                    self.truncate_due = not self._checkpoint("truncate")
                if (self.queue or self.chores) and not checkpoint_only:
                    self._group()
                elif self.checkpoint_due:
                    self._checkpoint("passive")
            finally:
                self._lock.release()

    def try_work(self) -> bool:
        """Commit one group now, without waiting. False when somebody else has the lock."""
        if not self._mutex.acquire(blocking=False):
            return False
        try:
            if not self._lock.try_acquire():
                return False
            try:
                self._group()
            finally:
                self._lock.release()
        finally:
            self._mutex.release()
        return True

    def _take(self) -> None:
        """Move what fits into one group from the queue to `settled`."""
        queue, settled = self.queue, self.settled
        events = size = 0
        while queue and events < GROUP_EVENTS_MAX and size < GROUP_BYTES_MAX:
            entry = queue.popleft()
            settled.append(entry)
            events += len(entry[0].events)
            size += entry[1]
        self._taken_bytes = size
        while self.chores:
            self.settled_chores.append(self.chores.popleft())

    def _group(self) -> None:
        """The transaction. Every append that was taken has an outcome when this returns or raises."""
        self._take()
        if self.lost is not None:
            self._settle_all(self.lost)
            return
        execute = self._cursor.execute
        committing = False
        try:
            execute("begin immediate")
            if execute(_DATA_VERSION).fetchone()[0] != self._data_version:
                self._refresh()
            group = Group(self, self._clock)
            for append, _ in self.settled:
                group.admit(append)
            for chore in self.settled_chores:
                chore.result = chore.run(self._cursor)
            if not group.accepted and not self.settled_chores:
                execute("rollback")
                return
            # Where a worker says that it lives there is time to look, and most at stake.
            if (group.claimants or self.settled_chores) and (lost := self._lost_file()) is not None:
                execute("rollback")
                self._settle_all(lost)
                return
            self.write(group)
            started = self._clock.boottime()
            committing = True
            execute("commit")
            self.sync_ns = self._clock.boottime() - started
        except (sqlite.Error, OSError) as error:  # the latter from the worker files, before COMMIT
            self._failed(error, committing=committing)
            return
        except BaseException as error:
            # An interrupt, or a mistake of ours. What COMMIT did is not known once it began.
            self._failed(error, committing=committing)
            raise
        self.groups += 1
        if not self._wal.intact():
            self._lost_wal()
            return
        self._committed(group)

    def _refresh(self) -> None:
        """Another process committed, or nothing is known: forget the heads and read the end of the store."""
        row = self._cursor.execute(_END).fetchone()
        state = LogState()
        before = self.state.position
        if row is not None:
            state.position, state.running = row[0], row[1]
            state.next_key = row[2] + 1
        if before:
            self.frames += _FRAMES_BASE * max(0, state.position - before)
        else:
            self._anchored_at = state.position
        self.state = state
        self._data_version = self._cursor.execute(_DATA_VERSION).fetchone()[0]

    def write(self, group: Group) -> None:
        """Insert what was admitted. Nothing here looks at meaning."""
        many = self._cursor.executemany
        if group.streams:
            many(_INSERT_STREAMS, [(head.key, head.name) for head in group.streams])
            many(_INSERT_HEADS, [_told(head) for head in group.streams])
        if group.events:
            self._insert(_INSERT_EVENTS, _MANY_EVENTS, _bound(group.events))
            inline = [
                (position, bytearray(salt), bytearray(data))
                for position, salt, data, _ in group.payloads
                if data is not None
            ]
            self._insert(_INSERT_PAYLOADS, _MANY_PAYLOADS, inline)
            if group.blobs:
                large = [row for row in group.payloads if row[3] is not None]
                many(_INSERT_LARGE, [(position, salt, address) for position, salt, _, address in large])
                many(_INSERT_BLOB, [(address, group.blobs[address]) for *_, address in large if address])
            # Heads that nobody said anything of stay behind: a page less in every plain commit.
            if group.coordinated:
                many(_SET_HEAD, [_told(head) for head in group.coordinated.values()])
        for worker in group.claimants:
            self.enlist(self._cursor, worker)

    def _insert(self, one: str, several: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, many to a statement while there are many: running one costs as much as a row."""
        whole = len(rows) - len(rows) % ROWS_PER_STATEMENT
        for start in range(0, whole, ROWS_PER_STATEMENT):
            chunk = rows[start : start + ROWS_PER_STATEMENT]
            self._cursor.execute(several, tuple(chain.from_iterable(chunk)))
        if whole < len(rows):
            self._cursor.executemany(one, rows[whole:] if whole else rows)

    def _committed(self, group: Group) -> None:
        if len(self.state.heads) > HEADS_CACHED_MAX:
            self.state.heads.clear()
        if self._leased_at is not None:
            self.confirmed_at, self._leased_at = self._leased_at, None
        if not group.events:
            return
        last = group.events[-1]
        self._acknowledged = (last[0], last[10])
        self._count_frames(group)
        if group.anchored or self.state.position - self._anchored_at >= ANCHOR_EVERY_EVENTS:
            self._anchor(group)

    def _count_frames(self, group: Group) -> None:
        # The WAL's size is not its fill, and SQLite tells the fill only at a
        # checkpoint. So pages are counted from what was handed in.
        size = self._taken_bytes + _EVENT_ROW_BYTES * len(group.events)
        self.frames += _FRAMES_BASE + size // PAGE_BYTES
        if len(group.touched) > 1:
            self.frames += min(len(group.touched) - 1, self.state.position // _INDEX_ROWS_PER_PAGE)
        if group.coordinated or group.streams:
            heads = min(len(group.coordinated), self.state.next_key // _HEADS_PER_PAGE)
            self.frames += _FRAMES_HEADS + heads

    def _anchor(self, group: Group) -> None:
        """Write anchors, under the lock, of the store as the commit left it."""
        state = self.state
        streams = dict.fromkeys(group.anchored) or {next(reversed(group.touched)): None}
        heads = [state.heads.get(stream) or group.touched[stream] for stream in streams]
        self._anchors_owed.extend(
            Anchor(state.position, state.position, state.running, head.name, head.seq - 1, head.digest)
            for head in heads
        )
        self._anchored_at = state.position
        self._write_owed_anchors()

    def _write_owed_anchors(self) -> None:
        """Write what is owed; what cannot be written stays so until the next anchor or checkpoint.

        The commits are durable and their answers stand, whatever becomes of the anchor file. A crash
        before it can be written again loses what is owed: that proves less, and never something false.
        """
        if not self._anchors_owed:
            return
        try:
            write_anchors(self.path, list(self._anchors_owed))
        except OSError as error:
            if not self._anchors_fail:
                log.warning("anchor.not_written", store=str(self.path), error=str(error))
            self._anchors_fail = True
            return
        self._anchors_owed.clear()
        self._anchors_fail = False

    # --- when it fails ----------------------------------------------------------------------------

    def _failed(self, error: BaseException, *, committing: bool) -> None:
        """Say what is known. Before COMMIT nothing was written; from COMMIT on only some errors are sure."""
        code = code_of(error)
        try:
            if self._db.in_transaction:
                self._cursor.execute("rollback")
        except sqlite.Error:
            self.broken = True
        self._data_version, self._leased_at = -1, None
        if isinstance(error, sqlite.Error) and (not committing or code in {_FULL, _BUSY}):
            # A full disk and a busy file are found before the commit frame is whole.
            self.broken = self.broken or code in {_IOERR, _CORRUPT}
            self._settle_all(translated(error, self.path))
        elif not committing:
            self._settle_all(StoreError(f"{self.path.name}: {error!r}. Nothing was written."))
        else:
            self.broken = True
            self._settle_all(OutcomeUnknown(f"{self.path.name}: the commit failed: {error}."))

    def _lost_wal(self) -> None:
        self.broken = True
        self._data_version, self._leased_at = -1, None
        self._settle_all(
            OutcomeUnknown(f"{self.path.name}-wal was deleted or replaced while it was being written.")
        )

    def _lost_file(self) -> StoreError | None:
        """What to say where the database is no longer the file that was opened; None where it still is.

        Asked at checkpoints, claims, renewals and the close, not at each commit. Nothing is written after
        it was noticed: the WAL beside whatever stands there now belongs to another file.
        """
        if self.lost is None and not self._file.intact():
            self.broken = True
            self.lost = Corrupt(
                f"{self.path.name} was deleted or replaced while it was open. What was acknowledged lately is"
                " perhaps in the old file alone, which has no name any more. Nothing more is appended.",
                expected="the file that was opened",
                found="another file" if self.path.exists() else "no file",
                next_step="Stop every process that uses this store, and put back a backup;"
                " `playhead verify` says whether what stands there now is whole.",
            )
            log.error("database.replaced", store=str(self.path), error=self.lost.message)
        return self.lost

    @property
    def acknowledged(self) -> bool:
        """Whether anything was acknowledged since the store was opened."""
        return self._acknowledged is not None

    def _settle_all(self, error: StoreError) -> None:
        """The whole group has this outcome, except what was refused on its own account."""
        for append, _ in self.settled:
            if append.outcome is None or isinstance(append.outcome, Appended):
                append.outcome = error
        for chore in self.settled_chores:
            chore.error = error

    # --- checkpoints ------------------------------------------------------------------------------

    def _checkpoint(self, how: str) -> bool:
        """Copy the WAL's frames into the database. The caller holds the lock."""
        if self._lost_file() is not None:
            return False
        self._write_owed_anchors()
        try:
            row = self._cursor.execute(f"pragma wal_checkpoint({how})").fetchone()
        except sqlite.Error as error:
            # The frames are safe in the WAL, so nothing acknowledged is at stake.
            if code_of(error) not in {_BUSY, _FULL}:
                self.broken = True
            return False
        self.checkpoints += 1
        self.frames = 0
        return row is not None and row[0] == 0

    # --- leases -----------------------------------------------------------------------------------

    def enlist(self, cursor: sqlite.Cursor, worker: str) -> None:
        """Say, inside a transaction, that `worker` is a process which lives, and for a ttl at least."""
        self._workers.enter(worker)
        self.lease(cursor, worker)

    def lease(self, cursor: sqlite.Cursor, worker: str) -> None:
        """Say, inside a transaction, that `worker` lives for another ttl."""
        self._leased_at = self._clock.boottime()
        until = self._leased_at + self._lease_ttl_ns
        cursor.execute(_SET_WORKER, (worker, self._clock.boot(), until))

    def lives(self, worker: str) -> bool:
        """Whether `worker` still runs and its leases are not over."""
        if not self._workers.lives(worker):
            return False
        row = self._cursor.execute("select boot, until from workers where worker=?", (worker,)).fetchone()
        return row is not None and row[0] == self._clock.boot() and row[1] > self._clock.boottime()

    # --- what admission asks ----------------------------------------------------------------------

    def load(self, stream: str) -> HeadState | None:
        """The end of a stream as it is in the file."""
        row = self._cursor.execute(SELECT_HEAD, (stream,)).fetchone()
        if row is None:
            return None
        head = HeadState(stream, stream.encode())
        head.key, _, head.seq, head.digest, head.epoch, head.worker, head.status, head.wake_at = row
        return head

    def stored(self, stream: str, start: int, limit: int) -> Sequence[Event]:
        """Events of `stream` as they are in the file."""
        rows = self._cursor.execute(SELECT_STREAM, (stream, start, limit)).fetchall()
        return events_of(rows)


def _bound(rows: Sequence[EventRow]) -> list[tuple[Any, ...]]:
    """Rows of events as they are bound."""
    return [
        (
            at,
            key,
            seq,
            kind,
            version,
            time,
            epoch,
            op,
            cause,
            bytearray(first or b""),
            bytearray(digest),
            bytearray(running),
        )
        for at, key, seq, kind, version, time, epoch, op, cause, first, digest, running in rows
    ]


def _told(head: HeadState) -> tuple[int, bytes, int, str | None, str, int | None, int]:
    """A row of heads: the stream came at least as far as it is now."""
    return head.seq, head.digest, head.epoch, head.worker, head.status, head.wake_at, head.key
