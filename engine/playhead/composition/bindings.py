"""What the machine of snippets is told of a manifest: names, parameters, and what it may not call."""

from __future__ import annotations

from collections.abc import Iterable

from playhead.composition.manifest import Manifest
from playhead.composition.naming import identifier
from playhead.composition.schema_types import parameters_of
from playhead.snippet.check import TAKEN
from playhead.snippet.diagnostic import Diagnostic
from playhead.snippet.protocol import ToolBinding


def bindings_of(manifest: Manifest) -> dict[str, ToolBinding]:
    """What a snippet may write, of everything in a manifest."""
    found: dict[str, ToolBinding] = {}
    for entry in manifest.entries:
        shape = parameters_of(entry.tool.input_schema)
        schema = entry.tool.input_schema
        more = schema.get("additionalProperties") if isinstance(schema, dict) else None
        names, required = shape or ((), ())
        denied = entry.policy.disposition == "denied"
        found[entry.binding] = ToolBinding(
            names,
            required,
            shape is None or more is True or isinstance(more, dict),
            f"{entry.binding} is denied: {entry.policy.reason}" if denied else "",
        )
    return found


def explained(problems: Iterable[Diagnostic], manifest: Manifest) -> list[Diagnostic]:
    """`problems`, with the reason as the hint where a name is that of a tool that the manifest left out."""
    why = {
        identifier(name, TAKEN): f"the tool {name} is denied: {said}"
        for name, said in manifest.denied.items()
    }
    why |= {
        identifier(each.tool, TAKEN): f"the tool {each.tool} cannot be read: {each.reason}"
        for each in manifest.skipped
        if each.tool
    }
    found: list[Diagnostic] = []
    for each in problems:
        name, _, rest = each.message.partition(" ")
        left_out = each.code == "name" and rest.startswith("is neither") and name in why
        found.append(each._replace(hint=why[name]) if left_out else each)
    return found
