"""Who granted which effects in a run: what was used, what was denied, and what nobody had granted."""

from pathlib import Path

import pytest

from playhead.events import approval as approvals
from playhead.events.catalog import OperationCancelled, ToolCompleted, ToolRequested
from playhead.events.fact import Fact
from playhead.events.rules import PersonaEntered
from playhead.events.words import VerdictWord
from playhead.log.reader import LogReader
from playhead_projections.projection import fold
from playhead_projections.projector import state_at
from playhead_projections.trust_graph.grants import Granted, Grants
from tests.projections.trusted import (
    EMPTY,
    GRANTED,
    NOON_NS,
    NOTHING,
    Effect,
    Told,
    as_events,
    begun,
    story,
    tell,
)

OP = "0/save#0"


def grants_of(*told: Told) -> Granted:
    return fold(Grants(), "one", as_events(told)).state


def facts(*pairs: tuple[str, Fact]) -> list[Told]:
    return [begun("one"), *(Told("run/one", NOON_NS + n, op, fact) for n, (op, fact) in enumerate(pairs))]


def asks(side_effect: str = "fs.write") -> Fact:
    return ToolRequested(tool="save", args=EMPTY, effect="effect", side_effect=side_effect)


DONE = ToolCompleted(result=NOTHING)


def test_what_the_rules_let_happen_is_granted_by_nobody_and_used() -> None:
    found = grants_of(*story(Effect("one", OP, fails=True)))

    (grant,) = found.grants.values()
    assert (grant.to.agent, grant.to.tool, grant.to.action) == ("audit", "save", "fs.write")
    assert (grant.by, grant.reason) == ([], "scope 0: tier = act_auto")
    assert (grant.used, grant.outcome) == (4, "failed")
    assert not found.ungranted
    assert not found.denials


def test_what_people_agreed_to_is_granted_by_them_and_used() -> None:
    found = grants_of(*story(Effect("one", OP, verdict="ask", tier="act_with_approval")))

    (grant,) = found.grants.values()
    assert (grant.by, grant.reason, grant.outcome) == (["ada"], "go on", "completed")
    assert grant.to.op == OP
    assert not found.ungranted


def test_what_somebody_refused_is_denied_by_them() -> None:
    found = grants_of(*story(Effect("one", OP, verdict="ask", tier="act_with_approval", granted=False)))

    (denial,) = found.denials
    assert (denial.to.tool, denial.by, denial.word, denial.reason) == ("save", "ada", "denied", "not now")
    assert not found.grants


def test_what_nobody_answered_in_time_is_denied_by_nobody() -> None:
    told = story(Effect("one", OP, verdict="ask", tier="act_with_approval", granted=False))
    late = approvals.ApprovalTimedOut(request=f"approval_{OP}", due=1)
    told = [
        one._replace(fact=late) if isinstance(one.fact, approvals.ApprovalDenied) else one for one in told
    ]

    (denial,) = grants_of(*told).denials

    assert (denial.by, denial.word) == (None, "timed_out")


@pytest.mark.parametrize("verdict", ["suggest", "shadow", "denied"])
def test_what_the_rules_keep_from_happening_is_denied_by_nobody(verdict: VerdictWord) -> None:
    found = grants_of(*story(Effect("one", OP, verdict=verdict, tier="shadow")))

    (denial,) = found.denials
    assert (denial.by, denial.word, denial.reason) == (None, verdict, "scope 0: tier = shadow")
    assert not found.grants
    assert not found.ungranted


@pytest.mark.parametrize("fails", [True, False])
def test_an_effect_that_nothing_decided_about_is_used_without_a_grant(fails: bool) -> None:
    found = grants_of(*story(Effect("one", OP, verdict=None, fails=fails)))

    (used,) = found.ungranted
    assert (used.to.agent, used.to.tool, used.to.action) == ("audit", "save", "fs.write")
    assert (used.decided, used.outcome, used.seq) == (None, "failed" if fails else "completed", 2)


@pytest.mark.parametrize("granted", [True, False])
def test_an_effect_that_was_asked_for_counts_as_granted_only_if_somebody_agreed(granted: bool) -> None:
    told = story(Effect("one", OP, verdict="ask", tier="act_with_approval", granted=granted))
    before = [one for one in told if not isinstance(one.fact, ToolRequested | ToolCompleted)]

    found = grants_of(*before, *facts((OP, asks()), (OP, DONE))[1:])

    assert [used.decided for used in found.ungranted] == ([] if granted else ["ask"])


def test_an_effect_that_the_rules_denied_and_that_happened_all_the_same_is_without_a_grant() -> None:
    told = story(Effect("one", OP, verdict="shadow", tier="shadow"))

    found = grants_of(*told, *facts((OP, asks()), (OP, DONE))[1:])

    assert [used.decided for used in found.ungranted] == ["shadow"]


def test_what_a_policy_wants_approved_is_granted_by_who_approves_it() -> None:
    request = approvals.ApprovalRequested(
        request="approval_1",
        kind="approval",
        action="save",
        digest="d",
        args=EMPTY,
        detail=NOTHING,
        principal="audit",
    )
    yes = approvals.ApprovalGranted(request="approval_1", digest="d", args=EMPTY, granted=GRANTED)

    found = grants_of(*facts((f"{OP}/approval", request), (f"{OP}/approval", yes), (OP, asks()), (OP, DONE)))

    (grant,) = found.grants.values()
    assert (grant.to.agent, grant.to.tool, grant.by) == ("audit", "save", ["ada", "bob"])
    assert (grant.used, grant.outcome) == (3, "completed")
    assert not found.ungranted


def test_a_request_of_the_program_is_no_grant_of_an_effect() -> None:
    request = approvals.ApprovalRequested(
        request="approval_1",
        kind="approval",
        action="publish",
        digest="d",
        args=EMPTY,
        detail=NOTHING,
        principal="audit",
    )
    yes = approvals.ApprovalGranted(request="approval_1", digest="d", args=EMPTY, granted=GRANTED)

    assert not grants_of(*facts(("0/approval#0", request), ("0/approval#0", yes))).grants


def test_a_tool_that_changes_nothing_needs_no_grant() -> None:
    assert not grants_of(*facts((OP, asks("")), (OP, DONE))).ungranted


def test_an_effect_that_is_not_over_has_not_happened_yet_and_one_that_was_given_up_may_have() -> None:
    assert not grants_of(*facts((OP, asks()))).ungranted
    (used,) = grants_of(*facts((OP, asks()), (OP, OperationCancelled()))).ungranted
    assert (used.to.op, used.outcome) == (OP, "cancelled")


def test_the_agent_of_an_undecided_effect_is_the_innermost_persona() -> None:
    inner = PersonaEntered(persona="helper")
    op = "0/helper#0/save#0"

    found = grants_of(*facts(("0/helper#0", inner), (op, asks()), (op, DONE)))

    assert [used.to.agent for used in found.ungranted] == ["helper"]


def test_the_grants_as_of_an_event_are_those_of_the_events_up_to_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    told = story(
        Effect("one", OP, verdict="ask", tier="act_with_approval"), Effect("one", "0/save#1", verdict=None)
    )
    tell(path, told)

    with LogReader(path) as log:
        for seq in range(len(told)):
            state = state_at(log, Grants(), "run/one", seq).state
            assert state == grants_of(*told[: seq + 1])
            used = [event.seq for event in log.read("run/one", 0, seq + 1) if event.type == "tool.completed"]
            assert len(state.ungranted) == (len(used) == 2)
            assert len(state.grants) == (seq >= 6)
