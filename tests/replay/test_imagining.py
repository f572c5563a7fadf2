"""What a program does when it is told what its tape holds is its tape; and what it does then, when it is not.

Random concurrent programs, crashed and resumed on their way, imagined up to every event of their tapes.
"""

from random import Random
from typing import Any

import pytest

from playhead import Engine
from playhead.errors import RunCancelled, RunFailed
from playhead.events.catalog import ToolCompleted
from playhead.events.codec import CATALOG
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.replay.edits import Edits
from playhead.replay.imagine import Imagined, Terms, imagine
from playhead.replay.player import on_tape
from playhead.replay.script import Script
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.tape import Tape
from tests.replay import test_prefixes as long
from tests.simulation.harness import Simulation
from tests.simulation.programs import Known, Stage, simulated
from tests.simulation.world import SimulatedLoop, World

SAID = tuple[str, str, int, bytes | None]


def said(events: list[Any]) -> list[SAID]:
    """What the program did and was told, with its times, of events or of those to append."""
    kinds = CATALOG.facts
    return [(e.type, e.op, e.at, e.payload) for e in events if kinds[e.type].PROGRAM or kinds[e.type].OUTCOME]


def imagined(tape: Tape, persona: Any, last: int | None = None, model: str | None = None) -> Imagined:
    host = on_tape(model, None, None, ErrorTypes([Known]))
    terms = Terms(
        host=host,
        run=tape.run,
        started=tape.started,
        started_at=tape.started_at,
        patches=tape.patches,
    )
    return imagine(Script.of(tape, last), persona, terms)


def check(run: str, events: list[Event], persona: Any, places: list[int], model: str | None = None) -> None:
    whole, tape = said(events), Tape(run, events)
    for last in places:
        found = imagined(tape, persona, last, model)
        made = said(found.events)

        known = len(said(events[: last + 1]))
        assert made[:known] == whole[: len(made)][:known], last
        assert [told[:3] for told in made] == [told[:3] for told in whole[: len(made)]], last
        assert found.departure is None, (last, found.departure)
        assert not found.unused, last
        outcomes = [e for e in events[: last + 1] if CATALOG.facts[e.type].OUTCOME]
        assert found.outcomes == len(outcomes), last
    found = imagined(tape, persona, None, model)
    assert said(found.events) == whole
    assert found.live == ()


def recorded(seed: int) -> tuple[str, list[Event], Simulation]:
    """A run of a random program that ended, over as many lives as it took."""
    simulation = Simulation(seed)
    story = simulation.lead()
    assert story.faults == []
    return story.run, simulation.log.streams[f"run/{story.run}"], simulation


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_told_a_tape_up_to_any_event_a_program_does_what_stands_there(first: int) -> None:
    for seed in range(first, first + 8):
        run, events, _ = recorded(seed)
        check(run, events, simulated, Random(seed).sample(range(len(events)), min(len(events), 6)))


@pytest.mark.long
@pytest.mark.parametrize("first", range(100, 900, 100))
def test_so_do_eight_hundred_programs_at_every_event(first: int) -> None:
    for seed in range(first, first + 100):
        run, events, _ = recorded(seed)
        check(run, events, simulated, list(range(len(events))))


def test_races_timeouts_models_and_retries_are_told_in_their_order() -> None:
    log = MemoryLog()
    run, _ = long.play(log, long.first_time)
    events = log.streams[f"run/{run}"]

    check(run, events, long.long_run, list(range(0, len(events), 3)), "parrot")


@pytest.mark.parametrize("first", range(0, 16, 8))
def test_a_fork_of_a_random_program_ends_and_its_tape_plays(first: int) -> None:
    for seed in range(first, first + 8):
        forked_anywhere(seed, edited=False)


@pytest.mark.parametrize("first", range(16, 32, 8))
def test_so_does_one_that_was_edited(first: int) -> None:
    for seed in range(first, first + 8):
        forked_anywhere(seed, edited=True)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1_000, 3_000, 250))
def test_so_do_two_thousand_more(first: int) -> None:
    for seed in range(first, first + 250):
        forked_anywhere(seed, edited=seed % 2 == 0)


def forked_anywhere(seed: int, *, edited: bool) -> None:
    """Fork a run of a random program at some event, take the fork to its end, and look at what is left."""
    run, events, simulation = recorded(seed)
    chance = Random(f"fork {seed}")
    at = chance.randrange(len(events))
    edits = Edits()
    results = [e for e in events if isinstance(CATALOG.decode(e), ToolCompleted)]
    if edited and results:
        edits = Edits(outcomes={f"@{chance.choice(results).seq}": "aEDITED"})
    world = World(seed + 1)
    simulation.world = Stage.world = world
    simulation.cancel_at = None
    loop = SimulatedLoop(world)
    store = MemoryStore(world, simulation.log)
    engine = simulation.engine = Engine(
        store, personas=[simulated], suspend_after_s=0.2, clock=world, errors=[Known]
    )
    world.idle = simulation._idle

    async def work() -> Any:
        made = await engine.fork(run, at=at, edits=edits, allow=["all"], key="fork")
        simulation.run = made.id
        try:
            ended = await made.result()
        except (RunFailed, RunCancelled) as error:
            ended = str(error)
        return made.id, ended, await engine.replay(made.id), await engine.store.verify()

    try:
        _, ended, replayed, verified = loop.live(work())
    finally:
        Stage.wrong.clear()
        engine.threads.shutdown(wait=False)
    assert replayed.identical, f"{seed}@{at}: {replayed.divergence or replayed.verdict}"
    assert verified.ok, seed
    assert ended, seed
