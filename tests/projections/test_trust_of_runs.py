"""The trust graph of real runs: what was decided is judged the same again, granted, recorded, and proven."""

import asyncio
from pathlib import Path
from typing import Any

from playhead import (
    ApprovalDenied,
    ApprovalRules,
    ApprovalTimedOut,
    Autonomy,
    Engine,
    Policy,
    Reply,
    Request,
    ToolRejected,
    child_run,
    model_call,
    persona,
    state,
    tool,
)
from playhead.log.reader import LogReader
from playhead.testing import ScriptedModel
from playhead.trust.book import score
from playhead.trust.chain import chained, verify_chain
from playhead.trust.exchange import Producer, export_chain, import_chain
from playhead_projections.projector import state_at
from playhead_projections.trust_graph.grants import Grants
from playhead_projections.trust_graph.graph import chain_of
from playhead_projections.trust_graph.rejudge import past_effects, rejudge
from tests.runtime.people import asked

SCOPE = Autonomy(
    tier="act_auto",
    actions={"fs.delete": "act_with_approval", "desktop.control": "shadow", "agent_state.write": "suggest"},
    requires_human_actions=["buy"],
    reviewers=["ada", "bob"],
    newcomers="suggest",
    per_day=3,
    deadline_s=2,
)


@tool(side_effect_level="network")
async def send(to: str) -> str:
    return to


@tool(side_effect_level="network")
async def buy(what: str) -> str:
    return what


@tool(side_effect_level="workspace_write", kind="delete")
async def remove(path: str) -> str:
    return path


@tool(side_effect_level="desktop_control")
async def click(x: int) -> int:
    return x


@persona
async def helper() -> str:
    return type(await send("a child")).__name__  # nobody promoted it: it only proposes


@persona(policy=Policy(autonomy=SCOPE))
async def agent() -> list[str]:
    notes = await state("notes", "s1")
    await notes.write("plan", "x")
    said: list[str] = []
    for call in (
        lambda: send("one"),
        lambda: remove("granted"),
        lambda: remove("denied"),
        lambda: click(3),
        lambda: buy("tea"),
        lambda: child_run(helper),
        lambda: send("two"),
        lambda: send("three"),
        lambda: send("four"),  # of three a day
    ):
        try:
            said.append(repr(await call()))
        except (ApprovalDenied, ApprovalTimedOut, ToolRejected) as error:
            said.append(type(error).__name__)
    return said


async def lived(place: Path) -> str:
    async with Engine.open(place, personas=[agent, helper]) as engine:
        await engine.promote("agent", "act_auto", by="eve")
        await engine.demote("helper", "act_with_approval", by="eve")
        run = await engine.start(agent)
        for number, word in enumerate(("approve", "deny", "approve"), 2):  # the first is a suggestion
            request = await asked(engine, run.id, number)
            await run.answer(request.request, word, reviewer="ada")  # type: ignore[arg-type]
        said = await run.result()
        assert said[:3] == ["'one'", "'granted'", "ApprovalDenied"]
        assert said[-3:] == ["'two'", "'three'", "ApprovalTimedOut"]
        assert (await engine.replay(run.id)).identical
        return run.id


def test_the_same_policy_judges_past_effects_the_same_and_another_says_where_it_differs(
    tmp_path: Path,
) -> None:
    asyncio.run(lived(tmp_path / "runs.db"))
    with LogReader(tmp_path / "runs.db") as log:
        effects = past_effects(log)
    mine = [effect for effect in effects if effect.agent == "agent"]
    assert [effect.decided for effect in effects] == [True] * len(effects)
    again = list(rejudge(effects, [SCOPE], Policy()))  # also those of a child run, whose agent is another
    assert [each for each in again if each.verdict != each.effect.verdict] == []
    assert {effect.verdict for effect in effects} == {"act", "ask", "shadow", "suggest"}
    proposal = next(effect for effect in mine if effect.verdict == "shadow")
    assert proposal.args == {"x": 3}
    milder = list(rejudge(mine, [Autonomy(tier="act_auto")], Policy()))
    assert {each.verdict for each in milder} == {"act"}


