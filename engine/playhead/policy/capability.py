"""Capability policies: what may be called, and how policies meet.

    outer = Policy(tools=["read", "edit"], side_effect_level="workspace_write")
    inner = outer.narrowed(Policy(tools=["read", "delete"]))
    inner.tools                                   # frozenset({'read'})

Every field has three values: None says nothing and inherits, a set names all that is
allowed, and the empty set is nothing at all. Two policies always meet, and where they
do, a call is allowed that both allow: `narrowed` never fails and never widens.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from playhead.policy.action import Action
from playhead.policy.annotations import Annotations, annotations_of, words
from playhead.policy.approval import ApprovalPolicy, ApprovalRules, Decision
from playhead.policy.autonomy import Autonomy, Ruling, autonomy_of, rule
from playhead.policy.glob import matches, matches_any, names_no_path, spellings, values_of
from playhead.policy.level import Level, known_level, lower, rank

REJECTED: Final = "tool_rejected"
RULINGS_KEPT_MAX: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgConstraint:
    """A rule for one argument of the tools that `tool` matches: it is like one of `arg_patterns`.

    Without `arg_key` it is a rule for every path parameter of the tool. An argument that a call does not
    have breaks no rule, and of a list every element must fit.
    """

    tool: str
    arg_patterns: Collection[str]
    arg_key: str | None = None

    def __post_init__(self) -> None:
        patterns = tuple(sorted(words(self.arg_patterns, "arg_patterns")))
        if not patterns:
            raise ValueError(f"the constraint on {self.tool!r} has no arg_patterns: name at least one")
        object.__setattr__(self, "arg_patterns", patterns)

    def reason_against(self, tool: str, arguments: Mapping[str, Any], said: Annotations) -> str | None:
        """Why a call breaks this rule; None where it does not."""
        if not matches(self.tool, tool):
            return None
        keys = said.path_params if self.arg_key is None else [self.arg_key]
        if keys is None:
            return f"tool '{tool}' declares no path_params, and a constraint on {self.tool!r} asks for them"
        if self.arg_key is None and names_no_path(arguments, keys):
            return f"tool '{tool}' is called without a path, and it must be like {self._shown}"
        for key in keys:
            for value in values_of(arguments.get(key)):
                if not isinstance(value, str) or not all(
                    matches_any(self.arg_patterns, spelling) for spelling in spellings(value)
                ):
                    return f"tool '{tool}' may not have {key} = {value!r}: it is not like {self._shown}"
        return None

    @property
    def _shown(self) -> str:
        return " or ".join(repr(pattern) for pattern in self.arg_patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the code inside may do. None inherits; a set is all there is; the empty set is nothing.

    `capabilities` names operations by domain; a domain with None has all of them, and a domain that is
    not named has none. `workspace_roots` are directories. `side_effect_level` is a ceiling.
    `recursion_limit` is how many runs deep child runs may go. `tool_annotations` says more about tools
    than they do themselves, and only what makes them look worse counts. `autonomy` says which effects happen
    by themselves, and which wait for people or are only proposed: one scope, or several, outermost first.

    Raises `ValueError` for a level that is not on the ladder, a negative limit, or a root with `..`.
    """

    tools: Collection[str] | None = None
    capabilities: Mapping[str, Collection[str] | None] | None = None
    workspace_roots: Collection[str] | None = None
    side_effect_level: Level | None = None
    recursion_limit: int | None = None
    tool_arg_constraints: Collection[ArgConstraint] = ()
    tool_annotations: Mapping[str, Annotations] | None = None
    approval: ApprovalPolicy | ApprovalRules = field(default_factory=ApprovalPolicy)
    autonomy: Autonomy | Collection[Autonomy] = ()
    _rulings: dict[tuple[str, Action, tuple[str, ...]], Ruling] = field(
        default_factory=dict[tuple[str, Action, tuple[str, ...]], Ruling],
        init=False,
        repr=False,
        compare=False,
    )
    """What `ruling` found. It follows from the rest."""
    bounds_tools: bool = field(init=False, repr=False, compare=False)
    """Whether a call of a tool could be refused, or have to be approved, whatever the tool is."""
    may_ask: bool = field(init=False, repr=False, compare=False)
    """Whether a call could have to wait for people, or be looked up first."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        if self.tools is not None:
            put(self, "tools", words(self.tools, "tools"))
        if self.capabilities is not None:
            # A domain without operations is a domain that is not there.
            named = {
                domain: None if ops is None else words(ops, f"capabilities of {domain}")
                for domain, ops in sorted(self.capabilities.items())
            }
            put(self, "capabilities", {d: ops for d, ops in named.items() if ops is None or ops})
        if self.workspace_roots is not None:
            put(self, "workspace_roots", _outermost(_root(root) for root in _listed(self.workspace_roots)))
        if self.side_effect_level is not None:
            known_level(self.side_effect_level)
        limit = self.recursion_limit
        if limit is not None and (type(limit) is not int or limit < 0):
            raise ValueError(f"recursion_limit is a number from 0 on, not {limit!r}")
        rules: Any = self.tool_arg_constraints
        if isinstance(rules, ArgConstraint) or not all(isinstance(rule, ArgConstraint) for rule in rules):
            raise ValueError(f"tool_arg_constraints is a list of ArgConstraint(...), not {rules!r}")
        known: Any = self.tool_annotations or {}
        if not all(isinstance(said, Annotations) for said in known.values()):
            raise ValueError(f"tool_annotations are Annotations(...) by tool, not {known!r}")
        put(self, "tool_arg_constraints", tuple(dict.fromkeys(self.tool_arg_constraints)))
        put(self, "tool_annotations", dict(sorted((self.tool_annotations or {}).items())))
        if isinstance(self.approval, ApprovalRules):
            put(self, "approval", ApprovalPolicy((self.approval,)))
        elif not isinstance(self.approval, ApprovalPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"approval is ApprovalRules(...), not {self.approval!r}")  # noqa: TRY004
        said: Any = (self.autonomy,) if isinstance(self.autonomy, Autonomy) else tuple(self.autonomy)
        if not all(isinstance(scope, Autonomy) for scope in said):
            raise ValueError(f"autonomy is Autonomy(...), not {self.autonomy!r}")
        put(self, "autonomy", tuple(scope for n, scope in enumerate(said) if scope not in said[:n]))
        put(self, "bounds_tools", self._bounds_tools())
        layers = self.approvals.layers
        put(self, "may_ask", bool(self.scopes) or any(layer.require_approval for layer in layers))

    def _bounds_tools(self) -> bool:
        return bool(
            self.tools is not None
            or self.capabilities is not None
            or self.side_effect_level is not None
            or self.workspace_roots is not None
            or self.tool_arg_constraints
            or self.approvals.layers
        )

    @property
    def scopes(self) -> tuple[Autonomy, ...]:
        """What everybody says about autonomy, the outermost scope first."""
        assert isinstance(self.autonomy, tuple)
        return self.autonomy

    @property
    def approvals(self) -> ApprovalPolicy:
        """The rules of everybody who has a say about calls."""
        assert isinstance(self.approval, ApprovalPolicy)
        return self.approval

    # ------------------------------------------------------------- meeting

    def narrowed(self, by: Policy) -> Policy:
        """What both allow."""
        annotations = dict(self.tool_annotations or {})
        for tool, said in (by.tool_annotations or {}).items():
            annotations[tool] = annotations[tool].and_also(said) if tool in annotations else said
        limits = [limit for limit in (self.recursion_limit, by.recursion_limit) if limit is not None]
        return Policy(
            tools=_common(self.tools, by.tools),
            capabilities=_common_capabilities(self.capabilities, by.capabilities),
            workspace_roots=_common_roots(self.workspace_roots, by.workspace_roots),
            side_effect_level=lower(self.side_effect_level, by.side_effect_level),
            recursion_limit=min(limits, default=None),
            tool_arg_constraints=(*self.tool_arg_constraints, *by.tool_arg_constraints),
            tool_annotations=annotations,
            approval=self.approvals.narrowed(by.approvals),
            autonomy=(*self.scopes, *(scope for scope in by.scopes if scope not in self.scopes)),
        )

    # ------------------------------------------------------------ deciding

    def ruling(self, agent: str, action: Action, within: tuple[str, ...]) -> Ruling:
        """What the scopes of autonomy say of an effect (see `rule`), found out once for each."""
        about = (agent, action, within)
        known = self._rulings.get(about)
        if known is None:
            if len(self._rulings) >= RULINGS_KEPT_MAX:
                self._rulings.clear()
            known = self._rulings[about] = rule(self.scopes, *about)
        return known

    def decide(self, tool: str, arguments: Mapping[str, Any], said: Annotations) -> Decision:
        """Whether a call of `tool` may run, must be approved by a person first, or may not run at all.

        `said` is what the tool declares of itself, `arguments` are by name, defaults filled in. An approval
        lifts no ceiling: what a ceiling forbids is denied whoever would approve it.
        """
        known = (self.tool_annotations or {}).get(tool)
        if known is not None:
            said = said.and_also(known)
        reason = self._reason_against(tool, arguments, said)
        return Decision("denied", reason) if reason else self.approvals.decide(tool, arguments, said)

    def _reason_against(self, tool: str, arguments: Mapping[str, Any], said: Annotations) -> str | None:
        if self.tools is not None and tool not in self.tools:
            return f"tool '{tool}' exceeds tool ceiling: {_shown(self.tools)}"
        reason = (
            self._capability_against(tool, said)
            or self._level_against(tool, said)
            or self._root_against(tool, arguments, said)
        )
        if reason is not None:
            return reason
        for constraint in self.tool_arg_constraints:
            reason = constraint.reason_against(tool, arguments, said)
            if reason is not None:
                return reason
        return None

    def allows_depth(self, depth: int) -> bool:
        """Whether a child run may go `depth` runs deep, from 1."""
        return self.recursion_limit is None or depth <= self.recursion_limit

    def _capability_against(self, tool: str, said: Annotations) -> str | None:
        allowed = self.capabilities
        if allowed is None:
            return None
        if said.capabilities is None:
            return f"tool '{tool}' exceeds capability ceiling: it does not declare its capabilities"
        for domain, needed in sorted(said.capabilities.items()):
            ops = allowed.get(domain, frozenset())
            beyond = [] if ops is None else sorted(set(needed) - set(ops))
            if beyond:
                return f"tool '{tool}' exceeds capability ceiling: {domain}.{','.join(beyond)}"
        return None

    def _level_against(self, tool: str, said: Annotations) -> str | None:
        ceiling = self.side_effect_level
        if ceiling is None or rank(said.side_effect_level) <= rank(ceiling):
            return None
        level = said.side_effect_level or "it does not declare its level"
        return f"tool '{tool}' exceeds side-effect ceiling: {level} (at most {ceiling})"

    def _root_against(self, tool: str, arguments: Mapping[str, Any], said: Annotations) -> str | None:
        roots = self.workspace_roots
        if roots is None:
            return None
        if said.path_params is None:
            if said.side_effect_level == "none":
                return None  # it touches nothing, so it needs no place
            return f"tool '{tool}' exceeds workspace roots: it does not declare its path_params"
        if names_no_path(arguments, said.path_params):
            return f"tool '{tool}' exceeds workspace roots: it is called without a path"
        for name in said.path_params:
            for path in values_of(arguments.get(name)):
                if not isinstance(path, str) or not any(_within(_normal(path), root) for root in roots):
                    return f"tool '{tool}' exceeds workspace roots: {name} = {path!r}"
        return None

    # ------------------------------------------------------------- writing

    def document(self) -> dict[str, Any]:
        """As plain values in one order, for the log."""
        return {
            "tools": _sorted(self.tools),
            "capabilities": None
            if self.capabilities is None
            else {domain: _sorted(ops) for domain, ops in self.capabilities.items()},
            "workspace_roots": _sorted(self.workspace_roots),
            "side_effect_level": self.side_effect_level,
            "recursion_limit": self.recursion_limit,
            "tool_arg_constraints": [
                {"tool": rule.tool, "arg_patterns": list(rule.arg_patterns), "arg_key": rule.arg_key}
                for rule in self.tool_arg_constraints
            ],
            "tool_annotations": {
                tool: {
                    "kind": said.kind,
                    "side_effect_level": said.side_effect_level,
                    "capabilities": None
                    if said.capabilities is None
                    else {domain: _sorted(ops) for domain, ops in sorted(said.capabilities.items())},
                    "path_params": _sorted(said.path_params),
                }
                for tool, said in (self.tool_annotations or {}).items()
            },
            "approval": self.approvals.document(),
            # Left out where there is none, as in logs from before there could be any.
            **({"autonomy": [scope.document() for scope in self.scopes]} if self.scopes else {}),
        }


def policy_of(said: Mapping[str, Any]) -> Policy:
    """The policy that `document` wrote. Raises `ValueError` for a field it does not know."""
    known = {each.name for each in fields(Policy) if each.init}
    unknown = sorted(set(said) - known)
    if unknown:
        raise ValueError(f"a policy has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    told: dict[str, Any] = dict(said)
    told["tool_arg_constraints"] = [ArgConstraint(**rule) for rule in said.get("tool_arg_constraints", ())]
    told["tool_annotations"] = {
        tool: annotations_of(about) for tool, about in said.get("tool_annotations", {}).items()
    }
    told["approval"] = ApprovalPolicy(tuple(ApprovalRules(**layer) for layer in said.get("approval", ())))
    told["autonomy"] = tuple(autonomy_of(scope) for scope in said.get("autonomy", ()))
    return Policy(**told)


def _common(one: Collection[str] | None, other: Collection[str] | None) -> Collection[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return frozenset(one) & frozenset(other)


def _common_capabilities(
    one: Mapping[str, Collection[str] | None] | None, other: Mapping[str, Collection[str] | None] | None
) -> Mapping[str, Collection[str] | None] | None:
    if one is None or other is None:
        return other if one is None else one
    return {domain: _common(ops, other[domain]) for domain, ops in one.items() if domain in other}


def _common_roots(one: Collection[str] | None, other: Collection[str] | None) -> Collection[str] | None:
    """What lies in both of two sets of directories: of each pair the inner one, where one holds the other."""
    if one is None or other is None:
        return other if one is None else one
    inner = [a for a in one if any(_within(a, b) for b in other)]
    return frozenset([*inner, *(b for b in other if any(_within(b, a) for a in one))])


def _root(text: str) -> str:
    normal = _normal(text)
    if ".." in normal.split("/"):
        raise ValueError(f"the workspace root {text!r} leads out of its own directory")
    return normal


def _normal(text: str) -> str:
    normal = posixpath.normpath(text)
    return normal[1:] if normal.startswith("//") else normal


def _within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it; both are normal."""
    if path == root:
        return True
    if root == ".":
        return path != ".." and not path.startswith(("/", "../"))
    return path.startswith(root if root == "/" else f"{root}/")


def _outermost(roots: Iterable[str]) -> frozenset[str]:
    """Without the roots that lie below another."""
    known = frozenset(roots)
    return frozenset(
        root for root in known if not any(root != other and _within(root, other) for other in known)
    )


def _listed(given: Collection[str]) -> list[str]:
    return sorted(words(given, "workspace_roots"))


def _sorted(given: Collection[str] | None) -> list[str] | None:
    return None if given is None else sorted(given)


def _shown(tools: Collection[str]) -> str:
    return ", ".join(sorted(tools)) if tools else "no tool at all"
