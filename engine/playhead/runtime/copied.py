"""What a fork has from elsewhere, so that nothing happened for it in the fork itself.

    copied = Copied("4wq2mzkq7xha", started)
    copied.asks(op, request)              # every event of the program, in order
    copied.has(op, 12)                    # whether the outcome of `op`, event 12, is one

A fork begins with events that were made from those of its source, and holds ready what operations come to
that its program has yet to ask for.
"""

from __future__ import annotations

from playhead.events.catalog import RunStarted
from playhead.events.fact import ProgramFact
from playhead.events.state import StateRequested
from playhead.events.words import PreparedWords
from playhead.runtime.likeness import Changes, question_of


def answers(words: PreparedWords, request: ProgramFact, run: str, ground: str | None) -> bool:
    """Whether what is held ready is for what `run` asks now, about what it made of it: see `Changes`."""
    return words.asked in ("", question_of(request, run, ground or ""))


class Copied:
    """Which outcomes of a run did not happen in it: a fork began with them, or had them ready."""

    def __init__(self, run: str, started: RunStarted | None) -> None:
        self.last = started.forked.events if started is not None and started.forked is not None else 0
        """The last event that was made from one of its source; 0 where it is no fork."""
        self._run = run
        self._prepared = (started.prepared if started is not None else None) or {}
        self._changes = Changes(run)
        self._ready: set[str] = set()

    def asks(self, op: str, request: ProgramFact) -> None:
        """The program did `request`."""
        if not self._prepared:
            return
        ground = self._changes.before(request) if isinstance(request, StateRequested) else ""
        words = self._prepared.get(op)
        if words is not None and answers(words, request, self._run, ground):
            self._ready.add(op)

    def has(self, op: str, seq: int) -> bool:
        """Whether the outcome of `op` that stands at event `seq` did not happen in the run."""
        return seq <= self.last or op in self._ready
