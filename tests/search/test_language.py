"""The language is total: a text is understood, or refused with its place, and nothing else happens."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_projections.search.fields import OWN, PART, RUN, number_of, plain_number, written
from playhead_projections.search.language import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    LENGTH_MAX,
    All,
    BadQuery,
    Condition,
    Either,
    Glob,
    Node,
    Not,
    Some,
    field_named,
    parse,
)
from tests.search.expressions import NOW, expressions
from tests.test_tables import rows

PIECES = (
    "and",
    "or",
    "not",
    "(",
    ")",
    "op(",
    "step(",
    "=",
    "!=",
    "<",
    ">=",
    "~",
    "in",
    "exists",
    ",",
    '"',
    "'",
    "\\",
    "tool",
    "args.x",
    "args[0]",
    "args.",
    "args[",
    "status",
    "cost",
    "$0.2",
    "2s",
    "-1d",
    "\0",
    "é",
    "\ud800",
    "*",
    "?",
    "''",
    "text",
    "started",
    "2026-11-26",
    "99999999999999999999999999999999999999999",
    "drop table list_search;--",
)


def ask(text: str) -> Node:
    return parse(text, now=NOW)


def refused(text: str) -> BadQuery:
    with pytest.raises(BadQuery) as caught:
        ask(text)
    return caught.value


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(PIECES)).map(" ".join),
        st.lists(st.sampled_from(PIECES)).map("".join),
    )
)
def test_any_text_is_understood_or_refused_by_one_error(text: str) -> None:
    try:
        found = ask(text)
    except BadQuery as error:
        assert None not in (error.expected, error.found)  # noqa: PT017  whether it is raised is what differs
    else:
        assert isinstance(found, (Condition, All, Either, Not, Some))


@settings(max_examples=100, deadline=None)
@given(expressions, st.data())
def test_an_expression_that_lost_a_piece_is_understood_or_refused(asked: tuple[str, Any], data: Any) -> None:
    text = asked[0]
    first = data.draw(st.integers(0, len(text)))
    last = data.draw(st.integers(first, len(text)))
    try:
        ask(text[:first] + text[last:])
    except BadQuery as error:
        assert error.message.startswith("the expression")  # noqa: PT017  whether it is raised is what differs


@pytest.mark.parametrize(
    ("text", "at", "expected", "found"),
    [
        ("", 1, "a condition, such as status = failed", "the end"),
        ("status", 7, "=, !=, <, <=, >, >=, ~, in or exists", "the end"),
        ("status = failed or", 19, "a condition, such as status = failed", "the end"),
        ("status failed", 8, "=, !=, <, <=, >, >=, ~, in or exists", "failed"),
        ("(status = failed", 17, "and, or, or )", "the end"),
        ("status = failed)", 16, "and, or, or the end", ")"),
        ("cost > 2s", 8, "money, such as $0.20", "2s"),
        ("duration > 2", 12, "a length of time, such as 300ms, 2s or 1.5h", "2"),
        (
            "started > yesterday",
            11,
            "a time, such as 2026-11-26, 2026-11-26T09:30:00Z, -2d or now",
            "yesterday",
        ),
        ("events ~ 3", 8, None, "~"),
        ("tag != release", 5, None, "!="),
        ('status = "open', 10, "the end of a text that begins here", '"'),
        ("text = a", 6, None, "="),
        ("text exists", 6, "~, which is all that can be asked of text", "exists"),
        ("not op(text EXISTS)", 13, "~, which is all that can be asked of text", "EXISTS"),
        ("args.x. = 3", 1, None, "args.x."),
        ("status in ()", 12, None, ")"),
        ("name > f*", 8, "a value without * and ?, or one in quotation marks", "f*"),
        ("op(op(tool = a))", 4, "a condition of the same op", "op"),
        ("op(persona = a)", 4, None, "persona"),
        ('name ~ ""', 8, "a text of at least one character", '""'),
    ],
)
def test_a_refusal_says_where_what_and_instead_of_what(
    text: str, at: int, expected: str | None, found: str
) -> None:
    error = refused(text)

    assert f"at character {at}:" in error.message
    shown, caret = error.message.splitlines()[1:]
    assert shown.strip() == text.strip()
    assert caret.index("^") - 2 == at - 1
    assert expected in (None, error.expected)
    assert error.found == found


def test_in_a_long_expression_the_place_is_shown_with_what_stands_around_it() -> None:
    error = refused("status = failed and " * 40 + "cost > x and " + "status = failed and " * 40)

    shown, caret = error.message.splitlines()[1:]
    assert shown[caret.index("^")] == "x"
    assert len(shown) < 100
    assert shown.strip().startswith("…")
    assert shown.endswith("…")


@pytest.mark.parametrize(
    "text",
    [
        "a" * (LENGTH_MAX + 1),
        "(" * (DEPTH_MAX + 1) + "status = a" + ")" * (DEPTH_MAX + 1),
        " and ".join(["status = a"] * (CONDITIONS_MAX + 1)),
        f"status in ({', '.join('a' for _ in range(600))})",
        " or ".join(f"status in ({', '.join('a' for _ in range(300))})" for _ in range(2)),
    ],
)
def test_what_is_too_large_is_refused(text: str) -> None:
    assert refused(text).expected


def test_as_much_as_there_may_be_is_understood() -> None:
    ask("(" * DEPTH_MAX + "status = a" + ")" * DEPTH_MAX)
    ask(" and ".join(["status = a"] * CONDITIONS_MAX))
    ask("not " * 2_000 + "status = a")


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("2s", "span", 2_000_000_000),
        ("1.5h", "span", 5_400_000_000_000),
        (".5ms", "span", 500_000),
        ("2", "span", None),
        ("2 s", "span", None),
        ("2S", "span", None),
        ("٣s", "span", None),
        ("1e3s", "span", None),
        ("$0.20", "money", 200_000),
        ("0.2usd", "money", 200_000),
        ("1", "money", 1_000_000),
        ("$-1", "money", -1_000_000),
        ("$", "money", None),
        ("€1", "money", None),
        ("$0.0000005", "money", 0.5),
        ("10k", "count", 10_000),
        ("2.5M", "count", 2_500_000),
        ("10K", "count", None),
        ("1e400", "count", None),
        ("9" * 400, "count", float("inf")),
        ("-" + "9" * 400, "count", float("-inf")),
        ("9223372036854775807", "count", 2**63 - 1),
        ("1970-01-01", "time", 0),
        ("1970-01-01T00:00:01.5Z", "time", 1_500_000_000),
        ("1970-01-01T01:00+01:00", "time", 0),
        ("1970-01-01T00:00:00.000000001", "time", 1),
        ("1969-12-31T23:59:59Z", "time", -1_000_000_000),
        ("2026-02-30", "time", None),
        ("2026-W01", "time", None),
        ("1970-01-01T24:00", "time", None),
        ("0000-01-01", "time", float("-inf")),
        ("1600-01-01", "time", float("-inf")),
        ("2262-04-11T23:47:16.854775807Z", "time", 2**63 - 1),
        ("9999-12-31T23:59:59Z", "time", float("inf")),
        ("1970-01-01 01:00", "time", 3_600_000_000_000),
        ("now", "time", NOW),
        ("-2d", "time", NOW - 172_800_000_000_000),
        ("+1s", "time", NOW + 1_000_000_000),
        ("2d", "time", None),
        ("-" + "9" * 300 + "w", "time", float("-inf")),
    ],
)
def test_numbers_with_units_are_what_the_log_counts(text: str, kind: Any, number: float | None) -> None:
    assert number_of(text, kind, NOW) == number


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (0, "money", "$0"),
        (600, "money", "$0.0006"),
        (-1_000_001, "money", "$-1.000001"),
        (120_000_000, "money", "$120"),
        (6_060_319, "span", "6.060319ms"),
        (2**63 - 1, "span", "9223372036.854775807s"),
        (-1, "span", "-1ns"),
        (0, "span", "0ns"),
        (1_000_000_000, "time", "1970-01-01T00:00:01Z"),
        (-(2**63) + 1, "time", "1677-09-21T00:12:43.145224193Z"),
        (10_000, "count", "10000"),
    ],
)
def test_a_number_is_written_so_that_it_is_read_back(number: int, kind: Any, text: str) -> None:
    assert written(number, kind) == text
    assert number_of(text, kind, NOW) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        ("2s", None),
        ("1.", None),
        ("007", None),
        ("-01", None),
        ("0", 0),
        ("٣", None),
        ("1e999", float("inf")),
        ("9" * 5_000, float("inf")),
    ],
)
def test_a_number_in_a_value_is_written_as_in_json(text: str, number: float | None) -> None:
    assert plain_number(text) == number


def test_conditions_that_one_and_joins_are_about_one_part_whatever_brackets_stand_there() -> None:
    once = ask("tool = a and args.x = 1 and status = failed")

    assert once == ask("tool = a and (args.x = 1 and status = failed)")
    assert once == ask("status = failed and (tool = a and args.x = 1)") or isinstance(once, All)
    assert isinstance(once, All)
    assert [type(part) for part in once.parts] == [Some, Condition]


def test_not_is_about_all_parts() -> None:
    found = ask("not tool = a and args.x = 1")

    assert isinstance(found, All)
    assert [type(part) for part in found.parts] == [Some, Not]


def test_words_bind_in_the_usual_order_in_any_case_and_quoted_they_are_texts() -> None:
    assert ask("status = a OR status = b AND NOT status = c") == ask(
        "status = a or (status = b and (not status = c))"
    )
    found = ask('name = "and"')
    assert isinstance(found, Condition)
    assert found.values == ("and",)


def test_a_pattern_is_one_only_without_quotation_marks() -> None:
    patterns = [
        node.values[0] for text in ("name = a*", 'name = "a*"') if isinstance(node := ask(text), Condition)
    ]

    assert patterns == [Glob("a*"), "a*"]


def test_every_field_stands_in_its_table_with_its_kind_and_what_it_is() -> None:
    tables = ("of a run", RUN), ("of a part", PART), ("inside of `op( … )` and `step( … )`", OWN)
    for head, known in tables:
        fields = [field for name, field in known.items() if known is not OWN or name not in PART]
        lines = [f"| `{field.name}` | {field.kind} | {field.about} |" for field in fields]
        assert rows("search.md", head) == lines
    assert not set(RUN) & set(PART)


@pytest.mark.parametrize("text", ["nope", "status.x", "args[", "text.x", ""])
def test_what_is_no_field_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        field_named(text)

    assert "persona" in str(caught.value.expected)
