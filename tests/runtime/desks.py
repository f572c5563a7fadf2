"""What the tests of personas on duty share: a dispatcher of its own worker, and a few personas."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from playhead import Request, model_call, persona, signal, tool
from playhead.events.codec import CATALOG
from playhead.runtime.binding import Binding, Trigger
from playhead.runtime.dispatcher import Dispatcher
from playhead.testing import MemoryStore
from tests.runtime.conftest import Home

done: list[int] = []


@tool(side_effect_level="workspace_write")
async def work(n: int) -> int:
    done.append(n)
    await asyncio.sleep(0.001)
    return n


@persona
async def triage(n: int = 0) -> int:
    return await work(n)


@persona
async def asks(n: int = 0) -> str:
    return (await model_call(Request(prompt=str(n)))).text


@persona
async def waits(n: int) -> str:
    await work(n)
    return str(await signal("go", str))


async def is_past_its_tool(home: Home, run: str) -> bool:
    """Whether the tool of `waits` is behind it: one that is cut off would be in doubt."""
    return "tool.completed" in await home.types(run)


@asynccontextmanager
async def desk(home: Home, *bindings: Binding, **options: Any) -> AsyncGenerator[Dispatcher]:
    """A dispatcher with an engine and a worker of its own, who is gone afterwards."""
    async with home.engine(**options) as engine:
        yield Dispatcher(engine, bindings)
    if isinstance(engine.store, MemoryStore):
        engine.store.kill()  # a store in memory has no process that ends


def of(n: int) -> Trigger:
    return Trigger("test", {"n": n}, source_event_id=f"e-{n}")


def statuses(receipts: list[Any]) -> list[str]:
    return [receipt.status for receipt in receipts]


class Read(NamedTuple):
    type: str
    fact: Any


async def told(duty: Dispatcher, name: str) -> list[Read]:
    """What the stream of a persona says."""
    events = await duty._engine.store.read(f"persona/{name}", 0, 1_000)
    return [Read(event.type, CATALOG.decode(event)) for event in events]
