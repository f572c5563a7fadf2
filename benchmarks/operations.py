"""Durable operations per second, beside raw SQLite in the same run.

    python benchmarks/operations.py            # a table
    python benchmarks/operations.py --json     # one document

Every figure is measured in a process of its own, on the same disk, in turn. Raw
SQLite has the engine's settings (WAL, synchronous FULL, 8 KiB pages) and is
checkpointed alike, every 1,000 frames or so; its groups of 100 are spread over 50
streams, as the events of 50 runs are. An operation is one tool call of class
`effect`: its intent is durable before its body starts. Read the ratios; the
absolute numbers are this machine's and this minute's. So a ratio is taken
between neighbours in time, and the median of all such pairs is shown. The pair of
single commits is taken three times a round, because a disk wavers most there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playhead import Engine, persona, tool
from playhead.log.driver import sqlite

FRAMES_PER_CHECKPOINT = 1_000
PAYLOAD = bytes(300)
EVENTS_PER_OPERATION = 2


@tool
async def touch(n: int) -> int:
    return n


@persona
async def sequential(count: int) -> int:
    total = 0
    for n in range(count):
        total += await touch(n)
    return total


# ---------------------------------------------------------------- raw SQLite


def raw(folder: Path, events: int, group: int, streams: int) -> dict[str, Any]:
    """Events per second of plain sqlite3, `group` of them per commit, in turn over `streams`."""
    db = sqlite.connect(folder / "raw.db", isolation_level=None)
    for pragma in ("page_size=8192", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        db.execute(f"pragma {pragma}").fetchall()
    db.execute(
        "create table events (position integer primary key autoincrement, stream integer not null,"
        " seq integer not null, type text not null, at integer not null, payload blob not null,"
        " digest blob not null, unique (stream, seq)) strict"
    )
    digest = bytes(32)
    frames = 0
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, events, group):
        rows = [
            (n % streams, n // streams, "tool.requested", n, PAYLOAD, digest)
            for n in range(first, first + group)
        ]
        db.execute("begin immediate")
        db.executemany(
            "insert into events (stream, seq, type, at, payload, digest) values (?, ?, ?, ?, ?, ?)", rows
        )
        db.execute("commit")
        frames += 2 + len(PAYLOAD) * group // 8192 * 2 + min(streams, group)
        if frames >= FRAMES_PER_CHECKPOINT:
            db.execute("pragma wal_checkpoint(passive)").fetchall()
            frames = 0
    seconds = time.perf_counter() - started
    return {"per_second": events / seconds, "cpu_us": (time.process_time() - cpu) / events * 1e6}


# -------------------------------------------------------------------- engine


async def _run(folder: Path, count: int, runs: int) -> dict[str, Any]:
    async with Engine.open(folder / "runs.db", personas=[sequential]) as engine:
        warm = await engine.start(sequential, 50)
        await warm.result()
        started, cpu = time.perf_counter(), time.process_time()
        handles = [await engine.start(sequential, count) for _ in range(runs)]
        for handle in handles:
            await handle.result()
        seconds = time.perf_counter() - started
        cpu = time.process_time() - cpu
    operations = count * runs
    return {
        "per_second": operations / seconds,
        "events_per_second": EVENTS_PER_OPERATION * operations / seconds,
        "cpu_us": cpu / operations * 1e6,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def engine_sequential(folder: Path, count: int) -> dict[str, Any]:
    """Operations per second of one run that awaits them one by one."""
    return asyncio.run(_run(folder, count, 1))


def engine_concurrent(folder: Path, count: int) -> dict[str, Any]:
    """Operations per second over 50 runs at once."""
    return asyncio.run(_run(folder, count // 50, 50))


def engine_replay(folder: Path, count: int) -> dict[str, Any]:
    """Replayed operations per second, reading the tape included."""

    async def through() -> dict[str, Any]:
        async with Engine.open(folder / "runs.db", personas=[sequential]) as engine:
            run = await engine.start(sequential, count)
            await run.result()
            best = []
            for _ in range(5):
                started, cpu = time.perf_counter(), time.process_time()
                outcome = await engine.replay(run.id)
                assert outcome.identical, outcome
                best.append((time.perf_counter() - started, time.process_time() - cpu))
            seconds = statistics.median(second for second, _ in best)
            return {
                "per_second": count / seconds,
                "cpu_us": statistics.median(c for _, c in best) / count * 1e6,
            }

    return asyncio.run(through())


RAW_ONE = "raw SQLite, one event per commit"
RAW_HUNDRED = "raw SQLite, groups of 100 over 50 streams"
ONE = "engine, sequential"
FEW = "engine, sequential, 1,000"
MANY = "engine, sequential, 100,000"
FIFTY = "engine, 50 runs at once"
REPLAY = "engine, replay"

MEASURES: dict[str, tuple[Callable[..., dict[str, Any]], tuple[int, ...]]] = {
    RAW_ONE: (raw, (10_000, 1, 1)),
    RAW_HUNDRED: (raw, (100_000, 100, 50)),
    ONE: (engine_sequential, (10_000,)),
    FEW: (engine_sequential, (1_000,)),
    MANY: (engine_sequential, (100_000,)),
    FIFTY: (engine_concurrent, (50_000,)),
    REPLAY: (engine_replay, (10_000,)),
}
ROUND = (RAW_ONE, ONE, RAW_ONE, ONE, RAW_ONE, ONE, REPLAY, RAW_HUNDRED, FIFTY, FEW, MANY)


def measure(name: str, where: Path) -> dict[str, Any]:
    """One measure, in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-bench-", dir=where))
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, "--folder", str(folder)],
            check=True,
            capture_output=True,
            text=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def against(rows: list[tuple[str, dict[str, Any]]], one: str, other: str, figure: str) -> float:
    """The median of `figure` of `one` over that of `other`, each beside the last one before it."""
    found: list[float] = []
    last: float | None = None
    for name, row in rows:
        if name == other:
            last = row[figure]
        elif name == one and last is not None:
            found.append(row[figure] / last)
    return statistics.median(found)


