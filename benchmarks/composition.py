"""Snippets per second, in this process and in the worker, beside a plain loop of Python in the same run.

    python benchmarks/composition.py            # a table
    python benchmarks/composition.py --json     # one document

The rows of `here` and `worker` touch no disk: they are the machine alone, and what lies between it and the
worker. Those of `composition` are whole runs, on a log on disk: see `composed`. Those of `monty` are another
machine, where it is installed: see `beside`. A machine is busier at some minutes than at others, so every
figure is also told as a ratio: how many turns of a plain loop (`total += i % 7`) take as long as one of it,
both measured in turn, and the median of all rounds is shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import beside
import composed

from playhead.composition.machines import Workers, in_process
from playhead.snippet.check import check
from playhead.snippet.protocol import Call, Limits, Ok, SnippetVM, ToolBinding

BINDINGS = {"echo": ToolBinding(("value",), ("value",))}
LIMITS = Limits(max_steps=100_000_000, max_cells=400_000_000)
TURNS = 2_000_000
SMALL = """
hits = [{"path": "a", "n": 3}, {"path": "b", "n": 5}]
total = 0
for hit in hits:
    total += hit["n"]
return {"total": total, "paths": [hit["path"] for hit in hits]}
"""
SEQUENTIAL = "for i in range({count}):\n    echo(value=i)\nreturn i"
AT_ONCE = "return map_bounded(list(range({count})), lambda i: echo(value=i), concurrency=100)['succeeded']"
LOOP = "total = 0\nfor i in range({count}):\n    total += i\nreturn total"

Make = Callable[[str, Any, Limits], SnippetVM]


def calibrate() -> float:
    """Turns of a plain loop per second."""
    started, total = time.perf_counter(), 0
    for i in range(TURNS):
        total += i % 7
    return TURNS / (time.perf_counter() - started)


def drive(machine: SnippetVM) -> int:
    """Run a machine to its end, every call answered with what it was asked; returns how many there were."""
    step, calls = machine.start(), 0
    waiting: list[Call] = list(step.calls)
    while step.status == "waiting":
        call = waiting.pop()
        calls += 1
        step = machine.resume(call.op, Ok(call.input_json))
        waiting += step.calls
    assert step.status == "done", step
    return calls


def calls(make: Make, source: str, count: int) -> float:
    """Calls per second of one snippet."""
    limits = LIMITS._replace(max_concurrent=100)
    machine = make(source.format(count=count), BINDINGS, limits)
    started = time.perf_counter()
    found = drive(machine)
    return found / (time.perf_counter() - started)


def warm(make: Make, count: int = 2_000) -> float:
    """Small snippets per second, each checked and run, all of them known before."""
    make(SMALL, BINDINGS, LIMITS).start()
    started = time.perf_counter()
    for _ in range(count):
        make(SMALL, BINDINGS, LIMITS).start()
    return count / (time.perf_counter() - started)


def fresh(count: int = 300) -> float:
    """Checks per second of snippets that were never seen before."""
    sources = [f"{SMALL}\n# {n} {time.perf_counter_ns()}" for n in range(count)]
    started = time.perf_counter()
    for source in sources:
        check(source, BINDINGS)
    return count / (time.perf_counter() - started)


def turns(count: int = 300_000) -> float:
    """Turns per second of a loop inside of a snippet."""
    machine = in_process(LOOP.format(count=count), BINDINGS, LIMITS)
    started = time.perf_counter()
    assert machine.start().status == "done"
    return count / (time.perf_counter() - started)


def measures(workers: Workers) -> dict[str, Callable[[], float]]:
    return {
        "here, check of a new snippet": fresh,
        "here, warm snippet, checked and run": lambda: warm(in_process),
        "here, turns of a loop": turns,
        "here, calls one after the other": lambda: calls(in_process, SEQUENTIAL, 20_000),
        "here, calls 100 at once": lambda: calls(in_process, AT_ONCE, 20_000),
        "worker, warm snippet, checked and run": lambda: warm(workers.machine),
        "worker, calls one after the other": lambda: calls(workers.machine, SEQUENTIAL, 5_000),
        "worker, calls 100 at once": lambda: calls(workers.machine, AT_ONCE, 5_000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one document")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all measures (median is shown)")
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()), help="on which disk")
    options = parser.parse_args()
    figures: dict[str, list[tuple[float, float]]] = {}
    other = beside.installed()
    with ExitStack() as stack:
        workers = stack.enter_context(Workers())
        workers.warm()
        beside_it = stack.enter_context(beside.measures(other)) if other else {}
        every = measures(workers) | beside_it | composed.measures(options.where)
        for _ in range(options.rounds):
            for name, measure in every.items():
                plain = calibrate()
                found = measure()
                figures.setdefault(name, []).append((found, plain / found))
    rows = {
        name: {
            "per_second": statistics.median(found for found, _ in pairs),
            "plain_turns": statistics.median(ratio for _, ratio in pairs),
        }
        for name, pairs in figures.items()
    }
    if options.json:
        print(json.dumps({"schema": "playhead.benchmark/1", "figures": rows}, indent=2))
        return
    print(f"{'':44}{'per second':>12}{'turns of a plain loop':>24}")
    for name, row in rows.items():
        print(f"{name:44}{row['per_second']:12,.0f}{row['plain_turns']:24,.0f}")
    if not other:
        print("\npydantic-monty is not installed; where it is, there is also:")
        print(*(f"  {name}" for name in beside.NAMES), sep="\n")


if __name__ == "__main__":
    main()
