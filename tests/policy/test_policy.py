"""Effect classes follow from levels, and retries wait as they say."""

from __future__ import annotations

import pytest

from playhead.policy.effect import EffectClass, effect_class
from playhead.policy.level import LEVELS
from playhead.policy.retry import ONCE, Retry


@pytest.mark.parametrize("level", LEVELS)
def test_only_what_changes_nothing_is_repeatable_by_its_level(level: str) -> None:
    assert effect_class(level=level, declared=None).repeatable is (level in ("none", "read_only"))


def test_undeclared_is_the_strictest() -> None:
    assert effect_class(level=None, declared=None) is EffectClass.EFFECT


def test_a_declared_class_wins_over_its_level() -> None:
    assert effect_class(level="network", declared="idempotent") is EffectClass.IDEMPOTENT


def test_an_unknown_level_or_class_is_refused() -> None:
    with pytest.raises(ValueError, match="telepathy"):
        effect_class(level="telepathy", declared=None)
    with pytest.raises(ValueError, match="maybe"):
        effect_class(level=None, declared="maybe")


def test_waits_grow_to_their_limit_and_stay_inside_the_jitter() -> None:
    retry = Retry(max_attempts=9, first_wait_s=1, factor=2, wait_s_max=10, jitter=0.5)

    for attempt, whole in enumerate([1, 2, 4, 8, 10, 10], start=1):
        assert whole / 2 <= retry.wait_s(attempt, "key") <= whole


def test_the_same_key_waits_the_same_and_others_do_not_march_in_step() -> None:
    retry = Retry()

    waits = {retry.wait_s(1, f"run-{n}") for n in range(50)}

    assert retry.wait_s(2, "a") == retry.wait_s(2, "a")
    assert len(waits) > 40


def test_only_the_named_errors_are_worth_another_try() -> None:
    retry = Retry(on=(ConnectionError,))

    assert retry.wants(ConnectionResetError())
    assert not retry.wants(ValueError())
    assert Retry().wants(ValueError())
    assert not Retry().wants(KeyboardInterrupt())
    assert ONCE.max_attempts == 1


@pytest.mark.parametrize(
    "wrong", [{"max_attempts": 0}, {"jitter": 2.0}, {"factor": 0.5}, {"first_wait_s": -1}]
)
def test_a_retry_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Retry(**wrong)  # type: ignore[arg-type]
