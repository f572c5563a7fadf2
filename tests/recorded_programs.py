"""The programs whose runs lie in replay_fixtures/.

A program here is never edited once a run of it is recorded: the tapes are promises, and
these are what they are promised to. New tapes bring new programs.
"""

import asyncio
import enum
import os
import signal as signals
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from playhead import (
    Reply,
    Request,
    Retry,
    Usage,
    attempt,
    child_run,
    map_bounded,
    model_call,
    now,
    patched,
    persona,
    race,
    random,
    side_value,
    signal,
    sleep,
    step,
    timeout,
    tool,
    uuid,
)

DIES_IN = "RECORDED_PROGRAM_DIES_IN"


def die_if_told(where: str) -> None:
    """End this process as a power cut would, where it was told to."""
    if os.environ.get(DIES_IN) == where:
        os.kill(os.getpid(), signals.SIGKILL)


# ---------------------------------- 0001: a run that was killed and resumed


class Ground(enum.Enum):
    """What a place is made of."""

    SAND = "sand"
    ROCK = "rock"


@dataclass(frozen=True)
class Reading:
    """What a visit found."""

    place: str
    depth: Decimal
    ground: Ground
    at: datetime | None = None


class Survey(msgspec.Struct, frozen=True):
    """What the run returns."""

    readings: list[Reading]
    winner: int
    advice: str
    go: str
    annex: int
    receipt: str


class Oracle:
    """A model that answers in pieces, and does not know all of what it took."""

    name = "oracle"

    async def complete(self, request: Request) -> AsyncIterator[str | Reply]:
        yield "dig "
        yield "deeper"
        yield Reply(
            model="oracle-1",
            usage=Usage(input_tokens=len(request.prompt), output_tokens=2),
            cost_micros=7,
            cost_source="price_table",
        )


@tool(side_effect_level="read_only", retry=Retry(max_attempts=3, first_wait_s=0.001))
async def measure(place: str) -> Decimal:
    """Fails once at every place but one, and dies at the last where it was told to."""
    await asyncio.sleep(0.002)
    if place == "south":
        die_if_told("measure")
    if attempt().number == 1 and place != "north":
        raise ConnectionError(f"{place} does not answer")
    return Decimal(len(place)) / 10


@tool(side_effect_level="read_only", timeout_s=5)
def drill(place: str, *, metres: int = 3) -> Ground:
    """Blocking; refuses one place."""
    if place == "east":
        raise ValueError("too hard", place)
    return Ground.ROCK if metres > 2 else Ground.SAND


@tool(side_effect_level="read_only")
async def wait_for_ever(place: str) -> str:
    """Loses every race."""
    await asyncio.sleep(60)
    return place


@tool(side_effect_level="network")
async def publish(text: str) -> str:
    """The effect that is in doubt after the second crash."""
    die_if_told("publish")
    return f"published {len(text)} characters"


@step
async def visit(place: str) -> Reading:
    depth = await measure(place)
    try:
        ground = await drill(place)
    except ValueError:
        ground = Ground.SAND
    return Reading(place, depth, ground, now())


@step
async def deliberate(readings: list[Reading]) -> str:
    lines = ", ".join(f"{reading.place} {reading.depth}" for reading in readings)
    return (await model_call(Request(prompt=f"Where? {lines}", options={"patience": 1}))).text


@persona
async def annex(places: list[str]) -> int:
    await sleep(0.001)
    return len(places)


def season() -> str:
    """Something of the world, asked once."""
    return "winter"


@persona
async def survey(places: list[str]) -> Survey:
    """Uses what there is: steps, keys, retries, races, timers, signals, children, chance."""
    when = await side_value("season", season)
    async with timeout(60):
        found = await map_bounded(places, visit, concurrency=2, key=str)
    contenders: list[Any] = [wait_for_ever("north"), drill("north", metres=1)]
    winner, _ = await race(*contenders)
    numbers = await asyncio.gather(*(measure(place) for place in places[:2]))
    advice = await deliberate(found.values)
    go = await signal("go", str)
    children = await child_run(annex, places) if patched("count-places") else 0
    text = f"{when} {sum(numbers)} {random().random()} {uuid()} {now():%Y} {go}"
    return Survey(found.values, winner, advice, go, children, await publish(text))
