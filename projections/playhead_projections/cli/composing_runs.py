"""`playhead compose run` and `resume`: a snippet in a run of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import click

from playhead.errors import BadValue, NotFound
from playhead_projections.cli.composing import manifest_options, options_from, refuse_unknown
from playhead_projections.cli.faults import Usage
from playhead_projections.cli.files import json_of
from playhead_projections.cli.session import Session, command, json_option, keys_option
from playhead_projections.cli.snippets import (
    PERSONA,
    Wanted,
    given_to,
    opened,
    refuse_another,
    refuse_unusable,
    refuse_weaker,
    snippet_program,
)


def host_options(function: Any) -> Any:
    """Adds who carries the calls out."""
    for option in (
        click.option(
            "--host", metavar="FILE.py[:NAME]", help="A host, functions marked with @tool, or one function."
        ),
        click.option(
            "--mcp", "servers", multiple=True, metavar="NAME=COMMAND", help="An MCP server, or its address."
        ),
        click.option(
            "--outputs", type=click.Path(path_type=Path), help="A JSON object: an answer for each tool."
        ),
    ):
        function = option(function)
    return function


def _wanted(host: str | None, servers: tuple[str, ...], outputs: Path | None, *, needed: bool) -> Wanted:
    """Who carries the calls out: one, or nobody where nothing can be called. Raises `Usage`."""
    said = [name for name, value in (("--host", host), ("--mcp", servers), ("--outputs", outputs)) if value]
    if len(said) > 1 or (needed and not said):
        raise Usage(
            "several hosts are named." if said else "somebody has to carry the calls out.",
            expected="one of --host, --mcp, --outputs",
            found=", ".join(said) or "none",
        )
    return Wanted(host, outputs, servers)


@command("run")
@click.argument("snippet", type=click.Path(path_type=Path))
@click.option(
    "--manifest",
    "surface",
    type=click.Path(path_type=Path),
    metavar="SURFACE.json",
    help="What it may call. Default: the tools of the host.",
)
@manifest_options
@host_options
@click.option("--input", "inputs", multiple=True, metavar="NAME=JSON", help="A variable that it begins with.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=N", help="A bound: docs/composition.md.")
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often a call is tried at most.",
)
@click.option(
    "--trust", "trusted", multiple=True, metavar="SERVER", help="Believe what it says of its tools."
)
@click.option(
    "--secret", "secrets", multiple=True, metavar="NAME", help="Redact arguments and fields of this name."
)
@click.option("--pin", "pinned", metavar="HASH", help="Refuse any other manifest.")
@click.option("--in-process", is_flag=True, help="Without a worker: for snippets that are trusted.")
@click.option("--key", help="Idempotency key: the same start again is the same run.")
@keys_option
@json_option
def run(
    session: Session,
    *,
    snippet: Path,
    surface: Path | None,
    host: str | None,
    servers: tuple[str, ...],
    outputs: Path | None,
    inputs: tuple[str, ...],
    limits: tuple[str, ...],
    attempts: int,
    trusted: tuple[str, ...],
    secrets: tuple[str, ...],
    pinned: str | None,
    in_process: bool,
    key: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Run the snippet in a file, record it as a run, and print its result.

    Exit code 0 when it has one, 1 when it has none, 7 when a call is in doubt and somebody has to answer.
    """
    from playhead_projections.cli import endings

    wanted, store = _wanted(host, servers, outputs, needed=surface is not None), session.target
    given: dict[str, Any] = {
        "snippet": _text_of(snippet),
        "surface": None if surface is None else json_of(surface, "a JSON file of tools"),
        "manifest": options_from(options),
        "inputs": _pairs(inputs, "--input"),
        "limits": _limits(limits),
        "retry": {"max_attempts": attempts},
        "trusted": list(trusted),
        "pinned": pinned,
        "in_process": in_process,
    }
    if secrets:
        given["secrets"] = list(secrets)
    endings.quiet_engine()

    async def go() -> str:
        from playhead.clock import new_id
        from playhead.replay.engine import Engine
        from playhead.runtime.starting import id_of_key

        async with opened(wanted) as found:
            _settle(given, found.surface, secrets)
            program = snippet_program(found.host)
            async with Engine.open(
                store,
                personas=[program],
                suspend_after_s=endings.SUSPEND_AFTER_S,
                secrets=secrets,
                reviewer_keys=session.reviewer_keys,
            ) as engine:
                chosen = id_of_key(key) if key is not None else new_id(engine.clock)
                session.out.aside(f"run {chosen}")
                await engine.start_with(program, given, key=key, name=_name(snippet), run=chosen)
                await endings.wait_for(engine, store, chosen, "stuck")
                return chosen

    code = _tell(session, store, asyncio.run(go()), as_json=as_json)
    if code and not given.get("surface") and not given.get("surface_json"):
        session.out.aside("No tools are known here: --host FILE.py, --mcp or --manifest say which.")
    return code


