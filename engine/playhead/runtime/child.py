"""Child runs: a run of its own that another run asked for and waits for.

A child's id follows from its parent and the operation, so a parent that is run
again finds the same child, finished or not.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor as ThreadExecutor
from typing import Any, ParamSpec, TypeVar, cast

from playhead.errors import ChildFailed, ProgramError
from playhead.events.catalog import ChildCompleted, ChildRequested
from playhead.events.catalog import ChildFailed as ChildFailedFact
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.rules import BudgetSettled
from playhead.policy.effect import EffectClass
from playhead.policy.retry import ONCE
from playhead.runtime.endings import TERMINAL, Ending
from playhead.runtime.engine import Engine
from playhead.runtime.machine import Machine
from playhead.runtime.moments import crossings
from playhead.runtime.permission import check_depth
from playhead.runtime.persona import Persona
from playhead.runtime.place import call_site
from playhead.runtime.purse import Share, refuse_broken, reserve, settled
from playhead.runtime.recovery import end_of
from playhead.runtime.scope import Scope, require_scope
from playhead.runtime.signature import own
from playhead.runtime.starting import Parent, id_of_child

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
        parent: Parent,
    ) -> None:
        self.name = persona.name
        self._engine = engine
        self._persona = persona
        self._arguments = arguments
        self._run = run
        self._parent = parent
        self._used: tuple[int | None, int | None] = (None, None)
        self.idle: Callable[[], None] = _stay
        """Called once the child goes on without us: the parent may leave memory meanwhile."""

    async def act(self, threads: ThreadExecutor) -> Ending:
        await self._engine.start_with(self._persona, self._arguments, run=self._run, parent=self._parent)
        if await self._engine.status(self._run) not in (*TERMINAL, "parked"):
            self.idle()
        ending = await end_of(self._engine, self._run)
        if self._parent.tokens is not None or self._parent.micros is not None:
            self._used = await used_by(self._engine, self._run)
        return ending

    def completed(self, value: Ending, number: int) -> OutcomeFact:
        tokens, micros = self._used
        if value.status == "completed":
            assert value.result is not None
            return ChildCompleted(result=value.result, used_tokens=tokens, used_micros=micros)
        failure = value.failure or Failure(
            type="RunCancelled" if value.status == "cancelled" else "RunParked",
            module="playhead.errors",
            message=value.reason or value.status,
            category=value.status,
        )
        status: Any = value.status if value.status in ("failed", "cancelled") else "parked"
        return ChildFailedFact(status=status, failure=failure, used_tokens=tokens, used_micros=micros)

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return ChildFailedFact(status="failed", failure=failure)


def _stay() -> None:
    """Nobody wants to know."""


async def used_by(engine: Engine, run: str) -> tuple[int, int]:
    """Tokens and money, in millionths, that the budgets around all calls of `run` paid."""
    paid = [fact for _, fact in await engine.facts_of(run) if isinstance(fact, BudgetSettled)]
    return sum(fact.tokens for fact in paid), sum(fact.cost_micros for fact in paid)


async def child_run(persona: Persona[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `persona` as a run of its own and wait for its result.

    What encloses the call encloses the child: its policy, and of its budgets all that is left, which is
    reserved until the child has ended. Raises `ChildFailed` when it failed, was cancelled or was parked,
    `ToolRejected` where the policy lets no run go so deep, and `BudgetExceeded`. A crash of either side
    loses nothing: the child goes on by itself, and the resumed parent waits for the same child.
    """
    scope = require_scope("child_run()")
    machine: Machine = scope.machine
    op = scope.op(persona.name)
    around = scope.around
    arguments = persona.signature.bind(args, kwargs)
    recorded = machine.redacted(persona.signature.encode(arguments))
    if around.policy is not None:
        check_depth(scope, op, persona.name, recorded)
    request = ChildRequested(
        run=id_of_child(machine.run, op),
        persona=persona.name,
        args=recorded,
        site=call_site(),
        policy=around.policy_words,
    )
    if around.purse is None:
        return cast("R", await _ask(scope, op, persona, arguments, request, None))
    machine.check_inside(op)
    share = await reserve(machine, around.purse, op, tokens=None, cost_micros=None)
    try:
        result = await _ask(scope, op, persona, arguments, request, share)
    except ChildFailed as error:
        settled(machine, share, op)
        await crossings(scope, around.purse)
        # Where it had nothing left to spend, that is why it failed, and it is our budget that is over.
        over = getattr(error.failure, "category", "") == "budget_exceeded"
        refuse_broken(machine, around.purse, before=over)
        raise
    except asyncio.CancelledError:
        share.forfeit()
        settled(machine, share, op)
        raise
    except BaseException:
        settled(machine, share, op)
        raise
    settled(machine, share, op)
    await crossings(scope, around.purse)
    refuse_broken(machine, around.purse)
    return cast("R", result)


async def _ask(
    scope: Scope,
    op: str,
    persona: Persona[..., Any],
    arguments: dict[str, Any],
    request: ChildRequested,
    share: Share | None,
) -> Any:
    machine = scope.machine
    engine = machine.host
    executor = None
    if isinstance(engine, Engine):
        parent = Parent(
            machine.run,
            op,
            request.policy,
            scope.around.depth + 1,
            share.tokens if share else None,
            share.cost_micros if share else None,
            scope.around.reviewer_keys,
            scope.around.enclosing,
            machine.fence,
        )
        executor = ChildCall(engine, persona, own(arguments), request.run, parent)
    settle = functools.partial(_settle, persona, share)
    return await machine.perform(op, request, settle, executor=executor)


def _settle(persona: Persona[..., Any], share: Share | None, fact: OutcomeFact) -> Any:
    assert isinstance(fact, (ChildCompleted, ChildFailedFact))
    if share is not None:
        share.pay(fact.used_tokens, fact.used_micros)
    if isinstance(fact, ChildCompleted):
        return persona.signature.result.decode(fact.result)
    failure = fact.failure
    raise ChildFailed(
        f"child run of {persona.name} {fact.status}: {failure.type}: {failure.message}", failure=failure
    )


__all__ = ["ProgramError", "child_run"]
