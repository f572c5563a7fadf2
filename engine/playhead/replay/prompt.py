"""The prompt of the debugger: pdb, at home in a replay.

Everything that pdb knows works on the user's own frames. Added are the commands that go
through time: `event`, `fwd`, `back`, `to`, `failing`, `tasks`, `log`, `watch`, `unwatch`.
What a person types is no program code: it can start no operation, and it is not on the tape.
"""

from __future__ import annotations

import ast
import bdb
import dis
import inspect
import os
import pdb  # noqa: T100  it is what this module is about
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, Final, cast

from playhead.replay import frames

try:
    import readline
except ImportError:
    readline = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from playhead.replay.debugger import Debugger

SKIPPED: Final = (
    "playhead", "playhead.*", "playhead_projections.*", "asyncio", "asyncio.*", "anyio", "anyio.*",
    "contextlib", "contextvars", "functools", "copy", "msgspec", "msgspec.*", "inspect", "enum",
    "_weakrefset", "weakref", "namedtuple_*",
)  # fmt: skip
"""Modules whose lines `step` passes over."""
_YIELDS: Final = dis.opmap["YIELD_VALUE"]
_RESUMES: Final = dis.opmap["RESUME"]
_COROUTINE: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
HISTORY_MAX: Final = 200
PROMPT: Final = "(playhead) "


class Lines:
    """What is said at the prompt: first what was handed in, then what standard input holds.

    Where that is no terminal it is read a byte at a time: what one process reads ahead would be lost to
    the one that goes on after it went back.
    """

    encoding = "utf-8"

    def __init__(self, prompt: Prompt, waiting: list[str], *, terminal: bool) -> None:
        self.waiting = waiting
        self._prompt = prompt
        self._terminal = terminal

    def readline(self) -> str:
        """The next line, with its end; nothing at the end of all."""
        if self.waiting:
            line = self.waiting.pop(0)
            self._prompt.use_rawinput = self._terminal and not self.waiting
            self._prompt.message(line)
            return f"{line}\n"
        found = b""
        with suppress(OSError):  # one that is closed holds nothing more
            while not found.endswith(b"\n") and (byte := os.read(0, 1)):
                found += byte
        return found.decode("utf-8", "replace")


