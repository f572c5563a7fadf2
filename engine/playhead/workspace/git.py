"""Git in a repository of a workspace, which may have been written by whoever git must not obey.

    await Git(Path("out"), {}).git_fetch("origin")

Nothing that the repository itself says can run a program: hooks are off, nobody is asked for a password,
and a configuration that names programs is refused before git is asked to do anything. What the machine's
and the user's own configuration say holds, where the environment of the workspace leads there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec

from playhead.errors import BadValue
from playhead.workspace.paths import REPOSITORY, parts_of, parts_to_change
from playhead.workspace.processes import TIMEOUT_S, Finished, Processes
from playhead.workspace.telling import opened

_ALWAYS: Final = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
    *("-c", "submodule.recurse=false"),
    *("-c", "safe.bareRepository=explicit"),
)
_DEFAULTS: Final = {
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_ASKPASS": "",
    "GIT_EDITOR": ":",
    "GIT_PAGER": "cat",
    "GIT_SEQUENCE_EDITOR": ":",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    "GIT_TERMINAL_PROMPT": "0",
}
"""What comes before the words of a repository, unless the environment of the workspace says otherwise."""
_HARMLESS: Final = re.compile(
    r"core\.(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks"
    r"|autocrlf|eol|safecrlf|quotepath|abbrev|compression|untrackedcache|preloadindex|splitindex"
    r"|sharedrepository|longpaths|protecthfs|protectntfs|checkstat|trustctime|hookspath|fsmonitor|editor"
    r"|pager|askpass|sshcommand)"
    r"|user\.(name|email)"
    r"|branch\..*\.(remote|pushremote|merge|rebase|description)"
    r"|remote\.(pushdefault|.*\.(url|pushurl|fetch|push|mirror|prune|prunetags|tagopt))"
    r"|(init|pull|push|fetch|rebase|advice|color|column|gc|rerere|sequence|pager)\.[a-z]+"
    r"|merge\.(conflictstyle|ff|renames|stat)"
    r"|diff\.(renames|algorithm|context)"
    r"|extensions\.(objectformat|refstorage)"
    r"|protocol\.(.*\.)?allow",
    re.IGNORECASE,
)
"""Keys by which a repository names no program and no place outside, or that an option takes back.

