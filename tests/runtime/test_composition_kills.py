"""Where a composition is cut does not matter: from every prefix of its run it comes to the same report.

What may differ is told in `TIMES`, `TRIES` and `NUMBERS`: how long things took, of a call that was in flight
at the cut how often it was tried and who answered for it, and of calls side by side which came first.
"""

import asyncio
from collections import Counter
from typing import Any, NamedTuple

import msgspec
import pytest

from playhead import Engine, attempt, persona
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import ManifestOptions, build_manifest
from playhead.composition.retrying import CallRetry
from playhead.errors import CallFailed
from playhead.events.catalog import OperationOutcomeUnknown, ToolRequested
from playhead.events.codec import CATALOG
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog
from playhead.runtime.composing import compose
from playhead_projections.compositions.fold import Compositions
from playhead_projections.compositions.report import report
from playhead_projections.projection import fold
from tests.replay.prefixes import RUN, cut, play
from tests.runtime.compositions import READS
from tests.simulation.world import SimulatedLoop

OP = "0/compose#0"
TIMES = {"duration_ms", "execution_duration_ms"}
TRIES = {"attempt", "retry_attempts", "retry_delays_ms", "answered_by"}
NUMBERS = {"op", "operation_index", "tool_call_id"}
ENDS = ("tool.completed", "tool.failed", "operation.cancelled")

WRITES = {"kind": "edit", "side_effect_level": "workspace_write"}
MANIFEST = build_manifest(
    [
        {"name": "read", "annotations": READS},
        {"name": "flaky", "annotations": READS},
        {"name": "put", "annotations": WRITES | {"idempotentHint": True}},
        {"name": "pay", "annotations": WRITES},
        {"name": "send", "annotations": READS},
    ],
    ManifestOptions(side_effect_ceiling="workspace_write", gated_tools=["send"]),
)
WHOLE = """
print("begin")
total = 0
for found in map_bounded(list(range(5)), lambda n: read(n=n), concurrency=2)["results"]:
    total += found["value"]
try:
    send(n=1)
except ToolError as error:
    print(error)
kept = map_bounded([7, 8, 9], lambda n: [put(n=n), flaky(n=n), pay(n=n)])
try:
    read(n="gone")
except ToolError as error:
    print(error)
return [total, kept, pay(n=1)]
"""
EIGHT = CompositionLimits(max_operations=8)
SOON = CompositionLimits(timeout_ms=300)
ENDINGS: dict[str, tuple[str, CompositionLimits]] = {
    "completed": (WHOLE, CompositionLimits()),
    "tool_failed": ('pay(n=1)\nflaky(n=2)\nread(n="gone")\npay(n=2)', CompositionLimits()),
    "error": ("pay(n=1)\nreturn read(n=1) // 0", CompositionLimits()),
    "limit": ("pay(n=1)" + WHOLE, EIGHT),
    "deadline": (
        'pay(n=1)\nmap_bounded([1, 60, 2, 60], lambda n: flaky(n=n) if n < 9 else read(n="late"))',
        SOON,
    ),
    "refused": ("import os\npay(n=1)", CompositionLimits()),
}


class World:
    """A host whose tools remember what they did, whichever process asked."""

    def __init__(self, before: list[Event]) -> None:
        self.began: Counter[str] = Counter()
        self.keys: set[tuple[str, str]] = set()
        self.failed = {event.op for event in before if event.type == "attempt.finished"}

    async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
        current = attempt()
        n: Any = arguments["n"]
        self.began[current.op] += 1
        self.keys.add((current.op, current.idempotency_key))
        await asyncio.sleep(60 if n == "late" else 0.01 * (1 + (n if isinstance(n, int) else 3) % 3))
        if n == "gone":
            raise ValueError("it is gone")
        if entry.name == "flaky" and current.op not in self.failed:
            self.failed.add(current.op)
            raise CallFailed("busy", category="network")
        return answer_of(n)


def answer_of(n: Any) -> Any:
    return n * 10


class Lived(NamedTuple):
    report: dict[str, Any]
    events: list[Event]
    world: World
    run: str


def live(snippet: str, limits: CompositionLimits, log: MemoryLog, answer: str, run: str = "") -> Lived:
    """The run of one composition, from its beginning or from where the log ends, by somebody who answers."""
    world = World(log.streams[RUN + run] if run else [])
    answered: set[int] = set()

    @persona
    async def composes() -> str | None:
        how: dict[str, Any] = {"limits": limits, "retry": CallRetry(base_delay_ms=10), "engine": "in_process"}
        return (await compose(snippet, MANIFEST, world, ceiling="workspace_write", **how)).cause

    def answers(loop: SimulatedLoop, engine: Engine) -> bool:
        for seq, op, n in doubts(log.streams.get(RUN + run, [])):
            if seq not in answered:
                answered.add(seq)
                value = answer_of(n) if answer == "value" else None
                _ = loop.create_task(engine.resolve(run, op, answer, value))  # type: ignore[arg-type]
                return True
        return False

    async def work(engine: Engine) -> str:
        if run:
            await engine.recover()
        found = run or (await engine.start(composes)).id
        await engine.result(found)
        return found

    found = play(log, work, personas=[composes], answer=answers)
    events = log.streams[RUN + found]
    began = world.began.copy()
    assert play(log, lambda engine: engine.replay(found), personas=[composes]).identical
    assert world.began == began
    told = fold(Compositions(), found, events).state
    return Lived(report(told, OP), [*events], world, found)


