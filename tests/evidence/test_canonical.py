"""Canonical JSON has one text for each document, and two writers that share no code agree on it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead_projections.evidence.agents_protocol import usd
from playhead_projections.evidence.canonical import canonical, hash_of, read, written
from tests.evidence.making import script

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = (
    st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(0, 2**60).map(usd)
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_the_script_writes_what_the_library_writes(document: Any) -> None:
    assert script().canonical(document).encode() == canonical(document)


# Section 3.2.2 of RFC 8785 and its appendix B.
@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740991, "9007199254740991"), (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"), (1e23, "1e+23"), (1e21, "1e+21"),
        (999999999999999900000.0, "999999999999999900000"), (1e-7, "1e-7"), (0.000001, "0.000001"),
        (333333333.3333333, "333333333.3333333"), (-0.0000033333333333333333, "-0.0000033333333333333333"),
        (1424953923781206.2, "1424953923781206.2"), (4.5, "4.5"), (2e-3, "0.002"), (1e30, "1e+30"),
        (2.0, "2"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_the_standard_says(number: float, text: str) -> None:
    assert canonical(number) == text.encode()
    assert script().canonical(number) == text


def test_names_are_sorted_as_utf_16_sorts_them() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    sorted_names = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]

    assert list(json.loads(canonical(dict.fromkeys(names, 0)))) == sorted_names
    assert list(json.loads(script().canonical(dict.fromkeys(names, 0)))) == sorted_names


@given(st.dictionaries(TEXTS, DOCUMENTS, max_size=4))
def test_what_was_written_is_read_and_written_the_same_again(document: dict[str, Any]) -> None:
    data = written(document)

    assert written(read(data)) == data
    assert hash_of(read(data)) == hash_of(document)
    assert script().canonical(script().read(data)).encode() + b"\n" == data


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"1", b"null", b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1,"a":1}', b'{"a":1.0}',
        b'{"a":1}\n\n', b'{"a":1} ', b'\xef\xbb\xbf{"a":1}', b'{"a":"\\u0061"}', b'{"a":"\\/"}', b'{"a":1e0}',
        b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":9007199254740993}',
        b'{"a":' * 200_000, b'{"a":' + b"9" * 5_000 + b"}", b'{"a":"\x01"}', b'{"a":-0}',
    ],
    ids=range(24),
)  # fmt: skip
def test_what_is_not_canonical_is_refused_by_both(data: bytes) -> None:
    with pytest.raises(BadValue, match=r"this is no|no canonical form"):
        read(data)
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever it is, the script says FAULT
        script().verify(data, [])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", {1: 2}, object()])
def test_what_json_cannot_say_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(BadValue, match="no canonical form"):
        canonical(value)
