"""The event loop that program code runs in: no clock, no selector, no threads.

The host loop pumps it until it is quiet, synchronously. Nothing in here can wait
for the world, so what happens between two outcomes depends on the program and on
the outcomes alone. Invariants, each held by the part that names it:

  * tasks and futures hash by the order in which they were made, because asyncio
    and anyio walk sets of them                             (ProgramTask, ProgramFuture)
  * what one callback cancels wakes in the order in which it was spawned, because
    anyio also walks sets of scopes, which hash by address  (_in_order)
  * a timer is an operation; time is the largest time delivered so far    (call_at, time)
  * a library's endless cancellation retry does not count as work         (_retries)
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events as asyncio_events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from playhead.errors import ForeignAwait, ProgramError, Runaway, WorldTouched
from playhead.logger import log
from playhead.runtime import guard
from playhead.runtime.place import standing
from playhead.runtime.scope import CURRENT, Scope, current

if TYPE_CHECKING:
    from playhead.runtime.machine import Machine

T = TypeVar("T")

TURNS_MAX: Final = 100_000
RETRY_ROUNDS_MAX: Final = 100
"""How often in one pump a library may cancel again what swallows it; then that counts as quiet."""
DUE_MAX: Final = 2**63 - 1
"""The last nanosecond of the log's clock: what is due later never goes off."""
_RETRY: Final = "_deliver_cancellation"
_WAIT_FOR: Final = getattr(asyncio.wait_for, "__code__", None)
# Python 3.11 has the working part of ensure_future in a function of its own.
_ENSURE_FUTURE: Final = getattr(asyncio.tasks, "_ensure_future", asyncio.ensure_future).__code__
_AS_COMPLETED: Final = "ascompleted"
# What making a task comes to, without a call in between: a run has many.
_new_task: Final = cast("Any", asyncio.Task).__new__
_make_task: Final = cast("Any", asyncio.Task).__init__
_be_in: Final = CURRENT.set
# Python 3.11 has no such function, and needs none: it knows a current task for each loop.
_SWAP_TASK: Final[Callable[[Any, Any], Any] | None] = getattr(asyncio.tasks, "_swap_current_task", None)


class Handle(msgspec.Struct, eq=False):
    """A callback that waits for its turn."""

    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: Context
    _cancelled: bool = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled


def _ended(_: asyncio.Future[Any]) -> None:
    """What every task is given to call when it is done: `call_soon` sees to it at once."""


_ENDED: Final = Handle(_ended, (), Context(), _cancelled=True)
"""Stands where the end of a task has its turn: turns are counted, and nothing else happens in this one."""


class Timer(Handle, eq=False, kw_only=True):
    """A callback that waits for a time. `op` is its operation, `due` in nanoseconds since the epoch."""

    loop: Any
    at: float
    due: int
    op: str

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self.loop.timers.pop(self.op, None)


class ProgramFuture(asyncio.Future[T]):
    """A future that hashes by the order in which it was made."""

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


class ProgramTask(asyncio.Task[T]):
    """A task of the program, made by `ProgramLoop.spawn`.

    Hashes by spawn order and remembers who was cancelled in one breath.
    """

    __slots__ = ("number", "scope")
    number: int
    scope: Scope

    def __hash__(self) -> int:
        return self.number

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            program: Any = self.get_loop()
            program.cancelled_now.append(self)
        return super().cancel(msg)


