"""`playhead compose report`, `events` and `trace`: what the log tells of the compositions of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from playhead.errors import NotFound
from playhead_projections.cli.addresses import as_of_option, find_as_of
from playhead_projections.cli.faults import DONE, NO
from playhead_projections.cli.output import count, cut, table
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead_projections.compositions.fold import Told

WHY: int = 60

run_argument = click.argument("run", default="@")
op_option = click.option("--op", help="Only the composition with this id, as `playhead show` prints it.")


def _told(session: Session, run: str, op: str | None, as_of: str | None) -> tuple[Told, list[str]]:
    """The compositions of a run, and the ids of those that are meant. Raises `NotFound`."""
    from playhead_projections.compositions.fold import Compositions
    from playhead_projections.projector import state_as_of

    with session.reading() as log:
        address = find_as_of(log, session.store, run, as_of)
        told = state_as_of(log, Compositions(), address.stream, address.last).state
    known = list(told.compositions)
    if op is None:
        return told, known
    wanted = [op] if op in known else [each for each in known if op == each.rpartition("/")[2]]
    if len(wanted) != 1:
        raise NotFound(
            f"run {address.run} has {count(len(wanted), 'composition')} called {op!r}.",
            expected=", ".join(known) or "a run with compositions",
            found=op,
            next_step=f"playhead compose report {address.run}",
        )
    return told, wanted


def _status_of(session: Session, run: str, as_of: str | None) -> str | None:
    """How the run stands now; None where an earlier event of it is meant."""
    from playhead_projections.cli.standing import Living
    from playhead_projections.projector import state_as_of
    from playhead_projections.runs import Runs

    with session.reading() as log:
        address = find_as_of(log, session.store, run, as_of)
        if address.last is not None:
            return None
        return Living(log, session.store).status(state_as_of(log, Runs(), address.stream).state.life)


def _one(told: Told, ops: list[str]) -> str:
    """The one composition that is meant. Raises `NotFound`."""
    if len(ops) != 1:
        raise NotFound(
            f"run {told.run} has {count(len(ops), 'composition')}, and one is meant here.",
            expected="--op with one of them" if ops else "a run with a composition",
            found=", ".join(ops) or "none",
        )
    return ops[0]


@command("report")
@run_argument
@op_option
@as_of_option
@json_option
def report(session: Session, *, run: str, op: str | None, as_of: str | None, as_json: bool) -> int:
    """Say how each composition of RUN ended, and what came of each call that its snippet asked for.

    Exit code 1 when RUN has no composition. RUN@12 says how they stood then.
    """
    from playhead_projections.compositions.report import report as written

    told, ops = _told(session, run, op, as_of)
    reports = [written(told, each) for each in ops]
    status = _status_of(session, run, as_of)
    for each in reports:
        each["run"]["metadata"]["run_status"] = status
    if as_json:
        session.out.document("playhead.compositions/1", {"run": told.run, "compositions": reports})
        return DONE if reports else NO
    for each in reports:
        about = each["run"]["metadata"]
        took = "" if each["run"]["duration_ms"] is None else f"  {each['run']['duration_ms']} ms"
        where = about["snippet_error"]["line"] if about["snippet_error"] else 0
        place = f", line {where}" if where else ""
        rests = "" if status is None or about["status"] != "running" else f", its run {status}"
        word = f"{session.out.word(about['status'])}{rests}{took}"
        session.out.line(f"{about['op']}  {word}  {each['summary']}{place}")
        for problem in about["problems"] or ():
            place = f"{problem['line']}:{problem['col']}: {problem['code']}"
            session.out.line(f"  {place}: {problem['message']}")
        rows = [
            _row(call, result)
            for call, result in zip(each["child_calls"], each["child_results"], strict=True)
        ]
        if rows:
            head = ["", "tool", "line", "outcome", "tries", "ms", "why"]
            session.out.lines(table(rows, head=head, right=(0, 2, 4, 5)))
    if not reports:
        session.out.line(f"run {told.run} has no composition.")
    return DONE if reports else NO


def _row(call: dict[str, Any], result: dict[str, Any]) -> list[str]:
    path = "".join(f"[{index}]" for index in call["path"])
    return [
        str(call["operation_index"]),
        call["tool_name"],
        f"{call['line'] or '?'}{path}",
        result["outcome"],
        str(result["attempt"]),
        "?" if result["duration_ms"] is None else str(result["duration_ms"]),
        cut(result["error"] or "", WHY),
    ]


@command("events")
@run_argument
@op_option
@as_of_option
@click.option("--session", "named", metavar="ID", help="The session to tell them to. Default: the run.")
def events(session: Session, *, run: str, op: str | None, as_of: str | None, named: str | None) -> int:
    """Print the compositions of RUN as events of an agent's session, one JSON object per line."""
    from playhead_projections.compositions.agent_events import agent_events
    from playhead_projections.compositions.report import report as written

    told, ops = _told(session, run, op, as_of)
    for each in ops:
        for event in agent_events(written(told, each), named or told.run):
            session.out.record(event)
    return DONE if ops else NO


@command("trace")
@run_argument
@op_option
@as_of_option
@click.option("--id", "trace_id", help="What the trace is called.")
@click.option("--workflow", "workflow_id", help="The workflow that it is an example of.")
def trace(
    session: Session,
    *,
    run: str,
    op: str | None,
    as_of: str | None,
    trace_id: str | None,
    workflow_id: str | None,
) -> int:
    """Print the trace of one composition of RUN, for `playhead crystallize`."""
    from playhead_projections.compositions.report import report as written
    from playhead_projections.compositions.trace import WORKFLOW, composition_trace

    told, ops = _told(session, run, op, as_of)
    found = written(told, _one(told, ops))
    whole = composition_trace(found, trace_id=trace_id, workflow_id=workflow_id or WORKFLOW)
    session.out.document("playhead.composition_trace/1", whole)
    return DONE
