"""Why an event is there: each kind of cause is found, the chain ends where the run began, and never loops."""

import asyncio
from pathlib import Path

import pytest
from msgspec import Raw

from playhead import Binding, Dispatcher, Engine, Trigger, persona, signal, sleep
from playhead.errors import NotFound
from playhead.events import approval as approvals
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.events.state import StateCompleted, StateWritten
from playhead.events.words import GrantWords
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead_projections.why import MAIN, Why, why
from tests import long_run
from tests.projections.everything import Desk, recorded_fact
from tests.projections.recorded import erase, started, write

NOTHING = Raw(b"\xc0")


def at(path: Path, run: str, type_: str, number: int = 0) -> int:
    """The seq of the `number`-th event of a type."""
    with LogReader(path) as log:
        return [event.seq for event in log.scan(f"run/{run}") if event.type == type_][number]


def of(path: Path, run: str, seq: int) -> Why:
    with LogReader(path) as log:
        return why(log, run, seq)


def chain(told: Why) -> list[str]:
    return [link.event.type for link in told.links]


def beside(told: Why, number: int = 0) -> list[tuple[str, str]]:
    """What stands beside a link: relation, and the type of the event."""
    return [
        (reason.relation, told.beside[reason.stream, reason.seq].type)
        for reason in told.links[number].because
        if reason.relation not in MAIN
    ]


def test_an_outcome_is_there_because_it_was_asked_for_by_a_line_in_a_step(desk: Desk) -> None:
    told = of(desk.path, desk.run, at(desk.path, desk.run, "model.answered"))

    answered, called = told.links[:2]
    assert answered.because[0].relation == "answers"
    assert called.event.type == "model.called"
    assert called.step == "judge"
    assert called.site is not None
    assert called.site.startswith("tests.projections.everything:judge:")


def test_a_program_goes_on_because_of_what_it_was_told_last_and_had_been_told_before(desk: Desk) -> None:
    fired = at(desk.path, desk.run, "hook.fired")

    told = of(desk.path, desk.run, fired)

    assert told.links[0].because[0].relation == "told"
    assert told.links[1].event.type == "tool.completed"
    assert beside(told) == [("had_been_told", "tool.completed")] * 2


def test_what_comes_before_a_step_is_not_in_it(desk: Desk) -> None:
    told = of(desk.path, desk.run, at(desk.path, desk.run, "model.answered"))

    assert [link.step for link in told.links if link.event.type == "hook.fired"] == [None]


def test_what_others_did_meanwhile_hides_nothing_that_was_told_before(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    done = facts.ToolCompleted(result=NOTHING)
    ask = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="read_only")
    step = facts.StepStarted(step="s", function="s", args=Raw(b"\x80"))

    def new(op: str, fact: Fact, cause: int | None) -> NewEvent:
        return CATALOG.new_event(fact, at=1, op=op, cause=cause)

    write(path, "r", started(), ("0.1/s#0", step), ("0.2/s#0", step))
    write(path, "r", ("0.1/s#0/t#0", ask), ("0.2/s#0/t#0", ask))  # 3, 4
    write(path, "r", new("0.1/s#0/t#0", done, 3), new("0.1/s#0/t#1", ask, 5))  # 5, 6
    write(path, "r", new("0.2/s#0/t#0", done, 4), new("0.1/s#0/t#1", done, 6))  # 7, 8
    write(path, "r", new("0.1/s#0", facts.StepCompleted(step="s", result=NOTHING), 8))  # 9
    write(path, "r", new("0/t#0", ask, 8))  # 10

    (link, *_) = of(path, "r", 10).links
    assert [(each.relation, each.seq) for each in link.because] == [
        ("told", 8),
        ("had_been_told", 7),
        ("had_been_told", 5),
    ]
    (inner, *_) = of(path, "r", 9).links
    assert [(each.relation, each.seq) for each in inner.because] == [("told", 8), ("in_step", 1)]


def test_an_approved_call_names_decision_yes_and_who_sent_it(desk: Desk) -> None:
    told = of(desk.path, desk.run, at(desk.path, desk.run, "trust.recorded"))

    assert chain(told)[:6] == [
        "trust.recorded",
        "tool.completed",
        "tool.requested",
        "approval.answered",
        "approval.requested",
        "signal.received",
    ]
    assert beside(told, 2) == [("agreed", "approval.granted"), ("decided", "autonomy.decided")]
    assert beside(told, 3) == [("sent_by", "answer.sent")]
    assert beside(told, 5) == [("sent_by", "signal.sent")]
    assert told.links[6].event.type == "wait.started"


def test_a_yes_that_counted_stands_beside_the_grant(desk: Desk) -> None:
    told = of(desk.path, desk.run, at(desk.path, desk.run, "approval.granted"))

    assert ("agreed_by", "approval.answered") in beside(told)