class ProgramLoop(asyncio.AbstractEventLoop):
    """Runs one program between outcomes. Pumped by `run_until_quiet`, from one thread."""

    def __init__(self, machine: Machine) -> None:
        guard.install()
        self.machine = machine
        self.timers: dict[str, Timer] = {}
        self.cancelled_now: list[ProgramTask[Any]] = []
        self._ready: deque[Handle] = deque()
        self._retries: deque[Handle] = deque()
        self._made = 0
        self.running = False
        self._closed = False
        self.tasks: dict[int, ProgramTask[Any]] = {}
        self.turns = 0
        self.host: asyncio.AbstractEventLoop | None = None
        """The loop that pumps this one, where it is always the same."""
        self._now_in = Context()
        """The context of the callback that runs."""
        self._outside: tuple[Any, Any] = (None, None)
        self._hooks: Any = None

    # -------------------------------------------------------------- pumping

    def run_until_quiet(self) -> None:
        """Run callbacks until nothing is ready, or only a library's cancellation retry repeats.

        Raises `Runaway` after `TURNS_MAX` turns without an operation. Stops at once when the machine
        has found a divergence.
        """
        if not self.running:
            with self:
                self.run_until_quiet()
            return
        rounds = 0
        while not self.machine.stopped:
            self._run_ready()
            if not self._retries or rounds == RETRY_ROUNDS_MAX or not self._retry_once():
                return
            rounds += 1

    def __enter__(self) -> None:
        """Be the running loop of this thread, in place of the host's, for one or many pumps."""
        assert not self.running
        # Asking which loop runs costs a system call, so a runner says it once.
        host = self.host or asyncio_events._get_running_loop()
        task = None if host is None else asyncio.current_task(host)
        if task is not None and _SWAP_TASK is not None:
            _SWAP_TASK(host, None)  # from Python 3.14 on a thread is in one task at a time, whatever the loop
        self._outside = (host, task)
        if self._hooks is None or self.host is None:
            self._hooks = sys.get_asyncgen_hooks()
        asyncio_events._set_running_loop(self)
        sys.set_asyncgen_hooks(None, _leave)
        self.running = True
        guard.enter()

    def __exit__(self, *_: object) -> None:
        guard.leave()
        self.running = False
        host, task = self._outside
        sys.set_asyncgen_hooks(*self._hooks)
        asyncio_events._set_running_loop(host)
        if task is not None and _SWAP_TASK is not None:
            _SWAP_TASK(host, task)

    def _run_ready(self) -> None:
        ready, cancelled, machine, most = self._ready, self.cancelled_now, self.machine, TURNS_MAX
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                if handle is _ENDED:
                    self.turns += 1
                    if self.turns > most:
                        raise self._runaway()
                continue
            before = len(ready)
            self._now_in = context = handle.context
            try:
                args = handle.args
                if not args:  # a task begins or goes on; with one it wakes; a call that unpacks is slower
                    context.run(handle.callback)
                elif len(args) == 1:
                    context.run(handle.callback, args[0])
                else:
                    context.run(handle.callback, *args)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001  a callback's error belongs to the run, not to the pump
                # A task that exits says so twice: as its own exception, which is enough.
                if not isinstance(error, SystemExit) or _task_of(handle) is None:
                    self._report(error)
            if cancelled:
                if len(cancelled) > 1:
                    self._in_order(before)
                cancelled.clear()
            self.turns = turns = self.turns + 1
            if turns > most:
                raise self._runaway()
            if machine.stopped:
                return

    def _retry_once(self) -> bool:
        """Run every cancellation retry once; True when that made something ready."""
        handles, self._retries = self._retries, deque()
        before = len(self._ready)
        for handle in handles:
            if not handle._cancelled:
                try:
                    handle.context.run(handle.callback, *handle.args)
                except Exception as error:  # noqa: BLE001  as above
                    self._report(error)
        if len(self.cancelled_now) > 1:
            self._in_order(before)
        self.cancelled_now.clear()
        return len(self._ready) > before

    def _in_order(self, before: int) -> None:
        """Sort the wake-ups of tasks that were cancelled in one breath by spawn order, in their places."""
        cancelled = {id(task) for task in self.cancelled_now}
        fresh = [self._ready.pop() for _ in range(len(self._ready) - before)]
        fresh.reverse()
        slots = [n for n, handle in enumerate(fresh) if id(_task_of(handle)) in cancelled]
        woken = sorted((fresh[n] for n in slots), key=_spawn_number)
        for slot, handle in zip(slots, woken, strict=True):
            fresh[slot] = handle
        self._ready.extend(fresh)

    def _report(self, error: BaseException) -> None:
        """A callback raised, and nobody awaits a callback: say so, as asyncio does, and go on."""
        log.warning("callback.failed", run=self.machine.run, error=repr(error))

    def _runaway(self) -> Runaway:
        # Names only, no addresses and no lines: a replay has to say the same.
        alive = [
            f"{task.get_name()} in {frame.f_code.co_qualname}"
            for task in self.tasks.values()
            if (frame := standing(task)) is not None
        ]
        return Runaway(
            f"{TURNS_MAX} turns without an operation; alive: {'; '.join(alive[:8])}.",
            found=self.turns,
            next_step="Look for a loop that awaits only sleep(0) or a lock, and await an operation in it.",
        )

    # ---------------------------------------------------- asyncio's own face

    def time(self) -> float:
        return (self.machine.now_ns - self.machine.started_at) / 1e9

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if callback is _ended:
            self.tasks.pop(args[0].number, None)
            self._ready.append(_ENDED)
            return _ENDED
        handle = Handle(callback, args, copy_context() if context is None else context)
        # Tasks wake through built-in methods, so most callbacks are told apart by their type.
        if type(callback) is MethodType and callback.__name__ == _RETRY:
            self._retries.append(handle)
        else:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if not self.running:
            raise WorldTouched("something outside the run called back into its loop.")
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        context = copy_context() if context is None else context
        scope = context.get(CURRENT) or self.machine.root
        due = DUE_MAX
        if not when >= DUE_MAX / 1e9:
            after = round(when * 1e9)
            if after / 1e9 < when:  # or it would go off just before its time, and be set for ever
                after += 1
            due = min(self.machine.started_at + after, DUE_MAX)
        timer = Timer(callback, args, context, loop=self, at=when, due=due, op=scope.op("timer"))
        self.timers[timer.op] = timer
        self.machine.set_alarm(timer.op, due)
        return timer

    def fire(self, op: str) -> bool:
        """Let the timer of `op` go off. False when there is no such timer any more."""
        timer = self.timers.pop(op, None)
        if timer is None:
            return False
        self._ready.append(timer)
        return True

    def create_future(self) -> ProgramFuture[Any]:
        future: ProgramFuture[Any] = ProgramFuture(loop=self)
        self._made += 1
        future.number = self._made
        return future

    def create_answer(self) -> asyncio.Future[Any]:
        """A future for the outcome of an operation.

        Nobody gets to see it, so nobody puts it into a set, and a task waits faster for one of asyncio's own.
        """
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,
    ) -> ProgramTask[T]:
        context = copy_context() if context is None else context.copy()
        # The scope is that of the code that spawns it, whatever context it brings, or entered to spawn it
        # there: policies only narrow.
        parent = self._now_in.get(CURRENT) or current() or context.get(CURRENT) or self.machine.root
        scope = parent if _is_helper(coro) else parent.task()
        return self.spawn(coro, scope=scope, name=name, context=context)

    def spawn(
        self, coro: Any, *, scope: Scope, name: str | None = None, context: Context | None = None
    ) -> ProgramTask[Any]:
        """A task of the program in a scope that the caller chose."""
        context = copy_context() if context is None else context
        context.run(_be_in, scope)
        self._made += 1
        number = self._made
        task: ProgramTask[Any] = _new_task(ProgramTask)
        # asyncio puts the task into a set before it is whole, so the number must be there first.
        task.number = number
        task.scope = scope
        _make_task(task, coro, loop=self, name=name or scope.path, context=context)
        self.tasks[number] = task
        task.add_done_callback(_ended)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio would log. Much of it comes from the garbage collector, so it may change nothing."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """See `call_exception_handler`."""

    def set_exception_handler(self, handler: Any) -> None:
        raise ProgramError("program code cannot replace the exception handler of its run.")

    def get_exception_handler(self) -> None:
        return None

    def set_task_factory(self, factory: Any) -> None:
        raise ProgramError(
            "program code cannot replace the task factory of its run: it gives operations their ids."
        )

    def get_task_factory(self) -> None:
        return None

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise WorldTouched(f"program code wanted to run {_name(func)} in a thread.")

    get_debug = cast("Any", bool)
    """False. Every task and future asks, so it is answered without a frame of Python."""

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001  asyncio's own face
        raise ProgramError("debug mode belongs to the host's loop.")

    def is_running(self) -> bool:
        return self.running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._ready.clear()
        self._retries.clear()
        self.timers.clear()
        self.tasks.clear()


def _refusing(name: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise WorldTouched(f"program code called {name}() of its loop.", found=name)

    return refused


# What asyncio calls abstract and is not here has no place in a program: sockets, processes, signals.
for _abstract, _value in vars(asyncio.AbstractEventLoop).items():
    if callable(_value) and not _abstract.startswith("_") and _abstract not in vars(ProgramLoop):
        setattr(ProgramLoop, _abstract, _refusing(_abstract))


def program_loop(machine: Machine) -> ProgramLoop:
    """A loop for `machine`."""
    kind: Any = ProgramLoop
    loop: ProgramLoop = kind(machine)
    return loop


def _leave(_: Any) -> None:
    """An abandoned async generator is dropped: its `finally` must not run at the collector's whim."""


