"""Streams as JSON lines: one line that says what follows, then one event per line.

    {"playhead": "0.1.0", "schema": "playhead.export/1", "stream": "run/4wq2…", "scheme": "playhead.event/1",
     "events": 2, "anchor": "run/4wq2…@1:9f86…"}
    {"seq": 0, "type": "run.started", …, "payload": "gaRuYW1l…", "body": {"name": "audit"}, "digest": "…"}
    {"seq": 1, …}

`payload` is the stored bytes and `body` the same for people to read. On the way in
the bytes win: a body that says something else is refused, as is a broken chain, and
nothing is imported then. The same stream always exports to the same lines, so two
exports can be compared with a text diff.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from importlib import metadata
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from playhead.errors import ImportRefused, NotFound
from playhead.log.chain import SCHEME
from playhead.log.envelope import Event
from playhead.log.evidence import Expectation, verify_events
from playhead.log.graft import StreamCopy, check_event, check_name, commitments_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from playhead.log.reader import LogReader

SCHEMA: Final = "playhead.export/1"
LINE_BYTES_MAX: Final = 1024 * 1024 * 1024

_HEADER_KEYS: Final = frozenset({"playhead", "schema", "stream", "scheme", "events", "anchor"})
_EVENT_KEYS: Final = frozenset(
    {
        "seq", "type", "version", "at", "epoch", "op", "cause", "append_id",
        "salt", "payload", "body", "digest",
    }
)  # fmt: skip
_ERASED_KEYS: Final = _EVENT_KEYS | {"commitment"}


def export_lines(log: LogReader, streams: Sequence[str], *, version: str | None = None) -> Iterator[bytes]:
    """The lines of `streams`, one stream after another, as the playhead of `version` writes them.

    Raises `NotFound` for one that is not there.
    """
    for stream in streams:
        head = log.head(stream)
        if not head.seq:
            raise NotFound(f"there is no stream {stream}.")
        yield header_line(Expectation(stream, head.seq - 1, head.digest), version=version)
        # The stream may grow meanwhile; what the header says is what follows.
        for event in islice(log.scan(stream), head.seq):
            yield event_line(event, commitments_of(log, [event]))


def header_line(end: Expectation, *, version: str | None = None) -> bytes:
    """The line before the events of a stream that ends in `end`, as the playhead of `version` writes it."""
    header = {
        "playhead": _version() if version is None else version,
        "schema": SCHEMA,
        "stream": end.stream,
        "scheme": SCHEME,
        "events": end.seq + 1,
        "anchor": str(end),
    }
    return msgspec.json.encode(header) + b"\n"


def event_line(event: Event, commitments: Mapping[int, bytes]) -> bytes:
    """One event. An erased payload leaves its commitment and no body."""
    line: dict[str, Any] = {
        "seq": event.seq,
        "type": event.type,
        "version": event.version,
        "at": event.at,
        "epoch": event.epoch,
        "op": event.op,
        "cause": event.cause,
        "append_id": _hex(event.append_id),
        "salt": _hex(event.salt),
        "payload": None if event.payload is None else b64encode(event.payload).decode(),
    }
    if event.payload is None:
        line["commitment"] = commitments[event.position].hex()
    line["body"] = msgspec.Raw(body_of(event.payload))
    line["digest"] = event.digest.hex()
    return msgspec.json.encode(line) + b"\n"


def body_of(payload: bytes | None) -> bytes:
    """A payload in JSON, for reading. `null` where it is erased or is no MessagePack that JSON can show."""
    if payload is None:
        return b"null"
    try:
        return msgspec.json.encode(msgspec.msgpack.decode(payload), enc_hook=_shown, order="deterministic")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return b"null"


def import_lines(lines: Iterable[bytes]) -> list[StreamCopy]:
    """The streams of an export, checked. Raises `ImportRefused`, which names the line."""
    numbered = _numbered(lines)
    copies: dict[str, StreamCopy] = {}
    position = 0
    for number, line in numbered:
        count, end = _read_header(number, line)
        if end.stream in copies:
            raise ImportRefused(f"line {number}: {end.stream} comes twice.")
        events: list[Event] = []
        commitments: dict[int, bytes] = {}
        places: dict[int | None, int] = {None: number}
        for place, event_line_ in islice(numbered, count):
            position += 1
            places[position] = place
            event, committed = _read_event(place, event_line_, end.stream, position)
            events.append(event)
            if committed is not None:
                commitments[position] = committed
        if len(events) != count:
            raise ImportRefused(
                f"line {number}: {end.stream} is cut off.",
                expected=f"{count} events",
                found=f"{len(events)} events",
            )
        for fault in verify_events(events, commitments=commitments, expect=[end]).faults:
            place = places[fault.position]
            raise ImportRefused(f"line {place}: {fault}", expected=fault.expected, found=fault.found)
        copies[end.stream] = StreamCopy(end.stream, events, commitments)
    return list(copies.values())


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if len(line) > LINE_BYTES_MAX:
            raise ImportRefused(f"line {number} is longer than {LINE_BYTES_MAX} bytes.")
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ImportRefused(f"line {number} is no JSON: {error}.") from error
        if not isinstance(found, dict):
            raise ImportRefused(f"line {number} is no JSON object.")
        yield number, found


def _read_header(number: int, line: dict[str, Any]) -> tuple[int, Expectation]:
    _check_keys(number, line, _HEADER_KEYS)
    for key, expected in (("schema", SCHEMA), ("scheme", SCHEME)):
        if line[key] != expected:
            raise ImportRefused(f"line {number}: unknown {key}.", expected=expected, found=line[key])
    stream, count = line["stream"], line["events"]
    if type(stream) is not str or type(count) is not int or count < 1:
        raise ImportRefused(f"line {number}: stream and events say nothing.", found=line)
    try:
        check_name(stream)
        end = Expectation.parse(str(line["anchor"]))
    except (ImportRefused, ValueError) as error:
        raise ImportRefused(f"line {number}: {error}") from error
    if (end.stream, end.seq) != (stream, count - 1):
        raise ImportRefused(
            f"line {number}: the anchor is not that of the last event.",
            expected=f"{stream}@{count - 1}",
            found=f"{end.stream}@{end.seq}",
        )
    return count, end


def _read_event(number: int, line: dict[str, Any], stream: str, position: int) -> tuple[Event, bytes | None]:
    _check_keys(number, line, _ERASED_KEYS if line.get("payload") is None else _EVENT_KEYS)
    payload = _base64(number, line["payload"])
    event = Event(
        position,
        stream,
        line["seq"],
        line["type"],
        line["version"],
        line["at"],
        line["epoch"],
        line["op"],
        line["cause"],
        _unhex(number, "append_id", line["append_id"]),
        _unhex(number, "salt", line["salt"]),
        payload,
        _unhex(number, "digest", line["digest"]) or b"",
    )
    try:
        check_event(event)
    except ImportRefused as refused:
        raise ImportRefused(
            f"line {number}: {refused.message}", expected=refused.expected, found=refused.found
        ) from refused
    # Both written anew, so that 1 and 1.0 and true are three things.
    expected = msgspec.json.encode(msgspec.json.decode(body_of(payload)), order="deterministic")
    found = msgspec.json.encode(line["body"], order="deterministic")
    if found != expected:
        raise ImportRefused(
            f"line {number}: the body does not say what the payload says.",
            expected=expected.decode()[:200],
            found=found.decode()[:200],
        )
    return event, _unhex(number, "commitment", line["commitment"]) if payload is None else None


def _check_keys(number: int, line: dict[str, Any], keys: frozenset[str]) -> None:
    if line.keys() != keys:
        raise ImportRefused(
            f"line {number} has other keys than it should.", expected=sorted(keys), found=sorted(line)
        )


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _unhex(number: int, key: str, text: object) -> bytes | None:
    if text is None:
        return None
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if data.hex() != text:
        raise ImportRefused(f"line {number}: {key} is no lower-case hex.", found=repr(text)[:80])
    return data


def _base64(number: int, text: object) -> bytes | None:
    if text is None:
        return None
    try:
        data = b64decode(text, validate=True) if isinstance(text, str) else b"\0"
    except ValueError:
        data = b"\0"
    if b64encode(data).decode() != text:
        raise ImportRefused(f"line {number}: payload is no base64.", found=repr(text)[:80])
    return data


def _shown(value: Any) -> Any:
    """What JSON has no word for: the extension types of MessagePack."""
    if isinstance(value, msgspec.msgpack.Ext):
        return {"$ext": value.code, "data": b64encode(bytes(value.data)).decode()}
    raise TypeError(f"no JSON for {type(value).__name__}")


def _version() -> str:
    try:
        return metadata.version("playhead")
    except metadata.PackageNotFoundError:
        return "unknown"
