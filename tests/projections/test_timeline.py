"""Spans, one test for each rule: what gets one, which is its parent, and what is known of it."""

import asyncio
from pathlib import Path

from playhead import Budget, Engine, Reply, Request, Usage, hook, model_call, persona, step, tool
from playhead.events.catalog import RunCompleted
from playhead.log.reader import LogReader
from playhead.testing import ScriptedModel
from playhead_projections.projection import fold
from playhead_projections.projector import state_at
from playhead_projections.timeline import Line, Span, Timeline, document


@tool(side_effect_level="read_only")
async def look(n: int) -> int:
    await asyncio.sleep(0.001 * n)
    return n


@step(model="small")
async def ask(n: int) -> str:
    return (await model_call(Request(prompt=str(n)))).text


@step
async def both() -> None:
    await asyncio.gather(ask(1), look(2), ask(3))


@step(budget=Budget(max_tokens=1), error_boundary="continue")
async def skipped() -> None:
    await model_call(Request(prompt="dear"))


@persona
async def inner() -> int:
    return await look(4)


@persona
async def outer() -> None:
    await both()
    await skipped()
    await inner()


@hook("PreStep", step="skipped")
async def watch(moment: object) -> None: ...


def line_of(path: Path) -> Line:
    async def live() -> str:
        uncounted = Reply(text="c", model="m", usage=Usage(input_tokens=5))
        model = ScriptedModel(
            [
                Reply(text="a", model="m", usage=Usage(input_tokens=1, output_tokens=2), cost_micros=3),
                Reply(text="b", model="m", usage=Usage(input_tokens=4, output_tokens=5), cost_micros=6),
                uncounted,
            ]
        )
        async with Engine.open(path, personas=[outer], model=model, hooks=[watch]) as engine:
            run = await engine.start(outer)
            await run.result()
            return run.id

    run = asyncio.run(live())
    with LogReader(path) as log:
        events = list(log.scan(f"run/{run}"))
        line = state_at(log, Timeline(), f"run/{run}").state
    assert line == fold(Timeline(), run, events).state
    assert events[-1].type == RunCompleted.__struct_config__.tag
    return line


def by_name(line: Line, name: str) -> list[Span]:
    return [span for span in line.spans if span.name == name]


def test_spans_count_from_one_in_the_order_of_opening(tmp_path: Path) -> None:
    line = line_of(tmp_path / "runs.db")

    assert [span.id for span in line.spans] == list(range(1, len(line.spans) + 1))
    assert [span.seq for span in line.spans] == sorted(span.seq for span in line.spans)
    assert {span.kind for span in line.spans} == {"step", "tool", "model", "hook", "persona"}
    assert document(line)["spans"][0]["name"] == "both"


def test_the_parent_is_the_innermost_span_whose_code_asked_also_side_by_side(tmp_path: Path) -> None:
    line = line_of(tmp_path / "runs.db")
    names = {span.id: span.name for span in line.spans}

    parents = [(span.name, names.get(span.parent or 0)) for span in line.spans]

    assert parents == [
        ("both", None),
        ("ask", "both"),
        ("scripted", "ask"),
        ("look", "both"),
        ("ask", "both"),
        ("scripted", "ask"),
        ("watch", None),
        ("skipped", None),
        ("scripted", "skipped"),
        ("inner", None),
        ("look", "inner"),
    ]
    first, second = by_name(line, "ask")
    assert [span.parent for span in by_name(line, "scripted")[:2]] == [first.id, second.id]


def test_a_step_says_its_persona_and_model_and_at_its_end_what_it_took(tmp_path: Path) -> None:
    line = line_of(tmp_path / "runs.db")

    asked = by_name(line, "ask")[0]
    assert asked.metadata == {"persona": "outer", "model": "small"}
    assert asked.result == {
        "status": "completed",
        "model_calls": 1,
        "input_tokens": 1,
        "output_tokens": 2,
        "cost_micros": 3,
    }
    (whole,) = by_name(line, "both")
    assert (whole.result["model_calls"], whole.result["cost_micros"]) == (2, 9)
    assert whole.ended is not None
    assert whole.ended >= asked.started


def test_what_is_unknown_is_left_out_and_a_skipped_step_says_so(tmp_path: Path) -> None:
    line = line_of(tmp_path / "runs.db")

    (step_,) = by_name(line, "skipped")
    assert step_.result == {"status": "skipped", "model_calls": 1, "input_tokens": 5}
    assert step_.metadata == {"persona": "outer"}
    (called,) = by_name(line, "inner")
    assert (called.kind, called.result) == ("persona", {"status": "completed"})