def _name(func: Any) -> str:
    # asyncio wraps what goes into a thread, with its context.
    while isinstance(func, partial):
        func = func.args[0] if func.args and callable(func.args[0]) else func.func
    return getattr(func, "__qualname__", None) or type(func).__qualname__


def _task_of(handle: Handle) -> Any:
    return getattr(handle.callback, "__self__", None)


def _spawn_number(handle: Handle) -> int:
    task = _task_of(handle)
    assert isinstance(task, ProgramTask)
    return task.number


def _is_helper(coro: Any) -> bool:
    """Whether a library spawns this task on behalf of its caller, so that it shares the caller's scope."""
    frame = sys._getframe(2)
    if frame.f_code.co_name == "create_task":
        frame = frame.f_back or frame
    if frame.f_code is not _ENSURE_FUTURE:
        return False
    caller = frame.f_back
    while caller is not None and caller.f_code.co_name in ("ensure_future", "_ensure_future", "<setcomp>"):
        caller = caller.f_back
    if caller is None:
        return False
    if caller.f_code is _WAIT_FOR:
        return True
    if _AS_COMPLETED in caller.f_code.co_qualname.lower().replace("_", "") and (
        caller.f_globals.get("__name__") == "asyncio.tasks"
    ):
        coro.close()
        raise ForeignAwait(
            "asyncio.as_completed() starts coroutines in the order of their addresses.",
            next_step="Hand it tasks made with create_task, or use playhead.map_bounded or playhead.race.",
        )
    return False
