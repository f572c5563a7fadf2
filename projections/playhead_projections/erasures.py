"""Whether what was folded from a log still holds: of the same past, and of no payload that is gone.

    is_past_of(log, 4711, digest)
    is_sound(log, Runs(), sound=4000, position=4711)

An erasure stands in the log before anything that was derived from it is emptied. So whoever writes what was
folded asks in the transaction that writes it: what is written before an emptying is emptied, and what would
be written after one is refused, however long ago its events were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from playhead.errors import NotFound
from playhead.log.evidence import ERASED_TYPE
from playhead.log.reader import LogReader
from playhead_projections.projection import Projection

PAGE_EVENTS: Final = 1_000
ERASURES: Final[Sequence[str]] = (ERASED_TYPE,)


def is_past_of(log: LogReader, position: int, digest: bytes) -> bool:
    """Whether the event at `position` is the one that was folded last."""
    try:
        return log.at(position).digest == digest
    except NotFound:
        return False


def is_sound(log: LogReader, projection: Projection[Any], sound: int, position: int) -> bool:
    """Whether no payload of an event up to `position` was erased since the log stood at `sound`.

    Whoever erases says so in the same stream.
    """
    while page := log.feed(sound, PAGE_EVENTS, types=ERASURES):
        for said in page:
            for event in [] if said.cause is None else log.read(said.stream, said.cause, 1):
                if event.position <= position and projection.key(event) is not None:
                    return False
        sound = page[-1].position
    return True


def is_erased_since(log: LogReader, stream: str, seen: int) -> bool:
    """Whether an event of `stream` from `seen` on says that something was erased in it."""
    return bool(log.read(stream, seen, 1, types=ERASURES))
