"""The rules of policies, one test each, as their names say them."""

from typing import Any

import pytest

from playhead.policy.annotations import Annotations, annotations_of
from playhead.policy.approval import ApprovalPolicy, ApprovalRules
from playhead.policy.capability import ArgConstraint, Policy
from playhead.policy.glob import matches
from playhead.policy.level import LEVELS, lower, rank

READS = Annotations(
    kind="read", side_effect_level="read_only", capabilities={"fs": ["read"]}, path_params=["path"]
)
WRITES = Annotations(kind="edit", side_effect_level="workspace_write", path_params=["path", "to"])
NOTHING = Annotations()


def against(policy: Policy, tool: str = "read", said: Annotations = READS, **arguments: Any) -> str | None:
    found = policy.decide(tool, arguments, said)
    return None if found.verdict == "approved" else found.reason


# The ladder of levels.


def test_levels_go_from_none_to_desktop_control() -> None:
    assert [rank(level) for level in LEVELS] == [0, 1, 2, 3, 4, 5]
    assert list(LEVELS) == sorted(LEVELS, key=rank)


def test_of_two_ceilings_the_lower_counts_and_a_missing_one_defers() -> None:
    assert lower("network", "read_only") == "read_only"
    assert lower(None, "network") == lower("network", None) == "network"
    assert lower(None, None) is None


def test_an_unknown_level_is_refused_as_a_ceiling_and_as_an_annotation() -> None:
    with pytest.raises(ValueError, match="telepathy"):
        Policy(side_effect_level="telepathy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="telepathy"):
        annotations_of({"side_effect_level": "telepathy"})


# Patterns.


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("*", "", True),
        ("docs__*", "docs__read", True),
        ("docs__*", "doc", False),
        ("*_read", "docs_read", True),
        ("*_read", "docs_reads", False),
        ("read", "read", True),
        ("read", "reads", False),
        ("*mid*", "a mid b", False),
        ("*mid*", "*mid b", True),
        ("", "", True),
    ],
)
def test_a_pattern_is_all_a_prefix_a_suffix_or_exact(pattern: str, text: str, *, found: bool) -> None:
    assert matches(pattern, text) is found


# The ceiling of tools.


def test_none_inherits_every_tool_and_the_empty_set_is_no_tool() -> None:
    assert against(Policy()) is None
    assert against(Policy(tools=["read"])) is None
    assert against(Policy(tools=[])) == "tool 'read' exceeds tool ceiling: no tool at all"
    assert against(Policy(tools=["edit", "a"])) == "tool 'read' exceeds tool ceiling: a, edit"


def test_a_stage_that_asks_only_for_forbidden_tools_gets_none_of_them() -> None:
    met = Policy(tools=["read"]).narrowed(Policy(tools=["edit"]))

    assert met.tools == frozenset()
    assert against(met) is not None


def test_a_stage_keeps_of_its_tools_what_its_persona_has() -> None:
    assert Policy(tools=["read"]).narrowed(Policy(tools=["read", "edit"])).tools == {"read"}


def test_a_list_of_tools_is_not_one_text() -> None:
    with pytest.raises(ValueError, match="not 'read'"):
        Policy(tools="read")


# The ceiling of levels.


def test_a_declared_level_must_not_be_above_the_ceiling() -> None:
    assert against(Policy(side_effect_level="read_only")) is None
    reason = against(Policy(side_effect_level="read_only"), "edit", WRITES)
    assert reason == "tool 'edit' exceeds side-effect ceiling: workspace_write (at most read_only)"


def test_a_tool_that_declares_no_level_stands_at_the_top_of_the_ladder() -> None:
    reason = against(Policy(side_effect_level="network"), "any", NOTHING)
    assert reason is not None
    assert "does not declare its level" in reason
    assert against(Policy(side_effect_level="desktop_control"), "any", NOTHING) is None


# The ceiling of capabilities.


def test_a_domain_that_is_not_named_has_no_operations_and_none_means_all_of_them() -> None:
    assert against(Policy(capabilities={"fs": ["read"]})) is None
    assert against(Policy(capabilities={"fs": None})) is None
    ceilings: list[dict[str, list[str] | None]] = [{}, {"fs": []}, {"net": None}]
    for ceiling in ceilings:
        reason = against(Policy(capabilities=ceiling))
        assert reason == "tool 'read' exceeds capability ceiling: fs.read"


def test_every_operation_beyond_the_ceiling_is_named() -> None:
    said = Annotations(capabilities={"fs": ["write", "read", "list"], "net": ["get"]})
    reason = against(Policy(capabilities={"fs": ["read"]}), "sync", said)
    assert reason == "tool 'sync' exceeds capability ceiling: fs.list,write"


def test_a_requested_domain_without_operations_asks_for_nothing_and_cannot_widen() -> None:
    host = Policy(capabilities={"fs": ["read"]})
    assert host.narrowed(Policy(capabilities={"fs": []})).capabilities == {}
    assert host.narrowed(Policy(capabilities={"fs": None})).capabilities == {"fs": {"read"}}


def test_a_tool_that_declares_no_capabilities_is_refused_under_their_ceiling() -> None:
    reason = against(Policy(capabilities={"fs": None}), "any", NOTHING)
    assert reason is not None
    assert "does not declare its capabilities" in reason
    assert against(Policy(capabilities={}), "pure", Annotations(capabilities={})) is None


# Workspace roots.


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("src", True),
        ("src/a", True),
        ("./src//a/.", True),
        ("source", False),
        ("src/../secret", False),
        ("/src/a", False),
        ("..", False),
        ("src/a/../b", True),
    ],
)
def test_a_path_must_lie_in_a_workspace_root_wherever_its_dots_lead(path: str, *, inside: bool) -> None:
    reason = against(Policy(workspace_roots=["src"]), path=path)
    assert (reason is None) is inside
    assert inside or f"tool 'read' exceeds workspace roots: path = {path!r}" == reason


