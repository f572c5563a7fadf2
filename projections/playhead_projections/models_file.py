"""The file beside a log in which everything is kept that is made of it, and that can be thrown away.

    db, path = open_models(models_path(store))

It is an SQLite file of its own, so that no mistake in a read model can harm the log. One that is damaged, or
of another layout, is thrown away; where nothing can be written beside the log, it lives in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playhead.errors import Busy, PlayheadError
from playhead.log.driver import BUSY_MS, code_of, sqlite, translated

SUFFIX: Final = "-readmodels"
APPLICATION_ID: Final = 0x706C7264
LAYOUT: Final = 2
CACHE_KIB: Final = 32_768
"""So that the records of one agent stay in memory between two questions."""

DAMAGED: Final = frozenset({11, 26})  # SQLITE_CORRUPT, SQLITE_NOTADB

_LAYOUT_SQL: Final = (
    """create table projection (
      name     text    primary key,
      version  integer not null,
      position integer not null,          -- of the last event folded in
      digest   blob    not null,          -- of that event: the past we were folded from
      events   integer not null,
      skipped  integer not null,          -- of types that only a newer playhead knows
      sound    integer not null           -- erasures up to this position are accounted for
    ) strict, without rowid""",
    """create table state (
      projection text    not null,
      key        text    not null,
      since      integer not null,        -- position of the first event of the key
      label      text,
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
      traceback text    not null
    ) strict, without rowid""",
    """create table trail (
      projection text    not null,
      key        text    not null,
      seen       integer not null,        -- so many events of the stream held no erasure of one before them
      primary key (projection, key)
    ) strict, without rowid""",
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


def models_path(store: Path) -> Path:
    """Where the read models of the log at `store` stand."""
    return store.with_name(store.name + SUFFIX)


def open_models(place: Path) -> tuple[sqlite.Connection, Path | None]:
    """The file at `place`, laid out; in memory, with no path, where it cannot be written. Raises `Busy`."""
    if place.exists() and not os.access(place, os.W_OK):
        return _connect(None), None
    try:
        return _connect(place), place
    except (sqlite.Error, UnicodeDecodeError) as error:
        if is_damage(error):
            place.unlink(missing_ok=True)
            return _connect(place), place
        if isinstance(translated(error, place), Busy):
            raise translated(error, place) from error
        return _connect(None), None


def is_damage(error: BaseException) -> bool:
    """Whether a file is damaged, and not for example busy. SQLite says so, or what it gave cannot be read."""
    return isinstance(error, UnicodeDecodeError) or code_of(error.__cause__ or error) in DAMAGED


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
        raise translated(error, path or Path(":memory:")) from error


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
        db.execute("pragma secure_delete = on")  # what is erased stands in no free page
        _lay_out(db)
    except BaseException:
        db.close()
        raise
    return db


def _lay_out(db: sqlite.Connection) -> None:
    if db.execute("pragma user_version").fetchone()[0] == LAYOUT:
        if db.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
            raise PlayheadError("the file of the read models is something else; move it away.")
        return
    db.execute("begin immediate")
    try:
        for table in ("projection", "state", "parked", "trail", "snapshot"):
            db.execute(f"drop table if exists {table}")
        for statement in _LAYOUT_SQL:
            db.execute(statement)
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        db.execute(f"pragma user_version = {LAYOUT}")
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise
