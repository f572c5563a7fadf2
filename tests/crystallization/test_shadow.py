"""A workflow is run against what was recorded: the first difference is told, and nothing else happens."""

import os
from typing import Any

import msgspec
import pytest

from playhead.composition.machines import Workers
from playhead_projections.crystallization.plans import Candidate, Flow, Verdict, contradict
from playhead_projections.crystallization.shadow import shadow
from playhead_projections.trace import Action, Approval, SideEffect, Trace
from tests.crystallization.made import ask, call, report, search_and_read, trace, write

FOUR = [search_and_read(n) for n in range(1, 5)]


def candidate_of(*traces: Trace) -> Candidate:
    found = report(*traces).selected
    assert found is not None
    return found


MINE = candidate_of(*FOUR)


def with_action(index: int, **changes: Any) -> Trace:
    """Another trace of the same, with one action changed."""
    found = search_and_read(7)
    actions = list(found.actions)
    actions[index] = msgspec.structs.replace(actions[index], **changes)
    return msgspec.structs.replace(found, actions=tuple(actions))


def with_snippet(snippet: str) -> Candidate:
    segment = msgspec.structs.replace(MINE.segments[0], snippet=snippet)
    return msgspec.structs.replace(MINE, segments=(segment,))


def test_a_trace_of_the_same_is_the_same_whatever_stands_between() -> None:
    assert shadow(MINE, search_and_read(7)) == Verdict(trace="t7", verdict="same")
    assert shadow(MINE, search_and_read(8, call("x"), call("y"))).verdict == "same"
    with Workers() as workers:
        assert shadow(MINE, search_and_read(9), workers.machine).verdict == "same"


@pytest.mark.parametrize(
    ("different", "step", "what", "expected", "found"),
    [
        (with_action(0, inputs={"query": "q", "limit": 6}), 1, "arguments", 6, 5),
        (with_action(1, inputs={"path": "other.py"}), 2, "arguments", "other.py", "7.py"),
        (with_action(2, inputs={"text": "else", "to": "out.md"}), 3, "arguments", "else", "text of 7"),
    ],
)
def test_a_call_with_other_arguments_is_a_difference(
    different: Trace, step: int, what: str, expected: Any, found: Any
) -> None:
    verdict = shadow(MINE, different)

    assert (verdict.verdict, verdict.step, verdict.what) == ("different", step, what)
    assert expected in verdict.expected.values()
    assert found in verdict.found.values()


def test_an_outcome_that_does_not_hold_what_a_step_takes_from_it_is_a_difference() -> None:
    verdict = shadow(MINE, with_action(0, output=[]))

    assert (verdict.verdict, verdict.step, verdict.what) == ("different", 2, "error")
    assert verdict.expected == "read.file"
    assert verdict.found.startswith("IndexError")


def test_what_an_action_does_to_the_world_and_who_is_asked_counts() -> None:
    mail = with_action(0, side_effects=(SideEffect(kind="mail"),))
    asked = with_action(1, approval=Approval(required=True, prompt="May I?"))

    assert (shadow(MINE, mail).step, shadow(MINE, mail).what) == (1, "side_effects")
    assert (shadow(MINE, asked).step, shadow(MINE, asked).what) == (2, "approval")


def plain(effect: str | None, **changes: Any) -> Action:
    """A call outside of a composition: it tells its effect class, and nothing of its level."""
    side_effects = (SideEffect(kind="tool", target="save", mutation=effect or "unknown"),)
    found = Action(id="x", kind="tool_call", name="save", effect=effect, side_effects=side_effects)
    return msgspec.structs.replace(found, **changes)


MAIL, FILE = SideEffect(kind="mail"), SideEffect(kind="file_write")
READ, SAVE = call("save"), write("save")
SEND = msgspec.structs.replace(SAVE, side_effects=(MAIL,))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (plain("effect"), SAVE),
        (plain(None), SAVE),
        (plain(None), READ),
        (plain(None), plain("effect")),
        (plain(None, side_effects=()), plain("effect")),
        (plain(None, side_effects=(MAIL,)), SEND),
    ],
)
def test_what_only_one_side_tells_of_its_effects_is_no_difference(one: Action, other: Action) -> None:
    assert not contradict(one, other)
    assert not contradict(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (READ, SAVE),
        (SAVE, SEND),
        (plain("effect"), READ),
        (plain("idempotent"), plain("effect")),
        (plain(None, side_effects=(MAIL,)), SAVE),
        (plain(None, side_effects=(MAIL,)), plain(None, side_effects=(FILE,))),
    ],
)
def test_what_both_tell_and_is_not_the_same_is_one(one: Action, other: Action) -> None:
    assert contradict(one, other)
    assert contradict(other, one)


