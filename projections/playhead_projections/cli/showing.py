"""`playhead show`: a run as a story, one event per line, under the numbers that other commands take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from playhead.clock import SystemClock
from playhead.errors import BadEvent
from playhead_projections.cli.addresses import as_of_option, find_as_of
from playhead_projections.cli.faults import BROKEN, DONE
from playhead_projections.cli.output import count, cut, money, span
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead.log.envelope import Event
    from playhead.log.reader import LogReader
    from playhead_projections.cli.addresses import Address
    from playhead_projections.cli.erased import Words
    from playhead_projections.run_report import Operation, Report, Step

LINES: Final = 200
TYPE_WIDTH: Final = 17
TYPE_WIDTH_MAX: Final = 200
NAME_WIDTH_MAX: Final = 200
INDENT_MAX: Final = 12
DENIED_SHOWN: Final = 5
SAID: Final = ("signal.sent", "cancel.sent", "resolution.sent")


@command("show")
@click.argument("run", default="@")
@click.option(
    "-n", "--limit", default=LINES, show_default=True, type=click.IntRange(min=2), help="Lines of events."
)
@click.option("--all", "everything", is_flag=True, help="Every event.")
@as_of_option
@json_option
def show(
    session: Session, *, run: str, limit: int, everything: bool, as_of: str | None, as_json: bool
) -> int:
    """Show what RUN did. RUN@12 shows it as of event 12."""
    from playhead_projections.projector import state_as_of
    from playhead_projections.run_report import RunReport

    with session.reading() as log:
        address = find_as_of(log, session.store, run, as_of)
        last = checked_last(log, address)
        try:
            report = state_as_of(log, RunReport(), address.stream, last).state
        except BadEvent as error:
            return _show_unreadable(session, log, address, error, limit)
        if as_json:
            _document(session, log, report, address)
            return DONE
        first = address.first if address.first != address.last and address.first is not None else 0
        end = log.head(address.stream).seq if last is None else last + 1
        session.out.lines(
            _lines(session, log, report, address, first, end, end - first if everything else limit)
        )
    return DONE


def checked_last(log: LogReader, address: Address) -> int | None:
    """The event that the state is asked for; an open range or a late end mean the newest."""
    end = log.head(address.stream).seq
    return (
        address.last if address.last is None or address.first == address.last else min(address.last, end - 1)
    )


def _document(session: Session, log: LogReader, report: Report, address: Address) -> None:
    from playhead_projections.cli.standing import Living
    from playhead_projections.run_report import document

    body = document(report, at=address.last)
    if address.last is None:
        body["status"] = Living(log, session.store).status(report.life)
    body["mailbox_not_taken"] = _not_taken(log, report)
    body["forks"] = _forks(log, address.run)
    schema = body.pop("schema")
    session.out.document(schema, body)


def _forks(log: LogReader, run: str) -> list[dict[str, Any]]:
    """The runs that were made of this one, and up to which of its events."""
    from playhead.events.catalog import RunForked
    from playhead_projections.cli.wording import decoded

    told = map(decoded, log.read(f"mailbox/{run}", 0, types=("run.forked",)))
    return [{"run": fact.run, "event": fact.event} for fact in told if isinstance(fact, RunForked)]


def _not_taken(log: LogReader, report: Report) -> int:
    """How many things people said to a run that is not over, and that its owner has not taken."""
    if report.life.ended is not None:
        return 0
    taken = max((message.message + 1 for message in report.mailbox), default=0)
    return len(log.read(f"mailbox/{report.life.run}", taken, types=SAID))


def _show_unreadable(session: Session, log: LogReader, address: Address, error: BadEvent, limit: int) -> int:
    from playhead_projections.cli.erased import Words

    session.out.line(f"{address.run}  cannot be told whole: {error.message}")
    session.out.line()
    words = Words(log)
    for event in log.read(address.stream, address.first or 0, limit):
        session.out.line(_row(session, event, {}, 5, words))
    session.out.aside("event.bad: an event cannot be read. `playhead verify` says whether it was damaged.")
    return BROKEN


# ------------------------------------------------------------------- lines


def _lines(
    session: Session, log: LogReader, report: Report, address: Address, first: int, end: int, limit: int
) -> Iterator[str]:
    from playhead_projections.cli.erased import Words

    yield from _header(session, log, report, address)
    yield ""
    ends: dict[int, Step | Operation] = {
        item.ended_seq: item
        for items in (report.steps, report.operations)
        for item in items.values()
        if item.ended_seq is not None
    }
    width, words = max(3, len(str(end))), Words(log)
    head, tail = (end, end) if end - first <= limit else (first + limit // 2, end - (limit - limit // 2))
    for event in log.scan(address.stream, first):
        if event.seq >= min(head, end):
            break
        yield _row(session, event, ends, width, words)
    if tail > head:
        yield f"  … {tail - head:,} events left out: playhead show {address.run}@{head}..{tail - 1}, or --all"
        for event in log.scan(address.stream, tail):
            if event.seq >= end:
                break
            yield _row(session, event, ends, width, words)
    yield from _footer(log, report, address)


def _header(session: Session, log: LogReader, report: Report, address: Address) -> Iterator[str]:
    from playhead_projections.cli.standing import Living, Wait, in_words, since_when
    from playhead_projections.run_report import waits

    life, used = report.life, report.used
    as_of = address.last is not None
    status = life.status if as_of else Living(log, session.store).status(life)
    words = in_words(
        status, (Wait(o.kind, o.name, o.started, o.status == "in_doubt", o.due) for o in waits(report))
    )
    age = f"as of event {life.events - 1}" if as_of else since_when(life, SystemClock().now())
    parts = [life.run, cut(life.persona or "?", NAME_WIDTH_MAX)]
    if life.name:
        parts.append(f'"{cut(life.name, NAME_WIDTH_MAX)}"')
    parts.append(f"{session.out.word(words)}, {age}")
    if life.duration is not None:
        parts.append(f"took {span(life.duration)}")
    if used.model_calls:
        parts.append(money(used.cost_micros.value, used.cost_micros.unknown))
    yield "  ".join(parts)
    facts = [count(len(report.operations), "operation"), count(len(report.steps), "step")]
    if used.model_calls:
        tokens_in = count(used.input_tokens.value, unknown=used.input_tokens.unknown)
        tokens_out = count(used.output_tokens.value, unknown=used.output_tokens.unknown)
        facts.append(f"{count(used.model_calls, 'model call')} ({tokens_in} in, {tokens_out} out)")
    for number, what in ((report.retries, "retry"), (life.resumes, "resume"), (life.deaths, "death")):
        if number:
            facts.append(f"{number} {what if number == 1 else 'retries' if what == 'retry' else what + 's'}")
    if life.parent:
        facts.append(f"child of {life.parent}")
    yield f"  {', '.join(facts)}"
    if life.tags:
        yield cut(f"  tags  {', '.join(life.tags)}", session.out.width)


def _row(session: Session, event: Event, ends: dict[int, Any], width: int, words: Words) -> str:
    """One event. The name is set in by how deep it is nested."""
    from playhead_projections.accounts import tail_of

    item = ends.get(event.seq)
    depth = min(max(event.op.count("/") - 1, 0), INDENT_MAX)
    name = f"{'  ' * depth}{tail_of(event.op)} " if event.op else ""
    right = _measures(item)
    left = cut(f"{event.seq:>{width}}  {event.type:<{TYPE_WIDTH}}  ", TYPE_WIDTH_MAX)
    room = session.out.width - len(left) - (len(right) + 3 if right else 0)
    text = cut(f"{name}{words.of(event)}".rstrip(), max(room, 20))
    return (
        f"{left}{text}{' ' * max(room - len(text), 0)}   {right}".rstrip()
        if right
        else f"{left}{text}".rstrip()
    )


def _measures(item: Any) -> str:
    """How long it took, and for a model its tokens and money."""
    from playhead_projections.accounts import length

    if item is None:
        return ""
    parts = [span(length(item.started, item.ended))]
    used = getattr(item, "inclusive", None)
    if used is not None and used.model_calls:
        parts.append(money(used.cost_micros.value, used.cost_micros.unknown))
    if getattr(item, "kind", "") == "model" and item.usage is not None:
        known = [n for n in (item.usage.input_tokens, item.usage.output_tokens) if n is not None]
        parts += [f"{sum(known):,} tok" if known else "? tok", money(item.cost_micros)]
    return "  ".join(parts)


# ------------------------------------------------------------------ footer


def _footer(log: LogReader, report: Report, address: Address) -> Iterator[str]:
    from playhead_projections.run_report import errors, in_doubt, waits

    run = report.life.run
    told: list[str] = []
    for error in errors(report)[-1:]:
        told.append(
            f"error: {error['type']}: {error['message']}" + (f" at {error['site']}" if error["site"] else "")
        )
        told += [f"  because {cause}" for cause in error["causes"]]
    for denial in report.denied[-DENIED_SHOWN:]:
        by = f" by hook {denial.by}" if denial.by else ""
        told.append(f"denied{by}: {denial.of} {denial.name} at event {denial.seq}: {denial.reason}")
    if len(report.denied) > DENIED_SHOWN:
        told.append(f"{len(report.denied) - DENIED_SHOWN} more were denied: playhead show {run} --json")
    if report.hooks.model_calls:
        cost = money(report.hooks.cost_micros.value, report.hooks.cost_micros.unknown)
        told.append(f"hooks made {count(report.hooks.model_calls, 'model call')} of their own, {cost}")
    unknown = [operation for operation in report.operations.values() if operation.outcome_unknown]
    for operation in unknown[-DENIED_SHOWN:]:
        told.append(f"ran out of time and may have happened: {operation.name} at event {operation.seq}")
    for operation in in_doubt(report):
        told.append(
            f"in doubt: {operation.name} at event {operation.seq}: "
            f"playhead resolve {run}@{operation.seq} --retry | --value JSON | --fail"
        )
    for operation in waits(report):
        if operation.kind == "signal" and operation.status == "open":
            told.append(f"waits for signal {operation.name}: playhead signal {run} {operation.name} [JSON]")
        elif operation.kind == "child" and operation.status == "open":
            told.append(f"waits for run {operation.child}: playhead show {operation.child}")
    if report.life.status in {"released", "diverged", "parked"} and report.life.reason:
        told.append(f"{report.life.status}: {report.life.reason}")
    if address.last is None and (waiting := _not_taken(log, report)):
        told.append(f"{count(waiting, 'message')} in its mailbox not taken yet: playhead log mailbox/{run}")
    if address.last is None:
        told += [f"forked at event {fork['event']}: playhead show {fork['run']}" for fork in _forks(log, run)]
    if report.skipped:
        told.append(f"{count(report.skipped, 'event')} of a newer playhead kept, known by type alone")
    if told:
        yield ""
        yield from told
