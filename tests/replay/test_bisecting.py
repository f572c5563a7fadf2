"""Between a good and a bad run, bisecting finds the outcome that makes the difference. It never goes live."""

import asyncio
import math
from random import Random
from typing import Any

import msgspec
import pytest

from playhead import (
    Engine,
    TimedOut,
    map_bounded,
    now,
    persona,
    race,
    signal,
    sleep,
    state,
    step,
    timeout,
    tool,
)
from playhead import random as chance
from playhead.errors import BadValue
from playhead.log.memory_store import MemoryLog
from playhead.replay.bisect import Bisection, bisect
from playhead.replay.expression import Expression
from playhead.replay.judging import Judge, by_ending, by_test
from playhead.replay.mixing import Pair
from playhead.replay.player import on_tape
from playhead.runtime.tape import Tape
from tests.replay import prefixes

ENTERED: list[str] = []
WORLD: dict[str, int] = {}


@tool(effect="effect")
async def measure(name: str) -> int:
    ENTERED.append(name)
    return WORLD[name]


@step
async def weigh(name: str) -> int:
    first = await measure(name)
    return first + await measure(f"{name} after {first % 2}")


@persona
async def survey(names: list[str], planted: str) -> str:
    mapped = await map_bounded(names, weigh, concurrency=4, key=str)
    await sleep(30)
    late = await measure(planted)
    total = sum(value or 0 for value in mapped.values)
    return f"{'bad' if late < 0 or now().year < 1970 else 'good'} {total}"


@persona
async def asks(names: list[str]) -> str:
    said = [await signal("say", str) for _ in names]
    return "bad" if "boo" in said else "good"


def play(log: MemoryLog, work: Any, begins_s: float) -> Any:
    return prefixes.play(log, work, personas=[survey, asks], begins_s=begins_s)


def run_in(log: MemoryLog, key: str, world: dict[str, int], *args: Any, begins_s: float = 0) -> Tape:
    WORLD.clear()
    WORLD.update(world)

    async def work(engine: Engine) -> str:
        run = await engine.start(survey, *args, key=key)
        await run.result()
        return run.id

    run = play(log, work, begins_s)
    return Tape(run, log.streams[f"run/{run}"])


def found_in(good: Tape, bad: Tape, judge: Judge, program: Any = survey) -> Bisection:
    """Bisect with nothing at hand that could be entered: whoever goes live is seen."""
    ENTERED.clear()
    WORLD.clear()
    found = bisect(Pair(good, bad, program, on_tape(None, None, None, None)), judge)
    assert ENTERED == []
    return found


def planted(seed: int) -> tuple[Tape, Tape, str]:
    """A good and a bad run whose answers differ nearly all, of which one makes the difference."""
    chance = Random(f"bisect {seed}")
    names = [f"n{n}" for n in range(chance.randint(1, 20))]
    both: list[dict[str, int]] = []
    for _ in range(2):
        even = {name: 2 * chance.randrange(1000) for name in names}
        both.append(even | {f"{name} after 0": chance.randrange(1000) for name in names})
    both[0]["late"], both[1]["late"] = 1, -1
    log = MemoryLog()
    good = run_in(log, "good", both[0], names, "late")
    bad = run_in(log, "bad", both[1], names, "late", begins_s=chance.choice([0, 100, 86_400]))
    return good, bad, "0/measure#0"


GOOD_IF = Expression("result[0] == 'g'")


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_the_planted_outcome_is_found_in_two_tries_for_every_halving(first: int) -> None:
    for seed in range(first, first + 10):
        good, bad, op = planted(seed)

        found = found_in(good, bad, by_test(GOOD_IF))

        assert [culprit.name for culprit in found.culprits] == [op], seed
        assert found.necessary is True, seed
        assert found.tests <= 2 * math.log2(len(found.suspects)) + 10, seed
        assert found.untestable == 0, seed


def test_what_follows_from_the_cause_is_no_suspect() -> None:
    world = {"a": 2, "a after 0": 1, "a after 1": 1, "late": 1}
    log = MemoryLog()
    good = run_in(log, "good", world, ["a"], "late")
    bad = run_in(log, "bad", world | {"a": 3, "a after 1": 500}, ["a"], "late")

    found = found_in(good, bad, by_ending(good, bad))

    assert [culprit.name for culprit in found.culprits] == ["0/map#0/item[a]/weigh#0/measure#0"]
    assert "0/map#0/item[a]/weigh#0/measure#1" not in {suspect.name for suspect in found.suspects}