def test_who_said_something_that_did_not_count_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    asked = approvals.ApprovalRequested(
        request="q", kind="approval", action="go", digest="", args=NOTHING, detail=NOTHING, principal="p"
    )

    def says(who: str, request: str = "q") -> tuple[str, Fact]:
        return "", approvals.ApprovalAnswered(
            request=request, word="approve", reviewer=who, value=NOTHING, message=0, said_at=1
        )

    granted = approvals.ApprovalGranted(
        request="q", digest="", args=NOTHING, granted=(GrantWords(reviewer="ada", said_at=1),)
    )
    write(path, "r", started(), ("0/a#0", asked), says("eve"), says("ada", "other"), says("ada"))
    write(path, "r", ("0/a#0", granted))

    (link, *_) = of(path, "r", 5).links

    assert [each.seq for each in link.because if each.relation == "agreed_by"] == [4]


def test_a_denied_call_names_the_stage_that_bounds_it(desk: Desk) -> None:
    told = of(desk.path, desk.run, at(desk.path, desk.run, "tool.denied"))

    assert ("under", "stage.entered") in beside(told)


def test_another_attempt_names_the_one_that_failed(desk: Desk) -> None:
    told = of(desk.path, desk.run, at(desk.path, desk.run, "attempt.started"))

    assert told.links[1].event.type == "tool.requested"
    assert beside(told) == [("retries", "attempt.finished"), ("in_step", "step.started")]


def test_state_that_was_read_names_the_version_and_its_writer(desk: Desk) -> None:
    told = of(desk.path, desk.run, at(desk.path, desk.run, "state.completed", 2))

    assert ("written_by", "state.written") in beside(told)


def test_a_child_run_goes_on_into_its_parent_and_a_parent_names_the_end_of_its_child(desk: Desk) -> None:
    told = of(desk.path, desk.child, at(desk.path, desk.child, "run.completed"))

    assert "child.requested" in chain(told)
    assert told.links[-1].event.stream == f"run/{desk.run}"
    back = of(desk.path, desk.run, at(desk.path, desk.run, "child.completed"))
    assert ("child_ended", "run.completed") in beside(back)


def test_every_chain_of_the_run_ends_at_its_start_and_goes_back_only(desk: Desk) -> None:
    with LogReader(desk.path) as log:
        end = log.head(f"run/{desk.run}").seq

    for seq in range(end):
        told = of(desk.path, desk.run, seq)
        seqs = [link.event.seq for link in told.links]
        assert told.complete
        assert seqs[0] == seq
        assert seqs == sorted(set(seqs), reverse=True)
        assert chain(told)[-1] == "run.started"


def test_a_chain_that_is_cut_says_how_long_it_is(desk: Desk) -> None:
    seq = at(desk.path, desk.run, "run.completed")

    with LogReader(desk.path) as log:
        whole, cut = why(log, desk.run, seq), why(log, desk.run, seq, limit=3)

    assert [link.event.seq for link in cut.links] == [link.event.seq for link in whole.links[:3]]
    assert cut.left_out == len(whole.links) - 3


def test_an_event_that_is_not_there_is_not_found(desk: Desk) -> None:
    with LogReader(desk.path) as log, pytest.raises(NotFound):
        why(log, desk.run, 10_000)


@persona
async def triage(issue: int = 0) -> int:
    return issue


def test_the_work_of_a_persona_on_duty_goes_back_to_what_triggered_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    async def go() -> str:
        async with Engine.open(path) as engine:
            duty = Dispatcher(engine, [Binding(triage)])
            await duty.trigger("triage", Trigger("tracker", {"issue": 6}, source_event_id="e-0"))
            await duty.trigger("triage", Trigger("tracker", {"issue": 7}, source_event_id="e-1"))
            receipts = await duty.tick("triage")
            receipts += await duty.tick("triage")
            return str(receipts[-1].run)

    run = asyncio.run(go())
    told = of(path, run, at(path, run, "run.completed"))

    assert chain(told) == ["run.completed", "run.started", "work.started", "trigger.received"]
    assert told.complete
    with LogReader(path) as log:
        (trigger,) = log.read("persona/triage", told.links[-1].event.seq, 1)
    assert getattr(CATALOG.decode(trigger), "source_event_id", "") == "e-1"


# Runs that somebody made up, and runs that were interrupted.


def test_a_crash_stands_beside_what_was_taken_up_after_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    claim = facts.RunClaimed(worker="w", pid=1, host="h")
    asked = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="read_only")
    write(
        path,
        "r",
        started(),
        ("", claim),
        ("0/t#0", asked),
        ("", claim),
        ("", facts.RunResumed(after="crash")),
    )
    write(path, "r", ("0/t#0", facts.AttemptStarted(attempt=2, reason="resume")))

    told = of(path, "r", 5)

    assert chain(told)[:2] == ["attempt.started", "tool.requested"]
    assert beside(told) == [("taken_up_after", "run.resumed")]
    assert chain(of(path, "r", 4)) == ["run.resumed", "run.claimed", "tool.requested", "run.started"]


