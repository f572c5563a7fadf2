"""Names of people: trimmed, seen, written in one way, and each of them one person."""

from typing import Any

import pytest

from playhead import Engine, persona
from playhead.errors import BadValue
from playhead.events.approval import ApprovalAnswered, ApprovalGranted
from playhead.runtime.approving import request_approval
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of


async def test_names_of_people_are_trimmed_and_seen(home: Home) -> None:
    wrong: list[dict[str, Any]] = [
        {"principal": 5},
        {"reviewers": ["\ud800"]},
        {"reviewers": ["a\u200bda"]},
        {"reviewers": ["ada\nbob"]},
        {"reviewers": "ada"},
        {"reviewers": [" ada", "ada "], "quorum": 2},
        {"deadline_s": "5"},
        {"capabilities": [""]},
    ]

    @persona
    async def asks(number: int) -> Any:
        if number < len(wrong):
            try:
                await request_approval("publish", **wrong[number])
            except BadValue as error:
                return error.message
        return (await request_approval("publish", reviewers=[" ada "])).reviewers

    async with home.engine(asks) as engine:
        for number in range(len(wrong)):
            assert isinstance(await (await engine.start(asks, number)).result(), str)
        run = await engine.start(asks, len(wrong))
        request = (await asked(engine, run.id)).request
        for who, why in (("ada\u200b", "x"), ("\ud800", "x"), ("ada", "\ud800")):
            with pytest.raises(BadValue):
                await run.answer(request, "approve", reviewer=who, reason=why)
        await run.answer(request, "approve", reviewer=" ada ")
        assert await run.result() == ["ada"]


async def test_a_name_that_can_be_written_in_two_ways_is_one_person(home: Home) -> None:
    one, other = "Jos\u00e9", "Jose\u0301"

    @persona
    async def asks() -> Any:
        first = await request_approval("publish", quorum=2, principal="Zo\u00eb")
        return [first.reviewers, (await request_approval("publish", reviewers=[other])).reviewers]

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = (await asked(engine, run.id)).request
        for reviewer in (one, other, "Zoe\u0308"):
            await run.answer(request, "approve", reviewer=reviewer)
        await until(lambda: _answers(engine, run.id, 3))
        assert await of(engine, run.id, ApprovalGranted) == []
        await run.answer(request, "approve", reviewer="ada")
        await run.answer((await asked(engine, run.id, 2)).request, "approve", reviewer=one)
        assert await run.result() == [[one, "ada"], [one]]
        assert (await engine.replay(run.id)).identical


async def _answers(engine: Engine, run: str, many: int) -> bool:
    return len(await of(engine, run, ApprovalAnswered)) == many
