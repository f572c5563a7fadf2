"""One SQLite library per process, and connections whose every setting was read back.

SQLite before 3.51.3 can lose acknowledged commits when two processes checkpoint
a WAL at the same time. So a fixed library is preferred (the interpreter's own,
else `pysqlite3`), and on every version commits and checkpoints happen under one
lock on a sibling file. Two copies of SQLite in one process would strip each
other's locks, which is why everything that touches a store imports `sqlite`
from here and nowhere else.

    from playhead.log.driver import sqlite
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import quote

from playhead.errors import Busy, Corrupt, NotAStore, ReadOnly, StorageFull, StoreError

if TYPE_CHECKING:
    from types import ModuleType

Durability = Literal["full", "os"]

PAGE_BYTES: Final = 8192
BUSY_MS: Final = 5000
CACHE_KIB: Final = 16_000
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024
STATEMENTS_CACHED: Final = 128
ENVIRONMENT: Final = "PLAYHEAD_SQLITE"


class Library(NamedTuple):
    """Which SQLite runs, and whether it has the WAL-reset race. Shown by `playhead doctor`."""

    name: str
    version: str
    affected: bool


def has_wal_reset_race(version: tuple[int, ...]) -> bool:
    """Whether SQLite of this version can lose commits when two processes checkpoint."""
    if version[:2] == (3, 44):
        return version < (3, 44, 6)
    if version[:2] == (3, 50):
        return version < (3, 50, 7)
    if version[:2] == (3, 52):
        return True  # 3.52.0 was withdrawn
    return version < (3, 51, 3)


def choose(stdlib: tuple[int, ...], pysqlite3: tuple[int, ...] | None, wish: str = "") -> str:
    """The name of the library to use, given the versions there are and what the environment asks for."""
    if wish:
        if wish not in {"stdlib", "pysqlite3"}:
            raise StoreError(f"{ENVIRONMENT}={wish} names no library.", expected=["stdlib", "pysqlite3"])
        if wish == "pysqlite3" and pysqlite3 is None:
            raise StoreError(
                f"{ENVIRONMENT}=pysqlite3, but it is not installed.",
                next_step="Install playhead[sqlite], or unset the variable.",
            )
        return wish
    if not has_wal_reset_race(stdlib) or pysqlite3 is None or has_wal_reset_race(pysqlite3):
        return "stdlib"
    return "pysqlite3"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _load() -> tuple[ModuleType, Library]:
    wish = os.environ.get(ENVIRONMENT, "")
    other: ModuleType | None = None
    if wish == "pysqlite3" or (not wish and has_wal_reset_race(sqlite3.sqlite_version_info)):
        try:
            other = importlib.import_module("pysqlite3.dbapi2")
        except ImportError:
            other = None
    versions = _numbers(other.sqlite_version) if other else None
    name = choose(sqlite3.sqlite_version_info, versions, wish)
    module = other if name == "pysqlite3" and other else sqlite3
    version = str(module.sqlite_version)
    return module, Library(name, version, has_wal_reset_race(_numbers(version)))


if TYPE_CHECKING:
    # pysqlite3 has the same face as sqlite3, and no types of its own.
    import sqlite3 as sqlite

    LIBRARY: Library = Library("stdlib", "", affected=False)
else:
    sqlite, LIBRARY = _load()

__all__ = [
    "LIBRARY",
    "PAGE_BYTES",
    "Durability",
    "Library",
    "choose",
    "code_of",
    "connect_reader",
    "connect_writer",
    "has_wal_reset_race",
    "place_of",
    "sqlite",
    "translated",
    "uri_of",
]


# What SQLite's result codes mean to a caller. Extended codes carry the primary one in the low byte.
_FULL, _BUSY, _LOCKED, _READONLY, _CORRUPT, _NOTADB = 13, 5, 6, 8, 11, 26


def code_of(error: BaseException) -> int:
    """The primary SQLite result code of `error`, or 0 where it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def translated(error: BaseException, path: Path) -> StoreError:
    """The error of playhead's own tree that says the same as SQLite's `error`."""
    name = str(getattr(error, "sqlite_errorname", "") or type(error).__name__)
    text = f"{path.name}: {error} ({name})."
    kinds: dict[int, type[StoreError]] = {
        _FULL: StorageFull,
        _BUSY: Busy,
        _LOCKED: Busy,
        _READONLY: ReadOnly,
        _CORRUPT: Corrupt,
        _NOTADB: NotAStore,
    }
    return kinds.get(code_of(error), StoreError)(text)


def _set(db: sqlite.Connection, name: str, value: str | int, found: str | int) -> None:
    """Set a pragma and read it back: SQLite ignores what it does not understand."""
    db.execute(f"pragma {name} = {value}").fetchall()
    row = db.execute(f"pragma {name}").fetchone()
    if row is None or row[0] != found:
        raise StoreError(
            f"SQLite {LIBRARY.version} did not accept `pragma {name} = {value}`.",
            expected=found,
            found=None if row is None else row[0],
        )


