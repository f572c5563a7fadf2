"""The model can die, be stopped and be taken over, so that simulations need no process for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from playhead.errors import Fenced, Held, StoreError
from playhead.log.envelope import Append
from playhead.log.memory_store import MemoryLog, MemoryStore
from tests.log.store_helpers import ID, RUN, HandClock, append_id, event, events


@pytest.fixture
def pair(clock: HandClock) -> tuple[MemoryStore, MemoryStore]:
    log = MemoryLog()
    return MemoryStore(clock, log), MemoryStore(clock, log)


async def test_what_a_killed_worker_had_not_settled_is_lost_and_its_lease_is_free(
    pair: tuple[MemoryStore, MemoryStore],
) -> None:
    store, other = pair
    await store.append(RUN, 0, events(1), claim=store.worker)
    told: list[Append] = []
    store.submit(Append(RUN, 1, events(1), append_id=ID, epoch=1, done=told.append))

    store.kill()
    await asyncio.sleep(0)

    assert told == []
    assert (await other.append(RUN, 1, events(1), claim=other.worker)).epoch == 2
    with pytest.raises(StoreError, match="killed"):
        store.submit(Append(RUN, 2, events(1), append_id=ID))


async def test_a_worker_may_die_between_the_commit_and_the_answer(
    pair: tuple[MemoryStore, MemoryStore],
) -> None:
    store, other = pair
    told: list[Append] = []

    def die(_: Sequence[Append]) -> None:
        store.kill()

    store.before_settling = die
    store.submit(Append(RUN, 0, events(2), append_id=ID, done=told.append))
    await asyncio.sleep(0)

    assert told == []
    assert (await other.head(RUN)).seq == 2
    assert (await other.append(RUN, 0, events(2), append_id=ID)).next_seq == 2


async def test_a_stopped_worker_keeps_its_lease_until_the_ttl_is_over(
    pair: tuple[MemoryStore, MemoryStore], clock: HandClock
) -> None:
    store, other = pair
    await store.append(RUN, 0, events(1), claim=store.worker)
    store.stop()
    clock.up += 19_000_000_000
    with pytest.raises(Held):
        await other.append(RUN, 1, events(1), claim=other.worker)

    clock.up += 2_000_000_000
    assert not await store.renew()
    assert (await other.append(RUN, 1, events(1), claim=other.worker)).epoch == 2

    store.go_on()
    with pytest.raises(Fenced):
        await store.append(RUN, 2, events(1), epoch=1)


async def test_the_same_submissions_give_the_same_log(clock: HandClock) -> None:
    logs: list[MemoryLog] = []
    for _ in range(2):
        store = MemoryStore(HandClock())
        await asyncio.gather(
            *(
                store.append(f"run/{n % 3}", n // 3, [event(str(n))], append_id=append_id(n))
                for n in range(30)
            )
        )
        logs.append(store.log)

    assert logs[0].events == logs[1].events
    assert logs[0].state.running == logs[1].state.running


async def test_anchors_are_kept_and_a_model_cannot_be_copied(clock: HandClock) -> None:
    async with MemoryStore.open(clock=clock) as store:
        await store.append(RUN, 0, events(2), anchor=True)
        assert [(anchor.position, anchor.seq) for anchor in store.log.anchors] == [(2, 1)]
        assert (await store.verify()).ok
