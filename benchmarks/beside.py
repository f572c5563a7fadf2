"""The same measures of pydantic-monty, another machine for snippets, where it is installed.

    python -m pip install --target monty pydantic-monty
    PYTHONPATH=monty MONTY_BIN=monty/bin/monty python benchmarks/composition.py

It is no part of the lock. It runs in processes of its own, as our worker does, and is driven alike: each
call comes to the host and is answered from here. Two things differ: it gives values, where ours gives JSON,
and what was asked for at once is answered at once, in one message, where ours has one for each answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

NAMES = (
    "monty, new snippet, checked and run",
    "monty, warm snippet, a session for each",
    "monty, warm snippet, in one session",
    "monty, turns of a loop",
    "monty, calls one after the other",
    "monty, calls 100 at once",
)
LIMITS = {"max_suspensions": 10**9}
SMALL = """
hits = [{"path": "a", "n": 3}, {"path": "b", "n": 5}]
total = 0
for hit in hits:
    total += hit["n"]
{"total": total, "paths": [hit["path"] for hit in hits]}
"""
LOOP = "total = 0\nfor i in range({count}):\n    total += i\ntotal"
SEQUENTIAL = "for i in range({count}):\n    echo(value=i)\ni"
AT_ONCE = """
import asyncio

done = 0
for first in range(0, {count}, 100):
    done += len(await asyncio.gather(*[echo(value=i) for i in range(first, first + 100)]))
done
"""


def installed() -> Any:
    """The package, or None."""
    try:
        return import_module("pydantic_monty")
    except ModuleNotFoundError:
        return None


@contextmanager
def measures(package: Any) -> Generator[dict[str, Callable[[], float]]]:
    """What is measured, by name, while one of its processes is kept ready."""
    with package.Monty(max_processes=1) as pool:
        found = (
            lambda: sessions(pool, 300, lambda n: f"{SMALL}# {n} {time.perf_counter_ns()}"),
            lambda: sessions(pool, 1_000, lambda _: SMALL),
            lambda: feeds(pool, 2_000),
            lambda: turns(pool, 300_000),
            lambda: calls(package, pool, SEQUENTIAL, 5_000),
            lambda: calls(package, pool, AT_ONCE, 5_000),
        )
        yield dict(zip(NAMES, found, strict=True))


def sessions(pool: Any, count: int, source: Callable[[int], str]) -> float:
    """Snippets per second, each in a session where nothing was before."""
    sources = [source(n) for n in range(count)]
    started = time.perf_counter()
    for each in sources:
        with pool.checkout() as session:
            assert session.feed_run(each)["total"] == 8
    return count / (time.perf_counter() - started)


def feeds(pool: Any, count: int) -> float:
    """Snippets per second, all in one session, so that each finds what the last one left."""
    with pool.checkout() as session:
        session.feed_run(SMALL)
        started = time.perf_counter()
        for _ in range(count):
            session.feed_run(SMALL)
        return count / (time.perf_counter() - started)


def turns(pool: Any, count: int) -> float:
    """Turns per second of a loop inside of a snippet."""
    with pool.checkout() as session:
        started = time.perf_counter()
        assert session.feed_run(LOOP.format(count=count)) == count * (count - 1) // 2
        return count / (time.perf_counter() - started)


def calls(package: Any, pool: Any, source: str, count: int) -> float:
    """Calls per second of one snippet."""
    with pool.checkout(limits=LIMITS) as session:
        started = time.perf_counter()
        step = session.feed_start(source.format(count=count))
        found = drive(package, step, later=source is AT_ONCE)
        assert found == count
        return found / (time.perf_counter() - started)


def drive(package: Any, step: Any, *, later: bool) -> int:
    """Answer every call with what it was asked, now or when all are asked; returns how many there were."""
    waiting: dict[int, Any] = {}
    found = 0
    while not isinstance(step, package.MontyComplete):
        if isinstance(step, package.FutureSnapshot):
            answers = {call: {"return_value": waiting.pop(call)} for call in step.pending_call_ids}
            step = step.resume(answers)
            continue
        found += 1
        if later:
            waiting[step.call_id] = step.kwargs["value"]
            step = step.resume({"future": ...})
        else:
            step = step.resume({"return_value": step.kwargs["value"]})
    return found
