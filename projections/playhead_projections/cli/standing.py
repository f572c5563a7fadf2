"""How a run stands now, in words: what its log says, and whether its owner still lives.

A log cannot say that a process died. Its worker holds a lock for as long as it lives,
so a run that says `running` and whose worker is gone is shown as `interrupted`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from playhead.clock import SystemClock
from playhead.log.filelock import WorkerFiles
from playhead_projections.accounts import Life
from playhead_projections.cli.output import age, moment

if TYPE_CHECKING:
    from playhead.log.reader import LogReader


class Wait(NamedTuple):
    """One thing that a run waits for."""

    kind: str
    name: str
    since: int
    in_doubt: bool
    due: int | None = None


class Living:
    """Which workers live, each asked once."""

    def __init__(self, log: LogReader, store: Path) -> None:
        self._log = log
        self._files = WorkerFiles(store)
        self._clock = SystemClock()
        self._known: dict[str, bool] = {}

    def lives(self, worker: str | None) -> bool:
        """Whether the process of `worker` is there and its lease is not over."""
        if worker is None:
            return False
        if worker not in self._known:
            lease = self._log.worker_lease(worker)
            self._known[worker] = (
                lease is not None
                and self._files.lives(worker)
                and lease[0] == self._clock.boot()
                and lease[1] > self._clock.boottime()
            )
        return self._known[worker]

    def status(self, life: Life) -> str:
        """One word: the status in the log, or `interrupted` where its owner is gone."""
        if life.status != "running":
            return life.status
        return "running" if self.lives(life.owner.worker if life.owner else None) else "interrupted"


def in_words(status: str, waits: Iterable[Wait]) -> str:
    """A status with what it waits for: `waiting for signal approve`, `waiting for people: publish`."""
    listed = list(waits)
    doubts = [wait.name for wait in listed if wait.in_doubt]
    if doubts and status in {"running", "suspended", "interrupted", "released"}:
        return f"in doubt: {_listed(doubts)}"
    if status != "suspended":
        return status
    signals = [wait.name for wait in listed if wait.kind == "signal"]
    if signals:
        return f"waiting for signal {_listed(signals)}"
    people = [wait.name for wait in listed if wait.kind == "approval"]
    if people:
        return f"waiting for people: {_listed(people)}"
    children = [wait.name for wait in listed if wait.kind == "child"]
    if children:
        return f"waiting for run of {_listed(children)}"
    due = min((wait.due for wait in listed if wait.due is not None), default=None)
    return f"waiting until {moment(due)}" if due is not None else "waiting"


def since_when(life: Life, now: int) -> str:
    """How old its end is, or its start, or for how long nothing was heard of it."""
    if life.ended is not None:
        ago = age(now - life.ended)
        return "just now" if ago == "now" else f"{ago} ago"
    return age(now - (life.last_at or life.started or now))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
