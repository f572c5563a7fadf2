"""A stranger's log is read or refused, never trusted: no crash, no hang, none of its schema runs."""

from __future__ import annotations

import io
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import ImportRefused, NotFound
from playhead.log import envelope, quarantine, quarantine_child
from playhead.log.graft import StreamCopy, check_copies
from playhead.log.quarantine_child import frames, pack, unpack
from playhead.log.verify import Expectation, verify
from tests.log.evidence_helpers import copy_of, hand_in
from tests.log.second_writer import SecondWriter, a_store

MUTANTS = 300
MUTANTS_LONG = 10_000
RUN = "run/4wq2mzkq7xha"


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_store(tmp_path_factory.mktemp("stranger") / "sound.db", large=1)


@pytest.fixture
def stranger(sound: Path, tmp_path: Path) -> Path:
    return copy_of(sound, tmp_path / "stranger.db")


def refusal(path: Path) -> str:
    with pytest.raises(ImportRefused) as told:
        quarantine.read(path)
    return str(told.value)


def test_a_sound_file_comes_through_byte_for_byte(stranger: Path) -> None:
    copies = quarantine.read(stranger)

    assert [copy.stream for copy in copies] == [RUN, "run/b", "mailbox/b", "state/ключ 1"]
    check_copies(copies)
    ends = [Expectation(copy.stream, len(copy.events) - 1, copy.events[-1].digest) for copy in copies]
    assert tuple(ends) == verify(stranger).ends
    with closing(sqlite3.connect(stranger)) as db:
        salts = dict(db.execute("select position, salt from payloads"))
        bytes_ = dict(
            db.execute(
                "select position, coalesce(p.bytes, b.bytes) from payloads p"
                " left join blobs b on address = blob"
            )
        )
    for copy in copies:
        assert all(event.salt == salts[event.position] for event in copy.events)
        assert all(event.payload == bytes_[event.position] for event in copy.events)
    assert sum(len(copy.commitments) for copy in copies) == 1


def test_an_empty_store_holds_no_streams(tmp_path: Path) -> None:
    assert quarantine.read(SecondWriter(tmp_path / "empty.db").close()) == []


def test_where_there_is_no_file_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        quarantine.read(tmp_path / "none.db")


def test_a_file_in_wal_mode_is_refused_and_its_wal_is_not_touched(stranger: Path) -> None:
    with closing(sqlite3.connect(stranger, isolation_level=None)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("update heads set status = 'x'")
        assert "WAL mode" in refusal(stranger)
        assert stranger.with_name("stranger.db-wal").exists()


def test_a_journal_beside_the_file_is_not_picked_up(stranger: Path) -> None:
    for suffix in ("-wal", "-journal"):
        stranger.with_name(f"stranger.db{suffix}").write_bytes(os.urandom(8192))

    assert len(quarantine.read(stranger)) == 4


def test_an_expectation_is_held_against_the_file(stranger: Path) -> None:
    end = verify(stranger).ends[0]

    assert quarantine.read(stranger, expect=[end])
    with pytest.raises(ImportRefused, match="not here"):
        quarantine.read(stranger, expect=[end._replace(seq=99)])


SCHEMES: dict[str, str] = {
    "a trigger": "create trigger t after insert on events begin select 1; end",
    "a view": "create view v as select load_extension('x')",
    "an expression index": "create index i on events (abs(seq))",
    "a partial index": "create index i on events (seq) where abs(seq) > 1",
    "one more table": "create table more (a)",
    "a generated column": "alter table store add column g integer generated always as (abs(id))",
    "a column renamed": "alter table store rename column scheme to schema",
    "statistics": "analyze",
    "a trigger taken away": "drop trigger events_never_change",
    "an index taken away": "drop index heads_by_status",
}


@pytest.mark.parametrize("sql", SCHEMES.values(), ids=SCHEMES.keys())
def test_a_schema_that_differs_in_anything_is_refused(stranger: Path, sql: str) -> None:
    with closing(sqlite3.connect(stranger, isolation_level=None)) as db:
        db.execute(sql)

    assert "schema" in refusal(stranger)


def test_a_schema_edited_in_place_is_refused(stranger: Path) -> None:
    with closing(sqlite3.connect(stranger, isolation_level=None)) as db:
        db.execute("pragma writable_schema = 1")
        db.execute(
            "update sqlite_master set sql = replace(sql, 'seq >= 0', 'seq >= 1') where name = 'events'"
        )

    assert "schema" in refusal(stranger)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CONTENT: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_bytes(b"hello" * 5000),
    "only the magic": lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4096)),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a directory": a_directory,
    "a fifo": a_fifo,
}


@pytest.mark.parametrize("make", CONTENT.values(), ids=CONTENT.keys())
def test_a_file_that_is_something_else_is_refused(stranger: Path, make: Callable[[Path], object]) -> None:
    make(stranger)

    refusal(stranger)


