"""Personas on duty, one test for each rule: what sets them off, what waits, and what a crash costs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead import Budget, Engine, Reply, Request, child_run, model_call, persona, signal, tool
from playhead.errors import BadValue, NotFound, ProgramError, RunError, StoreError
from playhead.events.codec import CATALOG
from playhead.events.duty import WorkExpired, WorkFailed
from playhead.policy.duty import DAY_NS, DutyBudget, Schedule
from playhead.runtime import recovery
from playhead.runtime.binding import Binding, Trigger
from playhead.runtime.dispatcher import Dispatcher
from playhead.runtime.work import id_of_work
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


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": 7, "source_event_id": "1"},
        {"source_event_id": 4711},
        {"subject_key": 1},
        {"work_key": 1},
        {"kind": None, "source_event_id": "1"},
        {"work_key": "\udcff"},
        {"metadata": [1], "source_event_id": "1"},
        {"args": [1], "source_event_id": "1"},
    ],
)
def test_a_trigger_whose_fields_could_not_be_read_again_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match="of a trigger"):
        Trigger(**({"provider": "test"} | fields))


@pytest.mark.parametrize("about", [{"x": object()}, {"x": 2**70}, {"x": float("nan")}])
async def test_metadata_that_cannot_be_recorded_is_refused_and_nothing_is_written(
    home: Home, about: dict[str, Any]
) -> None:
    async with desk(home, Binding(triage)) as duty:
        with pytest.raises(BadValue):
            await duty.trigger("triage", Trigger("test", {"n": 1}, source_event_id="1", metadata=about))
        with pytest.raises(BadValue):
            await duty.pause("triage", cast("str", 5))
        assert (await duty.duty("triage")).state == "inactive"


async def test_work_keys_are_the_same_only_where_all_their_parts_are(home: Home) -> None:
    parts = [("a:b", "c"), ("a", "b:c"), ("a\\", "b:c"), ("a\\:b", "c")]
    triggers = [Trigger("t", subject_key=subject, source_event_id=event) for subject, event in parts]
    async with desk(home, Binding(triage)) as duty:
        assert [await duty.trigger("triage", each) for each in triggers] == ["queued"] * 4
    assert id_of_work("a", "b:c") != id_of_work("a:b", "c")


@persona
async def dated(day: date, /, *marks: str, tags: frozenset[str] = frozenset()) -> str:
    return f"{day.isoformat()} {sorted(tags)} {list(marks)}"


async def test_a_trigger_takes_every_argument_that_its_persona_declares_by_name(home: Home) -> None:
    async with desk(home, Binding(dated)) as duty:
        args = {"day": date(2026, 1, 2), "tags": frozenset({"b", "a"})}
        await duty.trigger("dated", Trigger("test", args, source_event_id="1"))
        with pytest.raises(BadValue, match=r"arguments of persona dated do not fit: .*date"):
            await duty.trigger("dated", Trigger("test", {"day": "today"}, source_event_id="2"))
        (receipt,) = await duty.tick("dated")
        assert await duty._engine.result(receipt.run) == "2026-01-02 ['a', 'b'] []"


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
        assert (stands.state, stands.reason, len(stands.waiting)) == ("paused", "deploying", 3)
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
        assert (stands.state, stands.dead_letters, len(stands.waiting)) == ("disabled", 2, 0)

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


async def test_what_comes_again_while_draining_or_disabled_leaves_what_waits_and_what_ended_alone(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.drain("triage")
        assert await duty.trigger("triage", of(1)) == "duplicate"
        assert statuses(await duty.tick("triage")) == ["completed"]
        await duty.disable("triage")
        assert await duty.trigger("triage", of(1)) == "duplicate"
        assert list((await duty.duty("triage")).seen.values()) == ["completed"]
    assert done == [1]


async def test_what_was_put_aside_runs_when_it_is_triggered_again_after_the_persona_was_resumed(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.disable("triage")
        await duty.resume("triage")
        assert await duty.tick("triage") == []
        assert await duty.trigger("triage", of(1)) == "queued"
        assert statuses(await duty.tick("triage")) == ["completed"]
    assert done == [1]


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


class Read(NamedTuple):
    type: str
    fact: Any


async def told(duty: Dispatcher, name: str) -> list[Read]:
    """What the stream of a persona says."""
    events = await duty._engine.store.read(f"persona/{name}", 0, 1_000)
    return [Read(event.type, CATALOG.decode(event)) for event in events]


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


@pytest.mark.parametrize(
    "nonsense",
    [
        {"persona": "triage"},
        {"persona": triage, "budget": {"daily_usd": 2}},
        {"persona": triage, "budget": Budget(max_usd=1)},
        {"persona": triage, "schedules": Schedule("* * * * *")},
        {"persona": triage, "schedules": ["* * * * *"]},
        {"persona": triage, "schedules": 7},
    ],
)
def test_a_binding_of_what_is_none_is_refused_at_once(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ProgramError):
        Binding(**nonsense)


@pytest.mark.parametrize("args", [{"nope": 1}, {"n": "one"}, {"n": object()}])
def test_a_schedule_whose_arguments_the_persona_cannot_take_is_refused_at_once(args: dict[str, Any]) -> None:
    with pytest.raises((TypeError, BadValue)):
        Binding(triage, schedules=[Schedule("* * * * *", args)])


@pytest.mark.parametrize("cron", [None, 7, "", "* * *", "61 * * * *"])
def test_a_schedule_is_an_expression_that_can_be_read(cron: Any) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule(cron)


async def test_a_persona_has_one_binding(home: Home) -> None:
    async with home.engine() as engine:
        with pytest.raises(ProgramError, match="triage has two bindings"):
            Dispatcher(engine, [Binding(triage), Binding(triage, budget=DutyBudget(daily_usd=1))])


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
        assert len((await duty.duty("asks")).waiting) == 1


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


@persona
async def asks_for_another(n: int = 0) -> str:
    return await child_run(asks, n)


async def test_what_child_runs_take_counts_on_the_day_of_the_persona_too(home: Home) -> None:
    model = ScriptedModel([priced("x", micros=1_000)] * 9)
    for budget in (DutyBudget(daily_usd="0.002"), DutyBudget()):
        binding = Binding(asks_for_another, budget=budget)
        async with desk(home, binding, model=model) as duty:
            for n in range(3):
                await duty.trigger("asks_for_another", Trigger("t", {"n": n}, work_key=f"{budget}{n}"))
            await duty.tick("asks_for_another")
            spent = [each.cost_micros for each in (await duty.duty("asks_for_another")).spendings]
            assert spent == ([1_000] * 2 if budget.daily_usd else [1_000] * 6)


async def test_what_a_model_does_not_tell_counts_as_all_that_was_set_aside_for_it(home: Home) -> None:
    @persona
    async def asks_blindly(n: int) -> str:
        return (await model_call(Request(prompt=str(n), max_cost_micros=900))).text

    model = ScriptedModel([Reply(text="x")] * 9)
    async with desk(home, Binding(asks_blindly, budget=DutyBudget(daily_usd="0.002")), model=model) as duty:
        for n in range(8):
            await duty.trigger("asks_blindly", of(n))
        receipts = await duty.tick("asks_blindly")
    assert statuses(receipts) == ["completed", "completed", "completed", "refused"]


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