def place_of(path: Path | str) -> Path:
    """Where the file really lies, symlinks followed: every name of a store leads to one lock and one WAL.

    SQLite names its own files after this place, so whatever stands beside a store is named after it too.
    """
    return Path(os.path.realpath(path))


def uri_of(path: Path, query: str) -> str:
    """A file URI for `path`, with everything that means something in a URI quoted."""
    return f"file:{quote(str(path.absolute()))}?{query}"


def connect_writer(
    path: Path,
    *,
    factory: type[sqlite.Connection] = sqlite.Connection,
    durability: Durability = "full",
    create: bool = False,
) -> Any:
    """Open `path` for writing with every setting this floor relies on, and each of them read back."""
    db = sqlite.connect(
        uri_of(path, "mode=rwc" if create else "mode=rw"),
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,  # the module would otherwise open transactions of its own
        check_same_thread=False,  # a mutex sees to it that one thread is in at a time
        cached_statements=STATEMENTS_CACHED,
        factory=factory,
    )
    try:
        _set_writer(db, durability)
    except BaseException:
        db.close()
        raise
    return db


def _set_writer(db: sqlite.Connection, durability: Durability) -> None:
    db.execute(f"pragma page_size = {PAGE_BYTES}")  # counts only before the file has its first page
    _set(db, "journal_mode", "wal", "wal")
    # FULL makes a returned append survive power loss, not only a crash of this
    # process; NORMAL lost up to seven acknowledged batches in a power cut.
    if durability == "full":
        _set(db, "synchronous", "full", 2)
    else:
        _set(db, "synchronous", "normal", 1)
    if sys.platform == "darwin":
        _set(db, "fullfsync", 1, 1)
        _set(db, "checkpoint_fullfsync", 1, 1)
    _set(db, "wal_autocheckpoint", 0, 0)  # checkpoints are counted and made under the lock, by the writer
    _set(db, "journal_size_limit", WAL_BYTES_KEPT, WAL_BYTES_KEPT)
    _set(db, "foreign_keys", 1, 1)
    _set_common(db)


def _set_common(db: sqlite.Connection) -> None:
    _set(db, "busy_timeout", BUSY_MS, BUSY_MS)
    _set(db, "trusted_schema", 0, 0)
    _set(db, "cell_size_check", 1, 1)
    # An in-memory database has no mmap_size to read back; a file always has.
    _set(db, "mmap_size", 0, 0)
    _set(db, "temp_store", 2, 2)
    _set(db, "cache_size", -CACHE_KIB, -CACHE_KIB)


def connect_reader(path: Path) -> sqlite.Connection:
    """Open `path` for reading only. Never checkpoints, never creates the file, never deletes a WAL.

    In a directory that cannot be written SQLite cannot make its shared memory. The file is then opened
    as immutable, but only when no WAL stands beside it, because its events would be missing. Raises
    `ReadOnly` there, and where a write was cut off that only a writer can undo.
    """
    path = place_of(path)
    if not path.exists():
        raise NotAStore(f"{path}: there is no such file.", next_step="Check the path.")
    query = "mode=ro"
    if not os.access(path.parent, os.W_OK) and not _beside(path, "-shm").exists():
        wal = _beside(path, "-wal")
        if wal.exists() and wal.stat().st_size > 0:
            raise ReadOnly(
                f"{path}: its directory cannot be written, and a WAL stands beside it.",
                next_step="Open it once where the directory can be written, or make a backup there.",
            )
        if _beside(path, "-journal").exists():
            raise _cut_off(path)  # what is immutable would be read as the cut left it
        query = "mode=ro&immutable=1"
    try:
        db = sqlite.connect(
            uri_of(path, query),
            uri=True,
            timeout=BUSY_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED,
        )
    except sqlite.Error as error:
        raise translated(error, path) from error
    try:
        _set(db, "query_only", 1, 1)
        _set_common(db)
        db.execute("select count(*) from sqlite_schema").fetchone()
    except sqlite.Error as error:
        db.close()
        # The code that says it exactly, READONLY_ROLLBACK, is not told by every library.
        if code_of(error) == _READONLY and _beside(path, "-journal").exists():
            raise _cut_off(path) from error
        raise translated(error, path) from error
    except BaseException:
        db.close()
        raise
    return db


def _cut_off(path: Path) -> ReadOnly:
    return ReadOnly(
        f"{path}: a crash cut off a write of this file, while the store was made or a backup was taken into"
        f" use; {path.name}-journal undoes it, and a reader cannot. Nothing acknowledged is in that write.",
        expected=f"no {path.name}-journal",
        found=f"{path.name}-journal",
        next_step="Open the store once for writing, which heals it: `playhead recover`, or any command that"
        " writes. Do not remove the journal.",
    )


def roll_back(path: Path) -> None:
    """Undo what a crash left half done while the file was made, where a journal beside it says so.

    Only then is there a journal; a connection for reading cannot roll it back, and fails on it.
    """
    if not _beside(path, "-journal").exists():
        return
    db = sqlite.connect(uri_of(path, "mode=rw"), uri=True, timeout=BUSY_MS / 1000, isolation_level=None)
    try:
        db.execute("select count(*) from sqlite_master").fetchone()
    finally:
        db.close()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
