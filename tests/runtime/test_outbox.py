"""How what a run has to say is cut into appends."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.log.envelope import NewEvent
from playhead.runtime import outbox
from playhead.runtime.outbox import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, in_parts

KINDS = ("autonomy.proposed", "autonomy.decided", "trust.recorded")


@settings(max_examples=30)
@given(st.integers(0, 5), st.lists(st.sampled_from([1, 3, 3, 2]), min_size=700, max_size=1_500))
def test_a_decision_stays_with_its_proposal_and_its_trust_record_also_where_a_batch_is_full(
    before: int, groups: list[int]
) -> None:
    events = [NewEvent("tool.completed", 1, 0, f"0/early#{number}", None, b"x") for number in range(before)]
    for number, size in enumerate(groups):
        events += [NewEvent(kind, 1, 0, f"0/send#{number}", None, b"x") for kind in KINDS[:size]]

    parts = in_parts(events)

    assert [event for part in parts for event in part] == events
    place = {id(event): number for number, part in enumerate(parts) for event in part}
    for one, other in pairwise(events):
        if one.op == other.op:
            assert place[id(one)] == place[id(other)]
    assert all(len(part) <= BATCH_EVENTS_MAX + len(KINDS) for part in parts)


def test_large_events_stand_alone_and_small_ones_fill_a_batch() -> None:
    large = NewEvent("tool.completed", 1, 0, "a", None, b"x" * (BATCH_BYTES_MAX - 1))
    small = NewEvent("tool.completed", 1, 0, "b", None, b"x")
    assert [len(part) for part in in_parts([large, small, small, large])] == [2, 2]
    assert set(KINDS[1:]) == outbox.TOGETHER
