"""The synchronous read side of a log file: no event loop, no writing, nothing but the standard library.

    with LogReader(path) as log:
        for event in log.read("run/4wq2mzkq7xha"):
            ...

Every call is one statement read to its end, so no read transaction is ever held
open between calls and a reader never keeps a checkpoint waiting. What is cheap
to check on the way in is checked: numbers without a hole, payloads that exist.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, Final, cast

from playhead.errors import Corrupt, NotAStore, NotFound
from playhead.log.chain import GENESIS
from playhead.log.driver import connect_reader, place_of, sqlite, translated
from playhead.log.envelope import Event, Head, Told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Self

APPLICATION_ID: Final = 0x706C6179
FORMAT: Final = 1
PAGE_EVENTS: Final = 1_000

_COLUMNS: Final = (
    "e.seq, e.type, e.version, e.at, e.epoch, e.op, e.cause, e.append_id,"
    " p.salt, coalesce(p.bytes, b.bytes), e.digest, p.commitment"
)
_PAYLOADS: Final = (
    " left join payloads p on p.position = e.position"
    " left join blobs b on p.blob is not null and b.address = p.blob"
)
_FROM: Final = f" from events e{_PAYLOADS}"
# Of one stream the name is known: it is handed back as it came, instead of looked up for each event.
_OF_STREAM: Final = "e.stream = (select stream from streams where name = ?1) and e.seq >= ?2"
SELECT_STREAM: Final = f"select e.position, ?1, {_COLUMNS}{_FROM} where {_OF_STREAM} order by e.seq limit ?3"
_SELECT_TYPES: Final = (
    f"select e.position, ?1, {_COLUMNS}{_FROM} where {_OF_STREAM} and e.type in (%s) order by e.seq limit ?3"
)
_TOLD: Final = "e.type, e.version, e.at, e.op, coalesce(p.bytes, b.bytes)"
_COUNT_SEQS: Final = f"select count(*) from events e where {_OF_STREAM} and e.seq < ?3"  # noqa: S608  no values
_SELECT_SEQS: Final = f"select e.seq from events e where {_OF_STREAM} order by e.seq limit ?3"  # noqa: S608  as above
_SELECT_TOLD: Final = f"select {_TOLD}{_FROM} where {_OF_STREAM} order by e.seq limit ?3"
_MISSING: Final = "coalesce(p.bytes, b.bytes) is null and p.commitment is null"
_SELECT_MISSING: Final = f"select e.seq{_FROM} where {_OF_STREAM} and {_MISSING} order by e.seq limit ?3"
_NAME: Final = "(select name from streams s where s.stream = e.stream)"
_FEED: Final = f"select e.position, {_NAME}, {_COLUMNS}{_FROM} where e.position > ?"
_SELECT_FEED: Final = f"{_FEED} order by e.position limit ?"
_SELECT_FEED_TYPES: Final = f"{_FEED} and e.type in (%s) order by e.position limit ?"
# The end of a stream is its last event: heads say only how far it came at least. For each
# stream one step in the index (stream, seq), and one to the row.
_LAST: Final = (
    " join events e on e.position ="
    " (select l.position from events l where l.stream = s.stream order by l.seq desc limit 1)"
)
_HEAD_COLUMNS: Final = (
    "h.stream, s.name, e.seq + 1, e.digest, h.epoch, h.worker, h.status, h.wake_at"
    f" from streams s join heads h on h.stream = s.stream{_LAST}"
)
SELECT_HEAD: Final = f"select {_HEAD_COLUMNS} where s.name = ?"
_TAILS: Final = f"e.position, s.name, {_COLUMNS} from streams s{_LAST}{_PAYLOADS}"
# What Event(*columns) comes to, without a call in between: a tape has many events.
_new: Final = cast("Any", tuple).__new__

_TIME_MIN: Final = -(2**63)
_TIME_MAX: Final = 2**63 - 1
_SELECT_POSITION: Final = "select coalesce(max(position), 0) from events"


def events_of(rows: Sequence[Any]) -> list[Event]:
    """Events from rows of the selects above. Raises `Corrupt` for a payload that is missing."""
    for row in rows:
        if row[11] is None and row[13] is None:
            raise Corrupt(f"{row[1]}: the payload of event {row[2]} is missing.")
    return [_new(Event, row[:13]) for row in rows]


def _check_whole(stream: str, start: int, seqs: list[int]) -> None:
    if seqs != list(range(start, start + len(seqs))):
        expected, found = next((n, seq) for n, seq in enumerate(seqs, start) if seq != n)
        raise Corrupt(f"{stream}: event {expected} is missing.", expected=expected, found=found)


def _head_of(row: Any) -> Head:
    return Head(row[1], row[2], row[3], row[4], row[5], row[6], row[7])


class LogReader:
    """A log file opened for reading. One thread at a time. Close it, or use it as a context manager."""

    def __init__(self, path: Path | str, *, unmade: bool = False) -> None:
        """Open the file. Raises `NotAStore` for anything else; a newer format can be read.

        `path` may be a symlink; the reader's own `path` is where the file lies.

        `unmade` also takes a database without tables, which a crash leaves while a store is made.
        """
        self.path = place_of(path)
        self._db = connect_reader(self.path)
        try:
            self.format = check_format(self._db, self.path, unmade=unmade)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @property
    def connection(self) -> sqlite.Connection:
        """The connection itself, for backup and verification. It cannot write."""
        return self._db

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite.Error as error:
            raise translated(error, self.path) from error

    def _pages(self, sql: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        """Rows, some at a time: what is made of them lies close together, and they are soon gone."""
        try:
            rows = self._db.execute(sql, values)
            while page := rows.fetchmany(PAGE_EVENTS):
                yield page
        except sqlite.Error as error:
            raise translated(error, self.path) from error

    def read(
        self, stream: str, start: int = 0, limit: int = PAGE_EVENTS, *, types: Sequence[str] | None = None
    ) -> list[Event]:
        """Events of `stream` from seq `start`, at most `limit`, gapless unless `types` filters them."""
        if types is not None:
            marks = ",".join(f"?{n}" for n in range(4, 4 + len(types)))
            return events_of(self._rows(_SELECT_TYPES % marks, (stream, start, limit, *types)))
        events = events_of(self._rows(SELECT_STREAM, (stream, start, limit)))
        _check_whole(stream, start, [event.seq for event in events])
        return events

    def tell(self, stream: str, start: int = 0, limit: int = PAGE_EVENTS) -> list[Told]:
        """What the events of `stream` say from seq `start`, at most `limit`, gapless: a cheaper `read`.

        Texts that come again are kept once, so that a hundred thousand events take little room.
        """
        told: list[Told] = []
        same_type = dict[str, str]().setdefault
        kept = True
        for page in self._pages(_SELECT_TOLD, (stream, start, limit)):
            types, versions, ats, ops, payloads = zip(*page, strict=True)
            seqs = count(start + len(told))
            kept = kept and None not in payloads
            same_op = dict[str, str]().setdefault  # an operation asks and is answered soon after
            types_once, ops_once = map(same_type, types, types), map(same_op, ops, ops)
            told += map(Told, repeat(stream), seqs, types_once, versions, ats, ops_once, payloads)
        end = start + len(told)
        if not kept:  # erased, or lost
            missing = self._rows(_SELECT_MISSING, (stream, start, 1))
            if missing and missing[0][0] < end:
                raise Corrupt(f"{stream}: the payload of event {missing[0][0]} is missing.")
        # No number is there twice, so they are all there where so many lie between the first and the last.
        if self._rows(_COUNT_SEQS, (stream, start, end))[0][0] != len(told):
            seqs_there = self._rows(_SELECT_SEQS, (stream, start, limit))
            _check_whole(stream, start, [row[0] for row in seqs_there])
        return told

    def scan(self, stream: str, start: int = 0) -> Iterator[Event]:
        """All events of `stream`, a page at a time. The stream may grow meanwhile."""
        while page := self.read(stream, start):
            yield from page
            start += len(page)

    def feed(
        self, after: int, limit: int = PAGE_EVENTS, *, types: Sequence[str] | None = None
    ) -> list[Event]:
        """Events of all streams with position above `after`, in order, only those of `types` where given."""
        if types is not None:
            sql = _SELECT_FEED_TYPES % ",".join("?" * len(types))
            return events_of(self._rows(sql, (after, *types, limit)))
        return events_of(self._rows(_SELECT_FEED, (after, limit)))

    def head(self, stream: str) -> Head:
        """The end of `stream`; seq 0 and epoch 0 for one that does not exist."""
        rows = self._rows(SELECT_HEAD, (stream,))
        return _head_of(rows[0]) if rows else Head(stream, 0, GENESIS, 0, None, "", None)

    def heads(
        self, kind: str, *, status: Sequence[str] | None = None, limit: int = PAGE_EVENTS, prefix: str = ""
    ) -> list[Head]:
        """Ends of the streams of `kind` whose id starts with `prefix`, newest stream first."""
        where, values = _of_kind(kind, prefix)
        if status is not None:
            where += f" and h.status in ({','.join('?' * len(status))})"
            values += status
            where += "" if "" in status else " and h.status <> ''"  # so that the partial index serves
        sql = f"select {_HEAD_COLUMNS} where {where} order by h.stream desc limit ?"
        return [_head_of(row) for row in self._rows(sql, (*values, limit))]

    def streams(self, kind: str = "", prefix: str = "", limit: int = PAGE_EVENTS) -> list[str]:
        """Names of streams of `kind` whose id starts with `prefix`, oldest first; of all kinds for ""."""
        if not kind:
            sql = "select name from streams order by stream limit ?"
            return [row[0] for row in self._rows(sql, (limit,))]
        where, values = _of_kind(kind, prefix)
        sql = f"select s.name from streams s where {where} order by s.stream limit ?"  # noqa: S608  (marks only)
        return [row[0] for row in self._rows(sql, (*values, limit))]

    def tails(self, kind: str, prefix: str = "", after: str = "", limit: int = PAGE_EVENTS) -> list[Event]:
        """The last event of each stream of `kind` whose id starts with `prefix`, by name, from `after` on."""
        where, values = _of_kind(kind, prefix)
        values[0] = max(values[0], after)  # so that the index is entered there
        sql = f"select {_TAILS} where {where} and s.name > ? order by s.name limit ?"
        return events_of(self._rows(sql, (*values, after, limit)))

    def count(self, stream: str | None = None) -> int:
        """How many events there are, in the store or in `stream`."""
        if stream is not None:
            return self.head(stream).seq
        return self.position()

    def position(self) -> int:
        """Of the newest event; 0 when there is none."""
        return int(self._rows(_SELECT_POSITION)[0][0])

    def positions(self, stream: str, start: int = 0, limit: int = PAGE_EVENTS) -> list[int]:
        """Positions of the events of `stream` from seq `start`, without their payloads."""
        sql = (
            "select position from events where stream = (select stream from streams where name = ?)"
            " and seq >= ? order by seq limit ?"
        )
        return [row[0] for row in self._rows(sql, (stream, start, limit))]

    def digests(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Position and digest of the events behind position `after`, at most `limit`."""
        sql = "select position, digest from events where position > ? order by position limit ?"
        return [(row[0], row[1]) for row in self._rows(sql, (after, limit))]

    def running(self, position: int) -> bytes | None:
        """The running digest of the store after the event at `position`; None where none stands there."""
        rows = self._rows("select running from events where position = ?", (position,))
        return bytes(rows[0][0]) if rows else None

    def count_at(self, stream: str, position: int) -> int:
        """How many events `stream` had when the log stood at `position`. By halving, for positions grow."""
        low, high = 0, self.head(stream).seq
        while low < high:
            middle = (low + high) // 2
            found = self.positions(stream, middle, 1)
            if found and found[0] <= position:
                low = middle + 1
            else:
                high = middle
        return low

    def position_at(self, time: int, *, after: int = 0) -> int:
        """Where the log stood at `time`, nanoseconds since the epoch: before the first event written later.

        0 where it had no event. Clocks can go back: what says an earlier time and stands behind a later
        event came later all the same. So every event is looked at, from the first one on, or behind the
        position `after`, up to which the caller knows none that was written later.
        """
        if time < _TIME_MIN:
            return 0
        sql = "select position from events where position > ? and at > ? order by position limit 1"
        later = self._rows(sql, (after, min(time, _TIME_MAX)))
        if not later:
            return self.position()
        sql = "select coalesce(max(position), 0) from events where position < ?"
        return int(self._rows(sql, later[0])[0][0])

    def latest(self, after: int, limit: int) -> tuple[int, int, int] | None:
        """Of at most `limit` events behind position `after`: the last position, the latest time, how many."""
        sql = (
            "select max(position), max(at), count(*) from"
            " (select position, at from events where position > ? order by position limit ?)"
        )
        position, at, count = self._rows(sql, (after, limit))[0]
        return (position, at, count) if count else None

    def at(self, position: int) -> Event:
        """The event at `position`. Raises `NotFound`."""
        found = self.feed(position - 1, 1)
        if not found or found[0].position != position:
            raise NotFound(f"no event stands at position {position}.")
        return found[0]

    def blob(self, address: bytes) -> bytes:
        """The bytes under `address`. Raises `NotFound`, and `Corrupt` where they do not match it."""
        rows = self._rows("select bytes from blobs where address = ?", (address,))
        if not rows:
            raise NotFound(f"no blob {address.hex()}.")
        data = bytes(rows[0][0])
        if sha256(data).digest() != address:
            raise Corrupt(f"blob {address.hex()} holds other bytes than its address says.")
        return data

    def worker_lease(self, worker: str) -> tuple[str, int] | None:
        """The boot and the boot time in nanoseconds until which `worker` said it lives."""
        rows = self._rows("select boot, until from workers where worker = ?", (worker,))
        return (rows[0][0], rows[0][1]) if rows else None

    def data_version(self) -> int:
        """A number that is another one after any other connection has committed."""
        return int(self._rows("pragma data_version")[0][0])


def _of_kind(kind: str, prefix: str) -> tuple[str, list[Any]]:
    """The condition that a stream is of `kind` and its id starts with `prefix`, by the index of names."""
    low = f"{kind}/{prefix}"
    high = low[:-1] + chr(ord(low[-1]) + 1) if low[-1] < "\x7f" else f"{kind}0"
    return "s.name >= ? and s.name < ? and substr(s.name, 1, ?) = ?", [low, high, len(low), low]


def check_format(db: sqlite.Connection, path: Path, *, unmade: bool = False) -> int:
    """The format of the file. Raises `NotAStore`."""
    application = db.execute("pragma application_id").fetchone()[0]
    if unmade and application == 0 and not db.execute("select count(*) from sqlite_schema").fetchone()[0]:
        return 0
    if application == 0 and not db.execute("select count(*) from sqlite_schema").fetchone()[0]:
        raise NotAStore(
            f"{path} is an empty database, as a crash leaves one while a store is made.",
            next_step="Open it once for writing, which makes it a store: any command that writes does.",
        )
    if application != APPLICATION_ID:
        raise NotAStore(f"{path} is a database, but not a playhead log.", found=hex(application))
    return int(db.execute("pragma user_version").fetchone()[0])
