"""Imagining a run: a program, told what was recorded, as far as it asks for it.

    found = imagine(Script.of(tape), persona)
    found.live            # what nobody on the tape answers: it would have to happen
    found.departure       # where it first does something else than its tape
    found.events          # what its tape would be

A replay is strict and stops at the first difference. Here the program runs as if it
were live, and every operation whose question stands on the tape gets the answer from
there, in recorded order as far as that is possible. Nothing is carried out.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final, NamedTuple

import msgspec

from playhead.errors import BadValue, PlayheadError, ProgramError
from playhead.events.approval import OF_A_CALL, ApprovalAnswered, ApprovalRequested
from playhead.events.autonomy import TrustRecorded
from playhead.events.catalog import (
    RunCancelRequested,
    RunFailed,
    RunStarted,
    SignalReceived,
    TimerFired,
    TimerSet,
    ToolCompleted,
    ToolRequested,
    WaitStarted,
)
from playhead.events.codec import CATALOG
from playhead.events.composition import CompositionStarted
from playhead.events.fact import Fact, OutcomeFact, ProgramFact, Site, compared, type_of
from playhead.events.state import StateRequested
from playhead.log.envelope import NewEvent
from playhead.replay.edited_values import check_due
from playhead.replay.script import Answer, Script, Told, named
from playhead.runtime.building import MachineHost, StandIn, build
from playhead.runtime.difference import Recorded, first_difference
from playhead.runtime.failures import record_failure
from playhead.runtime.likeness import Changes, alike
from playhead.runtime.machine import Emitted, Machine, Pending
from playhead.runtime.persona import Persona

_SIGNAL_TYPE: Final = type_of(SignalReceived)
TAKEN_THERE: Final = -1
"""The number of a message that a run has from another run, which took it from a mailbox of its own."""


class Live(NamedTuple):
    """An operation that no tape answers: it would be carried out, or waited for.

    `why` is new (it is not on the tape), changed (another question stands there), open (it has no answer),
    later (that comes after the cut), erased, or again (people are asked once more).
    """

    op: str
    kind: str
    name: str
    why: str
    request: ProgramFact
    executor: Any = None


class Departure(NamedTuple):
    """The first event of the program that is not the recorded one. `event` stands there on the tape."""

    event: int
    op: str
    recorded: str | None
    now: str | None
    now_op: str | None
    field: str | None
    was: Any
    value: Any
    site: Site | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imagined:
    """What came of imagining a run. `events` are those after `run.started`, `outcomes` how many are outcomes.

    `unused` are answers that nobody asked for, `dropped` are operations whose approval did not serve again.
    `undone` is the first recorded event that did not come, where nothing else did in its place.
    `stood_in` is a client of models that was asked and is not there, so that nobody could ask it.
    `passed` are patches that were not taken, and `doubtful` those of which nobody can tell any more whether
    the tape had passed them: it came to them another way.
    """

    run: str
    events: list[NewEvent]
    finished: ProgramFact | None
    answered: int
    outcomes: int
    live: tuple[Live, ...]
    unused: tuple[Answer, ...]
    departure: Departure | None
    delivered: tuple[Answer, ...] = field(repr=False)
    dropped: frozenset[str] = frozenset()
    undone: Told | None = None
    stood_in: str | None = None
    passed: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    now_ns: int = 0
    timers: Mapping[str, int] = field(default_factory=dict[str, int])
    """Plain timers, which nobody asked for on a tape: how long past its due each was waited for."""

    @property
    def status(self) -> str | None:
        """completed, failed or cancelled; None where it waits for what no tape answers."""
        return None if self.finished is None else type_of(self.finished).partition(".")[2]


class _Machine(Machine):
    """A machine that is live, and takes the branches of a patch that its tape took."""

    takes: Callable[[str], bool]
    """Whether the patch at an operation is taken."""

    def patched(self, name: str, op: str) -> bool:
        if name not in self._patches:
            self._patches[name] = self.takes(op)
        return self._patches[name]

    edited: OutcomeFact | None = None
    misfit: BadValue | None = None
    """Why the edited outcome does not fit, or counts for nothing."""

    @property
    def said(self) -> list[Emitted]:
        """What the program did since `take`."""
        return self._out

    def _settle(self, pending: Pending, fact: OutcomeFact) -> None:
        super()._settle(pending, fact)
        future = pending.future
        if fact is self.edited and future.done() and not future.cancelled():
            error = future.exception()
            if isinstance(error, BadValue) and not hasattr(fact, "failure"):
                self.misfit = error

    def ignored(self, answer: ApprovalAnswered) -> None:
        if answer is self.edited:
            self.misfit = BadValue(
                "the edited answer counts for nothing: it does not fit what was asked, or comes from somebody"
                " who has no say.",
                found=msgspec.msgpack.decode(answer.value),
            )


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How to imagine: as run `run` from `started` at `started_at`; None is what the tape says.

    `patches` are operations at which a patch was taken. No other is, unless there is a set of those that were
    `passed` without being taken: then a patch is new, and taken, that the program comes to past its tape.
    `until` is after how many outcomes to stop; the last of them then comes at `last_at`. With `timers` those
    that no tape fires go off by themselves, once nothing else can come. `again` has people asked again where
    a call that they agreed to would have to happen. With `late` every time limit goes off before what comes
    after it, and by so much later than it is due as is said there: that long it was waited for on a tape.
    """

    host: MachineHost
    run: str
    started: RunStarted
    started_at: int
    patches: frozenset[str] = frozenset()
    passed: frozenset[str] | None = None
    until: int | None = None
    last_at: int | None = None
    timers: bool = False
    again: bool = False
    late: Mapping[str, int] | None = None
    dropped: frozenset[str] = frozenset()


