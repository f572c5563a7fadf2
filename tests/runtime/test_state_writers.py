"""Who writes state, in a run and beside one, and what becomes of writing over another."""

from typing import Any

import msgspec
import pytest
import structlog
import structlog.testing

from playhead import StateConflict, persona, state, step
from playhead.agent_state import writers
from tests.runtime.conftest import Home


async def test_the_writer_of_a_run_is_the_run_in_its_step_and_of_a_process_the_process(home: Home) -> None:
    @step
    async def notes_it() -> None:
        await (await state("notes", "s1")).write("k", "by a step")

    @persona
    async def writes() -> str:
        await notes_it()
        entry = await (await state("notes", "s1")).entry("k")
        assert entry is not None
        return msgspec.json.encode(entry.writer).decode()

    async with home.engine(writes) as engine:
        run = await engine.start(writes)
        assert msgspec.json.decode(await run.result()) == {
            "writer_id": run.id,
            "stage_id": "notes_it",
            "session_id": "s1",
            "worker_id": run.id,
        }
        mine = await state("notes", "s1", engine=engine)
        assert mine.writer.writer_id == engine.store.worker


@pytest.mark.parametrize("blank", ["", "  ", "\t\n"])
async def test_a_blank_name_of_a_writer_counts_as_none(home: Home, blank: str) -> None:
    names: dict[str, Any] = dict.fromkeys(("writer_id", "stage_id", "worker_id"), blank)

    @persona
    async def opens() -> Any:
        return (await state("notes", "s1", **names)).handle["writer"]

    async with home.engine(opens) as engine:
        run = await engine.start(opens)
        own = {"writer_id": run.id, "stage_id": "opens", "session_id": "s1", "worker_id": run.id}
        assert await run.result() == own
        writer = (await state("notes", "s1", engine=engine, **names)).writer
        assert writer == (await state("notes", "s1", engine=engine)).writer
        assert writer.writer_id == engine.store.worker


async def test_what_a_writer_is_said_to_be_goes_before_the_run_and_its_step(home: Home) -> None:
    @persona
    async def opens() -> list[Any]:
        worker = (await state("notes", "s1", worker_id=" w ")).writer
        stage = (await state("notes", "s1", stage_id="st")).writer
        name = (await state("notes", "s1", writer_id="n", stage_id="st", worker_id="w")).writer
        return [worker.writer_id, worker.worker_id, stage.stage_id, list(writers.document(name).values())]

    async with home.engine(opens) as engine:
        run = await engine.start(opens)
        assert await run.result() == ["w", "w", "st", ["n", "st", "s1", "w"]]
        (await engine.replay(run.id)).check()


async def test_two_runs_of_one_session_conflict_without_a_word_about_who_they_are(home: Home) -> None:
    @persona
    async def writes(policy: str) -> str:
        notes = await state("notes", "s1", conflict_policy=policy)
        try:
            return "conflict" if (await notes.write("k", policy)).conflict else "fine"
        except StateConflict as error:
            return error.message

    async with home.engine(writes) as engine:
        first = await engine.start(writes, "error")
        assert await first.result() == "fine"
        second = await engine.start(writes, "error")
        assert await second.result() == (
            f"key 'k' was previously written by '{first.id}' and is now being written by '{second.id}'"
        )
        assert await (await engine.start(writes, "warn")).result() == "conflict"
        assert await (await engine.start(writes, "ignore")).result() == "conflict"
        assert (await engine.replay(second.id)).identical
        events = await engine.store.read("state/notes/s1/k", 0, 100)
    assert [event.type for event in events] == [
        "state.written",
        "state.conflict_detected",
        "state.conflict_detected",
        "state.written",
        "state.conflict_detected",
        "state.written",
    ]


async def test_a_conflict_under_warn_is_logged_with_key_and_writers(home: Home) -> None:
    async with home.engine() as engine:
        mine = await state("notes", "s1", conflict_policy="warn", writer_id="a", engine=engine)
        yours = await state("notes", "s1", conflict_policy="warn", writer_id="b", engine=engine)
        with structlog.testing.capture_logs() as logged:
            await mine.write("k", "a")
            await yours.write("k", "b")
            await yours.write("k", "c")
    (warning,) = logged
    assert warning["event"] == "state.conflict"
    assert (warning["key"], warning["previous_writer"], warning["current_writer"]) == ("k", "a", "b")


async def test_a_conflict_that_is_ignored_is_not_logged_and_a_replay_logs_none_again(home: Home) -> None:
    @persona
    async def writes(policy: str) -> list[Any]:
        notes = await state("notes", "s1", conflict_policy=policy)
        return [(await notes.write("k", policy)).conflict, await notes.read("k")]

    async with home.engine(writes) as engine:
        for policy, warnings in (("ignore", []), ("off", []), ("warn", ["state.conflict"])):
            await (await state("notes", "s1", engine=engine)).write("k", "somebody else's")
            with structlog.testing.capture_logs() as logged:
                run = await engine.start(writes, policy)
                assert await run.result() == [True, policy]
            assert [line["event"] for line in logged] == warnings
            with structlog.testing.capture_logs() as logged:
                assert (await engine.replay(run.id)).identical
            assert logged == []


async def test_two_engines_are_two_writers_and_a_name_that_is_given_is_one(home: Home) -> None:
    async with home.engine() as one, home.engine() as other:
        a = await state("notes", "s1", conflict_policy="error", engine=one)
        b = await state("notes", "s1", conflict_policy="error", engine=other)
        await a.write("k", "a")
        with pytest.raises(StateConflict):
            await b.write("k", "b")
        c = await state("notes", "s1", conflict_policy="error", writer_id="us", engine=one)
        d = await state("notes", "s1", conflict_policy="error", writer_id="us", engine=other)
        await c.write("ours", "c")
        assert (await d.write("ours", "d")).version == 2
