"""Ways around budgets, policies and hooks that somebody found once: none of them is open."""

import asyncio
import contextvars
from typing import Any

import pytest

from playhead import (
    ApprovalRules,
    ArgConstraint,
    Budget,
    Policy,
    ReplaceArgs,
    ReplaceOutput,
    Request,
    RunFailed,
    Stage,
    StageExit,
    ToolRejected,
    child_run,
    hook,
    model_call,
    persona,
    register_persona,
    step,
    task_group,
    timeout,
    tool,
)
from playhead.errors import BudgetExceeded, HookDenied, HookFailed, ProgramError, TimedOut
from playhead.runtime.hook import Deny, Moment
from playhead.testing import ScriptedModel, priced, spent
from tests.runtime.conftest import Home

did: list[str] = []


@tool(side_effect_level="workspace_write", path_params=["path"])
async def edit(path: str | None = None) -> str:
    did.append(f"edit {path}")
    return f"wrote {path}"


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    did.clear()


async def lived(home: Home, program: Any, *args: Any, **options: Any) -> Any:
    """What a run of `program` returns, or the text of its failure; its replay agrees."""
    async with home.engine(program, **options) as engine:
        run = await engine.start(program, *args)
        async with asyncio.timeout(30):
            try:
                result = await run.result()
            except RunFailed as error:
                result = str(error)
        outcome = await engine.replay(run.id)
        assert outcome.identical, str(outcome.divergence)
    return result


async def tried(call: Any) -> str:
    try:
        return str(await call)
    except ToolRejected as error:
        return error.category
    except BudgetExceeded as error:
        return error.category


