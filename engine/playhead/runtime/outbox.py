"""Appends of one run on their way to the store: in order, also while the store has no room for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from playhead.errors import Busy, PlayheadError
from playhead.log.envelope import Append, NewEvent
from playhead.log.store import LogStore

BATCH_EVENTS_MAX: Final = 2_000
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024


class Outbox:
    """Hands appends to the store. `failed(error)` is called once when it takes no more of them."""

    def __init__(self, store: LogStore, failed: Callable[[PlayheadError], None]) -> None:
        self._store = store
        self._failed = failed
        self._waiting: deque[Append] = deque()
        self._task: asyncio.Task[None] | None = None

    def submit(self, append: Append) -> None:
        """Hand over `append`, now if there is room for it."""
        if self._waiting:
            self._waiting.append(append)
            return
        try:
            self._store.submit(append)
        except Busy:
            self._waiting.append(append)
            self._task = asyncio.get_running_loop().create_task(self._work_off())
        except PlayheadError as error:  # it was refused at the door, as by a store that is closed
            self._failed(error)

    def close(self) -> None:
        """Hand over nothing more."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work_off(self) -> None:
        while self._waiting:
            append = self._waiting[0]
            await self._store.room(len(append.events), bytes_of(append.events))
            try:
                self._store.submit(append)
            except Busy:
                continue
            except PlayheadError as error:
                self._failed(error)
                return
            self._waiting.popleft()


TOGETHER: Final = frozenset({"autonomy.decided", "trust.recorded"})
"""Types of events that stay with what the same operation said before them."""


def bytes_of(events: Sequence[NewEvent]) -> int:
    """How many bytes of payload `events` have."""
    return sum(len(event.payload) for event in events)


def in_parts(events: list[NewEvent]) -> list[list[NewEvent]]:
    """`events` in order, in parts that are no larger than a batch, or are one large event.

    What one operation says in one breath stays together: a decision with its proposal and its trust record.
    """
    parts: list[list[NewEvent]] = [[]]
    size = 0
    for event in events:
        full = len(parts[-1]) >= BATCH_EVENTS_MAX or size + len(event.payload) > BATCH_BYTES_MAX
        if full and parts[-1] and not (event.type in TOGETHER and event.op == parts[-1][-1].op):
            parts.append([])
            size = 0
        parts[-1].append(event)
        size += len(event.payload)
    return parts
