"""After an erasure: the bytes leave the WAL and everything that was derived from the log, too.

    left = scrub(Path("runs.db"), budget_s=10)      # () when nothing is left

The erasing transaction zeroes the rows. What it cannot reach are copies that were left in pages
when they were split, so the database is written anew; older frames in the WAL, which a checkpoint
takes away once no reader needs them; and the read models, which are emptied and folded again by
whoever asks next.

That a scrub is owed is said by a file beside the store, made and synced under the store's lock
before the commit that erases and removed after everything is gone. So a crash at any point leaves
it, and the next process that opens the store for writing goes on from there. It is empty until the
database was written anew.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from playhead.log.driver import code_of, connect_writer, sqlite
from playhead.log.filelock import FileLock
from playhead.log.whole import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

SCRUB_BUDGET_S: Final = 10.0
PAUSE_S: Final = 0.02
SUFFIX: Final = "-unscrubbed"
DERIVED: Final = ("-readmodels",)
"""Files beside a store that hold what was folded from it, and nothing else: databases of SQLite."""

_MAGIC: Final = b"SQLite format 3\0"
_DAMAGED: Final = frozenset({11, 26})  # SQLITE_CORRUPT, SQLITE_NOTADB


def owed_path(store: Path) -> Path:
    """The file that says that a scrub of the store at `store` is owed."""
    return store.with_name(store.name + SUFFIX)


def owe(store: Path) -> None:
    """Say, durably, that a scrub is owed. The caller holds the lock and has not committed yet."""
    path = owed_path(store)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644))
    sync_directory(path.parent)


def scrub(store: Path, budget_s: float) -> tuple[str, ...]:
    """Take away what is left of erased payloads; returns in words what could not be, after `budget_s`.

    Waits for the lock and for readers in turns, so that nobody else waits longer than one try takes.
    """
    lock = FileLock(store.with_name(store.name + "-lock"))
    try:
        left: tuple[str, ...] = ("nobody looked yet",)
        for attempt in range(max(int(budget_s / PAUSE_S), 1)):
            if attempt:
                time.sleep(PAUSE_S)
            if not lock.acquire(budget_s):
                return (f"{store.name}-wal may hold it: {lock.busy_message()}",)
            try:
                if not owed_path(store).exists():
                    return ()
                left = scrub_under_lock(store)
            finally:
                lock.release()
            if not left:
                return ()
        return left
    finally:
        lock.close()


def scrub_under_lock(store: Path) -> tuple[str, ...]:
    """One try, by somebody who holds the store's lock. What is owed is forgotten where it succeeds."""
    left = _rewritten(store)
    left += [*_empty_wal(store), *(found for name in DERIVED for found in _empty(store, name))]
    if not left:
        owed_path(store).unlink(missing_ok=True)
        sync_directory(store.parent)
    return tuple(left)


def _rewritten(store: Path) -> list[str]:
    """Write every page of the database anew, once for each erasure: what lay in none of the rows is gone."""
    owed = owed_path(store)
    if owed.stat().st_size:
        return []
    try:
        db = connect_writer(store)
        try:
            db.execute("vacuum")
        finally:
            db.close()
    except sqlite.Error as error:
        return [f"{store.name} may hold it in pages that it does not use: {error}"]
    owed.write_bytes(b"written anew\n")
    return []


def _empty_wal(store: Path) -> list[str]:
    """Copy the WAL into the database, which has zeros where the bytes were, and cut it to nothing."""
    try:
        db = connect_writer(store)
        try:
            db.execute("pragma busy_timeout = 0").fetchall()
            row = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        finally:
            db.close()
    except sqlite.Error as error:
        return [f"{store.name}-wal may hold it: {error}"]
    return [f"{store.name}-wal holds it until its readers are done"] if row is None or row[0] else []


def _empty(store: Path, suffix: str) -> list[str]:
    """Empty a derived file, pages and journal and all; whoever has it open finds it as after its making.

    Rows are deleted and not the file: another process may be writing it, and the journal of a file
    that has no name any more would be taken for that of the next one.
    """
    path = store.with_name(store.name + suffix)
    if not path.exists() or path.stat().st_size == 0:
        return []
    try:
        db = sqlite.connect(os.fspath(path), timeout=0, isolation_level=None)
        try:
            _delete_all(db)
        finally:
            db.close()
    except sqlite.Error as error:
        if code_of(error) not in _DAMAGED:
            return [f"{path.name} holds it: {error}"]
        path.unlink(missing_ok=True)  # as whoever opens it next would: it can be built again
        path.with_name(path.name + "-journal").unlink(missing_ok=True)
    return []


def _delete_all(db: sqlite.Connection) -> None:
    db.execute("pragma journal_mode = truncate").fetchall()
    db.execute("pragma secure_delete = on").fetchall()
    db.execute("begin exclusive")
    try:
        tables = db.execute("select name, sql from sqlite_schema where type = 'table'").fetchall()
        for name, sql in tables:
            if sql and sql.lower().startswith("create virtual"):
                db.execute(f"drop table {_quoted(name)}")
        for (name,) in db.execute(
            "select name from sqlite_schema where type = 'table' and name not like 'sqlite@_%' escape '@'"
        ).fetchall():
            db.execute(f"delete from {_quoted(name)}")  # noqa: S608  (a name of the file, quoted)
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise
    db.execute("vacuum")  # pages that were freed before anybody asked for zeros


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
