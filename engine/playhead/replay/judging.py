"""What makes an imagined run a good one: how it ends, or a test of that.

    judge = by_ending(good_tape, bad_tape)
    judge(imagined)                       # 'good', 'bad' or 'untestable'

What has no end is untestable, whatever the judge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from playhead.errors import BadValue
from playhead.events.catalog import RunCompleted, RunFailed
from playhead.events.fact import Fact, type_of
from playhead.replay.imagine import Imagined
from playhead.runtime.tape import TERMINAL, Tape

Verdict = Literal["good", "bad", "untestable"]
Judge = Callable[[Imagined], Verdict]
ENDS: Final = frozenset(map(type_of, TERMINAL))


def by_ending(good: Tape, bad: Tape) -> Judge:
    """Good is what ends like the good run: by status where the two differ in it, else by what came of it.

    Raises `BadValue` where one of them has no end.
    """
    wanted, other = _ending(good), _ending(bad)
    parts = 1 if wanted[0] != other[0] else 2

    def judge(found: Imagined) -> Verdict:
        if found.finished is None:
            return "untestable"
        return "good" if _said(found.finished)[:parts] == wanted[:parts] else "bad"

    return judge


def by_test(good: Callable[[dict[str, Any]], bool]) -> Judge:
    """Good is what a test on `summary` holds for."""

    def judge(found: Imagined) -> Verdict:
        if found.finished is None:
            return "untestable"
        return "good" if good(summary(found)) else "bad"

    return judge


def summary(found: Imagined) -> dict[str, Any]:
    """How an imagined run ended, as plain values."""
    return summary_of(found.finished)


def summary_of(finished: Fact | None) -> dict[str, Any]:
    """How a run ended, as plain values: `status`, `result` and `error`."""
    failure = finished.failure if isinstance(finished, RunFailed) else None
    return {
        "status": None if finished is None else type_of(finished).partition(".")[2],
        "result": msgspec.msgpack.decode(finished.result) if isinstance(finished, RunCompleted) else None,
        "error": None if failure is None else {"type": failure.type, "message": failure.message},
    }


def end_of(tape: Tape) -> Fact | None:
    """The recorded end of a run; None where it has none, or what it said was erased."""
    for event in reversed(tape.events):
        if event.type in ENDS:
            fact = tape.catalog.decode(event)
            return fact if isinstance(fact, Fact) else None
    return None


def _ending(tape: Tape) -> tuple[Any, ...]:
    finished = end_of(tape)
    if finished is None:
        raise BadValue(
            f"run {tape.run} has not ended, so there is nothing to compare.",
            next_step="Say what is good: --good-if, or -- CMD.",
        )
    return _said(finished)


def _said(fact: Fact) -> tuple[Any, ...]:
    kind = type_of(fact)
    if isinstance(fact, RunCompleted):
        return kind, bytes(fact.result)
    return kind, fact.failure if isinstance(fact, RunFailed) else None
