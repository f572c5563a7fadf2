"""`playhead approvals`, `approve` and `deny`: what people are asked, and what they answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from playhead.clock import SystemClock
from playhead.errors import NotFound, ProgramError
from playhead_projections.cli.addresses import as_of_option, moment_of, stands_still, time_of
from playhead_projections.cli.faults import DONE, NO, AnswerIsNo, Usage
from playhead_projections.cli.output import age, brief, count, cut, moment, table
from playhead_projections.cli.running import from_json
from playhead_projections.cli.session import KEY_ENVIRONMENT, Session, command, json_option, key_option
from playhead_projections.cli.telling import open_run, tell
from playhead_projections.inbox import OPEN, Asked, Box, Inbox, boxes_at

if TYPE_CHECKING:
    from playhead.events.approval import AnswerSent
    from playhead.log.reader import LogReader
    from playhead.policy.quorum import Answer
    from playhead.sign import Signer

KINDS: Final = ("question", "approval", "dual_control", "escalation")
LIMIT: Final = 500
LIMIT_MAX: Final = 5_000
VALUE_WIDTH: Final = 50

by_option = click.option("--by", "reviewer", default=lambda: os.environ.get("USER", ""), help="Who answers.")
reason_option = click.option("--reason", default="", help="Why.")


@command("approvals")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these. May be repeated.")
@click.option("--agent", help="Only what this persona, or whoever asked for it, asks.")
@click.option("--for", "reviewer", help="Only what this person may answer.")
@click.option("--since", metavar="TIME", help="Asked at this time or later, as 2026-05-01T12:00:00Z.")
@click.option("--until", metavar="TIME", help="Asked at this time or earlier.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True)
@as_of_option
@json_option
def approvals(
    session: Session,
    *,
    kinds: tuple[str, ...],
    agent: str | None,
    reviewer: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_of: str | None,
    as_json: bool,
) -> int:
    """List what people are asked and have not decided yet, newest first. Exit code 1 for nothing."""
    first, last = _time(since, "--since"), _time(until, "--until")
    with session.reading() as log:
        now, every = SystemClock().now(), pending(session, log)
        if as_of is not None:
            now, every = _then(session, log, as_of)
        found = [
            (asked, 0 if as_of is not None else _on_the_way(log, asked))
            for asked in every
            if (not kinds or asked.kind in kinds)
            and agent in (None, asked.persona, asked.principal)
            and (reviewer is None or (_may(asked, reviewer)))
            and (first is None or asked.at >= first)
            and (last is None or asked.at <= last)
        ][:limit]
    if as_json:
        rows = [{**msgspec.to_builtins(asked), "on_the_way": waiting} for asked, waiting in found]
        session.out.document("playhead.approvals/1", {"approvals": rows})
        return DONE if found else NO
    if not found:
        session.out.line("nobody is asked anything.")
        return NO
    head = ["asked for", "what", "by", "of", "agreed", "asked", "until", "where"]
    session.out.lines(table([_row(asked, waiting, now) for asked, waiting in found], head=head))
    return DONE


@command("approve")
@click.argument("request", metavar="REQUEST|RUN@SEQ")
@click.option("--value", metavar="JSON", help="The answer to a question.")
@click.option("--text", help="The answer to a question, as a plain text.")
@click.option("--edit", metavar="JSON", help="Agree to these arguments instead of those that were asked for.")
@click.option("--withdraw", is_flag=True, help="Take an earlier agreement back, while it is not decided.")
@reason_option
@by_option
@key_option
@json_option
def approve(
    session: Session,
    *,
    request: str,
    value: str | None,
    text: str | None,
    edit: str | None,
    withdraw: bool,
    reason: str,
    reviewer: str,
    key_file: str | None,
    as_json: bool,
) -> int:
    """Agree to what REQUEST asks for, or answer its question. Durable on return.

    REQUEST is an id that `playhead approvals` shows, its beginning, or the event RUN@SEQ that asked.
    """
    if sum(each is not None for each in (value, text, edit)) + withdraw > 1:
        raise Usage("a request has one answer.", expected="one of --value, --text, --edit, --withdraw")
    said: Any = ...
    if text is not None:
        said = text
    elif (given := value if value is not None else edit) is not None:
        said = from_json(given, "--value" if value is not None else "--edit")
    asked = _one(session, request)
    if edit is not None and asked.kind != "approval":
        raise Usage(f"a {asked.kind} has no arguments to edit.", expected="an approval", found=asked.request)
    if edit is None and said is not ... and asked.kind != "question":
        raise Usage(f"{asked.kind} {asked.action} is no question.", expected="no value", found=asked.request)
    word = "withdraw" if withdraw else "approve"
    return _answer(session, asked, word, said, reviewer, reason, key_file, as_json=as_json)


@command("deny")
@click.argument("request", metavar="REQUEST|RUN@SEQ")
@reason_option
@by_option
@key_option
@json_option
def deny(
    session: Session, *, request: str, reason: str, reviewer: str, key_file: str | None, as_json: bool
) -> int:
    """Say no to what REQUEST asks for: that decides it. Durable on return."""
    return _answer(session, _one(session, request), "deny", ..., reviewer, reason, key_file, as_json=as_json)


def pending(session: Session, log: LogReader) -> Iterator[Asked]:
    """Every open request of the store, newest first."""
    from playhead_projections.asking import ask
    from playhead_projections.projector import Parked, ReadModels

    def work(models: ReadModels) -> tuple[list[Box | None], Parked | None]:
        boxes = [models.get(Inbox(), run) for run in models.labelled(Inbox(), OPEN)]
        return boxes, models.standings()[0].parked

    boxes, stopped = ask(ReadModels, log, session.store, [Inbox()], work)
    if stopped is not None:
        session.out.aside(stands_still(stopped, "the list of what people are asked"))
    yield from _in(box for box in boxes if box is not None)


def _in(boxes: Iterable[Box]) -> list[Asked]:
    """What is open in some boxes, newest first."""
    found = [asked for box in boxes for asked in box.open.values()]
    return sorted(found, key=lambda asked: (asked.at, asked.run, asked.seq), reverse=True)


def _then(session: Session, log: LogReader, as_of: str) -> tuple[int, Iterator[Asked]]:
    """The time that `as_of` names, and what was open then, newest first."""
    moment = moment_of(log, session.store, as_of)
    return moment.at, iter(_in(boxes_at(log, moment.position).values()))


def _one(session: Session, text: str) -> Asked:
    """The open request that `text` names. Raises `NotFound`, `Usage` and `AnswerIsNo`."""
    from playhead_projections.cli.addresses import find_one

    with session.reading() as log:
        every = list(pending(session, log))
        if "@" in text:
            run, seq = find_one(log, session.store, text)
            found = [asked for asked in every if (asked.run, asked.seq) == (run, seq)]
            asking = not found and [
                event for event in log.read(f"run/{run}", seq, 1) if event.type == "approval.requested"
            ]
            if asking:
                raise AnswerIsNo(f"what {text} asked for is decided, or nobody waits for it any more.")
        else:
            found = [asked for asked in every if text and asked.request.startswith(text)]
    if not found:
        raise NotFound(
            f"nobody is asked for {text!r} now.", found=text, next_step="See `playhead approvals`."
        )
    if len(found) > 1:
        raise Usage(
            f"{text!r} fits {len(found)} requests.",
            expected="one of them",
            found=", ".join(asked.request for asked in found[:5]),
            next_step="Write more of the id.",
        )
    return found[0]


def _answer(
    session: Session,
    asked: Asked,
    word: Any,
    said: Any,
    reviewer: str,
    reason: str,
    key_file: str | None,
    *,
    as_json: bool,
) -> int:
    from playhead.runtime.approving import known_name

    if not reviewer.strip():
        raise Usage("an answer names who gives it.", expected="--by NAME", found="no --by and no USER")
    reviewer = known_name(reviewer, "a reviewer")
    if not _may(asked, reviewer):
        who = (
            "it asked itself"
            if reviewer in (asked.principal, *asked.within)
            else f"that is for {_who(asked)}"
        )
        raise AnswerIsNo(f"{reviewer} has no say about {asked.action}: {who}.")
    signer = _signer(session, asked, reviewer, key_file)
    report, status = open_run(session, asked.run)
    tell(
        session,
        report,
        status,
        lambda engine: engine.answer(
            asked.run, asked.request, word, said, reviewer=reviewer, reason=reason, signer=signer
        ),
        {"message": word, "name": asked.action, "request": asked.request, "reviewer": reviewer},
        as_json=as_json,
    )
    with session.reading() as log:
        why = _for_nothing(_sent(log, asked), asked, reviewer)
    if why:
        raise AnswerIsNo(f"that is recorded and has no effect: {why}.")
    return DONE


def _signer(session: Session, asked: Asked, reviewer: str, key_file: str | None) -> Signer | None:
    """What signs the answer, where its run asks for that. Raises `AnswerIsNo` for what could never count."""
    if not asked.reviewer_keys:
        if key_file:
            session.out.aside(f"run {asked.run} asks for nobody's key: the answer is not signed.")
        return None
    from playhead.sign import Signer, why_not

    signer = Signer.from_file(key_file) if key_file else None
    if why := why_not(asked.reviewer_keys, reviewer, signer):
        needed = f"--key FILE, or {KEY_ENVIRONMENT}" if signer is None else None
        raise AnswerIsNo(f"{why}.", expected=needed)
    return signer


def _may(asked: Asked, reviewer: str) -> bool:
    from playhead.policy.quorum import has_say

    return has_say(asked.terms, reviewer)


def _who(asked: Asked) -> str:
    return "anybody" if asked.reviewers is None else ", ".join(asked.reviewers) or "nobody"


def _on_the_way(log: LogReader, asked: Asked) -> int:
    """How many answers are in the mailbox that the run has not taken yet."""
    return max(len(_sent(log, asked)) - len(asked.said), 0)


def _sent(log: LogReader, asked: Asked) -> list[tuple[int, AnswerSent]]:
    """Every answer to a request that is in the mailbox, with when it was given."""
    from playhead.events.approval import AnswerSent
    from playhead_projections.cli.wording import decoded

    mail = log.read(f"mailbox/{asked.run}", 0, LIMIT_MAX, types=("answer.sent",))
    facts = [(event.at, decoded(event)) for event in mail]
    return [
        (at, fact) for at, fact in facts if isinstance(fact, AnswerSent) and fact.request == asked.request
    ]


def _for_nothing(sent: Sequence[tuple[int, AnswerSent]], asked: Asked, reviewer: str) -> str:
    """Why the last answer of `reviewer` cannot count; "" where it may, as only the program knows."""
    from playhead.policy.quorum import count

    mine = [place for place, (_, fact) in enumerate(sent) if fact.reviewer == reviewer]
    if not mine:
        return ""
    place, due = mine[-1], asked.due
    if due is not None and sent[place][0] > due:
        return f"the time for it was over at {moment(due)}"
    if asked.kind == "question" or any(fact.digest not in ("", asked.digest) for _, fact in sent):
        return ""
    answers = [_heard(asked, fact) for at, fact in sent if due is None or at <= due]
    late = sum(1 for at, _ in sent[:place] if due is not None and at > due)
    return dict(count(asked.terms, answers).ignored).get(place - late, "")


def _heard(asked: Asked, sent: AnswerSent) -> Answer:
    """What somebody sent, as the run will count it."""
    from playhead.events.signed import digest_of, heard
    from playhead.policy.quorum import Answer

    known = heard(asked.reviewer_keys, asked.run, asked.digest, sent, digest_of(sent.value))
    return Answer(sent.reviewer, sent.word, signed=known, signed_at=sent.signed_at)


def _row(asked: Asked, waiting: int, now: int) -> list[str]:
    agreed = f"{_agreed(asked)} of {asked.quorum}" if asked.waits else "nobody waits"
    more = f", {count(waiting, 'answer')} on the way" if waiting else ""
    what = asked.action if asked.args is None else f"{asked.action} {brief(asked.args, VALUE_WIDTH)}"
    return [
        asked.request,
        f"{asked.kind if asked.waits else 'suggestion'}: {cut(what, VALUE_WIDTH)}",
        asked.principal or asked.persona,
        _who(asked),
        f"{agreed}{more}",
        age(now - asked.at),
        _until(asked.due, now),
        f"{asked.run}@{asked.seq}",
    ]


def _agreed(asked: Asked) -> str:
    """How many agree; `?` where they signed, and nothing here can verify that."""
    try:
        return str(len(asked.agreed))
    except ProgramError:
        return "?"


def _until(due: int | None, now: int) -> str:
    if due is None:
        return "for ever"
    return "it is over" if due < now else moment(due)


def _time(text: str | None, option: str) -> int | None:
    return None if text is None else time_of(text, option)
