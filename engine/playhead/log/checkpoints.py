"""Checkpoints: what a log was at some size, as a text that a person signs.

    note = signed(signer, of(LogTree.of(log, shortcut=False)))
    keep(log.path, note)
    faults = check(log, [parse(note)])           # whether the log still begins with all that it held then

The text is a tlog-checkpoint in a signed note, as C2SP describes both: a line that names the log, the number
of its events, the root of the tree over them, an empty line, and a line for each signature. A log is named
after the digest of its first event, so a checkpoint of one log says nothing about another. `<db>-checkpoints`
holds those that were made beside the log, one in each line, and is only appended to.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from playhead.errors import BadValue, Corrupt, NotFound
from playhead.log.driver import place_of
from playhead.log.evidence import Fault
from playhead.log.merkle import HASH_BYTES, Frontier
from playhead.log.proofs import every_leaf
from playhead.sign import SIGNATURE_BYTES, is_signature, key_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from playhead.log.proofs import LogTree
    from playhead.log.reader import LogReader
    from playhead.sign import Keys, Signer

ORIGIN: Final = "playhead.log/"
TEXT_BYTES_MAX: Final = 100_000
_ED25519: Final = b"\x01"
_HINT_BYTES: Final = 4

_BODY: Final = re.compile(
    r"(playhead\.log/[0-9a-f]{32})\n([1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n", re.ASCII
)
_SIGNATURE: Final = re.compile(r"\N{EM DASH} ([^\s+]+) ([A-Za-z0-9+/]{91}=)\n")  # 4 and 64 bytes


class SignatureLine(NamedTuple):
    """One signature of a note: the name of the key, the four bytes that hint at it, and the signature."""

    name: str
    hint: bytes
    signature: bytes


class Checkpoint(NamedTuple):
    """A checkpoint as it was read. `text` is all of it, and `body` what is signed."""

    text: str
    body: str
    origin: str
    size: int
    root: bytes
    signatures: tuple[SignatureLine, ...]

    def signer(self, keys: Keys) -> str | None:
        """Whose key signed it, of those in `keys`. Raises `ProgramError` without the cryptography package."""
        for line in self.signatures:
            for name, theirs in keys.items():
                for key in theirs:
                    known = line.name == self.origin and line.hint == _hint(self.origin, key)
                    if known and is_signature(key, line.signature, self.body.encode()):
                        return name
        return None


def origin_of(log: LogReader) -> str:
    """The name of a log: from the digest of its first event. Raises `NotFound` where there is none yet."""
    first = log.digests(0, 1)
    if not first:
        raise NotFound("there is nothing in the store yet, so there is nothing to say about it.")
    return ORIGIN + first[0][1].hex()[:32]


def of(log: LogReader, tree: LogTree, size: int | None = None) -> str:
    """What a checkpoint says of the first `size` events, before anybody signed it."""
    count = tree.size if size is None else size
    return f"{origin_of(log)}\n{count}\n{b64encode(tree.root(count)).decode()}\n"


def signed(signer: Signer, body: str) -> str:
    """The note: what a checkpoint says, and the signature of `signer`."""
    origin = body.partition("\n")[0]
    line = _hint(origin, signer.public) + signer.sign(body.encode())
    return f"{body}\n\N{EM DASH} {origin} {b64encode(line).decode()}\n"


def parse(text: str) -> Checkpoint:
    """Read a checkpoint, signed or not. Raises `BadValue` for anything but the one way to write it."""
    match = _BODY.match(text)
    if match is None or len(text) > TEXT_BYTES_MAX:
        raise _no_checkpoint(text)
    body, rest = text[: match.end()], text[match.end() :]
    lines: list[SignatureLine] = []
    if rest:
        found = list(_SIGNATURE.finditer(rest, 1))
        if rest[0] != "\n" or not found or "".join(line[0] for line in found) != rest[1:]:
            raise _no_checkpoint(text)
        lines = [_line(text, line[1], line[2]) for line in found]
    root = _exactly(text, match[3])
    return Checkpoint(text, body, match[1], int(match[2]), root, tuple(lines))


def _line(text: str, name: str, encoded: str) -> SignatureLine:
    raw = _exactly(text, encoded)
    return SignatureLine(name, raw[:_HINT_BYTES], raw[_HINT_BYTES:])


def _exactly(text: str, encoded: str) -> bytes:
    raw = b64decode(encoded)
    if b64encode(raw).decode() != encoded or len(raw) not in (HASH_BYTES, _HINT_BYTES + SIGNATURE_BYTES):
        raise _no_checkpoint(text)
    return raw


def _no_checkpoint(text: str) -> BadValue:
    return BadValue(
        "this is no checkpoint of a playhead log.",
        expected="three lines, and a signature behind an empty one",
        found=ascii(text[:80]),
    )


def _hint(name: str, key: str) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + key_bytes(key)).digest()[:_HINT_BYTES]


# ------------------------------------------------------------ beside a store


def checkpoints_path(database: Path) -> Path:
    """Where the checkpoints of the store at `database` stand."""
    return database.with_name(database.name + "-checkpoints")


class Beside(NamedTuple):
    """The checkpoints beside a store in the order of their making, and what is wrong with their file."""

    checkpoints: list[Checkpoint]
    faults: list[str]


def keep(database: Path, text: str) -> None:
    """Append a checkpoint to those beside the store at `database`. It is durable when this returns.

    Raises `OSError`. A crash leaves a torn last line at most, which means nothing.
    """
    path = checkpoints_path(place_of(database))
    data = json.dumps({"checkpoint": text}, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # goes with the descriptor
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data  # the line before was torn by a crash
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, "only a part of the checkpoint was written", str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def look_beside(database: Path) -> Beside:
    """The checkpoints beside the store at `database`. Torn lines are skipped: a crash can leave them."""
    path = checkpoints_path(place_of(database))
    found = Beside([], [])
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        found.faults.append(f"{path.name} cannot be read: {error}.")
        return found
    for number, line in enumerate(map(bytes.strip, data.split(b"\n")), start=1):
        if not line.endswith(b"}"):
            continue
        try:
            found.checkpoints.append(parse(_text_of(line)))
        except (BadValue, msgspec.MsgspecError, UnicodeError) as error:
            found.faults.append(f"{path.name}, line {number}: {error}")
    return found


def kept_beside(database: Path) -> list[Checkpoint]:
    """The checkpoints beside the store at `database`. Raises `Corrupt` where some of them cannot be read."""
    found = look_beside(database)
    for sentence in found.faults:
        path = checkpoints_path(place_of(database))
        raise Corrupt(
            f"{sentence} So nobody knows what was signed.",
            expected="what `playhead checkpoint` wrote there",
            next_step=f"Put a copy of {path.name} back. Where there is none, move it away and sign anew.",
        )
    return found.checkpoints


def _text_of(line: bytes) -> str:
    document = msgspec.json.decode(line, type=dict[str, str])
    if document.keys() != {"checkpoint"}:
        raise BadValue("this line holds no checkpoint.")
    return document["checkpoint"]


# -------------------------------------------------------------- verification


def fault(sentence: str) -> Fault:
    """What verification says where a checkpoint is not so."""
    return Fault("checkpoint", sentence)


def check(log: LogReader, checkpoints: Sequence[Checkpoint]) -> list[Fault]:
    """What of `checkpoints` is not so: whether the log begins with all that it held at each of them.

    Every digest is read, and nothing kept is believed. Raises `Corrupt` where an event is missing.
    """
    if not checkpoints:
        return []
    faults: list[Fault] = []
    origin, whole = (origin_of(log), log.position()) if log.position() else ("an empty log", 0)
    due: dict[int, list[Checkpoint]] = {}
    for one in checkpoints:
        if one.origin != origin:
            faults.append(fault(f"{named(one)} is one of another log: this is {origin}."))
        elif one.size > whole:
            sentence = f"{named(one)} knows more events than there are: {whole}. The end was cut off."
            faults.append(fault(sentence))
        else:
            due.setdefault(one.size, []).append(one)
    for size, root in _roots(log, sorted(due)):
        faults += (
            fault(f"{named(one)} has another root than the log at that size: an event before it was changed.")
            for one in due[size]
            if one.root != root
        )
    return faults


def named(checkpoint: Checkpoint) -> str:
    """How a checkpoint is called where something is said about it."""
    return f"the checkpoint at {checkpoint.size} of {checkpoint.origin}"


def _roots(log: LogReader, sizes: Sequence[int]) -> Iterable[tuple[int, bytes]]:
    growing, leaves = Frontier(), every_leaf(log, sizes[-1] if sizes else 0)
    for size in sizes:
        while growing.size < size:
            growing.push(next(leaves))
        yield size, growing.root()
