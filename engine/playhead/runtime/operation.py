"""The operations beside tools: values from the world, models, timers, signals, child runs.

Each is one awaited call that leaves an intent and an outcome, by the same
machinery as a tool.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor as ThreadExecutor
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, overload

import msgspec
from msgspec import Raw

from playhead.errors import BadValue, ProgramError, ToolFailed
from playhead.events.catalog import (
    PatchTaken,
    SignalReceived,
    TimerFired,
    TimerSet,
    ValueFailed,
    ValueRecorded,
    ValueRequested,
    WaitStarted,
)
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.values import ValueCodec
from playhead.events.words import NOTHING
from playhead.policy.annotations import Annotations
from playhead.policy.effect import EffectClass
from playhead.policy.retry import ONCE
from playhead.runtime.attempt import call_in_thread
from playhead.runtime.loop import DUE_MAX
from playhead.runtime.machine import ROOT
from playhead.runtime.permission import check_tool
from playhead.runtime.scope import require_scope
from playhead.runtime.signature import check_name

T = TypeVar("T")

LOOKS: Final = Annotations(kind="read", side_effect_level="read_only")
"""What a policy knows of a look at the world."""
SECONDS_MAX: Final = 1e9
"""About thirty years: what a wait may ask for."""


class ValueCall:
    """One look at the world, as a runner carries it out."""

    effect = EffectClass.READ_ONLY
    retry = ONCE
    timeout_s: float | None = None

    def __init__(self, name: str, function: Callable[[], Any], codec: ValueCodec, machine: Any) -> None:
        self.name = name
        self._function = function
        self._codec = codec
        self._machine = machine

    async def act(self, threads: ThreadExecutor) -> Any:
        if inspect.iscoroutinefunction(self._function):
            return await self._function()
        return await call_in_thread(threads, self._function)

    def completed(self, value: Any, number: int) -> OutcomeFact:
        return ValueRecorded(value=self._machine.redacted(self._codec.encode(value)), attempt=number)

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return ValueFailed(failure=failure, attempt=number)


@overload
async def side_value(name: str, function: Callable[[], Awaitable[T]]) -> T: ...
@overload
async def side_value(name: str, function: Callable[[], T]) -> T: ...
async def side_value(name: str, function: Callable[[], Any]) -> Any:
    """The value of `function()`, asked once and recorded; a resumed or replayed run gets the same one.

    For one-off values such as a host name or a setting; `function` may be async or blocking and must
    change nothing, because a crash before its value is recorded makes it run again. Its return
    annotation says what comes back. Under a policy it is a tool called `name` that reads. Raises what the
    function raises, and `ToolRejected`.
    """
    scope = require_scope("side_value()")
    machine = scope.machine
    hints = inspect.get_annotations(function, eval_str=True) if inspect.isfunction(function) else {}
    codec = ValueCodec(hints.get("return", Any), where=f"value {name}")
    op = scope.op(check_name(name, "a value"))
    if scope.around.policy is not None:
        check_tool(scope, op, name, LOOKS, {}, Raw(NOTHING))

    def settle(fact: OutcomeFact) -> Any:
        if isinstance(fact, ValueRecorded):
            return codec.decode(fact.value)
        assert isinstance(fact, ValueFailed)
        raise machine.errors.revive(fact.failure, otherwise=ToolFailed)

    executor = ValueCall(name, function, codec, machine)
    return await machine.perform(
        op, ValueRequested(name=name, site=machine.site()), settle, executor=executor
    )


def patched(name: str) -> bool:
    """Whether this run takes the new branch called `name`: True in new runs, False in older ones.

    The first call in a run decides for the whole run, and a True is recorded. Guard a change with it,
    and runs that were recorded before the change resume on the old branch.
    """
    scope = require_scope("patched()")
    machine = scope.machine
    op = f"{ROOT}/patched[{check_name(name, 'a patch')}]"
    taken = machine.patched(name, op)
    if taken is False:
        return False
    if not machine.patch_noted(name):
        machine.check_inside(op)
        machine.emit(op, PatchTaken(name=name))
    return True


async def sleep(seconds: float) -> None:
    """Wait for `seconds`, durably: a crash or a suspension in between does not start the wait again."""
    scope = require_scope("sleep()")
    if not 0 <= seconds < SECONDS_MAX:
        raise ProgramError(f"sleep() takes seconds from 0 to below {SECONDS_MAX:g}, not {seconds}.")
    await wake(scope.machine.now_ns + round(seconds * 1e9), "sleep")


async def sleep_until(when: datetime) -> None:
    """Wait until `when`, which must have a time zone. Durable like `sleep`."""
    require_scope("sleep_until()")
    if when.tzinfo is None:
        raise ProgramError(
            "sleep_until() needs a time zone.", found=when, next_step="Use datetime(..., tzinfo=UTC)."
        )
    since = when - datetime.fromtimestamp(0, when.tzinfo)
    await wake(max(0, (since // timedelta(microseconds=1)) * 1000), "sleep")


async def wake(due: int, reason: Any) -> None:
    """Wait for the time `due`, nanoseconds UTC, as one recorded operation."""
    scope = require_scope("a timer")
    machine = scope.machine
    if due > DUE_MAX:
        raise ProgramError("a wait has to end before the year 2262, where the log's clock ends.", found=due)
    op = scope.op(reason)
    machine.set_alarm(op, due)
    await machine.perform(op, TimerSet(due=due, reason=reason, site=machine.site()), _nothing)


def _nothing(fact: OutcomeFact) -> None:
    assert isinstance(fact, TimerFired)


async def signal(name: str, kind: Any = Any) -> Any:
    """Wait for the next signal called `name` and return its value as `kind`.

    Signals are sent by `Run.signal()` or `playhead signal`, from any process, before or after the wait
    began; each answers one wait, in the order in which they were sent. Raises `BadValue` when the value
    does not fit `kind`.
    """
    scope = require_scope("signal()")
    machine = scope.machine
    op = scope.op(check_name(name, "a signal"))
    machine.check_inside(op)
    codec = ValueCodec(kind, where=f"signal {name}")

    def settle(fact: OutcomeFact) -> Any:
        assert isinstance(fact, SignalReceived)
        return codec.decode(fact.value)

    return await machine.perform(
        op,
        WaitStarted(signal=name, site=machine.site()),
        settle,
        began=functools.partial(machine.wait_signal, name),
    )


def raw_value(value: Any, where: str) -> Raw:
    """`value` as it goes into a message. Raises `BadValue`."""
    if isinstance(value, msgspec.Raw):
        return value
    return ValueCodec(Any, where=where).encode(value)


__all__ = ["BadValue", "patched", "raw_value", "side_value", "signal", "sleep", "sleep_until", "wake"]
