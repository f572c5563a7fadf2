"""What the machine of snippets is told of a manifest: names, parameters, and what it may not call."""

from __future__ import annotations

from playhead.composition.manifest import Manifest
from playhead.composition.schema_types import parameters_of
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
