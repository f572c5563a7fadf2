"""Which appends get in, and what is written for them. Pure: shared by the file and by the model.

A group is admitted append by append, in the order of submission, against heads
that already include the appends admitted before. A refused append changes
nothing, so it fails nobody but its caller. Only when all have been decided does
the store write what the group holds.

In this order: is it the same append again (then the first answer), was the lease
lost (`Fenced`), did history move on (`Conflict`), is the lease to be claimed held
by a living worker (`Held`), can the log hold the values (`BadValue`).
"""

from __future__ import annotations

import re
import struct
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from playhead.errors import BadValue, Conflict, Fenced, Held, IdReuse, PlayheadError
from playhead.log.chain import EVENT_DOMAIN, FIXED, GENESIS, LENGTH, POSITION, STORE_DOMAIN
from playhead.log.envelope import (
    APPEND_EVENTS_MAX,
    OP_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_INLINE_BYTES_MAX,
    SALT_BYTES,
    STREAM_NAME_BYTES_MAX,
    TYPE_NAME_BYTES_MAX,
    Append,
    Appended,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.clock import Clock
    from playhead.log.envelope import Event, NewEvent

INT64_MAX: Final = 2**63 - 1
WORKER_BYTES_MAX: Final = 256
STATUS_BYTES_MAX: Final = 256

_pack_fixed: Final = FIXED.pack
_pack_length: Final = LENGTH.pack
_pack_position: Final = POSITION.pack
_STREAM_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*/[^\x00-\x1f\x7f]+")

# position, stream key, seq, type, version, at, epoch, op, cause, append id, digest, running digest
EventRow: TypeAlias = tuple[int, int, int, str, int, int, int, str, int | None, bytes | None, bytes, bytes]
# position, salt, bytes, address in blobs
PayloadRow: TypeAlias = tuple[int, bytes, bytes | None, bytes | None]


class HeadState:
    """The end of a stream as the writer knows it. `key` is 0 until the stream has its first event."""

    __slots__ = ("digest", "epoch", "key", "name", "name_bytes", "seq", "status", "wake_at", "worker")

    def __init__(self, name: str, name_bytes: bytes) -> None:
        self.name = name
        self.name_bytes = name_bytes
        self.key = 0
        self.seq = 0
        self.digest = GENESIS
        self.epoch = 0
        self.worker: str | None = None
        self.status = ""
        self.wake_at: int | None = None


class LogState:
    """What a writer keeps in mind between groups: the end of the store and of the streams it met.

    Positions have no holes, so `position` is also the number of events.
    """

    __slots__ = ("heads", "next_key", "position", "running")

    def __init__(self) -> None:
        self.position = 0
        self.running = GENESIS
        self.next_key = 1
        self.heads: dict[str, HeadState] = {}


class Ledger(Protocol):
    """What admission has to ask the store about, seldom."""

    @property
    def state(self) -> LogState:
        """The heads, and the end of the store. Admission moves them."""
        ...

    def load(self, stream: str) -> HeadState | None:
        """The end of a stream that is not in `state.heads`, or None where there is no such stream."""
        ...

    def stored(self, stream: str, start: int, limit: int) -> Sequence[Event]:
        """Committed events of `stream`."""
        ...

    def lives(self, worker: str) -> bool:
        """Whether `worker` still runs and its leases are not over."""
        ...


class Group:
    """Appends that share one transaction: what has been admitted so far, and the rows to write."""

    __slots__ = (
        "accepted",
        "anchored",
        "blobs",
        "claimants",
        "clock",
        "coordinated",
        "events",
        "ledger",
        "payloads",
        "streams",
        "touched",
    )

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.accepted: list[Append] = []
        self.events: list[EventRow] = []
        self.payloads: list[PayloadRow] = []
        self.blobs: dict[bytes, bytes] = {}
        self.streams: list[HeadState] = []
        self.touched: dict[str, HeadState] = {}
        self.coordinated: dict[str, HeadState] = {}
        self.claimants: set[str] = set()
        self.anchored: list[str] = []

    def admit(self, append: Append) -> None:
        """Decide one append. Sets `outcome`: where it lands, once the group is committed, or the error."""
        try:
            head = self.ledger.state.heads.get(append.stream)
            if head is None:
                head = self._meet(append.stream)
            if append.expected != head.seq or append.epoch != head.epoch or append.claim is not None:
                first = self._earlier_answer(append, head)
                if first is not None:
                    append.outcome = first
                    return
                self._check_lease(append, head)
                if append.expected != head.seq:
                    raise Conflict(append.stream, expected=append.expected, found=head.seq)
            if append.status is not None or append.claim is not None:
                _check_coordination(append)
            append.outcome = self._seal(append, head)
        except PlayheadError as error:
            append.outcome = error

    def _meet(self, stream: str) -> HeadState:
        """The head of a stream that this writer has not met. Not kept until something was appended."""
        name_bytes = _stream_bytes(stream)
        head = self.ledger.load(stream)
        if head is not None:
            self.ledger.state.heads[stream] = head
            return head
        return HeadState(stream, name_bytes)

    def _check_lease(self, append: Append, head: HeadState) -> None:
        if append.claim is None:
            if append.epoch != head.epoch:
                raise Fenced(append.stream, epoch=append.epoch, found=head.epoch)
        elif append.expected == head.seq:
            holder = head.worker
            if holder is not None and holder != append.claim and self.ledger.lives(holder):
                raise Held(append.stream, worker=holder)

    def _earlier_answer(self, append: Append, head: HeadState) -> Appended | None:
        """What this very append was told before, if it is in the log or in this group already."""
        if append.expected >= head.seq:
            return None
        for other in self.accepted:
            if other.stream == append.stream and other.expected == append.expected:
                if other.append_id != append.append_id:
                    return None
                if list(other.events) != list(append.events):
                    raise IdReuse(append.stream, seq=append.expected)
                assert isinstance(other.outcome, Appended)
                return other.outcome
        count = len(append.events)
        found = self.ledger.stored(append.stream, append.expected, count + 1)
        if not found or found[0].append_id != append.append_id:
            return None
        # The batch ends where the next append begins, or where the stream does.
        same = len(found) >= count and (len(found) == count or found[count].append_id is not None)
        if not same or not all(map(_same, append.events, found)):
            raise IdReuse(append.stream, seq=append.expected)
        last = found[count - 1]
        return Appended(
            append.stream, append.expected, append.expected + count, last.position, last.epoch, last.digest
        )

    def _seal(self, append: Append, head: HeadState) -> Appended:
        """Draw salts, compute digests and lay out the rows. Nothing is changed when it raises."""
        events_before, payloads_before = len(self.events), len(self.payloads)
        try:
            return self._lay_out(append, head)
        except BaseException as error:
            del self.events[events_before:]
            del self.payloads[payloads_before:]
            if isinstance(error, struct.error | UnicodeEncodeError | TypeError | AttributeError | ValueError):
                raise BadValue(f"{append.stream}: an event cannot be held faithfully: {error}.") from error
            raise

    def _lay_out(self, append: Append, head: HeadState) -> Appended:
        state = self.ledger.state
        events, payloads = self.events, self.payloads
        if len(append.events) > APPEND_EVENTS_MAX:
            raise BadValue(f"{append.stream}: {len(append.events)} events are too many for one append.")
        epoch = head.epoch + 1 if append.claim is not None else head.epoch
        key = head.key or state.next_key
        name, seq, digest = head.name_bytes, head.seq, head.digest
        position, running = state.position, state.running
        append_id: bytes | None = append.append_id
        salts = self.clock.entropy(SALT_BYTES * len(append.events))
        salt_at = 0
        scheme = EVENT_DOMAIN if seq == 0 else b""
        # What chain.py says, in one piece: calling it for each event took twice as long.
        # tests/log/test_admission.py holds the two together.
        for type_, version, at, op, cause, payload in append.events:
            position += 1
            salt = salts[salt_at : salt_at + SALT_BYTES]
            salt_at += SALT_BYTES
            kind, operation, first = type_.encode(), op.encode(), append_id or b""
            size = len(payload)
            if (
                size > PAYLOAD_INLINE_BYTES_MAX
                or len(operation) > OP_BYTES_MAX
                or len(kind) > TYPE_NAME_BYTES_MAX
            ):
                _check_sizes(append.stream, kind, operation, size)
            header = (
                _pack_fixed(
                    seq,
                    version,
                    at,
                    epoch,
                    -1 if cause is None else cause,
                    len(name),
                    len(kind),
                    len(operation),
                    len(first),
                    len(scheme),
                )
                + name
                + kind
                + operation
                + first
                + scheme
            )
            committed = sha256(salt + payload).digest()
            digest = sha256(EVENT_DOMAIN + digest + _pack_length(len(header)) + header + committed).digest()
            running = sha256(STORE_DOMAIN + running + _pack_position(position) + digest).digest()
            events.append(
                (position, key, seq, type_, version, at, epoch, op, cause, append_id, digest, running)
            )
            if size > PAYLOAD_INLINE_BYTES_MAX:
                payloads.append((position, salt, None, self._blob(payload)))
            else:
                payloads.append((position, salt, payload, None))
            append_id, scheme, seq = None, b"", seq + 1
        answer = Appended(append.stream, head.seq, seq, position, epoch, digest)
        if head.key == 0:
            head.key = key
            state.next_key += 1
            state.heads[append.stream] = head
            self.streams.append(head)
        state.position, state.running = position, running
        head.seq, head.digest, head.epoch = seq, digest, epoch
        if append.claim is not None or append.release or append.status is not None or append.anchor:
            self._coordinate(append, head)
        self.touched[append.stream] = head
        self.accepted.append(append)
        return answer

    def _coordinate(self, append: Append, head: HeadState) -> None:
        """Who holds the lease, and what the owner says of the stream."""
        if append.claim is not None:
            head.worker = append.claim
            self.claimants.add(append.claim)
        if append.release:
            head.worker = None
        if append.status is not None:
            head.status, head.wake_at = append.status, append.wake_at
        if append.anchor:
            self.anchored.append(append.stream)
        self.coordinated[append.stream] = head

    def _blob(self, payload: bytes) -> bytes:
        address = sha256(payload).digest()
        self.blobs[address] = payload
        return address


def _check_sizes(stream: str, kind: bytes, operation: bytes, payload_bytes: int) -> None:
    for what, size, size_max in (
        ("type", len(kind), TYPE_NAME_BYTES_MAX),
        ("op", len(operation), OP_BYTES_MAX),
        ("payload", payload_bytes, PAYLOAD_BYTES_MAX),
    ):
        if size > size_max:
            raise BadValue(f"{stream}: a {what} of {size} bytes is too long.", expected=size_max, found=size)


def _stream_bytes(stream: str) -> bytes:
    try:
        encoded = stream.encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"{stream!r} cannot name a stream: {error}.") from error
    if len(encoded) > STREAM_NAME_BYTES_MAX or not _STREAM_NAME.fullmatch(stream):
        raise BadValue(
            f"{stream[:80]!r} cannot name a stream.",
            expected=f"kind/id, at most {STREAM_NAME_BYTES_MAX} bytes, no control characters",
        )
    return encoded


def _check_coordination(append: Append) -> None:
    for what, text, size_max in (
        ("status", append.status, STATUS_BYTES_MAX),
        ("worker", append.claim, WORKER_BYTES_MAX),
    ):
        try:
            if text is not None and len(text.encode()) > size_max:
                raise BadValue(f"{append.stream}: a {what} of more than {size_max} bytes.")
        except UnicodeEncodeError as error:
            raise BadValue(f"{append.stream}: {what}: {error}.") from error
    if append.wake_at is not None and not 0 <= append.wake_at <= INT64_MAX:
        raise BadValue(f"{append.stream}: wake_at {append.wake_at} is no time.")


def _same(new: NewEvent, stored: Event) -> bool:
    """Whether an event that somebody wants appended is the one that stands in the log."""
    return (
        stored.type == new[0]
        and stored.version == new[1]
        and stored.at == new[2]
        and stored.op == new[3]
        and stored.cause == new[4]
        and (stored.payload is None or stored.payload == new[5])
    )
