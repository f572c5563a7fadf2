"""A log file from a stranger: read by a child process that can do nothing, checked here, copied as data.

    copies = quarantine.read(path)      # raises ImportRefused, or gives streams whose chains hold
    await store.graft(copies)

What is imported is rows, never the file: no SQL, no schema object and no page of
the stranger reaches a store. The child (`quarantine_child.py`) is limited in memory,
time and reach; this side trusts none of its answers. A crash of either leaves nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playhead.errors import ImportRefused, NotFound
from playhead.log import quarantine_child
from playhead.log.envelope import DIGEST_BYTES, Event
from playhead.log.evidence import Walk, check_scheme
from playhead.log.graft import StreamCopy, check_event, check_name
from playhead.log.quarantine_child import TABLES, frames, misfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.log.evidence import Expectation

WALL_S_MAX: Final = 30.0

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]


def read(path: Path | str, *, expect: Sequence[Expectation] = ()) -> list[StreamCopy]:
    """The streams of the log file at `path`, each of them verified.

    Raises `ImportRefused` where anything at all is wrong with the file or its evidence, and `NotFound`
    where there is no file.
    """
    place = Path(path)
    if not place.exists():
        raise NotFound(f"there is no file at {place}.")
    rows = _read_in_child(place.absolute())
    try:
        return _copies(rows, expect)
    except ImportRefused as refused:
        raise ImportRefused(
            f"{place.name}: {refused.message}", expected=refused.expected, found=refused.found
        ) from refused


def _read_in_child(path: Path) -> Rows:
    command = [sys.executable, "-I", "-S", quarantine_child.__file__, os.fspath(path)]
    child = subprocess.Popen(  # noqa: S603  (our own script, by its path)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )
    timer = threading.Timer(WALL_S_MAX, child.kill)
    timer.start()
    rows: Rows = defaultdict(list)
    ended = ""
    try:
        assert child.stdout is not None
        with child.stdout as pipe:
            for frame in frames(pipe):
                ended = _take(path, rows, frame)
    except (ValueError, UnicodeError) as error:
        raise ImportRefused(f"{path.name}: what came out of it cannot be read: {error}.") from error
    finally:
        timer.cancel()
        child.kill()
        code = child.wait()
    if ended != "end":
        raise ImportRefused(
            f"{path.name}: reading it took too much time or memory, or crashed; exit code {code}.",
            found=code,
        )
    return rows


def _take(path: Path, rows: Rows, frame: list[Any]) -> str:
    """Keep a row; return the word of the frame. Raises `ImportRefused` where the child says no."""
    word, *row = frame or [None]
    if word == "refused":
        raise ImportRefused(f"{path.name}: {''.join(map(str, row))[:400]}.")
    if word == "end":
        return "end"
    if word not in TABLES or misfit(word, row):
        raise ImportRefused(f"{path.name}: the reader sent something else than rows.")
    rows[word].append(tuple(row))
    return ""


def _copies(rows: Rows, expect: Sequence[Expectation]) -> list[StreamCopy]:
    """Put the rows together and walk them as `verify` does. Every fault is a refusal."""
    walk = Walk(expect=expect)
    names: dict[int, str] = {}
    for number, name, scheme in rows["streams"]:
        check_name(name)
        check_scheme(walk, name, scheme)
        names[number] = name
    if len(set(names.values())) != len(names):
        raise ImportRefused("two streams have one name.")
    _promises(walk, rows, names)
    payloads = _payloads(rows)
    events: dict[str, list[Event]] = {name: [] for name in names.values()}
    commitments: dict[str, dict[int, bytes]] = {name: {} for name in names.values()}
    for position, stream, *columns, digest, running in rows["events"]:
        if stream not in names:
            raise ImportRefused(f"the event at position {position} belongs to no stream.")
        if position < 1:
            raise ImportRefused(f"an event stands at position {position}.")
        salt, data, committed = payloads.pop(position, (None, None, None))
        event = Event._make((position, names[stream], *columns, salt, data, digest))
        check_event(event)
        walk.event(event, committed, running)
        events[event.stream].append(event)
        if committed is not None:
            commitments[event.stream][position] = committed
    for position in payloads:
        walk.fault("orphan", "a payload without an event.", position=position)
    for fault in walk.finish().faults:
        raise ImportRefused(str(fault), expected=fault.expected, found=fault.found)
    return [StreamCopy(name, events[name], commitments[name]) for name in events]


def _payloads(rows: Rows) -> dict[int, tuple[bytes | None, bytes | None, bytes | None]]:
    """Salt, bytes and commitment by position, large payloads put in place."""
    blobs: dict[bytes, bytes] = {}
    for address, data in rows["blobs"]:
        if sha256(data).digest() != address:
            raise ImportRefused("a large payload is not what its address says.", expected=address.hex())
        blobs[address] = data
    found: dict[int, tuple[bytes | None, bytes | None, bytes | None]] = {}
    for position, salt, data, address, committed in rows["payloads"]:
        if (data is not None) + (address is not None) + (committed is not None) != 1:
            raise ImportRefused(f"the payload at position {position} is not one thing.")
        if committed is not None and (salt is not None or len(committed) != DIGEST_BYTES):
            raise ImportRefused(f"the commitment at position {position} is misshapen.")
        if address is not None and address not in blobs:
            raise ImportRefused(f"the large payload at position {position} is missing.")
        found[position] = (salt, data if address is None else blobs[address], committed)
    return found


def _promises(walk: Walk, rows: Rows, names: dict[int, str]) -> None:
    headed = set[int]()
    for number, seq, digest, epoch in rows["heads"]:
        if number not in names:
            raise ImportRefused("a head belongs to no stream.")
        headed.add(number)
        walk.head(names[number], seq, digest, epoch)
    for number in names.keys() - headed:
        raise ImportRefused(f"{names[number]} has no head.")
    for number, scheme in rows["store"]:
        if number != 1:
            raise ImportRefused("the store's row is not numbered 1.")
        walk.store(scheme)
