"""Models: streams, what they do not tell, budgets that run out, and hooks that have a say."""

from collections.abc import AsyncIterator

from playhead import (
    Budget,
    BudgetExceeded,
    Deny,
    HookDenied,
    Moment,
    ReplaceArgs,
    ReplaceOutput,
    Reply,
    Request,
    Retry,
    Usage,
    hook,
    map_bounded,
    model_call,
    persona,
    step,
    tool,
)
from playhead.errors import HookFailed, ModelFailed
from tests.recorded.recording import Recording, simply


class Streams:
    """Answers in pieces, and tells all there is to tell."""

    name = "streams"

    async def complete(self, request: Request) -> AsyncIterator[str | Reply]:
        yield "dig "
        yield "deeper ⛏"
        yield Reply(
            model="streams-1",
            usage=Usage(
                input_tokens=len(request.prompt),
                output_tokens=3,
                cache_read_tokens=2,
                cache_write_tokens=1,
                reasoning_tokens=1,
            ),
            cost_micros=70,
            cost_source="price_table",
        )


class Tells:
    """Answers at once; what it costs is known, unless it is asked for nothing."""

    name = "tells"

    async def complete(self, request: Request) -> Reply:
        if request.prompt == "nothing":
            return Reply(text="")
        return Reply(
            text=f"about {request.prompt}",
            model="tells-1",
            usage=Usage(input_tokens=10, output_tokens=30),
            cost_micros=4_000,
            cost_source="scripted",
        )


class Refuses:
    """Never answers."""

    name = "refuses"

    async def complete(self, request: Request) -> Reply:
        raise ConnectionError("overloaded")


STREAMS, TELLS, REFUSES = Streams(), Tells(), Refuses()

# ------------------------------------------------------------ what is told


@step(model="small")
async def asks_twice(prompt: str) -> list[str]:
    first = await model_call(STREAMS, Request(prompt=prompt, options={"temperature": 0.5}))
    return [first.text, (await model_call(Request(prompt="nothing"))).text]


@persona
async def asks(prompt: str) -> list[str]:
    found = await asks_twice(prompt)
    patience = Retry(max_attempts=2, first_wait_s=0.001)
    try:
        await model_call(REFUSES, Request(prompt=prompt), retry=patience)
    except (ConnectionError, ModelFailed) as error:
        found.append(f"{type(error).__name__}: {error}")
    return [*found, (await model_call(Request(prompt="the rest"))).text]


# ---------------------------------------------------------------- budgets


@step(budget=Budget(max_tokens=60), error_boundary="continue")
async def skipped(prompt: str) -> str:
    for _ in range(3):
        await model_call(Request(prompt=prompt, max_output_tokens=20))
    return "never"


@step(budget={"max_usd": "0.005"}, error_boundary="escalate")
async def escalated(prompt: str) -> str:
    await model_call(Request(prompt=prompt, max_cost_micros=4_000))
    return (await model_call(Request(prompt=prompt, max_cost_micros=4_000))).text


@step(budget=Budget(max_tokens=0))
async def failed(prompt: str) -> str:
    return (await model_call(Request(prompt=prompt))).text


@persona(budget=Budget(max_tokens=10_000))
async def spends(prompt: str) -> list[str | None]:
    found: list[str | None] = [await skipped(prompt)]
    for each in (escalated, failed):
        try:
            found.append(await each(prompt))
        except BudgetExceeded as error:
            found.append(f"{error.step} {error.limit} {error.escalated}")
    mapped = await map_bounded(["a", "b"], bounded_ask, concurrency=2)
    return [*found, *mapped.values]


@step
async def bounded_ask(prompt: str) -> str:
    return (await model_call(Request(prompt=prompt, max_output_tokens=40))).text


@hook("OnBudgetThreshold(50)")
async def half_is_gone(moment: Moment) -> None:
    assert moment.details["percent"] == 50


# ------------------------------------------------------------------ hooks


@tool(side_effect_level="read_only")
async def look(where: str) -> str:
    return f"nothing in {where}"


@tool(side_effect_level="network")
async def publish(text: str) -> str:
    return f"published {text}"


@step
async def search(where: str) -> str:
    return await look(where)


@step
async def forbidden(where: str) -> str:
    return await look(where)


@persona
async def is_watched(where: str) -> list[str]:
    found = [await search(where), await look("the cellar")]
    for call in (forbidden(where), publish(where), look("a hook that breaks")):
        try:
            found.append(await call)
        except (HookDenied, HookFailed) as error:
            found.append(f"{type(error).__name__}: {error.message}")
    return found


@hook("PreStep", step="search")
async def elsewhere(moment: Moment) -> ReplaceArgs:
    return ReplaceArgs(f"{moment.args['where']}, upstairs")


@hook("PreStep", step="forbidden")
async def not_there(moment: Moment) -> Deny:
    return Deny("nobody goes there")


@hook("PreToolUse")
async def not_on_fridays(moment: Moment) -> Deny | ReplaceArgs | None:
    if moment.tool == "publish":
        asked = await model_call(TELLS, Request(prompt="is it Friday?"))
        return Deny(f"{asked.text}: it is")
    if moment.args.get("where") == "a hook that breaks":
        raise RuntimeError("broken hook")
    return ReplaceArgs("the attic") if moment.args.get("where") == "the cellar" else None


@hook("PostToolUse")
def shouts(moment: Moment) -> ReplaceOutput | None:
    return ReplaceOutput(str(moment.output).upper()) if moment.step is None else None


@hook("SessionStart")
async def begins(moment: Moment) -> None:
    """Only told."""


@hook("SessionEnd")
async def ends(moment: Moment) -> None:
    """Only told."""


HOOKS = [elsewhere, not_there, not_on_fridays, shouts, begins, ends]

RECORDINGS = (
    Recording(
        "0023-models-that-stream-fail-and-do-not-tell",
        simply(asks, "where?", model=TELLS),
        frozenset({"model.called", "model.answered", "model.failed", "attempt.finished"}),
    ),
    Recording(
        "0024-budgets-that-run-out",
        simply(spends, "where?", model=TELLS, hooks=[half_is_gone]),
        frozenset(
            {
                "budget.reserved",
                "budget.settled",
                "budget.exhausted",
                "budget.threshold_crossed",
                "step.skipped",
                "step.escalated",
                "step.failed",
            }
        ),
    ),
    Recording(
        "0025-hooks-that-replace-deny-and-break",
        simply(is_watched, "the garden", hooks=HOOKS),
        frozenset({"hook.fired", "hook.decided", "hook.failed", "step.denied", "tool.denied"}),
    ),
)
