"""The tokens of a snippet, looked at before Python's parser is.

Two things are held here. Nothing reaches the parser that could overflow its stack or keep
it busy: brackets, blocks and chains of operators have a greatest depth. And nothing
is accepted that only some releases of Python accept, or accept with a warning: texts end,
and fields of f-strings are written, as Python 3.11 has it.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from playhead.snippet.diagnostic import Position, Problems, shown
from playhead.snippet.strings import Literal, read_literal

BRACKETS_MAX: Final = 40
BLOCKS_MAX: Final = 40
CHAIN_MAX: Final = 250
ELIF_MAX: Final = 200
NUMBER_LENGTH_MAX: Final = 60

_KEYWORDS_THAT_CHAIN: Final = frozenset(
    ["and", "or", "not", "if", "else", "lambda", "await", "in", "is", "for"]
)
_KEYWORDS: Final = _KEYWORDS_THAT_CHAIN | frozenset(
    [
        "False",
        "None",
        "True",
        "as",
        "assert",
        "async",
        "break",
        "class",
        "continue",
        "def",
        "del",
        "elif",
        "except",
        "finally",
        "from",
        "global",
        "import",
        "nonlocal",
        "pass",
        "raise",
        "return",
        "try",
        "while",
        "with",
        "yield",
    ]
)
_VALUES: Final = frozenset({"None", "True", "False"})
_PREFIXES: Final = frozenset({"r", "u", "b", "f", "rf", "fr", "rb", "br", "t", "rt", "tr"})
_CLOSES: Final = {"(": ")", "[": "]", "{": "}"}
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_DIGITS: Final = frozenset("0123456789")
_IN_NUMBERS: Final = {"x": "0123456789abcdefABCDEF_", "o": "01234567_", "b": "01_"}
# Categories of characters in names. The old table is the same in every release of Python.
_IN_NAMES: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "Mn", "Mc", "Nd", "Pc"})


def check_tokens(text: str, problems: Problems) -> None:
    """Note what Python's parser should not get to see."""
    _Lexer(text, problems).run()


class _Level:
    """What stands inside of one bracket, since the last comma."""

    __slots__ = ("chain", "lambdas", "opening")

    def __init__(self, opening: str) -> None:
        self.opening = opening
        self.chain = 0
        self.lambdas = 0


