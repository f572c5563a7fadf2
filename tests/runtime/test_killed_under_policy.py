"""Killed at every event, a run with stages, budgets and hooks comes back under the very same rules."""

import asyncio
from typing import Any

from playhead import Engine, Reply, Request, Retry, Usage, attempt, model_call, persona, step, tool
from playhead.errors import BudgetExceeded, HookDenied, StageExhausted, ToolRejected
from playhead.events.codec import CATALOG
from playhead.events.rules import BudgetThresholdCrossed, PolicyNarrowed, StageEntered, StepDenied, ToolDenied
from playhead.log.memory_store import MemoryLog
from playhead.policy.budget import Budget
from playhead.policy.capability import Policy
from playhead.runtime.hook import Deny, Moment, ReplaceArgs, ReplaceOutput, hook
from playhead.runtime.stage import Stage, StageExit
from playhead_projections.projection import fold
from playhead_projections.receipts import Receipts, document
from tests.replay.prefixes import RUN, cut, play

BEGUN: list[str] = []


@tool(side_effect_level="read_only", retry=Retry(max_attempts=2, first_wait_s=0.01))
async def look(n: int) -> int:
    BEGUN.append(attempt().op)
    await asyncio.sleep(0.01)
    if n == 3 and attempt().number == 1:
        raise ConnectionError("away")
    return n


@tool(side_effect_level="workspace_write", effect="idempotent")
async def write(n: int) -> int:
    BEGUN.append(attempt().op)
    await asyncio.sleep(0.01)
    return n


class Meter:
    name = "meter"

    async def complete(self, request: Request) -> Reply:
        BEGUN.append(attempt().op)
        await asyncio.sleep(0.01)
        return Reply(text="fine", model="m", usage=Usage(input_tokens=20, output_tokens=10), cost_micros=70)


async def ask() -> str:
    return (await model_call(Request(prompt="?"))).text


@step(budget=Budget(max_tokens=50), error_boundary="continue", model="small")
async def think(n: int) -> str:
    await look(n)
    try:
        await write(n)
    except ToolRejected:
        await ask()
    await ask()
    return await ask()


@step(budget=Budget(max_usd="0.0001"), error_boundary="escalate")
async def plan() -> str:
    return await ask() + await ask()


@step(retry=Retry(max_attempts=2, first_wait_s=0.01))
async def act(n: int) -> int:
    if await look(n) == 5:
        raise ValueError("five")
    return await write(n)


async def after(left: StageExit) -> None:
    await look(left.iteration)


@persona(
    policy=Policy(side_effect_level="workspace_write"),
    budget=Budget(max_tokens=400),
    stages=[
        Stage("think", allowed_tools=["look"], max_iterations=2, on_exit=after),
        Stage("act", side_effect_level="network"),
        Stage("plan", allowed_tools=[]),
    ],
)
async def guarded() -> list[Any]:
    found: list[Any] = []
    for n in (1, 3, 4):
        try:
            found.append(await think(n))
        except StageExhausted as error:
            found.append(error.category)
    try:
        found.append(await plan())
    except BudgetExceeded as error:
        found.append([error.category, error.step, error.limit])
    for n in (1, 2, 5):
        try:
            found.append(await act(n))
        except (HookDenied, ValueError) as error:
            found.append(getattr(error, "reason", "five"))
    return found


@hook("PreStep", step="think")
async def later(moment: Moment) -> ReplaceArgs:
    BEGUN.append(attempt().op)
    await asyncio.sleep(0.01)
    return ReplaceArgs(moment.args["n"])


@hook("PreStep", step="act")
async def not_two(moment: Moment) -> Deny | None:
    BEGUN.append(attempt().op)
    await asyncio.sleep(0.01)
    return Deny("not two") if moment.args["n"] == 2 else None


@hook("OnBudgetThreshold(50)")
async def half(moment: Moment) -> None:
    BEGUN.append(attempt().op)
    await ask()


@hook("PostToolUse", step="act")
async def more(moment: Moment) -> ReplaceOutput:
    BEGUN.append(attempt().op)
    return ReplaceOutput(moment.output)


HOOKS = [later, not_two, half, more]


def lived(log: MemoryLog, work: Any) -> Any:
    return play(log, work, personas=[guarded], model=Meter(), hooks=HOOKS)


def decided(log: MemoryLog, run: str) -> list[Any]:
    """Every policy that was put up and every call that was denied, by operation."""
    kinds = (StageEntered, PolicyNarrowed, ToolDenied, StepDenied, BudgetThresholdCrossed)
    facts = [(event.op, CATALOG.decode(event)) for event in log.streams[RUN + run]]
    return sorted(((op, fact) for op, fact in facts if isinstance(fact, kinds)), key=lambda found: found[0])


def receipts(log: MemoryLog, run: str) -> list[Any]:
    """Receipts without the times and places that differ between two lives."""
    kept = ("op", "status", "error", "model", "model_calls", "input_tokens", "output_tokens", "cost_micros")
    book = fold(Receipts(), run, log.streams[RUN + run]).state
    return sorted(repr({name: document(each)[name] for name in kept}) for each in book.finished)


def test_no_policy_is_wider_and_no_budget_richer_after_any_crash() -> None:
    async def once(engine: Engine) -> tuple[str, Any]:
        run = await engine.start(guarded)
        return run.id, await run.result()

    log = MemoryLog()
    run, result = lived(log, once)
    events = log.streams[RUN + run]
    assert result[:3] == [None, None, "stage_exhausted"]
    assert result[3] == ["handoff_escalation", "plan", "max_usd"]
    assert result[4:] == [1, "not two", "five"]
    assert len(events) >= 100
    assert {"hook.decided", "budget.threshold_crossed", "step.denied", "tool.denied", "stage.exited"} <= {
        event.type for event in events
    }

    for length in range(1, len(events)):
        shorter = cut(log, run, length)
        BEGUN.clear()

        async def resume(engine: Engine) -> Any:
            await engine.recover()
            return await engine.result(run), await engine.replay(run)

        again, replayed = lived(shorter, resume)

        assert again == result, length
        assert replayed.identical, f"{length}: {replayed.divergence}"
        assert decided(shorter, run) == decided(log, run), length
        assert receipts(shorter, run) == receipts(log, run), length
        outcomes = ("tool.completed", "model.answered", "hook.decided")
        settled = {event.op for event in events[:length] if event.type in outcomes}
        assert not settled & set(BEGUN), length
