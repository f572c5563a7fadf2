"""What personas on duty may spend in a run, an hour and a day, and what counts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from playhead import Reply, Request, child_run, model_call, persona
from playhead.policy.duty import DutyBudget
from playhead.policy.span import DAY_NS
from playhead.runtime.binding import Binding, Trigger
from playhead.testing import ScriptedModel, TurnedClock, priced
from tests.runtime.conftest import Home
from tests.runtime.desks import asks, desk, done, of, statuses


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@persona
async def breaks(n: int) -> None:
    raise ValueError(f"no {n}")


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


async def test_a_clock_that_goes_back_over_midnight_loses_no_money(home: Home) -> None:
    clock = TurnedClock(datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC))
    model = ScriptedModel([priced("x", micros=900_000)] * 9)
    async with desk(home, Binding(asks, budget=DutyBudget(daily_usd=1)), clock=clock, model=model) as duty:
        for n in (1, 2, 3, 4):
            await duty.trigger("asks", of(n))
        assert statuses(await duty.tick("asks", runs_max=1)) == ["completed"]
        clock.turn_to(clock.now() - 2_000_000_000)
        assert statuses(await duty.tick("asks", runs_max=1)) == ["completed"]
        clock.turn(seconds=3)
        stands = await duty.duty("asks")
        assert stands.spent(DAY_NS, clock.now()) == 900_000
