"""Mixtures of two runs: the good one, told some of what only the bad one was told.

    mixing = Mixing(pair, timers_of_good, timers_of_bad)
    mixing.suspects                       # what is not the same in both
    mixing.imagined({3, 7})               # the good run, with these two of the bad one

With none of the suspects a mixture is the good run and with all of them the bad one, answer by answer: in
their order, and each so long after the one before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Literal, NamedTuple

import msgspec

from playhead.events.catalog import OperationCancelled, RunStarted, SignalReceived, TimerFired
from playhead.events.fact import OutcomeFact, ProgramFact, type_of
from playhead.replay.imagine import Imagined, Terms, imagine
from playhead.replay.script import ASKING, Answer, Script
from playhead.runtime.building import MachineHost
from playhead.runtime.likeness import alike
from playhead.runtime.persona import Persona
from playhead.runtime.tape import Tape

Kind = Literal["outcome", "message", "arguments", "setting", "patch", "seed", "time", "order"]
SETTINGS: Final = ("policy", "max_tokens", "max_micros", "trusted", "fence")
"""What holds for a run from its start, and can be put from one into another."""
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """Something recorded that is not the same in both. `good` and `bad` are where it stands, if it does.

    A time is when the run began, or how long after what came before it an answer came: `took`, nanoseconds
    in the good and in the bad run. An order is an answer that came before others, or after them.
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


@dataclass(slots=True)
class _Side:
    """One tape: its answers by what they answer, which is the same thing in both runs."""

    tape: Tape
    timers: frozenset[str]
    """Plain timers that its program sets, whether they go off or not."""
    answers: dict[_Key, Answer] = field(default_factory=dict[_Key, Answer])
    after: dict[_Key, int] = field(default_factory=dict[_Key, int])
    """How long after what came before it each came."""
    asked: dict[str, ProgramFact] = field(default_factory=dict[str, ProgramFact])
    given_up: dict[str, int] = field(default_factory=dict[str, int])
    """Where the program stopped waiting for an operation."""

    @classmethod
    def of(cls, tape: Tape, timers: frozenset[str]) -> _Side:
        script = Script.of(tape)
        side = cls(tape, timers)
        counts: dict[str, int] = {}
        last = tape.started_at
        for answer in sorted(script.all(), key=lambda each: each.seq):
            name = _name_of(answer)
            key = name, counts.get(name, 0)
            counts[name] = key[1] + 1
            side.answers[key] = answer
            side.after[key] = max(answer.at - last, 0)
            last = max(answer.at, last)
        for told in script.program:
            if isinstance(told.fact, ASKING):
                side.asked[told.event.op] = told.fact
            elif isinstance(told.fact, OperationCancelled):
                side.given_up[told.event.op] = told.event.seq
        return side

    def waits_for(self, answer: Answer, runs: frozenset[str]) -> bool:
        """Whether its program asks what `answer` answers, whatever came of it. News come unasked."""
        if answer.news:
            return True
        if answer.asked is None:
            return answer.op in self.timers
        asked = self.asked.get(answer.op)
        return asked is not None and alike(answer.asked, asked, runs)


class _Base(NamedTuple):
    """An answer of the good run, and where in the bad run it would stand."""

    answer: Answer
    there: float


