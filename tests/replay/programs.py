"""Programs as text, so that a test can edit them: recorded with one text, played again with another."""

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from playhead import Engine, Outcome
from playhead.log.memory_store import MemoryLog, MemoryStore

NAME = "audited_program"

PROGRAM = '''\
"""An audit."""
import asyncio
import os
import random as chance
import time

from playhead import map_bounded, patched, persona, race, sleep, step, task_group, tool

ran = []


@tool(effect="pure")
async def fetch(url: str) -> str:
    ran.append(url)
    return url.upper()


@tool(effect="effect")
async def publish(text: str) -> str:
    ran.append(text)
    return f"published {text}"


@tool(effect="pure")
async def wait_long(text: str) -> str:
    await asyncio.sleep(30)
    return text


@step
async def gather_up(urls: list[str]) -> list[str]:
    return [await fetch(url) for url in urls]


@step
async def count(urls: list[str]) -> int:
    return len(urls)


@persona
async def audit(urls: list[str]) -> str:
    texts = await gather_up(urls)
    number = await count(urls)
    if number > 1:
        note = await fetch("many")
    else:
        note = await fetch("few")
    await sleep(0.001)
    winner, _ = await race(fetch("quick"), wait_long("slow"))
    done = await publish(f"{texts[0]} {note} {winner}")
    return done
'''

_serial = itertools.count()


def load(place: Path, source: str) -> Any:
    """The module that `source` is. The newest one loaded is the one that the interpreter knows by name."""
    file = place / f"{NAME}_{next(_serial)}.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location(NAME, file)
    assert spec
    assert spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


async def record(module: Any, *args: Any) -> tuple[MemoryLog, str]:
    """A whole run of `module.audit`."""
    log = MemoryLog()
    async with Engine.open(MemoryStore(log=log), personas=[module.audit]) as engine:
        run = await engine.start(module.audit, *args)
        await run.result()
    return log, run.id


async def replay(module: Any, log: MemoryLog, run: str) -> Outcome:
    """The same run again, with the program as it is in `module`."""
    async with Engine.open(MemoryStore(log=log), personas=[module.audit]) as engine:
        return await engine.replay(run)