def ratios(rows: list[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What was promised, and what was found."""
    return {
        "sequential ÷ raw single-event commits": {
            "at_least": 0.55,
            "found": against(rows, ONE, RAW_ONE, "per_second"),
        },
        "50 runs, events ÷ raw events in groups of 100": {
            "at_least": 0.18,
            "found": EVENTS_PER_OPERATION * against(rows, FIFTY, RAW_HUNDRED, "per_second"),
        },
        "replayed operations ÷ raw single-event commits": {
            "at_least": 60_000 / 5_500,
            "found": against(rows, REPLAY, RAW_ONE, "per_second"),
        },
        "resident memory for 10,000 operations, MB": {
            "at_most": 60,
            "found": statistics.median(row["rss_mb"] for name, row in rows if name == ONE),
        },
        "CPU per operation, 100,000 ÷ 1,000 operations": {
            "at_most": 1.15,
            "found": against(rows, MANY, FEW, "cpu_us"),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one document")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all measures (median is shown)")
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()), help="on which disk")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        function, arguments = MEASURES[options.one]
        print(json.dumps(function(options.folder, *arguments)))
        return
    rows = [(name, measure(name, options.where)) for name in ROUND * options.rounds]
    found = {name: median([row for each, row in rows if each == name]) for name in MEASURES}
    marks = ratios(rows)
    if options.json:
        print(json.dumps({"schema": "playhead.benchmark/1", "figures": found, "ratios": marks}, indent=2))
        return
    print(f"{'':44}{'per second':>12}{'CPU us':>9}{'RSS MB':>8}")
    for name, row in found.items():
        rss = f"{row['rss_mb']:8.1f}" if "rss_mb" in row else ""
        print(f"{name:44}{row['per_second']:12,.0f}{row['cpu_us']:9.1f}{rss}")
    print()
    for name, mark in marks.items():
        bound = f"at least {mark['at_least']:.2f}" if "at_least" in mark else f"at most {mark['at_most']:.2f}"
        print(f"{name:52}{mark['found']:8.2f}   ({bound})")


if __name__ == "__main__":
    main()