class Mixing:
    """All that differs between two runs, and the runs in between."""

    def __init__(self, pair: Pair, good: frozenset[str], bad: frozenset[str]) -> None:
        self.pair = pair
        self.runs = frozenset((pair.good.run, pair.bad.run))
        self.good, self.bad = _Side.of(pair.good, good), _Side.of(pair.bad, bad)
        self.lost = frozenset(event.op for event in pair.bad.events if pair.bad.is_lost(event) and event.op)
        """Operations whose outcome in the bad run was erased: those of the good run stand in."""
        self._both = {
            key: self._same_question(answer, self.bad.answers[key])
            for key, answer in self.good.answers.items()
            if key in self.bad.answers
        }
        self.suspects = tuple(self._suspects())

    def imagined(self, from_bad: Collection[int]) -> Imagined:
        """What comes of the good run with those suspects from the bad one."""
        taken: dict[str, set[_Key]] = {}
        for number in from_bad:
            suspect = self.suspects[number]
            taken.setdefault(suspect.kind, set()).add(suspect.key)
        script = Script(self.bad.tape)
        for rank, answer in enumerate(self._told(taken)):
            known = msgspec.structs.replace(answer, rank=float(rank))
            (script.news if answer.news else script.answers.setdefault(answer.op, [])).append(known)
        base = self.bad if ("", 0) in taken.get("time", ()) else self.good
        terms = Terms(
            host=self.pair.host,
            run=self.good.tape.run,
            started=self._started(taken),
            started_at=base.tape.started_at,
            patches=self._patches({op for op, _ in taken.get("patch", ())}),
            timers=True,
        )
        return imagine(script, self.pair.persona, terms)

    # ------------------------------------------------------------- what differs

    def _suspects(self) -> Iterator[Suspect]:
        """Those that say something first, then the times, then the order."""
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
        yield from self._order()

    def _of_answers(self) -> Iterator[Suspect]:
        good, bad = self.good.answers, self.bad.answers
        for key, answer in good.items():
            other = bad.get(key)
            kind: Kind = "message" if answer.news else "outcome"
            if other is None:
                if self._is_gone(answer):
                    yield Suspect(kind=kind, name=key[0], good=answer.seq, key=key)
            elif self._both[key] and _content(answer.fact) != _content(other.fact):
                yield Suspect(kind=kind, name=key[0], good=answer.seq, bad=other.seq, key=key)
        for key, answer in bad.items():
            if key not in good and self._is_new(answer):
                kind = "message" if answer.news else "outcome"
                yield Suspect(kind=kind, name=key[0], bad=answer.seq, key=key)

    def _is_gone(self, answer: Answer) -> bool:
        """Whether the bad run asks for what only the good one was told."""
        return answer.op not in self.lost and self.bad.waits_for(answer, self.runs)

    def _is_new(self, answer: Answer) -> bool:
        """Whether the good run asks for what only the bad one was told."""
        return self.good.waits_for(answer, self.runs)

    def _times(self) -> Iterator[Suspect]:
        began = self.good.tape.started_at, self.bad.tape.started_at
        if began[0] != began[1]:
            yield Suspect(kind="time", name="start of the run", good=0, bad=0)
        for key, same in self._both.items():
            took = self.good.after[key], self.bad.after[key]
            if same and took[0] != took[1]:
                ours, theirs = self.good.answers[key].seq, self.bad.answers[key].seq
                yield Suspect(kind="time", name=key[0], good=ours, bad=theirs, took=took, key=key)

    def _order(self) -> Iterator[Suspect]:
        """The fewest answers that have to change places."""
        both = [key for key, same in self._both.items() if same]
        seqs = [self.bad.answers[key].seq for key in both]
        stay = _longest_rising(seqs)
        for key, seq in zip(both, seqs, strict=True):
            if seq not in stay:
                yield Suspect(kind="order", name=key[0], good=self.good.answers[key].seq, bad=seq, key=key)

    def _same_question(self, one: Answer, other: Answer) -> bool:
        if one.asked is None or other.asked is None:
            return one.asked is other.asked
        return alike(one.asked, other.asked, self.runs)

    # ------------------------------------------------------------------ mixing

    def _told(self, taken: dict[str, set[_Key]]) -> Iterator[Answer]:
        """What the program can be told, in order. Where the two asked differently, each answer has its question.

        What comes from the bad run comes before all that came after it there, or had not come by then.
        """
        said = taken.get("outcome", set()) | taken.get("message", set())
        times, moved = taken.get("time", set()), taken.get("order", set())
        stays: list[_Base] = []
        comes: list[Answer] = []
        for key, ours in self.good.answers.items():
            theirs = self.bad.answers.get(key)
            if theirs is None:
                if key not in said:
                    after = self.good.after[key]
                    stays.append(_Base(_after(ours, after), self._there(ours)))
            elif self._both[key]:
                told = theirs if key in said else ours
                side = self.bad if key in times else self.good
                answer = msgspec.structs.replace(told, after=side.after[key], seq=theirs.seq)
                if key in moved:
                    comes.append(answer)
                else:
                    stays.append(_Base(answer, theirs.seq))
            else:
                stays.append(_Base(_after(ours, self.good.after[key]), -inf))
                comes.append(_after(theirs, self.bad.after[key]))
        for key, theirs in self.bad.answers.items():
            if key not in self.good.answers and (key in said or not self._is_new(theirs)):
                comes.append(_after(theirs, self.bad.after[key]))
        comes.sort(key=lambda each: each.seq)
        yield from _merged(stays, comes)

    def _there(self, answer: Answer) -> float:
        """Where in the bad run an answer would stand that only the good one has."""
        if not self.bad.waits_for(answer, self.runs):
            return -inf
        return self.bad.given_up.get(answer.op, inf)

    def _started(self, taken: dict[str, set[_Key]]) -> RunStarted:
        ours, theirs = self.good.tape.started, self.bad.tape.started
        names = [name for name, _ in taken.get("setting", ())]
        if "arguments" in taken:
            names += ["args", "args_digest"]
        if "seed" in taken:
            names.append("seed")
        return msgspec.structs.replace(ours, **{name: getattr(theirs, name) for name in names})

    def _patches(self, changed: set[str]) -> frozenset[str]:
        good, bad = self.good.tape, self.bad.tape
        if good.started.code == bad.started.code:
            return good.patches | bad.patches
        return good.patches ^ changed


def _after(answer: Answer, after: int) -> Answer:
    return msgspec.structs.replace(answer, after=after)


def _merged(stays: list[_Base], comes: list[Answer]) -> Iterator[Answer]:
    place = 0
    for answer in comes:
        while place < len(stays) and stays[place].there <= answer.seq:
            yield stays[place].answer
            place += 1
        yield answer
    yield from (each.answer for each in stays[place:])


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
