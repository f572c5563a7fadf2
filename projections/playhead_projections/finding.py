"""The first event of a run at which something holds.

    found = first_where(log, "run/4wq2mzkq7xha", Expression("cost_micros > 1000"))
    found.seq, found.looked_at

Looked for one event after the other. Where somebody knows that it goes on holding once
it holds, by halving, which looks at few events and folds the run up to each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.replay.expression import Expression, Path
from playhead_projections.accounts import Error, Ledger, Life, Open, Owner
from playhead_projections.projector import state_as_of
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
    kept = _Kept()
    looked = 0
    for event in log.scan(stream):
        if event.seq > last:
            break
        fact = CATALOG.decode(event)
        state = runs.apply(state, event, fact) if isinstance(fact, Fact) else runs.erased(state, event)
        kept.take(event)
        if event.seq < first:
            continue
        looked += 1
        if holds(view(state, event, lambda: kept.now)):
            return First(event.seq, looked, last, event)
    return First(None, looked, last)


def _by_halving(log: LogReader, stream: str, holds: Predicate, first: int, last: int) -> First:
    looked = 0

    def at(seq: int) -> bool:
        nonlocal looked
        looked += 1
        event = log.read(stream, seq, 1)[0]
        line = state_as_of(log, Runs(), stream, seq).state
        return holds(view(line, event, lambda: _kept_at(log, stream, seq)))

    if first > last or not at(last):
        return First(None, looked, last)
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) else (middle + 1, high)
    return First(low, looked, last, log.read(stream, low, 1)[0])


# ------------------------------------------------------------------ misspelt names


def check_names(log: LogReader, stream: str, holds: Expression) -> None:
    """Raise `BadValue` where `holds` names what is nowhere in the run: it is misspelt, and never true."""
    holds.check_names((*_SHAPE, "event", "state"))
    wanted: list[Path] = []
    for path in holds.paths:
        if path.root in ("event", "state"):
            if path.text != path.root and not path.is_in({"event": _EVENT, "state": {}}):
                wanted.append(path)
        elif not path.is_in(_SHAPE):
            raise holds.unknown(path)
    if missing := _nowhere(log, stream, wanted):
        raise holds.unknown(missing[0])


def _nowhere(log: LogReader, stream: str, wanted: list[Path]) -> list[Path]:
    """Those of `wanted` that no event holds, nor what the run kept after any."""
    kept = _Kept()
    for event in log.scan(stream) if wanted else ():
        kept.take(event)
        values = {"event": _plain(event), "state": kept.now}
        wanted = [path for path in wanted if not path.is_in(values)]
        if not wanted:
            break
    return wanted


_EVENT: Final = {"seq": 0, "type": "", "op": "", "at": 0, "payload": None}
_SHAPE: Final = document(
    Line(
        life=Life(
            run="",
            error=Error(type="", message="", category=""),
            owner=Owner(worker="", pid=0, host=""),
        ),
        ledger=Ledger(open={"": Open(kind="signal", name="", seq=0, at=0)}),
    )
)
"""The list of runs says all of this of any run, though most of it may be None."""


# ---------------------------------------------------------------- what can be named


def view(line: Line, event: Event, kept: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What an expression can name: members of the list of runs, `event`, and `state`, what the run wrote."""
    return _View(line, event, kept)


class _View(dict[str, Any]):
    """Made when it is asked for: most expressions name one thing, and there may be many events."""

    def __init__(self, line: Line, event: Event, kept: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._line = line
        self._event = event
        self._kept = kept

    def get(self, key: str, default: Any = None) -> Any:
        if key == "event":
            return _plain(self._event)
        if key == "state":
            return dict(self._kept())
        if not self:
            self.update(document(self._line))
        return super().get(key, default)


def _plain(event: Event) -> dict[str, Any]:
    said = None if event.payload is None else msgspec.msgpack.decode(event.payload)
    return {"seq": event.seq, "type": event.type, "op": event.op, "at": event.at, "payload": said}


class _Kept:
    """What the run wrote to state, by key: what was asked for counts once it was done."""

    def __init__(self) -> None:
        self.now: dict[str, Any] = {}
        self._asked: dict[str, dict[str, Any]] = {}

    def take(self, event: Event) -> None:
        if event.type == "state.requested" and event.payload is not None:
            self._asked[event.op] = msgspec.msgpack.decode(event.payload)
        elif event.type == "state.failed":
            self._asked.pop(event.op, None)
        elif event.type == "state.completed" and (said := self._asked.pop(event.op, None)) is not None:
            if said["action"] in ("write", "handoff"):
                self.now[said["key"]] = said["content"]
            elif said["action"] == "delete":
                self.now.pop(said["key"], None)


def _kept_at(log: LogReader, stream: str, seq: int) -> dict[str, Any]:
    kept = _Kept()
    for event in log.scan(stream):
        if event.seq > seq:
            break
        kept.take(event)
    return kept.now
