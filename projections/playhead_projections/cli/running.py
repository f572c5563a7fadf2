"""`playhead run`, `resume` and `replay`: one run of a program of the user's own, in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from playhead_projections.cli.faults import DIVERGED, DONE, NO, Usage
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command, json_option, keys_option
from playhead_projections.cli.snippets import PERSONA

if TYPE_CHECKING:
    from playhead.log.reader import LogReader
    from playhead.replay.player import Outcome
    from playhead.runtime.persona import Persona
    from playhead.runtime.tape import Tape
    from playhead_projections.cli.endings import Until
    from playhead_projections.cli.programs import Program

program_option = click.option(
    "--program",
    "words",
    multiple=True,
    metavar="FILE.py[:PERSONA]",
    help="Where the program is; several may be given. Default: PLAYHEAD_PROGRAM.",
)


@command("run")
@click.argument("program", metavar="MODULE:PERSONA")
@click.option(
    "--arg", "texts", multiple=True, metavar="NAME=TEXT", help="An argument, read as its type says."
)
@click.option("--arg-json", "values", multiple=True, metavar="NAME=JSON", help="An argument as JSON.")
@click.option("--key", help="Idempotency key: the same start again is the same run.")
@click.option("--name", help="A name for people.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; several may be given.")
@click.option("--wait", is_flag=True, help="Keep waiting also where only a person can bring the run on.")
@keys_option
@json_option
def run(
    session: Session,
    *,
    program: str,
    texts: tuple[str, ...],
    values: tuple[str, ...],
    key: str | None,
    name: str | None,
    tags: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> int:
    """Run a persona of path/to/file.py:persona or package.module:persona and print its result.

    Exit code 0 when it completed, 1 when it failed or was cancelled, 7 when it waits for somebody.
    """
    from playhead_projections.cli import endings
    from playhead_projections.cli.programs import load

    check_name(name)
    loaded = load([program]).with_keys(session.reviewer_keys)
    if len(loaded.personas) != 1:
        known = ", ".join(sorted(persona.name for persona in loaded.personas))
        raise Usage(f"{program} holds several personas.", expected=f"{program}:NAME", found=known)
    persona = loaded.personas[0]
    given = arguments(persona, texts, values)
    store = session.target
    endings.quiet_engine()

    async def go() -> str:
        from playhead.clock import new_id
        from playhead.replay.engine import Engine
        from playhead.runtime.starting import id_of_key

        personas = (
            load([program.rpartition(":")[0] or program]).personas if ":" in program else loaded.personas
        )
        async with Engine.open(
            store, personas=personas, suspend_after_s=endings.SUSPEND_AFTER_S, **loaded.options
        ) as engine:
            # Said before the program's own first words, so that whoever sees it die knows what to resume.
            chosen = id_of_key(key) if key is not None else new_id(engine.clock)
            session.out.aside(f"run {chosen}")
            await engine.start_with(persona, given, key=key, name=name, tags=tags, run=chosen)
            await endings.wait_for(engine, store, chosen, "end" if wait else "stuck")
            return chosen

    return endings.tell(session.out, store, asyncio.run(go()), as_json=as_json)


def check_name(name: str | None) -> None:
    """A name is there to be written in place of an id. Raises `Usage` where nobody could."""
    if name is not None and (not name or "@" in name):
        raise Usage(
            f"--name {name!r} could not be used in place of an id.",
            expected="a name without @, which addresses use",
            found=name or "nothing",
        )


def arguments(persona: Persona[..., Any], texts: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    """Arguments by name, of the types that the persona declares. Raises `BadValue` and `Usage`."""
    from playhead.runtime.signature import coerce

    given: dict[str, Any] = {}
    for text in texts:
        name, value = pair(text, "--arg", given)
        given[name] = value
    for text in values:
        name, value = pair(text, "--arg-json", given)
        given[name] = from_json(value, f"--arg-json {name}")
    coerced = coerce(persona.signature, given)
    try:
        return persona.signature.bind((), coerced)
    except TypeError as error:
        raise Usage(
            f"{persona.name}: {error}.",
            expected=", ".join(persona.signature.names),
            found=", ".join(given) or "no arguments",
            next_step="Give it with --arg NAME=TEXT or --arg-json NAME=JSON.",
        ) from error


def pair(text: str, option: str, given: Mapping[str, Any]) -> tuple[str, str]:
    """The parts of NAME=VALUE. Raises `Usage` for what is none, and for a name that is `given` already."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise Usage(f"{option} {text!r} is no NAME=VALUE.", expected="NAME=VALUE", found=text)
    if name in given:
        raise Usage(f"argument {name} is given twice.", expected=f"one {name}", found=f"{option} {text}")
    return name, value