def imagine(script: Script, persona: Persona[..., Any], terms: Terms) -> Imagined:
    """Run `persona`, told what `script` holds. Touches nothing, needs no loop, and may be called anywhere.

    Raises `BadValue` where the arguments do not fit the persona, and `ProgramError` for
    a relaxed run, which has no loop of its own.
    """
    if terms.started.mode != "strict":
        raise ProgramError(
            f"run {script.tape.run} is relaxed: it lives in the loop of its host, and cannot be imagined.",
            next_step="It can be replayed and debugged; fork and bisect runs with mode='strict'.",
        )
    while True:
        found = _Imagining(script, persona, terms).play()
        again = _not_to_serve(found) if terms.again and found.finished is None else frozenset[str]()
        if again <= terms.dropped:
            return found
        terms = replace(terms, dropped=terms.dropped | again)


def _not_to_serve(found: Imagined) -> frozenset[str]:
    """Requests that were answered from the tape for a call that is not: those yeses are used up."""
    answered = {answer.op for answer in found.delivered}
    answered |= {event.op for event in found.events if event.type == "tool.denied"}
    refused = {event.op for event in found.events if event.type in ("approval.denied", "approval.timed_out")}
    return frozenset(
        answer.op
        for answer in found.delivered
        if isinstance(answer.fact, ApprovalAnswered)
        and answer.op.endswith(OF_A_CALL)
        and answer.op not in refused
        and answer.op.removesuffix(OF_A_CALL) not in answered
    )


