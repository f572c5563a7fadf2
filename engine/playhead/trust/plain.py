"""Whether a value is JSON that every reader reads alike.

    check_plain(record.metadata, where="metadata")     # raises BadValue

Not everything that some library writes as JSON may be in a record: two readers must come to one hash. So
there is no NaN, no infinity, no integer beyond 64 bits (some read it as a float), no half of a surrogate
pair, no more than 220 levels in a file, and no type that is not one of JSON's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from playhead.errors import BadValue
from playhead.trust.problem import Problem, step

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1

LEVELS_MAX: Final = 220
"""How deep a file is nested at most: any value that the log can hold has room in the metadata of a record."""
RECORD_LEVEL: Final = 2
METADATA_LEVEL: Final = 3
"""How many levels lie around a record and its metadata in a file."""

_type_of: Final = cast("Callable[[object], type[object]]", type)
_LEAVES: Final = frozenset({str, bool, type(None)})


class Odd:
    """Something that stood in a text of JSON and is no value. `about` says what."""

    __slots__ = ("about",)

    def __init__(self, about: str) -> None:
        self.about = about


def is_plain(value: Any, around: int = 0) -> bool:
    """Whether a value is plain, but for halves of surrogate pairs, which no encoder lets through. Quick.

    `around` is how many levels it lies deep in a file already.
    """
    kind = _type_of(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif kind is not list:
        return _is_plain_leaf(value, kind)
    if around >= LEVELS_MAX:
        return False
    around += 1
    # Most of what stands in metadata is a text, and this is most of the work of a hash: no call for a leaf.
    for item in value:
        kind = _type_of(item)
        if kind is str or kind is bool or item is None:
            continue
        if kind is dict or kind is list:
            if not is_plain(item, around):
                return False
        elif not _is_plain_leaf(item, kind):
            return False
    return True


def _is_plain_leaf(value: Any, kind: type[object]) -> bool:
    if kind is int:
        fits: bool = INTEGER_MIN <= value <= INTEGER_MAX
        return fits
    return math.isfinite(value) if kind is float else kind in _LEAVES


def check_plain(value: Any, *, where: str, around: int = 0) -> None:
    """Raise `BadValue` for the first thing in `value` that is not plain."""
    for problem in plain_problems(value, around=around):
        raise BadValue(f"{where}{problem.where}: {problem.text}.", next_step="Write it as a text.")


def plain_problems(value: Any, where: str = "", around: int = 0) -> Iterator[Problem]:
    """Everything in `value` that is not plain, each with its place."""
    for path, text in _found(value, None, around):
        yield Problem(where + _written(path), text)


# The way to a value, last step first. Written out only where something is wrong: a name can be long, and
# stand above very many values.
_Path = tuple["_Path | None", str | int]


def _found(value: Any, path: _Path | None, around: int) -> Iterator[tuple[_Path | None, str]]:
    kind = cast("type[object]", type(value))
    if kind is not dict and kind is not list:
        if (text := _leaf_problem(value, kind)) is not None:
            yield path, text
    elif around >= LEVELS_MAX:
        yield path, f"nested deeper than {LEVELS_MAX} levels of a file"
    elif kind is list:
        for index, item in enumerate(value):
            yield from _found(item, (path, index), around + 1)
    else:
        for key, item in value.items():
            if type(key) is not str:
                yield path, f"the key {key!r} is not a text"
                continue
            if not _is_unicode(key):
                yield path, "a key holds half of a surrogate pair"
            yield from _found(item, (path, key), around + 1)


def _written(path: _Path | None) -> str:
    steps: list[str] = []
    while path is not None:
        path, name = path
        steps.append(step(str(name)))
    return "".join(reversed(steps))


def _leaf_problem(value: Any, kind: type[object]) -> str | None:
    if kind is str:
        return None if _is_unicode(value) else "the text holds half of a surrogate pair"
    if kind is int:
        return None if INTEGER_MIN <= value <= INTEGER_MAX else "the integer does not fit 64 bits"
    if kind is float:
        return None if math.isfinite(value) else f"{value} is not a finite number"
    if kind in _LEAVES:
        return None
    if isinstance(value, Odd):
        return value.about
    return f"a {kind.__qualname__} is not JSON"


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
