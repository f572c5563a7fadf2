"""Random sources of snippets, good ones and bad ones, each made from a seed.

    source(7)     # (kind, text) of input 7

Bytes that are no text, characters that hide, soups of tokens, programs that were damaged, trees
of every node that Python has, and calls of everything there is with values that do not fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from keyword import kwlist, softkwlist
from pathlib import Path
from random import Random
from typing import Any, Final

from playhead.snippet.helpers import HELPERS
from playhead.snippet.methods import METHODS
from playhead.snippet.values import ERROR_TYPES, SetValue
from tests.checkout import ROOT
from tests.snippet.host import BINDINGS
from tests.snippet.nonsense import Nonsense
from tests.snippet.programs import program
from tests.snippet.random_trees import tree
from tests.snippet.test_language import ALIKE, DIFFERENT

HERE: Final = Path(__file__).parent
CODECS: Final = (
    "utf-8",
    "utf-8-sig",
    "latin-1",
    "utf-16",
    "utf-16-le",
    "utf-32-le",
    "cp437",
    "utf-7",
    "ascii",
)
ERRORS: Final = ("replace", "surrogateescape", "ignore", "backslashreplace")
ODD: Final = (
    *"\x00\x01\x0b\x0c\r\x1a\x1b\x7f\x85\xa0\xad",
    *"\u061c\u115f\u180e\u200b\u200d\u200e\u2028\u2029\u202e\u2066\u2069\u3000\ufeff\ufffe\uff08\uff21",
    *"\ud800\udfff\U00013430\U000e0001\U0010ffff\u0661\u0130\u00df\u00aa\u1e9e\u0345\u212a\u01c5",
    *("e\u0301", "\ud83d\ude00", "\U0001f600", "\r\n", "\\\n", "\\\r\n", "\\N{DIGIT ONE}", "\\x4", "\\777"),
)
SIGNS: Final = (
    *"()[]{}:;,.@=+-*/%&|^~<>!#'\"\\`$?",
    *(
        "**",
        "//",
        "<<",
        ">>",
        ":=",
        "->",
        "==",
        "!=",
        "<=",
        ">=",
        "+=",
        "**=",
        "//=",
        ">>=",
        "...",
        "'''",
        '"""',
    ),
)
WORDS: Final = (*kwlist, *softkwlist, "__import__", "__class__", "self", "x", "y", "x", "y")
NUMBERS: Final = (
    *(
        "0",
        "1",
        "2",
        "-1",
        "9223372036854775807",
        "9223372036854775808",
        "1e308",
        "1e999",
        "0x",
        "0x_f",
        "0b12",
    ),
    *("1_000", "1__0", "0777", "1j", "1e", ".5", "5.", "1.e3", "0" * 70, "1" * 5_000, "1if", "0xfor"),
)
TEXTS: Final = (
    *("'a'", '"b"', "''", "f'{x}'", "f'{x!r:>9}'", "f'{'", "f'}'", "f'{{'", "rb'a'", "u'a'", "t'{x}'"),
    *("'\\ud800'", "'\\z'", "f'{x:{y}}'", "f'{x=}'", 'f"{x!z}"', "'a' 'b'", "'", '"', "'''", "f'''{\nx}'''"),
)
BLANKS: Final = (
    " ",
    " ",
    " ",
    " ",
    "",
    "\n",
    "\n",
    "\n    ",
    "\n        ",
    "\n\t",
    "\t",
    "\n  ",
    "\\\n",
    "\x0c",
)
NAMES: Final = (
    *HELPERS,
    *ERROR_TYPES,
    *BINDINGS,
    *(f".{name}" for table in (METHODS[kind] for kind in (str, list, dict, SetValue)) for name in table),
)
HEAD: Final = """\
log = []
def show(v):
    return repr(v)
def call(fn, *args, **named):
    return fn(*args, **named)
i, j, f, s, u, l, m, d, z = 3, -2, 1.5, "abc", "x,y", [1, 2, 3], ["a", "b"], {"a": 1, "b": [2]}, {1, 2}
"""
PIECES: Final = re.compile(r"\w+|\s+|[^\w\s]")
LARGE: Final = 0.01
"""How many inputs are as long as a snippet may be, or longer."""


def source(seed: int) -> tuple[str, str]:
    """The kind of an input, and its text."""
    random = Random(seed)
    kind = random.choice(tuple(KINDS))
    return kind, KINDS[kind](random)


# Bytes and characters.


def _bytes(random: Random) -> str:
    data = random.randbytes(random.choice((1, 7, 60, 300)))
    if random.random() < 0.5:
        text = random.choice(good()).encode("utf-8", "surrogatepass")
        at = random.randrange(len(text) + 1)
        data = text[:at] + data[:9] + text[at:]
    codec = random.choice(CODECS)
    try:
        return data.decode(codec, "surrogatepass" if random.random() < 0.2 else random.choice(ERRORS))
    except UnicodeError:
        return data.decode("latin-1")


def _characters(random: Random) -> str:
    alphabet = random.choice(
        ("([{)]}", "'\"\\\n", " \t\n:", "f'{}!:=", "0123456789._ejxob", "()" + "abc,.", "-+*~not ")
    )
    size = random.choice((3, 20, 100, 400))
    found = [random.choice(alphabet) for _ in range(size)]
    for _ in range(random.randrange(3)):
        found[random.randrange(size)] = random.choice(ODD)
    return "".join(found)


