"""What the expressions of snippets do, but for calls, functions and comprehensions."""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final

from playhead.snippet.building import (
    Builder,
    Make,
    Part,
    Run,
    after,
    after_all,
    after_both,
    double_starred,
    starred,
)
from playhead.snippet.helpers import HELPERS
from playhead.snippet.operators import BINARY, COMPARE, UNARY, Binary, item
from playhead.snippet.scopes import Place
from playhead.snippet.targets import store_name
from playhead.snippet.text import formatted
from playhead.snippet.values import (
    ERROR_TYPES,
    INT_MAX,
    INT_MIN,
    METER,
    OUTER,
    UNBOUND,
    Frame,
    SetValue,
    failed,
    key,
)

# Values and names.


def _constant(_: Builder, node: ast.Constant) -> Part:
    return _always(node.value)


def _always(value: Any) -> Part:
    return Part(lambda _: value, False)


def _name(builder: Builder, node: ast.Name) -> Part:
    place = builder.scope.find(node.id)
    if place is None:
        tool = builder.program.tools.get(node.id)
        return _always(tool or HELPERS.get(node.id) or ERROR_TYPES[node.id])
    return Part(_variable(node.id, place), False)


def _variable(called: str, place: Place) -> Run:
    hops, slot = place.hops, place.slot
    if not hops and place.bound:
        return itemgetter(slot)

    def own(frame: Frame) -> Any:
        value = frame[slot]
        return value if value is not UNBOUND else _unbound(called, place)

    def next_out(frame: Frame) -> Any:
        value = frame[1][slot]
        return value if value is not UNBOUND else _unbound(called, place)

    def further_out(frame: Frame) -> Any:
        for _ in range(hops):
            frame = frame[OUTER]
        value = frame[slot]
        return value if value is not UNBOUND else _unbound(called, place)

    return own if not hops else next_out if hops == 1 else further_out


def _unbound(called: str, place: Place) -> Any:
    raise failed("UnboundLocalError" if place.own else "NameError", f"{called} has no value yet")


def _walrus(builder: Builder, node: ast.NamedExpr) -> Part:
    store = store_name(builder, node.target.id)

    def finish(frame: Frame, value: Any) -> Any:
        store(frame, value)
        return value

    return after(builder.part(node.value), finish)


def _awaited(builder: Builder, node: ast.Await) -> Part:
    return builder.part(node.value)


# Operators.


def _unary(builder: Builder, node: ast.UnaryOp) -> Part:
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _always(-value)
    run, waits = part = builder.part(node.operand)
    apply = UNARY[type(node.op).__name__]
    if waits:
        return after(part, lambda _, value: apply(value))
    return Part(lambda frame: apply(run(frame)), False)


_FAST: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
}


def _binary(builder: Builder, node: ast.BinOp) -> Part:
    called = type(node.op).__name__
    apply = BINARY[called]
    left, right = builder.part(node.left), builder.part(node.right)
    if left.waits or right.waits:
        return after_both(left, right, lambda frame, a, b: apply(frame[METER], a, b))
    if called in _FAST:
        return Part(_of_numbers(left.run, right.run, _FAST[called], apply), False)
    a, b = left.run, right.run
    return Part(lambda frame: apply(frame[0], a(frame), b(frame)), False)


def _of_numbers(left: Run, right: Run, fast: Callable[[Any, Any], Any], apply: Binary) -> Run:
    def run(frame: Frame) -> Any:
        a = left(frame)
        b = right(frame)
        if type(a) is int and type(b) is int:
            found = fast(a, b)
            if INT_MIN <= found <= INT_MAX:
                return found
        return apply(frame[0], a, b)

    return run


_FAST_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
}


def _compare(builder: Builder, node: ast.Compare) -> Part:
    parts = [builder.part(node.left), *map(builder.part, node.comparators)]
    names = [type(each).__name__ for each in node.ops]
    applied = [COMPARE[each] for each in names]
    if len(names) > 1:
        return _chained(parts, applied)
    apply = applied[0]
    if any(waits for _, waits in parts):
        return after_both(parts[0], parts[1], lambda frame, a, b: apply(frame[METER], a, b))
    left, right = parts[0].run, parts[1].run
    if names[0] not in _FAST_COMPARE:
        return Part(lambda frame: apply(frame[0], left(frame), right(frame)), False)
    fast = _FAST_COMPARE[names[0]]

    def run(frame: Frame) -> Any:
        a = left(frame)
        b = right(frame)
        if type(a) is int and type(b) is int:
            return fast(a, b)
        return apply(frame[0], a, b)

    return Part(run, False)


def _chained(parts: list[Part], applied: list[Callable[..., bool]]) -> Part:
    """`a < b < c`: what comes after the first answer that is no is not looked at."""
    (first, first_waits), *rest = parts
    pairs = list(zip(applied, rest, strict=True))

    async def run_waiting(frame: Frame) -> Any:
        left = await first(frame) if first_waits else first(frame)
        for apply, (other, waits) in pairs:
            right = await other(frame) if waits else other(frame)
            if not apply(frame[METER], left, right):
                return False
            left = right
        return True

    def run(frame: Frame) -> Any:
        left = first(frame)
        for apply, (other, _) in pairs:
            right = other(frame)
            if not apply(frame[METER], left, right):
                return False
            left = right
        return True

    waits = any(waits for _, waits in parts)
    return Part(run_waiting if waits else run, waits)


