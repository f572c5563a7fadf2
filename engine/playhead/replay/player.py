"""The player: a program, run again against its tape, comparing every event it causes.

    outcome = play(tape, persona)
    outcome.identical, outcome.divergence

Nothing is carried out: operations answer from the tape in recorded order, on a
clock that only the tape moves, and files, sockets and processes are refused.
"""

from __future__ import annotations

import contextvars
from dataclasses import dataclass
from typing import Any, Literal

from playhead.errors import Diverged
from playhead.events.redaction import Redaction
from playhead.replay.divergence import Report, report_of
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.machine import Machine
from playhead.runtime.persona import Persona
from playhead.runtime.scope import CURRENT
from playhead.runtime.tape import Tape

Verdict = Literal["identical", "diverged", "incomplete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a replay found.

    `identical`: every event that the program causes is the recorded one. `incomplete`: so far identical,
    but the tape ends in flight. `diverged`: `divergence` names the first difference. `matched` counts
    program events that agreed, `events` all events of the tape.
    """

    run: str
    verdict: Verdict
    matched: int
    events: int
    divergence: Report | None = None
    waiting: tuple[str, ...] = ()

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

    Raises `BadValue` when the recorded arguments do not fit the persona any more, and `BadEvent` for a
    tape that only a newer version can follow.
    """
    args, kwargs = persona.signature.decode(tape.started.args)
    context = contextvars.Context()
    context.run(CURRENT.set, None)

    def encode_result(value: Any) -> Any:
        raw = persona.signature.result.encode(value)
        return raw if redaction is None else redaction.apply(raw)

    machine = Machine(
        tape.run,
        seed=tape.started.seed,
        started_at=tape.started_at,
        entry=lambda: persona.function(*args, **kwargs),
        encode_result=encode_result,
        patches=tape.patches,
        context=context,
        redaction=redaction,
        errors=errors,
        host=_OnTape(model),
    )
    try:
        tape.play(machine, live_at_end=not tape.complete)
        waiting = tuple(machine.waiting)
        found = machine.divergence
        matched = machine.matched
    finally:
        machine.close()
    if found is not None:
        report = report_of(tape, persona, found)
        return Outcome(
            run=tape.run, verdict="diverged", matched=matched, events=len(tape.events), divergence=report
        )
    verdict: Verdict = "identical" if tape.complete else "incomplete"
    return Outcome(run=tape.run, verdict=verdict, matched=matched, events=len(tape.events), waiting=waiting)


@dataclass(frozen=True, slots=True)
class _OnTape:
    """Stands where an engine would: a model client has a name here, and is never asked."""

    model: Any
