"""What goes in comes out equal, or is refused before anything is written."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field

from playhead.clock import SystemClock
from playhead.errors import BadValue
from playhead.events.redaction import PREFIX, Redaction, holds_redacted, key_beside
from playhead.events.values import DEPTH_MAX, ValueCodec, encode_value

PLAIN = ValueCodec(Any, where="value")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=20
)


@given(VALUES)
def test_every_plain_value_comes_back_equal(value: Any) -> None:
    back = PLAIN.decode(PLAIN.encode(value))

    assert back == value
    assert type(back) is type(value)


@given(st.dictionaries(st.text(max_size=6), st.integers(0, 9), min_size=2))
def test_arguments_that_are_equal_have_equal_bytes(arguments: dict[str, int]) -> None:
    turned = dict(reversed(arguments.items()))

    assert encode_value(arguments, where="a", plain=False, ordered=True) == encode_value(
        turned, where="a", plain=False, ordered=True
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "not a finite number"),
        ([1.0, {"x": float("-inf")}], "not a finite number"),
        ("\ud800", "lone surrogate"),
        (2**64, "64 bits"),
        ({1: "x"}, "not a text"),
        ((1, 2), "would not come back equal"),
        ({1, 2}, "would not come back equal"),
        (object(), "cannot be recorded"),
    ],
)
def test_odd_values_are_refused_in_words(value: Any, says: str) -> None:
    with pytest.raises(BadValue, match=says):
        PLAIN.encode(value)


@pytest.mark.parametrize("annotation", [Any, "list"])
def test_nesting_ends_at_the_limit(annotation: Any) -> None:
    codec = PLAIN if annotation is Any else ValueCodec(list[Any], where="value")
    deep: Any = []
    for _ in range(DEPTH_MAX - 1):
        deep = [deep]

    assert codec.decode(codec.encode(deep)) == deep
    with pytest.raises(BadValue, match="nested deeper"):
        codec.encode([[deep]])


def test_what_only_looks_like_an_odd_number_is_let_in() -> None:
    text = b"\xcb\x7f\xf8\x00\x00".decode("latin-1")

    for value in (text, text.encode("latin-1"), "\x80" * 500, list(range(500))):
        assert PLAIN.decode(PLAIN.encode(value)) == value


def test_a_value_that_is_not_what_its_type_says_is_refused_at_the_door() -> None:
    with pytest.raises(BadValue, match="does not fit"):
        ValueCodec(int, where="result of f").encode("three")


def test_secrets_leave_a_digest_that_tells_same_from_different() -> None:
    redaction = Redaction(["api_key", "*token"], b"k" * 32)
    raw = PLAIN.encode({"api_key": "s3cret", "deep": [{"auth_TOKEN": "t"}], "open": 1})

    once, again = redaction.apply(raw), redaction.apply(raw)
    other = redaction.apply(PLAIN.encode({"api_key": "another", "deep": [{"auth_TOKEN": "t"}], "open": 1}))

    assert b"s3cret" not in bytes(once)
    assert bytes(once) == bytes(again) != bytes(other)
    assert msgspec.msgpack.decode(once)["open"] == 1
    assert msgspec.msgpack.decode(once)["deep"][0]["auth_TOKEN"].startswith(PREFIX)
    assert holds_redacted(once)
    assert redaction.apply(once) is once


def test_nothing_secret_is_left_as_it_is() -> None:
    raw = PLAIN.encode({"a": [1, {"b": 2}]})

    assert Redaction(["api_key"], b"k" * 32).apply(raw) is raw
    assert not holds_redacted(raw)


def test_the_key_of_a_store_is_made_once_and_belongs_to_its_owner(tmp_path: Any) -> None:
    store = tmp_path / "runs.db"

    first, second = key_beside(store, SystemClock()), key_beside(store, SystemClock())

    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db-redaction-key"]
    assert (tmp_path / "runs.db-redaction-key").stat().st_mode & 0o077 == 0


def test_a_key_file_that_holds_no_key_is_refused(tmp_path: Any) -> None:
    (tmp_path / "runs.db-redaction-key").write_bytes(b"short")

    with pytest.raises(BadValue, match="holds no key"):
        key_beside(tmp_path / "runs.db", SystemClock())


class Base(BaseModel):
    x: int


class More(Base):
    y: int


class Read(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = Field(alias="sizeBytes")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def half(self) -> int:
        return self.size // 2


class Known(TypedDict):
    x: int


@dataclass
class Tagged:
    tags: set[str]
    by_day: dict[int, str]


def test_a_model_is_read_by_its_aliases_and_without_what_it_computes() -> None:
    codec = ValueCodec(Read, where="here")
    value = Read(sizeBytes=10)

    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Base, More(x=1, y=2)),
        (list[Base], [Base(x=1), More(x=1, y=2)]),
        (Known, {"x": 1, "y": 2}),
    ],
)
def test_a_value_that_holds_more_than_its_annotation_says_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(BadValue, match="holds more than its annotation"):
        ValueCodec(annotation, where="here").encode(value)


@pytest.mark.parametrize("annotation", [OrderedDict[str, int], Counter[str], Path, list[Path], Iterable[int]])
def test_an_annotation_that_nothing_decodes_is_refused_before_there_is_a_value(annotation: Any) -> None:
    with pytest.raises(BadValue, match="cannot be recorded"):
        ValueCodec(annotation, where="here")


def test_sets_and_keys_that_are_no_texts_are_compared_in_one_order() -> None:
    codec = ValueCodec(Tagged, where="here")
    one = Tagged({f"tag{n}" for n in range(50)}, {3: "c", 1: "a"})
    other = Tagged({f"tag{n}" for n in reversed(range(50))}, {3: "c", 1: "a"})

    assert codec.decode(codec.encode(one, ordered=True)) == one
    assert ValueCodec(set[str], where="here").encode(one.tags, ordered=True) == ValueCodec(
        set[str], where="here"
    ).encode(other.tags, ordered=True)
