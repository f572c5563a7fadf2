"""`playhead log`, `event` and `tail`: events as they stand in the log, whole, and as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

import click

from playhead.errors import BadEvent, NotFound
from playhead.events.json_text import json_text
from playhead_projections.cli.faults import BROKEN, DONE, Usage
from playhead_projections.cli.grepping import every_run, grep, grep_options, wish_of
from playhead_projections.cli.output import brief, cut, moment
from playhead_projections.cli.session import Session, command, json_option, jsonl_option

if TYPE_CHECKING:
    from playhead.log.envelope import Event
    from playhead.log.reader import LogReader
    from playhead_projections.cli.erased import Words

LIMIT: Final = 500
TAIL: Final = 10
POLL_S_MIN: Final = 0.02
POLL_S_MAX: Final = 0.25
TYPE_WIDTH: Final = 24
LEFT_WIDTH_MAX: Final = 400


def document(event: Event, words: Words, *, whole: bool = False) -> dict[str, Any]:
    """An event as JSON, as it stands in the log: what was kept of an erased one is under `erased`.

    `whole` adds what proves it.
    """
    from playhead_projections.cli.wording import body, decoded

    if (gone := words.document(event)) is not None:
        event = event._replace(payload=None)
    fact = decoded(event)
    shown: dict[str, Any] = {
        "position": event.position,
        "stream": event.stream,
        "seq": event.seq,
        "type": event.type,
        "version": event.version,
        "at": event.at,
        "epoch": event.epoch,
        "op": event.op,
        "cause": event.cause,
        "digest": event.digest.hex(),
        "kept_as": _kept_as(fact),
        "payload": body(fact),
    }
    if gone is not None:
        shown["erased"] = gone
    if isinstance(fact, BadEvent):
        shown["error"] = fact.message
    if whole:
        shown["append_id"] = event.append_id.hex() if event.append_id else None
        shown["salt"] = event.salt.hex() if event.salt else None
        shown["payload_bytes"] = None if event.payload is None else len(event.payload)
    return shown


def _kept_as(fact: Any) -> str:
    """`fact`, or why there is none: `erased`, `unknown` (of a newer playhead) or `unreadable`."""
    from playhead.events.codec import Erased, Unknown

    kinds: tuple[tuple[type, str], ...] = ((Erased, "erased"), (Unknown, "unknown"), (BadEvent, "unreadable"))
    return next((word for kind, word in kinds if isinstance(fact, kind)), "fact")


def row(event: Event, width: int, words: Words, *, stream: bool) -> str:
    """An event on one line: seq, time, type, operation and what it says."""
    place = f"{event.stream}@{event.seq}" if stream else f"{event.seq:>5}"
    left = cut(f"{place}  {moment(event.at)}  {event.type:<{TYPE_WIDTH}}  ", LEFT_WIDTH_MAX)
    return f"{left}{cut(f'{event.op} {words.of(event)}'.strip(), max(width - len(left), 20))}".rstrip()


@command("log")
@click.argument("run", required=False)
@click.option("--type", "types", multiple=True, help="Only events of this type; several may be given.")
@grep_options
@click.option("-n", "--limit", default=LIMIT, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--all", "everything", is_flag=True, help="Every event.")
@json_option
@jsonl_option
def log(
    session: Session,
    *,
    run: str | None,
    types: tuple[str, ...],
    text: str | None,
    regex: str | None,
    ignore_case: bool,
    negated: bool,
    context: int,
    limit: int,
    everything: bool,
    as_json: bool,
    as_jsonl: bool,
) -> int:
    """List events of RUN, or RUN@12..40, or of a whole stream such as mailbox/ID.

    With --grep or --regex only those that say something, of all runs where none is named.
    """
    from playhead.events.erasing import mended
    from playhead_projections.cli.erased import Words

    most = None if everything else limit
    wish = wish_of(
        text, regex, ignore_case=ignore_case, negated=negated, context=context, types=types, limit=most
    )
    with session.reading() as reader:
        words = Words(reader)
        if wish is not None:
            streams = every_run(reader)
            if run is not None:
                streams = iter([_between(reader, *_stream_of(session, reader, run))])
            return grep(
                session,
                wish,
                (mended(reader, events) for events in streams),
                lambda event: document(event, words),
                lambda event: row(event, session.out.width, words, stream=run is None),
                as_json=as_json,
                as_jsonl=as_jsonl,
            )
        return _list(session, reader, run or "@", types, most, words, as_json=as_json, as_jsonl=as_jsonl)


def _list(
    session: Session,
    reader: LogReader,
    run: str,
    types: tuple[str, ...],
    limit: int | None,
    words: Words,
    *,
    as_json: bool,
    as_jsonl: bool,
) -> int:
    stream, first, last = _stream_of(session, reader, run)
    chosen = (event for event in _between(reader, stream, first, last) if not types or event.type in types)
    if as_jsonl:
        broken = False
        for event in chosen:
            shown = document(event, words)
            broken |= shown["kept_as"] == "unreadable"
            session.out.record(shown)
        return BROKEN if broken else DONE
    listed, left_out, unreadable = _cut(chosen, limit)
    documents = [document(event, words) for event in listed] if as_json else []
    lines = [] if as_json else [row(event, session.out.width, words, stream=False) for event in listed]
    if as_json:
        session.out.document("playhead.log/1", {"stream": stream, "events": documents, "left_out": left_out})
    else:
        if left_out:
            behind = listed[-1].seq + 1
            lines.append(
                f"  … {left_out:,} more: playhead log {run.partition('@')[0] or '@'}@{behind}.., or --all"
            )
        session.out.lines(lines)
    return BROKEN if unreadable else DONE


def _stream_of(session: Session, reader: LogReader, text: str) -> tuple[str, int, int | None]:
    from playhead_projections.cli.addresses import check_event, find, split

    name, first, last = split(text)
    if "/" in name:
        if not reader.head(name).seq:
            raise NotFound(f"there is no stream {name}.", next_step="See `playhead db`.")
        return name, first or 0, last
    address = find(reader, session.store, text)
    check_event(reader, address, text)
    return address.stream, address.first or 0, address.last


def _between(reader: LogReader, stream: str, first: int, last: int | None) -> Iterator[Event]:
    for event in reader.scan(stream, first):
        if last is not None and event.seq > last:
            return
        yield event


def _cut(chosen: Iterator[Event], limit: int | None) -> tuple[list[Event], int, bool]:
    """The first `limit` events, how many more there are, and whether one of those kept cannot be read."""
    from playhead_projections.cli.wording import decoded

    listed: list[Event] = []
    left_out = 0
    for event in chosen:
        if limit is None or len(listed) < limit:
            listed.append(event)
        else:
            left_out += 1
    return listed, left_out, any(isinstance(decoded(event), BadEvent) for event in listed)


@command("event")
@click.argument("place", metavar="RUN@SEQ")
@json_option
def event(session: Session, *, place: str, as_json: bool) -> int:
    """Show one event whole: envelope, payload, digest."""
    from playhead_projections.cli.erased import Words

    with session.reading() as reader:
        stream, first, last = _stream_of(session, reader, place)
        if last is None or last != first:
            raise Usage(f"{place!r} names no single event.", expected="RUN@SEQ", found=place)
        found = reader.read(stream, first, 1)
        if not found:
            raise NotFound(f"{stream} has no event {first}.", found=first)
        shown = document(found[0], Words(reader), whole=True)
    if as_json:
        session.out.document("playhead.event/1", shown)
    else:
        session.out.lines(_whole(shown))
    return BROKEN if shown["kept_as"] == "unreadable" else DONE


def _whole(shown: dict[str, Any]) -> Iterator[str]:
    from playhead_projections.cli.output import shown as words

    gone: Any = shown.get("erased")
    payload: Any = gone["kept"] if gone else shown["payload"]
    for name, value in shown.items():
        if name == "payload":
            continue
        if name == "erased":
            by = f" by {gone['by']}" if gone["by"] else ""
            yield f"{name:<14}{', '.join(gone['parts']) or 'the whole payload'}{by}: {gone['reason']}"
            continue
        if name == "at":
            yield f"{name:<14}{moment(value)}  ({value})"
        elif value is not None and value != "":
            yield f"{name:<14}{cut(str(value), 10_000)}"
    yield ""
    if isinstance(payload, dict):
        for name, value in cast("dict[str, Any]", payload).items():
            text = brief(value, 10_000)
            if len(text) <= 100:
                yield f"  {name:<11} {text}"
            else:
                yield f"  {name}"
                for line in json_text(value, indent=2, default=words).splitlines():
                    yield f"    {line}"
    elif payload is not None:
        yield f"  {brief(payload, 10_000)}"
    else:
        yield f"  ({shown['kept_as']})"


@command("tail")
@click.argument("run", required=False)
@click.option(
    "-n", "--limit", default=TAIL, show_default=True, type=click.IntRange(min=0), help="How many at first."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, from any process.")
@jsonl_option
def tail(session: Session, *, run: str | None, limit: int, follow: bool, as_jsonl: bool) -> int:
    """Show the newest events of RUN, or of the whole store, and follow with -f."""
    from playhead_projections.cli.addresses import find
    from playhead_projections.cli.erased import Words

    def tell(found: Event) -> None:
        if as_jsonl:
            session.out.record(document(found, words))
        else:
            session.out.line(row(found, session.out.width, words, stream=run is None))

    with session.reading() as reader:
        words = Words(reader)
        stream = find(reader, session.store, run).stream if run else None
        version = reader.data_version()
        if stream is not None:
            place = max(reader.head(stream).seq - limit, 0)
            for found in reader.scan(stream, place):
                tell(found)
                place = found.seq + 1
        else:
            place = reader.position()
            for found in _newest(reader, limit):
                tell(found)
                place = found.position
        pause = POLL_S_MIN
        while follow:
            fresh = reader.read(stream, place) if stream is not None else reader.feed(place)
            for found in fresh:
                tell(found)
                place = found.seq + 1 if stream is not None else found.position
            if fresh:
                pause = POLL_S_MIN
                continue
            while (now := reader.data_version()) == version:
                time.sleep(pause)
                pause = min(pause * 1.5, POLL_S_MAX)
            version = now
    return DONE


def _newest(reader: LogReader, limit: int) -> list[Event]:
    """The newest `limit` events. Positions may skip, so the step back grows until that many are there."""
    if not limit:
        return []
    newest = reader.position()
    back = limit
    while True:
        found = reader.feed(max(newest - back, 0), back * 2)
        if len(found) >= limit or back >= newest:
            return found[-limit:]
        back *= 2
