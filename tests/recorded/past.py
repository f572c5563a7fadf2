"""What becomes of runs later: one that was made of another, and one of which something was erased."""

from pathlib import Path

from playhead import Edits, persona, tool
from playhead.errors import ForkDenied
from tests.recorded.recording import SENDER, Recording, engine


@tool(side_effect_level="read_only")
async def weather(town: str) -> str:
    return f"rain in {town}"


@tool(side_effect_level="network")
async def book(town: str) -> str:
    return f"booked a walk in {town}"


@persona
async def plans(town: str) -> str:
    found = await weather(town)
    if "rain" in found:
        return "stays at home"
    try:
        return await book(town)
    except ForkDenied as error:
        return f"would book: {type(error).__name__}"


async def live_forked(store: Path) -> None:
    async with engine(store, plans) as opened:
        run = await opened.start(plans, "Ulm", name="rainy")
        await run.result()
        edits = Edits(outcomes={"weather#0": "sun"})
        fork = await opened.fork(run.id, edits=edits, name="sunny", reason="what if the sun shone")
        await fork.result()


async def live_erased(store: Path) -> None:
    async with engine(store, plans) as opened:
        run = await opened.start(plans, "Ulm")
        await run.result()
        await opened.redact(run.id, 2, "/args/town", reason="she asked for it", by=SENDER)


RECORDINGS = (
    Recording(
        "0047-a-fork-behind-its-fence",
        live_forked,
        frozenset({"run.forked", "effect.withheld", "run.started"}),
    ),
    Recording(
        "0048-a-run-of-which-a-part-was-erased",
        live_erased,
        frozenset({"payload.erased", "tool.requested"}),
    ),
)
