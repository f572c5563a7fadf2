"""`playhead bisect`: the event at which something holds first, or the outcome that makes a run bad."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.faults import DONE, NO, Usage, tidied
from playhead_projections.cli.output import count, in_json, span
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead.replay.bisect import Bisection
    from playhead.replay.expression import Expression
    from playhead.replay.imagine import Imagined
    from playhead.replay.judging import Judge
    from playhead.replay.mixing import Suspect
    from playhead.runtime.tape import Tape

SHOWN: Final = 5
UNTESTABLE: Final = 125
ABORTS: Final = 128
ENVIRONMENT: Final = "PLAYHEAD_IMAGINED"


@command("bisect")
@click.argument("run", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[BAD] [PROGRAM] [-- CMD…]")
@click.option("--when", metavar="EXPR", help="Inside one run: the first event at which it holds.")
@click.option("--monotone", is_flag=True, help="Once it holds it goes on holding: find it by halving.")
@click.option("--good-if", "good_if", metavar="EXPR", help="What is good, of status, result and error.")
@json_option
def bisect(
    session: Session,
    *,
    run: str,
    words: tuple[str, ...],
    when: str | None,
    monotone: bool,
    good_if: str | None,
    as_json: bool,
) -> int:
    """Find where a run goes wrong, or which recorded outcome makes it.

    With --when: the first event of RUN at which EXPR holds, of status, cost_micros, operations, state.KEY,
    event.type and the like.

    RUN BAD PROGRAM: which recorded outcomes of BAD, told to the good RUN, make it bad. Each try is imagined:
    nothing is carried out. Good is what ends like RUN, or --good-if, or what CMD says: 0 good, 125
    untestable, other codes below 128 bad. It gets the run as JSON on standard input and in the file that
    PLAYHEAD_IMAGINED names. Exit code 0 when something was found, 1 when not.
    """
    if when is not None:
        if words or good_if is not None:
            raise Usage("--when looks inside one run.", expected="RUN --when EXPR", found=" ".join(words))
        return _inside(session, run, when, monotone=monotone, as_json=as_json)
    if not words or monotone:
        raise Usage(
            "bisect needs to know what is wrong.",
            expected="RUN --when EXPR, or GOOD BAD PROGRAM",
            found="--monotone without --when" if monotone else "one run",
        )
    bad, program, *asked = [*words, None] if len(words) == 1 else words
    if asked and good_if is not None:
        raise Usage("a command says what is good, or --good-if does.", expected="one of them")
    wanted = [word for word in asked if word is not None]
    return _between(session, (run, str(bad)), program, wanted, good_if, as_json=as_json)


# ------------------------------------------------------------------ inside a run


def _inside(session: Session, run: str, when: str, *, monotone: bool, as_json: bool) -> int:
    from playhead.replay.expression import Expression
    from playhead_projections.cli.addresses import check_event, find
    from playhead_projections.cli.wording import decoded, said
    from playhead_projections.finding import check_names, first_where

    holds = Expression(when)
    with session.reading() as log:
        address = find(log, session.store, run)
        check_event(log, address, run)
        check_names(log, address.stream, holds)
        first, last = address.first or 0, address.last
        found = first_where(log, address.stream, holds, first=first, last=last, monotone=monotone)
    if as_json:
        body = {
            "run": address.run,
            "when": when,
            "event": found.seq,
            "type": found.event.type if found.event else None,
            "op": found.event.op if found.event else None,
            "looked_at": found.looked_at,
            "monotone": monotone,
            "never_asked": holds.unlike if not holds.told and holds.unlike else None,
        }
        session.out.document("playhead.bisect/1", body)
    else:
        if holds.unlike and not holds.told:
            session.out.aside(f"{when!r} could not be asked of any event: {holds.unlike}")
        how = "by halving" if monotone else "one after the other"
        looked = f"{count(found.looked_at, 'event')} looked at {how}"
        if found.event is None:
            session.out.line(f"nowhere  {address.run}  up to event {found.last}, {looked}")
        else:
            event = found.event
            session.out.line(f"{address.run}@{event.seq}  {event.type}  {event.op}".rstrip() + f"  {looked}")
            session.out.line(f"  {said(decoded(event))}")
    return NO if found.seq is None else DONE


# --------------------------------------------------------------------- between two


def _between(
    session: Session,
    runs: tuple[str, str],
    program: str | None,
    command_: list[str],
    good_if: str | None,
    *,
    as_json: bool,
) -> int:
    from playhead.errors import PlayheadError
    from playhead.replay.bisect import bisect
    from playhead.replay.expression import Expression
    from playhead.replay.judging import by_ending, by_test
    from playhead.replay.mixing import Pair
    from playhead.replay.player import on_tape
    from playhead.runtime.failures import ErrorTypes
    from playhead_projections.cli.forking import persona_of, program_for
    from playhead_projections.cli.store_key import StoreKey

    good, bad = (_tape(session, run) for run in runs)
    loaded = program_for(session, good.run, program)
    key = StoreKey(session.store)
    redaction = key.redaction(loaded.options.get("secrets", ()))
    errors = ErrorTypes(loaded.options.get("errors", ()))
    host = on_tape(good.started.model, loaded.options.get("model"), redaction, errors)
    pair = Pair(good, bad, persona_of(loaded, good.run, good.started.persona), host)
    judge: Judge
    if command_:
        judge = _by_command(command_)
    elif good_if is not None:
        judge = by_test(_named_in(Expression(good_if), good, bad))
    else:
        judge = by_ending(good, bad)
    try:
        found = bisect(pair, judge)
    except PlayheadError:
        key.check(good, bad)
        raise
    if found.verdict != "found":
        key.check(good, bad)
    if as_json:
        session.out.document("playhead.bisect/1", {"good": good.run, "bad": bad.run, **_document(found)})
    else:
        session.out.lines(_lines(good.run, bad.run, found))
    return DONE if found.verdict == "found" else NO


def _named_in(good_if: Expression, *tapes: Tape) -> Expression:
    """Raises `BadValue` where it names what is not in how either run ended: it would be misspelt."""
    from playhead.replay.judging import end_of, summary_of

    ends = [summary_of(end_of(tape)) for tape in tapes]
    good_if.check_names(ends[0])
    shapes = [{"error": {"type": "", "message": ""}}, *ends]
    missing = [path for path in good_if.paths if not any(path.is_in(end) for end in shapes)]
    if missing and all(end["status"] is not None for end in ends):
        raise good_if.unknown(missing[0])
    return good_if


def _tape(session: Session, run: str) -> Tape:
    from playhead_projections.cli.addresses import find_whole
    from playhead_projections.cli.running import tape_in

    with session.reading() as log:
        return tape_in(log, find_whole(log, session.store, run).run)


def _by_command(words: list[str]) -> Judge:
    """A judge that runs a command of the user's own. Raises `Usage` where that aborts."""
    from playhead.replay.judging import summary

    def judge(found: Imagined) -> Any:
        if found.finished is None:
            return "untestable"
        text = in_json({"schema": "playhead.imagined/1", **summary(found), "events": _events(found)})
        with tidied(), tempfile.TemporaryDirectory(prefix="playhead-bisect-") as place:
            file = Path(place) / "run.json"
            file.write_text(text, encoding="utf-8")
            code = _run(words, text, file)
        if code >= ABORTS or code < 0:
            raise Usage(f"{words[0]} ended with {code}.", expected="0 good, 125 untestable, below 128 bad")
        return "good" if code == 0 else "untestable" if code == UNTESTABLE else "bad"

    return judge


