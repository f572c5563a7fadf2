"""Texts in the source of a snippet: where they end, which escapes they hold, and the fields of f-strings.

A text ends at the first quote that can end it, also inside a field of an f-string, as in
Python 3.11. Newer releases read fields first, and so read some texts otherwise; those are refused.
"""

from __future__ import annotations

from typing import Final

Problem = tuple[str, str, str]
"""Code, message and hint."""

_ESCAPES: Final = frozenset("\n\\'\"abfnrtvxuU")
_OCTAL: Final = frozenset("01234567")
_CLOSES: Final = {"(": ")", "[": "]", "{": "}"}
_QUOTES_HINT: Final = "use other quotes inside of the field, or a variable"


class Literal:
    """A text as it was found: the place behind it, the sources of its fields, and what is wrong with it."""

    __slots__ = ("broken", "end", "fields", "problems")

    def __init__(self) -> None:
        self.end = 0
        self.fields: list[str] = []
        self.problems: list[Problem] = []
        self.broken = False
        """Nothing behind it can be read."""


def read_literal(text: str, start: int, prefix: str) -> Literal:
    """The literal with that prefix, which begins at `start`."""
    found = Literal()
    at = start + len(prefix)
    quote = text[at] * 3 if text.startswith(text[at] * 3, at) else text[at]
    first = at + len(quote)
    last = _end_of(text, first, quote)
    if last < 0:
        found.end, found.broken = len(text), True
        found.problems.append(
            ("syntax", "a text does not end", "" if len(quote) == 3 else "close it on its line")
        )
        return found
    found.end = last + len(quote)
    body = text[first:last]
    if "t" in prefix:
        found.problems.append(("syntax", "there are no template strings in snippets", "use an f-string"))
        return found
    if "f" in prefix:
        _read_fields(body, found, raw="r" in prefix)
    elif "r" not in prefix and "\\" in body:
        _check_escapes(body, found)
    return found


def _end_of(text: str, at: int, quote: str) -> int:
    """Where the closing quote begins; -1 where there is none."""
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text.startswith(quote, at):
            return at
        elif text[at] == "\n" and len(quote) == 1:
            return -1
        else:
            at += 1
    return -1


def _check_escapes(body: str, found: Literal) -> None:
    at = body.find("\\")
    while at >= 0:
        at = body.find("\\", _after_escape(body, at, found))


def _after_escape(body: str, at: int, found: Literal) -> int:
    """The place behind the escape that begins at `at`; notes one that is none."""
    letter = body[at + 1 : at + 2]
    if letter in _OCTAL and letter:
        digits = body[at + 1 : at + 4]
        if len(digits) == 3 and set(digits) <= _OCTAL and digits[0] > "3":
            found.problems.append(("syntax", f"\\{digits} is no character", "write \\u and four digits"))
    elif letter == "N":
        found.problems.append(("syntax", "a text holds no characters by name", "write \\u and four digits"))
    elif letter not in _ESCAPES:
        message = f"\\{letter} is no escape"
        found.problems.append(("syntax", message, f"write \\\\{letter}, or put r before the text"))
    return at + 2


def _read_fields(body: str, found: Literal, *, raw: bool) -> None:
    """Take the fields out of the body of an f-string."""
    at = 0
    while at < len(body) and not found.problems:
        character = body[at]
        if character == "\\" and not raw:
            at = _after_escape(body, at, found)
        elif character in "{}" and body[at + 1 : at + 2] == character:
            at += 2
        elif character == "{":
            at = _Field(body, at + 1, found).read()
        elif character == "}":
            found.problems.append(("syntax", "a single } stands in an f-string", "write }} for a brace"))
        else:
            at += 1


class _Field:
    """Reads one field, from behind its opening brace."""

    def __init__(self, body: str, start: int, found: Literal) -> None:
        self.body = body
        self.start = start
        self.at = start
        self.found = found

    def problem(self, message: str, hint: str = "", code: str = "syntax") -> int:
        self.found.problems.append((code, message, hint))
        return len(self.body)

    def read(self) -> int:
        """The place behind the closing brace. The source of the field is noted, and what is wrong with it."""
        if not self.expression():
            return len(self.body)
        source = self.body[self.start : self.at]
        if not source.strip():
            return self.problem("a field of an f-string is empty")
        self.found.fields.append(source)
        if self.body[self.at : self.at + 1] == "=":
            self.at += 1
            while self.body[self.at : self.at + 1] in (" ", "\t", "\n"):
                self.at += 1
        if self.body[self.at : self.at + 1] == "!":
            if self.body[self.at + 1 : self.at + 2] not in ("r", "s", "a"):
                return self.problem("a field of an f-string is converted by !r, !s or !a only")
            self.at += 2
        if self.body[self.at : self.at + 1] == ":":
            return self.spec()
        if self.body[self.at : self.at + 1] != "}":
            return self.problem("a field of an f-string is not closed", _QUOTES_HINT)
        return self.at + 1

    def spec(self) -> int:
        end = self.body.find("}", self.at)
        if end < 0:
            return self.problem("a field of an f-string is not closed", _QUOTES_HINT)
        if "{" in self.body[self.at : end] or "\\" in self.body[self.at : end]:
            hint = "put the text together with ljust(), rjust() or round()"
            return self.problem("the format in an f-string is written out", hint, "format")
        return end + 1

    def expression(self) -> bool:
        """Go to the end of the expression. False where it has none."""
        open_: list[str] = []
        while self.at < len(self.body):
            character = self.body[self.at]
            if character == "\\":
                self.problem("a field of an f-string holds no backslash", "put the text in a variable first")
                return False
            if character in "\"'":
                if not self.text():
                    return False
                continue
            if character in "([{":
                open_.append(_CLOSES[character])
            elif open_ and character in ")]}":
                if character != open_.pop():
                    self.problem(f"{character} closes nothing that is open here")
                    return False
            elif not open_ and self.stops(character):
                return True
            self.at += 1
        self.problem("a field of an f-string is not closed", _QUOTES_HINT)
        return False

    def stops(self, character: str) -> bool:
        """Whether the expression ends here. Steps over the first half of `==` and its like."""
        if character in "!=<>" and self.body[self.at + 1 : self.at + 2] == "=":
            self.at += 1
            return False
        return character in "!=:})]"

    def text(self) -> bool:
        quote = self.body[self.at]
        if self.body.startswith(quote * 3, self.at):
            quote *= 3
        end = self.body.find(quote, self.at + len(quote))
        if end < 0:
            self.problem("a text in a field of an f-string does not end", _QUOTES_HINT)
            return False
        if "\\" in self.body[self.at : end]:
            self.problem("a field of an f-string holds no backslash", "put the text in a variable first")
            return False
        self.at = end + len(quote)
        return True
