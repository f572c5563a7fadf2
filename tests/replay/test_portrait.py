"""A portrait tells what differs in two processes, and nothing that only looks different."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

import msgspec
import pytest

from playhead.replay.portrait import SHOWN_MAX, portrait


class Loud:
    """Says so when anybody asks it."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __repr__(self) -> str:
        raise AssertionError("nobody is asked")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("nobody is asked")

    def __hash__(self) -> int:
        return 1


@dataclass(slots=True)
class Slotted:
    one: int
    other: object = None


class Packed(msgspec.Struct):
    name: str


class Ring:
    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        ([1], (1,)),
        ([1, 2], [2, 1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        ({1, 2}, {1, 3}),
        (Loud(1), Loud(2)),
        (Slotted(1), Slotted(2)),
        (Packed("a"), Packed("b")),
        (ValueError("a"), ValueError("b")),
        (Random(1), Random(2)),
        (ValueError("a"), KeyError("a")),
        (date(2026, 1, 1), date(2026, 1, 2)),
        ("x" * 1_000, "x" * 999 + "y"),
        ([0] * 1_000, [0] * 999 + [1]),
        ([0] * 1_000, [0] * 1_001),
        (deque([1]), deque([2])),
        (10**40, 10**40 + 1),
    ],
)
def test_what_differs_looks_different(one: Any, other: Any) -> None:
    assert portrait(one) != portrait(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (frozenset("abc"), frozenset("cba")),
        ([{"x", "y"}], [{"y", "x"}]),
        (object(), object()),
        (Loud(object()), Loud(object())),
        (Slotted(1, Loud(2)), Slotted(1, Loud(2))),
        (OrderedDict(a=1), OrderedDict(a=1)),
        ((n for n in "ab"), (n for n in "ab")),
        (Ring(), Ring()),
    ],
)
def test_what_is_the_same_looks_the_same_wherever_it_lies(one: Any, other: Any) -> None:
    assert portrait(one) == portrait(other)


def test_a_portrait_is_short_and_tells_of_sets() -> None:
    met: list[set[object]] = []

    text = portrait({"k": [{"b", "a"}, "x" * 10_000]}, met.append)

    assert len(text) <= SHOWN_MAX + 9
    assert met == [{"a", "b"}]
