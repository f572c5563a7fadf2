"""What the log tells of compositions: reports, events of a session, and traces, one test for each rule."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead import attempt, persona
from playhead.composition.hosts import CallableHost, StaticHost
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import ManifestOptions, build_manifest
from playhead.composition.retrying import CallRetry
from playhead.errors import CallFailed
from playhead.events.codec import CATALOG
from playhead.log.reader import LogReader
from playhead.runtime.composing import compose
from playhead_projections.compositions.agent_events import agent_events
from playhead_projections.compositions.fold import Compositions, Told
from playhead_projections.compositions.report import report
from playhead_projections.compositions.trace import composition_trace
from playhead_projections.projection import fold
from playhead_projections.projector import state_at
from tests.runtime.compositions import MANIFEST, MANY, READS, TOOLS, Library, lived
from tests.runtime.conftest import Home

OP = "0/compose#0"
TIMES = {"duration_ms", "execution_duration_ms"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home("sqlite", tmp_path)


async def told_of(home: Home, run: str, last: int | None = None) -> Told:
    def read() -> Told:
        with LogReader(home.path) as log:
            return state_at(log, Compositions(), f"run/{run}", last).state

    return await asyncio.to_thread(read)


async def reported(home: Home, snippet: str, host: Any, **how: Any) -> dict[str, Any]:
    async with lived(home, snippet, host, **how) as life:
        return report(await told_of(home, life.run), OP)


# The envelope.


async def test_a_report_names_the_composition_and_how_it_ended(home: Home) -> None:
    async with lived(home, MANY, Library(), inputs={"n": 1}) as life:
        found = report(await told_of(home, life.run), OP)
    run = found["run"]
    assert (found["schema_version"], found["ok"]) == (1, True)
    assert found["summary"] == "composition completed with 5 child operation(s)"
    assert run["run_id"] == f"{life.run}/{OP}"
    assert (run["language"], run["result"], run["stdout"]) == ("snippet/1", 40, "read 4\n")
    assert run["binding_manifest_hash"] == MANIFEST.hash
    assert run["requested_side_effect_ceiling"] == "read_only"
    assert (run["stderr"], run["artifacts"], run["failure_category"], run["error"]) == (None, [], None, None)
    assert run["duration_ms"] >= 0
    about = run["metadata"]
    assert (about["session_id"], about["persona"], about["status"]) == (life.run, "composes", "completed")
    assert (about["inputs"], about["limits"]["max_operations"]) == ({"n": 1}, 64)
    json.dumps(found)


async def test_output_is_null_when_nothing_was_printed(home: Home) -> None:
    assert (await reported(home, "return 1", Library()))["run"]["stdout"] is None


async def test_a_report_of_what_never_began_has_no_calls_and_says_why(home: Home) -> None:
    found = await reported(home, "import os", Library())
    assert (found["child_calls"], found["child_results"], found["ok"]) == ([], [], False)
    assert found["run"]["failure_category"] == "policy_denied"
    assert found["summary"] == found["run"]["error"]
    assert found["run"]["metadata"]["problems"][0]["line"] == 1


async def test_a_failed_report_keeps_the_calls_and_results_made_so_far(home: Home) -> None:
    found = await reported(home, "read_file(path='a')\nraise ValueError('no')", Library())
    assert [result["status"] for result in found["child_results"]] == ["completed"]
    assert (found["run"]["failure_category"], found["run"]["error"]) == ("execution_error", "ValueError: no")
    assert found["run"]["metadata"]["snippet_error"]["line"] == 2


# Calls and results.


async def test_a_call_says_who_was_asked_for_what_from_where_and_what_was_decided(home: Home) -> None:
    found = await reported(home, MANY, Library())
    calls = found["child_calls"]
    assert [call["operation_index"] for call in calls] == [0, 1, 2, 3, 4]
    assert [call["tool_call_id"] for call in calls] == [f"{found['run']['run_id']}:{n}" for n in range(5)]
    read = calls[1]
    assert (read["tool_name"], read["binding"]) == ("read.file", "read_file")
    assert read["raw_input"] == {"path": "f0"}
    assert read["annotations"]["kind"] == "read"
    assert read["annotations"]["path_params"] == ["path"]
    assert read["requested_side_effect_level"] == "read_only"
    assert read["policy_context"] == {"disposition": "allowed", "reason": None, "ceiling": "read_only"}
    assert (read["line"], read["path"], read["effect"]) == (3, [0], "read_only")


async def test_a_result_says_what_came_of_it_and_who_carried_it_out(home: Home) -> None:
    servers = [{**tool, "_mcp_server": "docs"} if tool["name"] == "search" else tool for tool in TOOLS]
    found = await reported(home, MANY, Library(), manifest=build_manifest(servers))
    searched, read = found["child_results"][:2]
    assert searched["raw_output"] == [{"path": f"f{n}"} for n in range(4)]
    assert searched["executor"] == {"kind": "mcp_server", "server_name": "docs"}
    assert read["executor"] == {"kind": "host_bridge"}
    assert (read["status"], read["error"], read["error_category"]) == ("completed", None, None)
    assert (read["attempt"], read["retry_attempts"], read["retry_errors"]) == (1, 0, [])
    assert read["duration_ms"] == read["execution_duration_ms"] >= 1


async def test_a_tool_of_a_provider_is_carried_out_by_it(home: Home) -> None:
    tools = [{"type": "function", "function": {"name": "find"}, "annotations": READS}]
    found = await reported(home, "return find()", StaticHost(), manifest=build_manifest(tools))
    assert found["child_results"][0]["executor"] == {"kind": "provider_native"}


async def test_a_call_that_was_tried_again_says_why_and_how_long_it_waited(home: Home) -> None:
    class Tired:
        async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
            if attempt().number < 3:
                raise CallFailed(f"busy {attempt().number}", category="network")
            return {"path": "a"}

    retry = CallRetry(base_delay_ms=2, max_delay_ms=3)
    found = await reported(home, "return read_file(path='a')['path']", Tired(), retry=retry)
    result = found["child_results"][0]
    assert (result["attempt"], result["retry_attempts"], result["status"]) == (3, 2, "completed")
    assert result["retry_errors"] == ["busy 1", "busy 2"]
    assert all(2 <= delay <= 3 for delay in result["retry_delays_ms"])
    assert result["duration_ms"] >= sum(result["retry_delays_ms"])  # waiting counts


async def test_a_call_that_failed_has_the_category_that_its_host_decided_on(home: Home) -> None:
    def gone(binding: str, arguments: dict[str, Any]) -> Any:
        raise CallFailed("it says denied, approval and timeout", category="tool_error")

    found = await reported(home, "return read_file(path='a')", Library(gone))
    result = found["child_results"][0]
    assert (result["status"], result["error_category"]) == ("failed", "tool_error")
    assert result["error"] == "it says denied, approval and timeout"
    assert result["error_details"]["type"] == "CallFailed"
    assert found["run"]["failure_category"] == "child_tool_error"  # whatever the message says


async def test_an_error_that_says_nothing_is_told_by_its_type(home: Home) -> None:
    def gone(binding: str, arguments: dict[str, Any]) -> Any:
        raise ConnectionResetError

    found = await reported(
        home, "search(query='q')", CallableHost(gone), retry=CallRetry(max_attempts=2, base_delay_ms=0)
    )
    (result,) = found["child_results"]
    assert (result["error"], result["retry_errors"]) == ("ConnectionResetError", ["ConnectionResetError"])
    assert found["run"]["error"] == found["summary"] == "ConnectionResetError"


@pytest.mark.parametrize(
    ("call", "disposition", "said", "category"),
    [
        ("send(to='a')", "gated", "requires approval", "permission_denied"),
        ("write(path='a')", "denied", "above requested ceiling", "permission_denied"),
        ("search(query=1)", "denied", "inputSchema validation failed", "schema_validation"),
    ],
)
async def test_a_call_that_was_not_allowed_is_a_failed_one_that_nobody_carried_out(
    home: Home, call: str, disposition: str, said: str, category: str
) -> None:
    found = await reported(home, f"return {call}", Library())
    asked, result = found["child_calls"][0], found["child_results"][0]
    assert (asked["policy_context"]["disposition"], result["status"]) == (disposition, "failed")
    assert said in asked["policy_context"]["reason"]
    assert (result["error_category"], result["duration_ms"], result["attempt"]) == (category, 0, 1)
    assert result["executor"] == {"kind": "playhead"}


async def test_a_call_whose_time_was_over_has_an_unknown_outcome_where_it_may_have_done_something(
    home: Home,
) -> None:
    said: list[dict[str, Any]] = [READS, {"kind": "edit", "side_effect_level": "workspace_write"}]
    tools = [{"name": name, "annotations": each} for name, each in zip(("slow", "write"), said, strict=True)]
    found = await reported(
        home,
        "return map_bounded([slow, write], lambda each: each(ms=900))",
        Library(),
        manifest=build_manifest(tools, ManifestOptions(side_effect_ceiling="workspace_write")),
        ceiling="workspace_write",
        limits=CompositionLimits(call_timeout_ms=20),
        retry=CallRetry(max_attempts=1),
    )
    assert [call["effect"] for call in found["child_calls"]] == ["read_only", "effect"]
    assert [result["outcome"] for result in found["child_results"]] == ["failed", "unknown"]
    assert {result["error_category"] for result in found["child_results"]} == {"timeout"}


async def test_every_call_of_a_composition_that_ran_out_of_time_has_an_end(home: Home) -> None:
    snippet = "return map_bounded([900, 900, 900], lambda ms: slow(ms=ms))"
    found = await reported(home, snippet, Library(), limits=CompositionLimits(timeout_ms=50))
    assert found["run"]["failure_category"] == "timeout"
    assert [result["error_category"] for result in found["child_results"]] == ["cancelled"] * 3
    assert {result["status"] for result in found["child_results"]} == {"failed"}


async def test_a_report_as_of_a_past_event_says_what_was_known_then(home: Home) -> None:
    async with lived(home, MANY, Library()) as life:
        whole = await told_of(home, life.run)
        for last in range(whole.compositions[OP].seq, (whole.compositions[OP].ended_seq or 0) + 1):
            told = await told_of(home, life.run, last)
            found = report(told, OP)
            ended = last == whole.compositions[OP].ended_seq
            assert found["ok"] is ended
            assert found["run"]["metadata"]["status"] == ("completed" if ended else "running")
            open_calls = [each for each in found["child_results"] if each["status"] == "in_progress"]
            assert all(each["duration_ms"] is None for each in open_calls)
            assert not (ended and open_calls)


async def test_a_report_is_made_of_the_log_alone_and_the_same_each_time(home: Home) -> None:
    async with lived(home, MANY, Library()) as life:
        events = await home.events(life.run)
        again = [fold(Compositions(), life.run, events).state for _ in range(2)]
        assert report(again[0], OP) == report(again[1], OP) == report(await told_of(home, life.run), OP)


async def test_several_compositions_of_a_run_are_told_apart(home: Home) -> None:
    @persona(name="composes")
    async def composes() -> None:
        for n in range(2):
            await compose(f"return [{n}, read_file(path='{n}')]", MANIFEST, Library())

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        await run.result()
    told = await told_of(home, run.id)
    assert list(told.compositions) == ["0/compose#0", "0/compose#1"]
    for n, op in enumerate(told.compositions):
        assert report(told, op)["child_calls"][0]["raw_input"] == {"path": str(n)}


async def test_what_was_erased_is_said_to_be_and_nothing_is_made_up(home: Home) -> None:
    async with lived(home, "return read_file(path='secret')", Library()) as life:
        events = await home.events(life.run)
    told = Compositions().initial(life.run)
    for event in events:
        if event.type in {"tool.requested", "composition.completed"}:
            told = Compositions().erased(told, event)
        else:
            told = fold_one(told, event)
    found = report(told, OP)
    assert found["child_calls"][0]["raw_input"] is None
    assert found["child_calls"][0]["tool_name"] == "read_file"
    assert found["run"]["metadata"]["events_erased"] == 2
    assert "secret" not in json.dumps(found["child_calls"])


@pytest.mark.parametrize("value", [b"\xa1\xff", b"\x81\xc0\x01", b"\xd4\x05\x00", b"\x81\x80\x01"])
@pytest.mark.parametrize(
    "of", ["composition.started", "tool.requested", "tool.completed", "manifest.recorded"]
)
async def test_a_value_that_cannot_be_read_costs_its_event_and_no_other_run(
    home: Home, of: str, value: bytes
) -> None:
    names = {"composition.started": "inputs", "tool.requested": "args", "tool.completed": "result"}
    async with lived(home, "return read_file(path='a')", Library()) as life:
        events = await home.events(life.run)
    told = Compositions().initial(life.run)
    for event in events:
        fact: Any = CATALOG.decode(event)
        if event.type == of:
            fact = msgspec.structs.replace(fact, **{names.get(of, "manifest"): msgspec.Raw(value)})
        told = Compositions().take(told, event, fact)
    found = report(told, OP)
    assert found["ok"]
    assert found["run"]["metadata"]["events_erased"] == (of != "manifest.recorded")
    assert len(found["child_results"]) == 1
    json.dumps([found, composition_trace(found)])
    kept = msgspec.msgpack.encode(told)
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(kept, type=Told)) == kept


def fold_one(told: Told, event: Any) -> Told:
    return Compositions().take(told, event, CATALOG.decode(event))


# Events of a session.


async def test_events_are_the_start_each_call_with_its_result_and_the_end(home: Home) -> None:
    found = await reported(home, MANY, Library())
    events = agent_events(found, "s1")
    child = ["composition_child_call", "composition_child_result"]
    assert [event["type"] for event in events] == ["composition_start", *child * 5, "composition_finish"]
    assert {event["session_id"] for event in events} == {"s1"}
    start, end = events[0], events[-1]
    blank = ("stdout", "stderr", "result", "failure_category", "error", "duration_ms")
    assert [start[name] for name in blank] == [None] * 6
    assert "steps" not in start["metadata"]
    assert (end["result"], end["stdout"]) == (40, "read 4\n")
    for call, result in zip(events[1:-1:2], events[2:-1:2], strict=True):
        assert call["tool_call_id"] == result["tool_call_id"]


async def test_a_failed_composition_ends_with_an_error_event(home: Home) -> None:
    events = agent_events(await reported(home, "return 1 / 0", Library()), "s1")
    assert [event["type"] for event in events] == ["composition_start", "composition_error"]
    assert events[-1]["failure_category"] == "execution_error"


async def test_a_composition_that_is_not_over_has_no_end_and_its_open_calls_no_result(home: Home) -> None:
    async with lived(home, "return read_file(path='a')", Library()) as life:
        at = (await told_of(home, life.run)).compositions[OP].calls[0].seq
        told = await told_of(home, life.run, at)
    kinds = [event["type"] for event in agent_events(report(told, OP), "s1")]
    assert kinds == ["composition_start", "composition_child_call"]


# Traces.


async def test_a_trace_begins_with_the_composition_and_then_has_an_action_for_each_call(home: Home) -> None:
    found = await reported(home, MANY, Library())
    trace = composition_trace(found, transcript_ref="t1")
    assert (trace["version"], trace["source"]) == (1, "composition_run")
    assert trace["id"] == f"composition_{found['run']['run_id']}"
    assert trace["source_hash"] == found["run"]["snippet_hash"]
    assert trace["flow"]["trace_id"] == found["run"]["run_id"]
    parent, *children = trace["actions"]
    assert (parent["id"], parent["kind"], parent["name"]) == (
        "composition_parent",
        "composition_run",
        "execute_composition",
    )
    assert (parent["output"], parent["deterministic"], parent["side_effects"]) == (40, True, [])
    assert [child["id"] for child in children] == [f"composition_child_{n}" for n in range(5)]
    assert children[1]["parameters"] == children[1]["inputs"] == {"path": "f0"}
    assert children[1]["side_effects_known"]
    assert trace["metadata"]["child_count"] == 5
    assert composition_trace(found, trace_id="x", workflow_id="y")["workflow_id"] == "y"


async def test_a_trace_says_what_was_asked_for_decided_and_answered(home: Home) -> None:
    found = await reported(home, "read_file(path='a')\nsend(to='b')", Library())
    trace, run = composition_trace(found, agent_run_id="agent-1"), found["run"]
    hashes = {name: run[name] for name in ("snippet_hash", "binding_manifest_hash")}
    ceiling = {"requested_side_effect_ceiling": "read_only"}
    assert trace["flow"] == {"trace_id": run["run_id"], "agent_run_id": "agent-1", "transcript_ref": None}
    assert trace["workflow_id"] == "composition_candidate"
    about = {"run_id": run["run_id"], "ok": False, "failure_category": "child_tool_error"}
    counted = {"source_kind": "composition_run", "composition_schema_version": 1, "child_count": 2}
    assert trace["metadata"] == counted | hashes | ceiling | about
    parent, read, send = trace["actions"]
    assert parent["inputs"] == parent["parameters"] == {"language": "snippet/1"} | hashes | ceiling
    assert parent["metadata"] == {"source_kind": "composition_parent_run"} | about
    assert (read["kind"], read["name"], read["output"]) == (
        "tool_call",
        "read.file",
        read["observed_output"],
    )
    assert send["metadata"] == {
        "source_kind": "composition_child_call",
        "composition_run_id": run["run_id"],
        "composition_tool_call_id": f"{run['run_id']}:1",
        "requested_side_effect_level": "read_only",
        "annotations": found["child_calls"][1]["annotations"],
        "policy_context": found["child_calls"][1]["policy_context"],
        "status": "failed",
        "error_category": "permission_denied",
    }

    replayed = trace["replay_run"]
    assert replayed["event_log_entries"] == agent_events(found, run["run_id"])
    first, *others = replayed["effect_receipts"]
    parents = {"kind": "composition_parent", "composition_schema_version": 1, "result": None, "stdout": None}
    assert first == parents | hashes | ceiling | about
    call = {"run_id": run["run_id"], "operation_index": 1, "tool_name": "send"}
    named = {"tool_call_id": f"{run['run_id']}:1", "requested_side_effect_level": "read_only"}
    assert [each["kind"] for each in others] == ["composition_child"] * 2
    ended = {"status": "failed", "error_category": "permission_denied", "input": {"to": "b"}, "output": None}
    assert others[1] == {"kind": "composition_child"} | call | named | ended
    decided = {"disposition": "gated", "reason": found["child_calls"][1]["policy_context"]["reason"]}
    kind = {"kind": "composition_child_policy", "ceiling": "read_only"}
    assert replayed["policy_decisions"][1] == kind | call | named | decided
    assert replayed["policy_decisions"][0]["disposition"] == "allowed"
    own = ("/run_id", "/effect_receipts/*/run_id", "/effect_receipts/*/tool_call_id")
    theirs = ("/policy_decisions/*/run_id", "/policy_decisions/*/tool_call_id")
    assert {*own, *theirs} <= {each["path"] for each in trace["replay_allowlist"]}


async def test_what_is_no_object_is_a_parameter_of_a_trace_all_the_same(home: Home) -> None:
    async with lived(home, "return read_file(path='secret')", Library()) as life:
        events = await home.events(life.run)
    told = Compositions().initial(life.run)
    for event in events:
        asks = event.type == "tool.requested"
        told = Compositions().erased(told, event) if asks else fold_one(told, event)
    action = composition_trace(report(told, OP))["actions"][1]
    assert (action["inputs"], action["parameters"]) == (None, {"value": None})


async def test_side_effects_follow_from_what_a_tool_declares_or_are_not_known(home: Home) -> None:
    tools = [
        {
            "name": "save",
            "annotations": {
                "kind": "edit",
                "side_effect_level": "workspace_write",
                "capabilities": {"files": ["write"]},
                "path_params": ["path"],
            },
        },
        {"name": "odd"},
        {"name": "look", "annotations": READS},
    ]
    options = ManifestOptions(side_effect_ceiling="workspace_write", vouched_tools=["odd"])
    manifest = build_manifest(tools, options)
    snippet = "save(path='a.txt')\nodd()\nreturn look()"
    host = StaticHost({"save": None, "odd": None, "look": None})
    found = await reported(home, snippet, host, manifest=manifest, ceiling="workspace_write")
    trace = composition_trace(found)
    save, odd, look = trace["actions"][1:]
    assert save["side_effects"] == [
        {
            "kind": "workspace_write",
            "target": "a.txt",
            "capability": "files.write",
            "mutation": "edit",
            "metadata": {"external": False},
        }
    ]
    assert (odd["side_effects"], odd["side_effects_known"]) == ([], False)
    assert (look["side_effects"], look["side_effects_known"]) == ([], True)
    assert trace["actions"][0]["capabilities"] == ["files.write"]


async def test_two_runs_of_one_composition_differ_in_nothing_but_what_their_traces_allow(home: Home) -> None:
    traces = [composition_trace(await reported(home, MANY, Library())) for _ in range(2)]
    first, second = (trace["replay_run"] for trace in traces)
    allowed = [each["path"].split("/")[1:] for each in traces[0]["replay_allowlist"]]
    assert all(each["reason"] for each in traces[0]["replay_allowlist"])
    found = sorted({tuple(path) for path in differing(first, second, [])})
    assert found  # they are two runs
    for path in found:
        assert any(fits(pattern, path) for pattern in allowed), path


def differing(one: Any, other: Any, path: list[str]) -> list[list[str]]:
    """The places where two plain values differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differing(one[key], other[key], [*path, str(key)])]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for n, (a, b) in pairs for found in differing(a, b, [*path, str(n)])]
    return [] if one == other else [path]


def fits(pattern: list[str], path: tuple[str, ...]) -> bool:
    same = zip(pattern, path, strict=False)
    return len(pattern) == len(path) and all(wanted in ("*", part) for wanted, part in same)