class Prompt(pdb.Pdb):
    """pdb over the frames of a replay."""

    allow_kbdint: bool
    nosigint: bool

    def __init__(self, debugger: Debugger, *, terminal: bool, commands: Sequence[str] = ()) -> None:
        said = Lines(self, list(commands), terminal=terminal)
        super().__init__(
            stdin=cast("IO[str]", said),  # it is asked for lines, and for nothing else
            stdout=sys.stdout,
            skip=SKIPPED,
            readrc=False,
            nosigint=not _in_main_thread(),
        )
        self.said = said
        self._terminal = terminal
        self.use_rawinput = terminal and not commands
        self.prompt = PROMPT
        self.debugger = debugger
        self.lines: list[frames.Line] | None = None
        """The stack to show; None where it is that of the frame that a trace stopped in."""
        self.moved = False
        """Whether a command said where to go in time, rather than in the code."""
        self.interrupted = False
        """Whether somebody pressed Ctrl-C while the program was under way."""
        self.touched = False
        """Whether the program may be another than on the tape, because of what was typed."""

    # ------------------------------------------------------------- stopping

    def talk(self, lines: list[frames.Line]) -> None:
        """Ask what to do with the program standing in `lines`, and get ready for it."""
        self.lines = lines
        with frames.aside(self.debugger.machine):
            self.reset()
        outermost = sys._getframe()
        while outermost.f_back is not None:
            outermost = outermost.f_back
        self.botframe = outermost
        self.interaction(lines[-1][0], None)

    def interaction(self, frame: Any, traceback: Any) -> None:
        """Ask, aside from the program. Called by pdb too, where the program reached a line to stop at."""
        self.moved = False
        with frames.aside(self.debugger.machine):
            if self.interrupted:
                self.interrupted = False
                self.message("\nstopped by Ctrl-C")
            frames.looking(self.debugger.machine).run(super().interaction, frame, traceback)
        self.lines = None
        self._get_ready(frame)

    def stop_here(self, frame: FrameType) -> bool:
        # What is not below the program's loop is whoever plays it, or what asks here.
        if not super().stop_here(frame):
            return False
        lines = frames.running_stack(frame)
        return bool(lines) and lines[-1][0] is frame

    # In a coroutine that waits, pdb would stop each time it is left and entered again.

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        if not _is_entered_again(frame):
            super().user_call(frame, argument_list)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        if not _waits(frame):
            super().user_return(frame, return_value)

    def user_exception(self, frame: FrameType, exc_info: Any) -> None:
        if not (exc_info[0] in (StopIteration, GeneratorExit) and frame.f_code.co_flags & _COROUTINE):
            super().user_exception(frame, exc_info)

    def dispatch_return(self, frame: FrameType, arg: Any) -> Any:
        if frame is self.stopframe and frame.f_code.co_flags & _COROUTINE and not _waits(frame):
            self.set_step()  # the coroutine ends, and its caller's next line is the next
            self._trace(frame.f_back)
            return self.trace_dispatch
        return super().dispatch_return(frame, arg)

    def bp_commands(self, frame: FrameType) -> bool:
        with frames.aside(self.debugger.machine):
            return bool(super().bp_commands(frame))

    def _get_ready(self, frame: FrameType) -> None:
        """Trace the program where a line of it may be stopped at, and let it run where not."""
        if self.debugger.leaving:
            sys.settrace(None)
            self.debugger.leave()
        if self.moved:
            self.set_continue()
        if self.moved or self.debugger.ended_here or (self.stopframe is self.botframe and not self.breaks):
            sys.settrace(None)
            return
        self.debugger.target = sys.maxsize
        self._trace(frame)
        sys.settrace(self.trace_dispatch)

    def _trace(self, frame: FrameType | None) -> None:
        """Look at the lines of this frame and of those that called it, also where none was to stop at."""
        for running, _ in frames.running_stack(frame):
            if not self.is_skipped_module(running.f_globals.get("__name__", "")):
                running.f_trace = self.trace_dispatch

    def get_stack(self, f: FrameType | None, t: Any) -> tuple[list[frames.Line], int]:
        lines = self.lines
        if lines is None:
            lines = self.debugger.lines_at(f)
        return lines, len(lines) - 1

    def print_stack_entry(self, frame_lineno: Any, prompt_prefix: str = pdb.line_prefix) -> None:
        if self.debugger.is_nowhere(frame_lineno[0]):
            self.message("(no code of the program is under way)")
        else:
            super().print_stack_entry(frame_lineno, prompt_prefix)

    def message(self, msg: str) -> None:
        super().message(_harmless(msg))

    def error(self, msg: str) -> None:
        super().error(_harmless(msg))

    def default(self, line: str) -> None:
        super().default(line)
        if _may_change(line):
            self.touched = True
            if self.curframe is not None:
                frames.keep_locals(self.curframe)

    def sigint_handler(self, signum: int, frame: Any) -> None:
        if self.allow_kbdint:
            raise KeyboardInterrupt
        self.interrupted = True  # said at the prompt: the program may be printing something just now
        self.debugger.target = sys.maxsize
        self.set_trace(frame)

    def listen_to_interrupts(self) -> None:
        """Let Ctrl-C stop the program at its next line, rather than end the session."""
        if not self.nosigint:
            signal.signal(signal.SIGINT, self.sigint_handler)

    # ------------------------------------------------------------- commands

    def do_event(self, _: str) -> None:
        """event
        Say where in the run this is."""
        self.debugger.say_where()

    def do_fwd(self, arg: str) -> bool | None:
        """fwd [N | TYPE [OP]]
        Go on to the next event of the program, N events further, or to the next one of a type, such as
        `tool.failed` or `model.*`, of an operation such as `0/fetch#3`; both may hold * and ?."""
        return self._go(self.debugger.forward(arg.split()))

    def do_back(self, arg: str) -> bool | None:
        """back [N | TYPE [OP]]
        Go back to the event before this one, N events back, or to the one before of a type. What was
        changed by hand on the way here is forgotten."""
        return self._go(self.debugger.backward(arg.split()))

    def do_to(self, arg: str) -> bool | None:
        """to N
        Go to event N, forward or back."""
        return self._go(self.debugger.exactly(arg.strip()))

    def do_failing(self, _: str) -> bool | None:
        """failing
        Go to where the run failed, or else to the last thing in it that did."""
        return self._go(self.debugger.failing())

    def do_tasks(self, _: str) -> None:
        """tasks
        List the tasks of the run, and the line in which each waits."""
        self.debugger.say_tasks()

    def do_log(self, arg: str) -> None:
        """log [N]
        List N events before this one and after it; 5 where nothing else is said."""
        number = arg.strip() or "5"
        if number.isdecimal():
            self.debugger.say_log(int(number))
        else:
            self.error(f"{number} is no number of events")

    def do_watch(self, arg: str) -> None:
        """watch [EXPRESSION]
        Print the expression from now on at every event where its value changed, without stopping; alone,
        list what is watched."""
        self.debugger.watch(arg.strip())

    def do_unwatch(self, arg: str) -> None:
        """unwatch EXPRESSION
        Watch it no longer; alone, watch nothing."""
        self.debugger.unwatch(arg.strip())

    def do_quit(self, arg: str) -> bool:
        """q(uit) | exit
        End the session."""
        self.debugger.leaving = True
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool:  # noqa: N802  cmd's name for it
        """EOF
        End the session."""
        self.message("")
        return self.do_quit("")

    def do_run(self, arg: str) -> bool | None:
        """run
        There is one tape; `to 0` begins it again."""
        self.error("a replay begins again with: to 0")
        return None

    do_restart = do_run

    def do_continue(self, arg: str) -> bool:
        """c(ont(inue))
        Go on to the next breakpoint, or to the end of the tape."""
        self.set_continue()
        self.debugger.target = sys.maxsize
        return True

    do_c = do_cont = do_continue

    def do_jump(self, arg: str) -> bool | None:
        """j(ump) LINENO
        Go on at another line, where the program stands at a line and not in a call."""
        self.touched = True
        return super().do_jump(arg)

    do_j = do_jump

    def _go(self, where: int | str) -> bool | None:
        if isinstance(where, str):
            self.error(where)
            return None
        self.moved = self.debugger.go(where)
        return self.moved or None

    # -------------------------------------------------- from process to process

    def keep(self) -> dict[str, Any]:
        """What a person said so far, for the process that goes on at another place."""
        return {
            "breakpoints": [
                [each.number, each.file, each.line, each.temporary, each.cond, each.funcname, each.enabled,
                 each.ignore]
                for each in bdb.Breakpoint.bpbynumber
                if each is not None
            ],
            "aliases": self.aliases,
            "waiting": self.said.waiting,
            "history": _history(),
        }  # fmt: skip

    def take(self, kept: dict[str, Any]) -> None:
        """Know what was said in another process."""
        bdb.Breakpoint.clearBreakpoints()
        self.breaks = {}
        for number, file, line, temporary, cond, funcname, enabled, ignore in kept["breakpoints"]:
            bdb.Breakpoint.next = number
            each = bdb.Breakpoint(file, line, temporary, cond, funcname)
            each.enabled, each.ignore = enabled, ignore
            self.breaks.setdefault(file, []).append(line)
        self.aliases = kept["aliases"]
        self.said.waiting = kept["waiting"]
        self.use_rawinput = self._terminal and not self.said.waiting
        _remember(kept["history"])