def _repeated(random: Random) -> str:
    """One thing over and over, with an end that fits or does not."""
    start, inner, end = random.choice(
        (
            *(
                ("(", "1", ")"),
                ("[", "", "]"),
                ("{", "1", "}"),
                ("f(", "1", ")"),
                ("x[", "0", "]"),
                ("-", "1", ""),
            ),
            *(("not ", "x", ""), ("lambda: ", "1", ""), ("1 if ", "x", " else 0"), ("x.strip()", "", "")),
            *(
                ("1 + ", "1", ""),
                ("1 < ", "2", ""),
                ("x and ", "y", ""),
                ("x = ", "1", ""),
                ("if x:\n ", "pass", ""),
            ),
            *(
                ("f'{", "x", "}'"),
                ("[x for x in ", "y", "]"),
                ("await ", "f()", ""),
                ("*", "x", ""),
                ("x,", "", ""),
            ),
            *(
                ("x;", "", ""),
                ("'a' ", "", ""),
                ("elif x:\n  pass\n", "", ""),
                ("\\\n", "x", ""),
                ("#", "", "\n"),
            ),
            *(
                ("def f():\n ", "pass", ""),
                ("for x in [", "]: pass", ""),
                ("return ", "1", ""),
                ("\n", "", ""),
            ),
            *(
                ("try:\n ", "pass", "\nfinally: pass"),
                ("(y := ", "1", ")"),
                ("{**", "{}", "}"),
                ("f(*", "x", ")"),
            ),
        )
    )
    most = (3_000, 20_000) if random.random() < 5 * LARGE else (5, 38, 42, 130, 260)
    times = random.choice(most)
    closing = end * (times if random.random() < 0.8 else random.randrange(times))
    head = random.choice(
        ("", "x = y = 'a'\n", "return ", "def f(x): return x\nx = y = [1]\n", "if 1:\n    pass\n")
    )
    return f"{head}{start * times}{inner}{closing}"


def _soup(random: Random) -> str:
    bags = (WORDS, SIGNS, NUMBERS, TEXTS, NAMES, SIGNS, WORDS)
    found: list[str] = []
    for _ in range(random.choice((3, 10, 40, 120))):
        found += [random.choice(random.choice(bags)), random.choice(BLANKS)]
    if random.random() < 0.1:
        found.insert(random.randrange(len(found)), random.choice(ODD))
    return "".join(found)


# Programs that were damaged.


@cache
def good() -> tuple[str, ...]:
    """Programs that run, or nearly."""
    attacks = [
        each["code"]
        for name in ("attacks.json", "more_attacks.json")
        for each in json.loads((HERE / name).read_text(encoding="utf-8"))
    ]
    pages = [
        block
        for page in ("composition.md", "snippet_language.md")
        for block in re.findall(
            r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL
        )
    ]
    alike = [*ALIKE.values(), *(each.source for each in DIFFERENT.values())]
    return tuple(each for each in (*attacks, *pages, *alike, *alike) if 0 < len(each) < 1_500)


def _damaged(random: Random) -> str:
    return _mutated(random, random.choice(good()))


def _damaged_program(random: Random) -> str:
    """One statement of a random program of those that CPython runs too."""
    units = program(random.randrange(10_000)).split("\ntry:\n")[1:]
    statement = random.choice(units).partition("\nexcept Exception as error:")[0]
    return _mutated(random, f"{HEAD}try:\n{statement}\nfinally:\n    log.append(d)\nreturn log\n")


def _mutated(random: Random, text: str) -> str:
    pieces = PIECES.findall(text) if random.random() < 0.8 else list(text)
    for _ in range(random.choice((0, 1, 1, 2, 3, 8))):
        at = random.randrange(len(pieces) + 1)
        here, there = pieces[at : at + 1], random.randrange(len(pieces) + 1)
        pieces[at : at + 1] = random.choice(
            (
                [],
                here * 2,
                pieces[there : there + 1],
                [random.choice(ODD), *here],
                [random.choice(random.choice((WORDS, SIGNS, NUMBERS, TEXTS, NAMES))), *here],
                [random.choice(BLANKS), *here],
                [*here, *pieces[there : there + random.randrange(12)]],
            )
        )
    if random.random() < 0.2:
        other = PIECES.findall(random.choice(good()))
        pieces = pieces[: random.randrange(len(pieces) + 1)] + other[random.randrange(len(other)) :]
    return "".join(pieces)


# Sizes.


def _long(random: Random) -> str:
    """A good program so often that it comes near to what a snippet may be, or over it."""
    if random.random() > 5 * LARGE:
        return random.choice(good())
    text = f"{random.choice(good())}\n"
    most = random.choice((8_000, 32_760, 32_768, 33_000, 70_000))
    return (text * (most // len(text) + 1))[:most]


KINDS: Final[dict[str, Callable[[Random], Any]]] = {
    "bytes": _bytes,
    "characters": _characters,
    "repeated": _repeated,
    "soup": _soup,
    "damaged": _damaged,
    "damaged again": _damaged,
    "damaged program": _damaged_program,
    "tree": lambda random: tree(random, everything=True),
    "tree of snippets": lambda random: tree(random, everything=False),
    "nonsense": lambda random: Nonsense(random).program(),
    "more nonsense": lambda random: Nonsense(random).program(),
    "most nonsense": lambda random: Nonsense(random).program(),
    "damaged nonsense": lambda random: _mutated(random, Nonsense(random).program()),
    "long": _long,
}
