"""`playhead fork`: another run that begins with what one was told up to an event, edited, behind a fence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.edit_options import edit_options, edits_of
from playhead_projections.cli.faults import DONE, NO, Usage
from playhead_projections.cli.output import brief, count, cut
from playhead_projections.cli.session import Session, command, json_option, keys_option

if TYPE_CHECKING:
    from playhead.replay.fork import Plan, Wish
    from playhead.replay.imagine import Departure, Live
    from playhead.runtime.persona import Persona
    from playhead_projections.cli.programs import Program

VALUE: Final = 50
LIVE: Final = 20
MODES: Final = ("exact", "with_overrides", "from_checkpoint")


@command("fork")
@click.argument("run", metavar="RUN[@N]")
@click.argument("program", required=False, metavar="[PROGRAM]")
@edit_options
@click.option(
    "--allow",
    multiple=True,
    metavar="WORD",
    help="What may happen: a tool, an effect class, model, state, or all.",
)
@click.option("--mode", type=click.Choice(MODES), help="Default: exact, or with_overrides where edited.")
@click.option("--name", help="A name for people.")
@click.option("--key", help="Idempotency key: the same fork again is the same run.")
@click.option("--reason", default="", help="Why; it is recorded.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and make nothing.")
@click.option("--wait", is_flag=True, help="Keep waiting also where only a person can bring the run on.")
@keys_option
@json_option
def fork(session: Session, *, run: str, program: str | None, as_json: bool, **options: Any) -> int:
    """Make a run of its own of RUN up to event N, and take it up where that ends.

    Nothing is changed and no model is asked unless --allow says so. Exit codes as of `run`; 5 where an exact
    fork is not possible. With --dry-run 0, and 1 where something would be kept from happening.
    """
    from playhead.replay.fork import Wish
    from playhead_projections.cli.addresses import find
    from playhead_projections.cli.running import check_name

    with session.reading() as log:
        address = find(log, session.store, run)
    if address.first != address.last:
        raise Usage(f"{run!r} is a range.", expected="RUN or RUN@12", found=run)
    check_name(options["name"])
    named = {name: options[name] for name in ("mode", "name", "key", "reason", "allow")}
    wish = Wish(at=address.last, edits=edits_of(options), **named)
    loaded = program_for(session, address.run, program)
    if options["dry_run"]:
        plan, made = _plan(session, address.run, loaded, wish)
        if as_json:
            session.out.document("playhead.fork/1", {**_document(plan), "made": plan.run if made else None})
        else:
            session.out.lines(_told(plan, made=made))
        return NO if any(plan.withheld(live) for live in plan.imagined.live) else DONE
    return _make(session, address.run, loaded, wish, wait=options["wait"], as_json=as_json)


def program_for(session: Session, run: str, program: str | None) -> Program:
    """The program that is named, else that of PLAYHEAD_PROGRAM. Raises `Usage` where there is none."""
    from playhead_projections.cli.programs import asked_for, load, needed
    from playhead_projections.cli.running import life_of

    _, life = life_of(session, run)
    words = asked_for(() if program is None else (program,))
    if not words:
        raise needed(run, life.persona, life.module, said_as="")
    return load(words).with_keys(session.reviewer_keys)


def persona_of(program: Program, run: str, name: str) -> Persona[..., Any]:
    """The persona called `name`. Raises `PersonaMissing`."""
    from playhead.errors import PersonaMissing

    for persona in program.personas:
        if persona.name == name:
            return persona
    known = sorted(persona.name for persona in program.personas)
    raise PersonaMissing([run], persona=name, known=known)


def _plan(session: Session, run: str, program: Program, wish: Wish) -> tuple[Plan, bool]:
    """What `_make` would make of the same, and whether it is there already. Raises what it raises."""
    from playhead.clock import SystemClock, new_id
    from playhead.errors import PlayheadError
    from playhead.events.codec import CATALOG
    from playhead.replay.fork import Origin, check_made_before, plan_fork
    from playhead.replay.player import on_tape
    from playhead.runtime.failures import ErrorTypes
    from playhead.runtime.hook import HookRegistry
    from playhead.runtime.starting import check_text, id_of_key
    from playhead.runtime.tape import Tape
    from playhead_projections.cli.store_key import StoreKey

    clock, options, key = SystemClock(), program.options, StoreKey(session.store)
    check_text("key", wish.key)
    new = new_id(clock) if wish.key is None else id_of_key(wish.key)
    with session.reading() as log:
        tape = Tape(run, log.scan(f"run/{run}"))
        at = len(tape.events) - 1 if wish.at is None else wish.at
        cut, made = log.read(f"run/{run}", at, 1), log.read(f"run/{new}", 0, 1)
    persona = persona_of(program, run, tape.started.persona)
    HookRegistry(options.get("hooks", ())).require(tape.started.hooks, run)
    redaction = key.redaction(options.get("secrets", ()))
    errors = ErrorTypes(options.get("errors", ()))
    host = on_tape(tape.started.model, options.get("model"), redaction, errors)
    digest = cut[0].digest.hex() if cut else ""
    try:
        plan = plan_fork(tape, persona, wish, Origin(new, clock.now(), host, digest, key.bytes))
    except PlayheadError:
        key.check(tape)
        raise
    plan.events(CATALOG, clock.now())
    if made:
        check_made_before(plan, CATALOG.decode(made[0]))
    with session.reading() as log:
        absent = frozenset(op for op, stream in plan.opens.items() if not log.read(stream, 0, 1))
    plan = replace(plan, absent=absent)
    return plan, bool(made)


def _make(session: Session, run: str, program: Program, wish: Wish, *, wait: bool, as_json: bool) -> int:
    from playhead_projections.cli import endings

    store = session.store
    endings.quiet_engine()

    async def go() -> str:
        from playhead.replay.engine import Engine

        async with Engine.open(
            store, personas=program.personas, suspend_after_s=endings.SUSPEND_AFTER_S, **program.options
        ) as engine:
            made = await engine.fork(
                run,
                at=wish.at,
                edits=wish.edits,
                allow=wish.allow,
                mode=wish.mode,
                name=wish.name,
                key=wish.key,
                reason=wish.reason,
            )
            session.out.aside(f"run {made.id}")
            await endings.wait_for(engine, store, made.id, "end" if wait else "stuck")
            return made.id

    return endings.tell(session.out, store, asyncio.run(go()), as_json=as_json)


# -------------------------------------------------------------------- a dry run


def _told(plan: Plan, *, made: bool) -> list[str]:
    found, words = plan.imagined, plan.words
    lines = [f"{words.mode} fork of {words.run}@{words.event}, nothing was made"]
    if made:
        lines.append(f"  there     {plan.run} is this fork already, and would be taken up")
    lines += [f"  edited    {edit.what} {edit.of}{_where(edit.event)}" for edit in words.edits]
    many = count(found.answered, "operation")
    lines.append(f"  answered  {many} from the tape, {count(len(found.events), 'event')} in all")
    if plan.started.prepared:
        ready = count(len(plan.started.prepared), "answer")
        lines.append(f"  ready     {ready} for when the program comes to it")
    lines += [
        f"  unchecked {op}: whether the edit fits is known when the program comes to it"
        for op in plan.unchecked
    ]
    if found.departure is not None:
        lines += _parting(found.departure)
    lines += [f"  again     {op}: people are asked once more" for op in sorted(found.dropped)]
    if found.status is not None:
        lines.append(f"  ends      {found.status}, and nothing goes live")
    elif plan.started.fence:
        lines.append(f"  allowed   {', '.join(plan.started.fence)}")
    lines += [
        cut(f"  {plan.verdict(live):<8}  {live.kind} {live.op} {_asked(live)}", 160)
        for live in found.live[:LIVE]
    ]
    if len(found.live) > LIVE:
        lines.append(f"  … {count(len(found.live) - LIVE, 'operation')} more: --json has all")
    return lines


def _parting(parted: Departure) -> list[str]:
    place = f"     {parted.site}" if parted.site else ""
    return [
        f"  parts     at event {parted.event}, {parted.recorded} {parted.op}",
        f"  now       {parted.now} {parted.now_op}{place}",
    ]


def _where(event: int | None) -> str:
    return "" if event is None else f" at event {event}"


def _asked(live: Live) -> str:
    arguments = _arguments(live)
    shown = "" if arguments is None else f"{brief(arguments, VALUE)} "
    effect = getattr(live.request, "effect", None)
    more = ["behind the same fence"] if live.kind == "child" else []
    return f"{shown}({', '.join([*([effect] if effect else []), live.why, *more])})"


def _arguments(live: Live) -> Any:
    import msgspec

    for name in ("args", "request"):
        raw = getattr(live.request, name, None)
        if isinstance(raw, msgspec.Raw):
            return msgspec.msgpack.decode(raw)
    return None


def _document(plan: Plan) -> dict[str, Any]:
    import msgspec

    found, parted = plan.imagined, plan.imagined.departure
    return {
        **msgspec.to_builtins(plan.words),
        "fence": list(plan.started.fence or ()),
        "status": found.status,
        "answered": found.answered,
        "ready": sorted(plan.started.prepared or {}),
        "unchecked": sorted(plan.unchecked),
        "asked_again": sorted(found.dropped),
        "departure": None
        if parted is None
        else {
            "event": parted.event,
            "op": parted.op,
            "recorded": parted.recorded,
            "now": parted.now,
            "now_op": parted.now_op,
            "field": parted.field,
            "site": str(parted.site) if parted.site else None,
        },
        "live": [_live(plan, live) for live in found.live],
    }


def _live(plan: Plan, live: Live) -> dict[str, Any]:
    withheld = plan.withheld(live)
    return {
        "op": live.op,
        "kind": live.kind,
        "name": live.name,
        "why": live.why,
        "effect": getattr(live.request, "effect", None),
        "side_effect": getattr(live.request, "side_effect", None),
        "args": _arguments(live),
        "verdict": plan.verdict(live),
        "allow": list(withheld.allow) if withheld else [],
    }
