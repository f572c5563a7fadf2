"""Attempts: how an operation is carried out in the world, once or several times.

An `Executor` says what to do; `carry_out` does it under timeout and retries, and
tells the runner about every attempt. World code reads its own attempt from
`attempt()`, for the idempotency key that stays the same whoever tries.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor as ThreadExecutor
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from playhead.errors import BadValue, OutsideRun, ToolTimedOut
from playhead.events.catalog import AttemptFinished, AttemptStarted
from playhead.events.fact import Failure, OutcomeFact, WorldFact
from playhead.policy.effect import EffectClass
from playhead.policy.retry import Retry
from playhead.runtime.failures import record_failure


class Attempt(NamedTuple):
    """Which attempt of which operation the calling world code is."""

    run: str
    op: str
    number: int
    epoch: int

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this operation, and for no other."""
        return idempotency_key(self.run, self.op)


ATTEMPT: ContextVar[Attempt | None] = ContextVar("playhead_attempt", default=None)


ENGINE: ContextVar[Any] = ContextVar("playhead_engine", default=None)
"""The engine whose tool or hook the calling world code is."""


def attempt() -> Attempt:
    """The attempt that the calling tool is. Raises `OutsideRun` in any other code."""
    current = ATTEMPT.get()
    if current is None:
        raise OutsideRun("attempt() answers only inside a tool that a run called.")
    return current


def idempotency_key(run: str, op: str) -> str:
    """32 hex digits that name one operation of one run, whichever attempt it is."""
    return hashlib.sha256(f"playhead.operation/1:{run}:{op}".encode()).hexdigest()[:32]


class Executor(Protocol):
    """How one kind of operation happens in the world."""

    effect: EffectClass
    retry: Retry
    timeout_s: float | None
    name: str

    async def act(self, threads: ThreadExecutor) -> Any:
        """Do it once and return the live value."""
        ...

    def completed(self, value: Any, number: int) -> OutcomeFact:
        """The fact that records `value`. Raises `BadValue`."""
        ...

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        """The fact that records that no attempt is left."""
        ...


class Witness(Protocol):
    """Who writes down what happens to the attempts of an operation."""

    run: str
    epoch: int
    threads: ThreadExecutor
    wary: bool

    def note(self, op: str, fact: WorldFact) -> None:
        """Write `fact` with the next append."""
        ...

    async def note_durably(self, op: str, fact: WorldFact) -> None:
        """Write `fact` and return when it is durable."""
        ...


async def call_in_thread(
    threads: ThreadExecutor, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """What the blocking `function` returns, called in a thread with a copy of this context."""
    context = contextvars.copy_context()

    def call() -> Any:
        try:
            return context.run(function, *args, **kwargs)
        except StopIteration as error:
            # A future cannot hold it, and whoever waits would wait for ever.
            raise RuntimeError(
                f"{getattr(function, '__qualname__', function)} raised StopIteration"
            ) from error

    return await asyncio.get_running_loop().run_in_executor(threads, call)


async def carry_out(executor: Executor, witness: Witness, op: str, *, number: int = 1) -> OutcomeFact:
    """Try until there is an outcome. Attempt `number` has been announced already."""
    while True:
        ATTEMPT.set(Attempt(witness.run, op, number, witness.epoch))
        try:
            if executor.timeout_s is None:
                value = await executor.act(witness.threads)
            else:
                value = await _in_time(executor, executor.timeout_s, witness)
            return executor.completed(value, number)
        except BaseException as error:
            if is_for_us(error):
                raise
            # Whatever a tool raises is recorded, that is the point.
            failure = record_failure(error)
            if not _worth_another(executor, error, number):
                return executor.failed(failure, number)
        wait_s = executor.retry.wait_s(number, idempotency_key(witness.run, op))
        witness.note(op, AttemptFinished(attempt=number, failure=failure, retry_in_ms=round(wait_s * 1000)))
        await asyncio.sleep(wait_s)
        number += 1
        await announce(executor, witness, op, number, "retry")


async def announce(executor: Executor, witness: Witness, op: str, number: int, reason: Any) -> None:
    """Write down that attempt `number` starts; an effect, and a wary witness, wait until that is durable."""
    started = AttemptStarted(attempt=number, reason=reason)
    if executor.effect.repeatable and not witness.wary:
        witness.note(op, started)
    else:
        await witness.note_durably(op, started)


async def _in_time(executor: Executor, timeout_s: float, witness: Witness) -> Any:
    # asyncio.timeout would also catch a TimeoutError that the tool raised
    # itself, which says something else.
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            return await executor.act(witness.threads)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise ToolTimedOut(f"{executor.name} took longer than {timeout_s:g} s.") from error


def outcome_unknown(effect: EffectClass, failure: Failure) -> bool:
    """Whether nobody knows if what failed like this has happened: its time was over, not its work."""
    return failure.category == "timeout" and not effect.repeatable


def is_for_us(error: BaseException) -> bool:
    """Whether somebody stops this task or the process; else what was called raised it, and has failed."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, (KeyboardInterrupt, GeneratorExit))


def _worth_another(executor: Executor, error: BaseException, number: int) -> bool:
    if number >= executor.retry.max_attempts or isinstance(error, BadValue):
        return False
    if isinstance(error, ToolTimedOut) and not executor.effect.repeatable:
        return False
    return executor.retry.wants(error)
