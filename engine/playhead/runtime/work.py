"""Seeing work of a persona on duty through: its run is started or taken up, and its end is told.

A run that cannot be started, or that its program does not fit any more, is an end as
well: whoever is next in the queue does not wait behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from playhead.clock import encode_id
from playhead.errors import BadValue, Diverged, ProgramError, RunParked
from playhead.events import duty as facts
from playhead.events.catalog import ChildRequested, ModelAnswered, RunStarted
from playhead.events.fact import Failure
from playhead.events.rules import BudgetSettled, HookDecided, HookFailed
from playhead.policy.budget import Budget, usd
from playhead.runtime.endings import Ending
from playhead.runtime.engine import Engine
from playhead.runtime.failures import record_failure
from playhead.runtime.persona import Persona
from playhead.runtime.recovery import end_of

Ended = facts.WorkCompleted | facts.WorkFailed


def id_of_work(persona: str, key: str) -> str:
    """The id of the run for a work key."""
    return encode_id(sha256(f"playhead.work/2:{len(persona)}:{persona}:{key}".encode()).digest())


async def see_through(engine: Engine, persona: Persona[..., Any], work: facts.WorkStarted) -> Ended:
    """Start the run of some work, or take it up, and wait for its end, whoever runs it.

    A crash leaves the run where its tape ends. Raises what the store raises, and `HookMissing`.
    """
    try:
        if not (await engine.store.head(f"run/{work.run}")).seq:
            await _start(engine, persona, work)
        ending = await end_of(engine, work.run)
    except _NotStarted as error:
        return _failed(work, "not_started", error.failure)
    except Diverged as error:
        return await _ended(engine, work, Ending("diverged", failure=record_failure(error)))
    except RunParked as error:
        return await _ended(engine, work, Ending("parked", failure=record_failure(error)))
    return await _ended(engine, work, ending)


class _NotStarted(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.failure = record_failure(error)


async def _start(engine: Engine, persona: Persona[..., Any], work: facts.WorkStarted) -> None:
    money = None if work.max_micros is None else usd(work.max_micros)
    budget = Budget(max_tokens=work.max_tokens, max_usd=money)
    try:
        # The program may have changed since the trigger came.
        args, kwargs = persona.signature.decode(work.args)
        arguments = persona.signature.bind(args, kwargs)
        await engine.start_with(persona, arguments, run=work.run, budget=budget)
    except (TypeError, BadValue, ProgramError) as error:
        raise _NotStarted(error) from error


async def _ended(engine: Engine, work: facts.WorkStarted, ending: Ending) -> Ended:
    tokens, micros = await used_by_work(engine, work.run)
    if ending.status == "completed":
        return facts.WorkCompleted(work_key=work.work_key, run=work.run, tokens=tokens, cost_micros=micros)
    failure = ending.failure or Failure(type=ending.status, message=ending.reason)
    return _failed(work, ending.status, failure, tokens=tokens, micros=micros)


def _failed(
    work: facts.WorkStarted, status: Any, failure: Failure, *, tokens: int = 0, micros: int = 0
) -> facts.WorkFailed:
    return facts.WorkFailed(
        work_key=work.work_key,
        run=work.run,
        status=status,
        failure=failure,
        tokens=tokens,
        cost_micros=micros,
    )


async def used_by_work(engine: Engine, run: str) -> tuple[int, int]:
    """Tokens and money, in millionths, that a run took, its hooks and its child runs included.

    Under a budget it is what the budget paid, so what a model did not tell counts as all that was set aside
    for it; without one it is what was told.
    """
    tokens = micros = 0
    bounded = False
    for _, fact in await engine.facts_of(run):
        match fact:
            case RunStarted(max_tokens=most_tokens, max_micros=most_micros):
                bounded = most_tokens is not None or most_micros is not None
            case BudgetSettled() if bounded:
                tokens, micros = tokens + fact.tokens, micros + fact.cost_micros
            case ModelAnswered() if not bounded:
                tokens, micros = _with((fact,), tokens, micros)
            case HookDecided() | HookFailed():
                tokens, micros = _with(fact.model_calls, tokens, micros)
            case ChildRequested(run=child) if not bounded:
                if (await engine.store.head(f"run/{child}")).seq:
                    of_child = await used_by_work(engine, child)
                    tokens, micros = tokens + of_child[0], micros + of_child[1]
            case _:
                pass
    return tokens, micros


def _with(answers: Sequence[Any], tokens: int, micros: int) -> tuple[int, int]:
    for answer in answers:
        tokens += (answer.usage.input_tokens or 0) + (answer.usage.output_tokens or 0)
        micros += answer.cost_micros or 0
    return tokens, micros
