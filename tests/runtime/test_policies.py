"""Policies in runs: what encloses code decides what it may call, for as long as the code runs."""

import asyncio
from typing import Any

import msgspec
import pytest

from playhead import Reply, Request, RunFailed, Usage, child_run, model_call, persona, side_value, step, tool
from playhead.errors import BudgetExceeded, ProgramError, StageExhausted, ToolRejected
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.events.rules import StageEntered, StageExited, ToolDenied
from playhead.policy.approval import ApprovalPolicy, ApprovalRules
from playhead.policy.budget import Budget
from playhead.policy.capability import ArgConstraint, Policy, policy_of
from playhead.runtime.stage import Stage, StageExit
from playhead.testing import ScriptedModel
from tests.runtime.conftest import Home

did: list[str] = []


@tool(side_effect_level="read_only", kind="read", path_params=["path"], capabilities={"fs": ["read"]})
async def read(path: str = "src/a") -> str:
    did.append(f"read {path}")
    return path


@tool(side_effect_level="workspace_write", kind="edit", path_params=["path"], capabilities={"fs": ["write"]})
async def edit(path: str = "src/a") -> str:
    did.append(f"edit {path}")
    return path


@tool
async def anything() -> str:
    did.append("anything")
    return "done"


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    did.clear()


async def refused(*calls: Any) -> list[str]:
    """Which of `calls` a policy refuses: their tools, in order."""
    found = []
    for call in calls:
        try:
            await call
        except ToolRejected as error:
            found.append(error.tool)
    return found


async def live(home: Home, program: Any, *lines: Any) -> tuple[Any, list[tuple[str, Fact]]]:
    """What `program` returns and left in the log; its replay agrees and does nothing."""
    async with home.engine(program, model=ScriptedModel(lines)) as engine:
        run = await engine.start(program)
        async with asyncio.timeout(30):
            result = await run.result()
        before = list(did)
        outcome = await engine.replay(run.id)
        assert outcome.identical, str(outcome.divergence)
        assert did == before
    events = await home.events(run.id)
    return result, [(event.op, CATALOG.decode(event)) for event in events]  # type: ignore[misc]


def of(facts: list[tuple[str, Fact]], kind: type[Any]) -> list[Any]:
    return [fact for _, fact in facts if isinstance(fact, kind)]


# Stages.


@step
async def work() -> list[str]:
    return await refused(read(), edit(), anything())


async def test_a_stage_lets_its_step_call_what_it_allows_and_nothing_else(home: Home) -> None:
    @persona(stages=[Stage("work", allowed_tools=["read"])])
    async def program() -> list[list[str]]:
        return [await work(), await refused(edit())]

    result, facts = await live(home, program)

    assert result == [["edit", "anything"], []]
    assert did == ["read src/a", "edit src/a"]
    denied = of(facts, ToolDenied)
    assert [fact.reason for fact in denied] == [
        "tool 'edit' exceeds tool ceiling: read",
        "tool 'anything' exceeds tool ceiling: read",
    ]
    assert msgspec.msgpack.decode(denied[0].args) == {"path": "src/a"}


async def test_a_stage_without_tools_has_none_and_one_that_says_nothing_inherits(home: Home) -> None:
    @persona(stages=[Stage("work", allowed_tools=[])])
    async def none() -> list[str]:
        return await work()

    @persona(stages=[Stage("work")])
    async def every() -> list[str]:
        return await work()

    assert (await live(home, none))[0] == ["read", "edit", "anything"]
    assert (await live(home, every))[0] == []


async def test_a_stage_that_asks_only_for_forbidden_tools_has_none(home: Home) -> None:
    @persona(
        policy=Policy(tools=["read"], side_effect_level="read_only"),
        stages=[Stage("work", allowed_tools=["edit", "anything"], side_effect_level="network")],
    )
    async def program() -> list[str]:
        return await work()

    result, facts = await live(home, program)

    assert result == ["read", "edit", "anything"]
    assert did == []
    (entered,) = of(facts, StageEntered)
    inside = policy_of(entered.policy)
    assert (inside.tools, inside.side_effect_level) == (frozenset(), "read_only")


async def test_a_level_that_no_tool_declares_is_refused_under_a_ceiling(home: Home) -> None:
    @persona(stages=[Stage("work", side_effect_level="read_only")])
    async def program() -> list[str]:
        return await work()

    assert (await live(home, program))[0] == ["edit", "anything"]


