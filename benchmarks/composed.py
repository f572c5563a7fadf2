"""Calls per second of compose() in a run: live, on a log on disk, and played again from it.

    measures(folder)["composition, replayed calls, worker"]()     # calls per second

A live call is a tool call of the run: it is checked against its schemas, asked of the host, and recorded as
two events. When it is played again the snippet runs anew, and no host is called.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from playhead import (
    CallableHost,
    CompositionLimits,
    Engine,
    ManifestOptions,
    build_manifest,
    compose,
    persona,
)

TOOLS = [
    {
        "name": "echo",
        "inputSchema": {
            "type": "object",
            "properties": {"value": {"type": "integer"}},
            "required": ["value"],
        },
        "annotations": {"kind": "read", "side_effect_level": "read_only"},
    }
]
MANIFEST = build_manifest(TOOLS, ManifestOptions(side_effect_ceiling="read_only"))
SEQUENTIAL = "for i in range({count}):\n    echo(value=i)\nreturn {count}"
AT_ONCE = "return map_bounded(list(range({count})), lambda i: echo(value=i), concurrency=16)['succeeded']"
LIMITS = CompositionLimits(
    max_operations=1_000_000,
    timeout_ms=None,
    max_steps=100_000_000,
    max_concurrent_operations=16,
    max_concurrent_per_server=16,
)
REPLAYS = 3

Where = Literal["worker", "in_process"]


async def echo(_: str, arguments: dict[str, Any]) -> int:
    value: int = arguments["value"]
    return value


@persona
async def composing(source: str, count: int, where: Where) -> int:
    snippet = source.format(count=count)
    done = await compose(snippet, MANIFEST, CallableHost(echo), limits=LIMITS, engine=where)
    value: int = done.value()
    return value


async def live(folder: Path, source: str, count: int, where: Where) -> float:
    async with Engine.open(folder / "runs.db", personas=[composing]) as engine:
        assert await (await engine.start(composing, source, 20, where)).result() == 20
        started = time.perf_counter()
        run = await engine.start(composing, source, count, where)
        assert await run.result() == count
        return count / (time.perf_counter() - started)


async def replayed(folder: Path, source: str, count: int, where: Where) -> float:
    async with Engine.open(folder / "runs.db", personas=[composing]) as engine:
        run = await engine.start(composing, source, count, where)
        assert await run.result() == count
        seconds: list[float] = []
        for _ in range(REPLAYS):
            started = time.perf_counter()
            outcome = await engine.replay(run.id)
            seconds.append(time.perf_counter() - started)
            assert outcome.identical, outcome
        return count / statistics.median(seconds)


def measures(where: Path) -> dict[str, Callable[[], float]]:
    """What is measured, by name. Each has a log of its own, in a new folder in `where`."""

    def in_a_folder(measure: Callable[..., Any], source: str, machine: Where) -> Callable[[], float]:
        def measured() -> float:
            with tempfile.TemporaryDirectory(prefix="playhead-bench-", dir=where) as folder:
                found: float = asyncio.run(measure(Path(folder), source, 2_000, machine))
                return found

        return measured

    return {
        "composition, live calls, worker": in_a_folder(live, SEQUENTIAL, "worker"),
        "composition, live calls, here": in_a_folder(live, SEQUENTIAL, "in_process"),
        "composition, live calls, worker, 16 at once": in_a_folder(live, AT_ONCE, "worker"),
        "composition, live calls, here, 16 at once": in_a_folder(live, AT_ONCE, "in_process"),
        "composition, replayed calls, worker": in_a_folder(replayed, SEQUENTIAL, "worker"),
        "composition, replayed calls, here": in_a_folder(replayed, SEQUENTIAL, "in_process"),
    }
