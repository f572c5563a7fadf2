"""Effect classes: what a crash in the middle of a tool means.

    pure         runs again, nobody can tell
    read_only    runs again, it changes nothing
    idempotent   runs again under the same idempotency key
    effect       never runs again by itself: it is in doubt, and somebody is asked

The class follows from the declared side-effect level, and undeclared is `effect`:
unknown means no.
"""

from __future__ import annotations

from enum import StrEnum

from playhead.policy.level import known_level


class EffectClass(StrEnum):
    """What may be done about a tool whose outcome is not known."""

    PURE = "pure"
    READ_ONLY = "read_only"
    IDEMPOTENT = "idempotent"
    EFFECT = "effect"

    @property
    def repeatable(self) -> bool:
        """Whether it may run again without asking."""
        return self is not EffectClass.EFFECT


def effect_class(*, level: str | None, declared: str | None) -> EffectClass:
    """The class of a tool with side-effect level `level`, unless it declared one. Raises `ValueError`."""
    if level is not None:
        known_level(level)
    if declared is not None:
        return EffectClass(declared)
    if level == "none":
        return EffectClass.PURE
    if level == "read_only":
        return EffectClass.READ_ONLY
    return EffectClass.EFFECT
