"""A long run is forked like a short one: whole, cut and edited. All of it, 100,000 events, is marked long."""

import asyncio
import threading
from pathlib import Path

import pytest

from playhead import Engine, persona, tool
from playhead.replay.edits import Edits
from tests.long_run import Oracle, recorded, survey_wards


@pytest.mark.timeout(600)
@pytest.mark.parametrize("events", [1_500, pytest.param(100_000, marks=pytest.mark.long)])
async def test_a_long_run_is_forked_whole_cut_and_edited(tmp_path: Path, events: int) -> None:
    store = tmp_path / "runs.db"
    run = await asyncio.to_thread(recorded, store, events)

    async with Engine.open(store, personas=[survey_wards], model=Oracle()) as engine:
        result = await engine.handle(run).result()
        length = (await engine.store.head(f"run/{run}")).seq
        asked = "0/map#0/item[0]/ward#0/oracle#0"

        whole = await engine.fork(run, key="whole")
        cut = await engine.fork(run, key="cut", at=length - 200, allow=["publish", "state", "model"])
        edited = await engine.fork(run, key="edited", edits=Edits(outcomes={asked: "hm"}), allow=["all"])
        plan = await engine.plan_fork(run, edits=Edits(outcomes={asked: "hm"}))

        assert [await each.result() for each in (whole, cut, edited)] == [result] * 3
        assert (await engine.store.head(f"run/{whole.id}")).seq > events * 0.9
        assert [(live.name, live.why) for live in plan.imagined.live] == [("state.write", "changed")]
        assert (await engine.store.verify()).ok


WHERE: list[int] = []


@tool(effect="pure")
async def count(n: int) -> int:
    return n


@persona
async def counts(many: int) -> int:
    WHERE.append(threading.get_ident())
    return sum(await asyncio.gather(*(count(n) for n in range(many))))


@pytest.mark.parametrize(("many", "beside"), [(10, False), (600, True)])
async def test_a_long_plan_is_made_beside_the_loop_so_that_other_runs_keep_their_leases(
    tmp_path: Path, many: int, beside: bool
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[counts]) as engine:
        run = await engine.start(counts, many)
        await run.result()
        WHERE.clear()

        await engine.plan_fork(run.id)

    assert {ident != threading.get_ident() for ident in WHERE} == {beside}
