"""Git works in a repository of the workspace, and runs nothing that the repository says."""

import shutil
from pathlib import Path

import pytest

from playhead import Workspace
from playhead.errors import BadValue
from tests.workspace.conftest import names

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed here")

WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


@pytest.fixture
def ws(root: Path) -> Workspace:
    return Workspace(root, env=WHO)


@pytest.fixture
async def repo(ws: Workspace, root: Path, tmp_path: Path) -> Path:
    """A repository with one commit, and a remote of it outside."""
    await commands(
        ws,
        f"git init -q --bare -b main '{tmp_path}/far.git'",
        "git init -q -b main",
        "echo one > a && git add a && git commit -q -m one",
        f"git remote add origin '{tmp_path}/far.git'",
        "git push -q origin main",
    )
    return root


async def commands(ws: Workspace, *lines: str, cwd: str = "") -> str:
    done = await ws.shell("set -e\n" + "\n".join(lines), cwd)
    assert done.ok, done.stderr
    return done.stdout.strip()


async def test_what_others_pushed_is_fetched_and_what_is_ours_is_pushed(
    ws: Workspace, repo: Path, tmp_path: Path
) -> None:
    other = Workspace(tmp_path / "other", env=WHO)
    await commands(other, f"git clone -q '{tmp_path}/far.git' .", "git commit -q --allow-empty -m two")
    assert (await other.git_push("origin", ["main"])).ok

    assert (await ws.git_fetch("origin")).ok
    assert await commands(ws, "git log -1 --format=%s origin/main") == "two"
    assert (await ws.git_rebase("origin/main")).ok
    await commands(ws, "git commit -q --allow-empty -m three")
    assert (await ws.git_push("origin", ["HEAD:refs/heads/side", "main"])).ok
    assert (await other.git_fetch("origin", ["side"])).ok
    assert await commands(other, "git log -1 --format=%s FETCH_HEAD") == "three"


async def test_what_is_refused_there_is_a_result(ws: Workspace, repo: Path, tmp_path: Path) -> None:
    await commands(ws, "git checkout -q --orphan new", "git commit -q -m other")

    pushed = await ws.git_push("origin", ["new:main"])
    unknown = await ws.git_fetch("nowhere")
    missing = await ws.git_fetch("origin", ["no-such-ref"])

    assert (pushed.exit_code, "rejected" in pushed.stdout) == (1, True)
    assert "No such remote" in unknown.stderr
    assert not missing.ok


async def test_a_rebase_that_meets_a_conflict_leaves_the_branch_as_it_was(ws: Workspace, repo: Path) -> None:
    await commands(
        ws,
        "git checkout -q -b side",
        "echo two > a && git commit -q -am side",
        "git checkout -q main",
        "echo three > a && git commit -q -am main",
    )

    done = await ws.git_rebase("side")

    assert done.exit_code == 1
    assert "CONFLICT" in done.stdout
    assert await commands(ws, "git status --porcelain --branch; git log -1 --format=%s") == "## main\nmain"


async def test_a_rebase_that_somebody_else_is_in_is_left_to_them(ws: Workspace, repo: Path) -> None:
    await commands(
        ws,
        "git checkout -q -b side",
        "echo two > a && git commit -q -am side",
        "git checkout -q main",
        "echo three > a && git commit -q -am main",
        "git rebase side > they-say || true",
    )

    assert not (await ws.git_rebase("side")).ok
    assert (repo / ".git" / "rebase-merge").is_dir()


async def test_a_worktree_comes_and_goes(ws: Workspace, repo: Path) -> None:
    assert (await ws.git_worktree_add("trees/side", "main", "side")).ok
    assert (await ws.git_worktree_add("trees/at-main")).ok
    assert await commands(ws, "git branch --show-current; cat a", cwd="trees/side") == "side\none"
    assert (await ws.git_rebase("main", "trees/side")).ok
    await ws.write_file("trees/side/new", "text")

    refused = await ws.git_worktree_remove("trees/side")
    assert "contains modified or untracked files" in refused.stderr
    assert str(repo) not in refused.stderr
    assert (await ws.git_worktree_remove("trees/side", force=True)).ok
    assert (await ws.git_worktree_remove("trees/at-main")).ok

    assert names(repo / "trees") == []


async def test_a_worktree_stays_inside(ws: Workspace, repo: Path, outside: Path) -> None:
    (repo / "d").symlink_to(outside)
    for path, why in (("../x", "leads out"), ("d/x", "d is a link"), ("a", "something already")):
        with pytest.raises(BadValue, match=why):
            await ws.git_worktree_add(path)
    await commands(ws, "git worktree add -q --detach d/x")
    with pytest.raises(BadValue, match="d is a link"):
        await ws.git_worktree_remove("d/x", force=True)

    assert names(outside) == ["secret", "x"]


OPTIONS = ["--upload-pack=touch x", "-q", "", "a b", "a\0b", "--exec=touch x"]


@pytest.mark.parametrize("word", OPTIONS)
async def test_what_git_could_take_for_an_option_is_refused(ws: Workspace, repo: Path, word: str) -> None:
    before = names(repo)
    for call in (
        ws.git_fetch(word),
        ws.git_fetch("origin", [word]),
        ws.git_push(word, ["main"]),
        ws.git_push("origin", [word]),
        ws.git_rebase(word),
        ws.git_worktree_add("tree", word),
        ws.git_worktree_add("tree", "main", word),
    ):
        with pytest.raises(BadValue, match="no name of a"):
            await call

    assert names(repo) == before


