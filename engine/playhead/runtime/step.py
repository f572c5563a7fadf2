"""Steps: named parts of a program, with a budget, an error boundary, a policy and a receipt.

    @step(model="small", budget=Budget(max_tokens=8_000), error_boundary="continue")
    async def summarise(urls: list[str]) -> str: ...

A step is program code. What it awaits is recorded one by one; the step itself leaves
when it started, with what, and how it ended. What it puts around its code, its budget
and the policy of its stage, hangs on the scope of that code and lives exactly as long;
its boundary is decided when an error leaves it, after its own handlers had their chance.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

import msgspec

from playhead.errors import BudgetExceeded, ProgramError
from playhead.events.catalog import (
    StepCancelled,
    StepCompleted,
    StepEscalated,
    StepFailed,
    StepRetried,
    StepSkipped,
    StepStarted,
)
from playhead.events.fact import ProgramFact
from playhead.events.rules import StageEntered, StageExited
from playhead.events.words import Declared
from playhead.policy.budget import Boundary, Budget, budget_of, known_boundary
from playhead.policy.retry import ONCE, Retry
from playhead.runtime.attempt import idempotency_key
from playhead.runtime.failures import record_failure
from playhead.runtime.moments import after_step, before_step
from playhead.runtime.operation import sleep
from playhead.runtime.place import Place, code_digest, place_of
from playhead.runtime.purse import Purse
from playhead.runtime.scope import CURRENT, Scope, current
from playhead.runtime.signals import Unwinding
from playhead.runtime.signature import Signature, check_name
from playhead.runtime.stage import StageExit, StepStatus, Visit

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function marked with `@step`."""

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        *,
        name: str | None = None,
        model: str | None = None,
        budget: Budget | Mapping[str, Any] | None = None,
        error_boundary: Boundary | None = None,
        retry: Retry | None = None,
        approval: Literal["optional"] | None = None,
        receipt: Literal["audit", "none"] = "audit",
    ) -> None:
        _check_function(function)
        self.function = function
        self.name = check_name(name or function.__name__, "a step")
        what = f"step {self.name}"
        if model is not None and not isinstance(model, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(f"the model of {what} is a name, not {model!r}.", found=model)
        if retry is not None and not isinstance(retry, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(f"retry of {what} is a Retry(...), not {retry!r}.", found=retry)
        self.model = model or None
        self.budget = budget_of(budget, what)
        self.boundary: Boundary = known_boundary(error_boundary, what)
        self.retry = retry or ONCE
        if approval not in (None, "optional"):
            raise ProgramError(
                f"{what} wants approval {approval!r}, and nobody can be asked yet.",
                expected="'optional', or nothing",
                found=approval,
                next_step="Wait for a signal in the step, and go on when it says so.",
            )
        if receipt not in ("audit", "none"):
            raise ProgramError(
                f"{what} wants receipt {receipt!r}.", expected="'audit' or 'none'", found=receipt
            )
        self.receipt: Literal["audit", "none"] = receipt
        self.signature = Signature(function, what)
        self.declared = Declared(
            model=self.model,
            max_tokens=self.budget.max_tokens if self.budget else None,
            max_micros=self.budget.max_micros if self.budget else None,
            error_boundary=self.boundary,
            receipt=receipt,
        )
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        if current() is None:
            return cast("Coroutine[Any, Any, R]", self.function(*args, **kwargs))
        return self._run(args, kwargs, place_of(sys._getframe(1)))

    @functools.cached_property
    def code(self) -> str:
        return code_digest(self.function)

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place) -> R:
        outer = current()
        assert outer is not None
        machine = outer.machine
        op = outer.op(self.name)
        machine.check_inside(op)
        _ = self.signature.result  # a result that no log could hold is refused here
        if outer.around.hooks is not None:
            args, kwargs = await before_step(outer, op, self, (args, kwargs))
        machine.emit(
            op,
            StepStarted(
                step=self.name,
                function=self.function.__qualname__,
                args=machine.redacted(self.signature.encode(self.signature.bind(args, kwargs))),
                site=machine.site(place),
                code=self.code,
                declared=self.declared,
            ),
            place=place,
        )
        visit = outer.around.stages.enter(self.name) if outer.around.stages is not None else None
        result: Any = None
        try:
            result, fact = await self._inside(outer, op, visit, args, kwargs)
            if outer.around.hooks is not None:
                result = await after_step(outer, op, self, (args, kwargs), result)
                fact = self._completed(outer, result)
        except asyncio.CancelledError:
            if not machine.unwinding:
                self._left(outer, op, visit, "cancelled", StepCancelled(step=self.name))
            raise
        except Unwinding:
            raise
        except BaseException as error:
            if machine.unwinding:
                raise
            status, ended = self._ending(error)
            self._left(outer, op, visit, status, ended)
            await _on_exit(visit, status)
            if status != "skipped":
                raise
        else:
            self._left(outer, op, visit, "completed", fact)
            await _on_exit(visit, "completed")
        return cast("R", result)

    async def _inside(
        self,
        outer: Scope,
        op: str,
        visit: Visit | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[R, StepCompleted]:
        """Run the code of the step, once or several times, in a scope of its own."""
        machine = outer.machine
        scope = self._scope(outer, op, visit)
        attempt = 1
        while True:
            inner = scope if attempt == 1 else scope.inner(f"{op}.again{attempt}")
            token = CURRENT.set(inner)
            try:
                result = await self.function(*args, **kwargs)
                return result, self._completed(outer, result)
            except Exception as error:
                if machine.unwinding or not self._worth_another(error, attempt):
                    raise
                wait_s = self.retry.wait_s(attempt, idempotency_key(machine.run, op))
                machine.emit(
                    op,
                    StepRetried(
                        step=self.name,
                        attempt=attempt,
                        failure=record_failure(error),
                        retry_in_ms=round(wait_s * 1000),
                    ),
                )
                if wait_s > 0:
                    await sleep(wait_s)
            finally:
                CURRENT.reset(token)
            attempt += 1

    def _completed(self, outer: Scope, result: R) -> StepCompleted:
        recorded = outer.machine.redacted(self.signature.result.encode(result, ordered=True))
        return StepCompleted(step=self.name, result=recorded)

    def _worth_another(self, error: Exception, attempt: int) -> bool:
        return attempt < self.retry.max_attempts and not budget_errors(error) and self.retry.wants(error)

    def _scope(self, outer: Scope, op: str, visit: Visit | None) -> Scope:
        """The scope inside, with all that this step puts around its code. Raises `StageExhausted`."""
        around = outer.around
        purse = around.purse
        if self.budget is not None and not self.budget.unlimited:
            purse = Purse(
                self.budget,
                of="step",
                name=self.name,
                function=self.function.__qualname__,
                op=op,
                boundary=self.boundary,
                outer=purse,
            )
        policy = around.policy
        if visit is not None:
            policy = around.narrowed(visit.stage.policy)
            entered = StageEntered(
                stage=visit.stage.name, iteration=visit.iteration, policy=policy.document()
            )
            outer.machine.emit(op, entered)
            visit.check()
        inner = msgspec.structs.replace(
            around, step=self.name, model=self.model or around.model, policy=policy, purse=purse
        )
        return outer.inner(op, inner)

    def _ending(self, error: BaseException) -> tuple[StepStatus, ProgramFact]:
        """How the step ends with `error`: what its boundary says of a budget error, else failed."""
        over = budget_errors(error)
        if over and self.boundary == "escalate":
            for each in over:
                each.escalate(step=self.name, function=self.function.__qualname__)
            return "escalated", StepEscalated(step=self.name, failure=record_failure(error))
        if over and self.boundary == "continue":
            return "skipped", StepSkipped(step=self.name, failure=record_failure(error))
        return "failed", StepFailed(step=self.name, failure=record_failure(error))

    def _left(
        self, outer: Scope, op: str, visit: Visit | None, status: StepStatus, fact: ProgramFact
    ) -> None:
        if visit is not None:
            outer.machine.emit(
                op, StageExited(stage=visit.stage.name, iteration=visit.iteration, status=status)
            )
        outer.machine.emit(op, fact)


async def _on_exit(visit: Visit | None, status: StepStatus) -> None:
    if visit is not None and visit.stage.on_exit is not None and not visit.refused:
        await visit.stage.on_exit(StageExit(visit.stage.name, visit.iteration, status))


def budget_errors(error: BaseException) -> list[BudgetExceeded]:
    """The budget errors that `error` is: itself, or all members of a group of nothing else."""
    if isinstance(error, BudgetExceeded):
        return [error]
    if not isinstance(error, BaseExceptionGroup):
        return []
    group = cast("BaseExceptionGroup[BaseException]", error)
    found = [budget_errors(member) for member in group.exceptions]
    return [each for members in found for each in members] if all(found) else []


def _check_function(function: Any) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ProgramError(
            f"{name} is a generator, and a step is one call with one result.",
            next_step="Return a list, or make a step of what is done with each item.",
        )
    if not inspect.iscoroutinefunction(function):
        raise ProgramError(
            f"{name} is not an async function, and a step is one.",
            next_step="Write `async def`. A blocking function that touches the world is a @tool.",
        )


@overload
def step(function: Callable[P, Awaitable[R]], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    model: str | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    error_boundary: Literal["fail", "escalate"] | None = None,
    retry: Retry | None = None,
    approval: Literal["optional"] | None = None,
    receipt: Literal["audit", "none"] = "audit",
) -> Callable[[Callable[P, Awaitable[R]]], Step[P, R]]: ...
@overload
def step(
    *,
    name: str | None = None,
    model: str | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    error_boundary: Literal["continue"],
    retry: Retry | None = None,
    approval: Literal["optional"] | None = None,
    receipt: Literal["audit", "none"] = "audit",
) -> Callable[[Callable[P, Awaitable[R]]], Step[P, R | None]]: ...
def step(function: Any = None, /, **options: Any) -> Any:
    """Mark an async function as a step of a program: named, recorded, with a receipt.

    `model` is what model calls inside take when they name none. `budget` is what they may use, together
    with all that they do inside; a `Budget` or a dictionary of `max_tokens` and `max_usd`.
    `error_boundary` says what a budget error that leaves the step does: `fail` lets it go on, `escalate`
    marks it, and with `continue` the call gives None. `retry` runs the code of the step again after other
    errors. `receipt="none"` keeps it out of the receipts.

    Raises `ProgramError` for a function that is not async or is a generator, and `ValueError` for a budget
    or boundary that cannot be read. A crash inside a step leaves its start; the resumed run enters it
    again and every recorded operation in it answers from the tape.
    """
    if function is not None:
        return Step(function)
    return functools.partial(Step, **options)