def _boolean(builder: Builder, node: ast.BoolOp) -> Part:
    parts = [builder.part(each) for each in node.values]
    stops = isinstance(node.op, ast.Or)

    async def run_waiting(frame: Frame) -> Any:
        value: Any = None
        for part, waits in parts:
            value = await part(frame) if waits else part(frame)
            if bool(value) is stops:
                break
        return value

    runs = [run for run, _ in parts]

    def run(frame: Frame) -> Any:
        value: Any = None
        for part in runs:
            value = part(frame)
            if bool(value) is stops:
                break
        return value

    waits = any(waits for _, waits in parts)
    return Part(run_waiting if waits else run, waits)


def _conditional(builder: Builder, node: ast.IfExp) -> Part:
    test, body, orelse = parts = [builder.part(each) for each in (node.test, node.body, node.orelse)]

    async def run_waiting(frame: Frame) -> Any:
        answer = await test.run(frame) if test.waits else test.run(frame)
        run, waits = body if answer else orelse
        return await run(frame) if waits else run(frame)

    asks, yes, no = (run for run, _ in parts)

    def run(frame: Frame) -> Any:
        return yes(frame) if asks(frame) else no(frame)

    waits = any(waits for _, waits in parts)
    return Part(run_waiting if waits else run, waits)


# Displays.


def _elements(builder: Builder, nodes: list[ast.expr]) -> Part:
    """The values of a display as a new list, charged. A star spreads what stands behind it."""
    stars = [isinstance(each, ast.Starred) for each in nodes]
    parts = [
        starred(builder.part(each.value)) if isinstance(each, ast.Starred) else builder.part(each)
        for each in nodes
    ]
    size = len(nodes)
    if not any(stars):

        def whole(frame: Frame, values: list[Any]) -> list[Any]:
            frame[0].grow(size)
            return values

        return after_all(parts, whole)

    def spread(frame: Frame, values: list[Any]) -> list[Any]:
        frame[METER].grow(size)
        found: list[Any] = []
        for star, value in zip(stars, values, strict=True):
            found += value if star else (value,)
        return found

    return after_all(parts, spread)


def _list(builder: Builder, node: ast.List) -> Part:
    return _elements(builder, node.elts)


def _tuple(builder: Builder, node: ast.Tuple) -> Part:
    return after(_elements(builder, node.elts), lambda _, values: tuple(values))


def _set(builder: Builder, node: ast.Set) -> Part:
    def finish(frame: Frame, values: list[Any]) -> SetValue:
        meter = frame[METER]
        meter.grow(len(values))
        return SetValue({key(meter, each): None for each in values})

    return after(_elements(builder, node.elts), finish)


def _dictionary(builder: Builder, node: ast.Dict) -> Part:
    parts: list[Part] = []
    spread: list[bool] = []
    for name_, value in zip(node.keys, node.values, strict=True):
        spread.append(name_ is None)
        if name_ is not None:
            parts.append(builder.part(name_))
        part = builder.part(value)
        parts.append(double_starred(part) if name_ is None else part)
    size = 2 * len(spread)

    def finish(frame: Frame, values: list[Any]) -> dict[Any, Any]:
        meter = frame[0]
        meter.grow(size)
        found: dict[Any, Any] = {}
        waiting = iter(values)
        for star in spread:
            given = next(waiting)
            if star:
                found.update(given)
            else:
                found[key(meter, given)] = next(waiting)
        return found

    return after_all(parts, finish)


# Elements.


def _subscript(builder: Builder, node: ast.Subscript) -> Part:
    value, index = builder.part(node.value), builder.part(node.slice)
    if value.waits or index.waits:
        return after_both(value, index, lambda frame, a, b: item(frame[METER], a, b))
    get_value, get_index = value.run, index.run

    def run(frame: Frame) -> Any:
        found = get_value(frame)
        at = get_index(frame)
        if type(found) is list and type(at) is int and -len(found) <= at < len(found):
            return found[at]
        return item(frame[0], found, at)

    return Part(run, False)


def _slice(builder: Builder, node: ast.Slice) -> Part:
    bounds = (node.lower, node.upper, node.step)
    parts = [_always(None) if each is None else builder.part(each) for each in bounds]
    return after_all(parts, lambda _, values: slice(*values))


# Texts.


def _joined(builder: Builder, node: ast.JoinedStr) -> Part:
    outer, builder.text = builder.text, builder.text or node
    pieces: list[str] = []
    fields: list[Part] = []
    text = ""
    for each in node.values:
        if isinstance(each, ast.FormattedValue):
            pieces.append(text)
            fields.append(_field(builder, each))
            text = ""
        elif isinstance(each, ast.Constant):
            text += str(each.value)
    pieces.append(text)
    builder.text = outer
    size = sum(map(len, pieces))
    if not fields:
        return _always(text)

    def finish(frame: Frame, values: list[str]) -> str:
        frame[METER].write(size + sum(map(len, values)))
        found = [pieces[0]]
        for value, piece in zip(values, pieces[1:], strict=True):
            found += (value, piece)
        return "".join(found)

    return after_all(fields, finish)


def _field(builder: Builder, node: ast.FormattedValue) -> Part:
    parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
    spec = "".join(str(each.value) for each in parts if isinstance(each, ast.Constant))
    conversion = node.conversion

    def finish(frame: Frame, value: Any) -> str:
        return formatted(frame[METER], value, conversion, spec)

    return after(builder.part(node.value), finish)


EXPRESSIONS: Final[Mapping[type[ast.AST], Make]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.NamedExpr: _walrus,
    ast.Await: _awaited,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _compare,
    ast.BoolOp: _boolean,
    ast.IfExp: _conditional,
    ast.List: _list,
    ast.Tuple: _tuple,
    ast.Set: _set,
    ast.Dict: _dictionary,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.JoinedStr: _joined,
}
