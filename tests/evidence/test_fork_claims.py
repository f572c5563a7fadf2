"""What a receipt claims of a fork: what happened in it, and nothing that it has from elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from playhead import (
    Edits,
    Engine,
    Reply,
    Request,
    Workspace,
    child_run,
    model_call,
    persona,
    request_approval,
    state,
    tool,
)
from playhead.log.reader import LogReader
from playhead_projections.evidence.bundle import bundle
from playhead_projections.evidence.unpacking import check_bundle
from playhead_projections.otlp import documents
from tests.evidence.making import attested, attested_shortly


class Tiny:
    name = "tiny"

    async def complete(self, request: Request) -> Reply:
        return Reply(text=f"about {request.prompt}", model="tiny-1", cost_micros=600)


@tool(side_effect_level="network")
async def publish(text: str) -> str:
    return f"published {text}"


@persona
async def works(directory: str) -> str:
    files = Workspace(directory)
    answer = await model_call(Request(prompt="first"))
    await publish(answer.text)
    await files.write_file("a.txt", "hello")
    return (await model_call(Request(prompt="second"))).text


async def forked(path: Path, at: str | None, edits: Edits | None = None, *allow: str) -> dict[str, Any]:
    """The receipt of a fork of a run of all of it, made behind the outcome of the operation `at`."""
    async with Engine.open(path, personas=[works], model=Tiny()) as engine:
        run = await engine.start(works, str(path.parent / "files"))
        await run.result()
        log = await engine.store.read(f"run/{run.id}")
        cut = max(event.seq for event in log if at is None or event.op == at)
        fork = await engine.fork(run.id, at=cut, edits=edits or Edits(), allow=allow)
        await engine.ending(fork.id)
    with LogReader(path) as log_:
        assert check_bundle(bundle(log_, fork.id), {}).faults == []
        (spans,) = [one["resourceSpans"][0]["scopeSpans"][0]["spans"] for one in documents(log_, fork.id)]
    found = attested(path, fork.id)
    assert attested_shortly(path, fork.id)["tool_calls"] == found["side_effects"]["tool_calls"]
    told = [{one["key"]: one["value"] for one in span["attributes"]} for span in spans]
    marked = {one["playhead.op"]["stringValue"] for one in told if "playhead.copied" in one}
    calls = found["side_effects"]["tool_calls"]
    copied = {one["call_id"] for one in calls if one["metadata"].get("copied")}
    assert copied == {op for op in marked if "tiny" not in op}
    return found


def egress(found: dict[str, Any]) -> list[str]:
    return [one["metadata"]["call_id"] for one in found["side_effects"]["network_egress"]]


async def test_what_came_last_before_the_cut_did_not_happen_in_the_fork(tmp_path: Path) -> None:
    found = await forked(tmp_path / "runs.db", "0/write_file#0", None, "all")

    assert found["side_effects"]["fs_writes"] == []
    assert egress(found) == ["0/tiny#1"]
    assert [one["metadata"]["copied"] for one in found["side_effects"]["tool_calls"]] == [True, True]
    (model,) = found["cost"]["provider_breakdown"]
    assert model["metadata"] == {"calls": 2, "calls_of_unknown_cost": 0, "calls_copied": 1}


@pytest.mark.parametrize("at", ["0/tiny#0", "0/write_file#0"])
async def test_an_outcome_that_was_made_up_is_no_write(tmp_path: Path, at: str) -> None:
    edits = Edits(outcomes={"0/write_file#0": None})
    found = await forked(tmp_path / "runs.db", at, edits, "all")

    assert found["side_effects"]["fs_writes"] == []
    assert found["side_effects"]["tool_calls"][-1]["metadata"]["resolved_by"] == "fork"
    assert egress(found) == (["0/publish#0", "0/tiny#1"] if at == "0/tiny#0" else ["0/tiny#1"])


@persona
async def helper() -> str:
    return "helped"


@persona
async def hands_on() -> str:
    await request_approval("publish", args={"x": 1}, reviewers=["ada"])
    notes = await state("desk", "letters")
    await notes.write("a.json", {"v": 1})
    await child_run(helper)
    return await publish("x")


async def test_whom_its_source_asked_and_what_that_wrote_is_not_the_forks(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with Engine.open(path, personas=[hands_on, helper]) as engine:
        run = await engine.start(hands_on)
        while not (asked := await engine.requests(run.id)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await engine.answer(run.id, asked[0].request, "approve", reviewer="ada")
        await run.result()
        log = await engine.store.read(f"run/{run.id}")
        cut = next(event.seq for event in log if event.type == "tool.requested")
        fork = await engine.fork(run.id, at=cut, allow=["all"])
        await engine.ending(fork.id)
    first, second = attested(path, run.id), attested(path, fork.id)

    assert len(first["side_effects"]["a2a_handoffs"]) == 1
    assert second["side_effects"]["a2a_handoffs"] == []
    kinds = [[one["kind"] for one in each["final_artifacts"]] for each in (first, second)]
    assert kinds == [["result", "state"], ["result"]]
    proofs = [[one["quorum_proof"].get("copied") for one in each["approvals"]] for each in (first, second)]
    assert proofs == [[None], [True]]


async def test_what_a_fork_was_not_allowed_to_do_reached_nobody(tmp_path: Path) -> None:
    found = await forked(tmp_path / "runs.db", "0/tiny#0")

    assert egress(found) == []
    assert [one["status"] for one in found["side_effects"]["tool_calls"]] == ["failed"]


async def test_what_a_fork_does_itself_is_its_own(tmp_path: Path) -> None:
    found = await forked(tmp_path / "runs.db", "0/tiny#0", None, "all")

    assert [one["path"] for one in found["side_effects"]["fs_writes"]] == ["a.txt"]
    assert egress(found) == ["0/publish#0", "0/tiny#1"]
    assert not any("copied" in one["metadata"] for one in found["side_effects"]["tool_calls"])
