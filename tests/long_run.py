"""A run as long as one likes, with a little of everything: `python -m tests.long_run STORE [EVENTS]`.

A survey of many wards. Each is a step that reads its pages side by side, some of them at the second try and
some not at all, asks a model what to make of them, keeps that in state, and publishes it as an effect under
a policy, which is decided and recorded. It is what time travel is measured on: long, and not one thing
repeated. Recording 100,000 events takes some ten seconds.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from playhead import (
    Autonomy,
    Budget,
    Engine,
    Policy,
    Reply,
    Request,
    Retry,
    Usage,
    attempt,
    map_bounded,
    model_call,
    persona,
    state,
    step,
    tool,
)

PAGES_PER_WARD = 6
WARDS_AT_ONCE = 32
EVENTS_PER_WARD = 32
"""At least; 32.5 on average."""


class Page(msgspec.Struct, frozen=True):
    """What is on a page."""

    url: str
    words: int


@tool(side_effect_level="read_only", retry=Retry(max_attempts=2, first_wait_s=0.001))
async def fetch(url: str) -> Page:
    number = int(url.rsplit("/", 1)[1])
    if number % 97 == 13 or (number % 41 == 7 and attempt().number == 1):
        raise LookupError(f"nothing at {url}")
    return Page(url, 100 + number * 7919 % 1_000)


BROKEN: set[int] = set()
"""Wards that cannot be published."""
EDITION = [""]
"""What stands on every receipt."""


@tool(side_effect_level="network")
async def publish(ward: int, text: str) -> str:
    if ward in BROKEN:
        raise ConnectionError(f"ward {ward} cannot be published")
    return EDITION[0] + f"receipt-{ward:05}: {text[:20]}"


@step(model="oracle", budget=Budget(max_tokens=10_000_000), error_boundary="continue")
async def ward(number: int) -> str:
    urls = [f"pages/{number * PAGES_PER_WARD + page}" for page in range(PAGES_PER_WARD)]
    found = await map_bounded(urls, fetch, concurrency=PAGES_PER_WARD, key=str)
    pages = [page for page in found.outcomes if isinstance(page, Page)]
    words = sum(page.words for page in pages)
    prompt = f"ward {number}: {words} words on {len(pages)} pages"
    advice = await model_call(Request(prompt=prompt, max_output_tokens=100))
    notes = await state("survey", "wards")
    await notes.write(f"ward-{number % 50}.json", {"ward": number, "words": words, "advice": advice.text})
    return await publish(number, advice.text)


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
async def survey_wards(wards: int) -> int:
    done = await map_bounded(range(wards), ward, concurrency=WARDS_AT_ONCE, key=str)
    return len(done.values)


class Oracle:
    """A model that says something about what it was asked, and what that took."""

    name = "oracle"

    async def complete(self, request: Any) -> Reply:
        prompt = str(request.prompt)
        return Reply(
            text=f"of {prompt.split(':', maxsplit=1)[0]} think {len(prompt)}",
            model="oracle",
            usage=Usage(input_tokens=len(prompt), output_tokens=12),
            cost_micros=3 * len(prompt),
        )


PLAYHEAD = {"model": Oracle()}
"""What `playhead fork` and others run this program with."""


async def record(store: Path, events: int) -> str:
    """Record a run of at least `events` events and return its id."""
    async with Engine.open(store, personas=[survey_wards], model=PLAYHEAD["model"]) as engine:
        run = await engine.start(survey_wards, events // EVENTS_PER_WARD + 1, name="survey")
        await run.result()
        assert (await engine.store.head(f"run/{run.id}")).seq >= events
        return run.id


def recorded(store: Path, events: int) -> str:
    """Like `record`, for tests without a loop."""
    return asyncio.run(record(store, events))


if __name__ == "__main__":
    print(recorded(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000))  # noqa: T201
