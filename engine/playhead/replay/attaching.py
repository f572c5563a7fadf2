"""A replay that an IDE attaches to, by debugpy: breakpoints, locals and stepping as in any program.

    attach(Observer(tape, persona), target=4, port=5678, wait=True, say=print)

The replay runs in this process and touches nothing. At the event it stops in the user's
own frame, as a breakpoint there would. Going back is what only `playhead debug` at its own
prompt can do.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from playhead.errors import PlayheadError
from playhead.events.fact import Fact, OutcomeFact
from playhead.replay import frames
from playhead.replay.observed import Observer, Sight
from playhead.replay.watching import awaited, current

HOST: Final = "127.0.0.1"
DIVERGED: Final = 5


def attach(observer: Observer, target: int, port: int, *, wait: bool, say: Callable[[str], None]) -> int:
    """Replay to `target` with debugpy listening on `port`, and on to its end. Returns 0, or 5 if it diverged.

    Raises `PlayheadError` where debugpy is not installed, or cannot listen there.
    """
    debugpy = _debugpy()
    try:
        host, port = debugpy.listen((HOST, port))
    except (OSError, RuntimeError) as error:
        raise PlayheadError(
            f"debugpy cannot listen on {HOST}:{port}: {error}.", next_step="Name another port."
        ) from error
    say(f"debugpy listens on {host}:{port}")
    if wait:
        debugpy.wait_for_client()
    sight = Stopping(target, debugpy, say)
    relaxed = observer.tape.started.mode == "relaxed"
    outcome = asyncio.run(observer.watch_relaxed(sight)) if relaxed else observer.watch(sight)
    if outcome.divergence is not None:
        say(str(outcome.divergence))
        return DIVERGED
    say(f"{outcome.verdict}: {outcome.matched} events of the program, {outcome.events} on the tape")
    return 0


def _debugpy() -> Any:
    try:
        return importlib.import_module("debugpy")
    except ImportError as error:
        raise PlayheadError(
            "debugpy is not installed, and an IDE attaches by it.",
            next_step="pip install 'playhead[debugpy]', or leave --listen out and use the prompt.",
        ) from error


class Stopping(Sight):
    """Stops for the IDE once, at the first event from `target` on."""

    def __init__(self, target: int, debugpy: Any, say: Callable[[str], None]) -> None:
        super().__init__(target)
        self._debugpy = debugpy
        self._say = say

    def caused(self, seq: int, op: str, fact: Fact) -> None:
        self._stop(seq, frames.stack(self.machine, current(self.machine), sys._getframe(1)))

    def told(self, seq: int, op: str, fact: OutcomeFact) -> None:
        self._stop(seq, frames.stack(self.machine, awaited(self.machine, op, fact)))

    def _stop(self, seq: int, lines: list[frames.Line]) -> None:
        self.due = sys.maxsize
        with frames.aside(self.machine):
            if not self._debugpy.is_client_connected():
                self._say(f"event {seq}: nobody is attached, so the replay goes on")
            elif not lines:
                self._say(f"event {seq}: no code of the program is under way, so the replay goes on")
            else:
                self._suspend(lines[-1][0])

    def _suspend(self, frame: Any) -> None:
        """What `debugpy.breakpoint()` in that frame would do."""
        pydevd = importlib.import_module("pydevd")
        debugger = pydevd.get_global_debugger()
        command = importlib.import_module("_pydevd_bundle.pydevd_comm_constants").CMD_SET_BREAK
        thread = threading.current_thread()
        # Or it would stop in the first line of its own that comes.
        self._debugpy.trace_this_thread(False)
        debugger.set_suspend(thread, command)
        debugger.do_wait_suspend(thread, frame, "line", None)
        self._debugpy.trace_this_thread(True)
