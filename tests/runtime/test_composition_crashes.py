"""Compositions whose process or worker dies, and ones that are played again."""

import asyncio
import os
import signal
from typing import Any

from playhead import CompositionLimits, Engine, persona, tool
from playhead.composition.hosts import CallableHost
from playhead.composition.manifest import build_manifest
from playhead.composition.retrying import Trust
from playhead.events.catalog import ToolRequested
from playhead.log.memory_store import MemoryLog
from playhead.runtime.composing import compose
from playhead.runtime.composition import Composed
from playhead.testing import MemoryStore
from tests.replay.prefixes import RUN, cut, play
from tests.runtime.compositions import MANIFEST, MANY, OPTIONS, Library, lived
from tests.runtime.conftest import Home, until


async def test_a_worker_that_is_killed_at_any_moment_costs_nothing(home: Home) -> None:
    engines: list[Engine] = []
    calls: list[int] = []

    def kills(binding: str, arguments: dict[str, Any]) -> Any:
        calls.append(1)
        pid = engines[0].snippets.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return (
            {"path": arguments.get("path", ""), "text": "x"}
            if binding == "read_file"
            else [{"path": "a"}] * 4
        )

    kept: list[Composed] = []

    @persona
    async def composes() -> None:
        kept.append(await compose(MANY, MANIFEST, CallableHost(kills)))

    async with home.engine(composes) as engine:
        engines.append(engine)
        await (await engine.start(composes)).result()
        assert engine.snippets.deaths >= 1
    assert (kept[0].value(), kept[0].stdout, len(calls)) == (4, "read 4\n", 5)


async def test_a_machine_may_run_in_this_process_where_that_is_said(home: Home) -> None:
    async with lived(home, MANY, Library(), engine="in_process") as life:
        assert life.composed.value() == 40
        assert life.engine.snippets.pid is None


def test_killed_at_every_event_it_comes_to_the_same_end_and_no_completed_call_is_repeated() -> None:
    library = Library()

    @persona
    async def composes() -> list[Any]:
        both = await asyncio.gather(
            compose(MANY, MANIFEST, library, engine="in_process"),
            compose('return search(query="z")[0]', MANIFEST, library, engine="in_process"),
        )
        return [[each.result, each.stdout, each.steps, each.calls] for each in both]

    async def once(engine: Engine) -> tuple[str, Any]:
        run = await engine.start(composes)
        return run.id, await run.result()

    log = MemoryLog()
    run, result = play(log, once, personas=[composes])
    events = log.streams[RUN + run]
    assert result[0][:2] == [40, "read 4\n"]
    for length in range(1, len(events)):
        shorter = cut(log, run, length)
        library.asked.clear()

        async def resume(engine: Engine) -> Any:
            await engine.recover()
            return await engine.result(run), await engine.replay(run)

        again, replayed = play(shorter, resume, personas=[composes])

        assert again == result, length
        assert replayed.identical, f"{length}: {replayed.divergence}"
        completed = [event for event in events[:length] if event.type == "tool.completed"]
        assert len(library.asked) == 6 - len(completed), length


async def test_a_changed_snippet_is_a_divergence_and_no_host_is_called(home: Home) -> None:
    library, snippets = Library(), [MANY]

    @persona
    async def composes() -> None:
        await compose(snippets[0], MANIFEST, library)

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        await run.result()
        library.asked.clear()
        snippets[0] = MANY.replace("concurrency=2", "concurrency=3")
        outcome = await engine.replay(run.id)
        assert outcome.verdict == "diverged"
        assert outcome.divergence is not None
        assert outcome.divergence.field == "snippet"
    assert library.asked == []


async def test_whose_word_counts_decides_what_may_be_repeated(home: Home) -> None:
    tools = [{"name": "t", "annotations": {"readOnlyHint": True}, "_mcp_server": "s"}]
    manifest = build_manifest(tools, OPTIONS)
    for trust, effect in ((None, "effect"), (Trust(servers={"s"}), "read_only")):
        async with lived(home, "return t()", Library(), manifest=manifest, trust=trust) as life:
            requests = [fact for _, fact in life.facts if isinstance(fact, ToolRequested)]
            assert [fact.effect for fact in requests] == [effect]


async def test_a_composition_does_not_end_while_a_call_of_it_is_in_doubt() -> None:
    log = MemoryLog()
    sent: list[int] = []
    stores: list[MemoryStore] = []

    class Post:
        async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
            sent.append(1)
            if len(sent) == 1:
                stores[-1].kill()
                await asyncio.sleep(60)
            return {"path": "a"}

    @tool(effect="read_only")
    async def busy() -> None:
        await asyncio.sleep(1.5)

    @persona
    async def composes() -> Any:
        limits = CompositionLimits(timeout_ms=100)
        composed = compose('return write(path="a")', MANIFEST, Post(), limits=limits, ceiling="network")
        found, _ = await asyncio.gather(composed, busy())
        return found.value()

    stores.append(MemoryStore(log=log))
    async with Engine.open(stores[-1], personas=[composes]) as engine:
        run = await engine.start(composes)
        await until(lambda: sent == [1])
    async with Engine.open(MemoryStore(log=log), personas=[composes]) as engine:
        (again,) = await engine.recover()
        assert again.id == run.id
        await asyncio.sleep(0.7)
        assert "composition.failed" not in [event.type for event in log.streams[RUN + run.id]]
        (doubt,) = [e for e in log.streams[RUN + run.id] if e.type == "operation.outcome_unknown"]
        await engine.resolve(run.id, doubt.op, "retry")
        async with asyncio.timeout(20):
            assert await again.result() == {"path": "a"}
    assert len(sent) == 2
