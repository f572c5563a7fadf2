"""Compositions: snippets that call tools, are stopped, go to servers, and were crystallized out of runs."""

import asyncio
from dataclasses import replace
from typing import Any

from playhead import (
    CallableHost,
    CallFailed,
    CallRetry,
    CompositionFailed,
    CompositionLimits,
    ManifestOptions,
    Policy,
    ToolHost,
    Trust,
    build_manifest,
    compose,
    persona,
    tool,
)
from playhead.composition.manifest import Manifest
from tests.recorded.recording import Recording, simply

SHELF = {"a.py": "import os", "b.py": "x = 1\ny = 2", "c.py": ""}
PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
TOOLS: list[dict[str, Any]] = [
    {"name": "list.files", "annotations": {"kind": "search", "side_effect_level": "read_only"}},
    {
        "name": "read.file",
        "inputSchema": PATH,
        "annotations": {"kind": "read", "side_effect_level": "read_only"},
    },
    {"name": "wait", "annotations": {"kind": "other", "side_effect_level": "read_only"}},
    {"name": "delete.file", "inputSchema": PATH, "annotations": {"side_effect_level": "workspace_write"}},
]
MANIFEST = build_manifest(TOOLS, ManifestOptions(side_effect_ceiling="workspace_write"))


async def library(binding: str, arguments: dict[str, Any]) -> Any:
    """What the tools do."""
    if binding == "list_files":
        return sorted(SHELF)
    if binding == "wait":
        await asyncio.sleep(60)
    return {"path": arguments["path"], "text": SHELF[arguments["path"]]}


HOST = CallableHost(library)

CALLS = """
found = map_bounded(list_files(), lambda path: read_file(path=path), concurrency=2)
lines = {}
for each in found["results"]:
    page = each["value"]
    lines[page["path"]] = len(page["text"].splitlines())
try:
    read_file(path=extra)
except ToolError as error:
    print("no", extra)
return lines
"""
FAILS = 'print("before")\nreturn read_file(path="nowhere")["text"]'


@persona
async def composes(extra: str) -> list[str]:
    counted = await compose(CALLS, MANIFEST, HOST, inputs={"extra": extra})
    failed = await compose(FAILS, MANIFEST, HOST)
    found = [str(counted.value()), counted.stdout, str(failed.cause)]
    try:
        failed.value()
    except CompositionFailed as error:
        found.append(f"line {failed.error.line if failed.error else 0}: {type(error).__name__}")
    return found


# ------------------------------------------------------------- stopped

ENDLESS = "n = 0\nwhile True:\n    n = n + 1\n"
STOPPED: list[tuple[str, dict[str, Any]]] = [
    ("import os", {}),
    ("return 1", {"language": "snippet/99"}),
    ("return 1", {"pinned": "0" * 64}),
    ("return [read_file(path='a.py') for n in range(9)]", {"limits": CompositionLimits(max_operations=2)}),
    (ENDLESS, {"limits": CompositionLimits(max_steps=500)}),
    ("return wait()", {"limits": CompositionLimits(timeout_ms=40)}),
    ("return delete_file(path='a.py')", {}),
    ("return read_file(path=7)", {}),
    ("return read_file(path='b.py')['text']", {"limits": CompositionLimits(max_output_bytes=3)}),
    ("return 1 // 0", {}),
]


@persona(policy=Policy(side_effect_level="read_only"))
async def composes_badly() -> list[str]:
    found: list[str] = []
    for snippet, options in STOPPED:
        composed = await compose(snippet, MANIFEST, HOST, engine="in_process", **options)
        found.append(f"{composed.cause}, {composed.category}")
    return found


# ------------------------------------------------------------- servers


def of_server(server: str, name: str, **more: Any) -> dict[str, Any]:
    """A tool as the list of an MCP server has it."""
    return {"name": name, "metadata": {"_mcp_server": server}, "inputSchema": PATH, **more}


