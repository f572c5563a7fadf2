"""A replay that stops at an event, in the user's own frame, and goes on and back from there.

    debugger = Debugger(Observer(tape, persona))
    code = debugger.run(target=4)         # talks with a person until they are done

The replay is the player's own and touches nothing. Where it stops, a prompt of pdb looks at
the frames of the program: those whose call caused the event, or those that wait for the
outcome which comes next. Going on is playing on; going back is playing again, from the nearest
checkpoint (see `playhead.replay.checkpoints`) or, where processes cannot be forked, from the
beginning.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn

from playhead.errors import PlayheadError
from playhead.events.fact import Fact, OutcomeFact, ProgramFact
from playhead.log.envelope import AnyEvent
from playhead.replay import frames
from playhead.replay.checkpoints import DEPTH_MAX, SPACING_EVENTS, Checkpoints, Wish, marks, possible
from playhead.replay.divergence import report_of
from playhead.replay.observed import Observer, Sight
from playhead.replay.prompt import Prompt
from playhead.replay.watching import Change, Watcher, awaited, current, has_value
from playhead.runtime.signals import Unwinding

DIVERGED: Final = 5
INTERNAL: Final = 70
TASKS_SHOWN_MAX: Final = 40
NOT_STARTED: Final = -1
NOBODY_THERE: Final = (errno.EPIPE, errno.EIO)
"""What writing to a pipe that nobody reads, or to a terminal that is gone, fails with."""


class Here(NamedTuple):
    """What the replay is at: an event, and whether the program causes it or is told it next."""

    seq: int
    caused: bool
    lines: list[frames.Line]


def in_words(event: AnyEvent) -> str:
    """An event on one line, for whoever has no better words."""
    return f"{event.type}  {event.op}".rstrip()


class Debugger(Sight):
    """One session: what a person asked for, and where the replay is."""

    def __init__(
        self,
        observer: Observer,
        *,
        words: Callable[[AnyEvent], str] = in_words,
        commands: Sequence[str] = (),
        terminal: bool = False,
        forking: bool = True,
    ) -> None:
        """Raises `BadValue` where the recorded arguments do not fit the program any more."""
        super().__init__()
        observer.check()
        self.observer = observer
        self.tape = observer.tape
        self.target = 0
        """The event to stop at."""
        self.leaving = False
        """Whether this process, or this replay, is to end: for good, or because of `wish`."""
        self._wish: Wish | None = None
        self._words = words
        self._prompt = Prompt(self, terminal=terminal, commands=commands)
        self._watcher = Watcher([], self._say_change)
        self._relaxed = self.tape.started.mode == "relaxed"
        self._checkpoints = Checkpoints() if forking and not self._relaxed and possible() else None
        self._marks: list[int] = []
        self._here = Here(NOT_STARTED, caused=True, lines=[])
        self._why = ""
        """Why nothing comes after this, where that is so."""
        self._code = 0

    # -------------------------------------------------------------- playing

    def run(self, target: int) -> int:
        """Play to `target` and talk. Returns 0, or 5 where the program diverged from its tape."""
        wish = Wish(target, {})
        if self._checkpoints is None:
            self._prompt.message("(no process can be forked here: going back plays again from the beginning)")
            return self._run_again_and_again(wish)
        gc.freeze()  # a collector that looks at what there is by now would copy it in every process
        try:
            begun = self._checkpoints.start(wish)
        finally:
            if self._checkpoints.depth == 0:
                gc.unfreeze()
        if isinstance(begun, int):
            return begun
        code = INTERNAL
        try:
            self._begin(begun)
            self._prompt.listen_to_interrupts()
            self.observer.watch(self)
        except OSError as error:
            if error.errno not in NOBODY_THERE:
                traceback.print_exc()
            else:
                code = 0  # whoever read has seen enough
        except BaseException:  # noqa: BLE001  this process must not go on as if it were the one that forked it
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(code)

    def _run_again_and_again(self, wish: Wish) -> int:
        while True:
            self._begin(wish)
            self._prompt.listen_to_interrupts()
            try:
                if self._relaxed:
                    asyncio.run(self.observer.watch_relaxed(self))
                else:
                    self.observer.watch(self)
            except Unwinding:
                pass
            except OSError as error:
                if error.errno not in NOBODY_THERE:
                    raise
                return 0
            if self._wish is None:
                return self._code
            wish = self._wish

    def _begin(self, wish: Wish) -> None:
        self._why, self._code, self._wish, self.leaving = "", 0, None, False
        self.passed = (NOT_STARTED, True)
        self._here = Here(NOT_STARTED, caused=True, lines=[])
        self._prompt.touched = False
        self._take(wish, NOT_STARTED)

    def _take(self, wish: Wish, at: int) -> None:
        if wish.state:
            self._prompt.take(wish.state["prompt"])
            self._watcher = Watcher(wish.state["watched"], self._say_change)
        self._aim(at, wish.target)

    def _aim(self, at: int, target: int) -> None:
        self.target = target
        last = self.tape.events[-1].seq
        self._marks = marks(at, min(target, last)) if self._checkpoints is not None else []
        self._plan()

    def _plan(self) -> None:
        watching = bool(self._watcher.expressions)
        self.due = 0 if watching else min([self.target, *self._marks[:1]])

    def caused(self, seq: int, op: str, fact: Fact) -> None:
        task, running = current(self.machine), sys._getframe(1)
        if self._watcher.expressions:
            self._watcher.look(self.machine, seq, op, fact, task, running)
        self._arrive(seq, functools.partial(self._lines_of, fact, task, running), caused=True)

    def told(self, seq: int, op: str, fact: OutcomeFact) -> None:
        task = awaited(self.machine, op, fact)
        if self._watcher.expressions:
            self._watcher.look(self.machine, seq, op, fact, task, None)
        self._arrive(seq, functools.partial(frames.stack, self.machine, task), caused=False)

    def _lines_of(
        self, fact: Fact, task: asyncio.Task[Any] | None, running: FrameType | None
    ) -> list[frames.Line]:
        """The frames that caused `fact`: where it is a failure, those that it came through."""
        error = self.machine.error if task is None else sys.exc_info()[1]
        lines = frames.stack(self.machine, task, running)
        if getattr(fact, "failure", None) is not None and error is not None:
            known = {frame for frame, _ in lines}
            lines += [line for line in frames.traceback_stack(error.__traceback__) if line[0] not in known]
        return lines

    def _arrive(self, seq: int, lines: Callable[[], list[frames.Line]], *, caused: bool) -> None:
        if self._is_checkpoint(seq):
            assert self._checkpoints is not None
            wish = self._checkpoints.keep(seq)
            if wish is not None:
                self._take(wish, seq)
                self._prompt.listen_to_interrupts()
        if seq >= self.target:
            self._here = Here(seq, caused, lines())
            self._stop()
        self._plan()

    def _is_checkpoint(self, seq: int) -> bool:
        if self._checkpoints is None or self._prompt.touched:
            return False
        due = bool(self._marks) and seq >= self._marks[0]
        while self._marks and seq >= self._marks[0]:
            self._marks.pop(0)
        return due or (seq >= self.target and seq - self._checkpoints.newest > SPACING_EVENTS)

    # ------------------------------------------------------------- stopping

    def _stop(self) -> None:
        """Say where this is and ask, until it is said that the program goes on."""
        lines = self._here.lines or self._standing() or self._outside()
        self._prompt.lines = lines
        self.say_where()
        self._prompt.talk(lines)
        while self._why:  # a program that came to its end cannot go on
            self._prompt.message(f"(nothing comes after this: {self._why}; back, to N, or quit)")
            self._prompt.talk(lines)

    def _outside(self) -> list[frames.Line]:
        frame = standing_nowhere(self.machine.error, self.machine.finished)
        return [(frame, frame.f_lineno)]

    def is_nowhere(self, frame: FrameType) -> bool:
        """Whether `frame` stands for the program having none."""
        return frame.f_code is NOWHERE

    def diverged(self) -> None:
        if self.leaving:
            return
        found = self.machine.divergence
        assert found is not None
        with frames.aside(self.machine):
            report = str(report_of(self.tape, self.observer.persona, found))
            self._prompt.message(report)
            if self._prompt.touched:
                self._prompt.message("(something was changed by hand before: this may come from that)")
        self._code = DIVERGED
        task = current(self.machine)
        lines = frames.stack(self.machine, task, sys._getframe(1)) if task is not None else []
        error = self.machine.error
        if not lines and error is not None:
            lines = frames.traceback_stack(error.__traceback__)
        self._end_in("the replay diverged here", lines or self._standing())

    def ended(self) -> None:
        if self.leaving or self._why:
            return
        waiting = ", ".join(self.machine.waiting)
        why = f"the tape ends here, and the program waits for {waiting}" if waiting else "the tape ends here"
        self._end_in(why, self._standing())

    def stuck(self, error: PlayheadError) -> None:
        if self.leaving:
            return
        self._prompt.message(f"{error.code}: {error}")
        self._end_in("the tape cannot be followed further", self._standing())

    def _standing(self) -> list[frames.Line]:
        """The innermost frames of the first task that waits in some."""
        found = [lines for task in frames.tasks(self.machine) if (lines := frames.stack(self.machine, task))]
        return found[0] if found else []

    def _end_in(self, why: str, lines: list[frames.Line]) -> None:
        sys.settrace(None)
        self._why = why
        self._prompt.message(f"({why})")
        lines = lines or self._outside()
        self._here = self._here._replace(seq=self.passed[0], lines=lines)
        while True:
            self._prompt.talk(lines)
            self._prompt.message(f"(nothing comes after this: {why}; back, to N, or quit)")

    def lines_at(self, frame: FrameType | None) -> list[frames.Line]:
        """The stack of a frame that a trace stopped in."""
        lines = frames.stack(self.machine, current(self.machine), frame)
        return lines or self._outside()

    def leave(self) -> NoReturn:
        """End this replay: for good, or to go to where somebody wished to be."""
        if self._checkpoints is not None:
            self._checkpoints.leave(self._wish, self._code)
        self.machine.stopped = True
        self.machine.unwinding = True
        raise Unwinding

    # ------------------------------------------------------------ where to go

    @functools.cached_property
    def _noticed(self) -> frozenset[str]:
        """The types of what the program causes or is told."""
        facts = self.tape.catalog.facts
        return frozenset(name for name, fact in facts.items() if issubclass(fact, (ProgramFact, OutcomeFact)))

    def _count(self, number: int, events: Iterable[AnyEvent], where: str) -> int | str:
        """The event of the program that is number `number` of `events`."""
        passed = 0
        for event in events:
            passed += event.type in self._noticed
            if passed == number:
                return event.seq
        return f"{passed} events of the program come {where} this one"

    @property
    def ended_here(self) -> bool:
        """Whether nothing comes after this."""
        return bool(self._why)

    @property
    def at(self) -> int:
        """The event that is spoken of: one asked for that the program does not notice, or where it is."""
        passed = self.passed[0]
        return self.target if self.target < passed and not self._why else passed

    def forward(self, words: Sequence[str]) -> int | str:
        """The event that `fwd` means with these words, or why there is none."""
        return self._meant(words, itertools.islice(self.tape.events, self.at + 1, None), "after")

    def backward(self, words: Sequence[str]) -> int | str:
        """The event that `back` means with these words, or why there is none."""
        earlier = (self.tape.events[seq] for seq in range(self.at - 1, -1, -1))
        return self._meant(words, earlier, "before")

    def _meant(self, words: Sequence[str], events: Iterator[AnyEvent], where: str) -> int | str:
        if not words or words[0].isdecimal():
            number = int(words[0]) if words else 1
            return self._count(number, events, where) if number else "0 events away is here"
        kind, op = words[0], words[1] if len(words) > 1 else "*"
        found = (event.seq for event in events if fnmatchcase(event.type, kind) and _is_op(event.op, op))
        return next(found, f"no event {' '.join(words)} comes {where} this one")

    def exactly(self, word: str) -> int | str:
        """The event that `to` means with this word, or why there is none."""
        last = self.tape.events[-1].seq
        if not word.isdecimal() or int(word) > last:
            return f"to an event from 0 to {last}"
        return int(word)

    def failing(self) -> int | str:
        """The event with which the run failed, else the last one that says that something did."""
        failed = [event for event in self.tape.events if event.type.endswith((".failed", ".denied"))]
        ends = [event for event in failed if event.type == "run.failed"]
        return (ends or failed)[-1].seq if failed else "nothing failed on this tape"

    def go(self, where: int) -> bool:
        """Get ready to be at event `where`. False where that is here."""
        passed, _ = self.passed
        if not self._why and where in (passed, self.at):
            self.target = where
            self.say_where()
            return False
        if where > passed and self._why:
            self._prompt.error(f"nothing comes after this: {self._why}")
            return False
        if where > passed and not self._too_deep(where):
            self._aim(passed, where)
            return True
        state = {"prompt": self._prompt.keep(), "watched": [each.text for each in self._watcher.expressions]}
        self._wish = Wish(where, state, DEPTH_MAX if where <= passed else DEPTH_MAX // 4)
        self.leaving = True
        return True

    def _too_deep(self, where: int) -> bool:
        """Whether the way to `where` needs more checkpoints than there may be, and so begins further back."""
        if self._checkpoints is None or self._prompt.touched:
            return False
        return self._checkpoints.depth + len(marks(self.passed[0], where)) > DEPTH_MAX

    # ---------------------------------------------------------------- saying

    def say_where(self) -> None:
        """Say which event this is."""
        at, (passed, caused) = self.at, self.passed
        last = self.tape.events[-1].seq
        if at < 0 or not self.tape.events:
            self._prompt.message("(before the first event of the program)")
            return
        self._prompt.message(f"event {at} of {last}  {self._words(self.tape.events[at])}")
        if at < passed:
            self._prompt.message(f"(the program does not notice it, and goes on here to event {passed})")
        elif self._prompt.lines is None:
            self._prompt.message("(the program is under way after it)")
        elif not caused:
            self._prompt.message("(the program is told so next, where it waits)")

    def say_tasks(self) -> None:
        """List the tasks of the run."""
        alive = frames.tasks(self.machine)
        running = None if self._why else current(self.machine)
        for task in alive[:TASKS_SHOWN_MAX]:
            lines = self._prompt.stack if task is running else frames.waiting_stack(task)
            place = f"{lines[-1][0].f_code.co_qualname}:{lines[-1][1]}" if lines else "-"
            does = "runs" if task is running else f"waits for {frames.waits_for(self.machine, task)}"
            self._prompt.message(f"{frames.path_of(task)}  {place}  {does}")
        if len(alive) > TASKS_SHOWN_MAX:
            self._prompt.message(f"and {len(alive) - TASKS_SHOWN_MAX} more")
        if not alive:
            self._prompt.message("no task is under way")

    def say_log(self, number: int) -> None:
        """List the events around this one."""
        at = self.at
        for event in self.tape.events[max(at - number, 0) : at + number + 1]:
            self._prompt.message(f"{'>' if event.seq == at else ' '} {event.seq:>5}  {self._words(event)}")

    def watch(self, text: str) -> None:
        """Watch an expression, or say what is watched."""
        known = [each.text for each in self._watcher.expressions]
        if not text:
            self._prompt.message("\n".join(known) or "nothing is watched")
            return
        try:
            self._watcher = Watcher([*known, text], self._say_change)
        except PlayheadError as error:
            self._prompt.error(str(error))
            return
        if not has_value(self.machine, text, self._prompt.stack):
            self._prompt.message(f"({text} has no value here; it is looked at from the next event on)")
        self._plan()

    def unwatch(self, text: str) -> None:
        """Watch an expression no longer, or none."""
        rest = [each.text for each in self._watcher.expressions if text and each.text != text]
        self._watcher = Watcher(rest, self._say_change)
        self._plan()

    def _say_change(self, change: Change) -> None:
        place = change.site.function
        self._prompt.message(
            f"{change.seq:>7}  {place}:{change.site.line}  {change.expression} = {change.value}"
        )


def _is_op(op: str, pattern: str) -> bool:
    """Whether an operation is meant by a pattern; brackets are part of a key, not of a pattern."""
    return fnmatchcase(op, pattern.replace("[", "[[]"))


def standing_nowhere(error: BaseException | None, finished: Fact | None) -> FrameType:  # noqa: ARG001
    """A frame to stand in where the program has none: what the run ended with is there by name."""
    return sys._getframe()


NOWHERE: Final = standing_nowhere.__code__
