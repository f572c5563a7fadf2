"""How a candidate is judged: its confidence, its risk, and whether a program can do it by itself."""

from typing import Any

import msgspec
import pytest

from playhead_projections.crystallization.mining import document_of, split
from playhead_projections.crystallization.plans import Flow
from playhead_projections.trace import Action, Approval, Trace
from tests.crystallization.made import ask, call, report, search_and_read, trace, write

FOUR = [search_and_read(n) for n in range(1, 5)]


def only(*traces: Trace, **options: Any) -> Any:
    """The best candidate, whatever its kind."""
    return report(*traces, **options).candidates[0]


def test_confidence_counts_the_traces_and_the_deterministic_steps() -> None:
    other = [trace("o", call("x", 1))]
    every, some = only(*FOUR), only(*FOUR, *other)

    assert every.confidence == 0.99
    assert some.confidence == round(0.65 * 4 / 5 + 0.35, 6)


@pytest.mark.parametrize(
    ("given", "explained"),
    [
        (lambda n: {"at": f"x{n}"}, 0),
        (lambda n: {"at": f"x{n}", "id": f"id{n}"}, 1 / 2),
        (lambda n: {"at": n}, 1),
        (lambda n: {"at": "here"}, 1),
        (lambda n: {}, 1),
        (lambda n: {"at": {"id": f"id{n}", "kind": "x", "n": f"x{n}"}, "to": "x"}, 3 / 4),
    ],
)
def test_confidence_counts_the_inputs_that_are_explained(given: Any, explained: float) -> None:
    """What is given anew to each step ties it to no other."""
    traces = [trace(f"t{n}", call("a", {"id": f"id{n}"}, n=n), call("b", **given(n))) for n in range(3, 7)]

    assert only(*traces).confidence == min(round(0.65 * explained + 0.35, 6), 0.99)


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("é", "e"),
        ("Über  Größe", "Uber_Groe"),
        ("日本", "workflow"),
        ("nightly_ledger_of_all_that_was_found_today", "nightly_ledger_of_all_that_was_found"),
        ("x" * 45, "x" * 40),
        ("7 days", "workflow_7_days"),
    ],
)
def test_a_name_is_as_near_to_what_was_asked_for_as_it_can(wish: str, name: str) -> None:
    assert only(*FOUR, name=wish).name == name


def test_a_step_that_does_different_things_is_rejected() -> None:
    traces = [trace(f"t{n}", call("a", n, n=n), (write if n == 1 else call)("b", n, n=n)) for n in range(3)]
    mined_from = {each.id for each in split(traces).mined}

    candidate = only(*traces)
    assert candidate.kind == "rejected"
    if "t1" in mined_from:
        assert "step 2 'b' has divergent side effects across examples" in candidate.reasons
    else:
        assert candidate.reasons == ("the workflow differs from a held-out trace at step 2: side_effects",)


def plans(*more: Action) -> list[Trace]:
    return [trace(f"t{n}", call("a", n, n=n), *more, call("c", n)) for n in range(3)]


def test_what_no_workflow_can_do_by_itself_is_a_plan() -> None:
    child = Action(id="x", kind="somebody", name="x", side_effects_known=True)

    found = report(*plans(child))
    (plan,) = [each for each in found.candidates if len(each.steps) == 3]
    assert (plan.kind, plan.segments) == ("plan_only", ())
    assert plan.reasons == ("step 2 'x' is a somebody, which no workflow can do by itself",)


def test_a_plan_never_holds_what_changes_the_world() -> None:
    unknown = Action(id="x", kind="child_run", name="x")

    (plan,) = [each for each in report(*plans(unknown)).candidates if len(each.steps) == 3]
    assert plan.kind == "rejected"
    assert "it does something to the world, and cannot be run" in plan.reasons


def test_a_step_that_needs_an_approval_is_not_done_without() -> None:
    asked = msgspec.structs.replace(call("b", 1), approval=Approval(required=True, prompt="May I?"))

    candidate = only(*plans(asked))
    assert candidate.kind == "plan_only"
    assert candidate.steps[1].approval == Approval(required=True, prompt="May I?")
    assert candidate.reasons == ("step 2 'b' needs an approval, which no snippet can ask for",)


@pytest.mark.parametrize(
    ("made", "secret", "risk"),
    [(call, False, "low"), (write, False, "medium"), (call, True, "medium"), (write, True, "high")],
)
def test_risk_counts_effects_and_secrets(made: Any, secret: bool, risk: str) -> None:
    more = {"password": "hunter2!"} if secret else {}
    traces = [trace(f"t{n}", made("a", n, n=n, **more), call("b", n)) for n in range(3)]

    assert only(*traces).risk == risk
    assert document_of(report(trace("x", call("a")), trace("y", call("b"))))["risk"] == "high"


def test_questions_and_models_stand_between_snippets() -> None:
    traces = [
        trace(f"t{n}", call("a", {"text": f"x{n}"}, n=n), ask(f"x{n}", f"y{n}"), write("b", n, text=f"y{n}"))
        for n in range(4)
    ]

    tools, fuzzy = sorted(report(*traces).candidates, key=lambda each: len(each.steps))
    assert (tools.kind, len(tools.parameters), fuzzy.kind, len(fuzzy.parameters)) == (
        "candidate",
        2,
        "candidate",
        1,
    )
    assert [step.segment for step in fuzzy.steps] == ["deterministic", "fuzzy", "deterministic"]
    assert fuzzy.steps[1].inputs == {"prompt": Flow(step=1, path=("text",))}
    assert [segment.steps for segment in fuzzy.segments] == [(1,), (3,)]
    assert tools.confidence == 0.35
    assert fuzzy.confidence == round(0.65 + 0.35 * 2 / 3, 6)
