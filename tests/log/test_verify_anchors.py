"""The anchor file is evidence: whatever in it does not fit is a fault, and both verifiers say so.

Every case is checked with playhead's verifier and with the stand-alone one, also as a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.errors import Corrupt
from playhead.log.anchors import anchors_path, from_line, read_anchors, to_line, write_anchors
from playhead.log.envelope import Anchor
from playhead.log.verify import Expectation, verify
from tests.log.evidence_helpers import STANDALONE, an_anchor, both, copy_of, cut_tail, hand_in, kinds
from tests.log.second_writer import SecondWriter, a_store

RUN = "run/4wq2mzkq7xha"


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one anchor of each of its streams."""
    path = a_store(tmp_path_factory.mktemp("anchored") / "sound.db")
    said = both(path)
    write_anchors(path, [an_anchor(said, end.stream) for end in said.ends])
    return path


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    copy = copy_of(sound, tmp_path / "store.db")
    copy_of(anchors_path(sound), anchors_path(copy))
    return copy


def alone(path: Path, *more: str) -> int:
    """The exit code of the stand-alone verifier, which ended with an answer."""
    ended = subprocess.run(
        [sys.executable, "-I", str(STANDALONE), str(path), *more], capture_output=True, text=True, check=False
    )
    assert not ended.stderr
    assert ("FAULT" in ended.stdout) == (ended.returncode == 4)
    return ended.returncode


def changed(**fields: object) -> Callable[[bytes], bytes]:
    """An edit of one anchor by its names."""
    return lambda line: json.dumps(json.loads(line) | fields, separators=(",", ":")).encode()


def without(name: str) -> Callable[[bytes], bytes]:
    def edit(line: bytes) -> bytes:
        fields = json.loads(line)
        del fields[name]
        return json.dumps(fields, separators=(",", ":")).encode()

    return edit


def upper(name: str) -> Callable[[bytes], bytes]:
    return lambda line: changed(**{name: json.loads(line)[name].upper()})(line)


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "a stream that is not here": changed(stream="run/renamed"),
    "another stream": changed(stream="run/b"),
    "a stream called as the store": changed(stream="store"),
    "a stream that is no text": changed(stream=5),
    "a name in half a surrogate pair": lambda line: line.replace(b'"run/', b'"\\ud800run/'),
    "a name with an escape that there is not": lambda line: line.replace(b'"run/', b'"\\xrun/'),
    "a name with a quote in it": lambda line: line.replace(b'"run/', b'"ru"n/'),
    "a name that is not UTF-8": lambda line: line.replace(b'"run/', b'"run/\xff'),
    "a seq beyond the end": changed(seq=999),
    "a seq below nothing": changed(seq=-1),
    "another seq": changed(seq=1),
    "a seq that is a text": changed(seq="9"),
    "a seq that is no whole number": changed(seq=9.0),
    "a seq with a zero before it": lambda line: line.replace(b'"seq":', b'"seq":0'),
    "a seq in other digits": lambda line: line.replace(b'"seq":9', '"seq":٩'.encode()),
    "a seq of five thousand digits": lambda line: line.replace(b'"seq":', b'"seq":' + b"1" * 5000),
    "events less": changed(events=40),
    "events more": changed(events=42),
    "events that are true": changed(events=True),
    "a position beyond the end": changed(position=999, events=999),
    "an earlier position": changed(position=40, events=40),
    "position nothing": changed(position=0, events=0),
    "a position below nothing": changed(position=-41, events=-41),
    "a store digest in capitals": upper("store_digest"),
    "a digest in capitals": upper("digest"),
    "a store digest of zeros": changed(store_digest="0" * 64),
    "a digest of zeros": changed(digest="0" * 64),
    "a digest that is short": changed(digest="0" * 62),
    "a digest with spaces": changed(digest="00 " * 32),
    "a digest that is null": changed(digest=None),
    **{f"no {name}": without(name) for name in json.loads(to_line(Anchor(1, 1, b"", "", 0, b"")))},
    "a name too many": changed(more=1),
    "the same name twice": lambda line: line[:-1] + b',"seq":9}',
    "spaces inside": lambda line: line.replace(b":", b": "),
    "no JSON": lambda _: b"what is this }",
    "a brace alone": lambda _: b"}",
    "an empty object": lambda _: b"{}",
    "bytes that are not UTF-8": lambda _: b"\xff\xfe\x00}",
    "a zero byte before it": lambda line: b"\0" + line,
    "a mark of byte order before it": lambda line: b"\xef\xbb\xbf" + line,
    "a hundred thousand brackets": lambda _: b"[" * 100_000 + b"}",
    "a hundred thousand objects": lambda _: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a hundred thousand brackets in a name": lambda line: line.replace(
        b'"run/', b'"",' + b"[" * 100_000 + b'"'
    ),
}

