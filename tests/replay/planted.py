"""Pairs of runs of which nearly every answer differs, and one difference makes the second one bad.

    good, bad = pair(seed, kind="race", items=40)

The program asks, waits, races and delegates for each of its items. What an item is told decides nothing but
whether that item is spoiled; the run is bad when one is. All others are told other things in the second run
as well, at other times and in another order.
"""

import asyncio
from random import Random
from typing import Any, NamedTuple

from playhead import (
    ApprovalDenied,
    Engine,
    Reply,
    Request,
    Retry,
    ask_user,
    attempt,
    child_run,
    map_bounded,
    model_call,
    now,
    persona,
    race,
    request_approval,
    side_value,
    signal,
    sleep,
    state,
    step,
    tool,
)
from playhead.log.memory_store import MemoryLog
from playhead.runtime.tape import Tape
from tests.replay import prefixes

WORLD: dict[str, int] = {}
"""What the world says, by question. Empty where nobody may ask."""
ENTERED: list[str] = []
PATIENCE_S = 5
DEADLINE_S = 60


@tool(effect="effect")
async def measure(name: str) -> int:
    ENTERED.append(name)
    return WORLD[name]


@tool(effect="read_only")
async def slow(name: str) -> int:
    """Takes as many milliseconds as it then says."""
    ENTERED.append(name)
    await asyncio.sleep(WORLD[name] / 1000)
    return WORLD[name]


@tool(effect="idempotent", retry=Retry(max_attempts=3, first_wait_s=0.01))
async def flaky(name: str) -> int:
    """Fails as often as the world says."""
    ENTERED.append(name)
    if attempt().number <= WORLD[name]:
        raise ConnectionError(f"{name} is away")
    return attempt().number


class Oracle:
    name = "oracle"

    async def complete(self, request: Request) -> Reply:
        name = str(request.prompt)
        ENTERED.append(name)
        return Reply(text=f"{name} is {WORLD[name]}", cost_micros=WORLD[name] % 7)


@persona
async def kid(name: str) -> int:
    return await measure(name) + 1


async def _tool(name: str) -> bool:
    return await measure(name) < 0


async def _model(name: str) -> bool:
    return (await model_call(Request(prompt=name))).text.endswith(" -1")


async def _look(name: str) -> bool:
    async def look() -> int:
        ENTERED.append(name)
        return WORLD[name]

    return await side_value("look", look) < 0


async def _signal(name: str) -> bool:
    return bool(await signal(name, int) < 0)


async def _question(name: str) -> bool:
    return bool(await ask_user(name, kind=int) < 0)


async def _approval(name: str) -> bool:
    try:
        await request_approval(name, args={"name": name})
    except ApprovalDenied:
        return True
    return False


async def _child(name: str) -> bool:
    return await child_run(kid, name) < 0


async def _retry(name: str) -> bool:
    try:
        await flaky(name)
    except ConnectionError:
        return True
    return False


async def _timeout(name: str) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await slow(name)
    except TimeoutError:
        return True
    return False


async def _race(name: str) -> bool:
    winner, _ = await race(slow(f"{name} a"), slow(f"{name} b"))
    return winner == 1


