"""Where a recorded run is cut does not matter: resumed from every prefix, it comes to the same end.

Nothing whose outcome stands before the cut runs again. An effect that was in flight at the cut is in doubt,
does not run, and goes on once somebody gave its value.
"""

import asyncio
from typing import Any

import msgspec
import pytest

from playhead import (
    Engine,
    Reply,
    Request,
    Retry,
    attempt,
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
    task_group,
    timeout,
    tool,
)
from playhead.events.catalog import OperationOutcomeUnknown, ToolRequested
from playhead.events.codec import CATALOG
from playhead.events.fact import OutcomeFact
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog
from tests.replay import prefixes
from tests.replay.prefixes import RUN, cut
from tests.simulation.world import SimulatedLoop

BEGUN: list[str] = []


async def _body(value: str) -> str:
    BEGUN.append(attempt().op)
    await asyncio.sleep(0.01 * (1 + len(BEGUN) % 3))
    return f"<{value}>"


@tool(effect="pure")
async def pure(value: str) -> str:
    return await _body(value)


@tool(effect="read_only", retry=Retry(max_attempts=3, first_wait_s=0.01))
async def flaky(value: str) -> str:
    if attempt().number == 1:
        BEGUN.append(attempt().op)
        raise ConnectionError(value)
    return await _body(value)


@tool(effect="effect")
async def pay(value: str) -> str:
    return await _body(value)


class Parrot:
    name = "parrot"

    async def complete(self, request: Request) -> Reply:
        return Reply(text=await _body(request.prompt))


@step
async def inner(name: str) -> str:
    found = await asyncio.gather(pure(f"{name} a"), flaky(f"{name} b"), pay(f"{name} c"))
    return "".join(found)


@step
async def outer(name: str) -> str:
    async with task_group() as group:
        tasks = [group.start(inner(f"{name}{n}")) for n in range(3)]
    async with asyncio.TaskGroup() as native:
        more = [native.create_task(pay(f"{name} more {n}")) for n in range(3)]
    return "".join(task.result() for task in [*tasks, *more])


@persona
async def long_run(name: str) -> list[str]:
    async def host() -> str:
        return await _body("host")

    parts = [await side_value("host", host)]
    parts += [await outer(f"{name}{n}") for n in range(3)]
    mapped = await map_bounded(list("xyz"), pay, concurrency=2, key=str)
    parts += mapped.values
    if patched("new-branch"):
        parts.append((await model_call(Request(prompt="why?"))).text)
    try:
        async with timeout(1):
            await asyncio.gather(sleep(50), pay("too late?"))
    except TimeoutError:
        parts.append("timed out")
    winner, _ = await race(sleep(60), pure("quick"))
    parts.append(str(winner))
    try:
        await asyncio.wait_for(sleep(60), 0.5)
    except TimeoutError:
        parts.append(f"{random().random():.9f}")
    parts.append(await signal("go", str))
    parts.append(str(now().year))
    parts.append(await pay("at last"))
    return parts


def play(log: MemoryLog, work: Any) -> Any:
    """Run `work(engine)` on simulated time, in a process of its own, with somebody who answers doubts."""
    answered: set[int] = set()

    def answer(loop: SimulatedLoop, engine: Engine) -> bool:
        for stream in [name for name in log.streams if name.startswith(RUN)]:
            for seq, op, value in doubts(log.streams[stream]):
                if seq not in answered:
                    answered.add(seq)
                    _ = loop.create_task(engine.resolve(stream[4:], op, "value", f"<{value}>"))
                    return True
        return False

    return prefixes.play(log, work, answer=answer, personas=[long_run], model=Parrot())


def doubts(events: list[Event]) -> list[tuple[int, str, str]]:
    """Every event that says that an operation is in doubt, with what it was asked."""
    asked: dict[str, str] = {}
    found = []
    for event in events:
        fact = CATALOG.decode(event)
        if isinstance(fact, ToolRequested):
            asked[event.op] = msgspec.msgpack.decode(fact.args)["value"]
        elif isinstance(fact, OperationOutcomeUnknown):
            found.append((event.seq, event.op, asked[event.op]))
    return found


