"""Spans of a run: in the shape of OTLP, the same every time, and nothing in them that was not asked for."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from playhead import (
    Autonomy,
    Edits,
    Engine,
    Policy,
    Reply,
    Request,
    Retry,
    Usage,
    attempt,
    child_run,
    model_call,
    persona,
    signal,
    step,
    tool,
)
from playhead.clock import SystemClock
from playhead.errors import NotFound
from playhead.events.erasing import MARK
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import import_lines
from playhead_projections.otlp import SCHEMA_URL, SPANS_MAX, documents, span_id, trace_id
from tests.checkout import ROOT
from tests.evidence.making import attested
from tests.long_run import recorded
from tests.projections.otlp_shape import TRACES, plain, spans_of

FIRST = ROOT / "replay_fixtures" / "0001-first-format-a-run-that-was-killed-and-resumed.jsonl"
GOLDEN = Path(__file__).with_name("spans_of_the_first_fixture.jsonl")


class Tiny:
    name = "tiny"

    async def complete(self, request: Any) -> Reply:
        usage = Usage(input_tokens=11, output_tokens=5, cache_read_tokens=3)
        return Reply(text="reply-secret", model="tiny-1", usage=usage, cost_micros=9)


@tool(side_effect_level="read_only", retry=Retry(max_attempts=2, first_wait_s=0.001))
async def flaky(text: str) -> str:
    if attempt().number == 1:
        raise ConnectionError("not now")
    return "result-secret"


@tool(side_effect_level="network")
async def send(text: str) -> str:
    return "sent"


@step
async def think(text: str) -> str:
    await flaky(text)
    request = Request(prompt="prompt-secret", system="system-secret", max_output_tokens=50, temperature=0.5)
    return (await model_call(request)).text


@persona
async def helper(text: str) -> str:
    return text


@persona
async def writer(text: str) -> str:
    await think(text)
    await child_run(helper, "child-secret")
    return "done"


@persona
async def failing(text: str) -> str:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise RuntimeError("outer") from error


@persona
async def waiting() -> str:
    word: str = await signal("go", str)
    return word


@persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval", reviewers=["ada"])))
async def asking(text: str) -> str:
    return await send(text)


async def live(path: Path, what: Any, *arguments: Any, answer: bool = False) -> str:
    personas: list[Any] = [helper, writer, failing, waiting, asking]
    async with Engine.open(path, personas=personas, model=Tiny(), suspend_after_s=0.01) as engine:
        run = await engine.start(what, *arguments)
        if answer:
            while not (asked := await engine.requests(run.id)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await engine.answer(run.id, asked[0].request, "approve", reviewer="ada")
        if what is waiting:
            while (await engine.store.head(f"run/{run.id}")).status != "suspended":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return run.id
        await engine.ending(run.id)
        return run.id


def exported(path: Path, run: str, **options: Any) -> list[dict[str, Any]]:
    with LogReader(path) as log:
        return list(documents(log, run, **options))


def named(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [span for span in spans if span["name"] == name]
    return found


async def test_a_run_its_steps_and_its_operations_are_nested_spans(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, writer, "argument-secret")

    found = exported(path, run)
    spans = spans_of(found)
    tree = {span["spanId"]: span["name"] for span in spans}
    nested = {(tree.get(span.get("parentSpanId", "")), span["name"]) for span in spans}

    assert found[0]["resourceSpans"][0]["schemaUrl"] == SCHEMA_URL
    assert {span["traceId"] for span in spans} == {trace_id(run)}
    assert nested == {
        (None, "invoke_agent writer"),
        ("invoke_agent writer", "step think"),
        ("step think", "execute_tool flaky"),
        ("step think", "chat tiny"),
        ("invoke_agent writer", "invoke_agent helper"),
    }


async def test_a_model_call_has_the_names_of_the_convention(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, writer, "argument-secret")

    span = named(spans_of(exported(path, run)), "chat tiny")
    told = plain(span)

    assert span["kind"] == 3
    assert span["status"] == {"code": 1}
    assert told | {"playhead.seq": 0, "playhead.ended_seq": 0} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "tiny",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.model": "tiny-1",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "playhead.cost_micros": 9,
        "playhead.run": run,
        "playhead.op": "0/think#0/tiny#0",
        "playhead.seq": 0,
        "playhead.ended_seq": 0,
        "playhead.kind": "model",
        "playhead.status": "completed",
    }


async def test_what_was_said_is_only_there_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, writer, "argument-secret")

    without = json.dumps(exported(path, run))
    spans = spans_of(exported(path, run, content=True))

    assert "secret" not in without
    model, call = plain(named(spans, "chat tiny")), plain(named(spans, "execute_tool flaky"))
    assert json.loads(model["gen_ai.input.messages"])[0]["parts"][0]["content"] == "prompt-secret"
    assert json.loads(model["gen_ai.output.messages"])[0]["parts"][0]["content"] == "reply-secret"
    assert "system-secret" in model["gen_ai.system_instructions"]
    assert json.loads(call["gen_ai.tool.call.arguments"]) == {"text": "argument-secret"}
    assert json.loads(call["gen_ai.tool.call.result"]) == "result-secret"


async def test_a_retry_is_an_exception_and_an_attempt_on_one_span(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, writer, "x")

    span = named(spans_of(exported(path, run)), "execute_tool flaky")

    assert [event["name"] for event in span["events"]] == ["exception", "playhead.attempt"]
    assert plain(span["events"][0])["exception.type"] == "ConnectionError"
    assert plain(span)["playhead.attempts"] == 2
    assert span["status"] == {"code": 1}


async def test_a_failed_run_says_with_what_and_why(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, failing, "x")

    (root,) = spans_of(exported(path, run))

    assert root["status"] == {"code": 2, "message": "outer"}
    assert plain(root)["error.type"] == "RuntimeError"
    (event,) = root["events"]
    assert plain(event)["exception.message"] == "outer"
    assert plain(event)["playhead.causes"] == "KeyError: 'inner'"


async def test_a_child_and_its_parent_name_each_other(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, writer, "x")

    call = named(spans_of(exported(path, run)), "invoke_agent helper")
    with LogReader(path) as log:
        (child,) = [name.partition("/")[2] for name in log.streams("run") if name != f"run/{run}"]
    (root,) = spans_of(exported(path, child))

    assert [(link["traceId"], link["spanId"]) for link in call["links"]] == [
        (trace_id(child), root["spanId"])
    ]
    assert [(link["traceId"], link["spanId"]) for link in root["links"]] == [(trace_id(run), call["spanId"])]


async def test_a_fork_names_what_it_was_made_from_and_which_spans_it_has_from_there(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, writer, "x")
    with LogReader(path) as log:
        (asked,) = [event.seq for event in log.scan(f"run/{run}") if event.type == "child.requested"]
    async with Engine.open(path, personas=[writer, helper], model=Tiny()) as engine:
        fork = await engine.fork(run, at=asked, allow=["all"])
        await engine.ending(fork.id)
    root, *spans = spans_of(exported(path, fork.id))
    told = {span["name"]: plain(span).get("playhead.copied") for span in spans}

    (link,) = root["links"]
    assert (link["traceId"], link["spanId"]) == (trace_id(run), span_id(run))
    assert plain(link)["playhead.link"] == "forked from"
    assert plain(root)["playhead.forked_from"] == f"{run}@{asked}"
    assert set(told.values()) == {True, None}, told
    assert told["invoke_agent helper"] is None
    assert all("playhead.copied" not in plain(span) for span in spans_of(exported(path, run)))


@tool
async def lays_down(text: str) -> str:
    return text


@persona
async def files_away(first: str) -> list[str]:
    return [await lays_down(first), await lays_down("second"), await lays_down("third")]


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"at": 5}, [True, True, False]),
        ({"edits": Edits(args={"first": "edited"})}, [False, True, True]),
    ],
)
async def test_what_a_fork_was_told_did_not_happen_in_it(
    tmp_path: Path, wish: dict[str, Any], told: list[bool]
) -> None:
    path = tmp_path / "runs.db"
    async with Engine.open(path, personas=[files_away]) as engine:
        run = await engine.start(files_away, "first")
        await run.result()
        fork = await engine.fork(run.id, allow=["all"], **wish)
        await fork.result()

    spans = [span for span in spans_of(exported(path, fork.id)) if "lays_down" in span["name"]]
    calls = attested(path, fork.id)["side_effects"]["tool_calls"]

    assert [plain(span).get("playhead.copied", False) for span in spans] == told
    assert [call["metadata"].get("copied", False) for call in calls] == told


async def test_an_approval_is_a_span_with_who_answered(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, asking, "x", answer=True)

    spans = spans_of(exported(path, run))
    (span,) = [span for span in spans if plain(span).get("playhead.kind") == "approval"]

    (answer,) = [event for event in span["events"] if event["name"] == "playhead.answer"]
    assert plain(answer) == {"playhead.word": "approve", "playhead.reviewer": "ada"}
    root = spans[0]
    assert any(event["name"] == "playhead.autonomy" for s in spans for event in s["events"])
    assert {"playhead.run_suspended", "playhead.run_resumed"} >= {e["name"] for e in root["events"]} - {
        "playhead.autonomy"
    }


async def test_what_is_not_over_ends_at_the_newest_event_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, waiting)

    spans = spans_of(exported(path, run))

    assert plain(spans[0])["playhead.status"] == "suspended"
    assert plain(spans[1])["playhead.status"] == "open"
    assert [span["status"] for span in spans] == [{}, {}]
    assert spans[1]["endTimeUnixNano"] == spans[0]["endTimeUnixNano"]


async def test_erased_and_unknown_events_leave_their_spans(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await live(path, writer, "argument-secret")
    personas: list[Any] = [helper, writer]
    async with Engine.open(path, personas=personas, model=Tiny()) as engine:
        for event in await engine.store.read(f"run/{run}"):
            if event.type in ("tool.requested", "model.called", "model.answered", "step.started"):
                await engine.redact(run, event.seq, reason="test")
        head = await engine.store.head(f"run/{run}")
        future = NewEvent("moon.landed", 9, 5, "0/think#0", None, b"\x80")
        await engine.store.append(f"run/{run}", head.seq, [future], epoch=head.epoch)

    spans = spans_of(exported(path, run, content=True))

    assert len(spans) == 5
    assert plain(spans[0])["playhead.events.erased"] >= 4
    assert "prompt-secret" not in json.dumps(spans)


@persona
async def talks() -> str:
    return (await model_call(Request(prompt="and now?", messages=[{"role": "user", "content": "ada"}]))).text


async def test_messages_that_were_erased_are_one_mark(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with Engine.open(path, personas=[talks], model=Tiny()) as engine:
        run = await engine.start(talks)
        await engine.ending(run.id)
        (asked,) = [e.seq for e in await engine.store.read(f"run/{run.id}") if e.type == "model.called"]
        await engine.redact(run.id, asked, "/request/messages", reason="asked to")

    (model,) = [span for span in spans_of(exported(path, run.id, content=True)) if "chat" in span["name"]]
    first, second = json.loads(plain(model)["gen_ai.input.messages"])
    assert first == MARK
    assert second["parts"][0]["content"] == "and now?"


async def test_nobody_who_is_not_there_is_exported(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await live(path, failing, "x")

    with pytest.raises(NotFound):
        exported(path, "nobody")


async def test_the_first_fixture_gives_the_spans_that_it_always_gave(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with SqliteStore.open(path, clock=SystemClock()) as store:
        await store.graft(import_lines(FIRST.read_bytes().splitlines(keepends=True)))
    with LogReader(path) as log:
        runs = [name.partition("/")[2] for name in log.streams("run")]

    made = [document for run in runs for document in exported(path, run, content=True)]
    for document in made:
        spans_of([document])

    assert made == [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    assert made == [document for run in runs for document in exported(path, run, content=True)]


def test_ids_follow_from_the_run_and_the_operation() -> None:
    assert trace_id("4wq2mzkq7xha") == trace_id("4wq2mzkq7xha") != trace_id("4wq2mzkq7xhb")
    assert len({span_id("a", ""), span_id("a", "0/x#0"), span_id("b", "0/x#0"), span_id("b")}) == 4


def test_a_long_run_comes_in_several_documents(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = recorded(path, 4_000)

    made = exported(path, run)

    assert len(made) > 1
    assert [len(d["resourceSpans"][0]["scopeSpans"][0]["spans"]) for d in made[:-1]] == [SPANS_MAX] * (
        len(made) - 1
    )
    spans_of(made)


@pytest.mark.parametrize(
    "wrong",
    [
        {"traceId": "0" * 32},
        {"spanId": "ABCDEF0123456789"},
        {"kind": "1"},
        {"startTimeUnixNano": 5},
        {"extra": 1},
        {"attributes": [{"key": "x", "value": {"intValue": 5}}]},
        {"attributes": [{"key": "x", "value": {"stringValue": "a"}}] * 2},
        {"status": {"code": 3}},
    ],
    ids=str,
)
async def test_the_shape_is_held_strictly(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "runs.db"
    (document,) = exported(path, await live(path, failing, "x"))
    TRACES(document, "as it is")
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= wrong

    with pytest.raises(AssertionError):
        TRACES(document, "changed")
