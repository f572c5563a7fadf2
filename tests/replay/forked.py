"""A small program with one of everything that a fork has to decide about, and helpers to fork it."""

from typing import Any

import msgspec

from playhead import (
    Engine,
    Reply,
    Request,
    attempt,
    model_call,
    persona,
    signal,
    sleep,
    state,
    step,
    tool,
)
from playhead.events.catalog import RunStarted
from playhead.events.codec import CATALOG
from playhead.events.words import ForkWords
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog
from tests.replay import prefixes

DONE: list[tuple[str, str]] = []
"""What really happened: the name of a tool or client, and its idempotency key or prompt."""


@tool(effect="read_only")
async def look(place: str) -> str:
    DONE.append(("look", attempt().idempotency_key))
    return f"<{place}>"


@tool(effect="idempotent")
async def keep(text: str) -> str:
    DONE.append(("keep", attempt().idempotency_key))
    return f"kept {text}"


@tool(effect="effect", side_effect_level="network")
async def pay(text: str) -> str:
    DONE.append(("pay", attempt().idempotency_key))
    return f"paid {text}"


class Parrot:
    name = "parrot"

    async def complete(self, request: Request) -> Reply:
        DONE.append(("parrot", request.prompt))
        return Reply(text=f"{request.model or 'plain'} {request.prompt}", cost_micros=5)


@step
async def think(text: str) -> str:
    return (await model_call(Request(prompt=text))).text


@persona
async def agent(place: str, times: list[int]) -> list[str]:
    said = [await look(place)]
    said.append(await think(said[-1]))
    notes = await state("notes", "s1")
    said.append(str(await notes.read("plan")))
    said.append(await keep(f"{place} {times[0]}"))
    await sleep(60)
    said.append(await signal("go", str))
    said.append(await pay(said[1]))
    await notes.write("plan", f"done with {place}")
    said.append(await think("the end"))
    return said


PERSONAS = [agent]


def play(log: MemoryLog, work: Any, *, begins_s: float = 0) -> Any:
    """Run `work(engine)` in a process of its own, on simulated time."""
    return prefixes.play(log, work, begins_s=begins_s, personas=PERSONAS, model=Parrot())


def recorded() -> tuple[MemoryLog, str, list[str]]:
    """A log with one run of `agent`, its id and its result."""
    log = MemoryLog()

    async def once(engine: Engine) -> tuple[str, list[str]]:
        run = await engine.start(agent, "home", [1, 2])
        await run.signal("go", "gone")
        return run.id, await run.result()

    run, result = play(log, once)
    return log, run, result


def events(log: MemoryLog, run: str) -> list[Event]:
    return log.streams[f"run/{run}"]


def seq_of(log: MemoryLog, run: str, kind: str, op: str = "", nth: int = 0) -> int:
    """The number of the `nth` event of that type whose operation ends with `op`."""
    return [e.seq for e in events(log, run) if e.type == kind and e.op.endswith(op)][nth]


def started(log: MemoryLog, run: str) -> RunStarted:
    fact = CATALOG.decode(events(log, run)[0])
    assert isinstance(fact, RunStarted)
    return fact


def words(log: MemoryLog, run: str) -> ForkWords:
    """What a fork says that it was forked from."""
    found = started(log, run).forked
    assert found is not None
    return found


def story(log: MemoryLog, run: str) -> list[tuple[str, str, bytes | None]]:
    """What the program did and was told, as it stands in the log."""
    known = CATALOG.facts
    return [
        (e.type, e.op, e.payload) for e in events(log, run) if known[e.type].PROGRAM or known[e.type].OUTCOME
    ]


def facts(log: MemoryLog, run: str, kind: str) -> list[Any]:
    return [CATALOG.decode(e) for e in events(log, run) if e.type == kind]


def plain(raw: Any) -> Any:
    return msgspec.msgpack.decode(raw)
