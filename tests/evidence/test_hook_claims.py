"""What hooks asked models stands in a receipt: who was asked, and what that took."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from playhead import Engine, Moment, Reply, Request, Usage, hook, model_call, persona, step, tool
from playhead.log.reader import LogReader
from playhead_projections.evidence.bundle import bundle
from playhead_projections.evidence.unpacking import check_bundle
from tests.evidence.making import attested, attested_shortly, erase


class Tiny:
    name = "tiny"

    async def complete(self, request: Request) -> Reply:
        judged = request.prompt == "may it?"
        return Reply(text="yes", model="judge-1" if judged else "tiny-1", usage=Usage(), cost_micros=700)


@tool(side_effect_level="read_only")
async def look(text: str) -> str:
    return text


@hook("PreToolUse")
async def judge(moment: Moment) -> None:
    await model_call(Request(prompt="may it?"))


@step
async def answers() -> str:
    return (await model_call(Request(prompt="what is it?"))).text


@persona
async def works() -> str:
    return await look(await answers())


def lines_of(document: dict[str, Any]) -> list[tuple[str | None, int, float]]:
    return [(one["step"], one["llm_calls"], one["cost_usd"]) for one in document["model_calls"]]


async def test_what_a_hook_asked_a_model_left_the_house_and_was_paid(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with Engine.open(path, personas=[works], model=Tiny(), hooks=[judge]) as engine:
        run = await engine.start(works)
        await run.result()
        (decided,) = [e.seq for e in await engine.store.read(f"run/{run.id}") if e.type == "hook.decided"]
    with LogReader(path) as log:
        assert check_bundle(bundle(log, run.id), {}).faults == []

    found, flat = attested(path, run.id), attested_shortly(path, run.id)
    assert [(one["destination"], one["purpose"]) for one in found["side_effects"]["network_egress"]] == [
        ("tiny", "model call"),
        ("tiny", "model call of a hook"),
    ]
    told = [(one["model"], one["amount"], one["metadata"]) for one in found["cost"]["provider_breakdown"]]
    assert told == [
        ("tiny-1", 0.0007, {"calls": 1, "calls_of_unknown_cost": 0}),
        ("judge-1", 0.0007, {"calls": 1, "calls_of_unknown_cost": 0, "asked_by": "hooks"}),
    ]
    assert (found["cost"]["total"], found["autonomy_budget"]["consumed"]["usd"]) == (0.0014, 0.0007)
    assert found["metadata"]["playhead"]["unknown"]["input_tokens_of_calls"] == 2
    assert (lines_of(flat), flat["cost_usd"]) == ([("answers", 1, 0.0007), (None, 1, 0.0007)], 0.0014)

    await asyncio.to_thread(erase, path, f"run/{run.id}", decided, "asked to")
    assert attested(path, run.id)["metadata"]["playhead"]["unknown"]["hooks"] == 1
    assert attested(path, run.id)["cost"]["total"] == 0.0007
