"""How the first run was recorded: killed in a tool, killed in an effect, and taken up again."""

import asyncio
import os
from pathlib import Path

from playhead import Engine
from tests.recorded.recording import DIES_IN, SENDER, Recording
from tests.recorded_programs import Oracle, annex, survey

PLACES = ["north", "south", "east", "west"]
UNKNOWN = "operation.outcome_unknown"
KEY = "the first run of this format"


async def live(store: Path) -> None:
    """One life: start the run, or take it up, and go as far as it goes."""
    async with Engine.open(store, personas=[survey, annex], model=Oracle(), suspend_after_s=0.05) as engine:
        run = await engine.start(survey, PLACES, key=KEY, name="survey")
        if not (await engine.store.head(f"mailbox/{run.id}")).seq:
            await run.signal("go", "ahead", sender=SENDER)
        if os.environ.get(DIES_IN) == "":
            while not (doubt := await engine.store.read(f"run/{run.id}", types=[UNKNOWN])):  # noqa: ASYNC110  only the log says it
                await asyncio.sleep(0.01)
            await engine.resolve(run.id, doubt[0].op, "retry", sender=SENDER)
        await run.result()


RECORDINGS = (
    Recording(
        "0001-first-format-a-run-that-was-killed-and-resumed",
        live,
        frozenset({"operation.outcome_unknown", "operation.resolved", "resolution.sent", "run.resumed"}),
        dies_in=("measure", "publish"),
        model=Oracle(),
    ),
)
