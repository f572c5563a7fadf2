"""The anchor file: what the store looked like after a commit, kept outside of it.

SQLite's own recovery has to drop an unfinished tail, so a cut tail looks like a
crash. Only something outside can tell them apart. `<db>-anchors` takes one line
of JSON per anchor, written under the store's lock after the commit that it
names. It is only ever appended to. A crash leaves at most a torn last line,
which reading tolerates. Lines are not synced: an anchor lost in a power cut
proves less, and never something false.
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from playhead.errors import Corrupt
from playhead.log.driver import place_of
from playhead.log.envelope import Anchor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NUMBER: Final = r"(0|[1-9][0-9]{0,18})"
_DIGEST: Final = r'"([0-9a-f]{64})"'
_LINE: Final = re.compile(
    rf'{{"position":{_NUMBER},"events":{_NUMBER},"store_digest":{_DIGEST},'
    rf'"stream":(".*"),"seq":{_NUMBER},"digest":{_DIGEST}}}'
)


def anchors_path(database: Path) -> Path:
    """Where the anchors of the store at `database` stand."""
    return database.with_name(database.name + "-anchors")


def to_line(anchor: Anchor) -> str:
    """One line of the anchor file, without its end. The only brace that closes is its last character."""
    line = json.dumps(
        {
            "position": anchor.position,
            "events": anchor.events,
            "store_digest": anchor.store_digest.hex(),
            "stream": anchor.stream,
            "seq": anchor.seq,
            "digest": anchor.digest.hex(),
        },
        separators=(",", ":"),
    )
    return line[:-1].replace("}", "\\u007d") + "}"


def from_line(line: bytes) -> Anchor:
    """The anchor that `line` holds. Raises `ValueError` where it holds none.

    A line is written in one way only, so that every verifier reads the same in it or nothing.
    """
    match = _LINE.fullmatch(line.decode())
    if match is None:
        raise ValueError("this is no anchor as docs/file_format.md describes it")
    position, events, store_digest, quoted, seq, digest = match.groups()
    stream: str = json.loads(quoted)
    stream.encode()  # half a surrogate pair is no name
    return Anchor(
        int(position), int(events), bytes.fromhex(store_digest), stream, int(seq), bytes.fromhex(digest)
    )


def write_anchors(database: Path, anchors: Sequence[Anchor]) -> None:
    """Append `anchors` in one write. The caller holds the store's lock. Raises `OSError`."""
    path = anchors_path(database)
    data = "".join(to_line(anchor) + "\n" for anchor in anchors).encode()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data  # the line before was torn by a crash; it must not swallow this one
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, "only a part of the anchor was written", str(path))
    finally:
        os.close(descriptor)


class Beside(NamedTuple):
    """The anchors that stand beside a store, oldest first, and what is wrong with their file."""

    anchors: list[Anchor]
    faults: list[str]


def look_beside(database: Path) -> Beside:
    """What the anchor file beside `database` says. Torn lines are skipped: a crash can leave them."""
    path = anchors_path(place_of(database))
    found = Beside([], [])
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        found.faults.append(f"{path.name} cannot be read: {error}.")
        return found
    for number, line in enumerate(map(bytes.strip, data.split(b"\n")), start=1):
        # A torn write lacks its end; a whole line has its closing brace.
        if not line.endswith(b"}"):
            continue
        try:
            found.anchors.append(from_line(line))
        except ValueError as error:
            found.faults.append(f"{path.name}, line {number}: {error}.")
    return found


def read_anchors(database: Path) -> list[Anchor]:
    """Every anchor beside `database`, oldest first.

    Raises `Corrupt` where the file cannot be read, or a line that is whole makes no sense.
    """
    found = look_beside(database)
    if found.faults:
        raise Corrupt(found.faults[0])
    return found.anchors
