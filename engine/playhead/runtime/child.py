"""Child runs: a run of its own that another run asked for and waits for.

A child's id follows from its parent and the operation, so a parent that is run
again finds the same child, finished or not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor as ThreadExecutor
from typing import Any, ParamSpec, TypeVar, cast

from playhead.errors import ChildFailed, ProgramError
from playhead.events.catalog import ChildCompleted, ChildRequested
from playhead.events.catalog import ChildFailed as ChildFailedFact
from playhead.events.fact import Failure, OutcomeFact
from playhead.policy.effect import EffectClass
from playhead.policy.retry import ONCE
from playhead.runtime.endings import TERMINAL, Ending
from playhead.runtime.engine import Engine
from playhead.runtime.machine import Machine
from playhead.runtime.persona import Persona
from playhead.runtime.place import call_site
from playhead.runtime.scope import require_scope
from playhead.runtime.signature import own
from playhead.runtime.starting import id_of_child

P = ParamSpec("P")
R = TypeVar("R")


class ChildCall:
    """One child run, as the parent's runner carries it out."""

    effect = EffectClass.IDEMPOTENT
    retry = ONCE
    timeout_s: float | None = None

    def __init__(
        self,
        engine: Engine,
        persona: Persona[..., Any],
        arguments: dict[str, Any],
        run: str,
        parent: str,
        op: str,
    ) -> None:
        self.name = persona.name
        self._engine = engine
        self._persona = persona
        self._arguments = arguments
        self._run = run
        self._parent = (parent, op)
        self.idle: Callable[[], None] = _stay
        """Called once the child goes on without us: the parent may leave memory meanwhile."""

    async def act(self, threads: ThreadExecutor) -> Ending:
        await self._engine.start_with(self._persona, self._arguments, run=self._run, parent=self._parent)
        if await self._engine.status(self._run) not in (*TERMINAL, "parked"):
            self.idle()
        return await self._engine.ending(self._run)

    def completed(self, value: Ending, number: int) -> OutcomeFact:
        if value.status == "completed":
            assert value.result is not None
            return ChildCompleted(result=value.result)
        failure = value.failure or Failure(
            type="RunCancelled" if value.status == "cancelled" else "RunParked",
            module="playhead.errors",
            message=value.reason or value.status,
            category=value.status,
        )
        status: Any = value.status if value.status in ("failed", "cancelled") else "parked"
        return ChildFailedFact(status=status, failure=failure)

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return ChildFailedFact(status="failed", failure=failure)


def _stay() -> None:
    """Nobody wants to know."""


async def child_run(persona: Persona[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `persona` as a run of its own and wait for its result.

    Raises `ChildFailed` when it failed, was cancelled or was parked. A crash of either side loses
    nothing: the child goes on by itself, and the resumed parent waits for the same child.
    """
    scope = require_scope("child_run()")
    machine: Machine = scope.machine
    op = scope.op(persona.name)
    run = id_of_child(machine.run, op)
    arguments = persona.signature.bind(args, kwargs)
    request = ChildRequested(
        run=run,
        persona=persona.name,
        args=machine.redacted(persona.signature.encode(arguments)),
        site=call_site(),
    )
    engine = machine.host
    executor = (
        ChildCall(engine, persona, own(arguments), run, machine.run, op)
        if isinstance(engine, Engine)
        else None
    )
    settle = functools.partial(_settle, persona)
    return cast("R", await machine.perform(op, request, settle, executor=executor))


def _settle(persona: Persona[..., Any], fact: OutcomeFact) -> Any:
    if isinstance(fact, ChildCompleted):
        return persona.signature.result.decode(fact.result)
    assert isinstance(fact, ChildFailedFact)
    failure = fact.failure
    raise ChildFailed(
        f"child run of {persona.name} {fact.status}: {failure.type}: {failure.message}", failure=failure
    )


__all__ = ["ProgramError", "child_run"]
