"""The language `snippet/1` is a part of Python, and means what Python means by it, but for a closed list.

Each case of `ALIKE` is also run by CPython. `DIFFERENT` is the list of what is meant to differ.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any, NamedTuple

import pytest

from playhead.snippet.check import check
from playhead.snippet.protocol import Limits
from tests.snippet.host import run

ALIKE: dict[str, str] = {
    "assignment to several names": "a = b = 1\na, (b, *c) = 2, 'xyz'\nreturn [a, b, c]",
    "a star takes what is left": "a, *b, c = [1, 2, 3, 4]\n*d, e = 'a'\nreturn [a, b, c, d, e]",
    "augmented assignment changes lists and dicts": (
        "a = [1]\nb = a\na += (2,)\nd = {}\ne = d\nd |= {'x': 1}\nreturn [b, e]"
    ),
    "augmented assignment of an element looks once": (
        "n = []\ndef f():\n    n.append(1)\n    return 0\nx = [5]\nx[f()] += 1\nreturn [x, n]"
    ),
    "an annotation binds nothing": "x: int = 1\ny: str\nreturn x",
    "elements and slices": (
        "x = list(range(10))\n"
        "x[2:4] = 'ab'\n"
        "del x[0], x[-1]\n"
        "x[::3] = [0] * len(x[::3])\n"
        "return [x, x[-3:], x[::-1]]"
    ),
    "if and elif and else": (
        "r = []\n"
        "for x in range(3):\n"
        "    if x == 0:\n"
        "        r.append('a')\n"
        "    elif x == 1:\n"
        "        r.append('b')\n"
        "    else:\n"
        "        r.append('c')\n"
        "return r"
    ),
    "else of a loop": (
        "r = []\n"
        "for x in [1, 2]:\n"
        "    if x == 2:\n"
        "        break\n"
        "else:\n"
        "    r.append('no')\n"
        "while x:\n"
        "    x -= 1\n"
        "    continue\n"
        "else:\n"
        "    r.append('yes')\n"
        "return r"
    ),
    "a list that grows while it is gone over": (
        "x = [1]\nfor i in x:\n    if len(x) < 5:\n        x.append(i + 1)\nreturn x"
    ),
    "try, except, else, finally": (
        "r = []\n"
        "def f(x):\n"
        "    try:\n"
        "        r.append(1 // x)\n"
        "    except ZeroDivisionError as e:\n"
        "        r.append('zero')\n"
        "        return 'a'\n"
        "    else:\n"
        "        r.append('else')\n"
        "    finally:\n"
        "        r.append('finally')\n"
        "    return 'b'\n"
        "return [f(0), f(1), r]"
    ),
    "finally goes first": (
        "def f():\n"
        "    for i in range(3):\n"
        "        try:\n"
        "            return i\n"
        "        finally:\n"
        "            continue\n"
        "    return 'end'\n"
        "return f()"
    ),
    "an error in finally replaces another": (
        "def f():\n"
        "    try:\n"
        "        1 // 0\n"
        "    finally:\n"
        "        [][0]\n"
        "try:\n"
        "    f()\n"
        "except IndexError:\n"
        "    return 'index'"
    ),
    "raise alone raises again": (
        "def f():\n"
        "    try:\n"
        "        1 // 0\n"
        "    except Exception:\n"
        "        try:\n"
        "            [][0]\n"
        "        except IndexError:\n"
        "            pass\n"
        "        raise\n"
        "try:\n"
        "    f()\n"
        "except ZeroDivisionError:\n"
        "    return 'again'"
    ),
    "errors have kinds": (
        "r = []\n"
        "for k in (KeyError, IndexError, ZeroDivisionError, RecursionError):\n"
        "    try:\n"
        "        raise k('x')\n"
        "    except LookupError:\n"
        "        r.append('lookup')\n"
        "    except (ArithmeticError, RuntimeError):\n"
        "        r.append('other')\n"
        "return r"
    ),
    "str of errors": (
        "r = []\n"
        "for e in (ValueError('a'), ValueError(), ValueError('a', 1), KeyError('k')):\n"
        "    r.append([str(e), repr(e), f'{e}'])\n"
        "return r"
    ),
    "assert": "try:\n    assert 0, 'no'\nexcept AssertionError as e:\n    return str(e)",
    "functions and their parameters": (
        "def f(a, b=2, *c, d, e=5, **g):\n"
        "    return [a, b, c, d, e, g]\n"
        "return [f(1, d=4), f(1, 2, 3, 4, d=5, x=6), f(*[1, 2], **{'d': 3})]"
    ),
    "parameters by position only": "def f(a, /, **k):\n    return [a, k]\nreturn f(1, a=2)",
    "a default is made once": "def f(x=[]):\n    x.append(1)\n    return len(x)\nf()\nreturn f()",
    "closures share variables": (
        "def make():\n"
        "    n = 0\n"
        "    def add():\n"
        "        nonlocal n\n"
        "        n += 1\n"
        "        return n\n"
        "    return add\n"
        "a = make()\n"
        "a()\n"
        "return [a(), make()()]"
    ),
    "a local name is local from the start": (
        "x = 1\n"
        "def f():\n"
        "    try:\n"
        "        return x\n"
        "    except UnboundLocalError:\n"
        "        return 'unbound'\n"
        "    x = 2\n"
        "return f()"
    ),
    "the name of an error is gone after its except": (
        "def f():\n"
        "    e = 1\n"
        "    try:\n"
        "        1 // 0\n"
        "    except Exception as e:\n"
        "        pass\n"
        "    try:\n"
        "        return e\n"
        "    except NameError:\n"
        "        return 'gone'\n"
        "return f()"
    ),
    "lambdas": "f = lambda a, *b, c=3: a + sum(b) + c\nreturn [f(1), f(1, 2, c=0), (lambda: 5)()]",
    "recursion": "def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nreturn f(15)",
    "comprehensions": (
        "return [[x for x in range(5) if x % 2], [(a, "
        "b) for a in 'xy' for b in range(2) if b or a == 'x'], {k: v for k, v in [('a', "
        "1)]}, sorted({x % 2 for x in range(5)}), [[y for y in range(x)] for x in range(3)]]"
    ),
    "a comprehension has variables of its own": "x = 'outer'\ny = [x for x in range(3)]\nreturn [x, y]",
    "lambdas in a comprehension see its last value": (
        "return [f() for f in [lambda: i for i in range(3)]] + [f() for f in [lambda "
        "i=i: i for i in range(3)]]"
    ),
    "comprehensions in functions called again": (
        "def f(n):\n    return [f(n - 1) if n else 0 for x in range(2)]\nreturn f(2)"
    ),
    ":= binds in the function": (
        "def f():\n    if any((w := x) > 1 for x in [1, 2]):\n        return w\nreturn f()"
    ),
    "and, or, not, and what they give": "return [0 or 'a', 1 and [], not [], None or 0 or '']",
    "comparing in chains stops early": (
        "n = []\ndef f(x):\n    n.append(x)\n    return x\nreturn [f(3) < f(1) < f(9), 1 < 2 <= 2 != 3, n]"
    ),
    "arithmetic": (
        "return [7 // 2, -7 // 2, 7 % -3, -7 % 3, 2 ** 10, 7 / 2, 1 << 5, -9 >> 1, "
        "6 & 3, 6 | 3, 6 ^ 3, ~5, 5.5 // 2, -5.5 % 2, True + True]"
    ),
    "floats": "return [0.1 + 0.2, 1e300 * 10, 1.0, 3e16, round(2.5), round(3.5), round(2.675, 2), 10 ** -2]",
    "powers of what has no end": (
        "n = float('inf')\n"
        "return [str(x) for x in (0.0 ** -n, 0 ** -n, (-n) ** 0.5, (-n) ** -0.5, (-2) ** n, (-1) ** -n)]"
    ),
    "tabs of less than nothing": "return ['a\\tb'.expandtabs(x) for x in (4, 1, 0, -1, -99)]",
    "comparing across types": (
        "return [1 == 1.0, 1 == '1', [1] == (1,), {'a': 1.0} == {'a': True}, (1, "
        "2) < (1, 3), 'a' < 'b', [1, [2]] < [1, [3]], {1} < {1, 2}]"
    ),
    "in": "return [1 in [1.0], 'b' in 'abc', 'k' in {'k': 1}, 3 in range(4), 2 not in {2}, None in (None,)]",
    "is": "x = None\nreturn [x is None, x is not None, True is True]",
    "unpacking in displays": "return [[*'ab', *range(2)], (*[], 1), {**{'a': 1}, 'a': 2, **{'b': 3}}]",
    "conditional": "return ['a' if [] else 'b']",
    "f-strings": (
        "x = 3.14159\n"
        "s = 'ab'\n"
        "return "
        "f'{x:.2f}|{5:03d}|{s!r:>6}|{s:*^6}|{1234567:,}|{0.25:.1%}|{255:#x}' "
        "f'|{{}}|{x=:.1f}|{[1, s]}|{None}|{True:>5}'"
    ),
    "texts": (
        "s = ' Hello, World '\n"
        "return [s.strip().split(', '), s.upper(), s.title(), 'a-b-c'.rsplit('-', 1), "
        "'abc'.find('z'), 'a,b'.partition(','), 'x'.join('ab'), 'aXbX'.replace('X', '-', "
        "1), 'ab'.zfill(4), 'a\\nb'.splitlines(), 'abcabc'.rindex('c'), '7'.isdigit()]"
    ),
    "lists": (
        "x = [3, 1, 2]\n"
        "y = x.copy()\n"
        "x.sort(reverse=True)\n"
        "y.sort(key=lambda v: -v)\n"
        "x.insert(1, 9)\n"
        "x.remove(2)\n"
        "return [x, y, x.pop(), x.index(9), x.count(3)]"
    ),
    "dicts": (
        "d = {'a': 1}\n"
        "d.setdefault('b', []).append(2)\n"
        "d.update({'c': 3}, d=4)\n"
        "return [d, d.pop('a'), d.get('z', 0), list(d.items()), list(d), d.popitem()]"
    ),
    "sets": (
        "s = {1, 2}\n"
        "s.add(3)\n"
        "s.discard(9)\n"
        "return [sorted(s | {5}), sorted(s & {1}), sorted(s - {1}), sorted(s ^ {1, 7}), "
        "s.issubset({1, 2, 3}), len(s)]"
    ),
    "a set is no member of a set": (
        "s = {1, 2}\n"
        "s.discard({1})\n"
        "r = [{1} in s]\n"
        "try:\n"
        "    s.remove({1})\n"
        "except KeyError:\n"
        "    r.append('none')\n"
        "return r"
    ),
    "where a text starts and ends, from one place to another": (
        "s = 'abcabc'\n"
        "return [s.startswith('b', 1), s.startswith(('x', 'ca'), 2, 4), s.endswith('b', None, -1), "
        "s.endswith('', 9), s.startswith('abc', -3, True)]"
    ),
    "what stands behind a star is read when it is reached": (
        "x = [1]\n"
        "d = {'a': 1}\n"
        "def f(*a, **k):\n"
        "    return [list(a), k]\n"
        "r = [[*x, x.append(2)], f(*x, x.append(3), **d, b=d.pop('a')), {**d, 'c': d.update(e=2), **d}]\n"
        "for g in (lambda: [*5, r.append(0)], lambda: {**5, 'a': r.append(0)}, "
        "lambda: f(*5, r.append(0)), lambda: f(**5, b=r.append(0))):\n"
        "    try:\n"
        "        g()\n"
        "    except TypeError:\n"
        "        r.append('TypeError')\n"
        "return r"
    ),
    "f-strings in f-strings in brackets": (
        "i = 7\nreturn [[[[[[f'{f\"{i}\"}!'], [f\"\"\"{f'''{f\"{f'{[(i,)]}'}\"}'''}\"\"\"]]]]]]"
    ),
    "helpers that Python has": (
        "return [len('ab'), abs(-1), sum([1, 2], 3), min(3, 1), max('ab'), min([], "
        "default=0), max([1, -5], key=abs), list(zip('ab', [1, 2])), list(enumerate('a', "
        "1)), sorted('ba'), list(reversed([1, 2])), any([0, 1]), all([]), list(map(str, "
        "[1])), list(filter(None, [0, 1])), isinstance(True, int), int('7'), "
        "float('1.5'), str(1.0), bool([]), list(range(5, 0, -2)), int('ff', 16)]"
    ),
    "tuples of scalars are keys": "d = {(1, 'a'): 'x'}\nreturn d[(1, 'a')]",
    "keys that are equal are one": "d = {1: 'a'}\nd[True] = 'b'\nd[1.0] = 'c'\nreturn [len(d), d[1]]",
    "NaN": "n = float('nan')\nreturn [n == n, n in [n], n != n, [n] == [n]]",
    "global names belong to the top": "n = 0\ndef f():\n    global n\n    n += 1\nf()\nf()\nreturn n",
    "an empty snippet gives nothing": "pass",
    "... is a body": "def f(): ...\nreturn f()",
}


def by_python(source: str) -> Any:
    """What CPython says: the snippet as the body of a function, or of a module where it has `global`."""
    if "global" in source:
        names: dict[str, Any] = {}
        exec(source.replace("return ", "result = "), names)
        return names["result"]
    names = {}
    exec(f"def main():\n{textwrap.indent(source, '    ')}\n", names)
    return names["main"]()


@pytest.mark.parametrize("name", ALIKE)
def test_it_means_what_it_means_in_python(name: str) -> None:
    assert run(ALIKE[name]).value == json.loads(json.dumps(by_python(ALIKE[name])))


class Difference(NamedTuple):
    """A snippet, and what comes of it here: a value, the type of an error, or `refused`."""

    source: str
    here: Any


DIFFERENT: dict[str, Difference] = {
    "whole numbers have 64 bits": Difference("return 2 ** 63", "OverflowError"),
    "literals too": Difference("return 9223372036854775808", "refused"),
    "a negative number has no power that is not whole": Difference("return (-8) ** 0.5", "ValueError"),
    "sets keep the order in which their members came": Difference(
        "return list({'b', 'a'} | {'c'})", ["b", "a", "c"]
    ),
    "pop takes the last member of a set": Difference("return {3, 1, 2}.pop()", 2),
    "keys are scalars and flat tuples of them": Difference("return {((1,), 2): 1}", "TypeError"),
    "NaN is no key": Difference("return {float('nan'): 1}", "ValueError"),
    "NaN has no order": Difference("return sorted([float('nan'), 1])", "ValueError"),
    "sets have no order to sort by": Difference("return sorted([{1, 2}, {1}])", "TypeError"),
    "keys(), values() and items() are lists": Difference(
        "d = {'a': 1}\nk = d.keys()\nd['b'] = 2\nreturn [k, d.items()]", [["a"], [["a", 1], ["b", 2]]]
    ),
    "generators, map, filter, zip, enumerate and reversed are lists": Difference(
        "x = (i for i in range(2))\nreturn [x, x, map(str, x), zip(x, x), enumerate(x), reversed(x)]",
        [[0, 1], [0, 1], ["0", "1"], [[0, 0], [1, 1]], [[0, 0], [1, 1]], [1, 0]],
    ),
    "a dict may change while it is gone over": Difference(
        "d = {'a': 1}\nfor k in d:\n    d[k + 'x'] = 1\nreturn d", {"a": 1, "ax": 1}
    ),
    "a sort that fails changes nothing": Difference(
        "x = [2, 1, 'a']\ntry:\n    x.sort()\nexcept TypeError:\n    return x", [2, 1, "a"]
    ),
    "a list may change while it is sorted": Difference(
        "x = [2, 1]\ndef f(v):\n    x.append(9)\n    return v\nx.sort(key=f)\nreturn x", [1, 2]
    ),
    "sum() adds floats one by one": Difference("return sum([0.1] * 10)", 0.9999999999999999),
    "is compares with None, True and False": Difference("return 1 is 1", "refused"),
    "numbers in texts have plain digits": Difference("return int('١٢')", "ValueError"),
    "functions, tools and types are told by name": Difference(
        "def f(): pass\nreturn [str(f), str(len), str(echo), str(ValueError)]",
        ["<snippet function f>", "<helper len>", "<tool echo>", "<error type ValueError>"],
    ),
    "what holds itself is not written": Difference("a = []\na.append(a)\nreturn str(a)", "max_depth"),
    "deep nests are not compared": Difference(
        "a = [1]\nb = [1]\nfor i in range(70):\n    a = [a]\n    b = [b]\nreturn a == b", "max_depth"
    ),
    "format() replaces {} only": Difference("return format('{} {{}}', 1)", "1 {}"),
    "round to so many digits takes any number of them": Difference("return round(2.5, 10 ** 15)", 2.5),
    "except names errors": Difference("k = ValueError\ntry:\n    pass\nexcept k:\n    pass", "refused"),
    "a set is compared with members only": Difference("return {1}.issuperset([2, []])", "TypeError"),
    "raise alone stands in an except": Difference("def f():\n    raise", "refused"),
    "del takes elements": Difference("x = 1\ndel x", "refused"),
    "there is no attribute": Difference("return (1).real", "refused"),
    "a range is not cut into one that has steps of more than 64 bits": Difference(
        "return range(0, 2 ** 62, 2 ** 40)[::2 ** 40]", "OverflowError"
    ),
    "of equal members a set keeps its own": Difference("return list({1, 2} & {True})", [1]),
    "a range is no JSON": Difference("return range(3)", "TypeError"),
    "depth of calls": Difference("def f(n):\n    return f(n - 1) if n else 0\nreturn f(50)", "max_depth"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_it_differs_from_python_where_the_list_says_so(name: str) -> None:
    difference = DIFFERENT[name]

    if difference.here == "refused":
        assert isinstance(check(difference.source, {}), list)
        return
    step = run(difference.source, Limits()).step
    if step.error is not None:
        assert step.error.type == difference.here
    else:
        assert json.loads(step.result_json or "") == difference.here


@pytest.mark.parametrize(
    "expression",
    [
        "[{0}, 1]",
        "({0},)",
        "{{{0}}}",
        "{{'a': {0}}}",
        "{{**{{'a': {0}}}}}",
        "[*[{0}]]",
        "-{0}",
        "not {0}",
        "{0} + 1",
        "1 + {0}",
        "{0} * 2",
        "{0} < 2",
        "0 < {0} < 2",
        "{0} in [1]",
        "{0} and 5",
        "0 or {0}",
        "{0} if True else 0",
        "5 if {0} else 0",
        "[5, 6][{0}]",
        "[1, 2, 3][{0}:]",
        "f'{{{0}}}|{{{0}:>3}}'",
        "str({0})",
        "[3, {0}].index({0})",
        "'a,b'.split(',', {0})",
        "max({0}, 0)",
        "max([{0}], key=lambda q: q + {0})",
        "sorted([2, {0}], reverse=bool({0}))",
        "(lambda q, w={0}: q + w)({0})",
        "[x + {0} for x in range(2)]",
        "[x for x in range({0})]",
        "[x for x in range(3) if x == {0}]",
        "{{x: {0} for x in 'a'}}",
        "{{x + {0} for x in [1]}}",
        "[y for x in [1] for y in range({0} + 1)]",
        "(w := {0})",
        "list(range(*[{0}, 3]))",
        "dict(a={0})",
        "dict(**{{'a': {0}}})",
        "len([{0}])",
        "isinstance({0}, int)",
        "(lambda *a, **k: [a, k])(*[{0}], z={0})",
        "[{0}].copy()",
        "[x for x[0] in [[1]]] if False else {0}",
    ],
)
def test_a_tool_may_be_called_wherever_a_value_may_stand(expression: str) -> None:
    plain = run(
        f"x = [0]\nreturn {expression.format('1')}"
        if "{" not in expression
        else f"x = [0]\nr = {expression.format('1')}\nreturn sorted(r) if isinstance(r, set) else r"
    )
    asking = run(
        f"x = [0]\nr = {expression.format('echo(1)')}\nreturn sorted(r) if isinstance(r, set) else r"
    )

    assert asking.value == plain.value
    assert asking.calls or expression.startswith("[x for x[0]")


@pytest.mark.parametrize(
    "statement",
    [
        "r = {0}",
        "r = s = {0}",
        "r, s = {0}, 2",
        "r = [0]\nr[{0} - 1] = {0}",
        "r = 0\nr += {0}",
        "r = [1]\nr[{0} - 1] += {0}",
        "r: int = {0}",
        "r = [1, 2]\ndel r[{0}]",
        "if {0}:\n    r = 1\nelse:\n    r = 2",
        "if 1:\n    r = {0}",
        "r = 0\nwhile r < {0}:\n    r += {0}\nelse:\n    r += {0}",
        "r = 0\nfor i in range({0}):\n    r += {0}\nelse:\n    r += {0}",
        "try:\n    r = [][{0}]\nexcept IndexError:\n    r = {0}\nfinally:\n    r += {0}",
        "try:\n    r = 0\nexcept ValueError:\n    pass\nelse:\n    r = {0}",
        "try:\n    raise ValueError({0})\nexcept ValueError as e:\n    r = str(e)",
        "try:\n    assert not {0}, {0}\nexcept AssertionError as e:\n    r = str(e)",
        "def f(a={0}):\n    return a + {0}\nr = f()",
        "r = []\nfor (a, r[{0}:]) in [(1, [2])]:\n    pass",
        "r = [9]\na, r[{0} - 1] = 1, 2",
        "def f():\n    for i in [1]:\n        return {0}\nr = f()",
        "try:\n    raise ValueError from ValueError({0})\nexcept ValueError:\n    r = 1",
        "def f():\n    try:\n        return {0}\n    finally:\n        echo({0})\nr = f()",
        "r = 0\nwhile True:\n    r += {0}\n    if r > {0}:\n        break\n    continue",
    ],
)
def test_a_tool_may_be_called_in_every_statement(statement: str) -> None:
    plain = run(f"{statement.format('1')}\nreturn r")
    asking = run(f"{statement.format('echo(1)')}\nreturn r")

    assert asking.value == plain.value
    assert asking.calls