def test_an_answer_for_what_was_in_doubt_is_found_with_who_sent_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    claim = facts.RunClaimed(worker="w", pid=1, host="h")
    asked = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="effect")
    write(path, "r", started(), ("", claim), ("0/t#0", asked), ("", claim))
    write(path, "r", ("0/t#0", facts.OperationOutcomeUnknown(attempt=1)))
    write(path, "r", ("0/t#0", facts.OperationResolved(action="value", by="eve", message=None)))
    write(path, "r", ("0/t#0", facts.ToolCompleted(result=NOTHING, resolved_by="eve")))

    told = of(path, "r", 6)

    assert beside(told) == [("resolved_by", "operation.resolved")]
    doubt = of(path, "r", 4)
    assert beside(doubt) == [("died_under", "run.claimed")]
    (under,) = [each for each in doubt.links[0].because if each.relation == "died_under"]
    assert under.seq == 1  # and not who came after it


def test_a_signal_that_came_before_its_wait_leads_to_the_start(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    came = facts.SignalReceived(signal="go", value=NOTHING, message=0)
    write(path, "r", started(), ("", came), ("0/go#0", facts.WaitStarted(signal="go")), ("", came))

    assert chain(of(path, "r", 1)) == ["signal.received", "run.started"]
    # The first was taken by the wait when it began, so the second is nobody's yet.
    assert chain(of(path, "r", 3)) == ["signal.received", "run.started"]


def test_an_event_that_nobody_can_read_has_its_place_in_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    types = [
        ("run.started", ""),
        ("run.claimed", ""),
        ("tool.requested", "0/t#0"),
        ("tool.completed", "0/t#0"),
    ]
    write(path, "r", *(NewEvent(type_, 1, n, op, None, b"\xc1") for n, (type_, op) in enumerate(types, 1)))

    assert chain(of(path, "r", 3)) == ["tool.completed", "tool.requested", "run.started"]


@persona
async def asking_soon() -> str:
    await sleep(0.001)
    told: str = await signal("go", str)
    return told


def test_an_interrupted_run_that_really_was_is_told_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    async def go() -> str:
        async with Engine.open(path, personas=[asking_soon]) as engine:
            run = await engine.start(asking_soon)
            await recorded_fact(engine, run.id, facts.WaitStarted)
        async with Engine.open(path, personas=[asking_soon]) as engine:
            await engine.resume(run.id)
            await engine.signal(run.id, "go", "now", sender="dora")
            assert await engine.handle(run.id).result() == "now"
        return run.id

    run = asyncio.run(go())
    with LogReader(path) as log:
        end = log.head(f"run/{run}").seq

    told = of(path, run, end - 1)

    assert chain(told)[:3] == ["run.completed", "signal.received", "wait.started"]
    assert told.complete
    assert all(of(path, run, seq).complete for seq in range(end))


def test_every_link_of_a_longer_run_is_complete(tmp_path: Path) -> None:
    check_long(tmp_path / "runs.db", 2_000)


@pytest.mark.long
def test_every_link_of_a_run_of_a_hundred_thousand_events_is_complete(tmp_path: Path) -> None:
    check_long(tmp_path / "runs.db", 100_000)


def check_long(path: Path, events: int) -> None:
    run = long_run.recorded(path, events)

    with LogReader(path) as log:
        end = log.head(f"run/{run}").seq
        for seq in range(0, end, end // 10):
            told = why(log, run, seq)
            assert told.complete
            assert told.links[-1].event.type == "run.started"
        for type_ in ("standing.found", "state.completed", "tool.completed", "model.answered"):
            for event in log.read(f"run/{run}", 0, 5, types=(type_,)):
                (link, *_) = why(log, run, event.seq).links
                assert (link.because[0].relation, link.because[0].seq) == ("answers", event.cause)
        for event in log.read(f"run/{run}", end - 300, 40, types=("state.completed",)):
            fact = CATALOG.decode(event)
            assert isinstance(fact, StateCompleted)
            for each in why(log, run, event.seq).links[0].because:
                if each.relation == "written_by":
                    written = CATALOG.decode(log.read(each.stream, each.seq, 1)[0])
                    assert isinstance(written, StateWritten)
                    assert (written.version, written.op) == (fact.version, event.op)


def test_what_a_parent_was_told_is_the_end_of_the_child_and_not_an_erasure_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    asked = facts.ChildRequested(run="c", persona="p", args=Raw(b"\x90"))
    write(path, "c", started(), ("", facts.RunCompleted(result=NOTHING)))
    write(path, "r", started(), ("0/p#0", asked), ("0/p#0", facts.ChildCompleted(result=NOTHING)))
    erase(path, "c", 0)

    assert beside(of(path, "r", 2)) == [("child_ended", "run.completed")]
