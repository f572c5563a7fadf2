"""What is taken out whole is found where it was; and how far a file protects its own end.

Every case is checked with both verifiers.
"""

from __future__ import annotations

import itertools
from hashlib import sha256
from pathlib import Path

import pytest

from tests.log.evidence_helpers import an_anchor, at, both, copy_of, cut_tail, flipped, forget, hand_in, kinds
from tests.log.second_writer import SecondWriter, a_store

RUN = "run/4wq2mzkq7xha"


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_store(tmp_path_factory.mktemp("sound") / "sound.db")


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    return copy_of(sound, tmp_path / "store.db")


def test_an_event_deleted_at_the_end_is_missed_by_the_head(store: Path) -> None:
    with hand_in(store) as db:
        forget(db, at(db, RUN, 9))

    (gone, last) = both(store).faults

    assert (gone.kind, gone.stream) == ("missing", None)
    assert (last.kind, last.stream, last.seq) == ("missing", RUN, 9)


def test_a_tail_cut_off_with_care_is_missed_by_an_anchor_and_by_nothing_else(store: Path) -> None:
    whole = both(store)
    with hand_in(store) as db:
        cut_tail(db, 25)

    assert both(store).ok
    said = both(store, anchors=[an_anchor(whole, RUN)])
    assert kinds(said) == {"anchor"}
    assert "position 41" in str(said.faults[0])


def test_the_last_event_of_a_run_in_flight_is_missed_by_what_was_kept_elsewhere_only(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    for number in range(8):
        writer.event(RUN, bytes([number]))
        writer.event("run/b", bytes([number]))
    writer.promise(RUN)
    path = writer.close()
    whole = both(path)
    with hand_in(path) as db:
        forget(db, 16)

    # Inside the file only the heads protect a tail, and nobody said anything of run/b since.
    assert both(path).ok
    assert kinds(both(path, anchors=[an_anchor(whole, "run/b")])) == {"anchor"}
    for kept in (whole.store, *whole.ends[1:]):
        assert kinds(both(path, [kept])) == {"anchor"}


def test_the_tail_of_a_finished_run_is_missed_by_its_head(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    for number in range(8):
        writer.event(RUN, bytes([number]))
    writer.promise(RUN)
    path = writer.close()
    with hand_in(path) as db:
        forget(db, 7)
        forget(db, 8)

    (fault,) = both(path).faults

    assert (fault.kind, fault.stream, fault.seq) == ("missing", RUN, 6)
    assert "events 6 to 7 are missing" in fault.sentence


@pytest.mark.parametrize("end", [0, 1, 2, 3])
def test_a_tail_cut_off_is_missed_by_any_stream_s_expectation(store: Path, end: int) -> None:
    kept = both(store).ends[end]
    with hand_in(store) as db:
        cut_tail(db, 3)

    assert kinds(both(store, [kept])) == {"anchor"}


def test_an_older_copy_put_back_is_noticed(tmp_path: Path) -> None:
    older, newer = tmp_path / "older.db", tmp_path / "newer.db"
    for path, events in ((older, 30), (newer, 60)):
        writer = SecondWriter(path, seed=3)
        for number in range(events):
            writer.event("run/a", bytes([number]))
        writer.close()
    anchor = an_anchor(both(newer), "run/a")

    assert both(older).ok
    assert kinds(both(older, anchors=[anchor])) == {"anchor"}
    assert both(newer, anchors=[an_anchor(both(older), "run/a"), anchor]).ok


def test_a_store_that_grew_again_after_a_cut_is_noticed(tmp_path: Path) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    for path, word in ((first, b"yes"), (second, b"no")):
        writer = SecondWriter(path, seed=3)
        for number in range(10):
            writer.event("run/a", word if number == 7 else b"same")
        writer.close()
    kept = both(first)

    assert both(second).ok
    assert kinds(both(second, [kept.store])) == {"anchor"}
    assert kinds(both(second, kept.ends)) == {"anchor"}


def test_a_running_digest_that_was_edited_is_found_at_its_position_alone(sound: Path, tmp_path: Path) -> None:
    for position in (1, 2, 20, 40, 41):
        store = copy_of(sound, tmp_path / f"{position}.db")
        with hand_in(store) as db:
            (running,) = db.execute(f"select running from events where position = {position}").fetchone()
            db.execute(
                f"update events set running = ? where position = {position}", (flipped(running, position),)
            )

        (fault,) = both(store).faults

        assert (fault.kind, fault.position) == ("running", position)


def test_running_digests_that_were_all_made_anew_are_found_where_that_began(store: Path) -> None:
    with hand_in(store) as db:
        running = bytes(32)
        rows = db.execute("select position, digest from events where position > 20 order by position")
        for position, digest in rows.fetchall():
            running = sha256(b"playhead.store/1" + running + position.to_bytes(8, "big") + digest).digest()
            db.execute(f"update events set running = ? where position = {position}", (running,))

    (fault,) = both(store).faults

    assert (fault.kind, fault.position) == ("running", 21)


def test_events_of_two_streams_that_changed_places_are_found_by_the_running_digest(store: Path) -> None:
    with hand_in(store) as db:
        rows = db.execute("select position, stream from events order by position").fetchall()
        first = next(one for (one, stream), (_, other) in itertools.pairwise(rows) if stream != other)
        for old, new in ((first, 900), (first + 1, first), (900, first + 1)):
            for table in ("events", "payloads"):
                db.execute(f"update {table} set position = {new} where position = {old}")

    said = both(store)

    assert kinds(said) == {"running"}
    assert [fault.position for fault in said.faults] == [first, first + 1, first + 2]


def test_a_hole_in_the_positions_is_found(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    for position in (1, 2, 5, 6, 7, 9):
        writer.event(RUN, b"\x80", position=position)

    said = both(writer.close())

    # Every digest fits: these events were left out while the file was written.
    assert [(fault.kind, fault.position) for fault in said.faults] == [("missing", 5), ("missing", 9)]
    assert "positions 3 to 4 are missing" in said.faults[0].sentence


@pytest.mark.parametrize("traces", [True, False])
def test_a_whole_stream_taken_out_is_missed_where_its_events_were(store: Path, traces: bool) -> None:
    with hand_in(store) as db:
        positions = [row[0] for row in db.execute("select position from events where stream = 2").fetchall()]
        for position in positions:
            forget(db, position)
        if not traces:
            db.execute("delete from streams where stream = 2")
            db.execute("delete from heads where stream = 2")

    said = both(store)

    assert kinds(said) == {"missing"}
    assert [fault.position for fault in said.faults if fault.stream is None] == [
        next(here for here in range(first, 99) if here not in positions)
        for first in positions
        if first - 1 not in positions
    ]
    assert bool([fault for fault in said.faults if fault.stream]) is traces