def doubts(events: list[Event]) -> list[tuple[int, str, Any]]:
    asked: dict[str, Any] = {}
    found = []
    for event in events:
        fact = CATALOG.decode(event)
        if isinstance(fact, ToolRequested):
            asked[event.op] = fact
        elif isinstance(fact, OperationOutcomeUnknown):
            found.append((event.seq, event.op, msgspec.msgpack.decode(asked[event.op].args)["n"]))
    return found


def compared(found: dict[str, Any], ended: set[str], in_flight: set[str]) -> dict[str, Any]:
    """A report without what may differ: of what ended before the cut, nothing does but numbers."""
    calls: list[dict[str, Any]] = []
    for call, result in zip(found["child_calls"], found["child_results"], strict=True):
        assert call["tool_call_id"] == result["tool_call_id"] == f"{found['run']['run_id']}:{len(calls)}"
        left_out = NUMBERS.copy()
        if call["op"] not in ended:
            left_out |= TIMES | (TRIES if call["op"] in in_flight else set())
        calls.append({name: value for name, value in (call | result).items() if name not in left_out})
    calls.sort(key=lambda call: (call["line"], call["path"], call["col"]))
    run = {name: value for name, value in found["run"].items() if name not in TIMES}
    return {**found, "run": run, "child_calls": calls, "child_results": len(calls)}


@pytest.mark.parametrize("answer", ["value", "retry"])
@pytest.mark.parametrize("cause", ENDINGS)
def test_the_report_after_kills_equals_the_report_of_an_uninterrupted_run(cause: str, answer: str) -> None:
    log = MemoryLog()
    whole = live(*ENDINGS[cause], log, answer)
    assert (whole.report["run"]["metadata"]["cause"] or "completed") == cause
    in_doubt = 0
    for length in range(1, len(whole.events)):
        before = whole.events[:length]
        ended = {event.op for event in before if event.type in ENDS}
        in_flight = {event.op for event in before if event.type == "tool.requested"} - ended
        again = live(*ENDINGS[cause], cut(log, whole.run, length), answer, whole.run)

        expected = compared(whole.report, ended, in_flight)
        assert compared(again.report, ended, in_flight) == expected, length
        assert not ended & set(again.world.began), length
        unsure = {op for _, op, _ in doubts(again.events)}
        assert unsure == {op for op in in_flight if "/pay#" in op}, length
        assert {op: again.world.began[op] for op in unsure} == dict.fromkeys(unsure, answer == "retry")
        put = {op for op in in_flight if "/put#" in op and cause == "completed"}
        assert {pair for pair in again.world.keys if pair[0] in put} <= whole.world.keys
        assert put <= set(again.world.began), length
        in_doubt += len(unsure)
    assert bool(in_doubt) is (cause != "refused")


def test_a_composition_that_is_killed_again_and_again_comes_to_the_same_report() -> None:
    log = MemoryLog()
    whole = live(*ENDINGS["completed"], log, "value")
    again, last = log, whole
    for length in (7, 14, 21, 28):
        again = cut(again, whole.run, length)
        last = live(*ENDINGS["completed"], again, "value", whole.run)
    everything = {call["op"] for call in whole.report["child_calls"]}
    assert [event.type for event in last.events].count("run.claimed") == 5
    assert compared(last.report, set(), everything) == compared(whole.report, set(), everything)


def just_after(events: list[Event], type_: str) -> int:
    """The length of a tape that ends with the first event of a type about `pay`."""
    return next(n for n, event in enumerate(events, 1) if event.type == type_ and "/pay#" in event.op)


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ("value", "completed", None),
        ("fail", "failed", "pay was in doubt and somebody said that it failed."),
    ],
)
def test_a_report_says_who_answered_for_a_call_in_doubt_and_in_which_attempt_it_was(
    answer: str, status: str, error: str | None
) -> None:
    log = MemoryLog()
    whole = live(*ENDINGS["error"], log, "value")
    once = cut(log, whole.run, just_after(whole.events, "tool.requested"))
    assert "/pay#" in once.streams[RUN + whole.run][-1].op
    again = live(*ENDINGS["error"], once, "retry", whole.run)
    twice = cut(once, whole.run, just_after(again.events, "attempt.started"))
    last = live(*ENDINGS["error"], twice, answer, whole.run)

    result = last.report["child_results"][0]
    assert (result["status"], result["error"]) == (status, error)
    assert (result["attempt"], result["answered_by"]) == (2, "somebody")
    assert last.report["run"]["failure_category"] == (
        "child_tool_error" if answer == "fail" else "execution_error"
    )
    assert "pay" not in str([*last.world.began])
