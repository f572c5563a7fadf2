"""What a failing disk does to an append: it is told what is known, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from playhead.errors import Busy, Conflict, Corrupt, OutcomeUnknown, StorageFull, StoreError
from playhead.log.driver import sqlite
from playhead.log.sqlite_store import SqliteStore
from playhead.log.writer import Writer
from tests.log.store_helpers import ID, RUN, events, run_child


class Failing:
    """A cursor whose `statement` fails once, before or after it was done."""

    def __init__(self, cursor: Any, statement: str, code: int, *, after: bool = False) -> None:
        self._cursor, self._statement, self._code, self._after = cursor, statement, code, after
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, *values: Any) -> Any:
        return self._maybe(sql, lambda: self._cursor.execute(sql, *values))

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._maybe(sql, lambda: self._cursor.executemany(sql, rows))

    def _maybe(self, sql: str, call: Callable[[], Any]) -> Any:
        if self.failed or not sql.startswith(self._statement):
            return call()
        self.failed += 1
        if self._after:
            call()
        error = sqlite.OperationalError("disk I/O error")
        error.sqlite_errorcode = self._code
        error.sqlite_errorname = f"CODE_{self._code}"
        raise error


def failing(store: SqliteStore, statement: str, code: int, *, after: bool = False) -> None:
    writer: Any = store._committer.writer  # type: ignore[union-attr]
    writer._cursor = Failing(writer._cursor, statement, code, after=after)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("after", [False, True])
async def test_an_error_at_commit_leaves_the_outcome_unknown_and_the_id_decides(
    path: Path, away: bool, after: bool
) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(2))
        store._committer.sync_ns = 1e12 if away else 1.0  # type: ignore[union-attr]
        failing(store, "commit", 10, after=after)

        outcomes = await asyncio.gather(
            store.append(RUN, 2, events(2), append_id=ID),
            store.append(RUN, 2, events(2)),
            store.append("run/b", 0, events(1), append_id=ID),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, Conflict, OutcomeUnknown]
        assert (await store.head(RUN)).seq == (4 if after else 2)

        landed = await store.append(RUN, 2, events(2), append_id=ID)
        assert landed.first_seq == 2
        assert (await store.head(RUN)).seq == 4
        assert (await store.append("run/b", 0, events(1), append_id=ID)).first_seq == 0
        assert (await store.verify()).ok


@pytest.mark.parametrize(
    "statement", ["begin", "insert into events", "insert into payloads", "update heads", "commit"]
)
@pytest.mark.parametrize(("code", "kind"), [(13, StorageFull), (5, Busy), (10, StoreError)])
async def test_an_error_before_the_commit_writes_nothing(
    path: Path, statement: str, code: int, kind: type[StoreError]
) -> None:
    if (statement, code) == ("commit", 10):
        return
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(2))
        failing(store, statement, code)

        with pytest.raises(kind):
            await store.append(RUN, 2, events(2), append_id=ID, status="waiting")
        assert ((await store.head(RUN)).seq, (await store.head(RUN)).status) == (2, "")

        landed = await store.append(RUN, 2, events(2))
        assert (landed.first_seq, landed.position) == (2, 4)
        assert (await store.verify()).ok


async def test_a_failed_chore_fails_its_caller(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        failing(store, "insert or ignore", 13)
        with pytest.raises(StorageFull):
            await store.put_blob(b"data")
        assert await store.get_blob(await store.put_blob(b"data")) == b"data"


async def test_a_mistake_of_ours_keeps_nobody_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteStore.open(path) as store:
        store._committer.sync_ns = 1e12  # type: ignore[union-attr]
        monkeypatch.setattr(Writer, "write", lambda *_: 1 / 0)
        with pytest.raises(StoreError, match="ZeroDivisionError"):
            await store.append(RUN, 0, events(1))
        monkeypatch.undo()
        assert (await store.append(RUN, 0, events(1))).first_seq == 0


async def test_acknowledged_events_that_are_gone_stop_the_store(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(3))
        store._committer.writer._acknowledged = (3, bytes(32))  # type: ignore[union-attr]
        failing(store, "commit", 10)
        with pytest.raises(OutcomeUnknown):
            await store.append(RUN, 3, events(1))

        for _ in range(2):
            with pytest.raises(Corrupt, match="acknowledged"):
                await store.append(RUN, 3, events(1))
        assert len(await store.read(RUN)) == 3


LIMITED = """
import asyncio, resource, sys
from playhead.errors import OutcomeUnknown, StorageFull, StoreError
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore

async def main():
    async with SqliteStore.open(sys.argv[1]) as store:
        acknowledged, said = 0, []
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if sys.argv[2] == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        for seq in range(2000):
            try:
                await store.append("run/a", seq, [NewEvent("t", 1, 0, "", None, b"x" * 5000)])
            except (StorageFull, OutcomeUnknown) as error:
                said.append(type(error).__name__)
                break
            acknowledged += 1
        if sys.argv[2] == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        else:
            import os; os.unlink(sys.argv[2])
        head = (await store.head("run/a")).seq
        assert acknowledged <= head <= acknowledged + 1, (acknowledged, head)
        for _ in range(3):
            try:
                seq = (await store.head("run/a")).seq
                await store.append("run/a", seq, [NewEvent("t", 1, 0, "", None, b"after")])
                break
            except StoreError as error:
                print("again", error, file=sys.stderr)
        print(said[0], (await store.head("run/a")).seq > head, (await store.verify()).ok)
asyncio.run(main())
"""


def test_a_file_that_may_not_grow_loses_nothing_and_goes_on_when_it_may(path: Path) -> None:
    said, goes_on, whole = run_child(LIMITED, path, "limit").split()

    assert said in {"StorageFull", "OutcomeUnknown"}
    assert (goes_on, whole) == ("True", "True")


@contextmanager
def small_disk(place: Path) -> Generator[None]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with suppress(FileNotFoundError), small_disk(disk):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2 * 1024 * 1024))
        assert run_child(LIMITED, disk / "runs.db", ballast).split() == ["StorageFull", "True", "True"]
