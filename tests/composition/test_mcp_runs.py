"""Compositions in runs over MCP servers: whatever those do, no event is lost, and a replay needs none."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("mcp")

from playhead import Engine, persona
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import Manifest, build_manifest
from playhead.composition.mcp import McpHost, McpServer
from playhead.composition.retrying import CallRetry, Trust
from playhead.events.catalog import ToolFailed
from playhead.runtime.composing import compose
from playhead.runtime.composition import Composed
from tests.composition.mcp_desks import program


class Lived(NamedTuple):
    """What came of one composition in a run, and of its replay without any server."""

    composed: Composed
    types: list[str]
    categories: list[str]


async def lived(place: Path, snippet: str, *servers: McpServer, **how: Any) -> Lived:
    kept: list[Composed] = []
    manifests: list[Manifest] = []
    hosts: list[McpHost] = []

    @persona(name="composes")
    async def composes() -> None:
        kept.append(await compose(snippet, manifests[0], hosts[0], **how))

    async with Engine.open(place / "runs.db", personas=[composes]) as engine:
        async with McpHost.open(servers) as host:
            hosts.append(host)
            manifests.append(build_manifest(host.surface))
            run = await engine.start(composes)
            async with asyncio.timeout(30):
                await run.result()
        outcome = await engine.replay(run.id)
        assert outcome.identical, str(outcome.divergence)
        assert kept[0] == kept[1]
        facts = [fact for _, fact in await engine.facts_of(run.id)]
    types = [str(fact.__struct_config__.tag) for fact in facts]
    asked = types.count("tool.requested")
    assert asked == sum(types.count(end) for end in ("tool.completed", "tool.failed", "operation.cancelled"))
    return Lived(kept[0], types, [fact.failure.category for fact in facts if isinstance(fact, ToolFailed)])


CAUGHT = """
said = ""
try:
    {call}
except ToolError as error:
    said = str(error)
while True:
    try:
        return [said, evil_echo(text="after")]
    except ToolError:
        continue
"""


@pytest.mark.parametrize(
    ("call", "category", "said"),
    [
        ("evil_dies()", "mcp_server_error", "exit code -9"),
        ("evil_hangs()", "timeout", "timed out after 600ms"),
        ("evil_stuck()", "timeout", "timed out after 600ms"),
        ("evil_floods(for_ever=True)", "timeout", "timed out after 600ms"),
        ("evil_giant(bytes=3000000)", "output_too_large", "bytes that are taken"),
        ("evil_giant(bytes=1500000)", "output_too_large", "at most 1000000 are taken"),
        ("evil_endless()", "output_too_large", "wrote too much"),
        ("evil_gibberish()", "mcp_server_error", "no message"),
        ("evil_wrong_shape()", "mcp_server_error", "does not allow"),
        ("evil_no_number()", "mcp_server_error", "finite"),
        ("evil_fails()", "tool_error", "it is broken"),
    ],
)
async def test_whatever_a_server_does_the_run_has_it_recorded_and_goes_on(
    tmp_path: Path, call: str, category: str, said: str
) -> None:
    hangs = category == "timeout"
    limits = CompositionLimits(call_timeout_ms=600 if hangs else 5_000, timeout_ms=20_000)

    life = await lived(tmp_path, CAUGHT.format(call=call), program("evil"), limits=limits)

    found, after = life.composed.value()
    assert said in found
    assert after == "after"
    assert life.categories[0] == category
    # A server that hangs as a whole is found out after two seconds: shorter calls fail until then.
    assert set(life.categories[1:]) <= ({"timeout"} if hangs else set())


async def test_when_the_time_of_a_composition_is_over_a_hanging_call_is_dropped(tmp_path: Path) -> None:
    limits = CompositionLimits(timeout_ms=500)
    life = await lived(tmp_path, "evil_hangs()", program("evil"), limits=limits)

    assert (life.composed.cause, life.composed.category) == ("deadline", "timeout")
    assert life.types.count("operation.cancelled") == 1


async def test_tools_that_change_in_the_middle_of_a_run_are_not_called_any_more(tmp_path: Path) -> None:
    snippet = """
first = evil_echo(text="before")
evil_change(what="hints")
try:
    return evil_echo(text="after")
except ToolError as error:
    return [first, str(error), evil_pid() != ""]
"""
    life = await lived(tmp_path, snippet, program("evil"))

    first, said, goes_on = life.composed.value()
    assert (first, goes_on) == ("before", True)
    assert "annotations" in said
    assert life.categories == ["permission_denied"]


async def test_a_call_of_a_server_that_died_is_tried_again_where_somebody_trusts_its_hints(
    tmp_path: Path,
) -> None:
    retry = CallRetry(max_attempts=2, base_delay_ms=1)
    life = await lived(
        tmp_path, "return evil_dies()", program("evil"), retry=retry, trust=Trust(servers={"evil"})
    )

    assert life.composed.cause == "tool_failed"
    assert life.types.count("attempt.started") == 1
    assert life.categories == ["mcp_server_error"]


async def test_a_snippet_calls_tools_of_two_servers_at_once(tmp_path: Path) -> None:
    snippet = """
def call(n):
    return honest_add(a=n, b=1)["total"] if n % 2 else evil_echo(text=str(n))
found = map_bounded(list(range(6)), call, concurrency=6)
return [each["value"] for each in found["results"]]
"""
    life = await lived(tmp_path, snippet, program("evil"), program("honest"))

    assert life.composed.value() == ["0", 2, "2", 4, "4", 6]
