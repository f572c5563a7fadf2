"""A directory that changes while it is read: no link is followed, and nothing is waited for."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from playhead.agent_state.tree import Tree
from playhead.errors import BadValue
from tests.agent_state.nobody import as_nobody


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "s" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "s" / "a").write_text("mine")
    (tmp_path / "s" / "deep" / "er" / "b").write_text("mine too")
    (tmp_path / "outside" / "er").mkdir(parents=True)
    (tmp_path / "outside" / "a").write_text("secret")
    (tmp_path / "outside" / "er" / "b").write_text("secret")
    return tmp_path / "s"


@pytest.fixture
def tree(place: Path) -> Iterator[Tree]:
    with Tree.open(place) as tree:
        yield tree


def test_what_is_there_is_named_and_read(place: Path, tree: Tree) -> None:
    (place / "link").symlink_to("a")
    os.mkfifo(place / "pipe")
    assert tree.entries("") == [("a", "file"), ("deep", "folder"), ("link", "link"), ("pipe", "other")]
    assert tree.entries("deep/er") == [("b", "file")]
    assert [tree.kind(name) for name in ("a", "deep/er", "link", "pipe", "none", "a/b", "none/b")] == [
        "file",
        "folder",
        "link",
        "other",
        None,
        None,
        None,
    ]
    assert tree.read("deep/er/b", 8) == b"mine too"
    assert tree.read("deep/er/b", 7) is None


def linked(path: Path) -> None:
    path.symlink_to(path.parent.parent / "outside" / path.name)


@pytest.mark.parametrize("make", [linked, os.mkfifo, Path.mkdir])
def test_a_file_that_becomes_something_else_is_no_file(
    place: Path, tree: Tree, make: Callable[[Path], None]
) -> None:
    assert ("a", "file") in tree.entries("")
    (place / "a").unlink()
    make(place / "a")
    with pytest.raises(BadValue, match="it is no file"):
        tree.read("a", 100)


def test_nothing_behind_a_folder_that_becomes_a_link_is_read(place: Path, tree: Tree) -> None:
    assert tree.entries("deep") == [("er", "folder")]
    (place / "deep").rename(place / "moved")
    (place / "deep").symlink_to("../outside")
    assert (place / "deep" / "er" / "b").read_text() == "secret"
    for name in ("deep", "deep/er"):
        with pytest.raises(BadValue, match="it is no directory"):
            tree.entries(name)
    with pytest.raises(BadValue, match="it is no file"):
        tree.read("deep/er/b", 100)
    assert [tree.kind(name) for name in ("deep", "deep/er", "deep/er/b", "deep/x/y/z")] == ["link"] * 4


def test_the_directory_itself_stays_what_was_opened(place: Path, tree: Tree) -> None:
    place.rename(place.with_name("moved"))
    place.symlink_to("outside")
    assert tree.read("a", 100) == b"mine"
    with pytest.raises(BadValue, match="it is no directory"), Tree.open(place):
        pass


def test_what_vanishes_or_may_not_be_read_says_so(place: Path, tree: Tree) -> None:
    with pytest.raises(BadValue, match="cannot be read: No such file"):
        tree.read("gone", 100)
    with pytest.raises(BadValue, match="cannot be read: No such file"):
        tree.entries("gone")
    for path in (place / "a", place / "deep"):
        path.chmod(0)
    with as_nobody():
        with pytest.raises(BadValue, match="cannot be read: Permission denied"):
            tree.read("a", 100)
        with pytest.raises(BadValue, match="cannot be read: Permission denied"):
            tree.entries("deep")
        with pytest.raises(BadValue, match="cannot be read: Permission denied"):
            tree.kind("deep/er")
    (place / "deep").chmod(0o700)


def test_no_descriptor_is_left_open(place: Path) -> None:
    (place / "link").symlink_to("a")
    before = len(list(Path("/dev/fd").iterdir()))
    with Tree.open(place) as tree:
        for name in ("a", "deep", "deep/er/b", "link", "link/x", "none", "none/b"):
            tree.kind(name)
            for ask in (tree.entries, lambda name: tree.read(name, 3)):
                try:
                    ask(name)
                except BadValue:
                    continue
    assert len(list(Path("/dev/fd").iterdir())) == before
