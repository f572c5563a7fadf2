"""Policies only narrow: however two meet, what comes out allows nothing that one of them does not."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from playhead.policy.action import Action
from playhead.policy.annotations import Annotations
from playhead.policy.approval import ApprovalPolicy, ApprovalRules
from playhead.policy.autonomy import Autonomy, rule
from playhead.policy.capability import Policy, policy_of
from playhead.policy.level import rank
from tests.policy.generated import PATHS, annotations, approvals, arguments, calls, policies, roots, tools

Call = tuple[str, dict[str, Any], Annotations]
STRICTER = {"approved": 0, "needs_approval": 1, "denied": 2}


def allows(policy: Policy, call: Call) -> bool:
    return policy.decide(*call).verdict == "approved"


@settings(max_examples=600)
@given(policies(), policies(), calls)
def test_a_meeting_never_widens(one: Policy, other: Policy, call: Call) -> None:
    met = one.narrowed(other)

    assert not allows(met, call) or (allows(one, call) and allows(other, call))


@settings(max_examples=600)
@given(policies(annotated=False), policies(annotated=False), calls)
def test_a_meeting_allows_exactly_what_both_allow(one: Policy, other: Policy, call: Call) -> None:
    assert allows(one.narrowed(other), call) is (allows(one, call) and allows(other, call))


@settings(max_examples=600)
@given(policies(), calls)
def test_a_policy_that_bounds_no_tool_allows_every_call(policy: Policy, call: Call) -> None:
    assert policy.bounds_tools or allows(policy, call)


def test_a_policy_finds_out_once_what_its_scopes_say_of_an_effect() -> None:
    scopes = (Autonomy(tier="act_auto"), Autonomy(agents={"a": "suggest"}, actions={"fs.write": "shadow"}))
    policy = Policy(autonomy=scopes)
    for agent, kind, within in (
        ("a", "fs.write", ()),
        ("a", "net", ()),
        ("b", "net", ()),
        ("b", "net", ("a",)),
    ):
        action = Action("save", kind)
        found = policy.ruling(agent, action, within)
        assert found == rule(scopes, agent, action, within)
        assert policy.ruling(agent, action, within) is found
    assert policy == Policy(autonomy=scopes)  # what it found out is no part of what it says


@given(roots, roots, st.sampled_from(PATHS))
def test_a_path_lies_in_a_meeting_where_it_lies_in_both(
    one: frozenset[str], other: frozenset[str], path: str
) -> None:
    call = ("edit", {"path": path}, Annotations(path_params=["path"]))
    sides = [Policy(workspace_roots=one), Policy(workspace_roots=other)]

    assert allows(sides[0].narrowed(sides[1]), call) is all(allows(side, call) for side in sides)


@given(policies(), policies())
def test_a_meeting_is_commutative_but_for_the_order_of_its_rules(one: Policy, other: Policy) -> None:
    here, there = one.narrowed(other), other.narrowed(one)

    assert set(here.tool_arg_constraints) == set(there.tool_arg_constraints)
    assert set(here.approvals.layers) == set(there.approvals.layers)
    assert [scope for scope in here.scopes if scope not in there.scopes] == []
    assert len(here.scopes) == len(there.scopes)
    assert _without_order(here) == _without_order(there)


def _without_order(policy: Policy) -> dict[str, Any]:
    ordered = ("tool_arg_constraints", "approval", "autonomy")
    return {name: value for name, value in policy.document().items() if name not in ordered}


@given(policies(), policies(), policies())
def test_meetings_are_associative(a: Policy, b: Policy, c: Policy) -> None:
    assert a.narrowed(b).narrowed(c).document() == a.narrowed(b.narrowed(c)).document()


@given(policies())
def test_a_meeting_with_itself_changes_nothing(policy: Policy) -> None:
    assert policy.narrowed(policy).document() == policy.document()


@given(policies())
def test_what_says_nothing_changes_nothing(policy: Policy) -> None:
    assert policy.narrowed(Policy()).document() == policy.document()
    assert Policy().narrowed(policy).document() == policy.document()


@given(policies(), policies(), st.integers(1, 5))
def test_depth_is_the_smaller_of_the_two(one: Policy, other: Policy, depth: int) -> None:
    assert one.narrowed(other).allows_depth(depth) is (one.allows_depth(depth) and other.allows_depth(depth))


@given(policies(), tools, arguments, annotations, annotations)
def test_annotations_of_a_policy_can_only_make_a_tool_look_worse(
    policy: Policy, tool: str, given_: dict[str, Any], own: Annotations, known: Annotations
) -> None:
    annotated = policy.narrowed(Policy(tool_annotations={tool: known}))

    assert not allows(annotated, (tool, given_, own)) or allows(policy, (tool, given_, own))


@given(annotations, annotations)
def test_of_two_annotations_the_more_dangerous_word_wins(a: Annotations, b: Annotations) -> None:
    both = a.and_also(b)

    assert rank(both.side_effect_level) == max(rank(a.side_effect_level), rank(b.side_effect_level))
    assert both.reads_only is (a.reads_only and b.reads_only)
    for side in (a, b):
        if both.capabilities is not None:
            assert side.capabilities is not None
            assert all(
                set(ops) <= set(both.capabilities[domain]) for domain, ops in side.capabilities.items()
            )
        if both.path_params is not None:
            assert side.path_params is not None
            assert set(side.path_params) <= set(both.path_params)


@given(annotations, annotations, annotations)
def test_annotations_meet_like_policies(a: Annotations, b: Annotations, c: Annotations) -> None:
    assert a.and_also(b) == b.and_also(a)
    assert a.and_also(b).and_also(c) == a.and_also(b.and_also(c))
    assert a.and_also(a) == a


@settings(max_examples=600)
@given(approvals, approvals, calls)
@example(
    ApprovalPolicy((ApprovalRules(auto_approve=["*"]),)),
    ApprovalPolicy((ApprovalRules(require_approval=["edit"]),)),
    ("edit", {}, Annotations()),
)
@example(
    ApprovalPolicy((ApprovalRules(write_paths=["src/*"]),)),
    ApprovalPolicy((ApprovalRules(write_paths=["lib/*"]),)),
    ("edit", {"path": "src/a"}, Annotations(path_params=["path"])),
)
def test_the_strictest_side_decides_about_an_approval(
    one: ApprovalPolicy, other: ApprovalPolicy, call: Call
) -> None:
    met = one.narrowed(other).decide(*call)
    sides = [one.decide(*call), other.decide(*call)]

    assert STRICTER[met.verdict] == max(STRICTER[side.verdict] for side in sides)
    assert one.narrowed(one) == one
    assert met.verdict == other.narrowed(one).decide(*call).verdict


@given(policies())
def test_a_policy_comes_back_from_its_document(policy: Policy) -> None:
    assert policy_of(policy.document()) == policy
    assert ("autonomy" in policy.document()) == bool(policy.scopes)  # as in logs from before there was any
