"""What the log holds: events in envelopes, and what an append says and is told.

A stream is named `kind/id`, for example `run/4wq2mzkq7xha` or
`mailbox/4wq2mzkq7xha`. Events of a stream count `seq` 0, 1, 2 … without a
hole; `position` orders the whole store, only grows, and may skip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from playhead.errors import PlayheadError

STREAM_NAME_BYTES_MAX: Final = 512
TYPE_NAME_BYTES_MAX: Final = 128
OP_BYTES_MAX: Final = 16_384
APPEND_EVENTS_MAX: Final = 1_000_000
PAYLOAD_BYTES_MAX: Final = 256 * 1024 * 1024
PAYLOAD_INLINE_BYTES_MAX: Final = 64 * 1024
APPEND_ID_BYTES: Final = 16
SALT_BYTES: Final = 16
DIGEST_BYTES: Final = 32


class NewEvent(NamedTuple):
    """An event that somebody wants appended. `at` is in nanoseconds since the epoch, UTC."""

    type: str
    version: int
    at: int
    op: str
    cause: int | None
    payload: bytes


class Event(NamedTuple):
    """An event as it stands in the log. `payload` and `salt` are None where they were erased."""

    position: int
    stream: str
    seq: int
    type: str
    version: int
    at: int
    epoch: int
    op: str
    cause: int | None
    append_id: bytes | None
    salt: bytes | None
    payload: bytes | None
    digest: bytes


class Told(msgspec.Struct, frozen=True, gc=False):
    """What an event says, without what proves it: all that it takes to run a program again.

    Reading these is cheaper: a column costs more than the bytes in it, and the garbage collector does not
    look at them. `payload` is None where it was erased.
    """

    stream: str
    seq: int
    type: str
    version: int
    at: int
    op: str
    payload: bytes | None


AnyEvent: TypeAlias = Event | Told
"""For whoever asks only what an event says."""


def with_payload(event: AnyEvent, payload: bytes) -> AnyEvent:
    """`event`, with another payload."""
    if isinstance(event, Told):
        return msgspec.structs.replace(event, payload=payload)
    return event._replace(payload=payload)


class Appended(NamedTuple):
    """Where an append landed. `next_seq` is what the following append expects."""

    stream: str
    first_seq: int
    next_seq: int
    position: int
    epoch: int
    digest: bytes


class Head(NamedTuple):
    """The end of a stream. `seq` is the next one, 0 when the stream is empty.

    `status` and `wake_at` (nanoseconds, UTC) are what the owner last said of the stream, kept beside
    the events so that due work is found without reading them. `worker` holds the lease.
    """

    stream: str
    seq: int
    digest: bytes
    epoch: int
    worker: str | None
    status: str
    wake_at: int | None


class Anchor(NamedTuple):
    """What the whole store and one stream looked like after a commit, for keeping elsewhere."""

    position: int
    events: int
    store_digest: bytes
    stream: str
    seq: int
    digest: bytes


class Append:
    """One append: all of `events` or none, at `expected` in `stream`.

    `epoch` is the lease under which the caller writes; streams without an owner use 0.
    `claim` takes the lease for that worker in the same breath: the epoch is bumped and the events
    carry the new one. `release` gives it up. `status` and `wake_at` replace what the head says, when
    `status` is not None. `anchor` asks for a line in the anchor file once the events are durable.
    `urgent` says that nobody else is about to append, so waiting for company would only cost time.
    After `done` was called, `outcome` is an `Appended` or the error.
    """

    __slots__ = (
        "anchor",
        "append_id",
        "claim",
        "done",
        "epoch",
        "events",
        "expected",
        "outcome",
        "release",
        "status",
        "stream",
        "urgent",
        "wake_at",
    )

    def __init__(
        self,
        stream: str,
        expected: int,
        events: Sequence[NewEvent],
        *,
        append_id: bytes,
        epoch: int = 0,
        claim: str | None = None,
        release: bool = False,
        status: str | None = None,
        wake_at: int | None = None,
        anchor: bool = False,
        urgent: bool = False,
        done: Callable[[Append], None] | None = None,
    ) -> None:
        assert len(append_id) == APPEND_ID_BYTES, "an append id is 16 bytes"
        assert events, "an append says something"
        assert expected >= 0
        self.stream = stream
        self.expected = expected
        self.events = events
        self.append_id = append_id
        self.epoch = epoch
        self.claim = claim
        self.release = release
        self.status = status
        self.wake_at = wake_at
        self.anchor = anchor
        self.urgent = urgent
        self.done = done
        self.outcome: Appended | PlayheadError | None = None


def kind_of(stream: str) -> str:
    """The kind of a stream: the text before its first slash."""
    return stream.partition("/")[0]
