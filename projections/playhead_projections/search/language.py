"""The language of `playhead runs --where`: from a text to conditions, or to an error with its place.

    parse('status = failed and tool = fetch and args.url ~ "example"', now=clock.now())

    expression = and { "or" and }                 not binds closest, then and, then or
    and        = not { "and" not }
    not        = "not" not | "(" expression ")" | "op" "(" expression ")" | "step" "(" expression ")"
               | condition | "text"
    condition  = field ( "exists" | sign value | "in" "(" value { "," value } ")" )
    sign       = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~"

It is total: every text is either understood or refused by `BadQuery`, and nothing in it is executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from playhead.errors import BadValue
from playhead_projections.search.fields import OWN, PART, RUN, Field, Kind, number_of, plain_number
from playhead_projections.search.texts import folded, quoted
from playhead_projections.times import EXAMPLES

LENGTH_MAX: Final = 10_000
DEPTH_MAX: Final = 40
CONDITIONS_MAX: Final = 200
VALUES_MAX: Final = 500
"""In all lists of an expression together: what SQLite can take of marks and of depth is limited."""
ONLY_CONTAINS: Final = "~, which is all that can be asked of text"
BEFORE_SHOWN: Final = 50
AFTER_SHOWN: Final = 30

Sign = Literal["=", "!=", "<", "<=", ">", ">=", "~", "exists", "in"]
Scope = Literal["run", "part", "op", "step"]
Value: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str | int | None, ...]
"""Names, places in a list, and None for any place."""


class Glob(NamedTuple):
    """A text with `*` for any characters and `?` for one."""

    pattern: str


class Condition(NamedTuple):
    """One comparison of a field. For `exists` there are no values, for `in` several."""

    field: Field
    path: Path
    sign: Sign
    values: tuple[Value | Glob, ...]


class All(NamedTuple):
    """Every one of these."""

    parts: tuple[Node, ...]


class Either(NamedTuple):
    """At least one of these."""

    parts: tuple[Node, ...]


class Not(NamedTuple):
    """Not this."""

    part: Node


class Some(NamedTuple):
    """Some part of the run for which this holds: any part, an operation, or a step."""

    scope: Scope
    part: Node


Node: TypeAlias = Condition | All | Either | Not | Some


class BadQuery(BadValue):
    """An expression that cannot be understood, with the place."""

    code = "query.bad"


class _Token(NamedTuple):
    kind: Literal["word", "text", "sign", "open", "close", "comma", "end"]
    text: str
    at: int
    path: Path | None = None
    """The names after the first one, where a word could be a field."""


_SPACE: Final = re.compile(r"\s+")
_SIGN: Final = re.compile(r"!=|<=|>=|=|<|>|~")
_TEXT: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
_WORD: Final = re.compile(r"(?:[^\s()=!<>~,\"'.]|\.(?:\"(?:[^\"\\]|\\.)*\")?)+", re.DOTALL)
_STEP: Final = re.compile(
    r'\.(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<name>[^.\[\]"]+))|\[(?P<place>\d{1,9}|\*)\]', re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "exists"})
_GROUPS: Final = ("op", "step")


def parse(text: str, *, now: int) -> Node:
    """What `text` asks of a run. `now` is what relative times are counted from. Raises `BadQuery`."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadQuery("the expression is no text.", expected="UTF-8", found="bytes that are none") from error
    if len(text) > LENGTH_MAX:
        raise BadQuery(
            "the expression is too long.", expected=f"at most {LENGTH_MAX:,} characters", found=len(text)
        )
    return bound(_Parser(text, _tokens(text), now).whole())


def field_named(text: str) -> tuple[Field, Path]:
    """The field that a word names, with the path behind it. Raises `BadQuery`."""
    name, path = _named(text)
    field = RUN.get(name) or PART.get(name)
    if field is None or path is None or (path and field.kind != "path"):
        raise BadQuery(f"{text!r} is no field.", expected=_list_of({**RUN, **PART}), found=text)
    return field, path


# ------------------------------------------------------------------ tokens


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        if match := _SPACE.match(text, at):
            pass
        elif text[at] in "(),":
            kind: Literal["open", "close", "comma"] = {"(": "open", ")": "close", ",": "comma"}[text[at]]  # type: ignore[assignment]
            found.append(_Token(kind, text[at], at))
            at += 1
            continue
        elif match := _SIGN.match(text, at):
            found.append(_Token("sign", match[0], at))
        elif match := _TEXT.match(text, at):
            inner = match[1] if match[1] is not None else match[2]
            found.append(_Token("text", _ESCAPE.sub(r"\1", inner), at))
        elif match := _WORD.match(text, at):
            found.append(_Token("word", match[0], at, _named(match[0])[1]))
        else:
            what = "the end of a text that begins here" if text[at] in "\"'" else "a condition"
            raise _refused(text, at, what, text[at])
        at = match.end()
    found.append(_Token("end", "", len(text)))
    return found


