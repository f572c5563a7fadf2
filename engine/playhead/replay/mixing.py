"""Mixtures of two runs: the good one, told some of what only the bad one was told.

    mixing = Mixing(pair, timers_of_good, timers_of_bad)
    mixing.suspects                       # what is not the same in both
    mixing.imagined({3, 7})               # the good run, with these two of the bad one

With none of the suspects a mixture is the good run and with all of them the bad one, answer by answer: in
their order, and each so long after it was asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Literal, NamedTuple

from msgspec.structs import replace

from playhead.events.catalog import (
    OperationCancelled,
    RunStarted,
    SignalReceived,
    TimerFired,
    ToolRequested,
)
from playhead.events.fact import OutcomeFact, ProgramFact, type_of
from playhead.replay.imagine import Imagined, Terms, imagine
from playhead.replay.script import ASKING, Answer, Script
from playhead.runtime.building import MachineHost
from playhead.runtime.likeness import alike, question_of
from playhead.runtime.persona import Persona
from playhead.runtime.tape import Tape

Kind = Literal["outcome", "message", "arguments", "setting", "patch", "seed", "time"]
SETTINGS: Final = ("policy", "max_tokens", "max_micros", "trusted", "fence")
"""What holds for a run from its start, and can be put from one into another."""
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """Something recorded that is not the same in both. `good` and `bad` are where it stands, if it does.

    A time is when the run began, or how long an answer took: `took`, nanoseconds in the good and in the bad
    run. Where it has no `bad`, the bad run gave it up before it came, and waited longer than the good one.
    So an outcome that has no `good` came sooner than the good run gave it up.
    """

    kind: Kind
    name: str
    good: int | None = None
    bad: int | None = None
    took: tuple[int, int] | None = None
    key: _Key = ("", 0)


class Pair(NamedTuple):
    """Two tapes of one persona, and what stands in for an engine."""

    good: Tape
    bad: Tape
    persona: Persona[..., Any]
    host: MachineHost


class _Clock:
    """What time it was for a program: that of what it had been told last."""

    def __init__(self, began: int) -> None:
        self._seqs: list[float] = [-1]
        self._times = [began]

    def tick(self, answer: Answer) -> None:
        self._seqs.append(answer.seq)
        self._times.append(max(self._times[-1], answer.at))

    def at(self, seq: float) -> int:
        """What time it was when the event `seq` was written by the program."""
        return self._times[bisect_left(self._seqs, seq) - 1]


@dataclass(slots=True)
class _Side:
    """One tape: its answers by what they answer, which is the same thing in both runs."""

    tape: Tape
    timers: Mapping[str, int]
    """Plain timers that its program sets, whether they go off or not, and how long past its due it waits."""
    answers: dict[_Key, Answer] = field(default_factory=dict[_Key, Answer])
    after: dict[_Key, int] = field(default_factory=dict[_Key, int])
    """How long after it was asked for, or due, each came; news after the start of the run."""
    asked: dict[str, ProgramFact] = field(default_factory=dict[str, ProgramFact])
    asked_at: dict[str, int] = field(default_factory=dict[str, int])
    given_up: dict[str, int] = field(default_factory=dict[str, int])
    """Where the program stopped waiting for an operation."""
    clock: _Clock = field(default_factory=lambda: _Clock(0))

    @classmethod
    def of(cls, tape: Tape, timers: Mapping[str, int]) -> _Side:
        script = Script.of(tape)
        side = cls(tape, timers, clock=_Clock(tape.started_at))
        counts: dict[str, int] = {}
        asked_at: dict[str, int] = {}
        for told in script.program:
            if isinstance(told.fact, ASKING):
                side.asked[told.event.op], asked_at[told.event.op] = told.fact, told.event.seq
            elif isinstance(told.fact, OperationCancelled):
                side.given_up[told.event.op] = told.event.seq
        for answer in sorted(script.all(), key=lambda each: each.seq):
            name = _name_of(answer)
            key = name, counts.get(name, 0)
            counts[name] = key[1] + 1
            side.answers[key] = answer
            side.clock.tick(answer)
        side.asked_at = {op: side.clock.at(seq) for op, seq in asked_at.items()}
        side.after = {key: side._after(answer) for key, answer in side.answers.items()}
        return side

    def waited(self, answer: Answer) -> float:
        """How long its program waits for `answer`, which it is not told, counted as `after` is.

        Where nobody can tell, that is for ever.
        """
        if answer.asked is None:
            return self.timers[answer.op]
        until = self.clock.at(self.given_up.get(answer.op, inf))
        if not isinstance(answer.fact, TimerFired):
            return until - self.asked_at[answer.op]
        due = getattr(self.asked[answer.op], "due", None)
        return inf if due is None else until - due

    def late(self) -> dict[str, int]:
        """By time limit: how long past its due it was waited for, where that was so and it did not go off."""
        found = {op: late for op, late in self.timers.items() if late > 0}
        for op, asked in self.asked.items():
            due = getattr(asked, "due", None)
            until = self.clock.at(self.given_up.get(op, inf))
            if due is not None and until > due:
                found[op] = until - due
        return found

    def _after(self, answer: Answer) -> int:
        since = self.tape.started_at
        if isinstance(answer.fact, TimerFired):
            since = answer.fact.due
        elif answer.asked is not None:
            since = self.asked_at.get(answer.op, since)
        return self.clock.at(answer.seq + 1) - since

    def waits_for(self, answer: Answer, runs: frozenset[str]) -> bool:
        """Whether its program asks what `answer` answers, whatever came of it. News come unasked."""
        if answer.news:
            return True
        if answer.asked is None:
            return answer.op in self.timers
        asked = self.asked.get(answer.op)
        return asked is not None and alike(answer.asked, asked, runs)


class _Placed(NamedTuple):
    """An answer, and where in the bad run it stands, or would; below zero is anywhere."""

    answer: Answer
    there: float


class _Telling:
    """What a program is told, as it is put together, in the order that counts where two come at one time.

    What is late comes when nothing else can. What stays is in the order of the good run. What comes from the
    bad one is told before all that stays and came later there. With every time of the bad run, `as_there`,
    nothing stays.
    """

    def __init__(self, began: int, *, as_there: bool) -> None:
        self._began = began
        self._as_there = as_there
        self._stays: list[_Placed] = []
        self._comes: list[_Placed] = []

    def stay(self, answer: Answer, after: int, there: float) -> None:
        (self._comes if self._as_there else self._stays).append(_Placed(self._timed(answer, after), there))

    def come(self, answer: Answer, after: int, there: float) -> None:
        self._comes.append(_Placed(self._timed(answer, after), there))

    def all(self) -> Iterator[Answer]:
        stays, place = self._stays, 0
        for each in sorted(self._comes, key=lambda each: each.there):
            while place < len(stays) and stays[place].there <= each.there:
                yield stays[place].answer
                place += 1
            yield each.answer
        yield from (each.answer for each in stays[place:])

    def _timed(self, answer: Answer, after: int) -> Answer:
        if answer.news:
            at = self._began + after
            return replace(answer, at=at, rank=max(answer.rank, at))
        return replace(answer, after=after)


class Mixing:
    """All that differs between two runs, and the runs in between."""

    def __init__(self, pair: Pair, good: Mapping[str, int], bad: Mapping[str, int]) -> None:
        self.pair = pair
        self.runs = frozenset((pair.good.run, pair.bad.run))
        self.good, self.bad = _Side.of(pair.good, good), _Side.of(pair.bad, bad)
        self.lost = {event.op: event.seq for event in pair.bad.events if pair.bad.is_lost(event)}
        """Operations whose outcome in the bad run was erased, and where: those of the good run stand in."""
        self._twins = self._paired()
        """What answers the same question in both: keys of the good run, and those of the bad one."""
        self._twin_of = {theirs: ours for ours, theirs in self._twins.items()}
        good_late, bad_late = self.good.late(), self.bad.late()
        self._late = {op: max(good_late.get(op, 0), bad_late.get(op, 0)) for op in good_late | bad_late}
        self.suspects = tuple(self._suspects())

    def imagined(self, from_bad: Collection[int]) -> Imagined:
        """What comes of the good run with those suspects from the bad one."""
        taken: dict[str, set[_Key]] = {}
        for number in from_bad:
            suspect = self.suspects[number]
            taken.setdefault(suspect.kind, set()).add(suspect.key)
        script = Script(self.bad.tape)
        for place, answer in enumerate(self._told(taken)):
            known = replace(answer, seq=place)
            (script.news if answer.news else script.answers.setdefault(answer.op, [])).append(known)
        base = self.bad if ("", 0) in taken.get("time", ()) else self.good
        terms = Terms(
            host=self.pair.host,
            run=self.good.tape.run,
            started=self._started(taken),
            started_at=base.tape.started_at,
            patches=self._patches({op for op, _ in taken.get("patch", ())}),
            timers=True,
            late=self._late,
        )
        return imagine(script, self.pair.persona, terms)

    # ------------------------------------------------------------- what differs

    def _suspects(self) -> Iterator[Suspect]:
        """Those that say something first, then the times."""
        ours, theirs = self.good.tape.started, self.bad.tape.started
        if ours.args != theirs.args:
            yield Suspect(kind="arguments", name="arguments of the run", good=0, bad=0)
        for name in SETTINGS:
            if getattr(ours, name) != getattr(theirs, name):
                yield Suspect(kind="setting", name=name, good=0, bad=0, key=(name, 0))
        if ours.code != theirs.code:
            for op in sorted(self.good.tape.patches ^ self.bad.tape.patches):
                yield Suspect(kind="patch", name=op, key=(op, 0))
        yield from self._of_answers()
        if ours.seed != theirs.seed:
            yield Suspect(kind="seed", name="seed of random()", good=0, bad=0)
        yield from self._times()

    def _of_answers(self) -> Iterator[Suspect]:
        good, bad = self.good.answers, self.bad.answers
        for key, answer in good.items():
            twin = self._twins.get(key)
            kind: Kind = "message" if answer.news else "outcome"
            if twin is not None:
                other = bad[twin]
                if _content(answer.fact) != _content(other.fact):
                    yield Suspect(kind=kind, name=key[0], good=answer.seq, bad=other.seq, key=key)
            elif key not in bad and answer.news:
                yield Suspect(kind=kind, name=key[0], good=answer.seq, key=key)
        for key, answer in bad.items():
            if self._is_new(key, answer):
                kind = "message" if answer.news else "outcome"
                yield Suspect(kind=kind, name=key[0], bad=answer.seq, key=key)

    def _times(self) -> Iterator[Suspect]:
        """What took another time, or came in another order; of what came too late to be told, the least."""
        began = self.good.tape.started_at, self.bad.tape.started_at
        if began[0] != began[1]:
            yield Suspect(kind="time", name="start of the run", good=0, bad=0)
        stay = _longest_rising([self.bad.answers[twin].seq for twin in self._twins.values()])
        for key, twin in self._twins.items():
            took = self.good.after[key], self.bad.after[twin]
            ours, theirs = self.good.answers[key].seq, self.bad.answers[twin].seq
            if took[0] != took[1] or theirs not in stay:
                yield Suspect(kind="time", name=key[0], good=ours, bad=theirs, took=took, key=key)
        for key, answer in self.good.answers.items():
            if key not in self._twins and key not in self.bad.answers and self._is_slower(key, answer):
                yield Suspect(kind="time", name=key[0], good=answer.seq, key=key)

    def _paired(self) -> dict[_Key, _Key]:
        """What answers the same question in both: at the same place, else wherever the bad run asked it.

        A run that asks once more than the other, or once less, asks all that follows at other places.
        """
        good, bad = self.good.answers, self.bad.answers
        found = {key: key for key in good if key in bad and self._same_question(good[key], bad[key])}
        left: dict[str, deque[_Key]] = {}
        for key, answer in bad.items():
            if key not in found and _is_sure(answer) and not self.good.waits_for(answer, self.runs):
                left.setdefault(_question_of(self.bad, answer), deque()).append(key)
        for key, answer in good.items() if left else ():
            if key not in found and _is_sure(answer) and not self.bad.waits_for(answer, self.runs):
                elsewhere = left.get(_question_of(self.good, answer))
                if elsewhere:
                    found[key] = elsewhere.popleft()
        return {key: found[key] for key in good if key in found}

    def _same_question(self, one: Answer, other: Answer) -> bool:
        if one.asked is None or other.asked is None:
            return one.asked is other.asked
        if None not in (one.ground, other.ground) and one.ground != other.ground:
            return False
        return alike(one.asked, other.asked, self.runs)

    # ------------------------------------------------------------------ mixing

    def _told(self, taken: dict[str, set[_Key]]) -> Iterable[Answer]:
        """What the program can be told. Where the two asked differently, each answer has its question."""
        good, bad = self.good, self.bad
        said, times = taken.get("outcome", set()) | taken.get("message", set()), taken.get("time", set())
        every = sum(suspect.kind == "time" for suspect in self.suspects)
        as_there = bool(taken) and len(times) == every
        began = (bad if ("", 0) in times else good).tape.started_at
        telling = _Telling(began, as_there=as_there)
        for key, ours in good.answers.items():
            twin, after = self._twins.get(key), good.after[key]
            if twin is not None:
                theirs = bad.answers[twin]
                told = theirs if key in said else ours
                for place in dict.fromkeys((ours.op, theirs.op)):
                    asked = theirs.asked if place == theirs.op else ours.asked
                    here = told if told.op == place else replace(told, op=place, asked=asked)
                    if key in times:
                        telling.come(here, bad.after[twin], theirs.seq)
                    else:
                        telling.stay(here, after, theirs.seq)
            elif key in bad.answers:
                telling.stay(ours, after, -inf)
            else:
                there = self._there(ours)
                if key in times and (waited := bad.waited(ours)) < inf:
                    telling.come(ours, int(waited) + 1, there)
                elif key in times or key in said:
                    telling.come(replace(ours, rank=inf), after, there)
                else:
                    telling.stay(ours, after, there)
        for key, theirs in bad.answers.items():
            if key in self._twin_of:
                continue
            if key in good.answers:
                telling.come(theirs, bad.after[key], theirs.seq)
            elif key in said or not self._is_new(key, theirs):
                last = not as_there and self._is_tied(key, theirs)
                telling.come(theirs, bad.after[key], inf if last else theirs.seq)
        return telling.all()

    def _is_new(self, key: _Key, theirs: Answer) -> bool:
        """Whether only the bad run has an answer that the good one waits for, and would have been told.

        One that comes later than the good run waits changes nothing by itself.
        """
        if key in self.good.answers or not self.good.waits_for(theirs, self.runs):
            return False
        return theirs.news or self.bad.after[key] <= self.good.waited(theirs)

    def _is_tied(self, key: _Key, theirs: Answer) -> bool:
        """Whether an answer of the bad run comes just when the good run gave it up, and so after that."""
        if theirs.news:
            return False
        return self.good.waits_for(theirs, self.runs) and self.bad.after[key] == self.good.waited(theirs)

    def _is_slower(self, key: _Key, ours: Answer) -> bool:
        """Whether the bad run waited for an answer longer than it took in the good one, and was not told."""
        if ours.news or ours.op in self.lost or not self.bad.waits_for(ours, self.runs):
            return False
        return self.good.after[key] <= self.bad.waited(ours)

    def _there(self, answer: Answer) -> float:
        """Where in the bad run an answer would stand that only the good one has; below zero is nowhere.

        It came too late there: not before the program stopped waiting for it.
        """
        if answer.news or not self.bad.waits_for(answer, self.runs):
            return -inf
        lost = self.lost.get(answer.op)
        return self.bad.given_up.get(answer.op, inf) if lost is None else lost

    def _started(self, taken: dict[str, set[_Key]]) -> RunStarted:
        ours, theirs = self.good.tape.started, self.bad.tape.started
        names = [name for name, _ in taken.get("setting", ())]
        if "arguments" in taken:
            names += ["args", "args_digest"]
        if "seed" in taken:
            names.append("seed")
        return replace(ours, **{name: getattr(theirs, name) for name in names})

    def _patches(self, changed: set[str]) -> frozenset[str]:
        good, bad = self.good.tape, self.bad.tape
        if good.started.code == bad.started.code:
            return good.patches | bad.patches
        return good.patches ^ changed


def _longest_rising(seqs: list[int]) -> set[int]:
    """The most of them that stand in rising order."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for n, seq in enumerate(seqs):
        place = bisect_left(tails, seq)
        before.append(ends[place - 1] if place else -1)
        tails[place : place + 1] = [seq]
        ends[place : place + 1] = [n]
    found: set[int] = set()
    n = ends[-1] if ends else -1
    while n >= 0:
        found.add(seqs[n])
        n = before[n]
    return found


