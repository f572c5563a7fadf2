"""A part leaves a payload, and all other bytes stay as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG, Erased
from playhead.events.erasing import MARK, leaves, part_of, pointer_of, restored, without
from playhead.events.fact import Fact, Failure, Site
from playhead.events.words import Usage
from playhead.log.envelope import Told

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=40,
)


def places(value: Any, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    yield path
    members = (
        value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    )
    for name, member in members:
        yield from places(member, (*path, name))


def replaced(value: Any, path: tuple[object, ...]) -> Any:
    if not path:
        return MARK
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:])
    return copy


@given(PLAIN, st.data())
def test_a_part_is_replaced_and_nothing_else(value: Any, data: st.DataObject) -> None:
    payload = msgspec.msgpack.encode(value)
    path = data.draw(st.sampled_from(list(places(value))))
    part = part_of(payload, pointer_of(path))

    made = without(payload, [pointer_of(path)])

    assert msgspec.msgpack.decode(made) == replaced(value, path)
    assert made.startswith(payload[: part.start])
    assert made.endswith(payload[part.end :])


@given(PLAIN)
def test_leaves_are_every_value_without_parts(value: Any) -> None:
    found = [leaf for _, leaf in leaves(msgspec.msgpack.encode(value))]
    texts = [at for at in places(value) if isinstance(_at(value, at), str)]

    assert len([leaf for leaf in found if isinstance(leaf, str)]) >= len(texts)


def _at(value: Any, path: tuple[object, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def test_several_parts_go_at_once_and_one_inside_another_counts_once() -> None:
    payload = msgspec.msgpack.encode({"a": {"b": 1, "c": 2}, "d": [1, 2], "e": 3})

    made = without(payload, ["/d/1", "/a", "/a/b"])

    assert msgspec.msgpack.decode(made) == {"a": MARK, "d": [1, MARK], "e": 3}


def test_other_kinds_of_values_are_passed_over_whole() -> None:
    payload = msgspec.msgpack.encode({"x": msgspec.msgpack.Ext(5, b"12345"), 7: "seven", "y": "gone"})

    made = msgspec.msgpack.decode(without(payload, ["/y"]))

    assert made == {"x": msgspec.msgpack.Ext(5, b"12345"), 7: "seven", "y": MARK}
    assert msgspec.msgpack.decode(without(payload, ["/7"]))[7] == MARK


@pytest.mark.parametrize("pointer", ["/a/x", "/b", "/a/b/c", "/d/2", "/d/-"])
def test_a_part_that_is_not_there_is_refused_with_what_is(pointer: str) -> None:
    payload = msgspec.msgpack.encode({"a": {"b": 1}, "d": [1, 2]})

    with pytest.raises(BadValue, match=f"there is nothing at {pointer}"):
        part_of(payload, pointer)


def test_names_with_slashes_and_tildes_are_quoted() -> None:
    payload = msgspec.msgpack.encode({"a/b~c": {"": 1}})

    assert pointer_of(["a/b~c", ""]) == "/a~1b~0c/"
    assert msgspec.msgpack.decode(without(payload, ["/a~1b~0c/"])) == {"a/b~c": {"": MARK}}
    with pytest.raises(BadValue, match="names no part"):
        part_of(payload, "a")


# What was kept of a fact, where the mark is not of the type of the field.

REPLY = msgspec.Raw(msgspec.msgpack.encode({"text": "fine", "usage": {"input_tokens": 3}}))
ANSWER = facts.ModelAnswered(
    reply=REPLY, model="tiny-1", usage=Usage(input_tokens=3, output_tokens=4), cost_micros=600
)
CAUSE = Failure(type="OSError")
FAILED = facts.ToolFailed(
    failure=Failure(
        type="E",
        message="m",
        arguments=[1, {"a": 2}],
        site=Site("here", "go", 7),
        cause=CAUSE,
        members=[CAUSE],
    )
)


def kept_of(fact: Fact, *pointers: str, to_show: bool) -> Any:
    new = CATALOG.new_event(fact, at=1)
    kept = msgspec.Raw(without(new.payload, pointers))
    said = facts.PayloadErased(event=0, parts=pointers, kept=kept, reason="asked to")
    event = Told("run/r", 0, new.type, new.version, 1, "", None)
    (found,) = restored([event], {0: said}, to_show=to_show)
    return CATALOG.decode(found)


@pytest.mark.parametrize(
    ("pointers", "shown"),
    [
        (["/usage"], {"usage": Usage()}),
        (["/cost_micros"], {"cost_micros": None}),
        (["/usage/input_tokens", "/cost_micros"], {"usage": Usage(output_tokens=4), "cost_micros": None}),
        (["/usage/input_tokens", "/usage/output_tokens"], {"usage": Usage()}),
        (["/type", "/usage"], {"usage": Usage()}),
        (["/model", "/usage", "/usage/input_tokens"], {"model": MARK, "usage": Usage()}),
    ],
)
def test_what_cannot_hold_the_mark_is_unknown_to_who_looks_and_the_rest_is_there(
    pointers: list[str], shown: dict[str, Any]
) -> None:
    assert kept_of(ANSWER, *pointers, to_show=True) == msgspec.structs.replace(ANSWER, **shown)
    assert isinstance(kept_of(ANSWER, *pointers, to_show=False), Erased)


def test_what_is_part_of_something_that_needs_it_goes_with_that() -> None:
    for pointer, gone in (
        ("/failure/site/2", {"site": None}),
        ("/failure/cause", {"cause": None}),
        ("/failure/members/0", {"members": []}),
        ("/failure/arguments", {"arguments": None}),
    ):
        shown = kept_of(FAILED, pointer, to_show=True).failure
        for name in FAILED.failure.__struct_fields__:
            assert getattr(shown, name) == gone.get(name, getattr(FAILED.failure, name)), (pointer, name)
    assert isinstance(kept_of(FAILED, "/failure", to_show=True), Erased)


def test_a_value_of_the_user_keeps_the_mark() -> None:
    shown = kept_of(ANSWER, "/usage", "/reply/usage/input_tokens", to_show=True)

    assert msgspec.msgpack.decode(shown.reply) == {"text": "fine", "usage": {"input_tokens": MARK}}
