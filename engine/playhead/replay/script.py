"""What one tape has to say to a program that may do something else than it says.

    script = Script.of(tape, last=40)     # the story up to event 40
    script.answers["0/fetch#0"]           # what came back, and what had been asked

A tape that is played is one cursor. A script is looked up: by operation, with what
had been asked, so that an answer is given to its own question and to no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

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
from playhead.events.fact import Fact, OutcomeFact, ProgramFact
from playhead.events.rules import HookFired
from playhead.events.state import StateRequested
from playhead.log.envelope import AnyEvent
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


class Told(msgspec.Struct, frozen=True):
    """An event of the program as it was recorded."""

    event: AnyEvent
    fact: ProgramFact


class Answer(msgspec.Struct, frozen=True):
    """A recorded outcome. `asked` is what it answers; None is news, a plain timer, or an edit that fits all.

    `op` is the operation that it answers, also where the log says so only by the number of a request.
    """

    seq: int
    op: str
    at: int
    fact: OutcomeFact
    payload: bytes = b""
    asked: ProgramFact | None = None
    edited: bool = False
    rank: float = 0.0

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
    erased: dict[str, int] = field(default_factory=dict[str, int])
    """Operations whose outcome was erased, with the event that it stood at."""
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
        asked: dict[str, ProgramFact] = {}
        requests: dict[str, tuple[str, ProgramFact]] = {}
        early: list[str] = []
        for event in tape.events:
            if last is not None and event.seq > last:
                script.later.add(event.op)
                continue
            fact = script._readable(event)
            if isinstance(fact, ProgramFact):
                script.program.append(Told(event, fact))
                if isinstance(fact, ASKING):
                    asked[event.op] = fact
                if isinstance(fact, ApprovalRequested):
                    requests[fact.request] = (event.op, fact)
            elif isinstance(fact, OutcomeFact):
                op, question = event.op, asked.get(event.op)
                if isinstance(fact, ApprovalAnswered):
                    op, question = requests.get(fact.request, ("", None))
                    if not op:
                        early.append(fact.request)
                script._add(
                    Answer(event.seq, op, event.at, fact, event.payload or b"", question, rank=event.seq)
                )
        script.early.update(requests[request][0] for request in early if request in requests)
        return script

    def _add(self, answer: Answer) -> None:
        if answer.news:
            self.news.append(answer)
        elif answer.op:
            self.answers.setdefault(answer.op, []).append(answer)

    def _readable(self, event: AnyEvent) -> Fact | None:
        fact = self.tape.catalog.decode(event)
        if isinstance(fact, Erased):
            known = self.tape.catalog.facts.get(fact.type)
            if known is not None and known.OUTCOME:
                self.erased[event.op] = event.seq
            elif known is not None and known.PROGRAM:
                self.erased.setdefault(event.op, event.seq)
            return None
        return self.tape.readable(event)

    def all(self) -> Iterator[Answer]:
        """Every answer, in no order."""
        for several in self.answers.values():
            yield from several
        yield from self.news
