"""A clock that moves when it is told to. No test sleeps to let time pass."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Alarm:
    """Something to be called when the clock gets there."""

    __slots__ = ("callback", "due")

    def __init__(self, due: int, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def ring(self) -> None:
        """Call back once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class TurnedClock:
    """Time stands still until `turn`; randomness follows from `seed`."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), *, seed: int = 0) -> None:
        self._now = round(start.timestamp()) * 1_000_000_000
        self._since_boot = 0
        self._random = random.Random(seed)  # noqa: S311  a test wants the same draws again
        self._alarms: list[tuple[int, int, Alarm]] = []
        self._set = 0

    def now(self) -> int:
        return self._now

    def boottime(self) -> int:
        return self._since_boot

    def boot(self) -> str:
        return "turned"

    def entropy(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def call_at(self, due: int, callback: Callable[[], None]) -> Alarm:
        """Call back when the clock is turned to `due` or past it; soon, when it is there already."""
        alarm = Alarm(due, callback)
        if due <= self._now:
            asyncio.get_running_loop().call_soon(alarm.ring)
            return alarm
        self._set += 1
        heapq.heappush(self._alarms, (due, self._set, alarm))
        return alarm

    def turn(self, **by: float) -> None:
        """Move time on: `turn(hours=1)`. Alarms on the way go off in order, each at its own time."""
        self.turn_to(self._now + round(timedelta(**by) / timedelta(microseconds=1)) * 1000)

    def turn_to(self, when: int) -> None:
        """Move time to `when`, nanoseconds UTC. The wall clock may go back; the boot time does not."""
        while self._alarms and self._alarms[0][0] <= when:
            due, _, alarm = heapq.heappop(self._alarms)
            self._move(max(due, self._now))
            alarm.ring()
        self._move(when)

    def _move(self, when: int) -> None:
        self._since_boot += max(0, when - self._now)
        self._now = when

    @property
    def next_alarm(self) -> int | None:
        """When the earliest alarm is due, nanoseconds UTC; None when nobody waits."""
        while self._alarms and self._alarms[0][2].callback is None:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None
