"""Tools, a model and personas whose runs are recorded, mined, and run again as workflows."""

from pathlib import Path
from typing import Any

from playhead import (
    Engine,
    ManifestOptions,
    Reply,
    Request,
    ToolHost,
    Usage,
    build_manifest,
    compose,
    model_call,
    persona,
    signal,
    tool,
)
from playhead.log.reader import LogReader
from playhead.runtime.persona import Persona
from playhead_projections.projector import state_at
from playhead_projections.trace import Trace, Traces, trace_of

PAGES = {f"p{n}.py": f"import m{n}\nx = '{n}'" for n in range(9)}
NOTES: list[tuple[str, str]] = []


@tool(side_effect_level="read_only")
def search(query: str, limit: int = 5) -> list[dict[str, Any]]:
    return [{"path": path, "score": n} for n, path in enumerate(PAGES) if query in path][:limit]


@tool(side_effect_level="read_only")
async def read_file(path: str) -> dict[str, str]:
    return {"path": path, "text": PAGES[path]}


@tool(side_effect_level="workspace_write")
def note(text: str, to: str) -> int:
    NOTES.append((text, to))
    return len(text)


class Model:
    name = "tiny"

    async def complete(self, request: Request) -> Reply:
        return Reply(
            text=request.prompt.upper(), model="tiny-1", usage=Usage(input_tokens=1, output_tokens=1)
        )


class Other:
    name = "other"

    async def complete(self, request: Request) -> Reply:
        return Reply(text=f"no {request.prompt}", model="other-1")


HOST = ToolHost([search, read_file, note])
MANIFEST = build_manifest(HOST.surface, ManifestOptions(side_effect_ceiling="workspace_write"))

SNIPPET = """
hits = search(query=query, limit=3)
page = read_file(path=hits[0]["path"])
for n in range(more):
    read_file(path="p8.py")
return note(text=page["text"], to="out.md")
"""


@persona
async def by_snippet(query: str, more: int) -> int:
    """What an agent did with a snippet: sometimes it reads what it does not need."""
    inputs = {"query": query, "more": more}
    found: int = (await compose(SNIPPET, MANIFEST, HOST, inputs=inputs, ceiling="workspace_write")).value()
    return found


@persona
async def by_hand(query: str) -> int:
    """The same with tools, a model in between, and somebody who says where it goes."""
    hits = await search(query)
    page = await read_file(hits[0]["path"])
    said = await model_call(Request(prompt=page["text"]))
    to = await signal("where", str)
    return await note(said.text, to)


@persona
async def plainly(query: str) -> int:
    """The same with nothing but tools."""
    hits = await search(query, limit=3)
    page = await read_file(hits[0]["path"])
    return await note(page["text"], to="out.md")


@persona
async def by_leave(query: str) -> int:
    """The same, where somebody has to agree."""
    hits = await search(query)
    page = await read_file(hits[0]["path"])
    if await signal("agree", bool):
        return await note(page["text"], to="out.md")
    return 0


async def recorded(
    path: Path,
    program: Persona[..., Any],
    *starts: tuple[Any, ...],
    where: str = "",
    signals: dict[str, Any] | None = None,
) -> list[Trace]:
    """The traces of a run for each of `starts`."""
    async with Engine.open(path, personas=[program], model=Model()) as engine:
        runs = [await engine.start(program, *each) for each in starts]
        for number, run in enumerate(runs):
            if where:
                await run.signal("where", f"{where}{number}")
            for name, value in (signals or {}).items():
                await run.signal(name, value)
            await run.result()
    with LogReader(path) as log:
        return [trace_of(state_at(log, Traces(), f"run/{run.id}").state) for run in runs]
