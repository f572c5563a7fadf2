"""What was decided about a run, and by whom, one test for each kind of decision."""

from typing import Any, Literal

import pytest
from msgspec import Raw

from playhead.events import approval as approvals
from playhead.events import autonomy, rules
from playhead.events.fact import Fact
from playhead.events.words import GrantWords
from playhead_projections.policy_report import PolicyReport, Ruled
from playhead_projections.projection import fold
from tests.projections.trusted import Told, as_events

NOTHING = Raw(b"\xc0")


def ruled(*said: tuple[str, Fact]) -> Ruled:
    return fold(
        PolicyReport(), "r", as_events(Told("run/r", n, op, fact) for n, (op, fact) in enumerate(said))
    ).state


def asked(request: str = "q", *, waits: bool = True) -> approvals.ApprovalRequested:
    return approvals.ApprovalRequested(
        request=request,
        kind="approval",
        action="publish",
        digest="d",
        args=NOTHING,
        detail=NOTHING,
        principal="p",
        reviewers=("ada", "bob"),
        quorum=2,
        waits=waits,
    )


def says(
    who: str,
    word: Literal["approve", "deny", "withdraw"] = "approve",
    *,
    request: str = "q",
    signature: str = "",
) -> tuple[str, Fact]:
    return "", approvals.ApprovalAnswered(
        request=request, word=word, reviewer=who, value=NOTHING, message=0, said_at=1, signature=signature
    )


def decided() -> autonomy.AutonomyDecided:
    return autonomy.AutonomyDecided(
        agent="p",
        tool="t",
        action="fs.write",
        verdict="ask",
        tier="act_auto",
        cause="tier",
        reason="because",
    )


def test_a_yes_rests_on_those_who_gave_it_and_lists_the_others() -> None:
    granted = approvals.ApprovalGranted(
        request="q",
        digest="d",
        args=NOTHING,
        granted=(GrantWords(reviewer="bob", said_at=1), GrantWords(reviewer="ada", said_at=2)),
        reason="fine",
        edited=True,
    )

    state = ruled(
        ("0/a#0", asked()), says("eve"), says("bob", signature="s"), says("ada"), ("0/a#0", granted)
    )

    one = state.asked["0/a#0"]
    assert (one.status, one.by, one.reason, one.edited) == ("granted", ("bob", "ada"), "fine", True)
    assert [(each.reviewer, each.counted, each.is_signed) for each in one.answers] == [
        ("eve", False, False),
        ("bob", True, True),
        ("ada", True, False),
    ]
    assert (one.seq, one.ended_seq) == (0, 4)


def test_a_no_rests_on_who_said_it_and_not_on_what_they_said_before() -> None:
    denied = approvals.ApprovalDenied(request="q", reviewer="ada", reason="not now")

    state = ruled(
        ("0/a#0", asked()), says("ada"), says("ada", "withdraw"), says("ada", "deny"), ("0/a#0", denied)
    )

    one = state.asked["0/a#0"]
    assert (one.status, one.by, one.reason) == ("denied", ("ada",), "not now")
    assert [each.counted for each in one.answers] == [False, False, True]


def test_what_came_too_late_counts_for_nothing() -> None:
    late = approvals.ApprovalTimedOut(request="q", due=3)

    state = ruled(("0/a#0", asked()), says("ada"), ("0/a#0", late), says("bob"))

    one = state.asked["0/a#0"]
    assert (one.status, one.by) == ("timed_out", ())
    assert [each.counted for each in one.answers] == [False, False]


def test_an_answer_to_nothing_that_was_asked_is_nobodys() -> None:
    state = ruled(("0/a#0", asked()), says("ada", request="another"))

    assert state.asked["0/a#0"].answers == []


def test_people_who_were_only_told_are_marked() -> None:
    assert not ruled(("0/a#0", asked(waits=False))).asked["0/a#0"].waits


@pytest.mark.parametrize("outcome", ["success", "failure", "denied", "timeout"])
def test_a_decision_says_what_came_of_it(outcome: Any) -> None:
    recorded = autonomy.TrustRecorded(
        agent="p",
        action="fs.write",
        tool="t",
        outcome=outcome,
        tier="act_auto",
        enforcement="approval_granted",
        approver="ada",
    )

    before = ruled(("0/t#0", decided())).decisions["0/t#0"]
    after = ruled(("0/t#0", decided()), ("0/t#0", recorded)).decisions["0/t#0"]

    assert (before.outcome, before.approver, before.recorded_seq) == (None, None, None)
    assert (after.outcome, after.approver, after.enforcement) == (outcome, "ada", "approval_granted")
    assert (after.verdict, after.reason, after.recorded_seq) == ("ask", "because", 1)


def test_a_record_of_a_decision_that_is_not_there_stands_alone() -> None:
    recorded = autonomy.TrustRecorded(
        agent="p", action="a", tool="t", outcome="success", tier="act_auto", enforcement="auto"
    )

    assert ruled(("0/t#0", recorded)).decisions == {}


def test_bounds_stand_in_the_order_in_which_they_were_put() -> None:
    state = ruled(
        ("", rules.PolicyNarrowed(persona="p", policy={"tools": ["t"]})),
        ("0/s#0", rules.StageEntered(stage="draft", iteration=1, policy={})),
        ("0/q#0", rules.PersonaEntered(persona="q")),
    )

    assert [(each.of, each.name, each.policy) for each in state.bounds] == [
        ("persona", "p", {"tools": ["t"]}),
        ("stage", "draft", {}),
        ("inner_persona", "q", None),
    ]


def test_a_budget_that_is_used_up_says_all_and_a_threshold_what_it_is_about() -> None:
    over = rules.BudgetExhausted(
        of="step", name="s", limit="max_tokens", limit_value=10, spent_tokens=12, spent_micros=3
    )
    near = rules.BudgetThresholdCrossed(
        of="run", name="r", limit="max_usd", percent=80.0, limit_value=10, spent=8
    )

    first, second = ruled(("0/s#0", near), ("0/s#0", over)).spent

    assert (first.percent, first.spent_tokens, first.spent_micros) == (80.0, None, 8)
    assert (second.percent, second.spent_tokens, second.spent_micros) == (None, 12, 3)
