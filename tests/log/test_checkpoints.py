"""A checkpoint says what a log held, and a log that no longer begins with that is found out."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.errors import BadValue, Corrupt, NotFound
from playhead.log import checkpoints, merkle
from playhead.log.checkpoints import Checkpoint, check, keep, look_beside, origin_of, parse, signed
from playhead.log.envelope import NewEvent
from playhead.log.proofs import TILE_LEAVES, LogTree, tree_path
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.sign import Signer
from tests.checkout import ROOT

GOLDEN = """\
playhead.log/000102030405060708090a0b0c0d0e0f
7
oKGio6SlpqeoqaqrrK2ur6ChoqOkpaanqKmqq6ytrq8=
"""


def grow(path: Path, count: int, stream: str = "run/a") -> None:
    async def go() -> None:
        async with SqliteStore.open(path) as store:
            head = await store.head(stream)
            events = [NewEvent("some.noted", 1, n, "", None, b"\xc0") for n in range(count)]
            await store.append(stream, head.seq, events)

    asyncio.run(go())


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 20 tiles and a bit, in two streams."""
    path = tmp_path_factory.mktemp("log") / "runs.db"
    grow(path, 3_000)
    grow(path, 2_200, "run/b")
    return path


@pytest.fixture
def log_path(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(grown, tmp_path / "runs.db"))


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.new(tmp_path_factory.mktemp("key") / "ada.pem")


def note(log: LogReader, signer: Signer, size: int | None = None) -> Checkpoint:
    return parse(signed(signer, checkpoints.of(log, LogTree.of(log, shortcut=False), size)))


