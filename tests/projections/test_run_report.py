"""A report says what the events say: nothing more, nothing less, and unknown where they do not know."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events import words
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact, Failure
from playhead.events.words import Usage
from playhead.log.reader import LogReader
from playhead_projections import runs
from playhead_projections.accounts import name_of, tail_of
from playhead_projections.projector import state_at
from playhead_projections.run_report import Report, RunReport, document, in_doubt, waits
from playhead_projections.runs import Line, Runs
from tests.projections.recorded import audit, busy, erase, failing, mixed, parent, record, started, write

NOTHING = Raw(words.NOTHING)
EMPTY = Raw(b"\x80")


def reported(path: Path, *told: tuple[str, Fact]) -> Report:
    write(path, "a", *told)
    with LogReader(path) as log:
        return state_at(log, RunReport(), "run/a").state


def of_run(path: Path, start: tuple[Any, ...]) -> Report:
    (run,) = record(path, start)
    with LogReader(path) as log:
        return state_at(log, RunReport(), f"run/{run}").state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def requested(op: str, effect: Any = "effect") -> tuple[str, Fact]:
    return op, facts.ToolRequested(tool=tail_of(op).rpartition("#")[0], args=EMPTY, effect=effect)


CLAIMED: tuple[str, Fact] = ("", facts.RunClaimed(worker="w1", pid=7, host="h"))
RESUMED: tuple[str, Fact] = ("", facts.RunResumed(after="crash", deaths=1))


def test_every_operation_stands_in_the_step_that_asked_for_it(path: Path) -> None:
    report = of_run(path, (audit, [1, 2, 3]))

    shown = document(report)

    (summarise,) = shown["steps"]
    assert [step["name"] for step in summarise["steps"]] == ["ask"]
    assert [operation["op"] for operation in summarise["operations"]] == [
        "0/summarise#0.1/fetch#0",
        "0/summarise#0.2/fetch#0",
        "0/summarise#0.3/fetch#0",
    ]
    assert [operation["name"] for operation in summarise["steps"][0]["operations"]] == ["tiny"]
    assert [operation["name"] for operation in shown["operations"]] == ["publish"]
    assert shown["totals"]["operations"] == 5
    assert shown["totals"]["by_kind"] == {"model": 1, "tool": 4}


def test_attempts_and_retries_are_told_one_by_one(path: Path) -> None:
    report = of_run(path, (audit, [2]))

    fetch = report.operations["0/summarise#0.1/fetch#0"]

    assert [(one.number, one.reason, one.error is None) for one in fetch.attempts] == [
        (1, "first", False),
        (2, "retry", True),
    ]
    assert fetch.attempts[0].retry_in_ms is not None
    assert fetch.status == "completed"
    assert report.retries == 1


def test_use_is_counted_for_the_run_and_each_step_around_it(path: Path) -> None:
    report = of_run(path, (audit, [1]))

    used = {
        step.name: (step.used.model_calls, step.inclusive.cost_micros.value) for step in report.steps.values()
    }

    assert used == {"summarise": (0, 1210), "ask": (1, 1210)}
    assert report.used.document()["input_tokens"] == 300
    assert report.used.document()["cost_micros_unknown"] == 0


def test_unknown_use_is_null_and_counted_never_zero(path: Path) -> None:
    totals = document(of_run(path, (mixed,)))["totals"]

    assert (totals["model_calls"], totals["input_tokens"], totals["input_tokens_unknown"]) == (2, 300, 1)
    assert (totals["cost_micros"], totals["cost_micros_unknown"]) == (1210, 1)
    assert (totals["reasoning_tokens"], totals["reasoning_tokens_unknown"]) == (None, 2)


def test_a_model_call_in_flight_is_unknown_and_never_zero(path: Path) -> None:
    asked = ("0/m#0", facts.ModelCalled(client="m", model=None, request=NOTHING))

    used = [document(reported(path, started(), asked))["totals"]]
    with LogReader(path) as log:
        used.append(runs.document(state_at(log, Runs(), "run/a").state))

    for one in used:
        assert (one["model_calls"], one["input_tokens"], one["input_tokens_unknown"]) == (1, None, 1)
        assert (one["cost_micros"], one["cost_micros_unknown"]) == (None, 1)


def test_what_is_known_already_is_told_beside_a_call_in_flight(path: Path) -> None:
    usage = Usage(input_tokens=300)

    totals = document(
        reported(
            path,
            started(),
            ("0/m#0", facts.ModelCalled(client="m", model=None, request=NOTHING)),
            ("0/m#1", facts.ModelCalled(client="m", model=None, request=NOTHING)),
            ("0/m#0", facts.ModelAnswered(reply=NOTHING, usage=usage, cost_micros=5)),
        )
    )["totals"]

    assert (totals["input_tokens"], totals["input_tokens_unknown"]) == (300, 1)
    assert (totals["cost_micros"], totals["cost_micros_unknown"]) == (5, 1)
    assert (totals["output_tokens"], totals["output_tokens_unknown"]) == (None, 2)


def test_an_error_is_told_where_it_happened_with_its_causes(path: Path) -> None:
    shown = document(of_run(path, (failing,)))

    told = [(error["of"], error["type"], error["causes"]) for error in shown["errors"]]

    assert told[0] == ("model", "ConnectionError", [])
    assert told[1] == ("step", "RuntimeError", ["ConnectionError: the model is away"])
    assert told[2] == ("run", "RuntimeError", ["ConnectionError: the model is away"])
    assert shown["status"] == "failed"
    assert (shown["totals"]["cost_micros"], shown["totals"]["cost_micros_unknown"]) == (None, 1)


def test_values_races_timers_and_patches_are_there(path: Path) -> None:
    report = of_run(path, (busy,))

    kinds = document(report)["totals"]["by_kind"]
    cancelled = [
        operation.name for operation in report.operations.values() if operation.status == "cancelled"
    ]

    assert kinds == {"timer": 2, "tool": 1, "value": 1}
    assert cancelled == ["sleep"]
    assert (report.races, report.patches) == (1, ["new"])


def test_a_child_is_named_and_knows_its_parent(path: Path) -> None:
    report = of_run(path, (parent,))
    (child,) = report.operations.values()
    assert child.child is not None

    with LogReader(path) as log:
        life = state_at(log, RunReport(), f"run/{child.child}").state.life

    assert (life.parent, life.parent_op) == (report.life.run, child.op)


def test_an_effect_without_an_outcome_is_open_and_after_a_crash_in_doubt(path: Path) -> None:
    told = [started(), CLAIMED, requested("0/publish#0")]
    assert reported(path, *told).operations["0/publish#0"].status == "open"

    write(path, "a", CLAIMED, RESUMED, ("0/publish#0", facts.OperationOutcomeUnknown(attempt=1)))

    with LogReader(path) as log:
        report = state_at(log, RunReport(), "run/a").state
    assert [operation.op for operation in in_doubt(report)] == ["0/publish#0"]
    assert (report.life.deaths, report.life.resumes) == (1, 1)
    assert report.life.owner is not None


@pytest.mark.parametrize("unknown", [True, False])
def test_an_effect_whose_time_was_over_has_failed_and_may_have_happened(path: Path, unknown: bool) -> None:
    failure = Failure(type="ToolTimedOut", message="publish took longer than 5 s.", category="timeout")
    failed = facts.ToolFailed(failure=failure, outcome_unknown=unknown)
    report = reported(path, started(), requested("0/publish#0"), ("0/publish#0", failed))

    publish = report.operations["0/publish#0"]

    assert (publish.status, publish.outcome_unknown) == ("failed", unknown)
    assert not in_doubt(report)


def test_an_answer_ends_the_doubt_and_says_who_gave_it(path: Path) -> None:
    report = reported(
        path,
        started(),
        requested("0/publish#0"),
        ("0/publish#0", facts.OperationOutcomeUnknown(attempt=1)),
        ("0/publish#0", facts.OperationResolved(action="value", by="ada", message=0)),
        ("0/publish#0", facts.ToolCompleted(result=NOTHING, resolved_by="ada")),
    )

    publish = report.operations["0/publish#0"]

    assert (publish.status, publish.resolved_by) == ("completed", "ada")
    assert [(message.kind, message.name, message.sender) for message in report.mailbox] == [
        ("resolution", "value", "ada")
    ]
    assert not in_doubt(report)


def test_a_retried_doubt_is_open_again(path: Path) -> None:
    report = reported(
        path,
        started(),
        requested("0/publish#0"),
        ("0/publish#0", facts.OperationOutcomeUnknown(attempt=1)),
        ("0/publish#0", facts.OperationResolved(action="retry", by="ada", message=0)),
        ("0/publish#0", facts.AttemptStarted(attempt=2, reason="resolution")),
    )

    assert report.operations["0/publish#0"].status == "open"
    assert report.attempts == 2


def test_a_waiting_run_says_for_what(path: Path) -> None:
    report = reported(
        path,
        started(),
        ("0/approve#0", facts.WaitStarted(signal="approve")),
        ("0/sleep#0", facts.TimerSet(due=99, reason="sleep")),
        ("", facts.RunSuspended(waiting=["0/approve#0", "0/sleep#0"], wake_at=99)),
    )

    assert [(one.kind, one.name, one.due) for one in waits(report)] == [
        ("signal", "approve", None),
        ("timer", "sleep", 99),
    ]
    assert (report.life.status, report.life.wake_at, report.life.owner) == ("suspended", 99, None)


def test_a_signal_answers_the_oldest_wait_or_the_next(path: Path) -> None:
    def signal(value: int) -> tuple[str, Fact]:
        return "", facts.SignalReceived(signal="go", value=NOTHING, message=value)

    report = reported(
        path,
        started(),
        signal(0),
        ("0/go#0", facts.WaitStarted(signal="go")),
        ("0/go#1", facts.WaitStarted(signal="go")),
        ("0/go#2", facts.WaitStarted(signal="go")),
        signal(1),
    )

    assert [operation.status for operation in report.operations.values()] == [
        "completed",
        "completed",
        "open",
    ]
    assert [operation.ended_seq for operation in report.operations.values()] == [2, 5, None]


def test_a_cancelled_run_says_why_and_waits_for_nothing(path: Path) -> None:
    report = reported(
        path,
        started(),
        ("0/go#0", facts.WaitStarted(signal="go")),
        ("", facts.RunCancelRequested(message=0, reason="too dear", sender="ada")),
        ("0/go#0", facts.OperationCancelled()),
        ("", facts.RunCancelled(reason="too dear")),
    )

    assert (report.life.status, report.life.reason) == ("cancelled", "too dear")
    assert waits(report) == []
    assert report.mailbox[0].kind == "cancel"


def test_a_parked_and_a_diverged_run_say_so(path: Path, tmp_path: Path) -> None:
    parked = reported(
        path, started(), ("", facts.RunParked(deaths=6, last_op="0/x#0", last_type="tool.requested"))
    )
    diverged = reported(
        tmp_path / "other.db", started(), ("", facts.RunReleased(reason="diverged: no longer fits"))
    )

    assert (parked.life.status, parked.life.reason) == ("parked", "died 6 times at 0/x#0")
    assert diverged.life.status == "diverged"


def test_the_list_of_runs_agrees_with_the_reports(path: Path) -> None:
    record(path, (audit, [1, 2]), (mixed,), (failing,), (busy,), (parent,))

    with LogReader(path) as log:
        for stream in log.streams("run"):
            for seq in range(log.head(stream).seq):
                line: Line = state_at(log, Runs(), stream, seq).state
                report = state_at(log, RunReport(), stream, seq).state
                assert line.life == report.life
                assert line.used == report.used
                assert (line.operations, line.steps) == (len(report.operations), len(report.steps))


@pytest.mark.parametrize(
    ("op", "tail", "name"),
    [
        ("0/work#0.1/fetch#0", "fetch#0", "fetch"),
        ("0/map#0/item[a/b.c]/fetch#2", "fetch#2", "fetch"),
        ("0/fetch[https://x/y#1]", "fetch[https://x/y#1]", "fetch"),
        ("0/fetch[a[b]/c]", "fetch[a[b]/c]", "fetch"),
        ("0/timer#1", "timer#1", "timer"),
    ],
)
def test_an_id_gives_a_name_also_where_a_key_holds_slashes(op: str, tail: str, name: str) -> None:
    assert (tail_of(op), name_of(op)) == (tail, name)


def test_an_error_keeps_its_whole_chain(path: Path) -> None:
    deep = Failure(type="A", message="1", cause=Failure(type="B", message="2", cause=Failure(type="C")))

    report = reported(path, started(), ("", facts.RunFailed(failure=deep)))

    assert report.life.error is not None
    assert report.life.error.causes == ["B: 2", "C"]


def waiting(op: str, name: str) -> tuple[str, Fact]:
    return op, facts.WaitStarted(signal=name)


def signalled(name: str, message: int = 0) -> tuple[str, Fact]:
    return "", facts.SignalReceived(signal=name, value=NOTHING, message=message)


def test_an_erasure_is_no_sign_of_life(path: Path) -> None:
    before = reported(path, started(), CLAIMED, requested("0/t#0")).life.last_at
    erase(path, "a", 2)

    with LogReader(path) as log:
        line = state_at(log, Runs(), "run/a").state
        report = state_at(log, RunReport(), "run/a").state

    assert (report.life.last_at, line.life.last_at) == (before, before)
    assert report.life.events == 4


def test_a_wait_is_over_though_what_it_was_told_is_erased(path: Path) -> None:
    write(path, "a", started(), waiting("0/s#0/wait#0", "go"), signalled("go"), requested("0/t#0"))
    erase(path, "a", 2)

    with LogReader(path) as log:
        report = state_at(log, RunReport(), "run/a").state

    assert {each.op: each.status for each in report.operations.values()} == {
        "0/s#0/wait#0": "completed",
        "0/t#0": "open",
    }


def test_of_several_waits_the_one_is_over_where_the_program_went_on(path: Path) -> None:
    asks = (waiting("0.1/s#0/wait#0", "go"), waiting("0.2/s#0/wait#0", "stop"))
    went_on = CATALOG.new_event(requested("0.2/s#0/t#0")[1], at=9, op="0.2/s#0/t#0", cause=3)
    write(path, "a", started(), *asks, signalled("stop"))
    erase(path, "a", 3)
    with LogReader(path) as log:
        open_still = {each.op for each in waits(state_at(log, RunReport(), "run/a").state)}
    write(path, "a", went_on)

    with LogReader(path) as log:
        left = {each.op for each in waits(state_at(log, RunReport(), "run/a").state)}

    assert open_still == {"0.1/s#0/wait#0", "0.2/s#0/wait#0"}
    assert left == {"0.1/s#0/wait#0"}
