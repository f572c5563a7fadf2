"""docs/file_format.md is true: its example computes, its header bytes and its tables are the file's."""

from __future__ import annotations

import re
import sqlite3
import struct
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from playhead.log import chain
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import Expectation
from tests.log.evidence_helpers import EVIDENCE, both
from tests.log.second_writer import SecondWriter, header_bytes

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/file_format.md").read_text()
STREAM = "run/4wq2mzkq7xha"
AT = 1_795_219_200_000_000_000


def example(number: int) -> dict[str, bytes]:
    """The named bytes of one event of the worked example."""
    text = PAGE.split("## A worked example")[1].split("```text\n")[1 + number].split("```")[0]
    found: dict[str, bytes] = {}
    for name, digits in re.findall(r"^(\w+) *=(.*(?:\n +.*)*)", text, re.MULTILINE):
        found[name] = bytes.fromhex(digits)
    return found


EVENTS = (
    (STREAM, 0, "run.started", 1, AT, 1, "", None, bytes(range(16))),
    (STREAM, 1, "tool.requested", 1, AT + 1_000_000, 1, "0/fetch#0", 0, None),
)


def test_the_worked_example_computes_by_the_page_s_own_rules() -> None:
    previous = running = bytes(32)
    for number, event in enumerate(EVENTS):
        said = example(number)
        header = header_bytes(*event)
        committed = sha256(said["salt"] + said["payload"]).digest()
        digest = sha256(b"playhead.event/1" + previous + said["length"] + header + committed).digest()
        running = sha256(b"playhead.store/1" + running + struct.pack(">Q", number + 1) + digest).digest()

        assert said["append_id"] == (event[8] or b"")
        assert said["header"] == header
        assert said["length"] == struct.pack(">I", len(header))
        assert (said["commitment"], said["digest"], said["running"]) == (committed, digest, running)
        previous = digest


def test_playhead_s_own_chain_computes_the_worked_example() -> None:
    previous = running = chain.GENESIS
    for number, (stream, seq, type_, version, at, epoch, op, cause, append_id) in enumerate(EVENTS):
        said = example(number)
        header = chain.header(stream.encode(), seq, type_, version, at, epoch, op, cause, append_id)
        previous = chain.event_digest(previous, header, chain.commitment(said["salt"], said["payload"]))
        running = chain.store_digest(running, number + 1, previous)

        assert (header, previous, running) == (said["header"], said["digest"], said["running"])


def test_a_store_made_from_the_page_verifies_with_the_digests_it_says(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "example.db")
    for number, (stream, _, type_, version, at, epoch, op, cause, append_id) in enumerate(EVENTS):
        said = example(number)
        writer.event(
            stream,
            said["payload"],
            type_=type_,
            version=version,
            at=at,
            epoch=epoch,
            op=op,
            cause=cause,
            append_id=append_id or b"",
            salt=said["salt"],
        )

    said_of = both(writer.close())

    assert said_of.ok
    assert said_of.ends == (Expectation(STREAM, 1, example(1)["digest"]),)
    assert said_of.store == Expectation("store", 2, example(1)["running"])


@pytest.mark.parametrize("mode", ["live", "backup"])
async def test_the_header_of_a_file_has_the_bytes_that_the_page_says(tmp_path: Path, mode: str) -> None:
    path, copy = tmp_path / "live.db", tmp_path / "backup.db"
    async with SqliteStore.open(path) as store:
        await store.append(STREAM, 0, [NewEvent("x", 1, 0, "", None, b"")])
        await store.backup(copy)
    data = (path if mode == "live" else copy).read_bytes()
    table = PAGE.split("## The header of the file")[1].split("## Tables")[0]
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \|[^`]*`([0-9a-f]+)`(?:[^`|]*; `([0-9a-f]+)`)?", table, re.MULTILINE
    )
    rows += re.findall(r"^\| (\d+) \| (\d+) \| `\w+`: `([0-9a-f]+)`()", table, re.MULTILINE)

    assert [int(offset) for offset, *_ in rows] == [0, 16, 18, 56, 60, 68]
    for offset, size, first, second in rows:
        expected = second if second and mode == "backup" else first
        assert data[int(offset) :][: int(size)].hex() == expected, offset


def test_every_column_of_evidence_is_on_the_page() -> None:
    tables = PAGE.split("## Tables")[1].split("## The digest of an event")[0]
    for table, columns in EVIDENCE.items():
        assert f"| `{table}` |" in tables
        for column in columns.split(", "):
            assert f"`{column}`" in tables, (table, column)


def test_every_word_for_a_fault_is_on_the_page() -> None:
    words = set(re.findall(r"^\| `(\w+)` \| ", PAGE.split("## Verification")[1], re.MULTILINE))
    used: set[str] = set()
    for name in ("evidence", "verify", "quarantine", "checkpoints"):
        source = (ROOT / f"engine/playhead/log/{name}.py").read_text()
        used |= set(re.findall(r"\.(?:fault|_at)\(\s*(?:event,\s*)?\"(\w+)\"", source))
        used |= set(re.findall(r"\bFault\(\"(\w+)\"", source))
        used |= {"head"} if "self._head(" in source else set()

    assert used == words


def test_the_schema_file_says_the_same_application_id(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "example.db")
    with closing(sqlite3.connect(writer.close())) as db:
        (number,) = db.execute("pragma application_id").fetchone()

    assert f"{number:08x}" == "706c6179"
