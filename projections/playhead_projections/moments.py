"""Where a log stood at a time, found from a mark close to it and not from the first event on.

    position_at(log, time)

    with Moments(log) as moments:                   # for many questions
        moments.position_at(time)

The log stood at a time where its first event that was written later had not come yet. Clocks go back, so the
times of events stand in no order, and an index of them would not help; the latest time that was said so far
only grows. A mark holds it, every few thousand events, in the file of the read models, with the running
digest of the log there: one of another past, or a damaged one, is not there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from playhead.log.driver import sqlite
from playhead.log.reader import LogReader
from playhead_projections.models_file import SPARED, Spare, locked, models_path, rows_of, sealed

EVERY_EVENTS: Final = 4_000
TIME_MAX: Final = 2**63 - 1


def position_at(log: LogReader, time: int) -> int:
    """Where `log` stood at `time`, nanoseconds since the epoch: before the first event written later."""
    if log.position() < 2 * EVERY_EVENTS:
        return log.position_at(time)
    with Moments(log) as moments:
        return moments.position_at(time)


class Moments(Spare):
    """Answers for one log. One thread at a time. Close it, or use it as a context manager.

    Marks only save work: where they cannot be kept or read, every event before is looked at.
    """

    def __init__(self, log: LogReader, place: Path | None = None) -> None:
        super().__init__(place or models_path(log.path))
        self._log = log

    def position_at(self, time: int) -> int:
        """Where the log stood at `time`: what `LogReader.position_at` says, without reading all before it."""
        after = 0
        try:
            if self._db is not None:
                after = self._mark(self._db, max(min(time, TIME_MAX), -TIME_MAX))
        except SPARED as error:
            self._fail(error)
        return self._log.position_at(time, after=after)

    def _mark(self, db: sqlite.Connection, time: int) -> int:
        """The newest mark up to which nothing was written later than `time`; 0 where there is none."""
        newest = self._newest(db)
        if newest is None or newest[0] + 2 * EVERY_EVENTS < self._log.position():
            self._extend(db, newest)
        sql = "select position, running, high, seal from mark where high <= ? order by position desc limit 1"
        found = self._sound(rows_of(db, self._path, sql, (time,)))
        return 0 if found is None else int(found[0])

    def _newest(self, db: sqlite.Connection) -> tuple[int, int] | None:
        """The newest mark and its time. Where it is of another past, all of them are thrown away."""
        sql = "select position, running, high, seal from mark order by position desc limit 1"
        rows = rows_of(db, self._path, sql)
        found = self._sound(rows)
        if rows and found is None:
            locked(db, self._path, lambda: db.execute("delete from mark"))
        return found

    def _sound(self, rows: list[Any]) -> tuple[int, int] | None:
        for position, running, high, seal in rows:
            with suppress(TypeError):
                if seal == sealed(position, running, high) and self._log.running(position) == running:
                    return position, high
        return None

    def _extend(self, db: sqlite.Connection, newest: tuple[int, int] | None) -> None:
        """More marks behind the newest one, up to the last few thousand events of the log."""
        position, high = newest or (0, -TIME_MAX)
        made: list[tuple[Any, ...]] = []
        while (found := self._log.latest(position, EVERY_EVENTS)) is not None and found[2] == EVERY_EVENTS:
            position, high = found[0], max(high, found[1])
            running = self._log.running(position)
            made.append((position, running, high, sealed(position, running, high)))

        def work() -> None:
            db.executemany("insert or replace into mark values (?, ?, ?, ?)", made)

        locked(db, self._path, work)
