"""A replay that must agree."""

from __future__ import annotations

from playhead.replay.engine import Engine
from playhead.replay.player import Outcome


async def assert_replays(engine: Engine, run: str) -> Outcome:
    """Replay `run` and raise `AssertionError` with the whole report unless it is identical."""
    outcome = await engine.replay(run)
    if not outcome.identical:
        raise AssertionError(str(outcome.divergence or f"run {run} is {outcome.verdict}"))
    return outcome
