"""One library per process, its settings read back, and nothing opened that is not ours."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from playhead.errors import NotAStore, ReadOnly, StoreError
from playhead.log.driver import (
    LIBRARY,
    choose,
    connect_reader,
    connect_writer,
    has_wal_reset_race,
    sqlite,
    translated,
)
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from tests.log.store_helpers import ROOT, RUN, child, events, run_child


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), True),
        ((3, 53, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_the_versions_with_the_race_are_known(version: tuple[int, ...], affected: bool) -> None:
    assert has_wal_reset_race(version) is affected


def test_a_fixed_library_is_preferred_and_the_environment_decides() -> None:
    old, fixed = (3, 40, 1), (3, 53, 4)

    assert choose(fixed, None) == "stdlib"
    assert choose(fixed, fixed) == "stdlib"
    assert choose(old, fixed) == "pysqlite3"
    assert choose(old, old) == choose(old, None) == "stdlib"
    assert choose(old, fixed, "stdlib") == "stdlib"
    assert choose(fixed, fixed, "pysqlite3") == "pysqlite3"
    with pytest.raises(StoreError, match="not installed"):
        choose(old, None, "pysqlite3")
    with pytest.raises(StoreError, match="names no library"):
        choose(old, fixed, "apsw")


def test_the_environment_chooses_the_library_of_a_process() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "from playhead.log.driver import LIBRARY; print(LIBRARY.name, LIBRARY.version)",
        ],
        env={**os.environ, "PLAYHEAD_SQLITE": "stdlib", "PYTHONPATH": str(ROOT / "engine")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.split() == ["stdlib", sqlite3.sqlite_version]


def test_the_library_says_whether_it_is_affected() -> None:
    assert LIBRARY.version == sqlite.sqlite_version
    assert LIBRARY.affected is has_wal_reset_race(tuple(map(int, LIBRARY.version.split("."))))


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("os", 1)])
def test_every_setting_of_a_writer_is_read_back(path: Path, durability: str, synchronous: int) -> None:
    with closing(connect_writer(path, create=True, durability=durability)) as db:  # type: ignore[arg-type]
        found = {
            name: db.execute(f"pragma {name}").fetchone()[0]
            for name in (
                "page_size",
                "journal_mode",
                "synchronous",
                "wal_autocheckpoint",
                "journal_size_limit",
                "busy_timeout",
                "trusted_schema",
                "cell_size_check",
                "foreign_keys",
                "temp_store",
                "cache_size",
            )
        }

    assert found == {
        "page_size": 8192,
        "journal_mode": "wal",
        "synchronous": synchronous,
        "wal_autocheckpoint": 0,
        "journal_size_limit": 67108864,
        "busy_timeout": 5000,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "foreign_keys": 1,
        "temp_store": 2,
        "cache_size": -16000,
    }


def test_a_setting_that_is_not_accepted_stops_the_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.log.driver.BUSY_MS", 50)
    connect_writer(path, create=True).close()
    with closing(sqlite.connect(path, isolation_level=None)) as db:
        db.execute("pragma journal_mode=delete")
        db.execute("create table t (x)")
        # A reader in rollback mode keeps the file from going back to WAL.
        db.execute("begin")
        db.execute("select * from t").fetchall()
        with pytest.raises((StoreError, sqlite.Error)):
            connect_writer(path)


def test_a_reader_cannot_write_and_makes_no_file(path: Path) -> None:
    with pytest.raises(NotAStore):
        connect_reader(path)
    assert not path.exists()

    connect_writer(path, create=True).close()
    with closing(connect_reader(path)) as db, pytest.raises(sqlite.Error):
        db.execute("create table t (x)")


READ = """
import os, sys
from playhead.errors import ReadOnly
from playhead.log.driver import connect_reader
from pathlib import Path
os.setuid(65534)
try:
    connect_reader(Path(sys.argv[1])).close()
except ReadOnly:
    print("refused")
else:
    print("read")
"""


def let_others_in(directory: Path) -> None:
    directory.chmod(0o755)
    for parent in directory.parents:
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o055)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user, for whom modes count")
def test_a_read_only_directory_is_read_as_immutable_unless_a_wal_stands_there(tmp_path: Path) -> None:
    let_others_in(tmp_path)
    path = tmp_path / "runs.db"
    connect_writer(path, create=True).close()

    assert run_child(READ, path).strip() == "read"

    (tmp_path / "runs.db-wal").write_bytes(b"x" * 100)
    assert run_child(READ, path).strip() == "refused"


# A transaction in rollback mode, so large that its pages reached the file, and a kill before its end.
CUT_OFF = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("pragma cache_size = 5")
db.execute("begin immediate")
db.execute("create table t (x)")
for _ in range(200):
    db.execute("insert into t values (zeroblob(8000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def cut_off(path: Path) -> None:
    with child(CUT_OFF, path) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert path.with_name(f"{path.name}-journal").stat().st_size
    assert path.stat().st_size


@pytest.mark.parametrize("backup", [False, True])
async def test_a_write_that_was_cut_off_is_told_to_readers_and_healed_by_a_writer(
    path: Path, tmp_path: Path, backup: bool
) -> None:
    if backup:
        async with SqliteStore.open(tmp_path / "original.db") as store:
            await store.append(RUN, 0, events(3))
            await store.backup(path)
    cut_off(path)

    async def read() -> None:
        await SqliteStore.opened(path, mode="read")

    async def verified() -> None:
        verify(path)

    async def linked() -> None:
        link = tmp_path / "link.db"
        link.symlink_to(path)
        LogReader(link)

    for look in (read, verified, linked):
        with pytest.raises(ReadOnly, match="cut off") as told:
            await look()
        assert told.value.found == "runs.db-journal"
        assert "playhead recover" in told.value.next

    async with SqliteStore.open(path) as store:
        landed = await store.append(RUN, 3 if backup else 0, events(1))
        assert landed.next_seq == (4 if backup else 1)
    assert not path.with_name("runs.db-journal").exists()
    assert verify(path).ok


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user, for whom modes count")
def test_a_write_that_was_cut_off_is_not_read_as_immutable(tmp_path: Path) -> None:
    let_others_in(tmp_path)
    path = tmp_path / "runs.db"
    cut_off(path)

    assert run_child(READ, path).strip() == "refused"


def test_an_empty_database_is_said_to_be_a_store_half_made(path: Path) -> None:
    connect_writer(path, create=True).close()

    with pytest.raises(NotAStore, match="empty database") as told:
        LogReader(path)
    assert "writing" in told.value.next


def test_errors_of_either_library_are_told_in_our_own_tree(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever it is" * 100)

    with pytest.raises(NotAStore):
        connect_reader(path)

    error = sqlite.OperationalError("readonly")
    assert type(translated(error, path)) is StoreError
    error.sqlite_errorcode = 8 | 3 << 8
    assert isinstance(translated(error, path), ReadOnly)
