"""The part of the query language of jq that snippets have, `jq/1`: paths, pipes, commas, and six functions.

    .items[] | select(.n > 1) | {name} is not there; .items[] | select(.n > 1) | .name is

    query    = pipe
    pipe     = comma ("|" comma)*
    comma    = compare ("," compare)*
    compare  = term (("==" | "!=" | "<" | "<=" | ">" | ">=") term)?
    term     = primary suffix*
    suffix   = "." name | "." text | "[" "]" | "[" whole "]" | "[" text "]" | "?"
    primary  = "." | literal | "(" pipe ")" | "select(" pipe ")" | "map(" pipe ")"
             | "keys" | "length" | "to_entries" | "not"
    literal  = number | text | true | false | null

Every value that comes out of a step is charged. There is no regex, no environment, no
recursion and no assignment, so a query ends.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from playhead.snippet.meter import Meter
from playhead.snippet.operators import COMPARE
from playhead.snippet.values import Raised, failed, kind_of, number

LENGTH_MAX: Final = 2_000
DEPTH_MAX: Final = 30
DIGITS_MAX: Final = 19

Filter = Callable[[Meter, Any], Iterator[Any]]
_COMPARE: Final = {"==": "Eq", "!=": "NotEq", "<": "Lt", "<=": "LtE", ">": "Gt", ">=": "GtE"}
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_DIGITS: Final = frozenset("0123456789")
_IN_NAMES: Final = _LETTERS | _DIGITS


def query(meter: Meter, value: Any, text: str) -> Iterator[Any]:
    """What a query gives for `value`, one after the other. Raises a `ValueError` of the snippet."""
    if len(text) > LENGTH_MAX:
        raise failed("ValueError", f"the query is longer than {LENGTH_MAX} characters")
    meter.spend(len(text))
    return _Parser(text).parsed()(meter, value)


def _wrong(what: str) -> Any:
    raise failed("ValueError", f"jq: {what}")


# Filters.


def _counted(filter_: Filter) -> Filter:
    def counted(meter: Meter, value: Any) -> Iterator[Any]:
        for each in filter_(meter, value):
            meter.spend(1)
            yield each

    return counted


def _itself(_: Meter, value: Any) -> Iterator[Any]:
    yield value


def _literal(constant: Any) -> Filter:
    return lambda _meter, _value: iter((constant,))


def _piped(first: Filter, second: Filter) -> Filter:
    return _counted(lambda meter, value: (out for each in first(meter, value) for out in second(meter, each)))


def _both(first: Filter, second: Filter) -> Filter:
    def both(meter: Meter, value: Any) -> Iterator[Any]:
        yield from first(meter, value)
        yield from second(meter, value)

    return both


def _compared(sign: str, first: Filter, second: Filter) -> Filter:
    def compared(meter: Meter, value: Any) -> Iterator[Any]:
        for right in second(meter, value):
            for left in first(meter, value):
                meter.spend(1)
                yield COMPARE[_COMPARE[sign]](meter, left, right)

    return compared


def _member(name: str | int) -> Filter:
    def member(_: Meter, value: Any) -> Iterator[Any]:
        if value is None:
            yield None
        elif type(name) is str and type(value) is dict:
            yield value.get(name)
        elif type(name) is int and type(value) in (list, tuple):
            yield value[name] if -len(value) <= name < len(value) else None
        else:
            _wrong(f"a {kind_of(value)} has no {name!r}")

    return member


def _elements(meter: Meter, value: Any) -> Iterator[Any]:
    if type(value) is dict:
        value = list(value.values())
    if type(value) not in (list, tuple):
        _wrong(f"a {kind_of(value)} has no elements")
    meter.look(len(value))
    yield from value


def _maybe(filter_: Filter) -> Filter:
    def maybe(meter: Meter, value: Any) -> Iterator[Any]:
        try:
            yield from filter_(meter, value)
        except Raised:
            return

    return maybe


def _selected(condition: Filter) -> Filter:
    def selected(meter: Meter, value: Any) -> Iterator[Any]:
        for answer in condition(meter, value):
            if answer is not None and answer is not False:
                yield value

    return selected


def _mapped(inner: Filter) -> Filter:
    def mapped(meter: Meter, value: Any) -> Iterator[Any]:
        found: list[Any] = []
        for each in _elements(meter, value):
            for out in inner(meter, each):
                meter.grow(1)
                found.append(out)
        yield found

    return mapped


def _keys(meter: Meter, value: Any) -> Iterator[Any]:
    if type(value) is dict:
        if any(type(name) is not str for name in value):
            _wrong("a key of JSON is a text")
        meter.grow(2 * len(value))
        meter.read(sum(map(len, value)) * len(value).bit_length())
        meter.spend(len(value))
        yield sorted(value)
    elif type(value) in (list, tuple):
        meter.grow(len(value))
        yield list(range(len(value)))
    else:
        _wrong(f"a {kind_of(value)} has no keys")


def _length(_: Meter, value: Any) -> Iterator[Any]:
    if value is None:
        yield 0
    elif type(value) in (str, list, tuple, dict):
        yield len(value)
    elif type(value) in (int, float):
        yield abs(value) if type(value) is float else number(abs(value))
    else:
        _wrong(f"a {kind_of(value)} has no length")


def _to_entries(meter: Meter, value: Any) -> Iterator[Any]:
    if type(value) is not dict:
        _wrong(f"a {kind_of(value)} has no entries")
    meter.grow(6 * len(value))
    yield [{"key": name, "value": each} for name, each in value.items()]


def _negated(_: Meter, value: Any) -> Iterator[Any]:
    yield value is None or value is False


_NAMED: Final[dict[str, Filter]] = {
    "keys": _keys,
    "length": _length,
    "to_entries": _to_entries,
    "not": _negated,
}


# Reading a query.


class _Parser:
    """Reads a query by recursive descent, one character at a time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def parsed(self) -> Filter:
        found = self.pipe()
        if self.next():
            _wrong(f"{self.text[self.at :][:20]!r} is not expected here")
        return found

    def next(self) -> str:
        """The character that comes next, after blanks; empty at the end."""
        while self.at < len(self.text) and self.text[self.at] in " \t\n\r":
            self.at += 1
        return self.text[self.at : self.at + 1]

    def takes(self, sign: str) -> bool:
        self.next()
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def needs(self, sign: str) -> None:
        if not self.takes(sign):
            _wrong(f"{sign!r} is missing before {self.text[self.at :][:20]!r}")

    def pipe(self) -> Filter:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            _wrong("the query is nested too deeply")
        found = self.comma()
        while self.takes("|"):
            found = _piped(found, self.comma())
        self.depth -= 1
        return found

    def comma(self) -> Filter:
        found = self.compare()
        while self.takes(","):
            found = _both(found, self.compare())
        return found

    def compare(self) -> Filter:
        found = self.term()
        for sign in ("==", "!=", "<=", ">=", "<", ">"):
            if self.takes(sign):
                return _compared(sign, found, self.term())
        return found

    def term(self) -> Filter:
        found = self.primary()
        while self.at < len(self.text) and self.text[self.at] in ".[?":
            if self.takes("?"):
                found = _maybe(found)
            elif self.takes("["):
                found = _piped(found, self.bracket())
            else:
                self.needs(".")
                found = _piped(found, self.bracket() if self.takes("[") else _member(self.field()))
        return found

    def bracket(self) -> Filter:
        if self.takes("]"):
            return _elements
        start = self.next()
        found: str | int = self.quoted() if start == '"' else self.whole()
        self.needs("]")
        return _member(found)

    def field(self) -> str:
        if self.text[self.at : self.at + 1] == '"':
            return self.quoted()
        return self.name() or _wrong(f"a name is missing before {self.text[self.at :][:20]!r}")

    def primary(self) -> Filter:
        start = self.next()
        if self.takes("("):
            inner = self.pipe()
            self.needs(")")
            return inner
        if start == ".":
            self.at += 1
            following = self.text[self.at : self.at + 1]
            return _member(self.field()) if following in _LETTERS or following == '"' else _itself
        if start == '"':
            return _literal(self.quoted())
        if start in _DIGITS or start == "-":
            return _literal(self.number())
        name = self.name()
        if name in ("select", "map"):
            self.needs("(")
            inner = self.pipe()
            self.needs(")")
            return _selected(inner) if name == "select" else _mapped(inner)
        if name in _WORDS:
            return _literal(_WORDS[name])
        known = ", ".join(("select", "map", *_NAMED))
        return _NAMED.get(name) or _wrong(f"{name or start or 'the end'!r} is not known; there are {known}")

    def name(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in _IN_NAMES:
            self.at += 1
        return self.text[start : self.at]

    def whole(self) -> int:
        start = self.at
        if self.next() == "-":
            self.at += 1
        while self.at < len(self.text) and self.text[self.at] in _DIGITS:
            self.at += 1
        digits = self.text[start : self.at].strip()
        if digits in ("", "-") or len(digits) > DIGITS_MAX:
            _wrong(f"a whole number is missing before {self.text[start:][:20]!r}")
        return number(int(digits))

    def number(self) -> int | float:
        start = self.at
        found: int | float = self.whole()
        if self.text[self.at : self.at + 1] == "." and self.text[self.at + 1 : self.at + 2] in _DIGITS:
            self.at += 1
            while self.at < len(self.text) and self.text[self.at] in _DIGITS:
                self.at += 1
            found = float(self.text[start : self.at])
        return found

    def quoted(self) -> str:
        end = self.at + 1
        while end < len(self.text) and self.text[end] != '"':
            if self.text[end] == "\\":
                _wrong("there is no backslash in a text of a query")
            end += 1
        if end >= len(self.text):
            _wrong("a text does not end")
        found = self.text[self.at + 1 : end]
        self.at = end + 1
        return found
