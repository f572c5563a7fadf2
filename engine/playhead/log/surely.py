"""Appending for who has to know: nobody's doubt is handed on before it was asked about again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from playhead.errors import OutcomeUnknown
from playhead.log.envelope import NewEvent
from playhead.log.store import LogStore

TRIES_MAX: Final = 5


async def append_surely(store: LogStore, stream: str, expected: int, events: Sequence[NewEvent]) -> None:
    """Append `events` at `expected`; where nobody could tell what became of it, ask again under the same id.

    Raises `Conflict` where others were first, `OutcomeUnknown` where it stays unknown, and what the store
    raises. A crash leaves all of them there, or none.
    """
    append_id = store.clock.entropy(16)
    for _ in range(TRIES_MAX - 1):
        try:
            await store.append(stream, expected, events, append_id=append_id)
        except OutcomeUnknown:
            continue
        return
    await store.append(stream, expected, events, append_id=append_id)