Whatever else it says is refused: what git may learn to run tomorrow is not on the list.
"""
_ALTERNATES: Final = ("alternates", "http-alternates")
_TRUSTED: Final = frozenset({"system", "global", "command"})
_REMOTE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_WORD: Final = re.compile(r"[^\s\0-][^\s\0]*")
_ELSEWHERE: Final = re.compile(r"(?!file:)([a-z0-9+.-]+://|[^/]+:)", re.IGNORECASE)
_SHOWN_MAX: Final = 5


class Git:
    """Runs git in repositories below a directory."""

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self._root = root
        self._processes = Processes(root, {**_DEFAULTS, **env})

    async def git_fetch(
        self, remote: str, refs: list[str] | None = None, repo: str = "", *, timeout_s: float = TIMEOUT_S
    ) -> Finished:
        """Fetch from a remote that the repository names, all or some of its refs."""
        options = ["fetch", "--no-recurse-submodules", "--"]
        return await self._with_remote(options, remote, refs or [], repo, timeout_s)

    async def git_push(
        self, remote: str, refs: list[str], repo: str = "", *, timeout_s: float = TIMEOUT_S
    ) -> Finished:
        """Push refs to a remote that the repository names. That they are refused there is a result."""
        if not refs:
            raise BadValue("refs are what is pushed: name at least one.")
        options = ["push", "--porcelain", "--recurse-submodules=no", "--"]
        return await self._with_remote(options, remote, refs, repo, timeout_s)

    async def git_rebase(self, onto: str, repo: str = "", *, timeout_s: float = TIMEOUT_S) -> Finished:
        """Rebase the branch that is checked out. One that meets a conflict is taken back, and not ok."""
        _check_words("onto", onto)
        if refused := await self._checked(repo):
            return refused
        is_ours = not await self._is_rebasing(repo)
        done = await self._git(["rebase", onto], repo, timeout_s)
        if is_ours and await self._is_rebasing(repo):
            await self._git(["rebase", "--abort"], repo, TIMEOUT_S)
        return done

    async def git_worktree_add(
        self,
        path: str,
        ref: str = "HEAD",
        branch: str | None = None,
        repo: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Finished:
        """Check a ref out as a worktree at `path`, as a new branch or as no branch."""
        parts = parts_to_change(path)
        _check_words("ref", ref)
        how = ["--detach"]
        if branch is not None:
            _check_words("branch", branch)
            how = ["-b", branch]
        if refused := await self._checked(repo):
            return refused
        with opened(self._root, path) as ground, ground.made(parts[:-1]):
            if ground.kind(path) is not None:
                raise BadValue("there is something already.")
        place = str(self._place.joinpath(*parts))
        return await self._git(["worktree", "add", *how, "--", place, ref], repo, timeout_s)

    async def git_worktree_remove(
        self, path: str, repo: str = "", *, force: bool = False, timeout_s: float = TIMEOUT_S
    ) -> Finished:
        """Remove a worktree, with `force` also one that holds changes."""
        parts = parts_to_change(path)
        if refused := await self._checked(repo):
            return refused
        with opened(self._root, path) as ground, ground.folder(parts):
            pass
        place = str(self._place.joinpath(*parts))
        how = ["--force"] if force else []
        return await self._git(["worktree", "remove", *how, "--", place], repo, timeout_s)

    # ------------------------------------------------------------- inside

    async def _with_remote(
        self, options: list[str], remote: str, refs: list[str], repo: str, timeout_s: float
    ) -> Finished:
        if not _REMOTE.fullmatch(remote):
            raise BadValue(f"{remote[:100]!a} is no name of a remote.", found=remote[:400])
        _check_words("refs", *refs)
        if refused := await self._checked(repo):
            return refused
        push = ["--push"] if options[0] == "push" else []
        urls = await self._git(["remote", "get-url", "--all", *push, "--", remote], repo, TIMEOUT_S)
        if not urls.ok:
            return urls
        self._check_urls(remote, urls.stdout.splitlines(), repo)
        return await self._git([*options, remote, *refs], repo, timeout_s)

    async def _checked(self, repo: str) -> Finished | None:
        """What git says where there is no repository. Raises `BadValue` for one that git must not obey."""
        where = await self._git(
            ["rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir"],
            repo,
            TIMEOUT_S,
            raw=True,
        )
        if not where.ok:
            return self._shown(where)
        places = where.stdout.splitlines()
        said = repo or "the workspace"
        if not all(self._holds(place) for place in places):
            raise BadValue(f"{said}: its repository lies outside of the workspace.")
        if not all(map(_is_inside, places)):
            raise BadValue(f"{said}: its repository is not in a {REPOSITORY}, which only git changes.")
        if any(_is_there(f"{place}/objects/info/{name}") for place in places for name in _ALTERNATES):
            raise BadValue(f"{said}: its repository borrows objects of others.")
        asked = await self._git(["config", "--list", "--show-scope", "--name-only", "-z"], repo, TIMEOUT_S)
        if not asked.ok or asked.stdout_truncated:
            raise BadValue(f"{said}: its configuration cannot be read.")
        keys = asked.stdout.split("\0")
        named = sorted({key for scope, key in zip(keys[::2], keys[1::2], strict=False) if _runs(scope, key)})
        if named:
            raise BadValue(
                f"{said}: the repository's configuration names programs or places: "
                f"{', '.join(named[:_SHOWN_MAX])}.",
                found=named[:_SHOWN_MAX],
                next_step="Take them out, or put them into the configuration of the user.",
            )
        return None

    async def _is_rebasing(self, repo: str) -> bool:
        words = [
            "rev-parse",
            "--path-format=absolute",
            "--git-path",
            "rebase-merge",
            "--git-path",
            "rebase-apply",
        ]
        where = await self._git(words, repo, TIMEOUT_S, raw=True)
        return any(map(_is_there, where.stdout.splitlines()))

    def _check_urls(self, remote: str, urls: Sequence[str], repo: str) -> None:
        """Raise `BadValue` where a remote lies in the workspace: its hooks are anybody's, and would run."""
        for url in urls:
            if _ELSEWHERE.match(url):
                continue
            path = re.sub(r"(?i)^file:(//[^/]*)?", "", url)
            if any(self._holds(str(self._root / repo / each)) for each in (path, unquote(path))):
                raise BadValue(
                    f"the remote {remote} lies inside of the workspace, where anybody makes hooks."
                )

    def _holds(self, place: str) -> bool:
        """Whether a place lies in the workspace, wherever links lead."""
        return Path(os.path.realpath(place)).is_relative_to(self._place)

    @property
    def _place(self) -> Path:
        """Where the workspace is, without links above it."""
        return Path(os.path.realpath(self._root))

    async def _git(self, words: list[str], repo: str, timeout_s: float, *, raw: bool = False) -> Finished:
        done = await self._processes.exec(
            ["git", *_ALWAYS, *words],
            repo,
            env={"GIT_CEILING_DIRECTORIES": str(self._place.joinpath(*parts_of(repo, folder=True)).parent)},
            timeout_s=timeout_s,
        )
        return done if raw else self._shown(done)

    def _shown(self, done: Finished) -> Finished:
        """What git said, without the place of the workspace."""

        def shown(text: str) -> str:
            for place in (str(self._place), str(self._root)):
                text = text.replace(f"{place}/", "").replace(place, ".")
            return text

        return msgspec.structs.replace(done, stdout=shown(done.stdout), stderr=shown(done.stderr))


def _runs(scope: str, key: str) -> bool:
    return scope not in _TRUSTED and _HARMLESS.fullmatch(key) is None


def _is_inside(place: str) -> bool:
    """Whether a place is that of a repository which no file tool can have made."""
    return REPOSITORY in Path(os.path.realpath(place)).parts


def _is_there(place: str) -> bool:
    return os.path.lexists(place)


def _check_words(what: str, *words: str) -> None:
    """Raise `BadValue` for what git could take for an option."""
    for word in words:
        if not isinstance(word, str) or not _WORD.fullmatch(word):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadValue(f"{what}: {word[:100]!a} is no name of a revision.", found=word[:400])
