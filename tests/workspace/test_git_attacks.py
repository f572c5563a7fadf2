"""Repositories that somebody made to lead git astray: with file tools alone, or with what git reads later."""

from pathlib import Path

import pytest

from playhead import Workspace
from playhead.errors import BadValue
from tests.workspace.test_git import WHO, commands


@pytest.fixture
def ws(root: Path) -> Workspace:
    return Workspace(root, env=WHO)


async def made(ws: Workspace, name: str) -> None:
    """A repository with one commit, all of whose files go through the filter x."""
    await commands(
        ws,
        f"git init -q -b main {name} && cd {name}",
        "echo '* filter=x' > .gitattributes && echo one > a && git add . && git commit -q -m one",
    )


async def test_a_repository_that_file_tools_alone_have_made_is_none(ws: Workspace, root: Path) -> None:
    far = Workspace(root.parent / "far", env=WHO)
    await commands(far, "git init -q --bare out.git")
    await ws.write_file("evil/HEAD", "ref: refs/heads/main\n")
    await ws.mkdir("evil/refs/heads")
    await ws.mkdir("evil/objects")
    config = "[core]\n repositoryformatversion = 0\n bare = true\n"
    await ws.write_file("evil/config", f'{config}[remote "o"]\n url = {root.parent}/far/out.git\n')
    assert not (await ws.git_push("o", ["main"], "evil")).ok
    assert not (await ws.git_fetch("o", None, "evil")).ok
    assert not (await ws.git_worktree_add("leak", "main", None, "evil")).ok
    await ws.write_file("pointing/file", "")
    (root / "pointing" / ".git").write_text("gitdir: ../evil\n")
    with pytest.raises(BadValue, match="which only git changes"):
        await ws.git_fetch("o", None, "pointing")


async def test_a_repository_that_borrows_objects_of_others_is_refused(ws: Workspace, root: Path) -> None:
    await made(ws, "r")
    (root / "r/.git/objects/info").mkdir(exist_ok=True)
    (root / "r/.git/objects/info/alternates").write_text("/somewhere/else\n")
    with pytest.raises(BadValue, match="borrows objects"):
        await ws.git_worktree_add("wt", "HEAD", None, "r")


@pytest.mark.parametrize("condition", ["onbranch:evil", "gitdir:**/worktrees/**"])
async def test_a_configuration_that_holds_only_later_is_refused(
    ws: Workspace, root: Path, condition: str
) -> None:
    await made(ws, "r")
    (root / "r/.git/inc").write_text(f'[filter "x"]\n smudge = touch {root}/ran; cat\n')
    with (root / "r/.git/config").open("a") as file:
        file.write(f'[includeIf "{condition}"]\n path = inc\n')
    with pytest.raises(BadValue, match="includeif"):
        await ws.git_worktree_add("wt", "HEAD", "evil", "r")
    assert not (root / "ran").exists()


async def test_a_configuration_of_a_worktree_is_refused(ws: Workspace, root: Path) -> None:
    await made(ws, "r")
    assert (await ws.git_worktree_add("wt", "HEAD", None, "r")).ok
    await commands(ws, "cd r && git config extensions.worktreeConfig true")
    (root / "r/.git/worktrees/wt/config.worktree").write_text(
        f'[filter "x"]\n clean = touch {root}/ran; cat\n'
    )
    (root / "wt/a").write_text("two")
    with pytest.raises(BadValue, match="worktreeconfig"):
        await ws.git_worktree_remove("wt", "r")
    assert not (root / "ran").exists()


async def test_a_configuration_that_names_places_outside_is_refused(ws: Workspace, root: Path) -> None:
    await made(ws, "r")
    await commands(ws, "cd r && git config http.cookieFile /any/victim")
    with pytest.raises(BadValue, match=r"http\.cookiefile"):
        await ws.git_fetch("o", None, "r")


async def test_a_remote_inside_is_found_however_it_is_written(ws: Workspace, root: Path) -> None:
    await made(ws, "r")
    await commands(ws, "git init -q --bare rem.git")
    hook = root / "rem.git/hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\ntouch {root}/ran\n")
    hook.chmod(0o755)
    name = root.name
    url = f"file://{root.parent}/%{ord(name[0]):x}{name[1:]}/rem.git"
    await commands(ws, f"cd r && git remote add o '{url}'")
    with pytest.raises(BadValue, match="lies inside of the workspace"):
        await ws.git_push("o", ["HEAD:refs/heads/x"], "r")
    assert not (root / "ran").exists()


async def test_a_folder_of_a_repository_is_not_the_repository(ws: Workspace, root: Path) -> None:
    await made(ws, ".")
    await ws.mkdir("notes")
    done = await ws.git_rebase("HEAD", "notes")
    assert not done.ok
    assert "not a git repository" in done.stderr


async def test_no_worktree_is_made_in_the_inside_of_a_repository(ws: Workspace, root: Path) -> None:
    await made(ws, "r")
    with pytest.raises(BadValue, match="which only git changes"):
        await ws.git_worktree_add("r/.git/zzz", "HEAD", None, "r")
    with pytest.raises(BadValue, match="which only git changes"):
        await ws.git_worktree_remove("r/.git/zzz", "r")
