"""Programs that are trees of steps with budgets and boundaries, and what their logs must add up to."""

import asyncio
import functools
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from playhead import Reply, Request, Usage, attempt, model_call, persona, tool
from playhead.errors import BudgetExceeded, ModelFailed
from playhead.events.catalog import ModelAnswered, StepStarted
from playhead.events.codec import CATALOG
from playhead.events.rules import BudgetExhausted, BudgetReserved, BudgetSettled
from playhead.log.envelope import Event
from playhead.policy.budget import Budget
from playhead.runtime.step import Step

Tree = list[Any]
ASKED: list[str] = []


class Meter:
    """Uses what the prompt says: tokens in and out, and money. A minus sign is a failure, a ? is not told."""

    name = "meter"

    async def complete(self, request: Request) -> Reply:
        ASKED.append(attempt().op)
        tokens_in, tokens_out, micros = request.prompt.split()
        await asyncio.sleep(0.01 * (1 + int(tokens_in) % 4))
        if tokens_out == "-":
            raise ConnectionError("the model is away")
        usage = Usage(
            input_tokens=int(tokens_in), output_tokens=None if tokens_out == "?" else int(tokens_out)
        )
        return Reply(
            text=f"{request.model} {request.max_output_tokens}",
            usage=usage,
            cost_micros=None if micros == "?" else int(micros),
        )


@tool(effect="pure")
async def breathe(n: int) -> int:
    await asyncio.sleep(0.01 * n)
    return n


@functools.cache
def made_step(boundary: str, tokens: int | None, micros: int | None, model: str | None) -> Step[..., Any]:
    async def part(tree: Tree) -> str | None:
        return await run_nodes(tree)

    budget = {"max_tokens": tokens, "max_usd": None if micros is None else micros / 1_000_000}
    options: dict[str, Any] = {"error_boundary": boundary, "model": model}
    return Step(part, name=f"{boundary}_{tokens}_{micros}", budget=budget, **options)


async def run_nodes(tree: Tree) -> str:
    """Run a tree: `[how, nodes]`, where nodes are run one after the other or side by side."""
    how, nodes = tree
    if how == "together":
        return "|".join(map(str, await asyncio.gather(*map(run_node, nodes))))
    if how == "caught":
        found = []
        for node in nodes:
            try:
                found.append(await run_node(node))
            except BudgetExceeded as error:
                found.append(f"caught {error.step} {error.category}")
        return ";".join(map(str, found))
    return ",".join([str(await run_node(node)) for node in nodes])


async def run_node(node: Tree) -> Any:
    if node[0] == "ask":
        try:
            reply = await model_call(
                Request(prompt=node[1], max_output_tokens=node[2], max_cost_micros=node[3])
            )
        except ModelFailed:
            return "away"
        return reply.text
    if node[0] == "breathe":
        return await breathe(node[1])
    _, boundary, tokens, micros, model, inner = node
    return await made_step(boundary, tokens, micros, model)(inner)


@persona(budget=Budget(max_tokens=900))
async def spends(tree: Tree) -> str:
    return await run_nodes(tree)


HOW = ("together", "caught", "one by one")


def draw(random: Random, depth: int = 0, *, how: Sequence[str] = HOW) -> Tree:
    """A tree of a few steps and calls."""
    nodes: list[Tree] = []
    for _ in range(random.randint(1, 3)):
        kind = random.random()
        if depth < 3 and kind < 0.55:
            nodes.append(
                [
                    "step",
                    random.choice(["fail", "continue", "escalate"]),
                    random.choice([None, 0, 60, 150, 400]),
                    random.choice([None, None, 500, 2_000]),
                    random.choice([None, "small", "large"]),
                    draw(random, depth + 1, how=how),
                ]
            )
        elif kind < 0.9:
            out = random.choice(["-", "?", *(str(n) for n in range(5, 80, 15))])
            prompt = f"{random.randint(5, 60)} {out} {random.choice(['?', '100', '700'])}"
            bounds = [random.choice([None, None, 20, 80]), random.choice([None, None, 700])]
            nodes.append(["ask", prompt, *bounds])
        else:
            nodes.append(["breathe", random.randint(1, 4)])
    return [random.choice(how), nodes]


