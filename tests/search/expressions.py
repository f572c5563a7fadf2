"""Expressions made up for tests: each as a tree of tuples and as somebody would write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tests.search.generated import ERRORS, NAMES, T0, WORDS

NOW = T0 + 5 * 3_600_000_000_000
Asked = tuple[Any, ...]
Literal = tuple[str, Any]
"""How it is written, and what it means."""

RUN_TEXTS = ("run", "status", "persona", "name", "key", "mode", "parent", "reason")
RUN_COUNTS = (
    "tokens",
    "input_tokens",
    "output_tokens",
    "model_calls",
    "operations",
    "steps",
    "events",
    "resumes",
    "deaths",
)
PART_TEXTS = ("kind", "op", "tool", "model", "step", "effect")
OWN_TEXTS = (*PART_TEXTS, "name", "status")
OWN_COUNTS = ("tokens", "input_tokens", "output_tokens", "attempts", "seq")
STATUSES = (
    "completed",
    "failed",
    "cancelled",
    "open",
    "in_doubt",
    "denied",
    "interrupted",
    "running",
    "diverged",
    "parked",
    "suspended",
    "released",
    "skipped",
    "unknown",
)
KINDS = (
    "run",
    "step",
    "tool",
    "model",
    "value",
    "timer",
    "signal",
    "child",
    "hook",
    "state",
    "approval",
    "composition",
)
EVENTS = ("run.started", "tool.requested", "payload.erased", "from.the_future", "step.denied", "run.parked")
TAGS = ("release", "Nightly", "é", "x*y")


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


words = st.sampled_from(
    (*NAMES, *ERRORS, *WORDS, *STATUSES, *KINDS, *EVENTS, *TAGS, "tiny-1", "large", "oracle", "effect")
)
text_literals = words.map(lambda word: (quoted(word), word))
bare_literals = st.sampled_from((*NAMES, *STATUSES, *KINDS, "tiny-1", "strict")).map(
    lambda word: (word, word)
)
glob_literals = st.sampled_from(
    ("f*", "*e", "*", "??", "?*?", "*a*", "run0*", "pages/7*", "[z]*", "*Error*")
).map(lambda pattern: (pattern, ("glob", pattern)))
needles = st.one_of(
    words,
    st.sampled_from(
        (
            "pages",
            "PAGES/7",
            "ss",
            "straß",
            "é",
            "e\u0301",
            "日本",
            "nul",
            "00ff",
            "\0",
            "a\0",
            "break",
            '"hi',
            "4",
            "i̇",
            "Such Page",
            "error: no",
            "n",
            "1.0",
        )
    ),
)
needle_literals = needles.filter(bool).map(lambda word: (quoted(word), word))
json_literals = st.one_of(
    text_literals,
    bare_literals.filter(lambda literal: literal[0] not in {"true", "false", "null"}),
    glob_literals,
    st.sampled_from(
        (
            ("true", True),
            ("false", False),
            ("null", None),
            ("1", 1),
            ("1.0", 1.0),
            ("42", 42),
            ("-1", -1),
            ("0.5", 0.5),
            ("1e999", float("inf")),
            ("9223372036854775808", 2**63),
            ("404", 404),
        )
    ),
)
count_literals = st.sampled_from(
    (
        ("0", 0),
        ("1", 1),
        ("2", 2),
        ("7", 7),
        ("57", 57),
        ("1.5", 1.5),
        ("50", 50),
        ("0.1k", 100),
        ("-3", -3),
        ("99999999999999999999", float("inf")),
    )
)
money_literals = st.sampled_from(
    (("$0.20", 200_000), ("0.0002", 200), ("$0", 0), ("$0.0000005", 0.5), ("0.2usd", 200_000))
)
span_literals = st.sampled_from(
    (
        ("0s", 0),
        ("1.5s", 1_500_000_000),
        ("1ms", 1_000_000),
        ("1m", 60_000_000_000),
        ("2h", 7_200_000_000_000),
        ("-1s", -1_000_000_000),
        ("1w", 604_800_000_000_000),
    )
)


def _instant(hours: int) -> Literal:
    when = datetime.fromtimestamp((T0 + hours * 3_600_000_000_000) // 1_000_000_000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}Z", T0 + hours * 3_600_000_000_000


time_literals = st.one_of(
    st.integers(0, 10).map(_instant),
    st.integers(0, 12).map(lambda hours: (f"-{hours}h", NOW - hours * 3_600_000_000_000)),
    st.just(("now", NOW)),
)
paths = st.lists(
    st.sampled_from(("url", "x", "n", "a b", 'q"q', 0, 1, None, "prompt", "content", "snippet")), max_size=3
)
orders = st.sampled_from(("=", "!=", "<", "<=", ">", ">="))


def written(field: str, path: Any) -> str:
    shown = field
    for name in path:
        if isinstance(name, str):
            shown += f".{name}" if name.isalnum() else f".{quoted(name)}"
        else:
            shown += f"[{'*' if name is None else name}]"
    return shown


def said(field: str, path: Any, sign: str, literals: list[Literal]) -> tuple[str, Asked]:
    place = written(field, path)
    asked = ("is", field, tuple(path), sign, tuple(value for _, value in literals))
    if sign == "exists":
        return f"{place} exists", asked
    if sign == "in":
        return f"{place} in ({', '.join(shown for shown, _ in literals)})", asked
    return f"{place} {sign} {literals[0][0]}", asked


def _texts(fields: tuple[str, ...]) -> Any:
    field = st.sampled_from(fields)
    any_literal = st.one_of(text_literals, bare_literals, glob_literals)
    return st.one_of(
        st.builds(
            lambda f, s, v: said(f, (), s, [v]), field, orders, st.one_of(text_literals, bare_literals)
        ),
        st.builds(lambda f, s, v: said(f, (), s, [v]), field, st.sampled_from(("=", "!=")), glob_literals),
        st.builds(lambda f, v: said(f, (), "~", [v]), field, needle_literals),
        st.builds(lambda f, v: said(f, (), "in", v), field, st.lists(any_literal, min_size=1, max_size=3)),
        st.builds(lambda f: said(f, (), "exists", []), field),
    )


def _numbers(fields: tuple[str, ...], literals: Any) -> Any:
    field = st.sampled_from(fields)
    return st.one_of(
        st.builds(lambda f, s, v: said(f, (), s, [v]), field, orders, literals),
        st.builds(lambda f, v: said(f, (), "in", v), field, st.lists(literals, min_size=1, max_size=3)),
        st.builds(lambda f: said(f, (), "exists", []), field),
    )


def _many(fields: tuple[str, ...]) -> Any:
    field = st.sampled_from(fields)
    return st.one_of(
        st.builds(
            lambda f, v: said(f, (), "=", [v]), field, st.one_of(text_literals, bare_literals, glob_literals)
        ),
        st.builds(lambda f, v: said(f, (), "~", [v]), field, needle_literals),
        st.builds(lambda f: said(f, (), "exists", []), field),
    )


_field = st.sampled_from(("args", "result"))
_plain = json_literals.filter(lambda literal: not isinstance(literal[1], tuple))
values = st.one_of(
    st.builds(lambda f, p, s, v: said(f, p, s, [v]), _field, paths, orders, _plain),
    st.builds(
        lambda f, p, s, v: said(f, p, s, [v]), _field, paths, st.sampled_from(("=", "!=")), json_literals
    ),
    st.builds(lambda f, p, v: said(f, p, "~", [v]), _field, paths, needle_literals),
    st.builds(
        lambda f, p, v: said(f, p, "in", v), _field, paths, st.lists(json_literals, min_size=1, max_size=3)
    ),
    st.builds(lambda f, p: said(f, p, "exists", []), _field, paths),
)
whole_texts = needle_literals.map(lambda literal: (literal[0], ("has", literal[1])))
same_texts = needle_literals.map(lambda literal: (f"text ~ {literal[0]}", ("has", literal[1])))
run_conditions = st.one_of(
    _texts(RUN_TEXTS),
    _numbers(RUN_COUNTS, count_literals),
    _numbers(("cost",), money_literals),
    _numbers(("duration",), span_literals),
    _numbers(("started", "ended"), time_literals),
    _many(("tag", "event")),
)
part_conditions = st.one_of(_texts(PART_TEXTS), values, values, _many(("error",)), whole_texts, same_texts)
own_conditions = st.one_of(
    _texts(OWN_TEXTS),
    values,
    _many(("error",)),
    whole_texts,
    _numbers(OWN_COUNTS, count_literals),
    _numbers(("cost",), money_literals),
    _numbers(("duration",), span_literals),
    _numbers(("started", "ended"), time_literals),
)


def _joined(word: str) -> Any:
    return lambda several: (
        f"({f' {word} '.join(shown for shown, _ in several)})",
        (word, *(asked for _, asked in several)),
    )


def _combined(inner: Any) -> Any:
    return st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(_joined("and")),
        st.lists(inner, min_size=2, max_size=3).map(_joined("or")),
        inner.map(lambda one: (f"not ({one[0]})", ("not", one[1]))),
    )


own = st.recursive(own_conditions, _combined, max_leaves=4)
groups = st.one_of(
    own.map(lambda one: (f"op({one[0]})", ("op", one[1]))),
    own.map(lambda one: (f"step ( {one[0]} )", ("step", one[1]))),
)
expressions: st.SearchStrategy[tuple[str, Asked]] = st.recursive(
    st.one_of(run_conditions, part_conditions, part_conditions, groups), _combined, max_leaves=6
)
