"""The hash chain: how an event, a stream and the store prove themselves.

    digest  = SHA-256("playhead.event/1" || previous || len(header) || header || SHA-256(salt || payload))
    running = SHA-256("playhead.store/1" || running || position || digest)

All over stored bytes, never over something encoded again. The first event of a
stream follows a digest of zeros, and its header ends in the name of this scheme.
Because the payload enters through a salted digest of its own, an event can lose
its payload and the chain still verifies, while a short secret cannot be guessed.

The header is canonical: a fixed block with the length of every text first, then
the texts. docs/file_format.md says it byte by byte, and docs/verify_log.py is a
second implementation that shares no code with this one.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final, NamedTuple

SCHEME: Final = "playhead.event/1"
STORE_SCHEME: Final = "playhead.store/1"
GENESIS: Final = bytes(32)

EVENT_DOMAIN: Final = SCHEME.encode()
STORE_DOMAIN: Final = STORE_SCHEME.encode()

# seq, version, at, epoch, cause (-1: none), then the lengths of stream, type, op, append id, scheme
FIXED: Final = struct.Struct(">QIqQqHHHBB")
LENGTH: Final = struct.Struct(">I")
POSITION: Final = struct.Struct(">Q")


def header(
    stream: bytes,
    seq: int,
    type_: str,
    version: int,
    at: int,
    epoch: int,
    op: str,
    cause: int | None,
    append_id: bytes | None,
) -> bytes:
    """The canonical bytes of every envelope field except position, payload and digest."""
    type_bytes = type_.encode()
    op_bytes = op.encode()
    append_bytes = append_id or b""
    scheme = b"" if seq else EVENT_DOMAIN
    return b"".join(
        (
            FIXED.pack(
                seq,
                version,
                at,
                epoch,
                -1 if cause is None else cause,
                len(stream),
                len(type_bytes),
                len(op_bytes),
                len(append_bytes),
                len(scheme),
            ),
            stream,
            type_bytes,
            op_bytes,
            append_bytes,
            scheme,
        )
    )


class Named(NamedTuple):
    """What a header says of its event, as far as a proof needs it."""

    stream: str
    seq: int
    type: str


def named_in(header_bytes: bytes) -> Named:
    """Which event a header is of. Raises `ValueError` for bytes that are no header."""
    if len(header_bytes) < FIXED.size:
        raise ValueError("this is no header of an event")
    seq, _, _, _, _, stream, type_, *others = FIXED.unpack_from(header_bytes)
    texts = header_bytes[FIXED.size :]
    if len(texts) != stream + type_ + sum(others):
        raise ValueError("this is no header of an event")
    return Named(texts[:stream].decode(), seq, texts[stream : stream + type_].decode())


def commitment(salt: bytes, payload: bytes) -> bytes:
    """What the chain knows of a payload. It stays when the payload is erased."""
    digest = sha256(salt)
    digest.update(payload)
    return digest.digest()


def event_digest(previous: bytes, header_bytes: bytes, committed: bytes) -> bytes:
    """The digest of an event that follows `previous` in its stream."""
    return sha256(
        EVENT_DOMAIN + previous + LENGTH.pack(len(header_bytes)) + header_bytes + committed
    ).digest()


def store_digest(running: bytes, position: int, digest: bytes) -> bytes:
    """The store's running digest after the event at `position`, which stands with that event."""
    return sha256(STORE_DOMAIN + running + POSITION.pack(position) + digest).digest()
