"""Purses: the budgets in force, and what was taken from them.

    step plan, 8,000 tokens          a purse
    └── step ask, 1,000 tokens       a purse in that purse: what it pays, both pay

Before a model is called its share is reserved in every purse around the call, and
settled when it has answered; both are events. A reservation is what the request
bounds (`max_output_tokens` with a guess of its own length, and `max_cost_micros`), and
where it bounds nothing, all that
is left. A call for which there is no room beside those under way waits for them.
So calls without a bound take turns, and what is spent passes a limit by what calls use
beyond their bounds: their input, which nobody knows before.

Everything here follows from the program and from recorded usage, so a resumed or
replayed run finds every purse as it was, and pays nothing twice.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from playhead.errors import BudgetExceeded
from playhead.events.catalog import ModelAnswered
from playhead.events.fact import OutcomeFact
from playhead.events.rules import BudgetExhausted, BudgetReserved, BudgetSettled
from playhead.policy.budget import Boundary, Budget, Limit
from playhead.runtime.machine import Machine

Of = Literal["step", "persona", "run"]


class Purse:
    """One budget in force. `op` is whose it is."""

    def __init__(
        self,
        budget: Budget,
        *,
        of: Of,
        name: str,
        function: str,
        op: str,
        boundary: Boundary = "fail",
        outer: Purse | None = None,
    ) -> None:
        self.of: Of = of
        self.name = name
        self.function = function
        self.op = op
        self.boundary: Boundary = boundary
        self.limits: dict[Limit, int] = {}
        if budget.max_tokens is not None:
            self.limits["max_tokens"] = budget.max_tokens
        if budget.max_micros is not None:
            self.limits["max_usd"] = budget.max_micros
        self.spent: dict[Limit, int] = {"max_tokens": 0, "max_usd": 0}
        self.reserved: dict[Limit, int] = {"max_tokens": 0, "max_usd": 0}
        self.told: set[str] = set()
        """The hooks that were told that their threshold is crossed."""
        self._waiting: list[asyncio.Future[None]] = []
        self._around: tuple[Purse, ...] = () if outer is None else outer.chain()

    def chain(self) -> tuple[Purse, ...]:
        """This purse and those around it, innermost first."""
        return (self, *self._around)

    def left(self, limit: Limit) -> int | None:
        """What is neither spent nor reserved; None where there is no such limit."""
        most = self.limits.get(limit)
        return None if most is None else max(most - self.spent[limit] - self.reserved[limit], 0)

    def broken(self, *, before: bool) -> Limit | None:
        """The limit that is passed; `before` a call it is one of which nothing is left either."""
        for limit, most in self.limits.items():
            if self.spent[limit] > most or (before and self.spent[limit] == most):
                return limit
        return None

    def first_beyond(self, percent: float) -> Limit | None:
        """The first limit of which `percent` or more is spent."""
        for limit, most in self.limits.items():
            if self.spent[limit] * 100 >= most * percent:
                return limit
        return None

    async def changed(self) -> None:
        """Return when a call that this purse pays for is over."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def wake(self) -> None:
        """Let whoever waits look again, in the order in which they came."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Share(msgspec.Struct, eq=False):
    """What one model call has reserved. None is a limit that no purse has."""

    purse: Purse
    tokens: int | None
    cost_micros: int | None
    outcome: Literal["answered", "failed", "cancelled"] = "cancelled"
    paid_tokens: int = 0
    paid_micros: int = 0

    def pay(self, tokens: int | None, micros: int | None) -> None:
        """Note what a child run used; what it could not tell is all that it was given."""
        self.outcome = "answered"
        self.paid_tokens = (self.tokens or 0) if tokens is None else tokens
        self.paid_micros = (self.cost_micros or 0) if micros is None else micros

    def forfeit(self) -> None:
        """Nobody waits for a child run any more, and it goes on spending: all that it was given is paid."""
        if self.outcome == "cancelled":
            self.paid_tokens, self.paid_micros = self.tokens or 0, self.cost_micros or 0

    def settle(self, fact: OutcomeFact) -> None:
        """Note what the call used.

        What an answer does not tell is counted with what was reserved for it: unknown is not nothing. A
        call that failed is counted with nothing, because nobody answered.
        """
        if isinstance(fact, ModelAnswered):
            self.outcome = "answered"
            used = (fact.usage.input_tokens, fact.usage.output_tokens)
            known = sum(count for count in used if count is not None)
            self.paid_tokens = max(known, self.tokens or 0) if None in used else known
            micros = fact.cost_micros
            self.paid_micros = (self.cost_micros or 0) if micros is None else micros
        else:
            self.outcome = "failed"

    def give_back(self) -> None:
        """The call is over: what it paid is spent, the rest is free again, and whoever waits looks again."""
        for purse in self.purse.chain():
            purse.spent["max_tokens"] += self.paid_tokens
            purse.spent["max_usd"] += self.paid_micros
            _count(purse, self, -1)
            purse.wake()


def _count(purse: Purse, share: Share, sign: int) -> None:
    purse.reserved["max_tokens"] += sign * (share.tokens or 0)
    purse.reserved["max_usd"] += sign * (share.cost_micros or 0)


async def reserve(
    machine: Machine, purse: Purse, op: str, *, tokens: int | None, cost_micros: int | None
) -> Share:
    """Reserve for the call `op`, at most `tokens` and `cost_micros`, in `purse` and all around it.

    Waits while other calls hold what it needs. Raises `BudgetExceeded` where nothing is left. A crash
    leaves nothing: the resumed program reserves again, and what is recorded answers.
    """
    while True:
        refuse_broken(machine, purse, before=True)
        crowded = _crowded(purse, "max_tokens", tokens) or _crowded(purse, "max_usd", cost_micros)
        if crowded is None:
            break
        await crowded.changed()
    share = Share(purse, _bound(purse, "max_tokens", tokens), _bound(purse, "max_usd", cost_micros))
    for each in purse.chain():
        _count(each, share, 1)
    machine.emit(op, BudgetReserved(tokens=share.tokens, cost_micros=share.cost_micros))
    return share


def settled(machine: Machine, share: Share, op: str) -> None:
    """Write down what became of a reservation. Called by the program that made it, however its call ended."""
    if machine.unwinding:
        return
    machine.emit(
        op, BudgetSettled(tokens=share.paid_tokens, cost_micros=share.paid_micros, outcome=share.outcome)
    )
    share.give_back()


def refuse_broken(machine: Machine, purse: Purse, *, before: bool = False) -> None:
    """Raise `BudgetExceeded` for the innermost purse with a limit that is passed, and write it down."""
    for each in purse.chain():
        limit = each.broken(before=before)
        if limit is not None:
            most = each.limits[limit]
            machine.emit(
                each.op,
                BudgetExhausted(
                    of=each.of,
                    name=each.name,
                    limit=limit,
                    limit_value=most,
                    spent_tokens=each.spent["max_tokens"],
                    spent_micros=each.spent["max_usd"],
                ),
            )
            raise exceeded(each, limit)


def exceeded(purse: Purse, limit: Limit) -> BudgetExceeded:
    """The error that says so."""
    return BudgetExceeded(
        of=purse.of,
        step=purse.name,
        function=purse.function,
        limit=limit,
        limit_value=purse.limits[limit],
        consumed_tokens=purse.spent["max_tokens"],
        consumed_micros=purse.spent["max_usd"],
        error_boundary=purse.boundary,
    )


def _crowded(purse: Purse, limit: Limit, wanted: int | None) -> Purse | None:
    """A purse in which calls under way leave too little for one that wants `wanted`; None is all there is."""
    for each in purse.chain():
        left = each.left(limit)
        if left is not None and each.reserved[limit] and (wanted is None or wanted > left):
            return each
    return None


def _bound(purse: Purse, limit: Limit, wanted: int | None) -> int | None:
    """What a call may use of `limit`: what it wants, and no more than is left anywhere around it."""
    bounds = [left for each in purse.chain() if (left := each.left(limit)) is not None]
    if not bounds:
        return None
    return min(bounds if wanted is None else [*bounds, wanted])
