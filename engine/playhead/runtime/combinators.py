"""Concurrency whose every choice is on the tape: groups, races, limits and time-outs.

Plain asyncio and anyio work in strict runs as they are; these are promised on
every Python version, and they are what relaxed runs use.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from playhead.errors import ProgramError, TimedOut
from playhead.events.catalog import RaceDecided
from playhead.runtime.operation import SECONDS_MAX, wake
from playhead.runtime.place import MAPPED, call_mapped, place_of
from playhead.runtime.scope import Scope, current, require_scope
from playhead.runtime.signature import check_name

T = TypeVar("T")
R = TypeVar("R")


class TaskGroup:
    """Tasks that end together. Made by `task_group()`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._parent = asyncio.current_task()
        self._tasks: list[asyncio.Task[Any]] = []
        self._wake: asyncio.Future[None] | None = None
        self._in_body = True
        self._closed = False
        self.failed = False
        """Whether a task failed, so that the others and the block were cancelled."""

    def start(self, work: Coroutine[Any, Any, T], *, key: str | None = None) -> asyncio.Task[T]:
        """Run `work` in a task of its own; `key` names its place where data decides how many there are."""
        if self._closed or self.failed:
            work.close()
            raise ProgramError("the task group is closed.", next_step="Start tasks inside its `async with`.")
        # The place is that of the code that starts it, as everywhere: what encloses that, encloses the task.
        here = current() or self._scope
        scope = here.task() if key is None else here.inner(here.op("task", key))
        task: asyncio.Task[T] = self._scope.machine.spawn(work, scope)
        self._tasks.append(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if _failed(task) and not self.failed and not self._closed:
            self.failed = True
            self.cancel()
            if self._in_body and self._parent is not None:
                self._parent.cancel()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def cancel(self) -> None:
        """Cancel every task, in the order in which they were started."""
        for task in self._tasks:
            task.cancel()

    async def leave_body(self) -> None:
        """Wait for all tasks after the block ended by itself."""
        self._in_body = False
        while any(not task.done() for task in self._tasks):
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    async def close(self) -> list[BaseException]:
        """Let nothing more start, wait for what runs, and return the errors in order of start."""
        self._closed = True
        await _settle(self._tasks)
        return [error for task in self._tasks if _failed(task) and (error := task.exception()) is not None]


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


async def _settle(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until every one of `tasks` has ended, however it ends."""
    for task in tasks:
        while not task.done():
            waiter = asyncio.get_running_loop().create_future()

            def ended(_: Any, waiter: asyncio.Future[None] = waiter) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            task.add_done_callback(ended)
            try:
                await waiter
            except asyncio.CancelledError:
                # Cancelled again while tidying up: the tasks are cancelled
                # already, and leaving before they end would orphan them.
                continue


@asynccontextmanager
async def task_group() -> AsyncGenerator[TaskGroup]:
    """A group of tasks: leaving the block waits for all, the first error cancels the rest and the block.

    Raises a group of the errors, in the order in which the tasks were started; an error of the block
    itself is raised as it is.
    """
    scope = require_scope("task_group()")
    group = TaskGroup(scope)
    parent = asyncio.current_task()
    assert parent is not None
    try:
        yield group
        await group.leave_body()
    except asyncio.CancelledError:
        group.cancel()
        errors = await group.close()
        if group.failed and errors and parent.uncancel() == 0:
            raise BaseExceptionGroup("tasks of a group failed", errors) from None
        raise
    except BaseException:
        group.cancel()
        await group.close()
        raise
    errors = await group.close()
    if errors:
        raise BaseExceptionGroup("tasks of a group failed", errors)


async def race(*contenders: Coroutine[Any, Any, T]) -> tuple[int, T]:
    """Run all, keep the first that ends: its index and result. The others are cancelled and waited for.

    The winner is an event, so a replay has the same one. Raises what the winner raised.
    """
    scope = require_scope("race()")
    if not contenders:
        raise ProgramError("race() needs somebody to run.")
    op = scope.op("race")
    inner = scope.inner(op)
    machine = scope.machine
    recorded = machine.winner(op)
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    scopes = [inner.task() for _ in contenders]
    tasks: list[asyncio.Task[T]] = []
    for index, contender in enumerate(contenders):
        task = machine.spawn(contender, scopes[index])

        def ended(_: Any, index: int = index) -> None:
            if not first.done() and index == (index if recorded is None else recorded):
                first.set_result(index)

        task.add_done_callback(ended)
        tasks.append(task)
    try:
        winner = await first
        if recorded is not None:
            await machine.as_recorded(op, [scope.path for n, scope in enumerate(scopes) if n != winner])
        machine.emit(op, RaceDecided(winner=winner))
    finally:
        for task in tasks:
            task.cancel()
        await _settle(tasks)
    return winner, tasks[winner].result()


@asynccontextmanager
async def timeout(seconds: float) -> AsyncGenerator[None]:
    """Cancel the block after `seconds` and raise `TimedOut`. The timer is an operation of the run."""
    scope = require_scope("timeout()")
    if not 0 <= seconds < SECONDS_MAX:
        raise ProgramError(f"timeout() takes seconds from 0 to {SECONDS_MAX:g}, not {seconds}.")
    task = asyncio.current_task()
    assert task is not None
    expired = False

    async def alarm() -> None:
        nonlocal expired
        await wake(scope.machine.now_ns + round(seconds * 1e9), "timeout")
        expired = True
        task.cancel()

    cancelling = task.cancelling()
    watch = scope.machine.spawn(alarm(), scope.inner(scope.op("deadline")))
    try:
        yield
    except asyncio.CancelledError as error:
        if expired and task.uncancel() <= cancelling:
            raise TimedOut(f"the block took longer than {seconds:g} s.") from error
        raise
    finally:
        watch.cancel()
        await _settle([watch])
    if expired:
        # It went off while the block was leaving: the block has its result.
        task.uncancel()


class Mapped(Generic[R]):
    """What `map_bounded` found, in the order of the items: `values`, or all of them as `outcomes`."""

    def __init__(self, outcomes: list[R | BaseException]) -> None:
        self.outcomes = outcomes

    @property
    def values(self) -> list[R]:
        """The results. Raises an `ExceptionGroup` when some items failed."""
        errors = [outcome for outcome in self.outcomes if isinstance(outcome, Exception)]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.outcomes)} items failed", errors)
        return [outcome for outcome in self.outcomes if not isinstance(outcome, BaseException)]

    @property
    def errors(self) -> list[tuple[int, Exception]]:
        """The failures, with the index of their item."""
        return [(n, outcome) for n, outcome in enumerate(self.outcomes) if isinstance(outcome, Exception)]


async def map_bounded(
    items: Iterable[T],
    function: Callable[[T], Awaitable[R]],
    *,
    concurrency: int = 8,
    key: Callable[[T], str] | None = None,
) -> Mapped[R]:
    """Call `function` on every item, at most `concurrency` at a time, and keep every outcome.

    `key` names an item's place by its content, so that adding an item does not rename the others. A
    failed item does not stop the rest; cancelling the caller does.
    """
    scope = require_scope("map_bounded()")
    if concurrency < 1:
        raise ProgramError(f"concurrency is at least 1, not {concurrency}.")
    work = list(items)
    inner = scope.inner(scope.op(check_name("map", "a map")))
    scopes = [inner.task() if key is None else inner.inner(inner.op("item", key(item))) for item in work]
    outcomes: list[Any] = [None] * len(work)
    following = iter(range(len(work)))

    async def worker() -> None:
        for index in following:
            task = scope.machine.spawn(call_mapped(function, work[index]), scopes[index])
            try:
                outcomes[index] = await task
            except asyncio.CancelledError:
                task.cancel()
                await _settle([task])
                raise
            except Exception as error:  # noqa: BLE001  an item's failure is one of the outcomes
                outcomes[index] = error

    asked = MAPPED.set(place_of(sys._getframe(1)))
    tasks = [scope.machine.spawn(worker(), inner) for _ in range(min(concurrency, len(work)))]
    MAPPED.reset(asked)
    try:
        for task in tasks:
            await task
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
        await _settle(tasks)
    return Mapped(outcomes)
