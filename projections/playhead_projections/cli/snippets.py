"""A snippet as a program of its own: what `playhead compose run` starts, and who answers its calls.

All that it does follows from its arguments, which the log has: so `playhead replay` needs nothing but the
log. Only to go on does it need a host.
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from playhead.errors import CallFailed, NotFound
from playhead_projections.cli.faults import Usage
from playhead_projections.cli.files import json_of

if TYPE_CHECKING:
    from pathlib import Path

    from playhead.composition.hosts import Host
    from playhead.composition.manifest import Manifest
    from playhead.composition.mcp_servers import McpServer
    from playhead.log.reader import LogReader
    from playhead.runtime.persona import Persona

PERSONA: Final = "playhead.compose"


class Wanted(NamedTuple):
    """Where answers come from: an object in a file, a table of answers, MCP servers, or nowhere."""

    host: str | None = None
    outputs: Path | None = None
    servers: tuple[str, ...] = ()


class Open(NamedTuple):
    """A host, and what its own tools are where it knows."""

    host: Host
    surface: Any = None


def snippet_program(host: Host) -> Persona[..., Any]:
    """The persona whose runs are one composition each, with the calls carried out by `host`."""
    from playhead.composition.limits import CompositionLimits
    from playhead.composition.manifest import build_manifest, options_of
    from playhead.composition.retrying import CallRetry, Trust
    from playhead.runtime.composing import compose
    from playhead.runtime.persona import persona

    @persona(name=PERSONA)
    async def snippet(
        snippet: str,
        surface: Any,
        manifest: dict[str, Any],
        inputs: dict[str, Any],
        limits: dict[str, Any],
        retry: dict[str, Any],
        trusted: list[str],
        pinned: str | None,
        in_process: bool,  # noqa: FBT001
        surface_json: str | None = None,
        secrets: list[str] | None = None,  # noqa: ARG001  for whoever opens the engine
        from_host: bool = False,  # noqa: ARG001, FBT001, FBT002  for whoever takes the run up
    ) -> Any:
        """Run one snippet. Its result is that of the run, and so is its failure.

        With `secrets` the surface comes as a text, whose members are not redacted for their names.
        """
        options = options_of(manifest)
        tools = surface if surface_json is None else json.loads(surface_json)
        composed = await compose(
            snippet,
            build_manifest(tools, options),
            host,
            limits=CompositionLimits(**limits),
            retry=CallRetry(**retry),
            trust=Trust(servers=trusted),
            ceiling=options.side_effect_ceiling,
            pinned=pinned,
            inputs=inputs,
            engine="in_process" if in_process else "worker",
        )
        return composed.value()

    return snippet


class Given(msgspec.Struct):
    """What the run of a snippet began with, as far as whoever takes it up has to know it."""

    surface: Any = None
    manifest: dict[str, Any] = {}
    surface_json: str | None = None
    secrets: list[str] | None = None
    from_host: bool = False
    """Whether the tools were those that the host said it had."""

    @property
    def tools(self) -> Manifest:
        """All that its snippet was told of, denied tools as well."""
        from playhead.composition.manifest import build_manifest, options_of

        surface = self.surface if self.surface_json is None else json.loads(self.surface_json)
        return build_manifest(surface, options_of({**self.manifest, "include_denied": True}))


def given_to(log: LogReader, run: str) -> Given:
    """What the run of a snippet began with, by its own first event."""
    from playhead.events.catalog import RunStarted
    from playhead.events.codec import CATALOG

    (first,) = log.read(f"run/{run}", 0, 1)
    started = CATALOG.decode(first)
    if not isinstance(started, RunStarted):
        return Given()
    return msgspec.msgpack.decode(started.args, type=Given)


def refuse_another(run: str, given: Given, surface: Any) -> None:
    """Raise `Usage` where a host has not the tools that the run began with, or has other ones."""
    from playhead.composition.manifest import build_manifest, options_of

    options = options_of({**given.manifest, "include_denied": True})
    now = {entry.name: entry.document() for entry in build_manifest(surface, options).entries}
    for entry in given.tools.allowed:
        found = now.get(entry.name)
        wrong = "has no" if found is None else "has another"
        said = entry.document() if given.from_host else found
        if found is None or said is None or any(found[part] != said[part] for part in _SAME):
            raise Usage(
                f"the host {wrong} {entry.name}, and run {run} began with it.",
                expected=entry.name,
                found=", ".join(sorted(now)) or "no tool",
                next_step="Take it up with the host that it began with.",
            )


def refuse_weaker(surface: Any, manifest: dict[str, Any], host_surface: Any) -> None:
    """Raise `Usage` where a surface declares a tool as less than the host itself does."""
    from playhead.composition.manifest import build_manifest, options_of
    from playhead.policy.level import rank

    options = options_of({**manifest, "include_denied": True})
    own = {entry.name: entry for entry in build_manifest(host_surface, options).entries}
    for entry in build_manifest(surface, options).allowed:
        named = own[entry.name].action_class if entry.name in own else None
        if named not in (None, entry.action_class):
            raise Usage(
                f"{entry.name} has effects of the class {named}, and is declared without.",
                expected=named,
                found=entry.action_class or "no class",
                next_step="Let the host say which tools it has, or give the tool metadata.action_class.",
            )
        level = own[entry.name].side_effect_level if entry.name in own else "none"
        if rank(level) > rank(entry.side_effect_level):
            raise Usage(
                f"{entry.name} is declared as {entry.side_effect_level}, and its own host says more.",
                expected=level or "no level, as it declares none",
                found=entry.side_effect_level,
                next_step="Let the host say which tools it has, or declare what it does.",
            )


_SAME: Final = ("input_schema", "output_schema", "annotations")
"""What makes two tools of one name the same."""


def refuse_unusable(secrets: Sequence[str], given: dict[str, Any]) -> None:
    """Raise `Usage` for a secret name that what the run itself needs would be hidden by."""
    from playhead.events.redaction import Redaction

    needed = msgspec.Raw(msgspec.msgpack.encode({**given, "inputs": {}}))
    for name in secrets:
        if not name.strip():
            raise Usage("--secret names nothing.", expected="the name of an argument or a field", found=name)
        if Redaction([name], b"\0" * 32).apply(needed) is not needed:
            said = f"--secret {name} would hide what the run itself needs."
            raise Usage(said, expected="the name of an argument or a field", found=name)


class Nobody:
    """The host of a run that is only replayed, or can call nothing: it is never asked."""

    async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
        raise CallFailed(f"nobody is here to call {entry.name}", category="host_bridge_error")


@asynccontextmanager
async def opened(wanted: Wanted) -> AsyncGenerator[Open]:
    """The host that is wanted, until it is not needed any more. Raises `Usage` and `NotFound`."""
    if wanted.servers:
        from playhead.composition.mcp import McpHost

        servers = [_server(said) for said in wanted.servers]
        names = [server.name for server in servers]
        if len(set(names)) < len(names):
            raise Usage("two servers have one name.", expected="a name for each", found=", ".join(names))
        async with McpHost.open(servers) as host:
            yield Open(host, host.surface)
    elif wanted.host is not None:
        yield _of_file(wanted.host)
    elif wanted.outputs is None:
        yield Open(Nobody())
    else:
        from playhead.composition.hosts import StaticHost

        table = "a JSON object: an answer for each tool"
        outputs: Any = json_of(wanted.outputs, table)
        if not isinstance(outputs, dict):
            raise Usage(f"{wanted.outputs} is no object.", expected=table, found=str(outputs)[:80])
        yield Open(StaticHost(cast("dict[str, Any]", outputs)))


def _server(said: str) -> McpServer:
    from playhead.composition.mcp_servers import McpServer

    name, separator, where = said.partition("=")
    expected = "NAME=COMMAND ARGUMENTS, or NAME=http://…"
    if not separator or not where.strip():
        raise Usage(f"--mcp {said!r} names no server.", expected=expected, found=said)
    try:
        if where.startswith(("http://", "https://")):
            return McpServer(name, url=where)
        command, *args = shlex.split(where)
        return McpServer(name, command=command, args=args)
    except ValueError as error:
        raise Usage(f"--mcp {said!r}: {error}.", expected=expected, found=said) from error


def _takes_two(function: Any) -> bool:
    """Whether a function can be asked with a binding and arguments."""
    try:
        inspect.signature(function).bind("binding", {})
    except (TypeError, ValueError):
        return False
    return True


def _of_file(word: str) -> Open:
    """The host that an object in a file is, or makes."""
    from playhead.composition.hosts import CallableHost
    from playhead.runtime.tool import Tool
    from playhead.runtime.tool_host import ToolHost
    from playhead_projections.cli.programs import module_of

    module, name = module_of(word)
    if name is not None and not hasattr(module, name):
        raise NotFound(f"{word}: there is no {name} in it.", expected="FILE.py:NAME", found=word)
    found: Any = list[Any](vars(module).values()) if name is None else getattr(module, name)
    several: list[Any] = list(cast("Sequence[Any]", found)) if isinstance(found, (list, tuple)) else [found]
    tools: list[Tool[..., Any]] = [each for each in several if isinstance(each, Tool)]
    if name is None and not tools:
        raise Usage(f"{word} holds no function marked with @tool.", expected="FILE.py[:NAME]", found=word)
    if name is None or (tools and len(tools) == len(several)):
        own = ToolHost(tools)
        return Open(own, own.surface)
    host = cast("Any", found)
    if callable(getattr(host, "call", None)):
        return Open(host, getattr(host, "surface", None))
    if callable(host) and _takes_two(host):
        return Open(CallableHost(host))
    raise Usage(
        f"{word} carries no calls out.",
        expected="a host, functions marked with @tool, or a function of binding and arguments",
        found=type(host).__qualname__,
    )
