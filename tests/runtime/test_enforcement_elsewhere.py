"""Autonomy beyond tools: calls of compositions, of MCP servers, questions to models, and who is told."""

import asyncio
from typing import Any

import pytest

from playhead import (
    Autonomy,
    Engine,
    Moment,
    Policy,
    Proposed,
    Reply,
    Request,
    hook,
    model_call,
    persona,
    tool,
)
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import ManifestOptions, build_manifest
from playhead.composition.retrying import Trust
from playhead.events.approval import ApprovalRequested
from playhead.events.autonomy import AutonomyDecided, TrustRecorded
from playhead.events.catalog import ModelCalled, ToolRequested
from playhead.runtime.composing import compose
from playhead.snippet.check import TAKEN
from playhead.testing import ScriptedModel
from tests.runtime.compositions import MANIFEST, TOOLS, Library, lived, only
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of

SHADOW = Policy(autonomy=Autonomy(tier="shadow"))
ASK = Policy(autonomy=Autonomy(tier="act_with_approval", reviewers=["ada"]))


async def test_a_call_of_a_composition_under_shadow_is_only_proposed_and_says_so(home: Home) -> None:
    host = Library()
    snippet = 'made = write(path="a")\nreturn [made["proposed"], made["tool"], read_file(path="b")["path"]]'
    async with lived(home, snippet, host, policy=SHADOW, ceiling="workspace_write") as life:
        assert life.composed.value() == [True, "write", "b"]
        assert [binding for binding, _ in host.asked] == ["read_file"]
        (record,) = only(life.facts, TrustRecorded)
        assert (record.outcome, record.enforcement, record.action) == ("denied", "shadow_noop", "fs.write")


async def test_a_call_of_a_composition_waits_for_a_yes_and_an_edit_is_what_happens(home: Home) -> None:
    host = Library()
    kept: list[Any] = []

    @persona(policy=ASK)
    async def composes() -> Any:
        found = await compose(
            'return [write(path="a")["path"], write(path="b")["path"]]',
            MANIFEST,
            host,
            ceiling="workspace_write",
        )
        kept.append(found.value())
        return kept[-1]

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        first = await asked(engine, run.id)
        assert (first.action, first.reviewers) == ("write", ("ada",))
        assert not host.asked
        await run.answer(first.request, "approve", reviewer="ada")
        second = await asked(engine, run.id, 2)
        await run.answer(second.request, "approve", {"path": "c"}, reviewer="ada")
        assert await run.result() == ["a", "c"]
        assert host.asked == [("write", {"path": "a"}), ("write", {"path": "c"})]
        found = await of(engine, run.id, TrustRecorded)
        assert [(each.outcome, each.enforcement, each.approver) for each in found] == [
            ("success", "approval_granted", "ada")
        ] * 2
        assert (await engine.replay(run.id)).identical
        assert len(host.asked) == 2


async def test_a_refused_call_of_a_composition_is_an_error_in_the_snippet(home: Home) -> None:
    host = Library()

    @persona(policy=ASK)
    async def composes() -> Any:
        snippet = 'try:\n    write(path="a")\nexcept ToolError as error:\n    return str(error)'
        return (await compose(snippet, MANIFEST, host, ceiling="workspace_write")).value()

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        request = await asked(engine, run.id)
        await run.answer(request.request, "deny", reviewer="ada", reason="no writing today")
        assert "no writing today" in await run.result()
        assert not host.asked
        assert (await engine.replay(run.id)).identical


async def test_edited_arguments_that_the_schema_does_not_take_count_for_nothing(home: Home) -> None:
    host = Library()

    @persona(policy=ASK)
    async def composes() -> Any:
        return (
            await compose('return write(path="a")["path"]', MANIFEST, host, ceiling="workspace_write")
        ).value()

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        request = await asked(engine, run.id)
        await run.answer(request.request, "approve", {"path": 5}, reviewer="ada")
        await run.answer(request.request, "approve", {"path": "a", "other": "x"}, reviewer="ada")
        await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == "a"


async def test_a_composition_that_runs_out_of_time_while_people_are_asked_did_not_do_it(home: Home) -> None:
    host = Library()
    async with lived(
        home,
        'return write(path="a")',
        host,
        policy=ASK,
        limits=CompositionLimits(timeout_ms=50),
        ceiling="workspace_write",
    ) as life:
        assert life.composed.cause == "deadline"
        assert not host.asked
        (record,) = only(life.facts, TrustRecorded)
        assert (record.outcome, record.reason) == ("denied", "nobody waits for it any more")


async def test_a_tool_of_a_server_has_a_class_of_its_own_whatever_it_says_of_itself(
    home: Home,
) -> None:
    served = [each | {"_mcp_server": "far"} for each in TOOLS if each["name"] == "search"]
    manifest = build_manifest(served, ManifestOptions(side_effect_ceiling="workspace_write"), taken=TAKEN)
    host = Library()
    async with lived(home, 'return search(query="q")', host, manifest=manifest, policy=SHADOW) as life:
        assert life.composed.value()["proposed"] is True
        (decided,) = only(life.facts, AutonomyDecided)
        assert decided.action == "mcp.call"
        assert not host.asked


