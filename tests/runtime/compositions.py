"""What the tests of compositions share: a few tools, a host that remembers, and one run of a snippet."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from playhead import Engine, persona
from playhead.composition.manifest import Manifest, ManifestOptions, build_manifest
from playhead.log.memory_store import MemoryLog
from playhead.runtime.composing import compose
from playhead.runtime.composition import Composed
from playhead.snippet.check import TAKEN
from tests.replay.prefixes import play
from tests.runtime.conftest import Home

READS = {"kind": "read", "side_effect_level": "read_only"}


def schema(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name, said in properties.items() if "default" not in said],
        "additionalProperties": False,
    }


TOOLS: list[dict[str, Any]] = [
    {
        "name": "read.file",
        "inputSchema": schema(path={"type": "string"}, limit={"type": "integer", "default": None}),
        "outputSchema": {"type": "object", "required": ["path"]},
        "annotations": READS | {"path_params": ["path"]},
        "_mcp_server": None,
    },
    {"name": "search", "inputSchema": schema(query={"type": "string"}), "annotations": READS},
    {"name": "slow", "inputSchema": schema(ms={"type": "integer"}), "annotations": READS},
    {
        "name": "write",
        "inputSchema": schema(path={"type": "string"}),
        "annotations": {"kind": "edit", "side_effect_level": "workspace_write"},
    },
    {"name": "send", "inputSchema": schema(to={"type": "string"}), "annotations": READS},
    {"name": "drop", "inputSchema": schema(path={"type": "string"}), "annotations": READS},
]
OPTIONS = ManifestOptions(
    side_effect_ceiling="workspace_write", gated_tools=["send"], denied_tools=["drop"], include_denied=True
)
MANIFEST = build_manifest(TOOLS, OPTIONS, taken=TAKEN)


class Library:
    """A host that remembers what it was asked, and how many calls were under way at once."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any] | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.busy = self.most = 0
        self._answer = answer

    async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
        self.asked.append((entry.binding, arguments))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await asyncio.sleep(arguments.get("ms", 1) / 1000)
            if self._answer is not None:
                return self._answer(entry.binding, arguments)
            if entry.binding == "search":
                return [{"path": f"f{n}"} for n in range(4)]
            return {"path": arguments.get("path", ""), "text": "x" * 10}
        finally:
            self.busy -= 1


class Lived:
    """What came of one composition in a run of its own."""

    def __init__(self, composed: Composed, engine: Engine, run: str, facts: list[tuple[str, Any]]) -> None:
        self.composed = composed
        self.engine = engine
        self.run = run
        self.facts = facts

    def types(self, *kinds: str) -> list[str]:
        found = [fact.__struct_config__.tag for _, fact in self.facts]
        return [kind for kind in found if not kinds or kind.startswith(kinds)]


@asynccontextmanager
async def lived(
    home: Home,
    snippet: str,
    host: Any,
    *,
    manifest: Manifest = MANIFEST,
    policy: Any = None,
    hooks: Any = (),
    **how: Any,
) -> AsyncGenerator[Lived]:
    """Run a snippet in a run, and check that its replay agrees and asks the host nothing."""
    kept: list[Composed] = []

    @persona(name="composes", policy=policy)
    async def composes() -> None:
        kept.append(await compose(snippet, manifest, host, **how))

    async with home.engine(composes, hooks=hooks) as engine:
        run = await engine.start(composes)
        async with asyncio.timeout(30):
            await run.result()
        asked = len(getattr(host, "asked", ()))
        outcome = await engine.replay(run.id)
        assert outcome.identical, str(outcome.divergence)
        assert len(getattr(host, "asked", ())) == asked
        assert kept[0] == kept[1]
        yield Lived(kept[0], engine, run.id, await engine.facts_of(run.id))


def only(facts: list[tuple[str, Any]], kind: type[Any]) -> list[Any]:
    return [fact for _, fact in facts if isinstance(fact, kind)]


def simulated(snippet: str, host: Any, **how: Any) -> tuple[Composed, list[tuple[str, Any]]]:
    """One composition on simulated time, and all facts of its run."""
    how = {"manifest": MANIFEST} | how

    @persona
    async def composes() -> None:
        kept.append(await compose(snippet, how.pop("manifest"), host, engine="in_process", **how))

    async def once(engine: Engine) -> list[tuple[str, Any]]:
        run = await engine.start(composes)
        await run.result()
        return await engine.facts_of(run.id)

    kept: list[Composed] = []
    facts = play(MemoryLog(), once, personas=[composes])
    return kept[0], facts


MANY = """
hits = search(query="q")
found = map_bounded(hits, lambda hit: len(read_file(path=hit["path"])["text"]), concurrency=2)
print("read", found["succeeded"])
return sum([each["value"] for each in found["results"]])
"""
