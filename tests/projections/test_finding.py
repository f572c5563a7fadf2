"""The first event at which something holds: of state too, one after the other and by halving."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from playhead import Engine, StateConflict, persona, state, tool
from playhead.log.reader import LogReader
from playhead.replay.expression import Expression
from playhead_projections.finding import first_where


@tool(side_effect_level="read_only")
async def look(n: int) -> int:
    return n


@persona
async def keeps() -> int:
    notes = await state("notes", "shared")
    for n in range(5):
        await notes.write(f"k{n}.json", {"n": await look(n)})
    try:
        await notes.write("never.json", 1, expected_version=7)
    except StateConflict:
        await look(9)
    return 5


async def recorded(store: Path) -> None:
    async with Engine.open(store, personas=[keeps]) as engine:
        await (await engine.start(keeps)).result()


@pytest.fixture
def log(tmp_path: Path) -> Generator[LogReader]:
    asyncio.run(recorded(tmp_path / "runs.db"))
    with LogReader(tmp_path / "runs.db") as opened:
        yield opened


def found(log: LogReader, text: str, *, monotone: bool) -> str | None:
    (stream,) = log.streams("run")
    first = first_where(log, stream, Expression(text), monotone=monotone)
    return None if first.event is None else f"{first.event.type} {first.event.op}"


@pytest.mark.parametrize("monotone", [False, True], ids=["one after the other", "halving"])
def test_what_the_run_wrote_counts_from_where_it_was_done(log: LogReader, monotone: bool) -> None:
    assert found(log, "len(state) >= 1", monotone=monotone) == "state.completed 0/state.write#0"
    assert found(log, "len(state) >= 3", monotone=monotone) == "state.completed 0/state.write#2"
    assert found(log, "state['k4.json']['n'] == 4", monotone=monotone) == "state.completed 0/state.write#4"


@pytest.mark.parametrize("monotone", [False, True], ids=["one after the other", "halving"])
def test_what_was_refused_was_never_there(log: LogReader, monotone: bool) -> None:
    assert found(log, "len(state) >= 6", monotone=monotone) is None
    assert found(log, "'never.json' in state", monotone=monotone) is None