@command("resume")
@click.argument("run_", metavar="RUN", default="@")
@host_options
@keys_option
@json_option
def resume(
    session: Session,
    *,
    run_: str,
    host: str | None,
    servers: tuple[str, ...],
    outputs: Path | None,
    as_json: bool,
) -> int:
    """Take up an interrupted `compose run` where its tape ends. Nothing recorded is done again."""
    from playhead_projections.cli import endings
    from playhead_projections.cli.running import life_of

    address, life = life_of(session, run_)
    if life.persona != PERSONA:
        raise NotFound(
            f"run {address} is no snippet of its own.",
            expected=PERSONA,
            found=life.persona,
            next_step=f"playhead resume {address} --program FILE.py",
        )
    store = session.store
    with session.reading() as log:
        given = given_to(log, address)
    wanted = _wanted(host, servers, outputs, needed=bool(given.tools.allowed))
    endings.quiet_engine()

    async def go() -> None:
        from playhead.replay.engine import Engine

        async with (
            opened(wanted) as found,
            Engine.open(
                store,
                personas=[snippet_program(found.host)],
                suspend_after_s=endings.SUSPEND_AFTER_S,
                secrets=given.secrets or (),
                reviewer_keys=session.reviewer_keys,
            ) as engine,
        ):
            if found.surface is not None:
                refuse_another(address, given, found.surface)
            await engine.resume(address)
            await endings.wait_for(engine, store, address, "stuck")

    if life.status not in endings.TERMINAL:
        asyncio.run(go())
    return _tell(session, store, address, as_json=as_json)


def _tell(session: Session, store: Path, run: str, *, as_json: bool) -> int:
    """What the snippet printed and what was wrong with it, and then what is told of every run."""
    from playhead.log.reader import LogReader
    from playhead_projections.cli import endings
    from playhead_projections.compositions.fold import Compositions
    from playhead_projections.projector import state_at

    say = session.out.aside if as_json else session.out.line
    with LogReader(store) as log:
        told = state_at(log, Compositions(), f"run/{run}").state
    for each in told.compositions.values():
        for line in each.stdout.splitlines():
            say(line)
        for problem in each.problems:
            hint = f" ({problem['hint']})" if problem["hint"] else ""
            place = f"{problem['line']}:{problem['col']}: {problem['code']}"
            say(f"{place}: {problem['message']}{hint}")
    return endings.tell(session.out, store, run, as_json=as_json)