async def test_what_a_server_only_reads_is_no_effect_where_somebody_trusts_the_server(home: Home) -> None:
    hints = {"readOnlyHint": True, "destructiveHint": False}
    served = [{"name": "look", "annotations": hints, "_mcp_server": "far"}]
    manifest = build_manifest(served, ManifestOptions(side_effect_ceiling="network"), taken=TAKEN)
    for trust, proposed in ((None, True), (Trust(servers={"far"}), False)):
        host = Library()
        async with lived(home, "return look()", host, manifest=manifest, policy=SHADOW, trust=trust) as life:
            assert ("proposed" in life.composed.value()) is proposed
            assert bool(host.asked) is not proposed
            assert [each.action for each in only(life.facts, AutonomyDecided)] == ["mcp.call"] * proposed


@pytest.mark.parametrize(
    ("said", "action"), [("mail.send", "mail.send"), (5, "unknown"), ("Mail send", "unknown")]
)
async def test_a_surface_may_say_the_class_of_a_tool_and_what_is_no_class_is_unknown(
    home: Home, said: Any, action: str
) -> None:
    named = [each | {"metadata": {"action_class": said}} for each in TOOLS if each["name"] == "search"]
    manifest = build_manifest(named, ManifestOptions(), taken=TAKEN)
    host = Library()
    async with lived(home, 'return search(query="q")', host, manifest=manifest, policy=SHADOW) as life:
        assert life.composed.value()["proposed"] is True
        assert [each.action for each in only(life.facts, AutonomyDecided)] == [action]
        assert not host.asked


async def test_the_intent_says_the_class_of_the_effect(home: Home) -> None:
    async with lived(
        home, 'return [write(path="a"), search(query="q")]', Library(), ceiling="workspace_write"
    ) as life:
        assert [each.side_effect for each in only(life.facts, ToolRequested)] == ["fs.write", ""]


@pytest.mark.parametrize("tier", ["shadow", "act_with_approval", "act_auto"])
async def test_a_question_to_a_model_is_ruled_where_it_is_named(home: Home, tier: Any) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="shadow", actions={"model.call": tier})))
    async def thinks() -> str:
        reply: Any = await model_call(Request(prompt="why?"))
        return "proposed" if isinstance(reply, Proposed) else reply.text

    model = ScriptedModel([Reply(text="because", cost_micros=700)])
    async with home.engine(thinks, model=model) as engine:
        run = await engine.start(thinks)
        if tier == "act_with_approval":
            request = await asked(engine, run.id)
            assert request.capabilities == ("model.call",)
            await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == ("proposed" if tier == "shadow" else "because")
        (record,) = await of(engine, run.id, TrustRecorded)
        assert (record.action, record.tier) == ("model.call", tier)
        assert record.cost_micros == (None if tier == "shadow" else 700)
        assert len(await of(engine, run.id, ModelCalled)) == (tier != "shadow")
        assert (await engine.replay(run.id)).identical


async def test_an_agent_that_may_only_propose_may_still_think(home: Home) -> None:
    @persona(policy=SHADOW)
    async def thinks() -> str:
        return (await model_call(Request(prompt="why?"))).text

    async with home.engine(thinks, model=ScriptedModel([Reply(text="because")])) as engine:
        run = await engine.start(thinks)
        assert await run.result() == "because"
        assert not await of(engine, run.id, AutonomyDecided)


async def test_hooks_are_told_of_suggestions_and_nobody_waits_for_an_answer(home: Home) -> None:
    told: list[Moment] = []

    @hook("OnApprovalRequested")
    async def tells(moment: Moment) -> None:
        told.append(moment)

    @tool(side_effect_level="network")
    async def send(to: str) -> str:
        raise AssertionError

    gate = asyncio.Event()

    @tool(side_effect_level="read_only")
    async def waits() -> None:
        await gate.wait()

    @persona(policy=Policy(autonomy=Autonomy(tier="suggest")))
    async def sender() -> str:
        made: Any = await send("ada")
        await waits()
        return str(made.request)

    async with home.engine(sender, hooks=[tells]) as engine:
        run = await engine.start(sender)
        request = await asked(engine, run.id)
        await until(lambda: _begun(engine, run.id))
        assert await run.requests() == []  # it waits for nobody
        await run.answer(request.request, "approve", reviewer="ada")  # is recorded, and does nothing
        await until(lambda: _types(home, run.id, "approval.answered"))
        gate.set()
        assert await run.result() == request.request
        assert [moment.details["request"] for moment in told] == [request.request]
        assert len(await of(engine, run.id, ApprovalRequested)) == 1
        assert (await engine.replay(run.id)).identical


async def _begun(engine: Engine, run: str) -> bool:
    return bool(await of(engine, run, ToolRequested))


async def _types(home: Home, run: str, kind: str) -> bool:
    return kind in await home.types(run)