def test_of_roots_inside_each_other_the_inner_one_is_common_and_disjoint_ones_have_nothing() -> None:
    outer = Policy(workspace_roots=["src", "docs"])
    assert outer.narrowed(Policy(workspace_roots=["src/a", "lib"])).workspace_roots == {"src/a"}
    nothing = outer.narrowed(Policy(workspace_roots=["lib"]))
    assert nothing.workspace_roots == frozenset()
    assert against(nothing, path="src") is not None


def test_a_root_cannot_lead_out_of_its_directory() -> None:
    with pytest.raises(ValueError, match=r"\.\./x"):
        Policy(workspace_roots=["src/../../x"])


# Constraints on arguments.

IN_SRC = ArgConstraint(tool="*", arg_patterns=["src/*"])


def test_a_constraint_without_a_key_is_about_every_path_parameter() -> None:
    policy = Policy(tool_arg_constraints=[IN_SRC])

    assert against(policy, "move", WRITES, path="src/a", to="src/b") is None
    reason = against(policy, "move", WRITES, path="src/a", to="lib/b")
    assert reason == "tool 'move' may not have to = 'lib/b': it is not like 'src/*'"


def test_a_constraint_looks_where_a_path_leads_and_at_every_element_of_a_list() -> None:
    policy = Policy(tool_arg_constraints=[IN_SRC])

    assert against(policy, path="src/../etc/passwd") is not None
    assert against(policy, path=["src/a", "etc"]) is not None
    assert against(policy, path=["src/a", "src/b"]) is None


def test_a_constraint_on_an_argument_that_a_call_does_not_have_is_skipped() -> None:
    assert (
        against(Policy(tool_arg_constraints=[ArgConstraint(tool="*", arg_patterns=["x"], arg_key="q")]))
        is None
    )


def test_a_constraint_on_paths_refuses_a_tool_that_does_not_declare_them() -> None:
    reason = against(Policy(tool_arg_constraints=[IN_SRC]), "any", NOTHING, path="src/a")
    assert reason is not None
    assert "declares no path_params" in reason


def test_a_value_that_is_no_text_fits_no_pattern() -> None:
    rule = ArgConstraint(tool="read", arg_patterns=["1"], arg_key="n")
    assert against(Policy(tool_arg_constraints=[rule]), n=1) is not None


def test_a_constraint_without_patterns_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ArgConstraint(tool="*", arg_patterns=[])


# Approval of tools.


def decide(rules: ApprovalRules, tool: str = "edit", said: Annotations = WRITES, **arguments: Any) -> str:
    found = ApprovalPolicy((rules,)).decide(tool, arguments, said)
    return f"{found.verdict}: {found.reason}" if found.reason else found.verdict


def test_without_a_rule_a_tool_is_approved() -> None:
    assert decide(ApprovalRules()) == "approved"
    assert ApprovalPolicy().decide("edit", {}, WRITES).verdict == "approved"


def test_a_denial_comes_before_everything() -> None:
    rules = ApprovalRules(auto_deny=["ed*"], auto_approve=["*"])
    assert decide(rules) == "denied: tool 'edit' matches deny pattern 'ed*'"


def test_paths_come_before_approval_and_only_for_tools_that_do_more_than_read() -> None:
    rules = ApprovalRules(write_paths=["src/*"], auto_approve=["*"])

    assert decide(rules, path="src/a") == "approved"
    assert decide(rules, path="src/a", to="lib/b").startswith(
        "denied: tool 'edit' may not write to = 'lib/b'"
    )
    assert decide(rules, path="src/../b").startswith("denied")
    assert decide(rules, "read", READS, path="lib/b") == "approved"
    assert decide(rules, "any", NOTHING).startswith("denied: tool 'any' may write and does not declare")


def test_what_one_side_approves_by_itself_needs_no_approval_of_that_side() -> None:
    rules = ApprovalRules(auto_approve=["edit"], require_approval=["*"])

    assert decide(rules) == "approved"
    assert decide(rules, "send") == "needs_approval: tool 'send' matches '*', which needs approval"


def test_what_one_side_approves_still_needs_the_approval_of_the_other() -> None:
    one = ApprovalPolicy((ApprovalRules(auto_approve=["*"]),))
    other = ApprovalPolicy((ApprovalRules(require_approval=["edit"]),))

    for met in (one.narrowed(other), other.narrowed(one)):
        assert met.decide("edit", {}, WRITES).verdict == "needs_approval"


def test_disjoint_lists_of_paths_let_nothing_write() -> None:
    met = ApprovalPolicy((ApprovalRules(write_paths=["src/*"]),)).narrowed(
        ApprovalPolicy((ApprovalRules(write_paths=["lib/*"]),))
    )
    for path in ("src/a", "lib/b"):
        assert met.decide("edit", {"path": path}, WRITES).verdict == "denied"


def test_an_unknown_word_of_annotations_is_refused() -> None:
    with pytest.raises(ValueError, match="destroy"):
        annotations_of({"kind": "destroy"})
    with pytest.raises(ValueError, match="colour"):
        annotations_of({"colour": "red"})
    assert annotations_of({"kind": "fetch"}).reads_only


def test_an_approval_lifts_no_ceiling() -> None:
    asks = ApprovalPolicy((ApprovalRules(require_approval=["*"]),))

    assert Policy(approval=asks).decide("edit", {}, WRITES).verdict == "needs_approval"
    assert Policy(approval=asks, tools=[]).decide("edit", {}, WRITES).verdict == "denied"