ROWS: dict[str, tuple[str, str]] = {
    "an edited payload": ("update payloads set bytes = x'80' where position = 3", "[digest]"),
    "another head": ("update heads set seq = seq + 1 where stream = 1", "[missing]"),
    "another digest in a head": ("update heads set digest = zeroblob(32) where stream = 2", "[head]"),
    "another running digest": ("update events set running = zeroblob(32) where position = 3", "[running]"),
    "a running digest of another size": ("update events set running = x'' where position = 3", "[running]"),
    "no event at a position": ("update events set position = 99 where position = 41", "[missing]"),
    "no head": ("delete from heads where stream = 1", "has no head"),
    "no store row": ("delete from store", "[store]"),
    "an orphan payload": ("insert into payloads values (900, zeroblob(16), x'', null, null)", "[orphan]"),
    "an event of no stream": ("update events set stream = 99 where position = 3", "belongs to no stream"),
    "a salt of another size": ("update payloads set salt = zeroblob(17) where position = 3", "salt"),
    "a negative cause": ("update events set cause = -1 where position = 3", "cause"),
    "a huge version": ("update events set version = 1 << 40 where position = 3", "version"),
    "a name with a control character": (
        "update streams set name = 'run/' || char(27) where stream = 1",
        "name",
    ),
    "a long type": ("update events set type = hex(zeroblob(100)) where position = 3", "type"),
    "another application": ("pragma application_id = 7", "application_id"),
    "a newer format": ("pragma user_version = 2", "user_version"),
}


@pytest.mark.parametrize(("sql", "said"), ROWS.values(), ids=ROWS.keys())
def test_rows_that_do_not_prove_themselves_are_refused(stranger: Path, sql: str, said: str) -> None:
    with hand_in(stranger) as db:
        db.execute(sql)

    assert said in refusal(stranger)


def test_text_that_is_no_utf_8_is_refused(stranger: Path) -> None:
    with hand_in(stranger) as db:
        db.execute("update events set op = cast(x'ff' as text) where position = 3")

    refusal(stranger)


def test_a_reader_that_takes_too_long_is_ended(
    stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(quarantine_child, "__file__", os.fspath(slow))
    monkeypatch.setattr(quarantine, "WALL_S_MAX", 0.2)

    assert "took too much time or memory, or crashed; exit code -9" in refusal(stranger)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.db"
    with path.open("wb") as file:
        file.truncate(quarantine_child.FILE_BYTES_MAX + 1)

    assert "larger than" in refusal(path)


def test_the_child_knows_the_limits_of_the_format() -> None:
    assert quarantine_child.FIELD_BYTES_MAX == envelope.PAYLOAD_BYTES_MAX


# Frames.

values = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50), st.text(max_size=50))


@given(st.lists(st.lists(values, max_size=12), max_size=5))
def test_frames_read_as_they_were_written(rows: list[list[quarantine_child.Value]]) -> None:
    pipe = io.BytesIO(b"".join(pack(*row) for row in rows))

    assert list(frames(pipe)) == rows


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_value_error(body: bytes) -> None:
    for read in (lambda: unpack(body), lambda: list(frames(io.BytesIO(body)))):
        try:
            read()
        except ValueError:
            continue


# Mutants.


def mutant(data: bytes, chance: Random) -> bytes:
    """The file, changed as a fuzzer would: bits, bytes, pages, the header, the cells' heads, the length."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 8, 64))):
        how = chance.randrange(7)
        page = chance.randrange(len(data) // 8192) * 8192
        if how == 0:
            bit = chance.randrange(len(changed) * 8)
            changed[bit // 8] ^= 1 << bit % 8
        elif how == 1:
            changed[chance.randrange(len(changed))] = chance.choice((0, 1, 127, 128, 255))
        elif how == 2:
            other = chance.randrange(len(data) // 8192) * 8192
            changed[page : page + 8192] = data[other : other + 8192]
        elif how == 3:
            changed[chance.randrange(16, 100)] = chance.randrange(256)
        elif how == 4:
            changed[min(page + chance.randrange(120), len(changed) - 1)] = chance.randrange(256)
        elif how == 5:
            start = chance.randrange(len(changed) - 64)
            changed[start : start + 32] = chance.randbytes(32)
        else:
            start = chance.randrange(len(changed) - 512) // 512 * 512
            changed[start : start + 512] = bytes(512)
    if chance.random() < 0.05:
        del changed[chance.randrange(len(changed)) :]
    return bytes(changed)


def run(sound: Path, place: Path, mutants: int, seed: int) -> Counter[str]:
    """Import `mutants` files; each is refused in words, or is the log that it was made from."""
    data = sound.read_bytes()
    expected = {copy.stream: [event.digest for event in copy.events] for copy in quarantine.read(sound)}

    def one(number: int) -> str:
        path = place / f"{number}.db"
        path.write_bytes(mutant(data, Random(f"{seed}/{number}")))
        try:
            copies: list[StreamCopy] = quarantine.read(path)
        except ImportRefused as refused:
            return "crashed" if "exit code" in str(refused) else "refused"
        finally:
            path.unlink()
        found = {copy.stream: [event.digest for event in copy.events] for copy in copies}
        assert found == expected, f"seed {seed}/{number}: another log came through"
        return "the same log"

    with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as threads:
        counted = Counter(threads.map(one, range(mutants)))
    assert not counted["crashed"], counted
    return counted


def test_mutants_of_a_file_are_refused_in_words_or_are_the_same_log(sound: Path, tmp_path: Path) -> None:
    counted = run(sound, tmp_path, MUTANTS, seed=1)

    # The control: some mutants hit bytes that mean nothing, most do not.
    assert counted["refused"] > MUTANTS // 4, counted
    assert counted["the same log"] > 0, counted


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_mutants_are_refused_in_words_or_are_the_same_log(sound: Path, tmp_path: Path) -> None:
    counted = run(sound, tmp_path, MUTANTS_LONG, seed=2)

    assert counted["refused"] > MUTANTS_LONG // 4, counted
