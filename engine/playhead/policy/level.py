"""The ladder of side-effect levels, from nothing to everything.

    none < read_only < workspace_write < process_exec < network < desktop_control

A ceiling is a level that nothing may go beyond. A tool that declares no level may
do anything, so under a ceiling it stands at the top of the ladder: unknown means no.
"""

from __future__ import annotations

from typing import Final, Literal

Level = Literal["none", "read_only", "workspace_write", "process_exec", "network", "desktop_control"]

LEVELS: Final[tuple[Level, ...]] = (
    "none",
    "read_only",
    "workspace_write",
    "process_exec",
    "network",
    "desktop_control",
)


def known_level(word: str) -> Level:
    """`word` as a level. Raises `ValueError` for any other word."""
    for level in LEVELS:
        if level == word:
            return level
    raise ValueError(f"side_effect_level {word!r} is not one of {', '.join(LEVELS)}")


def rank(level: Level | None) -> int:
    """The place of a level on the ladder, from 0. What is not declared ranks highest."""
    return len(LEVELS) - 1 if level is None else LEVELS.index(level)


def lower(one: Level | None, other: Level | None) -> Level | None:
    """The lower of two ceilings; None is no ceiling."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other, key=rank)
