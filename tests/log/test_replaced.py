"""A database that was deleted or replaced under its writer is noticed, and never written again."""

# ruff: noqa: ASYNC240  (a test may look at files)

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from playhead.errors import Corrupt, OutcomeUnknown
from playhead.log.anchors import read_anchors
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from tests.log.store_helpers import ID, RUN, HandClock, append_id, events


def replaced(path: Path) -> None:
    """Another store of this moment in its place, as whoever restores a copy does it."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        db.execute("vacuum into ?", (str(copy),))
    copy.replace(path)


def deleted(path: Path) -> None:
    path.unlink()


def all_deleted(path: Path) -> None:
    for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
        path.with_name(name).unlink()


LOSSES = pytest.mark.parametrize("lose", [replaced, deleted])


@LOSSES
@pytest.mark.parametrize("away", [False, True])
async def test_it_is_noticed_at_the_next_checkpoint(
    path: Path, lose: Callable[[Path], None], away: bool
) -> None:
    store = await SqliteStore.opened(path)
    await store.append(RUN, 0, events(3))
    store._committer.sync_ns = 1e12 if away else 1.0  # type: ignore[union-attr]
    store._committer.writer._checkpoint_frames = 50  # type: ignore[union-attr]
    lose(path)
    wal = path.with_name("runs.db-wal").stat().st_ino

    async def go_on() -> None:
        for seq in range(3, 30):
            await store.append(RUN, seq, events(1))

    with capture_logs() as said, pytest.raises(Corrupt, match="deleted or replaced") as told:
        await go_on()

    assert told.value.found == ("another file" if lose is replaced else "no file")
    assert "backup" in told.value.next
    assert [(one["event"], one["log_level"]) for one in said] == [("database.replaced", "error")]
    for stream in (RUN, "run/b"):
        with pytest.raises(Corrupt, match="deleted or replaced"):
            await store.append(stream, 0, events(1), append_id=ID)
    with pytest.raises(Corrupt, match="deleted or replaced"):
        await store.put_blob(b"x")
    with pytest.raises(Corrupt, match="deleted or replaced"):
        await store.close()
    assert path.with_name("runs.db-wal").stat().st_ino == wal  # what is in it is nowhere else


@LOSSES
async def test_it_is_noticed_at_a_claim_and_nothing_of_the_claim_is_written(
    path: Path, lose: Callable[[Path], None]
) -> None:
    store = await SqliteStore.opened(path)
    await store.append(RUN, 0, events(3))
    lose(path)

    outcomes = await asyncio.gather(
        store.append("run/b", 0, events(1)),
        store.append(RUN, 3, events(1), claim=store.worker),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [Corrupt, Corrupt]
    assert (await store.head(RUN)).seq == 3
    assert (await store.head("run/b")).seq == 0
    with pytest.raises(Corrupt):
        await store.close()


@LOSSES
async def test_it_is_noticed_when_a_lease_is_renewed(path: Path, lose: Callable[[Path], None]) -> None:
    store = await SqliteStore.opened(path, lease_ttl_s=0.2)
    await store.append(RUN, 0, events(1), claim=store.worker)
    lose(path)
    with capture_logs() as said:
        while not said:  # noqa: ASYNC110  (the renewal tells nobody else)
            await asyncio.sleep(0.01)

    assert [one["event"] for one in said] == ["database.replaced"]
    with pytest.raises(Corrupt, match="deleted or replaced"):
        await store.append(RUN, 1, events(1), epoch=1)
    with pytest.raises(Corrupt):
        await store.close()


@LOSSES
async def test_it_is_noticed_at_the_close_where_something_was_acknowledged(
    path: Path, lose: Callable[[Path], None]
) -> None:
    store = await SqliteStore.opened(path)
    await store.append(RUN, 0, events(3))
    lose(path)

    with pytest.raises(Corrupt, match="deleted or replaced"):
        await store.close()
    await store.close()


async def test_a_store_that_wrote_nothing_only_says_so_at_the_close(path: Path) -> None:
    with capture_logs() as said:
        async with SqliteStore.open(path):
            deleted(path)

    assert [one["event"] for one in said] == ["database.replaced"]


async def test_a_database_deleted_with_its_wal_is_not_opened_afresh(path: Path) -> None:
    store = await SqliteStore.opened(path)
    await store.append(RUN, 0, events(3))
    all_deleted(path)

    with pytest.raises(OutcomeUnknown):
        await store.append(RUN, 3, events(1), append_id=ID)
    with pytest.raises(Corrupt, match="deleted or replaced"):
        await store.append(RUN, 3, events(1), append_id=ID)
    assert not path.exists()
    with pytest.raises(Corrupt):
        await store.close()


async def test_another_store_in_its_place_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path / "other.db") as other:
        await other.append("run/other", 0, events(5))
    store = await SqliteStore.opened(path)
    await store.append(RUN, 0, events(3))
    all_deleted(path)
    (tmp_path / "other.db").rename(path)

    with pytest.raises(OutcomeUnknown):
        await store.append(RUN, 3, events(1))
    with pytest.raises(Corrupt):
        await store.append(RUN, 3, events(1))
    with pytest.raises(Corrupt):
        await store.close()

    assert verify(path).events == 5


async def test_the_same_file_put_back_is_no_loss(path: Path, clock: HandClock) -> None:
    async with SqliteStore.open(path, clock=clock) as store:
        await store.append(RUN, 0, events(3), claim=store.worker)
        path.rename(path.with_name("aside.db"))
        path.with_name("aside.db").rename(path)
        assert await store.renew()
        await store.append(RUN, 3, events(1), epoch=1, append_id=append_id(1), anchor=True)

    assert verify(path).ok
    assert len(read_anchors(path)) == 1
