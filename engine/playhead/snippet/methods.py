"""The methods that there are, by type. What is not here cannot be reached with a dot.

Each is called with the calling frame, the value, and its arguments in order.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from playhead.snippet.meter import TEXT_LENGTH_MAX, Meter
from playhead.snippet.operators import elements, in_place, length, listed, whole
from playhead.snippet.ordering import arranged, arranged_by
from playhead.snippet.values import (
    METER,
    Frame,
    Helper,
    SetValue,
    failed,
    helper,
    holds,
    key,
    kind_of,
    position,
    same,
    search,
    search_back,
)

Methods = dict[str, Helper]

NOTHING: Final = object()
"""Where None would be an answer."""
SPLIT_FREELY: Final = 10_000
"""Texts up to this length are split before the parts are counted."""


def _text(value: Any, what: str) -> str:
    if type(value) is not str:
        raise failed("TypeError", f"{what} is a text, not a {kind_of(value)}")
    return value


def _texts(value: Any, what: str) -> str | tuple[str, ...]:
    if type(value) is tuple:
        return tuple(_text(each, what) for each in value)
    return _text(value, what)


# Texts.


def _same_length(name: str) -> Callable[..., Any]:
    """A method without arguments that gives a text of about the same length."""

    def method(frame: Frame, text: str) -> str:
        frame[METER].write(len(text))
        found: str = getattr(str, name)(text)
        frame[METER].write(max(0, len(found) - len(text)))
        return found

    return method


def _question(name: str) -> Callable[..., Any]:
    def method(frame: Frame, text: str) -> bool:
        frame[METER].read(len(text))
        return bool(getattr(str, name)(text))

    return method


def _strip(name: str) -> Callable[..., Any]:
    def method(frame: Frame, text: str, characters: Any) -> str:
        if characters is not None:
            frame[METER].read(len(text) * (1 + len(_text(characters, "what is stripped")) // 8))
        frame[METER].write(len(text))
        return str(getattr(str, name)(text, characters))

    return method


def _split(name: str) -> Callable[..., Any]:
    charge = search_back if name == "rsplit" else search

    def method(frame: Frame, text: str, separator: Any, most: Any) -> list[str]:
        meter: Meter = frame[METER]
        if separator is not None and not _text(separator, "the separator"):
            raise failed("ValueError", "the separator is empty")
        charge(meter, text, separator or " ")
        meter.write(len(text))
        limit = whole(most, "maxsplit")
        if separator is not None:
            parts = text.count(separator) + 1
        elif len(text) > SPLIT_FREELY:  # as many parts as there could be, before they are made
            parts = len(text) // 2 + 1
        else:
            parts = 0
        meter.grow(2 * (parts if limit < 0 else min(parts, limit + 1)))
        found: list[str] = getattr(str, name)(text, separator, limit)
        if not parts:
            meter.grow(2 * len(found))
        return found

    return method


def _splitlines(frame: Frame, text: str, keepends: Any) -> list[str]:
    frame[METER].write(len(text))
    found = text.splitlines(keepends=bool(keepends))
    frame[METER].grow(2 * len(found))
    return found


def _partition(name: str) -> Callable[..., Any]:
    def method(frame: Frame, text: str, separator: Any) -> tuple[str, str, str]:
        if not _text(separator, "the separator"):
            raise failed("ValueError", "the separator is empty")
        (search_back if name == "rpartition" else search)(frame[METER], text, separator)
        frame[METER].write(len(text))
        found: tuple[str, str, str] = getattr(str, name)(text, separator)
        return found

    return method


def _join(frame: Frame, separator: str, parts: Any) -> str:
    meter: Meter = frame[METER]
    texts = listed(meter, parts)
    size = len(separator) * max(len(texts) - 1, 0)
    for each in texts:
        if type(each) is not str:
            raise failed("TypeError", f"join() puts texts together, and there is a {kind_of(each)}")
        size += len(each)
    meter.write(size)
    return separator.join(texts)


def _replace(frame: Frame, text: str, old: Any, new: Any, most: Any) -> str:
    meter: Meter = frame[METER]
    search(meter, text, _text(old, "what is replaced"))
    limit, found = whole(most, "count"), text.count(old)
    times = found if limit < 0 else min(found, limit)
    meter.write(len(text) + times * (len(_text(new, "what it is replaced with")) - len(old)))
    return text.replace(old, new, limit)


def _ends(name: str) -> Callable[..., Any]:
    def method(frame: Frame, text: str, wanted: Any, start: Any = None, end: Any = None) -> bool:
        texts = _texts(wanted, "what is compared")
        bounds = [None if each is None else whole(each, "a bound") for each in (start, end)]
        frame[METER].read(len(texts) if type(texts) is str else sum(map(len, texts)) + 16 * len(texts))
        return bool(getattr(str, name)(text, texts, *bounds))

    return method


def _without(name: str) -> Callable[..., Any]:
    def method(frame: Frame, text: str, part: Any) -> str:
        frame[METER].write(len(text))
        return str(getattr(str, name)(text, _text(part, "what is removed")))

    return method


def _find(name: str) -> Callable[..., Any]:
    charge = search_back if name in ("rfind", "rindex") else search

    def method(frame: Frame, text: str, wanted: Any, start: Any, end: Any) -> int:
        charge(frame[METER], text, _text(wanted, "what is looked for"))
        bounds = [None if each is None else whole(each, "a bound") for each in (start, end)]
        if name == "count":
            return text.count(wanted, *bounds)
        found = int(getattr(str, name.replace("index", "find"))(text, wanted, *bounds))
        if found < 0 and "index" in name:
            raise failed("ValueError", "the text is not in it")
        return found

    return method


def _padded(name: str) -> Callable[..., Any]:
    def method(frame: Frame, text: str, width: Any, *fill: Any) -> str:
        size = whole(width, "the width")
        frame[METER].write(max(size, len(text)))
        if fill and (type(fill[0]) is not str or len(fill[0]) != 1):
            raise failed("TypeError", "the fill is one character")
        return str(getattr(str, name)(text, size, *fill))

    return method


def _expandtabs(frame: Frame, text: str, size: Any) -> str:
    width = whole(size, "tabsize")
    if not -(2**31) <= width < 2**31:
        raise failed("OverflowError", "tabsize does not fit in 32 bits")
    width = max(0, min(width, TEXT_LENGTH_MAX))
    frame[METER].write(len(text) + text.count("\t") * width)
    return text.expandtabs(width)


# Lists.


def _append(frame: Frame, items: list[Any], item: Any) -> None:
    meter: Meter = frame[METER]
    meter.cells -= 1
    if meter.cells < 0:
        meter.grow(0)
    items.append(item)


def _extend(frame: Frame, items: list[Any], more: Any) -> None:
    items.extend(listed(frame[METER], more))


def _insert(frame: Frame, items: list[Any], index: Any, item: Any) -> None:
    frame[METER].look(len(items) // 8)
    frame[METER].grow(0)
    items.insert(whole(index, "the index"), item)


def _pop(frame: Frame, items: list[Any], index: Any) -> Any:
    place = whole(index, "the index")
    if not items:
        raise failed("IndexError", "the list is empty")
    if place != -1:
        frame[METER].look(len(items) // 8)
    try:
        return items.pop(place)
    except IndexError:
        raise failed("IndexError", f"there is no element {place}") from None


def _remove(frame: Frame, items: list[Any], item: Any) -> None:
    del items[_index(frame, items, item, None, None)]


def _index(frame: Frame, items: Any, item: Any, start: Any, end: Any) -> int:
    first, last = _bounds(items, start, end)
    frame[METER].look(last - first)
    found = position(frame[METER], items[first:last], item)
    if found < 0:
        raise failed("ValueError", "it is not in there")
    return first + found


def _bounds(items: Any, start: Any, end: Any) -> tuple[int, int]:
    part = slice(*(None if each is None else whole(each, "a bound") for each in (start, end)))
    first, last, _ = part.indices(len(items))
    return first, max(first, last)


def _count(frame: Frame, items: Any, item: Any) -> int:
    frame[METER].spend(len(items) // 4 + 1)
    return sum(each is item or same(frame[METER], each, item) for each in items)


def _sort(frame: Frame, items: list[Any], _: Any, reverse: Any) -> None:
    items[:] = arranged(frame, items, backwards=bool(reverse))


async def _sort_by(frame: Frame, items: list[Any], by: Any, reverse: Any) -> None:
    frame[METER].grow(len(items))
    items[:] = await arranged_by(frame, items.copy(), by, backwards=bool(reverse))


def _reverse(frame: Frame, items: list[Any]) -> None:
    frame[METER].look(len(items))
    items.reverse()


def _clear(_: Frame, items: Any) -> None:
    items.clear()


def _copied(frame: Frame, value: Any) -> Any:
    frame[METER].grow(2 * len(value))
    return value.copy()


# Dicts.


def _get(frame: Frame, values: dict[Any, Any], name: Any, otherwise: Any) -> Any:
    return values.get(key(frame[METER], name), otherwise)


def _keys(frame: Frame, values: dict[Any, Any]) -> list[Any]:
    frame[METER].grow(len(values))
    return list(values)


def _values(frame: Frame, values: dict[Any, Any]) -> list[Any]:
    frame[METER].grow(len(values))
    return list(values.values())


def _items(frame: Frame, values: dict[Any, Any]) -> list[Any]:
    frame[METER].grow(3 * len(values))
    return list(values.items())


def _dict_pop(frame: Frame, values: dict[Any, Any], name: Any, otherwise: Any) -> Any:
    if key(frame[METER], name) not in values:
        if otherwise is NOTHING:
            raise failed("KeyError", name)
        return otherwise
    return values.pop(name)


def _popitem(_: Frame, values: dict[Any, Any]) -> Any:
    if not values:
        raise failed("KeyError", "the dict is empty")
    return values.popitem()


def _setdefault(frame: Frame, values: dict[Any, Any], name: Any, value: Any) -> Any:
    frame[METER].grow(1)
    return values.setdefault(key(frame[METER], name), value)


def _update(frame: Frame, values: dict[Any, Any], more: Any, named: dict[str, Any]) -> None:
    frame[METER].grow(2 * len(named))
    if more is not NOTHING:
        values.update(pairs(frame[METER], more))
    values.update(named)


def pairs(meter: Meter, value: Any) -> dict[Any, Any]:
    """A dict of a dict or of pairs."""
    if type(value) is dict:
        meter.grow(2 * len(value))
        return dict(value)
    found: dict[Any, Any] = {}
    for each in elements(meter, value):
        pair = elements(meter, each)
        if length(pair) != 2:
            raise failed("ValueError", f"a dict is made of pairs, and there is one of {length(pair)}")
        meter.grow(2)
        found[key(meter, pair[0])] = pair[1]
    return found


# Sets.


def members(meter: Meter, value: Any) -> dict[Any, None]:
    """The elements of a value as members of a set."""
    if type(value) is SetValue:
        meter.grow(2 * len(value))
        return dict(value.members)
    found = elements(meter, value)
    meter.grow(2 * len(found) if type(found) is not range else 0)
    return {key(meter, each): None for each in _counted(meter, found)}


def _counted(meter: Meter, found: Any) -> Any:
    if type(found) is range:
        return listed(meter, found)
    return found


def _add(frame: Frame, values: SetValue, item: Any) -> None:
    frame[METER].grow(1)
    values.members[key(frame[METER], item)] = None


def _discard(frame: Frame, values: SetValue, item: Any) -> None:
    if type(item) is not SetValue:
        values.members.pop(key(frame[METER], item), None)


def _set_remove(frame: Frame, values: SetValue, item: Any) -> None:
    if not holds(frame[METER], values, item):
        raise failed("KeyError", item)
    del values.members[item]


def _set_pop(frame: Frame, values: SetValue) -> Any:
    if not values.members:
        raise failed("KeyError", "the set is empty")
    frame[METER].spend(1)
    return values.members.popitem()[0]


def _set_clear(_: Frame, values: SetValue) -> None:
    values.members.clear()


def _set_copy(frame: Frame, values: SetValue) -> SetValue:
    return SetValue(members(frame[METER], values))


def _set_with(operation: str, *, changes: bool = False) -> Callable[..., Any]:
    def method(frame: Frame, values: SetValue, others: list[Any]) -> Any:
        meter: Meter = frame[METER]
        found = values if changes else SetValue(members(meter, values))
        for each in others:
            found = in_place(operation, meter, found, SetValue(members(meter, each)))
        return None if changes else found

    return method


def _set_question(question: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def method(frame: Frame, values: SetValue, other: Any) -> bool:
        frame[METER].look(len(values) + 8)
        return question(values.members.keys(), members(frame[METER], other).keys())

    return method


def _table(*methods: Helper) -> Methods:
    return {method.name: method for method in methods}


_STR: Final = _table(
    *(
        helper(name, _same_length(name))
        for name in ("upper", "lower", "title", "capitalize", "swapcase", "casefold")
    ),
    *(
        helper(name, _question(name))
        for name in (
            "isdigit",
            "isdecimal",
            "isnumeric",
            "isalpha",
            "isalnum",
            "isspace",
            "isupper",
            "islower",
        )
    ),
    *(helper(name, _strip(name), "chars", None) for name in ("strip", "lstrip", "rstrip")),
    *(helper(name, _split(name), "sep maxsplit", None, -1) for name in ("split", "rsplit")),
    helper("splitlines", _splitlines, "keepends", False),
    *(helper(name, _partition(name), "sep") for name in ("partition", "rpartition")),
    helper("join", _join, "iterable"),
    helper("replace", _replace, "old new count", -1),
    *(helper(name, _ends(name), "prefix start end", None, None) for name in ("startswith", "endswith")),
    helper("removeprefix", _without("removeprefix"), "prefix"),
    helper("removesuffix", _without("removesuffix"), "suffix"),
    *(
        helper(name, _find(name), "sub start end", None, None)
        for name in ("find", "rfind", "index", "rindex", "count")
    ),
    *(helper(name, _padded(name), "width fillchar", " ") for name in ("ljust", "rjust", "center")),
    helper("zfill", _padded("zfill"), "width"),
    helper("expandtabs", _expandtabs, "tabsize", 8),
)

_LIST: Final = _table(
    helper("append", _append, "item"),
    helper("extend", _extend, "items"),
    helper("insert", _insert, "index item"),
    helper("pop", _pop, "index", -1),
    helper("remove", _remove, "item"),
    helper("index", _index, "item start end", None, None),
    helper("count", _count, "item"),
    helper("sort", _sort_by, "key reverse", None, False, named_only=2, waits=True, plain=_sort),
    helper("reverse", _reverse),
    helper("clear", _clear),
    helper("copy", _copied),
)

_DICT: Final = _table(
    helper("get", _get, "key default", None),
    helper("keys", _keys),
    helper("values", _values),
    helper("items", _items),
    helper("pop", _dict_pop, "key default", NOTHING),
    helper("popitem", _popitem),
    helper("setdefault", _setdefault, "key default", None),
    helper("update", _update, "other", NOTHING, named_rest=True),
    helper("clear", _clear),
    helper("copy", _copied),
)

_SET: Final = _table(
    helper("add", _add, "item"),
    helper("discard", _discard, "item"),
    helper("remove", _set_remove, "item"),
    helper("pop", _set_pop),
    helper("clear", _set_clear),
    helper("copy", _set_copy),
    helper("union", _set_with("BitOr"), rest=True),
    helper("intersection", _set_with("BitAnd"), rest=True),
    helper("difference", _set_with("Sub"), rest=True),
    helper("symmetric_difference", _set_with("BitXor"), rest=True),
    helper("update", _set_with("BitOr", changes=True), rest=True),
    helper("intersection_update", _set_with("BitAnd", changes=True), rest=True),
    helper("difference_update", _set_with("Sub", changes=True), rest=True),
    helper("issubset", _set_question(lambda a, b: bool(a <= b)), "other"),
    helper("issuperset", _set_question(lambda a, b: bool(a >= b)), "other"),
    helper("isdisjoint", _set_question(lambda a, b: bool(a.isdisjoint(b))), "other"),
)

METHODS: Final[dict[type, Methods]] = {
    str: _STR,
    list: _LIST,
    tuple: {name: _LIST[name] for name in ("index", "count")},
    dict: _DICT,
    SetValue: _SET,
}

METHOD_NAMES: Final = frozenset(name for table in METHODS.values() for name in table)


def method_of(value: Any, name: str) -> Helper:
    """A method of a value. Raises an `AttributeError` of the snippet."""
    table = METHODS.get(type(value))
    found = table.get(name) if table is not None else None
    if found is None:
        raise failed("AttributeError", f"a {kind_of(value)} has no {name}()")
    return found
