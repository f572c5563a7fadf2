"""Replies with a price, and what a run has spent: for tests of budgets."""

from __future__ import annotations

from dataclasses import dataclass

from playhead.events.catalog import ModelAnswered, ModelCalled
from playhead.events.rules import BudgetExhausted, BudgetSettled
from playhead.events.words import Usage
from playhead.runtime.engine import Engine
from playhead.runtime.model import Reply


def priced(
    text: str = "",
    *,
    tokens_in: int | None = 0,
    tokens_out: int | None = 0,
    micros: int | None = 0,
    model: str | None = None,
) -> Reply:
    """A reply for a `ScriptedModel` that used so much; None is not told."""
    return Reply(
        text=text,
        model=model,
        usage=Usage(input_tokens=tokens_in, output_tokens=tokens_out),
        cost_micros=micros,
        cost_source="unknown" if micros is None else "scripted",
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """What models used, and what budgets made of it. `exhausted` names the budgets that ran out, in order.

    `tokens` and `micros` are what answers told; `paid_tokens` and `paid_micros` what budgets paid, which is
    more where an answer did not tell.
    """

    calls: int
    tokens: int
    micros: int
    paid_tokens: int
    paid_micros: int
    exhausted: tuple[str, ...]


async def spent(engine: Engine, run: str, *, inside: str = "") -> Spent:
    """What `run` has spent so far; `inside` is the id of a step, for what was spent in it alone."""
    calls = tokens = micros = paid_tokens = paid_micros = 0
    exhausted: list[str] = []
    for op, fact in await engine.facts_of(run):
        if inside and op != inside and not op.startswith((f"{inside}/", f"{inside}.")):
            continue
        match fact:
            case ModelCalled():
                calls += 1
            case ModelAnswered(usage=usage, cost_micros=cost):
                tokens += (usage.input_tokens or 0) + (usage.output_tokens or 0)
                micros += cost or 0
            case BudgetSettled(tokens=told, cost_micros=cost):
                paid_tokens += told
                paid_micros += cost
            case BudgetExhausted(name=name):
                exhausted.append(name)
            case _:
                pass
    return Spent(calls, tokens, micros, paid_tokens, paid_micros, tuple(exhausted))
