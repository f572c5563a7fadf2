"""Where state is kept from: a run, its tools, its hooks, and beside them; and what policies make of it."""

import asyncio
from typing import Any

import pytest

from playhead import (
    ApprovalRules,
    ArgConstraint,
    Engine,
    Moment,
    Policy,
    RunFailed,
    State,
    ToolRejected,
    hook,
    persona,
    state,
    step,
    tool,
)
from playhead.errors import BadValue, OutsideRun
from playhead.events import state as facts
from tests.runtime.conftest import Home


async def written(engine: Engine, key: str) -> list[Any]:
    events = await engine.store.read(f"state/notes/s1/{key}", 0, 100)
    found = [engine.catalog.decode(event) for event in events]
    return [fact for fact in found if isinstance(fact, facts.StateWritten)]


@tool(side_effect_level="workspace_write")
async def jots(text: str) -> list[int]:
    notes = await state("notes", "s1", conflict_policy="error")
    return [(await notes.write("k", f"{text} {n}")).version for n in range(2)]


async def test_a_tool_keeps_state_in_the_log_of_its_own_engine_in_the_name_of_its_run(home: Home) -> None:
    @persona
    async def calls() -> Any:
        notes = await state("notes", "s1", conflict_policy="error")
        await notes.write("k", "first")
        found = await jots("from a tool")  # the run and its tool are one writer
        await notes.write("k", "last")
        return [found, await notes.read("k")]

    async with home.engine(calls) as engine:
        run = await engine.start(calls)
        assert await run.result() == [[2, 3], "last"]
        (await engine.replay(run.id)).check()
        told = await written(engine, "k")
    assert [fact.run for fact in told] == [run.id] * 4
    assert [fact.op for fact in told] == ["0/state.write#0", "0/jots#0", "0/jots#0", "0/state.write#1"]
    assert {fact.writer.writer_id for fact in told} == {run.id}


async def test_without_a_session_a_tool_keeps_state_in_that_of_its_run(home: Home) -> None:
    @tool(side_effect_level="workspace_write")
    async def opens() -> str:
        return (await state("notes")).place.session

    @persona
    async def calls() -> list[str]:
        return [await opens(), (await state("notes")).place.session]

    async with home.engine(calls) as engine:
        run = await engine.start(calls)
        assert await run.result() == [run.id, run.id]


async def test_a_hook_keeps_state_in_the_log_of_its_engine_too(home: Home) -> None:
    @hook("PostStep")
    async def notes_it(moment: Moment) -> None:
        await (await state("notes", "s1")).write("k", moment.output)

    @step
    async def works() -> str:
        return "done"

    @persona
    async def calls() -> str:
        return await works()

    async with home.engine(calls, hooks=[notes_it]) as engine:
        run = await engine.start(calls)
        await run.result()
        (told,) = await written(engine, "k")
    assert (told.run, told.writer.writer_id) == (run.id, run.id)


async def test_in_a_run_state_is_kept_in_its_own_log_and_in_no_other(home: Home) -> None:
    async with home.engine() as other:
        beside = await state("notes", "s1", engine=other)

        @persona
        async def names_an_engine() -> None:
            await state("notes", "s1", engine=other)

        @persona
        async def takes_one_along() -> None:
            await beside.write("k", "as somebody else")

        async with home.engine(names_an_engine, takes_one_along) as engine:
            for program, said in (
                (names_an_engine, "keeps state in the log of the run"),
                (takes_one_along, "was opened beside the runs"),
            ):
                with pytest.raises(RunFailed, match=said):
                    await (await engine.start(program)).result()
        assert await beside.list() == []


async def test_a_tool_of_one_engine_that_names_another_writes_there_as_its_process(home: Home) -> None:
    others: list[Engine] = []

    @tool(side_effect_level="workspace_write")
    async def elsewhere() -> None:
        await (await state("notes", "s1", engine=others[0])).write("k", "x")

    @persona
    async def calls() -> None:
        await elsewhere()

    async with home.engine() as other, home.engine(calls) as engine:
        others.append(other)
        await (await engine.start(calls)).result()
        (told,) = await written(other, "k")
    assert (told.run, told.writer.writer_id) == (None, other.store.worker)


async def test_a_plain_function_beside_an_engine_has_to_name_it(home: Home) -> None:
    async with home.engine():
        with pytest.raises(OutsideRun, match="needs the engine"):
            await jots("outside")


async def test_a_blocking_tool_is_told_that_only_async_ones_keep_state(home: Home) -> None:
    @tool(side_effect_level="workspace_write")
    def blocks() -> None:
        async def go() -> None:
            await (await state("notes", "s1")).write("k", "x")

        asyncio.run(go())

    @persona
    async def calls() -> None:
        await blocks()

    async with home.engine(calls) as engine:
        run = await engine.start(calls)
        async with asyncio.timeout(20):
            with pytest.raises(RunFailed, match="keep it from an async tool"):
                await run.result()


async def test_a_name_that_no_text_can_hold_is_refused_in_our_words(home: Home) -> None:
    async with home.engine() as engine:
        for root, session in (("\ud800", "s"), ("r", "\ud800")):
            with pytest.raises(BadValue):
                await state(root, session, engine=engine)
            with pytest.raises(BadValue):
                State.of({"_type": "state_handle", "root": root, "session_id": session})


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        (Policy(workspace_roots=["src"]), ""),
        (Policy(approval=ApprovalRules(write_paths=["src/*"])), ""),
        (Policy(capabilities={"state": None}), ""),
        (Policy(capabilities={"state": ["read"]}), "state.init"),
        (Policy(capabilities={"fs": ["read"]}), "state.init"),
        (Policy(tool_arg_constraints=[ArgConstraint(tool="*", arg_patterns=["src/*"])]), ""),
        (
            Policy(tool_arg_constraints=[ArgConstraint(tool="*", arg_key="key", arg_patterns=["src/*"])]),
            "state.write",
        ),
        (Policy(side_effect_level="read_only"), "state.init"),
    ],
)
async def test_keys_are_no_paths_of_a_workspace_and_need_the_capability_state(
    home: Home, policy: Policy, refused: str
) -> None:
    @persona(policy=policy)
    async def writes() -> str:
        try:
            notes = await state("notes", "s1")
            await notes.write("src/plan.md", "x")
            await notes.write("plan.md", "x")
        except ToolRejected as error:
            return error.tool
        return ""

    async with home.engine(writes) as engine:
        assert await (await engine.start(writes)).result() == refused
