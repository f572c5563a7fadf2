"""Read models are folds: kept beside the log, never in its way, and built again to the same bytes."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from playhead.errors import BadEvent, NotFound
from playhead.events import catalog as facts
from playhead.events.codec import Catalog
from playhead.events.fact import Fact
from playhead.events.registry import FACTS
from playhead.log.driver import sqlite
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections import models_file, projector
from playhead_projections.projection import Projection, fold
from playhead_projections.projector import ReadModels, models_path, state_at
from playhead_projections.proving import prove
from playhead_projections.receipts import Receipts
from playhead_projections.reports.fold import Reports
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from playhead_projections.search.tables import Search
from tests.checkout import ROOT
from tests.projections.everything import Desk
from tests.projections.recorded import (
    audit,
    busy,
    erase,
    failing,
    mixed,
    parent,
    record,
    started,
    unknown,
    write,
)

ALL = ("runs", "run_report", "receipts")


class Counted(msgspec.Struct):
    """How many events there were."""

    count: int = 0
    last: str = ""


class Count(Projection[Counted]):
    """Counts, and stumbles where it is told to."""

    name = "count"
    version = 1
    state = Counted

    def __init__(self, stumble_at: int | None = None) -> None:
        self.stumble_at = stumble_at
        self.stumbled = 0

    def initial(self, key: str) -> Counted:
        return Counted()

    def apply(self, state: Counted, event: Event, fact: Fact) -> Counted:
        state.count += 1  # in place, before it stumbles: what is half done must not be kept
        if event.seq == self.stumble_at:
            self.stumbled += 1
            raise ZeroDivisionError("poison")
        state.last = event.type
        return state


class NewerCount(Count):
    """The same events give another state."""

    version = 2

    def initial(self, key: str) -> Counted:
        return Counted(count=1000)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    record(path, (audit, [1, 2, 3]), (mixed,), (failing,), (busy,), (parent,))
    return path


def models(store: Path, *more: Projection[Any]) -> ReadModels:
    return ReadModels.open(store, [Runs(), RunReport(), Receipts(), *more])


def contents(found: ReadModels) -> dict[str, list[tuple[str, bytes]]]:
    return {name: found.contents(name) for name in ALL}


def test_the_log_is_not_written_to(store: Path) -> None:
    before = store.read_bytes()

    with LogReader(store) as log, models(store) as found:
        found.catch_up(log)

    assert store.read_bytes() == before
    assert models_path(store).exists()


def test_what_is_stored_is_the_fold_of_the_stream(store: Path) -> None:
    with LogReader(store) as log, models(store) as found:
        found.catch_up(log)

        for stream in log.streams("run"):
            key = stream.partition("/")[2]
            projections: list[Projection[Any]] = [Runs(), RunReport(), Receipts()]
            for projection in projections:
                folded = state_at(log, projection, stream).state
                assert found.get(projection, key) == folded
                assert dict(found.contents(projection.name))[key] == msgspec.msgpack.encode(folded)


def test_catching_up_again_does_nothing(store: Path) -> None:
    with LogReader(store) as log, models(store) as found:
        first = found.catch_up(log)

        assert first == log.count()
        assert found.catch_up(log) == 0


def test_a_rebuild_gives_the_same_bytes(store: Path) -> None:
    with LogReader(store) as log, models(store) as found:
        found.catch_up(log)
        before = contents(found)

        found.rebuild(log)

        assert contents(found) == before
        assert all(before.values())


def test_in_how_many_sittings_it_was_folded_does_not_matter(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LogReader(store) as log:
        with models(store) as found:
            found.catch_up(log)
            whole = contents(found)

        for page, checkpoint, kept in ((1, 1, 0), (3, 5, 1), (7, 1000, 0)):
            models_path(store).unlink()
            monkeypatch.setattr(projector, "PAGE_EVENTS", page)
            monkeypatch.setattr(projector, "CHECKPOINT_EVENTS", checkpoint)
            monkeypatch.setattr(projector, "STATES_KEPT_MAX", kept)
            with models(store) as found:
                found.catch_up(log)

                assert contents(found) == whole


def test_deleting_the_file_loses_nothing(store: Path) -> None:
    with LogReader(store) as log:
        with models(store) as found:
            found.catch_up(log)
            before = contents(found)
        models_path(store).unlink()

        with models(store) as found:
            found.catch_up(log)

            assert contents(found) == before


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to look like one" * 20])
def test_a_damaged_file_is_thrown_away(store: Path, damage: bytes) -> None:
    models_path(store).write_bytes(damage)

    with LogReader(store) as log, models(store) as found:
        assert found.catch_up(log) == log.count()
        assert found.path == models_path(store)


def test_where_nothing_can_be_written_they_live_in_memory(store: Path) -> None:
    nowhere = store.parent / "no-such-directory" / "x"

    with LogReader(store) as log, ReadModels.open(store, [Runs()], path=nowhere) as found:
        found.catch_up(log)

        assert found.path is None
        assert found.count(Runs()) == len(log.streams("run"))


def test_a_file_that_may_not_be_written_is_left_as_it_is(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LogReader(store) as log, models(store) as found:
        found.catch_up(log)
    before = models_path(store).read_bytes()
    # Whoever may write everything anyway, as root does, must be told no as well.
    monkeypatch.setattr(os, "access", lambda *_: False)

    with LogReader(store) as log, models(store) as found:
        found.rebuild(log)

        assert found.path is None
        assert found.count(Runs()) == len(log.streams("run"))
    assert models_path(store).read_bytes() == before


def test_a_new_version_drops_what_the_old_one_made_and_nothing_else(store: Path) -> None:
    with LogReader(store) as log:
        with models(store, Count()) as found:
            found.catch_up(log)
            before = contents(found)
            old = found.contents("count")

        with models(store, NewerCount()) as found:
            assert found.catch_up(log) == log.count()

            assert contents(found) == before
            assert found.contents("count") != old
            assert all(state.count > 1000 for state in found.newest(NewerCount()))


def test_a_poisoned_projection_is_parked_and_the_others_go_on(store: Path) -> None:
    poisoned = Count(stumble_at=3)
    with LogReader(store) as log, models(store, poisoned) as found:
        found.catch_up(log)
        stand = {one.name: one for one in found.standings()}

        assert stand["runs"].position == log.position()
        parked = stand["count"].parked
        assert parked is not None
        assert (parked.seq, parked.error, parked.tries) == (
            3,
            "ZeroDivisionError: poison",
            projector.TRIES_MAX,
        )
        assert "in apply" in parked.traceback
        assert log.at(parked.position).seq == 3
        # What it holds is the fold up to the event before, with nothing half done.
        assert stand["count"].position == parked.position - 1
        assert found.get(poisoned, parked.stream.partition("/")[2]) == Counted(
            3, log.read(parked.stream, 2, 1)[0].type
        )


def test_a_parked_projection_is_left_alone_until_it_is_rebuilt(store: Path) -> None:
    poisoned = Count(stumble_at=3)
    with LogReader(store) as log:
        with models(store, poisoned) as found:
            found.catch_up(log)
            tried = poisoned.stumbled
            found.catch_up(log)

            assert poisoned.stumbled == tried

        with models(store, Count()) as found:
            found.catch_up(log)
            assert found.standings()[-1].parked is not None

            found.rebuild(log)

            assert found.standings()[-1].parked is None
            assert found.standings()[-1].position == log.position()


def test_an_event_that_cannot_be_read_parks_and_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    bad = unknown("run.completed")
    write(path, "a", started(), bad)

    with LogReader(path) as log, models(path) as found:
        found.catch_up(log)

        assert {one.parked.seq for one in found.standings() if one.parked} == {1}
        with pytest.raises(BadEvent):
            state_at(log, RunReport(), "run/a")
        assert state_at(log, RunReport(), "run/a", 0).state.life.persona == "p"


def test_events_of_a_newer_playhead_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "a", started(), unknown("dream.dreamt"), ("", facts.RunCompleted(result=Raw(b"\xc0"))))

    with LogReader(path) as log, models(path) as found:
        found.catch_up(log)

        assert [one.skipped for one in found.standings()] == [1, 1, 1]
        report = found.get(RunReport(), "a")
        assert report is not None
        assert (report.life.status, report.life.events, report.skipped) == ("completed", 3, 1)
        line = found.get(Runs(), "a")
        assert line is not None
        assert line.life.events == 3


@pytest.mark.parametrize("seed", range(4))
def test_newer_versions_of_known_types_count_by_their_type_wherever_they_are_asked_for(
    desk: Desk, seed: int
) -> None:
    chance = random.Random(seed)
    with LogReader(desk.path) as log:
        told = [
            event._replace(version=99) if seed and chance.random() < seed / 4 else event
            for event in log.scan(f"run/{desk.run}")
        ]

    line, report = fold(Runs(), desk.run, told).state, fold(RunReport(), desk.run, told).state
    whole, receipts = fold(Reports(), desk.run, told).state, fold(Receipts(), desk.run, told).state
    indexed = fold(Search(), desk.run, told).state
    assert (line.life.status, line.life.events) == ("completed", len(told))
    assert indexed.life == report.life == whole.report.life == line.life
    assert indexed.ledger == report.ledger == line.ledger
    assert indexed.used == report.used == line.used
    assert (indexed.operations, len(indexed.steps)) == (line.operations, line.steps)
    assert (len(report.operations), len(report.steps)) == (line.operations, line.steps)
    assert receipts.open == {}
    assert report.skipped == sum(event.version == 99 for event in told)


def test_a_list_ends_with_its_oldest_state_however_many_there_are(tmp_path: Path) -> None:
    path, many = tmp_path / "runs.db", 100_001
    body = msgspec.msgpack.encode(Counted())
    with ReadModels.open(path, [Count()]) as found:
        rows = (
            (str(n), n, models_file.sealed("count", str(n), n, "all", body=body), body) for n in range(many)
        )
        found._db.execute("begin")
        found._db.executemany("insert into state values ('count', ?, ?, 'all', ?, ?)", rows)
        found._db.execute("commit")

        assert sum(1 for _ in found.newest(Count())) == many
        assert len(found.labelled(Count(), "all")) == many
        assert len(list(found.newest(Count(), limit=7))) == 7


def test_what_an_older_playhead_skipped_is_folded_again_by_one_that_knows_it(tmp_path: Path) -> None:
    older = Catalog([fact for fact in FACTS if fact is not facts.RunCompleted])
    path = tmp_path / "runs.db"
    write(path, "a", started(), ("", facts.RunCompleted(result=Raw(b"\xc0"))))
    with LogReader(path) as log:
        with ReadModels.open(path, [Count(), Search()], catalog=older) as found:
            found.catch_up(log)
            assert [one.skipped for one in found.standings()] == [1, 1]
        with ReadModels.open(path, [Count(), Search()], catalog=older) as found:
            assert found.catch_up(log) == 0

        proof = prove(log, models_path(path), [Search()])
        assert not proof.differences
        assert "knew other types" in proof.compared[0].left_out
        with ReadModels.open(path, [Count(), Search()]) as found:
            assert found.catch_up(log) == 2
            assert [one.skipped for one in found.standings()] == [0, 0]
            assert found.get(Count(), "a") == Counted(2, "run.completed")
        with ReadModels.open(path, [Count(), Search()], catalog=older) as found:
            assert found.catch_up(log) == 0  # nothing was skipped, so nothing is missing


def test_another_past_under_the_same_name_is_noticed(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "runs.db"
    other.parent.mkdir()
    record(other, (audit, [7]))
    with LogReader(store) as log, models(store) as found:
        found.catch_up(log)

    with LogReader(other) as log, models(store) as found:
        found.catch_up(log)

        assert [key for key, _ in found.contents("runs")] == [
            name.partition("/")[2] for name in log.streams("run")
        ]


def test_what_was_folded_from_a_payload_that_is_erased_later_is_folded_again(store: Path) -> None:
    with LogReader(store) as log:
        with models(store) as found:
            found.catch_up(log)
            before = contents(found)
        run = log.streams("run")[0].partition("/")[2]
        victim = next(event for event in log.scan(f"run/{run}") if event.type == "model.answered")

        erase(store, run, victim.seq)

        with models(store) as found:
            assert found.catch_up(log) >= log.count()
            after = contents(found)
            assert after["run_report"] != before["run_report"]
            for stream in log.streams("run"):
                folded = msgspec.msgpack.encode(state_at(log, RunReport(), stream).state)
                assert dict(after["run_report"])[stream.partition("/")[2]] == folded
        with models(store) as found:
            assert found.catch_up(log) == 0  # and once is enough


def test_two_at_once_do_not_fold_an_event_twice(store: Path) -> None:
    with LogReader(store) as log, models(store) as one, models(store) as other:
        stale = other._tracks["runs"]
        one.catch_up(log)
        # The other one had loaded its place before: it must see that it was overtaken.
        assert stale.position == 0
        other._together(log, list(other._tracks.values()))
        for track in other._tracks.values():
            assert track.behind
            other._retry(log, track)
        before = contents(one)

        one.rebuild(log)

        assert contents(one) == before


def test_the_state_as_of_an_event_is_the_fold_up_to_it(store: Path) -> None:
    with LogReader(store) as log:
        stream = log.streams("run")[0]
        statuses = [state_at(log, RunReport(), stream, seq).state.life for seq in range(log.head(stream).seq)]

        assert [life.events for life in statuses] == list(range(1, len(statuses) + 1))
        assert [life.status for life in statuses[:-1]] == ["running"] * (len(statuses) - 1)
        assert statuses[-1].status == "completed"
        with pytest.raises(NotFound, match="no event 999"):
            state_at(log, RunReport(), stream, 999)


INTERRUPTED = """
import sys
from pathlib import Path
from playhead.log.reader import LogReader
from playhead_projections import models_file, projector
from playhead_projections.receipts import Receipts
from playhead_projections.reports.fold import Reports
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from playhead_projections.search.tables import Search
projector.PAGE_EVENTS, projector.CHECKPOINT_EVENTS = 2, 3
store = Path(sys.argv[1])
print("ready", flush=True)
with LogReader(store) as log, projector.ReadModels.open(store, [Runs(), RunReport(), Receipts()]) as models:
    while True:
        models.catch_up(log)
        models.rebuild(log)
"""


def test_killed_at_any_moment_it_leaves_a_checkpoint_to_go_on_from(store: Path) -> None:
    chance = random.Random(17)
    with LogReader(store) as log, models(store) as found:
        found.catch_up(log)
        whole = contents(found)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")]),
    }

    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(store)], env=environment, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(chance.uniform(0.005, 0.12))
            child.send_signal(signal.SIGKILL)

        with LogReader(store) as log, models(store) as found:
            found.catch_up(log)

            assert contents(found) == whole


def test_reading_read_models_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom playhead_projections import projector, receipts, run_report, runs\n"
        "print({'asyncio', 'pydantic', 'structlog', 'aiosqlite'} & set(sys.modules))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")]),
    }

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"


def test_the_file_is_not_taken_for_a_log(store: Path) -> None:
    with LogReader(store) as log, models(store) as found:
        found.catch_up(log)

    db = sqlite.connect(models_path(store))
    try:
        assert db.execute("pragma application_id").fetchone()[0] == models_file.APPLICATION_ID
    finally:
        db.close()
