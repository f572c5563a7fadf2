"""The user's own frames: of the code that runs, of a task that waits, and of who waits for it.

    for frame, line in stack(machine, task, running=sys._getframe()):
        ...

A run has many tasks, and the frames of one say little without those of the code that
started it. A stack here goes from the persona's frame inward, over every task between,
and leaves playhead's and asyncio's own frames out.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import sysconfig
from asyncio import events as asyncio_events
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context
from types import FrameType, TracebackType
from typing import Any, Final

from playhead.runtime import guard
from playhead.runtime.loop import ProgramLoop, ProgramTask
from playhead.runtime.machine import Machine
from playhead.runtime.place import is_ours, is_pump, waiting_frames
from playhead.runtime.relaxed import HostLoop
from playhead.runtime.scope import CURRENT, Scope

Line = tuple[FrameType, int]
LIBRARY: Final = sysconfig.get_path("stdlib")
LOOKING: Final = "0/debugger"
HELPERS: Final = frozenset({"aiosqlite", "annotated_types", "anyio", "click", "cronsim", "cryptography",
                            "jsonschema_rs", "mcp", "msgspec", "pydantic", "pydantic_core", "rfc8785",
                            "structlog", "typing_extensions"})  # fmt: skip
"""Packages that playhead calls. Where nobody else called them, they are no more the user's than it is."""


def running_stack(frame: FrameType | None) -> list[Line]:
    """The user's frames that run now, outermost first, up to the loop that runs them; none outside of it."""
    found: list[Line] = []
    library: list[Line] = []
    of_collector = {getattr(each, "__code__", None) for each in gc.callbacks}
    while frame is not None and not is_pump(frame):
        if frame.f_code in of_collector:  # called wherever the collector happens to run, and by nobody there
            found.clear()
            library.clear()
        elif is_ours(frame):
            library.clear()  # what we call in the standard library is no more the user's than we are
        elif is_library(frame) or _helps(frame) or _is_written_out(frame):
            library.append((frame, frame.f_lineno))
        else:
            found += [*library, (frame, frame.f_lineno)]
            library.clear()
        frame = frame.f_back
    found.reverse()
    return found if frame is not None else []


