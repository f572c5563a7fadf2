"""What can be done with the files of a workspace.

    files = Files(Path("out"))
    await files.write_file("notes/plan.md", "first this, then that")

Each change is durable when it returns, and one that was cut off has happened or has not.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import msgspec

from playhead.agent_state.keys import folded
from playhead.agent_state.tree import Kind
from playhead.errors import BadValue, NotFound
from playhead.workspace.ground import Ground
from playhead.workspace.paths import DEPTH_MAX, RESERVED, parts_of, parts_to_change
from playhead.workspace.telling import LINK, opened
from playhead.workspace.threads import in_thread

READ_BYTES_MAX: Final = 64 * 1024 * 1024
LISTED_MAX: Final = 10_000


class Listed(msgspec.Struct, frozen=True):
    """What stands at a path. Links are named and not followed."""

    path: str
    kind: Kind


class Files:
    """The files below a directory. What does not exist is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._swept: set[str] = set()

    # ------------------------------------------------------------- writing

    async def write_file(self, path: str, text: str) -> None:
        """Write a text file, whole. Folders on the way are made."""
        await in_thread(self._write, path, _encoded(text))

    async def write_file_bytes(self, path: str, content: bytes) -> None:
        """Write a file, whole. Folders on the way are made."""
        await in_thread(self._write, path, content)

    async def append_file(self, path: str, text: str) -> None:
        """Add to the end of a text file, or begin one."""
        await in_thread(self._append, path, _encoded(text))

    async def mkdir(self, path: str) -> None:
        """Make a folder, and those on the way. One that is there already stays."""
        await in_thread(self._make_folder, path)

    async def copy_file(self, source: str, target: str) -> None:
        """Copy a file to another path, in the place of what file is there."""
        await in_thread(self._copy, source, target)

    async def move_file(self, source: str, target: str) -> None:
        """Move a file, in the place of what file is there, or a folder, where nothing is."""
        await in_thread(self._move, source, target)

    async def delete_file(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file or an empty folder; with `recursive` all that is in it. Of a link the link goes."""
        await in_thread(self._delete, path, recursive=recursive)

    async def was_moved(self, source: str, target: str) -> None:
        """What became of a move in doubt. Raises `NotFound` where it has not happened."""
        before, after = await in_thread(self._kinds, source, target)
        if before is not None and after is not None:
            raise BadValue(f"{source} to {target}: both are there, so nobody can tell whether it moved.")
        if before is not None:
            raise NotFound(f"{source} has not moved.")
        if after is None:
            raise BadValue(f"{source} to {target}: neither is there.")

    async def was_deleted(self, path: str, *, recursive: bool = False) -> None:
        """What became of a deletion in doubt. Raises `NotFound` where it has not happened."""
        (found,) = await in_thread(self._kinds, path)
        if found is not None:
            raise NotFound(f"{path} is there.")

    # ------------------------------------------------------------- reading

    async def read_file(self, path: str) -> str:
        """Read a text file."""
        content = await in_thread(self._read, path)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            reason = f"{path}: it is no UTF-8: {error.reason} at {error.start}."
            raise BadValue(reason, next_step="Read it with read_file_bytes.") from None

    async def read_file_bytes(self, path: str) -> bytes:
        """Read a file."""
        return await in_thread(self._read, path)

    async def list_files(self, path: str = "", *, recursive: bool = False) -> list[Listed]:
        """What is in a folder, sorted, with `recursive` also what is in folders below."""
        return await in_thread(self._list, path, recursive=recursive)

    async def exists(self, path: str) -> bool:
        """Whether something is at a path. Raises `BadValue` where that is a link."""
        return await in_thread(self._exists, path)

    # ------------------------------------------------------------- in a thread

    def _write(self, path: str, content: bytes) -> None:
        parts = parts_to_change(path)
        with opened(self._root, path, make=True) as ground:
            self._sweep(ground, parts)
            ground.write(parts, [content])

    def _append(self, path: str, content: bytes) -> None:
        parts = parts_to_change(path)
        with opened(self._root, path, make=True) as ground:
            self._sweep(ground, parts)
            ground.append(parts, content)

    def _make_folder(self, path: str) -> None:
        parts = parts_to_change(path)
        with opened(self._root, path, make=True) as ground:
            ground.make_folder(parts)

    def _copy(self, source: str, target: str) -> None:
        ours, theirs = parts_of(source), parts_to_change(target)
        with opened(self._root, source, target) as ground:
            self._sweep(ground, theirs)
            ground.copy(ours, theirs)

    def _move(self, source: str, target: str) -> None:
        ours, theirs = parts_to_change(source), parts_to_change(target)
        with opened(self._root, source, target) as ground:
            ground.move(ours, theirs)

    def _delete(self, path: str, *, recursive: bool) -> None:
        parts = parts_to_change(path)
        with opened(self._root, path) as ground:
            ground.remove(parts, recursive=recursive)

    def _kinds(self, *paths: str) -> list[Kind | None]:
        for path in paths:
            parts_of(path)
        with opened(self._root, *paths) as ground:
            return [ground.kind(path) for path in paths]

    def _read(self, path: str) -> bytes:
        parts_of(path)
        with opened(self._root, path) as ground:
            _expect("file", ground.kind(path))
            content = ground.read(path, READ_BYTES_MAX)
        if content is None:
            raise BadValue(f"{path}: it has more than {READ_BYTES_MAX} bytes.")
        return content

    def _exists(self, path: str) -> bool:
        parts_of(path)
        if not os.path.lexists(self._root):
            return False
        with opened(self._root, path) as ground:
            found = ground.kind(path)
            if found == "link":
                raise BadValue(LINK)
            return found is not None

    def _list(self, path: str, *, recursive: bool) -> list[Listed]:
        parts_of(path, folder=True)
        if not path and not os.path.lexists(self._root):
            return []
        listed: list[Listed] = []
        with opened(self._root, path) as ground:
            if path:
                _expect("folder", ground.kind(path))
            todo = [path]
            while todo:
                folder = todo.pop()
                found = [
                    Listed(f"{folder}/{name}" if folder else name, kind)
                    for name, kind in ground.entries(folder)
                    if not folded(name).startswith(RESERVED)
                ]
                listed += found
                if len(listed) > LISTED_MAX:
                    raise BadValue(f"it holds more than {LISTED_MAX} files.", next_step="List what is below.")
                if recursive:
                    todo += [one.path for one in found if one.kind == "folder" and _is_near(one.path)]
        return sorted((_shown(one) for one in listed), key=lambda one: one.path)

    def _sweep(self, ground: Ground, parts: list[str]) -> None:
        """Remove what killed writers left, once for each folder."""
        folder = "/".join(parts[:-1])
        if folder not in self._swept:
            ground.sweep(parts[:-1])
            self._swept.add(folder)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"the text holds a lone surrogate at {error.start}.") from None


def _expect(wanted: Kind, found: Kind | None) -> None:
    """Raise what is wrong with something that should be of the kind `wanted`."""
    match found:
        case None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        case "link":
            raise BadValue(LINK)
        case "folder" if wanted == "file":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        case "file" if wanted == "folder":
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        case "other":
            raise BadValue("it is no file and no folder.")
        case _:
            return


def _is_near(path: str) -> bool:
    return path.count("/") < DEPTH_MAX


def _shown(one: Listed) -> Listed:
    """A name that is no UTF-8 is shown with marks: no path of ours can be written so."""
    return Listed(os.fsencode(one.path).decode("utf-8", "backslashreplace"), one.kind)
