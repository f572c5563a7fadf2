"""Checkpoints of a replay: processes that hold the past as it was, so that going back is quick.

    checkpoints = Checkpoints()
    wish = checkpoints.start(first)           # an int in the process that began: how it all ended
    ...
    wish = checkpoints.keep(seq)              # None: go on. A wish: somebody came back to here
    ...
    checkpoints.leave(wish)                   # back to the nearest checkpoint before what is wished for

A replay touches nothing and has one thread, so fork() copies all there is to it. At a
checkpoint the process forks: the parent waits and holds the past, the child goes on. Who
wants to go back writes down where to and ends; its parent forks again if it lies before
that, and ends too if it does not. The idea is that of OCaml's debugger. Invariants:

  * of the processes of a session one runs, each of the others waits for the one it forked
  * so none is left over: a process that ends, however it ends, ends or wakes the one above it
  * a process whose parent is killed is killed by the system, where the system can do that
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, NoReturn

from playhead.runtime import guard

SPACING_EVENTS: Final = 400
"""From where one goes to, the nearest checkpoint. Some 10 ms of replay."""
FARTHER: Final = 8
"""How many times as far the next one is. Each costs what a fork does, and a copy of what is touched after."""
DEPTH_MAX: Final = 24
"""Processes of one session. What would need more is played again from further back."""
_WISHED: Final = 0x57
_PR_SET_PDEATHSIG: Final = 1


class Wish(NamedTuple):
    """Where to go, and what is to be known there. Whoever is deeper than `deepest` does not answer it."""

    target: int
    state: dict[str, Any]
    deepest: int = DEPTH_MAX


def possible() -> bool:
    """Whether checkpoints can be made here: fork() is there, and copies all threads there are."""
    return hasattr(os, "fork") and threading.active_count() == 1


def marks(start: int, target: int) -> list[int]:
    """Events at which to make checkpoints on the way from `start` to `target`: the nearer, the denser.

    One more lies half way to the farthest, or whoever goes back beyond that would begin at `start`.
    """
    found: list[int] = []
    distance = SPACING_EVENTS
    while target - distance > start:
        found.append(target - distance)
        distance *= FARTHER
    if found and found[-1] - start > SPACING_EVENTS:
        found.append(start + (found[-1] - start) // 2)
    found.reverse()
    return found


class Checkpoints:
    """The processes of one session, seen from the one that runs."""

    def __init__(self) -> None:
        self.depth = 0
        self.newest = -1
        """The event of the nearest checkpoint behind us; -1 is the beginning."""
        self._paper = tempfile.TemporaryFile()  # noqa: SIM115  shared with every process of the session
        self._die_with_parent = _linux_death()

    def start(self, wish: Wish) -> Wish | int:
        """Fork once, and again for every wish that nobody else can answer.

        Returns the wish in each child. In the process that called, returns the exit code of the session.
        """
        terminal = _terminal()
        while True:
            child = self._fork()
            if child == 0:
                self.depth = 1
                return wish
            with _taking_along(child, terminal):
                code, wished = self._wait(child)
            if wished is None:
                terminal()
                self._paper.close()
                return code
            wish = wished

    def keep(self, seq: int) -> Wish | None:
        """Make a checkpoint at the event `seq`.

        Returns None in the process that goes on, and a wish in each that is made later because somebody
        went back to here.
        """
        if self.depth >= DEPTH_MAX:
            return None
        with guard.outside():
            wish: Wish | None = None
            while True:
                child = self._fork()
                if child == 0:
                    self.depth += 1
                    self.newest = seq
                    return wish
                code, wished = self._wait(child)
                if wished is None or wished.target < seq or self.depth > wished.deepest:
                    os._exit(code)  # for whoever is above; what was wished for is still written down
                wish = wished

    def leave(self, wish: Wish | None, code: int = 0) -> NoReturn:
        """End this process: for good, or because `wish` is to be played by an earlier one."""
        _flush()
        with guard.outside():
            if wish is not None:
                self._write(json.dumps(wish).encode())
                code = _WISHED
            os._exit(code)

    def _fork(self) -> int:
        _flush()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            self._write(b"")
            if self._die_with_parent is not None:
                self._die_with_parent()
                if os.getppid() != parent:
                    os._exit(128 + signal.SIGKILL)
        return child

    def _wait(self, child: int) -> tuple[int, Wish | None]:
        """How the child ended, and what it wished for."""
        # Ctrl-C is for the one that runs.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if _in_main_thread() else None
        try:
            _, status = os.waitpid(child, 0)
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
        code = os.waitstatus_to_exitcode(status)
        if code != _WISHED:
            return (code if code >= 0 else 128 - code), None
        paper = self._paper.fileno()
        target, state, deepest = json.loads(os.pread(paper, os.fstat(paper).st_size, 0))
        return code, Wish(target, state, deepest)

    def _write(self, data: bytes) -> None:
        paper = self._paper.fileno()
        os.ftruncate(paper, 0)
        os.pwrite(paper, data, 0)


def _terminal() -> Callable[[], None]:
    """What puts the terminal back as it is now: a process that is killed while somebody types cannot."""
    try:
        termios = importlib.import_module("termios")
        place = sys.stdin.fileno()
        kept = termios.tcgetattr(place)
    except (ImportError, OSError, ValueError, AttributeError, _termios_error()):
        return lambda: None

    def restore() -> None:
        with suppress(OSError, _termios_error()):
            termios.tcsetattr(place, termios.TCSANOW, kept)

    return restore


def _termios_error() -> type[Exception]:
    """What termios raises where there is no terminal."""
    try:
        error: type[Exception] = importlib.import_module("termios").error
    except ImportError:
        return OSError
    return error


@contextmanager
def _taking_along(child: int, terminal: Callable[[], None]) -> Generator[None]:
    """A signal that ends this process ends the session, and leaves the terminal as it was."""
    if not _in_main_thread():
        yield
        return

    def end(number: int, _: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        terminal()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    ends = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _flush() -> None:
    """What is in a buffer when a process forks would be printed by both. Raises `BrokenPipeError`."""
    sys.stdout.flush()
    sys.stderr.flush()


def _linux_death() -> Callable[[], None] | None:
    """What makes the calling process die with its parent, where there is such a thing."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return die_with_parent
