"""Helpers that make values of others: the names of types, and of arithmetic."""

from __future__ import annotations

from math import isfinite, isnan
from typing import Any, Final

from playhead.snippet.meter import Meter
from playhead.snippet.methods import members, pairs
from playhead.snippet.operators import add, elements, length, listed, whole
from playhead.snippet.text import check_number, to_repr, to_text
from playhead.snippet.values import METER, NUMBERS, Frame, SetValue, failed, kind_of, number

NOTHING: Final = object()
"""What an argument is that was left out, where None would be a value."""


def _number(value: Any, what: str) -> Any:
    if type(value) not in NUMBERS:
        raise failed("TypeError", f"{what} takes a number, not a {kind_of(value)}")
    return int(value) if type(value) is bool else value


def text(value: Any, what: str) -> str:
    """`value`, which is a text. Raises a `TypeError` of the snippet."""
    if type(value) is not str:
        raise failed("TypeError", f"{what} takes a text, not a {kind_of(value)}")
    return value


# Making values.


def len_(_: Frame, value: Any) -> int:
    """How many elements there are."""
    if type(value) not in (str, list, tuple, dict, SetValue, range):
        raise failed("TypeError", f"a {kind_of(value)} has no length")
    return number(length(value))


def range_(_: Frame, first: Any, stop: Any, step: Any) -> range:
    """Whole numbers in even steps."""
    bounds = [whole(each, "a bound of range") for each in (first, stop, step) if each is not NOTHING]
    if len(bounds) == 3 and bounds[2] == 0:
        raise failed("ValueError", "the step of range cannot be zero")
    return range(*bounds)


def list_(frame: Frame, value: Any) -> list[Any]:
    """A new list of the elements."""
    return [] if value is NOTHING else listed(frame[METER], value)


def tuple_(frame: Frame, value: Any) -> tuple[Any, ...]:
    """A tuple of the elements."""
    return () if value is NOTHING else tuple(listed(frame[METER], value))


def dict_(frame: Frame, value: Any, named: dict[str, Any]) -> dict[Any, Any]:
    """A dict of a dict or of pairs, and of arguments by name."""
    frame[METER].grow(2 * len(named))
    return named if value is NOTHING else pairs(frame[METER], value) | named


def set_(frame: Frame, value: Any) -> SetValue:
    """A set of the elements, in their order."""
    return SetValue({} if value is NOTHING else members(frame[METER], value))


def str_(frame: Frame, value: Any) -> str:
    """A value as text."""
    return "" if value is NOTHING else to_text(frame[METER], value)


def repr_(frame: Frame, value: Any) -> str:
    """A value as it is written in a snippet."""
    return to_repr(frame[METER], value)


def bool_(_: Frame, value: Any) -> bool:
    """Whether a value counts as true."""
    return value is not NOTHING and bool(value)


def int_(frame: Frame, value: Any, base: Any) -> int:
    """A whole number of a number or a text."""
    if value is NOTHING:
        return 0
    if type(value) is str:
        text = check_number(frame[METER], value)
        if not text.isascii():  # which digits there are besides is said by tables that grow
            raise failed("ValueError", f"{_shown(frame, text)} is not a whole number")
        radix = 10 if base is NOTHING else whole(base, "the base")
        try:
            found = int(text, radix)
        except ValueError:
            raise failed("ValueError", f"{_shown(frame, text)} is not a whole number") from None
        return number(found)
    if base is not NOTHING:
        raise failed("TypeError", "a base is there for texts only")
    if type(value) is float and not isfinite(value):
        raise failed("ValueError" if isnan(value) else "OverflowError", f"{value} is not a whole number")
    return number(int(_number(value, "int()")))


def _shown(frame: Frame, text: str) -> str:
    return to_repr(frame[METER], text[:100])


def float_(frame: Frame, value: Any) -> float:
    """A number with a point of a number or a text."""
    if value is NOTHING:
        return 0.0
    if type(value) is str:
        text = check_number(frame[METER], value)
        try:
            return float(text if text.isascii() else "")
        except ValueError:
            raise failed("ValueError", f"{_shown(frame, text)} is not a number") from None
    return float(_number(value, "float()"))


# Numbers.


def abs_(_: Frame, value: Any) -> Any:
    """A number without its sign."""
    found = abs(_number(value, "abs()"))
    return number(found) if type(found) is int else found


def round_(_: Frame, value: Any, digits: Any) -> Any:
    """A number to so many digits; to a whole one where none are given."""
    given = _number(value, "round()")
    places = None if digits is None else max(-400, min(400, whole(digits, "ndigits")))
    if places is None and type(given) is float and not isfinite(given):
        kind = "ValueError" if isnan(given) else "OverflowError"
        raise failed(kind, f"{given} cannot be rounded to a whole number")
    try:
        found = round(given, places)
    except OverflowError:
        raise failed("OverflowError", "the number is too large") from None
    return number(found) if type(found) is int else found


def floor(_: Frame, value: Any) -> int:
    """The whole number below."""
    given = _number(value, "floor()")
    if type(given) is float and not isfinite(given):
        raise failed("ValueError", f"{given} has no floor")
    return number(int(given // 1))


def ceil(_: Frame, value: Any) -> int:
    """The whole number above."""
    given = _number(value, "ceil()")
    if type(given) is float and not isfinite(given):
        raise failed("ValueError", f"{given} has no ceiling")
    return number(-int(-given // 1))


def sum_(frame: Frame, values: Any, start: Any) -> Any:
    """All values added, one after the other."""
    # By one addition after the other: Python's own `sum` rounds otherwise from one release to the next.
    meter: Meter = frame[METER]
    total = 0 if start is NOTHING else start
    if type(total) is str:
        raise failed("TypeError", "sum() does not put texts together; join() does")
    for each in elements(meter, values):
        meter.spend(1)
        total = add(meter, total, each)
    return total
