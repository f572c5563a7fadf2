"""Values as text: JSON for what crosses, `str` and `repr` for what is read, format specs of f-strings.

Everything is walked and counted first, shared parts as often as they occur, so nothing
is written that is too large, too deep, or goes round in circles.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from math import isfinite, isinf
from typing import Any, Final

from playhead.snippet.meter import ELEMENTS_PER_STEP, Limit, Meter
from playhead.snippet.values import (
    DEPTH_MAX,
    INT_MAX,
    INT_MIN,
    ErrorType,
    ErrorValue,
    Function,
    Helper,
    SetValue,
    Tool,
    failed,
    kind_of,
)

NUMBER_LENGTH: Final = 24
SHORT: Final = frozenset({int, bool, float, type(None)})
"""Types whose values are written in a few characters."""
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_pretty: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=2).encode


def to_json(meter: Meter, value: Any, *, bytes_max: int, what: str, pretty: bool = False) -> str:
    """`value` as JSON text of at most `bytes_max` bytes of UTF-8. A tuple is a list.

    Raises `Limit` where it is larger, and an error of the snippet where JSON cannot hold it.
    """
    walk = _Walk(meter, bytes_max, what, pretty=pretty)
    try:
        walk.take(value, 0)
    finally:  # what was looked at costs, also where it was in vain
        meter.spend(walk.values // 4)
    written = _encode_pretty(value) if pretty else _encode(value)
    try:
        size = len(written) if written.isascii() else len(written.encode())
    except UnicodeEncodeError:
        raise failed("ValueError", f"{what} holds half of a character (a lone surrogate)") from None
    if size > bytes_max:
        raise Limit(what, f"{what} came to more than {bytes_max} bytes of JSON.")
    return written


class _Walk:
    """Counts at least the bytes that JSON of a value takes, and stops where they are too many."""

    __slots__ = ("bytes_max", "left", "meter", "pretty", "values", "what")

    def __init__(self, meter: Meter, bytes_max: int, what: str, *, pretty: bool) -> None:
        self.meter = meter
        self.bytes_max = bytes_max
        self.left = bytes_max
        self.values = 0
        self.what = what
        self.pretty = pretty

    def take(self, value: Any, depth: int) -> None:
        kind = type(value)
        if self.pretty:
            self.count(2 * depth + 1)
        if kind is str:
            self.count(len(value) + 2)
        elif kind is int or kind is bool or value is None:
            self.count(1)
        elif kind is float:
            if not isfinite(value):
                raise failed("ValueError", f"{what_of(value)} cannot be written as JSON")
            self.count(3)
        elif kind is list or kind is tuple:
            self.count(2 + len(value))
            self.deeper(depth)
            for each in value:
                self.take(each, depth + 1)
        elif kind is dict:
            self.count(2 + 4 * len(value))
            self.deeper(depth)
            for name, each in value.items():
                if type(name) is not str:
                    raise failed("TypeError", f"a key in JSON is a text, not a {kind_of(name)}")
                self.count(len(name))
                self.take(each, depth + 1)
        else:
            raise failed("TypeError", f"a {kind_of(value)} cannot be written as JSON")

    def count(self, size: int) -> None:
        self.values += 1
        self.left -= size
        if self.left < 0:
            raise Limit(self.what, f"{self.what} came to more than {self.bytes_max} bytes of JSON.")

    def deeper(self, depth: int) -> None:
        if depth >= DEPTH_MAX:
            raise failed("ValueError", f"{self.what} is nested deeper than {DEPTH_MAX}, or holds itself")


def what_of(value: float) -> str:
    """The name of a number that JSON has not."""
    return "infinity" if isinf(value) else "NaN"


def from_json(meter: Meter, text: str) -> Any:
    """The value that JSON text says. Raises a `ValueError` of the snippet for what is none, or too deep."""
    meter.read(len(text))
    meter.grow(len(text) // 16)
    if text.count("[") + text.count("{") > DEPTH_MAX and _depth(meter, text) > DEPTH_MAX:
        raise failed("ValueError", f"the JSON is nested deeper than {DEPTH_MAX}")
    meter.grow(text.count(",") + 2 * text.count(":"))
    try:
        return _decode(text)
    except ValueError:  # of Python's decoder, whose words change with its releases
        raise failed("ValueError", "the text is not JSON") from None


def _depth(meter: Meter, text: str) -> int:
    """How deep the brackets go; those inside of texts do not count."""
    meter.spend(len(text) // 8)
    deepest = depth = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _whole(digits: str) -> int:
    if len(digits) > NUMBER_LENGTH or not INT_MIN <= (found := int(digits)) <= INT_MAX:
        raise failed("ValueError", "the JSON holds a number that does not fit in 64 bits")
    return found


def _broken(digits: str) -> float:
    found = float(digits)
    if isinf(found):
        raise failed("ValueError", "the JSON holds a number that is too large")
    return found


def _refused(word: str) -> Any:
    raise failed("ValueError", f"{word} is not JSON")


_decode: Final = json.JSONDecoder(parse_int=_whole, parse_float=_broken, parse_constant=_refused).decode


# Reading.


def to_text(meter: Meter, value: Any) -> str:
    """`str(value)`."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is ErrorValue:
        return message_of(meter, value)
    return to_repr(meter, value)


