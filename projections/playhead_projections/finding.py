"""The first event of a run at which something holds.

    found = first_where(log, "run/4wq2mzkq7xha", Expression("cost_micros > 1000"))
    found.seq, found.looked_at

Looked for one event after the other. Where somebody knows that it goes on holding once
it holds, by halving, which looks at few events and folds the run up to each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.projector import state_at
from playhead_projections.runs import Line, Runs, document

Predicate = Callable[[Mapping[str, Any]], bool]


class First(NamedTuple):
    """Where it holds first; None is nowhere. `looked_at` counts events, `last` is the last there is."""

    seq: int | None
    looked_at: int
    last: int
    event: Event | None = None


def first_where(
    log: LogReader,
    stream: str,
    holds: Predicate,
    *,
    first: int = 0,
    last: int | None = None,
    monotone: bool = False,
) -> First:
    """The first event of `stream` from `first` to `last` after which `holds` is true of `view`."""
    end = log.head(stream).seq - 1
    last = end if last is None else min(last, end)
    if monotone:
        return _by_halving(log, stream, holds, first, last)
    runs, state = Runs(), Runs().initial(stream.partition("/")[2])
    changed: dict[str, Any] = {}
    looked = 0
    for event in log.scan(stream):
        if event.seq > last:
            break
        fact = CATALOG.decode(event)
        state = runs.apply(state, event, fact) if isinstance(fact, Fact) else runs.erased(state, event)
        _remember(changed, event)
        if event.seq < first:
            continue
        looked += 1
        if holds(view(state, event, changed)):
            return First(event.seq, looked, last, event)
    return First(None, looked, last)


def _by_halving(log: LogReader, stream: str, holds: Predicate, first: int, last: int) -> First:
    looked = 0

    def at(seq: int) -> bool:
        nonlocal looked
        looked += 1
        event = log.read(stream, seq, 1)[0]
        return holds(view(state_at(log, Runs(), stream, seq).state, event, {}))

    if first > last or not at(last):
        return First(None, looked, last)
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) else (middle + 1, high)
    return First(low, looked, last, log.read(stream, low, 1)[0])


def view(line: Line, event: Event, changed: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an expression can name: members of the list of runs, `event`, and `state`, what the run wrote."""
    return _View(line, event, changed)


class _View(dict[str, Any]):
    """Made when it is asked for: most expressions name one thing, and there may be many events."""

    def __init__(self, line: Line, event: Event, changed: Mapping[str, Any]) -> None:
        super().__init__()
        self._line = line
        self._event = event
        self._changed = changed

    def get(self, key: str, default: Any = None) -> Any:
        if key == "event":
            return _plain(self._event)
        if key == "state":
            return dict(self._changed)
        if not self:
            self.update(document(self._line))
        return super().get(key, default)


def _plain(event: Event) -> dict[str, Any]:
    said = None if event.payload is None else msgspec.msgpack.decode(event.payload)
    return {"seq": event.seq, "type": event.type, "op": event.op, "at": event.at, "payload": said}


def _remember(changed: dict[str, Any], event: Event) -> None:
    """What the run writes to state, by key."""
    if event.type == "state.requested" and event.payload is not None:
        said = msgspec.msgpack.decode(event.payload)
        if said["action"] in ("write", "handoff"):
            changed[said["key"]] = said["content"]
        elif said["action"] == "delete":
            changed.pop(said["key"], None)
