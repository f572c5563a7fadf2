"""A binding is an identifier that a snippet can call, and no two tools share one."""

import ast
import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.composition.naming import HARD_KEYWORDS, RESERVED, SOFT_KEYWORDS, allocate, identifier
from tests.composition import NAMES, names

HELPERS = frozenset({"len", "print", "tool_len", "x_2", "ValueError", "tool"})


@pytest.mark.parametrize(
    ("name", "binding"),
    [
        ("read_file", "read_file"),
        ("read.file", "read_file"),
        ("docs__read_file", "docs_read_file"),
        ("a - b", "a_b"),
        ("größe", "gr_e"),
        ("__private__", "private"),
    ],
)
def test_what_is_no_ascii_letter_or_digit_becomes_one_underscore_inside_and_none_outside(
    name: str, binding: str
) -> None:
    assert identifier(name) == binding


@pytest.mark.parametrize("name", ["2fa", "_2fa", "-2fa"])
def test_a_digit_does_not_come_first(name: str) -> None:
    assert identifier(name) == "tool_2fa"


@pytest.mark.parametrize("name", ["", "_", "…", "-.-"])
def test_a_name_of_which_nothing_is_left_is_tool(name: str) -> None:
    assert identifier(name) == "tool"


@pytest.mark.parametrize("name", ["match", "type", "for", "None", "spawn", "nil", "await", "lambda", "true"])
def test_a_reserved_word_is_prefixed(name: str) -> None:
    assert identifier(name) == f"tool_{name}"


def test_every_word_that_reads_like_a_statement_is_reserved() -> None:
    words = """agent as await break catch continue defer else enum false fn for if impl import in interface
        let match nil pipeline pub return skill spawn struct throw true try type var while"""

    assert {identifier(word) for word in words.split()} == {f"tool_{word}" for word in words.split()}


def test_the_keywords_of_python_are_reserved_and_written_out() -> None:
    assert set(keyword.kwlist) <= HARD_KEYWORDS
    assert set(keyword.softkwlist) <= SOFT_KEYWORDS
    assert HARD_KEYWORDS | SOFT_KEYWORDS <= RESERVED


def test_a_name_of_the_language_is_prefixed_until_it_is_free() -> None:
    assert identifier("print", HELPERS) == "tool_print"
    assert identifier("len", HELPERS) == "tool_tool_len"
    assert identifier("-", HELPERS) == "tool_tool"
    assert identifier("ValueError", HELPERS) == "tool_ValueError"
    assert identifier("print") == "print"


def test_a_repeat_is_counted_in_the_order_of_the_surface() -> None:
    assert allocate(["read.file", "read_file", "read", "read-file"]) == [
        "read_file",
        "read_file_2",
        "read",
        "read_file_3",
    ]


def test_a_count_that_another_tool_is_called_by_is_passed_over() -> None:
    assert allocate(["x_2", "x", "x"]) == ["x_2", "x", "x_3"]
    assert allocate(["x", "x", "x_2"]) == ["x", "x_2", "x_2_2"]
    assert allocate(["x", "x"], HELPERS) == ["x", "x_3"]


@given(st.lists(names), st.frozensets(st.sampled_from([*NAMES, "tool_len", "tool_tool", "read_file_2"])))
def test_identifiers_are_always_valid_and_unique(given_names: list[str], taken: frozenset[str]) -> None:
    found = allocate(given_names, taken)

    assert len(found) == len(given_names) == len(set(found))
    for binding in found:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", binding)
        assert binding not in RESERVED | taken
        assert isinstance(ast.parse(f"{binding} = 1").body[0], ast.Assign)


@given(names, st.frozensets(names))
def test_an_identifier_is_its_own_identifier(name: str, taken: frozenset[str]) -> None:
    assert identifier(identifier(name, taken), taken) == identifier(name, taken)
