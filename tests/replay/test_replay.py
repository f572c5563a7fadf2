"""A replay touches nothing, and a resume that no longer fits executes nothing.

Files, sockets, processes and threads are refused at the line that wants them; recorded errors come back as
what they were; a tape that only a newer version understands is refused in words.
"""

import asyncio
import itertools
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playhead import Diverged, Engine, RunFailed, ToolFailed, persona, sleep, step, tool
from playhead.errors import BadEvent
from playhead.log.envelope import NewEvent
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.log.reader import LogReader
from playhead.replay.player import play
from playhead.runtime.tape import Tape
from tests.long_run import recorded, survey_wards
from tests.replay.programs import PROGRAM, load
from tests.runtime.conftest import until

# A resume that diverges.

WAITING = PROGRAM.replace("    await sleep(0.001)\n", "    await hold('here')\n").replace(
    "@step\nasync def count",
    "gate = asyncio.Event()\n\n\n"
    "@tool(effect='pure')\nasync def hold(text: str) -> str:\n    await gate.wait()\n    return text\n\n\n"
    "@step\nasync def count",
)


async def test_a_resume_that_diverges_executes_nothing_and_the_old_code_can_still_finish(
    tmp_path: Path,
) -> None:
    old = load(tmp_path, WAITING)
    new = load(tmp_path, WAITING.replace('"many"', '"plenty"'))
    log = MemoryLog()
    first = MemoryStore(log=log)
    async with Engine.open(first, personas=[old.audit]) as engine:
        run = await engine.start(old.audit, ["a", "b"])
        await until(lambda: any(event.op == "0/hold#0" for event in log.streams[f"run/{run.id}"]))
        first.kill()

    async with Engine.open(MemoryStore(log=log), personas=[new.audit]) as engine:
        with pytest.raises(Diverged) as told:
            await engine.resume(run.id)
        assert "args.url" in str(told.value)
        assert await engine.status(run.id) == "diverged"
        with pytest.raises(Diverged):
            await engine.result(run.id)
    assert new.ran == []

    old.gate.set()
    async with Engine.open(MemoryStore(log=log), personas=[old.audit]) as engine:
        await engine.recover()
        assert await engine.result(run.id) == "published A MANY 0"
        assert (await engine.replay(run.id)).identical
    assert old.ran.count("a") == 1


# The world is denied.


def untouched(place: Path) -> bool:
    return list(place.iterdir()) == []


TOUCHES: dict[str, Callable[[Path], object]] = {
    "file": lambda path: (path / "x").write_text("x"),
    "socket": lambda _: socket.create_connection(("127.0.0.1", 9), timeout=1),
    "process": lambda _: subprocess.run(["true"], check=True),
    "thread": lambda _: threading.Thread(target=print).start(),
    "directory": lambda path: list(path.iterdir()),
}


@pytest.mark.parametrize("what", TOUCHES)
async def test_program_code_that_touches_the_world_fails_at_its_line(tmp_path: Path, what: str) -> None:
    @persona
    async def touching() -> int:
        await sleep(0)
        TOUCHES[what](tmp_path)
        return 1

    async with Engine.open(MemoryStore(), personas=[touching]) as engine:
        run = await engine.start(touching)
        with pytest.raises(RunFailed, match="WorldTouched") as told:
            await run.result()
    assert told.value.failure.type == "WorldTouched"
    assert any("touching" in str(site) for site in told.value.failure.trace)
    assert untouched(tmp_path)


@pytest.mark.parametrize("what", TOUCHES)
async def test_a_replay_refuses_the_world_too(tmp_path: Path, what: str) -> None:
    """A program that was honest when it was recorded, and is not any more."""
    touch: list[Callable[[Path], object]] = []

    @persona
    async def changed() -> int:
        await sleep(0)
        for one in touch:
            one(tmp_path)
        return 1

    log = MemoryLog()
    async with Engine.open(MemoryStore(log=log), personas=[changed]) as engine:
        run = await engine.start(changed)
        assert await run.result() == 1
        touch.append(TOUCHES[what])
        outcome = await engine.replay(run.id)

    assert outcome.verdict == "diverged"
    assert untouched(tmp_path)


async def test_a_replay_runs_no_tool_and_asks_no_model(tmp_path: Path) -> None:
    module = load(tmp_path, PROGRAM)
    log = MemoryLog()
    async with Engine.open(MemoryStore(log=log), personas=[module.audit]) as engine:
        run = await engine.start(module.audit, ["a", "b"])
        await run.result()
        before, events = list(module.ran), list(log.events)
        for _ in range(3):
            assert (await engine.replay(run.id)).identical

    assert module.ran == before
    assert log.events == events


