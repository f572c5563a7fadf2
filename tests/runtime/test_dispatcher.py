"""Personas on duty, one test for each rule: what sets them off, what waits, and what a crash costs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead import Request, model_call, persona, signal, tool
from playhead.errors import BadValue, NotFound, ProgramError
from playhead.events.duty import WorkExpired
from playhead.policy.duty import DutyBudget, Schedule
from playhead.runtime.dispatcher import Binding, Dispatcher, Trigger, id_of_work
from playhead.testing import MemoryStore, ScriptedModel, TurnedClock, priced
from tests.runtime.conftest import Home, until

done: list[int] = []


@tool(side_effect_level="workspace_write")
async def work(n: int) -> int:
    done.append(n)
    await asyncio.sleep(0.001)
    return n


@persona
async def triage(n: int = 0) -> int:
    return await work(n)


@persona
async def asks(n: int = 0) -> str:
    return (await model_call(Request(prompt=str(n)))).text


@persona
async def breaks(n: int) -> None:
    raise ValueError(f"no {n}")


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@asynccontextmanager
async def desk(home: Home, *bindings: Binding, **options: Any) -> AsyncGenerator[Dispatcher]:
    """A dispatcher with an engine and a worker of its own, who is gone afterwards."""
    async with home.engine(**options) as engine:
        yield Dispatcher(engine, bindings)
    if isinstance(engine.store, MemoryStore):
        engine.store.kill()  # a store in memory has no process that ends


def of(n: int) -> Trigger:
    return Trigger("test", {"n": n}, source_event_id=f"e-{n}")


def statuses(receipts: list[Any]) -> list[str]:
    return [receipt.status for receipt in receipts]


# Triggers.


async def test_a_trigger_is_run_once_in_the_order_of_arrival_and_a_known_work_key_is_a_duplicate(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        assert [await duty.trigger("triage", of(n)) for n in (1, 2, 1)] == ["queued", "queued", "duplicate"]
        receipts = await duty.tick("triage")
        assert await duty.trigger("triage", of(2)) == "duplicate"
        assert await duty.tick("triage") == []

        assert statuses(receipts) == ["completed", "completed"]
        assert [receipt.queued for receipt in receipts] == [1, 0]
        assert receipts[0].run == id_of_work("triage", receipts[0].work_key)
        stands = await duty.duty("triage")
        assert (stands.duplicates, stands.state) == (2, "idle")
    assert done == [1, 2]


async def test_a_trigger_needs_a_work_key_and_arguments_that_the_persona_takes(home: Home) -> None:
    async with desk(home, Binding(triage)) as duty:
        with pytest.raises(ProgramError, match="nothing that tells it from others"):
            await duty.trigger("triage", Trigger("test", {"n": 1}))
        with pytest.raises(BadValue):
            await duty.trigger("triage", Trigger("test", {"n": "many"}, work_key="k"))
        with pytest.raises(TypeError, match="unexpected keyword argument 'm'"):
            await duty.trigger("triage", Trigger("test", {"m": 1}, work_key="k"))
        with pytest.raises(NotFound, match="'nobody' is on duty"):
            await duty.trigger("nobody", of(1))
        assert (await duty.duty("triage")).state == "inactive"


# What people say.


@persona
async def opens(door: str, key: dict[str, str]) -> str:
    return f"{door} with {key['secret']}"


async def test_secrets_in_a_trigger_and_what_is_said_about_it_stand_nowhere_in_the_log(home: Home) -> None:
    noon = Schedule("0 12 * * *", {"door": "back", "key": {"secret": "hunter2"}})
    clock = TurnedClock(datetime(2026, 1, 1, 11, tzinfo=UTC))
    async with desk(home, Binding(opens, [noon]), secrets=["secret"], clock=clock) as duty:
        args = {"door": "front", "key": {"secret": "hunter2"}}
        about = {"signed": {"secret": "hunter2"}}
        await duty.trigger("opens", Trigger("test", args, source_event_id="1", metadata=about))
        receipts = await duty.tick("opens")
        clock.turn(hours=2)
        receipts += await duty.tick("opens")
        assert statuses(receipts) == ["completed", "fired", "completed"]
        for receipt in (receipts[0], receipts[2]):  # as with any run: what is not recorded is not given
            assert " with playhead:redacted:" in await duty._engine.result(receipt.run)
        events = await duty._engine.store.feed(0, 1_000)

    assert not [event for event in events if b"hunter2" in (event.payload or b"")]
    assert sum(b"playhead:redacted:" in (event.payload or b"") for event in events) >= 4


async def test_while_a_persona_is_paused_triggers_wait_and_resuming_runs_each_exactly_once(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.pause("triage", "deploying", sender="ada")
        for n in (1, 2, 3):
            assert await duty.trigger("triage", of(n)) == "queued"
        assert await duty.tick("triage") == []
        stands = await duty.duty("triage")
        assert (stands.state, stands.reason, len(stands.queue)) == ("paused", "deploying", 3)
        assert done == []

        await duty.resume("triage")
        assert statuses(await duty.tick("triage")) == ["completed"] * 3
        assert await duty.tick("triage") == []
    assert done == [1, 2, 3]


async def test_a_disabled_persona_puts_aside_what_waits_and_what_comes(home: Home) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.disable("triage", "broken")
        assert await duty.trigger("triage", of(2)) == "dead_lettered"
        assert await duty.tick("triage") == []
        stands = await duty.duty("triage")
        assert (stands.state, stands.dead_letters, stands.queue) == ("disabled", 2, [])

        await duty.resume("triage")
        assert await duty.trigger("triage", of(3)) == "queued"
        assert statuses(await duty.tick("triage")) == ["completed"]
    assert done == [3]


async def test_a_draining_persona_works_off_what_waits_and_takes_nothing_more(home: Home) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.drain("triage")
        assert await duty.trigger("triage", of(2)) == "dead_lettered"
        assert statuses(await duty.tick("triage")) == ["completed"]
        assert (await duty.duty("triage")).state == "draining"
    assert done == [1]


# Schedules.


async def test_a_schedule_sets_a_persona_off_once_for_each_time_and_makes_up_for_the_newest(
    home: Home,
) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 0, tzinfo=UTC))
    hourly = Binding(triage, schedules=[Schedule("0 * * * *", {"n": 7})])
    async with desk(home, hourly, clock=clock) as duty:
        assert await duty.tick("triage") == []
        clock.turn(minutes=59)
        assert await duty.tick("triage") == []
        clock.turn(minutes=2)
        assert statuses(await duty.tick("triage")) == ["fired", "completed"]
        assert await duty.tick("triage") == []
        clock.turn(hours=5)
        assert statuses(await duty.tick("triage")) == ["fired", "completed"]
        stands = await duty.duty("triage")
        due = stands.next_due(clock.now())
        assert due is not None
        assert datetime.fromtimestamp(due / 1e9, UTC) == datetime(2026, 3, 1, 13, tzinfo=UTC)
    assert done == [7, 7]


async def test_a_schedule_counts_from_the_tick_that_first_sees_it_and_again_when_it_changes(
    home: Home,
) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 30, tzinfo=UTC))
    hourly, daily = Schedule("0 * * * *", {"n": 1}), Schedule("0 6 * * *", {"n": 2}, name="morning")
    async with desk(home, Binding(triage, schedules=[hourly]), clock=clock) as duty:
        await duty.trigger("triage", of(0))
        clock.turn(days=2)
        assert statuses(await duty.tick("triage")) == ["completed"]
    async with desk(home, Binding(triage, schedules=[hourly, daily]), clock=clock) as duty:
        clock.turn(minutes=45)
        assert statuses(await duty.tick("triage")) == ["fired", "completed"]
        clock.turn(days=1)
        assert statuses(await duty.tick("triage")) == ["fired", "fired", "completed", "completed"]
    moved = Schedule("10 * * * *", {"n": 3}, name="morning")
    async with desk(home, Binding(triage, schedules=[moved]), clock=clock) as duty:
        assert await duty.tick("triage") == []
        assert (await duty.duty("triage")).schedules == {"morning": "10 * * * *"}
        clock.turn(hours=1)
        assert statuses(await duty.tick("triage")) == ["fired", "completed"]
    assert done == [0, 1, 1, 2, 3]


async def test_what_came_due_while_disabled_is_not_made_up_for(home: Home) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 30, tzinfo=UTC))
    async with desk(home, Binding(triage, schedules=[Schedule("0 * * * *")]), clock=clock) as duty:
        await duty.tick("triage")
        await duty.disable("triage")
        clock.turn(hours=3)
        await duty.resume("triage")
        assert await duty.tick("triage") == []
        clock.turn(hours=1)
        assert statuses(await duty.tick("triage")) == ["fired", "completed"]


def test_two_schedules_of_one_persona_have_two_names() -> None:
    seven = Schedule("0 7 * * *", {"n": 1}), Schedule("0 7 * * *", {"n": 2})
    with pytest.raises(ProgramError, match="two schedules of triage are called '0 7"):
        Binding(triage, schedules=seven)
    Binding(triage, schedules=[seven[0], Schedule("0 7 * * *", {"n": 2}, name="the other")])


async def test_a_schedule_that_comes_due_while_paused_waits_too(home: Home) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 0, tzinfo=UTC))
    async with desk(home, Binding(triage, schedules=[Schedule("0 * * * *")]), clock=clock) as duty:
        await duty.pause("triage")
        await duty.tick("triage")
        clock.turn(hours=1, minutes=1)
        assert statuses(await duty.tick("triage")) == ["fired"]
        await duty.resume("triage")
        assert statuses(await duty.tick("triage")) == ["completed"]


def test_a_schedule_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="'every day' cannot be read"):
        Schedule("every day")
    with pytest.raises(ValueError, match="Bad day-of-month"):
        Schedule("0 0 31 4,6 *")


@given(
    cron=st.sampled_from(["* * * * *", "*/7 3-5 * * *", "0 7 * * 1", "30 2 29 2 *", "0 0 1 */3 *"]),
    now=st.integers(1_700_000_000 * 10**9, 1_900_000_000 * 10**9),
    ago=st.integers(0, 400 * 86_400 * 10**9),
)
def test_the_newest_time_that_is_due_is_the_last_of_all_that_came_since(
    cron: str, now: int, ago: int
) -> None:
    schedule, after = Schedule(cron), now - ago
    found = schedule.newest_due(after, now)
    if found is None:
        assert schedule.next_after(after) > now
    else:
        assert after < found <= now
        assert schedule.next_after(found - 1) == found
        assert schedule.next_after(found) > now


def test_a_schedule_of_every_minute_is_made_up_for_at_once_after_ten_years() -> None:
    minute, decade = Schedule("* * * * *"), 3_652 * 86_400 * 10**9
    assert minute.newest_due(1, decade) == decade  # not one step for each of five million minutes


# Budgets.


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        ({"run_usd": 0, "daily_usd": 0}, "run_usd"),
        ({"daily_usd": 0, "hourly_usd": 0}, "daily_usd"),
        ({"hourly_usd": 0, "max_tokens": 0}, "hourly_usd"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
async def test_the_first_budget_that_is_spent_refuses_the_run_and_is_named_once(
    home: Home, budget: dict[str, Any], limit: str
) -> None:
    async with desk(home, Binding(asks, budget=DutyBudget(**budget))) as duty:
        await duty.trigger("asks", of(1))
        (receipt,) = await duty.tick("asks")
        assert (receipt.status, receipt.error, receipt.run) == ("refused", f"{limit} is spent", "")
        assert await duty.tick("asks") == []
        assert len((await duty.duty("asks")).queue) == 1


async def test_what_a_day_has_spent_refuses_runs_until_the_next_and_a_run_gets_what_is_left(
    home: Home,
) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 0, tzinfo=UTC))
    model = ScriptedModel([priced("a", micros=700_000), priced("b", micros=400_000), priced("c", micros=1)])
    binding = Binding(asks, budget=DutyBudget(daily_usd=1, run_usd="0.90"))
    async with desk(home, binding, clock=clock, model=model) as duty:
        for n in (1, 2, 3):
            await duty.trigger("asks", of(n))
        receipts = await duty.tick("asks")
        assert statuses(receipts) == ["completed", "failed", "refused"]
        assert "exceeded max_usd budget ($0.4 > $0.3)" in receipts[1].error
        assert [request.max_cost_micros for request in model.asked] == [900_000, 300_000]
        assert (await duty.duty("asks")).state == "failed"

        clock.turn(hours=18)
        assert statuses(await duty.tick("asks")) == ["completed"]
        stands = await duty.duty("asks")
        assert (stands.state, stands.last_error) == ("idle", None)
        assert [spent.cost_micros for spent in stands.spendings] == [1]


async def test_a_run_that_fails_says_so_and_the_next_one_runs(home: Home) -> None:
    async with desk(home, Binding(breaks)) as duty:
        await duty.trigger("breaks", of(1))
        await duty.trigger("breaks", of(2))
        receipts = await duty.tick("breaks")
        assert [(receipt.status, receipt.error) for receipt in receipts] == [
            ("failed", "no 1"),
            ("failed", "no 2"),
        ]
        assert (await duty.duty("breaks")).last_error == "ValueError: no 2"


# Crashes, and many at once.


@persona
async def waits(n: int) -> str:
    await work(n)
    return str(await signal("go", str))


async def is_past_its_tool(home: Home, run: str) -> bool:
    """Whether the tool of `waits` is behind it: one that is cut off would be in doubt."""
    return "tool.completed" in await home.types(run)


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
            while (await one.duty("triage")).queue or (await one.duty("triage")).work:
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
