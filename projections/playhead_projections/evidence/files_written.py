"""What the tools of a workspace did to its files, with the hashes that a log can answer for.

    list(files_written(run.of_kind("tool")))
    # [{"path": "a.md", "operation": "modify", "after_sha256": "sha256:…"}, …]

A log does not say what was there before the run, so that a file was new is said only where the run itself
had removed it, and a hash only where the run wrote all of the file. What was moved or copied takes its hash
along. What is known of a path is forgotten where a call to it failed, was given up, or was under way beside
another one; and so is everything where a program ran, or a call whose files are not known: it may have been
to any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from playhead.events.catalog import ToolRequested
from playhead.events.erasing import MARK
from playhead_projections.evidence.canonical import told
from playhead_projections.evidence.gathered import Operation, object_in

TOOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "write_file": ("path",),
    "write_file_bytes": ("path",),
    "append_file": ("path",),
    "mkdir": ("path",),
    "copy_file": ("source", "target"),
    "move_file": ("source", "target"),
    "delete_file": ("path",),
}
"""Which arguments name files."""
ANYWHERE: Final = frozenset({"fs", "workspace", "process", "git", "desktop", "unknown"})
"""Kinds of effects that may change any file."""


def files_written(calls: Iterable[Operation]) -> Iterator[dict[str, Any]]:
    """What these calls did to files, in the order in which they were done, as receipts say it."""
    files = _Files()
    steps = [(event.seq, one) for one in calls for event in (one.asked, one.ended) if event is not None]
    for seq, one in sorted(steps, key=lambda step: step[0]):
        if _paths(one) or _anywhere(one):
            yield from files.take(one, over=seq != one.asked.seq)


def names_its_files(one: Operation) -> bool:
    """False for a call of a workspace that writes, where nobody can tell any more what it wrote."""
    fact = one.fact
    writes = isinstance(fact, ToolRequested) and fact.side_effect.startswith("fs.") and fact.tool in TOOLS
    return not writes or one.status != "completed" or bool(_paths(one))


class _Files:
    """What is known of files: a hash, or None of one that the run removed. Of others nothing is known."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}
        self._inside: dict[str, set[str]] = {}
        """What is known below each folder."""
        self._busy: dict[str, set[str]] = {}
        """Which calls are under way to a path."""
        self._unsure: set[str] = set()
        """Calls that were under way beside another one to the same path."""

    def take(self, one: Operation, *, over: bool) -> Iterator[dict[str, Any]]:
        """A call that begins, or is over."""
        paths = _paths(one)
        for path in paths:
            busy = self._busy.setdefault(path, set())
            if over:
                busy.discard(one.op)
            else:
                busy.add(one.op)
                if len(busy) > 1:
                    self._unsure |= busy
                    self._forget(path)
        if over and paths and one.status == "completed":
            yield from self._done(one, paths)
        if not paths or MARK in paths:
            self._known.clear()
            self._inside.clear()
        elif over and (one.status != "completed" or one.op in self._unsure):
            for path in paths:
                self._forget(path)

    def _done(self, one: Operation, paths: list[str]) -> Iterator[dict[str, Any]]:
        path, before = paths[-1], self._at(paths[-1])
        match one.fact.tool if isinstance(one.fact, ToolRequested) else "":
            case "delete_file":
                self._remove(path)
                yield self._entry(path, "delete", before)
            case "move_file":
                source = self._at(paths[0])
                self._move(*paths)
                yield self._entry(paths[0], "rename", source)
                yield self._entry(path, "rename", before)
            case tool:
                self._put(path, self._content(tool, before, paths, _arguments(one)))
                yield self._entry(path, "create" if before == (None,) else "modify", before)

    def _content(
        self, tool: str, before: tuple[str | None, ...], paths: list[str], arguments: dict[str, Any]
    ) -> str | None:
        """The hash of what is in a file after a call; None where nobody can tell."""
        if tool == "copy_file":
            return next(iter(self._at(paths[0])), None)
        if tool == "append_file" and before != (None,):
            return None
        said = arguments.get("content" if tool == "write_file_bytes" else "text")
        data = said.encode() if isinstance(said, str) and said != MARK else said
        return told(sha256(data).digest()) if isinstance(data, bytes) else None

    def _entry(self, path: str, operation: str, before: tuple[str | None, ...]) -> dict[str, Any]:
        after = self._at(path)
        return {
            "path": path,
            "operation": operation,
            **({"before_sha256": before[0]} if before else {}),
            **({"after_sha256": after[0]} if after else {}),
        }

    def _at(self, path: str) -> tuple[str | None, ...]:
        """What is known of a path: its hash, None where it was removed, or nothing."""
        if path in self._known:
            return (self._known[path],)
        return (None,) if any(self._is_gone(folder) for folder in _above(path)) else ()

    def _is_gone(self, path: str) -> bool:
        return self._known.get(path, "") is None

    def _put(self, path: str, content: str | None) -> None:
        """Something stands at a path, and so in the folders above it."""
        for each in (path, *filter(self._is_gone, _above(path))):
            self._known.pop(each, None)
        if content is not None:
            self._learn(path, content)

    def _move(self, source: str, target: str) -> None:
        moved = {each.removeprefix(source): self._known[each] for each in self._under(source)}
        self._put(target, None)
        self._remove(source)
        for rest, content in moved.items():
            self._learn(f"{target}{rest}", content)

    def _remove(self, path: str) -> None:
        self._forget(path)
        self._learn(path, None)

    def _learn(self, path: str, content: str | None) -> None:
        self._known[path] = content
        for folder in _above(path):
            self._inside.setdefault(folder, set()).add(path)

    def _forget(self, path: str) -> None:
        for each in self._under(path):
            del self._known[each]
        self._inside.pop(path, None)

    def _under(self, path: str) -> list[str]:
        return [each for each in (path, *sorted(self._inside.get(path, ()))) if each in self._known]


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _paths(one: Operation) -> list[str]:
    """The files that a call names; none where it is no call of a workspace, or one of them is not known."""
    fact = one.fact
    if not isinstance(fact, ToolRequested) or not fact.side_effect.startswith("fs."):
        return []
    arguments = _arguments(one)
    found = [arguments.get(name) for name in TOOLS.get(fact.tool, ())]
    named = [each for each in found if isinstance(each, str) and each]
    return named if len(named) == len(found) else []


def _anywhere(one: Operation) -> bool:
    """Whether a call may have changed any file; so may one of which all that was asked is erased."""
    return not isinstance(one.fact, ToolRequested) or one.fact.side_effect.partition(".")[0] in ANYWHERE


def _arguments(one: Operation) -> dict[str, Any]:
    """The arguments of a call; none where nobody can read them."""
    try:
        return object_in(msgspec.msgpack.decode(getattr(one.fact, "args", b"")))
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
        return {}
