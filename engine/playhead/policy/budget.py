"""Budgets: how many tokens and how much money something may take, and the error that says it is over.

Money is counted in millionths, as integers, so that sums are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Final, Literal

MICROS: Final = 1_000_000
COUNT_MAX: Final = 2**53
"""Beyond this a budget is a slip of the pen, and a float could not hold it exactly."""

Boundary = Literal["fail", "continue", "escalate"]
BOUNDARIES: Final[tuple[Boundary, ...]] = ("fail", "continue", "escalate")
Limit = Literal["max_tokens", "max_usd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent at most. None is no limit, and 0 is nothing at all.

    `max_tokens` counts input and output tokens. `max_usd` may be an integer, a decimal, a text or a
    float; what is finer than a millionth is cut off. Raises `ValueError` for what is negative, not
    finite or no number, because a limit that cannot be read is no limit.
    """

    max_tokens: int | None = None
    max_usd: Decimal | int | float | str | None = None

    def __post_init__(self) -> None:
        tokens = self.max_tokens
        if tokens is not None and (not _is_int(tokens) or not 0 <= tokens <= COUNT_MAX):
            raise ValueError(f"max_tokens is a number of tokens from 0 on, not {tokens!r}")
        if self.max_usd is not None:
            object.__setattr__(self, "max_usd", _money(self.max_usd))

    @property
    def max_micros(self) -> int | None:
        """`max_usd` in millionths."""
        return None if self.max_usd is None else int(Decimal(self.max_usd) * MICROS)

    @property
    def unlimited(self) -> bool:
        return self.max_tokens is None and self.max_usd is None


def budget_of(said: Any, what: str) -> Budget | None:
    """A budget from a dictionary: `max_tokens`, also as a float, which is cut to a whole, and `max_usd`.

    Raises `ValueError` for anything that is not there to be read as a limit.
    """
    if said is None or isinstance(said, Budget):
        return said
    if not isinstance(said, Mapping):
        raise ValueError(f"{what}: budget is a dictionary of max_tokens and max_usd, not {said!r}")  # noqa: TRY004
    limits: dict[Any, Any] = {**said}
    unknown = sorted(str(key) for key in limits if key not in ("max_tokens", "max_usd"))
    if unknown:
        raise ValueError(f"{what}: a budget has max_tokens and max_usd, and no {', '.join(unknown)}")
    tokens = limits.get("max_tokens")
    if isinstance(tokens, float):
        if not math.isfinite(tokens) or tokens < 0:
            raise ValueError(f"{what}: max_tokens is a number of tokens from 0 on, not {tokens!r}")
        tokens = int(tokens)
    try:
        return Budget(max_tokens=tokens, max_usd=limits.get("max_usd"))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def known_boundary(word: Any, what: str) -> Boundary:
    """`word` as a boundary; nothing said is `fail`. Raises `ValueError` for any other word."""
    if word is None:
        return "fail"
    for boundary in BOUNDARIES:
        if boundary == word:
            return boundary
    raise ValueError(f"{what}: error_boundary {word!r} is not one of {', '.join(BOUNDARIES)}")


def usd(micros: int) -> Decimal:
    """Millionths as money, exactly."""
    return Decimal(micros) / MICROS


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _money(said: Any) -> Decimal:
    try:
        if isinstance(said, bool) or not isinstance(said, (int, float, str, Decimal)):
            raise InvalidOperation
        amount = Decimal(str(said))
        if not amount.is_finite() or not 0 <= amount <= COUNT_MAX:
            raise InvalidOperation
        return amount.quantize(Decimal("0.000001"), rounding=ROUND_FLOOR)
    except InvalidOperation:
        raise ValueError(f"max_usd is an amount of money from 0 on, not {said!r}") from None
