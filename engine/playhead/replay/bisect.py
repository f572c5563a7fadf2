"""Bisecting two runs: which recorded outcomes turn a good one into a bad one.

    found = bisect(Pair(good_tape, bad_tape, persona, host), judge)
    found.culprits          # put into the good run, these alone make it bad

What differs between two tapes is put from one into the other, half by half, and the
program is imagined with the mixture. Nothing is carried out: a mixture that asks what
neither tape answers is untestable, and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import msgspec

from playhead.errors import BadValue
from playhead.events.catalog import (
    ModelAnswered,
    RunCompleted,
    RunFailed,
    RunStarted,
    SignalReceived,
    TimerFired,
)
from playhead.events.fact import OutcomeFact, type_of
from playhead.replay.diff import OF_A_REPLY
from playhead.replay.imagine import Imagined, Terms, imagine
from playhead.replay.script import Answer, Script
from playhead.runtime.building import MachineHost
from playhead.runtime.likeness import alike
from playhead.runtime.persona import Persona
from playhead.runtime.tape import Tape

Verdict = Literal["good", "bad", "untestable"]
Judge = Callable[[Imagined], Verdict]
TESTS_MAX: Final = 2_000
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """Something recorded that is not the same in both. `good` and `bad` are where it stands, if it does.

    `kind` is outcome, message, arguments, seed, time (all times of the run) or order (of the answers).
    """

    kind: Literal["outcome", "message", "arguments", "seed", "time", "order"]
    name: str
    good: int | None = None
    bad: int | None = None
    key: _Key = ("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """What was found. `tests` counts imagined runs; `necessary` says that without the culprits it is good."""

    suspects: tuple[Suspect, ...]
    culprits: tuple[Suspect, ...]
    tests: int
    untestable: int
    necessary: bool | None
    reason: str = ""
    """Why nothing was found."""


class Pair(NamedTuple):
    """Two tapes of one persona, and what stands in for an engine."""

    good: Tape
    bad: Tape
    persona: Persona[..., Any]
    host: MachineHost


def bisect(pair: Pair, judge: Judge) -> Bisection:
    """Find the smallest part of what differs that turns the good run into a bad one, by delta debugging.

    For one cause among n it takes at most 2 log2(n) + 5 imagined runs. Raises `BadValue` for runs of two
    personas, and where the two cannot be told apart: the good run is not good, or the bad one not bad.
    """
    if pair.good.started.persona != pair.bad.started.persona:
        raise BadValue(
            "two runs of different personas have nothing to bisect.",
            expected=pair.good.started.persona,
            found=pair.bad.started.persona,
        )
    mix = _Mixing(pair, judge)
    every = frozenset(range(len(mix.suspects)))
    first, last = mix.test(frozenset()), mix.test(every)
    if first != "good" or last != "bad":
        wrong, which = (first, "good") if first != "good" else (last, "bad")
        raise BadValue(
            f"the {which} run, told what it was told, comes out {wrong}.",
            expected=which,
            found=wrong,
            next_step="Say what makes a run good, and check that the program is the one that was recorded.",
        )
    found = _smallest(sorted(every), lambda part: mix.test(frozenset(part)) == "bad")
    rest = mix.test(every - frozenset(found)) if len(found) < len(every) else first
    return Bisection(
        suspects=tuple(mix.suspects),
        culprits=tuple(mix.suspects[n] for n in found),
        tests=mix.tests,
        untestable=mix.untestable,
        necessary=None if rest == "untestable" else rest == "good",
    )


def _smallest(whole: list[int], fails: Callable[[list[int]], bool]) -> list[int]:
    """A part of `whole` that still fails, and of which no element can be left out."""
    parts = 2
    while len(whole) >= 2:
        cuts = [len(whole) * n // parts for n in range(parts + 1)]
        pieces: list[list[int]] = [whole[a:b] for a, b in pairwise(cuts)]
        piece = next(filter(fails, pieces), None)
        if piece is not None:
            whole, parts = piece, 2
            continue
        others = ([each for each in whole if each not in set(piece)] for piece in pieces)
        other = next(filter(fails, others), None) if parts > 2 else None
        if other is not None:
            whole, parts = other, max(parts - 1, 2)
        elif parts < len(whole):
            parts = min(2 * parts, len(whole))
        else:
            break
    return whole


# ----------------------------------------------------------------------- judges


def by_ending(good: Tape, bad: Tape) -> Judge:
    """Good is what ends like the good run: by status where the two differ in it, else by what came of it."""
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
    finished = found.finished
    failure = finished.failure if isinstance(finished, RunFailed) else None
    return {
        "status": found.status,
        "result": msgspec.msgpack.decode(finished.result) if isinstance(finished, RunCompleted) else None,
        "error": None if failure is None else {"type": failure.type, "message": failure.message},
    }


def _said(fact: Any) -> tuple[Any, ...]:
    kind = type_of(fact)
    if isinstance(fact, RunCompleted):
        return kind, bytes(fact.result)
    return kind, fact.failure if isinstance(fact, RunFailed) else None


def _ending(tape: Tape) -> tuple[Any, ...]:
    for event in reversed(tape.events[-4:]):
        if event.type in ("run.completed", "run.failed", "run.cancelled"):
            return _said(tape.readable(event))
    raise BadValue(
        f"run {tape.run} has not ended, so there is nothing to compare.",
        next_step="Say what is good: --good-if, or -- CMD.",
    )


# ----------------------------------------------------------------------- mixing


@dataclass(slots=True)
class _Side:
    """One tape: its answers by what they answer, which is the same thing in both runs."""

    tape: Tape
    script: Script
    answers: dict[_Key, Answer] = field(default_factory=dict[_Key, Answer])

    @classmethod
    def of(cls, tape: Tape) -> _Side:
        script = Script.of(tape)
        side = cls(tape, script)
        counts: dict[str, int] = {}
        for answer in sorted(script.all(), key=lambda each: each.seq):
            name = _name_of(answer)
            side.answers[name, counts.get(name, 0)] = answer
            counts[name] = counts.get(name, 0) + 1
        return side


def _name_of(answer: Answer) -> str:
    if isinstance(answer.fact, SignalReceived):
        return f"signal {answer.fact.signal}"
    return answer.op if not answer.news else type_of(answer.fact)


class _Mixing:
    """Mixtures of two tapes, and what came of those that were tried."""

    def __init__(self, pair: Pair, judge: Judge) -> None:
        self.pair = pair
        self.judge = judge
        self.good, self.bad = _Side.of(pair.good), _Side.of(pair.bad)
        self.runs = frozenset((pair.good.run, pair.bad.run))
        self.suspects = list(self._suspects())
        self.tests = 0
        self.untestable = 0
        self._known: dict[frozenset[int], Verdict] = {}

    def test(self, from_bad: frozenset[int]) -> Verdict:
        """What comes of the good run with those suspects from the bad one."""
        known = self._known.get(from_bad)
        if known is not None:
            return known
        if self.tests >= TESTS_MAX:
            raise BadValue(f"{TESTS_MAX} mixtures were tried.", next_step="Compare runs that differ in less.")
        self.tests += 1
        verdict = self.judge(self._imagined({self.suspects[n] for n in from_bad}))
        self.untestable += verdict == "untestable"
        self._known[from_bad] = verdict
        return verdict

    def _suspects(self) -> Iterator[Suspect]:
        good, bad = self.good, self.bad
        ours, theirs = good.tape.started, bad.tape.started
        if ours.args != theirs.args:
            yield Suspect(kind="arguments", name="arguments of the run", good=0, bad=0)
        for key, answer in good.answers.items():
            other = bad.answers.get(key)
            if other is None:
                if answer.news:
                    yield Suspect(kind="message", name=key[0], good=answer.seq, key=key)
            elif self._same_question(answer, other) and _content(answer.fact) != _content(other.fact):
                kind: Any = "message" if answer.news else "outcome"
                yield Suspect(kind=kind, name=key[0], good=answer.seq, bad=other.seq, key=key)
        for key, answer in bad.answers.items():
            if answer.news and key not in good.answers:
                yield Suspect(kind="message", name=key[0], bad=answer.seq, key=key)
        if ours.seed != theirs.seed:
            yield Suspect(kind="seed", name="seed of random()", good=0, bad=0)
        if good.tape.started_at != bad.tape.started_at:
            yield Suspect(kind="time", name="times", good=0, bad=0)
        if self._other_order():
            yield Suspect(kind="order", name="order of the answers")

    def _same_question(self, one: Answer, other: Answer) -> bool:
        if one.asked is None or other.asked is None:
            return one.asked is other.asked
        return alike(one.asked, other.asked, self.runs)

    def _other_order(self) -> bool:
        both = [key for key in self.good.answers if key in self.bad.answers]
        return [self.bad.answers[key].seq for key in both] != sorted(
            self.bad.answers[key].seq for key in both
        )

    def _imagined(self, from_bad: set[Suspect]) -> Imagined:
        kinds = {suspect.kind for suspect in from_bad}
        keys = {suspect.key for suspect in from_bad if suspect.kind in ("outcome", "message")}
        base = self.bad if "time" in kinds else self.good
        script = Script(self.bad.tape)
        ranks = _ranks(self.bad, self.good) if "order" in kinds else _ranks(self.good, self.bad)
        for key, answer in self._chosen(keys):
            timed = base.answers.get(key, answer)
            known = msgspec.structs.replace(answer, at=timed.at, rank=ranks[key])
            (script.news if answer.news else script.answers.setdefault(answer.op, [])).append(known)
        terms = Terms(
            host=self.pair.host,
            run=self.good.tape.run,
            started=self._started(kinds),
            started_at=base.tape.started_at,
            patches=self.good.tape.patches | self.bad.tape.patches,
            timers=True,
        )
        return imagine(script, self.pair.persona, terms)

    def _started(self, kinds: Collection[str]) -> RunStarted:
        ours, theirs = self.good.tape.started, self.bad.tape.started
        args = theirs if "arguments" in kinds else ours
        seed = theirs.seed if "seed" in kinds else ours.seed
        return msgspec.structs.replace(ours, args=args.args, args_digest=args.args_digest, seed=seed)

    def _chosen(self, from_bad: Collection[_Key]) -> Iterator[tuple[_Key, Answer]]:
        """What the program can be told. Where the two asked differently, each answer has its question."""
        good, bad = self.good.answers, self.bad.answers
        for key in dict.fromkeys((*good, *bad)):
            ours, theirs = good.get(key), bad.get(key)
            if ours is not None and theirs is not None:
                if self._same_question(ours, theirs):
                    yield key, theirs if key in from_bad else ours
                else:
                    yield key, ours
                    yield key, theirs
            elif ours is not None and not (ours.news and key in from_bad):
                yield key, ours
            elif theirs is not None and (not theirs.news or key in from_bad):
                yield key, theirs


def _ranks(first: _Side, second: _Side) -> dict[_Key, float]:
    """An order of all answers: that of the first run, and others after what came before them in theirs."""
    ranks: dict[_Key, float] = {key: float(answer.seq) for key, answer in first.answers.items()}
    last, step = -1.0, 1.0 / (2 + len(second.answers))
    for key in sorted(second.answers, key=lambda each: second.answers[each].seq):
        if key in ranks:
            last = max(last, ranks[key])
        else:
            last += step
            ranks[key] = last
    return ranks


def _content(fact: OutcomeFact) -> tuple[Any, ...]:
    """What an outcome says, without what is other in every run."""
    if isinstance(fact, TimerFired):
        return (TimerFired,)
    if isinstance(fact, ModelAnswered):
        reply: dict[str, Any] = msgspec.msgpack.decode(fact.reply)
        return type(fact), [(name, said) for name, said in reply.items() if name not in OF_A_REPLY]
    names = (name for name in fact.__struct_fields__ if name not in _OTHER_EVERY_TIME)
    return type(fact), [getattr(fact, name) for name in names]


_OTHER_EVERY_TIME: Final = frozenset(
    ("attempt", "message", "sender", "request", "said_at", "signature", "signed_at", "key", "resolved_by")
)
