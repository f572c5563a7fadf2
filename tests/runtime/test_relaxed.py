"""A relaxed run lives in the host's loop, and its tape is matched operation by operation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from playhead import (
    Engine,
    RunFailed,
    map_bounded,
    now,
    patched,
    persona,
    race,
    signal,
    sleep,
    step,
    task_group,
    tool,
)
from playhead.events.catalog import RunCompleted
from playhead.events.codec import CATALOG
from playhead.log.envelope import NewEvent
from playhead.runtime import relaxed
from playhead.runtime.scope import CURRENT

turns: list[str] = []


@tool(side_effect_level="read_only")
async def double(n: int) -> int:
    await asyncio.sleep(0.001 * (5 - n))
    return 2 * n


@tool(effect="idempotent")
async def shout(text: str) -> str:
    turns.append(text)
    return text.upper()


@step
async def total(numbers: list[int]) -> int:
    return sum((await map_bounded(numbers, double, concurrency=3)).values)


@persona(mode="relaxed")
async def free(numbers: list[int]) -> str:
    await asyncio.sleep(0.001)  # foreign to the run, and allowed here
    found = await total(numbers)
    winner, value = await race(double(4), double(1))
    return await shout(f"{found} {winner} {value}")


@persona(mode="relaxed")
async def hasty() -> int:
    async def one() -> int:
        return await double(1)

    return sum(await asyncio.gather(one(), one()))


@persona(mode="relaxed")
async def waiting() -> str:
    new = patched("politer")
    await sleep(0.01)
    word: str = await signal("word", str)
    return f"{word}, please" if new else word


async def test_a_relaxed_run_is_recorded_and_replays_to_the_same_winner(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[free]) as engine:
        run = await engine.start(free, [1, 2, 3])
        result = await run.result()

        outcomes = [await engine.replay(run.id) for _ in range(20)]

    assert result == "12 0 8"
    assert all(outcome.identical for outcome in outcomes)


async def test_a_relaxed_run_says_so_in_its_first_event(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db") as engine:
        run = await engine.start(free, [1])
        await run.result()
        first = (await engine.store.read(f"run/{run.id}", 0, 1))[0]

    assert b"relaxed" in (first.payload or b"")


async def test_operations_of_tasks_without_a_place_are_refused(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db") as engine:
        run = await engine.start(hasty)

        with pytest.raises(RunFailed, match="did not start"):
            await run.result()


async def test_a_relaxed_run_takes_signals_and_patches(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[waiting]) as engine:
        run = await engine.start(waiting)
        await run.signal("word", "salt")

        assert await run.result() == "salt, please"
        assert (await engine.replay(run.id)).identical


@pytest.mark.parametrize("moment", range(0, 14, 2))
async def test_a_relaxed_run_is_resumed_from_any_moment(tmp_path: Path, moment: int) -> None:
    turns.clear()
    async with Engine.open(tmp_path / "runs.db", personas=[free]) as engine:
        run = await engine.start(free, [1, 2, 3])
        await asyncio.sleep(moment / 1000)
    async with Engine.open(tmp_path / "runs.db", personas=[free]) as engine:
        await engine.recover()

        assert await engine.result(run.id) == "12 0 8"
        assert set(turns) == {"12 0 8"}
        assert (await engine.replay(run.id)).identical


@persona(mode="relaxed")
async def one_place_for_two() -> int:
    here = CURRENT.get()

    async def there(value: int) -> int:
        CURRENT.set(here)
        return await double(value)

    async with task_group() as group:
        tasks = [group.start(there(value)) for value in range(2)]
    return sum(task.result() for task in tasks)


async def test_two_tasks_do_not_ask_in_one_scope_at_once(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[one_place_for_two]) as engine:
        run = await engine.start(one_place_for_two)
        with pytest.raises(RunFailed, match="tasks of a group failed") as failed:
            await run.result()

    assert "0/double#1 and another operation of scope 0 were called in two tasks at once" in str(
        failed.value.failure
    )


HURRY = [False]


@persona(mode="relaxed")
async def two_paces() -> int:
    async def along() -> int:
        return sum([await double(n) for n in range(3)])

    async def behind() -> int:
        await asyncio.sleep(0 if HURRY[0] else 30)
        return await double(4)

    async with task_group() as group:
        tasks = [group.start(along()), group.start(behind())]
    return sum(task.result() for task in tasks)


async def test_what_is_asked_before_the_tape_is_through_is_recorded_with_its_place(tmp_path: Path) -> None:
    HURRY[0] = False
    async with Engine.open(tmp_path / "runs.db", personas=[two_paces]) as engine:
        run = await engine.start(two_paces)
        while (await engine.store.head(f"run/{run.id}")).seq < 8:  # noqa: ASYNC110  only the log says it
            await asyncio.sleep(0.01)
    HURRY[0] = True
    async with Engine.open(tmp_path / "runs.db", personas=[two_paces]) as engine:
        await engine.recover()
        assert await engine.result(run.id) == 14
        events = await engine.store.read(f"run/{run.id}", 0)

    asked = [msgspec.msgpack.decode(e.payload or b"") for e in events if e.type == "tool.requested"]
    assert [said["site"][1].split(".")[2] for said in asked] == ["along"] * 3 + ["behind"]


LAG = {"winner": 0.0, "loser": 0.0}
"""How long each waits in the world beside its operations, which no tape says."""
LONG_S = 0.1
BOASTER = {"tidies": True}


@step
async def boast(text: str) -> str:
    try:
        return await shout(text)
    finally:
        if BOASTER["tidies"]:
            await double(4)


@persona(mode="relaxed")
async def raced() -> str:
    async def first() -> str:
        value = await double(4)
        await asyncio.sleep(LAG["winner"])
        return str(value)

    async def second() -> str:
        await asyncio.sleep(LAG["loser"])
        await boast("late")
        await asyncio.sleep(60)
        return await shout("never")

    _, won = await race(first(), second())
    return await shout(won)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        pytest.param(
            {"winner": LONG_S, "loser": 0}, {"winner": 0, "loser": LONG_S}, id="the winner is earlier"
        ),
        pytest.param(
            {"winner": 0, "loser": LONG_S}, {"winner": LONG_S, "loser": 0}, id="the loser is earlier"
        ),
    ],
)
@pytest.mark.parametrize("tidies", [True, False])
async def test_a_race_ends_when_it_did_whatever_its_runners_wait_for_beside_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: dict[str, float],
    now: dict[str, float],
    tidies: bool,
) -> None:
    monkeypatch.setitem(BOASTER, "tidies", tidies)
    LAG.update(then)
    async with Engine.open(tmp_path / "runs.db", personas=[raced]) as engine:
        run = await engine.start(raced)
        result = await run.result()
        turns.clear()
        LAG.update(now)

        outcomes = [await engine.replay(run.id) for _ in range(3)]

    assert result == "8"
    assert [str(outcome.divergence) for outcome in outcomes if outcome.divergence] == []
    assert turns == []


@pytest.mark.parametrize("beyond", [1, 2, 3])
async def test_nothing_of_a_loser_that_is_ahead_is_carried_out_after_a_crash(
    tmp_path: Path, beyond: int
) -> None:
    LAG.update({"winner": 0, "loser": LONG_S})
    async with Engine.open(tmp_path / "runs.db", personas=[raced]) as engine:
        whole = await engine.start(raced)
        assert await whole.result() == "8"
        tape = await engine.store.read(f"run/{whole.id}", 0)
    decided = next(event.seq for event in tape if event.type == "race.decided")
    turns.clear()
    LAG.update({"winner": LONG_S, "loser": 0})
    async with Engine.open(tmp_path / "cut.db", personas=[raced]) as engine:
        cut = [NewEvent(e.type, e.version, e.at, e.op, e.cause, e.payload or b"") for e in tape]
        await engine.store.append(f"run/{whole.id}", 0, cut[: decided + beyond], status="released")
        await engine.recover()

        assert await engine.result(whole.id) == "8"
        assert (await engine.replay(whole.id)).identical

    assert set(turns) <= {"8"}


@persona(mode="relaxed")
async def outrun() -> tuple[int, datetime]:
    async def first() -> int:
        await asyncio.sleep(0)
        return 1

    before = await double(4)
    winner, won = await race(first(), double(4))
    return before + winner + won + await double(4), now()


async def test_an_outcome_that_came_before_its_loser_was_cancelled_is_nothing_new(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[outrun]) as engine:
        run = await engine.start(outrun)
        await run.result()
        tape = await engine.store.read(f"run/{run.id}", 0)
    events = [NewEvent(e.type, e.version, e.at, e.op, e.cause, e.payload or b"") for e in tape]
    lost = next(n for n, e in enumerate(events) if e.type == "operation.cancelled")
    came = next(e for e in events if e.type == "tool.completed")
    assert events[lost - 1].type == "race.decided"
    late = datetime(2100, 1, 1, tzinfo=UTC)
    events[lost] = came._replace(op=events[lost].op, at=int(late.timestamp()) * 10**9)
    ended = next(n for n, e in enumerate(events) if e.type == "run.completed")
    said = RunCompleted(result=msgspec.Raw(msgspec.msgpack.encode((17, late))))
    events[ended] = CATALOG.new_event(said, at=events[ended].at)

    async with Engine.open(tmp_path / "other.db", personas=[outrun]) as engine:
        await engine.store.append(f"run/{run.id}", 0, events, status="completed")

        assert (await engine.replay(run.id)).identical


async def test_a_loser_that_leaves_out_what_it_did_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaxed, "PATIENCE_S", 0.3)
    LAG.update({"winner": LONG_S, "loser": 0})
    async with Engine.open(tmp_path / "runs.db", personas=[raced]) as engine:
        run = await engine.start(raced)
        await run.result()
        LAG.update({"winner": 0, "loser": 60})

        found = (await engine.replay(run.id)).divergence

    assert found is not None
    assert (found.kind, found.op) == ("missing", "0/race#0.2/boast#0")
