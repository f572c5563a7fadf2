"""What the log says of an effect that was decided about: who wanted what, who was asked, how it ended."""

import asyncio
from typing import Any

import msgspec
import pytest

from playhead import (
    ApprovalDenied,
    ApprovalTimedOut,
    ArgConstraint,
    Autonomy,
    Engine,
    Policy,
    Proposed,
    RunCancelled,
    ToolRejected,
    persona,
    state,
    tool,
)
from playhead.events.approval import ApprovalRequested
from playhead.events.autonomy import AutonomyDecided, AutonomyProposed, TrustRecorded
from playhead.runtime.approving import digest_of
from tests.runtime.conftest import Home
from tests.runtime.people import asked, of

DONE: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


@tool(side_effect_level="network", action="mail.send", capabilities={"mail": ["send"]})
async def send(to: str) -> str:
    DONE.append(to)
    return f"sent to {to}"


def under(*scopes: Autonomy, **options: Any) -> Any:
    """A persona that sends under `scopes`, and says how that ended."""

    @persona(name="sender", policy=Policy(autonomy=scopes, **options))
    async def sender() -> str:
        try:
            made: Any = await send("ada")
            return "proposed" if isinstance(made, Proposed) else made
        except (ApprovalDenied, ApprovalTimedOut, ToolRejected) as error:
            return type(error).__name__

    return sender


async def of_one(engine: Engine, run: str, kind: type[Any]) -> Any:
    (found,) = await of(engine, run, kind)
    return found


@pytest.mark.parametrize("tier", ["shadow", "suggest", "act_with_approval"])
async def test_a_proposal_names_the_agent_the_class_and_the_exact_call(home: Home, tier: Any) -> None:
    program = under(Autonomy(tier=tier))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        if tier == "act_with_approval":
            await run.answer((await asked(engine, run.id)).request, "deny", reviewer="ada")
        await run.result()
        proposed: AutonomyProposed = await of_one(engine, run.id, AutonomyProposed)
        requests = await of(engine, run.id, ApprovalRequested)
        assert (await engine.replay(run.id)).identical
    said = (proposed.agent, proposed.tool, proposed.action, proposed.tier)
    assert said == ("sender", "send", "mail.send", tier)
    assert msgspec.msgpack.decode(proposed.args) == {"to": "ada"}
    assert proposed.digest == digest_of("approval", "send", proposed.args)
    assert [request.digest for request in requests] == [proposed.digest] * (tier != "shadow")


async def test_a_suggestion_its_decision_and_its_trust_record_name_one_request(home: Home) -> None:
    program = under(Autonomy(tier="suggest"))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        await run.result()
        kinds = (ApprovalRequested, AutonomyDecided, TrustRecorded)
        assert len({(await of_one(engine, run.id, kind)).request for kind in kinds}) == 1


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        (Autonomy(tier="act_with_approval"), "scope 0: tier = act_with_approval"),
        (Autonomy(tier="act_auto", requires_human=True), "scope 0: tier = act_auto; scope 0: requires_human"),
        (Autonomy(tier="act_auto", per_day=0), "0 automatic decisions this day, of 0"),
    ],
)
async def test_people_are_shown_what_it_is_for_whom_and_why_they_are_asked(
    home: Home, scope: Autonomy, reason: str
) -> None:
    program = under(scope)
    async with home.engine(program) as engine:
        run = await engine.start(program)
        request = await asked(engine, run.id)
        await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == "sent to ada"
        record: TrustRecorded = (await of(engine, run.id, TrustRecorded))[-1]
    assert (request.action, request.principal, request.reviewers, request.quorum) == (
        *("send", "sender"),
        *(None, 1),
    )
    assert request.capabilities == ("mail.send",)
    assert msgspec.msgpack.decode(request.args) == {"to": "ada"}
    assert msgspec.msgpack.decode(request.detail) == {
        "reason": reason,
        "action_class": "mail.send",
        "tier": scope.tier,
    }
    assert (record.outcome, record.enforcement, record.approver) == ("success", "approval_granted", "ada")
    assert (record.action, record.tier, record.request) == ("mail.send", scope.tier, request.request)


async def test_what_people_agreed_to_is_not_counted_as_done_alone(home: Home) -> None:
    program = under(Autonomy(tier="act_auto", requires_human=True, per_day=1))
    async with home.engine(program) as engine:
        for _ in range(2):
            run = await engine.start(program)
            await run.answer((await asked(engine, run.id)).request, "approve", reviewer="ada")
            assert await run.result() == "sent to ada"
        assert await engine.store.read("autonomy/sender", 0, 10) == []
        assert (await engine.standing("sender")).day == 0


