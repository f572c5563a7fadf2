"""Texts of values: what counts as one, how it is written, and when one contains another."""

from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest

from playhead.log.envelope import Event
from playhead_projections.search.grep import Pattern, Scan
from playhead_projections.search.texts import contains, folded, only_in_texts, texts, value_in
from tests.search.generated import WORDS, value


def event(said: Any, *, op: str = "", seq: int = 0) -> Event:
    payload = msgspec.msgpack.encode(said)
    return Event(seq + 1, "run/a", seq, "value.recorded", 1, 0, 0, op, None, None, b"", payload, b"")


def test_every_value_is_a_text_with_its_place() -> None:
    told = {"url": "Pages/7", "n": [1, 0.5, None, True, {"a b": b"\x00\xff"}], "": float("nan"), "q": {}}

    assert list(texts(told)) == [
        ("url", "Pages/7"),
        ("n[0]", "1"),
        ("n[1]", "0.5"),
        ("n[2]", "null"),
        ("n[3]", "true"),
        ('n[4]."a b"', "00ff"),
        ('""', "NaN"),
    ]
    assert list(texts("alone")) == [("", "alone")]


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("Straße", "STRASSE", True),
        ("café", "CAFE\u0301", True),
        ("café", "cafe", False),
        ("İ", "i\u0307", True),
        ("ﬁ", "FI", True),
    ],
)
def test_two_texts_fold_to_one_where_case_and_composition_alone_tell_them_apart(
    text: str, other: str, same: bool
) -> None:
    assert (folded(text) == folded(other)) is same
    assert contains([{"x": f"… {text} …"}], folded(other)) is same


@pytest.mark.parametrize("seed", range(20))
def test_a_scan_that_looks_at_bytes_first_finds_what_a_scan_of_every_value_finds(seed: int) -> None:
    random = Random(seed)
    needles = [word for word in WORDS if word] + [
        "true",
        "null",
        "NaN",
        "Infinity",
        "00ff",
        "1",
        "0.5",
        "inf",
        "e",
        "9223",
    ]
    for _ in range(100):
        said = event({"type": "x", "value": value(random)})
        for needle in needles:
            slow = any(needle in text for _, text in texts(value_in(said.payload)["value"]))
            assert bool(Pattern(needle).hits(said)) is slow, (needle, said)


@pytest.mark.parametrize("needle", ["true", "NaN", "1e", "2026-11-26T", "00ff", "Infinity", "-"])
def test_what_can_stand_in_no_text_alone_is_not_looked_for_in_bytes(needle: str) -> None:
    assert not only_in_texts(needle)
    assert only_in_texts(f"{needle} ")


@pytest.mark.parametrize(
    ("text", "needle", "match"),
    [
        ("in der STRASSE", "straße", "STRASSE"),
        ("die Straße hier", "STRASSE", "Straße"),
        ("x CAFE\u0301 y", "café", "CAFE\u0301"),
        ("ßßß end", "END", "end"),
        ("İİ end", "end", "end"),
        ("plain Text", "TEXT", "Text"),
    ],
)
def test_the_part_that_matches_is_shown_as_it_stands_there(text: str, needle: str, match: str) -> None:
    (hit,) = Pattern(needle, ignore_case=True).hits(event({"type": "x", "value": text}))

    assert hit.text[hit.start : hit.end] == match
    assert hit.path == "value"


def test_the_type_of_an_event_is_no_text_and_its_operation_is_one() -> None:
    told = event({"type": "value.recorded", "value": {"type": "inner"}}, op="0/fetch#1")

    assert Pattern("value.recorded").hits(told) == []
    assert [hit.path for hit in Pattern("inner").hits(told)] == ["value.type"]
    assert [hit.path for hit in Pattern("fetch#").hits(told)] == ["op"]


@pytest.mark.parametrize("context", range(4))
def test_events_around_matches_come_once_each_and_in_order(context: int) -> None:
    random = Random(context)
    for _ in range(200):
        fits = [random.random() < 0.3 for _ in range(random.randint(0, 15))]
        events = [event({"v": "yes" if fit else "no"}, seq=n) for n, fit in enumerate(fits)]

        found = list(Scan(Pattern("yes"), context=context).over(events))

        near = [any(fits[max(n - context, 0) : n + context + 1]) for n in range(len(fits))]
        assert [one.event.seq for one in found] == [n for n, is_near in enumerate(near) if is_near]
        assert [one.hits is not None for one in found] == [fits[one.event.seq] for one in found]
        for before, one in pairwise(found):
            assert one.apart is (one.event.seq > before.event.seq + 1)
