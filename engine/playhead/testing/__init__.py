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

With pytest, a recorded run is a test: `playhead_replay("nightly.jsonl", audit)`. Names are loaded on
first use, so that pytest finds the plugin without loading what runs programs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playhead.log.memory_store import MemoryLog as MemoryLog
    from playhead.log.memory_store import MemoryStore as MemoryStore
    from playhead.testing.clock import TurnedClock as TurnedClock
    from playhead.testing.files import guard_live_files as guard_live_files
    from playhead.testing.model import ScriptedModel as ScriptedModel
    from playhead.testing.plugin import PlayheadReplay as PlayheadReplay
    from playhead.testing.plugin import playhead_fixtures as playhead_fixtures
    from playhead.testing.replayed import Replayed as Replayed
    from playhead.testing.replays import assert_replays as assert_replays
    from playhead.testing.spending import Spent as Spent
    from playhead.testing.spending import priced as priced
    from playhead.testing.spending import spent as spent

_WHERE = {
    "MemoryLog": "playhead.log.memory_store",
    "MemoryStore": "playhead.log.memory_store",
    "PlayheadReplay": "playhead.testing.plugin",
    "Replayed": "playhead.testing.replayed",
    "ScriptedModel": "playhead.testing.model",
    "Spent": "playhead.testing.spending",
    "TurnedClock": "playhead.testing.clock",
    "assert_replays": "playhead.testing.replays",
    "guard_live_files": "playhead.testing.files",
    "playhead_fixtures": "playhead.testing.plugin",
    "priced": "playhead.testing.spending",
    "spent": "playhead.testing.spending",
}

__all__ = [
    "MemoryLog",
    "MemoryStore",
    "PlayheadReplay",
    "Replayed",
    "ScriptedModel",
    "Spent",
    "TurnedClock",
    "assert_replays",
    "guard_live_files",
    "playhead_fixtures",
    "priced",
    "spent",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'playhead.testing' has no attribute {name!r}")
    value = getattr(import_module(where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
