"""Approval policies of tools: which calls run, which need a person, and which never run.

Every policy is a list of layers, one for each side that had a say, and the strictest
layer decides. So two policies meet by having both their layers, and what one side
approves by itself the other may still want to see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from playhead.policy.annotations import Annotations, words
from playhead.policy.glob import matches, matches_any, names_no_path, spellings, values_of

Verdict = Literal["approved", "needs_approval", "denied"]
_BY_STRICTNESS: Final = ("approved", "needs_approval", "denied")


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says about one call, and why."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRules:
    """One side's rules, as patterns. A denial comes first, then the paths, then what needs no asking.

    `write_paths` None is no rule, and an empty one lets nothing write. It holds for every declared path
    parameter of a tool that does more than read, and such a tool must declare them.
    """

    auto_approve: Collection[str] = ()
    auto_deny: Collection[str] = ()
    require_approval: Collection[str] = ()
    write_paths: Collection[str] | None = None

    def __post_init__(self) -> None:
        for name in ("auto_approve", "auto_deny", "require_approval"):
            object.__setattr__(self, name, tuple(sorted(words(getattr(self, name), name))))
        if self.write_paths is not None:
            object.__setattr__(self, "write_paths", tuple(sorted(words(self.write_paths, "write_paths"))))

    def decide(self, tool: str, arguments: Mapping[str, Any], said: Annotations) -> Decision:
        """What this side says about a call of `tool`."""
        for pattern in self.auto_deny:
            if matches(pattern, tool):
                return Decision("denied", f"tool '{tool}' matches deny pattern '{pattern}'")
        reason = self._path_against(tool, arguments, said)
        if reason is not None:
            return Decision("denied", reason)
        if matches_any(self.auto_approve, tool):
            return Decision("approved")
        for pattern in self.require_approval:
            if matches(pattern, tool):
                return Decision("needs_approval", f"tool '{tool}' matches '{pattern}', which needs approval")
        return Decision("approved")

    def _path_against(self, tool: str, arguments: Mapping[str, Any], said: Annotations) -> str | None:
        if self.write_paths is None or said.reads_only:
            return None
        if said.path_params is None:
            return f"tool '{tool}' may write and does not declare its path_params"
        if names_no_path(arguments, said.path_params):
            return f"tool '{tool}' may write and is called without a path"
        for name in sorted(said.path_params):
            for path in values_of(arguments.get(name)):
                if not isinstance(path, str) or not all(
                    matches_any(self.write_paths, spelling) for spelling in spellings(path)
                ):
                    return f"tool '{tool}' may not write {name} = {path!r}: it is in no allowed path"
        return None


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """The rules of everybody who has a say. Without any, everything is approved."""

    layers: tuple[ApprovalRules, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(dict.fromkeys(self.layers)))

    def narrowed(self, by: ApprovalPolicy) -> ApprovalPolicy:
        """What both have to say."""
        return ApprovalPolicy((*self.layers, *by.layers))

    def document(self) -> list[dict[str, Any]]:
        """As plain values, for the log."""
        return [
            {
                "auto_approve": list(layer.auto_approve),
                "auto_deny": list(layer.auto_deny),
                "require_approval": list(layer.require_approval),
                "write_paths": None if layer.write_paths is None else list(layer.write_paths),
            }
            for layer in self.layers
        ]

    def decide(self, tool: str, arguments: Mapping[str, Any], said: Annotations) -> Decision:
        """The strictest decision of all layers; of several alike the first."""
        decisions = [layer.decide(tool, arguments, said) for layer in self.layers]
        return max(
            decisions, key=lambda found: _BY_STRICTNESS.index(found.verdict), default=Decision("approved")
        )
