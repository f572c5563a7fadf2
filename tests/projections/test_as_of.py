"""A state as of any event is the fold up to there, whatever happened to the snapshots that it begins at."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead import Engine
from playhead.errors import BadEvent, NotFound
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.log.driver import sqlite
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections import as_of, models_file
from playhead_projections.as_of import AsOf, state_as_of, state_at
from playhead_projections.compositions.fold import Compositions
from playhead_projections.inbox import Inbox
from playhead_projections.models_file import models_path
from playhead_projections.policy_report import PolicyReport
from playhead_projections.projection import Projection
from playhead_projections.receipts import Receipts
from playhead_projections.reports.fold import Reports
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from playhead_projections.snapshots import Shelf, Trail
from playhead_projections.timeline import Timeline
from playhead_projections.trace import Traces
from tests.checkout import ROOT
from tests.long_run import recorded
from tests.projections.recorded import (
    asking,
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

encode = msgspec.msgpack.encode
EVENTS = 1_600
EVERY = 60


class Seen(msgspec.Struct):
    """Which types of events there were, and how often."""

    types: dict[str, int] = {}
    payloads: list[int] = []


class Types(Projection[Seen]):
    """A projection of a user, who never heard of pages."""

    name, version, state = "types", 1, Seen

    def initial(self, key: str) -> Seen:
        return Seen()

    def apply(self, state: Seen, event: Event, fact: Fact) -> Seen:
        state.types[event.type] = state.types.get(event.type, 0) + 1
        state.payloads.append(len(event.payload or b""))
        return state


class NewerTypes(Types):
    """The same events give another state."""

    version = 2

    def initial(self, key: str) -> Seen:
        return Seen(types={"started from": 1000})


EVERY_ONE: tuple[Projection[Any], ...] = (
    RunReport(),
    PolicyReport(),
    Reports(),
    Receipts(),
    Timeline(),
    Traces(),
    Runs(),
    Compositions(),
    Inbox(),
    Types(),
)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("long") / "runs.db"
    recorded(store, EVENTS)
    return store


@pytest.fixture
def store(long: Path, tmp_path: Path) -> Path:
    for name in ("runs.db", "runs.db-anchors"):
        shutil.copy(long.with_name(name), tmp_path / name)
    return tmp_path / "runs.db"


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_of, "EVERY_EVENTS", EVERY)
    monkeypatch.setattr(as_of, "BYTES_PER_EVENT", 10_000)


def the_run(log: LogReader) -> str:
    return log.streams("run")[0]


def folds(log: LogReader, projection: Projection[Any], seqs: set[int]) -> Iterator[tuple[int, bytes]]:
    """A digest of the state as of each of these events, by one fold from zero."""
    stream = the_run(log)
    state = projection.initial(stream.partition("/")[2])
    for event in log.scan(stream):
        state = projection.take(state, event, CATALOG.decode(event))
        if event.seq in seqs:
            yield event.seq, sha256(encode(state)).digest()


def differing(log: LogReader, answers: AsOf, projection: Projection[Any], seqs: set[int]) -> list[int]:
    """The events as of which the answer is another one than the fold."""
    stream = the_run(log)
    asked = random.Random(4).sample(sorted(seqs), len(seqs))  # not in the order of the run
    found = {seq: sha256(encode(answers.state(projection, stream, seq).state)).digest() for seq in asked}
    return [seq for seq, wanted in folds(log, projection, seqs) if found[seq] != wanted]


def kept(store: Path) -> list[tuple[str, int]]:
    db = sqlite.connect(models_path(store))
    try:
        return db.execute("select projection, seq from snapshot order by projection, seq").fetchall()
    finally:
        db.close()


# ------------------------------------------------------------------ equal


@pytest.mark.parametrize("projection", EVERY_ONE, ids=lambda one: one.name)
def test_at_any_event_it_is_the_fold_up_to_there(
    store: Path, projection: Projection[Any], often: None
) -> None:
    with LogReader(store) as log:
        end = log.head(the_run(log)).seq
        seqs = {*random.Random(1).sample(range(end), 60), 0, EVERY - 1, EVERY, EVERY + 1, end - 1}
        with AsOf(log) as cold:
            assert not differing(log, cold, projection, seqs)
        with AsOf(log) as warm:
            assert not differing(log, warm, projection, seqs)

        assert len(kept(store)) > EVENTS // EVERY // 2


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("start", [(audit, [1, 2, 3]), (mixed,), (failing,), (busy,), (parent,)], ids=str)
def test_odd_runs_too_with_a_snapshot_at_every_event(
    tmp_path: Path, start: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(as_of, "EVERY_EVENTS", 1)
    store = tmp_path / "runs.db"
    record(store, start)
    with LogReader(store) as log, AsOf(log) as answers:
        for stream in log.streams("run"):
            for projection in EVERY_ONE:
                for seq in (log.head(stream).seq - 1, *range(log.head(stream).seq)):
                    wanted = state_at(log, projection, stream, seq)
                    found = answers.state(projection, stream, seq)
                    assert encode(found.state) == encode(wanted.state)
                    assert found[1:] == wanted[1:]


def test_what_is_counted_beside_the_state_is_the_same(store: Path, often: None) -> None:
    with LogReader(store) as log, AsOf(log) as answers:
        for seq in (EVENTS, 10, EVENTS // 2):
            assert (
                answers.state(Runs(), the_run(log), seq)[1:] == state_at(log, Runs(), the_run(log), seq)[1:]
            )


def test_a_run_that_grows_is_answered_as_it_stands(tmp_path: Path, often: None) -> None:
    store = tmp_path / "runs.db"
    write(store, "a", started())
    with LogReader(store) as log, AsOf(log) as answers:
        for _ in range(5):
            write(store, "a", *[("", facts.RunClaimed(worker="w", pid=1, host="h"))] * 70)
            assert answers.state(Runs(), "run/a") == state_at(log, Runs(), "run/a")
            assert state_as_of(log, Runs(), "run/a") == state_at(log, Runs(), "run/a")
    assert len(kept(store)) == 5


def test_unknown_events_are_counted_and_leave_no_snapshots_that_a_newer_playhead_would_trust(
    tmp_path: Path, often: None
) -> None:
    store = tmp_path / "runs.db"
    write(store, "a", started(), *[unknown("dream.dreamt")] * 200)

    with LogReader(store) as log, AsOf(log) as answers:
        for seq in (200, 150, 0):
            assert answers.state(RunReport(), "run/a", seq) == state_at(log, RunReport(), "run/a", seq)

    assert kept(store) == []


def test_what_cannot_be_answered_is_refused_as_by_a_fold(tmp_path: Path, often: None) -> None:
    store = tmp_path / "runs.db"
    write(store, "a", started(), *[("", facts.RunCancelRequested(message=0, sender="s", reason=""))] * 100)
    write(store, "a", unknown("run.completed"))

    with LogReader(store) as log, AsOf(log) as answers:
        for ask in (answers.state, lambda *asked: state_as_of(log, *asked)):
            for seq, stream in ((102, "run/a"), (-1, "run/a"), (None, "run/b"), (None, "mailbox/a")):
                with pytest.raises(NotFound):
                    ask(Runs(), stream, seq)
            with pytest.raises(BadEvent):
                ask(Runs(), "run/a")
            assert ask(Runs(), "run/a", 100) == state_at(log, Runs(), "run/a", 100)


# --------------------------------------------------------- what is kept


def test_the_second_answer_begins_at_a_snapshot_also_in_another_process(
    store: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LogReader(store) as log:
        end = log.head(the_run(log)).seq
        wanted = encode(state_as_of(log, RunReport(), the_run(log), end - 1).state)
        read: list[int] = []
        scan = LogReader.read

        def counted(self: LogReader, *asked: Any, **more: Any) -> list[Event]:
            found = scan(self, *asked, **more)
            read.append(len(found))
            return found

        monkeypatch.setattr(LogReader, "read", counted)
        assert encode(state_as_of(log, RunReport(), the_run(log), end - 1).state) == wanted
        assert sum(read) <= EVERY + 2


def test_snapshots_of_a_short_run_are_not_made(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    record(store, (audit, [1, 2, 3]))
    with LogReader(store) as log:
        assert state_as_of(log, Runs(), the_run(log)) == state_at(log, Runs(), the_run(log))
    assert not models_path(store).exists()


def test_where_nothing_can_be_kept_answers_are_the_same(store: Path, often: None) -> None:
    models_path(store).write_bytes(b"")
    models_path(store).chmod(0o400)
    models_path(store).parent.chmod(0o500)
    try:
        with LogReader(store) as log, AsOf(log) as answers:
            assert not differing(log, answers, RunReport(), {50, 500, 1_400})
    finally:
        models_path(store).parent.chmod(0o700)


def test_a_newer_version_of_a_projection_does_not_begin_at_snapshots_of_the_old_one(
    store: Path, often: None
) -> None:
    for projection in (Types(), NewerTypes(), Types()):
        with LogReader(store) as log, AsOf(log) as answers:
            assert not differing(log, answers, projection, {100, 1_000, 1_400})
    assert kept(store)


def test_another_log_under_the_same_name_does_not_begin_at_snapshots_of_the_old_one(
    tmp_path: Path, often: None
) -> None:
    store = tmp_path / "runs.db"
    for worker in ("one", "two"):
        for file in tmp_path.glob("runs.db*"):
            if not file.name.endswith(models_file.SUFFIX):
                file.unlink()
        claim = facts.RunClaimed(worker=worker, pid=1, host="h")
        write(store, "a", started(name=worker), *[("", claim)] * 300)
        with LogReader(store) as log:
            for seq in (250, 100, 300):
                folded = state_as_of(log, Runs(), "run/a", seq)
                assert folded == state_at(log, Runs(), "run/a", seq)
                assert folded.state.life.name == worker


def test_the_models_can_be_deleted_while_somebody_asks(store: Path, often: None) -> None:
    with LogReader(store) as log, AsOf(log) as answers:
        assert not differing(log, answers, Receipts(), {1_000})
        models_path(store).unlink()
        assert not differing(log, answers, Receipts(), {500, 1_550})
        assert not differing(log, answers, Runs(), {500, 1_550})


# ---------------------------------------------------------------- attacks


@pytest.mark.parametrize("is_open", [True, False], ids=["asked before and after", "asked anew"])
def test_a_payload_that_is_erased_later_is_in_no_answer_any_more(
    store: Path, often: None, is_open: bool
) -> None:
    with LogReader(store) as log:
        stream = the_run(log)
        run = stream.partition("/")[2]
        victim = next(event for event in log.scan(stream, 900) if event.type == "model.answered")
        answers = AsOf(log)
        before = encode(answers.state(RunReport(), stream, 1_400).state)
        answers.state(RunReport(), stream)
        if not is_open:
            answers.close()

        erase(store, run, victim.seq)

        if not is_open:
            answers = AsOf(log)
        with answers:
            assert not differing(log, answers, RunReport(), {1_400, victim.seq - 1, victim.seq, 1_100})
            assert encode(answers.state(RunReport(), stream, 1_400).state) != before
            assert answers.state(RunReport(), stream, 1_400).state.erased == 1
    with LogReader(store) as log, AsOf(log) as again:
        assert not differing(log, again, RunReport(), {1_400, victim.seq})


def test_no_flipped_byte_of_a_snapshot_reaches_an_answer(store: Path, often: None) -> None:
    rng = random.Random(3)
    with LogReader(store) as log:
        seqs = {300, 1_200, 1_500}
        for _ in range(15):
            with AsOf(log) as answers:
                assert not differing(log, answers, Types(), seqs)
            db = sqlite.connect(models_path(store))
            rows = db.execute("select rowid, digest, link, body from snapshot").fetchall()
            rowid, *values = rng.choice(rows)
            column = rng.randrange(3)
            value = bytearray(values[column])
            value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
            name = ("digest", "link", "body")[column]
            db.execute(f"update snapshot set {name} = ? where rowid = ?", (bytes(value), rowid))
            db.commit()
            db.close()
        with AsOf(log) as answers:
            assert not differing(log, answers, Types(), seqs)


def test_no_lost_or_moved_snapshot_changes_an_answer(store: Path, often: None) -> None:
    with LogReader(store) as log:
        for harm in (
            f"delete from snapshot where seq = {2 * EVERY - 1}",
            "delete from snapshot where seq = (select max(seq) from snapshot)",
            "delete from snapshot where seq = (select min(seq) from snapshot)",
            "update snapshot set seq = seq + 1",
            "update snapshot set events = events + 1",
            "update snapshot set projection = 'runs'",
            "update trail set seen = 100000",
            "delete from trail",
        ):
            with AsOf(log) as answers:
                assert not differing(log, answers, Types(), {300, 1_200, 1_500})
                assert not differing(log, answers, Runs(), {300})
            db = sqlite.connect(models_path(store))
            db.execute(harm if "projection" not in harm else "delete from snapshot where projection = 'runs'")
            db.execute(harm)
            db.commit()
            db.close()
        with AsOf(log) as answers:
            assert not differing(log, answers, Types(), {300, 1_200, 1_500})
            assert not differing(log, answers, Runs(), {300, 1_500})


def test_a_file_full_of_holes_is_thrown_away(store: Path, often: None) -> None:
    with LogReader(store) as log:
        for seed in range(6):
            for _ in range(2):  # whoever finds a damaged file throws it away, and the next one makes another
                with AsOf(log) as answers:
                    assert not differing(log, answers, RunReport(), {300, 1_500})
            rng, data = random.Random(seed), bytearray(models_path(store).read_bytes())
            for _ in range(30 * seed + 1):
                at = rng.randrange(len(data))
                data[at : at + 200] = rng.randbytes(len(data[at : at + 200]))
            models_path(store).write_bytes(data if seed % 2 else data[: rng.randrange(len(data))])
        with AsOf(log) as answers:
            assert not differing(log, answers, RunReport(), {300, 1_500})


ASKING = """
import sys
from playhead.log.reader import LogReader
from playhead_projections import as_of
from playhead_projections.as_of import AsOf
from playhead_projections.run_report import RunReport
from playhead_projections.snapshots import Shelf, Trail
from playhead_projections.timeline import Timeline
as_of.EVERY_EVENTS, as_of.WRITTEN_TOGETHER = 20, 1
with LogReader(sys.argv[1]) as log:
    run = log.streams("run")[0]
    while True:
        for projection in (RunReport(), Timeline()):
            with AsOf(log) as answers:
                answers.state(projection, run)
        if sys.argv[2:]:
            break