FINE: dict[str, Callable[[bytes], bytes]] = {
    "as it was": lambda line: line,
    "torn": lambda line: line[:-1],
    "torn in its name": lambda line: line[: line.index(b"run/") + 2],
    "torn after its first byte": lambda line: line[:1],
    "empty": lambda _: b"",
    "white space around it": lambda line: b"\t " + line + b" \r",
    "a name in escapes": lambda line: line.replace(b"run/", b"\\u0072\\u0075n\\/"),
    "what is no line of it and ends in no brace": lambda _: b"\xff{ [[[[",
}


@pytest.mark.parametrize("edit", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("place", [0, 1])
def test_a_line_that_does_not_fit_is_a_fault_wherever_it_stands(
    store: Path, place: int, edit: Callable[[bytes], bytes]
) -> None:
    lines = anchors_path(store).read_bytes().split(b"\n")[:2]
    lines.reverse() if place else None
    lines[place] = edit(next(line for line in lines if RUN.encode() in line))
    anchors_path(store).write_bytes(b"\n".join(lines) + b"\n")

    assert kinds(both(store)) == {"anchor"}
    assert alone(store) == 4


@pytest.mark.parametrize("edit", FINE.values(), ids=FINE.keys())
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_a_crash_can_leave_means_nothing(
    store: Path, end: bytes, edit: Callable[[bytes], bytes]
) -> None:
    lines = anchors_path(store).read_bytes().split(b"\n")[:-1]
    anchors_path(store).write_bytes(b"\n".join([*lines, edit(lines[0])]) + end)

    assert both(store).ok
    assert alone(store) == 0


def test_no_torn_line_can_be_taken_for_a_whole_one(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "store.db")
    writer.event('run/{"é}💡}', b"\x80")
    store = writer.close()
    (end,) = both(store).ends
    anchor = an_anchor(both(store), end.stream)
    whole = to_line(anchor).encode()
    assert from_line(whole) == anchor

    for cut in range(len(whole) + 1):
        anchors_path(store).write_bytes(whole[:cut])
        assert read_anchors(store) == [anchor] * (cut == len(whole))
        assert both(store).ok
    with hand_in(store) as db:
        db.execute("update events set digest = zeroblob(32)")
    assert "anchor" in kinds(both(store))


def test_a_bad_line_does_not_hide_what_the_others_say(store: Path) -> None:
    with anchors_path(store).open("ab") as file:
        file.write(b"{}\n")
    with hand_in(store) as db:
        cut_tail(db, 30)

    nonsense, cut = both(store).faults

    assert nonsense.sentence.startswith("store.db-anchors, line 5: ")
    assert "the tail was cut off" in cut.sentence
    with pytest.raises(Corrupt, match="line 5"):
        read_anchors(store)


def test_a_cut_tail_is_one_fault_however_many_anchors_say_so(store: Path) -> None:
    write_anchors(store, read_anchors(store) * 50)
    with hand_in(store) as db:
        cut_tail(db, 30)

    assert len(both(store).faults) == 1


def test_an_anchor_file_that_cannot_be_read_is_a_fault(store: Path) -> None:
    anchors_path(store).unlink()
    assert both(store).ok
    anchors_path(store).mkdir()

    (fault,) = both(store).faults

    assert (fault.kind, fault.sentence) == ("anchor", "store.db-anchors cannot be read: it is no file.")
    assert alone(store) == 4


def test_the_anchors_of_a_symlinked_store_stand_where_it_lies(store: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(store)
    assert both(link).ok

    with hand_in(store) as db:
        cut_tail(db, 30)

    assert kinds(both(link)) == {"anchor"}
    assert alone(link) == 4
    assert verify(link, anchors=()).ok


def test_an_expectation_in_capitals_is_met_by_both(store: Path) -> None:
    for end in both(store).ends:
        kept = f"{end.stream}@{end.seq}:{end.digest.hex().upper()}"
        assert verify(store, expect=[Expectation.parse(kept)]).ok
        assert alone(store, "--expect", kept) == 0
