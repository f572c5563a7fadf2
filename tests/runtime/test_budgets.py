"""Budgets, one test for each rule: what they refuse, what a call is shown, and what it waits for."""

import asyncio
import contextlib
import functools
from typing import Any

import pytest

from playhead import Reply, Request, RunFailed, Usage, map_bounded, persona, step, tool
from playhead.errors import BudgetExceeded
from playhead.policy.budget import Budget
from playhead.testing import ScriptedModel
from tests.runtime.conftest import Home
from tests.runtime.living import ask, live, used

# What a budget refuses.


async def test_a_budget_is_passed_by_strictly_more_and_the_call_that_passed_it_is_counted(home: Home) -> None:
    errors: list[BudgetExceeded] = []

    @step(budget=Budget(max_tokens=100))
    async def plan() -> None:
        await ask()  # 30
        await ask()  # 100, which is not more than 100
        try:
            await ask()
        except BudgetExceeded as error:
            errors.append(error)
            raise

    async def program() -> None:
        await plan()

    lived = await live(home, program, used(10, 20, 1_000), used(50, 20), used(1, 1))

    error = errors[0]
    assert "step `plan` has nothing left of its max_tokens budget (100 of 100)" in str(error)
    assert lived.receipts["plan"].own.used.model_calls == 2
    assert lived.receipts["plan"].status == "failed"


async def test_the_error_carries_what_was_spent_and_of_which_limit(home: Home) -> None:
    errors: list[BudgetExceeded] = []

    @step(budget=Budget(max_tokens=100, max_usd="0.05"))
    async def plan() -> None:
        try:
            await ask()
        except BudgetExceeded as error:
            errors.append(error)
            raise

    async def program() -> None:
        await plan()

    for reply, limit, value, text in (
        (used(50, 51), "max_tokens", 100, "step `plan` exceeded max_tokens budget (101 > 100)"),
        (used(1, 1, 50_001), "max_usd", 50_000, "step `plan` exceeded max_usd budget ($0.050001 > $0.05)"),
    ):
        lived = await live(home, program, reply)
        error = errors[-1]
        assert (error.category, error.kind, error.reason) == (
            "budget_exceeded",
            "budget_exhausted",
            "step_budget_exhausted",
        )
        assert (error.step, error.limit, error.limit_value) == ("plan", limit, value)
        assert error.function.endswith("plan")
        assert error.consumed_tokens == sum((reply.usage.input_tokens or 0, reply.usage.output_tokens or 0))
        assert (error.consumed_micros, error.error_boundary) == (reply.cost_micros, "fail")
        assert error.message == text
        assert text in lived.error


async def test_of_two_limits_that_are_passed_tokens_are_named(home: Home) -> None:
    @step(budget=Budget(max_tokens=1, max_usd=0))
    async def plan() -> None:
        await ask()

    async def program() -> None:
        await plan()

    assert "max_usd budget ($0 of $0)" in (await live(home, program, used(5, 5, 5))).error

    @step(budget=Budget(max_tokens=1, max_usd="0.000001"))
    async def other() -> None:
        await ask()

    async def second() -> None:
        await other()

    assert "max_tokens budget (10 > 1)" in (await live(home, second, used(5, 5, 5))).error


async def test_where_nothing_may_be_spent_no_model_is_asked(home: Home) -> None:
    model = ScriptedModel([])

    @step(budget=Budget(max_usd=0), error_boundary="continue")
    async def frugal() -> str:
        return (await ask()).text

    async def program() -> str | None:
        return await frugal()

    lived = await live(home, program, model=model)

    assert model.asked == []
    assert lived.result is None
    assert "model.called" not in lived.types


async def test_what_a_step_spends_its_steps_and_its_persona_spend_too(home: Home) -> None:
    @step
    async def wrapped() -> None:
        await ask()

    @step(budget=Budget(max_tokens=20))
    async def outer() -> None:
        for _ in range(3):
            await wrapped()

    async def program() -> None:
        await outer()

    lived = await live(home, program, used(5, 5), used(5, 5), used(5, 5))

    assert "step `outer` has nothing left" in lived.error
    assert lived.receipts["outer"].inclusive.used.input_tokens.total == 10
    assert lived.receipts["outer"].own.used.input_tokens.total == 0


