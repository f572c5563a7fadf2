"""What the operators of snippets do, for every pair of types that they are there for.

Integers that leave 64 bits are an `OverflowError` of the snippet, and what grows by its
operands is charged before it is made.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from playhead.snippet.meter import Meter
from playhead.snippet.values import (
    INT_MAX,
    INT_MIN,
    NUMBERS,
    SetValue,
    before,
    failed,
    holds,
    key,
    kind_of,
    number,
    same,
)

SHIFT_MAX: Final = 63
Binary = Callable[[Meter, Any, Any], Any]


def _plain(value: Any) -> Any:
    """A number for calculating with: a boolean counts as 0 or 1."""
    return int(value) if type(value) is bool else value


def _numbers(a: Any, b: Any) -> bool:
    return type(a) in NUMBERS and type(b) in NUMBERS


def _no(sign: str, a: Any, b: Any) -> Any:
    raise failed("TypeError", f"{sign} is not there for a {kind_of(a)} and a {kind_of(b)}")


def _checked(value: Any) -> Any:
    if type(value) is int and not INT_MIN <= value <= INT_MAX:
        raise failed("OverflowError", "the number does not fit in 64 bits")
    return value


def add(meter: Meter, a: Any, b: Any) -> Any:
    """`a + b`."""
    if _numbers(a, b):
        return _checked(_plain(a) + _plain(b))
    kind = type(a)
    if kind is not type(b):
        return _no("+", a, b)
    if kind is str:
        meter.write(len(a) + len(b))
        return a + b
    if kind is list or kind is tuple:
        meter.grow(len(a) + len(b))
        return a + b
    return _no("+", a, b)


def subtract(meter: Meter, a: Any, b: Any) -> Any:
    """`a - b`."""
    if _numbers(a, b):
        return _checked(_plain(a) - _plain(b))
    if type(a) is SetValue and type(b) is SetValue:
        meter.grow(len(a))
        return SetValue({each: None for each in a.members if each not in b.members})
    return _no("-", a, b)


def multiply(meter: Meter, a: Any, b: Any) -> Any:
    """`a * b`."""
    if _numbers(a, b):
        return _checked(_plain(a) * _plain(b))
    if type(b) in (str, list, tuple):
        a, b = b, a
    if type(b) not in (int, bool):
        return _no("*", a, b)
    times = max(int(b), 0)
    if type(a) is str:
        meter.write(len(a) * times)
        return a * times
    if type(a) in (list, tuple):
        meter.grow(len(a) * times)
        return a * times
    return _no("*", a, b)


def divide(_: Meter, a: Any, b: Any) -> Any:
    """`a / b`."""
    if not _numbers(a, b):
        return _no("/", a, b)
    if not b:
        raise failed("ZeroDivisionError", "division by zero")
    return _plain(a) / _plain(b)


def floor_divide(_: Meter, a: Any, b: Any) -> Any:
    """`a // b`."""
    if not _numbers(a, b):
        return _no("//", a, b)
    if not b:
        raise failed("ZeroDivisionError", "division by zero")
    return _checked(_plain(a) // _plain(b))


def remainder(_: Meter, a: Any, b: Any) -> Any:
    """`a % b`."""
    if not _numbers(a, b):
        if type(a) is str:
            raise failed("TypeError", "% does not format texts; use an f-string")
        return _no("%", a, b)
    if not b:
        raise failed("ZeroDivisionError", "division by zero")
    return _plain(a) % _plain(b)


def power(_: Meter, a: Any, b: Any) -> Any:
    """`a ** b`."""
    if not _numbers(a, b):
        return _no("**", a, b)
    base, exponent = _plain(a), _plain(b)
    if type(base) is int and type(exponent) is int and exponent >= 0:
        if exponent > SHIFT_MAX and base not in (0, 1, -1):
            raise failed("OverflowError", "the number does not fit in 64 bits")
        return _checked(base ** (exponent if exponent <= SHIFT_MAX else exponent % 2 + 2))
    if base == 0 and exponent < 0 and isfinite(exponent):
        raise failed("ZeroDivisionError", "zero cannot be raised to a negative power")
    if base < 0 and isfinite(base) and isfinite(exponent) and exponent != int(exponent):
        raise failed("ValueError", "a negative number has no power that is not whole")
    try:
        return float(base) ** float(exponent)
    except OverflowError:
        raise failed("OverflowError", "the number is too large") from None


def shift_left(_: Meter, a: Any, b: Any) -> Any:
    """`a << b`."""
    if type(a) not in (int, bool) or type(b) not in (int, bool):
        return _no("<<", a, b)
    if b < 0:
        raise failed("ValueError", "negative shift count")
    if b > SHIFT_MAX and a:
        raise failed("OverflowError", "the number does not fit in 64 bits")
    return _checked(int(a) << int(b)) if a else 0


def shift_right(_: Meter, a: Any, b: Any) -> Any:
    """`a >> b`."""
    if type(a) not in (int, bool) or type(b) not in (int, bool):
        return _no(">>", a, b)
    if b < 0:
        raise failed("ValueError", "negative shift count")
    return int(a) >> min(int(b), SHIFT_MAX + 1)


def _bits(sign: str, numbers: Callable[[Any, Any], Any]) -> Callable[[Meter, Any, Any], Any]:
    def bits(meter: Meter, a: Any, b: Any) -> Any:
        if type(a) in (int, bool) and type(b) in (int, bool):
            return numbers(a, b)
        if type(a) is SetValue and type(b) is SetValue:
            meter.grow(len(a) + len(b))
            return SetValue(_members(sign, a.members, b.members))
        if sign == "|" and type(a) is dict and type(b) is dict:
            meter.grow(2 * (len(a) + len(b)))
            return a | b
        return _no(sign, a, b)

    return bits


def _members(sign: str, a: dict[Any, None], b: dict[Any, None]) -> dict[Any, None]:
    if sign == "|":
        return a | b
    if sign == "&":
        return {each: None for each in a if each in b}
    only = {each: None for each in a if each not in b}
    return only | {each: None for each in b if each not in a}


BINARY: Final[dict[str, Binary]] = {
    "Add": add,
    "Sub": subtract,
    "Mult": multiply,
    "Div": divide,
    "FloorDiv": floor_divide,
    "Mod": remainder,
    "Pow": power,
    "LShift": shift_left,
    "RShift": shift_right,
    "BitOr": _bits("|", operator.or_),
    "BitAnd": _bits("&", operator.and_),
    "BitXor": _bits("^", operator.xor),
}


def in_place(name: str, meter: Meter, a: Any, b: Any) -> Any:
    """`a += b` and its like: lists, dicts and sets are changed, everything else is calculated anew."""
    kind = type(a)
    if kind is list and name == "Add":
        more = elements(meter, b)
        meter.grow(length(more))
        a.extend(more)
        return a
    if kind is list and name == "Mult" and type(b) in (int, bool):
        meter.grow(len(a) * max(int(b) - 1, 0))
        a *= int(b)
        return a
    if kind is dict and name == "BitOr" and type(b) is dict:
        meter.grow(2 * len(b))
        a.update(b)
        return a
    if kind is SetValue and type(b) is SetValue and name in ("BitOr", "BitAnd", "BitXor", "Sub"):
        a.members = BINARY[name](meter, a, b).members
        return a
    return BINARY[name](meter, a, b)


def negative(value: Any) -> Any:
    """`-value`."""
    if type(value) not in NUMBERS:
        raise failed("TypeError", f"- is not there for a {kind_of(value)}")
    return _checked(-_plain(value))


def positive(value: Any) -> Any:
    """`+value`."""
    if type(value) not in NUMBERS:
        raise failed("TypeError", f"+ is not there for a {kind_of(value)}")
    return _plain(value)


def inverted(value: Any) -> Any:
    """`~value`."""
    if type(value) not in (int, bool):
        raise failed("TypeError", f"~ is not there for a {kind_of(value)}")
    return ~int(value)


UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "USub": negative,
    "UAdd": positive,
    "Invert": inverted,
    "Not": operator.not_,
}


# Comparing. Sets are ordered by what they hold, everything else by `before`.


def less(meter: Meter, a: Any, b: Any) -> bool:
    """`a < b`."""
    if type(a) is SetValue and type(b) is SetValue:
        meter.look(len(a) + 8)
        return a.members.keys() < b.members.keys()
    return before(meter, a, b)


def less_or_equal(meter: Meter, a: Any, b: Any) -> bool:
    """`a <= b`."""
    if type(a) in NUMBERS and type(b) in NUMBERS:
        return bool(a <= b)
    if type(a) is SetValue and type(b) is SetValue:
        meter.look(len(a) + 8)
        return a.members.keys() <= b.members.keys()
    return before(meter, a, b) or same(meter, a, b)


COMPARE: Final[dict[str, Callable[[Meter, Any, Any], bool]]] = {
    "Eq": same,
    "NotEq": lambda meter, a, b: not same(meter, a, b),
    "Lt": less,
    "LtE": less_or_equal,
    "Gt": lambda meter, a, b: less(meter, b, a),
    "GtE": lambda meter, a, b: less_or_equal(meter, b, a),
    "In": lambda meter, a, b: holds(meter, b, a),
    "NotIn": lambda meter, a, b: not holds(meter, b, a),
    "Is": lambda _, a, b: a is b,
    "IsNot": lambda _, a, b: a is not b,
}


# Elements.


def elements(meter: Meter, value: Any) -> Any:
    """What a loop goes over: the value itself, or a list made for it. Raises a `TypeError` of the snippet."""
    kind = type(value)
    if kind is list or kind is tuple or kind is range or kind is str:
        return value
    if kind is dict:
        meter.grow(len(value))
        return list(value)
    if kind is SetValue:
        meter.grow(len(value))
        return list(value.members)
    raise failed("TypeError", f"a {kind_of(value)} has no elements to go over")


def listed(meter: Meter, value: Any) -> list[Any]:
    """A new list of the elements."""
    found = elements(meter, value)
    meter.grow(length(found))
    return list(found)


def length(value: Any) -> int:
    """How many elements there are, also in a range that is longer than what Python's `len` can say."""
    if type(value) is range:
        return max(0, (value.stop - value.start + value.step - (1 if value.step > 0 else -1)) // value.step)
    return len(value)


def item(meter: Meter, value: Any, index: Any) -> Any:
    """`value[index]`."""
    kind = type(value)
    if kind is dict:
        try:
            return value[key(meter, index)]
        except KeyError:
            raise failed("KeyError", index) from None
    if kind not in (list, tuple, str, range):
        raise failed("TypeError", f"a {kind_of(value)} has no elements by index")
    if type(index) is slice:
        return _part(meter, value, index)
    if type(index) not in (int, bool):
        raise failed(
            "TypeError", f"the index of a {kind_of(value)} is a whole number, not a {kind_of(index)}"
        )
    try:
        return value[index]
    except IndexError:
        raise failed("IndexError", f"there is no element {int(index)}") from None


def _part(meter: Meter, value: Any, part: slice) -> Any:
    for bound in (part.start, part.stop, part.step):
        if bound is not None and type(bound) not in (int, bool):
            raise failed("TypeError", f"the bounds of a slice are whole numbers, not a {kind_of(bound)}")
    if part.step is not None and part.step == 0:
        raise failed("ValueError", "the step of a slice cannot be zero")
    if type(value) is range:
        found = value[part]
        if abs(found.step) > INT_MAX:
            raise failed("OverflowError", "the step of the range does not fit in 64 bits")
        return found
    size = len(range(*part.indices(len(value))))
    if type(value) is str:
        meter.write(size)
    else:
        meter.grow(size)
    return value[part]


def put(meter: Meter, value: Any, index: Any, new: Any) -> None:
    """`value[index] = new`."""
    kind = type(value)
    if kind is dict:
        before_ = len(value)
        value[key(meter, index)] = new
        if len(value) != before_:
            meter.cells -= 2
            if meter.cells < 0:
                meter.grow(0)
        return
    if kind is not list:
        raise failed("TypeError", f"the elements of a {kind_of(value)} cannot be set")
    if type(index) is slice:
        part, given = index, listed(meter, new)
        old = len(_part(meter, value, part))
        if part.step not in (None, 1) and old != len(given):
            raise failed("ValueError", f"{len(given)} elements do not fit into a slice of {old}")
        meter.look(len(value))
        value[part] = given
        return
    if type(index) not in (int, bool):
        raise failed("TypeError", f"the index of a list is a whole number, not a {kind_of(index)}")
    try:
        value[index] = new
    except IndexError:
        raise failed("IndexError", f"there is no element {int(index)}") from None


def remove(meter: Meter, value: Any, index: Any) -> None:
    """`del value[index]`."""
    kind = type(value)
    if kind is dict:
        if key(meter, index) not in value:
            raise failed("KeyError", index)
        del value[index]
        return
    if kind is not list:
        raise failed("TypeError", f"the elements of a {kind_of(value)} cannot be removed")
    meter.look(len(value))
    if type(index) is slice:
        _part(meter, value, index)
        del value[index]
        return
    if type(index) not in (int, bool):
        raise failed("TypeError", f"the index of a list is a whole number, not a {kind_of(index)}")
    try:
        del value[index]
    except IndexError:
        raise failed("IndexError", f"there is no element {int(index)}") from None


def whole(value: Any, what: str) -> int:
    """`value` as a whole number. Raises a `TypeError` of the snippet."""
    if type(value) not in (int, bool):
        raise failed("TypeError", f"{what} is a whole number, not a {kind_of(value)}")
    return number(value)
