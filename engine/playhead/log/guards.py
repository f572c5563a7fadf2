"""What would make SQLite lose commits without a word, noticed before or just after it happens.

Watched are a store carried through `fork()`, a file system whose locks or
syncs cannot be trusted, a file with two names, live files opened by path
(closing any descriptor of a file drops every lock the process holds on it), and
a WAL or a database that was deleted or replaced under an open connection.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from playhead.errors import LiveFileOpened, NotAStore, ReadOnly, UnsafeFilesystem

if TYPE_CHECKING:
    from collections.abc import Callable

# Locks or syncs are not those of a local disk: network, user space, or shared with a host.
UNSAFE_TYPES: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse", "fuseblk", "glusterfs", "gpfs",
        "lustre", "ncp", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "smb", "smb2", "smb3", "smbfs",
        "vboxsf", "virtiofs", "vmhgfs",
    }
)  # fmt: skip
UNSAFE_PREFIXES: Final = ("fuse.", "nfs", "smb")
MOUNTINFO: Final = Path("/proc/self/mountinfo")
LIVE_SUFFIXES: Final = ("", "-wal", "-shm")


# --- fork ---------------------------------------------------------------------------------------


class Forkable(Protocol):
    """Something that must not be used on the other side of a fork."""

    def poison(self) -> None:
        """Called in the child: refuse every further use, and let go of locks without releasing them."""
        ...


_open_things: weakref.WeakSet[Forkable] = weakref.WeakSet()
# The child's copies of connections are never closed: closing one would run SQLite's
# clean-up on files that the parent is still writing.
_kept_after_fork: list[Forkable] = []


def poison_on_fork(thing: Forkable) -> None:
    """Have `thing.poison()` called in any child that is forked while it lives."""
    _open_things.add(thing)


def forget(thing: Forkable) -> None:
    """`thing` was closed."""
    _open_things.discard(thing)


def _in_the_child() -> None:
    for thing in list(_open_things):
        _kept_after_fork.append(thing)
        thing.poison()
    _open_things.clear()
    _live.clear()
    _live_names.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)


# --- file systems -------------------------------------------------------------------------------


def _unescape(text: str) -> str:
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, plain)
    return text


def filesystem_of(mountinfo: str, path: str) -> str:
    """The type of the file system that holds the absolute `path`, by the text of a mountinfo file.

    Returns "" where the text names none. The last of several mounts on one point counts.
    """
    best, found = -1, ""
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields, types = left.split(" "), right.split(" ")
        if not separator or len(fields) < 5 or not types[0]:
            continue
        point = _unescape(fields[4]).rstrip("/")
        if (path == point or path.startswith(point + "/")) and len(point) >= best:
            best, found = len(point), types[0]
    return found


def is_unsafe(filesystem: str) -> bool:
    """Whether a file system of this type may lie about locks or syncs."""
    kind = filesystem.lower()
    return kind in UNSAFE_TYPES or kind.startswith(UNSAFE_PREFIXES)


def refuse_unsafe_filesystem(directory: Path, mountinfo: str | None = None) -> None:
    """Raise `UnsafeFilesystem` when `directory` is on one. Knows nothing where there is no mountinfo."""
    if mountinfo is None:
        if not MOUNTINFO.exists():
            return
        mountinfo = MOUNTINFO.read_text(errors="surrogateescape")
    filesystem = filesystem_of(mountinfo, str(directory.resolve()))
    if is_unsafe(filesystem):
        raise UnsafeFilesystem(
            f"{directory} is on {filesystem}, whose locks and syncs cannot be trusted.", found=filesystem
        )


# --- names --------------------------------------------------------------------------------------


def refuse_second_name(path: Path) -> None:
    """Raise `UnsafeFilesystem` when the file at `path` has another name: a hard link.

    Whoever comes by the other name has another lock, another WAL and other worker files.
    """
    names = path.stat().st_nlink if path.exists() else 1
    if names > 1:
        raise UnsafeFilesystem(
            f"{path} has {names} names (hard links), and each would have a lock and a WAL of its own.",
            expected=1,
            found=names,
            next_step="Keep one name and remove the others, or copy the file and open the copy;"
            " a symlink to it may stay.",
        )


def check_place(path: Path) -> None:
    """Raise now what would else be met at the first append to the store at `path`."""
    directory = path.parent
    if not directory.is_dir():
        raise NotAStore(f"{directory}: there is no such directory.", next_step="Make it first.")
    refuse_unsafe_filesystem(directory)
    for place in (directory, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise ReadOnly(f"{place} cannot be written.", next_step='Open it with mode="read".')
    refuse_second_name(path)


# --- live files ---------------------------------------------------------------------------------

_live: Counter[str] = Counter()
_live_names: Counter[str] = Counter()


def register_live(path: Path) -> None:
    """From now on the files of the store at `path` must not be opened by path."""
    real = os.path.realpath(path)
    for suffix in LIVE_SUFFIXES:
        _live[real + suffix] += 1
        _live_names[os.path.basename(real) + suffix] += 1  # noqa: PTH119  (a string in the audit hook's way)


def unregister_live(path: Path) -> None:
    """The store at `path` was closed by one of those who had it open."""
    real = os.path.realpath(path)
    for suffix in LIVE_SUFFIXES:
        for counter, key in ((_live, real + suffix), (_live_names, os.path.basename(real) + suffix)):  # noqa: PTH119
            counter[key] -= 1
            if counter[key] <= 0:
                del counter[key]


def is_live(path: str | Path) -> bool:
    """Whether `path` is the database, WAL or shared memory of a store open in this process."""
    return os.path.realpath(path) in _live


def forbid_live_opens(event: str, args: tuple[object, ...]) -> None:
    """An audit hook (`sys.addaudithook`): raises `LiveFileOpened` when Python opens a live file.

    SQLite's own opens are made in C and are not seen here; that is the point.
    """
    if event != "open" or not _live or not args:
        return
    path = args[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    # The name alone decides for nearly every open; a link under another name is looked up.
    if not isinstance(path, str):
        return
    if os.path.basename(path) not in _live_names and not os.path.islink(path):  # noqa: PTH114, PTH119
        return
    if is_live(path):
        raise LiveFileOpened(f"{path} is open in this process and must not be opened by path.", found=path)


# --- the WAL and the database -------------------------------------------------------------------

_AT_FDCWD: Final = -100
_STATX_BYTES: Final = 256
_STATX_INO: Final = 0x100
_STATX_INO_AT: Final = 32


def _find_statx() -> Callable[..., int] | None:
    try:
        # PyDLL keeps the interpreter's lock: the call is shorter than letting go of it.
        call = ctypes.PyDLL(None).statx
    except (AttributeError, OSError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    call.restype = ctypes.c_int
    return call


_statx: Final = _find_statx()


class Inode:
    """The inode number of one path, asked for again and again by one thread at a time.

    Asks for nothing else: whoever asks ext4 for a file's times makes it write finer ones at the next
    commit, and that made each of ours a quarter slower (Linux 6.18).
    """

    __slots__ = ("_at", "_buffer", "_found", "_path")

    def __init__(self, path: str | Path) -> None:
        self._path = os.fsencode(path)
        self._buffer = ctypes.create_string_buffer(_STATX_BYTES)
        self._found = ctypes.c_uint64.from_buffer(self._buffer, _STATX_INO_AT)
        self._at = ctypes.addressof(self._buffer)

    def number(self) -> int | None:
        """The number now, or None where there is no such file."""
        if _statx is not None:
            return self._found.value if _statx(_AT_FDCWD, self._path, 0, _STATX_INO, self._at) == 0 else None
        try:
            return os.stat(self._path).st_ino  # noqa: PTH116  (a Path costs more than the call)
        except OSError:
            return None


class FileWatch:
    """Tells whether a file that a connection writes is still the one that others will read."""

    __slots__ = ("_identity", "_inode")

    def __init__(self, path: Path | str) -> None:
        self._inode = Inode(path)
        self._identity: int | None = None

    @property
    def started(self) -> bool:
        return self._identity is not None

    def start(self) -> None:
        """Remember the file as it is now; the connection must have it open."""
        self._identity = self._inode.number()

    def intact(self) -> bool:
        """Whether the file is still there and still the same. Costs about two microseconds."""
        # The connection keeps it open, so no other file can have got its number.
        return self._identity is not None and self._inode.number() == self._identity
