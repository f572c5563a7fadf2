"""States as of a past event.

    folded = state_as_of(log, RunReport(), "run/4wq2mzkq7xha", 41)      # with snapshots kept beside the log
    folded = state_at(log, RunReport(), "run/4wq2mzkq7xha", 41)         # folded here, and nothing kept
    folded.state.operations

Both are the fold of the stream up to there, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from playhead.errors import NotFound
from playhead.events.codec import CATALOG, Catalog
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.projection import RUN_STREAMS, Folded, Projection, fold

S = TypeVar("S", bound=msgspec.Struct)


def state_as_of(log: LogReader, projection: Projection[S], stream: str, seq: int | None = None) -> Folded[S]:
    """What `state_at` answers, from the nearest snapshot. The state is for reading: change nothing in it."""
    return state_at(log, projection, stream, seq)


def state_at(
    log: LogReader,
    projection: Projection[S],
    stream: str,
    seq: int | None = None,
    *,
    catalog: Catalog = CATALOG,
) -> Folded[S]:
    """The state of the run in `stream` as of its event `seq`, or as of now, folded here and not kept.

    Raises `NotFound` where there is no such stream or event, and `BadEvent` for one that cannot be read.
    """
    if not stream.startswith(RUN_STREAMS):
        raise NotFound(f"{stream} is not the stream of a run.")
    end = log.head(stream).seq
    if not end or (seq is not None and seq >= end):
        what = f"no event {seq} in {stream}, which has {end}" if end else f"no stream {stream}"
        raise NotFound(f"there is {what}.")
    last = end - 1 if seq is None else seq
    events = (event for event in log.scan(stream) if event.seq <= last)
    return fold(projection, stream[len(RUN_STREAMS) :], _until(events, last), catalog=catalog)


def _until(events: Iterator[Event], last: int) -> Iterator[Event]:
    for event in events:
        yield event
        if event.seq >= last:
            return
