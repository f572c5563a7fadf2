"""The Merkle tree over a whole log: leaf n - 1 is the digest of the event at position n.

    tree = LogTree.of(log)                       # as long as the log is now
    tree.root(), tree.inclusion(position), tree.consistency(older_size)

Of every 256 events the node above them is kept in `<db>-tree`, so that a proof reads a few hundred digests
and not all. That file is nothing but a shortcut: it is used only where it ends in the running digest that
the log has there, made again where it is gone, and never asked when something is signed or verified.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from playhead.errors import Corrupt
from playhead.log import merkle
from playhead.log.merkle import HASH_BYTES, leaf_hash, levels_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playhead.log.reader import LogReader

TILE_LEVEL: Final = 8
TILE_LEAVES: Final = 1 << TILE_LEVEL
KEPT_TILES_MIN: Final = 16
"""So many new nodes are worth a file."""
PAGE_TILES: Final = 64
OPENED_TILES_MAX: Final = 8

_MAGIC: Final = b"playhead.tree/1\n"
_HEAD_BYTES: Final = len(_MAGIC) + 2 * HASH_BYTES


class LogTree:
    """The tree over the first `size` events of a log. Reads more of it when a proof needs that."""

    def __init__(self, log: LogReader, size: int, tiles: list[bytes]) -> None:
        """`tiles` are the nodes above the first events that are known already."""
        self._log = log
        self.size = size
        self._levels = levels_of(tiles)
        self._opened: dict[int, list[list[bytes]]] = {}

    @classmethod
    def of(cls, log: LogReader, size: int | None = None, *, shortcut: bool = True) -> LogTree:
        """The tree over the first `size` events, or over all. Raises `Corrupt` where one is missing.

        Without the `shortcut` every digest is read, and nothing beside the log is believed.
        """
        whole = log.position() if size is None else size
        wanted = whole >> TILE_LEVEL
        tiles = _kept(log)[:wanted] if shortcut else []
        known = len(tiles)
        for page in range(known, wanted, PAGE_TILES):
            count = min(PAGE_TILES, wanted - page)
            hashes = leaves(log, page * TILE_LEAVES, count * TILE_LEAVES)
            tiles += (
                levels_of(hashes[n : n + TILE_LEAVES])[-1][0] for n in range(0, len(hashes), TILE_LEAVES)
            )
        if shortcut and wanted - known >= KEPT_TILES_MIN:
            _keep(log, tiles)
        return cls(log, whole, tiles)

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` events, or over all."""
        return merkle.root(self, self.size if size is None else size)

    def inclusion(self, position: int, size: int | None = None) -> list[bytes]:
        """The proof that the event at `position` stands there."""
        return merkle.inclusion(self, position - 1, self.size if size is None else size)

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The proof that the log began with all that it held when it had `old` events."""
        return merkle.consistency(self, old, self.size if new is None else new)

    def complete(self, level: int, index: int, /) -> bytes:
        """The node above 2**level events."""
        if level >= TILE_LEVEL:
            return self._levels[level - TILE_LEVEL][index]
        tile, place = divmod(index << level, TILE_LEAVES)
        return self._tile(tile)[level][place >> level]

    def _tile(self, tile: int) -> list[list[bytes]]:
        found = self._opened.get(tile)
        if found is None:
            first = tile * TILE_LEAVES
            found = levels_of(leaves(self._log, first, min(TILE_LEAVES, self.size - first)))
            while len(self._opened) >= OPENED_TILES_MAX:
                self._opened.pop(next(iter(self._opened)))
            self._opened[tile] = found
        return found


def leaves(log: LogReader, after: int, count: int) -> list[bytes]:
    """The hashes of the leaves of `count` events behind position `after`. Raises `Corrupt` for a gap."""
    rows = log.digests(after, count)
    if len(rows) < count or rows[-1][0] != after + count:
        missing = next((n for n, row in enumerate(rows, after + 1) if row[0] != n), after + len(rows) + 1)
        raise Corrupt(f"no event stands at position {missing}.", expected=f"{after + count} events")
    return [leaf_hash(digest) for _, digest in rows]


def every_leaf(log: LogReader, size: int) -> Iterator[bytes]:
    """The hashes of the first `size` leaves, each of them read from the log."""
    page = PAGE_TILES * TILE_LEAVES
    for after in range(0, size, page):
        yield from leaves(log, after, min(page, size - after))


def tree_path(database: Path) -> Path:
    """Where the nodes are kept of the log at `database`."""
    return database.with_name(database.name + "-tree")


def _kept(log: LogReader) -> list[bytes]:
    """The nodes that were kept, where they are those of this log; none otherwise."""
    try:
        data = tree_path(log.path).read_bytes()
    except OSError:
        return []
    head, body = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
    running, checked = head[len(_MAGIC) : -HASH_BYTES], head[-HASH_BYTES:]
    whole = head.startswith(_MAGIC) and not len(body) % HASH_BYTES
    if not whole or sha256(running + body).digest() != checked:
        return []
    tiles = [body[n : n + HASH_BYTES] for n in range(0, len(body), HASH_BYTES)]
    return tiles if log.running(len(tiles) * TILE_LEAVES) == running else []


def _keep(log: LogReader, tiles: list[bytes]) -> None:
    """Put the nodes beside the log. Where that cannot be, nothing is lost; a crash leaves the old file."""
    running = log.running(len(tiles) * TILE_LEAVES)
    path = tree_path(log.path)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    body = b"".join(tiles)
    try:
        fresh.write_bytes(_MAGIC + (running or b"") + sha256((running or b"") + body).digest() + body)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
