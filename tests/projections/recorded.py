"""Runs recorded for tests: what a real engine writes into a real file."""

import asyncio
from pathlib import Path
from typing import Any

from msgspec import Raw

from playhead import (
    Engine,
    Reply,
    Request,
    Retry,
    Usage,
    attempt,
    child_run,
    model_call,
    patched,
    persona,
    race,
    side_value,
    signal,
    sleep,
    step,
    tool,
)
from playhead.clock import SystemClock
from playhead.errors import RunError
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.log.driver import sqlite
from playhead.log.envelope import Event, NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.runtime.persona import Persona

CLOCK = SystemClock()


class Model:
    """Answers at once. What it does not know of a question, it does not count."""

    name = "tiny"

    async def complete(self, request: Any) -> Reply:
        if request.prompt == "fail":
            raise ConnectionError("the model is away")
        if request.prompt == "uncounted":
            return Reply(text="?")
        usage = Usage(input_tokens=300, output_tokens=40)
        return Reply(text="fine", model="tiny-1", usage=usage, cost_micros=1210, cost_source="price_table")


@tool(side_effect_level="read_only", retry=Retry(max_attempts=3, first_wait_s=0.001))
async def fetch(n: int) -> int:
    if n == 2 and attempt().number == 1:
        raise ValueError("no such page")
    return n


@tool
async def publish(text: str) -> str:
    return text.upper()


@step
async def ask(prompt: str) -> str:
    return (await model_call(Request(prompt=prompt, model="tiny-large"))).text


@step
async def summarise(numbers: list[int]) -> str:
    await asyncio.gather(*(fetch(n) for n in numbers))
    return await ask("licence?")


@persona
async def audit(numbers: list[int]) -> str:
    return await publish(await summarise(numbers))


@step
async def uncounted() -> str:
    await ask("licence?")
    return (await model_call(Request(prompt="uncounted"))).text


@persona
async def mixed() -> str:
    return await uncounted()


@step
async def broken() -> str:
    try:
        return (await model_call(Request(prompt="fail"))).text
    except ConnectionError as error:
        raise RuntimeError("no answer") from error


@persona
async def failing() -> str:
    return await broken()


@step
async def slow() -> None:
    await sleep(3600)


@persona
async def patient() -> None:
    await slow()


@persona
async def asking() -> str:
    allowed: bool = await signal("approve", bool)
    return "yes" if allowed else "no"


@persona
async def busy() -> int:
    patched("new")
    host: str = await side_value("host", lambda: "somewhere")
    winner, _ = await race(fetch(1), sleep(60))
    await asyncio.sleep(0.001)
    return len(host) + winner


@persona
async def parent() -> str:
    return await child_run(audit, [1])


PERSONAS: list[Persona[..., Any]] = [audit, mixed, failing, patient, asking, busy, parent]


async def finish(engine: Engine, run: Any) -> None:
    """Wait for the end, whichever it is."""
    try:
        await run.result()
    except RunError:
        return


def record(path: Path, *starts: tuple[Any, ...]) -> list[str]:
    """Run `(persona, *arguments)` one after the other to their ends; returns the ids of the runs."""

    async def go() -> list[str]:
        ids: list[str] = []
        async with Engine.open(path, personas=PERSONAS, model=Model()) as engine:
            for start in starts:
                run = await engine.start(start[0], *start[1:])
                await finish(engine, run)
                ids.append(run.id)
        return ids

    return asyncio.run(go())


def write(path: Path, run: str, *told: tuple[str, Fact] | NewEvent) -> None:
    """Append facts of a run as they are, at times one millisecond apart, to a store of their own."""

    async def go() -> None:
        async with SqliteStore.open(path) as store:
            head = await store.head(f"run/{run}")
            events = [
                one
                if isinstance(one, NewEvent)
                else CATALOG.new_event(one[1], at=(head.seq + n + 1) * 1_000_000, op=one[0])
                for n, one in enumerate(told)
            ]
            await store.append(f"run/{run}", head.seq, events)

    asyncio.run(go())


def erase(store: Path, run: str, seq: int) -> None:
    """As `playhead redact` does it: the payload goes, and an event in the same stream says so."""
    with LogReader(store) as log:
        position = log.positions(f"run/{run}", seq, 1)[0]
    db = sqlite.connect(store)
    try:
        gone = "salt = null, bytes = null, blob = null, commitment = zeroblob(32)"
        assert db.execute(f"update payloads set {gone} where position = ?", (position,)).rowcount == 1
        db.commit()
    finally:
        db.close()

    async def say_so() -> None:
        async with SqliteStore.open(store) as log:
            head = await log.head(f"run/{run}")
            said = CATALOG.new_event(facts.PayloadErased(reason="asked to"), at=5, cause=seq)
            await log.append(f"run/{run}", head.seq, [said], epoch=head.epoch)

    asyncio.run(say_so())


def started(persona_name: str = "p", name: str | None = None) -> tuple[str, Fact]:
    """The first fact of a run."""
    raw = Raw(b"\x80")
    return "", facts.RunStarted(
        persona=persona_name, args=raw, args_digest="", mode="strict", seed=bytes(16), name=name
    )


def unknown(type_: str, at: int = 1) -> NewEvent:
    """An event that only a newer playhead knows."""
    return NewEvent(type_, 1, at, "", None, b"\x81\xa1a\x01")


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]
