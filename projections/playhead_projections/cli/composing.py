"""`playhead compose …`: snippets and what they may call: the check, manifests and declarations."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from playhead.errors import NotFound
from playhead_projections.cli.faults import DONE, NO, Usage
from playhead_projections.cli.files import json_of
from playhead_projections.cli.output import count, cut, table
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from playhead.composition.manifest import Manifest

FORMS: Final = ("typescript", "python", "text")
DESCRIPTION: Final = 60
NAME: Final = 30
KNOWN_SHOWN: Final = 10

surface_argument = click.argument(
    "surface", metavar="[SURFACE.json]", required=False, type=click.Path(path_type=Path)
)


def tools_options(function: Any) -> Any:
    """Adds whose tools are meant, where they stand in no file of JSON."""
    for option in (
        click.option("--host", metavar="FILE.py[:NAME]", help="The tools of a host or of @tool functions."),
        click.option(
            "--mcp", "servers", multiple=True, metavar="NAME=COMMAND", help="Those of an MCP server."
        ),
    ):
        function = option(function)
    return function


def manifest_options(function: Any) -> Any:
    """Adds what decides about the tools of a surface."""
    for option in (
        click.option("--ceiling", default="read_only", show_default=True, help="No tool goes beyond it."),
        click.option("--deny", "denied", multiple=True, metavar="TOOL", help="Denied, whatever it does."),
        click.option("--gate", "gated", multiple=True, metavar="TOOL", help="Needs an approval."),
        click.option("--vouch", "vouched", multiple=True, metavar="TOOL", help="Let in without a level."),
        click.option("--include-denied", is_flag=True, help="Keep denied tools as entries."),
    ):
        function = option(function)
    return function


ELSEWHERE: Final = {
    "run": "playhead_projections.cli.composing_runs:run",
    "resume": "playhead_projections.cli.composing_runs:resume",
    "report": "playhead_projections.cli.composed:report",
    "events": "playhead_projections.cli.composed:events",
    "trace": "playhead_projections.cli.composed:trace",
}
"""Commands of other modules, which are loaded when one is asked for."""


class Composing(click.Group):
    """Commands of this module and of others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = ELSEWHERE[cmd_name].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found


@click.group("compose", cls=Composing)
def compose() -> None:
    """Check snippets, run them, and look at what they may call and did."""


def _manifest(
    surface: Path | None, host: str | None, servers: tuple[str, ...], options: dict[str, Any]
) -> Manifest:
    """The manifest of a surface in a file, or of what a host has. Raises `NotFound` and `Usage`."""
    from playhead.composition.manifest import build_manifest, options_of

    named = [name for name, value in (("a file", surface), ("--host", host), ("--mcp", servers)) if value]
    if len(named) != 1:
        raise Usage(
            "the tools come from one place.",
            expected="SURFACE.json, --host or --mcp",
            found=" and ".join(named) or "none",
        )
    said = options_from(options)
    read = _surface_of(host, servers) if surface is None else json_of(surface, "a JSON file of tools")
    refuse_unknown(read, said)
    return build_manifest(read, options_of(said))


def _surface_of(host: str | None, servers: tuple[str, ...]) -> Any:
    """The tools that a host says it has. Raises `Usage` for one that does not say."""
    import asyncio

    from playhead_projections.cli.snippets import Wanted, opened

    async def ask() -> Any:
        async with opened(Wanted(host, None, servers)) as found:
            return found.surface

    surface = asyncio.run(ask())
    if surface is None:
        raise Usage(f"{host} does not say which tools it has.", expected="a host with a surface", found=host)
    return surface


def refuse_unknown(surface: Any, options: dict[str, Any]) -> None:
    """Raise `Usage` where a tool is denied, gated or vouched for that is not there: a slip lets one in."""
    from difflib import get_close_matches

    from playhead.composition.manifest import build_manifest, options_of

    manifest = build_manifest(surface, options_of({**options, "include_denied": True}))
    for name in manifest.unknown:
        known = sorted({entry.name for entry in manifest.entries})
        bound = [entry.name for entry in manifest.entries if entry.binding == name]
        close = bound or get_close_matches(name, known) or known[:KNOWN_SHOWN]
        expected = ", ".join(close) or "the name of a tool"
        raise Usage(f"no tool is called {name!r}.", expected=expected, found=name)


def options_from(given: dict[str, Any]) -> dict[str, Any]:
    """What `manifest_options` were given, as options of a manifest. Raises `Usage`."""
    from playhead.composition.manifest import options_of

    said = {
        "side_effect_ceiling": given["ceiling"],
        "denied_tools": list(given["denied"]),
        "gated_tools": list(given["gated"]),
        "vouched_tools": list(given["vouched"]),
        "include_denied": given["include_denied"],
    }
    try:
        options_of(said)
    except ValueError as error:
        raise Usage(f"{error}.", expected="a level of docs/policy.md", found=given["ceiling"]) from error
    return said


