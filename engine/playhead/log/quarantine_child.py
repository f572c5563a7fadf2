"""Reads a stranger's database in a process of its own, and tells its rows through a pipe. Nothing else.

Run as `python -I -S quarantine_child.py PATH` with an empty environment. SQLite
never opens the stranger's path: the bytes are read, looked at, and deserialised
into memory, so no -wal and no -journal is picked up. Memory, time and size are
limited; no file can be written. The schema must be schema.sql word for word, so
no trigger, view, index or generated column of the stranger ever runs.

This file imports nothing of playhead, so that the process has nothing to lose.
Its parent, `playhead.log.quarantine`, shares the frames and checks everything again.
"""

from __future__ import annotations

import sqlite3
import struct
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Value: TypeAlias = int | str | bytes | None

ADDRESS_SPACE_BYTES_MAX: Final = 1024 * 1024 * 1024
CPU_S_MAX: Final = 5
FILE_BYTES_MAX: Final = 384 * 1024 * 1024
FIELD_BYTES_MAX: Final = 256 * 1024 * 1024
FRAME_BYTES_MAX: Final = FIELD_BYTES_MAX + 4096
FRAME_FIELDS_MAX: Final = 16

MAGIC: Final = b"SQLite format 3\0"
ROLLBACK_JOURNAL: Final = b"\1\1"  # bytes 18 and 19: neither reads nor writes ask for a WAL
APPLICATION_ID: Final = 0x706C6179
FORMAT: Final = 1

# What each table is asked for, and the types that its columns may have.
TABLES: Final[dict[str, tuple[str, tuple[tuple[type, ...], ...]]]] = {
    "store": ("id, scheme", ((int,), (str,))),
    "streams": ("stream, name, scheme", ((int,), (str,), (str,))),
    "heads": ("stream, seq, digest, epoch", ((int,), (int,), (bytes,), (int,))),
    "blobs": ("address, bytes", ((bytes,), (bytes,))),
    "payloads": (
        "position, salt, bytes, blob, commitment",
        ((int,), *[(bytes, type(None))] * 4),
    ),
    "events": (
        "position, stream, seq, type, version, at, epoch, op, cause, append_id, digest, running",
        (
            *((int,), (int,), (int,), (str,), (int,), (int,), (int,), (str,)),
            *((int, type(None)), (bytes, type(None)), (bytes,), (bytes,)),
        ),
    ),
}

_LENGTH: Final = struct.Struct(">I")
_NUMBER: Final = struct.Struct(">q")


class RefusedError(Exception):
    """The file broke a rule. The sentence goes to the parent."""


# --- frames: a length, then fields; a field is one letter, then its bytes -------------------------


def pack(*fields: Value) -> bytes:
    """One frame."""
    parts: list[bytes] = []
    for field in fields:
        if field is None:
            parts.append(b"n")
        elif isinstance(field, int):
            parts.append(b"i" + _NUMBER.pack(field))
        else:
            letter, data = (b"t", field.encode()) if isinstance(field, str) else (b"b", field)
            parts.append(letter + _LENGTH.pack(len(data)))
            parts.append(data)
    body = b"".join(parts)
    return _LENGTH.pack(len(body)) + body


def frames(pipe: IO[bytes]) -> Iterator[list[Value]]:
    """The frames that came through `pipe`. Raises `ValueError` for what is none."""
    while length := _exactly(pipe, 4, may_end=True):
        (size,) = _LENGTH.unpack(length)
        if size > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {size} bytes")
        yield unpack(_exactly(pipe, size))


def unpack(body: bytes) -> list[Value]:
    """The fields of a frame."""
    fields: list[Value] = []
    at = 0
    while at < len(body):
        letter = body[at : at + 1]
        at += 1
        if letter == b"n":
            fields.append(None)
            continue
        if letter == b"i":
            fields.append(int.from_bytes(body[at : at + 8], "big", signed=True))
            at += 8
        elif letter in (b"t", b"b"):
            end = at + 4 + int.from_bytes(body[at : at + 4], "big")
            data = body[at + 4 : end]
            fields.append(data.decode() if letter == b"t" else data)
            at = end
        else:
            raise ValueError(f"a field of kind {letter!r}")
        if len(fields) > FRAME_FIELDS_MAX:
            raise ValueError("too many fields")
    if at != len(body):
        raise ValueError("a frame that ends inside a field")
    return fields


def _exactly(pipe: IO[bytes], size: int, *, may_end: bool = False) -> bytes:
    data = pipe.read(size)
    if len(data) == size or (may_end and not data):
        return data
    raise ValueError("the frames end too early")


