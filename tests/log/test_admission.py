"""What admission lays out is what the chain says, field by field."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead.log import chain
from playhead.log.admission import Group
from playhead.log.envelope import Append, Appended, NewEvent
from playhead.log.memory_store import MemoryStore
from tests.log.store_helpers import ID, HandClock

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NEW = st.builds(
    NewEvent,
    TEXT,
    st.integers(0, 2**32 - 1),
    INT64,
    TEXT,
    st.none() | st.integers(0, 2**63 - 1),
    st.binary(max_size=300) | st.binary(min_size=1, max_size=9).map(lambda some: some * 70_000),
)


@given(st.lists(NEW, min_size=1, max_size=4), st.booleans())
def test_the_digests_are_those_of_the_chain(events: list[NewEvent], claimed: bool) -> None:
    store = MemoryStore(HandClock())
    group = Group(store, store.clock)
    appends = [
        Append("run/é", 0, events, append_id=ID, claim="w" if claimed else None),
        Append("run/é", len(events), events, append_id=ID, epoch=int(claimed)),
        Append("run/other", 0, events, append_id=ID),
    ]
    for append in appends:
        group.admit(append)
        assert isinstance(append.outcome, Appended), append.outcome

    running = chain.GENESIS
    previous = {1: chain.GENESIS, 2: chain.GENESIS}
    names = {1: "run/é".encode(), 2: b"run/other"}
    for row, (paid, salt, data, address) in zip(group.events, group.payloads, strict=True):
        position, key, seq, type_, version, at, epoch, op, cause, append_id, digest, after = row
        payload = data if data is not None else group.blobs[address or b""]
        header = chain.header(names[key], seq, type_, version, at, epoch, op, cause, append_id)
        assert paid == position
        assert digest == chain.event_digest(previous[key], header, chain.commitment(salt, payload))
        previous[key] = digest
        running = chain.store_digest(running, position, digest)
        assert after == running
    assert store.log.state.running == running
    assert len({payload[1] for payload in group.payloads}) == len(group.payloads)


@given(
    st.lists(
        st.tuples(
            st.text(max_size=5) | st.none(),
            st.integers() | st.floats() | st.none(),
            st.integers() | st.text(max_size=3),
            st.text(max_size=5) | st.binary(max_size=3),
            st.integers() | st.none(),
            st.binary(max_size=5) | st.text(max_size=3) | st.none(),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_is_offered_lands_or_is_refused_and_leaves_no_trace(events: list[NewEvent]) -> None:
    store = MemoryStore(HandClock())
    group = Group(store, store.clock)
    append = Append("run/a", 0, events, append_id=ID)

    group.admit(append)

    if isinstance(append.outcome, Appended):
        assert len(group.events) == len(events) == store.log.state.position
    else:
        assert isinstance(append.outcome, BadValue)
        assert (group.events, group.payloads, store.log.state.position) == ([], [], 0)
        assert store.log.state.heads == {}
