"""Steps: named parts of a program, with a receipt.

    @step
    async def summarise(urls: list[str]) -> str: ...

A step is program code. What it awaits is recorded one by one; the step itself
leaves when it started, with what, and how it ended.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from playhead.errors import ProgramError
from playhead.events.catalog import StepCancelled, StepCompleted, StepFailed, StepStarted
from playhead.runtime.failures import record_failure
from playhead.runtime.place import Place, code_digest, place_of, site_at
from playhead.runtime.scope import CURRENT
from playhead.runtime.signals import Unwinding
from playhead.runtime.signature import Signature, check_name

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function marked with `@step`."""

    def __init__(self, function: Callable[P, Awaitable[R]], *, name: str | None = None) -> None:
        if not inspect.iscoroutinefunction(function):
            raise ProgramError(
                f"{function.__qualname__} is not an async function, and a step is one.",
                next_step="Write `async def`. A blocking function that touches the world is a @tool.",
            )
        self.function = function
        self.name = check_name(name or function.__name__, "a step")
        self.signature = Signature(function, f"step {self.name}")
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        if CURRENT.get() is None:
            return self.function(*args, **kwargs)
        return self._run(args, kwargs, place_of(sys._getframe(1)))

    @functools.cached_property
    def code(self) -> str:
        return code_digest(self.function)

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place) -> R:
        outer = CURRENT.get()
        assert outer is not None
        machine = outer.machine
        op = outer.op(self.name)
        machine.check_inside(op)
        codec = self.signature.result
        arguments = machine.redacted(self.signature.encode(self.signature.bind(args, kwargs)))
        machine.emit(
            op,
            StepStarted(
                step=self.name,
                function=self.function.__qualname__,
                args=arguments,
                site=site_at(place),
                code=self.code,
            ),
        )
        token = CURRENT.set(outer.inner(op))
        try:
            result = await cast("Awaitable[R]", self.function(*args, **kwargs))
            recorded = machine.redacted(codec.encode(result, ordered=True))
        except asyncio.CancelledError:
            if not machine.unwinding:
                machine.emit(op, StepCancelled(step=self.name))
            raise
        except Unwinding:
            raise
        except BaseException as error:
            if not machine.unwinding:
                machine.emit(op, StepFailed(step=self.name, failure=record_failure(error)))
            raise
        finally:
            CURRENT.reset(token)
        machine.emit(op, StepCompleted(step=self.name, result=recorded))
        return result


@overload
def step(function: Callable[P, Awaitable[R]], /) -> Step[P, R]: ...
@overload
def step(*, name: str | None = None) -> Callable[[Callable[P, Awaitable[R]]], Step[P, R]]: ...
def step(function: Any = None, /, **options: Any) -> Any:
    """Mark an async function as a step of a program: named, recorded, with a receipt.

    Raises `ProgramError` for a function that is not async. A crash inside a step leaves its start; the
    resumed run enters it again and every recorded operation in it answers from the tape.
    """
    if function is not None:
        return Step(function)
    return functools.partial(Step, **options)
