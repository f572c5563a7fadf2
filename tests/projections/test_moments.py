"""Where a log stood at a time is the same whether every event is looked at or only those behind a mark."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec
import pytest

from playhead.log.reader import LogReader
from playhead_projections import moments
from playhead_projections.models_file import models_path
from playhead_projections.moments import Moments, position_at
from playhead_projections.proving import prove
from tests.log.second_writer import SecondWriter

EVENTS = 60


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "EVERY_EVENTS", 5)


def log_of(path: Path, times: Sequence[int]) -> Path:
    writer = SecondWriter(path, seed=len(times))
    said = msgspec.msgpack.encode({"type": "run.claimed", "worker": "w", "pid": 1, "host": "h"})
    for n, time in enumerate(times):
        writer.event(f"run/run{n % 3:09}", said, type_="run.claimed", at=time, op="")
    return writer.close()


def clock(seed: int, count: int = EVENTS) -> list[int]:
    """Times of a clock that mostly goes on, sometimes stands, and sometimes is set back or ahead."""
    random, now, told = Random(seed), 1_000, list[int]()
    for _ in range(count):
        now += random.choice((0, 1, 2, 10, 10, 10, -25, 300 if random.random() < 0.1 else 0))
        told.append(now)
    return told


def asked(times: Sequence[int]) -> list[int]:
    return [*{time + more for time in times for more in (-1, 0, 1)}, -(2**70), 2**70, 0, -(2**63)]


def expected(times: Sequence[int], time: int) -> int:
    return next((n for n, each in enumerate(times) if each > time), len(times))


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(n, marks=pytest.mark.long) for n in range(3, 60))])
def test_at_every_time_it_is_before_the_first_event_that_was_written_later(tmp_path: Path, seed: int) -> None:
    times = clock(seed)
    path = log_of(tmp_path / "runs.db", times)
    with LogReader(path) as log, Moments(log) as answers:
        for time in asked(times):
            assert answers.position_at(time) == log.position_at(time) == expected(times, time), time
    with LogReader(path) as log:
        assert position_at(log, times[EVENTS // 2]) == expected(times, times[EVENTS // 2])
    with closing(sqlite3.connect(models_path(path))) as db:
        assert db.execute("select count(*) from mark").fetchone() == (EVENTS // 5,)


def test_only_what_stands_behind_a_mark_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = log_of(tmp_path / "runs.db", range(1_000, 1_000 + EVENTS))
    afters: list[int] = []
    usual = LogReader.position_at

    def seen(self: LogReader, time: int, *, after: int = 0) -> int:
        afters.append(after)
        return usual(self, time, after=after)

    monkeypatch.setattr(LogReader, "position_at", seen)
    with LogReader(path) as log:
        assert position_at(log, 1_033) == 34
        assert position_at(log, 5_000) == EVENTS
    assert afters == [30, EVENTS]


def test_a_log_that_grew_has_more_of_them(tmp_path: Path) -> None:
    times = clock(4, 100)
    path = tmp_path / "runs.db"
    for count in (30, 100):
        path.unlink(missing_ok=True)
        log_of(path, times[:count])
        with LogReader(path) as log:
            for time in asked(times):
                assert position_at(log, time) == expected(times[:count], time)


@pytest.mark.parametrize(
    "sql",
    [
        "update mark set high = high - 500",
        "update mark set high = high + 500 where position = 30",
        "update mark set running = zeroblob(32)",
        "update mark set running = x'' where position = 60",
        "delete from mark where position > 20",
        "delete from mark",
        "drop table mark",
        "insert into mark values (33, x'00', 5, 0)",
        "update mark set position = position + 1",
    ],
)
def test_a_damaged_mark_changes_no_answer_and_is_named_by_a_proof(tmp_path: Path, sql: str) -> None:
    times = clock(5)
    path = log_of(tmp_path / "runs.db", times)
    with LogReader(path) as log:
        position_at(log, times[0])
        assert prove(log, models_path(path), []).compared[0].rows == EVENTS // 5
        with closing(sqlite3.connect(models_path(path))) as db:
            db.execute(sql)
            db.commit()

        assert bool(prove(log, models_path(path), []).differences) != sql.startswith("delete")
        for time in asked(times):
            assert position_at(log, time) == expected(times, time), time


def test_a_file_that_is_damaged_while_it_is_open_is_thrown_away_and_the_answer_is_right(
    tmp_path: Path,
) -> None:
    times = clock(5)
    path = log_of(tmp_path / "runs.db", times)
    with LogReader(path) as log, Moments(log) as answers:
        answers.position_at(times[0])
        with closing(sqlite3.connect(models_path(path))) as db:
            db.execute("drop table mark")
            db.commit()

        assert answers.position_at(times[-1]) == expected(times, times[-1])
        assert not models_path(path).exists()


def test_marks_of_another_log_are_not_those_of_this_one(tmp_path: Path) -> None:
    one, other = clock(6), [time - 700 for time in clock(7)]
    first = log_of(tmp_path / "runs.db", one)
    with LogReader(first) as log:
        position_at(log, one[-1])
    first.unlink()
    log_of(first, other)
    with LogReader(first) as log:
        for time in asked(other):
            assert position_at(log, time) == expected(other, time)


def test_where_nothing_can_be_kept_every_event_is_looked_at(tmp_path: Path) -> None:
    times = clock(8)
    path = log_of(tmp_path / "runs.db", times)
    models_path(path).mkdir()
    with LogReader(path) as log:
        assert [position_at(log, time) for time in times] == [expected(times, time) for time in times]
