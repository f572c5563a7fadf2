"""May this be called here? Asked of the policy around a call, before anything is recorded as requested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any, cast

from msgspec import Raw

from playhead.errors import ToolRejected
from playhead.events.redaction import holds_redacted
from playhead.events.rules import ToolDenied
from playhead.events.words import ComposedWords
from playhead.policy.annotations import Annotations
from playhead.runtime.place import call_site
from playhead.runtime.scope import Scope


class HiddenText(str):
    """A text that policies can match and nobody can read in what they say."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "(redacted)"


class Hidden:
    """Any other value that is not shown."""

    def __repr__(self) -> str:
        return "(redacted)"


def hidden(value: Any) -> Any:
    """`value` for a policy to look at, when it must not be told."""
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return HiddenText(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [hidden(element) for element in cast("Collection[Any]", value)]
    return None if value is None else Hidden()


def check_tool(
    scope: Scope,
    op: str,
    tool: str,
    said: Annotations,
    named: Mapping[str, Any],
    recorded: Raw,
    *,
    composed: ComposedWords | None = None,
    may_ask: bool = False,
) -> str:
    """Raise `ToolRejected` where the policy around `scope` does not allow the call, and write that down.

    `named` are the arguments as they are, `recorded` as they stand in the log. Who `may_ask` people is told
    why somebody has to approve the call, and "" where nobody has to; for others that is a refusal.
    """
    policy = scope.around.policy
    assert policy is not None
    if holds_redacted(recorded):
        named = {name: hidden(value) for name, value in named.items()}
    found = policy.decide(tool, named, said)
    if found.verdict == "approved":
        return ""
    if found.verdict == "needs_approval" and may_ask:
        return found.reason
    scope.machine.check_inside(op)
    scope.machine.emit(
        op,
        ToolDenied(
            tool=tool,
            args=recorded,
            reason=found.reason,
            verdict=found.verdict,
            site=call_site(),
            composed=composed,
        ),
    )
    raise ToolRejected(found.reason, tool=tool, verdict=found.verdict)


def check_depth(scope: Scope, op: str, persona: str, recorded: Raw) -> None:
    """Raise `ToolRejected` where the policy around `scope` lets no child run go as deep as this."""
    policy, depth = scope.around.policy, scope.around.depth + 1
    assert policy is not None
    if policy.allows_depth(depth):
        return
    reason = f"child run of '{persona}' exceeds recursion limit: {policy.recursion_limit}"
    scope.machine.check_inside(op)
    scope.machine.emit(op, ToolDenied(tool=persona, args=recorded, reason=reason, site=call_site()))
    raise ToolRejected(reason, tool=persona)
