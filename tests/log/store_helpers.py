"""What the tests of the stores share: a clock to turn, events, and child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import shake_128
from pathlib import Path
from typing import TypeAlias

from playhead.log.envelope import NewEvent
from playhead.log.memory_store import MemoryStore
from playhead.log.sqlite_store import SqliteStore

AnyStore: TypeAlias = SqliteStore | MemoryStore
ROOT = Path(__file__).parents[2]
RUN = "run/a"
ID = bytes(range(16))


class HandClock:
    """A clock that moves only by hand, with chance that repeats."""

    def __init__(self) -> None:
        self.time = 1_700_000_000_000_000_000
        self.up = 1_000_000_000
        self._drawn = 0

    def now(self) -> int:
        return self.time

    def boottime(self) -> int:
        return self.up

    def boot(self) -> str:
        return "boot"

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return shake_128(self._drawn.to_bytes(8, "big")).digest(size)


def event(text: str = "", *, type_: str = "step.started", op: str = "", cause: int | None = None) -> NewEvent:
    return NewEvent(type_, 1, 42, op, cause, text.encode())


def events(count: int, text: str = "") -> list[NewEvent]:
    return [event(f"{text}{number}") for number in range(count)]


def append_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def child(code: str, *arguments: object, pipe: bool = True) -> subprocess.Popen[str]:
    """A Python process that runs `code` with `arguments` in sys.argv, and can import what this one can."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'engine'}:{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
        stdout=subprocess.PIPE if pipe else None,
        env=environment,
        text=True,
    )


def run_child(code: str, *arguments: object, timeout_s: float = 60) -> str:
    """Run such a process to its end and return what it printed."""
    process = child(code, *arguments)
    said, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, said
    return said
