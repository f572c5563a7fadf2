"""A program that asks for something of every kind, as text, so that a test can edit it; and a run of it."""

import asyncio
from typing import Any

from playhead import Engine, Outcome, Reply, Request, Run
from playhead.log.memory_store import MemoryLog, MemoryStore

WIDE = '''\
"""An audit of all that can be asked."""
import asyncio
from playhead import (
    Policy, Request, child_run, model_call, persona, request_approval, side_value, signal, state, step, tool,
)

LIMIT = {"words": 3}


@tool(effect="pure")
async def fetch(url: str) -> str:
    return url.upper()


@tool(effect="effect")
async def publish(text: str) -> str:
    return f"published {text}"


@persona
async def kid(number: int) -> int:
    return number + 1


@persona
async def cousin(number: int) -> int:
    return number + 1


async def host() -> str:
    return "vm"


@step
async def think(text: str) -> str:
    return (await model_call(Request(prompt=f"What of {text}?"))).text


@step
async def keep(said: str, more: int) -> None:
    notes = await state("notes", "shared")
    await notes.write("a.json", {"said": said, "more": more})


@persona
async def audit(urls: list[str]) -> str:
    said = await think(urls[0])
    told = await signal("go", str)
    more = await child_run(kid, 2)
    await keep(said, more)
    where = await side_value("host", host)
    await request_approval("publishing", args={"text": said})
    async with asyncio.timeout(50):
        note = await fetch("few")
    return await publish(f"{said} {told} {more} {note} {where}")
'''


class Tiny:
    """A model that says how much it was asked."""

    name = "tiny"

    async def complete(self, request: Request) -> Reply:
        return Reply(text=f"{len(str(request.prompt).split())} words")


def _personas(module: Any) -> list[Any]:
    return [module.audit, module.kid, module.cousin]


async def _asked(run: Run) -> str:
    for _ in range(1_000):
        for asked in await run.requests():
            return asked.request
        await asyncio.sleep(0.01)
    raise AssertionError("nobody was asked")


async def record(module: Any) -> tuple[MemoryLog, str]:
    """A whole run of `module.audit`, told what it waits for."""
    log = MemoryLog()
    async with Engine.open(MemoryStore(log=log), personas=_personas(module), model=Tiny()) as engine:
        run = await engine.start(module.audit, ["a", "b"])
        await run.signal("go", "now")
        await run.answer(await _asked(run), "approve", reviewer="ann")
        await run.result()
    return log, run.id


async def replay(module: Any, log: MemoryLog, run: str) -> Outcome:
    """The same run again, with the program as it is in `module`."""
    async with Engine.open(MemoryStore(log=log), personas=_personas(module), model=Tiny()) as engine:
        return await engine.replay(run)
