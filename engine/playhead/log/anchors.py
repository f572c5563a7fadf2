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
from typing import TYPE_CHECKING, Any, cast

from playhead.errors import Corrupt
from playhead.log.envelope import Anchor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def anchors_path(database: Path) -> Path:
    """Where the anchors of the store at `database` stand."""
    return database.with_name(database.name + "-anchors")


def to_line(anchor: Anchor) -> str:
    """One line of the anchor file, without its end."""
    return json.dumps(
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


def from_line(line: str) -> Anchor:
    """The anchor that `line` holds. Raises `ValueError` where it holds none."""
    found: Any = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("an anchor is an object")  # noqa: TRY004  (one kind of error for every bad line)
    fields = cast("dict[str, Any]", found)
    try:
        return Anchor(
            int(fields["position"]),
            int(fields["events"]),
            bytes.fromhex(fields["store_digest"]),
            str(fields["stream"]),
            int(fields["seq"]),
            bytes.fromhex(fields["digest"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no anchor: {error}") from error


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


def read_anchors(database: Path) -> list[Anchor]:
    """Every anchor beside `database`, oldest first. Torn lines are skipped where a crash can leave them.

    Raises `Corrupt` for a line that is whole and makes no sense.
    """
    path = anchors_path(database)
    if not path.exists():
        return []
    anchors: list[Anchor] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        text = line.decode("utf-8", "replace").strip()
        # A torn write lacks its end; a whole line has its closing brace.
        if not text.endswith("}"):
            continue
        try:
            anchors.append(from_line(text))
        except ValueError as error:
            raise Corrupt(f"{path.name}, line {number}: {error}.") from error
    return anchors