def _run(words: list[str], text: str, file: Path) -> int:
    variables = {**os.environ, ENVIRONMENT: str(file)}
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=2, env=variables)  # noqa: S603  asked for
    except OSError as error:
        raise Usage(f"{words[0]} cannot be run: {error.strerror}.", found=words[0]) from error
    with process:
        try:
            process.communicate(text.encode())
        except BaseException:
            process.kill()
            process.wait()
            raise
    return process.returncode


def _events(found: Imagined) -> list[dict[str, Any]]:
    import msgspec

    return [
        {"type": event.type, "op": event.op, "at": event.at, "payload": msgspec.msgpack.decode(event.payload)}
        for event in found.events
    ]


def _lines(good: str, bad: str, found: Bisection) -> list[str]:
    tried = f"{count(found.tests, 'run')} imagined"
    if found.suspects:
        tried = f"{count(found.differences, 'difference')}, {tried}"
    if found.untestable:
        tried += f", {found.untestable} untestable"
    lines = [f"{found.verdict}  good {good}  bad {bad}  {tried}"]
    lines += [f"  {_suspect(each)}" for each in found.culprits]
    if found.reason:
        lines.append(found.reason)
    if found.necessary is False:
        lines.append("without it the bad run is bad all the same: there is another cause")
    for run, lost in zip((good, bad), found.lost, strict=True):
        if lost:
            events = ", ".join(f"{run}@{seq}" for seq in lost[:SHOWN])
            more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
            lines.append(f"erased, so it was not tested: {events}{more}")
    return lines


def _suspect(each: Suspect) -> str:
    places = [f"{name}@{seq}" for name, seq in (("good", each.good), ("bad", each.bad)) if seq is not None]
    if each.took is not None:
        places.append(" instead of ".join(f"{span(took)}" for took in reversed(each.took)))
    late = ", which the bad run stopped waiting for" if each.kind == "time" and each.bad is None else ""
    return f"{each.kind}  {each.name}  {' '.join(places)}".rstrip() + late


def _document(found: Bisection) -> dict[str, Any]:
    def plain(each: Suspect) -> dict[str, Any]:
        return {name: value for name, value in asdict(each).items() if name != "key"}

    return {
        "verdict": found.verdict,
        "culprits": [plain(each) for each in found.culprits],
        "suspects": found.differences,
        "tests": found.tests,
        "untestable": found.untestable,
        "necessary": found.necessary,
        "reason": found.reason or None,
        "erased": {"good": list(found.lost[0]), "bad": list(found.lost[1])},
    }
