"""`playhead runs`: the list of runs, newest first, from the read models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from playhead.clock import SystemClock
from playhead_projections.accounts import TERMINAL
from playhead_projections.cli.faults import DONE
from playhead_projections.cli.output import age, count, cut, money, table
from playhead_projections.cli.session import Session, command, json_option, jsonl_option

if TYPE_CHECKING:
    from playhead_projections.projector import Parked

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
@click.option("-n", "--limit", default=LIMIT, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@jsonl_option
def runs(
    session: Session,
    *,
    wanted: tuple[str, ...],
    persona: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
    as_jsonl: bool,
) -> int:
    """List runs, newest first."""
    from playhead_projections.cli.addresses import models_of
    from playhead_projections.cli.standing import Living
    from playhead_projections.runs import Line, Runs, document

    with session.reading() as log, models_of(log, session.store) as models:
        living = Living(log, session.store)

        def fitting() -> Iterator[tuple[Line, str]]:
            for line in models.newest(Runs()):
                status = living.status(line.life)
                if (not wanted or status in wanted) and persona in (None, line.life.persona):
                    yield line, status

        listed: list[tuple[Line, str]] = []
        left_out = 0
        for found in fitting():
            if everything or len(listed) < limit:
                listed.append(found)
            else:
                left_out += 1
        stand = models.standings()[0]
    documents = [document(line, status=status) for line, status in listed]
    if as_jsonl:
        for one in documents:
            session.out.record(one)
    elif as_json:
        body = {
            "runs": documents,
            "left_out": left_out,
            "events_unknown": stand.skipped,
            "stopped_at": _place(stand.parked) if stand.parked else None,
        }
        session.out.document("playhead.runs/1", body)
    else:
        _print(session, listed, left_out)
    return DONE


def _place(parked: Parked) -> dict[str, Any]:
    """Where the list stands still: runs that came later are not in it."""
    return {
        "stream": parked.stream,
        "seq": parked.seq,
        "position": parked.position,
        "error": parked.error,
    }


def _print(session: Session, listed: list[tuple[Any, str]], left_out: int) -> None:
    from playhead_projections.cli.standing import Wait, in_words
    from playhead_projections.runs import waits

    out, now = session.out, SystemClock().now()
    if not listed:
        out.line("no runs.")
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
            ]
        )
    head = ["run", "status", "persona", "name", "age", "ops", "cost"]
    lines = table(rows, head=head, right=(4, 5, 6))
    lines[0] = out.dim(lines[0])
    if left_out:
        lines.append(f"… {left_out:,} more: playhead runs --all, or -n {len(listed) + left_out}")
    out.lines(lines)
