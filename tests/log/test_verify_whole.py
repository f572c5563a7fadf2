"""What a store says of itself is checked: header, schema, heads, its own row, and every page of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from playhead.log.evidence import FAULTS_LISTED_MAX
from tests.log.evidence_helpers import both, hand_in, kinds
from tests.log.second_writer import SecondWriter, a_store

RUN = "run/4wq2mzkq7xha"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return a_store(tmp_path / "store.db")


WHOLE: dict[str, tuple[str, str]] = {
    "a head's seq is beyond the end": ("update heads set seq = seq + 1 where stream = 1", "missing"),
    "a head's seq is too high": ("update heads set seq = seq + 1 where stream = 2", "head"),
    "a head's seq is too low": ("update heads set seq = seq - 1 where stream = 2", "head"),
    "a head's seq is nothing": ("update heads set seq = 0 where stream = 2", "type"),
    "a head's digest differs": ("update heads set digest = zeroblob(32) where stream = 2", "head"),
    "a head's epoch differs": ("update heads set epoch = 5 where stream = 2", "head"),
    "a head is gone": ("delete from heads where stream = 2", "head"),
    "a head of no stream": ("insert into heads values (77, 1, zeroblob(32), 0, null, '', null)", "type"),
    "a stream's name is gone": ("delete from streams where stream = 2", "type"),
    "a stream without events": ("insert into streams values (77, 'run/z', 'playhead.event/1')", "missing"),
    "an unknown scheme": ("update streams set scheme = 'playhead.event/9' where stream = 2", "stream"),
    "the store's scheme differs": ("update store set scheme = 'x'", "store"),
    "the store's row is gone": ("delete from store", "store"),
    "the store's row has another number": (
        "pragma ignore_check_constraints = 1; update store set id = 3; pragma ignore_check_constraints = 0",
        "type",
    ),
    "a negative cause": ("update events set cause = -1 where cause is null", "type"),
    "a running digest of another size": ("update events set running = x'00' where position = 5", "type"),
    "an empty append id": ("update events set append_id = x'' where position = 5", "type"),
    "the file's application_id differs": ("pragma application_id = 1", "header"),
    "the file is of a newer format": ("pragma user_version = 2", "header"),
    "a table too many": ("create table more (a)", "schema"),
    "an index too many": ("create index more on events (op)", "schema"),
    "a trigger too many": ("create trigger t after insert on events begin select 1;end", "schema"),
    "a view too many": ("create view v as select 1", "schema"),
    "an index is gone": ("drop index heads_by_status", "schema"),
}


@pytest.mark.parametrize(("sql", "kind"), WHOLE.values(), ids=WHOLE.keys())
def test_what_the_store_says_of_itself_is_checked(store: Path, sql: str, kind: str) -> None:
    with hand_in(store) as db:
        for statement in sql.split("; "):
            db.execute(statement)

    assert kind in kinds(both(store))


def test_an_append_id_that_is_empty_and_not_null_is_found(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    writer.event(RUN, b"", append_id=b"")
    path = writer.close()
    assert both(path).ok
    with hand_in(path) as db:
        db.execute("update events set append_id = x''")  # the digest is the same for both

    assert "type" in kinds(both(path))


def test_triggers_that_were_taken_away_are_missed(store: Path) -> None:
    with closing(sqlite3.connect(store)) as db:
        db.execute("drop trigger events_never_change")

    (fault,) = both(store).faults

    assert fault.sentence == "trigger events_never_change is missing."


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at" * 400])
def test_a_file_that_is_no_store_is_a_fault_and_no_crash(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strange.db"
    path.write_bytes(content)

    assert not both(path).ok


def test_the_walk_goes_on_behind_a_page_that_cannot_be_read(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db", page_size=1024)
    for number in range(400):
        writer.event("run/a" if number % 2 else "run/b", bytes(20))
    path = writer.close()
    with closing(sqlite3.connect(path)) as db:
        leaves = "select pageno from dbstat where name = 'events' and pagetype = 'leaf' order by path"
        try:
            pages = [row[0] for row in db.execute(leaves)]
        except sqlite3.Error:
            pytest.skip("this SQLite has no dbstat table")
    with path.open("r+b") as file:
        file.seek((pages[len(pages) // 2] - 1) * 1024)
        file.write(b"\xff" * 1024)

    said = both(path)

    assert 350 < said.events < 400
    assert "unreadable" in kinds(said)
    # What comes behind the gap is linked again: only the gap itself is told.
    assert not [fault for fault in said.faults if fault.kind in ("digest", "payload")]


def test_faults_beyond_the_listed_ones_are_counted(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    for _ in range(FAULTS_LISTED_MAX + 50):
        writer.event(RUN, b"\x80")
    path = writer.close()
    with hand_in(path) as db:
        db.execute("update payloads set bytes = x'81'")

    said = both(path)

    assert (len(said.faults), said.faults_unlisted) == (FAULTS_LISTED_MAX, 50)


def test_a_number_out_of_range_is_found_though_every_digest_was_made_for_it(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    writer.event(RUN, b"\x80")
    path = writer.close()
    digest = sha256(b"playhead.event/1").digest()  # of an event without a header
    running = sha256(b"playhead.store/1" + bytes(32) + (1).to_bytes(8, "big") + digest).digest()
    with hand_in(path) as db:
        db.execute("update events set version = 1 << 40, digest = ?, running = ?", (digest, running))
        db.execute("update heads set digest = ?", (digest,))

    assert kinds(both(path)) == {"type"}
