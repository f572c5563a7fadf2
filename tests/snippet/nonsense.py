"""Programs that pass the check, and call everything there is with values that do not fit.

Nonsense(Random(7)).program()
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from playhead.snippet.helpers import HELPERS
from playhead.snippet.methods import METHOD_NAMES
from playhead.snippet.values import ERROR_TYPES
from tests.snippet.host import BINDINGS

VALUES: Final = (
    *(
        "0",
        "1",
        "2",
        "-1",
        "7",
        "True",
        "None",
        "9223372036854775807",
        "-9223372036854775808",
        "4294967296",
        "-4294967296",
    ),
    *("0.0", "-0.0", "1.5", "1e308", "5e-324", "float('inf')", "float('-inf')", "float('nan')"),
    *(
        "''",
        "'a'",
        "'a,b'",
        "'{}'",
        "'.a[0]'",
        "'/a/0'",
        "'[1, 2'",
        "'\\ud800'",
        "'\\U0001f600'",
        "'ß' * 99",
        "'a b\\n' * 40",
    ),
    *(
        "' 12 '",
        "'1e5'",
        "'\\x00'",
        "'\\t'",
        "'.'",
        "'.[]|.a?'",
        "'select(.a)'",
        "'aGk='",
        "'6869'",
        "'%s'",
        "'{{{}}}'",
    ),
    *(
        "[]",
        "[1, 2, 3]",
        "['b', 'a']",
        "[[1], [2]]",
        "[None]",
        "[[1, 2], ('a', 3)]",
        "[0] * 300",
        "[{'a': 1}, {'a': 2}]",
    ),
    *(
        "()",
        "(1,)",
        "('a', 1.0)",
        "{}",
        "{'a': 1}",
        "{'a': [1], 1: 2}",
        "{'ok': True}",
        "{1, 2}",
        "set()",
        "{'a', None}",
    ),
    *(
        "range(3)",
        "range(0)",
        "range(9223372036854775807)",
        "range(-9223372036854775808, 9223372036854775807)",
    ),
    *(
        "range(5, -5, -2)",
        "len",
        "str",
        "ValueError",
        "ValueError('a')",
        "KeyError('k', 1)",
        "echo",
        "(lambda: 1)",
    ),
)
VARIABLES: Final = ("a", "b", "c", "d", "g", "h")
SPECS: Final = (
    *(
        "",
        "",
        ":5",
        ":>9",
        ":*^7",
        ":+d",
        ":,",
        ":_x",
        ":#b",
        ":e",
        ":.2f",
        ":%",
        ":c",
        ":s",
        ":z.1f",
        ":=8",
        ":05",
        ":999",
    ),
    *(
        "!r",
        "!a",
        "!s:>4",
        "=",
        "!r:.3",
        ":.999f",
        ":\ud800<5".encode("ascii", "ignore").decode(),
        ":010.3g",
        ": d",
        ":x",
    ),
)
KEYWORDS: Final = (
    *(
        "key",
        "default",
        "reverse",
        "start",
        "strict",
        "sep",
        "end",
        "concurrency",
        "value",
        "base",
        "ndigits",
    ),
    *("maxsplit", "count", "tabsize", "keepends", "a", "b", "query", "limit", "path", "ms", "message"),
)
SIGNS: Final = ("+", "-", "*", "/", "//", "%", "**", "<<", ">>", "&", "|", "^")
COMPARISONS: Final = ("<", "<=", ">", ">=", "==", "!=", "in", "not in")
HELPER_NAMES: Final = (*HELPERS, "map_bounded", "map_bounded", "jq", "format", "sorted", "print", "map")
METHODS: Final = tuple(sorted(METHOD_NAMES))
TOOLS: Final = tuple(name for name, binding in BINDINGS.items() if not binding.refusal)
ERRORS: Final = tuple(ERROR_TYPES)


class Nonsense:
    """Writes one program."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.functions = 0

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def program(self) -> str:
        """The source. Each statement stands in a `try` of its own, often."""
        lines = [f"{', '.join(VARIABLES)} = {', '.join(self.pick(*VALUES) for _ in VARIABLES)}"]
        if self.random.random() < 0.3:
            asked = self.pick("echo(1)", "search('a', limit=2)", "map_bounded([1, 2, 3], echo)", "fail('a')")
            lines += [
                "try:",
                f"    a = b = {asked}",
                "except ToolError as c:",
                f"    d = {self.pick('str(c)', 'c')}",
            ]
        for _ in range(self.random.choice((1, 1, 2, 4))):
            statement = self.statement(2)
            if self.random.random() < 0.8:
                kinds = self.pick(
                    "", " Exception", " Exception as g", " (TypeError, ValueError, LookupError)"
                )
                lines += [
                    "try:",
                    *(f"    {line}" for line in statement),
                    f"except{kinds}:",
                    f"    {self.simple()}",
                ]
            else:
                lines += statement
        return "\n".join(
            [*lines, f"return {self.pick('a', 'str(b)', '[c, d]', 'g', 'hash_value(h)', self.value(2))}"]
        )

    # Expressions.

    def value(self, depth: int) -> str:
        r = self.random
        if depth <= 0 or r.random() < 0.25:
            return self.pick(*VARIABLES) if r.random() < 0.5 else self.pick(*VALUES)
        made: tuple[Callable[[int], str], ...] = (
            lambda d: f"{self.pick(*HELPER_NAMES)}({self.arguments(d)})",
            lambda d: f"{self.pick(*HELPER_NAMES)}({self.arguments(d)})",
            lambda d: f"({self.value(d)}).{self.pick(*METHODS)}({self.arguments(d)})",
            lambda d: f"({self.value(d)}).{self.pick(*METHODS)}({self.arguments(d)})",
            lambda d: f"({self.value(d)} {self.pick(*SIGNS)} {self.value(d)})",
            lambda d: f"({self.value(d)} {self.pick(*COMPARISONS)} {self.value(d)})",
            lambda d: f"({self.value(d)} < {self.value(d)} {self.pick(*COMPARISONS)} {self.value(0)})",
            lambda d: f"({self.pick('-', '+', '~', 'not ')}{self.value(d)})",
            lambda d: f"({self.value(d)} {self.pick('and', 'or')} {self.value(d)})",
            lambda d: f"({self.value(d)} if {self.value(0)} else {self.value(d)})",
            lambda d: f"({self.value(d)})[{self.index(d)}]",
            lambda d: f"[{self.value(d)}, *{self.value(0)}]",
            lambda d: f"({self.value(d)}, {self.value(0)})",
            lambda d: f"{{{self.value(d)}: {self.value(0)}, **{self.value(0)}}}",
            lambda d: f"{{{self.value(d)}, {self.value(0)}}}",
            lambda d: f'f"{{({self.field()}){self.pick(*SPECS)}}}x"',
            self.comprehension,
            lambda d: f"({self.pick(*VARIABLES)} := {self.value(d)})",
            lambda d: f"({self.function()})({self.arguments(d)})",
            lambda d: self.function(),
            lambda d: f"{self.pick(*TOOLS)}({self.arguments(d)})",
            lambda d: f"{self.pick('echo', 'read_file', 'fail', 'slow', 'search')}({self.value(d)})",
            lambda d: f"map_bounded({self.value(d)}, {self.function()}, concurrency={self.value(0)})",
            lambda d: f"{self.pick('sorted', 'max', 'min')}({self.value(d)}, key={self.function()})",
            lambda d: f"{self.pick(*VARIABLES)}({self.arguments(d)})",
            lambda d: f"{self.pick(*ERRORS)}({self.arguments(d)})",
        )
        return r.choice(made)(depth - 1)

    def field(self) -> str:
        return self.pick(*VARIABLES) if self.random.random() < 0.5 else self.pick(*VALUES[:19])

    def index(self, depth: int) -> str:
        if self.random.random() < 0.6:
            return self.value(depth)
        return ":".join(self.pick("", self.value(0)) for _ in range(self.random.choice((2, 3))))

    def arguments(self, depth: int) -> str:
        found: list[str] = []
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 2, 3))):
            star = "*" if self.random.random() < 0.07 else ""
            found.append(f"{star}{self.value(depth)}")
        if self.random.random() < 0.15:
            found.append(f"{self.pick(*KEYWORDS)}={self.value(depth)}")
        if self.random.random() < 0.04:
            found.append(f"**{self.value(0)}")
        return ", ".join(found)

    def comprehension(self, depth: int) -> str:
        opening, closing = self.random.choice(("[]", "{}", "()"))
        condition = self.pick("", "", f" if {self.value(0)}")
        more = self.pick("", "", f" for q in {self.value(0)}")
        target = self.pick("a", "b", "a, b", "(a, *b)", "c[0]")
        pair = f"{self.value(0)}: " if opening == "{" and self.random.random() < 0.5 else ""
        goes_over = self.value(depth).replace(":=", "==")
        rounds = f"for {target} in {goes_over}{more.replace(':=', '==')}"
        return f"{opening}{pair}{self.value(depth)} {rounds}{condition}{closing}"

    def function(self) -> str:
        head = self.pick("q", "q, w=1", "*q", "", "q, /, *, w=2", "**q")
        return f"(lambda {head}: {self.value(1)})"

    # Statements, each a list of lines.

    def simple(self) -> str:
        return self.pick(
            "pass", f"{self.pick(*VARIABLES)} = {self.value(1)}", f"print({self.value(1)})", "raise"
        )

    def assigned(self) -> str:
        return self.pick(
            *VARIABLES,
            f"{self.pick(*VARIABLES)}[{self.index(0)}]",
            "a, b",
            "(c, *d)",
            "[a, (b, c)]",
            "a = b[0]",
        )

    def body(self, depth: int) -> list[str]:
        return [f"    {line}" for _ in range(self.random.randint(1, 2)) for line in self.statement(depth)]

    def statement(self, depth: int) -> list[str]:
        made: tuple[Callable[[], list[str]], ...] = (
            lambda: [f"{self.assigned()} = {self.value(3)}"],
            lambda: [f"{self.assigned()} = {self.value(3)}"],
            lambda: [f"{self.value(3)}"],
            lambda: [f"{self.pick(*VARIABLES)} {self.pick(*SIGNS)}= {self.value(2)}"],
            lambda: [f"{self.pick(*VARIABLES)}[{self.index(0)}] {self.pick(*SIGNS)}= {self.value(2)}"],
            lambda: [f"del {self.pick(*VARIABLES)}[{self.index(0)}]"],
            lambda: [f"raise {self.value(1)}{self.pick('', '', f' from {self.value(0)}')}"],
            lambda: [f"raise {self.pick(*ERRORS)}({self.arguments(1)})"],
            lambda: [f"assert {self.value(1)}, {self.value(1)}"],
            lambda: [f"print({self.arguments(2)})"],
            lambda: [f"return {self.value(2)}"],
            self.grown,
        )
        deep: tuple[Callable[[int], list[str]], ...] = (
            lambda d: [f"if {self.value(1)}:", *self.body(d), "else:", *self.body(d)],
            lambda d: [f"for {self.pick('a', 'a, b', '*a, b', 'c[0]')} in {self.value(2)}:", *self.body(d)],
            lambda d: [
                f"while {self.value(1)}:",
                *self.body(d),
                f"    {self.pick('break', 'continue', 'pass')}",
            ],
            lambda d: [
                "try:",
                *self.body(d),
                f"except {self.pick(*ERRORS)} as h:",
                *self.body(d),
                "    raise",
            ],
            lambda d: ["try:", *self.body(d), "finally:", *self.body(d)],
            self.defined,
        )
        if depth > 0 and self.random.random() < 0.4:
            return self.random.choice(deep)(depth - 1)
        return self.random.choice(made)()

    def defined(self, depth: int) -> list[str]:
        self.functions += 1
        name = f"f{self.functions}"
        head = self.pick("", "a", "a, b=1", "*a", "a, /, b", "*, a=2", "a, *b, c=3, **d")
        scope = self.pick("    pass", "    global g", "    nonlocal_ = 1")
        return [f"def {name}({head}):", scope, *self.body(depth), f"b = {name}({self.arguments(1)})"]

    def grown(self) -> list[str]:
        """A value that grows into itself, round after round."""
        name = self.pick(*VARIABLES)
        made = self.pick(
            f"[{name}]",
            f"({name},)",
            f"{{'a': {name}}}",
            f"ValueError({name})",
            f"{name} + {name}",
            f"[{name}, {name}]",
            f"{name} * 2",
            f"(lambda q={name}: q)",
            f"str({name})",
            f"KeyError({name}, 1)",
        )
        return [
            f"for q in range({self.pick('5', '70', '3000')}):",
            f"    {name} = {made}",
            f"{self.value(1)}",
        ]
