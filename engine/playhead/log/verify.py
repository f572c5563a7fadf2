"""Verification of a store file: everything that can be checked, and where it is broken.

    verification = verify(path, expect=[Expectation.parse("run/4wq2mzkq7xha@12:9f86…")])
    for fault in verification.faults:
        print(fault)

Reads stored bytes, in order of position and without an index, so that a damaged
index cannot stand in for the table. A fault does not stop the walk, and neither
does a page that SQLite cannot read: the walk goes on behind it. Works on a live
store (one read transaction, so it sees one moment), on a closed one and on a
backup. It only reads; a crash in the middle leaves nothing behind.

What it cannot see: a tail that was cut off behind what the heads promise, or an
older copy put back, unless an anchor or an expectation from elsewhere says what
should be there.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from playhead.errors import Busy, NotFound, ReadOnly, StoreError
from playhead.log.anchors import Beside, look_beside
from playhead.log.driver import code_of, connect_reader, place_of, sqlite
from playhead.log.envelope import APPEND_ID_BYTES, DIGEST_BYTES, SALT_BYTES, Event
from playhead.log.evidence import Expectation, Fault, Verification, Walk, check_scheme, verify_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playhead.log.envelope import Anchor

__all__ = ["Expectation", "Fault", "Verification", "verify", "verify_connection", "verify_events"]

APPLICATION_ID: Final = 0x706C6179
FORMAT: Final = 1

_EVENT_COLUMNS: Final = (
    "position, stream, seq, type, version, at, epoch, op, cause, append_id, digest, running"
)
_PAYLOAD_COLUMNS: Final = "position, salt, bytes, blob, commitment"
# A damaged file can also make the module fail at decoding SQLite's message, or SQLite ask for absurd memory.
_READ_ERRORS: Final = (sqlite.Error, UnicodeError, MemoryError)
_BUSY_CODES: Final = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
_GALLOP_MAX: Final = 2**61
_END: Final = 2**63


def verify(
    path: Path | str,
    *,
    expect: Sequence[Expectation] = (),
    anchors: Sequence[Anchor] | None = None,
) -> Verification:
    """Check the store at `path` against itself, `anchors` and `expect`.

    `anchors` are those of the anchor file beside the store, unless given. Raises `NotFound` where
    there is no file and `Busy` where another process keeps it locked; all else is a fault.
    """
    place = place_of(path)
    if not place.exists():
        raise NotFound(f"there is no store at {path}.")
    beside = look_beside(place) if anchors is None else Beside(list(anchors), [])
    walk = Walk(expect=expect, anchors=beside.anchors)
    for sentence in beside.faults:
        walk.fault("anchor", sentence)
    try:
        db = connect_reader(place)
    except (Busy, ReadOnly):
        raise
    except (StoreError, UnicodeError) as error:
        walk.fault("header", f"this is no readable SQLite database: {error}")
        return walk.finish()
    try:
        return _Check(db, walk).run()
    finally:
        db.close()


def verify_connection(
    db: sqlite.Connection, *, expect: Sequence[Expectation] = (), anchors: Sequence[Anchor] = ()
) -> Verification:
    """Check the store that `db` reads. Changes the connection's text factory, so give it one of its own."""
    return _Check(db, Walk(expect=expect, anchors=anchors)).run()


class _Gap(NamedTuple):
    """Rows with keys from `first` to `last` cannot be read. `last` is None up to the end of the table."""

    first: int
    last: int | None


class _WrongColumnError(ValueError):
    """A column does not hold what the format says."""

    def __init__(self, column: str, expected: str, found: object) -> None:
        super().__init__(f"{column} should be {expected}, and is {_shape(found)}")


