"""`playhead log --grep`: events that say something, with the part that says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from playhead_projections.cli.faults import BROKEN, DONE, NO, Usage
from playhead_projections.cli.output import count, cut
from playhead_projections.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from playhead.log.envelope import Event
    from playhead.log.reader import LogReader
    from playhead_projections.search.grep import Found, Hit, Pattern, Scan

HITS_SHOWN: Final = 3
AROUND: Final = 40
STREAMS_MAX: Final = 10_000_000
CONTEXT_MAX: Final = 10_000


class Wish(NamedTuple):
    """What to look for in which events."""

    pattern: Pattern
    negated: bool
    context: int
    types: tuple[str, ...]
    limit: int | None


def grep_options(function: Any) -> Any:
    """Adds `--grep`, `--regex`, `-i`, `--not` and `-C`."""
    for add in (
        click.option(
            "-C",
            "--context",
            default=0,
            type=click.IntRange(0, CONTEXT_MAX),
            metavar="N",
            help="Also N events before and behind.",
        ),
        click.option("--not", "negated", is_flag=True, help="Events that do not say it."),
        click.option("-i", "--ignore-case", is_flag=True, help="Case does not count."),
        click.option("--regex", metavar="RE", help="Only events in which a text matches this expression."),
        click.option("--grep", "text", metavar="TEXT", help="Only events in which a text contains this."),
    ):
        function = add(function)
    return function


def wish_of(
    text: str | None,
    regex: str | None,
    *,
    ignore_case: bool,
    negated: bool,
    context: int,
    types: tuple[str, ...],
    limit: int | None,
) -> Wish | None:
    """What the options ask for; None where nothing is looked for. Raises `BadValue` and `Usage`."""
    if text is not None and regex is not None:
        raise Usage("both --grep and --regex were given.", expected="one of them", found="two")
    if text is None and regex is None:
        if ignore_case or negated or context:
            raise Usage("-i, --not and -C say how to look for something.", expected="--grep or --regex")
        return None
    from playhead_projections.search.grep import Pattern

    looked_for = text if text is not None else regex
    assert looked_for is not None
    pattern = Pattern(looked_for, regex=regex is not None, ignore_case=ignore_case)
    return Wish(pattern, negated, context, types, limit)


class Told(NamedTuple):
    """What is shown of a scan: events with hits or beside them, and how many more match."""

    events: list[Found]
    matches: int
    left_out: int


def grep(
    session: Session,
    wish: Wish,
    streams: Iterator[Iterator[Event]],
    document: Callable[[Event], dict[str, Any]],
    row: Callable[[Event], str],
    *,
    as_json: bool,
    as_jsonl: bool,
) -> int:
    """Look through `streams` and print what matches: 0 where something does, 1 where nothing does."""
    from playhead_projections.search.grep import Scan

    scan = Scan(wish.pattern, negated=wish.negated, context=wish.context)
    if as_jsonl:
        matches = 0
        for found in _all(scan, wish, streams):
            matches += found.hits is not None
            session.out.record(_document(found, document))
        return _code(scan, matches)
    told = _cut(_all(scan, wish, streams), wish.limit)
    if as_json:
        body = {
            "events": [_document(found, document) for found in told.events],
            "left_out": told.left_out,
            "events_read": scan.read,
            "events_unreadable": scan.unreadable,
        }
        session.out.document("playhead.grep/1", body)
    else:
        session.out.lines(_lines(session, wish, told, row))
        if scan.unreadable:
            session.out.aside(f"{count(scan.unreadable, 'event')} could not be read.")
    return _code(scan, told.matches)


def every_run(reader: LogReader) -> Iterator[Iterator[Event]]:
    """The events of each run, the oldest first."""
    for stream in reader.streams("run", limit=STREAMS_MAX):
        yield reader.scan(stream)


def _all(scan: Scan, wish: Wish, streams: Iterator[Iterator[Event]]) -> Iterator[Found]:
    for events in streams:
        yield from scan.over(events, wish.types)


def _cut(found: Iterator[Found], limit: int | None) -> Told:
    events: list[Found] = []
    matches = left_out = 0
    for one in found:
        if limit is not None and matches >= limit and (one.hits is not None or left_out):
            left_out += one.hits is not None
            continue
        matches += one.hits is not None
        events.append(one)
    while left_out and events and events[-1].hits is None and events[-1].apart:
        events.pop()
    return Told(events, matches, left_out)


def _code(scan: Scan, matches: int) -> int:
    if scan.unreadable:
        return BROKEN
    return DONE if matches else NO


def _document(found: Found, document: Callable[[Event], dict[str, Any]]) -> dict[str, Any]:
    hits = found.hits
    shown = None if hits is None else [_hit(hit) for hit in hits]
    return {**document(found.event), "hits": shown}


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "path": hit.path,
        "before": hit.text[max(hit.start - AROUND, 0) : hit.start],
        "match": hit.text[hit.start : hit.end],
        "after": hit.text[hit.end : hit.end + AROUND],
    }


def _lines(session: Session, wish: Wish, told: Told, row: Callable[[Event], str]) -> Iterator[str]:
    if not told.matches:
        yield "nothing found."
    for n, found in enumerate(told.events):
        if wish.context and n and (found.apart or found.event.stream != told.events[n - 1].event.stream):
            yield "--"
        mark = ("> " if found.hits is not None else "  ") if wish.context else ""
        yield f"{mark}{row(found.event)}"
        for hit in (found.hits or ())[:HITS_SHOWN]:
            yield f"{mark}          {cut(hit.path, AROUND)}  {_excerpt(session, hit)}"
        if len(found.hits or ()) > HITS_SHOWN:
            yield f"{mark}          … {len(found.hits or ()) - HITS_SHOWN} more texts in it"
    if told.left_out:
        yield f"… {told.left_out:,} more: --all, or -n {told.matches + told.left_out}"


def _excerpt(session: Session, hit: Hit) -> str:
    """The part that matches between marks, and what stands around it."""
    shown = _hit(hit)
    before = cut(shown["before"], AROUND)
    after = cut(shown["after"], AROUND)
    first = "…" if hit.start > AROUND else ""
    last = "…" if hit.end + AROUND < len(hit.text) else ""
    match = cut(shown["match"], 3 * AROUND)
    marked = click.style(f"«{match}»", fg="red") if session.out.color else f"«{match}»"
    return f"{first}{before}{marked}{after}{last}"
