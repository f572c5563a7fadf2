"""Traces are read out of JSON files, or refused with the file, what was found and what was expected."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead import CallableHost, Engine, ManifestOptions, build_manifest, compose, persona
from playhead.errors import BadValue, NotFound
from playhead.log.reader import LogReader
from playhead_projections.compositions.fold import Compositions
from playhead_projections.compositions.report import report
from playhead_projections.compositions.trace import composition_trace
from playhead_projections.crystallization.plans import effects_told
from playhead_projections.crystallization.reading import FILE_BYTES_MAX, read_traces
from playhead_projections.crystallization.shadow import line_of
from playhead_projections.projector import state_at
from playhead_projections.trace import Trace, Traces, trace_of

CALL = {"kind": "tool_call", "name": "search", "inputs": {"query": "x"}, "output": [1]}


def put(directory: Path, name: str, body: Any) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


def one(directory: Path, **body: Any) -> Trace:
    put(directory, "t.json", {"actions": [], **body})
    (trace,) = read_traces(directory)
    return trace


def test_every_json_file_below_is_read_sorted_by_path(tmp_path: Path) -> None:
    for name in ("b.json", "a/z.json", "a.json", "c.txt"):
        put(tmp_path, name, {"actions": [CALL]})

    assert [trace.source for trace in read_traces(tmp_path)] == ["a.json", "a/z.json", "b.json"]


def test_what_is_absent_is_filled_in(tmp_path: Path) -> None:
    path = put(tmp_path, "deep/t.json", {"actions": [{"id": " "}, {"kind": "model_call"}]})

    (trace,) = read_traces(tmp_path)

    assert (trace.id, trace.version, trace.source) == ("deep/t", 1, "deep/t.json")
    assert trace.source_hash == f"sha256:{sha256(path.read_bytes()).hexdigest()}"
    first, second = trace.actions
    assert (first.id, first.kind, first.name) == ("action_0", "action", "action")
    assert (second.name, second.fuzzy) == ("model_call", True)
    assert second.cost is not None
    assert second.cost.model_calls == 1


def test_version_0_is_lifted_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    assert one(tmp_path, version=0).version == 1
    for version in (2, True, "1"):
        with pytest.raises(BadValue, match="has version"):
            one(tmp_path, version=version)


def test_the_names_of_others_are_read(tmp_path: Path) -> None:
    action = CALL | {
        "output": None,
        "observed_output": {"n": 1},
        "timestamp": "2026-01-02T03:04:05.5Z",
        "cost": {"total_cost_usd": 0.0000025, "model_calls": 2},
    }
    trace = one(tmp_path, workflow_id="w", started_at="2026-01-02T03:04:05+01:00", actions=[action])

    assert trace.workflow == "w"
    assert trace.started == 1_767_319_445_000_000_000
    (read,) = trace.actions
    assert read.output == {"n": 1}
    assert read.at == 1_767_323_045_500_000_000
    assert read.cost is not None
    assert read.cost.cost_micros == 2  # half to even


def test_a_member_that_nobody_knows_is_kept(tmp_path: Path) -> None:
    trace = one(tmp_path, replay_run={"run_id": "r"}, actions=[CALL | {"colour": "red"}])

    assert trace.metadata["more"] == {"replay_run": {"run_id": "r"}}
    assert trace.actions[0].metadata["more"] == {"colour": "red"}


def test_lists_are_sorted_and_hold_everything_once(tmp_path: Path) -> None:
    effect = {"kind": "file", "target": "a", "mutation": "write"}
    action = CALL | {
        "capabilities": ["b", "a", "b", " "],
        "side_effects": [effect | {"target": "b"}, effect, effect],
    }

    (read,) = one(tmp_path, actions=[action]).actions

    assert read.capabilities == ("a", "b")
    assert [each.target for each in read.side_effects] == ["a", "b"]


def test_usage_is_summed_where_it_is_empty_and_unknown_where_nothing_is_known(tmp_path: Path) -> None:
    model = {"kind": "model_call"}
    known = one(tmp_path, actions=[model, model | {"cost": {"input_tokens": 5}}]).usage
    given = one(tmp_path, usage={"model_calls": 9}, actions=[model]).usage

    assert known == {"model_calls": 2, "input_tokens": 5, "output_tokens": None, "cost_micros": None}
    assert given == {"model_calls": 9}


@pytest.mark.parametrize(
    ("said", "known", "kinds"),
    [
        ({"level": "read_only"}, True, []),
        ({"effect": "pure"}, True, []),
        ({"level": "network"}, True, ["network"]),
        ({"metadata": {"annotations": {"side_effect_level": "workspace_write"}}}, True, ["workspace_write"]),
        ({"side_effects": [{"kind": "mail"}]}, True, ["mail"]),
        ({"side_effects": [{"kind": "mail", "target": None, "to": "x"}]}, True, ["mail"]),
        ({"metadata": {"requested_side_effect_level": "network"}}, True, ["network"]),
        ({"side_effects": []}, False, []),
        ({"level": "network", "side_effects_known": False}, False, []),
        ({"level": "who knows"}, False, []),
        ({}, False, []),
    ],
)
def test_effects_are_known_where_something_says_so(
    tmp_path: Path, said: dict[str, Any], known: bool, kinds: list[str]
) -> None:
    (action,) = one(tmp_path, actions=[CALL | said]).actions

    assert (action.side_effects_known, [each.kind for each in action.side_effects]) == (known, kinds)


def test_parameters_that_are_no_object_stand_in_one(tmp_path: Path) -> None:
    (action,) = one(tmp_path, actions=[CALL | {"parameters": [1], "inputs": "x"}]).actions

    assert (action.parameters, action.inputs) == ({"value": [1]}, {"value": "x"})


def test_a_source_says_nothing_of_the_machine(tmp_path: Path) -> None:
    for said, kept in (
        ("/secret/place/t.json", "t.json"),
        ("C:\\x\\t.json", "t.json"),
        ("file:///srv/ada/t.json", "t.json"),
        ("../../srv/ada/t.json", "t.json"),
        ("runs/t", "runs/t"),
        ("runs/t..x", "runs/t..x"),
    ):
        assert one(tmp_path, source=said).source == kept


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "t.json: is no JSON"),
        ("[1]", "t.json: is no trace: it has no actions"),
        ({"stages": []}, "t.json: is no trace"),
        ({"actions": {}}, "`actions` is no list"),
        ({"actions": [3]}, "action 0 is no object"),
        ({"actions": [CALL, {"name": 3}]}, "name of action 1 is no text"),
        ({"actions": [CALL | {"capabilities": "x"}]}, "capabilities of action 0"),
        ({"actions": [CALL | {"side_effects": "x"}]}, "side_effects of action 0"),
        ({"actions": [CALL | {"side_effects": ["x"]}]}, "side_effects of action 0"),
        ({"actions": [CALL | {"status": "fine"}]}, "action 0 cannot be read"),
        ({"actions": [CALL | {"timestamp": "yesterday"}]}, "time of action 0"),
        ({"actions": [CALL | {"timestamp": "2026-01-02T03:04:05"}]}, "time of action 0"),
        ({"actions": [CALL | {"cost": {"input_tokens": -1}}]}, "input_tokens of action 0"),
        ({"actions": [CALL | {"cost": {"total_cost_usd": "much"}}]}, "total_cost_usd of action 0"),
        ({"actions": [CALL | {"cost": {"total_cost_usd": "1e999999999"}}]}, "total_cost_usd of action 0"),
        ({"actions": [CALL | {"cost": {"total_cost_usd": "1e9999999"}}]}, "total_cost_usd of action 0"),
        ({"actions": [CALL | {"cost": {"total_cost_usd": -1}}]}, "total_cost_usd of action 0"),
        ('{"actions": [], "id": "a", "id": "b"}', "an object has the member 'id' twice"),
        ({"actions": [CALL | {"at": 1, "timestamp": 2}]}, "has both timestamp and at"),
        ('{"actions": [{"inputs": {"n": NaN}}]}', "finite"),
        ('{"actions": [{"inputs": {"n": 36893488147419103232}}]}', "64 bits"),
        ('{"actions": [{"inputs": {"n": "\\ud800"}}]}', "surrogate"),
        ("[" * 100_000, "t.json: is no JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_file(tmp_path: Path, body: Any, said: str) -> None:
    put(tmp_path, "t.json", body)

    with pytest.raises(BadValue) as told:
        read_traces(tmp_path)

    assert said in told.value.message
    assert told.value.message.startswith("t.json: ")
    assert told.value.message.count("t.json") == 1
    assert told.value.expected
    assert told.value.found


def refused(directory: Path) -> str:
    with pytest.raises(BadValue) as told:
        read_traces(directory)
    return told.value.message


def test_a_file_whose_name_is_no_utf_8_is_refused_by_a_name_that_can_be_printed(tmp_path: Path) -> None:
    try:
        put(tmp_path, os.fsdecode(b"\xffp.json"), {"actions": []})
    except OSError:
        pytest.skip("this file system has no such names")

    assert refused(tmp_path) == "\\udcffp.json: has a name that is no UTF-8."


def test_a_name_with_a_line_end_stays_on_its_line(tmp_path: Path) -> None:
    put(tmp_path, "a\nok.json", {})

    assert refused(tmp_path).startswith("a\\nok.json: is no trace")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "t.json").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)

    assert refused(tmp_path) == f"t.json: is larger than {FILE_BYTES_MAX} bytes."


def test_links_are_followed_inside_of_the_directory_only(tmp_path: Path) -> None:
    inside = tmp_path / "traces"
    put(inside, "a.json", {"actions": []})
    put(tmp_path, "elsewhere/b.json", {"actions": []})
    (inside / "same.json").symlink_to("a.json")
    (inside / "folder").symlink_to(tmp_path / "elsewhere")
    assert [trace.source for trace in read_traces(inside)] == ["a.json", "same.json"]

    (inside / "b.json").symlink_to(tmp_path / "elsewhere" / "b.json")
    (inside / "c.json").symlink_to("nowhere.json")

    assert refused(inside) == (
        "b.json: is a link that leads out of the directory; c.json: is a link that leads to no file."
    )


def test_every_file_that_is_no_trace_is_named_at_once(tmp_path: Path) -> None:
    for name in "abc":
        put(tmp_path, f"{name}.json", {} if name != "b" else {"actions": []})

    with pytest.raises(BadValue, match=r"a\.json: .*; c\.json: "):
        read_traces(tmp_path)


def test_two_traces_with_one_id_are_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        put(tmp_path, name, {"id": "t", "actions": []})

    with pytest.raises(BadValue, match=r"b\.json: has the id of a\.json, 't'"):
        read_traces(tmp_path)


def test_a_directory_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_traces(tmp_path / "nowhere")


def test_a_trace_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    trace = one(
        tmp_path, actions=[CALL | {"approval": {"required": True, "prompt": "?"}, "level": "network"}]
    )
    put(tmp_path, "t.json", msgspec.json.encode(trace).decode())

    assert read_traces(tmp_path) == [trace]


SNIPPET = """
found = look_up(word="a")
try:
    publish(text="b")
