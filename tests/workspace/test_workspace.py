"""Each tool says what it is: its class, its level, what it needs, and what a crash means for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from playhead import ManifestOptions, ToolHost, Workspace, build_manifest
from playhead.errors import BadValue

NEEDS = {"fs.delete": "workspace.delete"} | dict.fromkeys(
    ("fs.write", "fs.mkdir", "fs.copy", "fs.move"), "workspace.write_text"
)


class Says(NamedTuple):
    action: str | None
    level: str
    effect: str
    needs: str
    paths: tuple[str, ...]


def write(action: str, effect: str = "idempotent", paths: tuple[str, ...] = ("path",)) -> Says:
    return Says(action, "workspace_write", effect, NEEDS.get(action, action), paths)


def read(needs: str, *paths: str) -> Says:
    return Says(None, "read_only", "read_only", needs, paths)


def git(level: str, *paths: str, effect: str = "effect") -> Says:
    return Says("git.write", level, effect, "git.write", (*paths, "repo"))


TABLE: Mapping[str, Says] = {
    "write_file": write("fs.write"),
    "write_file_bytes": write("fs.write"),
    "append_file": write("fs.write", "effect"),
    "mkdir": write("fs.mkdir"),
    "copy_file": write("fs.copy", paths=("source", "target")),
    "move_file": write("fs.move", "effect", paths=("source", "target")),
    "delete_file": write("fs.delete", "effect"),
    "read_file": read("workspace.read_text", "path"),
    "read_file_bytes": read("workspace.read_text", "path"),
    "list_files": read("workspace.read_text", "path"),
    "exists": read("workspace.read_text", "path"),
    "exec": Says("process.exec", "process_exec", "effect", "process.exec", ("cwd",)),
    "shell": Says("process.exec", "process_exec", "effect", "process.exec", ("cwd",)),
    "git_fetch": git("network", effect="idempotent"),
    "git_push": git("network"),
    "git_rebase": git("process_exec"),
    "git_worktree_add": git("process_exec", "path"),
    "git_worktree_remove": git("process_exec", "path"),
    "store_get": read("store.read"),
    "store_set": write("store.write", paths=()),
    "store_delete": write("store.write", paths=()),
    "store_clear": write("store.write", paths=()),
    "checkpoint_get": read("checkpoint.read"),
    "checkpoint": write("checkpoint.write", paths=()),
    "checkpoint_delete": write("checkpoint.write", paths=()),
    "checkpoint_clear": write("checkpoint.write", paths=()),
    "metadata_get": read("metadata.read", "path"),
    "metadata_set": write("metadata.write"),
}


def test_the_tools_are_the_ones_of_the_table(ws: Workspace) -> None:
    assert {tool.name for tool in ws.tools} == set(TABLE)
    assert {tool.name: tool for tool in ws.tools} == {name: getattr(ws, name) for name in TABLE}


@pytest.mark.parametrize(("name", "says"), TABLE.items(), ids=TABLE)
def test_a_tool_says_what_it_is(ws: Workspace, name: str, says: Says) -> None:
    tool = getattr(ws, name)
    ((domain, ops),) = tool.annotations.capabilities.items()

    assert Says(
        tool.wanted and tool.wanted.kind,
        tool.annotations.side_effect_level,
        tool.effect,
        f"{domain}.{','.join(ops)}",
        tuple(sorted(tool.annotations.path_params)),
    ) == says._replace(paths=tuple(sorted(says.paths)))
    assert tool.annotations.reads_only == (says.action is None)
    assert tool.__doc__


def test_the_tools_are_a_surface_for_snippets(ws: Workspace) -> None:
    host = ToolHost(ws.tools)

    manifest = build_manifest(host.surface, options=ManifestOptions(side_effect_ceiling="network"))

    assert len(manifest.entries) == len(TABLE)


def test_to_make_one_looks_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Workspace("none/of/this")

    assert not list(tmp_path.iterdir())


async def test_its_place_does_not_change_with_the_directory_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ws = Workspace("out")
    monkeypatch.chdir("/")
    await ws.write_file("a", "text")

    assert (tmp_path / "out" / "a").read_text() == "text"


async def test_where_there_is_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    calls: list[Any] = [
        Workspace(tmp_path / "out").write_file("a", "text"),
        Workspace(tmp_path / "out").exec(["true"]),
    ]
    for call in calls:
        with pytest.raises(BadValue, match="the workspace cannot be opened: it is no directory"):
            await call
