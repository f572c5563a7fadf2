"""Where steps stand in a trace that holds them in several ways: the actions that belong together.

    places = aligned(sequence, items, gap_max, Links(actions))

A read that took its path from the search before it belongs to that search, and another read beside it does
not. So ways are told apart by how many inputs were outcomes of earlier actions (`Links`), or by how many are
what the steps of a candidate say (`Fit`). Of equal ways the one that ends first counts, and of these the one
that is closest together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import Any, Final, TypeAlias

from playhead_projections.crystallization.patterns import Items, occurrence, occurrences
from playhead_projections.crystallization.plans import (
    Constant,
    Elements,
    Flow,
    Given,
    Members,
    Source,
    Step,
    contradict,
)
from playhead_projections.crystallization.values import MISSING, at, key_of, nodes, telling
from playhead_projections.trace import Action

WAYS_MAX: Final = 200

Places: TypeAlias = tuple[int, ...]
Score: TypeAlias = Callable[[Places], int]
"""How well places belong together; more is better."""


def aligned(sequence: Sequence[int], items: Items, gap_max: int, score: Score) -> Places | None:
    """The best of the first WAYS_MAX ways in which `items` stand in `sequence`; None where there is none."""
    closest = occurrence(sequence, items, gap_max)
    if closest is None:
        return None
    ways = chain([closest], islice(occurrences(sequence, items, gap_max), WAYS_MAX))
    return max(ways, key=lambda places: (score(places), -places[-1], places[0]))


class Links:
    """Counts the inputs that stood in the outcome of an earlier action of the same row."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self._actions = actions
        self._inputs: dict[int, frozenset[bytes]] = {}
        self._outcomes: dict[int, frozenset[bytes]] = {}

    def __call__(self, places: Places) -> int:
        found = 0
        for number, place in enumerate(places):
            wanted = self._keys(self._inputs, place, self._actions[place].inputs)
            for earlier in places[:number]:
                found += len(wanted & self._keys(self._outcomes, earlier, self._actions[earlier].output))
        return found

    @staticmethod
    def _keys(known: dict[int, frozenset[bytes]], place: int, value: Any) -> frozenset[bytes]:
        """The plain values that stand in `value`."""
        if place not in known:
            plain = (each for _, each in nodes(value) if not isinstance(each, (dict, list)) and telling(each))
            known[place] = frozenset(map(key_of, plain))
        return known[place]


class Fit:
    """Counts what is not as the steps of a candidate say, against the row."""

    def __init__(self, steps: Sequence[Step], actions: Sequence[Action]) -> None:
        self._steps = steps
        self._actions = actions

    def __call__(self, places: Places) -> int:
        row = [self._actions[place] for place in places]
        return -sum(self._flaws(step, action, row) for step, action in zip(self._steps, row, strict=True))

    @staticmethod
    def _flaws(step: Step, action: Action, row: Sequence[Action]) -> int:
        flaws = sum(
            _flaws(source, action.inputs.get(name, MISSING), row) for name, source in step.inputs.items()
        )
        return flaws + contradict(action, step)


def _flaws(source: Source, value: Any, row: Sequence[Action]) -> int:
    """How many values in `value` are not where `source` says that they come from."""
    if value is MISSING:
        return 1
    match source:
        case Given():
            return 0
        case Constant(value=expected):
            return int(key_of(expected) != key_of(value))
        case Flow(step=step, path=path):
            found = at(row[step - 1].output, path)
            return int(found is MISSING or key_of(found) != key_of(value))
        case Members(members=members):
            return sum(_flaws(each, at(value, (name,)), row) for name, each in members.items())
        case Elements(elements=elements):
            return sum(_flaws(each, at(value, (place,)), row) for place, each in enumerate(elements))
