"""A workspace that is open: whatever is changed in it is reached part by part, and never through a link.

    with Ground.at(Path("out")) as ground:
        ground.write(["notes", "plan.md"], [b"..."])

A file is written under a name of its own, synced, and then takes the place of the old one, so that
who is killed leaves the old content or the new one, and the inode that another name has is never changed.
What a killed writer leaves behind has no lock any more, and is removed by whoever writes there next.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final, Self

from playhead.agent_state.tree import Tree
from playhead.clock import SystemClock
from playhead.errors import BadValue
from playhead.workspace.paths import DEPTH_MAX, RESERVED

CHUNK_BYTES: Final = 1024 * 1024
ENTRIES_MAX: Final = 100_000
"""How many files and folders one removal may take away."""
TRIES_MAX: Final = 100
LOCK_LOOK_S: Final = 0.005
LOCK_LOOKS_MAX: Final = 2_000

_ROOT: Final = "Name a directory, and where a link leads instead of the link."
_TEMPORARY: Final = re.compile(re.escape(RESERVED) + r"-tmp-[0-9a-f]{32}")
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ADD: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
)
_LOOK: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BELOW: Final = (os.open, os.stat, os.mkdir, os.rename, os.unlink, os.rmdir)


class Ground(Tree):
    """The root of a workspace, open. Every method raises `OSError` and `BadValue`."""

    @classmethod
    @contextlib.contextmanager
    def at(cls, root: Path, *, make: bool = False) -> Generator[Self]:
        """Open `root`, which is made first where it is to be and does not exist."""
        missing = [each.__name__ for each in _BELOW if each not in os.supports_dir_fd]
        if missing:
            raise OSError(
                errno.ENOTSUP, f"this system cannot name files below an open folder (dir_fd): {missing}"
            )
        if make and not os.path.lexists(root):
            root.mkdir(parents=True, exist_ok=True)
            _sync_folder(root.parent)
        if not os.path.lexists(root):
            raise FileNotFoundError(errno.ENOENT, "there is no workspace yet")
        with contextlib.ExitStack() as opened:
            try:
                ground = opened.enter_context(cls.open(root))
            except BadValue as error:
                raise BadValue(f"the workspace cannot be opened: {error.message}", next_step=_ROOT) from None
            yield ground

    @contextlib.contextmanager
    def made(self, parts: list[str]) -> Generator[int]:
        """The descriptor of a folder, with all that are missing on the way made."""
        here = os.dup(self.descriptor)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
                    sync(here)
                below = os.open(
                    part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here
                )
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    # ------------------------------------------------------------- writing

    def write(self, parts: list[str], chunks: Iterable[bytes], *, mode: int | None = None) -> None:
        """Put a file there, whole, with the rights of the one that it replaces, or `mode`."""
        with self.made(parts[:-1]) as here:
            found = _replaceable(here, parts[-1])
            put(here, parts[-1], chunks, mode=_rights(found) if mode is None else mode)

    def append(self, parts: list[str], content: bytes) -> None:
        """Add to the end of a file, or begin one. A file with other names gets an inode of its own first."""
        name = parts[-1]
        with self.made(parts[:-1]) as here, _to_append(here, name) as (descriptor, found):
            if found.st_nlink == 1:
                _add(descriptor, content)
                sync(here)
            else:
                with _regular(here, name) as (old, _):
                    put(here, name, [*_chunks(old), content], mode=_rights(found))

    def copy(self, source: list[str], target: list[str]) -> None:
        """Put a copy of a file at another place."""
        with self.folder(source[:-1]) as there, _regular(there, source[-1]) as (old, found):
            self.write(target, _chunks(old), mode=_rights(found))

    def move(self, source: list[str], target: list[str]) -> None:
        """Give a file or a folder another place. A file takes the place of a file, as in one step."""
        with self.folder(source[:-1]) as there:
            found = os.lstat(source[-1], dir_fd=there)
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                raise BadValue("it is a link." if stat.S_ISLNK(found.st_mode) else "it is no file.")
            with self.made(target[:-1]) as here:
                other = None if stat.S_ISDIR(found.st_mode) else _replaceable(here, target[-1])
                os.rename(source[-1], target[-1], src_dir_fd=there, dst_dir_fd=here)
                if other is not None and other.st_nlink > 1 and os.path.samestat(found, other):
                    # Two names of one inode: renaming has done nothing.
                    _remove_twin(there, source, target)
                sync(here)
                sync(there)

    def make_folder(self, parts: list[str]) -> None:
        """Make a folder, and all that are missing on the way."""
        with self.made(parts):
            pass

    def remove(self, parts: list[str], *, recursive: bool = False) -> None:
        """Remove a name: of a file, of a link and not of what it leads to, or of a folder.

        A folder that is not empty goes only with `recursive`, and one that is too large not at all.
        """
        with self.folder(parts[:-1]) as here:
            if not stat.S_ISDIR(os.lstat(parts[-1], dir_fd=here).st_mode):
                os.unlink(parts[-1], dir_fd=here)
            else:
                if recursive:
                    with self.folder(parts) as inside:
                        _measure(inside)
                        _clear(inside, DEPTH_MAX)
                os.rmdir(parts[-1], dir_fd=here)
            sync(here)

    def sweep(self, parts: list[str]) -> None:
        """Remove what killed writers left in a folder."""
        with contextlib.suppress(FileNotFoundError), self.folder(parts) as here:
            for name in _names(here):
                if _TEMPORARY.fullmatch(name):
                    _sweep(here, name)


def put(here: int, name: str, chunks: Iterable[bytes], *, mode: int | None) -> None:
    """Make `chunks` the content of `name` in an open folder: all of it or nothing."""
    temporary, descriptor = _temporary(here)
    try:
        try:
            for chunk in chunks:
                _write(descriptor, chunk)
            if mode is not None:
                os.fchmod(descriptor, mode)
            sync(descriptor)
            os.rename(temporary, name, src_dir_fd=here, dst_dir_fd=here)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=here)
        raise
    sync(here)


def sync(descriptor: int) -> None:
    """Return when the disk has it."""
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):  # not every file system there has it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> None:
    """Take the lock of an open file, until it is closed. Raises `TimeoutError` where somebody keeps it."""
    for _ in range(LOCK_LOOKS_MAX):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_LOOK_S)
        else:
            return
    raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked")


def _temporary(here: int) -> tuple[str, int]:
    """A new file, locked for as long as its writer lives."""
    for _ in range(TRIES_MAX):
        name = f"{RESERVED}-tmp-{SystemClock().entropy(16).hex()}"
        descriptor = os.open(name, _NEW, 0o666, dir_fd=here)
        lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)  # somebody swept it before it was locked
    raise OSError(errno.EBUSY, "new files are removed as fast as they are made")


def _sweep(here: int, name: str) -> None:
    """Remove a temporary file, unless its writer lives."""
    try:
        descriptor = os.open(name, _LOOK, dir_fd=here)
    except OSError:  # it is gone, or was never ours
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=here)
    except (BlockingIOError, FileNotFoundError):
        return
    finally:
        os.close(descriptor)


def _replaceable(here: int, name: str) -> os.stat_result | None:
    """What a file would replace. Raises `BadValue` for what is no file."""
    try:
        found = os.lstat(name, dir_fd=here)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise BadValue("it is a link." if stat.S_ISLNK(found.st_mode) else "it is no file.")
    return found


@contextlib.contextmanager
def _regular(here: int, name: str) -> Generator[tuple[int, os.stat_result]]:
    """A file, open for reading. Raises `BadValue` for what is none, without waiting for it."""
    descriptor = os.open(name, _LOOK, dir_fd=here)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise BadValue("it is no file.")
        yield descriptor, found
    finally:
        os.close(descriptor)


def _rights(found: os.stat_result | None) -> int | None:
    return None if found is None else stat.S_IMODE(found.st_mode) & 0o777


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK_BYTES):
        yield chunk


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextlib.contextmanager
def _to_append(here: int, name: str) -> Generator[tuple[int, os.stat_result]]:
    """A file, made where there is none, that nobody else here appends to meanwhile."""
    for _ in range(TRIES_MAX):
        descriptor = os.open(name, _ADD, 0o666, dir_fd=here)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadValue("it is no file.")
            lock(descriptor)
            found = os.fstat(descriptor)
            if _is_still(here, name, found):
                yield descriptor, found
                return
        finally:
            os.close(descriptor)
    raise OSError(errno.EBUSY, "it is replaced as fast as it is opened")


def _is_still(here: int, name: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(name, dir_fd=here), found)
    except FileNotFoundError:
        return False


def _add(descriptor: int, content: bytes) -> None:
    """Append to an open file: all of it, or nothing where the disk says no."""
    before = os.fstat(descriptor).st_size
    try:
        _write(descriptor, content)
        sync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _remove_twin(there: int, source: list[str], target: list[str]) -> None:
    if [part.casefold() for part in source] != [part.casefold() for part in target]:
        os.unlink(source[-1], dir_fd=there)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as found:
        return [entry.name for entry in found]


def _measure(folder: int, depth: int = 0, count: int = 0) -> int:
    """How many files and folders there are below. Raises `BadValue` for more than may be removed at once."""
    with os.scandir(folder) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    count += len(entries)
    if count > ENTRIES_MAX or depth > DEPTH_MAX:
        raise BadValue(f"it holds more than {ENTRIES_MAX} files, or is deeper than {DEPTH_MAX} folders.")
    for name in (name for name, is_folder in entries if is_folder):
        inside = _into(folder, name)
        try:
            count = _measure(inside, depth + 1, count)
        finally:
            os.close(inside)
    return count


def _clear(folder: int, depth: int) -> None:
    """Remove all that is in an open folder, links as links."""
    for name in _names(folder):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            os.unlink(name, dir_fd=folder)
            continue
        if not depth:
            raise BadValue(f"it is deeper than {DEPTH_MAX} folders.")
        inside = _into(folder, name)
        try:
            _clear(inside, depth - 1)
        finally:
            os.close(inside)
        os.rmdir(name, dir_fd=folder)


def _into(folder: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
