"""The check says all that is wrong with a snippet, where, and what to write instead; nothing runs."""

from __future__ import annotations

import ast
import sys
import warnings

import pytest

from playhead.snippet.check import Checked, check
from playhead.snippet.helpers import HELPERS
from playhead.snippet.protocol import ToolBinding
from playhead.snippet.values import ERROR_TYPES
from tests.snippet.host import BINDINGS, checked, problems


def codes(source: str) -> list[str]:
    return [each.code for each in problems(source)]


def test_a_snippet_without_a_problem_is_kept() -> None:
    first = checked("return 1")

    assert isinstance(first, Checked)
    assert check("return 1", BINDINGS) is first


def test_all_problems_are_told_at_once_in_the_order_of_the_source() -> None:
    source = "import os\nx = nowhere\nclass A: pass\nprint(eval('1'))\ndelete_file()\n"

    found = problems(source)

    assert [(each.line, each.code) for each in found] == [
        (1, "statement"),
        (2, "name"),
        (3, "statement"),
        (4, "name"),
        (5, "denied"),
    ]


def test_a_place_counts_characters_from_one() -> None:
    (found,) = problems("x = 'ä😀' + nowhere")

    assert found[:4] == (1, 12, 1, 19)


def test_what_was_denied_is_told_with_its_reason() -> None:
    (found,) = problems("if False:\n    delete_file(path='a')")

    assert found.message == "delete_file may not be called: denied by policy"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("await asyncio.gather(echo(value=1))", "map_bounded"),
        ("import json", "json_parse"),
        ("json.dumps(1)", "json_stringify"),
        ("re.match('a', 'b')", "split()"),
        ("'{}'.format(1)", "f-string"),
        ("'%s' % 1", "f-string"),
        ("async def f(): pass", "await before a call is ignored"),
        ("with echo(value=1) as x: pass", "no closing"),
        ("yield 1", "append"),
        ("class A: pass", "dict"),
        ("match 1:\n    case 1: pass", "elif"),
        ("@len\ndef f(): pass", "by name"),
        ("type(1)", "isinstance"),
        ("e = 1\ne.args", "str(error)"),
        ("time()", "clock"),
        ("ehco(value=1)", "there are the tools"),
    ],
)
def test_what_is_refused_comes_with_what_to_write_instead(source: str, hint: str) -> None:
    assert any(hint in each.hint for each in problems(source)), problems(source)


@pytest.mark.parametrize("name", [*HELPERS, *ERROR_TYPES, "echo"])
def test_no_name_of_the_language_is_given_to_anything_else(name: str) -> None:
    forms = [f"{name} = 1", f"def f({name}): pass", f"for {name} in []: pass", f"({name} := 1)"]

    assert [codes(form) for form in forms] == [["rebinding"]] * len(forms)


def test_a_tool_cannot_have_the_name_of_a_helper() -> None:
    with pytest.raises(ValueError, match="len"):
        check("return 1", {"len": ToolBinding()})


def test_await_before_a_call_is_ignored() -> None:
    checked("x = await echo(value=1)\nreturn await read_file(path='a')")

    assert codes("await 1") == ["expression"]


def test_annotations_say_what_they_like_and_call_nothing() -> None:
    checked(
        "def f(a: list[str] | None = None, *b: 'x', c: Dict[str, int]) -> Any:\n    x: int = 1\n    return x"
    )

    assert codes("x: f() = 1") == ["annotation"]
    assert codes("x: a.b = 1") == ["annotation"]


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "[" * 41 + "]" * 41,
        "x = 1" + " + 1" * 45,
        "x = " + "not " * 500 + "1",
        "x = " + "lambda: " * 300 + "1",
        "x = " + "lambda a, b: " * 300 + "1",
        "x = " + "-" * 20_000 + "1",
        "x = f" + "()" * 8_000,
        "x = a" + ".b" * 8_000,
        "x = " + "1 if 1 else " * 1_000 + "1",
        "if 1:\n pass\n" + "elif 1:\n pass\n" * 1_500,
        "\n".join(f"{' ' * n}if 1:" for n in range(90)) + f"\n{' ' * 90}pass",
        "x = " + "1," * 15_000,
        "x = " + "9" * 5_000,
        "#" * 33_000,
        "x = " + "f'{" * 20,
        "(" * 5_000,
        "x = " + "2 ** " * 2_000 + "2",
    ],
    ids=range(17),
)
def test_nothing_that_would_overflow_or_occupy_the_parser_gets_there(source: str) -> None:
    assert not isinstance(check(source, BINDINGS), Checked)


def test_the_stack_that_the_caller_left_does_not_matter() -> None:
    source = "x = " + "(" * 38 + "1" + ")" * 38 + "\ndef f(n):\n    return f(n - 1) if n else x\nreturn f(30)"

    def deeper(n: int) -> object:
        return deeper(n - 1) if n else check(source + " ", BINDINGS)

    room = sys.getrecursionlimit()
    assert isinstance(deeper(700), Checked)
    assert sys.getrecursionlimit() == room


@pytest.mark.parametrize(
    "source",
    [
        "return '\\d'",
        "return '\\N{BULLET}'",
        "return '\\777'",
        "return f'\\{1}'",
        "return 1if 1else 2",
        "return t'{1}'",
        "return f'{1 # a\n}'",
        "return f'{x for x in [1]}'",
        "return f'{*[1], 2}'",
        "return f'{1! r}'",
        "type X = int",
        "def f[T](x): pass",
        "class A[T]: pass",
        "try:\n    pass\nexcept ValueError, KeyError:\n    pass",
        'return f"{"a"}"',
        "return f'''{'''a'''}'''",
    ],
)
def test_what_releases_of_python_read_differently_is_refused_before_they_do(source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        found = problems(source)

    assert all(each.message != "this is not Python that can be read" for each in found)


def test_what_cannot_be_read_is_told_in_words_of_our_own_and_inside_of_the_text() -> None:
    for source in ("x = = 1", "if 1:\nx", "x = 'a", "return (1", "é = ", "\n\n )"):
        (found, *_) = problems(source)

        assert found.code == "syntax"
        assert 1 <= found.line <= source.count("\n") + 1


@pytest.mark.parametrize(
    "character", ["\0", "\x0c", "\x7f", "\r", "\u202e", "\u200b", "\u2066", "\ufeff", "\ud800", "\u2028"]
)
def test_a_character_that_cannot_be_seen_is_told_with_its_escape(character: str) -> None:
    (found,) = problems(f"x = 'a{character}'")

    assert (found.code, found.col) == ("character", 7)
    assert found.hint.startswith("inside of a text write \\")


@pytest.mark.parametrize("name", ["\ufb01", "\uff58", "x\u00b2"])
def test_a_name_that_reads_like_another_is_refused(name: str) -> None:
    assert codes(f"{name} = 1")[0] in ("character", "syntax")


def test_a_name_of_other_letters_is_a_name() -> None:
    checked("größe = 1\nимя = 2\nreturn größe + имя")


def test_whatever_node_python_has_it_is_refused_or_known() -> None:
    known = {name for name in dir(ast) if isinstance(getattr(ast, name), type)}
    sources = [
        "async with 1 as x: pass",
        "async for x in []: pass",
        "x = yield from 1",
        "x @= 1",
        "try: pass\nexcept* ValueError: pass",
    ]

    assert "Interactive" in known
    assert all(codes(source) for source in sources)
