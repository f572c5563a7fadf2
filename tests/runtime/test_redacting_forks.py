"""What a fork took from the run that it was made of goes with it, and so do words of people at its start."""

from __future__ import annotations

from pathlib import Path

import msgspec

from playhead import Edits, Engine, persona, tool
from playhead.events.catalog import RunStarted
from playhead.runtime.redacting import Needles
from tests.runtime.letters import holding


@tool(side_effect_level="read_only")
async def look(place: str) -> str:
    return f"lovelace of {place}"


@tool(side_effect_level="network")
async def send(text: str) -> str:
    return "sent"


@persona
async def visits(first: str, second: str) -> int:
    await send(await look(first))
    await look(second)
    return 2


async def test_answers_that_a_fork_holds_ready_are_erased_with_those_they_were_taken_from(
    tmp_path: Path,
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits, "Ulm", "Aachen")
        await run.result()
        fork = await engine.fork(run.id, edits=Edits(outcomes={"look#0": "sun"}), allow=["send"])
        await fork.result()
        started = engine.catalog.decode((await engine.store.read(f"run/{fork.id}"))[0])
        assert isinstance(started, RunStarted)
        assert "0/look#1" in (started.prepared or {})

        done = await engine.redact(run.id, 7, "/result", reason="she asked", by="ada", everywhere=True)

        places = [(stream.removeprefix("run/"), seq) for stream, seq, _ in done.everywhere]
        assert (fork.id, 0) in places
        assert (await engine.replay(fork.id)).divergence is None
    assert holding(tmp_path, b"lovelace of Aachen") == []


async def test_tags_are_words_of_people_and_can_be_erased(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits, "Ulm", "Aachen", tags=["case-lovelace", "audit"])
        await run.result()

        await engine.redact(run.id, 0, "/tags/1", reason="she asked", by="ada")
        await engine.redact(run.id, 0, "/tags", reason="all of them", by="ada")

        assert (await engine.replay(run.id)).divergence is None
    assert holding(tmp_path, b"case-lovelace") == []


async def test_a_name_that_stands_in_the_name_of_the_code_takes_nothing_from_other_runs(
    tmp_path: Path,
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits, "Ulm", "Aachen", name="test_redacting")
        await run.result()
        other = await engine.start(visits, "Ulm", "Aachen")
        await other.result()

        done = await engine.redact(run.id, 0, "/name", reason="she asked", by="ada", everywhere=True)

        assert __name__.endswith("test_redacting_forks")
        assert (done.everywhere, done.also, done.held) == ((), (), ())
        assert (await engine.replay(other.id)).identical


def test_a_number_that_is_none_is_looked_for_nowhere() -> None:
    payload = msgspec.msgpack.encode({"of": [float("nan"), float("inf"), 2.0, 4711.5]})

    assert set(Needles(payload, "of.another/1").numbers) == {4711.5}