def _is_sure(answer: Answer) -> bool:
    """Whether it is known what `answer` answers, and all of that."""
    return answer.asked is not None and not answer.asked_erased and answer.ground is not None


def _question_of(side: _Side, answer: Answer) -> str:
    """What stands for what `answer` answers, wherever it was asked."""
    asked = answer.asked
    assert asked is not None
    if isinstance(asked, ToolRequested):
        composed = asked.composed and replace(asked.composed, line=0, col=0, path=())
        asked = replace(asked, key=None, composed=composed)
    return question_of(asked, side.tape.run, answer.ground or "")


def _name_of(answer: Answer) -> str:
    if isinstance(answer.fact, SignalReceived):
        return f"signal {answer.fact.signal}"
    return answer.op if not answer.news else type_of(answer.fact)


def _content(fact: OutcomeFact) -> tuple[Any, ...]:
    """What an outcome says, without what is other in every run."""
    if isinstance(fact, TimerFired):
        return (TimerFired,)
    names = (name for name in fact.__struct_fields__ if name not in _OTHER_EVERY_TIME)
    return type(fact), [getattr(fact, name) for name in names]


_OTHER_EVERY_TIME: Final = frozenset(
    ("attempt", "message", "sender", "request", "said_at", "signature", "signed_at", "key", "resolved_by")
)