class _Check:
    """One pass over one connection. Each part tells its faults to the walk and never raises for the file."""

    def __init__(self, db: sqlite.Connection, walk: Walk) -> None:
        self._db = db
        self._walk = walk
        self._names: dict[int, str] = {}
        self._blobs: dict[bytes, int] = {}
        # TEXT arrives as bytearray and BLOB as bytes: the bytes as stored, and told apart.
        db.text_factory = bytearray

    def run(self) -> Verification:
        if not self._begin():
            return self._walk.finish()
        self._header()
        self._schema()
        self._integrity()
        self._streams()
        self._read_blobs()
        self._heads()
        self._store()
        self._events()
        return self._walk.finish()

    def _begin(self) -> bool:
        try:
            self._db.execute("begin")
            self._db.execute("select count(*) from sqlite_master").fetchall()
        except _READ_ERRORS as error:
            _raise_if_busy(error)
            self._walk.fault("header", f"this is no readable SQLite database: {error}.")
            return False
        return True

    def _all(self, sql: str, what: str) -> list[tuple[Any, ...]]:
        """All rows of a small query; a fault and what was read so far where SQLite gives up."""
        rows: list[tuple[Any, ...]] = []
        try:
            rows.extend(self._db.execute(sql))
        except _READ_ERRORS as error:
            _raise_if_busy(error)
            self._walk.fault("unreadable", f"{what} cannot be read: {error}.")
        return rows

    def _header(self) -> None:
        for pragma, expected in (
            ("application_id", APPLICATION_ID),
            ("user_version", FORMAT),
            ("encoding", bytearray(b"UTF-8")),
        ):
            for (found,) in self._all(f"pragma {pragma}", f"the file header's {pragma}"):
                if found != expected:
                    self._walk.fault("header", f"{pragma} differs.", expected=expected, found=found)

    def _schema(self) -> None:
        columns = "select type, name, tbl_name, sql from sqlite_master"
        found = {row[:3]: row[3] for row in map(_plain, self._all(columns, "the schema"))}
        expected = {row[:3]: row[3] for row in _expected_schema()}
        for key in sorted(expected.keys() | found.keys(), key=str):
            named = " ".join(map(str, key[:2]))
            if key not in found:
                self._walk.fault("schema", f"{named} is missing.")
            elif key not in expected:
                self._walk.fault("schema", f"{named} does not belong here.")
            elif found[key] != expected[key]:
                self._walk.fault("schema", f"the text of {named} differs from the format's.")

    def _integrity(self) -> None:
        for (said,) in self._all("pragma integrity_check", "the result of integrity_check"):
            if said != b"ok":
                self._walk.fault("integrity", f"SQLite says: {_plain((said,))[0]}.")

    def _streams(self) -> None:
        for row in self._scan("streams", "stream, name, scheme", "stream"):
            if isinstance(row, _Gap):
                continue
            try:
                name, scheme = _text("name", row[1]), _text("scheme", row[2])
            except _WrongColumnError as wrong:
                self._walk.fault("type", f"streams row {row[0]}: {wrong}.")
                continue
            self._names[row[0]] = name
            check_scheme(self._walk, name, scheme)

    def _read_blobs(self) -> None:
        for row in self._scan("blobs", "rowid, address, bytes", "rowid"):
            if isinstance(row, _Gap):
                continue
            rowid, address, data = row
            if type(address) is not bytes or type(data) is not bytes:
                self._walk.fault("type", f"blobs row {rowid}: address and bytes should be blobs.")
            elif sha256(data).digest() != address:
                self._walk.fault(
                    "blob",
                    "a large payload is not what its address says.",
                    expected=address,
                    found=sha256(data).digest(),
                )
            else:
                self._blobs[address] = rowid

    def _events(self) -> None:
        payloads = _Payloads(self._scan("payloads", _PAYLOAD_COLUMNS, "position"), self._walk)
        seen: set[int] = set()
        for row in self._scan("events", _EVENT_COLUMNS, "position"):
            if isinstance(row, _Gap):
                self._walk.unreadable()
                payloads.skip(row)
                continue
            payload = payloads.at(row[0])
            if type(row[1]) is int:
                seen.add(row[1])
            try:
                event, committed, running = self._event(row, payload)
            except _WrongColumnError as wrong:
                self._broken(row, wrong)
            else:
                self._walk.event(event, committed, running)
        payloads.rest()
        for stream, name in self._names.items():
            if stream not in seen:
                self._walk.fault("missing", "the stream has a name and no event.", stream=name)

    def _event(
        self, row: tuple[Any, ...], payload: tuple[Any, ...] | None
    ) -> tuple[Event, bytes | None, bytes]:
        """The event of a row, what its payload left, and the running digest, or `_WrongColumnError`."""
        position, stream, seq, type_, version, at, epoch, op, cause, append_id, digest, running = row
        salt, data, committed = self._payload(position, payload)
        event = Event(
            _number("position", position, 1),
            self._stream_name(stream),
            _number("seq", seq, 0),
            _text("type", type_),
            _number("version", version, 0),
            _number("at", at, -(2**63)),
            _number("epoch", epoch, 0),
            _text("op", op),
            None if cause is None else _number("cause", cause, 0),
            None if append_id is None else _blob("append_id", append_id, APPEND_ID_BYTES),
            salt,
            data,
            _blob("digest", digest, DIGEST_BYTES),
        )
        return event, committed, _blob("running", running, DIGEST_BYTES)

    def _stream_name(self, stream: object) -> str:
        if type(stream) is not int or stream not in self._names:
            raise _WrongColumnError("stream", "the number of a stream in streams", stream)
        return self._names[stream]

    def _payload(
        self, position: int, row: tuple[Any, ...] | None
    ) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Salt, bytes and commitment of a payload; three times None where a fault was told."""
        if row is None:
            return None, None, None
        _, salt, data, address, committed = row
        try:
            present = [column is not None for column in (data, address, committed)]
            if sum(present) != 1 or (salt is None) != (committed is not None):
                raise _WrongColumnError("the row", "salt and bytes, salt and blob, or commitment", salt)
            if committed is not None:
                return None, None, _blob("commitment", committed, DIGEST_BYTES)
            salt = _blob("salt", salt, SALT_BYTES)
            if data is not None:
                return salt, _blob("bytes", data), None
            return salt, self._large(position, _blob("blob", address, DIGEST_BYTES)), None
        except _WrongColumnError as wrong:
            self._walk.fault("type", f"payload: {wrong}.", position=position)
            return None, None, None

    def _large(self, position: int, address: bytes) -> bytes | None:
        rowid = self._blobs.get(address)
        if rowid is None:
            sentence = f"the large payload {address.hex()} is missing or is not what its address says."
            self._walk.fault("blob", sentence, position=position)
            return None
        sql = f"select bytes from blobs not indexed where rowid = {rowid:d}"  # noqa: S608  (a number of ours)
        rows = self._all(sql, "a large payload")
        return rows[0][0] if rows else None

    def _broken(self, row: tuple[Any, ...], wrong: _WrongColumnError) -> None:
        name = self._names.get(row[1]) if type(row[1]) is int else None
        seq = row[2] if type(row[2]) is int and row[2] >= 0 else None
        self._walk.fault("type", f"{wrong}.", stream=name, seq=seq, position=row[0])
        self._walk.broken(name, seq, row[0])

    def _heads(self) -> None:
        for row in self._scan("heads", "stream, seq, digest, epoch", "stream"):
            if isinstance(row, _Gap):
                continue
            try:
                self._walk.head(
                    self._stream_name(row[0]),
                    _number("seq", row[1], 1),
                    _blob("digest", row[2], DIGEST_BYTES),
                    _number("epoch", row[3], 0),
                )
            except _WrongColumnError as wrong:
                self._walk.fault("type", f"heads row {row[0]}: {wrong}.")

    def _store(self) -> None:
        for row in self._all("select id, scheme from store", "the store row"):
            try:
                if row[0] != 1:
                    raise _WrongColumnError("id", "1", row[0])
                self._walk.store(_text("scheme", row[1]))
            except _WrongColumnError as wrong:
                self._walk.fault("type", f"store row: {wrong}.")

    # Tables, columns and keys below are this file's own constants.
    def _scan(self, table: str, columns: str, key: str) -> Iterator[tuple[Any, ...] | _Gap]:
        """All rows of `table` in order of its integer key, going on behind what cannot be read."""
        after = -(2**63) + 1
        while True:
            sql = f"select {columns} from {table} not indexed where {key} > ? order by {key}"  # noqa: S608
            try:
                for row in self._db.execute(sql, (after,)):
                    if row[0] <= after:
                        raise sqlite.Error(f"rows of {table} come in the wrong order")
                    after = row[0]
                    yield row
                return
            except _READ_ERRORS as error:
                _raise_if_busy(error)
                behind = self._first_readable(table, columns, key, after)
                upto = "the end" if behind is None else str(behind - 1)
                said = f"rows of {table} behind {max(after, 0)} up to {upto} cannot be read: {error}."
                self._walk.fault("unreadable", said)
            yield _Gap(after + 1, None if behind is None else behind - 1)
            if behind is None:
                return
            after = behind - 1

    def _first_readable(self, table: str, columns: str, key: str, after: int) -> int | None:
        """The smallest key above `after + 1` from which rows can be read again; None where none can."""
        sql = f"select {columns} from {table} not indexed where {key} > ? order by {key} limit 1"  # noqa: S608

        def probe(place: int) -> int | None:
            try:
                row = self._db.execute(sql, (place,)).fetchone()
            except _READ_ERRORS as error:
                _raise_if_busy(error)
                return None
            if row is None:
                return _END
            return int(row[0]) if row[0] > place else None

        # Steps that double until something answers, then halves back to where the damage ends.
        low = max(after, 0)
        step = 1
        while (found := probe(low + step)) is None:
            step *= 2
            if step > _GALLOP_MAX:
                return None
        low, high = low + step // 2, low + step
        while high - low > 1:
            middle = (low + high) // 2
            answer = probe(middle)
            if answer is None:
                low = middle
            else:
                high, found = middle, answer
        return None if found == _END else found


class _Payloads:
    """The payload rows, walked beside the events: both come in order of position."""

    def __init__(self, rows: Iterator[tuple[Any, ...] | _Gap], walk: Walk) -> None:
        self._rows = rows
        self._walk = walk
        self._next = next(rows, None)

    def at(self, position: int) -> tuple[Any, ...] | None:
        """The row at `position`, or None. Rows before it belong to no event."""
        while (row := self._next) is not None:
            if isinstance(row, _Gap):
                if row.last is None or position <= row.last:
                    return None
            elif row[0] > position:
                return None
            elif row[0] == position:
                self._next = next(self._rows, None)
                return row
            else:
                self._orphan(row[0])
            self._next = next(self._rows, None)
        return None

    def skip(self, gap: _Gap) -> None:
        """Pass over the rows whose events cannot be read."""
        self.at(gap.first)
        while (row := self._next) is not None:
            last = row.last if isinstance(row, _Gap) else row[0]
            if gap.last is not None and (last is None or last > gap.last):
                return
            self._next = next(self._rows, None)

    def rest(self) -> None:
        """Rows behind the last event belong to none."""
        while (row := self._next) is not None:
            if not isinstance(row, _Gap):
                self._orphan(row[0])
            self._next = next(self._rows, None)

    def _orphan(self, position: int) -> None:
        self._walk.fault("orphan", "a payload without an event.", position=position)


def _expected_schema() -> list[tuple[Any, ...]]:
    """What sqlite_master holds after schema.sql, word for word."""
    db = sqlite.connect(":memory:")
    try:
        db.executescript(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
        return db.execute("select type, name, tbl_name, sql from sqlite_master").fetchall()
    finally:
        db.close()


def _raise_if_busy(error: Exception) -> None:
    """A store that somebody keeps locked is not a broken one."""
    if code_of(error) in _BUSY_CODES:
        raise Busy(f"the store is locked by another process: {error}.") from error


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        column.decode("utf-8", "backslashreplace") if type(column) is bytearray else column for column in row
    )


def _number(column: str, value: object, least: int) -> int:
    if type(value) is not int or value < least:
        raise _WrongColumnError(column, f"an integer of at least {least}", value)
    return value


def _text(column: str, value: object) -> str:
    try:
        if type(value) is bytearray:
            return value.decode()
    except UnicodeDecodeError:
        pass
    raise _WrongColumnError(column, "text in UTF-8", value)


def _blob(column: str, value: object, size: int | None = None) -> bytes:
    if type(value) is not bytes or (size is not None and len(value) != size):
        raise _WrongColumnError(column, "a blob" if size is None else f"a blob of {size} bytes", value)
    return value


def _shape(value: object) -> str:
    """A stored value in words: hostile text must not reach a terminal whole."""
    if value is None:
        return "null"
    if isinstance(value, bytearray | bytes):
        kind = "text" if isinstance(value, bytearray) else "a blob"
        return f"{kind} of {len(value)} bytes ({bytes(value[:16]).hex()})"
    return f"{type(value).__name__} {value}"
