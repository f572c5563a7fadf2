"""The helpers that Python does not have, each with what it gives and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.snippet.helpers import HELPERS
from tests.snippet.host import run

GIVES: list[tuple[str, Any]] = [
    ("floor(-1.5)", -2),
    ("ceil(-1.5)", -1),
    ("flat_map([1, 2], lambda x: [x, x])", [1, 1, 2, 2]),
    ("group_by([1, 2, 3], lambda x: x % 2)[1]", [1, 3]),
    ("group_by([{'k': 'a', 'n': 1}], 'k')", {"a": [{"k": "a", "n": 1}]}),
    ("dedup_by([1, 2, 3], lambda x: x % 2)", [1, 2]),
    ("contains([1, 2], 2)", True),
    ("contains('abc', 'b')", True),
    ("keys({'a': 1})", ["a"]),
    ("values({'a': 1})", [1]),
    ("entries({'a': 1})", [{"key": "a", "value": 1}]),
    ("lower('Ä') + upper('ß')", "äSS"),
    ("trim('  a ')", "a"),
    ("[starts_with('ab', 'a'), ends_with('ab', 'a')]", [True, False]),
    ("split('a,b', ',')", ["a", "b"]),
    ("split('a  b')", ["a", "b"]),
    ("join(['a', 'b'], '-')", "a-b"),
    ("[dirname('/a/b/c'), dirname('/a'), dirname('a'), dirname('a/')]", ["/a/b", "/", "", "a"]),
    ("format('{} and {{{}}}', 1, 'b')", "1 and {b}"),
    ("format('}}{{}}{}{{{{', 1)", "}{}1{{"),
    ("len(format('{{' * 300000 + '}}' * 9))", 300_009),
    ("[to_string(1), to_int('7'), to_int(7.9), to_float('1.5')]", ["1", 7, 7, 1.5]),
    (
        "[parse_int_or('x', 0), parse_int_or('5'), parse_float_or([], 'no'), parse_int_or('x')]",
        [0, 5, "no", None],
    ),
    ("json_parse('{\"a\": [1, 2.5, null, true]}')", {"a": [1, 2.5, None, True]}),
    ("json_stringify({'a': (1, 'ä')})", '{"a":[1,"ä"]}'),
    ("json_stringify([1], pretty=True)", "[\n  1\n]"),
    ("json_extract('so: {\"a\": 1} and more')", {"a": 1}),
    ("json_extract('list [1, 2]')", [1, 2]),
    ("json_pointer({'a/b': [1, {'~': 2}]}, '/a~1b/1/~0')", 2),
    ("[json_pointer([1], '/5'), json_pointer([1], ''), json_pointer([1], '/01')]", [None, [1], None]),
    ("jq({'a': [{'n': 1}, {'n': 3}]}, '.a[] | select(.n > 1) | .n')", [3]),
    ("jq({'b': 1, 'a': 2}, 'keys')", [["a", "b"]]),
    ("jq([1, 2], 'map(. == 2)')", [[False, True]]),
    ("jq({'a': 1}, 'to_entries, length')", [[{"key": "a", "value": 1}], 1]),
    ("jq([{'a b': 1}], '.[0].\"a b\", .[-1][\"a b\"], .[9]?')", [1, 1, None]),
    ("jq_first([], '.[]')", None),
    ("base64_decode(base64_encode('ä'))", "ä"),
    ("hex_encode('ab') + hex_decode('6162')", "6162ab"),
    ("hash_value({'a': 1})", "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
    ("assert_eq([1], [1.0])", None),
    ("assert_ne(1, 2)", None),
    ("[is_ok(Ok(1)), is_err(Err('x')), is_ok(Err('x')), is_ok(5)]", [True, True, False, False]),
    ("[Ok(1), Err('x')]", [{"ok": True, "value": 1}, {"ok": False, "error": "x"}]),
    (
        "[isinstance(ValueError('x'), LookupError), isinstance(KeyError('x'), (int, LookupError))]",
        [False, True],
    ),
    ("[isinstance(1, (str, ((), (float, int)))), isinstance(1, ((), (str,)))]", [True, False]),
    ("isinstance(1, (int, 5))", True),
]

RAISES: list[tuple[str, str]] = [
    ("floor(float('inf'))", "ValueError"),
    ("len(5)", "TypeError"),
    ("len()", "TypeError"),
    ("len([], [])", "TypeError"),
    ("len(x=[])", "TypeError"),
    ("sorted([1], lambda x: x)", "TypeError"),
    ("sorted([1], wrong=1)", "TypeError"),
    ("sorted([1, 'a'])", "TypeError"),
    ("min([])", "ValueError"),
    ("min()", "TypeError"),
    ("min(3, 1, default=2)", "TypeError"),
    ("max(3, 1, key=abs, default=2)", "TypeError"),
    ("range(1.5)", "TypeError"),
    ("range(1, 2, 0)", "ValueError"),
    ("sum(['a'])", "TypeError"),
    ("sum([], 'a')", "TypeError"),
    ("int([])", "TypeError"),
    ("int(float('inf'))", "OverflowError"),
    ("int(float('nan'))", "ValueError"),
    ("round(-float('inf'))", "OverflowError"),
    ("round(float('nan'))", "ValueError"),
    ("int('1' * 500)", "ValueError"),
    ("isinstance(1, 1)", "TypeError"),
    ("isinstance(1, len)", "TypeError"),
    ("isinstance(1, (str, (float, 'int')))", "TypeError"),
    ("json_parse('{')", "ValueError"),
    ("json_parse('[1e999]')", "ValueError"),
    ("json_parse('9' * 30)", "ValueError"),
    ("json_extract('nothing')", "ValueError"),
    ("json_stringify(float('nan'))", "ValueError"),
    ("json_stringify({1: 2})", "TypeError"),
    ("json_pointer({}, 'a')", "ValueError"),
    ("jq({}, '.a |')", "ValueError"),
    ("jq(1, '.a')", "ValueError"),
    ("jq({}, 'foo')", "ValueError"),
    ("jq(-9223372036854775808, 'length')", "OverflowError"),
    ("format('{} {}', 1)", "IndexError"),
    ("format('{}', 1, 2)", "IndexError"),
    ("format('{x}', 1)", "ValueError"),
    ("base64_decode('!')", "ValueError"),
    ("hex_decode('zz')", "ValueError"),
    ("base64_encode('\\ud800')", "ValueError"),
    ("assert_eq(1, 2)", "AssertionError"),
    ("assert_ne(1, 1.0)", "AssertionError"),
    ("print('a', sep=5)", "TypeError"),
    ("print('\\ud800')", "ValueError"),
    ("group_by([{}], 'k')", "KeyError"),
    ("group_by([1], lambda x: [])", "TypeError"),
    ("dict([1])", "TypeError"),
    ("dict([(1, 2, 3)])", "ValueError"),
    ("dict([range(-9223372036854775808, 9223372036854775807)])", "ValueError"),
    ("zip([1], [], strict=True)", "ValueError"),
    ("map(5, [1])", "TypeError"),
    ("map(len)", "TypeError"),
    ("reversed({1})", "TypeError"),
]


HANDED_ON = """
def call(f, *a):
    return f(*a)
r = []
for a in ((), (1,), ("a", 1), ([1], str), ({"a": 1}, "a", 1), (None,) * 4):
    try:
        call(NAME, *a)
    except Exception as e:
        r.append(str(e))
return r
"""


@pytest.mark.parametrize(("expression", "value"), GIVES)
def test_a_helper_gives(expression: str, value: Any) -> None:
    assert run(f"return {expression}").value == value


@pytest.mark.parametrize(("expression", "kind"), RAISES)
def test_a_helper_raises(expression: str, kind: str) -> None:
    error = run(f"return {expression}").step.error

    assert error is not None
    assert error.type == kind
    assert error.line == 1


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_can_be_handed_on_and_called_without_arguments_at_worst_with_an_error(name: str) -> None:
    step = run(HANDED_ON.replace("NAME", name)).step

    assert step.status == "done", step


def test_print_puts_blanks_and_line_ends() -> None:
    step = run("print(1, 'a', None)\nprint()\nprint('x', 'y', sep='', end='!')").step

    assert step.stdout == "1 a None\n\nxy!"
