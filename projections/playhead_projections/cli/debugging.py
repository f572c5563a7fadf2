"""`playhead debug`: a replay that stops at an event, in the program's own frame, and goes on and back."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from playhead_projections.cli.faults import DIVERGED, DONE, Usage
from playhead_projections.cli.output import cleaned
from playhead_projections.cli.running import program_option, program_to_play, tape_in
from playhead_projections.cli.session import Session, command, jsonl_option

if TYPE_CHECKING:
    from playhead.log.envelope import AnyEvent
    from playhead.replay.observed import Observer
    from playhead.replay.watching import Change
    from playhead.runtime.tape import Tape
    from playhead_projections.cli.addresses import Address


@command("debug")
@click.argument("run", metavar="RUN[@N]")
@click.argument("programs", nargs=-1, metavar="[FILE.py[:PERSONA]]...")
@program_option
@click.option("-c", "commands", multiple=True, metavar="COMMAND", help="Say this at the prompt first.")
@click.option(
    "--watch", "watched", multiple=True, metavar="EXPR", help="Print EXPR wherever it changed; never stop."
)
@click.option(
    "--from", "first", type=click.IntRange(0), default=None, metavar="N", help="Watch from event N on."
)
@click.option("--to", "last", type=click.IntRange(0), default=None, metavar="N", help="Watch to event N.")
@click.option(
    "--listen", type=int, metavar="PORT", help="Let an IDE attach, by debugpy, instead of asking here."
)
@click.option("--wait", is_flag=True, help="With --listen: begin when an IDE has attached.")
@jsonl_option
def debug(
    session: Session,
    *,
    run: str,
    programs: tuple[str, ...],
    words: tuple[str, ...],
    commands: tuple[str, ...],
    watched: tuple[str, ...],
    first: int | None,
    last: int | None,
    listen: int | None,
    wait: bool,
    as_jsonl: bool,
) -> int:
    """Replay RUN to event N, touching nothing, and stop in the program's own frame, in pdb.

    Without N: where it failed, else at its first event. At the prompt, `help` lists what there is.
    Exit code 0; 5 when the program no longer does what its tape says.
    """
    _check(watched, first, last, listen, as_jsonl=as_jsonl, wait=wait)
    address, tape = tape_of(session, run)
    if not watched and address.first != address.last:
        raise Usage(f"{run!r} is a range.", expected="RUN or RUN@12, or a range with --watch EXPR", found=run)
    observer = observer_of(session, address.run, tape, (*programs, *words))
    if watched:
        first = address.first if first is None else first
        last = address.last if last is None and address.last != address.first else last
        _check_range(tape, first or 0, last)
        return _watch(session, observer, watched, first or 0, last, as_jsonl=as_jsonl)
    target = _target(tape, address)
    if listen is not None:
        from playhead.replay.attaching import attach

        return attach(observer, target, listen, wait=wait, say=session.out.aside)
    from playhead.replay.debugger import Debugger

    terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    return Debugger(observer, words=_in_words, commands=commands, terminal=terminal).run(target)


def _check(
    watched: tuple[str, ...],
    first: int | None,
    last: int | None,
    listen: int | None,
    *,
    as_jsonl: bool,
    wait: bool,
) -> None:
    if watched and listen is not None:
        raise Usage("--watch never stops, and --listen is there to stop.", expected="one of them")
    if not watched and (as_jsonl or first is not None or last is not None):
        raise Usage("--from, --to and --jsonl go with --watch.", expected="--watch EXPR")
    if wait and listen is None:
        raise Usage("--wait goes with --listen.", expected="--listen PORT")
    if listen is not None and not 0 <= listen < 65_536:
        raise Usage(f"{listen} is no port.", expected="0 to 65535; 0 takes a free one", found=listen)
    if watched:
        _check_expressions(watched)


def _check_expressions(watched: tuple[str, ...]) -> None:
    from playhead.errors import ProgramError
    from playhead.replay.watching import expression

    for text in watched:
        try:
            expression(text)
        except ProgramError as error:
            raise Usage(error.message, expected="a Python expression", found=text) from error


def _check_range(tape: Tape, first: int, last: int | None) -> None:
    """Raises `NotFound` for events that are not there, and `Usage` for a range that holds none."""
    for number in (first, last or 0):
        _check_event(tape, number, f"{tape.run}@{number}")
    if last is not None and last < first:
        raise Usage(
            f"event {last} comes before event {first}.", expected="--from N --to M, with M not before N"
        )


def _check_event(tape: Tape, number: int, said: str) -> None:
    from playhead.errors import NotFound

    end = tape.events[-1].seq
    if number > end:
        raise NotFound(
            f"run {tape.run} has no event {number}.", expected=f"{tape.run}@0 to @{end}", found=said
        )


def tape_of(session: Session, run: str) -> tuple[Address, Tape]:
    """The run that `run` names and its tape. Raises `NotFound` for an event that is not there."""
    from playhead_projections.cli.addresses import find

    with session.reading() as log:
        address = find(log, session.store, run)
        tape = tape_in(log, address.run)
    _check_event(tape, address.first or 0, run)
    return address, tape


def _target(tape: Tape, address: Address) -> int:
    if address.first is not None:
        return address.first
    failed = [event.seq for event in tape.events if event.type == "run.failed"]
    return failed[-1] if failed else 0


def observer_of(session: Session, run: str, tape: Tape, words: tuple[str, ...]) -> Observer:
    """What replays that tape with the program in `words`, and can be looked at."""
    from playhead.errors import PersonaMissing
    from playhead.replay.observed import Observer
    from playhead.runtime.failures import ErrorTypes
    from playhead_projections.cli.store_key import StoreKey

    name = tape.started.persona
    program = program_to_play(session, run, tape.started, words)
    persona = next((persona for persona in program.personas if persona.name == name), None)
    if persona is None:
        known = sorted(persona.name for persona in program.personas)
        raise PersonaMissing([run], persona=name, known=known)
    return Observer(
        tape,
        persona,
        errors=ErrorTypes(program.options.get("errors", ())),
        redaction=StoreKey(session.store).redaction(program.options.get("secrets", ())),
        model=program.options.get("model"),
    )


def _in_words(event: AnyEvent) -> str:
    from playhead.errors import BadEvent
    from playhead.events.codec import CATALOG
    from playhead_projections.cli.wording import said

    try:
        words = said(CATALOG.decode(event))
    except BadEvent as error:
        words = said(error)
    parts = (event.type, f"{event.op} {words}".strip())
    return cleaned("  ".join(parts).rstrip().replace("\n", " "))


def _watch(
    session: Session,
    observer: Observer,
    watched: tuple[str, ...],
    first: int,
    last: int | None,
    *,
    as_jsonl: bool,
) -> int:
    from playhead.replay.watching import Watcher

    def show(change: Change) -> None:
        if as_jsonl:
            session.out.record(_document(observer.tape.run, change))
        else:
            place = f"{change.task}  {change.site.function}:{change.site.line}"
            session.out.line(f"{change.seq:>6}  {place}  {change.expression} = {change.value}")

    watcher = Watcher(watched, show, first=first, last=last)
    relaxed = observer.tape.started.mode == "relaxed"
    outcome = asyncio.run(observer.watch_relaxed(watcher)) if relaxed else observer.watch(watcher)
    for text in watcher.never:
        session.out.aside(f"{text} never had a value: no code of the program that was looked at knows it.")
    if outcome.divergence is not None:
        session.out.aside(str(outcome.divergence))
        return DIVERGED
    return DONE


def _document(run: str, change: Change) -> dict[str, Any]:
    return {
        "schema": "playhead.watch/1",
        "run": run,
        "event": change.seq,
        "type": change.type,
        "op": change.op,
        "task": change.task,
        "site": str(change.site),
        "expression": change.expression,
        "value": change.value,
        "failed": change.failed,
    }
