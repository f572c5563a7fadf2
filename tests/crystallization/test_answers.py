"""What somebody answered is what a workflow goes on after, and nothing else."""

from typing import Any

import pytest

from playhead_projections.crystallization.answers import answers_of, unaccepted
from playhead_projections.crystallization.plans import Answer, Candidate
from playhead_projections.crystallization.shadow import shadow
from playhead_projections.trace import Action, Trace
from tests.crystallization.made import call, report, trace, write


def wait(answer: Any, name: str = "agree") -> Action:
    return Action(id="w", kind="signal", name=name, output=answer, side_effects_known=True, fuzzy=True)


def asked(n: int, answer: Any, **given: Any) -> Trace:
    return trace(
        f"t{n}", call("look", {"text": f"x{n}"}, n=n), wait(answer), write("save", n, text=f"x{n}", **given)
    )


def with_a_wait(*traces: Trace) -> Candidate:
    return next(each for each in report(*traces).candidates if len(each.steps) == 3)


@pytest.mark.parametrize(
    ("recorded", "other"),
    [
        ([True, True], [False, 1, "true", None, [True], {"value": True}]),
        (["yes", "ok"], ["no", "", "yes ", ["yes"]]),
        ([{"ok": True}, {"ok": True}], [{"ok": False}, {}, {"ok": True, "but": "not now"}, True, None]),
        (
            [{"ok": True, "by": "ada"}, {"ok": True, "by": "bob"}],
            [{"ok": False, "by": "ada"}, {"ok": True, "by": "eve"}],
        ),
        ([{"ok": True}, True], [{"ok": False}, False, {}]),
        ([[1], [2]], [[3], [1, 2], []]),
        ([{}, {}], [None, {"ok": False}]),
    ],
)
def test_an_answer_that_was_never_given_is_not_accepted(recorded: list[Any], other: list[Any]) -> None:
    answers = answers_of(recorded, set())

    assert [unaccepted(answers, value) for value in recorded] == [None, None]
    assert all(unaccepted(answers, value) is not None for value in other)


def test_an_answer_that_a_later_step_takes_may_be_another_one_of_its_shape() -> None:
    whole, member = (
        answers_of(["a", "b"], {()}),
        answers_of([{"ok": True, "to": "a"}, {"ok": True, "to": "b"}], {("to",)}),
    )

    assert whole == (Answer(path=(), what="shape", accepted=("text",)),)
    assert unaccepted(whole, "c") is None
    assert unaccepted(whole, False) == whole[0]
    assert unaccepted(member, {"ok": True, "to": "c"}) is None
    assert unaccepted(member, {"ok": False, "to": "c"}) == Answer(
        path=("ok",), what="value", accepted=(True,)
    )


def test_a_trace_with_another_answer_differs() -> None:
    candidate = with_a_wait(*(asked(n, True) for n in range(4)))

    verdict = shadow(candidate, asked(9, False))
    assert shadow(candidate, asked(8, True)).verdict == "same"
    assert (verdict.verdict, verdict.step, verdict.what) == ("different", 2, "answer")
    assert (verdict.expected, verdict.found) == ([True], False)


def test_answers_that_are_never_the_same_and_that_no_step_takes_reject_what_comes_after_them() -> None:
    candidate = with_a_wait(*(asked(n, f"fine, says {n}") for n in range(4)))

    assert candidate.kind == "rejected"
    assert candidate.reasons == ("the workflow differs from a held-out trace at step 2: answer",)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("ghp_" + "a1B2" * 9, "waits for an answer that was redacted"),
        (2**63, "does not fit in 64 bits"),
        ("yes " * 3_000, "was answered in too many ways"),
    ],
)
def test_an_answer_that_cannot_be_written_down_is_no_workflow(answer: Any, why: str) -> None:
    candidate = with_a_wait(*(asked(n, answer) for n in range(4)))

    assert candidate.kind == "rejected"
    assert why in candidate.reasons[0]
