"""`playhead timeline`: what was under way when, one inside the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from playhead_projections.cli.addresses import as_of_option, find_as_of
from playhead_projections.cli.faults import DONE
from playhead_projections.cli.output import count, cut, money, span, table
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead_projections.timeline import Line, Span

BAR: Final = 24
NAME: Final = 44
LINES: Final = 200


@command("timeline")
@click.argument("run", default="@")
@click.option("--all", "every", is_flag=True, help="All spans, however many.")
@as_of_option
@json_option
def timeline(session: Session, *, run: str, every: bool, as_of: str | None, as_json: bool) -> int:
    """Show the spans of RUN's steps and operations over time. RUN@12 shows those of then."""
    from playhead_projections.projector import state_as_of
    from playhead_projections.timeline import Timeline, document

    with session.reading() as log:
        address = find_as_of(log, session.store, run, as_of)
        line = state_as_of(log, Timeline(), address.stream, address.last).state
    if as_json:
        body = document(line)
        session.out.document(body.pop("schema"), body)
        return DONE
    spans = _as_tree(line)
    shown = spans if every else spans[:LINES]
    lines = table(_rows(line, shown), head=["span", "kind", "took", "cost", "when"], right=(2, 3))
    if len(line.spans) > len(shown):
        lines.append(f"… {count(len(line.spans) - len(shown), 'span')} left out: --all")
    session.out.lines(lines if line.spans else ["nothing has begun."])
    return DONE


def _as_tree(line: Line) -> list[Span]:
    """Every span, and after it at once those inside it, in the order of opening."""
    inside: dict[int | None, list[Span]] = {}
    for each in line.spans:
        inside.setdefault(each.parent, []).append(each)
    waiting = inside.get(None, [])[::-1]
    found: list[Span] = []
    while waiting:
        found.append(waiting.pop())
        waiting += inside.get(found[-1].id, [])[::-1]
    return found


def _rows(line: Line, shown: list[Span]) -> list[list[str]]:
    from playhead_projections.accounts import length

    depths: dict[int, int] = {}
    first = min((each.started for each in line.spans), default=0)
    last = max((each.ended or each.started for each in line.spans), default=first)
    rows: list[list[str]] = []
    for each in shown:
        depths[each.id] = depth = depths.get(each.parent or 0, -1) + 1
        status = each.result.get("status", "running")
        name = f"{'  ' * depth}{each.name}" + ("" if status == "completed" else f" ({status})")
        cost = each.result.get("cost_micros")
        rows.append(
            [
                cut(name, NAME),
                each.kind,
                "-" if each.ended is None else span(length(each.started, each.ended)),
                money(cost) if cost is not None and each.result.get("model_calls") else "-",
                _bar(each.started - first, (each.ended or last) - first, last - first),
            ]
        )
    return rows


def _bar(start: int, end: int, whole: int) -> str:
    """Where a span lies in the run, as a bar."""
    if whole <= 0:
        return "=" * BAR
    left = min(start * BAR // whole, BAR - 1)
    return " " * left + "=" * max(min(-(-end * BAR // whole), BAR) - left, 1)
