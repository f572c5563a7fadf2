"""A tool's task hands its outcome over itself: whatever task, context and loop it runs in."""

import asyncio
import sys
from contextvars import ContextVar
from functools import partial

import pytest

from playhead import persona, signal, tool
from tests.runtime.conftest import Home, until

WHERE: ContextVar[str] = ContextVar("where", default="nowhere")
gates: list[asyncio.Event] = []
began: list[str] = []


@tool(side_effect_level="none")
async def at_the_gate(n: int) -> int:
    await gates[0].wait()
    return n


@tool(side_effect_level="none")
async def never(n: int) -> int:
    began.append("never")
    await asyncio.Event().wait()
    return n


@persona
async def changes_its_mind() -> str:
    """Two outcomes of one turn: the first starts a tool, the second gives it up before it began."""
    started: list[asyncio.Task[int]] = []

    async def first() -> None:
        await at_the_gate(1)
        started.append(asyncio.create_task(never(1)))

    async def second() -> None:
        await at_the_gate(2)
        started[0].cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second())
    return str(await signal("go", str))


async def test_a_tool_that_was_given_up_before_it_began_keeps_no_run_in_memory(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A full batch is written between two outcomes of one turn, and so the tool has its task by then.
    monkeypatch.setattr("playhead.runtime.runner.BATCH_EVENTS_MAX", 1)
    gates[:], began[:] = [asyncio.Event()], []
    async with home.engine(changes_its_mind, suspend_after_s=0.0) as engine:
        run = await engine.start(changes_its_mind)
        await until(lambda: len(engine.runners[run.id]._tasks) == 2)
        await asyncio.sleep(0.01)
        gates[0].set()
        await until(partial(home.is_suspended, run.id))

        assert began == []
        await engine.signal(run.id, "go", "on")
        assert await run.result() == "on"
        assert (await engine.replay(run.id)).identical


@tool(side_effect_level="none")
async def takes_its_time() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await gates[1].wait()


@persona
async def does_not_wait_for_it() -> str:
    slow = asyncio.create_task(takes_its_time())
    await at_the_gate(1)
    slow.cancel()
    return str(await signal("go", str))


async def test_a_tool_that_cleans_up_for_long_keeps_the_run_in_memory_until_then(home: Home) -> None:
    gates[:] = [asyncio.Event(), asyncio.Event()]
    async with home.engine(does_not_wait_for_it, suspend_after_s=0.0) as engine:
        run = await engine.start(does_not_wait_for_it)
        gates[0].set()
        await until(lambda: "0/go#0" in engine.runners[run.id].machine.pending)
        await asyncio.sleep(0.05)
        assert not await home.is_suspended(run.id)
        gates[1].set()
        await until(partial(home.is_suspended, run.id))


@tool(side_effect_level="none")
async def moves(to: str) -> str:
    was = WHERE.get()
    WHERE.set(to)
    return was


@persona
async def looks_around() -> list[str]:
    return [await moves("here"), await moves("there"), WHERE.get(), await moves("away")]


async def test_nothing_that_a_tool_sets_in_its_context_reaches_the_program_or_another_tool(
    home: Home,
) -> None:
    async with home.engine(looks_around) as engine:
        run = await engine.start(looks_around)
        assert await run.result() == ["nowhere"] * 4
        assert (await engine.replay(run.id)).identical


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
async def test_a_loop_whose_tasks_are_eager_changes_nothing(home: Home) -> None:
    gates[:] = [asyncio.Event()]
    gates[0].set()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009  Python 3.11 has no such name
    try:
        async with home.engine(both) as engine:
            run = await engine.start(both)
            assert await run.result() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
            assert (await engine.replay(run.id)).identical
    finally:
        loop.set_task_factory(None)


@persona
async def both() -> list[int]:
    return [*await asyncio.gather(*map(at_the_gate, range(5))), *[await at_the_gate(n) for n in range(5, 10)]]


async def test_a_mistake_of_ours_in_the_middle_of_the_work_is_answered_and_not_logged_away(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates[:] = [asyncio.Event()]
    gates[0].set()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("our own mistake")

    async with home.engine(both) as engine:
        monkeypatch.setattr("playhead.runtime.attempt.Attempt", broken)
        run = await engine.start(both)
        with pytest.raises(ZeroDivisionError, match="our own mistake"):
            await run.result()
        assert run.id not in engine.runners
