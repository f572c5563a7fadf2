"""Streams copied from elsewhere, as they are: checked first, then kept byte for byte.

    copies = import_lines(file)                     # or quarantine.read(path), or copy_of(log, stream)
    await store.graft(copies)

Everything that a digest covers stays: salts, append ids, epochs, times. Only
positions are the new store's own. A stream that is here already with the same
events is left alone; one of the same name with other events is refused, and then
nothing is copied. A copied stream has no owner and no status: nobody works on it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from playhead.errors import ImportRefused, NotFound
from playhead.log.chain import SCHEME, store_digest
from playhead.log.envelope import (
    APPEND_ID_BYTES,
    DIGEST_BYTES,
    OP_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_INLINE_BYTES_MAX,
    SALT_BYTES,
    STREAM_NAME_BYTES_MAX,
    TYPE_NAME_BYTES_MAX,
    Event,
)
from playhead.log.evidence import verify_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from playhead.log.admission import LogState
    from playhead.log.driver import sqlite
    from playhead.log.reader import LogReader

INT64_MAX: Final = 2**63 - 1
VERSION_MAX: Final = 2**32 - 1
_ROW_BYTES: Final = 200

_STREAM_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*/[^\x00-\x1f\x7f]+")


class StreamCopy(NamedTuple):
    """A whole stream. `commitments` holds what its erased payloads left, by position."""

    stream: str
    events: Sequence[Event]
    commitments: Mapping[int, bytes]


class Grafted(NamedTuple):
    """What a graft did: names of the streams copied, and of those that were here already."""

    copied: tuple[str, ...]
    already_here: tuple[str, ...]


def copy_of(log: LogReader, stream: str) -> StreamCopy:
    """The whole of `stream` as it is now. Raises `NotFound`."""
    events = list(log.scan(stream))
    if not events:
        raise NotFound(f"there is no stream {stream}.")
    return StreamCopy(stream, events, commitments_of(log, events))


def commitments_of(log: LogReader, events: Sequence[Event]) -> dict[int, bytes]:
    """What the erased payloads among `events` left, by position."""
    found: dict[int, bytes] = {}
    for event in events:
        if event.payload is None:
            sql = "select commitment from payloads where position = ?"
            found[event.position] = log.connection.execute(sql, (event.position,)).fetchone()[0]
    return found


def check_copies(copies: Sequence[StreamCopy]) -> None:
    """Raise `ImportRefused` unless every copy is whole, in range, and its chain holds."""
    names: set[str] = set()
    for copy in copies:
        if copy.stream in names:
            raise ImportRefused(f"{copy.stream} comes twice.")
        names.add(copy.stream)
        check_name(copy.stream)
        if not copy.events or any(event.stream != copy.stream for event in copy.events):
            raise ImportRefused(f"{copy.stream} has no events, or events of another stream.")
        for event in copy.events:
            check_event(event)
        verification = verify_events(copy.events, commitments=copy.commitments)
        for fault in verification.faults:
            raise ImportRefused(str(fault), expected=fault.expected, found=fault.found)


def check_name(stream: str) -> None:
    """Raise `ImportRefused` for what cannot name a stream."""
    if not _STREAM_NAME.fullmatch(stream) or len(stream.encode()) > STREAM_NAME_BYTES_MAX:
        raise ImportRefused(f"{stream[:80]!r} cannot name a stream.")


def check_event(event: Event) -> None:
    """Raise `ImportRefused` where a column is not of its type, or beyond what the log takes."""
    _check_number(event, "seq", event.seq, 0, INT64_MAX)
    _check_number(event, "version", event.version, 0, VERSION_MAX)
    _check_number(event, "at", event.at, -INT64_MAX - 1, INT64_MAX)
    _check_number(event, "epoch", event.epoch, 0, INT64_MAX)
    if event.cause is not None:
        _check_number(event, "cause", event.cause, 0, INT64_MAX)
    _check_text(event, "type", event.type, TYPE_NAME_BYTES_MAX)
    _check_text(event, "op", event.op, OP_BYTES_MAX)
    _check_bytes(event, "digest", event.digest, DIGEST_BYTES, DIGEST_BYTES)
    if event.append_id is not None:
        _check_bytes(event, "append_id", event.append_id, APPEND_ID_BYTES, APPEND_ID_BYTES)
    if (event.salt is None) != (event.payload is None):
        raise ImportRefused(f"{_where(event)}: salt and payload come together or not at all.")
    if event.salt is not None:
        _check_bytes(event, "salt", event.salt, SALT_BYTES, SALT_BYTES)
        _check_bytes(event, "payload", event.payload, 0, PAYLOAD_BYTES_MAX)


def graft(cursor: sqlite.Cursor, state: LogState, copies: Sequence[StreamCopy]) -> Grafted | ImportRefused:
    """Write checked copies behind the events of `state`, inside the transaction that is open.

    A refusal is returned and not raised, with nothing written, so that it fails nobody else in the
    group. A crash before the commit leaves none of it.
    """
    new: list[StreamCopy] = []
    already: list[str] = []
    for copy in copies:
        found = cursor.execute(
            "select (select max(seq) + 1 from events e where e.stream = s.stream), s.stream"
            " from streams s where s.name = ?",
            (copy.stream,),
        ).fetchone()
        if found is None and (copy.stream not in state.heads or not state.heads[copy.stream].key):
            new.append(copy)
        elif found is not None and _same(cursor, copy, found[1]):
            already.append(copy.stream)
        else:
            return ImportRefused(
                f"{copy.stream} is here already, with other events.",
                expected=f"{len(copy.events)} events, {copy.events[-1].digest.hex()}",
                found=f"{found[0]} events" if found else "a stream that is just being made",
            )
    for copy in new:
        _write(cursor, state, copy)
    return Grafted(tuple(copy.stream for copy in new), tuple(already))


def _same(cursor: sqlite.Cursor, copy: StreamCopy, stream: int) -> bool:
    """Whether the stream that is here begins with all events of the copy: one digest covers them."""
    last = copy.events[-1]
    row = cursor.execute(
        "select digest from events where stream = ? and seq = ?", (stream, last.seq)
    ).fetchone()
    return row is not None and row[0] == last.digest


def _write(cursor: sqlite.Cursor, state: LogState, copy: StreamCopy) -> None:
    key = state.next_key
    state.next_key += 1
    last = copy.events[-1]
    cursor.execute("insert into streams values (?, ?, ?)", (key, copy.stream, SCHEME))
    cursor.execute(
        "insert into heads values (?, ?, ?, ?, null, '', null)", (key, last.seq + 1, last.digest, last.epoch)
    )
    for event in copy.events:
        state.position += 1
        state.running = store_digest(state.running, state.position, event.digest)
        cursor.execute(
            "insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (state.position, key, *event[2:10], event.digest, state.running),
        )
        _write_payload(cursor, state.position, event, copy.commitments.get(event.position))


def _write_payload(cursor: sqlite.Cursor, position: int, event: Event, committed: bytes | None) -> None:
    data, address = event.payload, None
    if data is not None and len(data) > PAYLOAD_INLINE_BYTES_MAX:
        address = sha256(data).digest()
        cursor.execute("insert or ignore into blobs values (?, ?)", (address, data))
        data = None
    cursor.execute(
        "insert into payloads values (?, ?, ?, ?, ?)",
        (position, event.salt, data, address, committed if event.payload is None else None),
    )


def pages_of(copies: Sequence[StreamCopy], page_bytes: int) -> int:
    """About how many pages the copies fill: the WAL grows by them."""
    size = sum(_ROW_BYTES + len(event.payload or b"") for copy in copies for event in copy.events)
    return size // page_bytes + len(copies)


def _where(event: Event) -> str:
    return f"{event.stream}@{event.seq}"


def _check_number(event: Event, name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ImportRefused(
            f"{_where(event)}: {name} is out of range.",
            expected=f"an integer from {least} to {most}",
            found=repr(value)[:80],
        )


def _check_text(event: Event, name: str, value: Any, most: int) -> None:
    if type(value) is not str or len(value.encode("utf-8", "surrogatepass")) > most:
        raise ImportRefused(f"{_where(event)}: {name} is no text of at most {most} bytes.")


def _check_bytes(event: Event, name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not bytes or not least <= len(value) <= most:
        raise ImportRefused(f"{_where(event)}: {name} does not have {least} to {most} bytes.")