async def test_a_bound_is_kept_also_where_no_scope_says_a_tier(home: Home) -> None:
    program = under(Autonomy(per_day=1, deadline_s=0.02))
    async with home.engine(program) as engine:
        runs = [await engine.start(program) for _ in range(2)]
        assert sorted([await run.result() for run in runs]) == ["ApprovalTimedOut", "sent to ada"]
        causes = [(await of_one(engine, run.id, AutonomyDecided)).cause for run in runs]
        assert sorted(causes) == ["per_day", "tier"]
        for run in runs:
            assert (await engine.replay(run.id)).identical


async def test_a_person_who_is_needed_and_does_not_come_is_a_time_out(home: Home) -> None:
    program = under(Autonomy(requires_human=True, deadline_s=0.02))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        assert await run.result() == "ApprovalTimedOut"
        record = await of_one(engine, run.id, TrustRecorded)
    assert (record.outcome, record.enforcement, record.approver) == ("timeout", "approval_timed_out", None)
    assert not DONE


async def test_an_edit_that_a_ceiling_forbids_is_recorded_as_denied(home: Home) -> None:
    rule = ArgConstraint(tool="send", arg_key="to", arg_patterns=["ada"])
    program = under(Autonomy(tier="act_with_approval"), tool_arg_constraints=[rule])
    async with home.engine(program) as engine:
        run = await engine.start(program)
        request = (await asked(engine, run.id)).request
        await run.answer(request, "approve", {"to": "eve"}, reviewer="bob")
        assert await run.result() == "ToolRejected"
        record = await of_one(engine, run.id, TrustRecorded)
        assert (await engine.replay(run.id)).identical
    assert (record.outcome, record.enforcement, record.request) == ("denied", "denied", request)
    assert "eve" in record.reason
    assert not DONE


async def test_an_effect_is_that_of_the_innermost_persona(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(agents={"sub": "shadow"}, tier="act_auto")))
    async def outer() -> list[bool]:
        return [isinstance(await send("ada"), Proposed), await sub()]

    @persona
    async def sub() -> bool:
        return isinstance(await send("bob"), Proposed)

    async with home.engine(outer) as engine:
        run = await engine.start(outer)
        assert await run.result() == [False, True]
        decided = await of(engine, run.id, AutonomyDecided)
        assert (await engine.replay(run.id)).identical
    assert [(each.agent, each.verdict) for each in decided] == [("outer", "act"), ("sub", "shadow")]
    assert DONE == ["ada"]


@pytest.mark.parametrize("change", ["write", "delete", "handoff"])
async def test_every_change_of_state_is_an_effect_and_a_look_at_it_is_none(home: Home, change: str) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval")))
    async def keeps() -> list[str]:
        notes = await state("notes", "s1")
        assert await notes.read("plan.md") is None
        try:
            match change:
                case "write":
                    await notes.write("plan.md", "first")
                case "delete":
                    await notes.delete("plan.md")
                case _:
                    await notes.handoff({"done": True})
        except ApprovalDenied:
            return await notes.list()
        return ["changed"]

    async with home.engine(keeps) as engine:
        run = await engine.start(keeps)
        request = await asked(engine, run.id)
        assert request.action == f"state.{change}"
        assert request.capabilities == ("agent_state.write", "state.write")
        await run.answer(request.request, "deny", reviewer="ada")
        assert await run.result() == []
        record = await of_one(engine, run.id, TrustRecorded)
        assert (await engine.replay(run.id)).identical
    assert (record.action, record.tool, record.outcome) == ("agent_state.write", f"state.{change}", "denied")


async def test_a_run_that_is_cancelled_while_people_are_asked_has_done_nothing(home: Home) -> None:
    program = under(Autonomy(tier="act_with_approval"))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        await asked(engine, run.id)
        await run.cancel("no longer wanted")
        with pytest.raises(RunCancelled):
            await run.result()
        assert await run.requests() == []
        record = await of_one(engine, run.id, TrustRecorded)
        assert (await engine.replay(run.id)).identical
    assert (record.outcome, record.reason) == ("denied", "nobody waits for it any more")
    assert not DONE


async def test_a_proposal_its_decision_and_its_trust_record_are_one_append(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="shadow")))
    async def sender() -> None:
        await asyncio.gather(*(send(str(number)) for number in range(40)))

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        await run.result()
    appends: dict[str, set[Any]] = {}
    current: Any = None
    for event in await home.events(run.id):
        current = event.append_id or current  # it stands in the first event of an append
        if event.type in ("autonomy.proposed", "autonomy.decided", "trust.recorded"):
            appends.setdefault(event.op, set()).add(current)
    assert len(appends) == 40
    assert all(len(each) == 1 for each in appends.values())
