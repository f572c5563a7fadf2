"""One planted difference among many is found, whatever it is planted in, and nobody is asked anything."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from playhead.errors import RunFailed
from playhead.events.fact import OutcomeFact, ProgramFact
from playhead.replay.bisect import Bisection, bisect
from playhead.replay.imagine import Imagined, Terms, imagine
from playhead.replay.judging import by_ending
from playhead.replay.mixing import Mixing, Pair
from playhead.replay.player import on_tape
from playhead.replay.script import Script
from playhead.runtime.tape import Tape
from tests import long_run
from tests.cli.shell import Shell
from tests.replay import planted
from tests.replay.planted import KINDS, Planted
from tests.simulation.harness import Simulation
from tests.simulation.programs import simulated

SEEDS = 4
"""For each kind, so that there are more than fifty pairs."""
WITHOUT_PEOPLE = [kind for kind in KINDS if kind not in ("signal", "question", "approval")]


def of(found: Planted) -> Pair:
    return Pair(found.good, found.bad, planted.inquiry, on_tape("oracle", None, None, None))


def searched(found: Planted) -> Bisection:
    """What is found with a world that nobody may ask."""
    planted.ENTERED.clear()
    assert not planted.WORLD
    told = bisect(of(found), by_ending(found.good, found.bad))
    assert planted.ENTERED == []
    return told


def check(pair: Planted, found: Bisection) -> None:
    """The planted item is named alone, after few tries, and it is true of a mixture that is made here."""
    assert found.verdict == "found", found.reason
    (culprit,) = found.culprits
    assert pair.item in culprit.name, found.culprits
    assert found.tests <= 2 * math.log2(len(found.suspects)) + 10
    judge, mixing = by_ending(pair.good, pair.bad), mixed(pair)
    assert judge(mixing.imagined([mixing.suspects.index(culprit)])) == "bad"
    assert judge(mixing.imagined([])) == "good"


def mixed(pair: Planted) -> Mixing:
    return Mixing(of(pair), timers_of(pair.good, of(pair)), timers_of(pair.bad, of(pair)))


def story(tape: Tape) -> list[tuple[str, str, int]]:
    """What a program did and was told, without what its engine did around it."""
    facts = [(event, tape.catalog.decode(event)) for event in tape.events]
    return [
        (event.type, event.op, event.at)
        for event, fact in facts
        if isinstance(fact, (ProgramFact, OutcomeFact))
    ]


def told(found: Imagined) -> list[tuple[str, str, int]]:
    return [(event.type, event.op, event.at) for event in found.events]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_planted_is_found_wherever_it_is(kind: str) -> None:
    for seed in range(SEEDS):
        size = round(4 * 15 ** Random(f"{kind} {seed}").random())
        pair = planted.pair(seed, kind, size)

        check(pair, searched(pair))


@pytest.mark.parametrize("seed", range(6))
def test_with_nothing_of_the_bad_run_a_mixture_is_the_good_one_and_with_all_of_it_the_bad_one(
    seed: int,
) -> None:
    pair = planted.pair(seed, Random(seed).choice([*KINDS]), 30)
    mixing = mixed(pair)

    nothing, everything = mixing.imagined([]), mixing.imagined(range(len(mixing.suspects)))

    assert told(nothing) == story(pair.good)
    assert told(everything) == story(pair.bad)


@pytest.mark.parametrize(
    "first",
    [*range(0, 90, 30), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(90, 600, 30))],
)
def test_random_runs_with_crashes_and_races_mix_into_each_other_and_what_is_found_is_true(first: int) -> None:
    host = on_tape(None, None, None, None)
    verdicts: Counter[str] = Counter()
    for seed in range(first, first + 30):
        one = Simulation(seed)
        good = led(one)
        pair = Pair(good, led(Simulation(seed + 100_000, program=one.program)), simulated, host)
        bad = pair.bad
        found, judge = bisect(pair, by_ending(good, bad)), by_ending(good, bad)
        mixing = Mixing(pair, timers_of(good, pair), timers_of(bad, pair))
        assert told(mixing.imagined([])) == story(good), seed
        assert told(mixing.imagined(range(len(mixing.suspects)))) == story(bad), seed
        culprits = [mixing.suspects.index(each) for each in found.culprits]
        if found.verdict == "found":
            assert judge(mixing.imagined(culprits)) == "bad", seed
            for left in culprits:
                assert judge(mixing.imagined([each for each in culprits if each != left])) == "good", seed
        else:
            assert found.reason, seed
        verdicts[found.verdict] += 1
    assert verdicts["found"] > 20


def led(simulation: Simulation) -> Tape:
    run = simulation.lead().run
    return Tape(run, simulation.log.streams[f"run/{run}"])


def timers_of(tape: Tape, pair: Pair) -> Mapping[str, int]:
    """The plain timers that a program sets on its tape."""
    terms = Terms(
        host=pair.host,
        run=tape.run,
        started=tape.started,
        started_at=tape.started_at,
        patches=tape.patches,
        timers=True,
    )
    return imagine(Script.of(tape), pair.persona, terms).timers


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("events", [2_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_one_answer_among_those_of_a_long_run_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    shell = Shell(tmp_path)
    broken = Random(events).randrange(events // long_run.EVENTS_PER_WARD)
    good = long_run.recorded(shell.store, events)
    monkeypatch.setattr(long_run, "BROKEN", {broken})
    monkeypatch.setattr(long_run, "EDITION", ["second edition, "])
    with pytest.raises(RunFailed):
        long_run.recorded(shell.store, events)
    monkeypatch.setattr(long_run, "BROKEN", None)  # nobody can publish any more

    differs = shell.here("diff", good, "@", "--json")
    found = shell.here("bisect", good, "@", "tests.long_run:survey_wards", "--json")

    (culprit,) = found.document["culprits"]
    assert (found.code, differs.code) == (0, 1)
    assert culprit["name"] == f"0/map#0/item[{broken}]/ward#0/publish#0"
    assert found.document["suspects"] > events // long_run.EVENTS_PER_WARD
    assert found.document["tests"] <= 2 * math.log2(found.document["suspects"]) + 10
    assert differs.document["totals"]["b"]["status"] == "failed"