class _Lexer:
    """Reads tokens one after the other.

    `field`: the place of the f-string whose field this is, inside of so many brackets. There are never more
    than four f-strings inside of each other, because each has quotes of its own.
    """

    def __init__(
        self, text: str, problems: Problems, field: Position | None = None, brackets: int = 0
    ) -> None:
        self.text = text
        self.problems = problems
        self.field = field
        self.brackets = brackets
        self.at = 0
        self.line = 1
        self.line_start = 0
        self.levels = [_Level("")]
        self.chain = 0
        self.after_value = False
        self.blocks = [0]
        self.elifs = 0
        self.first: list[str] = []
        """The first tokens of the statement."""

    def run(self) -> None:
        self.begin_line()
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "\n":
                self.end_line()
            elif character in " \t":
                self.at += 1
            elif character == "#":
                self.comment()
            elif character == "\\":
                self.continuation()
            elif character in "\"'":
                self.literal("")
            elif character in _LETTERS or character > "\x7f":
                self.word()
            elif character in _DIGITS or (character == "." and self.peek(1) in _DIGITS):
                self.number()
            elif character in "([{":
                self.open(character)
            elif character in ")]}":
                self.close(character)
            else:
                self.sign(character)

    # Places.

    def peek(self, ahead: int) -> str:
        return self.text[self.at + ahead : self.at + ahead + 1]

    def place(self, start: int, end: int) -> Position:
        if self.field is not None:
            return self.field
        col = start - self.line_start + 1
        return Position(self.line, col, self.line, col + max(end - start, 1))

    def problem(self, start: int, end: int, code: str, message: str, hint: str = "") -> None:
        self.problems.add(self.place(start, end), code, message, hint)

    # Lines.

    def begin_line(self) -> None:
        """Measure how far the line that begins here is set in."""
        width, at = 0, self.at
        while self.text[at : at + 1] in (" ", "\t"):
            width = width + 1 if self.text[at] == " " else (width // 8 + 1) * 8
            at += 1
        if self.text[at : at + 1] in ("", "\n", "#") or self.field is not None:
            return
        while width < self.blocks[-1]:
            self.blocks.pop()
        if width > self.blocks[-1]:
            self.blocks.append(width)
        if len(self.blocks) > BLOCKS_MAX:
            self.problem(at, at + 1, "depth", f"blocks are nested deeper than {BLOCKS_MAX}")
            self.at = len(self.text)

    def end_line(self) -> None:
        self.at += 1
        self.line += 1
        self.line_start = self.at
        if len(self.levels) == 1 and self.field is None:
            self.end_statement()
            self.begin_line()

    def end_statement(self) -> None:
        self.levels = [_Level("")]
        self.chain = 0
        self.after_value = False
        self.first = []

    def comment(self) -> None:
        if self.field is not None:
            self.problem(self.at, self.at + 1, "syntax", "a field of an f-string holds no comment")
            self.at = len(self.text)
            return
        while self.at < len(self.text) and self.text[self.at] != "\n":
            self.at += 1

    def continuation(self) -> None:
        if self.peek(1) != "\n":
            self.problem(self.at, self.at + 1, "syntax", "a backslash stands at the end of a line only")
            self.at = len(self.text)
            return
        self.at += 2
        self.line += 1
        self.line_start = self.at

    # Tokens.

    def took(self, token: str, *, value: bool) -> None:
        self.after_value = value
        if len(self.first) < 4:
            self.first.append(token)

    def links(self, count: int = 1) -> None:
        """The tree may be one deeper from here."""
        self.levels[-1].chain += count
        self.chain += count
        if self.chain > CHAIN_MAX:
            message = f"more than {CHAIN_MAX} operators stand in one expression"
            self.problem(self.at, self.at + 1, "depth", message, "calculate it in several steps")
            self.at = len(self.text)

    def word(self) -> None:
        start = self.at
        end = start
        while end < len(self.text) and (
            self.text[end] in _LETTERS or self.text[end] in _DIGITS or self.text[end] > "\x7f"
        ):
            end += 1
        word = self.text[start:end]
        if self.text[end : end + 1] in ("'", '"') and word.lower() in _PREFIXES:
            self.literal(word.lower())
            return
        self.at = end
        if not word.isascii():
            self.check_name(start, word)
        if word == "for" and self.field is not None and len(self.levels) == 1:
            message = "a field of an f-string holds no generator without parentheses"
            self.problem(start, end, "syntax", message, "use a list: [… for …]")
        chains = word in _KEYWORDS_THAT_CHAIN
        if word == "lambda":
            self.levels[-1].lambdas += 1
        self.took(word, value=word not in _KEYWORDS or word in _VALUES)
        self.check_statement(start, word)
        if chains:
            self.links()

    def check_name(self, start: int, word: str) -> None:
        old = unicodedata.ucd_3_2_0
        if unicodedata.normalize("NFKC", word) != word or not all(
            each < "\x80" or old.category(each) in _IN_NAMES for each in word
        ):
            self.problem(
                start,
                self.at,
                "character",
                f"the name {shown(word)} could be read as another one",
                "names are written in plain letters, digits and _",
            )

    def check_statement(self, start: int, word: str) -> None:
        """Statements that some releases of Python know and others do not."""
        if word == "elif":
            self.elifs += 1
            if self.elifs > ELIF_MAX:
                self.problem(start, self.at, "depth", f"there are more than {ELIF_MAX} elif")
                self.at = len(self.text)
        following = self.text[self.at :].lstrip(" \t")[:2] if len(self.first) == 2 else ""
        if len(self.first) != 2 or word in _KEYWORDS:
            return
        if self.first[0] == "type" and (following[:1] == "[" or (following[:1] == "=" and following != "==")):
            self.problem(start, self.at, "statement", "there are no declarations of types in snippets")
        elif self.first[0] in ("def", "class") and following[:1] == "[":
            self.problem(start, self.at, "statement", "there are no parameters for types in snippets")

    def number(self) -> None:
        start = self.at
        base = self.peek(1).lower() if self.text[start] == "0" else ""
        if base in _IN_NUMBERS and base:
            self.at += 2
            self.digits(_IN_NUMBERS[base])
        else:
            self.digits("0123456789_")
            if self.peek(0) == ".":
                self.at += 1
                self.digits("0123456789_")
            if self.peek(0) in ("e", "E") and (self.peek(1) in _DIGITS or self.peek(1) in ("+", "-")):
                self.at += 2
                self.digits("0123456789_")
            if self.peek(0) in ("j", "J"):
                self.at += 1
        if self.at - start > NUMBER_LENGTH_MAX:
            message = f"a number has at most {NUMBER_LENGTH_MAX} digits"
            self.problem(start, self.at, "number", message)
        following = self.peek(0)
        if following and (following in _LETTERS or following in _DIGITS or following > "\x7f"):
            self.problem(start, self.at, "syntax", "a number runs into a word", "put a blank between them")
        self.took("0", value=True)

    def digits(self, allowed: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in allowed:
            self.at += 1

    def open(self, bracket: str) -> None:
        if self.after_value:
            self.links()
        self.took(bracket, value=False)
        self.levels.append(_Level(bracket))
        self.at += 1
        if len(self.levels) + self.brackets > BRACKETS_MAX:
            self.problem(self.at - 1, self.at, "depth", f"brackets are nested deeper than {BRACKETS_MAX}")
            self.at = len(self.text)

    def close(self, bracket: str) -> None:
        level = self.levels[-1]
        if _CLOSES.get(level.opening) != bracket:
            self.problem(self.at, self.at + 1, "syntax", f"{bracket} closes nothing that is open here")
            self.at = len(self.text)
            return
        self.levels.pop()
        self.chain -= level.chain
        self.took(bracket, value=True)
        self.at += 1

    def sign(self, character: str) -> None:
        level = self.levels[-1]
        if character == "*" and self.field is not None and not self.first:
            self.problem(self.at, self.at + 1, "syntax", "a star cannot begin a field of an f-string")
        if character == "," and not level.lambdas:
            self.chain -= level.chain
            level.chain = 0
            if len(self.levels) == 1 and self.first and self.first[0] == "except":
                message = "several errors to catch stand in parentheses"
                self.problem(self.at, self.at + 1, "syntax", message, "except (KeyError, ValueError):")
                self.at = len(self.text)
                return
        elif character == ":" and self.peek(1) != "=" and level.lambdas:
            level.lambdas -= 1
        elif character == ":" and len(self.levels) == 1 and self.first and self.first[0] == "except":
            self.first = [":"]
        elif character == ";" and len(self.levels) == 1:
            self.at += 1
            self.end_statement()
            return
        elif character not in ",:":
            self.links()
        self.at += 1
        self.took(character, value=False)

    # Texts.

    def literal(self, prefix: str) -> None:
        """A text with its prefix; fields of f-strings are read as sources of their own."""
        start, line, line_start = self.at, self.line, self.line_start
        found: Literal = read_literal(self.text, start, prefix)
        body_lines = self.text.count("\n", start, found.end)
        place = self.place(start, start + 1) if self.field is None else self.field
        for code, message, hint in found.problems:
            self.problems.add(place, code, message, hint)
        if not found.problems:
            brackets = self.brackets + len(self.levels)
            for source in found.fields:
                _Lexer(source, self.problems, place, brackets).run()
        self.at, self.line, self.line_start = found.end, line + body_lines, line_start
        if body_lines:
            self.line_start = self.text.rfind("\n", 0, found.end) + 1
        if found.broken:
            self.at = len(self.text)
        self.took('"', value=True)
