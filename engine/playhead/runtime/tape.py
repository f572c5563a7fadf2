"""A tape: the recorded events of one run, played into a machine.

Live, resumed and replayed runs use the same `play`, which is why they agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from playhead.errors import BadEvent, BadValue, ErasedPayload, NotFound
from playhead.events.approval import ApprovalAnswered
from playhead.events.catalog import (
    AttemptFinished,
    AttemptStarted,
    ChildRequested,
    OperationCancelled,
    OperationOutcomeUnknown,
    OperationResolved,
    PatchTaken,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunResumed,
    RunStarted,
    RunSuspended,
    SignalReceived,
)
from playhead.events.catalog import RunCancelRequested as CancelRequested
from playhead.events.codec import CATALOG, Catalog, Erased, Unknown
from playhead.events.erasing import erasures_in, is_needed, restored
from playhead.events.fact import Fact, OutcomeFact, ProgramFact, WorldFact
from playhead.log.envelope import AnyEvent
from playhead.log.evidence import ERASED_TYPE
from playhead.runtime.difference import Gone, Recorded
from playhead.runtime.machine import Machine

LAST_EVENTS = 4
TERMINAL: tuple[type[Fact], ...] = (RunCompleted, RunFailed, RunCancelled)


@dataclass(slots=True)
class Notes:
    """What a tape says beside the program's own story."""

    attempts: dict[str, int] = field(default_factory=dict[str, int])
    """Highest attempt announced, of operations that had more than one."""
    finished: dict[str, int] = field(default_factory=dict[str, int])
    """Highest attempt whose failure is recorded, of operations that go on."""
    children: set[str] = field(default_factory=set[str])
    """Operations that wait for a child run."""
    in_doubt: set[str] = field(default_factory=set[str])
    unbegun: set[str] = field(default_factory=set[str])
    """Operations that a fork took over from its source with its tape, and has not begun."""
    messages: int = 0
    """Mailbox messages taken so far: the seq of the next one."""
    deaths: int = 0
    """Crashes in a row without a new outcome."""
    seqs: dict[str, int] = field(default_factory=dict[str, int])
    """Where the intents of operations without outcome stand."""
    last: tuple[str, str] = ("", "")
    """Operation and type of the newest program event."""
    next_seq: int = 0
    delivered: int = -1
    """Seq of the newest outcome."""
    left: str = "crash"
    """How the last owner left: `crash`, `suspension`, `release`, `parked` or `end`."""


class Tape:
    """The events of one run, decoded. Raises `NotFound` when there are none."""

    def __init__(self, run: str, events: Iterable[AnyEvent], catalog: Catalog = CATALOG) -> None:
        self.run = run
        self.events = list(events)
        self.catalog = catalog
        self.erased = frozenset(event.seq for event in self.events if event.payload is None)
        """Events that were erased, in part or whole. Where enough was kept they can be read all the same."""
        self.said = erasures_in(self.events, catalog) if self.erased else {}
        if self.said:
            self.events = restored(self.events, self.said, catalog)
        if not self.events:
            raise NotFound(f"there is no run {run}.", next_step="See `playhead runs`.")
        first = catalog.decode(self.events[0])
        if isinstance(first, Erased):
            raise self._erased(self.events[0])
        if not isinstance(first, RunStarted):
            raise BadEvent(f"run {run} does not begin with run.started.", found=self.events[0].type)
        self.started = first

    @property
    def started_at(self) -> int:
        return self.events[0].at

    @property
    def complete(self) -> bool:
        """Whether the program came to an end on this tape."""
        last = [event.type for event in self.events[-LAST_EVENTS:]]
        if self.said:  # each erasure is an event behind the end
            last = [event.type for event in self.events if event.type != ERASED_TYPE][-LAST_EVENTS:]
        return not _TERMINAL_TYPES.isdisjoint(last)

    @cached_property
    def patches(self) -> frozenset[str]:
        """Operations at which `patched` answered yes."""
        return frozenset(event.op for event in self.events if event.type == _PATCH_TYPE)

    @property
    def lost(self) -> tuple[int, ...]:
        """Erased events whose content the program caused or was told."""
        if not self.erased:
            return ()
        return tuple(e.seq for e in self.events if e.seq in self.erased and is_needed(e.type, self.catalog))

    def check_whole(self) -> None:
        """Raise `ErasedPayload` where the program could not go on as it would have: something was erased."""
        if lost := self.lost:
            raise self._erased(self.events[lost[0]])

    def loss_at(self, seq: int) -> Literal["", "part", "all"]:
        """What is not known of what the program did at event `seq`, or was told before it."""
        if not self.erased or seq < min(self.erased):
            return ""
        return "all" if self.events[seq].payload is None else "part"

    def is_lost(self, event: AnyEvent) -> bool:
        """Whether `event` is an outcome of which not enough was kept."""
        known = self.catalog.facts.get(event.type)
        return event.payload is None and known is not None and known.OUTCOME

    def erasure_of(self, event: AnyEvent) -> str:
        """What was erased of `event`, by whom and why, as far as the tape says it."""
        said = self.said.get(event.seq)
        why = f": {said.reason}" if said is not None else ""
        by = f" by {said.sender}" if said is not None and said.sender else ""
        part = "" if said is None or not said.parts else f" in part ({', '.join(said.parts)})"
        return f"event {event.seq} ({event.type}) was erased{part}{by}{why}"

    def _erased(self, event: AnyEvent) -> ErasedPayload:
        return ErasedPayload(
            f"run {self.run} {self.erasure_of(event)}. It cannot run again past it.", found=event.seq
        )

    def notes(self) -> Notes:
        """What the tape says beside the program's own story, without running the program."""
        notes = Notes()
        taken_over = self.started.forked.events if self.started.forked is not None else 0
        for event in self.events:
            _note(notes, event, self.catalog.decode(event))
            if event.seq == taken_over:
                notes.unbegun = set(notes.seqs)
        return notes

    def readable(self, event: AnyEvent) -> Fact:
        """The fact in `event`, for a program that has to follow it. Raises `BadEvent`, `ErasedPayload`."""
        fact = self.catalog.decode(event)
        return fact if isinstance(fact, Fact) else self._unreadable(event, fact)

    def play(self, machine: Machine, *, live_at_end: bool) -> None:
        """Play every event into `machine`. Stops early where the machine diverges.

        Raises `BadEvent` for a fact that this version cannot follow and `ErasedPayload` for an outcome that
        the program needs and that was erased.
        """
        with machine.loop:
            segment: list[Recorded] = []
            erased = self.erased
            for event, fact, part in self.catalog.decoded(self.events):
                if part == "program":
                    loss = self.loss_at(event.seq) if erased else ""
                    segment.append(Recorded(event.seq, event.op, fact, loss))
                elif part == "outcome":
                    machine.play(segment, last=False)
                    segment.clear()
                    if machine.stopped:
                        return
                    if erased:
                        self.hand(machine, event, fact)
                    else:
                        machine.deliver(event.seq, event.op, event.at, fact)
                    if machine.stopped:
                        return
                elif part == "unread":
                    if self.is_lost(event):  # up to here all can be compared
                        machine.play(segment, last=False)
                        if machine.stopped:
                            return
                    stands_in = self._unreadable(event, fact)
                    if stands_in.PROGRAM:
                        segment.append(Recorded(event.seq, event.op, stands_in, self.loss_at(event.seq)))
            machine.play(segment, last=live_at_end)

    def hand(self, machine: Machine, event: AnyEvent, fact: Fact) -> None:
        """Hand an outcome to the program. Raises `ErasedPayload` where what was kept is no answer to it."""
        machine.holed = event.seq in self.erased
        try:
            machine.deliver(event.seq, event.op, event.at, fact)  # type: ignore[arg-type]
        except BadValue as error:
            raise self._erased(event) from error

    def _unreadable(self, event: AnyEvent, fact: Unknown | Erased) -> Fact:
        """A fact that stands in for one the program does not see, or the error that says why not."""
        if isinstance(fact, Erased):
            known = self.catalog.facts.get(fact.type)
            if known is not None and known.PROGRAM:
                return Gone(type_=event.type)
            if known is not None and not known.OUTCOME:
                return WorldFact()
            raise self._erased(event)
        raise BadEvent(
            f"run {self.run} event {event.seq}: only a newer playhead knows {fact.type}/{fact.version}.",
            found=f"{fact.type}/{fact.version}",
            next_step="Upgrade playhead to run it again; it can be shown and verified as it is.",
        )