async def test_a_step_that_catches_its_own_budget_error_is_still_under_its_stage_and_its_budget(
    home: Home,
) -> None:
    @step(budget=Budget(max_tokens=1), error_boundary="continue")
    async def stubborn() -> list[str]:
        for _ in range(2):
            try:
                await model_call(Request(prompt="?"))
            except BudgetExceeded:
                did.append("over")
        return await refused(edit(), read())

    @persona(stages=[Stage("stubborn", allowed_tools=["read"])])
    async def program() -> list[str] | None:
        return await stubborn()

    async with home.engine(
        program, model=ScriptedModel([Reply(usage=Usage(input_tokens=5, output_tokens=5))])
    ) as e:
        run = await e.start(program)
        assert await run.result() == ["edit"]

    assert did == ["over", "over", "read src/a"]


async def test_what_a_step_started_stays_under_its_stage_when_the_step_is_over(home: Home) -> None:
    tasks: list[asyncio.Task[list[str]]] = []

    @step
    async def leaves() -> None:
        async def later() -> list[str]:
            await read()
            return await refused(edit(), read())

        tasks[:] = [asyncio.create_task(later())]

    @persona(stages=[Stage("leaves", allowed_tools=["read"])])
    async def program() -> list[str]:
        await leaves()
        await edit("src/mine")
        return await tasks[0]

    assert (await live(home, program))[0] == ["edit"]


async def test_a_nested_step_is_under_the_stage_of_the_step_around_it(home: Home) -> None:
    @step
    async def around() -> list[str]:
        return await work()

    @persona(
        stages=[
            Stage("around", allowed_tools=["read", "edit"]),
            Stage("work", allowed_tools=["anything", "edit"]),
        ]
    )
    async def program() -> list[str]:
        return await around()

    assert (await live(home, program))[0] == ["read", "anything"]


async def test_a_stage_is_entered_as_often_as_it_says_and_then_refused(home: Home) -> None:
    @step
    async def retries() -> str:
        return await read()

    @persona(stages=[Stage("retries", max_iterations=2)])
    async def program() -> list[str]:
        found = []
        for _ in range(4):
            try:
                found.append(await retries())
            except StageExhausted as error:
                found.append(error.category)
        return found

    result, facts = await live(home, program)

    assert result == ["src/a", "src/a", "stage_exhausted", "stage_exhausted"]
    assert [(fact.iteration, fact.status) for fact in of(facts, StageExited)] == [
        (1, "completed"),
        (2, "completed"),
        (3, "failed"),
        (4, "failed"),
    ]


async def test_on_exit_is_told_how_the_step_ended_and_runs_outside_of_the_stage(home: Home) -> None:
    exits: list[StageExit] = []

    async def leave(exit_: StageExit) -> None:
        exits.append(exit_)
        await edit(f"log/{exit_.status}")

    @step
    async def once(how: str) -> str:
        if how == "fail":
            raise ValueError("no")
        return await read()

    @persona(stages=[Stage("once", allowed_tools=["read"], on_exit=leave)])
    async def program() -> list[str]:
        found = [await once("well")]
        try:
            await once("fail")
        except ValueError as error:
            found.append(str(error))
        return found

    assert (await live(home, program))[0] == ["src/a", "no"]
    assert exits[:2] == [StageExit("once", 1, "completed"), StageExit("once", 2, "failed")]
    assert did == ["read src/a", "edit log/completed", "edit log/failed"]


async def test_a_stage_of_two_personas_is_that_of_the_innermost(home: Home) -> None:
    @persona(stages=[Stage("work", allowed_tools=["edit"])])
    async def inner() -> list[str]:
        return await work()

    @persona(stages=[Stage("work", allowed_tools=["read"])])
    async def program() -> list[list[str]]:
        return [await work(), await inner()]

    assert (await live(home, program))[0] == [["edit", "anything"], ["read", "anything"]]


def test_two_stages_of_one_name_and_what_is_no_stage_are_refused() -> None:
    async def program() -> None: ...

    with pytest.raises(ProgramError, match="two stages"):
        persona(stages=[Stage("a"), Stage("a", allowed_tools=[])])(program)
    with pytest.raises(ProgramError, match="is no stage"):
        persona(stages=["a"])(program)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="the name of a step"):
        Stage("")


# Policies of personas, and what goes into them.


async def test_a_policy_of_a_persona_holds_for_all_of_its_program(home: Home) -> None:
    @persona(
        policy=Policy(
            capabilities={"fs": ["read"]},
            workspace_roots=["src"],
            tool_arg_constraints=[ArgConstraint(tool="read", arg_patterns=["src/*"])],
        )
    )
    async def program() -> list[str]:
        return await refused(read("src/b"), read("lib/b"), read("src/../b"), edit("src/b"), anything())

    result, facts = await live(home, program)

    assert result == ["read", "read", "edit", "anything"]
    assert did == ["read src/b"]
    assert facts[2][1].__class__.__name__ == "PolicyNarrowed"


