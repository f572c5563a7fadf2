"""The life of a run: started once, told things, put to sleep, cancelled, given up, and found again."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from playhead import (
    Engine,
    NotFound,
    RunCancelled,
    RunFailed,
    RunParked,
    child_run,
    now,
    persona,
    signal,
    sleep,
    sleep_until,
    tool,
)
from playhead.errors import BadValue, ChildFailed, KeyReuse, PersonaMissing, StoreError
from playhead.log.memory_store import MemoryStore
from tests.runtime.conftest import Home, until

tidied: list[str] = []


@pytest.fixture(autouse=True)
def nothing_tidied() -> None:
    tidied.clear()


@persona
async def doubles(n: int) -> int:
    return 2 * n


# The same start.


async def test_a_key_gives_the_same_run_again(home: Home) -> None:
    async with home.engine(doubles) as engine:
        first = await engine.start(doubles, 4, key="k")
        second = await engine.start(doubles, n=4, key="k")
        assert await second.result() == 8

    async with home.engine(doubles) as engine:
        third = await engine.start(doubles, 4, key="k")
        assert await third.result() == 8
    assert first.id == second.id == third.id


async def test_a_key_with_other_arguments_is_refused(home: Home) -> None:
    async with home.engine(doubles) as engine:
        await engine.start(doubles, 4, key="k")

        with pytest.raises(KeyReuse):
            await engine.start(doubles, 5, key="k")


async def test_many_starts_with_one_key_at_once_are_one_run(home: Home) -> None:
    async with home.engine(doubles) as engine:
        runs = await asyncio.gather(*(engine.start(doubles, 4, key="k") for _ in range(20)))
        results = await asyncio.gather(*(run.result() for run in runs))

        assert len({run.id for run in runs}) == 1
        assert results == [8] * 20
        assert len(await engine.store.heads("run")) == 1


# Signals.


@persona
async def hears() -> list[str]:
    first = await signal("word", str)
    await sleep(0.01)
    return [first, await signal("word", str), str(await signal("number", int))]


async def test_signals_arrive_in_order_before_and_after_the_wait_from_any_engine(home: Home) -> None:
    async with home.engine(hears) as engine, home.engine(hears) as other:
        run = await engine.start(hears)
        await other.signal(run.id, "number", 7)
        await other.signal(run.id, "word", "one")
        await asyncio.sleep(0.03)
        await other.signal(run.id, "word", "two")

        assert await run.result() == ["one", "two", "7"]
        assert await other.handle(run.id).result() == ["one", "two", "7"]
        assert (await engine.replay(run.id)).identical


async def test_a_signal_of_the_wrong_type_is_raised_where_it_is_awaited(home: Home) -> None:
    @persona
    async def wants_a_number() -> str:
        try:
            return str(await signal("n", int))
        except BadValue:
            return "no number"

    async with home.engine(wants_a_number) as engine:
        run = await engine.start(wants_a_number)
        await run.signal("n", "seven")
        assert await run.result() == "no number"
        assert (await engine.replay(run.id)).identical


async def test_a_signal_to_nobody_is_an_error(home: Home) -> None:
    async with home.engine(hears) as engine:
        with pytest.raises(NotFound):
            await engine.signal("nobody", "word", "x")


# Cancelling.


@tool
async def tidy(what: str) -> None:
    tidied.append(what)


@persona
async def careful() -> str:
    try:
        await sleep(3600)
    finally:
        await tidy("up")
    return "never"


async def test_a_cancelled_program_may_tidy_up_with_operations(home: Home) -> None:
    async with home.engine(careful) as engine, home.engine() as other:
        run = await engine.start(careful)
        await other.cancel(run.id, "enough")

        with pytest.raises(RunCancelled, match="enough"):
            await run.result()
        assert (await engine.replay(run.id)).identical
        assert await run.status() == "cancelled"
    assert tidied == ["up"]


async def test_a_program_may_refuse_to_be_cancelled(home: Home) -> None:
    @persona
    async def stubborn() -> str:
        try:
            await sleep(3600)
        except asyncio.CancelledError:
            return "no"
        return "slept"

    async with home.engine(stubborn) as engine:
        run = await engine.start(stubborn)
        await run.cancel()
        assert await run.result() == "no"
        assert (await engine.replay(run.id)).identical


# Sleeping and leaving memory.


class Big:
    """Something that a program holds while it waits."""


held: list[weakref.ref[Big]] = []


@persona
async def holds() -> str:
    big = Big()
    held.append(weakref.ref(big))
    word = await signal("word", str)
    return f"{word} {type(big).__name__}"


async def test_a_run_that_only_waits_leaves_memory_and_comes_back(home: Home) -> None:
    held.clear()
    async with home.engine(holds, suspend_after_s=0.0) as engine:
        run = await engine.start(holds)
        await until(partial(home.is_suspended, run.id))
        await asyncio.sleep(0.01)
        gc.collect()
        assert [ref() for ref in held] == [None]
        assert run.id not in engine.runners

        await run.signal("word", "back")

        assert await run.result() == "back Big"
        assert (await engine.replay(run.id)).identical


@persona
async def wakes() -> float:
    before = now()
    await sleep(0.08)
    await sleep_until(datetime(2020, 1, 1, tzinfo=UTC))
    return (now() - before).total_seconds()


@pytest.mark.parametrize("suspend_after_s", [0.0, 5.0])
async def test_a_sleep_lasts_as_long_as_it_says_in_memory_or_out_of_it(
    home: Home, suspend_after_s: float
) -> None:
    async with home.engine(wakes, suspend_after_s=suspend_after_s) as engine:
        run = await engine.start(wakes)

        assert 0.08 <= await run.result() < 0.6
        assert (await engine.replay(run.id)).identical
    assert ("run.suspended" in await home.types(run.id)) is (suspend_after_s == 0)


async def test_a_sleep_goes_on_in_another_engine(home: Home) -> None:
    async with home.engine(wakes, suspend_after_s=0.0) as engine:
        run = await engine.start(wakes)
        await asyncio.sleep(0.01)
    async with home.engine(wakes) as engine:
        await engine.recover()

        assert await engine.result(run.id) >= 0.08


@pytest.mark.parametrize("own", [True, False])
async def test_a_sleep_of_decades_can_be_suspended(home: Home, own: bool) -> None:
    @persona
    async def sleeps_long() -> None:
        await (sleep(9e8) if own else asyncio.sleep(1e12))

    async with home.engine(sleeps_long, suspend_after_s=0.0) as engine:
        run = await engine.start(sleeps_long)
        await until(partial(home.is_suspended, run.id))
        await run.cancel("too long")
        with pytest.raises(RunCancelled):
            await run.result()


async def test_a_wait_until_a_year_that_no_log_can_hold_fails(home: Home) -> None:
    @persona
    async def waits_for_ever() -> None:
        await sleep_until(datetime(9999, 1, 1, tzinfo=UTC))

    async with home.engine(waits_for_ever) as engine:
        with pytest.raises(RunFailed, match="before the year 2262"):
            await (await engine.start(waits_for_ever)).result()


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0])
@pytest.mark.parametrize("own", [True, False])
async def test_a_sleep_that_no_log_can_hold_fails_or_ends_or_can_be_cancelled(
    home: Home, seconds: float, own: bool
) -> None:
    @persona
    async def sleeps_wrongly() -> str:
        await (sleep(seconds) if own else asyncio.sleep(seconds))
        return "woken"

    async with home.engine(sleeps_wrongly, suspend_after_s=0.0) as engine:
        run = await engine.start(sleeps_wrongly)
        if not own and seconds < 0:
            assert await run.result() == "woken"
        elif not own and seconds > 0:
            # As in any loop: it waits until somebody cancels it.
            await run.cancel("enough")
            with pytest.raises(RunCancelled, match="enough"):
                await run.result()
        else:
            with pytest.raises(RunFailed):
                await run.result()


# Children.


@persona
async def small(n: int) -> int:
    if n < 0:
        raise ValueError("negative")
    await sleep(0.02)
    return n * n


@persona
async def parent(n: int) -> list[Any]:
    found: list[Any] = list(await asyncio.gather(child_run(small, n), child_run(small, n + 1)))
    try:
        await child_run(small, -1)
    except ChildFailed as error:
        found.append(str(error.failure.type))
    return found


@pytest.mark.parametrize("suspend_after_s", [0.0, 5.0])
async def test_children_are_runs_of_their_own(home: Home, suspend_after_s: float) -> None:
    async with home.engine(parent, small, suspend_after_s=suspend_after_s) as engine:
        run = await engine.start(parent, 3)

        assert await run.result() == [9, 16, "ValueError"]
        assert (await engine.replay(run.id)).identical
        assert len(await engine.store.heads("run")) == 4


async def test_a_resumed_parent_finds_its_children(home: Home) -> None:
    async with home.engine(parent, small) as engine:
        run = await engine.start(parent, 3)
        await asyncio.sleep(0.01)
    async with home.engine(parent, small) as engine:
        await engine.recover()

        assert await engine.result(run.id) == [9, 16, "ValueError"]
        assert len(await engine.store.heads("run")) == 4


async def test_a_run_that_meets_a_mistake_of_ours_keeps_no_other_waiting(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    @persona
    async def waits() -> str:
        await signal("go_on")
        return "went on"

    async with home.engine(waits) as engine:
        broken, whole = await engine.start(waits), await engine.start(waits)
        await asyncio.sleep(0.01)
    async with home.engine(waits) as engine:
        resume = engine.resume

        async def stumbles(run: str) -> Any:
            if run == broken.id:
                raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
            return await resume(run)

        monkeypatch.setattr(engine, "resume", stumbles)
        assert [run.id for run in await engine.recover()] == [whole.id]
        await engine.signal(whole.id, "go_on")
        assert await engine.result(whole.id) == "went on"


# Given up.


async def test_a_run_that_dies_again_and_again_is_parked(home: Home) -> None:
    if home.kind == "sqlite":
        pytest.skip("only a store in memory can be killed inside one process")

    @persona
    async def deadly() -> None:
        await sleep(3600)

    run = ""
    for _ in range(4):
        store = MemoryStore(log=home.log)
        engine = Engine(store, personas=[deadly], deaths_max=2)
        if not run:
            run = (await engine.start(deadly)).id
        else:
            await engine.recover()
        store.kill()
        for runner in list(engine.runners.values()):
            runner.machine.close()

    async with home.engine(deadly) as engine:
        assert await engine.status(run) == "parked"
        with pytest.raises(RunParked, match="3 times at 0/sleep#0"):
            await engine.result(run)

        await engine.resume(run)
        assert await engine.status(run) == "running"


async def test_a_missing_persona_is_named_before_anything_is_resumed(home: Home) -> None:
    async with home.engine(careful) as engine:
        run = await engine.start(careful)
        await asyncio.sleep(0.01)
    events = len(await home.events(run.id))

    async with home.engine(doubles) as engine:
        with pytest.raises(PersonaMissing, match="'careful' is needed by"):
            await engine.recover()
        assert await engine.recover(missing="skip") == []
        with pytest.raises(PersonaMissing):
            await engine.resume(run.id)
        with pytest.raises(PersonaMissing):
            await engine.replay(run.id)
    assert len(await home.events(run.id)) == events


async def test_a_failed_run_says_what_and_where(home: Home) -> None:
    @persona
    async def fails() -> None:
        await sleep(0)
        raise LookupError("nowhere")

    async with home.engine(fails) as engine:
        run = await engine.start(fails)
        with pytest.raises(RunFailed, match="LookupError: nowhere") as told:
            await run.result()
        assert isinstance(told.value.__cause__, LookupError)
        assert told.value.failure.site.function.endswith("fails")


kill_me: list[Callable[[], None]] = []


@tool(side_effect_level="read_only")
async def kills_who_looks() -> None:
    kill_me.pop()()
    await asyncio.sleep(60)


async def test_parking_names_a_repeatable_operation_though_its_intent_may_be_lost(home: Home) -> None:
    if home.kind == "sqlite":
        pytest.skip("only a store in memory can be killed inside one process")

    @persona
    async def looks() -> None:
        await kills_who_looks()

    run = ""
    for life in range(4):
        store = MemoryStore(log=home.log)
        engine = Engine(store, personas=[looks], deaths_max=2)
        kill_me[:] = [store.kill]
        if not run:
            run = (await engine.start(looks)).id
        else:
            await engine.recover()
        if life < 3:
            await until(lambda: not kill_me)
        for runner in list(engine.runners.values()):
            runner.lose(StoreError("its process was killed."))

    async with home.engine(looks) as engine:
        with pytest.raises(RunParked, match="3 times at 0/kills_who_looks#0"):
            await engine.result(run)