except ToolError:
    pass
return publish(text=found["more"])
"""
NOTED = {"kind": "edit", "side_effect_level": "workspace_write", "capabilities": {"notes": ["write"]}}
TOOLS = build_manifest(
    [
        {"name": "look.up", "annotations": {"kind": "read", "side_effect_level": "read_only"}},
        {"name": "publish", "annotations": NOTED},
    ],
    ManifestOptions(side_effect_ceiling="workspace_write"),
)


def answer(binding: str, given: dict[str, Any]) -> Any:
    if given.get("text") == "b":
        raise ValueError("not this one")
    return {"more": given["word"] * 2} if binding == "look_up" else len(given["text"])


async def test_the_trace_of_a_composition_is_read_as_its_run_tells_it(tmp_path: Path) -> None:
    @persona
    async def composes() -> None:
        (await compose(SNIPPET, TOOLS, CallableHost(answer), ceiling="workspace_write")).value()

    path = tmp_path / "runs.db"
    async with Engine.open(path, personas=[composes]) as engine:
        run = await engine.start(composes)
        await run.result()
    with LogReader(path) as log:
        told = state_at(log, Compositions(), f"run/{run.id}").state
        of_run = trace_of(state_at(log, Traces(), f"run/{run.id}").state)
    whole = composition_trace(report(told, "0/compose#0"))
    put(tmp_path, "t.json", {"schema": "playhead.composition_trace/1", **whole})

    (read,) = read_traces(tmp_path)

    parent, *calls = read.actions
    assert (parent.kind, parent.output) == ("composition_run", 2)
    assert [action.status for action in calls] == ["completed", "failed", "completed"]
    assert len(calls) == len(of_run.actions)
    for mine, other in zip(calls, of_run.actions, strict=True):
        assert (mine.kind, mine.name, mine.inputs, mine.output) == (
            other.kind,
            other.name,
            other.inputs,
            other.output,
        )
        assert (mine.level, mine.capabilities) == (other.level, other.capabilities)
        assert effects_told(mine) == effects_told(other)
    assert line_of(read, tools_only=False).actions == tuple(calls)
