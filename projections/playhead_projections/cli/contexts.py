"""`playhead context`: what a model call was shown, and what another was shown in its place."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, cast

import click

from playhead.events.json_text import json_text
from playhead_projections.cli.faults import DONE, NO, AnswerIsNo
from playhead_projections.cli.output import brief, count, cut, money, shown, table
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead_projections.context import Difference, Shown

LIMIT: Final = 50
LINES_OF_DIFF: Final = 200
DIFFED_LINES_MAX: Final = 5_000
VALUE_WIDTH: Final = 200
BEFORE_APART: Final = 40
"""How much is shown of what two long texts have in common before they part."""
NAME_WIDTH: Final = 40


@command("context")
@click.argument("run", default="@", metavar="RUN[@N]")
@click.option("--diff", "other", metavar="RUN@M", help="Compare with what this call was shown.")
@click.option(
    "-n", "--limit", default=LIMIT, show_default=True, type=click.IntRange(min=1), help="Lines of the list."
)
@click.option("--all", "everything", is_flag=True, help="Every line.")
@json_option
def context(
    session: Session, *, run: str, other: str | None, limit: int, everything: bool, as_json: bool
) -> int:
    """Show what the model call at RUN@N was shown; RUN lists the calls of a run. Any event of a call will do.

    With --diff the exit code is 0 where both were shown the same, and 1 where not.
    """
    from playhead_projections.cli.addresses import find, find_one
    from playhead_projections.context import calls, shown_at

    with session.reading() as log:
        address = find(log, session.store, run)
        if other is None and (address.first is None or address.first != address.last):
            found = calls(log, address.run, address.first or 0, address.last)
            return _list(session, address.run, found, None if everything else limit, as_json=as_json)
        here = shown_at(log, *find_one(log, session.store, run))
        there = None if other is None else shown_at(log, *find_one(log, session.store, other))
    if there is not None:
        return _compare(session, here, there, None if everything else LINES_OF_DIFF, as_json=as_json)
    if as_json:
        session.out.document("playhead.context/1", _document(here))
    else:
        session.out.lines(_lines(_whole(here)))
    return DONE


# ------------------------------------------------------------------- list


def _list(session: Session, run: str, found: list[Shown], limit: int | None, *, as_json: bool) -> int:
    if as_json:
        listed = [_document(call, parts=False) for call in found]
        session.out.document("playhead.context_list/1", {"run": run, "calls": listed})
        return DONE
    if not found:
        session.out.line("no model was asked.")
        return DONE
    rows = [_row(session, call) for call in found[:limit]]
    head = ["event", "step", "client", "model", "messages", "tools", "bytes", "in", "out", "cost", "status"]
    session.out.lines(table(rows, head=head, right=(0, 4, 5, 6, 7, 8, 9)))
    if limit is not None and len(found) > limit:
        behind = found[limit].seq
        session.out.line(f"  … {len(found) - limit:,} more: playhead context {run}@{behind}.., or --all")
    return DONE


def _row(session: Session, call: Shown) -> list[str]:
    parts = call.parts or {}
    return [
        str(call.seq),
        cut(call.step or "-", NAME_WIDTH),
        cut(call.client, NAME_WIDTH),
        cut(call.model or "-", NAME_WIDTH),
        _how_many(call, parts.get("messages", [])),
        _how_many(call, parts.get("tools", [])),
        count(call.size) if call.parts is not None else call.kept_as,
        count(call.usage.input_tokens),
        count(call.usage.output_tokens),
        money(call.cost_micros),
        session.out.word(call.status),
    ]


def _how_many(call: Shown, items: Any) -> str:
    return "?" if call.parts is None or not isinstance(items, list) else str(len(cast("list[object]", items)))


def _document(call: Shown, *, parts: bool = True) -> dict[str, Any]:
    said = call._asdict()
    said["usage"] = {name: getattr(call.usage, name) for name in call.usage.__struct_fields__}
    request = said.pop("parts")
    return {**said, "request": request} if parts else said


# -------------------------------------------------------------- one call


def _lines(found: Iterator[str]) -> Iterator[str]:
    """Each line by itself, so that a pager counts them."""
    for text in found:
        yield from text.split("\n")


def _whole(call: Shown) -> Iterator[str]:
    where = f" in step {cut(call.step, NAME_WIDTH)}" if call.step else ""
    line = f", asked at {cut(call.site, VALUE_WIDTH)}" if call.site else ""
    yield f"{call.run}@{call.seq}  {call.client}{where}{line}"
    answered = f", {call.status}" + (f" at event {call.ended_seq}" if call.ended_seq is not None else "")
    recorded = "" if call.parts is None else f", {count(call.size, 'byte')} recorded"
    yield f"  model {call.model or '?'}{recorded}{answered}"
    if call.reserved_tokens is not None or call.reserved_micros is not None:
        bounds = [] if call.reserved_tokens is None else [f"{call.reserved_tokens:,} tokens"]
        bounds += [] if call.reserved_micros is None else [money(call.reserved_micros)]
        yield f"  a budget reserved {' and '.join(bounds)} for it: its bounds below are what that left"
    if call.redacted:
        yield f"  redacted in the log, and handed to the client whole: {', '.join(call.redacted)}"
    if call.parts is None:
        yield f"  what it was shown is {call.kept_as}"
        return
    for name, value in call.parts.items():
        yield ""
        if name in ("messages", "tools") and isinstance(value, list):
            items = cast("list[object]", value)
            yield f"{name}  {len(items)}"
            for n, item in enumerate(items):
                yield from _item(n, item)
        else:
            yield cut(name, NAME_WIDTH)
            yield _set_in(_text(value), "  ")


def _item(number: int, item: Any) -> Iterator[str]:
    """A message or a tool: who it is from or what it is called, then what it holds."""
    if not isinstance(item, dict):
        yield _set_in(f"{number}  {_text(item)}", "  ")
        return
    told = dict(cast("dict[str, Any]", item))
    title = next((str(told.pop(name)) for name in ("role", "name") if isinstance(told.get(name), str)), "")
    yield f"  {number}  {cut(title, NAME_WIDTH)}".rstrip()
    content = told.pop("content", None)
    if content is not None:
        yield _set_in(_text(content), "     ")
    for name, value in told.items():
        yield _set_in(f"{name}: {_text(value)}", "     ")


def _text(value: Any) -> str:
    """A text as it is, anything else in JSON."""
    return value if isinstance(value, str) else json_text(value, default=shown)


def _set_in(text: str, by: str) -> str:
    return "\n".join(f"{by}{line}".rstrip() for line in text.split("\n"))


# ------------------------------------------------------------ comparison


def _compare(session: Session, here: Shown, there: Shown, limit: int | None, *, as_json: bool) -> int:
    from playhead_projections.context import differences

    for call in (here, there):
        if call.parts is None:
            raise AnswerIsNo(f"what {call.run}@{call.seq} was shown is {call.kept_as}.")
    found = differences(here.parts, there.parts)
    other_client = here.client != there.client
    if as_json:
        body = {
            "one": _document(here, parts=False),
            "other": _document(there, parts=False),
            "same": not found and not other_client,
            "differences": [difference._asdict() for difference in found],
        }
        session.out.document("playhead.context_diff/1", body)
        return NO if found or other_client else DONE
    lines = list(_compared(here, there, found))
    kept = lines if limit is None else lines[:limit]
    session.out.lines(kept)
    if len(kept) < len(lines):
        session.out.line(f"  … {len(lines) - len(kept):,} more lines: --all")
    return NO if found or other_client else DONE


def _compared(here: Shown, there: Shown, found: list[Difference]) -> Iterator[str]:
    one, other = f"{here.run}@{here.seq}", f"{there.run}@{there.seq}"
    same_client = here.client == there.client
    if not found and same_client:
        yield f"the same  {one} and {other} were shown the same {count(here.size, 'byte')}"
        return
    yield f"{one} -> {other}  {count(len(found), 'difference')}"
    if not same_client:
        yield f"client  {here.client} -> {there.client}"
    for difference in found:
        yield from _difference(difference)


def _difference(found: Difference) -> Iterator[str]:
    path = cut(found.path or "request", VALUE_WIDTH)
    if found.change != "changed":
        sign, value = ("+", found.now) if found.change == "added" else ("-", found.was)
        yield f"{sign} {path}  {brief(value, VALUE_WIDTH)}"
        return
    texts = [value.split("\n") for value in (found.was, found.now) if isinstance(value, str)]
    is_long = len(texts) == 2 and max(len(lines) for lines in texts) > 1
    if not is_long or max(len(lines) for lines in texts) > DIFFED_LINES_MAX:
        was, now = (json_text(value, default=shown) for value in (found.was, found.now))
        yield f"~ {path}  {_from_where(was, now)} -> {_from_where(now, was)}"
        return
    yield f"~ {path}"
    for line in _line_by_line(*texts):
        yield f"    {line}"


def _line_by_line(was: list[str], now: list[str]) -> Iterator[str]:
    """The lines that differ, with two around them; each is held against the one that it stands for."""
    told = list(unified_diff(was, now, lineterm="", n=2))[2:]
    groups = [(sign, list(lines)) for sign, lines in groupby(told, key=lambda line: line[:1])]
    for n, (sign, lines) in enumerate(groups):
        other = groups[n + 1 if sign == "-" else n - 1][1] if _is_pair(groups, n, sign) else []
        for k, line in enumerate(lines):
            yield sign + _from_where(line[1:], other[k][1:] if k < len(other) else "")


def _is_pair(groups: list[tuple[str, list[str]]], n: int, sign: str) -> bool:
    if sign == "-":
        return n + 1 < len(groups) and groups[n + 1][0] == "+"
    return sign == "+" and groups[n - 1][0] == "-"


def _from_where(text: str, other: str) -> str:
    """`text` on one line, cut so that the place at which it is another than `other` can be seen."""
    shorter = min(len(text), len(other))
    apart = next((n for n in range(shorter) if text[n] != other[n]), shorter)
    start = apart - BEFORE_APART if apart >= VALUE_WIDTH - BEFORE_APART else 0
    part = f"{'…' if start else ''}{text[start : start + VALUE_WIDTH]}"
    seen = part if part.isprintable() else "".join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in part)
    return f"{seen}{'…' if len(text) > start + VALUE_WIDTH else ''}"
