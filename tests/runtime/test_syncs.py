"""An operation costs one sync, and concurrent operations share it.

Every group that the store commits is one sync of the WAL; that this is so is
counted at the system calls in tests/powerloss.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from playhead import Engine, persona, tool
from playhead.log.sqlite_store import SqliteStore

OPERATIONS = 60
RUNS = 50


@tool
async def touch(n: int) -> int:
    return n


@tool(side_effect_level="read_only")
async def look(n: int) -> int:
    return n


@persona
async def touching(count: int) -> int:
    return sum([await touch(n) for n in range(count)])


@persona
async def looking(count: int) -> int:
    return sum([await look(n) for n in range(count)])


def groups(engine: Engine) -> int:
    store = engine.store
    assert isinstance(store, SqliteStore)
    return store.statistics().groups


async def test_a_sequential_effect_costs_one_sync(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db") as engine:
        await (await engine.start(touching, 1)).result()
        before = groups(engine)

        await (await engine.start(touching, OPERATIONS)).result()

        # The start, and one for each outcome together with the next intent.
        assert OPERATIONS + 1 <= groups(engine) - before <= OPERATIONS + 3


async def test_a_sequential_look_costs_one_sync_at_most(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db") as engine:
        await (await engine.start(looking, 1)).result()
        before = groups(engine)

        await (await engine.start(looking, OPERATIONS)).result()

        assert groups(engine) - before <= OPERATIONS + 3


async def test_fifty_runs_share_their_syncs(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db") as engine:
        await (await engine.start(touching, 1)).result()
        before = groups(engine)

        runs = await asyncio.gather(*(engine.start(touching, OPERATIONS) for _ in range(RUNS)))
        await asyncio.gather(*(run.result() for run in runs))

        # Where they start one after another, each start lets the others go on in groups of their own.
        assert groups(engine) - before <= OPERATIONS * RUNS / 10
