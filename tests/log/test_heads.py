"""A plain append writes three pages, so heads stay behind: the end of a stream is its last event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playhead.errors import Conflict
from playhead.log.driver import PAGE_BYTES
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from tests.log.store_helpers import RUN, event, events

WAL_FRAME_BYTES = PAGE_BYTES + 24


class Frames:
    """How many frames commits added to the WAL, and how many the writer counted."""

    def __init__(self, path: Path, store: SqliteStore) -> None:
        self._wal = path.with_name(path.name + "-wal")
        self._writer: Any = store._committer.writer  # type: ignore[union-attr]
        self.since()

    def since(self) -> tuple[int, int]:
        """Written and counted since the last time."""
        now = self._wal.stat().st_size, self._writer.frames
        before, self._now = getattr(self, "_now", now), now
        return (now[0] - before[0]) // WAL_FRAME_BYTES, now[1] - before[1]


def promised(path: Path, stream: str) -> tuple[int, bytes]:
    """What the row in heads says."""
    with LogReader(path) as log:
        sql = "select seq, digest from heads join streams using (stream) where name = ?"
        row = log.connection.execute(sql, (stream,)).fetchone()
    return row[0], row[1]


async def test_a_plain_append_writes_three_pages(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1), claim=store.worker)
        frames = Frames(path, store)
        for number in range(10):
            await store.append(RUN, 1 + 2 * number, events(2), epoch=1)
        assert frames.since() == (30, 30)

        # The control: what an owner says takes more.
        await store.append(RUN, 21, events(1), epoch=1, status="waiting")
        written, counted = frames.since()
        assert written > 3
        assert counted >= written


async def test_a_head_moves_when_something_is_said_of_its_stream(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        first = await store.append(RUN, 0, events(3))
        assert promised(path, RUN) == (3, first.digest)
        await store.append(RUN, 3, events(2))
        assert promised(path, RUN) == (3, first.digest)
        assert (await store.verify()).ok

        claimed = await store.append(RUN, 5, events(1), claim=store.worker)
        assert promised(path, RUN) == (6, claimed.digest)
        for seq, said in enumerate(({"status": "waiting"}, {"anchor": True}, {"release": True}), start=6):
            landed = await store.append(RUN, seq, events(1), epoch=1, **said)  # type: ignore[arg-type]
            assert promised(path, RUN) == (seq + 1, landed.digest)
        assert (await store.verify()).ok


async def test_the_end_of_a_stream_is_its_last_event_for_every_reader_and_writer(path: Path) -> None:
    async with SqliteStore.open(path) as store, SqliteStore.open(path) as other:
        await store.append(RUN, 0, events(1), status="running")
        await store.append("run/b", 0, events(1), status="waiting")
        landed = await store.append(RUN, 1, events(4))

        head = await other.head(RUN)
        assert (head.seq, head.digest, head.status) == (5, landed.digest, "running")
        assert await other.heads("run", status=["running"]) == [head]
        assert [found.seq for found in await other.heads("run")] == [1, 5]
        with LogReader(path) as log:
            assert (log.count(RUN), log.count(), log.position()) == (5, 6, 6)

        # The other writer has not met the stream, and this one has to hear of it again.
        assert (await other.append(RUN, 5, [event()])).position == 7
        with pytest.raises(Conflict) as told:
            await store.append(RUN, 5, [event()])
        assert told.value.found == 6
        assert promised(path, RUN)[0] == 1
        assert (await store.verify()).ok


async def test_a_run_that_ended_is_protected_to_its_end_without_an_anchor(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1), claim=store.worker)
        await store.append(RUN, 1, events(5), epoch=1)
        await store.append(RUN, 6, events(1), epoch=1, release=True, status="completed")
        await store.backup(path.with_name("copy.db"))

    copy = path.with_name("copy.db")
    async with SqliteStore.open(copy, mode="write") as store:
        store._committer.writer._db.executescript(  # type: ignore[union-attr]
            "drop trigger events_never_leave; delete from events where position = 7;"
            " delete from payloads where position = 7;"
            " create trigger events_never_leave before delete on events\n"
            "begin select raise(abort, 'an event never leaves'); end"
        )

    (fault,) = verify(copy, anchors=()).faults

    assert (fault.kind, fault.stream, fault.seq) == ("missing", RUN, 6)


@pytest.mark.parametrize("status", [None, ["waiting"], ["", "waiting"]])
async def test_heads_are_found_by_indexes_alone(path: Path, status: list[str] | None) -> None:
    async with SqliteStore.open(path) as store:
        for number in range(20):
            await store.append(f"run/{number}", 0, events(3), status="waiting" if number % 2 else None)
    asked: list[str] = []
    with LogReader(path) as log:
        log.connection.set_trace_callback(asked.append)
        assert len(log.heads("run", status=status)) == (10 if status == ["waiting"] else 20)
        log.connection.set_trace_callback(None)
        plan = [row[3] for row in log.connection.execute(f"explain query plan {asked[0]}")]

    assert [step for step in plan if step.startswith("SEARCH l") and "INDEX" in step and "stream=?" in step]
    assert not [step for step in plan if step.startswith(("SCAN e", "SCAN l"))]
