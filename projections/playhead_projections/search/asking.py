"""From conditions to SQL: a text with marks, and the values for them. No value ever becomes part of the text.

Functions are handed texts as blobs, because some builds of SQLite's module end a text at its first NUL.
SQL knows a third answer besides yes and no, for what has no value. Here what has no value fits no comparison,
so `not` is written as "is not true".
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from fnmatch import translate
from typing import Any, Final, NamedTuple, cast

from playhead_projections.search.language import All, Condition, Either, Glob, Node, Not, Path, Some, Value
from playhead_projections.search.tables import FULL_TEXT, PARTS, TEXTS, part_texts, trigrams
from playhead_projections.search.texts import (
    ERASED,
    as_list,
    as_members,
    contains,
    folded,
    several_in,
    value_in,
)

_SCOPES: Final[Mapping[str, str]] = {
    "part": "",
    "op": " and p.kind not in ('run', 'step')",
    "step": " and p.kind = 'step'",
}
MISSING: Final = object()


class Asked(NamedTuple):
    """A condition in SQL, with its values in the order of their marks."""

    sql: str
    values: tuple[Any, ...] = ()


def sql_of(node: Node, *, full_text: bool) -> Asked:
    """What of a run `r` `node` asks. `full_text` says whether trigrams may be asked."""
    match node:
        case All(parts) | Either(parts):
            asked = [sql_of(part, full_text=full_text) for part in parts]
            word = " and " if isinstance(node, All) else " or "
            return Asked(
                f"({word.join(each.sql for each in asked)})",
                tuple(value for each in asked for value in each.values),
            )
        case Not(part):
            asked_of = sql_of(part, full_text=full_text)
            return Asked(f"({asked_of.sql}) is not true", asked_of.values)
        case Some(scope, part):
            inner = sql_of(part, full_text=full_text)
            sql = f"r.run in (select p.run from {PARTS} p where {inner.sql}{_SCOPES[scope]})"  # noqa: S608  marks only
            return Asked(sql, inner.values)
        case Condition():
            return _compared(node, full_text=full_text)


def _compared(asked: Condition, *, full_text: bool) -> Asked:
    field, sign = asked.field, asked.sign
    if field.kind == "words":
        return _words(cast("str", asked.values[0]), full_text=full_text)
    if field.kind in {"path", "many"}:
        if sign == "exists" and not asked.path:
            return Asked(f"{field.sql} is not null")
        question = _question(asked.path, sign, asked.values)
        return Asked(f"{'value' if field.kind == 'path' else 'any'}_fits({field.sql}, ?)", (question,))
    if sign == "exists":
        return Asked(f"{field.sql} is not null")
    if sign == "~":
        return Asked(f"text_contains(cast({field.sql} as blob), ?)", (_bytes(asked.values[0]),))
    each = [_one(field.sql, "=" if sign == "in" else sign, value) for value in asked.values]
    return Asked(f"({' or '.join(one.sql for one in each)})", tuple(v for one in each for v in one.values))


def _one(sql: str, sign: str, value: Value | Glob) -> Asked:
    if isinstance(value, Glob):
        fits = Asked(f"glob_fits(cast({sql} as blob), ?)", (_bytes(value.pattern),))
        return fits if sign == "=" else Asked(f"not {fits.sql}", fits.values)
    return Asked(f"{sql} {sign} ?", (value,))


def _words(needle: str, *, full_text: bool) -> Asked:
    holds = f"part_contains({TEXTS}, ?)"
    wanted = trigrams(needle) if full_text else None
    if wanted is None:
        return Asked(holds, (_bytes(needle),))
    may = f"(p.indexed = 0 or p.position in (select rowid from {FULL_TEXT} where {FULL_TEXT} match ?))"  # noqa: S608  names of tables, and marks
    return Asked(f"({may} and {holds})", (wanted, _bytes(needle)))


def _bytes(text: Any) -> bytes:
    return str(text).encode()


def _question(path: Path, sign: str, values: tuple[Value | Glob, ...]) -> str:
    listed = [["glob", value.pattern] if isinstance(value, Glob) else ["is", value] for value in values]
    return json.dumps([path, sign, listed])


# --------------------------------------------------------------- functions


def functions() -> Mapping[str, tuple[int, Callable[..., Any]]]:
    """What the SQL above calls, with how many arguments. None of them raises."""
    return {
        "value_fits": (2, _value_fits),
        "any_fits": (2, _any_fits),
        "glob_fits": (2, _glob_fits),
        "text_contains": (2, _text_contains),
        "part_contains": (6, _part_contains),
    }


def _text_contains(text: bytes | None, needle: bytes) -> bool | None:
    return None if text is None else needle.decode() in folded(text.decode())


def _part_contains(*given: Any) -> bool:
    *parts, needle = given
    wanted = needle.decode()
    return any(wanted in folded(text) for text in part_texts(*parts))


def _glob_fits(text: bytes | None, pattern: bytes) -> bool | None:
    return None if text is None else _glob(pattern.decode())(text.decode()) is not None


@functools.lru_cache(maxsize=1_000)
def _glob(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(pattern.replace("[", "[[]"))).match


@functools.lru_cache(maxsize=1_000)
def _asked(question: str) -> tuple[Path, str, tuple[Callable[[Any], bool], ...]]:
    path, sign, values = json.loads(question)
    tests = tuple(_test(sign, how, value) for how, value in values)
    return tuple(path), sign, tests


def _value_fits(blob: bytes | None, question: str) -> bool:
    """Whether a value of the user fits, at a path in it."""
    if blob is None:
        return False
    path, sign, tests = _asked(question)
    found = at_path(value_in(blob), path)
    if sign == "exists":
        return bool(found)
    return any(test(value) for value in found if value != ERASED for test in tests)


def _any_fits(blob: bytes | None, question: str) -> bool:
    """Whether any of several texts fits."""
    if blob is None:
        return False
    _, _, tests = _asked(question)
    return any(test(text) for text in several_in(blob) for test in tests)


def at_path(value: Any, path: Path) -> list[Any]:
    """What stands at `path` in `value`: nothing, one value, or several where the path says any place."""
    found = [value]
    for name in path:
        found = [inner for item in found for inner in _inside(item, name)]
    return found


def _inside(item: Any, name: str | int | None) -> list[Any]:
    if (members := as_members(item)) is not None:
        return [members[name]] if isinstance(name, str) and name in members else []
    listed = as_list(item)
    if listed is not None and not isinstance(name, str):
        return list(listed) if name is None else list(listed[name : name + 1])
    return []


def _test(sign: str, how: str, wanted: Any) -> Callable[[Any], bool]:
    if sign == "~":
        return lambda value: contains(value, wanted)
    if how == "glob":
        fits = _glob(wanted)
        if sign == "!=":
            return lambda value: isinstance(value, str) and fits(value) is None
        return lambda value: isinstance(value, str) and fits(value) is not None
    if sign in {"=", "in"}:
        return lambda value: _same(value, wanted)
    if sign == "!=":
        return lambda value: not isinstance(value, (dict, list, tuple)) and not _same(value, wanted)
    return lambda value: _ordered(value, wanted) and _ORDER[sign](value, wanted)


def _same(value: Any, wanted: Any) -> bool:
    """Whether two values are one: of the same kind, numbers by what they count."""
    if isinstance(value, bool) or isinstance(wanted, bool) or value is None or wanted is None:
        return value is wanted
    return _ordered(value, wanted) and bool(value == wanted)


def _ordered(value: Any, wanted: Any) -> bool:
    """Whether it can be said which of them is larger: two numbers, or two texts."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return False
    return (isinstance(value, str) and isinstance(wanted, str)) or (
        isinstance(value, (int, float)) and isinstance(wanted, (int, float))
    )


_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
