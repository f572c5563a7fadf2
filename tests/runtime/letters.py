"""What the tests of erasures share: a run with a little of everything, a short one, and one that waits."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from playhead import (
    Engine,
    Reply,
    Request,
    Retry,
    attempt,
    child_run,
    model_call,
    persona,
    side_value,
    signal,
    state,
    step,
    tool,
)

LONG = "a-very-long-text-" * 6_000
"""More than 64 KiB: it stands in `blobs`."""


class Echo:
    name = "echo"

    async def complete(self, request: Any) -> Reply:
        return Reply(text=f"echo-of-{request.prompt[:40]}", model="echo-1", cost_micros=5)


@tool(side_effect_level="read_only", retry=Retry(max_attempts=2, first_wait_s=0.001))
async def look_up(name: str) -> dict[str, str]:
    if attempt().number == 1:
        raise ConnectionError(f"nobody answers for {name}")
    return {"email": f"{name}@mail.example", "city": "Löwenstadt-am-Meer"}


@tool(side_effect_level="read_only")
async def refuse(name: str) -> str:
    raise ValueError("secretly refused", name)


@tool(side_effect_level="network")
async def send(to: str, text: str) -> str:
    return f"receipt-for-{to}"


@step
async def write_to(address: str, text: str) -> str:
    return await send(address, text)


@persona
async def helper(topic: str) -> str:
    return f"helped-with-{topic}"


def weather() -> str:
    return "weather-is-cloudy"


@persona
async def correspond(name: str) -> str:
    found = await look_up(name)
    with contextlib.suppress(ValueError):
        await refuse("refused-name-9")
    await side_value("weather", weather)
    advice = (await model_call(Request(prompt=f"prompt-about-{name} {LONG}"))).text
    notes = await state("desk", "letters")
    await notes.write("letter.json", {"who": name, "note": "state-note-77"})
    note = await signal("go", str)
    await child_run(helper, "child-topic-5")
    return await write_to(found["email"], f"{advice} {note}")


async def recorded(path: Path, **options: Any) -> str:
    async with Engine.open(path, personas=[correspond, helper], model=Echo()) as engine:
        run = await engine.start(correspond, "ada-lovelace", name="nick-name-3", **options)
        await run.signal("go", "signal-word-8", sender="sender-name-4")
        await run.result()
        return run.id


@persona
async def greet(name: str) -> str:
    address = await look_up(name)
    await send(address["email"], "hello")
    return f"done: {address['email']} in {address['city']}"


@persona
async def wait(name: str) -> str:
    await send(name, "hello")
    word: str = await signal("go", str)
    return word


async def greeted(engine: Engine) -> str:
    run = await engine.start(greet, "grace-hopper", key="k")
    await run.result()
    return run.id


def holding(directory: Path, needle: bytes) -> list[str]:
    found = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return [path.name for path in found if needle in path.read_bytes()]


async def seq_of(engine: Engine, run: str, type_: str, n: int = 0) -> int:
    return (await engine.store.read(f"run/{run}", types=[type_]))[n].seq
