"""The search finds every frequent subsequence, and nothing else."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from playhead_projections.crystallization.patterns import Pattern, frequent, occurrence, occurrences, without

sequences = st.lists(st.lists(st.integers(-1, 3), max_size=7), min_size=1, max_size=5)


def all_places(sequence: list[int], length: int, gap_max: int) -> set[tuple[int, ...]]:
    """Every row of `length` places with at most `gap_max` between two of them, the slow way."""
    return {
        places
        for places in combinations(range(len(sequence)), length)
        if all(after - before <= gap_max + 1 for before, after in pairwise(places))
    }


def by_hand(given_: list[list[int]], support_min: int, gap_max: int, length_max: int) -> set[Pattern]:
    counted: dict[tuple[int, ...], int] = {}
    for sequence in given_:
        here = {
            tuple(sequence[place] for place in places)
            for length in range(2, length_max + 1)
            for places in all_places(sequence, length, gap_max)
        }
        for items in here:
            counted[items] = counted.get(items, 0) + 1
    return {
        Pattern(items, count) for items, count in counted.items() if count >= support_min and min(items) >= 0
    }


@given(sequences, st.integers(1, 3), st.integers(0, 3), st.integers(2, 5))
def test_what_is_found_is_what_a_slow_search_finds(
    given_: list[list[int]], support_min: int, gap_max: int, length_max: int
) -> None:
    found = frequent(given_, support_min=support_min, gap_max=gap_max, length_max=length_max)

    assert found.exhaustive
    assert set(found.patterns) == by_hand(given_, support_min, gap_max, length_max)
    assert len(set(found.patterns)) == len(found.patterns)


@given(
    st.lists(st.integers(0, 2), max_size=9),
    st.lists(st.integers(0, 2), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_an_occurrence_ends_first_and_is_as_close_together_as_it_can(
    sequence: list[int], items: list[int], gap_max: int
) -> None:
    slow = [
        places
        for places in all_places(sequence, len(items), gap_max)
        if [sequence[place] for place in places] == items
    ]

    found = occurrence(sequence, tuple(items), gap_max)

    assert list(occurrences(sequence, tuple(items), gap_max)) == sorted(slow)
    assert occurrence(without(sequence, tuple(items), gap_max), tuple(items), gap_max) is None

    assert (found is None) == (not slow)
    if found is not None:
        assert found in slow
        assert found[-1] == min(places[-1] for places in slow)
        assert found[0] == max(places[0] for places in slow if places[-1] == found[-1])


def test_more_sequences_come_before_longer_ones() -> None:
    found = frequent([[1, 2, 3], [1, 2, 3], [1, 2]], support_min=2)

    assert found.patterns[:2] == [Pattern((1, 2), 3), Pattern((1, 2, 3), 2)]


def test_a_search_that_comes_to_its_bound_says_so_and_keeps_what_it_has() -> None:
    many = [[n % 4 for n in range(60)]] * 3

    found = frequent(many, support_min=2, patterns_max=50)

    assert not found.exhaustive
    assert found.patterns
    assert all(occurrence(many[0], pattern.items) for pattern in found.patterns)