async def test_a_persona_has_a_budget_for_all_that_it_does(home: Home) -> None:
    @step(budget=Budget(max_tokens=1_000))
    async def rich() -> None:
        await ask()

    async def poor() -> None:
        await rich()
        await rich()

    made = persona(budget={"max_tokens": 10})(poor)
    async with home.engine(made, model=ScriptedModel([used(6, 6)])) as engine:
        run = await engine.start(made)
        with pytest.raises(RunFailed, match=r"persona `poor` exceeded max_tokens budget \(12 > 10\)"):
            await run.result()
        assert (await engine.replay(run.id)).identical


async def test_a_call_is_shown_what_is_left_and_no_more(home: Home) -> None:
    model = ScriptedModel([used(30, 20, 100), used(1, 1, 1)])

    @step(budget=Budget(max_tokens=100, max_usd="0.001"))
    async def plan() -> None:
        await ask(max_output_tokens=40)
        await ask(max_output_tokens=80)

    async def program() -> None:
        await plan()

    await live(home, program, model=model)

    first, second = (request.max_output_tokens for request in model.asked)
    assert first == 40
    assert 25 <= second < 50  # what is left, without what the question itself may take
    assert [request.max_cost_micros for request in model.asked] == [1_000, 900]


async def test_calls_without_a_bound_take_turns_and_bounded_ones_share_the_budget(home: Home) -> None:
    at_once: list[int] = []

    class Slow:
        name = "slow"
        now = 0

        async def complete(self, request: Request) -> Reply:
            self.now += 1
            at_once.append(self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return used(1, 9)

    @step(budget=Budget(max_tokens=1_000))
    async def plan(bound: int | None) -> None:
        await map_bounded(range(4), functools.partial(one, bound), concurrency=4)

    async def one(bound: int | None, n: int) -> None:
        await ask(str(n), max_output_tokens=bound)

    async def unbounded() -> None:
        await plan(None)

    async def bounded() -> None:
        await plan(100)

    await live(home, unbounded, model=Slow())
    assert at_once == [1, 1, 1, 1]
    at_once.clear()
    await live(home, bounded, model=Slow())
    assert max(at_once) == 4


async def test_usage_that_nobody_told_is_counted_with_what_was_reserved(home: Home) -> None:
    @step(budget=Budget(max_tokens=100))
    async def plan() -> None:
        await ask(max_output_tokens=30)
        await ask(max_output_tokens=80)
        await ask()

    async def program() -> None:
        await plan()

    lived = await live(home, program, used(None, None), used(5, None), used(1, 1))

    assert "nothing left of its max_tokens budget (100 of 100)" in lived.error


async def test_a_call_that_failed_or_was_cancelled_gives_back_what_it_reserved(home: Home) -> None:
    @step(budget=Budget(max_tokens=100))
    async def plan() -> str:
        with contextlib.suppress(ConnectionError):
            await ask()
        waiting = asyncio.create_task(ask())
        await nothing()
        waiting.cancel()
        return (await ask()).text

    async def program() -> str | None:
        return await plan()

    class Wavering(ScriptedModel):
        async def complete(self, request: Any) -> Reply:
            reply = await super().complete(request)
            if len(self.asked) == 2:
                await asyncio.sleep(60)
            return reply

    lived = await live(home, program, model=Wavering([ConnectionError("away"), used(99, 99), used(50, 50)]))

    assert lived.result == "fine"
    assert lived.types.count("budget.settled") == 3


@tool(effect="pure")
async def nothing() -> None:
    await asyncio.sleep(0.02)


@pytest.mark.parametrize("usage", [Usage(input_tokens=-1), Usage(output_tokens=-5)])
async def test_negative_usage_is_refused_and_disables_no_limit(home: Home, usage: Usage) -> None:
    @step(budget=Budget(max_tokens=10))
    async def plan() -> None:
        await ask()

    async def program() -> None:
        await plan()

    assert "negative count or cost" in (await live(home, program, Reply(usage=usage, cost_micros=0))).error


async def test_long_questions_side_by_side_do_not_pass_a_limit_together(home: Home) -> None:
    model = ScriptedModel([used(1_000, 5)] * 20)

    @step(budget=Budget(max_tokens=3_000), error_boundary="continue")
    async def many() -> None:
        async def one(n: int) -> None:
            await ask(f"{n} " + "word " * 800, max_output_tokens=5)

        await asyncio.gather(*map(one, range(20)))

    async def program() -> None:
        await many()

    lived = await live(home, program, model=model)

    assert 3 <= len(model.asked) <= 4
    assert lived.receipts["many"].status == "skipped"