async def _first(name: str) -> bool:
    """The first of two that ends; the other is waited for."""
    a, b = asyncio.create_task(slow(f"{name} a")), asyncio.create_task(slow(f"{name} b"))
    done, _ = await asyncio.wait((a, b), return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(a, b)
    return a not in done


async def _late(name: str) -> bool:
    """Only the clock tells."""
    began = now()
    await slow(f"{name} a")
    await measure(f"{name} b")
    return (now() - began).total_seconds() > DEADLINE_S


async def _nap(name: str) -> bool:
    """A pause between two answers, of which the second matters."""
    await measure(f"{name} a")
    await sleep(0.5)
    return await measure(f"{name} b") < 0


async def _state(name: str) -> bool:
    notes = await state("notes", "shared")
    read = await notes.read(f"{name}.json")
    return read is not None and read < 0


KINDS = {
    "tool": _tool,
    "model": _model,
    "look": _look,
    "signal": _signal,
    "question": _question,
    "approval": _approval,
    "child": _child,
    "retry": _retry,
    "timeout": _timeout,
    "race": _race,
    "first": _first,
    "late": _late,
    "nap": _nap,
    "state": _state,
}


@step
async def look_into(item: str) -> bool:
    kind, _, rest = item.partition("-")
    spoiled = await KINDS[kind](item)
    return spoiled and not rest.endswith("calm")  # what ends so is spoiled and harmless


@persona
async def inquiry(items: list[str]) -> str:
    found = await map_bounded(items, look_into, concurrency=4, key=str)
    assert all(isinstance(each, bool) for each in found.outcomes), found.outcomes
    return "bad" if any(found.values) else "good"


@persona
async def writer(keys: dict[str, int]) -> None:
    notes = await state("notes", "shared")
    for key, value in keys.items():
        await notes.write(key, value)


PERSONAS = [inquiry, kid, writer]


class Planted(NamedTuple):
    """Two runs, and the item of which one was told what makes it bad."""

    log: MemoryLog
    good: Tape
    bad: Tape
    item: str
    items: list[str]


def told(chance: Random, item: str, spoiled: bool) -> dict[str, int]:
    """What the world says of an item that is spoiled by it, or is not: something else each time."""
    kind = item.partition("-")[0]
    match kind:
        case "approval":
            return {item: -1 if spoiled else 1}
        case "retry":
            return {item: 3 if spoiled else chance.randrange(3)}
        case "timeout":
            return {item: 1000 * PATIENCE_S + 1 if spoiled else chance.randrange(4000)}
        case "race" | "first":
            one = chance.randrange(1000, 2000) if spoiled else chance.randrange(100, 400)
            return {f"{item} a": one, f"{item} b": chance.randrange(500, 900)}
        case "late":
            slow_ms = 1000 * DEADLINE_S + 1 + chance.randrange(1000) if spoiled else chance.randrange(1000)
            return {f"{item} a": slow_ms, f"{item} b": chance.randrange(1000)}
        case "nap":
            second = -1 if spoiled else chance.randrange(1000)
            return {f"{item} a": chance.randrange(1000), f"{item} b": second}
        case "model":
            return {item: -1 if spoiled else chance.randrange(1000)}
        case _:
            return {item: -1 - chance.randrange(1000) if spoiled else chance.randrange(1000)}


def pair(seed: int, kind: str, items: int, *, kinds: list[str] | None = None) -> Planted:
    """Two runs of `items` items of all kinds, of which one of `kind` is spoiled in the second."""
    chance = Random(f"planted {seed} {kind}")
    drawn = [chance.choice(kinds or [*KINDS]) for _ in range(items - 1)]
    names = [f"{each}-{n}{'-calm' if chance.random() < 0.3 else ''}" for n, each in enumerate(drawn)]
    planted = f"{kind}-planted"
    names.insert(chance.randrange(items), planted)
    worlds: list[dict[str, int]] = []
    for bad in (False, True):
        world: dict[str, int] = {}
        for name in names:
            spoiled = bad if name == planted else name.endswith("calm") and chance.random() < 0.5
            world |= told(chance, name, spoiled)
        worlds.append(world)
    log = MemoryLog()
    runs = prefixes.play(log, lambda engine: _both(engine, names, worlds), personas=PERSONAS, model=Oracle())
    good, bad_ = (Tape(run, log.streams[f"run/{run}"]) for run in runs)
    return Planted(log, good, bad_, planted, names)


async def _both(engine: Engine, names: list[str], worlds: list[dict[str, int]]) -> list[str]:
    runs: list[str] = []
    for world in worlds:
        WORLD.clear()
        WORLD.update(world)
        await _write(engine, names)
        run = await engine.start(inquiry, names)
        people = asyncio.ensure_future(_people(run, names))
        said = await run.result()
        people.cancel()
        if people.done():
            people.result()
        assert said == ("bad" if runs else "good")
        runs.append(run.id)
        await asyncio.sleep(1000)
    WORLD.clear()
    return runs


async def _write(engine: Engine, names: list[str]) -> None:
    keys = {f"{name}.json": WORLD[name] for name in names if name.startswith("state-")}
    if keys:
        await (await engine.start(writer, keys)).result()


async def _people(run: Any, names: list[str]) -> None:
    """Say what there is to say: signals at once, and answers to what is asked."""
    for name in names:
        if name.startswith("signal-"):
            await run.signal(name, WORLD[name])
    while any(name.startswith(("question-", "approval-")) for name in names):
        await asyncio.sleep(3)
        for asked in await run.requests():
            if asked.kind == "question":
                await run.answer(asked.request, "approve", WORLD[asked.action], reviewer="ann")
            else:
                name = asked.action
                await run.answer(asked.request, "approve" if WORLD[name] > 0 else "deny", reviewer="ann")
