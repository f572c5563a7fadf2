"""Personas on duty by the clock: when a schedule counts, what is made up for, and how one is bound."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead import Budget, persona
from playhead.errors import BadValue, ProgramError
from playhead.events.duty import PersonaPaused, ScheduleFired
from playhead.policy.duty import DutyBudget, Schedule
from playhead.runtime.binding import Binding
from playhead.runtime.dispatcher import Dispatcher
from playhead.testing import TurnedClock
from tests.runtime.conftest import Home
from tests.runtime.desks import desk, done, of, statuses, triage


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


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


@pytest.mark.parametrize(
    "said",
    [
        [None],
        [7],
        [""],
        ["* * *"],
        ["61 * * * *"],
        ["* * * * *", None],
        ["* * * * *", {}, 7],
        ["* * * * *", {}, "\ud800"],
    ],
)
def test_a_schedule_is_an_expression_that_can_be_read(said: list[Any]) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule(*said)


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


async def test_pausing_a_persona_that_takes_nothing_is_refused_and_makes_up_for_nothing(home: Home) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 30, tzinfo=UTC))
    async with desk(home, Binding(triage, schedules=[Schedule("0 * * * *")]), clock=clock) as duty:
        await duty.tick("triage")
        for stop in (duty.disable, duty.drain):
            await stop("triage")
            clock.turn(hours=2)
            with pytest.raises(ProgramError, match="takes nothing that could wait"):
                await duty.pause("triage")
            await duty._say("triage", PersonaPaused())  # as a log from elsewhere may have it
            assert await duty.tick("triage") == []
            await duty.resume("triage")
            assert await duty.tick("triage") == []


async def test_two_that_disagree_about_the_schedules_do_not_keep_each_other_from_going_off(
    home: Home,
) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 30, tzinfo=UTC))
    one, two = (Binding(triage, schedules=[Schedule("0 * * * *", name=name)]) for name in "st")
    fired: list[str] = []
    async with desk(home, one, clock=clock) as first, desk(home, two, clock=clock) as second:
        for _ in range(12):
            fired += [each.work_key for each in await first.tick("triage") if each.status == "fired"]
            fired += [each.work_key for each in await second.tick("triage") if each.status == "fired"]
            clock.turn(minutes=10)
    assert sorted(key.split(":")[1] for key in fired) == ["s", "s", "t", "t"]


async def test_arguments_that_a_redaction_makes_unfit_are_refused_at_once(home: Home) -> None:
    @persona
    async def opens_with(pins: dict[str, int]) -> None: ...

    noon = Schedule("0 12 * * *", {"pins": {"pin": 1234}})
    async with home.engine(secrets=["pin"]) as engine:
        with pytest.raises(BadValue, match="arguments of persona opens_with do not fit"):
            Dispatcher(engine, [Binding(opens_with, schedules=[noon])])


async def test_a_time_that_comes_again_is_a_duplicate(home: Home) -> None:
    clock = TurnedClock(datetime(2026, 3, 1, 6, 30, tzinfo=UTC))
    async with desk(home, Binding(triage, schedules=[Schedule("0 * * * *")]), clock=clock) as duty:
        await duty.tick("triage")
        clock.turn(hours=1)
        assert statuses(await duty.tick("triage")) == ["fired", "completed"]
        await duty._say("triage", ScheduleFired(schedule="0 * * * *", due=0, work_key="older"))
        assert [(each.status, each.queued) for each in await duty.tick("triage")] == [("duplicate", 0)]
    assert done == [0]
