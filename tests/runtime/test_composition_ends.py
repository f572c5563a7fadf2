"""How compositions end, and how they are played again: one test for each rule."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from playhead import Engine, persona
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import build_manifest
from playhead.errors import CallFailed
from playhead.events.catalog import ToolRequested
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog
from playhead.runtime.composing import compose
from tests.replay.prefixes import copied, play
from tests.runtime.compositions import MANIFEST, TOOLS, Library, simulated
from tests.runtime.conftest import Home, until

ENDS = {"tool.completed", "tool.failed", "operation.cancelled"}


def test_outcomes_reach_the_snippet_one_at_a_time_in_the_order_of_the_log() -> None:
    snippet = """
seen = []
def each(ms):
    slow(ms=ms)
    seen.append(ms)
map_bounded([40, 10, 30, 20, 10], each)
return seen
"""
    composed, facts = simulated(snippet, Library())

    asked = {
        op: msgspec.msgpack.decode(fact.args)["ms"] for op, fact in facts if isinstance(fact, ToolRequested)
    }
    completed = [op for op, fact in facts if fact.__struct_config__.tag == "tool.completed"]
    assert composed.value() == [asked[op] for op in completed]
    assert sorted(composed.value()) == [10, 10, 20, 30, 40]


def test_calls_that_are_not_let_through_fail_in_the_order_in_which_they_were_made() -> None:
    snippet = """
seen = []
def each(n):
    try:
        send(to=str(n))
    except ToolError:
        seen.append(n)
map_bounded([0, 1, 2, 3], each)
return seen
"""
    composed, _ = simulated(snippet, Library())

    assert composed.value() == [0, 1, 2, 3]


async def test_every_call_of_a_run_that_is_cancelled_has_exactly_one_end(home: Home) -> None:
    def answer(binding: str, arguments: dict[str, Any]) -> Any:
        if arguments["ms"] == 2:
            raise CallFailed("nothing there", category="tool_error")
        return 1

    library = Library(answer)
    snippet = """
def each(ms):
    try:
        send(to="a")
    except ToolError:
        return slow(ms=ms)
map_bounded([1, 60000, 2, 60000, "x", 60000], each)
"""

    @persona
    async def composes() -> None:
        await compose(snippet, MANIFEST, library)

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        await until(lambda: library.busy == 3 and len(library.asked) == 5)
        await engine.cancel(run.id)
        async with asyncio.timeout(20):
            assert (await engine.ending(run.id)).status == "cancelled"
        facts = await engine.facts_of(run.id)
        assert (await engine.replay(run.id)).identical
    requested = [op for op, fact in facts if isinstance(fact, ToolRequested)]
    ended = Counter(op for op, fact in facts if fact.__struct_config__.tag in ENDS)
    assert len(requested) == 5  # what does not fit is none
    assert ended == dict.fromkeys(requested, 1)
    assert {fact.__struct_config__.tag for _, fact in facts} >= {*ENDS, "tool.denied"}
    assert library.busy == 0


@pytest.mark.parametrize("what", ["manifest", "limits", "ceiling", "language"])
async def test_a_replay_with_another_manifest_limit_ceiling_or_language_diverges_and_asks_no_host(
    home: Home, what: str
) -> None:
    others: dict[str, Any] = {
        "manifest": build_manifest(TOOLS),
        "limits": CompositionLimits(max_operations=63),
        "ceiling": "none",
        "language": "snippet/2",
    }
    library = Library()
    how: dict[str, Any] = {"manifest": MANIFEST, "host": library}

    @persona
    async def composes() -> None:
        await compose('return search(query="q")', **how)

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        await run.result()
        library.asked.clear()
        how[what] = others[what]
        outcome = await engine.replay(run.id)
    assert outcome.verdict == "diverged"
    assert outcome.divergence is not None
    assert outcome.divergence.field == {"manifest": "hash", "limits": "limits.max_operations"}.get(what, what)
    assert library.asked == []


def changed(event: Event, before: bytes, after: bytes) -> Event:
    if event.type != "tool.completed":
        return event
    return event._replace(payload=(event.payload or b"").replace(before, after))


def turned(events: list[Event]) -> list[Event]:
    """The same events, the last two outcomes of tools the other way round."""
    *_, first, second = [n for n, event in enumerate(events) if event.type == "tool.completed"]
    events[first], events[second] = events[second], events[first]
    return events


@pytest.mark.parametrize(
    ("change", "type_", "field"),
    [
        (lambda events: [changed(event, b"f2", b"g2") for event in events], "tool.requested", "args.path"),
        (turned, "composition.completed", "result.2"),
    ],
    ids=["another answer", "another order"],
)
def test_a_replay_of_other_outcomes_goes_another_way_and_asks_no_host(
    change: Any, type_: str, field: str
) -> None:
    library = Library()
    snippet = """
seen = []
def each(hit):
    read_file(path=hit["path"])
    seen.append(hit["path"])
map_bounded(search(query="q"), each)
return seen
"""

    @persona
    async def composes() -> None:
        await compose(snippet, MANIFEST, library, engine="in_process")

    async def once(engine: Engine) -> str:
        run = await engine.start(composes)
        await run.result()
        return run.id

    log = MemoryLog()
    run = play(log, once, personas=[composes])
    other = copied(log, run, change)
    library.asked.clear()
    outcome = play(other, lambda engine: engine.replay(run), personas=[composes])

    assert outcome.verdict == "diverged"
    assert (outcome.divergence.recorded_type, outcome.divergence.field) == (type_, field)
    assert library.asked == []