def test_causes_that_only_together_make_it_bad_are_all_named() -> None:
    names = [f"n{n}" for n in range(8)]
    world = dict.fromkeys(names, 0) | {f"{name} after 0": 0 for name in names} | {"late": 1}
    log = MemoryLog()
    good = run_in(log, "good", world, names, "late")
    other = dict.fromkeys(names, 2)
    bad = run_in(log, "bad", world | other, names, "late")

    found = found_in(good, bad, by_test(Expression("result != 'good 16'")))

    assert len(found.culprits) == 8


def test_a_mixture_that_asks_what_no_tape_answers_is_untestable_and_nothing_is_asked() -> None:
    @persona(name="survey")
    async def both(names: list[str], planted: str) -> str:
        one, two = await measure("a"), await measure("b")
        if one != two:
            return str(await measure(f"{one} and {two}"))
        return "good" if one == 0 else "bad"

    log = MemoryLog()

    def recorded(key: str, value: int) -> Tape:
        WORLD.update(a=value, b=value)

        async def work(engine: Engine) -> str:
            run = await engine.start(both, [], "", key=key)
            await run.result()
            return run.id

        run = prefixes.play(log, work, personas=[both])
        return Tape(run, log.streams[f"run/{run}"])

    good, bad = recorded("good", 0), recorded("bad", 1)

    found = found_in(good, bad, by_ending(good, bad), both)

    assert {culprit.name for culprit in found.culprits} == {"0/measure#0", "0/measure#1"}
    assert found.untestable == 2


def test_a_message_that_was_other_is_found() -> None:
    log = MemoryLog()

    def told(key: str, words: list[str]) -> Tape:
        async def work(engine: Engine) -> str:
            run = await engine.start(asks, words, key=key)
            for word in words:
                await run.signal("say", word)
            await run.result()
            return run.id

        run = play(log, work, 0)
        return Tape(run, log.streams[f"run/{run}"])

    good, bad = told("good", ["a", "b", "c", "d"]), told("bad", ["w", "x", "boo", "z"])

    found = found_in(good, bad, by_ending(good, bad), asks)

    (culprit,) = found.culprits
    assert (culprit.kind, culprit.name) == ("message", "signal say")
    assert culprit.key[1] == 2


@persona
async def limited(limit: int) -> str:
    return "bad" if await measure("noise") < limit else "good"


@persona
async def drawn() -> str:
    await measure("noise")
    return "bad" if chance().random() < 0.5 else "good"


@persona
async def nightly() -> str:
    await measure("noise")
    return "bad" if now().hour < 12 else "good"


@persona
async def hangs() -> str:
    await measure("noise")
    try:
        await signal("go")
    except asyncio.CancelledError:
        return "bad"
    return "good"


def ran(log: MemoryLog, program: Any, *args: Any, begins_s: float = 0, say: str = "", **options: Any) -> Tape:
    """A run of `program`, whose noise is other each time."""

    async def work(engine: Engine) -> str:
        WORLD["noise"] = 100 + len(log.streams)
        run = await engine.start(program, *args, key=f"{len(log.streams)}", **options)
        if say == "go":
            await run.signal("go")
        elif say == "cancel":
            await asyncio.sleep(0.1)
            await run.cancel("enough")
        await engine.ending(run.id)
        return run.id

    run = prefixes.play(log, work, personas=[program], begins_s=begins_s)
    return Tape(run, log.streams[f"run/{run}"])


def culprit_of(good: Tape, bad: Tape, program: Any) -> tuple[str, str]:
    found = found_in(good, bad, by_ending(good, bad), program)
    assert (found.verdict, found.necessary) == ("found", True), found
    (culprit,) = found.culprits
    return culprit.kind, culprit.name


def test_arguments_are_found() -> None:
    log = MemoryLog()

    assert culprit_of(ran(log, limited, 1), ran(log, limited, 1_000), limited)[0] == "arguments"


def test_the_seed_of_chance_is_found() -> None:
    log = MemoryLog()

    async def work(engine: Engine) -> dict[str, str]:
        runs: dict[str, str] = {}
        while len(runs) < 2:
            WORLD["noise"] = len(log.streams)
            run = await engine.start(drawn)
            runs[await run.result()] = run.id
        return runs

    runs = prefixes.play(log, work, personas=[drawn])
    good, bad = (Tape(runs[word], log.streams[f"run/{runs[word]}"]) for word in ("good", "bad"))

    assert culprit_of(good, bad, drawn)[0] == "seed"


