"""What a candidate leaves out is told, and nobody who was always asked before a write is left out."""

import ast
from typing import Any

import msgspec
import pytest

from playhead_projections.crystallization.plans import Candidate, LeftOut
from playhead_projections.crystallization.writing import workflow_of
from playhead_projections.trace import Action, Approval, Trace
from tests.crystallization.made import ask, call, report, trace, write


def wait(answer: Any = True, **changes: Any) -> Action:
    found = Action(id="w", kind="signal", name="agree", output=answer, side_effects_known=True, fuzzy=True)
    return msgspec.structs.replace(found, **changes)


APPROVED = Action(id="q", kind="question", name="q", approval=Approval(required=True, prompt="May I?"))


def tools_alone(traces: list[Trace], names: tuple[str, ...] = ("look", "save")) -> Candidate:
    """The candidate with these steps, whatever its kind."""
    return next(
        each for each in report(*traces).candidates if tuple(step.name for step in each.steps) == names
    )


def asked(*between: Action, some: int = 0, before: tuple[Action, ...] = ()) -> list[Trace]:
    """Six examples of a look and a save; the first `some` of them have nothing between."""
    return [
        trace(
            f"t{n}",
            *(before if n >= some else ()),
            call("look", {"text": f"x{n}"}, n=n),
            *(between if n >= some else ()),
            write("save", n, text=f"x{n}"),
        )
        for n in range(6)
    ]


@pytest.mark.parametrize(
    "traces",
    [
        asked(wait()),
        asked(ask("p", "t"), wait()),
        asked(before=(wait(),)),
        asked(before=(wait(), *(ask("p", "t") for _ in range(3)))),
        asked(APPROVED),
    ],
)
def test_what_somebody_was_always_asked_before_is_not_done_without(traces: list[Trace]) -> None:
    candidate = tools_alone(traces)

    assert (candidate.kind, candidate.confidence) == ("rejected", 0)
    assert (
        "step 2 'save' does something to the world, and in every trace somebody was asked"
        in candidate.reasons[0]
    )
    selected = report(*traces).selected
    assert selected is None or {"signal", "tool_call"} == {step.kind for step in selected.steps} - {
        "model_call"
    }


@pytest.mark.parametrize(
    "traces",
    [
        asked(wait(), some=3),
        asked(wait(status="cancelled")),
        asked(ask("p", "t")),
        [msgspec.structs.replace(each, actions=(*each.actions, wait())) for each in asked()],
    ],
)
def test_where_nobody_was_asked_or_not_always_or_afterwards_it_is_done(traces: list[Trace]) -> None:
    assert tools_alone(traces).kind == "candidate"


def test_who_only_looks_needs_nobody_to_agree() -> None:
    traces = [trace(f"t{n}", call("look", n, n=n), wait(), call("read", n, n=n)) for n in range(4)]

    assert tools_alone(traces, ("look", "read")).kind == "candidate"


def test_what_stands_between_the_steps_is_told_and_written_into_the_workflow() -> None:
    other = Action(id="o", kind="note", name='"""', output=1)
    traces = [
        trace(
            f"t{n}",
            *each.actions[:1],
            other,
            *([ask("p", f"y{n}")] * (n != 1)),
            *each.actions[1:],
            call("after"),
        )
        for n, each in enumerate(asked())
    ]

    candidate = tools_alone(traces, ("look", "save", "after"))
    told = {(each.before, each.kind, each.name) for each in candidate.left_out}
    assert told == {(2, "note", '"""'), (2, "model_call", "tiny")}
    assert candidate.left_out[0] == LeftOut(before=2, kind="note", name='"""', traces=len(candidate.examples))
    written = next(
        node.value
        for node in ast.parse(workflow_of(candidate)).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "LEFT_OUT"
    )
    assert ast.literal_eval(written)[0] == [2, "note", '"""', len(candidate.examples)]


def test_a_parameter_that_always_stood_in_what_is_left_out_says_so() -> None:
    def example(n: int) -> Trace:
        return trace(
            f"t{n}",
            call("look", n, n=n),
            ask("p", f"dear {n}"),
            write("save", n, text=f"dear {n}", to=f"{n}@x"),
        )

    why = {each.name: each.why for each in tools_alone([example(n) for n in range(4)]).parameters}
    assert why == {
        "n": "it varies",
        "text": "it varies, and always stood in the outcome of a model_call that is left out: tiny",
        "to": "it varies",
    }
