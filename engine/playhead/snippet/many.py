"""`map_bounded`: a function for many items, so many at once.

The machine starts one task for each item that may be under way; a task takes the next item
until there is none. What a function raises becomes the result of its item.
"""

from __future__ import annotations

from typing import Any, Final

from playhead.snippet.calling import call, suspend
from playhead.snippet.meter import STEPS_PER_ERROR, Limit, Meter
from playhead.snippet.operators import listed, whole
from playhead.snippet.text import message_of
from playhead.snippet.values import (
    COL,
    ERROR_TYPES,
    LINE,
    METER,
    TASK,
    ErrorValue,
    Frame,
    Raised,
    failed,
    is_callable,
    kind_of,
)

ITEMS_NESTED_MAX: Final = 8

# Many at once.


class Items:
    """A request of a task: call this function for each of these items, so many at once."""

    __slots__ = ("at_once", "frame", "function", "items", "left", "next", "path", "results")

    def __init__(self, frame: Frame, items: list[Any], function: Any, at_once: int) -> None:
        self.frame = frame
        self.items = items
        self.function = function
        self.at_once = at_once
        self.next = 0
        self.left = at_once
        self.path: tuple[int, ...] = frame[TASK].path
        self.results: list[Any] = [None] * len(items)


async def map_bounded(frame: Frame, values: Any, function: Any, concurrency: Any) -> dict[str, Any]:
    """Call a function for each value, so many at once, and tell of each what came of it."""
    meter: Meter = frame[METER]
    if type(values) not in (list, tuple, range):
        raise failed("TypeError", f"map_bounded: first argument must be a list, got {kind_of(values)}")
    if not is_callable(function):
        raise failed("TypeError", f"map_bounded: second argument must be a function, got {kind_of(function)}")
    most = meter.limits.max_concurrent
    if concurrency is not None:
        most = min(most, max(1, whole(concurrency, "map_bounded: concurrency")))
    items = listed(meter, values)
    meter.grow(5 * len(items))
    if len(frame[TASK].path) >= ITEMS_NESTED_MAX:
        raise failed("RecursionError", f"map_bounded is nested deeper than {ITEMS_NESTED_MAX}")
    if items:
        work = Items(frame, items, function, min(most, len(items)))
        await suspend(work)
        results = work.results
    else:
        results = []
    succeeded = sum(each["ok"] for each in results)
    return {"results": results, "succeeded": succeeded, "failed": len(results) - succeeded}


async def work_off(task: Any, work: Items) -> None:
    """What a task of `map_bounded` does: take the next item, until there is none."""
    frame = [*work.frame]
    frame[TASK] = task
    try:
        await _each_next(task, work, frame)
    except Limit as limit:
        limit.at(frame[LINE], frame[COL])
        raise


async def _each_next(task: Any, work: Items, frame: Frame) -> None:
    meter: Meter = frame[METER]
    while work.next < len(work.items):
        place = work.next
        work.next += 1
        task.path = (*work.path, place)
        meter.spend(2)
        try:
            value = await call(frame, work.function, [work.items[place]])
            work.results[place] = {"ok": True, "value": value}
        except Raised as raised:
            meter.spend(STEPS_PER_ERROR)
            work.results[place] = {"ok": False, "error": told(meter, raised.error)}


def told(meter: Meter, error: ErrorValue) -> str:
    """An error as an item of `map_bounded` says it: of a tool its message, of others with their type."""
    message = message_of(meter, error)
    if error.type is ERROR_TYPES["ToolError"] or not message:
        return message or error.type.name
    return f"{error.type.name}: {message}"