def test_the_time_of_day_is_found() -> None:
    log = MemoryLog()

    good, bad = ran(log, nightly), ran(log, nightly, begins_s=3 * 3600)

    assert culprit_of(good, bad, nightly) == ("time", "start of the run")


def test_a_request_to_cancel_is_found_with_the_message_that_did_not_come_before_it() -> None:
    log = MemoryLog()
    good, bad = ran(log, hangs, say="go"), ran(log, hangs, say="cancel")

    found = found_in(good, bad, by_ending(good, bad), hangs)

    assert found.verdict == "found"
    assert {(each.kind, each.name, each.good is None) for each in found.culprits} == {
        ("message", "signal go", False),
        ("message", "run.cancel_requested", True),
    }


LATENCY: dict[str, float] = {}


@tool(effect="read_only")
async def fetched(mirror: str) -> str:
    await asyncio.sleep(LATENCY[mirror])
    return f"from {mirror}"


@persona
async def raced() -> str:
    return str(await race(fetched("primary"), fetched("backup")))


@persona
async def patient() -> str:
    try:
        async with timeout(1):
            return await fetched("primary")
    except TimedOut:
        return "gave up"


@persona
async def late_or_not() -> str:
    if await measure("doubt"):
        await fetched("backup")
    before = now()
    await fetched("primary")
    return "bad" if (now() - before).total_seconds() > 1 else "good"


@persona
async def writes_down() -> str:
    notes = await state("notes")
    await notes.write("plan", await measure("cause"))
    return "bad" if await notes.read("plan") else "good"


@persona
async def unhurried() -> str:
    before = now()
    try:
        async with timeout(0.5):
            await fetched("primary")
            slow = (now() - before).total_seconds() > 0.25
            await fetched("backup")
    except TimedOut:
        return "gave up"
    return "slow" if slow else "good"


def raced_in(log: MemoryLog, primary: float, backup: float) -> Tape:
    LATENCY.update(primary=primary, backup=backup)
    return ran(log, raced)


def times_found(good: Tape, bad: Tape) -> list[tuple[str, str]]:
    found = found_in(good, bad, by_ending(good, bad), raced)
    assert (found.verdict, found.necessary) == ("found", True), found
    return [(each.kind, each.name) for each in found.culprits]


def test_the_winner_that_took_longer_is_found_and_not_the_loser_that_took_as_long() -> None:
    log = MemoryLog()
    good, bad = raced_in(log, 0.1, 0.4), raced_in(log, 0.9, 0.4)

    assert times_found(good, bad) == [("time", "0/race#0.1/fetched#0")]


def test_the_loser_that_came_sooner_is_found_and_not_the_winner_that_took_as_long() -> None:
    log = MemoryLog()
    good, bad = raced_in(log, 0.4, 0.9), raced_in(log, 0.4, 0.1)

    assert times_found(good, bad) == [("outcome", "0/race#0.2/fetched#0")]


def test_of_two_that_came_at_once_neither_is_blamed_alone() -> None:
    log = MemoryLog()
    good, bad = raced_in(log, 0.4, 0.4), raced_in(log, 0.9, 0.4)

    assert times_found(good, bad) == [
        ("outcome", "0/race#0.2/fetched#0"),
        ("time", "0/race#0.1/fetched#0"),
    ]


def test_work_that_took_longer_is_found_and_not_the_limit_that_it_ran_into() -> None:
    log = MemoryLog()
    LATENCY.update(primary=0.4)
    good = ran(log, patient)
    LATENCY.update(primary=4)
    bad = ran(log, patient)

    assert culprit_of(good, bad, patient) == ("time", "0/fetched#0")


@persona
async def looks_twice() -> str:
    if await measure("doubt"):
        await measure("again")
    return "bad" if await measure("cause") else "good"


def test_what_was_asked_once_more_does_not_hide_what_was_asked_after_it() -> None:
    log = MemoryLog()
    WORLD.update(doubt=0, again=5, cause=0)
    good = ran(log, looks_twice)
    WORLD.update(doubt=1, cause=1)
    bad = ran(log, looks_twice)

    for one, other in ((good, bad), (bad, good)):
        found = found_in(one, other, by_ending(one, other), looks_twice)

        (culprit,) = found.culprits
        assert (found.verdict, found.necessary, culprit.kind) == ("found", True, "outcome")
        asked = [tape.events[seq] for tape, seq in ((one, culprit.good), (other, culprit.bad)) if seq]
        assert [msgspec.msgpack.decode(event.payload or b"")["result"] for event in asked] == (
            [0, 1] if one is good else [1, 0]
        )
        assert culprit.good != culprit.bad