def edit(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    for trigger in db.execute("select name from sqlite_master where type = 'trigger'").fetchall():
        db.execute(f"drop trigger {trigger[0]}")
    db.execute(sql)
    db.commit()
    db.close()


def digests(path: Path) -> list[bytes]:
    db = sqlite3.connect(path)
    found = [row[0] for row in db.execute("select digest from events order by position")]
    db.close()
    return found


# The tree over a log.


def test_the_tree_is_that_over_the_digests_of_all_events(log_path: Path) -> None:
    held = digests(log_path)
    nodes = merkle.Leaves(held)
    with LogReader(log_path) as log:
        for shortcut in (False, True, True):
            tree = LogTree.of(log, shortcut=shortcut)
            assert tree.root() == merkle.root(nodes, 5_200)
            for size in (1, 2, 255, 256, 257, 4_096, 5_119, 5_200):
                assert tree.root(size) == merkle.root(nodes, size)
                assert tree.consistency(size) == merkle.consistency(nodes, size, 5_200)
                assert tree.inclusion(size) == merkle.inclusion(nodes, size - 1, 5_200)
                assert LogTree.of(log, size).root() == merkle.root(nodes, size)


def test_nodes_are_kept_beside_the_log_and_used(log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LogReader(log_path) as log:
        whole = LogTree.of(log).root()
        assert tree_path(log_path).stat().st_size < 20 * 32 + 200
        read: list[int] = []
        asked = LogReader.digests

        def counting(self: LogReader, after: int, limit: int) -> list[tuple[int, bytes]]:
            read.append(limit)
            return asked(self, after, limit)

        monkeypatch.setattr(LogReader, "digests", counting)
        tree = LogTree.of(log)
        assert tree.inclusion(1_000)
        assert tree.root() == whole

    assert sum(read) <= 2 * TILE_LEAVES


def test_a_log_that_grew_keeps_its_nodes_and_adds_to_them(log_path: Path) -> None:
    with LogReader(log_path) as log:
        LogTree.of(log)
    before = tree_path(log_path).read_bytes()
    grow(log_path, 5_000, "run/c")
    with LogReader(log_path) as log:
        found = LogTree.of(log).root()

    assert found == merkle.root(merkle.Leaves(digests(log_path)), 10_200)
    assert len(tree_path(log_path).read_bytes()) > len(before)


def test_any_changed_byte_of_what_is_kept_is_noticed_and_costs_nothing_but_time(log_path: Path) -> None:
    with LogReader(log_path) as log:
        whole = LogTree.of(log).root()
        kept = tree_path(log_path).read_bytes()
        for place in [*range(0, 90, 7), *range(90, len(kept), 61)]:
            tree_path(log_path).write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
            assert LogTree.of(log).root() == whole
        for short in (b"", kept[:10], kept[:-1], kept[:-32], kept + b"\0"):
            tree_path(log_path).write_bytes(short)
            assert LogTree.of(log).root() == whole


def test_what_another_log_kept_is_not_used(log_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    grow(other, 5_000)
    with LogReader(other) as log:
        LogTree.of(log)
    shutil.copy(tree_path(other), tree_path(log_path))
    with LogReader(log_path) as log:
        assert LogTree.of(log).root() == merkle.root(merkle.Leaves(digests(log_path)), 5_200)


def test_where_nothing_can_be_kept_nothing_is_lost(log_path: Path) -> None:
    tree_path(log_path).mkdir()
    with LogReader(log_path) as log:
        assert LogTree.of(log).root() == merkle.root(merkle.Leaves(digests(log_path)), 5_200)

    assert not list(log_path.parent.glob("runs.db-tree.*"))


def test_a_gap_is_told(log_path: Path) -> None:
    edit(log_path, "delete from events where position = 700")
    with LogReader(log_path) as log, pytest.raises(Corrupt, match="position 700"):
        LogTree.of(log, shortcut=False)


# What a checkpoint says.


def test_a_checkpoint_is_written_as_it_always_was() -> None:
    found = parse(GOLDEN)

    assert (found.origin, found.size, found.root) == (
        "playhead.log/000102030405060708090a0b0c0d0e0f",
        7,
        bytes(range(0xA0, 0xB0)) * 2,
    )
    assert found.signatures == ()


def test_the_checkpoint_on_the_page_of_the_file_format_is_that_of_its_example() -> None:
    page = (ROOT / "docs" / "file_format.md").read_text()
    (text,) = re.findall(r"```text\n(playhead\.log/.*?)```", page, re.DOTALL)
    (key,) = re.findall(r"`(ed25519:[^`]+)`", page)
    held = [bytes.fromhex(digits) for digits in re.findall(r"^digest +=([ 0-9a-f]+)$", page, re.MULTILINE)]
    found = parse(text)

    assert found.origin == f"playhead.log/{held[0].hex()[:32]}"
    assert (found.size, found.root) == (2, merkle.root(merkle.Leaves(held), 2))
    assert found.signer({"ops": (key,)}) == "ops"


def test_a_log_is_named_after_its_first_event(log_path: Path) -> None:
    with LogReader(log_path) as log:
        assert origin_of(log) == f"playhead.log/{digests(log_path)[0].hex()[:32]}"


def test_an_empty_log_has_no_name(tmp_path: Path) -> None:
    async def make() -> None:
        async with SqliteStore.open(tmp_path / "runs.db"):
            pass

    asyncio.run(make())
    with LogReader(tmp_path / "runs.db") as log, pytest.raises(NotFound, match="nothing in the store"):
        origin_of(log)


def test_a_checkpoint_is_signed_by_whose_key_it_was(log_path: Path, signer: Signer, tmp_path: Path) -> None:
    other = Signer.new(tmp_path / "bob.pem")
    with LogReader(log_path) as log:
        found = note(log, signer)

    assert found.signer({"bob": (other.public,), "ada": (other.public, signer.public)}) == "ada"
    assert found.signer({"bob": (other.public,)}) is None
    assert parse(found.body).signer({"ada": (signer.public,)}) is None


def test_no_changed_byte_of_a_checkpoint_leaves_it_signed(log_path: Path, signer: Signer) -> None:
    with LogReader(log_path) as log:
        data = note(log, signer).text.encode()
    keys = {"ada": (signer.public,)}

    for place in range(len(data)):
        for other in {data[place] ^ 1, data[place] ^ 0x20, 0x0A, 0x20} - {data[place]}:
            changed = data[:place] + bytes([other]) + data[place + 1 :]
            try:
                found = parse(changed.decode())
            except (BadValue, UnicodeDecodeError):
                continue
            assert found.signer(keys) is None, changed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "\n",
        lambda text: text.replace("\n7\n", "\n07\n"),
        lambda text: text.replace("\n7\n", "\n-7\n"),
        lambda text: text.replace("\n7\n", "\n0\n"),
        lambda text: text.replace("\n7\n", "\n\u0667\n"),
        lambda text: text.replace("oKGi", "oKG\n"),
        lambda text: text.replace("q8=", "q9="),
        lambda text: text + "an extension\n",
        lambda text: text + "\n\N{EM DASH} name \n",
        lambda text: text + "\n\N{EM DASH} name " + "A" * 91 + "=",
        lambda text: text + "\n\N{EM DASH} a name " + "A" * 91 + "=\n",
        lambda text: text + "\n- name " + "A" * 91 + "=\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\n" + ("\N{EM DASH} name " + "A" * 91 + "=\n") * 2_000,
    ],
)
def test_what_is_no_checkpoint_is_none(spoil: Callable[[str], str]) -> None:
    with pytest.raises(BadValue, match="no checkpoint"):
        parse(spoil(GOLDEN))


# Beside a store.


def test_checkpoints_beside_a_store_stay_in_order_and_a_torn_line_means_nothing(
    log_path: Path, signer: Signer
) -> None:
    with LogReader(log_path) as log:
        first, second = note(log, signer, 10), note(log, signer)
    assert look_beside(log_path) == ([], [])

    keep(log_path, first.text)
    with checkpoints.checkpoints_path(log_path).open("ab") as file:
        file.write(b'{"checkpoint":"playhead.log/00')
    keep(log_path, second.text)

    assert look_beside(log_path) == ([first, second], [])


@pytest.mark.parametrize(
    "line",
    ["{}", '{"checkpoint":1}', '{"checkpoint":"x"}', '{"a":"b","checkpoint":"x"}', "nonsense}", "\xff}"],
)
def test_a_line_that_makes_no_sense_is_told_with_its_number(log_path: Path, line: str) -> None:
    checkpoints.checkpoints_path(log_path).write_bytes(b"\n" + line.encode("latin-1") + b"\n")

    (fault,) = look_beside(log_path).faults
    assert fault.startswith("runs.db-checkpoints, line 2: ")


def test_many_processes_keep_checkpoints_at_once_and_none_is_lost(log_path: Path, signer: Signer) -> None:
    with LogReader(log_path) as log:
        text = note(log, signer).text
    code = (
        "import sys, pathlib; from playhead.log.checkpoints import keep\n"
        "for _ in range(20): keep(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'engine'}"}
    command = [sys.executable, "-c", code, str(log_path), text]
    processes = [subprocess.Popen(command, env=environment) for _ in range(4)]

    assert [process.wait(30) for process in processes] == [0] * 4
    assert [one.text for one in look_beside(log_path).checkpoints] == [text] * 80


# Whether a log still is what it was.


def test_a_log_that_only_grew_meets_every_checkpoint(log_path: Path, signer: Signer) -> None:
    with LogReader(log_path) as log:
        taken = [note(log, signer, size) for size in (1, 2, 256, 300, 5_200)]
    grow(log_path, 300, "run/c")
    with LogReader(log_path) as log:
        taken.append(note(log, signer))
        assert check(log, taken) == []
        assert check(log, taken[::-1]) == []


def test_a_log_that_was_written_anew_is_found_out(log_path: Path, signer: Signer) -> None:
    with LogReader(log_path) as log:
        before, after = note(log, signer, 399), note(log, signer, 400)
    edit(log_path, "update events set digest = zeroblob(32) where position = 400")
    with LogReader(log_path) as log:
        (fault,) = check(log, [before, after])

    assert fault.sentence.startswith("the checkpoint at 400 of playhead.log/")
    assert "another root" in fault.sentence


def test_a_log_whose_end_was_cut_off_is_found_out(log_path: Path, signer: Signer) -> None:
    with LogReader(log_path) as log:
        taken = note(log, signer)
    edit(log_path, "delete from events where position > 5000")
    with LogReader(log_path) as log:
        (fault,) = check(log, [taken])

    assert "The end was cut off" in fault.sentence


def test_a_checkpoint_of_another_log_says_nothing_about_this_one(log_path: Path) -> None:
    with LogReader(log_path) as log:
        (fault,) = check(log, [parse(GOLDEN)])

    assert "of another log" in fault.sentence


def test_a_line_of_the_file_is_json_that_others_can_read(log_path: Path, signer: Signer) -> None:
    with LogReader(log_path) as log:
        taken = note(log, signer)
    keep(log_path, taken.text)

    line = checkpoints.checkpoints_path(log_path).read_text()
    assert json.loads(line) == {"checkpoint": taken.text}
    assert line.isascii()
