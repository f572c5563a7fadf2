"""A path stays inside, or is refused; what it leads through on the disk is never a link."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playhead import Workspace
from playhead.errors import BadValue
from playhead.workspace.paths import parts_of
from tests.workspace.conftest import SECRET, link, move_away, names

BAD = [
    ("/etc/passwd", "is absolute"),
    ("../a", "leads out"),
    ("a/../../b", "leads out"),
    ("a/..", "leads out"),
    ("./a", "is not normal"),
    ("a//b", "is not normal"),
    ("a/", "is not normal"),
    ("a/./b", "is not normal"),
    ("", "a path is not empty"),
    ("a\0b", "nobody sees"),
    ("a\nb", "nobody sees"),
    ("a\N{ZERO WIDTH SPACE}", "nobody sees"),
    (".playhead/store.json", "keeps for itself"),
    (".PlayHead/store.json", "keeps for itself"),
    ("a/.playhead-tmp-1", "keeps for itself"),
    ("\N{FULLWIDTH FULL STOP}playhead/x", "keeps for itself"),
    ("/".join("a" * 65), "folders deep"),
    ("a" * 256, "is longer"),
    ("\N{GREEK SMALL LETTER ALPHA}" * 128, "is longer"),
]

Does = Callable[[Workspace, str], Awaitable[object]]
DOES: dict[str, Does] = {
    "write": lambda ws, path: ws.write_file(path, "mine"),
    "write bytes": lambda ws, path: ws.write_file_bytes(path, b"mine"),
    "append": lambda ws, path: ws.append_file(path, "mine"),
    "mkdir": lambda ws, path: ws.mkdir(path),
    "copy from": lambda ws, path: ws.copy_file(path, "copy"),
    "copy to": lambda ws, path: ws.copy_file("a", path),
    "move from": lambda ws, path: ws.move_file(path, "moved"),
    "move to": lambda ws, path: ws.move_file("a", path),
    "read": lambda ws, path: ws.read_file(path),
    "read bytes": lambda ws, path: ws.read_file_bytes(path),
    "list": lambda ws, path: ws.list_files(path),
    "exists": lambda ws, path: ws.exists(path),
}
DELETES: dict[str, Does] = {
    "delete": lambda ws, path: ws.delete_file(path),
    "delete all": lambda ws, path: ws.delete_file(path, recursive=True),
}
ALL = DOES | DELETES


def each(does: dict[str, Does]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("do", does.values(), ids=does)


def snapshot(place: Path) -> list[tuple[str, int, bytes]]:
    found = sorted(place.rglob("*"))
    return [
        (str(p.relative_to(place)), p.lstat().st_ino, p.read_bytes() if p.is_file() else b"") for p in found
    ]


@pytest.mark.parametrize(("path", "why"), BAD, ids=[why[:20] + repr(path)[:12] for path, why in BAD])
async def test_a_path_that_could_lead_out_is_refused_by_every_tool(
    ws: Workspace, root: Path, path: str, why: str
) -> None:
    await ws.write_file("a", "text")
    for name, do in ALL.items():
        if path or name != "list":
            with pytest.raises(BadValue, match=why):
                await do(ws, path)

    assert names(root) == ["a"]


@pytest.mark.parametrize("path", ["a", "a/b", "a b", "...", "..a", "a..", "-rf", "~", "a\\b", "C:x", "日本"])
async def test_an_ordinary_path_is_that_file(ws: Workspace, root: Path, path: str) -> None:
    await ws.write_file(path, "text")

    assert (root / path).read_text() == "text"
    assert await ws.read_file(path) == "text"


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from(["..", ".", "", "a", "\0", "~", ".playhead", "é"])).map("/".join)
    )
)
@example("a/b")
def test_what_is_taken_for_a_path_stays_inside_whoever_joins_it(path: str) -> None:
    try:
        parts = parts_of(path)
    except BadValue:
        return
    assert "/".join(parts) == path
    assert os.path.normpath(f"/top/{path}") == f"/top/{path}"


@each(ALL)
async def test_a_folder_that_is_a_link_is_never_followed(
    ws: Workspace, root: Path, outside: Path, do: Does
) -> None:
    await ws.write_file("a", "text")
    (root / "d").symlink_to(outside)
    before = snapshot(outside)

    with pytest.raises(BadValue, match="is a link, and no link is followed"):
        await do(ws, "d/secret")

    assert snapshot(outside) == before
    assert (root / "d").is_symlink()


@pytest.mark.parametrize("dangling", [False, True], ids=["to a file", "dangling"])
@each(DOES)
async def test_a_file_that_is_a_link_is_never_followed(
    ws: Workspace, root: Path, outside: Path, do: Does, dangling: bool
) -> None:
    await ws.write_file("a", "text")
    (root / "l").symlink_to(outside / ("new" if dangling else "secret"))
    before = snapshot(outside)

    with pytest.raises(BadValue, match="link"):
        await do(ws, "l")

    assert snapshot(outside) == before
    assert (root / "l").is_symlink()


@each(DELETES)
async def test_of_a_link_that_is_deleted_only_the_link_goes(
    ws: Workspace, root: Path, outside: Path, do: Does
) -> None:
    await ws.mkdir("d")
    (root / "d" / "inner").symlink_to(outside)
    (root / "l").symlink_to(outside)
    before = snapshot(outside)

    await do(ws, "l")
    await ws.delete_file("d", recursive=True)

    assert snapshot(outside) == before
    assert names(root) == []


@each(DOES)
async def test_a_root_that_is_a_link_is_refused(tmp_path: Path, outside: Path, do: Does) -> None:
    (tmp_path / "out").symlink_to(outside)
    before = snapshot(outside)

    with pytest.raises(BadValue, match="the workspace cannot be opened"):
        await do(Workspace(tmp_path / "out"), "secret")

    assert snapshot(outside) == before


@pytest.mark.parametrize("name", ["fifo", "socket", "device"])
@each({name: do for name, do in DOES.items() if name not in ("exists", "mkdir", "list")})
async def test_what_is_no_file_is_refused_without_waiting_for_it(
    ws: Workspace, root: Path, do: Does, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ws.write_file("a", "text")
    match name:
        case "fifo":
            os.mkfifo(root / "x")
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                monkeypatch.chdir(root)  # the whole path may be longer than a socket's may be
                listening.bind("x")
        case _:
            if os.geteuid():
                pytest.skip("only root makes devices")
            os.mknod(root / "x", 0o600 | stat.S_IFCHR, os.makedev(1, 3))

    async with asyncio.timeout(10):
        with pytest.raises(BadValue, match="it is no file"):
            await do(ws, "x")


@each({name: do for name, do in DOES.items() if "to" in name or "write" in name or name == "append"})
async def test_a_file_that_has_another_name_outside_stays_as_it_is_there(
    ws: Workspace, root: Path, outside: Path, do: Does
) -> None:
    await ws.write_file("a", "mine")
    os.link(outside / "secret", root / "x")
    before = snapshot(outside)

    await do(ws, "x")

    assert snapshot(outside) == before
    assert "mine" in await ws.read_file("x")


async def test_no_error_names_a_place_of_the_machine(ws: Workspace, made: Path, outside: Path) -> None:
    said: list[BaseException] = []
    (made / "d").symlink_to(outside)
    for path in ("none", "d", "d/secret", "/a", "..", ".playhead"):
        for do in ALL.values():
            try:
                await do(ws, path)
            except Exception as error:  # noqa: BLE001
                said.append(error)
    move_away(made)
    link(made, "elsewhere")
    for do in ALL.values():
        with pytest.raises(BadValue, match="workspace cannot be opened") as told:
            await do(ws, "a")
        said.append(told.value)

    with pytest.raises(NotADirectoryError, match="a: a part of it is no folder") as refused:
        await Workspace(made.parent / "outside" / "secret" / "out").write_file("a", "text")
    said.append(refused.value)

    assert len(said) > 50
    assert not [
        one for error in said for one in causes(error) if str(made.parent) in f"{one} {one!r} {vars(one)}"
    ]


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what a log says of how it came about."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


SWAPPER = """
import os, sys
root, outside = sys.argv[1:]
os.chdir(root)

