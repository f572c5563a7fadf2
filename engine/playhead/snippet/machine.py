"""The machine that runs a checked snippet, from one wait to the next.

It holds tasks, of which the first is the snippet itself and the others work off the items
of a `map_bounded`. Tasks that can go on do so one after the other, in the order in which they
became able to; so calls come in the same order whenever the same outcomes come in the same
order. When all wait, the new calls are given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from playhead.snippet.calling import MESSAGE_LENGTH_MAX, ToolCall
from playhead.snippet.check import Checked
from playhead.snippet.many import Items, work_off
from playhead.snippet.meter import Limit, Meter
from playhead.snippet.protocol import Call, Err, Limits, Ok, Outcome, SnippetError, Status, Step
from playhead.snippet.room import Room
from playhead.snippet.text import from_json, message_of, to_json
from playhead.snippet.values import ErrorValue, Frame, Raised

TRACE_MAX: Final = 40
FREE: Final = Limits(max_steps=10**9, max_cells=10**9)
ENGINE_ERROR: Final = "engine_error"
"""The type of an error of the machine itself, which no snippet should be able to bring about."""


class Task:
    """One thread of a snippet. `path`: the items of `map_bounded` that it works on, outermost first."""

    __slots__ = ("machine", "path", "running", "work")

    def __init__(self, machine: Machine, path: tuple[int, ...], work: Items | None = None) -> None:
        self.machine = machine
        self.path = path
        self.work = work
        self.running: Coroutine[Any, Any, Any] | None = None


class Machine:
    """One run of one snippet. See `playhead.snippet.protocol.SnippetVM`."""

    def __init__(self, checked: Checked, limits: Limits | None = None, inputs_json: str = "{}") -> None:
        self.stdout: list[str] = []
        self._checked = checked
        self._inputs_json = inputs_json
        self._meter = Meter(limits or Limits())
        self._tasks: dict[Task, None] = {}
        self._ready: deque[tuple[Task, Outcome | None]] = deque()
        self._waiting: dict[int, Task] = {}
        self._parents: dict[Items, Task] = {}
        self._calls: list[Call] = []
        self._ops = 0
        self._started = False
        self._ended = False

    def start(self) -> Step:
        """Run until every task waits or the snippet has ended.

        Raises `ValueError` when called again, and for inputs that are not those it was checked for.
        """
        if self._started:
            raise ValueError("the machine was started before")
        if self._ended:
            raise ValueError("the machine was closed before")
        self._started = True
        task = Task(self, ())
        code = self._checked.code
        frame: Frame = [self._meter, None, 1, code.height, task, *code.unbound]
        if self._checked.inputs:
            self._fill(frame)
        self._spawn(task, code.body(frame))
        return self._run()

    def _fill(self, frame: Frame) -> None:
        """Give the snippet its inputs. They cost what they take, but nobody is stopped before he began."""
        slots = self._checked.inputs
        given, cells = read_input(self._inputs_json)
        if type(given) is not dict or given.keys() != slots.keys():
            raise ValueError(f"the inputs are an object of {', '.join(slots)}")
        for name, slot in slots.items():
            frame[slot] = given[name]
        self._meter.cells -= cells

    def resume(self, op: int, outcome: Outcome) -> Step:
        """Hand over what came of call `op`. Raises `ValueError` for an op that is not waited for."""
        if self._ended or type(op) is not int or op not in self._waiting:
            raise ValueError(f"call {op} is not waited for")
        if (type(outcome) is not Ok and type(outcome) is not Err) or {type(each) for each in outcome} != {
            str
        }:
            raise ValueError("an outcome is Ok or Err, and holds texts")
        self._ready.append((self._waiting.pop(op), outcome))
        return self._run()

    def close(self) -> None:
        """Give up a snippet that has not ended. Nothing of it runs any further."""
        self._close()

    # Running.

    def _spawn(self, task: Task, running: Coroutine[Any, Any, Any]) -> None:
        task.running = running
        self._tasks[task] = None
        self._ready.append((task, None))

    def _run(self) -> Step:
        """Let tasks go on while any can. Whatever happens, the answer is a step."""
        try:
            with Room():
                return self._go()
        except Limit as limit:
            return self._end("limit", SnippetError(limit.name, limit.message, limit.line, limit.col, ()))
        except Exception as error:  # noqa: BLE001  a fault of the machine is told, not thrown at its user
            message = f"the machine failed with {type(error).__name__}; this is a fault of its own"
            return self._end("failed", SnippetError(ENGINE_ERROR, message, 0, 0, ()))
        except BaseException:
            self._close()
            raise

    def _go(self) -> Step:
        try:
            return self._pump()
        except Raised as raised:
            try:
                told = _told(self._meter, raised)
            except Limit as limit:
                limit.at(raised.line, raised.col)
                raise
        return self._end("failed", told)

    def _pump(self) -> Step:
        ready = self._ready
        while ready:
            task, outcome = ready.popleft()
            running = task.running
            assert running is not None
            try:
                request = running.send(outcome)
            except StopIteration as stop:
                del self._tasks[task]
                if task.work is None:
                    return self._finish(stop.value)
                self._leave(task.work)
                continue
            if type(request) is ToolCall:
                op = self._ops
                self._ops = op + 1
                self._waiting[op] = task
                self._calls.append(
                    Call(op, request.binding, request.input_json, request.line, request.col, task.path)
                )
            else:
                assert type(request) is Items
                self._parents[request] = task
                for _ in range(request.at_once):
                    worker = Task(self, request.path, request)
                    self._spawn(worker, work_off(worker, request))
        calls, self._calls = tuple(self._calls), []
        return Step("waiting", calls, None, self._printed(), None, self._meter.steps_used)

    def _leave(self, work: Items) -> None:
        """One task less works on these items; the last one wakes who asked for them."""
        work.left -= 1
        if not work.left:
            self._ready.append((self._parents.pop(work), None))

    # Ending.

    def _finish(self, returned: tuple[Any, int, int] | None) -> Step:
        value, line, col = returned or (None, 0, 0)
        meter = self._meter
        name = "max_output_bytes"
        try:
            result = to_json(meter, value, bytes_max=meter.output, what="the result")
        except Raised as raised:
            raised.at(line, col)
            raise
        except Limit as limit:
            if limit.name != "the result":
                raise
            most = meter.limits.max_output_bytes
            ended = Limit(name, f"result and output came to more than {most} bytes.")
            ended.at(line, col)
            raise ended from None
        return self._end("done", None, result)

    def _end(self, status: Status, error: SnippetError | None, result: str | None = None) -> Step:
        # Calls that are new are given up with the snippet that wanted them: nothing begins after its end.
        self._close()
        return Step(status, (), result, self._printed(), error, self._meter.steps_used)

    def _close(self) -> None:
        self._ended = True
        for task in reversed(self._tasks):
            if task.running is not None:
                task.running.close()
                task.running = None
        self._tasks.clear()
        self._ready.clear()
        self._waiting.clear()
        self._parents.clear()
        self._calls.clear()

    def _printed(self) -> str:
        """All that was printed so far."""
        if len(self.stdout) > 1:
            self.stdout = ["".join(self.stdout)]
        return self.stdout[0] if self.stdout else ""


def read_input(text: str) -> tuple[Any, int]:
    """What JSON text says, and the cells that it takes. Raises `ValueError` for what no snippet holds."""
    free = Meter(FREE)
    try:
        return from_json(free, text), FREE.max_cells - free.cells
    except Raised as raised:
        raise ValueError(message_of(free, raised.error)) from None


def _told(meter: Meter, raised: Raised) -> SnippetError:
    """An error that ended a snippet, in words of bounded length."""
    error: ErrorValue = raised.error
    message = message_of(meter, error)
    if len(message) > MESSAGE_LENGTH_MAX:
        message = f"{message[: MESSAGE_LENGTH_MAX - 1]}…"
    message = message.encode("utf-8", "replace").decode()
    trace = tuple(reversed(raised.trace))[:TRACE_MAX]
    return SnippetError(error.type.name, message, raised.line, raised.col, trace)
