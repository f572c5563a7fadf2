"""Budgets are kept for any tree of steps, whatever catches, cancels or dies in it.

Every log is added up a second time, from its events alone, and compared with what was refused.
"""

from collections import Counter
from random import Random
from typing import Any

import pytest

from playhead import Engine
from playhead.errors import RunFailed
from playhead.events.catalog import ModelAnswered
from playhead.events.codec import CATALOG
from playhead.events.fact import OutcomeFact
from playhead.log.memory_store import MemoryLog
from playhead_projections.accounts import Used
from playhead_projections.projection import fold
from playhead_projections.receipts import Book, Receipts
from playhead_projections.run_report import RunReport
from tests.replay.prefixes import RUN, cut, play
from tests.runtime import spending
from tests.runtime.spending import Meter, check_budgets, draw, spends

TREES = 400
CUT_TREES = 60


def lived(log: MemoryLog, work: Any) -> Any:
    return play(log, work, personas=[spends], model=Meter())


async def first_time(engine: Engine, tree: Any) -> tuple[str, Any]:
    run = await engine.start(spends, tree)
    return run.id, await ended(engine, run.id)


async def ended(engine: Engine, run: str) -> Any:
    try:
        return await engine.result(run)
    except RunFailed as error:
        return str(error)


def book_of(log: MemoryLog, run: str) -> Book:
    return fold(Receipts(), run, log.streams[RUN + run]).state


def recorded(seed: int, **options: Any) -> tuple[str, Any, MemoryLog]:
    log = MemoryLog()
    run, result = lived(log, lambda engine: first_time(engine, draw(Random(seed), **options)))
    return run, result, log


def test_every_budget_of_any_tree_of_steps_is_kept_and_replayed() -> None:
    met: Counter[str] = Counter()
    for seed in range(TREES):
        run, _, log = recorded(seed)
        met += check_budgets(log.streams[RUN + run], persona_tokens=900)
        statuses = Counter(receipt.status for receipt in book_of(log, run).finished)
        met += statuses

        async def replay(engine: Engine, run: str = run) -> Any:
            return await engine.replay(run)

        outcome = lived(log, replay)
        assert outcome.identical, f"{seed}: {outcome.divergence}"

    # A suite in which nothing ever ran out would prove nothing.
    for what in ("answered", "failed", "passed", "nothing left", "skipped", "escalated", "completed"):
        assert met[what] >= 10, met


def test_the_sum_of_receipts_is_the_sum_of_model_calls() -> None:
    late = 0
    for seed in range(TREES):
        run, _, log = recorded(seed)
        book = book_of(log, run)
        answers = {
            event.op: (event.seq, fact)
            for event in log.streams[RUN + run]
            if isinstance(fact := CATALOG.decode(event), ModelAnswered)
        }
        steps = [*book.finished, *book.open.values()]
        ops = [receipt.op for receipt in steps]
        for receipt in steps:
            inside = {op: said for op, said in answers.items() if within(op, receipt.op)}
            in_time = {
                op: fact for op, (seq, fact) in inside.items() if receipt.seq is None or seq < receipt.seq
            }
            nearest = [fact for op, fact in in_time.items() if receipt.op == innermost(op, ops)]
            late += len(inside) - len(in_time)
            assert adds_up(receipt.inclusive.used, list(in_time.values())), (seed, receipt.op)
            assert adds_up(receipt.own.used, nearest), (seed, receipt.op)

        total = Used()
        for used in [*(receipt.own.used for receipt in steps), book.besides]:
            total.merge(used)
        assert adds_up(total, [fact for _, fact in answers.values()]), seed
        asked = [event for event in log.streams[RUN + run] if event.type == "model.called"]
        assert total.model_calls == len(asked)

    assert late >= 2  # or nothing was ever answered too late for its step


def within(op: str, step: str) -> bool:
    return op.startswith((f"{step}/", f"{step}."))


def innermost(op: str, steps: list[str]) -> str:
    return max((step for step in steps if within(op, step)), key=len, default="")


def adds_up(used: Used, answers: list[ModelAnswered]) -> bool:
    return (used.input_tokens.total, used.output_tokens.total, used.cost_micros.total) == (
        sum(fact.usage.input_tokens or 0 for fact in answers),
        sum(fact.usage.output_tokens or 0 for fact in answers),
        sum(fact.cost_micros or 0 for fact in answers),
    )


@pytest.mark.parametrize("seed", range(CUT_TREES))
def test_killed_at_every_event_it_comes_to_the_same_receipts_and_asks_nothing_twice(seed: int) -> None:
    # Side by side the order of answers depends on when a process died, and so may who is refused.
    run, result, log = recorded(seed, how=["caught", "one by one"])
    events = log.streams[RUN + run]
    receipts = _plain(book_of(log, run))
    total = fold(RunReport(), run, events).state.used.document()

    for length in range(1, len(events)):
        shorter = cut(log, run, length)
        spending.ASKED.clear()

        async def resume(engine: Engine) -> Any:
            await engine.recover()
            return await ended(engine, run), await engine.replay(run)

        again, replayed = lived(shorter, resume)

        assert again == result, length
        assert replayed.identical, f"{length}: {replayed.divergence}"
        answered = {event.op for event in events[:length] if isinstance(CATALOG.decode(event), OutcomeFact)}
        assert not answered & set(spending.ASKED), length
        check_budgets(shorter.streams[RUN + run], persona_tokens=900)
        assert _plain(book_of(shorter, run)) == receipts, length
        assert fold(RunReport(), run, shorter.streams[RUN + run]).state.used.document() == total, length


def _plain(book: Book) -> list[Any]:
    """Receipts without what depends on when they were written, in the order of their ids."""
    return sorted(
        (
            receipt.op,
            receipt.name,
            receipt.status,
            receipt.model,
            receipt.error and receipt.error.message,
            receipt.own.used.document(),
            receipt.inclusive.used.document(),
        )
        for receipt in book.finished
    )


@pytest.mark.parametrize("seed", range(CUT_TREES, CUT_TREES + 20))
def test_killed_at_every_event_side_by_side_it_keeps_every_budget_and_asks_nothing_twice(seed: int) -> None:
    run, _, log = recorded(seed, how=["together"])
    events = log.streams[RUN + run]

    for length in range(1, len(events)):
        shorter = cut(log, run, length)
        spending.ASKED.clear()

        async def resume(engine: Engine) -> Any:
            await engine.recover()
            await ended(engine, run)
            return await engine.replay(run)

        assert lived(shorter, resume).identical, length
        answered = {event.op for event in events[:length] if isinstance(CATALOG.decode(event), OutcomeFact)}
        assert not answered & set(spending.ASKED), length
        check_budgets(shorter.streams[RUN + run], persona_tokens=900)
