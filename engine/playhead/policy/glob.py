"""The one kind of pattern that policies and hooks know.

    *        everything
    docs__*  what begins so
    *_read   what ends so
    fetch    exactly that

Nothing else is special: `*mid*` begins with a star and ends in one, so it is what
begins with the text `*mid`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePath
from typing import Any, cast


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is what `pattern` says."""
    if pattern == "*":
        return True
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return pattern == text


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether one of `patterns` matches."""
    return any(matches(pattern, text) for pattern in patterns)


def spellings(text: str) -> tuple[str, ...]:
    """What a value that may be a path has to match, all of it: as it is written, and where it leads.

    `src/../secret` begins with `src/` and is not in it.
    """
    if ".." not in text.replace("\\", "/").split("/"):
        return (text,)
    return text, posixpath.normpath(text.replace("\\", "/"))


def values_of(argument: Any) -> list[Any]:
    """What rules look at in an argument: its elements, if it is a list; paths as texts; nothing in None."""
    if argument is None:
        return []
    many = isinstance(argument, (list, tuple, set, frozenset))
    values: list[Any] = [*cast("Iterable[Any]", argument)] if many else [argument]
    return [str(value) if isinstance(value, PurePath) else value for value in values]


def names_no_path(arguments: Mapping[str, Any], path_params: Collection[str]) -> bool:
    """Whether a tool that has path parameters is called without any, so that it picks a place itself."""
    return bool(path_params) and not any(values_of(arguments.get(name)) for name in path_params)
