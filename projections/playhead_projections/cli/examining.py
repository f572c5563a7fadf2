"""`playhead doctor PROGRAM`: what in a program no tape holds, found by playing one twice."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from playhead.errors import NotFound
from playhead_projections.cli.faults import DIVERGED, DONE, NO, Usage
from playhead_projections.cli.output import count, table
from playhead_projections.cli.session import Session

if TYPE_CHECKING:
    from playhead.replay.doctor import Found, Seen, Source
    from playhead.runtime.persona import Persona

PROBE: Final = "playhead_projections.cli.probing:main"
PLAY_S_MAX: Final = 600
LINES_TO_READ: Final = 100
"""Standard input of a play is not that of the run, and another in each."""


def examine(session: Session, program: str, run: str | None, record: str | None, *, as_json: bool) -> int:
    """Play a tape of `program` twice and say what was found."""
    from playhead.replay.doctor import examined, hinted
    from playhead_projections.cli.programs import load

    personas = load([program]).personas
    if len(personas) != 1:
        known = ", ".join(sorted(persona.name for persona in personas))
        raise Usage(f"{program} holds several personas.", expected=f"{program}:NAME", found=known)
    persona = personas[0]
    if run is not None and record is not None:
        raise Usage("--run names a tape, and --record makes one.", expected="one of them")
    with tempfile.TemporaryDirectory() as scratch:
        if record is not None:
            store, chosen = _recorded(session, program, persona, record, Path(scratch) / "runs.db")
        else:
            store, chosen = session.store, _chosen(session, persona, run)
        seen = _plays(store, chosen, program, Path(scratch))
    found = examined(seen, hinted(persona))
    _tell(session, persona.name, chosen, found, as_json=as_json)
    return {"clean": DONE, "sources": NO, "diverged": DIVERGED}[found.verdict]


def _chosen(session: Session, persona: Persona[..., Any], run: str | None) -> str:
    """The run that `run` names, or the newest of the persona."""
    from playhead_projections.cli.addresses import find_run, of_runs
    from playhead_projections.runs import Runs

    with session.reading() as log:
        if run is not None:
            return find_run(log, session.store, run)
        found = of_runs(
            log,
            session.store,
            lambda models: next(
                (line.life.run for line in models.newest(Runs()) if line.life.persona == persona.name), None
            ),
        )
    if found is not None:
        return found
    raise NotFound(
        f"no run of persona {persona.name} is in this store.",
        next_step="Name one with --run, or record one, which is live: --record '{\"argument\": 1}'.",
    )


def _recorded(
    session: Session, program: str, persona: Persona[..., Any], record: str, store: Path
) -> tuple[Path, str]:
    """A run with those arguments, recorded in a store that is thrown away."""
    from playhead.replay.engine import Engine
    from playhead_projections.cli import endings
    from playhead_projections.cli.programs import load
    from playhead_projections.cli.running import arguments, from_json

    given = from_json(record, "--record")
    if not isinstance(given, dict):
        raise Usage("--record takes the arguments by name.", expected='{"name": value}', found=record)
    values = cast("dict[str, Any]", given)
    named = arguments(persona, (), [f"{name}={json.dumps(value)}" for name, value in values.items()])
    session.out.aside(f"recording a run of {persona.name} in a store of its own: its effects are real")
    endings.quiet_engine()
    loaded = load([program.rpartition(":")[0] or program])

    async def go() -> str:
        async with Engine.open(
            store, personas=loaded.personas, suspend_after_s=endings.SUSPEND_AFTER_S, **loaded.options
        ) as engine:
            run = await engine.start_with(persona, named)
            await endings.wait_for(engine, store, run.id, "stuck")
            return run.id

    return store, asyncio.run(go())


def _plays(store: Path, run: str, program: str, scratch: Path) -> list[Seen]:
    """Two plays, the second with other values of what the first looked at; more where that leaves doubts."""
    from playhead.replay.doctor import BASE, OTHER, SEEDS, is_undecided
    from playhead.replay.sources import changed_environment

    here = str(Path.cwd())
    asked = _Asked(store, run, program)
    first = _play(asked, here, {**BASE, "PYTHONHASHSEED": SEEDS[0]}, shifted=False)
    changed = {**OTHER, **changed_environment(first.play.sightings), "PYTHONHASHSEED": SEEDS[1]}
    seen = [first, _play(asked, str(scratch), changed, shifted=True)]
    if is_undecided(seen):
        with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
            others = [
                side_by_side.submit(_play, asked, here, {**BASE, "PYTHONHASHSEED": seed}, shifted=False)
                for seed in SEEDS[1:]
            ]
            seen += [each.result() for each in others]
    return seen


class _Asked(NamedTuple):
    store: Path
    run: str
    program: str


def _play(asked: _Asked, directory: str, conditions: Mapping[str, str], *, shifted: bool) -> Seen:
    from playhead.replay.doctor import Play, Seen
    from playhead.replay.trail import Trail
    from playhead_projections.cli.probing import Request

    store, run, program = asked

    place, colon, name = program.rpartition(":")
    place, suffix = (place, f":{name}") if colon else (program, "")
    word = f"{Path(place).resolve()}{suffix}" if place.endswith(".py") or os.sep in place else program
    module, _, function = PROBE.partition(":")
    request = msgspec.json.encode(Request(str(store.resolve()), run, word, directory, shifted))
    own = "other" if shifted else "first"
    done = subprocess.run(  # noqa: S603  this interpreter, with words of ours
        [sys.executable, "-c", f"from {module} import {function}; {function}()", own],
        input=request + b"\n" + f"{own}\n".encode() * LINES_TO_READ,
        env={**os.environ, **conditions, "PYTHONPATH": os.pathsep.join(["", *filter(None, sys.path)])},
        capture_output=True,
        check=False,
        timeout=PLAY_S_MAX,
    )
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Usage(
            f"{program} could not be played by itself, under other conditions.",
            found=words[-1] if words else f"exit code {done.returncode}",
        )
    answer = msgspec.msgpack.decode(done.stdout)
    if "error" in answer:
        raise Usage(f"{program} could not be played: {answer['error']}", found=answer["found"])
    play, trail = answer["seen"]
    return Seen(msgspec.convert(play, Play), msgspec.convert(trail, Trail))


def _tell(session: Session, persona: str, run: str, found: Found, *, as_json: bool) -> None:
    if as_json:
        body = {"persona": persona, "run": run, **msgspec.to_builtins(found)}
        session.out.document("playhead.examination/1", body)
        return
    verdicts = " and ".join(dict.fromkeys(play.verdict for play in found.plays))
    sources = f"{count(len(found.sources), 'source')} of nondeterminism"
    times = "twice" if len(found.plays) == 2 else f"{len(found.plays)} times"
    session.out.line(f"{session.out.word(verdicts)}  {run}  {persona}, played {times}: {sources}")
    for line in table([_row(source) for source in found.sources]):
        session.out.line(line)
    for play in found.plays:
        if play.divergence is not None:
            session.out.line()
            session.out.line(play.divergence)
            break


def _row(source: Source) -> list[str]:
    place = Path(source.file)
    shown = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    other = "in another order each time" if source.kind == "set order" else "another value each time"
    words = f"{source.blame}{f', {other}' if source.differed else ''}"
    return [f"{shown}:{source.line}", source.function, source.kind, source.what, words]
