"""The file: how it opens, what it refuses, what it does when the disk or a neighbour fails."""

# ruff: noqa: ASYNC240  (a test may look at files)

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from playhead.errors import (
    Busy,
    Corrupt,
    NewerFormat,
    NotAStore,
    ReadOnly,
    StoreError,
)
from playhead.log import committer
from playhead.log.anchors import anchors_path, read_anchors, write_anchors
from playhead.log.driver import connect_writer, sqlite
from playhead.log.envelope import Anchor, Append
from playhead.log.filelock import FileLock, holder_of
from playhead.log.migrations import MIGRATIONS, prepare, schema_sql, statements
from playhead.log.reader import FORMAT, LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from playhead.log.writer import Writer
from tests.log.store_helpers import ID, RUN, append_id, child, event, events, run_child


async def made(path: Path, count: int = 3) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(count))


def by_hand(path: Path, *sql: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in sql:
            db.execute(statement)


# --- opening --------------------------------------------------------------------------------------


async def test_a_store_lives_on_in_its_file(path: Path) -> None:
    await made(path)

    async with SqliteStore.open(path) as store:
        assert [found.payload for found in await store.read(RUN)] == [b"0", b"1", b"2"]
        assert (await store.append(RUN, 3, events(1))).position == 4
    assert sorted(found.name for found in path.parent.iterdir()) == ["runs.db", "runs.db-lock"]


async def test_the_same_append_again_gives_the_first_answer_after_a_restart(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        first = await store.append(RUN, 0, events(2), append_id=ID)
    async with SqliteStore.open(path) as store:
        assert await store.append(RUN, 0, events(2), append_id=ID) == first


async def test_an_erased_payload_counts_as_the_same(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        first = await store.append(RUN, 0, events(2), append_id=ID)
    by_hand(path, "update payloads set salt=null, bytes=null, commitment=zeroblob(32) where position=2")
    async with SqliteStore.open(path) as store:
        assert await store.append(RUN, 0, events(2), append_id=ID) == first
        assert [(found.salt, found.payload) for found in await store.read(RUN, 1)] == [(None, None)]
        assert [found.payload for found in await store.tell(RUN, 1)] == [None]


async def test_another_database_is_left_alone(path: Path) -> None:
    by_hand(path, "create table theirs (x)")
    before = path.read_bytes()

    for mode in ("write", "read"):
        with pytest.raises(NotAStore, match="not a playhead log"):
            await SqliteStore.opened(path, mode=mode)

    assert path.read_bytes() == before


async def test_any_other_file_is_left_alone(path: Path) -> None:
    path.write_bytes(b"my only copy of a novel" * 1000)

    with pytest.raises(NotAStore):
        await SqliteStore.opened(path)

    assert path.read_bytes() == b"my only copy of a novel" * 1000


async def test_there_is_nothing_to_read_where_there_is_no_file(path: Path) -> None:
    with pytest.raises(NotAStore, match="no such file"):
        await SqliteStore.opened(path, mode="read")
    with pytest.raises(NotAStore, match="no such directory"):
        await SqliteStore.opened(path / "deeper.db")


@pytest.mark.parametrize("left", ["nothing", "an empty file", "settings without tables"])
async def test_a_crash_while_a_store_is_made_is_made_good(path: Path, left: str) -> None:
    if left == "an empty file":
        path.touch()
    elif left == "settings without tables":
        connect_writer(path, create=True).close()

    await made(path)

    assert verify(path).ok


async def test_a_store_opened_for_reading_says_so_at_once(path: Path) -> None:
    await made(path)

    async with SqliteStore.open(path, mode="read") as store:
        assert len(await store.read(RUN)) == 3
        with pytest.raises(ReadOnly):
            store.submit(Append(RUN, 3, [event()], append_id=ID))
        for refused in (store.append(RUN, 3, [event()]), store.put_blob(b""), store.renew()):
            with pytest.raises(ReadOnly):
                await refused


READ_ONLY = """
import asyncio, os, sys
from playhead.errors import ReadOnly
from playhead.log.sqlite_store import SqliteStore
os.setuid(65534)
async def main():
    try:
        await SqliteStore.opened(sys.argv[1])
    except ReadOnly:
        print("refused")
    async with SqliteStore.open(sys.argv[1], mode="read") as store:
        print(len(await store.read("run/a")))
asyncio.run(main())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user, for whom modes count")
@pytest.mark.parametrize("mode", [0o755, 0o777])
async def test_a_store_that_cannot_be_written_is_refused_at_open(path: Path, mode: int) -> None:
    await made(path)
    path.parent.chmod(mode)
    path.chmod(0o444)
    for parent in list(path.parents)[1:]:
        parent.chmod(parent.stat().st_mode | 0o055)

    assert run_child(READ_ONLY, path).split() == ["refused", "3"]


async def test_a_newer_format_is_read_but_not_written(path: Path) -> None:
    await made(path)
    by_hand(path, f"pragma user_version={FORMAT + 1}")

    with pytest.raises(NewerFormat) as told:
        await SqliteStore.opened(path)
    assert (told.value.expected, told.value.found) == (FORMAT, FORMAT + 1)

    async with SqliteStore.open(path, mode="read") as store:
        assert len(await store.read(RUN)) == 3


def test_an_older_format_is_lifted_whole_or_not_at_all(path: Path) -> None:
    later = {
        1: "create table notes (note text) strict;\ninsert into notes values ('a;b');",
        2: "alter table notes add x text",
    }
    with closing(connect_writer(path, create=True)) as db:
        prepare(db, path)
        with pytest.raises(sqlite.Error):
            prepare(db, path, migrations={**later, 2: "create table more (x);\nnonsense"}, target=3)
        assert db.execute("pragma user_version").fetchone()[0] == 2
        assert db.execute("select count(*) from sqlite_schema where name='more'").fetchone()[0] == 0

        prepare(db, path, migrations=later, target=3)

        assert db.execute("pragma user_version").fetchone()[0] == 3
        assert db.execute("select note, x from notes").fetchall() == [("a;b", None)]
        with pytest.raises(StoreError, match="nothing here lifts it"):
            prepare(db, path, migrations=later, target=4)
        with pytest.raises(NewerFormat):
            prepare(db, path)


def test_there_is_a_migration_for_every_released_format() -> None:
    assert sorted(MIGRATIONS) == list(range(1, FORMAT))


def test_a_script_is_taken_apart_into_whole_statements() -> None:
    found = statements(schema_sql())

    assert len([one for one in found if "create trigger" in one]) == 4
    assert all(sqlite3.complete_statement(one) for one in found)
    assert statements("-- only words\n") == []


# --- durability and groups ------------------------------------------------------------------------


async def test_one_commit_serves_everybody_of_a_turn(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, [event()])
        before = store.statistics().groups
        await asyncio.gather(*(store.append(f"run/{number}", 0, [event()]) for number in range(100)))
        assert store.statistics().groups == before + 1


@pytest.mark.parametrize("sync_ns", [1.0, 1e12])
async def test_groups_are_committed_here_or_away_by_the_time_a_sync_takes(path: Path, sync_ns: float) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, [event()])
        before = store.statistics()
        for seq in range(1, 10):
            store._committer.sync_ns = sync_ns  # type: ignore[union-attr]
            await store.append(RUN, seq, [event()])
        after = store.statistics()

    assert after.groups - before.groups == 9
    assert after.inline_groups - before.inline_groups == (9 if sync_ns == 1.0 else 0)
    assert verify(path).ok


async def test_a_slow_sync_does_not_stop_the_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Writer.work

    def slow(self: Writer) -> None:
        import time

        time.sleep(0.2)
        work(self)

    async with SqliteStore.open(path) as store:
        monkeypatch.setattr(Writer, "work", slow)
        append = asyncio.create_task(store.append(RUN, 0, [event()]))
        turns = 0
        while not append.done():
            await asyncio.sleep(0.005)
            turns += 1
        monkeypatch.undo()

    assert turns > 20


async def test_the_wal_stays_small(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        for seq in range(1500):
            await store.append(RUN, seq, [event("x" * 500)])
        assert Path(f"{path}-wal").stat().st_size < 24 * 1024 * 1024
        assert 3 <= store.statistics().checkpoints <= 60
    assert verify(path).ok


async def test_the_queue_pushes_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "QUEUE_EVENTS_MAX", 10)
    async with SqliteStore.open(path) as store:
        running = [asyncio.create_task(store.append(f"run/{n}", 0, events(4))) for n in range(30)]
        await asyncio.sleep(0)
        assert store.statistics().waiting_events <= 10
        await asyncio.gather(*running)

        # An append larger than the bound goes alone; submit cannot wait and is told.
        await store.append(RUN, 0, events(500))
        for number in range(8):
            store.submit(Append(f"mailbox/{number}", 0, events(5), append_id=append_id(number)))
        with pytest.raises(Busy, match="wait to be written"):
            store.submit(Append("mailbox/x", 0, events(5), append_id=ID))
        await store.room()
        await store.append("mailbox/x", 0, events(5))

    assert verify(path).events == 30 * 4 + 500 + 8 * 5 + 5


async def test_large_submissions_are_split_into_groups(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await asyncio.gather(*(store.append(f"run/{n}", 0, events(100)) for n in range(60)))
        assert store.statistics().groups >= 3


# --- neighbours -----------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from playhead.log.filelock import FileLock
lock = FileLock(Path(sys.argv[1]))
assert lock.try_acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
sys.stdin.readline()
"""


async def test_a_holder_of_the_lock_is_named_when_the_budget_is_over(path: Path) -> None:
    await made(path)
    holder = child(HOLD, f"{path}-lock")
    assert holder.stdout is not None
    assert holder.stdin is not None
    async with SqliteStore.open(path, busy_budget_s=0.2) as store:
        await asyncio.to_thread(holder.stdout.readline)

        with pytest.raises(Busy, match=f"process {holder.pid}"):
            await store.append(RUN, 3, events(1))
        with pytest.raises(Busy, match=f"process {holder.pid}"):
            await SqliteStore.opened(path, busy_budget_s=0.1)
        assert len(await store.read(RUN)) == 3

        waiting = asyncio.create_task(store.append(RUN, 3, events(1)))
        await asyncio.sleep(0.05)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert (await waiting).first_seq == 3
        # The wait that was given up is not left holding anything.
        await asyncio.wait_for(store.append(RUN, 4, events(1)), 5)
        other = FileLock(Path(f"{path}-lock"))
        assert other.acquire(1)
        other.release()
        other.close()
    holder.communicate("\n")
    assert (await asyncio.to_thread(verify, path)).ok


def test_the_kernel_knows_who_holds_a_lock(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    assert holder_of(place) is None
    lock = FileLock(place)
    assert holder_of(place) is None

    lock.acquire(1)

    assert holder_of(place) == os.getpid()
    lock.close()
    assert holder_of(place) is None


async def test_what_a_long_stream_tells_takes_little_room(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, [event(op=f"0/fetch#{n // 2}") for n in range(2_500)])

    with LogReader(path) as log:
        told = log.tell(RUN, 0, 5_000)

    assert {id(found.type) for found in told} == {id(told[0].type)}
    assert all(asked.op is answered.op for asked, answered in zip(told[::2], told[1::2], strict=True))
    assert not any(map(gc.is_tracked, told))


async def test_a_gap_far_into_a_stream_is_found(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(2_500))
    by_hand(path, "drop trigger events_never_leave", "delete from events where seq=1700")

    with LogReader(path) as log:
        for ask in (log.read, log.tell):
            with pytest.raises(Corrupt, match="event 1700 is missing"):
                ask(RUN, 0, 5_000)


async def test_a_reader_sees_what_others_write_and_is_not_shown_gaps(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(5))
        with LogReader(path) as log:
            await store.append(RUN, 5, events(5))
            assert [found.seq for found in log.scan(RUN)] == list(range(10))
            assert (log.count(), log.count(RUN), log.position()) == (10, 10, 10)
            assert log.positions(RUN, 3, 2) == [4, 5]
            assert log.at(4).seq == 3
            await store.append("run/abc", 0, events(1))
            await store.append("run/abd", 0, events(1))
            await store.append("runner/ab", 0, events(1))
            assert log.streams("run", "ab") == ["run/abc", "run/abd"]
            assert [head.stream for head in log.heads("run", prefix="abd")] == ["run/abd"]
            assert log.streams() == [RUN, "run/abc", "run/abd", "runner/ab"]
            assert [event.stream for event in log.tails("run", "ab")] == ["run/abc", "run/abd"]

    by_hand(path, "drop trigger events_never_leave", "delete from events where seq=3")
    for what in ("event 3 is missing", "payload of event 1 is missing"):
        with LogReader(path) as log:
            for ask in (log.read, log.tell):
                with pytest.raises(Corrupt, match=what):
                    ask(RUN)
        by_hand(path, "delete from payloads where position=2")
    by_hand(
        path, "update payloads set bytes=null, salt=null, commitment=zeroblob(32) where position=1"
    )  # as an erasure does
    with LogReader(path) as log:  # what is missing further on is no matter of this page
        assert [event.payload for event in log.tell(RUN, 0, 1)] == [None]


async def test_a_follower_is_told_also_while_the_writer_takes_long_to_close(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    store = await SqliteStore.opened(path)
    close = store._committer.close  # type: ignore[union-attr]

    async def slowly() -> None:
        await asyncio.sleep(0.3)  # longer than followers wait before they ask again
        await close()

    async def follow() -> None:
        async for _ in store.follow(0):
            pass

    monkeypatch.setattr(store._committer, "close", slowly)
    following = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    await store.close()

    with pytest.raises(StoreError, match="closed"):
        await asyncio.wait_for(following, 5)
    assert wrong == []


def test_the_read_side_needs_no_event_loop() -> None:
    said = run_child(
        "import sys, playhead.log.reader; print([m for m in"
        " ('asyncio', 'aiosqlite', 'pydantic', 'structlog', 'anyio') if m in sys.modules])"
    )

    assert said.strip() == "[]"


# --- backups and anchors --------------------------------------------------------------------------


async def test_a_backup_made_under_load_is_whole(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(500))
        stop = False

        async def write() -> int:
            seq = 0
            while not stop:
                await store.append("run/b", seq, events(10))
                seq += 10
            return seq

        writing = asyncio.create_task(write())
        await store.backup(copy)
        stop = True
        assert await writing > 0

    assert sorted(found.name for found in tmp_path.iterdir() if "copy" in found.name) == ["copy.db"]
    assert verify(copy).ok
    assert verify(copy).events >= 500
    assert copy.read_bytes()[18:20] == b"\x01\x01"  # no WAL belongs to it
    async with SqliteStore.open(copy) as store:
        assert (await store.append(RUN, 500, events(1))).first_seq == 500


async def test_a_backup_of_a_broken_store_keeps_the_older_one(path: Path, tmp_path: Path) -> None:
    await made(path)
    copy = tmp_path / "copy.db"
    async with SqliteStore.open(path) as store:
        await store.backup(copy)
    good = copy.read_bytes()
    by_hand(path, "update payloads set bytes=x'00' where position=2")

    async with SqliteStore.open(path) as store:
        with pytest.raises(Corrupt, match="does not verify"):
            await store.backup(copy)

    assert copy.read_bytes() == good
    assert not [found for found in tmp_path.iterdir() if found.suffix == ".part"]


async def test_anchors_are_written_when_asked_and_every_thousand_events(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(3), anchor=True)
        landed = await store.append(RUN, 3, events(1))
        (anchor,) = read_anchors(path)
        assert (anchor.position, anchor.events, anchor.stream, anchor.seq) == (3, 3, RUN, 2)
        await store.append("run/b", 0, events(999))
        await store.append("run/b", 999, events(1))

        first, second = read_anchors(path)
        assert (first, second.position, second.stream) == (anchor, 1003, "run/b")
        assert landed.digest != second.digest
        assert (await store.verify()).ok

    by_hand(path, "drop trigger events_never_leave")
    by_hand(path, "delete from events where position > 1000")
    assert not verify(path, anchors=read_anchors(path)).ok


def test_a_torn_anchor_is_tolerated_and_does_not_swallow_the_next(path: Path) -> None:
    anchor = Anchor(3, 3, bytes(32), RUN, 2, bytes(32))
    write_anchors(path, [anchor, anchor])
    whole = anchors_path(path).read_bytes()
    for cut in range(len(whole) // 2 + 1, len(whole) - 2):
        anchors_path(path).write_bytes(whole[:cut])
        assert read_anchors(path) == [anchor]
        write_anchors(path, [anchor])
        assert read_anchors(path) == [anchor, anchor]

    anchors_path(path).write_bytes(b'{"position": "x"}\n')
    with pytest.raises(Corrupt, match="line 1"):
        read_anchors(path)


async def test_a_reader_can_feed_on_some_types_only(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        for n in range(6):
            type_ = "step.started" if n % 2 else "step.failed"
            await store.append(f"run/{n % 3}", n // 3, [event(type_=type_)])

    with LogReader(path) as log:
        found = log.feed(1, 2, types=("step.failed", "step.skipped"))

        assert [(one.position, one.type) for one in found] == [(3, "step.failed"), (5, "step.failed")]
        assert log.feed(0, types=()) == []
        assert [one.position for one in log.feed(5, types=("step.started",))] == [6]
