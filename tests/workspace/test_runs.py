"""In a run the tools of a workspace are operations: recorded, judged, and never done twice."""

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from playhead import ArgConstraint, Policy, ToolRejected, Workspace, persona
from playhead.errors import BadValue
from playhead.runtime.persona import Persona
from playhead.workspace.files import Files
from playhead.workspace.ground import Ground
from tests.runtime.conftest import Home, until
from tests.workspace.conftest import move_away, names

PLACE: list[Workspace] = []


@pytest.fixture(autouse=True)
def place(ws: Workspace) -> None:
    PLACE[:] = [ws]


@persona
async def edits() -> list[str]:
    ws = PLACE[0]
    said = ""
    await ws.write_file("notes/a.md", "one")
    await ws.append_file("notes/a.md", " two")
    await ws.copy_file("notes/a.md", "b.md")
    await ws.move_file("b.md", "c.md")
    await ws.delete_file("notes/a.md")
    try:
        await ws.read_file("/etc/passwd")
    except BadValue as error:
        said += str(error)
    try:
        await ws.read_file("none")
    except FileNotFoundError as error:
        said += str(error)
    return [await ws.read_file("c.md"), said, *(one.path for one in await ws.list_files())]


async def test_a_replay_tells_the_same_without_a_disk(home: Home, root: Path) -> None:
    async with home.engine(edits) as engine:
        run = await engine.start(edits)
        result = await run.result()
        move_away(root)
        assert (await engine.replay(run.id)).identical

    assert result[0] == "one two"
    assert result[1].startswith("'/etc/passwd' is absolute.")
    assert result[1].endswith("[Errno 2] none: there is no such file or folder")
    assert result[2:] == ["c.md", "notes"]
    assert names(root) == []


async def test_a_log_holds_no_place_of_the_machine(home: Home, root: Path) -> None:
    async with home.engine(edits) as engine:
        run = await engine.start(edits)
        await run.result()

    events = await home.events(run.id)
    assert not [event for event in events if str(root.parent).encode() in (event.payload or b"")]
    types = await home.types(run.id)
    assert types.count("tool.requested") == 9


@persona
async def makes_a_workspace() -> str:
    ws = Workspace("made-in-a-run")
    await ws.write_file("a", "text")
    return await ws.read_file("a")


async def test_a_program_may_make_a_workspace(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with home.engine(makes_a_workspace) as engine:
        run = await engine.start(makes_a_workspace)
        assert await run.result() == "text"
        assert (await engine.replay(run.id)).identical
    assert (tmp_path / "made-in-a-run" / "a").read_text() == "text"


POLICIES = {
    "roots": Policy(workspace_roots=["notes"]),
    "constraint": Policy(tool_arg_constraints=[ArgConstraint(tool="*", arg_patterns=["notes/*"])]),
}


@persona(policy=POLICIES["roots"])
async def under_roots() -> list[str]:
    return await tried()


@persona(policy=POLICIES["constraint"])
async def under_constraint() -> list[str]:
    return await tried()


async def tried() -> list[str]:
    ws = PLACE[0]
    await ws.write_file("notes/a", "text")
    refused: list[str] = []
    for call in (
        ws.write_file("b", "text"),
        ws.write_file("notes/../b", "text"),
        ws.move_file("notes/a", "b"),
        ws.copy_file("notes/a", "b"),
        ws.delete_file("b"),
        ws.read_file("b"),
    ):
        try:
            await call
        except ToolRejected as error:
            refused.append(error.tool)
    return refused


@pytest.mark.parametrize("program", [under_roots, under_constraint])
async def test_a_policy_says_where_in_a_workspace(
    home: Home, root: Path, program: Persona[[], list[str]]
) -> None:
    async with home.engine(program) as engine:
        run = await engine.start(program)
        result = await run.result()

    assert result == ["write_file", "write_file", "move_file", "copy_file", "delete_file", "read_file"]
    assert (names(root), names(root / "notes")) == (["notes"], ["a"])


class Slow:
    """A disk on which one kind of change takes until it is told, before it happens or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, *, after: bool) -> None:
        self.begun, self.told = threading.Event(), threading.Event()
        real = getattr(Ground, method)

        def slowly(ground: Ground, *args: Any, **kwargs: Any) -> None:
            if after:
                real(ground, *args, **kwargs)
            if not self.begun.is_set():
                self.begun.set()
                self.told.wait(20)
                if not after:
                    raise OSError(errno.EIO, "the power is gone")
            if not after:
                real(ground, *args, **kwargs)

        monkeypatch.setattr(Ground, method, slowly)


@persona
async def changes(tool: str, args: list[str]) -> None:
    await getattr(PLACE[0], tool)(*args)


async def interrupted(home: Home, slow: Slow, tool: str, args: list[str]) -> str:
    """A run whose change was under way when its engine went."""
    async with home.engine(changes) as engine:
        run = await engine.start(changes, tool, args)
        await until(slow.begun.is_set)
        asyncio.get_running_loop().call_later(0.05, slow.told.set)
    return run.id


CHANGES = {
    "write": ("write_file", ["a", "new"], "write", ["a", "b"]),
    "mkdir": ("mkdir", ["d"], "make_folder", ["a", "b", "d"]),
    "copy": ("copy_file", ["a", "c"], "copy", ["a", "b", "c"]),
    "move": ("move_file", ["a", "c"], "move", ["b", "c"]),
    "delete": ("delete_file", ["a"], "remove", ["b"]),
}


@pytest.mark.parametrize("after", [True, False], ids=["it happened", "it did not happen"])
@pytest.mark.parametrize(("tool", "args", "method", "left"), CHANGES.values(), ids=CHANGES)
async def test_a_change_that_was_cut_off_is_made_once_and_nobody_is_asked(
    home: Home,
    ws: Workspace,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    tool: str,
    args: list[str],
    method: str,
    left: list[str],
    after: bool,
) -> None:
    await ws.write_file("a", "text")
    await ws.write_file("b", "text")
    run = await interrupted(home, Slow(monkeypatch, method, after=after), tool, args)

    async with home.engine(changes) as engine:
        await engine.recover()
        async with asyncio.timeout(20):
            await engine.result(run)
        assert (await engine.replay(run)).identical

    assert names(root) == left


async def test_of_an_append_that_was_cut_off_somebody_is_asked(
    home: Home, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ws.write_file("a", "text")
    run = await interrupted(home, Slow(monkeypatch, "append", after=True), "append_file", ["a", " more"])

    async with home.engine(changes) as engine:
        await engine.recover()
        await engine.resolve(run, "0/append_file#0", "value", None, sender="ada")
        async with asyncio.timeout(20):
            await engine.result(run)

    assert "operation.outcome_unknown" in await home.types(run)
    assert await ws.read_file("a") == "text more"


async def test_where_a_moved_file_is_at_neither_place_or_at_both_nobody_knows(root: Path) -> None:
    files = Files(root)
    await files.write_file("a", "text")
    await files.write_file("d", "text")

    with pytest.raises(BadValue, match="both are there"):
        await files.was_moved("a", "d")

    with pytest.raises(BadValue, match="b to c: neither is there"):
        await files.was_moved("b", "c")
