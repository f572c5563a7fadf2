"""Functions marked with `@tool` as the tools of compositions: what they declare, and a host that calls them.

host = ToolHost([read, search])
manifest = build_manifest(host.surface)
await compose(snippet, manifest, host)
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from playhead.composition.hosts import Arguments
from playhead.composition.manifest import ACTION_CLASS, Entry
from playhead.errors import BadValue, CallFailed, ProgramError
from playhead.policy.effect import EffectClass
from playhead.runtime.tool import Tool


class ToolHost:
    """Calls functions marked with `@tool`, by their names. Raises `ProgramError` for two of one name.

    What a tool declares holds as in any run, but for `retry`, `timeout_s`, `reconcile` and `raises`: how
    calls of a composition are tried again, and what becomes of them, is the composition's. A tool with
    `secret` names is refused, because a manifest has no place for them.
    """

    def __init__(self, tools: Sequence[Tool[..., Any]]) -> None:
        self._tools: dict[str, Tool[..., Any]] = {}
        for tool in tools:
            if not isinstance(tool, Tool):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ProgramError(f"{tool!r} is no tool.", next_step="Mark the function with @tool.")
            if tool.secret:
                raise ProgramError(
                    f"tool {tool.name} has secrets, which a composition would show to its snippet.",
                    next_step="Call it from the program, or leave the secret out of what it takes and gives.",
                )
            if self._tools.setdefault(tool.name, tool) is not tool:
                raise ProgramError(f"two tools are called {tool.name!r}.", next_step="Rename one.")

    @property
    def surface(self) -> list[dict[str, Any]]:
        """The tools, for `build_manifest`."""
        return [surface_of(tool) for tool in self._tools.values()]

    def effect_of(self, entry: Entry) -> EffectClass:
        """What the tool declares."""
        tool = self._tools.get(entry.name)
        return EffectClass.EFFECT if tool is None else tool.effect

    async def call(self, entry: Entry, arguments: Arguments) -> Any:
        """Call a tool. Raises what it raises, and `CallFailed` for arguments that it cannot take."""
        tool = self._tools.get(entry.name)
        if tool is None:
            raise CallFailed(f"there is no tool {entry.name} here", category="host_bridge_error")
        try:
            args, kwargs = tool.signature.decode(Raw(msgspec.msgpack.encode(arguments)))
        except BadValue as error:
            raise CallFailed(f"{entry.name}: {error.__cause__}", category="schema_validation") from error
        if inspect.iscoroutinefunction(tool.function):
            answer = await tool.function(*args, **kwargs)
        else:
            context = contextvars.copy_context()
            answer = await asyncio.to_thread(context.run, tool.function, *args, **kwargs)
        recorded = msgspec.msgpack.decode(tool.signature.result.encode(answer))
        return msgspec.json.decode(msgspec.json.encode(recorded))


def surface_of(tool: Tool[..., Any]) -> dict[str, Any]:
    """One tool as a surface describes it: schemas from its type hints, and what it declares of itself.

    A type that JSON Schema cannot say takes every value.
    """
    said = tool.annotations
    annotations: dict[str, Any] = {"kind": said.kind, "side_effect_level": said.side_effect_level}
    if said.capabilities is not None:
        annotations["capabilities"] = {domain: sorted(ops) for domain, ops in said.capabilities.items()}
    if said.path_params is not None:
        annotations["path_params"] = sorted(said.path_params)
    if tool.effect is EffectClass.IDEMPOTENT:
        annotations["idempotentHint"] = True
    named = {} if tool.action_class is None else {"metadata": {ACTION_CLASS: tool.action_class}}
    return {
        "name": tool.name,
        "description": inspect.getdoc(tool.function),
        "inputSchema": _arguments(tool),
        "outputSchema": _schema(tool.signature.hints.get("return", Any)),
        "annotations": annotations,
        **named,
    }


def _arguments(tool: Tool[..., Any]) -> dict[str, Any]:
    """The schema of all arguments, each by its name; nothing else is taken."""
    properties: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    required: list[str] = []
    for name, parameter in inspect.signature(tool.function).parameters.items():
        hint = tool.signature.hints.get(name, Any)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ProgramError(
                f"tool {tool.name} takes *{name}, and a snippet gives arguments by name.",
                next_step="Give it a list or a dictionary as one parameter.",
            )
        schema = _schema(hint)
        shared |= schema.pop("$defs", {})
        properties[name] = schema
        if parameter.default is parameter.empty:
            required.append(name)
    whole: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return whole | ({"$defs": shared} if shared else {})


def _schema(hint: Any) -> dict[str, Any]:
    try:
        return msgspec.json.schema(hint)
    except TypeError:
        return {}
