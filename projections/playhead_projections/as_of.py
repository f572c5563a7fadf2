"""States as of a past event: the fold of the stream up to there, to the byte.

    state_at(log, RunReport(), "run/4wq2mzkq7xha", 41).state        # folded here, and nothing kept
    state_as_of(log, RunReport(), "run/4wq2mzkq7xha", 41).state     # from a snapshot kept beside the log

    with AsOf(log) as as_of:                                        # for many questions
        as_of.state(RunReport(), "run/4wq2mzkq7xha", 41).state

A snapshot is made every few hundred events of a run, on the way to the event that somebody asked for. An
answer begins at the nearest one before. Answers share what is in them: they are for reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from playhead.errors import NotFound
from playhead.events.codec import CATALOG, Catalog, Unknown
from playhead.events.erasing import mended
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.erasures import is_erased_since
from playhead_projections.models_file import Closed, models_path
from playhead_projections.projection import RUN_STREAMS, Folded, Projection, fold
from playhead_projections.snapshots import Shelf, Snapshot, Trail, first_link, link_of

S = TypeVar("S", bound=msgspec.Struct)

EVERY_EVENTS: Final = 400
"""A snapshot is at least so many events away from the one before."""
BYTES_PER_EVENT: Final = 400
"""What the snapshots of one projection take at most, for each event of a run."""
PAGE_EVENTS: Final = 1_000
TRAILS_MAX: Final = 24
WRITTEN_TOGETHER: Final = 32


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
    last = _asked(log, stream, seq).last
    events = (event for event in mended(log, log.scan(stream)) if event.seq <= last)
    return fold(projection, stream[len(RUN_STREAMS) :], _until(events, last), catalog=catalog)


def state_as_of(log: LogReader, projection: Projection[S], stream: str, seq: int | None = None) -> Folded[S]:
    """What `state_at` answers, from a snapshot where there is one. It is for reading: change nothing in it.

    A run that is long enough for them leaves snapshots beside the log. Raises what `state_at` raises.
    """
    if _asked(log, stream, seq).last < EVERY_EVENTS:
        return state_at(log, projection, stream, seq)
    with AsOf(log) as as_of:
        return as_of.state(projection, stream, seq)


class AsOf(Closed):
    """Answers for a log as of any event, quick from the second one on. One thread at a time. Close it.

    `place` is the file for snapshots, by default that of the read models beside the log.
    """

    def __init__(self, log: LogReader, place: Path | None = None, *, catalog: Catalog = CATALOG) -> None:
        self._log = log
        self._catalog = catalog
        self._shelf = Shelf(place or models_path(log.path))
        self._trails: dict[tuple[type[Projection[Any]], str], Trail[Any]] = {}

    def close(self) -> None:
        self._shelf.close()
        self._trails.clear()

    def state(self, projection: Projection[S], stream: str, seq: int | None = None) -> Folded[S]:
        """What `state_at` answers, to the byte. It is for reading: change nothing in it.

        Raises `NotFound` where there is no such stream or event, and `BadEvent` for one that cannot be read.
        """
        asked = _asked(self._log, stream, seq)
        trail = self._trail(projection, stream[len(RUN_STREAMS) :])
        self._look_for_erasures(trail, stream, asked.end)
        self._load(trail, stream, asked.last)
        return self._folded(trail, stream, asked.last)

    # --------------------------------------------------------------- trails

    def _trail(self, projection: Projection[S], key: str) -> Trail[S]:
        """The snapshots of a run in memory; the one used last stands last."""
        name = (type(projection), key)
        trail = self._trails.pop(name, None)
        if trail is None:
            trail = Trail(projection, key)
            seen = self._shelf.seen(projection.name, key)
            trail.seen = seen or 0
            trail.is_kept = self._catalog is CATALOG
        self._trails[name] = trail
        if len(self._trails) > TRAILS_MAX:
            del self._trails[next(iter(self._trails))]
        return trail

    def _look_for_erasures(self, trail: Trail[Any], stream: str, end: int) -> None:
        """Drop what was folded from a payload that is gone: whoever erases says so in the same stream."""
        if end > trail.seen and is_erased_since(self._log, stream, trail.seen):
            self._drop(trail)
        trail.seen = end

    def _drop(self, trail: Trail[Any]) -> None:
        trail.clear()
        if trail.is_kept:
            self._shelf.drop(trail.projection.name, trail.key)

    def _load(self, trail: Trail[Any], stream: str, last: int) -> None:
        """Take over what is kept, up to event `last`, unless it is of another past or damaged."""
        if not trail.is_kept or trail.newest >= last:
            return
        found = self._shelf.read(trail.projection.name, trail.key, trail.newest, last)
        if not found:
            return
        newest = found[-1]
        event = next(iter(self._log.read(stream, newest.seq, 1)), None)
        if event is None or event.digest != newest.digest or not _taken(trail, found):
            self._drop(trail)

    # -------------------------------------------------------------- folding

    def _folded(self, trail: Trail[S], stream: str, last: int) -> Folded[S]:
        """Fold from the nearest snapshot on, and make new ones where there are none yet."""
        projection, index = trail.projection, trail.before(last)
        work = _Work(self, trail) if self._is_end(trail, index) else None
        events = skipped = 0
        if index < 0:
            start, state = 0, trail.form.opened(projection.initial(trail.key))
        else:
            point = trail.points[index]
            start, events, state = point.seq + 1, point.events, trail.state_at(index)
        try:
            for event in self._events(stream, start, last):
                if projection.key(event) != trail.key:
                    continue
                fact = self._catalog.decode(event)
                state = projection.take(state, event, fact)
                events += 1
                skipped += isinstance(fact, Unknown)
                if work is not None and event.seq >= work.due and not skipped:
                    work.put(event, events, state)
        finally:
            if work is not None:
                work.flush()
        return Folded(trail.form.plain(state), events, skipped)

    def _is_end(self, trail: Trail[Any], index: int) -> bool:
        """Whether nothing is known beyond the snapshot at `index`, so that the next one belongs behind it."""
        if index != len(trail.points) - 1:
            return False
        return not trail.is_kept or self._shelf.newest(trail.projection.name, trail.key) <= trail.newest

    def _events(self, stream: str, start: int, last: int) -> Iterator[Event]:
        while start <= last and (page := self._log.read(stream, start, min(PAGE_EVENTS, last - start + 1))):
            yield from mended(self._log, page)
            start += len(page)

    def keep(self, trail: Trail[Any], before: bytes | None, made: list[Snapshot]) -> None:
        """Put new snapshots on the shelf. Where somebody else was first, these stay in memory only."""
        if trail.is_kept and made:
            name, stream, seen = trail.projection.name, f"{RUN_STREAMS}{trail.key}", trail.seen
            trail.is_kept = self._shelf.extend(
                name,
                trail.key,
                before,
                made,
                seen,
                is_sound=lambda: not is_erased_since(self._log, stream, seen),
            )


class _Work:
    """New snapshots behind the newest one of a trail."""

    def __init__(self, as_of: AsOf, trail: Trail[Any]) -> None:
        self._as_of = as_of
        self._trail = trail
        self._made: list[Snapshot] = []
        self._before = self._link
        self.due = trail.newest + EVERY_EVENTS

    @property
    def _link(self) -> bytes | None:
        return self._trail.link if self._trail.points else None

    def put(self, event: Event, events: int, state: Any) -> None:
        body = self._trail.form.taken(state)
        self._made.append(self._trail.put(event.seq, event.digest, events, body))
        self.due = event.seq + max(EVERY_EVENTS, len(body) // BYTES_PER_EVENT)
        if len(self._made) >= WRITTEN_TOGETHER:
            self.flush()

    def flush(self) -> None:
        self._as_of.keep(self._trail, self._before, self._made)
        self._made, self._before = [], self._link


class _Asked(NamedTuple):
    """Which event is meant, and how many the stream has."""

    last: int
    end: int


def _asked(log: LogReader, stream: str, seq: int | None) -> _Asked:
    """Raises `NotFound` where there is no such stream or event."""
    if not stream.startswith(RUN_STREAMS):
        raise NotFound(f"{stream} is not the stream of a run.")
    end = log.head(stream).seq
    if not end or (seq is not None and not 0 <= seq < end):
        what = f"no event {seq} in {stream}, which has {end}" if end else f"no stream {stream}"
        raise NotFound(f"there is {what}.")
    return _Asked(end - 1 if seq is None else seq, end)


def _taken(trail: Trail[Any], found: list[Snapshot]) -> bool:
    """Take kept snapshots into memory; False where one is not what its link says."""
    before = trail.link if trail.points else first_link(trail.projection, trail.key)
    for point in found:
        before = link_of(before, point.seq, point.digest, point.events, point.body)
        if before != point.link:
            return False
        try:
            trail.take(point)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
    return True


def _until(events: Iterator[Event], last: int) -> Iterator[Event]:
    for event in events:
        yield event
        if event.seq >= last:
            return
