"""Policies and calls as hypothesis draws them: few names, so that they meet."""

from typing import Any

from hypothesis import strategies as st

from playhead.policy.annotations import Annotations
from playhead.policy.approval import ApprovalPolicy, ApprovalRules
from playhead.policy.autonomy import Autonomy
from playhead.policy.capability import ArgConstraint, Policy
from playhead.policy.level import LEVELS
from playhead.policy.tier import TIERS

TOOLS = ["read", "edit", "docs__read", "docs__search"]
PATHS = ["src/a", "src/../secret", "src", "lib/b", "/etc/passwd", "../x", "src//a/", "."]
ROOTS = ["src", "src/a", "lib", ".", "/", "/etc", "./src/"]
GLOBS = ["*", "docs__*", "*read", "edit", "read", "*o*", "s*"]
DOMAINS = ["fs", "net"]
OPS = ["read", "write"]

tools = st.sampled_from(TOOLS)
sets_of_tools = st.none() | st.frozensets(tools)
capabilities = st.dictionaries(st.sampled_from(DOMAINS), st.frozensets(st.sampled_from(OPS)))
ceilings = st.none() | st.dictionaries(
    st.sampled_from(DOMAINS), st.none() | st.frozensets(st.sampled_from(OPS))
)
roots = st.frozensets(st.sampled_from(ROOTS), max_size=3)
annotations = st.builds(
    Annotations,
    kind=st.sampled_from(["read", "edit", "delete", "execute", "other", "search"]),
    side_effect_level=st.none() | st.sampled_from(LEVELS),
    capabilities=st.none() | capabilities,
    path_params=st.none() | st.frozensets(st.sampled_from(["path", "to"])),
)
constraints = st.builds(
    ArgConstraint,
    tool=st.sampled_from(GLOBS),
    arg_patterns=st.lists(st.sampled_from(["src/*", "*", "lib/b", "*passwd"]), min_size=1, max_size=2),
    arg_key=st.none() | st.sampled_from(["path", "to", "other"]),
)


rules = st.builds(
    ApprovalRules,
    auto_approve=st.lists(st.sampled_from(GLOBS), max_size=2),
    auto_deny=st.lists(st.sampled_from(GLOBS[1:]), max_size=1),
    require_approval=st.lists(st.sampled_from(GLOBS), max_size=2),
    write_paths=st.none() | st.lists(st.sampled_from(["src/*", "*", "lib/b"]), max_size=2),
)
scopes = st.builds(
    Autonomy,
    tier=st.none() | st.sampled_from(TIERS),
    actions=st.dictionaries(st.sampled_from(["edit", "fs.write"]), st.sampled_from(TIERS), max_size=2),
    per_day=st.none() | st.integers(0, 3),
)
approvals = st.builds(ApprovalPolicy, st.lists(rules, max_size=2).map(tuple))


def policies(*, annotated: bool = True) -> st.SearchStrategy[Policy]:
    """Policies, most of which say one or two things, so that calls get past the others.

    Without annotations of its own a meeting allows exactly what both sides allow.
    """
    says: dict[str, st.SearchStrategy[Any]] = {
        "tools": sets_of_tools,
        "capabilities": ceilings,
        "workspace_roots": roots,
        "side_effect_level": st.sampled_from(LEVELS),
        "recursion_limit": st.integers(0, 3),
        "tool_arg_constraints": st.lists(constraints, min_size=1, max_size=2),
    }
    says["approval"] = approvals
    says["autonomy"] = st.lists(scopes, min_size=1, max_size=2)
    if annotated:
        says["tool_annotations"] = st.dictionaries(tools, annotations, min_size=1, max_size=2)
    one = st.sampled_from(sorted(says)).flatmap(lambda name: st.fixed_dictionaries({name: says[name]}))
    some = st.fixed_dictionaries({}, optional=says)
    return (one | some).map(lambda fields: Policy(**fields))


arguments = st.dictionaries(
    st.sampled_from(["path", "to", "other"]),
    st.sampled_from(PATHS) | st.lists(st.sampled_from(PATHS), max_size=2) | st.none() | st.integers(0, 1),
)
calls = st.tuples(tools, arguments, annotations)
