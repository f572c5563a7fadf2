"""Autonomy in runs: what becomes of an effect under each tier, and what is recorded of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from playhead import (
    ApprovalDenied,
    ApprovalRules,
    ApprovalTimedOut,
    Autonomy,
    Engine,
    Policy,
    Proposed,
    RunFailed,
    ToolTimedOut,
    child_run,
    persona,
    race,
    signal,
    state,
    tool,
)
from playhead.events.approval import ApprovalGranted, ApprovalRequested
from playhead.events.autonomy import (
    AutonomyDecided,
    AutonomyProposed,
    AutonomySpent,
    StandingRequested,
    TrustRecorded,
)
from playhead.events.catalog import ToolRequested
from playhead.events.rules import ToolDenied
from playhead.log.memory_store import MemoryLog
from tests.replay.prefixes import RUN, cut, play
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of
from tests.test_sign import signer_of

DONE: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


@tool(side_effect_level="network")
async def send(to: str) -> str:
    DONE.append(to)
    if to == "nobody":
        raise ValueError("no such address")
    return f"sent to {to}"


@tool(side_effect_level="read_only")
async def look() -> int:
    return 3


def under(*scopes: Autonomy, **options: Any) -> Any:
    """A persona that sends under `scopes`."""

    @persona(name="sender", policy=Policy(autonomy=scopes, **options))
    async def sender(to: str = "ada") -> Any:
        await look()
        return await send(to)

    return sender


async def records(engine: Engine, run: str) -> list[tuple[str, str, str]]:
    found = await of(engine, run, TrustRecorded)
    return [(record.outcome, record.enforcement, record.tier) for record in found]


async def lived(home: Home, program: Any, *args: Any) -> tuple[str, Any, Engine]:
    async with home.engine(program) as engine:
        run = await engine.start(program, *args)
        result = await run.result()
        assert (await engine.replay(run.id)).identical
        return run.id, result, engine


async def test_who_acts_alone_does_it_and_the_decision_and_the_outcome_are_events(home: Home) -> None:
    program = under(Autonomy(tier="act_auto"))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        assert await run.result() == "sent to ada"
        (decided,) = await of(engine, run.id, AutonomyDecided)
        (record,) = await of(engine, run.id, TrustRecorded)
        assert (decided.agent, decided.tool, decided.action) == ("sender", "send", "network.call")
        assert (decided.verdict, decided.tier, decided.because) == (
            "act",
            "act_auto",
            ("scope 0: tier = act_auto",),
        )
        assert (record.outcome, record.enforcement, record.approver) == ("success", "auto", None)
        assert not await of(engine, run.id, AutonomyProposed)
        assert [each.tool for each in await of(engine, run.id, StandingRequested)] == ["send"]  # not of look
        assert (await engine.replay(run.id)).identical
    mine = [event.type for event in await home.events(run.id) if event.op.endswith("send#0")]
    assert mine == ["autonomy.decided", "tool.requested", "tool.completed", "trust.recorded"]


async def test_an_effect_that_fails_is_recorded_as_failed_and_one_that_took_too_long_as_timed_out(
    home: Home,
) -> None:
    @tool(side_effect_level="network", timeout_s=0.01)
    async def slow() -> None:
        await asyncio.sleep(5)

    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
    async def sender() -> None:
        for call in (lambda: send("nobody"), slow):
            try:
                await call()
            except (ValueError, ToolTimedOut):
                continue

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        await run.result()
        found = await of(engine, run.id, TrustRecorded)
        assert (await engine.replay(run.id)).identical
    assert [(each.tool, each.outcome) for each in found] == [("send", "failure"), ("slow", "timeout")]
    assert found[0].reason == "ValueError: no such address"


@pytest.mark.parametrize("tier", ["shadow", "suggest"])
async def test_under_shadow_and_suggest_nothing_is_done_and_the_program_gets_what_was_proposed(
    home: Home, tier: Any
) -> None:
    seen: list[Any] = []

    @persona(policy=Policy(autonomy=Autonomy(tier=tier)))
    async def sender() -> str:
        made: Any = await send("ada")
        seen.append(made)
        with pytest.raises(AttributeError, match=f"send was only proposed, under the tier {tier}"):
            _ = made.upper
        return "proposed" if isinstance(made, Proposed) else "done"

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        assert await run.result() == "proposed"
        assert not DONE
        (proposed,) = await of(engine, run.id, AutonomyProposed)
        requests = await of(engine, run.id, ApprovalRequested)
        found = await records(engine, run.id)
        assert (await engine.replay(run.id)).identical
    assert not seen[0]
    assert (seen[0].tool, seen[0].action, seen[0].args) == ("send", "network.call", {"to": "ada"})
    assert (proposed.tool, proposed.tier) == ("send", tier)
    if tier == "suggest":
        assert [(each.request, each.waits) for each in requests] == [(seen[0].request, False)]
        assert found == [("denied", "suggest_approval_request", "suggest")]
    else:
        assert (requests, seen[0].request) == ([], "")
        assert found == [("denied", "shadow_noop", "shadow")]
    assert "tool.requested" not in await home.types(run.id)


async def test_with_approval_the_call_waits_out_of_memory_and_the_effect_comes_after_the_yes(
    home: Home,
) -> None:
    program = under(Autonomy(tier="act_with_approval", reviewers=["ada", "bob"], quorum=2))
    async with home.engine(program, suspend_after_s=0) as engine:
        run = await engine.start(program)
        request = await asked(engine, run.id)
        assert (request.action, request.reviewers, request.quorum) == ("send", ("ada", "bob"), 2)
        assert request.capabilities == ("network.call",)
        await until(lambda: home.is_suspended(run.id))
        assert not DONE
        async with home.engine() as other:
            await other.answer(run.id, request.request, "approve", reviewer="bob")
            await other.answer(run.id, request.request, "approve", reviewer="ada", reason="go")
        await engine.recover()
        assert await engine.result(run.id) == "sent to ada"
        (decided,) = await of(engine, run.id, AutonomyDecided)
        (record,) = await of(engine, run.id, TrustRecorded)
        assert (await engine.replay(run.id)).identical
    assert (decided.verdict, decided.request) == ("ask", request.request)
    assert (record.outcome, record.enforcement) == ("success", "approval_granted")
    assert (record.approver, record.request, record.quorum) == ("ada", request.request, 2)
    assert [each.reviewer for each in record.granted] == ["bob", "ada"]
    types = await home.types(run.id)
    assert types.index("autonomy.decided") < types.index("approval.granted") < types.index("trust.recorded")
    assert types.index("approval.granted") < len(types) - 1 - types[::-1].index("tool.requested")


async def test_a_denial_and_a_time_out_raise_and_each_has_its_trust_record(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval", deadline_s=0.2)))
    async def sender() -> list[str]:
        said: list[str] = []
        for to in ("ada", "bob"):
            try:
                await send(to)
            except (ApprovalDenied, ApprovalTimedOut) as error:
                said.append(type(error).__name__)
        return said

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        first = await asked(engine, run.id)
        await run.answer(first.request, "deny", reviewer="ada", reason="not today")
        assert await run.result() == ["ApprovalDenied", "ApprovalTimedOut"]
        found = await of(engine, run.id, TrustRecorded)
        denied = await of(engine, run.id, ToolDenied)
        assert (await engine.replay(run.id)).identical
    assert not DONE
    assert [(each.outcome, each.enforcement) for each in found] == [
        ("denied", "approval_denied"),
        ("timeout", "approval_timed_out"),
    ]
    assert found[0].reason == "not today"
    assert [each.verdict for each in denied] == ["needs_approval", "needs_approval"]


async def test_what_needs_a_person_waits_also_under_act_auto_and_a_refusal_says_so(home: Home) -> None:
    program = under(Autonomy(tier="act_auto", requires_human_actions=["network.call"]))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        request = await asked(engine, run.id)
        await run.answer(request.request, "deny", reviewer="ada")
        with pytest.raises(RunFailed):
            await run.result()
        (decided,) = await of(engine, run.id, AutonomyDecided)
        assert (decided.verdict, decided.cause) == ("ask", "human")
        assert await records(engine, run.id) == [("denied", "needs_human_denied", "act_auto")]
        assert (await engine.replay(run.id)).identical


async def test_an_effect_that_nobody_could_agree_to_is_denied(home: Home) -> None:
    program = under(Autonomy(tier="act_with_approval", reviewers=["ada"]), Autonomy(reviewers=["bob"]))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        with pytest.raises(RunFailed, match="all scopes allow only nobody"):
            await run.result()
        assert await records(engine, run.id) == [("denied", "denied", "act_with_approval")]
        assert len(await of(engine, run.id, ToolDenied)) == 1
        assert (await engine.replay(run.id)).identical
    assert not DONE


async def test_an_effect_is_denied_where_no_reviewer_has_a_key_and_only_signed_answers_count(
    home: Home,
) -> None:
    program = under(Autonomy(tier="act_with_approval", reviewers=["bob"]))
    keys = {"ada": [signer_of(b"1" * 32).public]}
    async with home.engine(program, reviewer_keys=keys) as engine:
        run = await engine.start(program)
        with pytest.raises(RunFailed, match="ToolRejected"):
            await run.result()
        (decided,) = await of(engine, run.id, AutonomyDecided)
        assert (decided.verdict, decided.cause) == ("denied", "reviewers")
        assert await records(engine, run.id) == [("denied", "denied", "act_with_approval")]
        assert (await engine.replay(run.id)).identical
    assert not DONE


async def test_a_suggestion_to_nobody_is_still_a_proposal(home: Home) -> None:
    @persona(
        policy=Policy(autonomy=[Autonomy(tier="suggest", reviewers=["ada"]), Autonomy(reviewers=["bob"])])
    )
    async def sender() -> bool:
        return isinstance(await send("ada"), Proposed)

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        assert await run.result() is True
        assert await records(engine, run.id) == [("denied", "suggest_approval_request", "suggest")]
        assert not await of(engine, run.id, ApprovalRequested)


async def test_who_asks_may_not_be_the_only_reviewer_of_itself(home: Home) -> None:
    program = under(Autonomy(tier="act_with_approval", reviewers=["sender"]))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        with pytest.raises(RunFailed, match="nobody"):
            await run.result()
    assert not DONE


async def test_an_inner_scope_lifts_no_outer_one(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
    async def sub() -> bool:
        return isinstance(await send("ada"), Proposed)

    @persona(policy=Policy(autonomy=Autonomy(tier="shadow")))
    async def outer() -> list[bool]:
        return [await sub(), await child_run(sub)]

    async with home.engine(outer, sub) as engine:
        run = await engine.start(outer)
        assert await run.result() == [True, True]
        assert (await engine.replay(run.id)).identical
    assert not DONE


async def test_so_many_automatic_decisions_an_hour_in_all_runs_and_engines_together(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto", per_hour=3, deadline_s=0.01)))
    async def sender() -> int:
        done = 0
        for to in ("ada", "bob"):
            try:
                await send(to)
                done += 1
            except ApprovalTimedOut:
                continue
        return done

    async with home.engine(sender) as engine, home.engine(sender) as other:
        runs = [await each.start(sender) for each in (engine, other, engine)]
        assert sum([await run.result() for run in runs]) == 3
        decided = [each for run in runs for each in await of(engine, run.id, AutonomyDecided)]
        assert sorted(each.cause for each in decided) == ["per_hour"] * 3 + ["tier"] * 3
        found = [each for run in runs for each in await of(engine, run.id, TrustRecorded)]
        transitions = [each for each in found if each.action == "autonomy.tier_transition"]
        assert [(each.outcome, each.enforcement, each.approver) for each in transitions] == [
            ("denied", "budget_exceeded", None)
        ] * 3
        for run in runs:
            assert (await engine.replay(run.id)).identical
        spent = await engine.store.read("autonomy/sender", 0, 100)
        assert len(spent) == len(DONE) == 3
        assert all(isinstance(engine.catalog.decode(each), AutonomySpent) for each in spent)


async def test_a_look_up_that_fails_denies(home: Home) -> None:
    program = under(Autonomy(tier="act_auto"))
    async with home.engine(program) as engine:
        broken = engine.catalog.new_event(
            AutonomySpent(agent="sender", run="r", op="0"), at=engine.clock.now()
        )._replace(type="trust.tier_changed", payload=b"\x81\xa5agent\xc0")
        await engine.store.append("trust/sender", 0, [broken])
        run = await engine.start(program)
        with pytest.raises(RunFailed, match="could not be looked up"):
            await run.result()
        assert await records(engine, run.id) == [("denied", "denied", "shadow")]
        assert "standing.failed" in await home.types(run.id)
        assert (await engine.replay(run.id)).identical
    assert not DONE


async def test_a_ceiling_is_asked_before_autonomy_and_an_approval_lifts_none(home: Home) -> None:
    program = under(Autonomy(tier="act_with_approval"), tools=["look"])
    async with home.engine(program) as engine:
        run = await engine.start(program)
        with pytest.raises(RunFailed, match="exceeds tool ceiling"):
            await run.result()
        assert not await of(engine, run.id, AutonomyDecided)


async def test_rules_that_want_an_approval_and_a_tier_ask_once(home: Home) -> None:
    program = under(
        Autonomy(tier="act_with_approval", reviewers=["ada"]),
        approval=ApprovalRules(require_approval=["send"]),
    )
    async with home.engine(program) as engine:
        run = await engine.start(program)
        request = await asked(engine, run.id)
        await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == "sent to ada"
        assert len(await of(engine, run.id, ApprovalRequested)) == 1
        assert (await engine.replay(run.id)).identical


async def test_what_people_edited_is_done_as_they_agreed_and_recorded_so(home: Home) -> None:
    program = under(Autonomy(tier="act_with_approval"))
    async with home.engine(program) as engine:
        run = await engine.start(program)
        request = await asked(engine, run.id)
        await run.answer(request.request, "approve", {"to": "cy"}, reviewer="ada")
        assert await run.result() == "sent to cy"
        (granted,) = await of(engine, run.id, ApprovalGranted)
        assert granted.edited
        assert await records(engine, run.id) == [("success", "approval_granted", "act_with_approval")]
        assert (await engine.replay(run.id)).identical
    assert DONE == ["cy"]


async def test_state_is_written_or_only_proposed_or_waits(home: Home) -> None:
    def keeps(tier: Any) -> Any:
        @persona(name="keeps", policy=Policy(autonomy=Autonomy(actions={"agent_state.write": tier})))
        async def keeps() -> Any:
            notes = await state("notes", "s1")
            made = await notes.write("plan.md", "first")
            return [isinstance(made, Proposed), await notes.read("plan.md")]

        return keeps

    shadow, asks = keeps("shadow"), keeps("act_with_approval")
    async with home.engine(shadow) as engine:
        run = await engine.start(shadow)
        assert await run.result() == [True, None]
        assert (await engine.replay(run.id)).identical
        (proposed,) = await of(engine, run.id, AutonomyProposed)
        assert (proposed.tool, proposed.action) == ("state.write", "agent_state.write")
    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = await asked(engine, run.id)
        edited = {"root": "notes", "session": "s1", "key": "plan.md", "content": "second"}
        await run.answer(request.request, "approve", edited, reviewer="ada")  # it cannot be edited
        await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == [False, "first"]
        assert await records(engine, run.id) == [("success", "approval_granted", "act_with_approval")]
        assert (await engine.replay(run.id)).identical


async def test_an_effect_whose_program_stopped_waiting_says_so(home: Home) -> None:
    gate = asyncio.Event()

    @tool(side_effect_level="network")
    async def hangs() -> None:
        await gate.wait()

    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto", actions={"send": "act_with_approval"})))
    async def sender() -> str:
        await race(hangs(), signal("enough"))
        await race(send("ada"), signal("enough"))
        return "gave up"

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        await until(lambda: _begun(engine, run.id))
        await run.signal("enough")
        await asked(engine, run.id)
        await run.signal("enough")
        assert await run.result() == "gave up"
        found = await of(engine, run.id, TrustRecorded)
        assert (await engine.replay(run.id)).identical
    assert [(each.tool, each.outcome, each.reason) for each in found] == [
        ("hangs", "failure", "nobody waits for it any more, and it may have happened"),
        ("send", "denied", "nobody waits for it any more"),
    ]


async def _begun(engine: Engine, run: str) -> bool:
    return bool(await of(engine, run, ToolRequested))


async def test_a_file_that_is_really_there_is_written_only_after_the_yes(home: Home, tmp_path: Path) -> None:
    place = tmp_path / "report.md"

    @tool(side_effect_level="workspace_write", kind="edit")
    async def save(text: str) -> None:
        place.write_text(text)

    @persona(policy=Policy(autonomy=Autonomy(actions={"fs.write": "act_with_approval"})))
    async def writer() -> None:
        await save("all is well")

    async with home.engine(writer) as engine:
        run = await engine.start(writer)
        request = await asked(engine, run.id)
        assert not place.exists()
        await run.answer(request.request, "approve", reviewer="ada")
        await run.result()
    assert place.read_text() == "all is well"


async def test_programs_without_autonomy_leave_no_event_of_it(home: Home) -> None:
    @persona(policy=Policy(tools=["send"]))
    async def sender() -> str:
        return await send("ada")

    run, _, _ = await lived(home, sender)
    types = await home.types(run)
    assert not [each for each in types if each.partition(".")[0] in ("autonomy", "trust", "standing")]


def test_a_crash_at_any_event_decides_nothing_twice_counts_nothing_twice_and_asks_nobody_twice() -> None:
    did: list[str] = []

    @tool(side_effect_level="network", effect="idempotent")
    async def tells(to: str) -> str:
        did.append(to)
        return to

    scope = Autonomy(
        tier="act_auto",
        actions={"send": "act_with_approval", "fs.write": "shadow"},
        reviewers=["ada", "bob", "cy"],
        quorum=2,
        per_day=3,
    )

    @tool(side_effect_level="workspace_write", kind="edit")
    async def save() -> str:
        raise AssertionError

    @persona(policy=Policy(autonomy=scope))
    async def sender() -> list[Any]:
        made: Any = await save()
        return [await tells("one"), await send("ada"), made.tool, await tells("two")]

    async def once(engine: Engine) -> tuple[str, Any]:
        run = await engine.start(sender)
        request = (await asked(engine, run.id)).request
        for reviewer in ("cy", "ada"):
            await run.answer(request, "approve", reviewer=reviewer)
        return run.id, await run.result()

    log = MemoryLog()
    run, result = play(log, once, personas=[sender])
    assert result == ["one", "sent to ada", "save", "two"]
    events = log.streams[RUN + run]
    kinds = ("autonomy.decided", "trust.recorded", "approval.requested", "approval.granted", "tool.completed")
    for length in range(1, len(events)):
        shorter = cut(log, run, length)
        DONE.clear()

        async def resume(engine: Engine) -> tuple[str, Any]:
            await engine.recover()
            for op, fact in await engine.facts_of(run):
                if isinstance(fact, ToolRequested) and fact.tool == "send" and op in await in_doubt(engine):
                    await engine.resolve(run, op, "retry")
            found = await engine.result(run)
            assert (await engine.replay(run)).identical
            spent = await engine.store.read("autonomy/sender", 0, 100)
            return found, len(spent)

        async def in_doubt(engine: Engine) -> set[str]:
            return set((await engine.notes_of(run)).in_doubt)

        assert play(shorter, resume, personas=[sender]) == (result, 2)
        again = [event.type for event in shorter.streams[RUN + run]]
        assert [again.count(kind) for kind in kinds] == [4, 4, 1, 1, 3]
        assert len(DONE) <= 1