def misfit(table: str, row: Sequence[object]) -> str:
    """What is wrong with the types of a row, or ""."""
    columns, shapes = TABLES[table]
    if len(row) != len(shapes):
        return f"{table}: {len(row)} columns"
    for name, value, shape in zip(columns.split(", "), row, shapes, strict=True):
        if type(value) not in shape:
            return f"{table}: {name} is {type(value).__name__}"
    return ""


# --- the child ------------------------------------------------------------------------------------


def limit_this_process() -> None:
    """Memory, time, no core dump, and no file can be written."""
    import resource  # noqa: PLC0415  (not on every system; where it is missing nothing is read)

    for what, most in (
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX),
        (resource.RLIMIT_CPU, CPU_S_MAX),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))


def read_bytes(path: Path) -> bytes:
    """The file, looked at before SQLite sees it."""
    if not path.is_file():
        raise RefusedError("this is no regular file")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise RefusedError(f"the file is larger than {FILE_BYTES_MAX} bytes; export it as JSON lines instead")
    data = path.read_bytes()
    if data[:16] != MAGIC:
        raise RefusedError("this is no SQLite database")
    if data[18:20] != ROLLBACK_JOURNAL:
        raise RefusedError("the file is in WAL mode and may be in use; export its runs, or import a backup")
    return data


def open_in_memory(data: bytes) -> sqlite3.Connection:
    """The database in memory, on a connection that can do little."""
    if not hasattr(sqlite3.Connection, "deserialize"):
        raise RefusedError("this Python's SQLite cannot read a database from memory")
    db = sqlite3.connect(":memory:", isolation_level=None)
    for limit, most in (
        (sqlite3.SQLITE_LIMIT_LENGTH, FIELD_BYTES_MAX + 4096),
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 10_000),
        (sqlite3.SQLITE_LIMIT_COLUMN, 32),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 50),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 3),
        (sqlite3.SQLITE_LIMIT_VDBE_OP, 25_000),
        (sqlite3.SQLITE_LIMIT_FUNCTION_ARG, 8),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
        (sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 10),
        (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 1),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        db.setlimit(limit, most)
    db.execute("pragma trusted_schema = 0")
    db.execute("pragma cell_size_check = 1")
    db.set_progress_handler(lambda: int(time.process_time() > CPU_S_MAX - 1), 10_000)
    db.deserialize(data)
    db.execute("pragma query_only = 1")
    return db


def check_database(db: sqlite3.Connection, schema: str) -> None:
    """It is ours, word for word, and SQLite finds no damage."""
    for pragma, expected in (
        ("application_id", APPLICATION_ID),
        ("user_version", FORMAT),
        ("encoding", "UTF-8"),
    ):
        (found,) = db.execute(f"pragma {pragma}").fetchone()
        if found != expected:
            raise RefusedError(f"{pragma} is {found}, and should be {expected}")
    columns = "select type, name, tbl_name, sql from sqlite_master"
    ours = sqlite3.connect(":memory:")
    ours.executescript(schema)
    expected_rows = sorted(ours.execute(columns).fetchall(), key=repr)
    ours.close()
    if sorted(db.execute(columns).fetchmany(100), key=repr) != expected_rows:
        raise RefusedError("the schema is not that of a playhead log")
    (said,) = db.execute("pragma integrity_check(1)").fetchone()
    if said != "ok":
        raise RefusedError(f"SQLite finds damage: {said[:200]}")


def tell(db: sqlite3.Connection, pipe: IO[bytes]) -> None:
    """Every row of evidence, table by table, and then that this was all."""
    for table, (columns, _) in TABLES.items():
        key = "position" if table in ("events", "payloads") else "rowid"
        sql = f"select {columns} from {table} not indexed order by {key}"  # noqa: S608  (constants above)
        for row in db.execute(sql):
            if wrong := misfit(table, row):
                raise RefusedError(wrong)
            pipe.write(pack(table, *row))
    pipe.write(pack("end"))


def main(path: str) -> None:
    """Tell the rows of the database at `path`, or why not."""
    pipe = sys.stdout.buffer
    schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    try:
        limit_this_process()
        db = open_in_memory(read_bytes(Path(path)))
        check_database(db, schema)
        tell(db, pipe)
    except RefusedError as refused:
        pipe.write(pack("refused", str(refused)))
    except (sqlite3.Error, OSError, ImportError, UnicodeError, MemoryError, OverflowError) as error:
        said = f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()
        pipe.write(pack("refused", said[:400]))
    pipe.flush()


if __name__ == "__main__":
    main(sys.argv[1])
