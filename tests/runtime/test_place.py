"""Call sites: the line of the user's own code that asked, and never one of whoever runs the loop."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

import pytest

from playhead import map_bounded, persona, race, state, step, tool
from tests.runtime.conftest import Home


@tool(side_effect_level="read_only")
async def look(place: str) -> str:
    return place


@step
async def visit(place: str) -> str:
    return await look(place)


@persona
async def mapped(places: list[str]) -> list[str]:
    return (await map_bounded(places, look)).values


@persona
async def inside(places: list[str]) -> list[str]:
    return (await map_bounded(places, visit)).values


async def told(work: Awaitable[str]) -> str:
    return await work


@step
async def twice(place: str) -> list[str]:
    return (await map_bounded(map(look, [place, place]), told)).values


@persona
async def nested(places: list[str]) -> list[list[str]]:
    return (await map_bounded(places, twice)).values


@persona
async def raced(places: list[str]) -> str:
    _, won = await race(look(places[0]), look(places[1]))
    return won


@persona(mode="relaxed")
async def relaxed(places: list[str]) -> list[str]:
    return (await map_bounded(places, look)).values


@persona
async def keeping(places: list[str]) -> list[str]:
    notes = await state("survey", "places")
    await notes.write("all.json", {"places": places})
    return places


def line_of(function: Any, text: str) -> int:
    lines, first = inspect.getsourcelines(function.function)
    return first + next(n for n, line in enumerate(lines) if text in line)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (mapped, [("mapped", line_of(mapped, "map_bounded"))]),
        (inside, [("inside", line_of(inside, "map_bounded")), ("visit", line_of(visit, "look"))]),
        (nested, [("nested", line_of(nested, "map_bounded")), ("twice", line_of(twice, "map_bounded"))]),
        (raced, [("raced", line_of(raced, "await race"))]),
        (relaxed, [("relaxed", line_of(relaxed, "map_bounded"))]),
        (keeping, [("keeping", line_of(keeping, "await state")), ("keeping", line_of(keeping, "write"))]),
    ],
    ids=["mapped", "inside a step", "calls as items", "raced", "relaxed", "state"],
)
async def test_a_call_stands_where_the_program_asked_for_it(
    home: Home, program: Any, said: list[tuple[str, int]]
) -> None:
    async with home.engine(mapped, inside, nested, raced, relaxed, keeping) as engine:
        run = await engine.start(program, ["a", "b"])
        await run.result()
        facts = [engine.catalog.decode(event) for event in await engine.store.read(f"run/{run.id}")]
    sites = [site for fact in facts if (site := getattr(fact, "site", None)) is not None]
    assert {(site.function, site.line) for site in sites} == set(said)
    assert {site.module for site in sites} == {__name__}