def _named(word: str) -> tuple[str, Path | None]:
    """A word as a field: its first name, and the path behind it, None where that is none."""
    start = re.match(r"[^.\[]*", word)
    assert start is not None
    at, path = start.end(), list[str | int | None]()
    while at < len(word):
        match = _STEP.match(word, at)
        if match is None:
            return start[0], None
        if match["place"] is not None:
            path.append(None if match["place"] == "*" else int(match["place"]))
        else:
            path.append(match["name"] or _ESCAPE.sub(r"\1", match["quoted"]))
        at = match.end()
    return start[0], tuple(path)


def _refused(text: str, at: int, expected: str, found: str, *, hint: str = "") -> BadQuery:
    first = max(at - BEFORE_SHOWN, 0)
    line = "".join(ch if ch.isprintable() else " " for ch in text[first : at + AFTER_SHOWN])
    before, after = ("…" if first else ""), ("…" if at + AFTER_SHOWN < len(text) else "")
    caret = " " * (len(before) + at - first) + "^"
    return BadQuery(
        f"the expression cannot be understood at character {at + 1}:\n  {before}{line}{after}\n  {caret}",
        expected=expected,
        found=found or "the end",
        next_step=hint or "See docs/search.md for what can be asked.",
    )


def _list_of(fields: Mapping[str, Field]) -> str:
    return ", ".join(sorted(fields))


# ------------------------------------------------------------------ parser


class _Parser:
    """One expression, read once from left to right."""

    def __init__(self, text: str, tokens: list[_Token], now: int) -> None:
        self._text, self._tokens, self._now = text, tokens, now
        self._next = 0
        self._depth = 0
        self._conditions = 0
        self._listed = 0
        self._scope: Scope = "run"

    def whole(self) -> Node:
        found = self._either()
        if self._here.kind != "end":
            raise self._refuse("and, or, or the end")
        return found

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    def _refuse(self, expected: str, token: _Token | None = None, *, hint: str = "") -> BadQuery:
        token = token or self._here
        return _refused(self._text, token.at, expected, token.text, hint=hint)

    def _take(self) -> _Token:
        token = self._here
        self._next += token.kind != "end"
        return token

    def _takes(self, keyword: str) -> bool:
        fits = self._here.kind == "word" and self._here.text.lower() == keyword
        self._next += fits
        return fits

    def _must(self, kind: str, expected: str) -> None:
        if self._here.kind != kind:
            raise self._refuse(expected)
        self._take()

    def _either(self) -> Node:
        found = [self._every()]
        while self._takes("or"):
            found.append(self._every())
        return found[0] if len(found) == 1 else Either(tuple(found))

    def _every(self) -> Node:
        found = [self._negated()]
        while self._takes("and"):
            found.append(self._negated())
        return found[0] if len(found) == 1 else All(tuple(found))

    def _negated(self) -> Node:
        refused = False
        while self._takes("not"):
            refused = not refused
        found = self._single()
        return Not(found) if refused else found

    def _single(self) -> Node:
        token = self._here
        if token.kind == "open":
            return self._bracketed()
        if token.kind == "word" and token.text in _GROUPS and self._tokens[self._next + 1].kind == "open":
            return self._group()
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            raise self._refuse(f"at most {CONDITIONS_MAX} conditions")
        if token.kind == "text":
            self._take()
            return Condition(PART["text"], (), "~", (self._needle(token),))
        return self._condition()

    def _bracketed(self) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._refuse(f"brackets at most {DEPTH_MAX} deep")
        self._must("open", "(")
        found = self._either()
        self._must("close", "and, or, or )")
        self._depth -= 1
        return found

    def _group(self) -> Node:
        if self._scope != "run":
            raise self._refuse(f"a condition of the same {self._scope}")
        scope: Scope = "op" if self._take().text == "op" else "step"
        self._scope = scope
        found = self._bracketed()
        self._scope = "run"
        return Some(scope, found)

    def _condition(self) -> Condition:
        token = self._take()
        if token.kind != "word" or token.text.lower() in _KEYWORDS:
            raise self._refuse("a condition, such as status = failed", token)
        field, path = self._field(token)
        asked = self._here
        if self._takes("exists"):
            if field.kind == "words":
                raise self._refuse(ONLY_CONTAINS, asked)
            return Condition(field, path, "exists", ())
        if self._takes("in"):
            return Condition(field, path, "in", self._values(field))
        if self._here.kind != "sign":
            raise self._refuse("=, !=, <, <=, >, >=, ~, in or exists")
        return self._compared(field, path)

    def _field(self, token: _Token) -> tuple[Field, Path]:
        name = _named(token.text)[0]
        known = {**RUN, **PART} if self._scope == "run" else OWN
        field = known.get(name)
        if field is None:
            inside = f", inside of {self._scope}( … )" if self._scope != "run" else ""
            outside = RUN if self._scope != "run" else OWN
            hint = ""
            if name in outside and self._scope != "run":
                hint = f"{name} is of the run: ask for it outside of {self._scope}( … )."
            elif name in outside:
                hint = f"{name} is of an operation or a step: op({name} …), or step({name} …)"
            elif self._here.kind != "sign":
                hint = f"To search all texts for it: {quoted(token.text)}"
            raise self._refuse(f"a field{inside}: {_list_of(known)}", token, hint=hint)
        if token.path is None or (token.path and field.kind != "path"):
            raise self._refuse("a field, such as args.url, args.pages[0] or args.pages[*].title", token)
        return field, token.path

    def _compared(self, field: Field, path: Path) -> Condition:
        said = self._take()
        sign: Sign = said.text  # type: ignore[assignment]  # the lexer knows no other
        if sign == "~" and field.kind in {"count", "money", "span", "time"}:
            raise self._refuse(f"=, !=, <, <=, > or >=, because {field.name} is no text", said)
        if field.kind == "words" and sign != "~":
            raise self._refuse(ONLY_CONTAINS, said)
        if field.kind == "many" and sign not in {"=", "~"}:
            hint = f"Write: not {field.name} = {self._here.text or '…'}" if sign == "!=" else ""
            raise self._refuse(f"= or ~, because there may be several {field.name}s", said, hint=hint)
        token = self._here
        if sign == "~":
            return Condition(field, path, sign, (self._needle(self._value()),))
        value = self._read(self._value(), field)
        if isinstance(value, Glob) and sign not in {"=", "!="}:
            raise self._refuse("a value without * and ?, or one in quotation marks", token)
        return Condition(field, path, sign, (value,))

    def _values(self, field: Field) -> tuple[Value | Glob, ...]:
        if field.kind == "words":
            raise self._refuse(ONLY_CONTAINS)
        self._must("open", "(")
        found = [self._read(self._value(), field)]
        while self._here.kind == "comma":
            self._take()
            found.append(self._read(self._value(), field))
            if self._listed + len(found) > VALUES_MAX:
                raise self._refuse(f"at most {VALUES_MAX} values in lists")
        self._listed += len(found)
        self._must("close", "a comma or )")
        return tuple(found)

    def _value(self) -> _Token:
        token = self._here
        if token.kind not in {"word", "text"} or (token.kind == "word" and token.text.lower() in _KEYWORDS):
            raise self._refuse("a value; words such as and stand in quotation marks")
        return self._take()

    def _needle(self, token: _Token) -> str:
        needle = folded(token.text)
        if not needle:
            raise self._refuse("a text of at least one character", token._replace(text='""'))
        return needle

    def _read(self, token: _Token, field: Field) -> Value | Glob:
        if field.kind in {"text", "many", "path"}:
            if token.kind == "text":
                return token.text
            if field.kind == "path" and token.text in CONSTANTS:
                return CONSTANTS[token.text]
            if field.kind == "path" and (number := plain_number(token.text)) is not None:
                return number
            return Glob(token.text) if "*" in token.text or "?" in token.text else token.text
        number = number_of(token.text, field.kind, self._now)
        if number is None:
            raise self._refuse(_EXPECTED[field.kind], token)
        return number


