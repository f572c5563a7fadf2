"""Trusting agents: what a promotion and a demotion do to runs, and to those that are under way."""

import asyncio

import pytest

from playhead import Autonomy, Engine, Policy, Proposed, persona, tool
from playhead.errors import BadValue
from playhead.events.autonomy import AutonomyDecided, StandingFound, TrustRecorded
from playhead.events.catalog import RunStarted, ToolRequested
from tests.runtime.conftest import Home, until
from tests.runtime.people import of

DONE: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


@tool(side_effect_level="network")
async def send(to: str) -> str:
    DONE.append(to)
    return f"sent to {to}"


async def test_a_demotion_holds_at_once_also_for_runs_that_are_under_way(home: Home) -> None:
    gate = asyncio.Event()

    @tool(side_effect_level="network")
    async def waits(to: str) -> str:
        if to == "bob":
            await gate.wait()
        return to

    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
    async def sender() -> list[bool]:
        return [isinstance(await waits(to), Proposed) for to in ("ada", "bob", "cy")]

    async with home.engine(sender) as engine, home.engine() as other:
        run = await engine.start(sender)
        await until(lambda: _requested(engine, run.id, 2))
        changed = await other.demote("sender", "shadow", by="ada", reason="too loud")
        assert (changed.before, changed.after) == (None, "shadow")
        gate.set()
        assert await run.result() == [False, False, True]
        found = await of(engine, run.id, StandingFound)
        decided = await of(engine, run.id, AutonomyDecided)
        assert [(each.tier, each.changed) for each in found] == [(None, -1), (None, -1), ("shadow", 0)]
        assert (decided[2].verdict, decided[2].cause) == ("shadow", "trust")
        assert (await engine.replay(run.id)).identical


async def _requested(engine: Engine, run: str, number: int) -> bool:
    return len(await of(engine, run, ToolRequested)) >= number


async def test_a_demoted_agent_is_held_to_it_where_no_policy_says_a_word(home: Home) -> None:
    @persona
    async def sender() -> bool:
        return isinstance(await send("ada"), Proposed)

    async with home.engine(sender) as engine:
        before = await engine.start(sender)
        assert await before.result() is False
        await engine.demote("sender", "shadow", by="ada")
        after = await engine.start(sender)
        assert await after.result() is True
        (started,) = await of(engine, after.id, RunStarted)
        assert started.trusted
        await engine.promote("sender", "act_auto", by="ada")
        again = await engine.start(sender)
        assert await again.result() is False
        for run in (before, after, again):
            assert (await engine.replay(run.id)).identical
    assert DONE == ["ada", "ada"]


async def test_a_promotion_lifts_no_policy(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="shadow")))
    async def sender() -> bool:
        return isinstance(await send("ada"), Proposed)

    async with home.engine(sender) as engine:
        await engine.promote("sender", "act_auto", by="ada")
        assert await (await engine.start(sender)).result() is True
    assert not DONE


async def test_a_newcomer_has_the_tier_of_newcomers_until_somebody_promotes_it(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto", newcomers="shadow")))
    async def sender() -> bool:
        return isinstance(await send("ada"), Proposed)

    async with home.engine(sender) as engine:
        first = await engine.start(sender)
        assert await first.result() is True
        await engine.demote("sender", "suggest", by="ada")  # a demotion lifts nothing
        second = await engine.start(sender)
        assert await second.result() is True
        (record,) = await of(engine, second.id, TrustRecorded)
        assert record.tier == "shadow"
        await engine.promote("sender", "act_auto", by="ada")
        third = await engine.start(sender)
        assert await third.result() is False


async def test_to_promote_leads_up_and_to_demote_leads_down(home: Home) -> None:
    async with home.engine() as engine:
        assert (await engine.standing("audit")).tier is None
        await engine.demote("audit", "suggest", by="ada")
        with pytest.raises(BadValue, match="does not lead down from suggest to shadow"):
            await engine.promote("audit", "shadow", by="ada")
        with pytest.raises(BadValue, match="suggest already"):
            await engine.demote("audit", "suggest", by="ada")
        with pytest.raises(BadValue, match="does not lead up from suggest to act_auto"):
            await engine.demote("audit", "act_auto", by="ada")
        with pytest.raises(BadValue, match="is a name"):
            await engine.promote("audit", "act_auto", by=" ")
        with pytest.raises(ValueError, match="is not one of"):
            await engine.promote("audit", "boss", by="ada")  # type: ignore[arg-type]
        assert (await engine.standing("audit")).tier == "suggest"