async def test_a_look_at_the_world_is_a_tool_that_reads(home: Home) -> None:
    def host() -> str:
        did.append("looked")
        return "here"

    @persona(policy=Policy(tools=["host"], side_effect_level="read_only"))
    async def may() -> list[str]:
        return await refused(side_value("host", host), side_value("other", host))

    @persona(policy=Policy(side_effect_level="none"))
    async def may_not() -> list[str]:
        return await refused(side_value("host", host))

    assert (await live(home, may))[0] == ["other"]
    assert (await live(home, may_not))[0] == ["host"]
    assert did == ["looked"]


async def test_what_needs_an_approval_is_not_done_where_nobody_can_be_asked(home: Home) -> None:
    asks = ApprovalPolicy((ApprovalRules(require_approval=["host"], auto_deny=["anything"]),))

    @persona(policy=Policy(approval=asks))
    async def program() -> list[str]:
        return await refused(read(), side_value("host", lambda: did.append("looked")), anything())

    result, facts = await live(home, program)

    assert result == ["host", "anything"]
    assert [fact.verdict for fact in of(facts, ToolDenied)] == ["needs_approval", "denied"]
    assert "looked" not in did


async def test_a_secret_argument_is_matched_and_not_told(home: Home) -> None:
    @tool(secret=["token"], side_effect_level="none")
    async def sign_in(token: str) -> str:
        did.append("signed in")
        return "in"

    rule = ArgConstraint(tool="sign_in", arg_key="token", arg_patterns=["tk-*"])

    @persona(policy=Policy(tool_arg_constraints=[rule]))
    async def program() -> list[str]:
        return await refused(sign_in("tk-1"), sign_in("hunter2"))

    async with home.engine(program, **_redacting(home)) as engine:
        run = await engine.start(program)
        assert await run.result() == ["sign_in"]
        assert (await engine.replay(run.id)).identical
    for event in await home.events(run.id):
        assert b"hunter2" not in (event.payload or b"")
    assert did == ["signed in"]


def _redacting(home: Home) -> dict[str, Any]:
    return {"secrets": ["no such name"]}


async def test_a_denied_tool_fails_the_run_that_does_not_catch_it(home: Home) -> None:
    @persona(policy=Policy(tools=[]))
    async def program() -> str:
        return await anything()

    async with home.engine(program) as engine:
        run = await engine.start(program)
        with pytest.raises(RunFailed, match="tool 'anything' exceeds tool ceiling: no tool at all"):
            await run.result()
        assert (await engine.replay(run.id)).identical


# Child runs.


@persona
async def child() -> list[str]:
    return await refused(read(), edit())


@persona
async def spends() -> str:
    return (await model_call(Request(prompt="?"))).text


async def test_a_child_run_is_under_what_encloses_its_call_also_when_it_is_resumed(home: Home) -> None:
    @step
    async def asks() -> list[str]:
        return await child_run(child)

    @persona(stages=[Stage("asks", allowed_tools=["read"])])
    async def program() -> list[list[str]]:
        return [await asks(), await child_run(child)]

    async with home.engine(program, child) as engine:
        run = await engine.start(program)
        assert await run.result() == [["edit"], []]
        assert (await engine.replay(run.id)).identical
        for line in await home.events(run.id):
            fact = CATALOG.decode(line)
            if line.type == "child.requested":
                assert (await engine.replay(fact.run)).identical  # type: ignore[union-attr]


async def test_child_runs_go_as_deep_as_the_policy_lets_them(home: Home) -> None:
    @persona
    async def deeper(n: int) -> int:
        try:
            return await child_run(deeper, n + 1)
        except ToolRejected:
            return n

    @persona(policy=Policy(recursion_limit=2))
    async def program() -> int:
        return await child_run(deeper, 1)

    async with home.engine(program, deeper) as engine:
        run = await engine.start(program)
        assert await run.result() == 2
        assert (await engine.replay(run.id)).identical


async def test_what_a_child_run_uses_is_paid_by_the_budgets_around_its_call(home: Home) -> None:
    @step(budget=Budget(max_tokens=25), error_boundary="continue")
    async def asks() -> str:
        await child_run(spends)
        await child_run(spends)
        return "never"

    @persona
    async def program() -> str | None:
        return await asks()

    model = ScriptedModel(
        [Reply(text="fine", usage=Usage(input_tokens=10, output_tokens=n)) for n in (2, 15)]
    )
    async with home.engine(program, spends, model=model) as engine:
        run = await engine.start(program)
        assert await run.result() is None
        assert (await engine.replay(run.id)).identical

    assert [request.max_output_tokens for request in model.asked] == [23, 11]
    exhausted = [CATALOG.decode(e) for e in await home.events(run.id) if e.type == "budget.exhausted"]
    assert [(fact.spent_tokens, fact.limit_value) for fact in exhausted] == [(37, 25)]  # type: ignore[union-attr]
