"""What a fork must not do, whatever it is made from: use up a yes twice, act unallowed, tell a secret."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from playhead import (
    ApprovalRules,
    ArgConstraint,
    Autonomy,
    Engine,
    Moment,
    Policy,
    Reply,
    Request,
    ToolRejected,
    child_run,
    hook,
    model_call,
    persona,
    state,
    tool,
)
from playhead.errors import ApprovalDenied, BadEvent, BadValue, ForkUnavailable, ProgramError
from playhead.events.approval import AnswerSent, ApprovalRequested
from playhead.events.autonomy import TrustRecorded
from playhead.events.catalog import EffectWithheld, OperationOutcomeUnknown, RunStarted
from playhead.events.codec import CATALOG
from playhead.events.words import NOTHING
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.replay.edits import Edits
from playhead.runtime.approving import request_of
from playhead.runtime.mailbox import post
from playhead.runtime.starting import id_of_key
from playhead_projections.trust_graph.graph import chained_events

SENT: list[str] = []


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    SENT.clear()


@tool(side_effect_level="network")
async def send(to: str) -> str:
    SENT.append(to)
    return f"sent to {to}"


@persona(policy=Policy(approval=ApprovalRules(require_approval=["send"])))
async def mails(to: str) -> str:
    try:
        return await send(to)
    except ApprovalDenied as error:
        return f"no: {error.message}"


def engine(log: MemoryLog, *personas: Any, **options: Any) -> Any:
    return Engine.open(MemoryStore(log=log), personas=personas, **options)


def events(log: MemoryLog, run: str) -> list[Event]:
    return log.streams[f"run/{run}"]


def place(log: MemoryLog, run: str, kind: str) -> int:
    return next(event.seq for event in events(log, run) if event.type == kind)


def found(log: MemoryLog, run: str, kind: Any) -> list[Any]:
    return [fact for fact in map(CATALOG.decode, events(log, run)) if isinstance(fact, kind)]


async def until(log: MemoryLog, run: str, kind: Any) -> Any:
    async with asyncio.timeout(5):
        while not found(log, run, kind):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return found(log, run, kind)[0]


async def mailed(word: Any = "approve") -> tuple[MemoryLog, str]:
    """A run that asked for one mail, and was answered."""
    log = MemoryLog()
    async with engine(log, mails) as live:
        run = await live.start(mails, "ada")
        asked = await until(log, run.id, ApprovalRequested)
        await run.answer(asked.request, word, reviewer="bob", reason="well")
        await run.result()
    SENT.clear()
    return log, run.id


# -------------------------------------------------------------------- approvals


async def test_a_yes_serves_for_the_call_that_the_tape_answers() -> None:
    log, run = await mailed()

    async with engine(log, mails) as live:
        fork = await live.fork(run)
        assert await fork.result() == "sent to ada"
        assert (await live.replay(fork.id)).identical
    assert SENT == []


@pytest.mark.parametrize("kind", ["approval.answered", "approval.granted", "tool.requested"])
async def test_a_yes_is_not_used_up_twice(kind: str) -> None:
    log, run = await mailed()
    old = found(log, run, ApprovalRequested)[0]
    given = next(
        fact for fact in map(CATALOG.decode, log.streams[f"mailbox/{run}"]) if isinstance(fact, AnswerSent)
    )

    async with engine(log, mails) as live:
        fork = await live.fork(run, at=place(log, run, kind), allow=["all"])
        asked = await until(log, fork.id, ApprovalRequested)
        assert asked.request != old.request
        assert asked.digest == old.digest
        await post(live.store, live.catalog, fork.id, given)  # the old answer, said to the fork
        await live.look(fork.id)
        await asyncio.sleep(0.05)
        assert SENT == []
        await fork.answer(asked.request, "approve", reviewer="eve")
        assert await fork.result() == "sent to ada"
    assert SENT == ["ada"]


@pytest.mark.parametrize(
    ("was", "edit"),
    [("deny", {"word": "approve"}), ("approve", {"word": "approve", "value": {"to": "eve"}})],
)
async def test_an_edited_yes_sends_nothing_and_is_refused_where_it_would(was: str, edit: Any) -> None:
    log, run = await mailed(was)
    at = place(log, run, "approval.answered")
    asked = place(log, run, "approval.requested")
    call = log.streams[f"run/{run}"][asked].op.removesuffix("/approval")

    async with engine(log, mails) as live:
        with pytest.raises(BadValue, match="only people say yes"):
            await live.plan_fork(run, edits=Edits(outcomes={f"@{at}": edit}), allow=["all"])
        if was == "approve":
            told = Edits(outcomes={f"@{at}": edit, call: "not sent"})
            fork = await live.fork(run, edits=told, allow=["all"])
            assert await fork.result() == "not sent"
            assert found(log, fork.id, RunStarted)[0].forked.edits[0].event == at
    assert SENT == []


async def test_an_edited_no_is_a_no() -> None:
    log, run = await mailed()
    at = place(log, run, "approval.answered")

    async with engine(log, mails) as live:
        fork = await live.fork(run, edits=Edits(outcomes={f"@{at}": {"word": "deny", "reason": "never"}}))
        assert await fork.result() == "no: never"


async def test_another_call_needs_another_yes() -> None:
    log, run = await mailed()

    async with engine(log, mails) as live:
        fork = await live.fork(run, edits=Edits(args={"to": "mallory"}), allow=["all"])
        await until(log, fork.id, ApprovalRequested)
        await asyncio.sleep(0.05)
    assert SENT == []


# ------------------------------------------------------------------ around it


class Client:
    name = "client"

    async def complete(self, request: Request) -> Reply:
        SENT.append(request.prompt)
        return Reply(text="fine")


@persona
async def child(to: str) -> str:
    return await send(to)


@persona
async def parent(to: str) -> str:
    return await child_run(child, to)


async def test_a_child_of_a_fork_stands_behind_the_same_fence() -> None:
    log = MemoryLog()
    async with engine(log, parent, child) as live:
        run = await live.start(parent, "ada")
        await run.result()
        SENT.clear()
        fork = await live.fork(run.id, at=0)
        assert (await live.ending(fork.id)).status == "failed"
        (whose,) = [
            name for name in log.streams if name.startswith("run/") and name[4:] not in (run.id, fork.id)
        ][1:]
        assert [fact.name for fact in found(log, whose[4:], EffectWithheld)] == ["send"]
        assert SENT == []
        again = await live.fork(run.id, at=0, allow=["send"])
        assert await again.result() == "sent to ada"
    assert SENT == ["ada"]


async def test_a_fork_of_all_of_a_parent_asks_no_child() -> None:
    log = MemoryLog()
    async with engine(log, parent, child) as live:
        run = await live.start(parent, "ada")
        await run.result()
        runs = len(log.streams)
        fork = await live.fork(run.id)
        assert await fork.result() == "sent to ada"
        assert len(log.streams) == runs + 2  # the fork, and the mailbox of its source
    assert SENT == ["ada"]


async def test_a_hook_of_a_fork_asks_no_model() -> None:
    @hook("PreToolUse")
    async def judge(moment: Moment) -> None:
        await model_call(Request(prompt="may it?"))

    log = MemoryLog()
    async with engine(log, child, hooks=[judge], model=Client()) as live:
        run = await live.start(child, "ada")
        await run.result()
        SENT.clear()
        fork = await live.fork(run.id, at=0, allow=["send"])
        assert (await live.ending(fork.id)).status == "failed"
        assert SENT == []
        again = await live.fork(run.id, at=0, allow=["send", "model"])
        assert await again.result() == "sent to ada"
    assert SENT == ["may it?", "ada"]


async def test_no_secret_is_told_by_the_record_of_an_edit() -> None:
    @persona
    async def logs_in(token: str) -> str:
        return token

    log = MemoryLog()
    async with engine(log, logs_in, secrets=["token"]) as live:
        run = await live.start(logs_in, "hunter2")
        await run.result()
        whole = await live.fork(run.id)
        other = await live.fork(run.id, edits=Edits(overrides={"secret:token": "hunter3"}), allow=["all"])
        assert (await whole.result()).startswith("playhead:redacted:")
        assert await other.result() != await whole.result()
    told = b"".join(event.payload or b"" for stream in log.streams.values() for event in stream)
    assert b"hunter" not in told


# -------------------------------------------------------------------- odd tapes


async def test_a_relaxed_run_is_refused() -> None:
    @persona(mode="relaxed")
    async def at_ease() -> int:
        return 1

    log = MemoryLog()
    async with engine(log, at_ease) as live:
        run = await live.start(at_ease)
        await run.result()
        with pytest.raises(ProgramError, match="relaxed"):
            await live.fork(run.id)


async def test_a_run_that_failed_and_one_that_was_cancelled_fork_to_the_same_end() -> None:
    @persona
    async def breaks() -> None:
        raise ValueError("no")

    log = MemoryLog()
    async with engine(log, breaks, mails) as live:
        run = await live.start(breaks)
        assert (await live.ending(run.id)).status == "failed"
        fork = await live.fork(run.id)
        assert (await live.ending(fork.id)).failure.message == "no"
        waits = await live.start(mails, "ada")
        await until(log, waits.id, ApprovalRequested)
        await waits.cancel("enough")
        assert (await live.ending(waits.id)).status == "cancelled"
        other = await live.fork(waits.id)
        ending = await live.ending(other.id)
        assert (ending.status, ending.reason) == ("cancelled", "enough")


async def test_a_run_that_is_still_going_can_be_forked_and_goes_on() -> None:
    log = MemoryLog()
    async with engine(log, mails) as live:
        run = await live.start(mails, "ada")
        asked = await until(log, run.id, ApprovalRequested)
        fork = await live.fork(run.id, allow=["send"])
        await until(log, fork.id, ApprovalRequested)
        await run.answer(asked.request, "approve", reviewer="bob")
        assert await run.result() == "sent to ada"
        mine = found(log, fork.id, ApprovalRequested)[0]
        await fork.answer(mine.request, "deny", reviewer="bob", reason="once is enough")
        assert await fork.result() == "no: once is enough"
    assert SENT == ["ada"]


async def test_an_effect_in_doubt_is_no_doubt_of_the_fork() -> None:
    log = MemoryLog()
    async with engine(log, child) as live:
        run = await live.start(child, "ada")
        await run.result()
    at = place(log, run.id, "tool.requested")
    stream = events(log, run.id)
    doubt = CATALOG.new_event(OperationOutcomeUnknown(attempt=1), at=stream[at].at, op=stream[at].op)
    stream[at + 1 :] = [stream[at]._replace(seq=at + 1, type=doubt.type, payload=doubt.payload)]
    SENT.clear()

    async with engine(log, child) as live:
        fork = await live.fork(run.id, allow=["send"])
        assert await fork.result() == "sent to ada"
    assert SENT == ["ada"]


async def test_what_was_erased_is_named_and_can_be_given() -> None:
    log = MemoryLog()
    async with engine(log, child) as live:
        run = await live.start(child, "ada")
        await run.result()
    at = place(log, run.id, "tool.completed")
    stream = events(log, run.id)
    stream[at] = stream[at]._replace(payload=None, salt=None)

    async with engine(log, child) as live:
        with pytest.raises(ForkUnavailable, match="0/send#0"):
            await live.fork(run.id)
        fork = await live.fork(run.id, edits=Edits(outcomes={"send#0": "as if"}))
        assert await fork.result() == "as if"
        plan = await live.plan_fork(run.id, mode="with_overrides")
        assert [(live.op, live.why) for live in plan.imagined.live] == [("0/send#0", "erased")]
    assert SENT == ["ada"]


async def test_a_tape_of_a_newer_playhead_is_refused() -> None:
    log = MemoryLog()
    async with engine(log, child) as live:
        run = await live.start(child, "ada")
        await run.result()
    stream = events(log, run.id)
    stream[2] = stream[2]._replace(
        type="tool.dreamt", payload=msgspec.msgpack.encode({"type": "tool.dreamt"})
    )

    async with engine(log, child) as live:
        with pytest.raises(BadEvent, match="newer playhead"):
            await live.fork(run.id)


async def test_two_engines_that_make_the_same_fork_at_once_make_one() -> None:
    log = MemoryLog()
    async with engine(log, child) as live:
        run = await live.start(child, "ada")
        await run.result()
    async with engine(log, child) as one, engine(log, child) as two:
        made = await asyncio.gather(
            *(each.fork(run.id, at=0, key="k", allow=["send"]) for each in (one, two))
        )
        assert made[0].id == made[1].id
        assert {await each.result() for each in made} == {"sent to ada"}
    assert SENT == ["ada", "ada"]  # the source's, and the fork's


async def test_a_fork_that_was_not_allowed_can_be_told_no_more_by_a_worker_that_takes_it_up() -> None:
    log = MemoryLog()
    async with engine(log, mails) as live:
        run = await live.start(mails, "ada")
        await until(log, run.id, ApprovalRequested)
        fork = await live.fork(run.id)
        asked = await until(log, fork.id, ApprovalRequested)
    async with engine(log, mails) as worker:
        await worker.recover()
        await worker.handle(fork.id).answer(asked.request, "approve", reviewer="bob")
        assert (await worker.ending(fork.id)).status == "failed"
    assert SENT == []


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
async def acts(to: str) -> str:
    return await send(to)


async def test_what_a_fork_has_from_its_source_is_evidence_of_trust_once() -> None:
    log = MemoryLog()
    async with engine(log, acts) as live:
        run = await live.start(acts, "ada")
        await run.result()
        before = len(list(chained_events(log.events)))
        whole = await live.fork(run.id)
        await whole.result()
        assert len(list(chained_events(log.events))) == before > 0
        fresh = await live.fork(run.id, at=0, allow=["all"])
        await fresh.result()
        assert (await live.replay(whole.id)).identical
    assert len(list(chained_events(log.events))) == 2 * before


async def test_an_effect_that_a_fork_withholds_is_denied_and_no_failure_of_its_agent() -> None:
    log = MemoryLog()
    async with engine(log, acts) as live:
        run = await live.start(acts, "ada")
        await run.result()
        fork = await live.fork(run.id, at=0)
        assert (await live.ending(fork.id)).status == "failed"

        (told,) = found(log, fork.id, TrustRecorded)

        assert (told.outcome, told.enforcement, told.copied) == ("denied", "denied", False)
        assert told.reason.startswith("ForkDenied: send is not carried out")
        assert (await live.replay(fork.id)).identical


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
async def acts_twice(to: str) -> list[str]:
    return [await send(to), await send(f"{to} again"), await send("bob")]


@pytest.mark.parametrize("ready", [False, True])
async def test_a_fork_that_was_only_told_of_effects_is_no_evidence_of_trust(ready: bool) -> None:
    log = MemoryLog()
    async with engine(log, acts_twice) as live:
        run = await live.start(acts_twice, "ada")
        await run.result()
        before = len(list(chained_events(log.events)))
        SENT.clear()
        if ready:  # the second call is another one and happens, the third is answered from the tape
            fork = await live.fork(run.id, edits=Edits(args={"to": "eve"}), allow=["send"])
        else:  # it is told last that the second was made
            done = [event.seq for event in events(log, run.id) if event.type == "tool.completed"]
            fork = await live.fork(run.id, at=done[1], allow=["send"])

        await fork.result()

        assert len(list(chained_events(log.events))) == before + len(SENT)
        assert (["eve", "eve again"] if ready else ["bob"]) == SENT
        told = found(log, fork.id, TrustRecorded)
        assert [fact.copied for fact in told] == ([False, False, True] if ready else [True, True, False])
        assert (await live.replay(fork.id)).identical


async def test_an_answer_that_was_mailed_ahead_of_every_request_serves_no_fork() -> None:
    log, run = await mailed()
    forked = id_of_key("known ahead")
    digest = found(log, run, ApprovalRequested)[0].digest
    ahead = request_of("approval", forked, "0/send#0/approval", digest)

    async with engine(log, mails) as live:
        again = await live.start(mails, "ada", key="again")
        await until(log, again.id, ApprovalRequested)
        forged = AnswerSent(request=ahead, word="approve", reviewer="mallory", value=Raw(NOTHING))
        await post(live.store, live.catalog, again.id, forged)
        await live.look(again.id)
        await asyncio.sleep(0.05)
        assert "approval.answered" in [event.type for event in events(log, again.id)]
        fork = await live.fork(again.id, key="known ahead", allow=["all"])
        asked = await until(log, fork.id, ApprovalRequested)
        await asyncio.sleep(0.05)
        assert asked.request == ahead
    assert SENT == []


async def test_a_yes_to_what_a_policy_then_refused_needs_nobody_again() -> None:
    rule = ArgConstraint(tool="send", arg_key="to", arg_patterns=["ada"])

    @persona(policy=Policy(approval=ApprovalRules(require_approval=["send"]), tool_arg_constraints=[rule]))
    async def bounded() -> str:
        try:
            return await send("ada")
        except ToolRejected as error:
            return error.verdict

    log = MemoryLog()
    async with engine(log, bounded) as live:
        run = await live.start(bounded)
        asked = await until(log, run.id, ApprovalRequested)
        await run.answer(asked.request, "approve", {"to": "mallory"}, reviewer="bob")
        said = await run.result()
        fork = await live.fork(run.id)
        assert await fork.result() == said
    assert SENT == []


@persona
async def hands_on(task: str) -> list[int]:
    notes = await state("notes", "shared")
    mine = await state("notes")
    await mine.write("plan", task)
    kept = await notes.handoff({"task": task, "kind": "agent_handoff"})
    return [kept.version, (await notes.write("done", task)).version]


async def test_state_that_names_its_run_is_the_same_question_in_a_fork() -> None:
    log = MemoryLog()
    async with engine(log, hands_on) as live:
        run = await live.start(hands_on, "x")
        assert await run.result() == [1, 1]
        fork = await live.fork(run.id)
        assert await fork.result() == [1, 1]
        assert (await live.replay(fork.id)).identical
        other = await live.fork(run.id, at=place(log, run.id, "state.requested"))
        assert (await live.ending(other.id)).status == "failed"  # it may write its own session, and no other
        assert [fact.name for fact in found(log, other.id, EffectWithheld)] == ["state.handoff"]


@persona
async def reads(session: str) -> list[str]:
    return await (await state("notes", session)).list()


async def test_a_session_that_is_not_there_is_not_opened_and_the_plan_says_so() -> None:
    log = MemoryLog()
    async with engine(log, reads) as live:
        run = await live.start(reads, "known")
        assert await run.result() == []
        for session, allow, verdict, status in (
            ("known", [], "live", "completed"),
            ("fresh", [], "withheld", "failed"),
            ("fresh", ["state"], "live", "completed"),
        ):
            edits = Edits(args={"session": session})
            plan = await live.plan_fork(run.id, at=0, edits=edits, allow=allow)
            assert [plan.verdict(each) for each in plan.imagined.live] == [verdict]
            fork = await live.fork(run.id, at=0, edits=edits, allow=allow)
            assert (await live.ending(fork.id)).status == status
            withheld = found(log, fork.id, EffectWithheld)
            assert [fact.name for fact in withheld] == ["state.init"] * (verdict == "withheld")


async def test_a_hook_that_is_told_of_requests_is_no_other_question_in_a_fork() -> None:
    @hook("OnApprovalRequested")
    async def hears(moment: Moment) -> None:
        SENT.append(moment.event)

    log = MemoryLog()
    async with engine(log, mails, hooks=[hears]) as live:
        run = await live.start(mails, "ada")
        asked = await until(log, run.id, ApprovalRequested)
        await run.answer(asked.request, "approve", reviewer="bob")
        await run.result()
        SENT.clear()
        fork = await live.fork(run.id)
        assert await asyncio.wait_for(fork.result(), 5) == "sent to ada"
    assert SENT == []
