"""Files of a workspace are read and changed as said, and by nothing else."""

import asyncio
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from playhead import Workspace
from playhead.errors import BadValue
from playhead.workspace.files import Listed
from tests.workspace.conftest import names


async def test_what_is_written_is_read(ws: Workspace, root: Path) -> None:
    await ws.write_file("notes/plan.md", "zuerst \N{LATIN SMALL LETTER U WITH DIAERESIS}ben\r\n")
    await ws.write_file_bytes("data/raw", b"\x00\xff")

    assert await ws.read_file("notes/plan.md") == "zuerst \N{LATIN SMALL LETTER U WITH DIAERESIS}ben\r\n"
    assert (root / "notes" / "plan.md").read_bytes().endswith(b"\r\n")
    assert await ws.read_file_bytes("data/raw") == b"\x00\xff"


async def test_nothing_is_made_before_something_is_written(ws: Workspace, root: Path) -> None:
    assert not await ws.exists("a")
    assert await ws.list_files() == []
    with pytest.raises(FileNotFoundError, match="a: there is no such file"):
        await ws.read_file("a")
    assert not names(root.parent)


async def test_a_file_that_is_written_again_is_a_new_one_with_the_old_rights(
    ws: Workspace, root: Path
) -> None:
    await ws.write_file("run.sh", "one")
    (root / "run.sh").chmod(0o750)
    before = (root / "run.sh").stat()

    await ws.write_file("run.sh", "two")

    after = (root / "run.sh").stat()
    assert after.st_ino != before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o750


async def test_what_is_appended_comes_last_and_begins_a_file_where_there_is_none(ws: Workspace) -> None:
    await ws.append_file("log", "one\n")
    await ws.append_file("log", "two\n")

    assert await ws.read_file("log") == "one\ntwo\n"


async def test_of_many_who_append_nobody_loses_a_line(ws: Workspace, root: Path) -> None:
    await asyncio.gather(*(ws.append_file("log", f"{n}\n") for n in range(40)))
    os.link(root / "log", root / "twin")
    await asyncio.gather(*(ws.append_file("log", f"{n}\n") for n in range(40, 60)))

    assert sorted(map(int, (await ws.read_file("log")).split())) == list(range(60))


async def test_a_copy_is_a_file_of_its_own(ws: Workspace, root: Path) -> None:
    await ws.write_file("a", "text")
    (root / "a").chmod(0o700)
    await ws.copy_file("a", "deep/b")
    await ws.write_file("a", "other")

    assert await ws.read_file("deep/b") == "text"
    assert stat.S_IMODE((root / "deep" / "b").stat().st_mode) == 0o700


async def test_a_file_moves_in_the_place_of_another_and_a_folder_only_where_nothing_is(ws: Workspace) -> None:
    await ws.write_file("a", "new")
    await ws.write_file("b", "old")
    await ws.write_file("d/x", "in d")
    await ws.write_file("e/y", "in e")

    await ws.move_file("a", "b")
    await ws.move_file("d", "f/d")
    with pytest.raises(OSError, match="f/d to e: it is a folder that is not empty"):
        await ws.move_file("f/d", "e")
    with pytest.raises(IsADirectoryError, match="b to e: it is a folder"):
        await ws.move_file("b", "e")
    with pytest.raises(OSError, match="a folder cannot lie in itself"):
        await ws.move_file("f", "f/d/f")

    assert [one.path for one in await ws.list_files(recursive=True)] == [
        "b",
        "e",
        "e/y",
        "f",
        "f/d",
        "f/d/x",
    ]
    assert await ws.read_file("b") == "new"


async def test_two_names_of_one_file_move_onto_each_other_as_any_others(ws: Workspace, root: Path) -> None:
    await ws.write_file("a", "text")
    os.link(root / "a", root / "b")

    await ws.move_file("a", "b")

    assert [one.path for one in await ws.list_files()] == ["b"]


async def test_a_folder_goes_with_what_is_in_it_only_where_that_is_said(ws: Workspace) -> None:
    await ws.write_file("d/deep/er/x", "text")
    await ws.mkdir("d/empty")

    await ws.delete_file("d/empty")
    with pytest.raises(OSError, match="d: it is a folder that is not empty"):
        await ws.delete_file("d")
    await ws.delete_file("d", recursive=True)
    with pytest.raises(FileNotFoundError):
        await ws.delete_file("d", recursive=True)

    assert await ws.list_files() == []


