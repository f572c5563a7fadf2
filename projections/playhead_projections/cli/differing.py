"""`playhead diff`: two runs, aligned operation by operation, the first difference first."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.faults import DONE, NO, Usage
from playhead_projections.cli.output import brief, count, cut, money, span, table
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playhead.log.envelope import Event
    from playhead.log.reader import LogReader
    from playhead.replay.diff import Comparison, Difference
    from playhead_projections.cli.addresses import Address

SHOWN: Final = 20
FIELDS: Final = 6
VALUE: Final = 60
_COUNTED: Final = ("operations", "steps", "retries", "model_calls", "input_tokens", "output_tokens")
_WORDS: Final = {"changed": "differs", "moved": "moved", "only_a": "only in A", "only_b": "only in B"}


@command("diff")
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@click.option(
    "--ignore",
    multiple=True,
    metavar="FIELD",
    help="A field that does not count: its name, a path such as args.url, or a pattern.",
)
@click.option("--volatile", is_flag=True, help="Compare also what is other in every run.")
@click.option("--all", "every", is_flag=True, help="All differences, however many.")
@json_option
def diff(
    session: Session,
    *,
    run_a: str,
    run_b: str,
    ignore: tuple[str, ...],
    volatile: bool,
    every: bool,
    as_json: bool,
) -> int:
    """Compare RUN_A with RUN_B, operation by operation, and what each of them took.

    RUN@12 is a run up to event 12. Exit code 0 when they are the same, 1 when they differ.
    """
    from playhead.replay.diff import VOLATILE, called_nowhere, compare, told

    if any(not name for name in ignore):
        raise Usage("--ignore names a field.", expected="a name, a path or a pattern", found="nothing")
    with session.reading() as log:
        one, other = (_address(log, session, run) for run in (run_a, run_b))
        a, b = (told(each.run, _events(log, each)) for each in (one, other))
        totals = [_totals(log, session, each) for each in (one, other)]
    found = compare(a, b, ignore=ignore, volatile=volatile)
    for name in called_nowhere(a, b, ignore):
        session.out.aside(f"--ignore {name} ignores nothing: neither run has what is called so.")
    shown = found.differences if every else found.differences[:SHOWN]
    if as_json:
        ignored = [*ignore, *(() if volatile else VOLATILE)]
        session.out.document("playhead.diff/1", _document(found, shown, ignored, totals))
    else:
        session.out.lines(_lines(session, found, shown, totals))
    return DONE if found.same else NO


def _address(log: LogReader, session: Session, run: str) -> Address:
    from playhead_projections.cli.addresses import check_event, find

    address = find(log, session.store, run)
    if address.first != address.last:
        raise Usage(f"{run!r} is a range.", expected="RUN or RUN@12", found=run)
    check_event(log, address, run)
    return address


def _events(log: LogReader, address: Address) -> Iterable[Event]:
    for event in log.scan(address.stream):
        if address.last is not None and event.seq > address.last:
            return
        yield event


def _totals(log: LogReader, session: Session, address: Address) -> dict[str, Any]:
    """What a run took, as its report says."""
    from playhead_projections.accounts import length
    from playhead_projections.cli.standing import Living
    from playhead_projections.projector import state_as_of
    from playhead_projections.run_report import RunReport, totals

    report = state_as_of(log, RunReport(), address.stream, address.last).state
    life, counted = report.life, totals(report)
    living = Living(log, session.store)
    ended = life.ended if life.ended is not None else life.last_at
    return {
        "status": life.status if address.last is not None else living.status(life),
        "events": life.events,
        **{name: counted[name] for name in _COUNTED},
        "cost_micros": counted["cost_micros"],
        "cost_micros_unknown": counted["cost_micros_unknown"],
        "duration": length(life.started, ended),
    }


def _lines(
    session: Session, found: Comparison, shown: tuple[Difference, ...], totals: list[dict[str, Any]]
) -> list[str]:
    verdict = "identical" if found.same else "different" if found.differences else "undecided"
    word = session.out.word(verdict)
    many = count(len(found.differences), "difference")
    lines = [
        f"{word}  A {found.a.run}  B {found.b.run}  {many}, {count(found.compared, 'operation')} compared"
    ]
    lines += [
        f"{told.run}: {count(told.erased, 'event')} erased, {count(told.unknown, 'event')} of a newer"
        " playhead, of which nothing can be said"
        for told in (found.a, found.b)
        if told.erased or told.unknown
    ]
    for each in shown:
        lines.append("")
        lines += _told(each)
    left = len(found.differences) - len(shown)
    if left:
        lines += ["", f"… {count(left, 'difference')} left out: --all"]
    return [*lines, "", *_table(*totals)]


def _told(each: Difference) -> list[str]:
    places = [f"{name}@{seq}" for name, seq in (("A", each.event_a), ("B", each.event_b)) if seq is not None]
    name = each.op or "the run itself"
    moved = f" → {each.op_b}" if each.kind == "moved" else ""
    lines = [cut(f"{' '.join(places)}  {_WORDS[each.kind]}  {each.what}  {name}{moved}", 200)]
    for field in each.fields[:FIELDS]:
        path = f"{field.event} {field.path}".rstrip()
        values = (f"      {name}  {brief(value, VALUE)}" for name, value in (("A", field.a), ("B", field.b)))
        lines += [f"    {cut(path, 80)}", *values]
    left = len(each.fields) - FIELDS + each.fields_left_out
    if left > 0:
        has = f"the first {len(each.fields)}" if each.fields_left_out else "all"
        lines.append(f"    … {count(left, 'field')} left out: --json has {has}")
    return lines


def _table(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    rows = [
        ["status", a["status"], b["status"]],
        *([name.replace("_", " "), count(a[name]), count(b[name])] for name in ("events", *_COUNTED)),
        ["cost", *(money(each["cost_micros"], each["cost_micros_unknown"]) for each in (a, b))],
        ["took", *(span(each["duration"]) for each in (a, b))],
    ]
    return table(rows, head=["", "A", "B"], right=(1, 2))


def _document(
    found: Comparison, shown: tuple[Difference, ...], ignored: list[str], totals: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "runs": [found.a.run, found.b.run],
        "same": found.same,
        "compared": found.compared,
        "differences": [
            {**asdict(each), "fields": [field._asdict() for field in each.fields]} for each in shown
        ],
        "left_out": len(found.differences) - len(shown),
        "ignored": ignored,
        "totals": dict(zip(("a", "b"), totals, strict=True)),
        "erased": [found.a.erased, found.b.erased],
        "unknown": [found.a.unknown, found.b.unknown],
    }