def test_what_the_trace_does_not_hold_is_absent_with_the_first_step_that_is_missing() -> None:
    cut = msgspec.structs.replace(search_and_read(7), actions=search_and_read(7).actions[:2])
    failed = with_action(2, status="failed")

    assert (shadow(MINE, cut).verdict, shadow(MINE, cut).step) == ("absent", 3)
    assert shadow(MINE, cut).found is None
    assert shadow(MINE, failed).found == "tool_call:save(text:text,to:text), failed"
    assert (shadow(MINE, trace("x")).verdict, shadow(MINE, trace("x")).step) == ("absent", 1)


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (with_action(0, status="failed"), "tool_call:search(limit:number,query:text), failed"),
        (
            trace("x", call("other"), *with_action(0, status="open").actions),
            "tool_call:search(limit:number,query:text), open",
        ),
        (with_action(0, inputs={"query": "q"}), "tool_call:search(query:text)"),
        (trace("x", call("other", None, n=1), call("more")), "tool_call:other(n:number)"),
        (trace("x"), None),
    ],
)
def test_what_stands_where_the_first_step_is_missing_is_told(there: Trace, found: str | None) -> None:
    verdict = shadow(MINE, there)

    assert (verdict.verdict, verdict.step, verdict.found) == ("absent", 1, found)


def test_what_was_erased_can_be_compared_with_nothing() -> None:
    verdict = shadow(MINE, with_action(1, erased=("output",)))

    assert (verdict.verdict, verdict.step, verdict.what) == ("unknown", 2, "its output was erased")


def test_an_outcome_that_was_always_the_same_and_is_another_now_is_told() -> None:
    candidate = candidate_of(*[trace(f"t{n}", call("a", n, n=n), call("b", {"ok": True})) for n in range(3)])

    now = trace("now", call("a", 9, n=9), call("b", {"ok": False}))
    assert shadow(candidate, now) == Verdict(trace="now", verdict="same", changed=(2,))


LINES = MINE.segments[0].snippet.splitlines()


@pytest.mark.parametrize(
    ("snippet", "step", "what"),
    [
        ("return 1", 1, "error"),
        (LINES[1].replace("step_1[0]", '{"path": query}') + "\nreturn 1", 1, "tool"),
        ("\n".join([LINES[0].replace("limit=5", "limit=6"), *LINES[1:]]), 1, "arguments"),
        ("\n".join([LINES[0], *LINES]), 2, "tool"),
        ("\n".join([*LINES[:3], LINES[0], LINES[3]]), 4, "calls"),
        ("\n".join([*LINES[:3], "return 7"]), 3, "result"),
        ("\n".join([*LINES[:2], "return step_2"]), 3, "error"),
        ("while True:\n    pass", 1, "error"),
        ("return open('x')", 1, "error"),
        ("map_bounded([1, 2], lambda n: search(query=query, limit=n))", 1, "calls"),
        ("try:\n    read_file()\nexcept ToolError:\n    pass", 1, "tool"),
    ],
)
def test_a_workflow_that_was_tampered_with_differs(snippet: str, step: int, what: str) -> None:
    verdict = shadow(with_snippet(snippet), search_and_read(7))

    assert (verdict.verdict, verdict.step, verdict.what) == ("different", step, what)


def test_a_step_that_counts_from_the_end_fits_nothing_and_is_compared_all_the_same() -> None:
    steps = list(MINE.steps)
    steps[1] = msgspec.structs.replace(steps[1], inputs={"path": Flow(step=1, path=(-9, "path"))})

    changed = msgspec.structs.replace(MINE, steps=tuple(steps))
    assert shadow(changed, search_and_read(7)).verdict == "same"  # the snippet is what runs


def test_a_step_between_snippets_is_asked_what_was_recorded() -> None:
    def example(n: int, prompt: str | None = None) -> Trace:
        return trace(
            f"t{n}",
            call("a", {"text": f"x{n}"}, n=n),
            ask(prompt or f"x{n}", f"y{n}"),
            write("b", n, text=f"y{n}"),
        )

    found = report(*map(example, range(4)))
    candidate = next(each for each in found.candidates if len(each.steps) == 3)

    assert shadow(candidate, example(8)).verdict == "same"
    verdict = shadow(candidate, example(9, "something else"))
    assert (verdict.verdict, verdict.step, verdict.what) == ("different", 2, "inputs")
    assert verdict.found == {"prompt": "x9"}


def test_nothing_happens_while_a_workflow_is_in_the_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise AssertionError("something was opened")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert shadow(MINE, search_and_read(7)).verdict == "same"


def test_two_actions_alike_are_told_apart_by_what_they_read() -> None:
    other = call("read.file", {"text": "other"}, path="other.py")
    found = search_and_read(7)
    first, second, third = found.actions
    actions: tuple[Action, ...] = (first, other, second, other, third)

    assert shadow(MINE, msgspec.structs.replace(found, actions=actions)).verdict == "same"