def _helps(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in HELPERS


def _is_written_out(frame: FrameType) -> bool:
    """Whether the library wrote that code: to look a type hint up, or to make a tuple or a dataclass."""
    code = frame.f_code
    return code.co_filename == "<string>" and code.co_name.startswith(("<", "__"))


def is_library(frame: FrameType) -> bool:
    """Whether `frame` is of the standard library."""
    name = frame.f_code.co_filename
    return name.startswith(("<frozen", LIBRARY)) and not name.partition("-packages")[1]


def is_installed(path: str) -> bool:
    """Whether a file is of the standard library or of an installed package, and not the user's own."""
    return path.startswith(LIBRARY) or bool(path.partition("-packages")[1])


def is_users(module: str) -> bool:
    """Whether a module, by its name, is the user's own."""
    if module.startswith(("playhead.", "playhead_projections.")):
        return module.startswith("playhead_projections.demo.")
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not is_installed(file)


def waiting_stack(task: asyncio.Task[Any]) -> list[Line]:
    """The user's frames in which a task waits, outermost first."""
    return [(frame, frame.f_lineno) for frame in waiting_frames(task)]


def traceback_stack(trace: TracebackType | None) -> list[Line]:
    """The user's frames that an error passed through, outermost first, at the lines where it did."""
    found: list[Line] = []
    while trace is not None:
        if not is_ours(trace.tb_frame):
            found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def stacks(
    machine: Machine, task: asyncio.Task[Any] | None, running: FrameType | None = None
) -> Generator[tuple[str, list[Line]]]:
    """The place and the user's frames of `task`, and of each task around it, nearest first.

    Where `running` is given, `task` is the one that runs, and that its innermost frame.
    """
    if running is not None:
        yield "" if task is None else path_of(task), running_stack(running)
    elif task is not None:
        yield path_of(task), waiting_stack(task)
    if task is not None:
        for outer in _around(machine, task):
            yield path_of(outer), waiting_stack(outer)


def stack(machine: Machine, task: asyncio.Task[Any] | None, running: FrameType | None = None) -> list[Line]:
    """The user's frames of `task` and of the tasks around it, outermost first."""
    found: list[Line] = []
    for _, lines in stacks(machine, task, running):
        found = lines + found
    return found


def _around(machine: Machine, task: asyncio.Task[Any]) -> Generator[asyncio.Task[Any]]:
    """The tasks whose code led to `task`, nearest first: those whose place encloses its place."""
    path = path_of(task)
    known = [(path_of(other), other) for other in tasks(machine) if other is not task]
    while True:
        outer = [(at, other) for at, other in known if path.startswith((f"{at}/", f"{at}."))]
        if not outer:
            return
        path, nearest = max(outer, key=lambda pair: len(pair[0]))
        yield nearest


def tasks(machine: Machine) -> list[asyncio.Task[Any]]:
    """The tasks of the run that have not ended, in the order in which they were started."""
    return [task for task in machine.loop.tasks.values() if not task.done()]


def path_of(task: asyncio.Task[Any]) -> str:
    """Where a task stands in the structure of its run."""
    return task.scope.path if isinstance(task, ProgramTask) else task.get_name()


def waiter(machine: Machine, op: str) -> asyncio.Task[Any] | None:
    """The task that wakes when `op` is answered; None where none waits for just that."""
    pending = machine.pending.get(op)
    future: Any = None if pending is None else pending.future
    if future is None and (timer := machine.loop.timers.get(op)) is not None:
        # What a timer sets off is a future of asyncio's, or a method of a task or of what waits in one.
        future = next((arg for arg in timer.args if asyncio.isfuture(arg)), None)
    if future is None:
        return None
    return next((task for task in tasks(machine) if getattr(task, "_fut_waiter", None) is future), None)


def nearest(machine: Machine, op: str) -> asyncio.Task[Any] | None:
    """The task whose place is nearest around that of `op`."""
    found = [task for task in tasks(machine) if op.startswith((f"{path_of(task)}/", f"{path_of(task)}."))]
    return max(found, key=lambda task: len(path_of(task)), default=None)


def waits_for(machine: Machine, task: asyncio.Task[Any]) -> str:
    """The operation that `task` waits for, or the place of the task that it does."""
    future: Any = getattr(task, "_fut_waiter", None)
    if future is None:
        return "its turn"
    found = next((op for op, pending in machine.pending.items() if pending.future is future), None)
    if found is None:
        found = next((op for op, timer in machine.loop.timers.items() if future in timer.args), None)
    return found or (path_of(future) if hasattr(future, "get_coro") else "others")


@contextmanager
def aside(machine: Machine) -> Generator[None]:
    """What happens in here is a person's doing and not the program's.

    It is watched by nobody, and it can neither start an operation nor a task.
    """
    before, machine.apart = machine.apart, True
    try:
        with _outside(machine.loop):
            yield
    finally:
        machine.apart = before


@contextmanager
def _outside(loop: ProgramLoop | HostLoop) -> Generator[None]:
    if isinstance(loop, HostLoop):
        host = asyncio_events._get_running_loop()
        asyncio_events._set_running_loop(None)
        try:
            yield
        finally:
            asyncio_events._set_running_loop(host)
    elif loop.is_running():
        loop.__exit__()
        try:
            yield
        finally:
            loop.__enter__()
    else:
        with guard.outside():
            yield


def looking(machine: Machine) -> Context:
    """The context for what a person evaluates: in a scope of its own, where no operation can start."""
    context = Context()
    context.run(CURRENT.set, Scope(LOOKING, machine))
    return context


def keep_locals(frame: FrameType) -> None:
    """Let what was written into `frame.f_locals` be what the frame goes on with."""
    if sys.version_info < (3, 13):  # from then on they are the same thing
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
