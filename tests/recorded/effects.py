"""Effects whose process died, and who answered for them; runs that were parked, let go of and taken up."""

import asyncio
import os
from pathlib import Path
from typing import Any, Literal

from playhead import Engine, NotFound, Run, ToolFailed, attempt, persona, signal, tool
from playhead.errors import RunParked
from tests.recorded.recording import DIES_IN, SENDER, Recording, die_if_told, ended, engine, seen

KEY = "one run over several lives"

# ------------------------------------------------------------- in doubt


async def was_it_kept(text: str) -> str:
    return f"kept {text}, says who looked"


async def was_it_lost(text: str) -> str:
    raise NotFound(f"{text} is nowhere")


@tool(side_effect_level="workspace_write", reconcile=was_it_kept)
async def keep(text: str) -> str:
    die_if_told("keep")
    return f"kept {text}"


@tool(side_effect_level="workspace_write", reconcile=was_it_lost)
async def lose(text: str) -> str:
    die_if_told("lose")
    return f"kept {text} at attempt {attempt().number}"


@tool(side_effect_level="network")
async def send(text: str) -> int:
    die_if_told("send")
    return len(text)


@tool(side_effect_level="network")
async def post(text: str) -> int:
    die_if_told("post")
    return len(text)


@persona
async def in_doubt(text: str) -> list[str]:
    found = [await keep(text), await lose(text), str(await send(text))]
    try:
        found.append(str(await post(text)))
    except ToolFailed as error:
        found.append(error.message)
    return found


ANSWERS: dict[str, tuple[Literal["value", "fail"], Any]] = {
    "0/send#0": ("value", 42),
    "0/post#0": ("fail", "it never came"),
}


async def live_in_doubt(store: Path) -> None:
    async with engine(store, in_doubt) as opened:
        run = await opened.start(in_doubt, "a letter", key=KEY)
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(answer_doubts(opened, run))
            await ended(run)
            answering.cancel()


async def answer_doubts(opened: Engine, run: Run) -> None:
    """Say what became of the effects that nothing else finds out about, as somebody at a desk would."""
    answered: set[str] = set()
    while True:
        for doubt in await opened.store.read(f"run/{run.id}", types=["operation.outcome_unknown"]):
            settled = await opened.store.read(f"run/{run.id}", types=["operation.resolved"])
            if doubt.op in ANSWERS and doubt.op not in answered | {event.op for event in settled}:
                answered.add(doubt.op)
                action, said = ANSWERS[doubt.op]
                if action == "value":
                    await opened.resolve(run.id, doubt.op, "value", "no number", sender=SENDER)
                    await opened.resolve(run.id, doubt.op, "value", said, sender=SENDER)
                else:
                    await opened.resolve(run.id, doubt.op, "fail", said, sender=SENDER)
        await asyncio.sleep(0.005)


# --------------------------------------------------------------- parked


@tool(side_effect_level="read_only")
async def deadly(what: str) -> str:
    die_if_told("deadly")
    return f"survived {what}"


@persona
async def dies_often(what: str) -> str:
    return await deadly(what)


async def live_parked(store: Path) -> None:
    async with engine(store, dies_often, deaths_max=1) as opened:
        try:
            run = await opened.start(dies_often, "it", key=KEY)
        except RunParked:
            assert os.environ[DIES_IN] == ""
            (head,) = await opened.store.heads("run")
            run = await opened.resume(head.stream.partition("/")[2])
        await run.result()


async def live_left_parked(store: Path) -> None:
    async with engine(store, dies_often, deaths_max=1) as opened:
        try:
            await (await opened.start(dies_often, "it", key=KEY)).result()
        except RunParked:
            assert os.environ[DIES_IN] == ""


# ---------------------------------------------------- repeated and let go


@tool(side_effect_level="network", effect="idempotent")
async def charge(cents: int) -> str:
    die_if_told("charge")
    return f"charged {cents} at attempt {attempt().number}"


@persona
async def charges(cents: int) -> str:
    said = await charge(cents)
    return f"{said}, {await signal('go', str)}"


async def live_released(store: Path) -> None:
    async with Engine.open(store, personas=[charges]) as opened:
        run = await opened.start(charges, 700, key=KEY)
        await seen(opened, run.id, "wait.started")
    async with Engine.open(store, personas=[charges]) as opened:
        await opened.recover()
        await opened.signal(run.id, "go", "gone", sender=SENDER)
        await opened.result(run.id)


async def live_left_waiting(store: Path) -> None:
    async with engine(store, charges) as opened:
        run = await opened.start(charges, 700, key=KEY)
        await seen(opened, run.id, "run.suspended")


async def live_killed(store: Path) -> None:
    if os.environ[DIES_IN]:
        async with engine(store, in_doubt) as opened:
            await (await opened.start(in_doubt, "a letter", key=KEY)).result()


RECORDINGS = (
    Recording(
        "0017-in-doubt-and-answered-for",
        live_in_doubt,
        frozenset({"operation.outcome_unknown", "operation.resolved", "resolution.sent", "attempt.finished"}),
        dies_in=("keep", "lose", "send", "post"),
    ),
    Recording(
        "0018-parked-and-resumed",
        live_parked,
        frozenset({"run.parked", "run.resumed"}),
        dies_in=("deadly", "deadly"),
    ),
    Recording(
        "0019-left-parked",
        live_left_parked,
        frozenset({"run.parked"}),
        verdict="incomplete",
        dies_in=("deadly", "deadly"),
    ),
    Recording(
        "0020-repeated-under-its-key-and-let-go",
        live_released,
        frozenset({"run.released", "run.resumed", "attempt.started"}),
        dies_in=("charge", "charge"),
    ),
    Recording("0021-left-waiting", live_left_waiting, frozenset({"run.suspended"}), verdict="incomplete"),
    Recording(
        "0022-left-in-flight",
        live_killed,
        frozenset({"tool.requested"}),
        verdict="incomplete",
        dies_in=("send",),
    ),
)
