"""What one tape has to say to a program that may do something else than it says.

    script = Script.of(tape, last=40)     # the story up to event 40
    script.answers["0/fetch#0"]           # what came back, and what had been asked

A tape that is played is one cursor. A script is looked up: by operation, with what
had been asked, so that an answer is given to its own question and to no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Self

import msgspec

from playhead.events.approval import ApprovalAnswered, ApprovalRequested
from playhead.events.autonomy import StandingRequested
from playhead.events.catalog import (
    ChildRequested,
    ModelCalled,
    RunCancelRequested,
    SignalReceived,
    TimerSet,
    ToolRequested,
    ValueRequested,
    WaitStarted,
)
from playhead.events.codec import Erased
from playhead.events.composition import CompositionStarted
from playhead.events.fact import Fact, OutcomeFact, ProgramFact, type_of
from playhead.events.rules import HookFired
from playhead.events.state import StateRequested
from playhead.log.envelope import AnyEvent
from playhead.runtime.difference import Gone
from playhead.runtime.likeness import Changes
from playhead.runtime.tape import Tape

ASKING: Final = (
    ToolRequested,
    ModelCalled,
    ValueRequested,
    TimerSet,
    WaitStarted,
    ChildRequested,
    ApprovalRequested,
    StateRequested,
    HookFired,
    StandingRequested,
    CompositionStarted,
)
"""Facts that wait for an outcome."""
NOT_GONE_BY: Final = frozenset(("/reason", "/sender"))
"""Parts of outcomes that a program does not go by."""


Loss = Literal["", "part", "all"]


class Told(msgspec.Struct, frozen=True):
    """An event of the program as it was recorded. `fact` is a `Gone` where nothing of it was kept."""

    event: AnyEvent
    fact: ProgramFact
    erased: Loss = ""


class Lost(NamedTuple):
    """An outcome that was erased, so that nobody can be told it: its event, and the operation it answered."""

    event: AnyEvent
    op: str


class Answer(msgspec.Struct, frozen=True):
    """A recorded outcome. `asked` is what it answers; None is news, a plain timer, or an edit that fits all.

    `op` is the operation that it answers, also where the log says so only by the number of a request.
    `asked_erased` is what was erased of the question.
    """

    seq: int
    op: str
    at: int
    fact: OutcomeFact
    payload: bytes = b""
    asked: ProgramFact | None = None
    edited: bool = False
    rank: float = 0.0
    asked_erased: Loss = ""
    ground: str | None = ""
    """What was asked about, where it is something that the run made of state; None where nobody knows."""
    after: int | None = None
    """So long after it was asked for, or is due; None is at `at`, in the order of `rank`."""

    @property
    def news(self) -> bool:
        """Whether it comes from outside, whatever the program waits for."""
        nobody_asked = isinstance(self.fact, ApprovalAnswered) and not self.op
        return nobody_asked or isinstance(self.fact, (SignalReceived, RunCancelRequested))


@dataclass(slots=True)
class Script:
    """The program's story and what it was told, up to one event."""

    tape: Tape
    program: list[Told] = field(default_factory=list[Told])
    answers: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])
    news: list[Answer] = field(default_factory=list[Answer])
    lost: dict[int, Lost] = field(default_factory=dict[int, Lost])
    """Outcomes that were erased, by the number of their event. Where only a reason went, it is not lost."""
    alike: dict[str, Answer] = field(default_factory=dict[str, Answer])
    """By tool: what answers calls of it that no answer is for. Empty, but where one only looks ahead."""
    early: set[str] = field(default_factory=set[str])
    """Requests that were answered before anybody was asked. In another run they have another id."""
    later: set[str] = field(default_factory=set[str])
    """Operations of which something stands after that event."""

    @classmethod
    def of(cls, tape: Tape, last: int | None = None) -> Self:
        """The script of `tape` up to and with event `last`. Raises `BadEvent` for what nobody can follow."""
        script = cls(tape)
        asked: dict[str, Told] = {}
        requests: dict[str, Told] = {}
        early: list[str] = []
        changes: Changes | None = Changes(tape.run)
        grounds: dict[str, str | None] = {}
        for event in tape.events:
            if last is not None and event.seq > last:
                script.later.add(event.op)
                continue
            fact = script._readable(event)
            if isinstance(fact, ProgramFact):
                told = Told(event, fact, tape.loss_at(event.seq))
                script.program.append(told)
                if asks(fact):
                    asked[event.op] = told
                if isinstance(fact, ApprovalRequested):
                    requests[fact.request] = told
                if isinstance(fact, StateRequested):
                    changes = None if told.erased else changes
                    grounds[event.op] = None if changes is None else changes.before(fact)
            elif isinstance(fact, OutcomeFact):
                op, question = event.op, asked.get(event.op)
                if isinstance(fact, ApprovalAnswered):
                    question = requests.get(fact.request)
                    op = "" if question is None else question.event.op
                    if not op:
                        early.append(fact.request)
                if script._is_lost(event):
                    script.lost[event.seq] = Lost(event, op)
                else:
                    script._add(_answer(event, op, fact, question, grounds.get(op, "")))
        script.early.update(requests[request].event.op for request in early if request in requests)
        return script

    def lost_of(self, op: str) -> Lost | None:
        """The outcome of `op`, where it was erased."""
        return next((lost for lost in self.lost.values() if lost.op == op and op), None)

    def _add(self, answer: Answer) -> None:
        if answer.news:
            self.news.append(answer)
        elif answer.op:
            self.answers.setdefault(answer.op, []).append(answer)

    def _readable(self, event: AnyEvent) -> Fact | None:
        """The fact in `event`. What was erased whole is a `Gone` where the program did it, and else lost."""
        fact = self.tape.catalog.decode(event)
        if not isinstance(fact, Erased):
            return self.tape.readable(event)
        known = self.tape.catalog.facts.get(fact.type)
        if known is not None and known.OUTCOME:
            self.lost[event.seq] = Lost(event, event.op)
        return Gone(type_=event.type) if known is not None and known.PROGRAM else None

    def _is_lost(self, event: AnyEvent) -> bool:
        """Whether something was erased of an outcome that the program goes by."""
        if event.seq not in self.tape.erased:
            return False
        said = self.tape.said.get(event.seq)
        return said is None or not said.parts or not NOT_GONE_BY.issuperset(said.parts)

    def all(self) -> Iterator[Answer]:
        """Every answer, in no order."""
        for several in self.answers.values():
            yield from several
        yield from self.news


