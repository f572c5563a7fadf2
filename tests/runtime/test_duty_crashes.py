"""Personas on duty when processes die, many tick at once, and work cannot be run."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from playhead import Engine, Moment, hook, persona, signal, tool
from playhead.errors import RunError, StoreError
from playhead.events.duty import PersonaDisabled, WorkExpired, WorkFailed
from playhead.policy.duty import DutyBudget
from playhead.policy.span import DAY_NS
from playhead.runtime import recovery
from playhead.runtime.binding import Binding, Receipt, Trigger
from playhead.runtime.dispatcher import Dispatcher
from playhead.runtime.work import id_of_work
from playhead.testing import MemoryStore, ScriptedModel, priced
from tests.runtime.conftest import Home, until
from tests.runtime.desks import asks, desk, done, is_past_its_tool, of, statuses, told, triage, waits, work


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


# What cannot be run.


async def test_work_that_the_program_cannot_be_given_any_more_has_failed_and_the_next_one_runs(
    home: Home,
) -> None:
    @persona(name="moving")
    async def before(n: int) -> int:
        return n

    @persona(name="moving")
    async def after(m: int) -> int:
        return m

    async with desk(home, Binding(before)) as duty:
        await duty.trigger("moving", of(1))
    async with desk(home, Binding(after)) as duty:
        await duty.trigger("moving", Trigger("test", {"m": 2}, source_event_id="2"))
        receipts = await duty.tick("moving")
        assert statuses(receipts) == ["failed", "completed"]
        assert "missing required field `m`" in receipts[0].error
        failed = [event.fact for event in await told(duty, "moving") if isinstance(event.fact, WorkFailed)]
        assert [fact.status for fact in failed] == ["not_started"]


async def test_work_whose_program_was_changed_under_it_has_failed_and_the_next_one_runs(home: Home) -> None:
    @persona(name="moving")
    async def before(n: int) -> int:
        await work(n)
        return int(await signal("go", int))

    @persona(name="moving")
    async def after(n: int) -> int:
        return await work(n + 1)

    async with desk(home, Binding(before)) as duty:
        await duty.trigger("moving", of(1))
        ticking = asyncio.create_task(duty.tick("moving"))
        await until(lambda: is_past_its_tool(home, id_of_work("moving", of(1).key)))
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
    async with desk(home, Binding(after)) as duty:
        await duty.trigger("moving", of(2))
        assert statuses(await duty.tick("moving")) == ["expired", "failed", "completed"]
        failed = [event.fact for event in await told(duty, "moving") if isinstance(event.fact, WorkFailed)]
        assert [fact.status for fact in failed] == ["diverged"]
    assert done == [1, 3]


async def test_work_that_kills_its_process_again_and_again_is_given_up_and_the_next_one_runs(
    home: Home,
) -> None:
    if home.kind != "memory":
        pytest.skip("only a store in memory can be killed inside one process")
    stores: list[MemoryStore] = []

    @tool(effect="read_only")
    async def look() -> int:
        stores[-1].kill()
        await asyncio.sleep(60)
        return 0

    @persona
    async def dies(n: int) -> int:
        return n or await look()

    statuses_seen: list[str] = []
    for life in range(5):
        store = MemoryStore(log=home.log)
        stores.append(store)
        with suppress(StoreError, RunError, TimeoutError):
            async with Engine.open(store, deaths_max=2) as engine:
                duty = Dispatcher(engine, [Binding(dies)])
                if not life:
                    await duty.trigger("dies", of(0))
                    await duty.trigger("dies", of(1))
                async with asyncio.timeout(1):
                    statuses_seen += statuses(await duty.tick("dies"))
        store.kill()
    assert statuses_seen[-2:] == ["failed", "completed"]
    async with desk(home, Binding(dies)) as duty:
        failed = [event.fact for event in await told(duty, "dies") if isinstance(event.fact, WorkFailed)]
        assert [fact.status for fact in failed] == ["parked"]
        assert await duty.tick("dies") == []


async def test_work_of_a_process_that_is_gone_is_taken_up_as_the_same_run(home: Home) -> None:
    async with desk(home, Binding(waits)) as first:
        await first.trigger("waits", of(1))
        ticking = asyncio.create_task(first.tick("waits"))
        run = id_of_work("waits", of(1).key)
        await until(lambda: is_past_its_tool(home, run))
        assert (await first.duty("waits")).state == "running"
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)

    async with desk(home, Binding(waits)) as second:
        work_ = (await second.duty("waits")).work
        assert work_ is not None
        ticking = asyncio.create_task(second.tick("waits"))
        await second._engine.signal(work_.run, "go", "on")
        async with asyncio.timeout(20):
            receipts = await ticking

    assert statuses(receipts) == ["expired", "completed"]
    assert receipts[1].run == work_.run
    assert done == [1]


async def test_work_that_was_taken_and_never_started_is_started_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(home, Binding(triage)) as first:
        await first.trigger("triage", of(1))

        async def dies(*_: Any, **__: Any) -> None:
            raise asyncio.CancelledError

        monkeypatch.setattr(first._engine, "start_with", dies)
        with pytest.raises(asyncio.CancelledError):
            await first.tick("triage")
    async with desk(home, Binding(triage)) as second:
        assert statuses(await second.tick("triage")) == ["expired", "completed"]
    assert done == [1]


async def test_many_that_tick_and_trigger_at_once_run_each_work_key_once(home: Home) -> None:
    async with (
        desk(home, Binding(triage)) as one,
        desk(home, Binding(triage)) as two,
        desk(home, Binding(triage)) as three,
    ):
        desks = [one, two, three]

        async def busy(duty: Dispatcher, first: int) -> list[str]:
            found = [await duty.trigger("triage", of(first + n)) for n in range(10)]
            await duty.tick("triage")
            return found

        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(busy(duty, 5 * n) for n, duty in enumerate(desks)))
            while (await one.duty("triage")).waiting or (await one.duty("triage")).work:
                await asyncio.gather(*(duty.tick("triage") for duty in desks))
                await asyncio.sleep(0.01)

        assert sum(answer == "queued" for found in answers for answer in found) == 20
        assert sorted(done) == list(range(20))
        stands = await three.duty("triage")
        assert sorted(stands.seen.values()) == ["completed"] * 20


async def test_work_taken_from_a_living_worker_is_one_run_whose_end_is_written_once(home: Home) -> None:
    async with desk(home, Binding(waits)) as first, desk(home, Binding(waits)) as second:
        await first.trigger("waits", of(1))
        ticking = asyncio.create_task(first.tick("waits"))
        await until(lambda: done == [1])
        held = (await second.duty("waits")).work
        assert held is not None
        await second._say("waits", WorkExpired(work_key=held.work_key, worker=held.worker or ""))
        taking = asyncio.create_task(second.tick("waits"))
        await asyncio.sleep(0.05)
        await second._engine.signal(held.run, "go", "on")
        async with asyncio.timeout(20):
            receipts = [*await ticking, *await taking]
        events = await second._engine.store.read("persona/waits", 0, 100)

    # Who only waits for a run that another holds is seen to live, and keeps the work.
    assert statuses(receipts) == ["completed", "completed"]
    assert {receipt.run for receipt in receipts} == {held.run}
    assert [event.type for event in events].count("work.started") == 2
    assert [event.type for event in events].count("work.completed") == 1
    assert done == [1]


async def test_reading_and_telling_at_once_through_one_dispatcher_counts_everything_once(home: Home) -> None:
    binding = Binding(asks, budget=DutyBudget(daily_usd="0.010"))
    model = ScriptedModel([priced("x", micros=1_000)] * 20)
    async with desk(home, binding, model=model) as first, desk(home, binding, model=model) as second:
        await first.trigger("asks", of(0))
        await second.duty("asks")
        for n in range(1, 6):
            await first.trigger("asks", of(n))
        await first.tick("asks")
        await asyncio.gather(*(second.trigger("asks", of(n)) for n in (6, 7)), second.duty("asks"))
        assert (await second.duty("asks")).spent(DAY_NS, second._engine.clock.now()) == 6_000
        await second.tick("asks")
        stands = await second.duty("asks")
        assert sorted(stands.seen.values()) == ["completed"] * 8
        assert stands.duplicates == 0


async def test_how_a_persona_stood_stays_as_it_was_read(home: Home) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        before = await duty.duty("triage")
        await duty.tick("triage")
        assert list(before.waiting) == [of(1).key]
        assert before.seen == {of(1).key: "queued"}


async def test_a_run_whose_owner_dies_is_taken_on_by_the_tick_that_waits_for_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    if home.kind != "memory":
        pytest.skip("only a store in memory can be killed inside one process")
    monkeypatch.setattr(recovery, "LOOK_S", 0.05)
    owner = MemoryStore(log=home.log)
    async with Engine.open(owner, personas=[waits]) as engine, desk(home, Binding(waits)) as duty:
        run = id_of_work("waits", of(1).key)
        await engine.start_with(waits, {"n": 1}, run=run)
        await until(lambda: is_past_its_tool(home, run))
        await duty.trigger("waits", of(1))
        ticking = asyncio.create_task(duty.tick("waits"))
        await asyncio.sleep(0.1)
        assert not ticking.done()
        owner.kill()
        await duty._engine.signal(run, "go", "on")
        async with asyncio.timeout(20):
            assert statuses(await ticking) == ["completed"]
    assert done == [1]


async def test_receipts_of_earlier_ticks_do_not_count(home: Home) -> None:
    kept: list[Receipt] = []
    async with desk(home, Binding(triage)) as duty:
        for n in range(4):
            await duty.trigger("triage", of(n))
            await duty.tick("triage", into=kept, runs_max=2)
    assert statuses(kept) == ["completed"] * 4


async def test_a_persona_is_disabled_however_many_wait_also_when_that_is_interrupted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.policy.duty.ASIDE_MAX", 3)
    async with desk(home, Binding(triage)) as duty:
        for n in range(10):
            await duty.trigger("triage", of(n))
        await duty._say("triage", PersonaDisabled())  # where a crash left it
        assert await duty.tick("triage") == []
        await duty.resume("triage")
        await duty.trigger("triage", of(11))
        await duty.disable("triage")
        stands = await duty.duty("triage")
        assert (stands.dead_letters, len(stands.waiting), stands.state) == (11, 0, "disabled")
    assert done == []


async def test_a_hook_that_raises_what_stops_tasks_stops_nothing(home: Home) -> None:
    told_: list[str] = []

    @hook("OnPersonaPaused")
    async def stops(_: Moment) -> None:
        raise asyncio.CancelledError

    @hook("OnPersonaPaused")
    async def hears(moment: Moment) -> None:
        told_.append(moment.event)

    async with desk(home, Binding(triage), hooks=[stops, hears]) as duty:
        await duty.pause("triage")
        types = [event.type for event in await told(duty, "triage")]
    assert told_ == ["OnPersonaPaused"]
    assert types == ["persona.paused", "hook.fired", "hook.failed", "hook.fired", "hook.decided"]
