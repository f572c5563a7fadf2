"""Sorting. It is charged by a formula: how often values are compared is up to each release of Python.

Numbers, and texts, are sorted by Python itself. Everything else goes through a merge sort
of our own, whose comparisons are always the same ones.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from math import isnan
from typing import Any

from playhead.snippet.calling import call
from playhead.snippet.meter import Meter
from playhead.snippet.values import METER, NUMBERS, Frame, before, failed


def arranged(frame: Frame, items: list[Any], *, backwards: bool) -> list[Any]:
    """A new list of `items` in order; equal ones stay as they were."""
    return _placed(frame[METER], items, items, backwards=backwards)


async def arranged_by(frame: Frame, items: list[Any], by: Any, *, backwards: bool) -> list[Any]:
    """A new list of `items` in order of what the function `by` says of each."""
    keys = items if by is None else [await call(frame, by, [each]) for each in items]
    return _placed(frame[METER], items, keys, backwards=backwards)


def _placed(meter: Meter, items: list[Any], keys: list[Any], *, backwards: bool) -> list[Any]:
    meter.grow(2 * len(items))
    meter.spend(len(items) * len(items).bit_length() // 8)
    return [items[place] for place in _order(meter, keys, backwards=backwards)]


def _order(meter: Meter, keys: list[Any], *, backwards: bool) -> list[int]:
    """The places of `keys` in order."""
    kinds = {type(each) for each in keys}
    if kinds <= NUMBERS and any(type(each) is float and isnan(each) for each in keys):
        raise failed("ValueError", "NaN has no place in an order")
    if kinds == {str}:
        meter.read(sum(map(len, keys)) * len(keys).bit_length())
    if kinds <= NUMBERS or kinds == {str}:
        return sorted(range(len(keys)), key=keys.__getitem__, reverse=backwards)
    if len(keys) > 1 and not kinds <= {list, tuple}:
        raise failed("TypeError", "values of different types, or of this one, have no order")
    places = list(range(len(keys)))
    if backwards:  # merged from behind and turned round, so that equal ones keep their order
        return _merged(meter, keys, places[::-1])[::-1]
    return _merged(meter, keys, places)


def _merged(meter: Meter, keys: list[Any], places: list[int]) -> list[int]:
    if len(places) < 2:
        return places
    middle = len(places) // 2
    left, right = _merged(meter, keys, places[:middle]), _merged(meter, keys, places[middle:])
    found: list[int] = []
    i = j = 0
    while i < len(left) and j < len(right):
        meter.spend(1)
        if before(meter, keys[right[j]], keys[left[i]]):
            found.append(right[j])
            j += 1
        else:
            found.append(left[i])
            i += 1
    return found + left[i:] + right[j:]
