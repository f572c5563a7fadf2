"""`playhead runs`: the list of runs, newest first, from the read models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from playhead.clock import SystemClock
from playhead_projections.accounts import TERMINAL
from playhead_projections.cli.addresses import as_of_option
from playhead_projections.cli.faults import DONE, Usage
from playhead_projections.cli.output import age, count, cut, money, table
from playhead_projections.cli.searching import search_options, wish_of
from playhead_projections.cli.session import Session, command, json_option, jsonl_option

if TYPE_CHECKING:
    from playhead.log.reader import LogReader
    from playhead_projections.cli.addresses import Moment
    from playhead_projections.cli.searching import Found
    from playhead_projections.cli.standing import Living
    from playhead_projections.projector import Parked, ReadModels
    from playhead_projections.runs import Line

LIMIT: Final = 50
NAME_WIDTH: Final = 28
STATUSES: Final = (
    "running",
    "suspended",
    "released",
    "interrupted",
    "parked",
    "diverged",
    "completed",
    "failed",
    "cancelled",
    "unknown",
)


@command("runs")
@click.option(
    "--status",
    "wanted",
    multiple=True,
    type=click.Choice(STATUSES),
    metavar="STATUS",
    help=f"Only runs of this status; several may be given: {', '.join(STATUSES)}.",
)
@click.option("--persona", help="Only runs of this persona.")
@search_options
@click.option("-n", "--limit", default=LIMIT, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@as_of_option
@json_option
@jsonl_option
def runs(
    session: Session,
    *,
    wanted: tuple[str, ...],
    persona: str | None,
    where: str | None,
    facets: tuple[str, ...],
    sort: str | None,
    limit: int,
    everything: bool,
    as_of: str | None,
    as_json: bool,
    as_jsonl: bool,
) -> int:
    """List runs, newest first."""
    from playhead_projections.cli.addresses import moment_of, stands_still
    from playhead_projections.cli.searching import facets_document, find, find_at
    from playhead_projections.cli.standing import Living
    from playhead_projections.runs import document

    wish = wish_of(where, facets, sort)
    if as_jsonl and facets:
        raise Usage("--jsonl prints runs, and has no place for facets.", expected="--facet with --json")

    def fits(line: Line, status: str) -> bool:
        return (not wanted or status in wanted) and persona in (None, line.life.persona)

    with session.reading() as log:
        living = Living(log, session.store)
        then = None if as_of is None else moment_of(log, session.store, as_of)
        if wish is None:
            found = _all(log, session, living if then is None else then, fits)
        else:
            if then is not None and (past := wish_of(where, facets, sort, then.at)) is not None:
                found = find_at(log, session, past, then.position, fits)
            else:
                found = find(log, session, wish, living, fits)
            if found.parked is not None:
                session.out.aside(stands_still(found.parked))
    listed = found.lines if everything else found.lines[:limit]
    left_out = len(found.lines) - len(listed)
    documents = [document(line, status=status) for line, status in listed]
    if as_jsonl:
        for one in documents:
            session.out.record(one)
    elif as_json:
        body = {
            "runs": documents,
            "left_out": left_out,
            "events_unknown": found.unknown,
            "stopped_at": _place(found.parked) if found.parked else None,
        }
        if wish is not None:
            body |= {
                "where": where,
                "facets": facets_document(found.facets),
                "full_text": found.full_text,
            }
        session.out.document("playhead.runs/1", body)
    else:
        _print(session, listed, left_out, found.facets, SystemClock().now() if then is None else then.at)
    return DONE


def _all(log: LogReader, session: Session, seen: Living | Moment, fits: Callable[[Line, str], bool]) -> Found:
    """What the list of runs knows alone, without an index: as it is seen now, or as it was at a moment."""
    from playhead_projections.cli.addresses import Moment, of_runs
    from playhead_projections.cli.searching import Found
    from playhead_projections.runs import Runs, lines_at

    def work(models: ReadModels) -> Found:
        now = models.newest(Runs())
        told = (
            ((line, line.life.status) for line in lines_at(log, now, seen.position))
            if isinstance(seen, Moment)
            else ((line, seen.status(line.life)) for line in now)
        )
        lines = [(line, status) for line, status in told if fits(line, status)]
        stand = models.standings()[0]
        return Found(lines, {}, stand.parked, stand.skipped, full_text=True)

    return of_runs(log, session.store, work)


def _place(parked: Parked) -> dict[str, Any]:
    """Where the list stands still: runs that came later are not in it."""
    return {
        "stream": parked.stream,
        "seq": parked.seq,
        "position": parked.position,
        "error": parked.error,
    }


def _print(
    session: Session,
    listed: list[tuple[Any, str]],
    left_out: int,
    facets: dict[str, Counter[str]],
    now: int,
) -> None:
    from playhead_projections.cli.searching import facet_lines
    from playhead_projections.cli.standing import Wait, in_words
    from playhead_projections.runs import waits

    out = session.out
    if not listed:
        out.lines(["no runs.", *facet_lines(facets)])
        return
    rows: list[list[str]] = []
    for line, status in listed:
        life = line.life
        words = in_words(
            status, (Wait(o.kind, o.name, o.at, o.in_doubt, life.wake_at) for _, o in waits(line))
        )
        since = life.ended if life.status in TERMINAL else life.started
        rows.append(
            [
                life.run,
                out.word(cut(words, 40)),
                cut(life.persona or "?", NAME_WIDTH),
                cut(life.name or "-", NAME_WIDTH),
                age(None if since is None else now - since),
                count(line.operations),
                money(line.used.cost_micros.value, line.used.cost_micros.unknown)
                if line.used.model_calls
                else "-",
                cut(", ".join(life.tags), NAME_WIDTH),
            ]
        )
    head = ["run", "status", "persona", "name", "age", "ops", "cost", "tags"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    lines = table(rows, head=head, right=(4, 5, 6))
    lines[0] = out.dim(lines[0])
    if left_out:
        lines.append(f"… {left_out:,} more: playhead runs --all, or -n {len(listed) + left_out}")
    out.lines([*lines, *facet_lines(facets)])