async def test_a_tree_that_is_too_deep_stays_whole(ws: Workspace, root: Path) -> None:
    here = root / "d"
    for _ in range(70):
        here /= "d"
    here.mkdir(parents=True)

    with pytest.raises(BadValue, match="d: it holds more than"):
        await ws.delete_file("d", recursive=True)

    assert here.exists()


async def test_a_list_says_what_each_is_and_leaves_out_what_is_kept_here(ws: Workspace, root: Path) -> None:
    await ws.write_file("b/c", "text")
    (root / "link").symlink_to("b")
    os.mkfifo(root / "pipe")
    (root / ".playhead").mkdir()
    (root / ".playhead-tmp-0").touch()

    assert await ws.list_files() == [Listed("b", "folder"), Listed("link", "link"), Listed("pipe", "other")]
    assert Listed("b/c", "file") in await ws.list_files(recursive=True)
    assert await ws.list_files("b") == [Listed("b/c", "file")]
    with pytest.raises(FileNotFoundError, match="none: there is no such"):
        await ws.list_files("none")
    with pytest.raises(NotADirectoryError, match="b/c"):
        await ws.list_files("b/c")


@pytest.mark.skipif(sys.platform == "darwin", reason="every name there is a text")
async def test_a_name_that_is_no_text_is_shown_with_marks(ws: Workspace, made: Path) -> None:
    (made / os.fsdecode(b"\xff")).touch()

    assert await ws.list_files() == [Listed("\\xff", "file")]


async def test_what_is_no_text_is_not_read_as_one(ws: Workspace) -> None:
    await ws.write_file_bytes("raw", b"ab\xff")

    with pytest.raises(BadValue, match="raw: it is no UTF-8: invalid start byte at 2"):
        await ws.read_file("raw")


async def test_a_folder_is_no_file(ws: Workspace) -> None:
    await ws.mkdir("d/e")
    await ws.mkdir("d/e")

    with pytest.raises(IsADirectoryError, match="d: it is a folder"):
        await ws.write_file("d", "text")
    with pytest.raises(IsADirectoryError, match="d: it is a folder"):
        await ws.append_file("d", "text")
    with pytest.raises(IsADirectoryError, match="d: it is a folder"):
        await ws.read_file("d")
    with pytest.raises(IsADirectoryError, match="d to x: it is a folder"):
        await ws.copy_file("d", "x")
    await ws.write_file("f", "text")
    with pytest.raises(NotADirectoryError, match="f/g: a part of it is no folder"):
        await ws.write_file("f/g", "text")
    with pytest.raises(NotADirectoryError, match="f: a part of it is no folder"):
        await ws.mkdir("f")


async def test_a_disk_that_takes_no_more_leaves_what_was_there(ws: Workspace, root: Path) -> None:
    await ws.write_file("a", "before")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        with pytest.raises(OSError, match="a: File too large"):
            await ws.write_file("a", "x" * 5_000)
        with pytest.raises(OSError, match="a: File too large"):
            await ws.append_file("a", "x" * 5_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)

    assert names(root) == ["a"]
    assert await ws.read_file("a") == "before"


async def test_who_is_cancelled_waits_for_the_end_of_a_write(ws: Workspace, root: Path) -> None:
    task = asyncio.create_task(ws.write_file("big", "x" * 20_000_000))
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    found = names(root)
    await asyncio.sleep(0.05)
    assert found in ([], ["big"])
    assert names(root) == found


@pytest.mark.parametrize("inside", [".git/config", "repo/.git/hooks/pre-push", "repo/.GIT/config", ".git"])
async def test_the_inside_of_a_repository_is_read_and_listed_and_only_git_changes_it(
    ws: Workspace, root: Path, inside: str
) -> None:
    place = root / inside / "config" if inside == ".git" else root / inside
    place.parent.mkdir(parents=True)
    place.write_text("as it was")
    (root / "a").write_text("mine")
    changes: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: ws.write_file(inside, "x"),
        lambda: ws.write_file_bytes(inside, b"x"),
        lambda: ws.append_file(inside, "x"),
        lambda: ws.mkdir(f"{inside}/new"),
        lambda: ws.copy_file("a", inside),
        lambda: ws.move_file("a", inside),
        lambda: ws.move_file(inside, "b"),
        lambda: ws.delete_file(inside, recursive=True),
    ]
    for change in changes:
        with pytest.raises(BadValue, match="which only git changes"):
            await change()
    assert await ws.read_file(str(place.relative_to(root))) == "as it was"
    assert (root / "a").read_text() == "mine"
    if inside.startswith("repo"):
        await ws.delete_file("repo", recursive=True)  # all of it may go
        assert not (root / "repo").exists()
