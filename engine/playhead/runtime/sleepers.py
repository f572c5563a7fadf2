"""Runs that left memory and only wait: when each is due, and which mail it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Sleeper:
    """One sleeping run. `wake_at` is in nanoseconds UTC, `messages` the mail it has taken."""

    wake_at: int | None
    messages: int
    timer: Any = None


class Sleepers:
    """All sleeping runs of one engine. `rouse(run)` is called once when one is due."""

    def __init__(
        self,
        *,
        call_at: Callable[[int, Callable[[], None]], Any],
        now: Callable[[], int],
        rouse: Callable[[str], None],
    ) -> None:
        self._call_at = call_at
        self._now = now
        self._rouse = rouse
        self._asleep: dict[str, Sleeper] = {}

    def __contains__(self, run: str) -> bool:
        return run in self._asleep

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._asleep))

    def __len__(self) -> int:
        return len(self._asleep)

    def messages(self, run: str) -> int:
        """How much mail `run` had taken when it fell asleep."""
        return self._asleep[run].messages

    def add(self, run: str, wake_at: int | None, messages: int) -> None:
        """Let `run` sleep until `wake_at`, or until somebody rouses it."""
        self.forget(run)
        self._asleep[run] = Sleeper(wake_at, messages)
        if wake_at is not None:
            self._set_timer(run, wake_at)

    def forget(self, run: str) -> bool:
        """Stop watching `run`. False when it was not asleep here."""
        sleeper = self._asleep.pop(run, None)
        if sleeper is not None and sleeper.timer is not None:
            sleeper.timer.cancel()
        return sleeper is not None

    def rouse(self, run: str) -> None:
        """Wake `run` now."""
        if self.forget(run):
            self._rouse(run)

    def clear(self) -> None:
        """Forget all of them."""
        for run in self:
            self.forget(run)

    def _set_timer(self, run: str, wake_at: int) -> None:
        sleeper = self._asleep[run]
        sleeper.timer = self._call_at(wake_at, lambda: self._ring(run, wake_at))

    def _ring(self, run: str, wake_at: int) -> None:
        # Long waits are cut into days, and a wall clock can be set back.
        if run not in self._asleep:
            return
        if self._now() < wake_at:
            self._set_timer(run, wake_at)
        else:
            self.rouse(run)
