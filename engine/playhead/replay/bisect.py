"""Bisecting two runs: which recorded outcomes turn a good one into a bad one.

    found = bisect(Pair(good_tape, bad_tape, persona, host), judge)
    found.culprits          # put into the good run, these alone make it bad

What differs between two tapes is put from one into the other, half by half, and the
program is imagined with the mixture. Nothing is carried out: a mixture that asks what
neither tape answers is untestable, and says nothing. What was found is tried once more,
and so is the good run without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import msgspec

from playhead.errors import BadValue, PlayheadError
from playhead.events.catalog import RunFailed
from playhead.events.fact import Fact
from playhead.replay.imagine import Imagined, Terms, imagine
from playhead.replay.judging import Judge, Verdict, end_of, summary_of
from playhead.replay.mixing import Mixing, Pair, Suspect
from playhead.replay.script import Script
from playhead.runtime.tape import Tape

TESTS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """What was found. `tests` counts imagined runs, `untestable` those that said nothing.

    It is found when the `culprits`, put into the good run, make it bad, and it is good without any one of
    them. It is untestable where one of these cannot be shown: `reason` says why, and `culprits` are as few
    as were shown to make it bad.

    `necessary` says that the bad run without the culprits is good; None where that cannot be told. `lost` are
    events of the two whose outcome was erased, so that nobody can put them from one into the other.
    """

    verdict: Literal["found", "untestable"]
    suspects: tuple[Suspect, ...]
    culprits: tuple[Suspect, ...]
    tests: int
    untestable: int
    necessary: bool | None = None
    reason: str = ""
    lost: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    @property
    def differences(self) -> int:
        """How much differs, where all times are one thing."""
        kinds = [suspect.kind for suspect in self.suspects]
        return sum(kind != "time" for kind in kinds) + ("time" in kinds)


def bisect(pair: Pair, judge: Judge) -> Bisection:
    """Find the smallest part of what differs that turns the good run into a bad one, by delta debugging.

    For one cause among n it takes at most 2 log2(n) + 10 imagined runs. Raises `BadValue` for runs of two
    personas, and where the two cannot be told apart: the good run is not good, or the bad one not bad.
    """
    if pair.good.started.persona != pair.bad.started.persona:
        raise BadValue(
            "two runs of different personas have nothing to bisect.",
            expected=pair.good.started.persona,
            found=pair.bad.started.persona,
        )
    return _Search(pair, judge).find()


_Part = frozenset[int]


class _Tried(NamedTuple):
    verdict: Verdict
    reason: str


class _Untestable(Exception):
    """Why nothing can be shown."""

    def __init__(self, reason: str, culprits: _Part = frozenset()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.culprits = culprits


class _Search:
    """One search. Used once."""

    def __init__(self, pair: Pair, judge: Judge) -> None:
        self.pair = pair
        self.judge = judge
        self.tests = 0
        self.untestable = 0
        self.mixing: Mixing | None = None
        self._known: dict[_Part, _Tried] = {}
        self._lost = tuple(
            tuple(event.seq for event in tape.events if tape.is_lost(event)) for tape in pair[:2]
        )

    def find(self) -> Bisection:
        try:
            culprits = self._culprits()
        except _Untestable as end:
            return self._found("untestable", end.culprits, reason=end.reason)
        every = self._every()
        rest = self.test(every - culprits).verdict if len(culprits) < len(every) else "good"
        necessary = None if rest == "untestable" else rest == "good"
        return self._found("found", culprits, necessary=necessary)

    def _found(
        self,
        verdict: Literal["found", "untestable"],
        culprits: _Part,
        *,
        necessary: bool | None = None,
        reason: str = "",
    ) -> Bisection:
        suspects = self.mixing.suspects if self.mixing is not None else ()
        return Bisection(
            verdict=verdict,
            suspects=suspects,
            culprits=tuple(suspects[n] for n in sorted(culprits)),
            tests=self.tests,
            untestable=self.untestable,
            necessary=necessary,
            reason=reason,
            lost=(self._lost[0], self._lost[1]),
        )

    def _culprits(self) -> _Part:
        good, bad = self._alone(self.pair.good, "good"), self._alone(self.pair.bad, "bad")
        self.mixing = Mixing(self.pair, good.timers, bad.timers)
        every = self._every()
        if not every:
            raise _Untestable("the two were told the same. What makes them differ is not on their tapes.")
        return self._sure(self._smallest(every))

    def _of_the_lost(self) -> str:
        events = ", ".join(f"{self.pair.bad.run}@{seq}" for seq in self._lost[1][:5])
        return f" What was erased cannot be tested: {events}." if events else ""

    def _every(self) -> _Part:
        assert self.mixing is not None
        return frozenset(range(len(self.mixing.suspects)))

    # ------------------------------------------------------------------- trying

    def _alone(self, tape: Tape, wanted: Verdict) -> Imagined:
        """One of the two as it was. It has to be imagined as it was recorded, or nothing can be said."""
        found = imagine(
            Script.of(tape),
            self.pair.persona,
            Terms(
                host=self.pair.host,
                run=tape.run,
                started=tape.started,
                started_at=tape.started_at,
                patches=tape.patches,
                timers=True,
            ),
        )
        tried = self._judged(found)
        recorded = end_of(tape)
        if tried.verdict == "untestable":
            if wanted == "good" or not self._lost[1]:
                raise _Untestable(f"the {wanted} run by itself {_comes_out(tried)}.")
        elif tried.verdict != wanted:
            raise BadValue(
                f"the {wanted} run, told what it was told, comes out {tried.verdict}.",
                expected=wanted,
                found=tried.verdict,
                next_step="Say what makes a run good, and see that the program is the one that was recorded.",
            )
        ends = [_ended(end, whole=not tape.erased) for end in (recorded, found.finished) if end is not None]
        if len(ends) == 2 and ends[0] != ends[1]:
            raise _Untestable(
                f"the program does not end the {wanted} run as it was recorded: it is not the one that ran,"
                f" or reads what is on no tape. See playhead replay {tape.run}"
            )
        return found

    def test(self, from_bad: _Part) -> _Tried:
        """What comes of the good run with those suspects from the bad one."""
        known = self._known.get(from_bad)
        if known is None:
            known = self._known[from_bad] = self._try(from_bad)
        return known

    def _try(self, from_bad: _Part) -> _Tried:
        assert self.mixing is not None
        if self.tests >= TESTS_MAX:
            raise BadValue(f"{TESTS_MAX} mixtures were tried.", next_step="Compare runs that differ in less.")
        try:
            return self._judged(self.mixing.imagined(from_bad))
        except PlayheadError as error:  # as arguments that do not fit, or a policy that its host cannot hold
            self.tests += 1
            self.untestable += 1
            return _Tried("untestable", error.message)

    def _judged(self, found: Imagined) -> _Tried:
        self.tests += 1
        verdict = self.judge(found)
        self.untestable += verdict == "untestable"
        return _Tried(verdict, _why(found) if verdict == "untestable" else "")

    # ---------------------------------------------------------------- searching

    def _smallest(self, every: _Part) -> _Part:
        """As few of them as still make it bad. What is said counts before how long it took.

        Times differ nearly always, and rarely matter: they are looked at as one, until they are found to.
        """
        assert self.mixing is not None
        kinds = [suspect.kind for suspect in self.mixing.suspects]
        times = frozenset(n for n in every if kinds[n] == "time")
        said = [frozenset((n,)) for n in sorted(every - times)]
        if said and self._fails(_union(said)):
            return self._shrunk(said)
        whole = self.test(every)
        if whole.verdict != "bad":
            raise _Untestable(
                f"the good run, told all that the bad one was told, {_comes_out(whole)}."
                f" Something else makes the bad run bad.{self._of_the_lost()}"
            )
        few = times if self._fails(times) else self._shrunk([*said, times])
        return self._shrunk([frozenset((n,)) for n in sorted(few)]) if few & times else few

    def _fails(self, part: _Part) -> bool:
        return self.test(part).verdict == "bad"

    def _shrunk(self, parts: list[_Part]) -> _Part:
        def fails(some: list[_Part]) -> bool:
            return self._fails(_union(some))

        one = _by_halves(parts, fails)
        return one[0] if fails(one) else _union(_smallest(parts, fails))

    def _sure(self, culprits: _Part) -> _Part:
        """What was found, shown by trying it again. Raises `_Untestable` where it is not so."""
        for part, wanted in ((culprits, "bad"), (frozenset[int](), "good")):
            tried = self._try(part)
            if tried.verdict != wanted:
                what = "with what was found" if part else "with nothing of the bad one"
                raise _Untestable(f"the good run {what} {_comes_out(tried)}, tried once more.", culprits)
        if len(culprits) == 1:
            return culprits
        for one in sorted(culprits):
            tried = self.test(culprits - {one})
            if tried.verdict != "good":
                assert self.mixing is not None
                name = self.mixing.suspects[one].name
                raise _Untestable(
                    "together these make the run bad. Whether all are needed for that cannot be told:"
                    f" without {name} it {_comes_out(tried)}.",
                    culprits,
                )
        return culprits


def _by_halves(whole: list[_Part], fails: Callable[[list[_Part]], bool]) -> list[_Part]:
    """The one of `whole` that fails by itself, if there is only one that matters."""
    while len(whole) > 1:
        first, second = whole[: len(whole) // 2], whole[len(whole) // 2 :]
        whole = first if fails(first) else second
    return whole


def _smallest(whole: list[_Part], fails: Callable[[list[_Part]], bool]) -> list[_Part]:
    """Some of `whole` that still fail, and of which none can be left out."""
    parts = 2
    while len(whole) >= 2:
        cuts = [len(whole) * n // parts for n in range(parts + 1)]
        pieces = [whole[a:b] for a, b in pairwise(cuts)]
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


def _union(parts: Iterable[Collection[int]]) -> _Part:
    return frozenset(n for part in parts for n in part)


def _ended(finished: Fact, *, whole: bool) -> tuple[Any, ...]:
    """How a run ended, as far as two of one program have to agree, wherever it is imported from.

    An error may name what was erased, so only where the `whole` tape was kept it has to be the same one.
    """
    said = summary_of(finished)
    failure = finished.failure if isinstance(finished, RunFailed) and whole else None
    return said["status"], said["result"], failure and msgspec.structs.replace(failure, module="")


def _comes_out(tried: _Tried) -> str:
    if tried.verdict != "untestable":
        return f"comes out {tried.verdict}"
    return f"cannot be tested: {tried.reason}"


def _why(found: Imagined) -> str:
    """Why nothing can be said of a run."""
    if found.finished is not None:
        return "the command says nothing of it"
    if not found.live:
        return "it waits for what no tape tells"
    first = found.live[0]
    why = {"erased": "was erased", "open": "has no answer on a tape"}.get(first.why, "is answered by no tape")
    more = f", nor are {len(found.live) - 1} more" if len(found.live) > 1 else ""
    return f"{first.kind} {first.op} {why}{more}"