def _harmless(text: str) -> str:
    """What a program holds was written by anybody: no escape sequence in it reaches the terminal."""
    if text.isprintable():
        return text
    return "".join(each if each in "\n\t" or each.isprintable() else REPLACEMENT for each in text)


def _waits(frame: FrameType) -> bool:
    """Whether a coroutine that is left will be entered again."""
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _YIELDS


def _is_entered_again(frame: FrameType) -> bool:
    """Whether a coroutine that is entered has been left before."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return at >= 0 and code[at] == _RESUMES and bool(code[at + 1] & 3)


def _may_change(line: str) -> bool:
    """Whether what was typed can make the program another: anything but looking at names."""
    try:
        tree = ast.parse(line.removeprefix("!").strip(), mode="eval")
    except SyntaxError:
        return True
    return any(isinstance(node, (ast.Call, ast.NamedExpr, ast.Await)) for node in ast.walk(tree))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _history() -> Sequence[str]:
    if readline is None:
        return []
    length = readline.get_current_history_length()
    items = [readline.get_history_item(n) for n in range(max(1, length - HISTORY_MAX), length + 1)]
    return [item for item in items if item]


def _remember(items: Sequence[str]) -> None:
    if readline is not None:
        readline.clear_history()
        for item in items:
            readline.add_history(item)
