"""The player: a program, run again against its tape, comparing every event it causes.

    outcome = play(tape, persona)
    outcome.identical, outcome.divergence

Nothing is carried out: operations answer from the tape in recorded order, on a
clock that only the tape moves, and files, sockets and processes are refused.
"""

from __future__ import annotations

import contextvars
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from playhead.errors import BadValue, Diverged, ErasedPayload, ProgramError, Runaway
from playhead.events.redaction import Redaction
from playhead.replay.divergence import Report, report_of
from playhead.runtime.building import MachineHost, StandIn, build
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.machine import Machine
from playhead.runtime.persona import Persona
from playhead.runtime.relaxed import RelaxedMachine
from playhead.runtime.scope import CURRENT
from playhead.runtime.tape import Tape

M = TypeVar("M", bound=Machine)
Verdict = Literal["identical", "diverged", "incomplete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a replay found.

    `identical`: every event that the program causes is the recorded one. `incomplete`: so far identical,
    but the tape ends in flight. `diverged`: `divergence` names the first difference. `matched` counts
    program events that agreed, `events` all events of the tape.

    `erased` are events of the tape that are erased, in part or whole: what is gone was not compared.
    `lost` is why the replay could not go on to the end: the program waits for an outcome that was erased.
    """

    run: str
    verdict: Verdict
    matched: int
    events: int
    divergence: Report | None = None
    waiting: tuple[str, ...] = ()
    erased: tuple[int, ...] = ()
    lost: str = ""

    @property
    def identical(self) -> bool:
        """Whether the whole tape was regenerated."""
        return self.verdict == "identical"

    def check(self) -> None:
        """Raise `Diverged` where the replay diverged."""
        if self.divergence is not None:
            raise Diverged(str(self.divergence), divergence=self.divergence)


def play(
    tape: Tape,
    persona: Persona[..., Any],
    *,
    errors: ErrorTypes | None = None,
    redaction: Redaction | None = None,
    model: Any = None,
) -> Outcome:
    """Run `persona` against `tape`. Touches nothing, needs no loop, and may be called anywhere.

    Raises `BadValue` when the recorded arguments do not fit the persona any more, `BadEvent` for a tape
    that only a newer version can follow, and `ProgramError` for the tape of a relaxed run, which needs
    the host's loop: `Engine.replay` plays both.
    """
    return Player(tape, persona, errors=errors, redaction=redaction, model=model).play()


class Player:
    """One replay. A player is used once."""

    def __init__(
        self,
        tape: Tape,
        persona: Persona[..., Any],
        *,
        errors: ErrorTypes | None = None,
        redaction: Redaction | None = None,
        model: Any = None,
    ) -> None:
        self.tape = tape
        self.persona = persona
        self._errors = errors
        self._redaction = redaction
        self._model = model

    def play(self) -> Outcome:
        """Play the tape of a strict run, synchronously."""
        if self.tape.started.mode != "strict":
            raise ProgramError(
                f"run {self.tape.run} is relaxed: it can only be played in a running loop.",
                next_step="Use Engine.replay.",
            )
        machine = self._machine(Machine)
        try:
            # Past the end of a tape that ends in flight a program may turn for ever.
            with suppress(Runaway):
                self.tape.play(machine, live_at_end=not self.tape.complete)
            return self._outcome(machine)
        except ErasedPayload as lost:
            return self._outcome(machine, lost.message)
        finally:
            machine.close()

    async def play_relaxed(self) -> Outcome:
        """Play the tape of a relaxed run in the running loop."""
        machine = self._machine(RelaxedMachine)
        try:
            await machine.play_tape(self.tape, live_at_end=not self.tape.complete)
            return self._outcome(machine)
        except ErasedPayload as lost:
            return self._outcome(machine, lost.message)
        finally:
            machine.close()

    def _machine(self, kind: type[M]) -> M:
        tape = self.tape
        try:
            return build(
                kind,
                tape.run,
                self.persona,
                tape.started,
                tape.started_at,
                patches=tape.patches,
                host=self._host(),
            )
        except BadValue:
            if 0 in tape.erased:
                tape.check_whole()  # what stands in place of an argument is no argument
            raise

    def _host(self) -> MachineHost:
        return on_tape(self.tape.started.model, self._model, self._redaction, self._errors)

    def _outcome(self, machine: Machine, lost: str = "") -> Outcome:
        found = machine.divergence
        verdict: Verdict = "identical" if self.tape.complete and not lost else "incomplete"
        return Outcome(
            run=self.tape.run,
            verdict=verdict if found is None else "diverged",
            matched=machine.matched,
            events=len(self.tape.events),
            divergence=None if found is None else report_of(self.tape, self.persona, found, self._host()),
            waiting=tuple(machine.waiting) if found is None else (),
            erased=self.tape.lost,
            lost=lost if found is None else "",
        )


@dataclass(frozen=True, slots=True)
class _OnTape:
    """Stands where an engine would: a model client has a name here, and nobody is asked."""

    model: Any
    redaction: Redaction | None
    errors: ErrorTypes | None
    around: contextvars.Context | None = None

    @property
    def tools_context(self) -> contextvars.Context:
        """That of the engine, or an empty one, outside of any run."""
        context = contextvars.Context() if self.around is None else self.around.copy()
        context.run(CURRENT.set, None)
        return context


def on_tape(
    recorded: str | None,
    model: Any,
    redaction: Redaction | None,
    errors: ErrorTypes | None,
    around: contextvars.Context | None = None,
) -> MachineHost:
    """What stands where an engine would, for a run whose model client was called `recorded`.

    `around` is the context in which its programs begin.
    """
    return _OnTape(model or (None if recorded is None else StandIn(recorded)), redaction, errors, around)
