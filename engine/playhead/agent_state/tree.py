"""The files below a directory that somebody else may be changing, none of them reached through a link.

    with Tree.open(Path("out/s1")) as tree:
        tree.entries("evidence")                        # [("a.json", "file")]
        tree.read("evidence/a.json", 1_000_000)         # its bytes; None where it has more

Every name is opened part by part from the directory itself, and what was opened is looked at again:
so whatever becomes of a name in between, no link is followed and nothing is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final, Literal, Self

from playhead.errors import BadValue

Kind = Literal["file", "folder", "link", "other"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_FOLDER: Final = (errno.ENOTDIR, errno.ELOOP, errno.EMLINK)
"""What systems say of a link or a file where a folder is meant."""
_NO_FILE: Final = (*_NO_FOLDER, errno.ENXIO)


class Tree:
    """A directory that is open. Names in it are relative paths, and "" is the directory itself."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    @contextlib.contextmanager
    def open(cls, directory: Path) -> Generator[Self]:
        """Open `directory`. Raises `BadValue` where it is a link or no directory, or cannot be read."""
        try:
            descriptor = os.open(directory, _FOLDER)
        except OSError as error:
            raise _bad(error, "directory", (*_NO_FOLDER, errno.ENOENT)) from error
        try:
            yield cls(descriptor)
        finally:
            os.close(descriptor)

    def entries(self, folder: str) -> list[tuple[str, Kind]]:
        """The names in a folder, sorted, each with what it is. Raises `BadValue`."""
        try:
            with self.folder(folder.split("/") if folder else []) as here, os.scandir(here) as found:
                return sorted((entry.name, _kind_of(entry)) for entry in found)
        except OSError as error:
            raise _bad(error, "directory", _NO_FOLDER) from error

    def kind(self, name: str) -> Kind | None:
        """What `name` is, "link" also behind one; None where it is not there. Raises `BadValue`."""
        *above, last = name.split("/")
        try:
            with self.folder(above) as here:
                mode = os.lstat(last, dir_fd=here).st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise _bad(error, "file", ()) from error
            return "link" if self.kind("/".join(above)) == "link" else None
        if stat.S_ISLNK(mode):
            return "link"
        return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"

    def read(self, name: str, most: int) -> bytes | None:
        """The bytes of a file; None where it has more than `most`. Raises `BadValue` for what is no file."""
        try:
            with self.file(name) as descriptor:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise BadValue("it is no file.")
                if found.st_size > most:
                    return None
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    content = file.read(found.st_size + 1)
        except OSError as error:
            raise _bad(error, "file", _NO_FILE) from error
        if len(content) != found.st_size:
            raise BadValue("it changed while it was read.")
        return content

    @contextlib.contextmanager
    def folder(self, parts: list[str]) -> Generator[int]:
        """The descriptor of a folder, opened part by part. Raises `OSError`."""
        here = os.dup(self.descriptor)
        try:
            for part in parts:
                below = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    @contextlib.contextmanager
    def file(self, name: str) -> Generator[int]:
        """The descriptor of whatever `name` is, unless it is a link. Raises `OSError`."""
        *above, last = name.split("/")
        with self.folder(above) as here:
            descriptor = os.open(last, _FILE, dir_fd=here)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return "link"
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "folder" if entry.is_dir(follow_symlinks=False) else "other"


def _bad(error: OSError, what: str, such: tuple[int, ...]) -> BadValue:
    if error.errno in such:
        return BadValue(f"it is no {what}.")
    return BadValue(f"it cannot be read: {error.strerror}.")
