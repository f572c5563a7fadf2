"""The Merkle tree of RFC 9162 over numbered leaves: roots, inclusion proofs, consistency proofs. Pure.

    nodes = Leaves([b"a", b"b", b"c"])
    path = inclusion(nodes, 1, 3)
    assert includes(root(nodes, 3), 3, 1, leaf_hash(b"b"), path)

A leaf is hashed behind a byte of zero and a node behind a byte of one, so neither passes for the other, and
an odd last node goes up alone instead of being doubled: two different lists never have one root.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Protocol

HASH_BYTES: Final = 32
EMPTY: Final = sha256().digest()
"""The root of a tree without leaves."""


class Nodes(Protocol):
    """Where the hashes of complete subtrees come from."""

    def complete(self, level: int, index: int, /) -> bytes:
        """The hash over the 2**level leaves from number index * 2**level on, all of which exist."""
        ...


class Leaves:
    """The nodes of a tree that fits in memory, from what its leaves hold."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels = levels_of([leaf_hash(leaf) for leaf in leaves])

    def complete(self, level: int, index: int, /) -> bytes:
        return self._levels[level][index]


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf that holds `data`."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two."""
    return sha256(b"\1" + left + right).digest()


def levels_of(hashes: list[bytes]) -> list[list[bytes]]:
    """`hashes`, and the complete nodes above them, level by level."""
    levels = [hashes]
    while len(below := levels[-1]) > 1:
        levels.append([node_hash(*below[n : n + 2]) for n in range(0, len(below) - 1, 2)])
    return levels


def root(nodes: Nodes, size: int) -> bytes:
    """The root over the first `size` leaves."""
    return _range(nodes, 0, size) if size else EMPTY


def inclusion(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The proof that leaf `index` is one of the first `size`: what stands beside its way to the root."""
    assert 0 <= index < size
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low = middle
    return path[::-1]


def consistency(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """The proof that the first `old` leaves of `new` ones are all leaves that there were at `old`."""
    assert 0 < old <= new
    path: list[bytes] = []
    low, high, whole = 0, new, True
    while old < high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low, whole = middle, False
    if not whole:
        path.append(_range(nodes, low, high))
    return path[::-1]


def includes(root_: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the leaf with hash `leaf` is number `index` of `size` under `root_`."""
    if not 0 <= index < size:
        return False
    found, place, last = leaf, index, size - 1
    for beside in path:
        if not last:
            return False
        if place % 2 or place == last:
            found = node_hash(beside, found)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, beside)
        place, last = place >> 1, last >> 1
    return not last and found == root_


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the tree of `new` leaves begins with all of the tree of `old` leaves."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not steps:
        return False
    place, last = old - 1, new - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    before = after = steps[0]
    for beside in steps[1:]:
        if not last:
            return False
        if place % 2 or place == last:
            before, after = node_hash(beside, before), node_hash(beside, after)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, beside)
        place, last = place >> 1, last >> 1
    return not last and before == old_root and after == new_root


class Frontier:
    """A tree that only grows: it knows its root after each leaf, and holds one hash for each level."""

    __slots__ = ("_complete", "size")

    def __init__(self) -> None:
        self.size = 0
        self._complete: list[bytes] = []
        """The roots of the complete trees that it consists of, the largest first."""

    def push(self, leaf: bytes) -> None:
        """One more leaf, by its hash."""
        self.size += 1
        done, size = leaf, self.size
        while not size & 1:
            done = node_hash(self._complete.pop(), done)
            size >>= 1
        self._complete.append(done)

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._complete:
            return EMPTY
        found = self._complete[-1]
        for left in reversed(self._complete[:-1]):
            found = node_hash(left, found)
        return found


def _split(count: int) -> int:
    """The largest power of two below `count`: that many leaves are on the left."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(nodes: Nodes, low: int, high: int) -> bytes:
    """The hash over the leaves from `low` up to `high`, where `low` is where such a subtree begins."""
    count = high - low
    if not count & (count - 1):
        level = count.bit_length() - 1
        return nodes.complete(level, low >> level)
    middle = low + _split(count)
    return node_hash(
        nodes.complete((middle - low).bit_length() - 1, low // (middle - low)), _range(nodes, middle, high)
    )