def to_repr(meter: Meter, value: Any) -> str:
    """`repr(value)`."""
    if type(value) in SHORT:
        written = repr(value)
        meter.write(len(written))
        return written
    parts: list[str] = []
    _Writing(meter, parts).write(value, 0)
    written = "".join(parts)
    meter.write(len(written))
    return written


def message_of(meter: Meter, error: ErrorValue) -> str:
    """`str(error)`: what it was raised with. Of a `KeyError` the key as it is written."""
    levels = 0
    while len(error.args) == 1 and error.type.name != "KeyError":
        said = error.args[0]
        if type(said) is not ErrorValue:
            return to_text(meter, said)
        error = said
        levels += 1
        if levels % ELEMENTS_PER_STEP == 0:
            meter.spend(1)
    if len(error.args) == 1:
        return to_repr(meter, error.args[0])
    return to_repr(meter, error.args) if error.args else ""


class _Writing:
    """Writes a value into parts, and charges each before it is made."""

    __slots__ = ("length", "meter", "parts")

    def __init__(self, meter: Meter, parts: list[str]) -> None:
        self.meter = meter
        self.parts = parts
        self.length = 0

    def put(self, part: str) -> None:
        self.length += len(part)
        if self.length > 2_000:
            self.meter.write(self.length)
            self.length = 0
        self.parts.append(part)

    def write(self, value: Any, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise Limit("max_depth", f"values nested deeper than {DEPTH_MAX} cannot be written.")
        self.meter.spend(1)
        kind = type(value)
        if kind is str:
            self.meter.write(len(value))
            self.put(repr(value))
        elif kind is list:
            self.several("[", value, "]", depth)
        elif kind is tuple:
            self.several("(", value, ",)" if len(value) == 1 else ")", depth)
        elif kind is dict:
            self.pairs(value, depth)
        elif kind is SetValue:
            if value.members:
                self.several("{", value.members, "}", depth)
            else:
                self.put("set()")
        elif kind is ErrorValue:
            self.several(f"{value.type.name}(", value.args, ")", depth)
        else:
            self.put(_short(value))

    def several(self, opening: str, values: Any, closing: str, depth: int) -> None:
        self.put(opening)
        separator = ""
        for each in values:
            self.put(separator)
            self.write(each, depth + 1)
            separator = ", "
        self.put(closing)

    def pairs(self, values: dict[Any, Any], depth: int) -> None:
        self.put("{")
        separator = ""
        for name, each in values.items():
            self.put(separator)
            self.write(name, depth + 1)
            self.put(": ")
            self.write(each, depth + 1)
            separator = ", "
        self.put("}")


def _short(value: Any) -> str:
    kind = type(value)
    if kind is Function:
        return f"<snippet function {value.code.name}>"
    if kind is Helper:
        return f"<helper {value.name}>"
    if kind is Tool:
        return f"<tool {value.name}>"
    if kind is ErrorType:
        return f"<error type {value.name}>"
    return repr(value)  # None, bool, int, float, range: a few characters each


# Format specs.

_FOR_NUMBERS: Final = frozenset("bcdoxXeEfFgG%")
_FOR_WHOLE: Final = frozenset("bcdoxX")


def formatted(meter: Meter, value: Any, conversion: int, spec: str) -> str:
    """A value in an f-string. `conversion` as in Python's tree: -1, or the letter r, s or a."""
    if conversion == ord("r") or conversion == ord("a"):
        value = to_repr(meter, value)
        if conversion == ord("a"):
            meter.write(10 * len(value))
            value = value.encode("ascii", "backslashreplace").decode()
    elif conversion == ord("s"):
        value = to_text(meter, value)
    kind = type(value)
    if not spec:
        return to_text(meter, value)
    if kind not in (str, int, float, bool):
        raise failed("TypeError", f"a {kind_of(value)} takes no format; put str() around it")
    if (spec[-1] in _FOR_NUMBERS and kind is str) or (spec[-1] in _FOR_WHOLE and kind is float):
        raise failed("ValueError", f"the format {spec!r} is not one for a {kind_of(value)}")
    if spec[-1] == "c" and not 0 <= value <= 0x10FFFF:
        raise failed("OverflowError", "there is no such character")
    if kind is str:
        meter.write(len(value) + 1_000)
    try:
        found = format(value, spec)  # of a number at most some 2,000 characters
    except (ValueError, OverflowError):
        raise failed("ValueError", f"the format {spec!r} is not one for a {kind_of(value)}") from None
    if kind is not str:
        meter.write(len(found))
    return found


def check_number(meter: Meter, text: str) -> str:
    """A text that should be a number, charged, and not too long to be one."""
    meter.read(len(text))
    if len(text) > 400:
        raise failed("ValueError", "the text is too long to be a number")
    return text
