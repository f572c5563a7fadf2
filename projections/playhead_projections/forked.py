"""What a fork has from elsewhere, so that nothing happened for it in the fork itself.

    taken = Taken("4wq2mzkq7xha", started)
    taken.has(outcome, op, asked)            # True: it came with the fork, or was kept ready for it

A fork begins with events that were made from those of its source, and holds ready what operations come to
that its program has yet to ask for. Both are outcomes of calls that it did not carry out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.events import catalog as facts
from playhead.runtime.likeness import question_of

if TYPE_CHECKING:
    from playhead.events.fact import Fact
    from playhead.log.envelope import Event


class Taken:
    """What a run that began with `started` did not do itself; nothing where it is no fork."""

    def __init__(self, run: str, started: facts.RunStarted | None) -> None:
        self._run = run
        self._prepared = (started.prepared if started else None) or {}
        self.last = started.forked.events if started and started.forked else 0
        """The last event that was made from one of its source; 0 for none, as its own first is."""

    def has(self, outcome: Event, op: str, asked: Fact | None) -> bool:
        """Whether the outcome of an operation is taken. Of a call that was erased only its place says so."""
        if outcome.seq <= self.last:
            return True
        ready = self._prepared.get(op)
        if ready is None or not isinstance(asked, (facts.ToolRequested, facts.ModelCalled)):
            return False
        return ready.asked in ("", question_of(asked, self._run))