async def test_a_run_in_flight_replays_as_incomplete(tmp_path: Path) -> None:
    module = load(tmp_path, WAITING)
    async with Engine.open(MemoryStore(), personas=[module.audit]) as engine:
        run = await engine.start(module.audit, ["a"])
        await asyncio.sleep(0.01)

        outcome = await engine.replay(run.id)

        assert outcome.verdict == "incomplete"
        assert outcome.waiting == ("0/hold#0",)
        module.gate.set()
        await run.result()


@persona
async def spins() -> None:
    for _ in itertools.count():
        await asyncio.sleep(0)


async def test_a_tape_that_ends_where_its_program_turns_for_ever_is_incomplete() -> None:
    log = MemoryLog()
    async with Engine.open(MemoryStore(log=log), personas=[spins]) as engine:
        run = await engine.start(spins)
        with pytest.raises(RunFailed, match="100000 turns"):
            await run.result()
        assert (await engine.replay(run.id)).identical
    cut = [event for event in log.events if event.type != "run.failed"]

    assert play(Tape(run.id, cut), spins).verdict == "incomplete"


# A tape of another time.


def test_of_what_the_program_did_and_was_lost_whole_only_the_type_counts(tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs.db", 100)
    with LogReader(tmp_path / "runs.db") as log:
        events = list(log.scan(f"run/{run}"))
    at = [event.seq for event in events if event.type == "tool.requested"][3]
    lost, other = events[:], events[:]
    lost[at] = events[at]._replace(payload=None)
    other[at] = lost[at]._replace(type="step.started")

    outcome, parted = (play(Tape(run, each), survey_wards) for each in (lost, other))

    assert (outcome.verdict, outcome.erased) == ("identical", (at,))
    assert parted.divergence is not None
    assert parted.divergence.event == at


@pytest.mark.parametrize("name", ["tool.requested", "budget.reserved"])
async def test_a_tape_that_only_a_newer_version_understands_is_refused_in_words(
    tmp_path: Path, name: str
) -> None:
    module = load(tmp_path, PROGRAM)
    log, later = MemoryLog(), MemoryLog()
    async with Engine.open(MemoryStore(log=log), personas=[module.audit]) as engine:
        run = await engine.start(module.audit, ["a"])
        await run.result()
    stream = f"run/{run.id}"
    events = [
        NewEvent(*event[3:6], event.op, event.cause, event.payload or b"") for event in log.streams[stream]
    ]
    events[3] = events[3]._replace(type=name, version=9)
    store = MemoryStore(log=later)
    await store.append(stream, 0, events)

    async with Engine.open(store, personas=[module.audit]) as engine:
        with pytest.raises(BadEvent, match=rf"event 3: only a newer playhead knows {name}/9"):
            await engine.replay(run.id)
        assert (await store.verify()).ok


# Errors come back.


class Registered(Exception):
    """A type that the tool declares."""


class Foreign(Exception):
    """A type that nobody declares."""


@tool(effect="pure", raises=[Registered])
async def fails(how: str) -> str:
    if how == "registered":
        raise Registered("one", 2)
    if how == "builtin":
        raise KeyError("k")
    try:
        raise Foreign("inner")
    except Foreign as inner:
        raise Foreign("outer") from inner


@step
async def caught(how: str) -> list[Any]:
    try:
        await fails(how)
    except ToolFailed as error:
        failure = error.failure
        return [failure.type, failure.message, failure.cause.message, failure.site.function, str(error)]
    except (Registered, KeyError) as error:
        return [type(error).__name__, list(error.args)]
    raise AssertionError("it did not fail")


@persona
async def catches(how: str) -> list[Any]:
    return await caught(how)


@pytest.mark.parametrize(
    ("how", "seen"),
    [
        ("registered", ["Registered", ["one", 2]]),
        ("builtin", ["KeyError", ["k"]]),
        ("foreign", ["Foreign", "outer", "inner", "fails", "Foreign: outer"]),
    ],
)
async def test_an_error_is_live_what_it_is_in_a_replay(how: str, seen: list[Any]) -> None:
    async with Engine.open(MemoryStore(), personas=[catches]) as engine:
        run = await engine.start(catches, how)

        assert await run.result() == seen
        assert (await engine.replay(run.id)).identical
