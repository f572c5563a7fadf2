"""What can be asked for: the fields of runs and of their parts, and how values of each are written.

A run has parts: itself, its steps, and its operations. Fields of a run stand by themselves; fields of a part
stand by themselves too, or between `op( … )` and `step( … )`, where every field is the part's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from playhead.trust.timestamp import written as time_written
from playhead_projections.times import NUMBER, SPAN, SPANS, time_in

Kind = Literal["text", "many", "count", "money", "span", "time", "path", "words"]
"""`many` are several texts, `path` a value of the user, `words` all texts of a part."""

_COUNTS: Final = {"": 1, "k": 1_000, "M": 1_000_000}
INT64: Final = 2**63
_SHOWN: Final = ((9, "s"), (6, "ms"), (3, "us"), (0, "ns"))
WHOLE_LENGTH_MAX: Final = 30
"""A longer number is none that a log can hold as a whole one."""
_COUNT: Final = re.compile(rf"{NUMBER}(?P<unit>[kM]?)", re.ASCII)
_MONEY: Final = re.compile(rf"\$?{NUMBER}(?:usd)?", re.ASCII)
_PLAIN: Final = re.compile(r"-?(?:0|[1-9]\d*)(?P<rest>(?:\.\d+)?(?:[eE][+-]?\d+)?)", re.ASCII)


class Field(NamedTuple):
    """One thing to ask for. `sql` is where it stands: `r` is the row of a run, `p` that of a part."""

    name: str
    kind: Kind
    sql: str
    about: str


def _fields(*listed: tuple[str, Kind, str, str]) -> Mapping[str, Field]:
    return {name: Field(name, kind, sql, about) for name, kind, sql, about in listed}


RUN: Final = _fields(
    ("run", "text", "r.run", "its id"),
    ("status", "text", "status_now(r.status, r.worker)", "as `playhead runs` shows it"),
    ("persona", "text", "r.persona", "of which persona it is"),
    ("name", "text", "r.name", "its name"),
    ("key", "text", "r.key", "its idempotency key"),
    ("mode", "text", "r.mode", "strict or relaxed"),
    ("module", "text", "r.module", "the module of its persona"),
    ("parent", "text", "r.parent", "the run that asked for it"),
    ("reason", "text", "r.reason", "why it was cancelled, let go, parked or stopped"),
    ("tag", "many", "r.tags", "each of its tags"),
    ("event", "many", "r.types", "each type of event in it"),
    ("started", "time", "r.started", "when it started"),
    ("ended", "time", "r.ended", "when it ended"),
    ("duration", "span", "max(r.ended - r.started, 0)", "from its start to its end"),
    ("cost", "money", "r.cost", "what its model calls cost, as far as it is known; $0 where there were none"),
    (
        "tokens",
        "count",
        "r.tokens",
        "input and output tokens, as far as they are known; 0 without model calls",
    ),
    ("input_tokens", "count", "r.input_tokens", "input tokens"),
    ("output_tokens", "count", "r.output_tokens", "output tokens"),
    ("model_calls", "count", "r.model_calls", "how often a model was asked"),
    ("operations", "count", "r.operations", "how many operations it has"),
    ("steps", "count", "r.steps", "how many steps were started"),
    ("events", "count", "r.events", "how many events it has, also of types that only a newer playhead knows"),
    ("resumes", "count", "r.resumes", "how often it was taken up again"),
    ("deaths", "count", "r.deaths", "how often its process died"),
)
_OWN: Final[tuple[tuple[str, Kind, str, str], ...]] = (
    (
        "kind",
        "text",
        "p.kind",
        "run, step, tool, model, value, timer, signal, child, hook, state, approval …",
    ),
    ("op", "text", "p.op", "the id of the operation or step"),
    ("tool", "text", "p.tool", "which tool was asked for"),
    ("model", "text", "p.model", "which model answered, or was asked for"),
    ("step", "text", "p.step", "the step itself, or the innermost one around an operation"),
    ("effect", "text", "p.effect", "pure, read_only, idempotent or effect, as the tool declared"),
    ("args", "path", "p.args", "what went in: arguments, a request to a model, a snippet"),
    ("result", "path", "p.result", "what came out: a result, the reply of a model, a signal"),
    ("error", "many", "p.errors", "each error of it, also of attempts, and each cause: `Type: message`"),
    ("text", "words", "p.position", "all texts of it"),
)
PART: Final = _fields(*_OWN)
OWN: Final = {
    **PART,
    **_fields(
        ("name", "text", "p.name", "what was asked for"),
        ("status", "text", "p.status", "open, in_doubt, completed, failed, cancelled, denied …"),
        ("started", "time", "p.started", "when it was asked for"),
        ("ended", "time", "p.ended", "when it ended"),
        ("duration", "span", "max(p.ended - p.started, 0)", "from its start to its end"),
        ("cost", "money", "p.cost", "what a model call cost"),
        ("tokens", "count", "p.tokens", "input and output tokens of a model call"),
        ("input_tokens", "count", "p.input_tokens", "input tokens of a model call"),
        ("output_tokens", "count", "p.output_tokens", "output tokens of a model call"),
        ("attempts", "count", "p.attempts", "how often it was tried"),
        ("seq", "count", "p.seq", "the event that asked for it"),
    ),
}
"""What `op( … )` and `step( … )` know."""


# ------------------------------------------------------------------ values


def number_of(text: str, kind: Kind, now: int) -> int | float | None:
    """The number that `text` is for a field of `kind`, as the log counts it; None where it is none."""
    if kind == "time":
        time = time_in(text, now)
        return None if time is None else _bounded(Decimal(time))
    pattern = {"span": SPAN, "money": _MONEY}.get(kind, _COUNT)
    match = pattern.fullmatch(text)
    if match is None:
        return None
    units = {"span": SPANS, "money": {None: 1_000_000}}.get(kind, _COUNTS)
    unit = match.groupdict().get("unit")
    return _bounded(Decimal(match["number"]) * units[unit])  # type: ignore[index]  # money has no unit


def written(number: int, kind: Kind) -> str:
    """A number as an expression writes it for a field of `kind`, to the last digit: `number_of` reads it."""
    match kind:
        case "money":
            return f"${_shifted(number, 6)}"
        case "span":
            size, unit = next((each for each in _SHOWN if abs(number) >= 10 ** each[0]), _SHOWN[-1])
            return f"{_shifted(number, size)}{unit}"
        case "time":
            return time_written(number)
        case _:
            return str(number)


def _shifted(number: int, places: int) -> str:
    text = f"{Decimal(number).scaleb(-places):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain_number(text: str) -> int | float | None:
    """The number that `text` is in JSON; None where it is none."""
    match = _PLAIN.fullmatch(text)
    if match is None:
        return None
    return float(text) if match["rest"] or len(text) > WHOLE_LENGTH_MAX else int(text)


def _bounded(number: Decimal) -> int | float:
    """Whole numbers as such; what no log can count to is beyond all that it counts."""
    if abs(number) >= INT64:
        return float("inf") if number > 0 else float("-inf")
    return int(number) if number == int(number) else float(number)
