"""What a call is to whoever decides about autonomy: which tool, and which class of effect.

    action_of("publish", Annotations(side_effect_level="network"))     # network.call
    action_of("look", Annotations(side_effect_level="read_only"))      # None: no effect, nothing to decide
    action_of("mystery", Annotations())                                # unknown

A class is named by what is touched and how. Whatever changes something has one, and what
does not say what it does has `unknown`, for which the strictest word of a scope counts.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from playhead.policy.annotations import Annotations, Kind
from playhead.policy.effect import EffectClass
from playhead.policy.level import Level

UNKNOWN: Final = "unknown"
MODEL_CALL: Final = "model.call"
STATE_CHANGE: Final = "agent_state.write"
BY_NAME_ONLY: Final = frozenset({MODEL_CALL, "secret.get"})
"""Classes that a tier for everything does not cover: an agent that may not think proposes nothing."""
CAPABILITIES: Final = {
    "fs.write": "workspace.write_text",
    "fs.mkdir": "workspace.write_text",
    "fs.copy": "workspace.write_text",
    "fs.move": "workspace.write_text",
    "fs.delete": "workspace.delete",
    "network.sse.write": "network.sse",
}
"""What a class needs, where that is not called as the class is."""

_BY_LEVEL: Final[dict[Level, str]] = {
    "workspace_write": "workspace.write",
    "process_exec": "process.exec",
    "network": "network.call",
    "desktop_control": "desktop.control",
}
_IN_WORKSPACE: Final[dict[Kind, str]] = {
    "edit": "fs.write",
    "delete": "fs.delete",
    "move": "fs.move",
    "execute": "process.exec",
}
KINDS: Final = frozenset(
    (UNKNOWN, STATE_CHANGE, *BY_NAME_ONLY, *CAPABILITIES, *_BY_LEVEL.values(), *_IN_WORKSPACE.values())
)
"""The classes that have a name of their own here; a tool may declare another."""
_CLASS: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


class Action(msgspec.Struct, frozen=True, array_like=True):
    """One effect that somebody wants to have: the tool that is called, and its class."""

    name: str
    kind: str

    @property
    def capability(self) -> str:
        """What an approval of it asks for."""
        return CAPABILITIES.get(self.kind, self.kind)


def known_class(word: object) -> str:
    """`word` as a class of effects. Raises `ValueError` for what could be none."""
    if not isinstance(word, str) or not _CLASS.fullmatch(word):
        raise ValueError(f"a class of effects is words with dots between, such as fs.write, not {word!r}")
    return word


def action_of(
    name: str, said: Annotations, *, effect: EffectClass | None = None, declared: str | None = None
) -> Action | None:
    """What a call of the tool `name` is; None where it changes nothing, so that there is nothing to decide.

    `declared` is the class that the tool names itself. `effect` is what may be done about it after a crash,
    and says that it changes nothing only where no level says otherwise.
    """
    if declared is not None:
        return Action(name, known_class(declared))
    level = said.side_effect_level
    if level is None:
        harmless = effect in (EffectClass.PURE, EffectClass.READ_ONLY)
        return None if harmless else Action(name, UNKNOWN)
    if level in ("none", "read_only"):
        return None
    if level == "workspace_write":
        return Action(name, _IN_WORKSPACE.get(said.kind, _BY_LEVEL[level]))
    return Action(name, _BY_LEVEL[level])
