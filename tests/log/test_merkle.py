"""The tree is that of RFC 9162, and its proofs prove exactly what they say."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.log.merkle import (
    EMPTY,
    Frontier,
    Leaves,
    consistency,
    consistent,
    includes,
    inclusion,
    leaf_hash,
    root,
)

# From the tests of Certificate Transparency, which publishes them with its reference code.
KNOWN_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
KNOWN_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
GOLDEN = Path(__file__).with_name("merkle_golden.json")


# The same from the definition in section 2.1, word for word, and as slow.


def naive_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = largest_power_below(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_inclusion(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if m < k:
        return [*naive_inclusion(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_inclusion(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(m: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = largest_power_below(len(leaves))
    if m <= k:
        return [*naive_consistency(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_consistency(m - k, leaves[k:], False), naive_root(leaves[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def numbered(count: int) -> list[bytes]:
    return [f"leaf {n}".encode() for n in range(count)]


def changed(path: list[bytes]) -> list[list[bytes]]:
    """The path with one bit turned, one step left out, one put in, and two that change places."""
    found = [[*path[:n], bytes([path[n][0] ^ 1]) + path[n][1:], *path[n + 1 :]] for n in range(len(path))]
    found += [path[:n] + path[n + 1 :] for n in range(len(path))]
    found += [[*path[:n], bytes(32), *path[n:]] for n in range(len(path) + 1)]
    found += [
        [*path[:n], path[n + 1], path[n], *path[n + 2 :]]
        for n in range(len(path) - 1)
        if path[n] != path[n + 1]
    ]
    return found


def test_roots_are_those_that_others_published() -> None:
    nodes = Leaves(KNOWN_LEAVES)

    assert [root(nodes, size).hex() for size in range(1, 9)] == KNOWN_ROOTS
    assert root(nodes, 0) == EMPTY == naive_root([])


def test_a_leaf_is_not_a_node() -> None:
    two = Leaves([b"a", b"b"])
    disguised = leaf_hash(b"a") + leaf_hash(b"b")

    assert root(two, 2) != root(Leaves([disguised]), 1)
    assert root(Leaves([b"a", b"b", b"b"]), 3) != root(Leaves([b"a", b"b", b"b", b"b"]), 4)


def test_up_to_64_leaves_everything_is_what_the_definition_says() -> None:
    leaves = numbered(64)
    nodes = Leaves(leaves)

    for size in range(1, 65):
        assert root(nodes, size) == naive_root(leaves[:size])
        for index in range(size):
            path = inclusion(nodes, index, size)
            assert path == naive_inclusion(index, leaves[:size])
            assert includes(root(nodes, size), size, index, leaf_hash(leaves[index]), path)


def test_all_pairs_of_trees_up_to_64_leaves_are_consistent_and_nothing_else_is() -> None:
    leaves = numbered(64)
    nodes = Leaves(leaves)
    roots = [root(nodes, size) for size in range(65)]

    for new in range(1, 65):
        for old in range(1, new + 1):
            path = consistency(nodes, old, new)
            assert path == naive_consistency(old, leaves[:new])
            assert consistent(old, roots[old], new, roots[new], path)
            assert not consistent(old, bytes(32), new, roots[new], path)
            assert not consistent(old, roots[old], new, bytes(32), path)
            for wrong in changed(path):
                assert not consistent(old, roots[old], new, roots[new], wrong)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=300), st.data())
def test_trees_of_any_leaves_are_what_the_definition_says(leaves: list[bytes], data: st.DataObject) -> None:
    nodes, size = Leaves(leaves), len(leaves)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    path, way = inclusion(nodes, index, size), consistency(nodes, old, size)

    assert root(nodes, size) == naive_root(leaves)
    assert path == naive_inclusion(index, leaves)
    assert way == naive_consistency(old, leaves)
    assert includes(root(nodes, size), size, index, leaf_hash(leaves[index]), path)
    assert consistent(old, naive_root(leaves[:old]), size, naive_root(leaves), way)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33])
def test_no_changed_proof_of_inclusion_proves_anything(size: int) -> None:
    leaves = numbered(size)
    nodes = Leaves(leaves)
    whole = root(nodes, size)

    for index in range(size):
        path, leaf = inclusion(nodes, index, size), leaf_hash(leaves[index])
        assert not any(includes(whole, size, index, leaf, wrong) for wrong in changed(path))
        assert not any(
            includes(whole, size, other, leaf, path) for other in range(-1, size + 2) if other != index
        )
        assert not includes(whole, size, index, leaf_hash(b"another"), path)
        assert not includes(bytes(32), size, index, leaf, path)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 3), (3, 2), (-1, 4)])
def test_an_empty_or_longer_tree_is_the_beginning_of_none(old: int, new: int) -> None:
    assert not consistent(old, EMPTY, new, EMPTY, [])


def test_a_tree_that_grows_knows_every_root_on_the_way() -> None:
    leaves, growing = numbered(300), Frontier()
    nodes = Leaves(leaves)

    assert growing.root() == EMPTY
    for size, leaf in enumerate(leaves, start=1):
        growing.push(leaf_hash(leaf))
        assert (growing.size, growing.root()) == (size, root(nodes, size))


def test_what_was_computed_once_is_computed_for_ever() -> None:
    golden = json.loads(GOLDEN.read_text())
    nodes = Leaves(numbered(100))

    assert root(nodes, 100).hex() == golden["root"]
    assert [step.hex() for step in inclusion(nodes, 37, 100)] == golden["inclusion_of_37"]
    assert [step.hex() for step in consistency(nodes, 37, 100)] == golden["consistency_from_37"]
