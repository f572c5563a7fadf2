"""A workspace: a directory, and ready tools for what agents do in one.

    ws = Workspace("out")

    @persona
    async def report(text: str) -> None:
        await ws.write_file("notes/report.md", text)

In a run each call is an operation, recorded, judged and never done twice. Outside of a run it is just done.
Paths are relative to the directory, which is looked at only when a tool is called, and never recorded.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from playhead.policy.annotations import Kind
from playhead.runtime.tool import Tool
from playhead.workspace.documents import Documents
from playhead.workspace.files import Files
from playhead.workspace.git import Git
from playhead.workspace.processes import Processes

P = ParamSpec("P")
R = TypeVar("R")


class Workspace:
    """Tools for what is below `root`, which is made when something is first written.

    `env` is what programs find in their environment beside PATH and LANG. It is never recorded.
    """

    def __init__(self, root: str | os.PathLike[str], *, env: Mapping[str, str] | None = None) -> None:
        place = Path(root).absolute()
        files = Files(place)
        # write, copy and mkdir end the same however often they run; moving and deleting can be told from what
        # is there; and of an append nobody knows whether it has happened.
        self.write_file = _changes(files.write_file, "fs.write", effect="idempotent")
        self.write_file_bytes = _changes(files.write_file_bytes, "fs.write", effect="idempotent")
        self.append_file = _changes(files.append_file, "fs.write")
        self.mkdir = _changes(files.mkdir, "fs.mkdir", effect="idempotent")
        both = ("source", "target")
        self.copy_file = _changes(files.copy_file, "fs.copy", effect="idempotent", paths=both)
        self.move_file = _changes(
            files.move_file, "fs.move", kind="move", paths=both, reconcile=files.was_moved
        )
        self.delete_file = _changes(
            files.delete_file, "fs.delete", kind="delete", needs="delete", reconcile=files.was_deleted
        )
        self.read_file = _reads(files.read_file)
        self.read_file_bytes = _reads(files.read_file_bytes)
        self.list_files = _reads(files.list_files)
        self.exists = _reads(files.exists)
        processes = Processes(place, env or {})
        self.exec = _runs(processes.exec)
        self.shell = _runs(processes.shell)
        git = Git(place, env or {})
        self.git_fetch = _versions(git.git_fetch, level="network", effect="idempotent")
        self.git_push = _versions(git.git_push, level="network")
        self.git_rebase = _versions(git.git_rebase)
        self.git_worktree_add = _versions(git.git_worktree_add, paths=("path", "repo"))
        self.git_worktree_remove = _versions(git.git_worktree_remove, paths=("path", "repo"))
        documents = Documents(place)
        self.store_get = _recalls(documents.store_get, "store")
        self.store_set = _keeps(documents.store_set, "store")
        self.store_delete = _keeps(documents.store_delete, "store", kind="delete")
        self.store_clear = _keeps(documents.store_clear, "store", kind="delete")
        self.checkpoint_get = _recalls(documents.checkpoint_get, "checkpoint")
        self.checkpoint = _keeps(documents.checkpoint, "checkpoint")
        self.checkpoint_delete = _keeps(documents.checkpoint_delete, "checkpoint", kind="delete")
        self.checkpoint_clear = _keeps(documents.checkpoint_clear, "checkpoint", kind="delete")
        self.metadata_get = _recalls(documents.metadata_get, "metadata", paths=("path",))
        self.metadata_set = _keeps(documents.metadata_set, "metadata", paths=("path",))

    @property
    def tools(self) -> tuple[Tool[..., Any], ...]:
        """All of them, for a `ToolHost`."""
        every: list[Any] = list(vars(self).values())
        return tuple(cast("list[Tool[..., Any]]", [each for each in every if isinstance(each, Tool)]))


def _changes(
    function: Callable[P, Awaitable[R]],
    action: str,
    *,
    kind: Kind = "edit",
    effect: str = "effect",
    needs: str = "write_text",
    paths: Collection[str] = ("path",),
    reconcile: Callable[..., Any] | None = None,
) -> Tool[P, R]:
    return Tool(
        function,
        side_effect_level="workspace_write",
        action=action,
        kind=kind,
        effect=effect,
        capabilities={"workspace": [needs]},
        path_params=paths,
        reconcile=reconcile,
    )


def _reads(function: Callable[P, Awaitable[R]]) -> Tool[P, R]:
    return Tool(
        function,
        side_effect_level="read_only",
        kind="read",
        capabilities={"workspace": ["read_text"]},
        path_params=("path",),
    )


def _runs(function: Callable[P, Awaitable[R]]) -> Tool[P, R]:
    return Tool(
        function,
        side_effect_level="process_exec",
        action="process.exec",
        kind="execute",
        capabilities={"process": ["exec"]},
        path_params=("cwd",),
    )


def _versions(
    function: Callable[P, Awaitable[R]],
    *,
    level: str = "process_exec",
    effect: str = "effect",
    paths: Collection[str] = ("repo",),
) -> Tool[P, R]:
    return Tool(
        function,
        side_effect_level=level,
        action="git.write",
        kind="execute",
        effect=effect,
        capabilities={"git": ["write"]},
        path_params=paths,
    )


def _keeps(
    function: Callable[P, Awaitable[R]], domain: str, *, kind: Kind = "edit", paths: Collection[str] = ()
) -> Tool[P, R]:
    return Tool(
        function,
        side_effect_level="workspace_write",
        action=f"{domain}.write",
        kind=kind,
        effect="idempotent",
        capabilities={domain: ["write"]},
        path_params=paths,
    )


def _recalls(function: Callable[P, Awaitable[R]], domain: str, *, paths: Collection[str] = ()) -> Tool[P, R]:
    return Tool(
        function,
        side_effect_level="read_only",
        kind="read",
        capabilities={domain: ["read"]},
        path_params=paths,
    )
