"""Steps, one test for each rule: what they declare, what their budgets refuse, where their boundaries are."""

import asyncio
import contextlib
import functools
from typing import Any

import pytest

from playhead import Reply, Request, Retry, RunFailed, Usage, map_bounded, model_call, persona, step, tool
from playhead.errors import BudgetExceeded, ProgramError
from playhead.policy.budget import Budget
from playhead.runtime.registering import register_persona, register_step
from playhead.runtime.step import Step
from playhead.testing import ScriptedModel
from playhead_projections.projection import fold
from playhead_projections.receipts import Receipt, Receipts
from tests.runtime.conftest import Home


def used(tokens_in: int | None, tokens_out: int | None, micros: int | None = 0, model: str = "m-1") -> Reply:
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    return Reply(text="fine", model=model, usage=usage, cost_micros=micros, cost_source="scripted")


async def ask(prompt: str = "?", **fields: Any) -> Reply:
    return await model_call(Request(prompt=prompt, **fields))


class Lived:
    """One run and what it left."""

    def __init__(self, result: Any, error: str, types: list[str], receipts: dict[str, Receipt]) -> None:
        self.result = result
        self.error = error
        self.types = types
        self.receipts = receipts


async def live(home: Home, program: Any, *lines: Any, model: Any = None) -> Lived:
    """Run `program` with a model that has `lines`; its replay agrees."""
    client = model or ScriptedModel(lines)
    result: Any = None
    error = ""
    made = persona(program)
    async with home.engine(made, model=client) as engine:
        run = await engine.start(made)
        try:
            async with asyncio.timeout(30):
                result = await run.result()
        except RunFailed as failed:
            error = str(failed)
        outcome = await engine.replay(run.id)
        assert outcome.identical, str(outcome.divergence)
    events = await home.events(run.id)
    book = fold(Receipts(), run.id, events).state
    return Lived(result, error, [event.type for event in events], {r.name: r for r in book.finished})


# What a step declares.


def test_a_step_registered_by_a_dictionary_says_what_the_dictionary_says() -> None:
    async def plan_step() -> None: ...

    made = register_step(
        plan_step,
        {
            "name": "plan",
            "model": "haiku",
            "error_boundary": "continue",
            "budget": {"max_tokens": 100.9, "max_usd": 0.05},
            "receipt": "none",
            "retry": {"max_attempts": 2},
        },
    )

    assert (made.name, made.model, made.boundary, made.receipt) == ("plan", "haiku", "continue", "none")
    assert made.budget == Budget(max_tokens=100, max_usd="0.05")
    assert made.retry == Retry(max_attempts=2)
    assert made.declared.max_micros == 50_000


def test_a_name_left_out_is_the_functions_and_an_empty_model_is_none() -> None:
    async def plan_step() -> None: ...

    made = register_step(plan_step, {"model": ""})

    assert (made.name, made.model, made.budget) == ("plan_step", None, None)


@pytest.mark.parametrize(
    ("register", "metadata", "text"),
    [
        (register_step, 3, "metadata argument must be a dict"),
        (register_step, {"nmae": "plan"}, "there is no nmae"),
        (register_step, {"name": 3}, "name must be a text"),
        (register_step, {"retry": 3}, "retry must be a dict"),
        (register_step, {"budget": {"max_tokens": -1}}, "max_tokens is a number of tokens"),
        (register_step, {"budget": {"max_usd": float("nan")}}, "max_usd is an amount of money"),
        (register_step, {"error_boundary": "ignore"}, "error_boundary 'ignore'"),
        (register_step, {"approval": "required"}, "nobody can be asked yet"),
        (register_step, {"receipt": "perhaps"}, "receipt 'perhaps'"),
        (register_persona, 3, "metadata argument must be a dict"),
        (register_persona, {"stages": 3}, "stages argument must be a list of dicts"),
        (register_persona, {"stages": ["plan"]}, "each stage entry must be a dict"),
        (register_persona, {"stages": [{}]}, "stage dict missing required 'name'"),
        (register_persona, {"stages": [{"name": "a", "allowed_tools": "b"}]}, "must be a list of strings"),
        (register_persona, {"stages": [{"name": "a", "allowed_tools": [3]}]}, "entries must be strings"),
        (register_persona, {"stages": [{"name": "a", "side_effect_level": "odd"}]}, "'odd' is not one of"),
        (register_persona, {"stages": [{"name": "a", "max_iterations": -1}]}, "max_iterations of stage a"),
        (register_persona, {"stages": [{"name": "a"}, {"name": "a"}]}, "two stages"),
    ],
)
def test_what_a_dictionary_says_and_cannot_be_read_is_refused(
    register: Any, metadata: Any, text: str
) -> None:
    async def anything() -> None: ...

    with pytest.raises((ProgramError, ValueError), match=text):
        register(anything, metadata)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ProgramError, match="expected \\(function, metadata_dict\\)"):
        register_step("plan", {})  # type: ignore[arg-type]