async def first_time(engine: Engine) -> tuple[str, Any]:
    run = await engine.start(long_run, "r")
    await run.signal("go", "gone")
    return run.id, await run.result()


@pytest.fixture(scope="module")
def recorded() -> tuple[str, list[str], MemoryLog]:
    log = MemoryLog()
    run, result = play(log, first_time)
    return run, result, log


def test_the_recorded_run_is_long_enough_to_be_worth_it(recorded: tuple[str, list[str], MemoryLog]) -> None:
    run, _, log = recorded

    assert 150 <= len(log.streams[RUN + run]) <= 200


def test_every_prefix_resumes_to_the_same_end(recorded: tuple[str, list[str], MemoryLog]) -> None:
    run, result, log = recorded
    events = log.streams[RUN + run]

    for length in range(1, len(events)):
        shorter = cut(log, run, length)
        BEGUN.clear()

        async def resume(engine: Engine) -> Any:
            await engine.recover()
            ended = await engine.result(run)
            return ended, await engine.replay(run), await engine.store.verify()

        ended, replayed, verified = play(shorter, resume)

        assert ended == result, length
        assert replayed.identical, f"{length}: {replayed.divergence}"
        assert verified.ok, length
        assert not set(BEGUN) & never_again(events[:length]), length
        assert sites(shorter.streams[RUN + run]) == sites(events), length


def sites(events: list[Event]) -> dict[tuple[str, str], str]:
    """Where the program asked, by operation and type."""
    found = {}
    for event in events:
        fact: Any = CATALOG.decode(event)
        if hasattr(fact, "site"):
            found[event.op, event.type] = str(fact.site)
    return found


@persona
async def leaves_work_undone(name: str) -> str:
    left = asyncio.create_task(pure(f"{name} left"))
    also = asyncio.create_task(flaky(f"{name} also"))
    await pay(name)
    return f"{name} {left.done()} {also.done()}"


def test_the_end_of_a_run_is_its_last_event_whatever_was_under_way_when_it_died() -> None:
    async def once(engine: Engine) -> tuple[str, Any]:
        run = await engine.start(leaves_work_undone, "r")
        return run.id, await run.result()

    log = MemoryLog()
    run, _ = prefixes.play(log, once, personas=[leaves_work_undone])
    paid = next(n for n, event in enumerate(log.streams[RUN + run]) if event.type == "tool.completed")
    shorter = cut(log, run, paid + 1)

    async def resume(engine: Engine) -> Any:
        await engine.recover()
        return await engine.result(run), await engine.replay(run)

    result, replayed = prefixes.play(shorter, resume, personas=[leaves_work_undone])

    assert result == "r False False"
    assert shorter.streams[RUN + run][-1].type == "run.completed"
    assert replayed.identical


@persona
async def ends_as_it_asks(name: str) -> str:
    left = asyncio.create_task(pure(f"{name} left"))
    await asyncio.sleep(0)
    return f"{name} {left.done()}"


def test_nothing_begins_for_a_program_that_is_over() -> None:
    async def once(engine: Engine) -> Any:
        run = await engine.start(ends_as_it_asks, "r")
        return await run.result(), await engine.replay(run.id)

    BEGUN.clear()
    result, replayed = prefixes.play(MemoryLog(), once, personas=[ends_as_it_asks])

    assert result == "r False"
    assert replayed.identical
    assert BEGUN == []


def never_again(events: list[Event]) -> set[str]:
    """Operations of which no body may begin: settled ones, and effects that were in flight."""
    found = set()
    for event in events:
        fact = CATALOG.decode(event)
        if isinstance(fact, OutcomeFact) or (isinstance(fact, ToolRequested) and fact.effect == "effect"):
            found.add(event.op)
    return found
