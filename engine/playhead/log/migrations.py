"""The file's format, from its first page to the newest: made in one transaction, lifted in one transaction.

A crash while a store is made leaves a file without tables, which the next open
takes for a new one. A crash while it is lifted leaves the older format, whole.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final, TypeAlias

from playhead.errors import NewerFormat, NotAStore, StoreError
from playhead.log.chain import STORE_SCHEME
from playhead.log.reader import APPLICATION_ID, FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from playhead.log.driver import sqlite

Migrations: TypeAlias = "Mapping[int, str]"

# The SQL that lifts a file of the version that is the key to the next one. Released
# ones never change. Events are never rewritten here: upcasters lift what is read.
MIGRATIONS: Final[dict[int, str]] = {}


def schema_sql() -> str:
    """The text of schema.sql, from wherever the package was installed."""
    return files("playhead.log").joinpath("schema.sql").read_text(encoding="utf-8")


def prepare(
    db: sqlite.Connection, path: Path, *, migrations: Migrations | None = None, target: int = FORMAT
) -> None:
    """Make the tables of a new store, or lift an older one to `target`. The caller holds the lock.

    Raises `NotAStore` for a database that is something else, `NewerFormat` for one from a newer playhead.
    """
    application = db.execute("pragma application_id").fetchone()[0]
    version = int(db.execute("pragma user_version").fetchone()[0])
    tables = db.execute("select count(*) from sqlite_schema").fetchone()[0]
    if not tables and application in {0, APPLICATION_ID}:
        _create(db)
        version = FORMAT
    elif application != APPLICATION_ID:
        raise NotAStore(f"{path} is a database, but not a playhead log.", found=hex(application))
    if version > target:
        raise NewerFormat(
            f"{path} has format {version}; this playhead writes format {target}.",
            expected=target,
            found=version,
        )
    while version < target:
        version = _lift(db, path, version, MIGRATIONS if migrations is None else migrations)


def _create(db: sqlite.Connection) -> None:
    db.execute("begin immediate")
    try:
        # Statement by statement: executescript would commit before it begins.
        for statement in statements(schema_sql()):
            db.execute(statement)
        db.execute("insert into store values (1, ?)", (STORE_SCHEME,))
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        db.execute(f"pragma user_version = {FORMAT}")
        db.execute("commit")
    except BaseException:
        _rollback(db)
        raise


def _lift(db: sqlite.Connection, path: Path, version: int, migrations: Migrations) -> int:
    if version not in migrations:
        raise StoreError(f"{path} has format {version}, and nothing here lifts it.", found=version)
    db.execute("begin immediate")
    try:
        for statement in statements(migrations[version]):
            db.execute(statement)
        db.execute(f"pragma user_version = {version + 1}")
        db.execute("commit")
    except BaseException:
        _rollback(db)
        raise
    return version + 1


def _rollback(db: sqlite.Connection) -> None:
    if db.in_transaction:
        db.execute("rollback")


def statements(script: str) -> list[str]:
    """The single statements of an SQL script, triggers whole."""
    import sqlite3  # noqa: PLC0415  (only its tokenizer; it opens nothing)

    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if ";" in line and sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    if pending.strip() and not all(line.lstrip().startswith("--") for line in pending.strip().splitlines()):
        found.append(pending.strip())
    return found
