"""Helpers for texts, JSON, and bytes written as texts."""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any, Final

from playhead.snippet import making
from playhead.snippet.jq import query
from playhead.snippet.making import NOTHING, int_
from playhead.snippet.meter import STEPS_PER_ERROR, Limit, Meter
from playhead.snippet.methods import METHODS
from playhead.snippet.text import from_json, to_json, to_text
from playhead.snippet.values import METER, Frame, Raised, failed

JSON_BYTES_MAX: Final = 1_000_000


# Texts.


def as_method(method: str) -> Callable[..., Any]:
    """A method of texts as a helper."""
    found = METHODS[str][method]

    def function(frame: Frame, text: Any, *rest: Any) -> Any:
        return found.function(frame, making.text(text, f"{method}()"), *rest)

    return function


def split(frame: Frame, text: Any, separator: Any) -> Any:
    """The parts of a text between separators, or between blanks."""
    return METHODS[str]["split"].function(frame, making.text(text, "split()"), separator, -1)


def join(frame: Frame, values: Any, separator: Any) -> Any:
    """Texts put together."""
    return METHODS[str]["join"].function(frame, making.text(separator, "the separator"), values)


def dirname(frame: Frame, path: Any) -> str:
    """A path without its last part."""
    frame[METER].write(len(making.text(path, "dirname()")))
    head, _slash, _tail = path.rpartition("/")
    return head.rstrip("/") or ("/" if path.startswith("/") else head)


def format_(frame: Frame, given: list[Any]) -> str:
    """Each `{}` of a text is replaced by the next value; `{{` and `}}` are braces."""
    if not given:
        raise failed("TypeError", "format() needs a text")
    meter: Meter = frame[METER]
    text, values = making.text(given[0], "format()"), given[1:]
    meter.write(len(text))
    meter.grow(2 * (text.count("{") + text.count("}")))
    found: list[str] = []
    places = at = 0
    opening, closing = text.find("{"), text.find("}")
    while (brace := max(opening, closing) if min(opening, closing) < 0 else min(opening, closing)) >= 0:
        found.append(text[at:brace])
        pair = text[brace : brace + 2]
        if pair == "{}":
            places += 1
            if places <= len(values):
                found.append(to_text(meter, values[places - 1]))
        elif pair in ("{{", "}}"):
            found.append(pair[0])
        else:
            raise failed("ValueError", "format() knows {} only, and {{ and }} for braces")
        at = brace + 2
        # Each is looked for behind itself only, or a text of one kind alone would be read over and over.
        opening = text.find("{", at) if 0 <= opening < at else opening
        closing = text.find("}", at) if 0 <= closing < at else closing
    if places != len(values):
        raise failed("IndexError", f"format() has {places} places and {len(values)} values")
    found.append(text[at:])
    meter.write(sum(map(len, found)))
    return "".join(found)


def to_int(frame: Frame, value: Any) -> int:
    """A whole number of a number or a text."""
    return int_(frame, value, NOTHING)


def or_default(convert: Callable[[Frame, Any], Any]) -> Callable[..., Any]:
    """The same conversion, with an answer for what cannot be converted."""

    def function(frame: Frame, value: Any, otherwise: Any) -> Any:
        try:
            return convert(frame, value)
        except Raised:
            frame[METER].spend(STEPS_PER_ERROR)
            return otherwise

    return function


# JSON.


def json_parse(frame: Frame, text: Any) -> Any:
    """The value that JSON says."""
    return from_json(frame[METER], making.text(text, "json_parse()"))


def json_stringify(frame: Frame, value: Any, pretty: Any) -> str:
    """A value as JSON."""
    meter: Meter = frame[METER]
    written = _written(meter, value, "json_stringify()", pretty=bool(pretty))
    meter.write(len(written))
    return written


def _written(meter: Meter, value: Any, what: str, *, pretty: bool = False) -> str:
    try:
        return to_json(meter, value, bytes_max=JSON_BYTES_MAX, what=what, pretty=pretty)
    except Limit as limit:
        if limit.name != what:
            raise
        raise Limit("max_text", limit.message) from None


def json_extract(frame: Frame, text: Any) -> Any:
    """The first JSON object or array that stands in a text."""
    given = making.text(text, "json_extract()")
    frame[METER].read(4 * len(given))
    for opening, closing in (("{", "}"), ("[", "]")):
        first, last = given.find(opening), given.rfind(closing)
        if 0 <= first < last:
            try:
                return from_json(frame[METER], given[first : last + 1])
            except Raised:
                frame[METER].spend(STEPS_PER_ERROR)
    raise failed("ValueError", "there is no JSON object or array in the text")


def json_pointer(frame: Frame, value: Any, pointer: Any) -> Any:
    """What an RFC 6901 pointer leads to; None where it leads nowhere."""
    path = making.text(pointer, "json_pointer()")
    if path and not path.startswith("/"):
        raise failed("ValueError", "a JSON pointer is empty or begins with /")
    frame[METER].write(len(path))
    found = value
    for part in path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if type(found) is dict and name in found:
            found = found[name]
        elif type(found) in (list, tuple) and name.isascii() and name.isdigit() and len(name) < 10:
            if int(name) >= len(found) or (name[0] == "0" and name != "0"):
                return None
            found = found[int(name)]
        else:
            return None
    return found


def jq(frame: Frame, value: Any, text: Any) -> list[Any]:
    """All that a query gives, as a list."""
    found: list[Any] = []
    for each in query(frame[METER], value, making.text(text, "jq()")):
        frame[METER].grow(1)
        found.append(each)
    return found


def jq_first(frame: Frame, value: Any, text: Any) -> Any:
    """The first thing that a query gives; None where it gives nothing."""
    return next(query(frame[METER], value, making.text(text, "jq_first()")), None)


# Bytes, as texts.


def _bytes(frame: Frame, text: Any, what: str) -> bytes:
    frame[METER].write(len(making.text(text, what)))
    try:
        return str(text).encode()
    except UnicodeEncodeError:
        raise failed("ValueError", f"{what} got half of a character (a lone surrogate)") from None


def encoded(name: str, encode: Callable[[bytes], bytes]) -> Callable[..., Any]:
    """A helper that writes the bytes of a text as another text."""

    def function(frame: Frame, text: Any) -> str:
        data = _bytes(frame, text, name)
        frame[METER].write(2 * len(data))
        return encode(data).decode()

    return function


def decoded(name: str, decode: Callable[[bytes], bytes]) -> Callable[..., Any]:
    """A helper that reads such a text back."""

    def function(frame: Frame, text: Any) -> str:
        data = _bytes(frame, text, name)
        try:
            return decode(data).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise failed("ValueError", f"{name} got what it did not write, or no UTF-8") from None

    return function


base64_encode: Final = encoded("base64_encode()", base64.b64encode)
base64_decode: Final = decoded("base64_decode()", lambda data: base64.b64decode(data, validate=True))
hex_encode: Final = encoded("hex_encode()", binascii.hexlify)
hex_decode: Final = decoded("hex_decode()", binascii.unhexlify)


def hash_value(frame: Frame, value: Any) -> str:
    """SHA-256 of the JSON of a value, keys in their order."""
    written = _written(frame[METER], value, "hash_value()")
    frame[METER].spend(len(written) // 64)
    return hashlib.sha256(written.encode()).hexdigest()
