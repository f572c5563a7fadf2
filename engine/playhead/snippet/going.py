"""Helpers that go over values, and call a function for each."""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playhead.snippet.calling import call
from playhead.snippet.making import NOTHING
from playhead.snippet.meter import Meter
from playhead.snippet.operators import elements, length, listed, whole
from playhead.snippet.ordering import arranged, arranged_by
from playhead.snippet.values import METER, Frame, before, failed, key, kind_of, number

# Choosing one.


def extreme(name: str, *, largest: bool) -> Callable[..., Any]:
    """`min` or `max` without a key."""

    def without_key(frame: Frame, values: list[Any], _: Any, default: Any) -> Any:
        meter: Meter = frame[METER]
        best: Any = NOTHING
        for each in _choices(meter, name, values, default):
            meter.spend(1)
            if best is NOTHING or (before(meter, best, each) if largest else before(meter, each, best)):
                best = each
        return _chosen(name, best, default)

    return without_key


def extreme_by(name: str, *, largest: bool) -> Callable[..., Any]:
    """`min` or `max` by what a function says of each value."""
    without_key = extreme(name, largest=largest)

    async def with_key(frame: Frame, values: list[Any], by: Any, default: Any) -> Any:
        if by is None:
            return without_key(frame, values, by, default)
        meter: Meter = frame[METER]
        best: Any = NOTHING
        best_key: Any = None
        for each in _choices(meter, name, values, default):
            this = await call(frame, by, [each])
            if best is NOTHING or (
                before(meter, best_key, this) if largest else before(meter, this, best_key)
            ):
                best, best_key = each, this
        return _chosen(name, best, default)

    return with_key


def _choices(meter: Meter, name: str, values: list[Any], default: Any) -> Any:
    """The elements of the only argument, or all arguments."""
    if not values:
        raise failed("TypeError", f"{name}() needs values")
    if len(values) > 1 and default is not NOTHING:
        raise failed("TypeError", f"a default of {name}() is there for a single argument only")
    if len(values) > 1:
        return values
    found = elements(meter, values[0])
    return found if type(found) is range else listed(meter, found)


def _chosen(name: str, best: Any, default: Any) -> Any:
    if best is not NOTHING:
        return best
    if default is NOTHING:
        raise failed("ValueError", f"{name}() got nothing to choose from")
    return default


# Going over values.


def sorted_(frame: Frame, values: Any, _: Any, reverse: Any) -> list[Any]:
    """A new list in order."""
    return arranged(frame, listed(frame[METER], values), backwards=bool(reverse))


async def sorted_by(frame: Frame, values: Any, by: Any, reverse: Any) -> list[Any]:
    """A new list in order of what a function says."""
    return await arranged_by(frame, listed(frame[METER], values), by, backwards=bool(reverse))


def enumerate_(frame: Frame, values: Any, start: Any) -> list[Any]:
    """Pairs of a number and a value."""
    first = whole(start, "start")
    found = listed(frame[METER], values)
    frame[METER].grow(3 * len(found))
    number(first + len(found))
    return list(enumerate(found, first))


def zip_(frame: Frame, several: list[Any], strict: Any) -> list[Any]:
    """Tuples of one element of each, up to the shortest."""
    meter: Meter = frame[METER]
    found = [elements(meter, each) for each in several]
    if not found:
        return []
    shortest = min(map(length, found))
    if strict and any(length(each) != shortest for each in found):
        raise failed("ValueError", "zip() got values of different lengths")
    meter.grow((len(found) + 2) * shortest)
    return list(zip(*found, strict=False))


def reversed_(frame: Frame, values: Any) -> list[Any]:
    """A new list from the last to the first."""
    if type(values) not in (str, list, tuple, range, dict):
        raise failed("TypeError", f"a {kind_of(values)} has no order to reverse")
    return listed(frame[METER], values)[::-1]


def any_(frame: Frame, values: Any) -> bool:
    """Whether one value counts as true."""
    for each in elements(frame[METER], values):
        frame[METER].spend(1)
        if each:
            return True
    return False


def all_(frame: Frame, values: Any) -> bool:
    """Whether every value counts as true."""
    for each in elements(frame[METER], values):
        frame[METER].spend(1)
        if not each:
            return False
    return True


async def map_(frame: Frame, given: list[Any]) -> list[Any]:
    """What a function says of each value, or of several side by side."""
    if len(given) < 2:
        raise failed("TypeError", "map() needs a function and values")
    function, *several = given
    found = zip_(frame, several, False)
    return [await call(frame, function, list(each)) for each in found]


async def filter_(frame: Frame, function: Any, values: Any) -> list[Any]:
    """The values of which a function says yes; without one, those that count as true."""
    found = listed(frame[METER], values)
    if function is None:
        return [each for each in found if each]
    return [each for each in found if await call(frame, function, [each])]


async def flat_map(frame: Frame, values: Any, function: Any) -> list[Any]:
    """The elements of all lists that a function gives."""
    found: list[Any] = []
    for each in listed(frame[METER], values):
        found.extend(listed(frame[METER], await call(frame, function, [each])))
    return found


async def group_by(frame: Frame, values: Any, function: Any) -> dict[Any, Any]:
    """Lists of values under what a function says of them, or under their member."""
    groups: dict[Any, Any] = {}
    for each in listed(frame[METER], values):
        frame[METER].grow(3)
        groups.setdefault(key(frame[METER], await _by(frame, function, each)), []).append(each)
    return groups


async def dedup_by(frame: Frame, values: Any, function: Any) -> list[Any]:
    """The first value of each group."""
    seen: dict[Any, Any] = {}
    for each in listed(frame[METER], values):
        frame[METER].grow(2)
        seen.setdefault(key(frame[METER], await _by(frame, function, each)), each)
    return list(seen.values())


async def _by(frame: Frame, function: Any, value: Any) -> Any:
    """What a value is grouped by: what a function says, or its member of that name."""
    if type(function) is not str:
        return await call(frame, function, [value])
    if type(value) is not dict or function not in value:
        raise failed("KeyError", function)
    return value[function]