class _Imagining:
    """One imagining. Used once."""

    def __init__(self, script: Script, persona: Persona[..., Any], terms: Terms) -> None:
        self.script = script
        self.terms = terms
        self.runs = frozenset((script.tape.run, terms.run))
        self.machine = build(
            _Machine,
            terms.run,
            persona,
            terms.started,
            terms.started_at,
            patches=terms.patches,
            host=terms.host,
        )
        self.machine.takes = self._takes
        self.passed: set[str] = set()
        self.doubtful: set[str] = set()
        self.stood_in: str | None = None
        self.events: list[NewEvent] = []
        self.kept = 0
        """How many of the events stand before the end of the last outcome."""
        self.outcomes = 0
        self.delivered: list[Answer] = []
        self.departure: Departure | None = None
        self._changes = Changes(terms.run)
        self._asked: dict[str, tuple[ProgramFact, Any, str]] = {}
        self._ready: list[tuple[float, int, Answer]] = []
        self._limits: list[tuple[int, int, str]] = []
        """Time limits that go off on no tape: when each is over, and is due."""
        self._news = deque(sorted(script.news, key=lambda answer: answer.rank))
        self._timers: dict[str, int] = {}
        """How long past its due each plain timer was waited for: by now, where it still is."""
        self._due: dict[str, int] = {}
        self._seqs: dict[str, int] = {}
        self._cause: int | None = None
        self._story = deque(script.program)
        self._told: dict[tuple[str, str], deque[Told]] = {}
        self._ops = {told.event.op for told in script.program}
        for told in script.program:
            self._told.setdefault((told.event.op, told.event.type), deque()).append(told)

    def play(self) -> Imagined:
        machine = self.machine
        try:
            with machine.loop:
                self._play()
            return self._found()
        finally:
            machine.close()

    def _play(self) -> None:
        self._turn()
        while self.machine.finished is None and not self._over():
            answer = self._next()
            if answer is None:
                return
            self._deliver(answer)
            self._turn()
            if (misfit := self.machine.misfit) is not None:
                raise BadValue(
                    f"{answer.op or 'a message'}: {misfit.message}",
                    expected=misfit.expected,
                    found=misfit.found,
                    next_step="Edit it to something that fits.",
                )

    def _over(self) -> bool:
        until = self.terms.until
        return until is not None and self.outcomes >= until

    def _takes(self, op: str) -> bool:
        """Whether the patch at `op` is taken: as on the tape, and past its end as in any run."""
        terms = self.terms
        if op in terms.patches:
            return True
        taken = terms.passed is not None and op not in terms.passed
        if taken and self.departure is None:
            said, story = self.machine.said, self._story
            parted = any(not self._is(told, did.op, did.fact) for told, did in zip(story, said, strict=False))
            taken = parted or len(said) >= len(story)
            if parted:
                self.doubtful.add(op)
        elif taken:
            self.doubtful.add(op)
        if not taken:
            self.passed.add(op)
        return taken

    def _turn(self) -> None:
        """Let the program run until it waits, and look at what it did."""
        machine = self.machine
        try:
            machine.play((), last=True)
        except PlayheadError as error:  # as a runner ends such a run
            machine.say_last_words()
            for emitted in machine.take():
                self._emitted(emitted)
            machine.finished = failed = RunFailed(failure=record_failure(error))
            self._emitted(Emitted("", failed, None))
            return
        for emitted in machine.take():
            self._emitted(emitted)
        for op in [op for op in self._due if op not in machine.loop.timers]:
            self._timers[op] = machine.now_ns - self._due.pop(op)
        for op, timer in machine.loop.timers.items():
            if op in self._timers:
                continue
            self._timers[op], self._due[op] = 0, timer.due
            several = self.script.answers.get(op, ())
            known = [each for each in several if isinstance(each.fact, TimerFired) and each.asked is None]
            for answer in known:
                self._push(answer)
            if not known:
                self._limit(op, timer.due)

    # ------------------------------------------------------------- what it did

    def _emitted(self, emitted: Emitted) -> None:
        op, fact, pending = emitted.op, emitted.fact, emitted.pending
        told = self._same(op, fact)
        if isinstance(fact, TrustRecorded) and len(self.runs) > 1:
            fact = msgspec.structs.replace(fact, copied=True)  # it is evidence once, in the source
        if told is not None and self._word_for_word(told.fact, fact):
            at, payload = told.event.at, told.event.payload or b""
            event = NewEvent(told.event.type, told.event.version, at, op, self._cause, payload)
        else:
            at = self.machine.now_ns if told is None else told.event.at
            event = CATALOG.new_event(fact, at=at, op=op, cause=self._cause)
        self.events.append(event)
        if pending is not None:
            self._seqs[op] = len(self.events)
            self._look_up(op, fact, pending)

    def _word_for_word(self, recorded: ProgramFact, now: ProgramFact) -> bool:
        if type(recorded) is not type(now) or getattr(recorded, "copied", 0) != getattr(now, "copied", 0):
            return False
        content = compared(type(now))
        return bool(content(recorded) == content(now))

    def _same(self, op: str, fact: ProgramFact) -> Told | None:
        """The recorded event that this is, wherever it stands. Notes where the two stories part."""
        story = self._story
        if story and self.departure is None:
            told = story.popleft()
            if self._is(told, op, fact):
                self._told[op, told.event.type].popleft()
                return told
            self.departure = _departure(told, op, fact)
        waiting = self._told.get((op, type_of(fact)))
        if waiting and self._is(waiting[0], op, fact):
            return waiting.popleft()
        return None

    def _is(self, told: Told, op: str, fact: ProgramFact) -> bool:
        return told.event.op == op and alike(told.fact, fact, self.runs, told.erased)

    def _look_up(self, op: str, fact: ProgramFact, pending: Pending) -> None:
        """Have what the tape answers ready, and know why it does not where it does not."""
        answers = self.script.answers.get(op, [])
        ground = self._changes.before(fact) if isinstance(fact, StateRequested) else ""
        fits = [answer for answer in answers if answer.edited or self._fits(answer, fact, ground)]
        why = "later" if op in self.script.later else "open" if op in self._ops else "new"
        if answers and not fits:
            why = "changed"
        elif not fits and (self.script.lost_of(op) is not None or self._message_lost(fact)):
            why = "erased"
        if op in self.terms.dropped:
            fits, why = [], "again"
        if not fits and isinstance(fact, ToolRequested) and fact.tool in self.script.alike:
            guess = self.script.alike[fact.tool]
            rank = (self.delivered[-1].rank if self.delivered else 0.0) + 0.5
            fits = [msgspec.structs.replace(guess, op=op, asked=fact, rank=rank, payload=b"")]
        self._asked[op] = (fact, pending.executor, why)
        if isinstance(getattr(pending.executor, "client", None), StandIn):
            self.stood_in = pending.executor.name
        if not fits:
            self._limit(op, getattr(fact, "due", None))
        for answer in fits:
            self._push(self._checked(answer, pending.executor) if answer.edited else answer)

    def _fits(self, answer: Answer, fact: ProgramFact, ground: str) -> bool:
        """Whether `answer` is one to what is asked now, about what the program made of it."""
        asked = answer.asked
        if asked is None or not alike(asked, fact, self.runs, answer.asked_erased):
            return False
        return answer.ground in (None, ground)

    def _message_lost(self, fact: ProgramFact) -> bool:
        """Whether `fact` waits for a signal, and one that came was erased."""
        return isinstance(fact, WaitStarted) and any(
            lost.event.type == _SIGNAL_TYPE for lost in self.script.lost.values()
        )

    def _checked(self, answer: Answer, executor: Any) -> Answer:
        """An edited answer as the tool would have given it. Raises `BadValue` where it could not have."""
        tool = getattr(executor, "tool", None)
        if tool is None or not isinstance(answer.fact, ToolCompleted):
            return answer
        result = self.machine.redacted(answer.fact.result, tool.secret)
        tool.signature.result.decode(result)
        if result is answer.fact.result:
            return answer
        fact = msgspec.structs.replace(answer.fact, result=result)
        return msgspec.structs.replace(answer, fact=fact, payload=msgspec.msgpack.encode(fact))

    def _push(self, answer: Answer) -> None:
        if answer.after is not None:
            fact = self._in_this_run(answer)
            at = (fact.due if isinstance(fact, TimerFired) else self.machine.now_ns) + answer.after
            rank = answer.rank if answer.rank == inf else at
            answer = msgspec.structs.replace(answer, at=at, rank=rank, after=None)
        heapq.heappush(self._ready, (answer.rank, answer.seq, answer))

    # ------------------------------------------------------------ what it is told

    def _next(self) -> Answer | None:
        """What is delivered next: the earliest of what is recorded and waited for."""
        ready, machine = self._ready, self.machine
        while ready:
            answer = ready[0][2]
            if isinstance(answer.fact, ApprovalAnswered) or self._awaited(answer.op):
                break
            heapq.heappop(ready)
        if self._news and (not ready or (self._news[0].rank, self._news[0].seq) < ready[0][:2]):
            first = self._sooner(self._news[0]) if self.terms.late is not None else None
            return first or self._news.popleft()
        if ready:
            return self._sooner(ready[0][2]) or heapq.heappop(ready)[2]
        if self.terms.timers and not self._unanswered():
            for op, due in machine.due(machine.next_alarm() or 0):
                at = max(machine.now_ns, due)
                return Answer(-1, op, at, TimerFired(due=due))
        return None

    def _sooner(self, answer: Answer) -> Answer | None:
        """A time limit that is over before `answer` comes, where the tape does not know when that would be.

        As long as it is the recorded story, what is recorded came before every limit that did not go off.
        """
        if self.terms.late is not None:
            return self._over_by(inf if answer.rank == inf else answer.at)
        moved = answer.edited and isinstance(answer.fact, TimerFired)
        if not moved and self.departure is None:
            return None
        first = self.machine.next_alarm()
        if first is None or first >= answer.at:
            return None
        known = {each.op for _, _, each in self._ready}
        for due, _, op in sorted(self.machine.alarms):
            if due < answer.at and op not in known and self._awaited(op):
                return Answer(-1, op, max(self.machine.now_ns, due), TimerFired(due=due))
        return None

    def _over_by(self, comes: float) -> Answer | None:
        """The time limit that is over first, if before `comes`, of those that go off on no tape."""
        limits = self._limits
        while limits and not self._awaited(limits[0][2]):
            heapq.heappop(limits)
        if not limits or limits[0][0] >= comes:
            return None
        _, due, op = heapq.heappop(limits)
        return Answer(-1, op, max(self.machine.now_ns, due), TimerFired(due=due))

    def _limit(self, op: str, due: int | None) -> None:
        """Nothing on a tape answers `op`, which is over at `due`."""
        if due is not None and self.terms.late is not None:
            heapq.heappush(self._limits, (due + self.terms.late.get(op, 0), due, op))

    def _awaited(self, op: str) -> bool:
        return op in self.machine.pending or op in self.machine.loop.timers

    def _unanswered(self) -> bool:
        """Whether something is under way that no tape answers: then time does not just pass."""
        return any(
            not isinstance(asked[0], (TimerSet, CompositionStarted))
            for op, asked in self._asked.items()
            if op in self.machine.pending
        )

    def _deliver(self, answer: Answer) -> None:
        machine = self.machine
        fact, at, op = self._in_this_run(answer), answer.at, answer.op
        if self.outcomes + 1 == self.terms.until and self.terms.last_at is not None:
            at = max(at, self.terms.last_at)
        if answer.edited:
            at = max(at, machine.now_ns)
            machine.edited = fact
        if answer.payload and fact is answer.fact:
            name, version = type_of(fact), fact.VERSION
            event = NewEvent(name, version, at, "", self._seqs.pop(op, None), answer.payload)
        else:
            event = CATALOG.new_event(fact, at=at, op="", cause=self._seqs.pop(op, None))
        in_log = "" if answer.news or isinstance(fact, ApprovalAnswered) else op
        self.events.append(event._replace(op=in_log))
        self.kept = len(self.events)
        self.outcomes += 1
        self._cause = len(self.events)
        self.delivered.append(answer)
        machine.deliver(self._cause, in_log, at, fact)

    def _in_this_run(self, answer: Answer) -> OutcomeFact:
        """The outcome as this run is told of it: for its own request, and when its own timer is due."""
        fact: OutcomeFact = answer.fact
        asked = self._asked.get(answer.op)
        if len(self.runs) > 1 and isinstance(fact, (SignalReceived, RunCancelRequested, ApprovalAnswered)):
            fact = msgspec.structs.replace(fact, message=TAKEN_THERE)
            if answer.news and isinstance(fact, ApprovalAnswered):
                return msgspec.structs.replace(fact, request="")  # nobody had asked, and nobody may have here
        if isinstance(fact, ApprovalAnswered) and asked is not None:
            request = asked[0]
            assert isinstance(request, ApprovalRequested)
            if fact.request != request.request:
                return msgspec.structs.replace(fact, request=request.request)
        if isinstance(fact, TimerFired):
            timer = self.machine.loop.timers.get(answer.op)
            due = timer.due if timer is not None else getattr(asked[0] if asked else None, "due", None)
            if answer.edited:
                check_due(fact.due, due, answer.op)
            if due is not None and due != fact.due:
                return TimerFired(due=due)
        return fact

    # ----------------------------------------------------------------- the answer

    def _found(self) -> Imagined:
        machine, finished = self.machine, self.machine.finished
        used = {(answer.op, answer.seq) for answer in self.delivered}
        waiting = [op for op in machine.pending if op in self._asked] if finished is None else []
        return Imagined(
            run=self.terms.run,
            events=self.events if finished is not None else self.events[: self.kept],
            finished=finished,
            answered=sum(not answer.news for answer in self.delivered),
            outcomes=self.outcomes,
            live=tuple(self._live(op) for op in waiting) + self._plain_timers(),
            unused=tuple(
                answer
                for answer in sorted(self.script.all(), key=lambda answer: answer.rank)
                if (answer.op, answer.seq) not in used and answer.op not in self.terms.dropped
            ),
            departure=self.departure,
            delivered=tuple(self.delivered),
            dropped=self.terms.dropped | (self.script.early if len(self.runs) > 1 else frozenset[str]()),
            undone=self._story[0] if self._story and self.departure is None else None,
            stood_in=self.stood_in,
            passed=frozenset(self.passed),
            doubtful=frozenset(self.doubtful),
            now_ns=machine.now_ns,
            timers=self._timers | {op: machine.now_ns - due for op, due in self._due.items()},
        )

    def _live(self, op: str) -> Live:
        request, executor, why = self._asked[op]
        kind, name = named(request)
        return Live(op, kind, name, why, request, executor)

    def _plain_timers(self) -> tuple[Live, ...]:
        if self.machine.finished is not None:
            return ()
        timers = self.machine.loop.timers.values()
        return tuple(
            Live(timer.op, "timer", "timer", "open", TimerSet(due=timer.due, reason="timeout"))
            for timer in timers
        )


def _departure(told: Told, op: str, fact: Fact) -> Departure:
    recorded = Recorded(told.event.seq, told.event.op, told.fact)
    name, was, value = first_difference(recorded, op, fact)
    return Departure(
        event=told.event.seq,
        op=told.event.op,
        recorded=told.event.type,
        now=type_of(fact),
        now_op=op,
        field=name,
        was=was,
        value=value,
        site=getattr(fact, "site", None),
    )