READS = {"kind": "read", "side_effect_level": "read_only"}
WORDS = {"type": "object", "properties": {"words": {"type": "integer"}}, "required": ["words"]}
SERVED = build_manifest(
    [
        of_server("files", "files__read", annotations=READS),
        of_server("pages", "pages__read", annotations=READS, outputSchema=WORDS),
    ],
    ManifestOptions(side_effect_ceiling="read_only"),
)


class Servers:
    """Two servers: one is gone when it is asked for the first time, the other answers nonsense once."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
        self.asked.append(entry.name)
        if entry.server == "files":
            if self.asked.count(entry.name) == 1:
                raise CallFailed("the connection is gone", category="mcp_server_error")
            return {"text": f"<{arguments['path']}>"}
        return {"words": 2} if arguments["path"] == "good" else {"words": "two"}


OVER_SERVERS = """
page = files_read(path="a")
good = pages_read(path="good")
try:
    pages_read(path="bad")
except ToolError as error:
    return [page["text"], good["words"], "of the wrong shape"]
"""


@persona
async def composes_over_servers() -> list[Any]:
    composed = await compose(
        OVER_SERVERS,
        SERVED,
        Servers(),
        retry=CallRetry(max_attempts=2),
        trust=Trust(servers=("files", "pages")),
    )
    return list(composed.value())


# -------------------------------------------------------- crystallized

MAIL = {"ada": "Invoice 7 is due.", "eve": "Invoice 12 is due."}
SNIPPET = """\
step_1 = search(limit=3, query=query)
step_2 = read_mail(id=step_1[0]["id"])
step_3 = note(text=step_2["text"], to="ledger")
return step_3
"""
BINDINGS = {"note": "note", "read_mail": "read_mail", "search": "search"}


@tool(side_effect_level="read_only")
def search(query: str, limit: int = 10) -> list[dict[str, str]]:
    return [{"id": name} for name in MAIL if query in name][:limit]


@tool(side_effect_level="read_only")
def read_mail(id: str) -> dict[str, str]:
    return {"id": id, "text": MAIL[id]}


@tool(side_effect_level="workspace_write")
def note(text: str, to: str) -> int:
    return len(f"{to}: {text}")


DESK = ToolHost([search, read_mail, note])
DESK_MANIFEST = build_manifest(DESK.surface, ManifestOptions(side_effect_ceiling="workspace_write"))


def narrowed(manifest: Manifest) -> Manifest:
    """As a crystallized workflow does it."""
    entries = [
        replace(entry, binding=BINDINGS[entry.name]) for entry in manifest.entries if entry.name in BINDINGS
    ]
    return Manifest(entries=tuple(entries), side_effect_ceiling=manifest.side_effect_ceiling)


@persona(name="search_read_mail_note")
async def crystallized(query: str) -> int:
    tools = narrowed(DESK_MANIFEST)
    composed = await compose(
        SNIPPET,
        tools,
        DESK,
        inputs={"query": query},
        limits=CompositionLimits(timeout_ms=10_000, max_output_bytes=65_536, max_call_output_bytes=1_000_000),
        ceiling="workspace_write",
    )
    return int(composed.value())


RECORDINGS = (
    Recording(
        "0031-a-composition-that-calls-and-one-that-fails",
        simply(composes, "nowhere"),
        frozenset(
            {"manifest.recorded", "composition.started", "composition.completed", "composition.failed"}
        ),
    ),
    Recording(
        "0032-compositions-that-are-stopped",
        simply(composes_badly),
        frozenset({"composition.failed", "composition.expired", "tool.denied"}),
    ),
    Recording(
        "0033-a-composition-over-servers",
        simply(composes_over_servers),
        frozenset({"composition.completed", "attempt.finished", "tool.failed"}),
    ),
    Recording(
        "0034-a-crystallized-workflow",
        simply(crystallized, "eve"),
        frozenset({"composition.completed", "tool.completed"}),
    ),
)