def _answer(event: AnyEvent, op: str, fact: OutcomeFact, question: Told | None, ground: str | None) -> Answer:
    return Answer(
        event.seq,
        op,
        event.at,
        fact,
        event.payload or b"",
        None if question is None else question.fact,
        rank=event.seq,
        asked_erased="" if question is None else question.erased,
        ground=ground,
    )


def asks(fact: ProgramFact) -> bool:
    """Whether `fact` waits for an outcome."""
    if isinstance(fact, Gone):
        return fact.type_ in _ASKING_TYPES
    return isinstance(fact, ASKING)


_ASKING_TYPES: Final = frozenset(type_of(kind) for kind in ASKING)


_KINDS: Sequence[tuple[type[ProgramFact], str, str]] = (
    (ToolRequested, "tool", "tool"),
    (ModelCalled, "model", "client"),
    (ValueRequested, "value", "name"),
    (TimerSet, "timer", "reason"),
    (WaitStarted, "signal", "signal"),
    (ChildRequested, "child", "persona"),
    (ApprovalRequested, "approval", "action"),
    (HookFired, "hook", "hook"),
    (CompositionStarted, "composition", "language"),
)


def named(request: ProgramFact) -> tuple[str, str]:
    """What kind of operation `request` begins, and what it is called."""
    if isinstance(request, StateRequested):
        return "state", f"state.{request.action}"
    for fact, kind, name in _KINDS:
        if isinstance(request, fact):
            return kind, str(getattr(request, name))
    return "standing", "standing"
