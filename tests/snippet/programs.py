"""Random programs without tools, which CPython runs too.

    program(7)     # the source of program 7

Each statement stands in a `try` that notes the error, and after each the state is noted,
so that a program says much about both who run it. Only what both are meant to do alike is
written: see `test_differential` for the list of what is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from tests.snippet import templates
from tests.snippet.blocks import BLOCKS

INTS, FLOATS, TEXTS, LISTS, DICTS, SETS = ("i", "j"), ("f",), ("s", "u"), ("l", "m"), ("d",), ("z",)
TUPLES = ("t",)
STATE = (*INTS, *FLOATS, *TEXTS, *LISTS, *DICTS, *SETS, *TUPLES)
ERRORS = [
    "ZeroDivisionError",
    "OverflowError",
    "IndexError",
    "KeyError",
    "UnboundLocalError",
    "NameError",
    "AttributeError",
    "TypeError",
    "AssertionError",
    "RuntimeError",
    "ValueError",
    "Exception",
]
HEAD = f"""\
log = []
KINDS = [{", ".join(f"({name!r}, {name})" for name in ERRORS)}]
def kind(e):
    return [name for name, each in KINDS if isinstance(e, each)][0]
def show(v):
    return "set " + repr(sorted(v, key=repr)) if isinstance(v, set) else repr(v)
def call(fn, *args, **named):
    return fn(*args, **named)
