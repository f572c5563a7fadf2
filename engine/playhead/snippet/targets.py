"""What can be assigned to: names, elements, and several of them at once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from playhead.snippet.building import Builder, Part
from playhead.snippet.meter import Meter
from playhead.snippet.operators import elements, length, put
from playhead.snippet.values import METER, OUTER, Frame, failed

Store = Callable[[Frame, Any], Any]


def store_name(builder: Builder, called: str) -> Store:
    """Gives a variable its value."""
    found = builder.scope.find(called)
    assert found is not None, "what is assigned is a variable"
    hops, slot = found.hops, found.slot

    def own(frame: Frame, value: Any) -> None:
        frame[slot] = value

    def further_out(frame: Frame, value: Any) -> None:
        for _ in range(hops):
            frame = frame[OUTER]
        frame[slot] = value

    return further_out if hops else own


def own_slot(builder: Builder, node: ast.expr) -> int | None:
    """The slot of a target that is a variable of the frame at hand; None for every other target."""
    if not isinstance(node, ast.Name):
        return None
    place = builder.scope.find(node.id)
    return place.slot if place is not None and not place.hops else None


class Target:
    """Where a value goes. `waits`: finding out where takes a tool, and `store` gives an awaitable."""

    __slots__ = ("store", "waits")

    def __init__(self, store: Store, *, waits: bool = False) -> None:
        self.store = store
        self.waits = waits


def target(builder: Builder, node: ast.expr) -> Target:
    """Build a target."""
    if isinstance(node, ast.Name):
        return Target(store_name(builder, node.id))
    if isinstance(node, ast.Subscript):
        return _element(builder.part(node.value), builder.part(node.slice))
    assert isinstance(node, ast.Tuple | ast.List), "nothing else passes the check"
    return _several(builder, node.elts)


def _element(value: Part, index: Part) -> Target:
    get_value, get_index = value.run, index.run

    def store(frame: Frame, new: Any) -> None:
        found = get_value(frame)
        put(frame[0], found, get_index(frame), new)

    async def store_waiting(frame: Frame, new: Any) -> None:
        found = await get_value(frame) if value.waits else get_value(frame)
        at = await get_index(frame) if index.waits else get_index(frame)
        put(frame[METER], found, at, new)

    waits = value.waits or index.waits
    return Target(store_waiting if waits else store, waits=waits)


def _several(builder: Builder, nodes: list[ast.expr]) -> Target:
    stars = [place for place, each in enumerate(nodes) if isinstance(each, ast.Starred)]
    star = stars[0] if stars else None
    inner = [target(builder, each.value if isinstance(each, ast.Starred) else each) for each in nodes]
    count = len(nodes)

    def store(frame: Frame, value: Any) -> None:
        for each, part in zip(inner, _split(frame[METER], value, count, star), strict=True):
            each.store(frame, part)

    async def store_waiting(frame: Frame, value: Any) -> None:
        for each, part in zip(inner, _split(frame[METER], value, count, star), strict=True):
            if each.waits:
                await each.store(frame, part)
            else:
                each.store(frame, part)

    waits = any(each.waits for each in inner)
    return Target(store_waiting if waits else store, waits=waits)


def _split(meter: Meter, value: Any, count: int, star: int | None) -> Iterator[Any]:
    """The elements of a value for so many targets; the one with the star takes what is left over."""
    found = elements(meter, value)
    size = length(found)
    if star is None:
        if size != count:
            raise failed("ValueError", f"there are {size} values for {count} names")
        return iter([*found])
    if size < count - 1:
        raise failed("ValueError", f"there are {size} values for at least {count - 1} names")
    meter.grow(size)
    values = list(found)
    after = size - (count - 1 - star)
    return iter([*values[:star], values[star:after], *values[after:]])
