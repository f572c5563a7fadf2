"""Autonomy: effects that are only proposed, or happen by themselves, and agents that are demoted."""

from pathlib import Path
from typing import Any

from playhead import Autonomy, Policy, Proposed, ToolRejected, persona, signal, tool
from playhead.events.autonomy import AutonomySpent
from tests.recorded.people import asked
from tests.recorded.recording import SENDER, Recording, engine, seen, simply


@tool(side_effect_level="network", action="mail.send")
async def send(to: str) -> str:
    return f"sent to {to}"


@tool(side_effect_level="workspace_write", kind="edit")
async def save(path: str) -> str:
    return f"saved {path}"


@tool(side_effect_level="read_only")
async def look(path: str) -> str:
    return f"<{path}>"


def shown(result: Any) -> str:
    """A result, or what would have been done."""
    return f"would {result.tool} {result.args}" if isinstance(result, Proposed) else str(result)


@persona(policy=Policy(autonomy=Autonomy(tier="shadow", actions={"mail.send": "suggest"}, reviewers=["ada"])))
async def only_proposes(to: str) -> list[str]:
    return [shown(each) for each in (await send(to), await save(to), await look(to))]


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto", per_day=2, reviewers=["ada", "bob"])))
async def acts_alone(to: str) -> list[str]:
    return [shown(await send(f"{to} {n}")) for n in range(3)]


async def live_bounded(store: Path) -> None:
    async with engine(store, acts_alone) as opened:
        run = await opened.start(acts_alone, "ada")
        await run.answer((await asked(run)).request, "approve", reviewer="bob")
        await run.result()


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto", newcomers="act_auto")))
async def is_demoted(to: str) -> list[str]:
    before = shown(await send(to))
    await signal("go", str)
    return [before, shown(await send(to))]


async def live_demoted(store: Path) -> None:
    async with engine(store, is_demoted) as opened:
        await opened.demote("is_demoted", "suggest", by="bob", reason="new here")
        await opened.promote("is_demoted", "act_auto", by="ada", reason="did well")
        run = await opened.start(is_demoted, "ada")
        await seen(opened, run.id, "wait.started")
        await opened.demote("is_demoted", "shadow", by="bob", reason="it wrote to everybody")
        await run.signal("go", "on", sender=SENDER)
        await run.result()


# ------------------------------------------------- nobody knows how it stands


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
async def nobody_knows(to: str) -> str:
    try:
        return shown(await send(to))
    except ToolRejected as error:
        return error.message


async def live_unknown(store: Path) -> None:
    """Over a word about the agent that nobody can read, in a stream that is not exported."""
    async with engine(store, nobody_knows) as opened:
        spent = AutonomySpent(agent="nobody_knows", run="r", op="0")
        word = opened.catalog.new_event(spent, at=opened.clock.now())
        broken = word._replace(type="trust.tier_changed", payload=b"\x81\xa5agent\xc0")
        await opened.store.append("trust/nobody_knows", 0, [broken])
        await (await opened.start(nobody_knows, "ada")).result()


RECORDINGS = (
    Recording(
        "0040-only-proposed",
        simply(only_proposes, "ada"),
        frozenset({"autonomy.proposed", "autonomy.decided", "trust.recorded", "standing.found"}),
    ),
    Recording(
        "0041-acting-alone-within-bounds",
        live_bounded,
        frozenset({"autonomy.decided", "autonomy.spent", "trust.recorded", "approval.granted"}),
    ),
    Recording(
        "0042-an-agent-that-was-demoted",
        live_demoted,
        frozenset({"trust.tier_changed", "standing.found", "autonomy.proposed"}),
    ),
    Recording(
        "0046-standing-that-could-not-be-found-out",
        live_unknown,
        frozenset({"standing.requested", "standing.failed", "trust.recorded"}),
        streams=("run",),
    ),
)