def test_state_and_models_that_a_scope_names_are_granted_and_used(tmp_path: Path) -> None:
    named = {"model.call": "act_auto", "agent_state.write": "act_auto"}

    @persona(policy=Policy(autonomy=Autonomy(actions=named)))  # type: ignore[arg-type]
    async def thinks() -> None:
        notes = await state("notes", "s1")
        await notes.write("plan", "x")
        await model_call(Request(prompt="why?"))

    async def once() -> str:
        model = ScriptedModel([Reply(text="so")])
        async with Engine.open(tmp_path / "runs.db", personas=[thinks], model=model) as engine:
            run = await engine.start(thinks)
            await run.result()
            return run.id

    run = asyncio.run(once())
    with LogReader(tmp_path / "runs.db") as log:
        granted = state_at(log, Grants(), f"run/{run}").state
        effects = past_effects(log)
    assert [(grant.outcome, grant.used is not None) for grant in granted.grants.values()] == [
        ("completed", True),
        ("answered", True),
    ]
    assert [effect.action for effect in effects] == ["agent_state.write", "model.call"]


def test_what_nothing_decided_about_is_judged_where_a_new_policy_names_it(tmp_path: Path) -> None:
    @persona
    async def thinks() -> None:
        notes = await state("notes", "s1")
        await notes.write("plan", "x")
        await model_call(Request(prompt="why?"))

    async def once() -> None:
        model = ScriptedModel([Reply(text="so")])
        async with Engine.open(tmp_path / "runs.db", personas=[thinks], model=model) as engine:
            await (await engine.start(thinks)).result()

    asyncio.run(once())
    with LogReader(tmp_path / "runs.db") as log:
        effects = past_effects(log)
    shadow = list(rejudge(effects, [Autonomy(tier="shadow")], Policy()))
    assert [(each.effect.tool, each.verdict) for each in shadow] == [("state.write", "shadow")]
    named = list(rejudge(effects, [Autonomy(actions={"model.call": "suggest"})], Policy()))
    assert ("model.call", "suggest") in [(each.effect.action, each.verdict) for each in named]
    level = list(rejudge(effects, [], Policy(side_effect_level="workspace_write", workspace_roots=["a"])))
    assert {each.verdict for each in level} == {"act"}  # keys are no paths, and models have no level


def test_a_rule_that_only_the_agent_could_agree_to_is_judged_as_a_run_would(tmp_path: Path) -> None:
    asyncio.run(lived(tmp_path / "runs.db"))
    with LogReader(tmp_path / "runs.db") as log:
        effects = [effect for effect in past_effects(log) if effect.tool == "buy"]
    rules = Policy(approval=ApprovalRules(require_approval=["buy"]))
    (found,) = rejudge(effects, [Autonomy(reviewers=["agent"])], rules)
    assert found.verdict == "denied"


def test_every_effect_of_a_run_has_one_record_and_what_was_done_was_granted(tmp_path: Path) -> None:
    run = asyncio.run(lived(tmp_path / "runs.db"))
    with LogReader(tmp_path / "runs.db") as log:
        records = list(chain_of(log))
        granted = state_at(log, Grants(), f"run/{run}").state
        effects = past_effects(log)
    assert verify_chain(records).verified
    about = [record for record in records if not record.metadata.get("control")]
    assert len(about) == len(effects)
    told = [(record.action, record.outcome, record.metadata["autonomy.enforcement"]) for record in about]
    assert ("fs.delete", "success", "approval_granted") in told
    assert ("fs.delete", "denied", "approval_denied") in told
    assert ("agent_state.write", "denied", "suggest_approval_request") in told
    assert ("desktop.control", "denied", "shadow_noop") in told
    assert ("network.call", "timeout", "approval_timed_out") in told
    over = [record for record in records if record.action == "autonomy.tier_transition"]
    assert [(record.approver, record.outcome) for record in over] == [(None, "denied")]
    assert not granted.ungranted
    assert [grant.by for grant in granted.grants.values() if grant.by] == [["ada"], ["ada"]]


def test_what_real_runs_leave_is_exported_by_the_public_schema_and_comes_back_so(
    tmp_path: Path,
) -> None:
    asyncio.run(lived(tmp_path / "runs.db"))
    with LogReader(tmp_path / "runs.db") as log:
        records = list(chain_of(log))
    data = export_chain(
        records, topic="trust_graph", producer=Producer("p", "1"), generated_at="2026-01-01T00:00:00Z"
    )
    found = import_chain(data)  # raises for what the schema or the rule about approvals does not allow
    assert found.report.verified
    assert list(found.records) == records
    assert [record.entry_hash for record in chained(records)] == [record.entry_hash for record in records]
    told: Any = score(records, "agent")
    assert (told.effective_tier, told.total > 0) == ("act_auto", True)