@command("check")
@click.argument("snippet", type=click.Path(path_type=Path))
@click.option(
    "--manifest", "surface", type=click.Path(path_type=Path), metavar="SURFACE.json", help="What it may call."
)
@tools_options
@manifest_options
@click.option("--input", "inputs", multiple=True, metavar="NAME", help="A variable that it begins with.")
@json_option
def check(
    session: Session,
    *,
    snippet: Path,
    surface: Path | None,
    host: str | None,
    servers: tuple[str, ...],
    inputs: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Say everything that is wrong with the snippet in a file. Exit code 1 when something is."""
    from playhead.composition.bindings import bindings_of, explained
    from playhead.composition.manifest import Manifest
    from playhead.snippet.check import Checked
    from playhead.snippet.check import check as check_snippet

    if not snippet.is_file():
        raise NotFound(f"there is no file at {snippet}.", expected="a snippet", found=str(snippet))
    some = surface is not None or host is not None or servers
    named = _manifest(surface, host, servers, options) if some else Manifest()
    source = snippet.read_text(encoding="utf-8", errors="surrogateescape")
    begins_with = [said.partition("=")[0] for said in inputs]
    try:
        found = check_snippet(source, bindings_of(named), inputs=begins_with)
    except ValueError as error:
        raise Usage(f"--input: {error}.", expected="NAME", found=", ".join(inputs)) from error
    problems = [] if isinstance(found, Checked) else explained(found, named)
    if as_json:
        session.out.document("playhead.check/1", {"problems": [each._asdict() for each in problems]})
    for each in problems if not as_json else ():
        hint = f" ({each.hint})" if each.hint else ""
        session.out.line(f"{snippet}:{each.line}:{each.col}: {each.code}: {each.message}{hint}")
    return NO if problems else DONE


@command("manifest")
@surface_argument
@tools_options
@manifest_options
@click.option("--compact", is_flag=True, help="Without schemas, annotations and metadata.")
@json_option
def manifest(
    session: Session,
    *,
    surface: Path | None,
    host: str | None,
    servers: tuple[str, ...],
    compact: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Say which tools of SURFACE.json a snippet may call, under which names, and why others not.

    Exit code 1 when something in the file could not be read as a tool.
    """
    found = _manifest(surface, host, servers, options)
    skipped = [{"place": each.place, "tool": each.tool, "reason": each.reason} for each in found.skipped]
    if as_json:
        whole = found.document("compact" if compact else "full")
        session.out.document(
            "playhead.manifest/1", {"hash": found.hash, "manifest": whole, "skipped": skipped}
        )
    else:
        rows = [
            [
                entry.binding,
                cut(entry.name, NAME),
                entry.side_effect_level or "?",
                session.out.word(entry.policy.disposition),
                entry.policy.reason or (entry.tool.description or "").partition("\n")[0][:DESCRIPTION],
            ]
            for entry in found.entries
        ]
        session.out.lines(table(rows, head=["binding", "tool", "level", "policy", "what it is, or why"]))
        for name, why in found.denied.items():
            session.out.line(f"denied  {name}: {why}")
        for each in skipped:
            session.out.line(f"skipped {each['place'] or '/'}  {each['tool'] or '?'}: {each['reason']}")
        session.out.line(f"{count(len(found.allowed), 'tool')} may be called  {found.hash}")
    return NO if skipped else DONE


@command("declarations")
@surface_argument
@tools_options
@manifest_options
@click.option("--to", "form", type=click.Choice(FORMS), default="text", show_default=True)
def declarations(
    session: Session,
    *,
    surface: Path | None,
    host: str | None,
    servers: tuple[str, ...],
    form: str,
    **options: Any,
) -> int:
    """Print what a model or an editor is shown of the tools in SURFACE.json."""
    from playhead.composition import declarations as written

    how: dict[str, Callable[[Manifest], str]] = {
        "typescript": written.typescript_declarations,
        "python": written.python_stub,
        "text": written.api_text,
    }
    session.out.lines(how[form](_manifest(surface, host, servers, options)).splitlines())
    return DONE


@command("examples")
@click.argument("query", default="")
@click.option("--limit", default=10, show_default=True, help="At most so many.")
@json_option
def examples(session: Session, *, query: str, limit: int, as_json: bool) -> int:
    """Find examples of snippets that QUERY stands in. Exit code 1 when there is none."""
    from playhead.composition.examples import search_examples

    found = search_examples(query, limit)
    if as_json:
        session.out.document("playhead.examples/1", {"examples": [each.document() for each in found]})
    else:
        for each in found:
            session.out.lines(
                [f"{each.id}: {each.title}", *(f"    {line}" for line in each.snippet.splitlines())]
            )
    return DONE if found else NO


for _sub in (check, manifest, declarations, examples):
    compose.add_command(_sub)
