"""A store is one store by whatever name it is reached: one lock, one WAL, one set of leases and anchors."""

# ruff: noqa: ASYNC240  (a test may look at files)

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from playhead.errors import Conflict, Fenced, Held, UnsafeFilesystem
from playhead.log.anchors import anchors_path, read_anchors
from playhead.log.filelock import FileLock
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from tests.log.store_helpers import RUN, child, events, run_child


@pytest.fixture
def link(path: Path, tmp_path: Path) -> Path:
    """Another name for the store, in another directory. It may dangle."""
    (tmp_path / "elsewhere").mkdir()
    name = tmp_path / "elsewhere" / "link.db"
    name.symlink_to(path)
    return name


HOLDS = """
import asyncio, sys
from playhead.log.sqlite_store import SqliteStore
from tests.log.store_helpers import RUN, events

async def main():
    async with SqliteStore.open(sys.argv[1]) as store:
        await store.append(RUN, 0, events(2), claim=store.worker)
        print(store.worker, flush=True)
        sys.stdin.readline()
        for seq in range(2, 40):
            await store.append(RUN, seq, events(1), epoch=1)

asyncio.run(main())
"""


async def test_two_processes_by_two_names_share_lock_leases_and_wal(path: Path, link: Path) -> None:
    with child(HOLDS, path) as other:
        assert other.stdout is not None
        worker = other.stdout.readline().strip()
        async with SqliteStore.open(link, busy_budget_s=0.05) as store:
            assert await store.alive(worker)
            with pytest.raises(Held):
                await store.append(RUN, 2, events(1), claim=store.worker)
            with pytest.raises(Conflict):
                await store.append(RUN, 0, events(1), epoch=1)
            await store.append("run/b", 0, events(3))
        other.communicate("go on\n", timeout=60)
        assert other.returncode == 0

    async with SqliteStore.open(link) as store:
        assert (await store.append(RUN, 40, events(1), claim=store.worker)).epoch == 2
        assert (await store.verify()).ok
        with pytest.raises(Fenced):
            await store.append(RUN, 41, events(1), epoch=1)
    assert verify(path).events == 44


async def test_a_store_reached_by_two_names_has_one_lock_and_one_file_of_each_kind(
    path: Path, link: Path
) -> None:
    async with SqliteStore.open(link) as one, SqliteStore.open(path) as other:
        assert one.path == other.path == path
        for seq in range(20):
            await (one, other)[seq % 2].append(RUN, seq, events(1), anchor=True)
        assert len(read_anchors(path)) == 20
        lock = FileLock(path.with_name("runs.db-lock"))
        assert lock.try_acquire()
        assert not one._lock.try_acquire()  # type: ignore[union-attr]
        lock.release()
        lock.close()
        with LogReader(link) as log:
            assert log.path == path
            assert log.position() == 20

    assert [name.name for name in link.parent.iterdir()] == ["link.db"]
    assert link.is_symlink()


async def test_a_symlink_that_dangles_is_where_the_store_is_made(path: Path, link: Path) -> None:
    async with SqliteStore.open(link) as store:
        await store.append(RUN, 0, events(1))

    assert path.stat().st_nlink == 1
    assert link.is_symlink()
    assert verify(link).events == 1


async def test_the_anchors_of_a_store_are_found_by_its_other_name(path: Path, link: Path) -> None:
    async with SqliteStore.open(link) as store:
        await store.append(RUN, 0, events(5), anchor=True)
    anchors_path(path).write_bytes(anchors_path(path).read_bytes().replace(b'"seq":4', b'"seq":3'))

    for name in (path, link):
        assert [fault.kind for fault in verify(name).faults] == ["anchor"]


async def test_a_file_with_two_names_is_not_written(path: Path, tmp_path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1))
    other = tmp_path / "other.db"
    os.link(path, other)

    for name in (path, other):
        with pytest.raises(UnsafeFilesystem, match="2 names") as told:
            await SqliteStore.opened(name)
        assert (told.value.expected, told.value.found) == (1, 2)
        assert "remove the others" in told.value.next
    assert not Path(f"{other}-lock").exists()
    async with SqliteStore.open(other, mode="read") as store:
        assert len(await store.read(RUN)) == 1

    other.unlink()
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 1, events(1))


OTHER_NAME = """
import asyncio, sys
from playhead.errors import UnsafeFilesystem
from playhead.log.sqlite_store import SqliteStore

async def main():
    try:
        await SqliteStore.opened(sys.argv[1])
    except UnsafeFilesystem as refused:
        print(refused.code)

asyncio.run(main())
"""


async def test_a_second_name_given_to_a_store_in_use_lets_nobody_in(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1), claim=store.worker)
        os.link(path, other)
        assert run_child(OTHER_NAME, other).strip() == "store.unsafe_filesystem"
        await store.append(RUN, 1, events(1), epoch=1)

    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        assert db.execute("select count(*) from events").fetchone() == (2,)