@persona
async def numbered() -> str:
    names = [*(["again"] * await measure("doubt")), "cause"]
    found = [await measure.with_key(f"{n}")(name) for n, name in enumerate(names)]
    return "bad" if found[-1] else "good"


def test_a_call_that_has_another_number_in_the_other_run_is_the_same_question() -> None:
    log = MemoryLog()
    WORLD.update(doubt=0, again=5, cause=0)
    good = ran(log, numbered)
    WORLD.update(doubt=1, cause=1)
    bad = ran(log, numbered)

    assert culprit_of(good, bad, numbered) == ("outcome", "0/measure[0]")


def test_an_answer_that_was_asked_elsewhere_takes_as_long_as_it_took_there() -> None:
    log = MemoryLog()
    WORLD.update(doubt=0, again=5)
    LATENCY.update(primary=0.1)
    good = ran(log, late_or_not)
    WORLD.update(doubt=1)
    LATENCY.update(primary=3)
    bad = ran(log, late_or_not)

    assert culprit_of(good, bad, late_or_not) == ("time", "0/fetched#0")
    assert culprit_of(bad, good, late_or_not) == ("time", "0/fetched#1")


def test_a_time_limit_that_went_off_in_neither_run_goes_off_where_both_together_take_longer() -> None:
    log = MemoryLog()
    LATENCY.update(primary=0.1, backup=0.35)
    good = ran(log, unhurried)
    LATENCY.update(primary=0.3, backup=0.1)
    bad = ran(log, unhurried)

    found = found_in(good, bad, by_test(Expression("result != 'slow'")), unhurried)

    assert (found.verdict, found.necessary) == ("found", True)
    assert [(each.kind, each.name) for each in found.culprits] == [
        ("time", "0/fetched#0"),
        ("time", "0/fetched#1"),
    ]


def test_what_a_run_reads_of_what_it_wrote_is_no_suspect() -> None:
    log = MemoryLog()
    WORLD.update(cause=0)
    good = ran(log, writes_down)
    WORLD.update(cause=1)
    bad = ran(log, writes_down)

    assert culprit_of(good, bad, writes_down) == ("outcome", "0/measure#0")


def test_a_program_that_fails_otherwise_than_the_one_that_ran_is_not_searched() -> None:
    @persona
    async def checks() -> str:
        if await measure("cause"):
            raise ValueError("the cause is there")
        return "good"

    @persona(name="checks")
    async def since_then() -> str:
        if await measure("cause"):
            raise KeyError("something else")
        return "good"

    log = MemoryLog()
    WORLD.update(cause=0)
    good = ran(log, checks)
    WORLD.update(cause=1)
    bad = ran(log, checks)

    found = found_in(good, bad, by_ending(good, bad), since_then)

    assert (found.verdict, found.culprits) == ("untestable", ())
    assert "does not end the bad run as it was recorded" in found.reason
    assert culprit_of(good, bad, checks) == ("outcome", "0/measure#0")


def test_runs_that_cannot_be_told_apart_are_refused() -> None:
    good, bad, _ = planted(1)

    with pytest.raises(BadValue, match="comes out bad"):
        found_in(good, bad, by_test(Expression("status == 'failed'")))
    with pytest.raises(BadValue, match="comes out good"):
        found_in(good, bad, by_test(Expression("status == 'completed'")))
    with pytest.raises(BadValue, match="comes out good"):
        found_in(good, good, by_test(GOOD_IF))


@pytest.mark.parametrize(
    "text",
    ["", "a b", "__import__('os')", "open('x')", "(lambda: 1)()", "[x for x in y]", "a if b else c", "f''"],
)
def test_an_expression_does_nothing_but_compare(text: str) -> None:
    with pytest.raises(BadValue):
        Expression(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("status == 'completed'", True),
        ("result.total > 3 and result['names'][0] == 'a'", True),
        ("'b' in result.names", True),
        ("result.nowhere is None", True),
        ("result.total < 'x'", False),
        ("not missing", True),
        ("1 < len(result.names) < 3", True),
        ("result.names[7]", False),
        ("-result.total == -4", True),
        ("max(result.total, 9) == 9", True),
    ],
)
def test_an_expression_is_true_or_not(text: str, holds: bool) -> None:
    values = {"status": "completed", "result": {"total": 4, "names": ["a", "b"]}}

    assert Expression(text)(values) is holds