CONSTANTS: Final[Mapping[str, Value]] = {"true": True, "false": False, "null": None}
_EXPECTED: Final[Mapping[Kind, str]] = {
    "count": "a number, such as 3, 2.5 or 10k",
    "money": "money, such as $0.20",
    "span": "a length of time, such as 300ms, 2s or 1.5h",
    "time": f"a time, such as {EXAMPLES}",
}


# ----------------------------------------------------------------- binding


def bound(node: Node) -> Node:
    """The same question, with every condition about a part inside of a `Some`.

    Conditions that one `and` joins are about one part. A `not` is about all parts: there is none.
    """
    match node:
        case Condition():
            return Some("part", node) if _of_parts(node) else node
        case Not(part):
            return Not(bound(part))
        case Either(parts):
            return Some("part", node) if _of_parts(node) else Either(tuple(map(bound, parts)))
        case All():
            joined = _joined(node)
            same = tuple(part for part in joined if _of_parts(part))
            others = tuple(bound(part) for part in joined if not _of_parts(part))
            one = (Some("part", same[0] if len(same) == 1 else All(same)),) if same else ()
            return All((*one, *others)) if len(one) + len(others) > 1 else (*one, *others)[0]
        case Some():
            return node


def _joined(node: All) -> list[Node]:
    """Everything that is joined by `and`, whatever brackets stand around some of it."""
    found: list[Node] = []
    for part in node.parts:
        found += _joined(part) if isinstance(part, All) else [part]
    return found


def _of_parts(node: Node) -> bool:
    """Whether it consists of conditions about parts that are neither negated nor bound already."""
    match node:
        case Condition(field=field):
            return PART.get(field.name) is field
        case All(parts) | Either(parts):
            return all(map(_of_parts, parts))
        case Not() | Some():
            return False
