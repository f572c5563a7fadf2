"""`playhead persona …`: personas on duty, what they are told, and what they did."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from playhead.clock import SystemClock
from playhead.errors import BadEvent, NotFound
from playhead_projections.cli.faults import DONE, NO, WAITING, Usage
from playhead_projections.cli.output import count, cut, moment, money, table
from playhead_projections.cli.running import program_option
from playhead_projections.cli.session import Session, command, json_option, keys_option
from playhead_projections.cli.standing import Living

if TYPE_CHECKING:
    from playhead.log.reader import LogReader
    from playhead.policy.duty import Duty
    from playhead.runtime.binding import Receipt
    from playhead.runtime.dispatcher import Dispatcher

T = TypeVar("T")

PERSONAS_MAX: Final = 10_000
ERROR: Final = 60

by_option = click.option("--by", "sender", default=lambda: os.environ.get("USER", ""), help="Who says it.")
reason_option = click.option("--reason", default="", help="Why.")


@click.group("persona")
def persona() -> None:
    """Look after personas on duty: what sets them off, what they are told, and what they spend."""


# ----------------------------------------------------------------- reading


def _duty(log: LogReader, name: str) -> Duty:
    from playhead.events.codec import CATALOG
    from playhead.events.erasing import mended
    from playhead.policy.duty import Duty

    duty = Duty(persona=name)
    for event in mended(log, log.scan(f"persona/{name}")):
        duty.apply(event.at, CATALOG.decode(event))
    if not duty.events:
        known = ", ".join(_names(log)) or "none"
        raise NotFound(f"no persona called {name!r} was ever on duty here.", expected=known, found=name)
    return duty


def _names(log: LogReader) -> list[str]:
    return sorted(stream.partition("/")[2] for stream in log.streams("persona", limit=PERSONAS_MAX))


def _document(duty: Duty, living: Living) -> dict[str, Any]:
    from playhead.policy.span import DAY_NS, HOUR_NS

    now = SystemClock().now()
    gone = duty.state == "running" and not (duty.work and living.lives(duty.work.worker))
    return {
        "persona": duty.persona,
        "state": "interrupted" if gone else duty.state,
        "reason": duty.reason or None,
        "queued": len(duty.waiting),
        "work": None
        if duty.work is None
        else {"work_key": duty.work.work_key, "run": duty.work.run, "worker": duty.work.worker},
        "last_run": duty.last_run,
        "last_ended": duty.last_ended,
        "last_error": duty.last_error,
        "runs": sum(status in ("completed", "failed") for status in duty.seen.values()),
        "duplicates": duty.duplicates,
        "dead_letters": duty.dead_letters,
        "next_due": duty.next_due(now),
        "refused": duty.held_back(now),
        "spent_this_hour_micros": duty.spent(HOUR_NS, now),
        "spent_today_micros": duty.spent(DAY_NS, now),
    }


@command("list")
@json_option
def list_(session: Session, *, as_json: bool) -> int:
    """List the personas that were ever on duty in this store."""
    with session.reading() as log:
        living = Living(log, session.store)
        found = [_document_of(log, name, living) for name in _names(log)]
    if as_json:
        session.out.document("playhead.personas/1", {"personas": found})
        return DONE
    rows = [
        [
            one["persona"],
            session.out.word(one["state"]),
            count(one.get("queued", 0)),
            count(one.get("runs", 0)),
            money(one.get("spent_today_micros", 0)),
            cut(_about(one), ERROR),
        ]
        for one in found
    ]
    head = ["persona", "state", "queued", "runs", "today", "last error, or reason"]
    session.out.lines(table(rows, head=head, right=(2, 3, 4)) if rows else ["no persona is on duty here."])
    return DONE


def _document_of(log: LogReader, name: str, living: Living) -> dict[str, Any]:
    """One persona of many: a stream that cannot be read hides none of the others."""
    try:
        return _document(_duty(log, name), living)
    except BadEvent as error:
        return {"persona": name, "state": "unreadable", "reason": error.message, "last_error": None}


def _about(one: dict[str, Any]) -> str:
    work = one.get("work")
    unfinished = f"run {work['run']} is unfinished" if work and one["state"] != "running" else ""
    return str(one["last_error"] or one["reason"] or unfinished)


@command("status")
@click.argument("name")
@json_option
def status(session: Session, *, name: str, as_json: bool) -> int:
    """Say how the persona NAME stands."""
    with session.reading() as log:
        duty = _duty(log, name)
        said = _document(duty, Living(log, session.store))
    if as_json:
        session.out.document("playhead.persona/1", said)
        return DONE
    lines = [f"{name}  {session.out.word(said['state'])}" + (f", {duty.reason}" if duty.reason else "")]
    lines.append(f"  {count(said['queued'])} queued, {count(said['runs'], 'run')} ended")
    if duty.work is not None:
        who = duty.work.worker or "nobody"
        gone = ", who is gone: the next tick goes on" if said["state"] == "interrupted" else ""
        lines.append(f"  works on {cut(duty.work.work_key, ERROR)}: run {duty.work.run}, by {who}{gone}")
    if duty.last_run is not None:
        error = f": {duty.last_error}" if duty.last_error else ""
        lines.append(f"  last run {duty.last_run}, ended {moment(duty.last_ended or 0)}{error}")
    if said["next_due"] is not None:
        lines.append(f"  next scheduled run {moment(said['next_due'])}")
    if said["refused"]:
        lines.append(f"  {said['refused']} is spent: the next trigger waits")
    hour, day = said["spent_this_hour_micros"], said["spent_today_micros"]
    lines.append(f"  spent {money(hour)} this hour, {money(day)} today")
    if duty.duplicates or duty.dead_letters:
        lines.append(f"  {count(duty.duplicates, 'duplicate')}, {count(duty.dead_letters, 'dead letter')}")
    session.out.lines(lines)
    return DONE


@command("spend")
@click.argument("name")
@json_option
def spend(session: Session, *, name: str, as_json: bool) -> int:
    """Say what the persona NAME spent, run by run, on the day of its last run."""
    with session.reading() as log:
        duty = _duty(log, name)
    if as_json:
        runs = [
            {"ended": each.at, "tokens": each.tokens, "cost_micros": each.cost_micros}
            for each in duty.spendings
        ]
        session.out.document("playhead.spend/1", {"persona": name, "runs": runs})
        return DONE
    rows = [[moment(each.at), count(each.tokens), money(each.cost_micros)] for each in duty.spendings]
    head = ["run ended", "tokens", "cost"]
    session.out.lines(table(rows, head=head, right=(1, 2)) if rows else ["nothing was spent."])
    return DONE


# ----------------------------------------------------------------- telling


def _with_desk(session: Session, words: tuple[str, ...], work: Callable[[Dispatcher], Awaitable[T]]) -> T:
    """Do `work` with a dispatcher over the store and the program, if one is named."""
    from playhead.replay.engine import Engine
    from playhead.runtime.binding import Binding
    from playhead.runtime.dispatcher import Dispatcher
    from playhead_projections.cli import endings
    from playhead_projections.cli.programs import asked_for, load

    named = asked_for(words)
    program = load(named) if named else None
    endings.quiet_engine()

    async def go() -> T:
        bindings = [*program.bindings] if program else []
        bound = {binding.name for binding in bindings}
        personas = program.personas if program else ()
        bindings += [Binding(each) for each in personas if each.name not in bound]
        options: dict[str, Any] = {
            **(program.options if program else {}),
            "reviewer_keys": session.reviewer_keys,
        }
        async with Engine.open(session.target, suspend_after_s=endings.SUSPEND_AFTER_S, **options) as engine:
            return await work(Dispatcher(engine, bindings))

    return asyncio.run(go())


def _tell(
    session: Session,
    name: str,
    words: tuple[str, ...],
    said: str,
    work: Callable[[Dispatcher], Awaitable[Any]],
    *,
    as_json: bool,
) -> int:
    _with_desk(session, words, work)
    if as_json:
        session.out.document("playhead.told/1", {"persona": name, "told": said})
    else:
        session.out.line(f"{name}  {said}")
    return DONE


def _order(word: str, said: str, about: str) -> click.Command:
    """A command that tells a persona `word`."""

    def order(
        session: Session, *, name: str, reason: str, sender: str, words: tuple[str, ...], as_json: bool
    ) -> int:
        def tell(desk: Dispatcher) -> Any:
            return getattr(desk, word)(name, reason, sender=sender)

        return _tell(session, name, words, said, tell, as_json=as_json)

    order.__doc__ = about
    told = click.argument("name")(reason_option(by_option(program_option(json_option(order)))))
    return command(word)(told)


pause = _order("pause", "paused", "Let triggers of NAME wait; a run that is under way goes on.")
drain = _order("drain", "draining", "Let NAME work off what waits and take nothing more.")
disable = _order("disable", "disabled", "Put aside what waits for NAME and what comes.")


@command("resume")
@click.argument("name")
@by_option
@program_option
@json_option
def resume(session: Session, *, name: str, sender: str, words: tuple[str, ...], as_json: bool) -> int:
    """Let NAME run again: what waited first, each once."""
    return _tell(
        session, name, words, "resumed", lambda desk: desk.resume(name, sender=sender), as_json=as_json
    )


@command("trigger")
@click.argument("name")
@click.option(
    "--arg", "texts", multiple=True, metavar="NAME=TEXT", help="An argument, read as its type says."
)
@click.option("--arg-json", "values", multiple=True, metavar="NAME=JSON", help="An argument as JSON.")
@click.option("--work-key", default="", help="What is one piece of work: the same key again is a duplicate.")
@click.option("--provider", default="command-line", show_default=True, help="Where it comes from.")
@click.option("--kind", default="", help="What kind of event led to it.")
@click.option("--subject", "subject_key", default="", help="What the event is about.")
@click.option("--event", "source_event_id", default="", help="The id of the event that led to it.")
@program_option
@json_option
def trigger(
    session: Session,
    *,
    name: str,
    texts: tuple[str, ...],
    values: tuple[str, ...],
    words: tuple[str, ...],
    as_json: bool,
    **about: Any,
) -> int:
    """Set NAME off: its run starts with the next tick. Exit code 1 for a duplicate or a dead letter."""
    from playhead.runtime.binding import Trigger
    from playhead_projections.cli.running import arguments

    if not any(about[part] for part in ("work_key", "subject_key", "source_event_id")):
        raise Usage(
            "nothing tells this trigger from others.",
            expected="--event, --subject or --work-key",
            next_step="Give the id of the event that led to it: --event ID",
        )

    async def ask(desk: Dispatcher) -> tuple[str, str]:
        args = arguments(desk.binding(name).persona, texts, values)
        asked = Trigger(args=args, **about)
        return asked.key, await desk.trigger(name, asked)

    key, answer = _with_desk(session, words, ask)
    if as_json:
        session.out.document("playhead.triggered/1", {"persona": name, "work_key": key, "answer": answer})
    else:
        session.out.line(f"{name}  {answer}")
    return DONE if answer == "queued" else NO


@command("tick")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Keep waiting also where only a person can bring a run on.")
@program_option
@keys_option
@json_option
def tick(session: Session, *, name: str, wait: bool, words: tuple[str, ...], as_json: bool) -> int:
    """Do what is due for NAME, until nothing is.

    Exit code 1 when a run failed or was refused, 7 when its run waits for somebody.
    """
    from dataclasses import asdict

    async def work(desk: Dispatcher) -> tuple[list[Receipt], str | None, Duty]:
        done: list[Receipt] = []
        ticking = asyncio.ensure_future(desk.tick(name, into=done))
        stuck = await _until_stuck(session.target, desk, name, ticking, wait=wait)
        return done, stuck, await desk.duty(name)

    receipts, stuck, duty = _with_desk(session, words, work)
    spent = duty.held_back(SystemClock().now()) if stuck is None else None
    if as_json:
        said = {"receipts": [asdict(receipt) for receipt in receipts], "waits": stuck}
        session.out.document("playhead.tick/1", said)
    else:
        for one in receipts:
            parts = [one.persona, session.out.word(one.status), cut(one.work_key, ERROR), one.run, one.error]
            session.out.line("  ".join(part for part in parts if part))
        if spent is not None:
            session.out.line(f"{spent} is spent: the next trigger waits")
        elif not receipts and stuck is None:
            session.out.line("nothing is due.")
        elif duty.state == "idle" and duty.waiting:
            session.out.line(f"{count(len(duty.waiting))} wait: tick again")
    if stuck is not None:
        return WAITING if as_json else endings_of(session, stuck)
    failed = any(one.status in ("failed", "refused") for one in receipts)
    return NO if failed or spent is not None else DONE


def endings_of(session: Session, run: str) -> int:
    """Say what a run waits for, and who can bring it on. Returns the exit code that says the same."""
    from playhead_projections.cli import endings

    return endings.tell(session.out, session.store, run, as_json=False)


async def _until_stuck(
    store: Path, desk: Dispatcher, name: str, ticking: asyncio.Future[Any], *, wait: bool
) -> str | None:
    """Wait for a tick. The run that only somebody's word can bring on, if that comes first."""
    from playhead.log.reader import LogReader
    from playhead_projections.cli.endings import POLL_S, is_stuck

    try:
        while True:
            await asyncio.wait({ticking}, timeout=POLL_S)
            if ticking.done():
                ticking.result()
                return None
            work = (await desk.duty(name)).work
            if wait or work is None:
                continue
            with LogReader(store) as log:
                if is_stuck(log, work.run):
                    return work.run
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


for _sub in (list_, status, spend, pause, resume, drain, disable, trigger, tick):
    persona.add_command(_sub)
