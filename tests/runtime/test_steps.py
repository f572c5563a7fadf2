"""Steps, one test for each rule: what they declare, what their budgets refuse, where their boundaries are."""

import asyncio
from typing import Any

import pytest

from playhead import Reply, Request, Retry, persona, step
from playhead.errors import BudgetExceeded, ProgramError
from playhead.policy.budget import Budget
from playhead.runtime.registering import register_persona, register_step
from playhead.runtime.step import Step
from playhead.testing import ScriptedModel
from tests.runtime.conftest import Home
from tests.runtime.living import Lived, ask, live, used

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
