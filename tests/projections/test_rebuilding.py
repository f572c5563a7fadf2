"""What is rebuilt by several processes is the same, and what is kept is held against a fresh fold."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead.errors import Busy, NotFound
from playhead.events.fact import Fact
from playhead.log.driver import sqlite
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections import as_of, proving, rebuilding
from playhead_projections.as_of import AsOf
from playhead_projections.inbox import Inbox
from playhead_projections.projection import Projection
from playhead_projections.projector import ReadModels, models_path
from playhead_projections.proving import Proof, prove
from playhead_projections.rebuilding import rebuild, shared_out
from playhead_projections.receipts import Receipts
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from playhead_projections.timeline import Timeline
from playhead_projections.trust_graph.graph import TrustGraph
from tests.long_run import recorded
from tests.projections.recorded import audit, busy, erase, failing, mixed, parent, record, unknown, write


class Counted(msgspec.Struct):
    count: int = 0


class Count(Projection[Counted]):
    """One that another process could not make, because it takes an argument."""

    name, version, state = "count", 1, Counted

    def __init__(self, start: int) -> None:
        self.start = start

    def initial(self, key: str) -> Counted:
        return Counted(self.start)

    def apply(self, state: Counted, event: Event, fact: Fact) -> Counted:
        state.count += 1
        return state


class SteadyCount(Count):
    """Like it, and made without."""

    name, effort = "steady_count", 5

    def __init__(self) -> None:
        super().__init__(7)


class Newer(Runs):
    """The list of runs, of another playhead."""

    version = 99


def every() -> list[Projection[Any]]:
    return [Runs(), RunReport(), Receipts(), Inbox(), TrustGraph()]


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("kept") / "runs.db"
    recorded(store, 700)
    record(store, (audit, [1, 2, 3]), (mixed,), (failing,), (busy,), (parent,))
    write(store, "odd", unknown("dream.dreamt"), unknown("dream.dreamt"))
    with LogReader(store) as log, ReadModels.open(store, every()) as models:
        models.catch_up(log)
        as_of.EVERY_EVENTS, usual = 100, as_of.EVERY_EVENTS  # type: ignore[misc]
        try:
            with AsOf(log) as answers:
                asked: list[Projection[Any]] = [RunReport(), Timeline()]
                for projection in asked:
                    answers.state(projection, log.streams("run")[0])
        finally:
            as_of.EVERY_EVENTS = usual  # type: ignore[misc]
    return store


@pytest.fixture
def store(recorded_once: Path, tmp_path: Path) -> Path:
    for name in ("runs.db", "runs.db-anchors", "runs.db-readmodels"):
        shutil.copy(recorded_once.with_name(name), tmp_path / name)
    return tmp_path / "runs.db"


def contents(store: Path) -> list[Any]:
    with closing(sqlite3.connect(models_path(store))) as db:
        return [
            db.execute("select * from projection order by name").fetchall(),
            db.execute(
                "select projection, key, since, label, body from state order by projection, key"
            ).fetchall(),
            db.execute("select * from list_trust_graph order by n").fetchall(),
        ]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_by_how_many_processes_it_was_rebuilt_does_not_matter(store: Path, processes: int) -> None:
    before = contents(store)
    with LogReader(store) as log, ReadModels.open(store, every()) as models:
        assert rebuild(models, log, processes=processes) == log.count()
        assert [one.parked for one in models.standings()] == [None] * 5

    assert contents(store) == before
    assert len(before[2]) > 10


def test_one_that_only_this_process_can_make_is_folded_here(store: Path) -> None:
    more: list[Projection[Any]] = [*every(), Count(5), SteadyCount()]
    with LogReader(store) as log, ReadModels.open(store, more) as models:
        rebuild(models, log, processes=2)

        assert min(each.count for each in models.newest(Count(5))) == 5  # of a run with unknown events only
        assert models.count(Count(5)) == models.count(Runs()) == models.count(SteadyCount())


def test_a_process_that_dies_leaves_the_rest_to_this_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(store)
    monkeypatch.setattr(rebuilding, "_CHILD", "raise SystemExit(1)")
    with LogReader(store) as log, ReadModels.open(store, every()) as models:
        rebuild(models, log, processes=3)

    assert contents(store) == before


def test_the_work_is_shared_out_by_effort_and_none_is_lost() -> None:
    more: list[Projection[Any]] = [*every(), Count(5)]
    for groups in (1, 2, 3, 9):
        shared = shared_out(more, groups)
        assert len(shared) == groups
        assert sorted(each.name for group in shared for each in group) == sorted(each.name for each in more)
        assert "count" in [each.name for each in shared[0]]
    first, second = (sum(each.effort for each in group) for group in shared_out(every(), 2))
    assert abs(first - second) <= 3


def test_where_nothing_can_be_written_it_is_rebuilt_in_memory(store: Path, tmp_path: Path) -> None:
    place = tmp_path / "nowhere" / "models"
    with LogReader(store) as log, ReadModels.open(store, every(), path=place) as models:
        assert models.path is None
        rebuild(models, log, processes=2)
        assert models.standings()[0].position == log.position()


# ------------------------------------------------------------------ proof


def proof(store: Path, processes: int = 1) -> Proof:
    with LogReader(store) as log:
        return prove(log, models_path(store), every(), [Timeline()], processes=processes)


def files(store: Path) -> dict[str, bytes]:
    """All but what SQLite makes to read a log."""
    return {
        path.name: path.read_bytes()
        for path in store.parent.iterdir()
        if not path.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_kept_is_proven_and_not_written_to(store: Path, processes: int) -> None:
    before = files(store)

    found = proof(store, processes)

    assert found.differences == []
    assert [each.projection for each in found.compared] == [*(one.name for one in every()), "timeline"]
    assert sum(each.states for each in found.compared) == 4 * 8 + 1
    assert sum(each.rows for each in found.compared) > 10
    assert sum(each.snapshots for each in found.compared) == 12
    assert files(store) == before


def changed(store: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(models_path(store))) as db:
        assert db.execute(sql, values).rowcount > 0
        db.commit()


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("update state set body = substr(body, 1, length(body) - 1) where projection = 'runs'", "runs"),
        ("update state set since = since + 1 where projection = 'receipts'", "receipts"),
        ("update state set label = 'other' where projection = 'run_report'", "run_report"),
        ("delete from state where projection = 'inbox'", "inbox"),
        ("insert into state values ('runs', 'zzz', 1, null, 0, x'80')", "runs"),
        ("update state set seal = seal + 1 where projection = 'receipts'", "receipts"),
        ("delete from projection where name = 'inbox'", "inbox"),
        ("update projection set sound = 99999 where name = 'runs'", "runs"),
        ("update list_trust_graph set agent = 'eve' where n = 3", "trust_graph"),
        ("update list_trust_graph set body = x'90' where n = 3", "trust_graph"),
        ("delete from list_trust_graph where n = 5", "trust_graph"),
        ("update projection set events = 9 where name = 'runs'", "runs"),
        ("update projection set digest = zeroblob(32) where name = 'runs'", "runs"),
        ("update projection set position = 99999 where name = 'runs'", "runs"),
        ("update projection set position = 5 where name = 'runs'", "runs"),
        ("insert into parked values ('runs', 1, 'run/a', 0, 3, 'boo', 't', 0)", "runs"),
        ("update trail set seen = seen + 100 where projection = 'timeline'", "timeline"),
        ("delete from trail where projection = 'run_report'", "run_report"),
        ("delete from state where projection = 'runs' and since = (select max(since) from state)", "runs"),
        ("update snapshot set body = x'80' where projection = 'timeline' and seq = 199", "timeline"),
        ("update snapshot set link = zeroblob(32) where projection = 'run_report'", "run_report"),
        ("delete from snapshot where projection = 'run_report' and seq = 99", "run_report"),
        ("update snapshot set seq = 100000 where projection = 'timeline' and seq = 599", "timeline"),
    ],
)
def test_what_is_not_what_the_log_tells_is_named(store: Path, sql: str, named: str) -> None:
    changed(store, sql)

    assert [each.projection for each in proof(store).differences] == [named]


def test_the_first_key_that_differs_is_named(store: Path) -> None:
    with closing(sqlite3.connect(models_path(store))) as db:
        keys = [row[0] for row in db.execute("select key from state where projection = 'runs' order by key")]
    for key in (keys[4], keys[2]):
        changed(store, "update state set body = x'80' where projection = 'runs' and key = ?", key)
    assert [each.key for each in proof(store).differences] == [keys[2]]


def flips(data: bytes, rng: random.Random) -> Iterator[tuple[int, bytes]]:
    for _ in range(25):
        at = rng.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        yield at, bytes(flipped)


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing_that_is_read(store: Path) -> None:
    """Of a file some bytes mean nothing: free ones, and what SQLite counts for itself."""
    whole, found = models_path(store).read_bytes(), 0
    before = contents(store)
    for at, data in flips(whole, random.Random(1)):
        models_path(store).write_bytes(data)
        if proof(store).differences:
            found += 1
            continue
        assert contents(store) == before, at
    assert found > 10


def test_a_damaged_file_is_told_without_a_traceback(store: Path) -> None:
    whole = models_path(store).read_bytes()
    for data in (b"", b"x", whole[:5000], b"\0" * 5000, whole[:200] + os.urandom(8000) + whole[8200:]):
        models_path(store).write_bytes(data)
        (difference,) = proof(store).differences
        assert difference.what.startswith("the file ")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("pragma user_version = 1", "is of layout 1"),
        ("pragma application_id = 7", "it is something else"),
        ("drop table trail", "as it was laid out"),
        (
            "update sqlite_schema set sql = replace(sql, 'since', 'key') where name = 'state_by_age'",
            "as it was laid out",
        ),
    ],
)
def test_a_file_that_answers_could_be_wrong_from_is_told(store: Path, sql: str, said: str) -> None:
    with closing(sqlite3.connect(models_path(store))) as db:
        db.execute("pragma writable_schema = on")
        db.execute(sql)
        db.commit()

    (difference,) = proof(store).differences

    assert said in difference.what


def test_what_is_dropped_when_it_is_used_is_no_difference(store: Path) -> None:
    with LogReader(store) as log:
        with ReadModels.open(store, [Newer()]) as models:
            models.catch_up(log)
        run = log.streams("run")[0].partition("/")[2]
        victim = next(event for event in log.scan(f"run/{run}") if event.type == "model.answered")
    erase(store, run, victim.seq)

    found = proof(store)

    assert found.differences == []
    assert [each.snapshots for each in found.compared] == [0] * 6
    said = {each.projection: each.left_out for each in found.compared}
    assert "version 99" in said["runs"]
    assert "before a payload was erased" in said["run_report"]


def test_a_log_that_went_on_is_proven_as_far_as_it_was_folded(store: Path) -> None:
    record(store, (audit, [4]))
    assert proof(store).differences == []


def test_another_log_under_the_same_name_is_found(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "runs.db"
    other.parent.mkdir()
    recorded(other, 700)
    shutil.copy(models_path(store), models_path(other))
    assert {each.projection for each in proof(other).differences} == {one.name for one in every()} | {
        "timeline"
    }


def test_where_nothing_is_kept_there_is_nothing_to_prove(store: Path) -> None:
    models_path(store).unlink()
    with pytest.raises(NotFound):
        proof(store)


HALF: list[Callable[[sqlite3.Connection], Any]] = [
    lambda db: db.execute("delete from state"),
    lambda db: db.execute("update snapshot set body = x'80'"),
]


@pytest.mark.parametrize("half", HALF)
def test_what_a_killed_process_had_half_written_counts_for_nothing(store: Path, half: Any) -> None:
    place = models_path(store)
    with closing(sqlite3.connect(place, isolation_level=None)) as db:
        db.execute("pragma cache_size = 1")
        db.execute("pragma journal_mode = truncate").fetchall()
        db.execute("begin immediate")
        half(db)
        files = {path: path.read_bytes() for path in store.parent.iterdir() if "readmodels" in path.name}
        db.execute("rollback")
    for path, data in files.items():  # as they lay there in the middle of it
        path.write_bytes(data)
    assert any(path.name.endswith("-journal") and data for path, data in files.items())

    assert proof(store).differences == []
    assert place.read_bytes() == files[place]


def test_what_others_keep_meanwhile_is_no_difference(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = rebuilding.fold_side_by_side

    def and_others_go_on(*asked: Any, **more: Any) -> None:
        folds(*asked, **more)
        record(store, (failing,))
        with LogReader(store) as log, ReadModels.open(store, every()) as models:
            assert models.catch_up(log)

    monkeypatch.setattr(proving, "fold_side_by_side", and_others_go_on)

    assert proof(store).differences == []


def test_a_file_that_another_process_does_not_let_go_of_is_busy(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "BUSY_MS", 10)
    with closing(sqlite.connect(models_path(store), isolation_level=None)) as db:
        db.execute("begin exclusive")
        with pytest.raises(Busy):
            proof(store)


class Paired(TrustGraph):
    """A list that says that it keeps something in another table: here one that is there anyway."""

    @property
    def tables(self) -> Sequence[tuple[str, str]]:
        return (*super().tables, ("parked", "name"))


def test_other_tables_of_a_list_are_held_against_the_log_too(store: Path) -> None:
    with LogReader(store) as log:
        assert prove(log, models_path(store), [Paired()]).differences == []

        changed(store, "insert into parked values ('x', 1, 'run/a', 0, 3, 'e', 't', 0)")

        (difference,) = prove(log, models_path(store), [Paired()]).differences
    assert (difference.key, "parked" in difference.what) == ("x", True)