"""


def asking_process(store: Path, *more: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(str(ROOT / name) for name in ("engine", "projections"))
    return subprocess.Popen(
        [sys.executable, "-c", ASKING, str(store), *more], env={**os.environ, "PYTHONPATH": paths}
    )


def test_killed_while_snapshots_are_written_they_are_whole_or_not_there(store: Path) -> None:
    with LogReader(store) as log:
        for moment in (0.0, 0.01, 0.08):
            process = asking_process(store)
            while not models_path(store).exists():
                time.sleep(0.002)
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            process.wait()
            with AsOf(log) as answers:
                assert not differing(log, answers, RunReport(), {300, 1_200, 1_500})
            models_path(store).unlink(missing_ok=True)


def test_several_processes_that_ask_at_once_keep_one_trail(store: Path) -> None:
    processes = [asking_process(store, "once") for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]

    seqs = [seq for name, seq in kept(store) if name == "run_report"]
    assert len(seqs) == len(set(seqs)) > 10
    with LogReader(store) as log, AsOf(log) as answers:
        assert not differing(log, answers, RunReport(), {300, 1_200, 1_500})
        assert not differing(log, answers, Timeline(), {300, 1_200, 1_500})


def test_what_somebody_else_kept_meanwhile_stays(tmp_path: Path) -> None:
    ours, theirs = Trail(Types(), "a"), Trail(Types(), "a")
    bodies = {
        trail: trail.form.taken(trail.form.opened(Seen(types={name: 1})))
        for trail, name in ((ours, "ours"), (theirs, "theirs"))
    }
    shelf, other = Shelf(tmp_path / "models"), Shelf(tmp_path / "models")
    kept = theirs.put(10, b"digest", 11, bodies[theirs])
    assert other.extend("types", "a", None, [kept], 20, is_sound=lambda: True)

    assert not shelf.extend(
        "types", "a", None, [ours.put(9, b"digest", 10, bodies[ours])], 30, is_sound=lambda: True
    )
    assert not shelf.extend(
        "types", "a", ours.link, [ours.put(19, b"more", 20, bodies[ours])], 30, is_sound=lambda: True
    )

    assert shelf.read("types", "a", -1, 99) == [kept]
    assert shelf.seen("types", "a") == 20
    other.close()
    shelf.close()


def test_a_file_that_is_locked_costs_a_fold_and_no_answer(
    store: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LogReader(store) as log:
        with AsOf(log) as answers:
            answers.state(Runs(), the_run(log), 500)
        monkeypatch.setattr(models_file, "BUSY_MS", 10)
        other = sqlite.connect(models_path(store), isolation_level=None)
        try:
            other.execute("begin exclusive")
            with AsOf(log) as answers:
                assert not differing(log, answers, RunReport(), {300, 1_200})
                assert not differing(log, answers, Runs(), {300, 1_200})
        finally:
            other.close()


def test_a_run_that_waits_is_answered(tmp_path: Path, often: None) -> None:
    store = tmp_path / "runs.db"

    async def go() -> None:
        async with Engine.open(store, personas=[asking]) as engine:
            await engine.start(asking)

    asyncio.run(go())
    with LogReader(store) as log, AsOf(log) as answers:
        assert answers.state(RunReport(), the_run(log)) == state_at(log, RunReport(), the_run(log))
