"""Budgets are exact, and what cannot be read as a limit is no limit but a mistake."""

from decimal import Decimal
from typing import Any

import pytest

from playhead.policy.budget import Budget, budget_of, known_boundary, usd


@pytest.mark.parametrize(
    ("said", "micros"),
    [
        (0, 0),
        (1, 1_000_000),
        (0.1, 100_000),
        ("0.05", 50_000),
        (Decimal("0.0000019"), 1),
        (1e-9, 0),
        (None, None),
        (12.345678, 12_345_678),
    ],
)
def test_money_is_counted_in_millionths_and_a_limit_is_never_rounded_up(
    said: Any, micros: int | None
) -> None:
    assert Budget(max_usd=said).max_micros == micros


@pytest.mark.parametrize(
    "said", [-1, float("nan"), float("inf"), "much", True, Decimal("-0.01"), 1e300, b"1"]
)
def test_money_that_is_negative_or_not_finite_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="max_usd is an amount of money"):
        Budget(max_usd=said)


@pytest.mark.parametrize("said", [-1, 1.5, True, "10", 2**60])
def test_tokens_are_whole_and_not_negative(said: Any) -> None:
    with pytest.raises(ValueError, match="max_tokens is a number"):
        Budget(max_tokens=said)


def test_nothing_is_a_legal_limit_and_no_limit_is_another() -> None:
    assert Budget(max_tokens=0, max_usd=0).max_micros == 0
    assert not Budget(max_tokens=0).unlimited
    assert Budget().unlimited


def test_a_dictionary_is_read_as_a_budget_and_a_float_of_tokens_is_cut() -> None:
    assert budget_of({"max_tokens": 100.9, "max_usd": 0.05}, "step plan") == Budget(
        max_tokens=100, max_usd="0.05"
    )
    assert budget_of(None, "step plan") is None


@pytest.mark.parametrize(
    "said",
    [{"max_tokens": "many"}, {"max_usd": -1}, {"max_token": 1}, "100", {"max_tokens": float("inf")}, []],
)
def test_an_unreadable_budget_is_refused_and_not_unlimited(said: Any) -> None:
    with pytest.raises(ValueError, match="step plan"):
        budget_of(said, "step plan")


def test_an_unknown_boundary_is_refused_and_none_is_fail() -> None:
    assert [known_boundary(word, "step plan") for word in (None, "fail", "continue", "escalate")] == [
        "fail",
        "fail",
        "continue",
        "escalate",
    ]
    with pytest.raises(ValueError, match="step plan: error_boundary 'ignore'"):
        known_boundary("ignore", "step plan")


def test_money_is_shown_exactly() -> None:
    assert usd(1_884) == Decimal("0.001884")
