"""Any number of processes may write and read one store; whoever lost its lease is told.

Each test here runs real processes and ends them by signal where a fault is wanted.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from subprocess import Popen

import pytest

from playhead.errors import Fenced, Held
from playhead.log.admission import Group
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from tests.log.store_helpers import RUN, child, event, events

EACH = 10_000

WRITE = """
import asyncio, sys
from playhead.log.envelope import Append, Appended, NewEvent
from playhead.log.sqlite_store import SqliteStore

path, name, count, force = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "force"

async def main():
    async with SqliteStore.open(path, busy_budget_s=60) as store:
        if force:
            store._committer.writer._checkpoint_frames = 50

        async def stream(part, seq=0):
            while seq < count // 10:
                said = [f"{name}.{part}.{seq + n}".encode() for n in range(5)]
                events = [NewEvent("t", 1, 0, "", None, text) for text in said]
                landed = await store.append(f"run/{name}{part}", seq, events)
                seq = landed.next_seq

        await asyncio.gather(*(stream(part) for part in range(10)))
        print(store.statistics().checkpoints)

asyncio.run(main())
"""

FOLLOW = """
import asyncio, sys
from playhead.log.sqlite_store import SqliteStore

async def main():
    seen, last, heads = 0, 0, {}
    async with SqliteStore.open(sys.argv[1], mode="read") as store:
        async for event in store.follow(0):
            assert event.position > last, (event.position, last)
            assert event.seq == heads.get(event.stream, 0), (event.stream, event.seq)
            last, heads[event.stream] = event.position, event.seq + 1
            seen += 1
            if seen == int(sys.argv[2]):
                break
    print(seen, len(heads))

asyncio.run(main())
"""


def ended(process: Popen[str], timeout_s: float = 60) -> str:
    said, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0
    return said


async def test_four_processes_append_and_a_fifth_sees_everything_once_and_in_order(path: Path) -> None:
    async with SqliteStore.open(path):
        pass
    follower = child(FOLLOW, path, 4 * EACH)
    writers = [child(WRITE, path, name, EACH, "force" if name in "ab" else "-") for name in "abcd"]

    checkpoints = [int(await asyncio.to_thread(ended, writer)) for writer in writers]
    seen = await asyncio.to_thread(ended, follower)

    assert seen.split() == [str(4 * EACH), "40"]
    assert min(checkpoints[:2]) > 20
    verified = await asyncio.to_thread(verify, path)
    assert verified.ok, verified.faults
    assert verified.events == 4 * EACH


FAIR = """
import asyncio, sys, time
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore

async def main():
    async with SqliteStore.open(sys.argv[1], busy_budget_s=60) as store:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        seq, worst, end = 0, 0.0, time.monotonic() + float(sys.argv[3])
        while time.monotonic() < end:
            started = time.monotonic()
            await store.append(f"run/{sys.argv[2]}", seq, [NewEvent("t", 1, 0, "", None, b"x" * 100)])
            worst, seq = max(worst, time.monotonic() - started), seq + 1
        print(seq, worst)

asyncio.run(main())
"""


def test_thirty_two_processes_get_their_turns(path: Path) -> None:
    writers = [child(FAIR, path, number, 5) for number in range(32)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [ended(writer).split() for writer in writers]
    counts = [int(count) for count, _ in said]

    assert max(counts) / max(1, min(counts)) < 5, counts
    assert verify(path).events == sum(counts)


WORK = """
import asyncio, json, sys
from playhead.errors import StoreError
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore

async def main():
    async with SqliteStore.open(sys.argv[1], lease_ttl_s=float(sys.argv[2])) as store:
        E = NewEvent("work.done", 1, 0, "", None, b"")
        landed = await store.append("run/a", 0, [E], claim=store.worker)
        print(json.dumps([store.worker, landed.epoch]), flush=True)
        seq = 1
        while True:
            line = await asyncio.to_thread(sys.stdin.readline)
            if not line:
                return
            try:
                await store.append("run/a", seq, [E], epoch=landed.epoch)
                seq += 1
                print("done", flush=True)
            except StoreError as error:
                print(type(error).__name__, flush=True)

asyncio.run(main())
"""


def asked(process: Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def started(path: Path, ttl_s: float) -> tuple[Popen[str], str]:
    process = child(WORK, path, ttl_s)
    assert process.stdout is not None
    worker, epoch = json.loads(process.stdout.readline())
    assert epoch == 1
    return process, str(worker)


async def test_a_killed_worker_is_taken_over_at_once(path: Path) -> None:
    process, worker = started(path, 20)
    async with SqliteStore.open(path) as store:
        assert await store.alive(worker)
        with pytest.raises(Held):
            await store.append(RUN, 1, [event()], claim=store.worker)

        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        landed = await store.append(RUN, 1, [event()], claim=store.worker)

        assert landed.epoch == 2
        assert not await store.alive(worker)
    ended_pipes(process)


async def test_a_stopped_worker_keeps_its_lease_for_the_ttl_and_is_fenced_after_a_takeover(
    path: Path,
) -> None:
    process, worker = started(path, 1.0)
    async with SqliteStore.open(path) as store:
        await asyncio.sleep(1.3)  # renewals keep it alive beyond one ttl
        assert await store.alive(worker)
        assert asked(process) == "done"

        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(Held):
            await store.append(RUN, 2, [event()], claim=store.worker)
        await asyncio.sleep(1.3)
        assert not await store.alive(worker)
        assert (await store.append(RUN, 2, [event()], claim=store.worker)).epoch == 2

        os.kill(process.pid, signal.SIGCONT)
        assert asked(process) == "Fenced"
        assert (await store.append(RUN, 3, [event()], epoch=2)).first_seq == 3
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    ended_pipes(process)


def ended_pipes(process: Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


class Unfenced(Group):
    """The control: a group that forgets to look at epochs."""

    __slots__ = ()

    def _check_lease(self, append: object, head: object) -> None:
        """Let everybody in."""


async def stale_events(path: Path) -> int:
    """Let a stale owner append after a takeover; return how many of its events are in the log."""
    async with SqliteStore.open(path) as one, SqliteStore.open(path) as other:
        await one.append(RUN, 0, events(1), claim=one.worker)
        await one.append(RUN, 1, events(1), epoch=1, release=True)
        await other.append(RUN, 2, events(1), claim=other.worker)
        try:
            # A stale owner that reads the head but not the epoch.
            await one.append(RUN, (await one.head(RUN)).seq, [event("stale")], epoch=1)
        except Fenced:
            return 0
    with LogReader(path) as log:
        return len([found for found in log.scan(RUN) if found.payload == b"stale"])


async def test_a_stale_owner_writes_nothing(path: Path) -> None:
    assert await stale_events(path) == 0


async def test_control_without_fencing_a_stale_owner_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.log.writer.Group", Unfenced)

    assert await stale_events(path) == 1


async def test_a_follower_in_another_process_is_told(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1))
        follower = child(FOLLOW, path, 2)
        await asyncio.sleep(1)
        await store.append(RUN, 1, events(1))
        assert (await asyncio.to_thread(ended, follower)).split() == ["2", "1"]


async def test_the_files_of_the_dead_are_swept(path: Path) -> None:
    process, _ = started(path, 20)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ended_pipes(process)
    directory = path.with_name(path.name + "-workers")
    assert len(list(directory.iterdir())) == 1

    async with SqliteStore.open(path):
        assert list(directory.iterdir()) == []
