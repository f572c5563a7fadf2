"""Tools and answers of MCP servers, as this engine holds them: in plain JSON, and compared field by field.

Only what is named here is taken over from what a server says of its tools. It cannot declare a level, a
kind, an executor or metadata of its own: it has four hints, and `playhead.composition.surface` makes of
them what it makes of any hints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from playhead.composition.mcp_servers import McpServer
from playhead.errors import BadValue, CallFailed
from playhead.events.values import encode_value

if TYPE_CHECKING:
    from mcp_types import CallToolResult, Tool

Definition = dict[str, Any]
"""A tool in the shape of a surface."""

COMPARED: Final = ("description", "inputSchema", "outputSchema", "annotations")
MESSAGE_CHARS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class McpChanges:
    """How the tools on offer differ from those that a host gave as its surface, by the names of the surface.

    `changed` says for each tool which parts of its definition are others now.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def definition_of(server: McpServer, tool: Tool) -> Definition:
    """One tool of a listing. Raises `BadValue` where its schemas are no JSON that the log could hold."""
    said = tool.annotations
    hints = {
        "readOnlyHint": said and said.read_only_hint,
        "destructiveHint": said and said.destructive_hint,
        "idempotentHint": said and said.idempotent_hint,
        "openWorldHint": said and said.open_world_hint,
    }
    definition: Definition = {
        "name": server.tool_name(tool.name),
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": {hint: value for hint, value in hints.items() if value is not None},
        "_mcp_server": server.name,
        "_mcp_tool_name": tool.name,
    }
    found = {part: value for part, value in definition.items() if value is not None}
    encode_value(found, where=f"the definition of {tool.name}", plain=True)
    return found


def differences(before: Definition, after: Definition) -> tuple[str, ...]:
    """Which parts of two definitions differ. 1 and 1.0 do, and the order of keys does not."""
    return tuple(part for part in COMPARED if _written(before.get(part)) != _written(after.get(part)))


def changes_between(before: Mapping[str, Definition], after: Mapping[str, Definition]) -> McpChanges:
    """What became of the tools in `before`, each by its own name."""
    changed = {
        before[tool]["name"]: parts
        for tool in before
        if tool in after and (parts := differences(before[tool], after[tool]))
    }
    return McpChanges(
        added=tuple(after[tool]["name"] for tool in after if tool not in before),
        removed=tuple(before[tool]["name"] for tool in before if tool not in after),
        changed=changed,
    )


def answer_of(result: CallToolResult, tool: str, *, structured: bool) -> Any:
    """What a tool answered, as plain JSON.

    The structured content where there is some. Otherwise the content: texts alone are joined by line ends
    to one text, which is read as JSON where the tool has an output schema (`structured`) and it is JSON; no
    content is null; where there is content of other kinds, all of it is a list of objects. Raises
    `CallFailed`: a `tool_error` for an answer that says it is an error, and an `mcp_server_error` for one
    that the log could not hold.
    """
    answer = result.structured_content
    if result.is_error:
        raise CallFailed(_complaint(result) or f"{tool} failed and did not say why", category="tool_error")
    if answer is None:
        answer = _content(result)
        if structured and isinstance(answer, str):
            answer = _read(answer)
    try:
        encode_value(answer, where=f"the answer of {tool}", plain=True)
    except BadValue as error:
        raise CallFailed(error.message, category="mcp_server_error", transient=False) from error
    return answer


def _content(result: CallToolResult) -> Any:
    blocks: list[dict[str, Any]] = [
        block.model_dump(by_alias=True, mode="json", exclude_none=True) for block in result.content
    ]
    if not blocks:
        return None
    if all(block["type"] == "text" for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return blocks


def _complaint(result: CallToolResult) -> str:
    """What an answer that is an error says. What is in it besides texts helps nobody who reads a message."""
    texts = [block.text for block in result.content if block.type == "text"]
    if not texts and result.structured_content is not None:
        texts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return "\n".join(texts)[:MESSAGE_CHARS_MAX]


def _read(text: str) -> Any:
    """The value that `text` is the JSON of; the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
