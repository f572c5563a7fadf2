"""Expressions that are looked at while a replay goes on, without stopping it or changing the program.

    watcher = Watcher(["len(pages)"], show=print)
    Observer(tape, persona).watch(watcher)

At every event each expression is evaluated in the user's innermost frame where all its names
are known, and told where its value is another than it was in that place before. What it
evaluates is no program code: it can start no operation and no task.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

from playhead.errors import ProgramError
from playhead.events.catalog import SignalReceived
from playhead.events.fact import Fact, OutcomeFact, Site, type_of
from playhead.replay import frames
from playhead.replay.observed import Sight
from playhead.runtime.loop import ProgramLoop
from playhead.runtime.machine import Machine
from playhead.runtime.place import site_of

TEXT_LENGTH_MAX: Final = 400


class Change(NamedTuple):
    """An expression has another value than before: at which event, in which place, and what it is now."""

    seq: int
    type: str
    op: str
    task: str
    site: Site
    expression: str
    value: str
    """Its repr, cut where it is long; what it raises, where it raises something."""
    failed: bool


class Expression(NamedTuple):
    """An expression, ready to be evaluated."""

    text: str
    code: CodeType


def expression(text: str) -> Expression:
    """Raises `ProgramError` for what is no expression."""
    try:
        return Expression(text, compile(text.strip(), "<watch>", "eval"))
    except (SyntaxError, ValueError) as error:
        raise ProgramError(
            f"{text!r} is no expression: {error}.",
            expected="a Python expression over names of the program",
            found=text,
        ) from error


class Watcher(Sight):
    """Tells every change of some expressions from event `first` to event `last`."""

    def __init__(
        self,
        texts: Sequence[str],
        show: Callable[[Change], None],
        *,
        first: int = 0,
        last: int | None = None,
    ) -> None:
        super().__init__(first)
        self.expressions = [expression(text) for text in texts]
        self._show = show
        self._last = sys.maxsize if last is None else last
        self._known: dict[tuple[str, str, str], str] = {}

    @property
    def never(self) -> list[str]:
        """The expressions that had no value so far: a name in them was known nowhere."""
        valued = {text for text, *_ in self._known}
        return [each.text for each in self.expressions if each.text not in valued]

    def caused(self, seq: int, op: str, fact: Fact) -> None:
        if seq <= self._last:
            self.look(self.machine, seq, op, fact, current(self.machine), sys._getframe(1))

    def told(self, seq: int, op: str, fact: OutcomeFact) -> None:
        if seq <= self._last:
            self.look(self.machine, seq, op, fact, awaited(self.machine, op, fact), None)

    def look(
        self,
        machine: Machine,
        seq: int,
        op: str,
        fact: Fact,
        task: asyncio.Task[Any] | None,
        running: FrameType | None,
    ) -> None:
        """Tell what is another than before, with `task` as the one that the event is about."""
        places = list(frames.stacks(machine, task, running))
        with frames.aside(machine):
            for each in self.expressions:
                found = frames.looking(machine).run(_evaluated, each.code, places)
                if found is None:
                    continue
                path, frame, value, failed = found
                key = (each.text, path, frame.f_code.co_qualname)
                if self._known.get(key) != value:
                    self._known[key] = value
                    shown = value if len(value) <= TEXT_LENGTH_MAX else f"{value[:TEXT_LENGTH_MAX]}…"
                    self._show(Change(seq, type_of(fact), op, path, site_of(frame), each.text, shown, failed))


def current(machine: Machine) -> asyncio.Task[Any] | None:
    """The task of the run that runs now."""
    loop: Any = machine.loop
    if not isinstance(loop, ProgramLoop):
        # The host's, which does not count as running while a person is asked.
        loop = next((task.get_loop() for task in frames.tasks(machine)), None)
    return None if loop is None else asyncio.current_task(loop)


def awaited(machine: Machine, op: str, fact: OutcomeFact) -> asyncio.Task[Any] | None:
    """The task that `fact` wakes; where none waits for just that, the one that is nearest."""
    if isinstance(fact, SignalReceived):
        waits = machine.waits.get(fact.signal, ())
        op = next((pending.op for pending in waits if not pending.future.done()), op)
    found = frames.waiter(machine, op) or frames.nearest(machine, op)
    return found or next(iter(frames.tasks(machine)), None)


def has_value(machine: Machine, text: str, lines: list[frames.Line]) -> bool:
    """Whether the names of an expression are known in one of these frames."""
    with frames.aside(machine):
        return frames.looking(machine).run(_evaluated, expression(text).code, [("", lines)]) is not None


def _evaluated(
    code: CodeType, places: Sequence[tuple[str, list[frames.Line]]]
) -> tuple[str, FrameType, str, bool] | None:
    """The value of `code` where its names are known, nearest first; None where they are known nowhere."""
    for path, lines in places:
        for frame, _ in reversed(lines):
            try:
                value = repr(eval(code, frame.f_globals, frame.f_locals))  # noqa: S307  a person's own words
            except NameError:
                continue
            except Exception as error:  # noqa: BLE001  what an expression raises is what there is to say of it
                return path, frame, f"{type(error).__name__}: {error}", True
            return path, frame, value, False
    return None
