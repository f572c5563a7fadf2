"""Program code that touches the world is told so, at the line that does it.

An audit hook sees files, sockets, processes and threads. It looks only while a
program is being pumped, on that thread, and lets imports pass, because a module
that is imported late is still code and not world.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, Final

from playhead.errors import WorldTouched

_FORBIDDEN: Final = (
    "socket.",
    "subprocess.",
    "shutil.",
    "tempfile.",
    "sqlite3.",
    "ftplib.",
    "smtplib.",
    "urllib.",
    "webbrowser.",
    "mmap.",
    "fcntl.",
)
_FORBIDDEN_EXACTLY: Final = frozenset(
    {
        "open",
        "time.sleep",
        "_thread.start_new_thread",
        "_thread.start_joinable_thread",
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.kill",
        "os.listdir",
        "os.scandir",
        "os.walk",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "os.utime",
        "os.putenv",
        "os.unsetenv",
        "os.chdir",
        "glob.glob",
        "pathlib.Path.glob",
        "builtins.input",
        "os.killpg",
    }
)
_HARMLESS: Final = frozenset({"object.__getattr__", "sys._getframe"})
"""What happens in every operation: told apart before anything else is asked."""
FRAMES_MAX: Final = 60

_pumping: Final[set[int]] = set()
"""The threads that run program code now: several engines may run in several threads."""
_installed: list[bool] = []


def install() -> None:
    """Watch this process. Hooks cannot be taken out again, so there is one, and it is put in once."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_hook)
        if sys.version_info < (3, 12):
            _audit_threads()


def _audit_threads() -> None:
    """Python 3.11 starts threads without an audit event."""
    start: Any = vars(threading)["_start_new_thread"]

    def audited(*args: Any) -> Any:
        _hook("_thread.start_new_thread", ())
        return start(*args)

    threading.__dict__["_start_new_thread"] = audited


def enter() -> None:
    """Program code runs on this thread from now on."""
    _pumping.add(get_ident())


def leave() -> None:
    """Program code does not run any more."""
    _pumping.discard(get_ident())


def refuse(what: str) -> None:
    """Raise `WorldTouched` where program code runs on this thread: `what` belongs to the world around it."""
    if get_ident() in _pumping:
        raise WorldTouched(f"program code called {what}.", found=what)


@contextmanager
def outside() -> Generator[None]:
    """What happens in here is ours and not the program's, though it is the program that led to it."""
    pumping = get_ident() in _pumping
    leave()
    try:
        yield
    finally:
        if pumping:
            enter()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    # First of all what is quickest asked: this is called for whatever the whole process does.
    if not _pumping or event in _HARMLESS or get_ident() not in _pumping:
        return
    if event in _FORBIDDEN_EXACTLY or event.startswith(_FORBIDDEN):
        _refuse(event, args)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if _by_import():
        return
    what = ", ".join(repr(arg) for arg in args[:1] if isinstance(arg, (str, bytes, int)))
    raise WorldTouched(f"program code touched the world: {event}({what}).", found=event)


def _by_import() -> bool:
    """Whether the import machinery is what reads a file, or Python itself to show a line of source."""
    frame = sys._getframe(2)
    for _ in range(FRAMES_MAX):
        name = frame.f_globals.get("__name__", "")
        if name.startswith(("importlib", "linecache", "zipimport")) or name == "_frozen_importlib":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