@pytest.mark.parametrize("remote", ["ext::sh -c touch% x", "../far.git", "file:///x", "host:path"])
async def test_a_remote_is_one_that_the_repository_names(ws: Workspace, repo: Path, remote: str) -> None:
    with pytest.raises(BadValue, match="no name of a remote"):
        await ws.git_fetch(remote)


async def test_hooks_do_not_run(ws: Workspace, repo: Path) -> None:
    for hook in ("pre-push", "pre-rebase", "post-checkout", "post-rewrite", "reference-transaction"):
        path = repo / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch '{repo}/ran'\n")
        path.chmod(0o755)
    (repo / "hooks").symlink_to(".git/hooks")
    await commands(ws, "git config core.hooksPath hooks")

    await ws.git_fetch("origin")
    await ws.git_push("origin", ["main:other"])
    await ws.git_rebase("HEAD")
    await ws.git_worktree_add("tree")
    await ws.git_worktree_remove("tree")

    assert "ran" not in names(repo)
    await commands(ws, "git checkout -q -b new")
    assert "ran" in names(repo), "the hooks of this test do nothing"


PROGRAMS = {
    "core.gitProxy": "./evil",
    "core.worktree": "/tmp",
    "filter.x.smudge": "./evil",
    "filter.x.y.process": "./evil",
    "merge.x.driver": "./evil",
    "diff.external": "./evil",
    "credential.helper": "!./evil",
    "credential.https://x.org.helper": "!./evil",
    "remote.origin.uploadpack": "./evil",
    "remote.origin.receivepack": "./evil",
    "remote.origin.vcs": "evil",
    "gpg.program": "./evil",
    "gpg.ssh.program": "./evil",
    "submodule.x.update": "!./evil",
    "hook.x.command": "./evil",
}


@pytest.mark.parametrize(("key", "value"), PROGRAMS.items(), ids=PROGRAMS)
@pytest.mark.parametrize("where", [".git/config", "included"])
async def test_a_configuration_that_names_programs_is_refused(
    ws: Workspace, repo: Path, key: str, value: str, where: str
) -> None:
    await commands(ws, f"git config -f {where} '{key}' '{value}'")
    if where == "included":
        await commands(ws, "git config include.path ../included")
    for call in (
        ws.git_fetch("origin"),
        ws.git_push("origin", ["main"]),
        ws.git_rebase("HEAD"),
        ws.git_worktree_add("tree"),
        ws.git_worktree_remove("tree"),
    ):
        with pytest.raises(BadValue, match=r"names programs or places: [a-z]+\."):
            await call


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("core.fsmonitor", "touch ran;"),
        ("core.editor", "touch ran;"),
        ("sequence.editor", "touch ran;"),
        ("core.askPass", "./evil"),
        ("core.sshCommand", "./evil"),
        ("core.pager", "./evil"),
        ("remote.origin.url", "ext::sh -c touch% ran"),
    ],
)
async def test_what_an_option_takes_back_does_not_run(
    ws: Workspace, repo: Path, key: str, value: str
) -> None:
    await ws.write_file("evil", "#!/bin/sh\ntouch ran\n")
    (repo / "evil").chmod(0o755)
    await commands(
        ws,
        "git remote add far ssh://localhost:1/x",
        f'git config {key} "{value}"',
        "git config protocol.ext.allow always",
    )

    for remote in ("origin", "far"):
        await ws.git_fetch(remote)
        await ws.git_push(remote, ["main"])
    await ws.git_rebase("HEAD")

    assert "ran" not in names(repo)


async def test_what_the_user_configures_holds(root: Path, repo: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    env = {name: value for name, value in WHO.items() if name != "GIT_CONFIG_GLOBAL"}
    ws = Workspace(root, env=env | {"HOME": str(tmp_path / "home")})

    assert (await ws.git_fetch("origin")).ok


async def test_a_repository_outside_is_none(ws: Workspace, root: Path, tmp_path: Path) -> None:
    await commands(Workspace(tmp_path, env=WHO), "git init -q -b main", "git commit -q --allow-empty -m one")

    found = await ws.git_fetch("origin")
    assert "not a git repository" in found.stderr
    (root / ".git").write_text(f"gitdir: {tmp_path}/.git\n")
    with pytest.raises(BadValue, match="its repository lies outside"):
        await ws.git_rebase("main")
    (root / ".git").unlink()
    (root / ".git").symlink_to(tmp_path / ".git")
    with pytest.raises(BadValue, match="its repository lies outside"):
        await ws.git_rebase("main")


@pytest.mark.parametrize("url", ["near.git", "./near.git", "file://{root}/near.git", "{root}/near.git"])
async def test_a_remote_inside_has_anybodys_hooks_and_is_refused(ws: Workspace, repo: Path, url: str) -> None:
    await commands(ws, "git init -q --bare near.git", f"git remote add near '{url.format(root=repo)}'")

    for call in (ws.git_push("near", ["main"]), ws.git_fetch("near")):
        with pytest.raises(BadValue, match="the remote near lies inside"):
            await call
