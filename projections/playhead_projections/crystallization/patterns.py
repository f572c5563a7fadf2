"""Frequent subsequences: what stands in many sequences in the same order, with little in between.

    found = frequent([[1, 9, 2, 3], [1, 2, 3]], support_min=2, gap_max=1)
    found.patterns[0]                   # Pattern(items=(1, 2, 3), support=2)

The search grows patterns at their end, one item at a time. Where a pattern can end is one bit for every place
of every sequence: SPAM (Ayres, Gehrke, Yiu, Flannick, "Sequential pattern mining using a bitmap
representation", 2002), with at most `gap_max` places left out between two items (the max-gap of GSP, Srikant
and Agrawal, 1996). Growing by an item is a few shifts and one `and` over all sequences at once.

It goes best first: more sequences, then longer, then by the items themselves; so it needs no luck and no
seed. An item is only tried where it follows the last one often enough, because a part of a frequent pattern
that has no hole is frequent too. Bounds: `length_max` items, and PATTERNS_MAX patterns looked at, after which
`exhaustive` is False and what was found so far stands.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

PATTERNS_MAX: Final = 50_000
LENGTH_MIN: Final = 2
LENGTH_MAX: Final = 12
GAP_MAX: Final = 2
GAP_LARGEST: Final = 50
HOLE: Final = -1
"""An item that no pattern holds. It only takes up its place."""

Items = tuple[int, ...]


class Pattern(NamedTuple):
    """Items in order, and in how many sequences they stand."""

    items: Items
    support: int


class Found(NamedTuple):
    """Patterns, the best first. `exhaustive`: there are no others."""

    patterns: list[Pattern]
    exhaustive: bool


class _Places:
    """All places of all sequences as bits of one number; each sequence has as many bits, filled with gaps."""

    def __init__(self, sequences: Sequence[Sequence[int]], gap_max: int) -> None:
        longest = max((len(sequence) for sequence in sequences), default=0)
        width = longest + gap_max + 1
        self._reach = range(1, gap_max + 2)
        last = sum(1 << (number + 1) * width - 1 for number in range(len(sequences)))
        self._last = last
        """The last bit of each sequence, which is no place of it."""
        self._most = last - (last >> width - 1)
        """All other bits: added to a sequence with any bit, they reach its last one."""
        found: dict[int, int] = {}
        for number, sequence in enumerate(sequences):
            here: dict[int, int] = {}
            for place, item in enumerate(sequence):
                here[item] = here.get(item, 0) | 1 << place
            for item, bits in here.items():
                found[item] = found.get(item, 0) | bits << number * width
        self.of = dict(sorted(found.items()))

    def support(self, bits: int) -> int:
        """In how many sequences a bit is set."""
        return ((bits + self._most) & self._last).bit_count()

    def ends(self, items: Items) -> int:
        """Where a pattern can end. This is not kept for each of them: it takes more room than time."""
        bits = self.of[items[0]]
        for item in items[1:]:
            bits = self.after(bits) & self.of[item]
        return bits

    def after(self, bits: int) -> int:
        """The places that the next item may have."""
        reached = 0
        for distance in self._reach:
            reached |= bits << distance
        return reached


def frequent(
    sequences: Sequence[Sequence[int]],
    *,
    support_min: int,
    gap_max: int = GAP_MAX,
    length_max: int = LENGTH_MAX,
    patterns_max: int = PATTERNS_MAX,
) -> Found:
    """Patterns of two items and more that stand in at least `support_min` sequences, the best first."""
    places = _Places(sequences, gap_max)
    single = {item: bits for item, bits in places.of.items() if item != HOLE}
    counted = {item: places.support(bits) for item, bits in single.items()}
    often = {item: bits for item, bits in single.items() if counted[item] >= support_min}
    follows = _following(sequences, often, support_min, gap_max)
    heap: list[tuple[int, int, Items]] = [(-counted[item], -1, (item,)) for item in often]
    heapq.heapify(heap)
    found: list[Pattern] = []
    looked_at = 0
    while heap:
        support, length, items = heapq.heappop(heap)
        if -length >= LENGTH_MIN:
            found.append(Pattern(items, -support))
        if -length == length_max:
            continue
        reached = places.after(places.ends(items))
        for item in follows.get(items[-1], ()):
            looked_at += 1
            ends = reached & often[item]
            if ends.bit_count() >= support_min and (count := places.support(ends)) >= support_min:
                heapq.heappush(heap, (-count, length - 1, (*items, item)))
        if looked_at > patterns_max:
            found += [Pattern(rest[2], -rest[0]) for rest in heap if -rest[1] >= LENGTH_MIN]
            return Found(_ordered(found), exhaustive=False)
    return Found(_ordered(found), exhaustive=True)


def _following(
    sequences: Sequence[Sequence[int]], often: dict[int, int], support_min: int, gap_max: int
) -> dict[int, list[int]]:
    """The items that stand behind each item often enough, in order."""
    counted: Counter[tuple[int, int]] = Counter()
    for sequence in sequences:
        counted.update(
            {
                (item, after)
                for place, item in enumerate(sequence)
                for after in sequence[place + 1 : place + gap_max + 2]
            }
        )
    found: dict[int, list[int]] = {}
    for (item, after), count in sorted(counted.items()):
        if count >= support_min and item in often and after in often:
            found.setdefault(item, []).append(after)
    return found


def _ordered(patterns: list[Pattern]) -> list[Pattern]:
    return sorted(patterns, key=lambda pattern: (-pattern.support, -len(pattern.items), pattern.items))


def occurrence(sequence: Sequence[int], items: Items, gap_max: int = GAP_MAX) -> tuple[int, ...] | None:
    """The places of `items` in `sequence`: those that end first, and of these the closest together."""
    starts = [{place: place for place, item in enumerate(sequence) if item == items[0]}]
    back: list[dict[int, int]] = [{}]
    for wanted in items[1:]:
        before = starts[-1]
        now: dict[int, int] = {}
        steps: dict[int, int] = {}
        for place, item in enumerate(sequence):
            if item != wanted:
                continue
            near = [each for each in range(max(place - gap_max - 1, 0), place) if each in before]
            if near:
                best = max(near, key=lambda each: (before[each], each))
                now[place], steps[place] = before[best], best
        starts.append(now)
        back.append(steps)
    if not starts[-1]:
        return None
    places = [min(starts[-1])]
    for steps in reversed(back[1:]):
        places.append(steps[places[-1]])
    return tuple(reversed(places))


def occurrences(sequence: Sequence[int], items: Items, gap_max: int = GAP_MAX) -> Iterator[tuple[int, ...]]:
    """All places of `items` in `sequence`, the early ones first."""
    rest = _completable(sequence, items, gap_max)

    def grown(places: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(places) == len(items):
            yield places
            return
        last = places[-1]
        for place in range(last + 1, min(last + gap_max + 2, len(sequence))):
            if place in rest[len(places)]:
                yield from grown((*places, place))

    for start in sorted(rest[0]):
        yield from grown((start,))


def _completable(sequence: Sequence[int], items: Items, gap_max: int) -> list[set[int]]:
    """For each item the places from which all later ones can be reached."""
    rest: list[set[int]] = []
    for wanted in reversed(items):
        here = {place for place, item in enumerate(sequence) if item == wanted}
        if rest:
            behind = rest[-1]
            here = {
                place
                for place in here
                if any(after in behind for after in range(place + 1, min(place + gap_max + 2, len(sequence))))
            }
        rest.append(here)
    return rest[::-1]


def without(sequence: Sequence[int], items: Items, gap_max: int = GAP_MAX) -> list[int]:
    """`sequence` with a hole, which is an item of no pattern, wherever `items` stood."""
    left = list(sequence)
    while (places := occurrence(left, items, gap_max)) is not None:
        for place in places:
            left[place] = HOLE
    return left
