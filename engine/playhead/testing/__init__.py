"""For tests of programs: a clock to turn, a model with lines, and a replay that must agree.

    clock = TurnedClock()
    async with Engine.open(path, personas=[audit], model=ScriptedModel(["yes"]), clock=clock) as engine:
        run = await engine.start(audit, ["a"])
        clock.turn(hours=24)
        await run.result()
        await assert_replays(engine, run.id)
        assert (await spent(engine, run.id)).tokens < 1_000

Stores are real files in tests too: a fake log would test the fake. `MemoryStore` is the model of the
store for simulations that play thousands of runs: it gives the same answers, and can be killed.
"""

from __future__ import annotations

from playhead.log.memory_store import MemoryLog as MemoryLog
from playhead.log.memory_store import MemoryStore as MemoryStore
from playhead.testing.clock import TurnedClock as TurnedClock
from playhead.testing.files import guard_live_files as guard_live_files
from playhead.testing.model import ScriptedModel as ScriptedModel
from playhead.testing.replays import assert_replays as assert_replays
from playhead.testing.spending import Spent as Spent
from playhead.testing.spending import priced as priced
from playhead.testing.spending import spent as spent

__all__ = [
    "MemoryLog",
    "MemoryStore",
    "ScriptedModel",
    "Spent",
    "TurnedClock",
    "assert_replays",
    "guard_live_files",
    "priced",
    "spent",
]