def model(*tokens: int) -> ScriptedModel:
    return ScriptedModel([priced("fine", tokens_in=n // 2, tokens_out=n - n // 2, micros=1) for n in tokens])


# Scopes that were brought from outside.


async def test_a_task_group_from_outside_of_a_step_brings_no_other_policy_and_budget(home: Home) -> None:
    groups: list[Any] = []

    async def spends() -> str:
        return (await model_call(Request(prompt="?"))).text

    @step(budget=Budget(max_tokens=10))
    async def look() -> list[str]:
        work = [edit("a"), spends(), spends(), spends()]
        return [await groups[-1].start(tried(each)) for each in work]

    @persona(stages=[Stage("look", allowed_tools=[])])
    async def program() -> list[str]:
        async with task_group() as group:
            groups.append(group)
            return await look()

    result = await lived(home, program, model=model(100, 100, 100))

    assert result == ["tool_rejected", "budget_exceeded", "budget_exceeded", "budget_exceeded"]
    assert did == []


async def test_a_context_from_outside_of_a_step_brings_no_other_policy(home: Home) -> None:
    contexts: list[contextvars.Context] = []

    @step
    async def look() -> list[str]:
        brought = (contextvars.Context(), contexts[-1])
        tasks = [asyncio.create_task(tried(edit("a")), context=context) for context in brought]
        tasks += [context.run(asyncio.create_task, tried(edit("a"))) for context in brought]
        return [await task for task in tasks]

    @persona(stages=[Stage("look", allowed_tools=[])])
    async def program() -> list[str]:
        contexts.append(contextvars.copy_context())
        return await look()

    assert await lived(home, program) == ["tool_rejected"] * 4
    assert did == []


# What decorators do to each other.


async def test_a_persona_around_a_step_keeps_its_own_name_and_budget_and_the_step_is_one(home: Home) -> None:
    async def asks() -> list[str]:
        return [(await model_call(Request(prompt="?"))).text for _ in range(3)]

    made = persona(budget=Budget(max_tokens=15), name="bounded")(step(name="inner")(asks))
    other = register_persona(step(asks), {"name": "r", "budget": {"max_tokens": 1}})

    assert (made.name, made.budget) == ("bounded", Budget(max_tokens=15))
    assert (other.name, other.budget) == ("r", Budget(max_tokens=1))
    async with home.engine(made, model=model(10, 10, 10)) as engine:
        run = await engine.start(made)
        with pytest.raises(RunFailed, match="persona `bounded` exceeded"):
            await run.result()
        assert (await engine.replay(run.id)).identical
    assert "step.started" in await home.types(run.id)


# Secrets in front of hooks.


@tool(side_effect_level="none", secret=["api_key"])
async def call(api_key: str, q: str) -> dict[str, str]:
    did.append(f"called with {api_key}")
    return {"api_key": api_key, "q": q}


@pytest.mark.parametrize("secrets", [[], ["api_key"]])
async def test_a_secret_stays_one_whatever_hooks_are_shown_and_say(home: Home, secrets: list[str]) -> None:
    @hook("PreToolUse")
    async def before(moment: Moment) -> Any:
        if moment.args["q"] == "deny":
            return Deny("no")
        return ReplaceArgs(**{**moment.args, "q": "other"})

    @hook("PostToolUse")
    async def after(moment: Moment) -> Any:
        return ReplaceOutput({**moment.output, "seen": "yes"})

    @persona
    async def program() -> list[str]:
        found = [str((await call("hunter2", "fine"))["seen"])]
        try:
            await call("hunter2", "deny")
        except HookDenied as error:
            found.append(error.reason)
        return found

    options: dict[str, Any] = {"secrets": secrets} if secrets else {}
    assert await lived(home, program, hooks=[before, after], **options) == ["yes", "no"]

    assert did == ["called with hunter2"]
    async with home.store() as store:
        for head in await store.heads("run"):
            for event in await store.read(head.stream, 0, 1_000):
                assert b"hunter2" not in (event.payload or b""), event.type


async def test_a_hook_cannot_put_in_a_secret_of_its_own(home: Home) -> None:
    @hook("PreStep")
    async def before(moment: Moment) -> ReplaceArgs:
        return ReplaceArgs(api_key="another")

    @step
    async def uses(api_key: str) -> str:
        did.append(api_key)
        return "used"

    @persona
    async def program() -> str:
        try:
            return await uses("hunter2")
        except HookFailed as error:
            return error.message

    assert "put in a secret argument" in await lived(home, program, hooks=[before], secrets=["api_key"])
    assert did == []


# Children that nobody waits for, and thresholds.


@persona
async def spender() -> str:
    await model_call(Request(prompt="?"))
    return "done"


async def test_a_child_that_is_given_up_is_paid_with_all_that_it_was_given(home: Home) -> None:
    class Slow(ScriptedModel):
        async def complete(self, request: Any) -> Any:
            await asyncio.sleep(0.1)
            return await super().complete(request)

    @step(budget=Budget(max_tokens=100), error_boundary="continue")
    async def impatient() -> int:
        for _ in range(5):
            try:
                async with timeout(0.02):
                    await child_run(spender)
            except TimedOut:
                did.append("given up")
        return len(did)

    @persona
    async def program() -> int | None:
        return await impatient()

    client = Slow([priced("x", tokens_in=90, micros=1)] * 5)
    async with home.engine(program, spender, model=client) as engine:
        run = await engine.start(program)
        assert await run.result() is None
        await asyncio.sleep(0.3)
    assert did == ["given up"]
    assert len(client.asked) <= 1


async def test_a_threshold_in_a_child_with_a_budget_of_its_own_is_told_for_both_budgets(home: Home) -> None:
    told: list[str] = []

    @hook("OnBudgetThreshold(50)")
    async def half(moment: Moment) -> None:
        await asyncio.sleep(0.02)
        told.append(f"{moment.persona} {moment.details['limit_value']}")

    async def asks() -> None:
        await model_call(Request(prompt="?", max_output_tokens=5))

    @persona(budget=Budget(max_tokens=20))
    async def kid() -> None:
        await asyncio.gather(asks(), asks(), asks(), return_exceptions=True)

    @step(budget=Budget(max_tokens=40))
    async def delegates() -> None:
        await child_run(kid)

    @persona
    async def program() -> None:
        await delegates()

    async with home.engine(program, kid, model=model(10, 10, 10), hooks=[half]) as engine:
        run = await engine.start(program)
        async with asyncio.timeout(30):
            await run.result()
        assert (await engine.replay(run.id)).identical
    assert sorted(told) == ["kid 20", "kid 40", "program 40"]


async def test_a_threshold_is_told_in_a_relaxed_run_too(home: Home) -> None:
    told: list[Any] = []

    @hook("OnBudgetThreshold(50)")
    async def half(moment: Moment) -> None:
        told.append(moment.step)

    async def ask(n: int) -> str:
        return (await model_call(Request(prompt=str(n), max_output_tokens=9))).text

    @step(budget=Budget(max_tokens=100))
    async def many() -> int:
        await ask(0)
        async with task_group() as group:
            tasks = [group.start(ask(n)) for n in range(1, 5)]
        return len([task.result() for task in tasks])

    @persona(mode="relaxed")
    async def program() -> int:
        return await many()

    assert await lived(home, program, hooks=[half], model=model(15, 15, 15, 15, 15)) == 4
    assert told == ["many"]


@pytest.mark.parametrize("most", [20, 25])
async def test_a_child_that_has_nothing_left_is_over_the_budget_around_it(home: Home, most: int) -> None:
    @persona
    async def kid() -> None:
        for _ in range(5):
            await model_call(Request(prompt="?"))

    @step(budget=Budget(max_tokens=most), error_boundary="continue")
    async def delegates() -> str:
        await child_run(kid)
        return "never"

    @persona
    async def program() -> str | None:
        return await delegates()

    async with home.engine(program, kid, model=model(*[10] * 5)) as engine:
        run = await engine.start(program)
        assert await run.result() is None
        assert (await engine.replay(run.id)).identical
        assert (await spent(engine, run.id)).exhausted == ("delegates",)


# How a session ends.


@pytest.mark.parametrize(("how", "status"), [("exit", "failed"), ("misfit", "failed"), ("well", "completed")])
async def test_a_session_is_told_how_it_ended_whatever_ended_it(home: Home, how: str, status: str) -> None:
    told: list[Any] = []

    @hook("SessionEnd")
    async def end(moment: Moment) -> None:
        told.append(moment.details["status"])

    @persona
    async def program() -> int:
        if how == "exit":
            raise SystemExit(3)
        return "no number" if how == "misfit" else 1  # type: ignore[return-value]

    await lived(home, program, hooks=[end])
    assert told == [status]


async def test_on_exit_is_not_told_of_an_entry_that_was_refused(home: Home) -> None:
    exits: list[StageExit] = []

    async def leave(left: StageExit) -> None:
        exits.append(left)

    @step
    async def once() -> None: ...

    @persona(stages=[Stage("once", max_iterations=0, on_exit=leave)])
    async def program() -> None:
        await once()

    assert "StageExhausted" in await lived(home, program)
    assert exits == []


# Places that a call does not name.


@pytest.mark.parametrize(
    "policy",
    [
        Policy(workspace_roots=[]),
        Policy(approval=ApprovalRules(write_paths=[])),
        Policy(tool_arg_constraints=[ArgConstraint(tool="*", arg_patterns=["src/*"])]),
    ],
)
async def test_a_call_without_a_path_is_not_allowed_where_paths_are_ruled(home: Home, policy: Policy) -> None:
    @persona(policy=policy)
    async def program() -> list[str]:
        return [await tried(edit()), await tried(edit(None))]

    assert await lived(home, program) == ["tool_rejected"] * 2
    assert did == []


# Declarations that no tape could hold, or that would guard nothing.


async def _nothing() -> None: ...


step_: Any = step
tool_: Any = tool
hook_: Any = hook
persona_: Any = persona
Stage_: Any = Stage
Policy_: Any = Policy


@pytest.mark.parametrize(
    "declare",
    [
        lambda: step_(model=5)(_nothing),
        lambda: step_(retry=3)(_nothing),
        lambda: tool_(retry=3)(_nothing),
        lambda: tool_(secret="api_key")(_nothing),
        lambda: tool_(path_params=["nowhere"])(_nothing),
        lambda: hook_("PreStep", step=5)(_nothing),
        lambda: hook_("PreStep", step="pub*")(_nothing),
        lambda: hook_("PreStep", persona=5)(_nothing),
        lambda: hook_("PreStep", timeout_s=-1)(_nothing),
        lambda: persona_(mode="foo")(_nothing),
        lambda: persona_(policy={"tools": []})(_nothing),
        lambda: Stage_("a", on_exit="x"),
        lambda: Stage_("a", on_exit=lambda _: None),
        lambda: Policy_(approval={"auto_deny": ["*"]}),
        lambda: Policy_(tool_annotations={"read": {"kind": "read"}}),
        lambda: Policy_(tool_arg_constraints=["x"]),
        lambda: Policy_(tool_arg_constraints=ArgConstraint(tool="*", arg_patterns=["x"])),
        lambda: Policy_(recursion_limit=1.5),
        lambda: Policy_(recursion_limit="3"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_where_it_stands(declare: Any) -> None:
    with pytest.raises((ProgramError, ValueError)):
        declare()


@pytest.mark.parametrize("bound", [-1, 10.5, True])
async def test_a_bound_that_is_no_count_is_refused(home: Home, bound: Any) -> None:
    @step(budget=Budget(max_tokens=10))
    async def asks() -> None:
        await model_call(Request(prompt="?", max_output_tokens=bound))

    @persona
    async def program() -> None:
        await asks()

    assert "max_output_tokens of a request is a whole number" in await lived(home, program, model=model(1))


async def test_a_replay_needs_no_model_client(home: Home) -> None:
    @persona
    async def program() -> str:
        return (await model_call(Request(prompt="?"))).text

    async with home.engine(program, model=model(4)) as engine:
        run = await engine.start(program)
        assert await run.result() == "fine"
    async with home.engine(program) as engine:
        assert (await engine.replay(run.id)).identical