# ------------------------------------------------------------ what logs say


class Bounds(msgspec.Struct):
    """One budget as a reader of the log adds it up, from events alone."""

    tokens: int | None
    micros: int | None
    spent_tokens: int = 0
    spent_micros: int = 0
    reserved_tokens: int = 0
    reserved_micros: int = 0


def check_budgets(events: list[Event], *, persona_tokens: int) -> Counter[str]:
    """Add every budget up from the events, and check each reservation against it. Returns what was met."""
    budgets: dict[str, Bounds] = {"": Bounds(persona_tokens, None)}
    held: dict[str, BudgetReserved] = {}
    answered: dict[str, ModelAnswered] = {}
    met: Counter[str] = Counter()
    for event in events:
        fact = CATALOG.decode(event)
        if isinstance(fact, StepStarted) and (
            fact.declared.max_tokens is not None or fact.declared.max_micros is not None
        ):
            budgets[event.op] = Bounds(fact.declared.max_tokens, fact.declared.max_micros)
        if isinstance(fact, ModelAnswered):
            answered[event.op] = fact
        around = [
            budget for op, budget in budgets.items() if not op or event.op.startswith((f"{op}/", f"{op}."))
        ]
        if isinstance(fact, BudgetReserved):
            held[event.op] = fact
            for budget in around:
                _reserve(budget, fact, event)
        elif isinstance(fact, BudgetSettled):
            reserved = held.pop(event.op)
            _check_paid(fact, reserved, answered.get(event.op), event)
            for budget in around:
                budget.spent_tokens += fact.tokens
                budget.spent_micros += fact.cost_micros
                budget.reserved_tokens -= reserved.tokens or 0
                budget.reserved_micros -= reserved.cost_micros or 0
            met[fact.outcome] += 1
        elif isinstance(fact, BudgetExhausted):
            budget = budgets[event.op]
            limit = budget.tokens if fact.limit == "max_tokens" else budget.micros
            spent = budget.spent_tokens if fact.limit == "max_tokens" else budget.spent_micros
            assert (fact.limit_value, limit) == (limit, fact.limit_value), event
            assert limit is not None
            assert (fact.spent_tokens, fact.spent_micros) == (budget.spent_tokens, budget.spent_micros), event
            assert spent >= limit, event
            met["passed" if spent > limit else "nothing left"] += 1
    # What was under way when the run ended has no answer, and nothing was paid for it.
    assert not set(held) & set(answered)
    return met


def _reserve(budget: Bounds, fact: BudgetReserved, event: Event) -> None:
    """A reservation must fit into what is neither spent nor reserved."""
    if budget.tokens is not None:
        assert fact.tokens is not None
        assert budget.spent_tokens < budget.tokens, event
        assert budget.spent_tokens + budget.reserved_tokens + fact.tokens <= budget.tokens, event
    if budget.micros is not None:
        assert fact.cost_micros is not None
        assert budget.spent_micros < budget.micros, event
        assert budget.spent_micros + budget.reserved_micros + fact.cost_micros <= budget.micros, event
    budget.reserved_tokens += fact.tokens or 0
    budget.reserved_micros += fact.cost_micros or 0


def _check_paid(
    fact: BudgetSettled, reserved: BudgetReserved, answer: ModelAnswered | None, event: Event
) -> None:
    """What was paid is what the answer says, and what was reserved where it does not say."""
    if answer is None:
        assert (fact.tokens, fact.cost_micros) == (0, 0), event
        return
    counts = [answer.usage.input_tokens, answer.usage.output_tokens]
    known = sum(count or 0 for count in counts)
    assert fact.tokens == (max(known, reserved.tokens or 0) if None in counts else known), event
    micros = answer.cost_micros
    assert fact.cost_micros == ((reserved.cost_micros or 0) if micros is None else micros), event
