"""A stream goes out as lines and comes back as the same bytes, or not at all."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import ImportRefused, NotFound
from playhead.log.envelope import PAYLOAD_INLINE_BYTES_MAX, NewEvent
from playhead.log.graft import StreamCopy, check_copies, copy_of
from playhead.log.memory_store import MemoryStore
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import body_of, export_lines, import_lines
from playhead.log.verify import verify
from tests.log.evidence_helpers import both
from tests.log.second_writer import SecondWriter

RUN, MAILBOX = "run/4wq2mzkq7xha", "mailbox/4wq2mzkq7xha"
HEADER_KEYS = ["playhead", "schema", "stream", "scheme", "events", "anchor"]
EVENT_KEYS = [
    "seq",
    "type",
    "version",
    "at",
    "epoch",
    "op",
    "cause",
    "append_id",
    "salt",
    "payload",
    "body",
    "digest",
]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with readable, odd, large and erased payloads, and its mailbox."""
    writer = SecondWriter(tmp_path_factory.mktemp("source") / "source.db")
    bodies: list[Any] = [
        {"name": "audit", "n": 1, "ключ": "значение"},
        {"secret": "x" * 20},
        {"bytes": b"\x00\xff", "float": 1.5, "none": None, "list": [1, True, {}]},
        {"large": "l" * (PAYLOAD_INLINE_BYTES_MAX + 1)},
        {1: "a number as a key"},
        float("nan"),
    ]
    for number, body in enumerate(bodies):
        writer.event(RUN, msgspec.msgpack.encode(body), cause=number or None, epoch=number // 3)
        writer.event(MAILBOX, msgspec.msgpack.encode({"signal": number}))
    writer.event(RUN, b"\xc1 is no MessagePack", epoch=1)
    writer.event(RUN, msgspec.msgpack.encode(msgspec.msgpack.Ext(7, b"ext")), epoch=1)
    writer.erase(RUN, 1, say_so=False)
    writer.event(RUN, b"\x80", type_="payload.erased", cause=1, epoch=1)
    return writer.close()


@pytest.fixture(scope="session")
def lines(source: Path) -> list[bytes]:
    with LogReader(source) as log:
        return list(export_lines(log, [RUN, MAILBOX]))


def test_the_first_line_says_what_follows_and_each_event_is_one_line(lines: list[bytes]) -> None:
    header, *events = map(json.loads, lines[:10])

    assert list(header) == HEADER_KEYS
    assert (header["schema"], header["scheme"]) == ("playhead.export/1", "playhead.event/1")
    assert (header["stream"], header["events"]) == (RUN, 9)
    assert header["anchor"] == f"{RUN}@8:{events[8]['digest']}"
    assert [event["seq"] for event in events] == list(range(9))
    assert list(events[0]) == EVENT_KEYS
    assert events[0]["body"] == {"name": "audit", "n": 1, "ключ": "значение"}
    assert json.loads(lines[10])["stream"] == MAILBOX


def test_an_erased_payload_leaves_its_commitment_in_the_line(lines: list[bytes]) -> None:
    erased = json.loads(lines[2])

    assert (erased["salt"], erased["payload"], erased["body"]) == (None, None, None)
    assert len(erased["commitment"]) == 64


def test_what_cannot_be_shown_has_no_body_and_keeps_its_bytes(lines: list[bytes]) -> None:
    line = json.loads(lines[7])

    assert line["body"] is None
    assert line["payload"] == b64encode(b"\xc1 is no MessagePack").decode()


def test_a_stream_that_is_not_there_is_not_exported(source: Path) -> None:
    with LogReader(source) as log, pytest.raises(NotFound):
        list(export_lines(log, ["run/none"]))


def same(one: StreamCopy, other: StreamCopy) -> bool:
    """The same in all but positions."""
    return (
        one.stream == other.stream
        and [event[1:] for event in one.events] == [event[1:] for event in other.events]
        and list(one.commitments.values()) == list(other.commitments.values())
    )


def test_what_comes_in_is_what_went_out(source: Path, lines: list[bytes]) -> None:
    with LogReader(source) as log:
        out = [copy_of(log, RUN), copy_of(log, MAILBOX)]

    back = import_lines(lines)

    check_copies(back)
    assert all(map(same, out, back))


def test_empty_lines_mean_nothing(lines: list[bytes]) -> None:
    assert len(import_lines([b"\n", *lines[:10], b"\r\n", *lines[10:], b""])) == 2


# What is refused, and at which line.


def edited(line: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(line) | changes).encode()


def without(line: bytes, key: str) -> bytes:
    kept = json.loads(line)
    del kept[key]
    return json.dumps(kept).encode()


Edit = Callable[[list[bytes]], object]


def put(number: int, **changes: Any) -> Edit:
    def edit(lines: list[bytes]) -> None:
        lines[number - 1] = edited(lines[number - 1], **changes)

    return edit


def swap(lines: list[bytes]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


REFUSED: dict[str, tuple[Edit, str]] = {
    "an edited type": (put(4, type="x"), "line 4: .digest"),
    "an edited time": (put(4, at=1), "line 4: .digest"),
    "an edited op": (put(4, op="0/other#0"), "line 4: .digest"),
    "an edited epoch": (put(2, epoch=7), "line 2: .digest"),
    "an edited digest": (put(4, digest="00" * 32), "line 4: .digest"),
    "another salt": (put(4, salt="00" * 16), "line 4: .digest"),
    "a short salt": (put(4, salt="00" * 15), "line 4: .*salt"),
    "another append id": (put(4, append_id="00" * 16), "line 4: .digest"),
    "another payload and no other body": (put(2, payload="gA=="), "line 2: the body does not say"),
    "another body": (put(2, body={"name": "no"}), "line 2: the body does not say"),
    "a body with true for 1": (
        put(2, body={"name": "audit", "n": True, "ключ": "значение"}),
        "line 2: the body does not say",
    ),
    "a body where bytes are none": (put(8, body={}), "line 8: the body does not say"),
    "payload in odd base64": (put(2, payload="gB=="), "line 2: payload is no base64"),
    "payload as a number": (put(2, payload=7), "line 2: payload is no base64"),
    "digest in capitals": (put(2, digest="AB" * 32), "line 2: digest is no lower-case hex"),
    "an edited commitment": (put(3, commitment="00" * 32), "line 3: .digest"),
    "a negative cause": (put(4, cause=-1), "line 4: .*cause is out of range"),
    "a huge seq": (put(4, seq=2**63), "line 4: .*seq is out of range"),
    "a version that is no number": (put(4, version="1"), "line 4: .*version is out of range"),
    "a type that is no text": (put(4, type=None), "line 4: .*type is no text"),
    "a long type": (put(4, type="x" * 200), "line 4: .*type is no text"),
    "one key more": (put(4, more=1), "line 4 has other keys"),
    "another seq": (put(4, seq=3), "line 4: .missing"),
    "two events swapped": (swap, "line 4: .missing"),
    "an event taken out": (lambda lines: lines.pop(4), "line 10 has other keys"),
    "the last event taken out": (lambda lines: lines.pop(), "line 11: .*is cut off"),
    "the first event taken out": (lambda lines: lines.pop(1), "line 10 has other keys"),
    "an event line twice": (lambda lines: lines.insert(4, lines[4]), "line 6: .order"),
    "another anchor": (put(1, anchor=f"{RUN}@8:{'00' * 32}"), "line 10: .anchor"),
    "an anchor that says nothing": (put(1, anchor="yes"), "line 1: "),
    "an anchor of another event": (put(1, anchor=f"{RUN}@7:{'00' * 32}"), "line 1: the anchor is not that"),
    "another stream's name": (put(1, stream="run/other"), "line 1: the anchor"),
    "a name that is none": (put(1, stream="../x"), "line 1: .*cannot name a stream"),
    "a newer schema": (put(1, schema="playhead.export/2"), "line 1: unknown schema"),
    "a newer scheme": (put(1, scheme="playhead.event/2"), "line 1: unknown scheme"),
    "no events": (put(1, events=0), "line 1: "),
    "a header without a key": (
        lambda lines: lines.__setitem__(0, without(lines[0], "anchor")),
        "line 1 has other keys",
    ),
    "the same stream twice": (lambda lines: lines.extend(lines[:10]), "line 18: .*twice"),
    "no JSON": (lambda lines: lines.__setitem__(3, b"{"), "line 4 is no JSON"),
    "a JSON list": (lambda lines: lines.__setitem__(3, b"[]"), "line 4 is no JSON object"),
    "JSON without end": (lambda lines: lines.__setitem__(3, b"[" * 100_000), "line 4 is no JSON"),
}


@pytest.mark.parametrize(("edit", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_lines_that_do_not_prove_themselves_are_refused_by_number(
    lines: list[bytes], edit: Edit, said: str
) -> None:
    changed = list(lines)
    edit(changed)

    with pytest.raises(ImportRefused, match=said):
        import_lines(changed)


@given(st.data())
def test_a_line_with_any_byte_changed_is_refused_or_says_the_same(
    lines: list[bytes], data: st.DataObject
) -> None:
    changed = list(lines)
    number = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[number])
    line[data.draw(st.integers(0, min(len(line), 700) - 1))] = data.draw(st.integers(0, 255))
    changed[number] = bytes(line)

    try:
        back = import_lines(changed)
    except ImportRefused:
        return

    assert all(map(same, import_lines(lines), back))


@given(st.binary(max_size=300))
def test_any_bytes_have_a_body_in_json_or_none(payload: bytes) -> None:
    json.loads(body_of(payload))


def test_a_payload_nested_beyond_reason_has_no_body() -> None:
    assert body_of(b"\x91" * 100_000 + b"\x90") == b"null"


# Into a store.


async def test_a_grafted_stream_exports_to_the_same_lines(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "mine.db"
    async with SqliteStore.open(path) as store:
        await store.append("run/mine", 0, [NewEvent("x", 1, 0, "", None, b"\x80")])

        grafted = await store.graft(import_lines(lines))

        assert grafted.copied == (RUN, MAILBOX)
        head = await store.head(RUN)
        assert (head.seq, head.epoch, head.worker, head.status) == (9, 1, None, "")
        assert (await store.verify()).ok
    assert both(path).events == 16
    with LogReader(path) as log:
        assert list(export_lines(log, [RUN, MAILBOX])) == lines


async def test_the_same_stream_again_is_nothing_to_do(tmp_path: Path, lines: list[bytes]) -> None:
    async with SqliteStore.open(tmp_path / "mine.db") as store:
        await store.graft(import_lines(lines))
        before = await store.verify()

        grafted = await store.graft(import_lines(lines))

        assert grafted.copied == ()
        assert grafted.already_here == (RUN, MAILBOX)
        assert await store.verify() == before


async def test_a_stream_that_has_grown_here_contains_what_comes_again(
    tmp_path: Path, lines: list[bytes]
) -> None:
    async with SqliteStore.open(tmp_path / "mine.db") as store:
        await store.graft(import_lines(lines))
        await store.append(MAILBOX, 6, [NewEvent("x", 1, 0, "", None, b"\x80")])

        assert (await store.graft(import_lines(lines))).copied == ()


async def test_a_stream_of_the_same_name_with_other_events_is_refused_and_nothing_is_copied(
    tmp_path: Path, lines: list[bytes]
) -> None:
    path = tmp_path / "mine.db"
    async with SqliteStore.open(path) as store:
        await store.append(MAILBOX, 0, [NewEvent("x", 1, 0, "", None, b"\x80")])

        with pytest.raises(ImportRefused, match="other events"):
            await store.graft(import_lines(lines))

        assert (await store.head(RUN)).seq == 0
        await store.append(MAILBOX, 1, [NewEvent("x", 1, 0, "", None, b"\x80")])
    assert both(path).events == 2


async def test_a_refused_graft_fails_no_append_of_its_group(tmp_path: Path, lines: list[bytes]) -> None:
    import asyncio

    path = tmp_path / "mine.db"
    async with SqliteStore.open(path) as store:
        await store.append(MAILBOX, 0, [NewEvent("x", 1, 0, "", None, b"\x80")])
        refused, *appended = await asyncio.gather(
            store.graft(import_lines(lines)),
            *(store.append(f"run/{n}", 0, [NewEvent("x", 1, 0, "", None, b"\x80")]) for n in range(9)),
            return_exceptions=True,
        )

    assert isinstance(refused, ImportRefused)
    assert not [one for one in appended if isinstance(one, BaseException)]
    assert both(path).events == 10


async def test_grafts_and_appends_share_groups_and_the_store_still_proves_itself(
    tmp_path: Path, lines: list[bytes]
) -> None:
    import asyncio

    path = tmp_path / "mine.db"
    run, mailbox = import_lines(lines)
    event = NewEvent("x", 1, 0, "", None, b"\x80")
    async with SqliteStore.open(path) as store:
        await asyncio.gather(
            store.append("run/a", 0, [event]),
            store.graft([run]),
            store.append("run/b", 0, [event, event]),
            store.graft([mailbox]),
            store.append("run/c", 0, [event]),
        )
        await store.append(MAILBOX, 6, [event])
        await store.append("run/a", 1, [event])
    assert both(path).events == 21


async def test_the_model_takes_a_graft_as_the_file_does(lines: list[bytes]) -> None:
    event = NewEvent("x", 1, 0, "", None, b"\x80")
    async with MemoryStore.open() as store:
        await store.append("run/mine", 0, [event])

        assert (await store.graft(import_lines(lines))).copied == (RUN, MAILBOX)
        assert (await store.graft(import_lines(lines))).already_here == (RUN, MAILBOX)
        await store.append(MAILBOX, 6, [event])

        said = await store.verify()
        assert said.ok
        assert (said.events, said.erased) == (17, 1)
    async with MemoryStore.open() as other:
        await other.append(MAILBOX, 0, [event])
        with pytest.raises(ImportRefused, match="other events"):
            await other.graft(import_lines(lines))
        assert (await other.head(RUN)).seq == 0


async def test_a_copy_that_was_changed_on_the_way_is_refused(tmp_path: Path, lines: list[bytes]) -> None:
    (copy, _) = import_lines(lines)
    events = [*copy.events[:4], copy.events[4]._replace(op="0/else#0"), *copy.events[5:]]

    async with SqliteStore.open(tmp_path / "mine.db") as store:
        with pytest.raises(ImportRefused, match="digest"):
            await store.graft([copy._replace(events=events)])
    assert verify(tmp_path / "mine.db").events == 0
