"""Traces, one test for each rule: what is an action, in which order, and what is known of it."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead import CallableHost, Engine, build_manifest, compose, model_call, persona, signal, step, tool
from playhead.errors import RunError
from playhead.events import catalog as facts
from playhead.events.redaction import PREFIX
from playhead.log.reader import LogReader
from playhead.policy.capability import Policy
from playhead.runtime.model import Request
from playhead.runtime.persona import Persona
from playhead_projections.projection import fold
from playhead_projections.projector import ReadModels, state_at
from playhead_projections.trace import Action, Trace, Traces, document, trace_of
from tests.projections.recorded import Model, fetch, publish, started, write


@tool(side_effect_level="read_only")
async def look(name: str, token: str = "") -> dict[str, Any]:
    await asyncio.sleep(0.01 if name == "slow" else 0)
    return {"name": name, "size": len(name), "token": token}


@step
async def inner() -> str:
    return (await model_call(Request(prompt="licence?", model="tiny-large"))).text


@step
async def outer() -> str:
    await asyncio.gather(look("slow"), look("b"))
    return await inner()


@persona
async def child(n: int) -> int:
    return await fetch(n)


@persona
async def everything() -> str:
    await outer()
    answer: str = await signal("approve", str)
    return await publish(answer)


SNIPPET = """
found = look_up(word="a")
rest = map_bounded(found["more"], lambda word: look_up(word=word), concurrency=2)
return rest["succeeded"]
"""
READS = {"kind": "read", "side_effect_level": "read_only", "capabilities": {"words": ["read", "list"]}}
WORDS = build_manifest([{"name": "look.up", "annotations": READS, "outputSchema": {"type": "object"}}])


@persona
async def composed() -> int:
    more = CallableHost(lambda binding, given: {"more": [given["word"] * n for n in (2, 3)]})
    found: int = (await compose(SNIPPET, WORDS, more)).value()
    return found


@persona(policy=Policy(tools=["fetch"]))
async def forbidden() -> int:
    try:
        await look("a")
    except Exception:  # noqa: BLE001  whatever it is told
        return await fetch(1)
    return 0


@persona
async def fails() -> None:
    await model_call(Request(prompt="fail"))


@persona
async def hands_on() -> int:
    from playhead import child_run

    return await child_run(child, 3)


ALL: list[Persona[..., Any]] = [everything, child, composed, forbidden, fails, hands_on]


def traced(path: Path, program: Any, *, secrets: Any = (), tell: Any = None) -> Trace:
    async def live() -> str:
        async with Engine.open(path, personas=ALL, model=Model(), secrets=secrets) as engine:
            run = await engine.start(program)
            if tell is not None:
                await run.signal(*tell)
            with contextlib.suppress(RunError):
                await run.result()
            return run.id

    run = asyncio.run(live())
    with LogReader(path) as log:
        recorded = state_at(log, Traces(), f"run/{run}").state
        assert recorded == fold(Traces(), run, log.scan(f"run/{run}")).state
    trace = trace_of(recorded)
    assert msgspec.convert(msgspec.to_builtins(trace), Trace) == trace
    return trace


def named(trace: Trace) -> list[tuple[str, str]]:
    return [(action.kind, action.name) for action in trace.actions]


def test_actions_stand_in_the_order_in_which_the_program_asked(tmp_path: Path) -> None:
    trace = traced(tmp_path / "runs.db", everything, tell=("approve", "yes"))

    assert named(trace) == [
        ("tool_call", "look"),
        ("tool_call", "look"),
        ("model_call", "tiny"),
        ("signal", "approve"),
        ("tool_call", "publish"),
    ]
    slow, quick, *_ = trace.actions
    assert [slow.inputs["name"], quick.inputs["name"]] == ["slow", "b"]
    assert slow.metadata["ended_seq"] > quick.metadata["ended_seq"]
    assert slow.metadata["seq"] < quick.metadata["seq"]
    assert (trace.workflow, trace.status, trace.source) == ("everything", "completed", f"run/{trace.id}")


def test_an_action_says_what_went_in_and_out_and_in_which_step(tmp_path: Path) -> None:
    look_, _, model, answer, effect = traced(
        tmp_path / "runs.db", everything, tell=("approve", "yes")
    ).actions

    assert look_.inputs == {"name": "slow", "token": ""}
    assert look_.output == {"name": "slow", "size": 4, "token": ""}
    assert look_.metadata["steps"] == ["outer"]
    assert model.metadata["steps"] == ["inner", "outer"]
    assert model.inputs["prompt"] == "licence?"
    assert model.output["text"] == "fine"
    assert model.cost is not None
    assert (model.cost.input_tokens, model.cost.cost_micros, model.cost.model) == (300, 1210, "tiny-1")
    assert answer.output == "yes"
    assert effect.output == "YES"
    assert effect.duration_ms is not None


def test_what_a_tool_may_do_is_told_by_its_effect_class(tmp_path: Path) -> None:
    look_, _, model, _, effect = traced(tmp_path / "runs.db", everything, tell=("approve", "yes")).actions

    assert (look_.effect, look_.side_effects, look_.side_effects_known) == ("read_only", (), True)
    assert [(each.target, each.mutation) for each in effect.side_effects] == [("publish", "effect")]
    assert not effect.side_effects_known
    assert (model.fuzzy, model.deterministic) == (True, False)


def test_calls_of_a_composition_are_actions_that_say_which_one(tmp_path: Path) -> None:
    trace = traced(tmp_path / "runs.db", composed)

    assert named(trace) == [("tool_call", "look.up")] * 3
    assert [action.inputs["word"] for action in trace.actions] == ["a", "aa", "aaa"]
    assert {action.metadata["composition"] for action in trace.actions} == {"0/compose#0"}
    assert [action.metadata["binding"] for action in trace.actions] == ["look_up"] * 3
    assert [action.metadata.get("path") for action in trace.actions] == [None, [0], [1]]


def test_a_call_of_a_composition_says_what_its_manifest_does(tmp_path: Path) -> None:
    trace = traced(tmp_path / "runs.db", composed)

    assert {(action.level, action.capabilities) for action in trace.actions} == {
        ("read_only", ("words.list", "words.read"))
    }
    assert trace.tools["look.up"]["output_schema"] == {"type": "object"}


def test_a_call_that_was_not_allowed_is_denied_and_says_why(tmp_path: Path) -> None:
    denied, allowed = traced(tmp_path / "runs.db", forbidden).actions

    assert (denied.status, denied.name, denied.told) == ("denied", "look", False)
    assert denied.error
    assert allowed.told


def test_a_failure_is_told(tmp_path: Path) -> None:
    trace = traced(tmp_path / "runs.db", fails)

    assert [(action.status, action.error) for action in trace.actions] == [
        ("failed", "ConnectionError: the model is away")
    ]
    assert trace.usage["input_tokens"] is None
    assert trace.status == "failed"


def test_a_child_run_is_one_action_of_its_parent(tmp_path: Path) -> None:
    (action,) = traced(tmp_path / "runs.db", hands_on).actions

    assert (action.kind, action.name, action.inputs, action.output) == ("child_run", "child", {"n": 3}, 3)
    assert len(action.metadata["run"]) == 12


def test_what_the_log_redacted_stays_so(tmp_path: Path) -> None:
    trace = traced(tmp_path / "runs.db", everything, secrets=["token"], tell=("approve", "yes"))

    look_ = trace.actions[0]
    assert look_.inputs["token"].startswith(PREFIX)
    assert look_.output["token"].startswith(PREFIX)
    assert look_.required_secrets == ("token",)


def test_a_signal_that_came_before_its_wait_answers_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    sent = facts.SignalReceived(signal="go", value=msgspec.Raw(b"\x07"), message=1)
    write(path, "r1", started(), ("", sent), ("go#0", facts.WaitStarted(signal="go")))

    with LogReader(path) as log:
        trace = trace_of(state_at(log, Traces(), "run/r1").state)

    assert [(action.status, action.output) for action in trace.actions] == [("completed", 7)]


def test_what_was_erased_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    request = facts.ToolRequested(tool="look", args=msgspec.Raw(b"\x80"), effect="read_only")
    write(
        path,
        "r1",
        started(),
        ("look#0", request),
        ("look#0", facts.ToolCompleted(result=msgspec.Raw(b"\x01"))),
    )

    def with_erased(seq: int) -> Action:
        with LogReader(path) as log:
            events = [
                event._replace(payload=None, salt=None) if event.seq == seq else event
                for event in log.scan("run/r1")
            ]
        recorded = fold(Traces(), "r1", events).state
        assert recorded.erased == 1
        (action,) = trace_of(recorded).actions
        return action

    assert with_erased(1).erased == ("inputs",)
    assert with_erased(1).name == "look"
    assert not with_erased(1).side_effects_known
    assert with_erased(2).erased == ("output",)
    assert not with_erased(2).told


def test_an_operation_without_an_outcome_is_open_or_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    request = facts.ToolRequested(tool="send", args=msgspec.Raw(b"\x80"), effect="effect")
    write(
        path,
        "r1",
        started(),
        ("send#0", request),
        ("send#0", facts.OperationOutcomeUnknown(attempt=1)),
        ("send#0", facts.AttemptStarted(attempt=2, reason="resolution")),
    )

    def status(seq: int) -> str:
        with LogReader(path) as log:
            return trace_of(state_at(log, Traces(), "run/r1", seq).state).actions[0].status

    assert [status(seq) for seq in (1, 2, 3)] == ["open", "in_doubt", "open"]


def test_a_trace_can_be_kept_as_a_read_model(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    trace = traced(path, composed)

    with LogReader(path) as log, ReadModels.open(path, [Traces()]) as models:
        models.catch_up(log)
        kept = models.get(Traces(), trace.id)
        assert kept is not None

    assert trace_of(kept) == trace
    assert document(kept)["schema"] == "playhead.trace/1"


@pytest.mark.parametrize("seq", [0, 4])
def test_a_trace_is_told_as_of_any_event(tmp_path: Path, seq: int) -> None:
    path = tmp_path / "runs.db"
    trace = traced(path, composed)

    with LogReader(path) as log:
        then = trace_of(state_at(log, Traces(), f"run/{trace.id}", seq).state)

    assert len(then.actions) == (seq > 3)
    assert then.source_hash != trace.source_hash