def _note(notes: Notes, event: AnyEvent, fact: Fact | Unknown | Erased) -> None:
    notes.next_seq = event.seq + 1
    if isinstance(fact, ProgramFact):
        _note_program(notes, event, fact)
    elif isinstance(fact, OutcomeFact):
        _note_outcome(notes, event, fact)
    elif isinstance(fact, Fact):
        _note_world(notes, event, fact)


def _note_program(notes: Notes, event: AnyEvent, fact: ProgramFact) -> None:
    notes.last = (event.op, event.type)
    if isinstance(fact, OperationCancelled):
        notes.seqs.pop(event.op, None)
        notes.children.discard(event.op)
    elif isinstance(fact, TERMINAL):
        notes.left = "end"
    elif event.op:
        notes.seqs[event.op] = event.seq
        if isinstance(fact, ChildRequested):
            notes.children.add(event.op)


def _note_outcome(notes: Notes, event: AnyEvent, fact: OutcomeFact) -> None:
    notes.deaths = 0
    notes.delivered = event.seq
    notes.seqs.pop(event.op, None)
    notes.attempts.pop(event.op, None)
    notes.finished.pop(event.op, None)
    notes.in_doubt.discard(event.op)
    notes.unbegun.discard(event.op)
    notes.children.discard(event.op)
    if isinstance(fact, (SignalReceived, ApprovalAnswered, CancelRequested)):
        notes.messages = fact.message + 1


def _note_world(notes: Notes, event: AnyEvent, fact: Fact) -> None:
    match fact:
        case AttemptStarted(attempt=attempt):
            notes.attempts[event.op] = attempt
            notes.unbegun.discard(event.op)
            notes.in_doubt.discard(event.op)
        case AttemptFinished(attempt=0, message=int(message)):
            notes.messages = message + 1
        case AttemptFinished(attempt=attempt):
            notes.finished[event.op] = attempt
        case OperationOutcomeUnknown():
            notes.in_doubt.add(event.op)
        case OperationResolved(message=int(message)):
            notes.messages = message + 1
        case RunStarted() | RunResumed():
            notes.deaths = fact.deaths if isinstance(fact, RunResumed) else 0
            notes.left = "crash"
        case RunSuspended():
            notes.left = "suspension"
        case RunReleased():
            notes.left = "release"
        case RunParked():
            notes.left = "parked"
        case _:
            pass


_TERMINAL_TYPES = frozenset({"run.completed", "run.failed", "run.cancelled"})
_PATCH_TYPE = str(PatchTaken.__struct_config__.tag)
