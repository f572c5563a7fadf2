"""The log proves itself: whatever is edited, taken out, put in or moved is found, and said where.

Every case is checked with both verifiers: playhead's, and the stand-alone one of docs/verify_log.py.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from playhead.errors import NotFound
from playhead.log.anchors import anchors_path, write_anchors
from playhead.log.envelope import Anchor, Event
from playhead.log.evidence import Fault, Walk
from playhead.log.verify import Expectation, Verification, verify, verify_events
from tests.log.evidence_helpers import (
    STANDALONE,
    an_anchor,
    at,
    both,
    copy_of,
    cut_tail,
    flipped,
    forget,
    hand_in,
    kinds,
    verify_log,
)
from tests.log.second_writer import SecondWriter, a_store

RUN = "run/4wq2mzkq7xha"


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_store(tmp_path_factory.mktemp("sound") / "sound.db")


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    return copy_of(sound, tmp_path / "store.db")


def faults_at(said: Verification, stream: str, seq: int) -> list[Fault]:
    return [fault for fault in said.faults if (fault.stream, fault.seq) == (stream, seq)]


def test_a_sound_store_has_no_faults(store: Path) -> None:
    said = both(store)

    assert said.ok
    assert (said.events, said.streams, said.erased) == (41, 4, 1)
    assert [end.stream for end in said.ends][:2] == [RUN, "run/b"]


def test_an_empty_store_has_no_faults(tmp_path: Path) -> None:
    assert both(SecondWriter(tmp_path / "empty.db").close()).ok


def test_a_live_store_is_verified_while_somebody_writes(store: Path) -> None:
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("begin immediate")
        db.execute("update store set scheme = 'x'")

        assert both(store).ok

        db.execute("commit")
        assert kinds(both(store)) == {"store"}


def test_the_anchor_file_beside_a_store_is_read(store: Path) -> None:
    said = both(store)
    write_anchors(store, [an_anchor(said, end.stream) for end in said.ends])
    assert both(store).ok
    assert alone(store).returncode == 0

    with hand_in(store) as db:
        cut_tail(db, 30)

    assert kinds(verify(store)) == {"anchor"}
    assert alone(store).returncode == 4
    assert verify(store, anchors=()).ok


def test_an_anchor_file_that_makes_no_sense_is_a_fault(store: Path) -> None:
    anchors_path(store).write_text('{"position": 1}\n')

    assert kinds(verify(store)) == {"anchor"}
    assert alone(store).returncode != 0


def test_where_there_is_no_file_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify(tmp_path / "none.db")


# One column of one event.

EDITS = {
    "type": "type = 'tool.denied'",
    "version": "version = version + 1",
    "at": "at = at ^ 1",
    "epoch": "epoch = epoch + 1",
    "op": "op = op || '1'",
    "cause": "cause = 1",
    "append_id": "append_id = zeroblob(16)",
    "append_id taken away": "append_id = null",
    "digest": "digest = zeroblob(32)",
    "type of another size": "type = type || 'x', op = substr(op, 2)",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("seq", [0, 3, 9])
def test_an_edited_column_is_found_at_its_event(store: Path, edit: str, seq: int) -> None:
    edit = edit.replace("^ 1", "+ 1")
    with hand_in(store) as db:
        db.execute(f"update events set {edit} where position = {at(db, RUN, seq)}")

    said = both(store)

    assert faults_at(said, RUN, seq)
    assert not [fault for fault in said.faults if fault.stream not in (RUN, None)]
    assert not [fault for fault in said.faults if fault.seq is not None and fault.seq != seq]


@pytest.mark.parametrize("column", ["salt", "bytes"])
def test_one_bit_of_a_salt_or_a_payload_is_found_at_its_event(store: Path, column: str) -> None:
    with hand_in(store) as db:
        position = at(db, RUN, 5)
        (data,) = db.execute(f"select {column} from payloads where position = {position}").fetchone()
        db.execute(f"update payloads set {column} = ? where position = {position}", (flipped(data, 77),))

    (fault,) = both(store).faults

    assert (fault.kind, fault.stream, fault.seq, fault.position) == ("digest", RUN, 5, position)


def test_one_bit_of_each_digest_is_found_at_its_event_alone(sound: Path, tmp_path: Path) -> None:
    for seq in range(10):
        store = copy_of(sound, tmp_path / f"{seq}.db")
        with hand_in(store) as db:
            position = at(db, RUN, seq)
            (digest,) = db.execute(f"select digest from events where position = {position}").fetchone()
            db.execute(f"update events set digest = ? where position = {position}", (flipped(digest, seq),))

        said = both(store)

        assert [fault.seq for fault in said.faults if fault.kind == "digest"] == [seq]


def test_bytes_moved_from_the_payload_to_the_salt_are_found(store: Path) -> None:
    with hand_in(store) as db:
        db.execute(
            "update payloads set salt = cast(salt || substr(bytes, 1, 1) as blob), bytes = substr(bytes, 2)"
            f" where position = {at(db, RUN, 5)}"
        )

    assert kinds(both(store)) == {"type", "payload"}


# Events taken out, put in, moved.


@pytest.mark.parametrize("seq", [0, 4])
def test_an_event_deleted_at_the_start_or_in_the_middle_is_missed(store: Path, seq: int) -> None:
    with hand_in(store) as db:
        forget(db, at(db, RUN, seq))

    said = both(store)

    (fault,) = faults_at(said, RUN, seq + 1)
    assert fault.kind == "missing"
    assert f"event {seq} is missing" in fault.sentence
    assert not [other for other in said.faults if other.kind == "digest"]


def test_an_event_taken_out_from_under_an_anchor_is_named(store: Path) -> None:
    with closing(sqlite3.connect(store)) as db:
        position, digest = db.execute("select position, digest from events where position = 20").fetchone()
    with hand_in(store) as db:
        forget(db, position)

    said = both(store, anchors=[Anchor(position, 20, digest, RUN, 0, digest)])

    assert [str(fault) for fault in said.faults if fault.kind == "anchor" and "not here" in fault.sentence]


@pytest.mark.parametrize("columns", ["type, version, at, epoch, op, cause, append_id, digest", "seq"])
def test_two_events_swapped_are_found(store: Path, columns: str) -> None:
    with hand_in(store) as db:
        first, second = at(db, RUN, 3), at(db, RUN, 4)
        rows = {
            position: db.execute(f"select {columns} from events where position = {position}").fetchone()
            for position in (first, second)
        }
        db.execute(f"update events set seq = 999 where position = {first}")
        for position, other in ((second, first), (first, second)):
            values = ", ".join(f"{name} = ?" for name in columns.split(", "))
            db.execute(f"update events set {values} where position = {position}", rows[other])
        if columns != "seq":
            db.execute(f"update events set seq = 3 where position = {first}")

    said = both(store)

    assert faults_at(said, RUN, 3) or faults_at(said, RUN, 4)


def test_two_payloads_swapped_are_found_at_both_events(store: Path) -> None:
    with hand_in(store) as db:
        first, second = at(db, RUN, 3), at(db, RUN, 4)
        for old, new in ((first, -1), (second, first), (-1, second)):
            db.execute(f"update payloads set position = {new} where position = {old}")

    said = both(store)

    assert [(fault.kind, fault.seq) for fault in said.faults] == [("digest", 3), ("digest", 4)]


def test_an_event_put_in_between_is_found(store: Path) -> None:
    with hand_in(store) as db:
        here = at(db, RUN, 4)
        later = "select position, seq from events where stream = 1 and seq >= 4 order by seq desc"
        for position, seq in db.execute(later).fetchall():
            db.execute(f"update events set seq = {seq + 1} where position = {position}")
        db.execute(
            "insert into events select 1000, stream, 4, type, version, at, epoch, op, cause, append_id,"
            f" digest, running from events where position = {here}"
        )
        db.execute(
            f"insert into payloads select 1000, salt, bytes, blob, null from payloads where position = {here}"
        )
        db.execute("update heads set seq = seq + 1 where stream = 1")

    said = both(store)

    assert {"missing", "order"} <= kinds(said)
    assert [fault for fault in said.faults if fault.stream == RUN]


def test_an_event_added_at_the_end_does_not_fit(store: Path) -> None:
    with hand_in(store) as db:
        db.execute(
            "insert into events select 42, stream, 10, type, version, at, epoch, op, cause, append_id,"
            f" digest, running from events where position = {at(db, RUN, 9)}"
        )
        db.execute("insert into payloads values (42, zeroblob(16), x'80', null, null)")

    said = both(store)

    assert [(fault.kind, fault.seq) for fault in said.faults] == [("digest", 10), ("running", 10)]


def test_an_event_given_to_another_stream_is_found(store: Path) -> None:
    with hand_in(store) as db:
        db.execute(f"update events set stream = 2, seq = 99 where position = {at(db, RUN, 4)}")

    assert {"missing"} <= kinds(both(store))


def test_a_renamed_stream_is_found_at_its_first_event(store: Path) -> None:
    with hand_in(store) as db:
        db.execute("update streams set name = 'run/someoneelse1' where name = ?", (RUN,))

    said = both(store)

    assert said.faults[0].kind == "digest"
    assert (said.faults[0].stream, said.faults[0].seq) == ("run/someoneelse1", 0)


def test_two_streams_with_their_names_exchanged_are_found(store: Path) -> None:
    with hand_in(store) as db:
        for old, new in ((RUN, "run/x"), ("run/b", RUN), ("run/x", "run/b")):
            db.execute("update streams set name = ? where name = ?", (new, old))

    said = both(store)

    assert {fault.stream for fault in said.faults if fault.kind == "digest"} == {RUN, "run/b"}


# Payloads, large and erased.


def test_a_large_payload_replaced_is_found(store: Path) -> None:
    with hand_in(store) as db:
        db.execute("update blobs set bytes = zeroblob(70000) where rowid = 1")

    assert {"blob", "payload"} == kinds(both(store))


def test_a_large_payload_replaced_together_with_its_address_is_found_at_its_event(store: Path) -> None:
    other = bytes(70_000)
    with hand_in(store) as db:
        (address,) = db.execute("select address from blobs where rowid = 1").fetchone()
        new = sha256(other).digest()
        db.execute("update blobs set bytes = ?, address = ? where rowid = 1", (other, new))
        db.execute("update payloads set blob = ? where blob = ?", (new, address))

    (fault,) = both(store).faults

    assert fault.kind == "digest"
    assert fault.seq is not None


def test_a_large_payload_taken_out_is_missed(store: Path) -> None:
    with hand_in(store) as db:
        db.execute("delete from blobs where rowid = 2")

    assert kinds(both(store)) == {"blob", "payload"}


def test_a_payload_taken_out_is_missed_at_its_event(store: Path) -> None:
    with hand_in(store) as db:
        db.execute(f"delete from payloads where position = {at(db, RUN, 5)}")

    (fault,) = both(store).faults

    assert (fault.kind, fault.stream, fault.seq) == ("payload", RUN, 5)


def test_a_payload_without_an_event_is_found(store: Path) -> None:
    with hand_in(store) as db:
        db.execute("insert into payloads values (500, zeroblob(16), x'80', null, null)")

    (fault,) = both(store).faults

    assert (fault.kind, fault.position) == ("orphan", 500)


def test_a_payload_erased_without_an_event_that_says_so_is_found(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    for number in range(6):
        writer.event(RUN, bytes([number]) * 40)
    writer.erase(RUN, 3, say_so=False)

    (fault,) = both(writer.close()).faults

    assert (fault.kind, fault.stream, fault.seq) == ("erased", RUN, 3)


@pytest.mark.parametrize("how", ["earlier", "in another stream", "of another type", "of another event"])
def test_an_erasure_must_be_named_by_a_later_event_of_its_own_stream(tmp_path: Path, how: str) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    if how == "earlier":
        writer.event(RUN, b"", type_="payload.erased", cause=2)
    for number in range(4):
        writer.event(RUN, bytes([number]) * 40)
        writer.event("run/b", bytes([number]) * 40)
    writer.erase(RUN, 2, say_so=False)
    if how == "in another stream":
        writer.event("run/b", b"", type_="payload.erased", cause=2)
    if how == "of another type":
        writer.event(RUN, b"", type_="payload.kept", cause=2)
    if how == "of another event":
        writer.event(RUN, b"", type_="payload.erased", cause=1)

    assert kinds(both(writer.close())) == {"erased"}


def test_a_commitment_cannot_be_edited(store: Path) -> None:
    with hand_in(store) as db:
        db.execute("update payloads set commitment = zeroblob(32) where commitment is not null")

    (fault,) = both(store).faults

    assert (fault.kind, fault.stream, fault.seq) == ("digest", "mailbox/b", 1)


# Expectations, lists of events, and the stand-alone verifier.


def test_an_expectation_reads_as_it_is_printed(store: Path) -> None:
    for end in [*both(store).ends, both(store).store]:
        assert Expectation.parse(str(end)) == end


@pytest.mark.parametrize(
    "text", ["", "run/a@1", "run/a@x:" + "0" * 64, "run/a@1:" + "0" * 63, "@1:" + "0" * 64]
)
def test_an_expectation_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="STREAM@SEQ:DIGEST"):
        Expectation.parse(text)


def events_of(path: Path, stream: str) -> tuple[list[Event], dict[int, bytes]]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "select e.position, name, seq, type, version, at, epoch, op, cause, append_id, salt,"
            " coalesce(p.bytes, b.bytes), digest, commitment from events e join streams using (stream)"
            " join payloads p using (position) left join blobs b on b.address = p.blob"
            " where name = ? order by seq",
            (stream,),
        ).fetchall()
    return [Event(*row[:13]) for row in rows], {row[0]: row[13] for row in rows if row[13]}


def test_a_list_of_events_is_verified_without_a_store(store: Path) -> None:
    events, commitments = events_of(store, "mailbox/b")

    assert verify_events(events, commitments=commitments).ok
    assert not verify_events(events).ok
    assert not verify_events(events[1:], commitments=commitments).ok
    assert not verify_events([*events[:3], events[3]._replace(op="0/other#0"), *events[4:]]).ok


def test_a_list_that_ends_early_is_noticed_by_an_expectation(store: Path) -> None:
    events, commitments = events_of(store, RUN)
    kept = Expectation(RUN, events[-1].seq, events[-1].digest)

    assert verify_events(events, commitments=commitments, expect=[kept]).ok
    assert not verify_events(events[:-1], commitments=commitments, expect=[kept]).ok


def test_a_store_in_memory_is_walked_with_what_it_has(store: Path) -> None:
    events, commitments = events_of(store, "run/b")
    walk = Walk()
    walk.head("run/b", len(events), events[-1].digest, 0)
    for position, event in enumerate(events, start=1):
        walk.event(event._replace(position=position), commitments.get(event.position))

    assert [fault.kind for fault in walk.finish().faults] == ["store"]


def test_the_stand_alone_verifier_is_short_and_imports_nothing_of_playhead() -> None:
    text = STANDALONE.read_text()

    assert len(text.splitlines()) < 100
    assert "import playhead" not in text
    assert "from playhead" not in text


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(STANDALONE), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stand_alone_verifier_exits_with_0_or_4_and_prints_what_to_keep(store: Path) -> None:
    said = both(store)
    sound = alone(store)

    assert sound.returncode == 0, sound
    assert sound.stdout.splitlines()[0] == str(said.store)
    kept = sound.stdout.splitlines()[2]
    with hand_in(store) as db:
        cut_tail(db, 5)
    assert alone(store).returncode == 0
    cut = alone(store, "--expect", kept)
    assert cut.returncode == 4
    assert kept in cut.stdout


def test_the_stand_alone_verifier_knows_the_schema_of_the_format() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.text_factory = bytearray
        db.executescript((STANDALONE.parents[1] / "engine/playhead/log/schema.sql").read_text())
        rows = db.execute("select type, name, tbl_name, sql from sqlite_master order by name").fetchall()
    text = b"\n".join(b"|".join(bytes(column or b"") for column in row) for row in rows)

    assert sha256(text).hexdigest() == verify_log.SCHEMA


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "the following arguments are required: STORE"),
        (["nowhere.db"], 4, "FAULT nowhere.db cannot be read as a store: unable to open database file"),
        (["."], 4, "FAULT . cannot be read as a store:"),
        (["note.txt"], 4, "FAULT file is not a database"),
        (["note.txt", "--expect"], 2, "expected at least one argument"),
        (["note.txt", "--since"], 2, "unrecognized arguments"),
        (["note.txt", "--expect", "X\x1b[2J"], 4, r"not here are ['x\x1b[2j']"),
    ],
)
def test_the_stand_alone_verifier_says_of_what_is_no_store_that_it_is_none(
    tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    (tmp_path / "note.txt").write_text("nothing of a store\n" * 50)
    command = [sys.executable, "-I", "-S", str(STANDALONE), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == code
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
