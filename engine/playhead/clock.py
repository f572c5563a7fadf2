"""The only place that asks the machine for time, randomness or ids.

Everything else is handed a `Clock`, so a replayed run can be given yesterday's
time, a test never sleeps to let time pass, and a simulation needs only a seed.
"""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

ENTROPY_POOL_BYTES = 4096

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
"""Which clock goes on while the machine sleeps; None where only one that may not is known."""


class Clock(Protocol):
    """What the engine asks of the machine."""

    def now(self) -> int:
        """Wall clock, nanoseconds since the epoch, UTC. Shown, never used for order."""
        ...

    def boottime(self) -> int:
        """Nanoseconds since the machine started, sleep included. Decides when a lease is over."""
        ...

    def boot(self) -> str:
        """An id of this start of this machine: `boottime` of two boots cannot be compared."""
        ...

    def entropy(self, size: int) -> bytes:
        """`size` unpredictable bytes, for salts and ids."""
        ...


class SystemClock:
    """The machine's own clocks and randomness."""

    __slots__ = ("__weakref__", "_at", "_boot", "_pool")

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0
        self._boot = ""
        _pooled.add(self)

    def now(self) -> int:
        return time.time_ns()

    def boottime(self) -> int:
        return time.monotonic_ns() if _BOOTTIME is None else time.clock_gettime_ns(_BOOTTIME)

    def boot(self) -> str:
        if not self._boot:
            source = Path("/proc/sys/kernel/random/boot_id")
            self._boot = source.read_text().strip() if source.exists() else "unknown-boot"
        return self._boot

    def entropy(self, size: int) -> bytes:
        # One system call per few hundred salts. Asking for the process id
        # each time would be another: a fork empties the pool instead.
        start, end = self._at, self._at + size
        if end > len(self._pool):
            self._pool = os.urandom(max(ENTROPY_POOL_BYTES, size))
            start, end = 0, size
        self._at = end
        return self._pool[start:end]

    def forget(self) -> None:
        """Draw afresh from now on: a child must not go on where its parent does."""
        self._pool = b""
        self._at = 0


_pooled: WeakSet[SystemClock] = WeakSet()


def _after_fork() -> None:
    for clock in _pooled:
        clock.forget()


os.register_at_fork(after_in_child=_after_fork)


def new_id(clock: Clock) -> str:
    """A short random id of 12 lower-case characters (60 bits), readable aloud, easy to prefix."""
    return encode_id(clock.entropy(8))


def encode_id(raw: bytes) -> str:
    """The first 60 bits of `raw` in base32 without padding, lower case."""
    return base64.b32encode(raw[:8])[:12].decode().lower()
