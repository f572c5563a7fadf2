"""A fork and state: what the run changed itself is not what its source had read."""

from typing import Any

import pytest

from playhead import Engine, persona, state, tool
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.replay.edits import Edits


@tool(effect="read_only")
async def look(place: str) -> str:
    return f"<{place}>"


@persona
async def notes_down(session: str) -> list[Any]:
    notes = await state("notes", session)
    await notes.write("plan", await look("first"))
    await look("second")
    return [await notes.read("plan"), await notes.list()]


def engine(log: MemoryLog, *personas: Any, **options: Any) -> Any:
    return Engine.open(MemoryStore(log=log), personas=personas, **options)


@pytest.mark.parametrize("edited", ["look#0", "look#1"])
async def test_what_a_fork_wrote_otherwise_it_reads_otherwise(edited: str) -> None:
    log = MemoryLog()
    async with engine(log, notes_down) as live:
        run = await live.start(notes_down, "shared")
        assert await run.result() == ["<first>", ["plan"]]

        edits = Edits(outcomes={edited: "edited"})
        fork = await live.fork(run.id, edits=edits, allow=["state"])

        wrote = "edited" if edited == "look#0" else "<first>"
        assert await fork.result() == [wrote, ["plan"]]
        assert (await live.replay(fork.id)).identical


async def test_an_answer_that_is_kept_ready_is_not_for_what_was_written_otherwise() -> None:
    log = MemoryLog()

    @persona
    async def copies() -> list[Any]:
        notes = await state("notes", "shared")
        await notes.write("plan", await look(await look("first")))
        return [await notes.read("plan"), await notes.read("other")]

    async with engine(log, copies) as live:
        run = await live.start(copies)
        assert await run.result() == ["<<first>>", None]
        await (await state("notes", "shared", engine=live)).write("other", "new since")
        edits = Edits(outcomes={"look#0": "edited"})

        plan = await live.plan_fork(run.id, edits=edits, allow=["state"])
        fork = await live.fork(run.id, edits=edits, allow=["state"])

        assert [each.op for each in plan.imagined.live] == ["0/look#1"]
        assert {"0/state.read#0", "0/state.read#1"} <= set(plan.started.prepared or ())
        assert await fork.result() == ["<edited>", None]
        assert (await live.replay(fork.id)).identical
