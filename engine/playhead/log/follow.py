"""Waiting for news without asking hotly: from this process at once, from others within milliseconds.

All followers of a store share one timer. While nothing is new it backs off from
2 to 100 ms; a commit by this process wakes them without it. No follower holds
more than one page of events, and none holds a read transaction while it waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S_MIN: Final = 0.002
POLL_S_MAX: Final = 0.1


class News:
    """Wakes whoever waits when the log may have grown."""

    def __init__(self, data_version: Callable[[], int] | None) -> None:
        """`data_version` tells that another process has committed; None where there are no others."""
        self._ask = data_version
        self._seen: int = -1
        self._delay_s = POLL_S_MIN
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        """This process has committed something."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def version(self) -> int:
        """What to pass to `wait` after having read everything there was."""
        return self._ask() if self._ask is not None else 0

    async def wait(self, version: int) -> None:
        """Return when something may be new since `version` was asked for."""
        if self._ask is not None and self._ask() != version:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        if self._ask is not None and self._timer is None:
            self._seen = version
            self._delay_s = POLL_S_MIN
            self._timer = loop.call_later(self._delay_s, self._poll, loop)
        await future

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._waiting = [future for future in self._waiting if not future.done()]
        if not self._waiting or self._ask is None:
            return
        found = self._ask()
        if found != self._seen:
            self._seen, self._delay_s = found, POLL_S_MIN
            self.tell()
            return
        self._delay_s = min(self._delay_s * 2, POLL_S_MAX)
        self._timer = loop.call_later(self._delay_s, self._poll, loop)

    def close(self) -> None:
        """Wake everybody for the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.tell()
