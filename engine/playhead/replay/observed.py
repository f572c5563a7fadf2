"""A replay that somebody looks at: told of every event that the program causes or is given.

    class Counting(Sight):
        def caused(self, seq, op, fact): ...

    Observer(tape, persona).watch(Counting())

The one who looks is called inside the program's own call for an event that it causes, so
its frames are there, and before an outcome is handed over. The replay itself is the same.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from playhead.errors import PlayheadError, Runaway
from playhead.events.fact import Fact, OutcomeFact, ProgramFact
from playhead.replay.player import Outcome, Player
from playhead.runtime.difference import Recorded
from playhead.runtime.machine import Machine
from playhead.runtime.place import Place
from playhead.runtime.relaxed import RelaxedMachine


class Sight:
    """Who looks. Every method may be left as it is, but for `__init__`, which is called by every other."""

    machine: Observed | ObservedRelaxed

    def __init__(self, due: int = 0) -> None:
        # Of each its own: what a class has as well is found slowly, and is asked for at every event.
        self.due = due
        """Of events before this one nobody is told."""
        self.passed: tuple[int, bool] = (-1, True)
        """The newest event that the program caused, or is told next, and whether it caused it."""

    def caused(self, seq: int, op: str, fact: Fact) -> None:
        """The program did what is recorded at `seq`, and its call has not returned yet."""

    def told(self, seq: int, op: str, fact: OutcomeFact) -> None:
        """The program is quiet, and is handed the outcome at `seq` next."""

    def diverged(self) -> None:
        """The program did something else than is recorded, and will not go on."""

    def ended(self) -> None:
        """The tape is through, and the program is still as it is then."""

    def stuck(self, error: PlayheadError) -> None:
        """The tape cannot be followed any further. As it is, raises `error`."""
        raise error


class _Told(Machine):
    """A machine that says what its program is handed, and where it diverges."""

    sight: Sight

    @property
    def error(self) -> BaseException | None:
        """What the program ended with, where it failed."""
        root = self._root_task
        return root.exception() if root is not None and root.done() and not root.cancelled() else None

    def seen_by(self, sight: Sight) -> None:
        """Say it all to `sight`."""
        self.sight = sight
        self.on_told = self._told

    def _told(self, seq: int, op: str, fact: OutcomeFact) -> None:
        sight = self.sight
        sight.passed = seq, False
        if seq >= sight.due:
            sight.told(seq, op, fact)

    def _caused(self, seq: int, op: str, fact: ProgramFact) -> None:
        sight = self.sight
        sight.passed = seq, True
        if seq >= sight.due:
            sight.caused(seq, op, fact)

    def _diverge(
        self,
        kind: str,
        recorded: Recorded | None,
        op: str | None,
        fact: Fact | None,
        place: Place | None = None,
    ) -> None:
        already = self.stopped
        super()._diverge(kind, recorded, op, fact, place)
        if not already:
            self.sight.diverged()


class Observed(_Told):
    """A machine that says what happens in it."""

    def seen_by(self, sight: Sight) -> None:
        super().seen_by(sight)
        self.on_caused = self._caused

    def patched(self, name: str, op: str) -> bool:
        self.check_inside(op)
        return super().patched(name, op)


class ObservedRelaxed(_Told, RelaxedMachine):
    """The same for a program in the host's loop."""

    def _match(self, queue: deque[Recorded], op: str, fact: ProgramFact, place: Place | None) -> None:
        recorded = queue[0]
        super()._match(queue, op, fact, place)
        if not self.stopped:
            self._caused(recorded.seq, op, fact)


class Observer(Player):
    """A player whose replay somebody looks at."""

    def check(self) -> None:
        """Raise what `play` would before the program's first line: `BadValue` where arguments do not fit."""
        self._machine(Observed).close()

    def watch(self, sight: Sight) -> Outcome:
        """Play the tape of a strict run. Raises what `play` raises, and what `sight` does."""
        machine = self._machine(Observed)
        machine.seen_by(sight)
        sight.machine = machine
        try:
            try:
                with suppress(Runaway):
                    self.tape.play(machine, live_at_end=not self.tape.complete)
            except PlayheadError as error:
                sight.stuck(error)
            sight.ended()
            return self._outcome(machine)
        finally:
            machine.close()

    async def watch_relaxed(self, sight: Sight) -> Outcome:
        """Play the tape of a relaxed run, in the running loop."""
        machine = self._machine(ObservedRelaxed)
        machine.seen_by(sight)
        sight.machine = machine
        try:
            try:
                await machine.play_tape(self.tape, live_at_end=not self.tape.complete)
            except PlayheadError as error:
                sight.stuck(error)
            sight.ended()
            return self._outcome(machine)
        finally:
            machine.close()
