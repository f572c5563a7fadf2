"""Forks whose program ends before its tape does: an answer in words, and nothing is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playhead import Engine, persona, tool
from playhead.errors import ForkUnavailable


@tool(side_effect_level="read_only")
async def look(place: str) -> str:
    return place


@persona(name="visits")
async def visits() -> str:
    return await look("Ulm")


@persona(name="visits")
async def stays() -> str:
    return "at home"


@persona(name="visits")
async def stumbles() -> str:
    raise LookupError("the key")


@pytest.mark.parametrize("program", [stays, stumbles])
@pytest.mark.parametrize("at", [None, 2, 3])
async def test_a_program_that_ends_early_cannot_be_forked_exactly(
    tmp_path: Path, program: Any, at: int | None
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits)
        await run.result()
    async with Engine.open(tmp_path / "runs.db", personas=[program]) as engine:
        with pytest.raises(ForkUnavailable, match=r"where the tape has tool\.requested, at event 2|event 3"):
            await engine.fork(run.id, at=at)
        assert len(await engine.store.heads("run")) == 1


@pytest.mark.parametrize("program", [stays, stumbles])
async def test_the_report_of_an_early_end_names_no_line_of_who_plays_it(tmp_path: Path, program: Any) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits)
        await run.result()
    async with Engine.open(tmp_path / "runs.db", personas=[program]) as engine:
        found = (await engine.replay(run.id)).divergence

    assert found is not None
    assert found.site is None or found.site.function == program.function.__qualname__
