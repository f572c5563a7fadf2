"""`playhead why`: the chain of what led to an event, each link with what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.faults import DONE
from playhead_projections.cli.output import count, cut
from playhead_projections.cli.session import Session, command, json_option
from playhead_projections.cli.wording import decoded, said

if TYPE_CHECKING:
    from playhead.log.envelope import Event
    from playhead_projections.why import Because, Link, Why

LINKS: Final = 20
TYPE_WIDTH: Final = 18
LEFT_WIDTH_MAX: Final = 120
SAID_WIDTH: Final = 400
NAME_WIDTH: Final = 100
IN_WORDS: Final = {
    "answers": "it is the outcome of",
    "attempt_of": "it is about the operation asked for at",
    "told": "the program went on when it was told",
    "had_been_told": "and had been told",
    "from_the_start": "the program came to it by itself from",
    "in_step": "inside the step entered at",
    "decided": "as was decided at",
    "agreed": "people had agreed at",
    "agreed_by": "this yes or no counted:",
    "retries": "after this attempt:",
    "taken_up_after": "the run was taken up again at",
    "resolved_by": "somebody answered for it at",
    "sent_by": "it was sent as",
    "waited_for": "the program waited for it at",
    "child_ended": "the child run ended with",
    "asked_by_parent": "the run was asked for by",
    "work_of": "it was work that came in as",
    "written_by": "that version was written at",
    "under": "under the bounds set at",
    "died_under": "gone was whoever had it since",
    "follows": "it comes right after",
    "erases": "it is about",
    "forked_from": "the run was forked from",
    "asked_otherwise": "it was edited, and had been asked for as",
    "withheld": "a fence kept it from happening at",
}


@command("why")
@click.argument("place", metavar="RUN@N")
@click.option(
    "-n", "--limit", default=LINKS, show_default=True, type=click.IntRange(min=1), help="Links of the chain."
)
@click.option("--all", "everything", is_flag=True, help="Every link.")
@json_option
def why(session: Session, *, place: str, limit: int, everything: bool, as_json: bool) -> int:
    """Say why event N of RUN is there: what led to it, and what led to that, back to its start."""
    from playhead_projections.cli.addresses import find_one
    from playhead_projections.why import LINKS_MAX
    from playhead_projections.why import why as causes

    with session.reading() as log:
        run, seq = find_one(log, session.store, place)
        told = causes(log, run, seq, limit=LINKS_MAX if everything else limit)
    if as_json:
        body = {
            "run": run,
            "seq": seq,
            "links": [_document(link, told) for link in told.links],
            "left_out": told.left_out,
            "complete": told.complete,
        }
        session.out.document("playhead.why/1", body)
    else:
        session.out.lines(_lines(session, f"run/{run}", told))
    return DONE


def _document(link: Link, told: Why) -> dict[str, Any]:
    return {
        **_event(link.event),
        "step": link.step,
        "site": link.site,
        "because": [_reason(because, told) for because in link.because],
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "stream": event.stream,
        "seq": event.seq,
        "type": event.type,
        "op": event.op,
        "at": event.at,
        "says": said(decoded(event)),
    }


def _reason(because: Because, told: Why) -> dict[str, Any]:
    event = told.beside.get((because.stream, because.seq))
    where = {"stream": because.stream, "seq": because.seq} if event is None else _event(event)
    return {"relation": because.relation, "more": because.more, **where}


def _lines(session: Session, stream: str, told: Why) -> Iterator[str]:
    from playhead_projections.why import MAIN

    for number, link in enumerate(told.links):
        yield _row(session, stream, link.event)
        place = [f"in step {cut(link.step, NAME_WIDTH)}"] if link.step else []
        place += [f"at {cut(link.site, NAME_WIDTH)}"] if link.site else []
        if place:
            yield f"      {', '.join(place)}"
        main = next((because for because in link.because if because.relation in MAIN), None)
        for because in link.because:
            if because is main or because.relation == "in_step":
                continue
            event = told.beside.get((because.stream, because.seq))
            beside = (
                f"event {because.seq}" if event is None else _row(session, stream, event, set_in=8).strip()
            )
            more = f"  … and {because.more:,} more" if because.more else ""
            yield f"      {IN_WORDS[because.relation]}  {beside}{more}"
        if main is not None and number + 1 < len(told.links):
            yield f"  {IN_WORDS[main.relation]}"
    if told.left_out:
        here = stream.partition("/")[2]
        first = told.links[0].event.seq
        yield f"  … {count(told.left_out, 'link')} more to its beginning: playhead why {here}@{first} --all"
    elif not told.complete:
        yield "  and of what led to that the log says nothing"


def _row(session: Session, stream: str, event: Event, *, set_in: int = 0) -> str:
    from playhead_projections.accounts import tail_of

    place = str(event.seq) if event.stream == stream else f"{event.stream}@{event.seq}"
    left = cut(f"{place:>4}  {event.type:<{TYPE_WIDTH}} ", LEFT_WIDTH_MAX)
    text = f"{tail_of(event.op)} {said(decoded(event))}".strip()
    room = max(session.out.width - len(left) - set_in, 40)
    return f"{left} {cut(text, room)}".rstrip()
