"""The list of runs: one short line of facts for each, whatever the length of its log.

    for key, line in models.newest(Runs(), limit=20):
        print(line.life.run, line.life.status, line.operations)

Its size does not grow with the run, so a list of thousands is read in one query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.accounts import TERMINAL, Ledger, Life, Open, Used, live, move
from playhead_projections.as_of import AsOf
from playhead_projections.projection import RUN_STREAMS, Projection

SCHEMA: Final = "playhead.runs/1"
_WAITS: Final = ("signal", "timer", "child", "approval")


class Line(msgspec.Struct, kw_only=True):
    """One run."""

    life: Life
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    used: Used = msgspec.field(default_factory=Used)
    steps: int = 0
    operations: int = 0


class Runs(Projection[Line]):
    """One line for each run."""

    name = "runs"
    version = 6
    state = Line

    def initial(self, key: str) -> Line:
        return Line(life=Life(run=key))

    def apply(self, state: Line, event: Event, fact: Fact) -> Line:
        return _apply(state, event, fact)

    def erased(self, state: Line, event: Event) -> Line:
        return _apply(state, event, None)

    newer = erased

    def label(self, state: Line) -> str | None:
        return state.life.name


def _apply(line: Line, event: Event, fact: Fact | None) -> Line:
    live(line.life, event, fact)
    line.steps += event.type == "step.started"
    for moved in move(line.ledger, event, fact):
        opened, model = moved.status == "opened", moved.was.kind == "model"
        line.operations += opened
        if model and opened:
            line.used.ask()
        elif model:
            line.used.add(fact)
    return line


def lines_at(log: LogReader, now: Iterable[Line], position: int) -> Iterator[Line]:
    """The list as it stood at a position, from the list of `now`. Only what was under way is folded.

    Raises `BadEvent` for an event that cannot be read.
    """
    with AsOf(log) as answers:
        for line in now:
            stream = f"{RUN_STREAMS}{line.life.run}"
            last = log.positions(stream, log.head(stream).seq - 1, 1)
            if last and last[0] <= position:
                yield line
            elif count := log.count_at(stream, position):
                yield answers.state(Runs(), stream, count - 1).state


def waits(line: Line) -> list[tuple[str, Open]]:
    """The operations that keep a run waiting: people, time, other runs, and what is in doubt."""
    if line.life.status in TERMINAL:
        return []
    return [
        (op, opened) for op, opened in line.ledger.open.items() if opened.in_doubt or opened.kind in _WAITS
    ]


def document(line: Line, *, status: str | None = None) -> dict[str, Any]:
    """A line as JSON. `status` is what is known beside the log, for example that the owner died."""
    return {
        **line.life.document(),
        "status": status or line.life.status,
        "duration": line.life.duration,
        "steps": line.steps,
        "operations": line.operations,
        "waits_for": [
            {
                "op": op,
                "kind": opened.kind,
                "name": opened.name,
                "since": opened.at,
                "in_doubt": opened.in_doubt,
            }
            for op, opened in waits(line)
        ],
        **line.used.document(),
    }