def test_a_missing_or_empty_list_of_stages_is_none_and_a_float_of_iterations_is_cut() -> None:
    async def anything() -> None: ...

    assert register_persona(anything, {}).stages == register_persona(anything, {"stages": None}).stages == ()
    (stage,) = register_persona(anything, {"stages": [{"name": "a", "max_iterations": 2.9}]}).stages
    assert (stage.max_iterations, stage.allowed_tools) == (2, None)


def test_a_generator_is_no_step() -> None:
    async def pages() -> Any:
        yield 1

    with pytest.raises(ProgramError, match="is a generator, and a step is one call"):
        Step(pages)


async def test_a_function_may_be_a_step_and_a_persona(home: Home) -> None:
    @persona
    @step(budget=Budget(max_tokens=10))
    async def both() -> str:
        await ask()
        return "done"

    async with home.engine(both, model=ScriptedModel([used(1, 1)])) as engine:
        run = await engine.start(both)
        assert await run.result() == "done"
        assert (await engine.replay(run.id)).identical


async def test_outside_a_run_a_step_is_a_plain_function() -> None:
    @step(budget=Budget(max_tokens=0), error_boundary="continue")
    async def plain(n: int) -> int:
        return n + 1

    assert await plain(1) == 2


# Which model answers.


async def test_a_call_without_a_model_takes_that_of_the_innermost_step_that_names_one(home: Home) -> None:
    asked: list[str | None] = []

    def say(request: Request) -> Reply:
        asked.append(request.model)
        return used(1, 1, model=f"{request.model}-of-the-day")

    @step(model="small")
    async def inner() -> None:
        await ask()
        await ask(model="own")

    @step
    async def between() -> None:
        await ask()
        await inner()

    @step(model="large")
    async def outer() -> None:
        await between()

    async def program() -> None:
        await ask()
        await outer()

    lived = await live(home, program, say, say, say, say)

    assert asked == [None, "large", "small", "own"]
    assert {name: receipt.model for name, receipt in lived.receipts.items()} == {
        "inner": "own-of-the-day",
        "between": "large-of-the-day",
        "outer": "large",
    }


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

    assert [request.max_output_tokens for request in model.asked] == [40, 50]
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


# Where a boundary is.


