"""The file beside a log in which everything is kept that is made of it, and that can be thrown away.

    db, path = open_models(models_path(store))
    answer = undamaged(path, lambda: ...)           # once more from the log, where the file is damaged

It is an SQLite file of its own, so that no mistake in a read model can harm the log. One that is damaged, or
of another layout, is thrown away; where nothing can be written beside the log, it lives in memory. States
carry a sum, so that a bit that flipped in one is damage, and never an answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from zlib import crc32

import msgspec

from playhead.errors import Busy, Corrupt, NotAStore, PlayheadError, StoreError
from playhead.log.driver import BUSY_MS, code_of, sqlite, translated

SUFFIX: Final = "-readmodels"
APPLICATION_ID: Final = 0x706C7264
LAYOUT: Final = 5
CACHE_KIB: Final = 32_768
"""So that the records of one agent stay in memory between two questions."""

_DAMAGED: Final = frozenset({11, 19, 20, 26})  # SQLITE_CORRUPT, _CONSTRAINT, _MISMATCH, _NOTADB
_MISSING: Final = re.compile(
    r"no such (?:table|column|index|module)|has no column|has \d+ columns but|vtable constructor"
    r"|could not decode to utf-8|malformed|user-defined function raised",
    re.IGNORECASE,
)
"""What SQLite says where something is not there, or not as it was laid out: it has no code for that."""

SPARED: Final = (PlayheadError, sqlite.Error, UnicodeDecodeError)
"""What can go wrong with the file, to those who can do without it."""
READONLY: Final = 8
MOVED_MAX: Final = 20

T = TypeVar("T")


class ModelsDamaged(Corrupt):
    """What stands in the file of the read models is not what was written there. The log is not touched."""

    code = "read_models.damaged"
    next_step = "The log is not touched by that. Make it anew: playhead rebuild"


_LAYOUT_SQL: Final = (
    """create table projection (
      name     text    primary key,
      version  integer not null,
      position integer not null,          -- of the last event folded in
      digest   blob    not null,          -- of that event: the past we were folded from
      events   integer not null,
      skipped  integer not null,          -- of types or versions that whoever folded did not know
      known    integer not null,          -- the sum of those that it knew
      sound    integer not null,          -- erasures up to this position are accounted for
      keys     integer not null,          -- so many states are kept
      seal     integer not null           -- CRC-32 of the row
    ) strict, without rowid""",
    """create table state (
      projection text    not null,
      key        text    not null,
      since      integer not null,        -- position of the first event of the key
      label      text,
      seal       integer not null,        -- CRC-32 of the row
      body       blob    not null,        -- long ones lie outside the index: a lookup must not read them
      unique (projection, key)
    ) strict""",
    "create index state_by_age on state (projection, since)",
    "create index state_by_label on state (projection, label) where label is not null",
    """create table parked (
      name      text    primary key,
      position  integer not null,         -- of the event that it cannot fold
      stream    text    not null,
      seq       integer not null,
      tries     integer not null,
      error     text    not null,
      traceback text    not null,
      seal      integer not null          -- CRC-32 of the row
    ) strict, without rowid""",
    """create table trail (
      projection text    not null,
      key        text    not null,
      seen       integer not null,        -- so many events of the stream held no erasure of one before them
      seal       integer not null,        -- CRC-32 of the row
      primary key (projection, key)
    ) strict, without rowid""",
    """create table dropped (
      id    integer primary key check (id = 1),
      times integer not null              -- that states were dropped: whoever reads meanwhile asks again
    ) strict""",
    """create table mark (
      position integer primary key,       -- of an event of the log
      running  blob    not null,          -- of the log up to there: the past that it was made of
      high     integer not null,          -- the latest time that an event up to there says
      seal     integer not null           -- CRC-32 of the row
    ) strict""",
    """create table snapshot (
      projection text    not null,
      key        text    not null,
      seq        integer not null,        -- of the event that it is as of
      digest     blob    not null,        -- of that event: the past it was folded from
      events     integer not null,
      link       blob    not null,        -- SHA-256 of the link before, of this row, and of its body
      body       blob    not null,        -- what changed since the snapshot before
      unique (projection, key, seq)
    ) strict""",
)
_LAID_OUT: Final = frozenset(f"{sql[:12].upper()}{sql[12:]}" for sql in _LAYOUT_SQL)
"""As SQLite keeps them: with `create table` and `create index` in capitals."""


class Closed:
    """What is closed at the end of a `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what it holds. It may be said twice."""
        raise NotImplementedError


class Spare(Closed):
    """The file at `place` for what only saves work: where something is wrong with it, it is not there."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._db: sqlite.Connection | None = None
        self._path: Path | None = None
        try:
            self._db, self._path = open_models(place)
        except SPARED as error:
            self._fail(error)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None

    def _fail(self, error: BaseException) -> None:
        """Do without, and throw a damaged file away: whoever comes next makes a new one."""
        self.close()
        if is_damage(error):
            throw_away(self._place)


def models_path(store: Path) -> Path:
    """Where the read models of the log at `store` stand."""
    return store.with_name(store.name + SUFFIX)


def open_models(place: Path | None) -> tuple[sqlite.Connection, Path | None]:
    """The file at `place`, laid out; in memory, with no path, where there is none or it cannot be written.

    Raises `Busy`, and `NotAStore` where the file is something else.
    """
    if place is None:
        return _connect(None), None
    if place.exists() and not os.access(place, os.W_OK):
        return _connect(None), None
    try:
        return _connect(place), place
    except (sqlite.Error, UnicodeDecodeError, ModelsDamaged) as error:
        if is_damage(error):
            throw_away(place)
            with suppress(sqlite.Error, UnicodeDecodeError, ModelsDamaged):
                return _connect(place), place
        elif isinstance(meant := meaning(error, place), Busy):
            raise meant from error
        return _connect(None), None


def is_damage(error: BaseException) -> bool:
    """Whether what a file gave is not what was put there, and it is not for example busy."""
    cause = error.__cause__ or error
    if isinstance(error, ModelsDamaged) or isinstance(cause, (UnicodeDecodeError, msgspec.MsgspecError)):
        return True
    return isinstance(cause, sqlite.Error) and (
        code_of(cause) in _DAMAGED or _MISSING.search(str(cause)) is not None
    )


def _is_moved(error: BaseException) -> bool:
    """Whether the file was thrown away by another process while this one had it open."""
    cause = error.__cause__ or error
    return isinstance(cause, sqlite.Error) and code_of(cause) == READONLY


def meaning(error: BaseException, place: Path | None) -> PlayheadError:
    """What an error of the driver, or of decoding, means to whoever reads the file at `place`."""
    where = place or Path(":memory:")
    if isinstance(error, PlayheadError):
        return error
    if is_damage(error):
        return ModelsDamaged(f"{where.name} is damaged: {error}.")
    return translated(error, where)


def throw_away(place: Path) -> None:
    """Remove a damaged file, where that is allowed: it is made again from the log."""
    with suppress(OSError):
        place.unlink(missing_ok=True)
        # A journal without its file would be taken for that of the next one.
        place.with_name(f"{place.name}-journal").unlink(missing_ok=True)


def undamaged(place: Path, work: Callable[[], T]) -> T:
    """What `work` makes of the file at `place`. One that turns out to be damaged is thrown away, once.

    Where another process throws it away meanwhile, `work` is done again. Raises what `work` raises, with the
    driver's errors as ours; damage only where a new file has it as well.
    """
    is_new = False
    for _ in range(MOVED_MAX):
        try:
            return work()
        except (sqlite.Error, UnicodeDecodeError, msgspec.MsgspecError, StoreError) as error:
            if _is_moved(error):
                continue
            if is_new or not is_damage(error):
                if isinstance(error, StoreError):
                    raise
                raise meaning(error, place) from error
            throw_away(place)
            is_new = True
    raise Busy(f"{place.name} is made anew by others all the time.", next_step="Try again.")


def sealed(*row: Any, body: bytes = b"") -> int:
    """The sum of a row: of what it says, and of its body."""
    return crc32(body, crc32(msgspec.msgpack.encode(row)))


def rows_of(db: sqlite.Connection, place: Path | None, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    """What a question comes to. Raises what the driver's errors mean, such as `Busy`."""
    try:
        return db.execute(sql, values).fetchall()
    except (sqlite.Error, UnicodeDecodeError) as error:
        raise meaning(error, place) from error


def locked(db: sqlite.Connection, path: Path | None, work: Callable[[], object]) -> None:
    """`work` in one transaction that nobody else writes in between. Raises what the driver's errors mean."""
    try:
        db.execute("begin immediate")
        try:
            work()
            db.execute("commit")
        except BaseException:
            db.execute("rollback")
            raise
    except sqlite.Error as error:
        raise meaning(error, path) from error


def _connect(path: Path | None) -> sqlite.Connection:
    """A connection to the file of the read models, laid out. Raises `sqlite.Error`."""
    db = sqlite.connect(
        ":memory:" if path is None else os.fspath(path), timeout=BUSY_MS / 1000, isolation_level=None
    )
    try:
        # A rollback journal, not a WAL: nothing here is worth the care that a WAL needs between processes,
        # and what a power cut takes is folded again.
        db.execute("pragma journal_mode = truncate").fetchall()
        db.execute("pragma synchronous = normal")
        db.execute(f"pragma cache_size = -{CACHE_KIB}")
        db.execute("pragma trusted_schema = 0")
        db.execute("pragma cell_size_check = 1")
        db.execute("pragma secure_delete = on")  # what is erased stands in no free page
        _lay_out(db)
        _check_whole(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _check_whole(db: sqlite.Connection, path: Path | None) -> None:
    """Raise `ModelsDamaged` where the end is missing: SQLite takes half a page for one that ends in zeros."""
    if path is None:
        return
    pages, size = (db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "page_size"))
    with suppress(FileNotFoundError):  # thrown away by another process just now, which SQLite says later
        if path.stat().st_size < pages * size:
            raise ModelsDamaged("the end of the file is missing.")


def _lay_out(db: sqlite.Connection) -> None:
    """Lay an empty file out. Raises `ModelsDamaged` for one that is not as it was laid out."""
    if is_laid_out(db):
        return
    db.execute("begin immediate")
    try:
        if not is_laid_out(db):  # by another process meanwhile
            for statement in _LAYOUT_SQL:
                db.execute(statement)
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            db.execute(f"pragma user_version = {LAYOUT}")
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise


def is_laid_out(db: sqlite.Connection) -> bool:
    """False for an empty file. Raises `ModelsDamaged` for another layout, `NotAStore` for others' files."""
    there = {row[0] for row in db.execute("select sql from sqlite_schema where sql is not null")}
    application = db.execute("pragma application_id").fetchone()[0]
    layout = db.execute("pragma user_version").fetchone()[0]
    if not there and application in (0, APPLICATION_ID):
        return False
    if application != APPLICATION_ID and not there & _LAID_OUT:
        raise NotAStore(
            "what lies in the place of the read models is something else.",
            found=f"a database with the application id {application:#x}",
            next_step="Move it away: it lies beside the store that `playhead where` names, as …-readmodels.",
        )
    if application != APPLICATION_ID:
        raise ModelsDamaged("the file says that it is something else.")
    if layout != LAYOUT:
        raise ModelsDamaged(f"the file is of layout {layout}, and this playhead writes {LAYOUT}.")
    if not there.issuperset(_LAID_OUT):
        raise ModelsDamaged("the file is not as it was laid out.")
    return True