def _text_of(path: Path) -> str:
    """The snippet in a file, or in what is not a directory: `-` is standard input."""
    from playhead.snippet.source import SOURCE_BYTES_MAX

    if str(path) == "-":
        data = sys.stdin.buffer.read(SOURCE_BYTES_MAX + 1)
    elif not path.exists() or path.is_dir():
        raise NotFound(f"there is no file at {path}.", expected="a snippet", found=str(path))
    else:
        with path.open("rb") as file:
            data = file.read(SOURCE_BYTES_MAX + 1)
    if len(data) > SOURCE_BYTES_MAX:
        raise Usage(
            f"{path} is too long for a snippet.",
            expected=f"at most {SOURCE_BYTES_MAX} bytes",
            found="more",
            next_step="Give data with --input, and not in the text.",
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadValue(f"{path} is no UTF-8: {error}.", expected="a snippet", found=str(path)) from error


def _name(snippet: Path) -> str | None:
    """What the run is called: as the file is, where that can stand in an address."""
    name = snippet.name
    return name if "@" not in name and name.isprintable() and name.isascii() | name.isalnum() else None


def _recordable(surface: Any) -> Any:
    """`surface` without what no log could hold: that could not be read as a tool either."""
    from playhead.composition.surface import read_surface

    places = {skipped.place for skipped in read_surface(surface).skipped}
    whole: dict[str, Any] | None = cast("dict[str, Any]", surface) if isinstance(surface, dict) else None
    tools: Any = cast("object", surface) if whole is None else whole.get("tools")
    if not places or not isinstance(tools, list):
        return cast("object", surface)
    each = enumerate(cast("list[object]", tools))
    kept = [tool for n, tool in each if not places & {f"/{n}", f"/tools/{n}"}]
    return kept if whole is None else {**whole, "tools": kept}


def _settle(given: dict[str, Any], host_surface: Any, secrets: Sequence[str]) -> None:
    """Settle what the snippet may call, before anything is recorded. Raises `Usage`."""
    if given["surface"] is None:
        given["surface"] = host_surface if host_surface is not None else []
        given["from_host"] = True
    elif host_surface is not None:
        refuse_weaker(given["surface"], given["manifest"], host_surface)
    given["surface"] = _recordable(given["surface"])
    refuse_unknown(given["surface"], given["manifest"])
    _check_inputs(given)
    _check_trust(given)
    if secrets:
        given["surface"], given["surface_json"] = None, json.dumps(given["surface"])
        refuse_unusable(secrets, given)


def _check_trust(given: dict[str, Any]) -> None:
    """Raise `Usage` where a server is trusted that carries no call out."""
    from playhead.composition.manifest import build_manifest, options_of

    entries = build_manifest(given["surface"], options_of(given["manifest"])).entries
    servers = sorted({entry.server for entry in entries if entry.server is not None})
    for name in given["trusted"]:
        if name not in servers:
            raise Usage(f"no server is called {name!r}.", expected=", ".join(servers) or "none", found=name)


def _check_inputs(given: dict[str, Any]) -> None:
    """Raise `Usage` for inputs that no snippet could begin with, before anything is recorded."""
    from playhead.composition.manifest import build_manifest, options_of
    from playhead.errors import ProgramError
    from playhead.runtime.driving import Inputs

    try:
        Inputs.of(given["inputs"], build_manifest(given["surface"], options_of(given["manifest"])))
    except ProgramError as error:
        raise Usage(f"--input: {error.message}", expected="NAME=JSON", found=error.found) from error


def _pairs(said: Sequence[str], option: str) -> dict[str, Any]:
    from playhead_projections.cli.running import from_json, pair

    given: dict[str, Any] = {}
    for text in said:
        name, value = pair(text, option, given)
        given[name] = from_json(value, f"{option} {name}")
    return given


def _limits(said: Sequence[str]) -> dict[str, Any]:
    """The limits that were named. Raises `Usage` for one that there is not, or that makes no sense."""
    from playhead.composition.limits import CompositionLimits

    given = _pairs(said, "--limit")
    known = [field.name for field in fields(CompositionLimits)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise Usage(f"there is no limit {unknown[0]}.", expected=", ".join(known), found=unknown[0])
    try:
        CompositionLimits(**given)
    except ValueError as error:
        raise Usage(f"{error}.", expected="NAME=N", found=", ".join(said)) from error
    return given