async def _over(home: Home, boundary: Any) -> tuple[Lived, list[Any]]:
    """A step that spends too much in a helper of a helper, inside a step that looks at what comes out."""
    seen: list[Any] = []

    async def helper() -> None:
        await ask()

    async def spends() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(helper())
        return "never"

    plan = Step(spends, budget=Budget(max_tokens=1), error_boundary=boundary, name="plan")

    @step
    async def looks() -> str:
        try:
            seen.append(await plan())
        except* BudgetExceeded as group:
            seen.extend(group.exceptions)
        return "went on"

    async def program() -> str:
        return await looks()

    lived = await live(home, program, used(2, 2))
    return lived, seen[: len(seen) // 2]  # the replay looks as well


async def test_fail_lets_the_error_go_on_unchanged(home: Home) -> None:
    lived, (error,) = await _over(home, "fail")

    assert lived.receipts["plan"].status == "failed"
    assert (error.category, error.escalated) == ("budget_exceeded", False)
    assert lived.result == "went on"


async def test_escalate_marks_the_error_and_fills_in_what_is_absent(home: Home) -> None:
    lived, (error,) = await _over(home, "escalate")

    assert lived.receipts["plan"].status == "escalated"
    assert (error.category, error.escalated, error.step) == ("handoff_escalation", True, "plan")
    assert (error.kind, error.reason) == ("budget_exhausted", "step_budget_exhausted")
    assert lived.receipts["looks"].status == "completed"


async def test_an_escalated_error_keeps_the_step_that_it_is_of(home: Home) -> None:
    seen: list[BudgetExceeded] = []

    @step(budget=Budget(max_tokens=1))
    async def inner() -> None:
        await ask()

    @step(error_boundary="escalate")
    async def outer() -> None:
        await inner()

    async def program() -> None:
        try:
            await outer()
        except BudgetExceeded as error:
            seen.append(error)

    lived = await live(home, program, used(2, 2))

    assert [seen[0].step, seen[0].category] == ["inner", "handoff_escalation"]
    assert {name: receipt.status for name, receipt in lived.receipts.items()} == {
        "inner": "failed",
        "outer": "escalated",
    }


async def test_continue_gives_none_and_the_caller_goes_on(home: Home) -> None:
    lived, seen = await _over(home, "continue")

    assert seen == [None]
    receipt = lived.receipts["plan"]
    assert (receipt.status, receipt.own.used.input_tokens.total) == ("skipped", 2)
    assert receipt.error is not None
    assert lived.result == "went on"


async def test_a_step_may_handle_its_own_budget_error_and_stays_under_its_budget(home: Home) -> None:
    model = ScriptedModel([used(2, 2)])

    @step(budget=Budget(max_tokens=1), error_boundary="continue")
    async def stubborn() -> str:
        refused = 0
        for _ in range(4):
            try:
                await ask()
            except BudgetExceeded:
                refused += 1
        return f"refused {refused} times"

    async def program() -> str | None:
        return await stubborn()

    lived = await live(home, program, model=model)

    assert lived.result == "refused 4 times"
    assert len(model.asked) == 1
    assert lived.receipts["stubborn"].status == "completed"


@pytest.mark.parametrize("boundary", ["fail", "continue", "escalate"])
async def test_any_other_error_leaves_a_step_failed_with_its_cause(home: Home, boundary: Any) -> None:
    async def gives_up() -> None:
        try:
            await ask()
        except LookupError as error:
            raise RuntimeError("gave up") from error

    breaks = Step(gives_up, error_boundary=boundary, name="breaks")

    async def program() -> None:
        await breaks()

    lived = await live(home, program, LookupError("no such model"))
    receipt = lived.receipts["breaks"]

    assert receipt.status == "failed"
    assert receipt.error is not None
    assert receipt.error.message == "gave up"
    assert "gave up" in lived.error


async def test_a_group_with_another_error_in_it_is_no_budget_error(home: Home) -> None:
    @step(budget=Budget(max_tokens=1), error_boundary="continue")
    async def mixed() -> None:
        found = await asyncio.gather(ask(), ask(), return_exceptions=True)
        raise ExceptionGroup("both", [*(e for e in found if isinstance(e, Exception)), ValueError("mine")])

    async def program() -> None:
        await mixed()

    lived = await live(home, program, used(2, 2), used(2, 2))

    assert lived.receipts["mixed"].status == "failed"


# Receipts and retries.


async def test_a_step_without_a_receipt_leaves_none_and_its_calls_are_counted_besides(home: Home) -> None:
    @step(receipt="none")
    async def quiet() -> None:
        await ask()

    @step
    async def loud() -> None:
        await quiet()

    async def program() -> None:
        await loud()

    lived = await live(home, program, used(3, 4))

    assert list(lived.receipts) == ["loud"]
    assert lived.receipts["loud"].inclusive.used.output_tokens.total == 4


async def test_the_code_of_a_step_is_run_again_for_other_errors_with_one_budget_for_all(home: Home) -> None:
    tries: list[int] = []

    @step(retry=Retry(max_attempts=3, first_wait_s=0.001), budget=Budget(max_tokens=100))
    async def shaky() -> str:
        tries.append(len(tries))
        reply = await ask()
        if len(tries) < 3:
            raise ValueError("not yet")
        return reply.text

    async def program() -> str:
        tries.clear()
        return await shaky()

    lived = await live(home, program, used(5, 5), used(5, 5), used(5, 5))

    assert lived.result == "fine"
    assert lived.types.count("step.retried") == 2
    assert lived.types.count("step.started") == 1
    receipt = lived.receipts["shaky"]
    assert (receipt.status, receipt.own.used.model_calls) == ("completed", 3)


async def test_a_budget_error_is_not_tried_again(home: Home) -> None:
    @step(retry=Retry(max_attempts=3), budget=Budget(max_tokens=1))
    async def shaky() -> None:
        await ask()

    async def program() -> None:
        await shaky()

    lived = await live(home, program, used(5, 5))

    assert "step.retried" not in lived.types
    assert "exceeded max_tokens" in lived.error