def swap(name, target):
    yield lambda: os.rename(name, "kept")
    yield lambda: os.symlink(target, name)
    yield lambda: None
    yield lambda: os.unlink(name)
    yield lambda: os.rename("kept", name)

def steps():
    yield lambda: os.mkdir("d")
    yield lambda: open("d/f", "x").close()
    yield from swap("d", outside)
    yield from swap("d/f", outside + "/secret")

print("ready", flush=True)
while True:
    for step in steps():
        try:
            step()
        except OSError:
            pass
"""


def started(root: Path, outside: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", SWAPPER, root, outside], stdout=subprocess.PIPE)


async def test_who_swaps_folders_and_files_for_links_meanwhile_gets_nothing_out(
    ws: Workspace, root: Path, outside: Path
) -> None:
    await ws.write_file("a", "mine")
    (outside / "f").write_text(SECRET)
    before = snapshot(outside)
    done = links = turn = 0
    with started(root, outside) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            while turn < 50_000 and (done < 25 or links < 25):
                turn += 1
                try:
                    found = await list(ALL.values())[turn % len(ALL)](ws, "d/f")
                except BadValue:
                    links += 1
                except OSError:
                    await ws.write_file("a", "mine")
                else:
                    done += 1
                    assert SECRET not in repr(found)
        finally:
            swapper.kill()

    assert snapshot(outside) == before
    assert done >= 25
    assert links >= 25
