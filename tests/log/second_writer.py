"""A second writer of the file format, made from docs/file_format.md alone.

It shares no code with playhead's writer and chain, so a store made here that
verifies there shows that the page says enough. Tests also use it to make files
that playhead's own writer would refuse to make.
"""

from __future__ import annotations

import sqlite3
import struct
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

SCHEMA = Path(__file__).parents[2] / "engine/playhead/log/schema.sql"
INLINE_MAX = 64 * 1024


def header_bytes(
    stream: str,
    seq: int,
    type_: str,
    version: int,
    at: int,
    epoch: int,
    op: str,
    cause: int | None,
    append_id: bytes | None,
) -> bytes:
    texts = (
        stream.encode(),
        type_.encode(),
        op.encode(),
        append_id or b"",
        b"playhead.event/1" if seq == 0 else b"",
    )
    numbers = (seq, version, at, epoch, -1 if cause is None else cause)
    return struct.pack(">QIqQqHHHBB", *numbers, *(len(text) for text in texts)) + b"".join(texts)


@dataclass
class _Stream:
    number: int
    seq: int = 0
    digest: bytes = bytes(32)
    epoch: int = 0


@dataclass
class SecondWriter:
    """Writes events one by one into a new store, with bytes drawn from a seed."""

    path: Path
    seed: int = 0
    page_size: int = 8192
    _streams: dict[str, _Stream] = field(default_factory=dict)
    _events: int = 0
    _running: bytes = bytes(32)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute(f"pragma page_size = {self.page_size}")
        self.db.execute("pragma application_id = 0x706c6179")
        self.db.execute("pragma user_version = 1")
        self.db.executescript(SCHEMA.read_text())
        self.db.execute("insert into store values (1, 'playhead.store/1')")
        self.db.execute("begin")

    def event(
        self,
        stream: str,
        payload: bytes,
        *,
        type_: str = "value.recorded",
        version: int = 1,
        at: int | None = None,
        epoch: int = 0,
        op: str = "0/search#0",
        cause: int | None = None,
        append_id: bytes | None = None,
        salt: bytes | None = None,
        position: int | None = None,
    ) -> int:
        """Write one event and return its position. An empty append id is none."""
        if stream not in self._streams:
            number = len(self._streams) + 1
            self._streams[stream] = _Stream(number)
            self.db.execute("insert into streams values (?, ?, 'playhead.event/1')", (number, stream))
        end = self._streams[stream]
        at = self.random.randrange(2**60) if at is None else at
        salt = self.random.randbytes(16) if salt is None else salt
        append_id = self.random.randbytes(16) if append_id is None else append_id
        header = header_bytes(stream, end.seq, type_, version, at, epoch, op, cause, append_id)
        committed = sha256(salt + payload).digest()
        digest = sha256(
            b"playhead.event/1" + end.digest + struct.pack(">I", len(header)) + header + committed
        ).digest()
        self._events += 1
        position = self._events if position is None else position
        self._running = sha256(
            b"playhead.store/1" + self._running + struct.pack(">Q", position) + digest
        ).digest()
        told = (type_, version, at, epoch, op, cause, append_id or None, digest, self._running)
        self.db.execute(
            "insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (position, end.number, end.seq, *told),
        )
        self._payload(position, salt, payload)
        claimed = epoch != end.epoch
        end.seq, end.digest, end.epoch = end.seq + 1, digest, epoch
        if end.seq == 1 or claimed:
            self.promise(stream)
        return position

    def promise(self, stream: str) -> None:
        """Let the head of a stream say how far it came, as a claim, a status or an anchor does."""
        end = self._streams[stream]
        self.db.execute(
            "insert into heads values (?, ?, ?, ?, null, '', null) on conflict (stream) do update"
            " set seq = excluded.seq, digest = excluded.digest, epoch = excluded.epoch",
            (end.number, end.seq, end.digest, end.epoch),
        )

    def _payload(self, position: int, salt: bytes, payload: bytes) -> None:
        address = None
        if len(payload) > INLINE_MAX:
            address = sha256(payload).digest()
            self.db.execute("insert or ignore into blobs values (?, ?)", (address, payload))
        inline = payload if address is None else None
        self.db.execute("insert into payloads values (?, ?, ?, ?, null)", (position, salt, inline, address))

    def erase(self, stream: str, seq: int, *, say_so: bool = True) -> None:
        """Erase a payload, and append the event that says so."""
        number = self._streams[stream].number
        at = "(select position from events where stream = ? and seq = ?)"
        salt, data, address = self.db.execute(
            f"select salt, bytes, blob from payloads where position = {at}", (number, seq)
        ).fetchone()
        if address is not None:
            (data,) = self.db.execute("select bytes from blobs where address = ?", (address,)).fetchone()
            self.db.execute("delete from blobs where address = ?", (address,))
        self.db.execute(
            "update payloads set salt = null, bytes = null, blob = null, commitment = ?"
            f" where position = {at}",
            (sha256(salt + data).digest(), number, seq),
        )
        if say_so:
            self.event(stream, b"\x80", type_="payload.erased", cause=seq)

    def close(self) -> Path:
        """Make it durable and return where it is."""
        self.db.execute("commit")
        self.db.close()
        return self.path


def a_store(path: Path, *, seed: int = 7, events: int = 40, large: int = 2, page_size: int = 8192) -> Path:
    """A store of two runs, a mailbox and a state, with large, empty and erased payloads.

    The first run is finished, so its head says how far it came; the head of the second is behind.
    """
    writer = SecondWriter(path, seed, page_size)
    names = ("run/4wq2mzkq7xha", "run/b", "mailbox/b", "state/ключ 1")
    for number in range(events):
        stream = names[writer.random.randrange(len(names)) if number >= len(names) else number]
        size = 70_000 if number in (9, 22)[:large] else writer.random.randrange(0, 600)
        writer.event(
            stream,
            writer.random.randbytes(size),
            type_=writer.random.choice(("step.started", "tool.completed", "x")),
            op=writer.random.choice(("", "0.2.1/search#0", "0/поиск#1")),
            cause=writer.random.choice((None, 0)),
        )
        if number == 21:
            writer.erase("mailbox/b", 1)
            writer.promise("run/b")
    writer.promise(names[0])
    return writer.close()
