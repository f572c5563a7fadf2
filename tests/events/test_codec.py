"""Facts come back as they were written, also those of older and of newer versions."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import BadEvent
from playhead.events.catalog import RunStarted, ToolCompleted, ToolRequested
from playhead.events.codec import CATALOG, Catalog, Erased, Unknown
from playhead.events.fact import Fact, Failure, Site, WorldFact, compared, type_of
from playhead.events.registry import FACTS
from playhead.log.envelope import Event

RAW = msgspec.Raw(msgspec.msgpack.encode({"n": 1}))


class Weighed(WorldFact, frozen=True, tag="thing.weighed"):
    """An invented fact in its third version: grams, and who weighed."""

    VERSION: ClassVar[int] = 3

    grams: int
    by: str = "nobody"


def grams_from_kilos(data: dict[str, Any]) -> dict[str, Any]:
    return {"type": data["type"], "grams": data["kilos"] * 1000}


def named_scales(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "by": "the old scales"}


INVENTED = Catalog([Weighed], {("thing.weighed", 1): grams_from_kilos, ("thing.weighed", 2): named_scales})


def stored(type_: str, version: int, data: Any) -> Event:
    payload = None if data is None else msgspec.msgpack.encode(data)
    return Event(1, "run/x", 0, type_, version, 0, 1, "", None, None, b"", payload, bytes(32))


def test_a_fact_comes_back_as_it_was() -> None:
    fact = ToolRequested(tool="fetch", args=RAW, effect="effect", site=Site("agents", "audit", 7))

    new = CATALOG.new_event(fact, at=5, op="0/fetch#0", cause=3)

    event = Event(1, "run/x", 9, new.type, new.version, 5, 1, new.op, 3, None, b"", new.payload, bytes(32))
    assert CATALOG.decode(event) == fact
    assert (new.type, new.op, new.cause) == ("tool.requested", "0/fetch#0", 3)


def test_an_old_version_is_lifted_step_by_step() -> None:
    old = stored("thing.weighed", 1, {"type": "thing.weighed", "kilos": 2})

    assert INVENTED.decode(old) == Weighed(grams=2000, by="the old scales")


def test_a_version_in_between_is_lifted_from_where_it_is() -> None:
    older = stored("thing.weighed", 2, {"type": "thing.weighed", "grams": 7})

    assert INVENTED.decode(older) == Weighed(grams=7, by="the old scales")


def test_a_version_that_nothing_lifts_is_refused() -> None:
    broken = Catalog([Weighed], {("thing.weighed", 2): named_scales})

    with pytest.raises(BadEvent, match=r"nothing lifts thing\.weighed/1"):
        broken.decode(stored("thing.weighed", 1, {"type": "thing.weighed", "kilos": 2}))


@pytest.mark.parametrize("version", [-1, 0])
def test_no_version_is_taken_for_one_that_was_not_met(version: int) -> None:
    broken = stored("thing.weighed", version, {"type": "thing.weighed", "grams": 2})

    with pytest.raises(BadEvent, match=rf"nothing lifts thing\.weighed/{version}"):
        Catalog([Weighed]).decode(broken)
    assert CATALOG.decode(stored("moon.landed", version, {"x": 1})) == Unknown(
        "moon.landed", version, {"x": 1}
    )


def test_a_newer_version_is_kept_as_it_is() -> None:
    newer = stored("thing.weighed", 4, {"type": "thing.weighed", "atoms": 10**9})

    assert INVENTED.decode(newer) == Unknown("thing.weighed", 4, {"type": "thing.weighed", "atoms": 10**9})


def test_an_unknown_type_is_kept_as_it_is() -> None:
    assert CATALOG.decode(stored("moon.landed", 1, {"x": [1]})) == Unknown("moon.landed", 1, {"x": [1]})


def test_an_erased_payload_is_told_from_an_unknown_one() -> None:
    assert CATALOG.decode(stored("tool.requested", 1, None)) == Erased("tool.requested", 1)


def test_many_are_read_as_each_would_be_and_told_apart() -> None:
    request = CATALOG.new_event(ToolRequested(tool="fetch", args=RAW, effect="effect"), at=5)
    answer = CATALOG.new_event(ToolCompleted(result=RAW, attempt=1), at=5)
    events = [
        *[stored(new.type, new.version, {})._replace(payload=new.payload) for new in (request, answer) * 2],
        *[stored("run.suspended", 1, {"type": "run.suspended", "waiting": []})] * 2,
        stored("moon.landed", 1, {"x": 1}),
        stored("tool.requested", 99, {"x": 1}),
        stored("tool.requested", 1, None),
    ]
    catalog = Catalog(FACTS)

    read = list(catalog.decoded(events))

    assert [event for event, _, _ in read] == events
    assert [fact for _, fact, _ in read] == [CATALOG.decode(event) for event in events]
    assert [part for _, _, part in read] == [
        *["program", "outcome"] * 2,
        *["aside"] * 2,
        *["unread"] * 3,
    ]


def test_an_old_fact_among_many_is_lifted_and_told_by_what_it_is_now() -> None:
    old = stored("thing.weighed", 1, {"type": "thing.weighed", "kilos": 2})
    new = stored("thing.weighed", 3, {"type": "thing.weighed", "grams": 2_000, "by": "the old scales"})

    read = [(fact, part) for _, fact, part in INVENTED.decoded([new, old, new])]

    assert read == [(Weighed(grams=2000, by="the old scales"), "aside")] * 3


def test_one_of_many_that_cannot_be_read_is_refused_in_its_turn() -> None:
    good = stored("thing.weighed", 3, {"type": "thing.weighed", "grams": 2})
    reading = INVENTED.decoded([good, good, stored("thing.weighed", 3, {"type": "thing.weighed"}), good])

    assert [next(reading)[1], next(reading)[1]] == [Weighed(grams=2)] * 2
    with pytest.raises(BadEvent, match=r"run/x event 0 cannot be read as thing\.weighed/3"):
        next(reading)


@given(st.binary(max_size=200), st.sampled_from(sorted(CATALOG.facts)))
def test_any_bytes_are_a_fact_or_a_bad_event(payload: bytes, type_: str) -> None:
    event = stored(type_, 1, {})._replace(payload=payload)

    try:
        fact = CATALOG.decode(event)
    except BadEvent:
        return

    assert isinstance(fact, Fact)


def test_the_schema_names_every_fact_once() -> None:
    document = CATALOG.json_schema()

    assert set(document["events"]) == {type_of(fact) for fact in FACTS}
    assert len(document["oneOf"]) == len(FACTS)
    assert document["events"]["tool.requested"]["of"] == "program"


@pytest.mark.parametrize("fact", FACTS, ids=type_of)
def test_a_fact_is_called_noun_past_participle_and_says_when_it_is_written(fact: type[Fact]) -> None:
    noun, _, verb = type_of(fact).partition(".")

    assert noun.isalpha()
    assert verb.replace("_", "").isalpha()
    assert (fact.__doc__ or "").strip()
    assert not (fact.PROGRAM and fact.OUTCOME)


def test_declarations_are_recorded_and_not_compared() -> None:
    here = ToolRequested(tool="a", args=RAW, effect="effect", site=Site("m", "f", 1), code="x")
    there = ToolRequested(tool="a", args=RAW, effect="pure", site=Site("m", "f", 9), code="y")
    other = ToolRequested(tool="b", args=RAW, effect="effect")

    content = compared(ToolRequested)

    assert content(here) == content(there)
    assert content(here) != content(other)


def test_failures_are_equal_where_type_message_and_arguments_are() -> None:
    one = Failure(type="ValueError", message="no", arguments=["no"], site=Site("m", "f", 1))
    same = Failure(type="ValueError", message="no", arguments=["no"], site=Site("m", "f", 2))
    other = Failure(type="ValueError", message="yes", arguments=["yes"])

    assert one == same
    assert not one != same  # noqa: SIM202  both are asked for where facts are compared
    assert hash(one) == hash(same)
    assert one != other
    assert one != "ValueError"


def test_two_facts_of_one_type_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="share a type"):
        Catalog([RunStarted, RunStarted])