def from_json(text: str, what: str) -> Any:
    """The value that `text` is in JSON. Raises `Usage`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        quoted = json.dumps(text)
        raise Usage(
            f"{what}: this is no JSON: {error}.",
            expected="JSON",
            found=text,
            next_step=f"A text is {quoted!r}.",
        ) from error


@command("resume")
@click.argument("run")
@program_option
@click.option("--wait", is_flag=True, help="Keep waiting also where only a person can bring the run on.")
@keys_option
@json_option
def resume(session: Session, *, run: str, words: tuple[str, ...], wait: bool, as_json: bool) -> int:
    """Take up RUN where its tape ends, and print its result. Nothing recorded is done again.

    Exit codes as of `run`; 5 when the program no longer fits its tape, 6 when a living worker owns the run.
    """
    from playhead_projections.cli import endings

    store = session.store
    address, life = life_of(session, run)
    if life.status in endings.TERMINAL:
        return endings.tell(session.out, store, address, as_json=as_json)
    program = _program(address, life, words).with_keys(session.reviewer_keys)
    endings.quiet_engine()
    asyncio.run(_resume(store, program, address, "end" if wait else "stuck"))
    return endings.tell(session.out, store, address, as_json=as_json)


async def _resume(store: Path, program: Program, run: str, until: Until) -> None:
    from playhead.replay.engine import Engine
    from playhead_projections.cli import endings

    async with Engine.open(
        store, personas=program.personas, suspend_after_s=endings.SUSPEND_AFTER_S, **program.options
    ) as engine:
        await engine.resume(run)
        await endings.wait_for(engine, store, run, until)


def life_of(session: Session, run: str) -> tuple[str, Any]:
    """The id of the run, and its life as the log tells it."""
    from playhead_projections.cli.addresses import find_whole
    from playhead_projections.projector import state_at
    from playhead_projections.runs import Runs

    with session.reading() as log:
        address = find_whole(log, session.store, run)
        return address.run, state_at(log, Runs(), address.stream).state.life


def _program(run: str, life: Any, words: tuple[str, ...]) -> Program:
    from playhead_projections.cli.programs import asked_for, load, needed

    named = asked_for(words)
    if not named and life.persona == PERSONA:
        raise Usage(
            f"run {run} is a snippet of its own, and somebody has to carry its calls out.",
            expected="a host",
            found="none",
            next_step=f"playhead compose resume {run} --host FILE.py, or --mcp, or --outputs",
        )
    if not named:
        raise needed(run, life.persona, life.module)
    return load(named)


def program_to_play(session: Session, run: str, life: Any, words: tuple[str, ...]) -> Program:
    """As `_program`; a snippet of its own is played by what its log says, and asks nobody."""
    from playhead_projections.cli.programs import Program
    from playhead_projections.cli.snippets import Nobody, given_to, snippet_program

    if life.persona == PERSONA and not words:
        with session.reading() as log:
            secrets = given_to(log, run).secrets
        return Program((snippet_program(Nobody()),), {"secrets": secrets or ()})
    return _program(run, life, words)


@command("replay")
@click.argument("run", default="@")
@program_option
@json_option
def replay(session: Session, *, run: str, words: tuple[str, ...], as_json: bool) -> int:
    """Run RUN's program again against its tape, touching nothing, and compare every event.

    Exit code 0 when all are identical, 5 when it diverged, 1 when the tape ends in flight.
    """
    from playhead_projections.cli.addresses import find_whole

    with session.reading() as log:
        tape = tape_in(log, find_whole(log, session.store, run).run)
    address = tape.run
    outcome = _play(session, tape, program_to_play(session, address, tape.started, words))
    if as_json:
        session.out.document("playhead.replay/1", _document(outcome))
    elif outcome.divergence is not None:
        session.out.line(str(outcome.divergence))
    elif outcome.identical:
        words_ = f"{count(outcome.matched, 'event')} of the program regenerated, {outcome.events} on the tape"
        session.out.line(f"{session.out.word('identical')}  {address}  {words_}")
        _tell_erased(session, outcome)
    elif outcome.lost:
        session.out.line(
            f"incomplete  {address}  {count(outcome.matched, 'event')} of the program regenerated"
        )
        session.out.line(outcome.lost)
    else:
        waiting = ", ".join(outcome.waiting) or "nothing"
        session.out.line(f"incomplete  {address}  identical up to its end, and then waits for {waiting}")
    return {"identical": DONE, "diverged": DIVERGED, "incomplete": NO}[outcome.verdict]


def _tell_erased(session: Session, outcome: Outcome) -> None:
    if outcome.erased:
        listed = ", ".join(map(str, outcome.erased))
        what = count(len(outcome.erased), "event")
        session.out.line(f"not compared, as it was erased: what is gone of {what} ({listed})")


def tape_in(log: LogReader, run: str) -> Tape:
    """The tape of a run, whole. Raises `NotFound` and `ErasedPayload` as `Tape` does."""
    from playhead.runtime.tape import Tape

    return Tape(run, log.tell(f"run/{run}", 0, sys.maxsize))


def _play(session: Session, tape: Tape, program: Program) -> Outcome:
    from playhead.errors import PersonaMissing
    from playhead.replay.player import Player
    from playhead.runtime.failures import ErrorTypes
    from playhead_projections.cli.store_key import StoreKey

    name = tape.started.persona
    persona = next((persona for persona in program.personas if persona.name == name), None)
    if persona is None:
        known = sorted(persona.name for persona in program.personas)
        raise PersonaMissing([tape.run], persona=name, known=known)
    key = StoreKey(session.store)
    player = Player(
        tape,
        persona,
        errors=ErrorTypes(program.options.get("errors", ())),
        redaction=key.redaction(program.options.get("secrets", ())),
        model=program.options.get("model"),
    )
    found = asyncio.run(player.play_relaxed()) if tape.started.mode == "relaxed" else player.play()
    if found.divergence is not None and found.divergence.cause == "secret":
        key.check(tape)
    return found


def _document(outcome: Outcome) -> dict[str, Any]:
    found = outcome.divergence
    return {
        "run": outcome.run,
        "verdict": outcome.verdict,
        "matched": outcome.matched,
        "events": outcome.events,
        "waiting": list(outcome.waiting),
        "erased": list(outcome.erased),
        "lost": outcome.lost or None,
        "divergence": None
        if found is None
        else {
            "kind": found.kind,
            "event": found.event,
            "op": found.op,
            "recorded_type": found.recorded_type,
            "recorded_value": found.recorded_value,
            "now_type": found.now_type,
            "now_op": found.now_op,
            "now_value": found.now_value,
            "field": found.field,
            "site": str(found.site) if found.site else None,
            "last_match": list(found.last_match) if found.last_match else None,
            "cause": found.cause,
            "causes": list(found.causes),
            "advice": found.advice,
        },
    }
