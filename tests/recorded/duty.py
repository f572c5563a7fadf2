"""Personas on duty: errands, the clock, pauses, budgets, and a worker that died."""

from datetime import UTC, datetime
from pathlib import Path

from playhead import (
    Binding,
    Dispatcher,
    DutyBudget,
    Engine,
    Request,
    Schedule,
    Trigger,
    model_call,
    persona,
    tool,
)
from playhead.testing import ScriptedModel, TurnedClock, priced
from tests.recorded.recording import SENDER, Recording, die_if_told

START = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


@persona
async def triage(issue: int = 0) -> str:
    if issue == 13:
        raise LookupError("there is no issue 13")
    return (await model_call(Request(prompt=f"How bad is issue {issue}?", max_output_tokens=50))).text


ON_DUTY = Binding(
    triage,
    schedules=[Schedule("0 7 * * *", {"issue": 1})],
    budget=DutyBudget(hourly_usd="0.001", run_usd="0.0008"),
)


def of(issue: int) -> Trigger:
    return Trigger("tracker", {"issue": issue}, kind="opened", source_event_id=f"e-{issue}")


async def live(store: Path) -> None:
    clock = TurnedClock(START, seed=43)
    model = ScriptedModel([priced("not bad", micros=600)] * 9)
    async with Engine.open(store, model=model, clock=clock) as engine:
        desk = Dispatcher(engine, [ON_DUTY])
        await desk.trigger("triage", of(7))
        await desk.trigger("triage", of(7))
        await desk.pause("triage", "deploying", sender=SENDER)
        await desk.trigger("triage", of(13))
        await desk.resume("triage", sender=SENDER)
        await desk.tick("triage")
        clock.turn(minutes=31)
        await desk.trigger("triage", of(8))
        await desk.tick("triage")
        await desk.trigger("triage", of(9))
        await desk.tick("triage")
        clock.turn(hours=2)
        await desk.tick("triage")
        await desk.drain("triage", "the end of the month", sender=SENDER)
        await desk.trigger("triage", of(10))
        await desk.resume("triage", sender=SENDER)
        await desk.disable("triage", "never again", sender=SENDER)
        await desk.trigger("triage", of(11))


# ----------------------------------------------------- a worker that died


@tool(side_effect_level="read_only")
async def look(issue: int) -> str:
    die_if_told("look")
    return f"issue {issue} is still there"


@persona
async def looks(issue: int) -> str:
    return await look(issue)


async def live_died(store: Path) -> None:
    async with Engine.open(store) as engine:
        desk = Dispatcher(engine, [Binding(looks)])
        await desk.trigger("looks", of(7))
        await desk.tick("looks")


RECORDINGS = (
    Recording(
        "0043-a-persona-on-duty",
        live,
        frozenset(
            {
                *("trigger.received", "trigger.duplicated", "trigger.dead_lettered", "schedules.bound"),
                *("schedule.fired", "persona.paused", "persona.resumed", "persona.drained"),
                *("persona.disabled", "work.started", "work.completed", "work.failed", "work.refused"),
            }
        ),
    ),
    Recording(
        "0044-a-worker-that-died-on-duty",
        live_died,
        frozenset({"work.started", "work.expired", "work.completed"}),
        dies_in=("look",),
    ),
)
