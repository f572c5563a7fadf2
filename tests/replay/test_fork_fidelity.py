"""What is judged of a fork is what is written: patches, times, and what was erased of its source."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from playhead import Engine, now, patched, persona, sleep, tool
from playhead.errors import ForkUnavailable
from playhead.log.memory_store import MemoryLog
from playhead.replay.edits import Edits
from tests.replay import prefixes
from tests.replay.forked import events, facts, plain, seq_of, words
from tests.replay.prefixes import cut

DONE: list[str] = []
KEYS = iter(range(1_000_000))


@tool(effect="read_only")
async def look(place: str) -> str:
    return f"<{place}>"


@tool(effect="read_only")
async def note(text: str) -> str:
    DONE.append(text)
    return text


@persona
async def tidies(place: str) -> list[str]:
    return [await look(place), await note("old"), await note("end")]


async def guarded(place: str) -> list[str]:
    found = await look(place)
    if patched("sweep"):
        return [found, await note("new"), await note("end")]
    return [found, await note("old"), await note("end")]


@contextmanager
def changed(one: Any, function: Any) -> Generator[None]:
    """The program of a persona is another one for a while."""
    before, one.function = one.function, function
    try:
        yield
    finally:
        one.function = before


def play(log: MemoryLog, work: Any, *, begins_s: float = 0) -> Any:
    DONE.clear()
    return prefixes.play(log, work, begins_s=begins_s, personas=[tidies, dated])


def recorded(one: Any, *args: Any) -> tuple[MemoryLog, str]:
    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(one, *args)
        await run.result()
        return run.id

    return log, play(log, once)


def fork(log: MemoryLog, run: str, *, begins_s: float = 0, **wish: Any) -> Any:
    async def work(engine: Engine) -> Any:
        made = await engine.fork(run, key=f"fork {next(KEYS)}", allow=["all"], **wish)
        result = await made.result()
        replayed = await engine.replay(made.id)
        assert replayed.identical, str(replayed.divergence)
        return made.id, result

    return play(log, work, begins_s=begins_s)


# ---------------------------------------------------------------------- patches


@pytest.mark.parametrize("mode", ["exact", "with_overrides", "from_checkpoint"])
def test_a_fork_past_a_patch_that_its_source_did_not_take_does_not_take_it(mode: str) -> None:
    log, run = recorded(tidies, "home")
    at = seq_of(log, run, "tool.requested", "note#0")

    with changed(tidies, guarded):
        made, result = fork(log, run, at=at, mode=mode)

    assert result == ["<home>", "old", "end"]
    assert DONE == ["old", "end"]
    assert words(log, made).passed == ("0/patched[sweep]",)


def test_a_patch_that_the_source_had_not_come_to_is_new_in_a_fork() -> None:
    log, run = recorded(tidies, "home")
    at = seq_of(log, run, "tool.completed", "look#0")

    with changed(tidies, guarded):
        made, result = fork(log, run, at=at)

    assert result == ["<home>", "new", "end"]
    assert words(log, made).passed == ()


def test_a_fork_that_comes_to_a_patch_another_way_does_as_its_source() -> None:
    log, run = recorded(tidies, "home")

    with changed(tidies, guarded):
        _, edited = fork(log, run, edits=Edits(args={"place": "sea"}))
        _, early = fork(log, run, at=1, edits=Edits(args={"place": "sea"}))

    assert edited == ["<sea>", "old", "end"]
    assert early == ["<sea>", "new", "end"]


def test_a_fork_stays_on_its_branch_when_it_dies_and_when_it_is_forked() -> None:
    log, run = recorded(tidies, "home")
    at = seq_of(log, run, "tool.requested", "note#0")

    with changed(tidies, guarded):
        made, _ = fork(log, run, at=at)
        for n in range(words(log, made).events + 1, len(events(log, made))):

            async def again(engine: Engine) -> Any:
                await engine.recover()
                return await engine.handle(made).result()

            assert play(cut(log, made, n), again) == ["<home>", "old", "end"], n

        async def second(engine: Engine) -> Any:
            twice = await engine.fork(made, at=words(log, made).events, key="twice")
            return await twice.result()

        assert play(log, second) == ["<home>", "old", "end"]


# ------------------------------------------------------------------------- time


@persona
async def dated(limit: int) -> str:
    await look("clock")
    if limit:
        await sleep(limit)
    return await note(f"{now():%H:%M}")


def test_what_is_told_last_comes_when_it_came_where_the_tape_depends_on_it() -> None:
    log, run = recorded(dated, 60)
    before = plain(facts(log, run, "tool.requested")[-1].args)
    at = seq_of(log, run, "tool.requested", "note#0")

    made, result = fork(log, run, at=at, begins_s=36_000)
    _, later = fork(log, run, at=at - 1, begins_s=36_000)

    assert plain(facts(log, made, "tool.requested")[-1].args) == before == {"text": result}
    assert later != result


def test_an_exact_fork_says_which_event_the_program_does_not_come_to() -> None:
    async def less(place: str) -> list[str]:
        return list(await asyncio.gather(look(place)))

    @persona
    async def both(place: str) -> list[str]:
        return list(await asyncio.gather(look(place), note(place)))

    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(both, "home")
        await run.result()
        return run.id

    run = prefixes.play(log, once, personas=[both])
    at = seq_of(log, run, "tool.requested", "note#0")

    async def again(engine: Engine) -> Any:
        with pytest.raises(ForkUnavailable, match=r"does not come to tool.requested 0.2/note#0 of event 3"):
            await engine.fork(run, at=at)

    with changed(both, less):
        prefixes.play(log, again, personas=[both])
