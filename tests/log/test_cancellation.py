"""Cancelling whoever waits for an append changes nothing about the append: it lands or fails as a whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from playhead.errors import Conflict
from playhead.log.sqlite_store import SqliteStore
from tests.log.store_helpers import append_id, events

CANCELLED = 3_000
STREAMS = 20


@pytest.mark.parametrize("away", [False, True])
async def test_no_cancellation_tears_a_batch_or_leaves_a_transaction_open(path: Path, away: bool) -> None:
    chance = Random(7)
    landed = cancelled = 0
    async with SqliteStore.open(path) as store:
        committer = store._committer
        assert committer is not None
        heads = [0] * STREAMS
        number = 0
        while number < CANCELLED // 2:
            committer.sync_ns = 1e12 if away else 1.0
            tasks: list[tuple[int, int, asyncio.Task[object]]] = []
            for _ in range(chance.randrange(1, 8)):
                number += 1
                stream = chance.randrange(STREAMS)
                append = store.append(
                    f"run/{stream}", heads[stream], events(3, f"{number}."), append_id=append_id(number)
                )
                tasks.append((number, stream, asyncio.create_task(append)))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.001)
            for _, _, task in tasks:
                cancelled += task.cancel()
            await asyncio.gather(*(task for _, _, task in tasks), return_exceptions=True)
            await store.drained()
            assert not committer.writer._db.in_transaction

            # The id decides what became of each one.
            for name, stream, _ in tasks:
                before = heads[stream]
                try:
                    answer = await store.append(
                        f"run/{stream}", before, events(3, f"{name}."), append_id=append_id(name)
                    )
                except Conflict:
                    continue
                assert answer.first_seq == before
                heads[stream] = answer.next_seq
                landed += 1

        for stream, seq in enumerate(heads):
            found = await store.read(f"run/{stream}", 0, 10_000)
            assert len(found) == seq
            for start in range(0, seq, 3):
                batch = found[start : start + 3]
                names = {(one.payload or b"").split(b".")[0] for one in batch}
                assert len(names) == 1
        assert (await store.verify()).ok
    assert cancelled > CANCELLED // 8
    assert landed > CANCELLED // 8


async def test_whoever_waits_for_room_may_be_cancelled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playhead.log.committer.QUEUE_EVENTS_MAX", 5)
    async with SqliteStore.open(path) as store:
        tasks = [asyncio.create_task(store.append(f"run/{n}", 0, events(5))) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.drained()

        for number in range(1, 20, 2):
            assert (await store.head(f"run/{number}")).seq == 5
        assert (await store.append("run/x", 0, events(5))).first_seq == 0


@pytest.mark.parametrize("turns", range(12))
async def test_cancelling_every_task_of_the_loop_leaves_a_store_that_works(path: Path, turns: int) -> None:
    async with SqliteStore.open(path) as store:
        committer = store._committer
        assert committer is not None
        committer.sync_ns = 1e12
        own = asyncio.current_task()
        append = asyncio.create_task(store.append("run/a", 0, events(2), append_id=append_id(1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task is not own and (task is append or task.get_name().startswith("playhead")):
                task.cancel()
        await asyncio.gather(append, return_exceptions=True)

        landed = await asyncio.wait_for(store.append("run/a", 0, events(2), append_id=append_id(1)), 10)
        assert (landed.next_seq, (await store.head("run/a")).seq) == (2, 2)
        assert (await store.verify()).ok
