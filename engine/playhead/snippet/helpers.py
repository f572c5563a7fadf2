"""The functions that every snippet has, by name.

Each is called with the calling frame, and its arguments in order.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from playhead.snippet import going, making, wording
from playhead.snippet.making import NOTHING
from playhead.snippet.many import map_bounded
from playhead.snippet.meter import ELEMENTS_PER_STEP, Meter
from playhead.snippet.methods import METHODS
from playhead.snippet.text import to_repr, to_text
from playhead.snippet.values import (
    METER,
    TASK,
    ErrorType,
    ErrorValue,
    Frame,
    Helper,
    SetValue,
    failed,
    helper,
    holds,
    kind_of,
    same,
)

# Asking.


def _isinstance(frame: Frame, value: Any, kinds: Any) -> bool:
    left = [kinds]
    while left:
        kind = left.pop()
        if type(kind) is tuple:
            frame[METER].spend(len(kind) // ELEMENTS_PER_STEP + (kind is not kinds))
            left += reversed(kind)
        elif _is_a(value, kind):
            return True
    return False


def _is_a(value: Any, kind: Any) -> bool:
    if type(kind) is ErrorType:
        return type(value) is ErrorValue and kind.name in value.type.kinds
    if type(kind) is not Helper or not kind.types:
        raise failed(
            "TypeError", "isinstance() compares with types: int, str, list, an error, or a tuple of them"
        )
    return type(value) in kind.types


def _contains(frame: Frame, container: Any, value: Any) -> bool:
    return holds(frame[METER], container, value)


def _keys(frame: Frame, value: Any) -> Any:
    return _member_method(value, "keys")(frame, value)


def _values(frame: Frame, value: Any) -> Any:
    return _member_method(value, "values")(frame, value)


def _entries(frame: Frame, value: Any) -> list[Any]:
    found = _member_method(value, "items")(frame, value)
    frame[METER].grow(5 * len(found))
    return [{"key": name, "value": each} for name, each in found]


def _member_method(value: Any, name: str) -> Callable[..., Any]:
    if type(value) is not dict:
        raise failed("TypeError", f"a {kind_of(value)} has no {name}")
    return METHODS[dict][name].function


# Checking.


def _assert_eq(frame: Frame, a: Any, b: Any) -> None:
    if not same(frame[METER], a, b):
        raise failed("AssertionError", f"{_brief(frame, a)} is not {_brief(frame, b)}")


def _assert_ne(frame: Frame, a: Any, b: Any) -> None:
    if same(frame[METER], a, b):
        raise failed("AssertionError", f"both are {_brief(frame, a)}")


def _brief(frame: Frame, value: Any) -> str:
    return to_repr(frame[METER], value)[:200]


def _ok(frame: Frame, value: Any) -> dict[str, Any]:
    frame[METER].grow(4)
    return {"ok": True, "value": value}


def _err(frame: Frame, error: Any) -> dict[str, Any]:
    frame[METER].grow(4)
    return {"ok": False, "error": error}


def _is_ok(_: Frame, value: Any) -> bool:
    return type(value) is dict and value.get("ok") is True


def _is_err(_: Frame, value: Any) -> bool:
    return type(value) is dict and value.get("ok") is False


def _print(frame: Frame, values: list[Any], separator: Any, end: Any) -> None:
    meter: Meter = frame[METER]
    parts = [to_text(meter, each) for each in values]
    sep, last = (
        default if given is None else making.text(given, "sep and end of print()")
        for given, default in ((separator, " "), (end, "\n"))
    )
    meter.write(sum(map(len, parts)) + len(sep) * max(len(parts) - 1, 0) + len(last))
    line = sep.join(parts) + last
    try:
        size = len(line.encode())
    except UnicodeEncodeError:
        raise failed("ValueError", "half of a character (a lone surrogate) cannot be printed") from None
    meter.put_out(size)
    frame[TASK].machine.stdout.append(line)


def _extreme(name: str, *, largest: bool) -> Helper:
    by, plain = going.extreme_by(name, largest=largest), going.extreme(name, largest=largest)
    return helper(name, by, "key default", None, NOTHING, rest=True, waits=True, plain=plain)


_ALL: Final = (
    # Making values.
    helper("len", making.len_, "value"),
    helper("range", making.range_, "start stop step", NOTHING, NOTHING, types=(range,)),
    helper("list", making.list_, "values", NOTHING, types=(list,)),
    helper("tuple", making.tuple_, "values", NOTHING, types=(tuple,)),
    helper("dict", making.dict_, "values", NOTHING, named_rest=True, types=(dict,)),
    helper("set", making.set_, "values", NOTHING, types=(SetValue,)),
    helper("str", making.str_, "value", NOTHING, types=(str,)),
    helper("repr", making.repr_, "value"),
    helper("int", making.int_, "value base", NOTHING, NOTHING, types=(int, bool)),
    helper("float", making.float_, "value", NOTHING, types=(float,)),
    helper("bool", making.bool_, "value", NOTHING, types=(bool,)),
    helper("abs", making.abs_, "value"),
    helper("round", making.round_, "value ndigits", None),
    helper("floor", making.floor, "value"),
    helper("ceil", making.ceil, "value"),
    helper("sum", making.sum_, "values start", NOTHING),
    # Going over values.
    _extreme("min", largest=False),
    _extreme("max", largest=True),
    helper(
        "sorted",
        going.sorted_by,
        "values key reverse",
        None,
        False,
        named_only=2,
        waits=True,
        plain=going.sorted_,
    ),
    helper("enumerate", going.enumerate_, "values start", 0),
    helper("zip", going.zip_, "strict", False, rest=True),
    helper("reversed", going.reversed_, "values"),
    helper("any", going.any_, "values"),
    helper("all", going.all_, "values"),
    helper("map", going.map_, rest=True, waits=True),
    helper("filter", going.filter_, "function values", waits=True),
    helper("flat_map", going.flat_map, "values function", waits=True),
    helper("group_by", going.group_by, "values key", waits=True),
    helper("dedup_by", going.dedup_by, "values key", waits=True),
    helper("map_bounded", map_bounded, "items function concurrency", None, waits=True),
    # Asking.
    helper("isinstance", _isinstance, "value types"),
    helper("contains", _contains, "container value"),
    helper("keys", _keys, "value"),
    helper("values", _values, "value"),
    helper("entries", _entries, "value"),
    # Texts, JSON, and bytes as texts.
    helper("lower", wording.as_method("lower"), "text"),
    helper("upper", wording.as_method("upper"), "text"),
    helper("trim", wording.as_method("strip"), "text chars", None),
    helper("starts_with", wording.as_method("startswith"), "text prefix"),
    helper("ends_with", wording.as_method("endswith"), "text suffix"),
    helper("split", wording.split, "text separator", None),
    helper("join", wording.join, "values separator", ""),
    helper("dirname", wording.dirname, "path"),
    helper("format", wording.format_, rest=True),
    helper("to_string", making.str_, "value"),
    helper("to_int", wording.to_int, "value"),
    helper("to_float", making.float_, "value"),
    helper("parse_int_or", wording.or_default(wording.to_int), "value default", None),
    helper("parse_float_or", wording.or_default(making.float_), "value default", None),
    helper("json_parse", wording.json_parse, "text"),
    helper("json_stringify", wording.json_stringify, "value pretty", False),
    helper("json_extract", wording.json_extract, "text"),
    helper("json_pointer", wording.json_pointer, "value pointer"),
    helper("jq", wording.jq, "value query"),
    helper("jq_first", wording.jq_first, "value query"),
    helper("base64_encode", wording.base64_encode, "text"),
    helper("base64_decode", wording.base64_decode, "text"),
    helper("hex_encode", wording.hex_encode, "text"),
    helper("hex_decode", wording.hex_decode, "text"),
    helper("hash_value", wording.hash_value, "value"),
    # Checking and telling.
    helper("assert_eq", _assert_eq, "a b"),
    helper("assert_ne", _assert_ne, "a b"),
    helper("Ok", _ok, "value"),
    helper("Err", _err, "error"),
    helper("is_ok", _is_ok, "value"),
    helper("is_err", _is_err, "value"),
    helper("print", _print, "sep end", None, None, rest=True),
)

HELPERS: Final[dict[str, Helper]] = {each.name: each for each in _ALL}
