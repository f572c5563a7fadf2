"""What a disk may hold after the power went: from a trace of writes and syncs, one state after another.

What was synced is there. What was not may be there wholly, partly, in any order of sectors, or with
junk in a sector that was being written. Each file is on its own: nothing orders one before another but
a sync.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

SECTOR_BYTES = 512
# Not on the disk's side of a crash, or not the store's: locks, shared memory, and the acknowledgements.
LEFT_OUT = ("-shm", "-lock", "acks")
# Appended in small pieces and never synced: a page of it reaches the disk whole or not at all.
APPENDED = ("-anchors",)

_RECORD = struct.Struct("<cHqI")


class Call(NamedTuple):
    """One recorded call. See recorder.c for the letters."""

    what: str
    name: str
    offset: int
    data: bytes


class State(NamedTuple):
    """Files by name as they may be found after the power went, after `calls` recorded calls."""

    calls: int
    files: dict[str, bytes]
    acknowledged: int
    how: str


def read_trace(path: Path, below: Path) -> list[Call]:
    """The calls of a trace, with names relative to the directory that was watched."""
    data = path.read_bytes()
    calls: list[Call] = []
    at = 0
    prefix = len(str(below)) + 1
    while at < len(data):
        what, name_bytes, offset, size = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        name = data[at : at + name_bytes].decode()[prefix:]
        at += name_bytes
        calls.append(Call(what.decode(), name, offset, data[at : at + size]))
        at += size
    return calls


class _File:
    """What is surely on the disk under one name, and what was asked for since."""

    def __init__(self) -> None:
        self.durable: bytearray | None = None
        self.pending: list[Call] = []

    def take(self, call: Call) -> None:
        if call.what != "S":
            self.pending.append(call)
            return
        for earlier in self.pending:
            self.durable = apply(self.durable, earlier)
        self.pending.clear()

    def directory_synced(self) -> None:
        """Removals and creations last from here on, and with a removal all that came before it."""
        removals = [number for number, call in enumerate(self.pending) if call.what == "U"]
        if removals:
            self.durable = None
            del self.pending[: removals[-1] + 1]
        if any(call.what == "C" for call in self.pending) and self.durable is None:
            self.durable = bytearray()

    def after(self, how: str, chance: Random) -> bytearray | None:
        """The file as it may be found."""
        found = None if self.durable is None else bytearray(self.durable)
        pending = self.pending
        if how == "none":
            return found
        if how == "prefix":
            pending = pending[: chance.randrange(len(pending) + 1)]
        if how in ("all", "prefix"):
            for call in pending:
                found = apply(found, call)
            return found
        found, pending = self._one_life(found, chance)
        for call in pending:
            for part in sectors(call):
                if chance.random() < 0.5:
                    found = apply(found, part)
        writes = [call for call in pending if call.what == "W"]
        if how == "junk" and writes:
            part = chance.choice(list(sectors(chance.choice(writes))))
            found = apply(found, part._replace(data=chance.randbytes(len(part.data))))
        return found

    def _one_life(self, found: bytearray | None, chance: Random) -> tuple[bytearray | None, list[Call]]:
        """What is removed and made again is another file: writes to the two never mix."""
        lives: list[list[Call]] = [[]]
        for call in self.pending:
            if call.what == "U":
                lives.append([])
            else:
                lives[-1].append(call)
        number = chance.randrange(len(lives))
        return (found if number == 0 else None), lives[number]


def apply(found: bytearray | None, call: Call) -> bytearray | None:
    """The file after one more call."""
    if call.what == "U":
        return None
    if call.what in "CT":
        return bytearray() if found is None or call.what == "T" else found
    found = bytearray() if found is None else found
    if call.what == "R":
        if len(found) > call.offset:
            del found[call.offset :]
        else:
            found.extend(bytes(call.offset - len(found)))
    elif call.what == "W":
        if len(found) < call.offset:
            found.extend(bytes(call.offset - len(found)))
        found[call.offset : call.offset + len(call.data)] = call.data
    return found


def sectors(call: Call) -> Iterator[Call]:
    """A write cut where sectors end; any other call as it is."""
    if call.what != "W":
        yield call
        return
    start = 0
    while start < len(call.data):
        end = start + SECTOR_BYTES - (call.offset + start) % SECTOR_BYTES
        yield call._replace(offset=call.offset + start, data=call.data[start:end])
        start = end


def states(calls: list[Call], count: int, chance: Random) -> Iterator[State]:
    """`count` states, in the order of the moments at which the power went."""
    moments = sorted(chance.randrange(1, len(calls) + 1) for _ in range(count))
    files: dict[str, _File] = {}
    acknowledged = 0
    done = 0
    for moment in moments:
        for call in calls[done:moment]:
            acknowledged += call.what == "W" and call.name == "acks"
            if not call.name:
                for file in files.values():
                    file.directory_synced()
            elif not call.name.endswith(LEFT_OUT):
                files.setdefault(call.name, _File()).take(call)
        done = moment
        overall = chance.choice(("none", "all", "each its own", "each its own"))
        found: dict[str, bytes] = {}
        told: list[str] = []
        for name, file in files.items():
            how = overall
            if overall == "each its own":
                choices = ("none", "all", "prefix", "torn", "junk")
                how = chance.choice(choices[:3] if name.endswith(APPENDED) else choices)
            content = file.after(how, chance)
            told.append(f"{name}: {how}")
            if content is not None:
                found[name] = bytes(content)
        yield State(moment, found, acknowledged, ", ".join(told))
