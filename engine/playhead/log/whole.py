"""A directory that is written whole or not at all.

    write_whole(Path("out/s1"), {"plan.md": b"...", "evidence/a.json": b"..."})

Everything is written and synced in a hidden directory beside the place, which then gets
the name. Whoever is killed before leaves that hidden directory, and the place as it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from playhead.errors import BadValue

_HERE: Final = -100
"""AT_FDCWD: paths are as they are."""
_EXCHANGE: Final = 2
"""RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS."""


def write_whole(target: Path, files: Mapping[str, bytes], *, replace: bool = False) -> None:
    """Write `files`, by their paths inside, as the directory `target`.

    What stands there stays, and `BadValue` is raised, unless it is to be replaced. So it is for a name that
    leads out of the directory, before anything is written. Raises `OSError`.
    A crash leaves the old directory or the new one. Where the system cannot exchange two names at once, one
    in between leaves the old one under a hidden name beside its place.
    """
    for name in files:
        _check_inside(name)
    place = target.absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as made:
        new = Path(made) / "new"
        new.mkdir()
        for name, content in files.items():
            _write(new / name, content)
        folders = {folder for name in files for folder in (new / name).parents if new in folder.parents}
        for folder in (*sorted(folders, reverse=True), new):
            sync_directory(folder)
        if replace and place.exists():
            _exchange(new, place)
        else:
            _give_name(new, place)
        sync_directory(place.parent)


def _check_inside(name: str) -> None:
    """Raise `BadValue` where `name` is no plain path below a directory."""
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise BadValue(
            f"{name[:100]!r} cannot be written there.",
            expected="a path inside of the directory, such as evidence/a.json",
            found=name[:400],
        )


def _give_name(new: Path, target: Path) -> None:
    """Give `new` the name `target`, which nothing has. Raises `BadValue` where something got there first."""
    taken = target.is_symlink() or target.exists()
    try:
        if not taken:
            new.rename(target)
    except OSError as error:
        taken = error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
        if not taken:
            raise
    if taken:
        raise BadValue(
            f"there is something at {target.name} already.",
            expected="a place where nothing stands",
            next_step="Name another place.",
        )


def _exchange(new: Path, target: Path) -> None:
    """Exchange two directories, at once where the system can."""
    if _exchanged(os.fsencode(new), os.fsencode(target)):
        return
    old = new.with_name("old")
    try:
        target.rename(old)
    except FileNotFoundError:  # somebody else is in between the two names
        _give_name(new, target)
        return
    try:
        _give_name(new, target)
    except (OSError, BadValue):
        with contextlib.suppress(BadValue):  # whoever has the place meanwhile keeps it
            _give_name(old, target)
        raise


def _exchanged(one: bytes, other: bytes) -> bool:
    """Whether two names were exchanged in one step; False where this system or file system cannot."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            return bool(libc.renameat2(_HERE, one, _HERE, other, _EXCHANGE) == 0)
        if sys.platform == "darwin":
            return bool(libc.renamex_np(one, other, _EXCHANGE) == 0)
    return False


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Have the names in `directory` on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