i, j, f, s, u, l, m, d, z = 3, -2, 1.5, "abc", "x,y", [1, 2, 3], ["a", "b"], {{"a": 1, "b": [2]}}, {{1, 2}}
t = (1, "a")
"""
MORE = ("", ", 1", ", 1, 2", ", k=9", ", b=0", ", *[4, 5]", ", **{'k': 1}", ", z=1")
INT_SIGNS = ("+", "-", "*", "//", "%", "&", "|", "^")
FLOAT_SIGNS = ("+", "-", "*", "/", "//", "%")
INT_FORMATS = ("5", "<5", "^7", "+d", "03d", ",", "x", "#b", "e", ".2f", "%", "_", " ", "s")
TEXT_METHODS = ("upper", "lower", "strip", "title", "capitalize", "swapcase", "lstrip", "casefold")
CUTTING = ("removeprefix", "removesuffix", "strip", "rstrip")
SEPARATORS = ("", "','", "'a'", "None", "None, 1", "''")
ORDERS = ("", ", reverse=True", ", key=str", ", key=lambda q: str(q)[::-1], reverse=True")
SORT_KEYS = ("key=lambda q: str(q)", "key=lambda q: -q", "key=lambda q: len(q)")
KEYS = ("(1, 2)", "None", "1.0", "True", "l")
GONE_OVER = (
    "d",
    "d.values()",
    "d.items()",
    "enumerate(l, 2)",
    "zip(l, s)",
    "reversed(l)",
    "map(str, m)",
    "filter(None, l)",
    "(x for x in l)",
)
SETS_MADE = (
    "{x % 3 for x in range(7)}",
    "z",
    "z | {5}",
    "z & {1}",
    "z - {2}",
    "z ^ {2, 9}",
    "set(range(3)).union([7])",
)
WORDS = ("a", "b", "ab", "", "x,y", "Hello World", " pad ", "ß", "12", "-3", "a\\n", "'", '"q"', "é")


TEMPLATED = 0.35
"""How often an expression or a statement is one of the templates."""
PLACE = re.compile("<([a-z]+)>")


class Writer:
    """Writes one program."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.loops = 0
        self.functions = 0
        self.names = 0

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def made(self, *options: Callable[[], str]) -> str:
        """One of several, of which the others are not even written."""
        return self.random.choice(options)()

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def filled(self, made: Sequence[str], depth: int) -> str:
        """One of the templates, with an expression in each of its places."""

        def expression(place: re.Match[str]) -> str:
            kind = place[1]
            if kind in templates.SIMPLE:
                return self.pick(*templates.SIMPLE[kind])
            return str(getattr(self, kind)(depth))

        return PLACE.sub(expression, self.pick(*made))

    # Expressions, by the type that they most likely have.

    def anything(self, depth: int) -> str:
        made = (self.whole, self.whole, self.broken, self.text, self.several, self.mapping, self.truth)
        return self.random.choice((*made, self.tuple))(depth)

    def tuple(self, depth: int) -> str:
        return self.filled(templates.TUPLE, depth - 1) if depth > 0 else self.pick("t", "(1, 'a')", "()")

    def set(self, depth: int) -> str:
        return self.filled(templates.SET, depth - 1) if depth > 0 else self.pick("z", "{1, 3}", "set()")

    def whole(self, depth: int) -> str:
        r = self.random
        if depth <= 0 or self.chance(0.2):
            return self.pick(*INTS, str(r.randint(-9, 20)), str(r.randint(0, 3)), "True")
        deeper = depth - 1
        if self.chance(TEMPLATED):
            return self.filled(templates.WHOLE, deeper)
        made = (
            lambda: f"({self.whole(deeper)} {self.pick(*INT_SIGNS)} {self.whole(deeper)})",
            lambda: f"len({self.pick(self.text(deeper), self.several(deeper), self.mapping(deeper))})",
            lambda: f"(-{self.whole(deeper)})",
            lambda: f"abs({self.whole(deeper)})",
            lambda: f"({self.whole(deeper)} if {self.truth(deeper)} else {self.whole(deeper)})",
            lambda: f"sum([{self.whole(deeper)}, {self.whole(deeper)}])",
            lambda: f"{self.pick('min', 'max')}({self.whole(deeper)}, {self.whole(deeper)})",
            lambda: f"{self.pick('min', 'max')}({self.ints(deeper)}, key=lambda q: -q)",
            lambda: f"int({self.pick(self.broken(deeper), self.text(deeper))})",
            lambda: f"{self.text(deeper)}.{self.pick('find', 'count', 'rfind', 'index')}({self.text(0)})",
            lambda: f"{self.several(deeper)}.{self.pick('index', 'count')}({self.anything(0)})",
            lambda: f"{self.several(deeper)}[{self.whole(0)}]",
            lambda: f"({self.name()} := {self.whole(deeper)})",
            lambda: f"({self.whole(deeper)} {self.pick('<<', '>>')} {self.random.randint(-1, 5)})",
            lambda: f"(lambda a, b=2, *c, k=3: a + b + k + len(c))({self.whole(deeper)}{self.pick(*MORE)})",
            lambda: f"round({self.broken(deeper)})",
            lambda: f"{self.mapping(deeper)}[{self.text(0)}]",
            lambda: f"{self.mapping(deeper)}.get({self.text(0)}, {self.whole(0)})",
            lambda: f"call(lambda x: x * 2, {self.whole(deeper)})",
        )
        return self.random.choice(made)()

    def name(self) -> str:
        return self.pick("i", "j", "w")

    def ints(self, depth: int) -> str:
        return self.pick(
            f"[{self.whole(depth)}, {self.whole(depth)}]",
            f"range({self.random.randint(0, 6)})",
            f"[x * {self.whole(0)} for x in range({self.random.randint(0, 5)})]",
        )

    def members(self, depth: int) -> str:
        """Whole numbers that are no booleans: of equal members a set keeps its own."""
        return f"[int(x) for x in {self.ints(depth)}]"

    def broken(self, depth: int) -> str:
        if depth <= 0:
            return self.made(
                lambda: "f", lambda: "0.5", lambda: "2.0", lambda: "1e3", lambda: "-0.25", lambda: "3.7"
            )
        deeper = depth - 1
        if self.chance(TEMPLATED):
            return self.filled(templates.BROKEN, deeper)
        return self.made(
            lambda: f"({self.broken(deeper)} {self.pick(*FLOAT_SIGNS)} {self.whole(deeper)})",
            lambda: f"({self.whole(deeper)} / {self.whole(deeper)})",
            lambda: f"float({self.whole(deeper)})",
            lambda: f"round({self.broken(deeper)}, {self.random.randint(-1, 3)})",
            lambda: f"({self.pick('2', '1.5', '4')} ** {self.pick('0.5', '-1', '3', '7')})",
        )

    def text(self, depth: int) -> str:
        if depth <= 0 or self.chance(0.2):
            return self.pick(*TEXTS, *(f"{word!r}" for word in WORDS))
        deeper = depth - 1
        if self.chance(TEMPLATED):
            return self.filled(templates.TEXT, deeper)
        made = (
            lambda: f"({self.text(deeper)} + {self.text(deeper)})",
            lambda: f"({self.text(deeper)} * {self.random.randint(-1, 3)})",
            lambda: f"{self.text(deeper)}.{self.pick(*TEXT_METHODS)}()",
            lambda: f"{self.text(deeper)}.replace({self.text(0)}, {self.text(0)})",
            lambda: (
                f"{self.text(deeper)}.{self.pick('ljust', 'rjust', 'center')}({self.pick('0', '8')}, '*')"
            ),
            lambda: f"{self.text(deeper)}.zfill({self.random.randint(0, 9)})",
            lambda: f"{self.text(deeper)}[{self.slice()}]",
            lambda: f"{self.text(deeper)}[{self.whole(0)}]",
            lambda: f"{self.text(deeper)}.{self.pick(*CUTTING)}({self.text(0)})",
            lambda: f"{self.text(0)}.join({self.texts(deeper)})",
            lambda: f"str({self.anything(deeper)})",
            lambda: f"repr({self.anything(deeper)})",
            lambda: self.formatted(deeper),
            lambda: (
                f"{self.text(deeper)}.{self.pick('partition', 'rpartition')}({self.text(0)})[{self.whole(0)}]"
            ),
        )
        return self.random.choice(made)()

    def formatted(self, depth: int) -> str:
        field = self.pick(
            f"{{i:{self.pick(*INT_FORMATS)}}}",
            f"{{f:{self.pick('.2f', '8.3f', 'g', 'e', '%', '+.1f', '010.2f', 'd', ',.3f')}}}",
            f"{{s:{self.pick('>6', '<6', '^6', '.2', '*^9', 's', 'd')}}}",
            "{s!r}",
            "{l}",
            "{d!s}",
            "{u!r:>8}",
            "{i + j}",
            "{i=}",
            "{l[0]}",
            "{'{'}",
            "{True:>5}",
            "{None}",
        )
        return (
            f'f"{self.pick("", "a", "{{", "}}", "ß")}{field}{self.pick("", "b", " ")}{self.pick("", "{j}")}"'
        )

    def texts(self, depth: int) -> str:
        return self.made(
            lambda: f"[{self.text(depth)}, {self.text(depth)}]",
            lambda: f"{self.text(depth)}.split({self.pick(*SEPARATORS)})",
            lambda: f"{self.text(depth)}.splitlines()",
            lambda: f"[str(x) for x in {self.several(0)}]",
            lambda: "list(d)",
        )

    def slice(self) -> str:
        return f"{self.bound()}:{self.bound()}{self.pick('', '', ':2', ':-1', ':' + self.bound())}"

    def bound(self) -> str:
        return self.pick("", "", str(self.random.randint(-4, 5)))

    def several(self, depth: int) -> str:
        if depth <= 0 or self.chance(0.15):
            return self.pick(*LISTS, "[]", "[1, 2]", "['a']")
        deeper = depth - 1
        if self.chance(TEMPLATED):
            return self.filled(templates.SEVERAL, deeper)
        made = (
            lambda: f"[{self.anything(deeper)}, {self.anything(deeper)}]",
            lambda: f"[*{self.pick(self.several(deeper), self.text(0))}, {self.anything(0)}]",
            lambda: f"({self.several(deeper)} + {self.several(deeper)})",
            lambda: f"({self.several(deeper)} * {self.random.randint(-1, 2)})",
            lambda: f"{self.several(deeper)}[{self.slice()}]",
            lambda: f"sorted({self.several(deeper)}{self.pick(*ORDERS)})",
            lambda: f"[x for x in {self.several(deeper)}{self.pick('', ' if x', ' if x != 1')}]",
            lambda: (
                f"[(x, y) for x in range({self.whole(0)} % 4) for y in {self.several(0)} if {self.truth(0)}]"
            ),
            lambda: f"[x + {self.whole(0)} for x in {self.ints(0)}]",
            lambda: "[g() for g in [lambda x=x: x * 2 for x in range(3)]]",
            lambda: "[g() for g in [lambda: x for x in range(3)]]",
            lambda: "[[y for y in range(x)] for x in range(3)]",
            lambda: f"[w := x for x in {self.ints(0)}]",
            lambda: f"list({self.pick(self.text(deeper), self.ints(0), *GONE_OVER)})",
            lambda: f"sorted({self.pick(*SETS_MADE)})",
            lambda: f"({self.several(deeper)} or {self.several(deeper)})",
            lambda: self.texts(deeper),
        )
        return self.random.choice(made)()

    def mapping(self, depth: int) -> str:
        if depth <= 0:
            return self.pick(*DICTS, "{}", "{'a': 1}")
        deeper = depth - 1
        if self.chance(TEMPLATED):
            return self.filled(templates.MAPPING, deeper)
        return self.made(
            lambda: f"{{{self.text(0)}: {self.anything(deeper)}, {self.whole(0)}: {self.anything(0)}}}",
            lambda: f"{{**{self.mapping(deeper)}, {self.text(0)}: {self.anything(0)}}}",
            lambda: f"({self.mapping(deeper)} | {self.mapping(0)})",
            lambda: f"{{x: x * 2 for x in {self.pick(self.ints(0), self.text(0), self.several(0))}}}",
            lambda: f"dict({self.pick('d', '[(1, 2)]', 'a=1', 'd, b=3', 'zip(u, s)')})",
            lambda: f"{self.mapping(deeper)}.copy()",
            lambda: f"{{k: v for k, v in {self.mapping(0)}.items()}}",
        )

    def truth(self, depth: int) -> str:
        if depth <= 0:
            return self.made(
                lambda: "True",
                lambda: "False",
                lambda: "i",
                lambda: "l",
                lambda: "s",
                lambda: "(i > j)",
                lambda: "(not s)",
            )
        deeper = depth - 1
        if self.chance(TEMPLATED):
            return self.filled(templates.TRUTH, deeper)
        return self.made(
            lambda: (
                f"({self.whole(deeper)} {self.pick('<', '<=', '>', '>=', '==', '!=')} {self.whole(deeper)})"
            ),
            lambda: f"({self.whole(0)} < {self.whole(deeper)} <= {self.whole(0)})",
            lambda: f"({self.anything(deeper)} == {self.anything(deeper)})",
            lambda: f"({self.anything(deeper)} {self.pick('in', 'not in')} {self.several(deeper)})",
            lambda: f"({self.text(deeper)} {self.pick('<', '>=', 'in')} {self.text(deeper)})",
            lambda: f"({self.several(deeper)} {self.pick('<', '==', '!=')} {self.several(deeper)})",
            lambda: f"({self.truth(deeper)} {self.pick('and', 'or')} {self.truth(deeper)})",
            lambda: f"(not {self.truth(deeper)})",
            lambda: f"{self.pick('any', 'all')}([{self.truth(deeper)}, {self.truth(0)}])",
            lambda: f"isinstance({self.anything(deeper)}, {self.pick('int', 'str', '(list, dict)', 'bool')})",
            lambda: f"{self.text(deeper)}.{self.pick('startswith', 'endswith')}({self.text(0)})",
            lambda: (
                f"{self.text(deeper)}.{self.pick('isdigit', 'isalpha', 'isupper', 'isspace', 'isalnum')}()"
            ),
            lambda: f"({self.anything(0)} is {self.pick('None', 'not None', 'True')})",
            lambda: f"bool({self.anything(deeper)})",
        )

    # Statements, each a list of lines.

    def statement(self, depth: int, *, loop: bool = False, function: bool = False) -> list[str]:
        simple = (
            self.assign,
            self.assign,
            self.augment,
            self.element,
            self.call,
            self.unpack,
            self.leave_by_error,
        )
        if loop and self.chance(0.2):
            return [f"if {self.truth(1)}:", f"    {self.pick('break', 'continue')}"]
        if function and self.chance(0.15):
            return [f"if {self.truth(1)}:", f"    return {self.anything(1)}"]
        if self.chance(TEMPLATED):
            templated = BLOCKS if self.chance(0.4) else templates.STATEMENTS
            return self.filled(templated, 1).split("\n")
        if depth <= 0 or self.chance(0.5):
            return self.random.choice(simple)()
        made = self.random.choice((self.branch, self.loop_for, self.loop_while, self.attempt, self.define))
        return made(depth - 1, loop=loop, function=function)

    def body(self, depth: int, *, loop: bool, function: bool) -> list[str]:
        lines: list[str] = []
        for _ in range(self.random.randint(1, 3)):
            lines += self.statement(depth, loop=loop, function=function)
        return [f"    {line}" for line in lines]

    def assign(self) -> list[str]:
        return [
            self.made(
                lambda: f"{self.pick(*INTS)} = {self.whole(3)}",
                lambda: f"f = {self.broken(2)}",
                lambda: f"{self.pick(*TEXTS)} = {self.text(3)}",
                lambda: f"{self.pick(*LISTS)} = {self.several(3)}",
                lambda: f"d = {self.mapping(2)}",
                lambda: f"z = {{int({self.whole(1)}), int({self.whole(1)})}}",
                lambda: f"i = j = {self.whole(2)}",
                lambda: f"n{self.random.randint(0, 2)}: int = {self.whole(1)}",
            )
        ]

    def augment(self) -> list[str]:
        return [
            self.made(
                lambda: (
                    f"{self.pick(*INTS)} {self.pick('+', '-', '*', '//', '%', '|', '<<')}= {self.whole(2)}"
                ),
                lambda: f"f {self.pick('+', '-', '*', '/')}= {self.broken(1)}",
                lambda: f"s += {self.text(1)}",
                lambda: f"l += {self.pick(self.several(1), self.text(0), '(1, 2)')}",
                lambda: f"l[{self.whole(0)}] {self.pick('+', '-', '*')}= {self.anything(0)}",
                lambda: f"d[{self.text(0)}] += {self.anything(0)}",
                lambda: f"d |= {self.mapping(1)}",
                lambda: f"z |= {{int({self.whole(0)})}}",
                lambda: f"l *= {self.random.randint(0, 2)}",
            )
        ]

    def element(self) -> list[str]:
        return [
            self.made(
                lambda: f"l[{self.whole(0)}] = {self.anything(1)}",
                lambda: f"l[{self.slice()}] = {self.several(1)}",
                lambda: f"d[{self.pick(self.text(1), self.whole(0), *KEYS)}] = {self.anything(1)}",
                lambda: f"del l[{self.pick(self.whole(0), self.slice())}]",
                lambda: f"del d[{self.text(0)}]",
                lambda: f"d[{self.text(0)}][{self.whole(0)}] = 1",
            )
        ]

    def call(self) -> list[str]:
        return [
            self.made(
                lambda: f"l.{self.pick('append', 'remove')}({self.anything(1)})",
                lambda: f"l.extend({self.several(1)})",
                lambda: f"l.insert({self.whole(0)}, {self.anything(0)})",
                lambda: f"l.pop({self.pick('', self.whole(0))})",
                lambda: f"l.{self.pick('reverse', 'clear')}()",
                lambda: f"l.sort({self.pick(*SORT_KEYS)}{self.pick('', ', reverse=True')})",
                lambda: f"d.pop({self.text(0)}{self.pick('', ', 0')})",
                lambda: f"d.setdefault({self.text(0)}, []).append({self.whole(0)})",
                lambda: f"d.update({self.pick(self.mapping(1), 'k=1', '[(1, 2)]')})",
                lambda: f"z.{self.pick('add', 'discard', 'remove')}(int({self.whole(0)}))",
                lambda: f"{self.anything(2)}",
                lambda: "m = l",
                lambda: "m = l[:]",
            )
        ]

    def unpack(self) -> list[str]:
        return [
            self.made(
                lambda: "i, j = j, i",
                lambda: f"i, *l = {self.several(1)}",
                lambda: f"*l, j = {self.several(1)}",
                lambda: f"i, (j, s) = {self.whole(1)}, [{self.whole(0)}, {self.text(0)}]",
                lambda: f"(i, j), f = {self.several(1)}, {self.broken(0)}",
                lambda: f"l[0], l[1] = {self.several(1)}",
                lambda: "s, u = u",
            )
        ]

    def leave_by_error(self) -> list[str]:
        return [
            self.made(
                lambda: f"assert {self.truth(1)}, {self.text(0)}",
                lambda: f"raise {self.pick('ValueError', 'KeyError', 'RuntimeError')}({self.text(1)})",
                lambda: "raise TypeError",
                lambda: "pass",
            )
        ]

    def branch(self, depth: int, *, loop: bool, function: bool) -> list[str]:
        lines = [f"if {self.truth(2)}:", *self.body(depth, loop=loop, function=function)]
        if self.chance(0.4):
            lines += [f"elif {self.truth(1)}:", *self.body(depth, loop=loop, function=function)]
        if self.chance(0.5):
            lines += ["else:", *self.body(depth, loop=loop, function=function)]
        return lines

    def loop_for(self, depth: int, *, loop: bool, function: bool) -> list[str]:
        goes_over = self.pick(
            f"for i in range({self.random.randint(0, 5)}):",
            f"for w in {self.several(1)}[:4]:",
            f"for k in list({self.mapping(0)})[:4]:",
            "for k, w in list(d.items())[:4]:",
            f"for i, w in enumerate({self.text(1)}[:4]):",
            "for w, *k in [(1, 2, 3), 'ab', [4]]:",
            "for l[0] in range(3):",
        )
        lines = [goes_over, *self.body(depth, loop=True, function=function)]
        if self.chance(0.3):
            lines += ["else:", *self.body(depth, loop=loop, function=function)]
        return lines

    def loop_while(self, depth: int, *, loop: bool, function: bool) -> list[str]:
        self.loops += 1
        count = f"c{self.loops}"
        body = self.body(depth, loop=True, function=function)
        lines = [
            f"{count} = 0",
            f"while {count} < {self.random.randint(1, 4)} and {self.truth(1)}:",
            f"    {count} += 1",
            *body,
        ]
        if self.chance(0.3):
            lines += ["else:", *self.body(depth, loop=loop, function=function)]
        return lines

    def attempt(self, depth: int, *, loop: bool, function: bool) -> list[str]:
        lines = ["try:", *self.body(depth, loop=loop, function=function)]
        handled = self.chance(0.8)
        if handled:
            self.names += 1
            name = f"e{self.names}"
            kinds = self.pick(
                *("ZeroDivisionError", "(KeyError, IndexError)", "LookupError", "Exception", "ValueError"),
                *("TypeError", "(ArithmeticError, AssertionError)", "RuntimeError"),
            )
            as_ = self.chance(0.3)
            lines += [f"except {kinds} as {name}:" if as_ else f"except {kinds}:"]
            lines += self.body(depth, loop=loop, function=function)
            if as_:
                asked = self.pick("KeyError", "Exception", "ValueError")
                lines += [f"    log.append(isinstance({name}, {asked}))"]
            if self.chance(0.2):
                lines += ["    raise"]
            if self.chance(0.3):
                lines += ["except:", *self.body(depth, loop=loop, function=function)]
            if self.chance(0.3):
                lines += ["else:", *self.body(depth, loop=loop, function=function)]
        if not handled or self.chance(0.4):
            lines += ["finally:", *self.body(depth, loop=False, function=False)]
        return lines

    def define(self, depth: int, *, loop: bool, function: bool) -> list[str]:
        self.functions += 1
        name = f"fn{self.functions}"
        parameters, given = self.random.choice(
            (
                ("", ""),
                ("a", self.anything(1)),
                ("a, b=2", self.anything(1)),
                ("a, b=2", f"b={self.anything(0)}, a={self.anything(0)}"),
                ("a, *b", f"*{self.several(0)}"),
                ("a, *, k=1", f"{self.anything(0)}, k={self.anything(0)}"),
                ("a=[]", ""),
                ("**k", "x=1, y=2"),
                ("a, /, b", f"{self.anything(0)}, b=1"),
                ("a", ""),
            )
        )
        scope = self.pick("", "", "    global i", "    global l")
        inner = self.body(min(depth, 1), loop=False, function=True)
        if not scope and self.chance(0.3):
            inner = [
                "    x = 0",
                "    def add(n):",
                "        nonlocal x",
                "        x += n",
                "        return x",
            ]
            inner += [f"    return [add({self.whole(0)}) for q in range(2)]"]
        lines = [f"def {name}({parameters}):", *([scope] if scope else []), *inner]
        return [
            *lines,
            f"log.append(show({name}({given})))",
            *([f"{name}({given})"] if self.chance(0.2) else []),
        ]


def program(seed: int) -> str:
    """The source of a program. It leaves what it noted in `log`."""
    writer = Writer(seed)
    lines = [HEAD]
    for _ in range(writer.random.randint(2, 5)):
        lines += ["try:", *(f"    {line}" for line in writer.statement(3))]
        lines += ["except Exception as error:", "    log.append(kind(error))"]
        lines += [f"log.append([{', '.join(f'show({name})' for name in STATE)}])"]
    return "\n".join(lines) + "\n"
