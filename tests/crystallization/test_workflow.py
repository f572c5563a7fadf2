"""A workflow that was mined out of real runs really calls its tools, and its runs replay."""

import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from playhead import CallableHost, Engine, ManifestOptions, build_manifest
from playhead.log.reader import LogReader
from playhead.runtime.signature import coerce
from playhead_projections.crystallization.bundle import write_bundle
from playhead_projections.crystallization.checking import problems_of
from playhead_projections.crystallization.mining import Report
from playhead_projections.crystallization.plans import Flow
from playhead_projections.crystallization.shadow import shadow
from playhead_projections.projector import state_at
from playhead_projections.trace import Trace, Traces, trace_of
from tests.checkout import ROOT
from tests.crystallization.desk import (
    HOST,
    MANIFEST,
    NOTES,
    Other,
    by_hand,
    by_leave,
    by_snippet,
    plainly,
    recorded,
)
from tests.crystallization.made import call, report, trace

PROGRAM = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
import workflow
from playhead import Engine, ManifestOptions, build_manifest
from playhead.errors import PlayheadError
from tests.crystallization import desk

given = json.loads(sys.argv[2])

async def main():
    options = ManifestOptions(side_effect_ceiling=given["ceiling"], include_denied=True)
    manifest = build_manifest(desk.HOST.surface, options)
    models = {"models": {"tiny": desk.Model()}} if hasattr(workflow, "MODELS") else {}
    program = workflow.workflow(desk.HOST, manifest, **models)
    async with Engine.open("new.db", personas=[program], model=desk.Other()) as engine:
        run = await engine.start(program, **given["arguments"])
        for name, value in given["signals"].items():
            await run.signal(name, value)
        try:
            result = await run.result()
        except PlayheadError as error:
            result = f"{type(error).__name__}: {error}"
        notes = list(desk.NOTES)
        outcome = await engine.replay(run.id)
        assert desk.NOTES == notes, "a replay did something"
        kinds = [type(fact).__name__ for _, fact in await engine.facts_of(run.id)]
    print(json.dumps({"result": result, "notes": notes, "identical": outcome.identical, "facts": kinds}))

asyncio.run(main())
"""


def in_process(*arguments: str, where: Path) -> subprocess.CompletedProcess[bytes]:
    roots = [ROOT / "engine", ROOT / "projections", ROOT]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=where,
        env={"PYTHONPATH": os.pathsep.join(map(str, roots))},
        capture_output=True,
        check=False,
        timeout=60,
    )


def performed(
    bundle: Path, *, ceiling: str = "workspace_write", signals: Any = None, **arguments: Any
) -> Any:
    """What comes of the workflow of a bundle in a new process, with an engine and a store of its own."""
    said = {"ceiling": ceiling, "arguments": arguments, "signals": signals or {}}
    done = in_process("-c", PROGRAM, str(bundle), json.dumps(said), where=bundle.parent)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def loaded(bundle: Path) -> Any:
    """The workflow of a bundle as a module of this process."""
    spec = spec_from_file_location("workflow_of_a_test", bundle / "workflow.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def traces(tmp_path: Path) -> list[Trace]:
    return await recorded(tmp_path / "old.db", by_snippet, *((f"p{n}", n % 3) for n in range(6)))


async def test_a_workflow_does_what_the_runs_did_with_what_it_is_given(
    tmp_path: Path, traces: list[Trace]
) -> None:
    found = report(*traces)
    write_bundle(found, tmp_path / "b")
    NOTES.clear()

    assert found.selected is not None
    assert [parameter.name for parameter in found.selected.parameters] == ["query"]
    assert [step.inputs.get("path") for step in found.selected.steps] == [
        None,
        Flow(step=1, path=(0, "path")),
        None,
    ]
    said = performed(tmp_path / "b", query="p7")
    assert said["result"] == len("import m7\nx = '7'")
    assert said["notes"] == [["import m7\nx = '7'", "out.md"]]
    assert said["identical"]
    assert said["facts"].count("ToolCompleted") == 3
    assert "CompositionCompleted" in said["facts"]
    assert {problem.message.partition(",")[0] for problem in problems_of(tmp_path / "b")} <= {"is bytecode"}


async def test_what_the_manifest_does_not_allow_is_not_done(tmp_path: Path, traces: list[Trace]) -> None:
    write_bundle(report(*traces), tmp_path / "b")

    said = performed(tmp_path / "b", ceiling="read_only", query="p7")

    assert "side-effect level" in said["result"]
    assert said["notes"] == []
    assert said["identical"]


async def test_where_its_tools_are_not_there_no_workflow_is_made(tmp_path: Path, traces: list[Trace]) -> None:
    write_bundle(report(*traces), tmp_path / "b")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'b')!r}); import workflow\n"
        "from playhead import StaticHost, build_manifest\n"
        "workflow.workflow(StaticHost({}), build_manifest([{'name': 'search'}]))"
    )

    done = in_process("-c", program, where=tmp_path)

    assert b"LookupError: the manifest has 0 tools called 'note'" in done.stderr


async def test_a_tool_that_is_denied_is_not_missing_and_why_is_told(
    tmp_path: Path, traces: list[Trace]
) -> None:
    write_bundle(report(*traces), tmp_path / "b")
    workflow = loaded(tmp_path / "b").workflow

    with pytest.raises(LookupError, match=r"denies 'note', which is needed: .*side-effect level"):
        workflow(HOST, build_manifest(HOST.surface, ManifestOptions(side_effect_ceiling="read_only")))
    with pytest.raises(LookupError, match="denies 'search', which is needed: denied by active tool policy"):
        workflow(
            HOST,
            build_manifest(
                HOST.surface, ManifestOptions(side_effect_ceiling="network", denied_tools=("search",))
            ),
        )


def test_parameters_are_of_the_types_that_they_were_given(tmp_path: Path) -> None:
    def example(n: int) -> Trace:
        given: dict[str, Any] = {
            "text": f"a{n}",
            "whole": n,
            "half": n + 0.5,
            "either": n if n % 2 else n + 0.5,
            "flag": n % 2 == 0,
            "some": [n],
        }
        return trace(f"t{n}", call("search", n, **given), call("note", n, text=None))

    write_bundle(report(*map(example, range(6))), tmp_path / "b")
    program = loaded(tmp_path / "b").workflow(HOST, MANIFEST)

    assert coerce(program.signature, dict.fromkeys(("text", "whole", "half", "either"), "7")) == {
        "text": "7",
        "whole": 7,
        "half": 7.0,
        "either": 7,
    }
    assert coerce(program.signature, {"flag": "true"}) == {"flag": True}
    hints = {name: str(each) for name, each in get_type_hints(program.function).items()}
    assert hints["some"] == "list[typing.Any]"
    assert hints["either"] == "int | float"


async def test_models_are_asked_and_signals_awaited_between_snippets(tmp_path: Path) -> None:
    starts = [(f"p{n}",) for n in range(4)]
    traces = await recorded(tmp_path / "old.db", by_hand, *starts, where="a")
    found: Report = report(*traces)
    candidate = next(each for each in found.candidates if len(each.steps) == 5)
    picked = report(*traces, pick=candidate.id)
    write_bundle(picked, tmp_path / "b")

    assert (candidate.kind, len(candidate.segments)) == ("candidate", 2)
    assert [step.segment for step in candidate.steps] == [
        *["deterministic"] * 2,
        *["fuzzy"] * 2,
        "deterministic",
    ]
    assert {each.verdict for each in candidate.shadow} == {"same"}
    said = performed(tmp_path / "b", signals={"where": "there"}, query="p7")
    assert said["notes"] == [["IMPORT M7\nX = '7'", "there"]]
    assert said["result"] == len("import m7\nx = '7'")
    assert said["identical"]
    assert (tmp_path / "b" / "workflow.2.snippet").exists()


async def test_another_model_than_the_one_that_was_asked_is_asked_by_nobody(tmp_path: Path) -> None:
    starts = [(f"p{n}",) for n in range(3)]
    traces = await recorded(tmp_path / "old.db", by_hand, *starts, where="a")
    candidate = next(each for each in report(*traces).candidates if len(each.steps) == 5)
    write_bundle(report(*traces, pick=candidate.id), tmp_path / "b")
    module = loaded(tmp_path / "b")

    assert module.MODELS == ("tiny",)
    with pytest.raises(
        LookupError, match="the workflow asks 'tiny', and `models` says of no client that it is it"
    ):
        module.workflow(HOST, MANIFEST, models={"other": Other()})
    with pytest.raises(TypeError, match="models"):
        module.workflow(HOST, MANIFEST)


async def test_what_somebody_agreed_to_is_not_done_where_he_does_not(tmp_path: Path) -> None:
    starts = [(f"p{n}",) for n in range(4)]
    traces = await recorded(tmp_path / "old.db", by_leave, *starts, signals={"agree": True})
    candidate = next(each for each in report(*traces).candidates if len(each.steps) == 4)
    write_bundle(report(*traces, pick=candidate.id), tmp_path / "b")

    agreed = performed(tmp_path / "b", signals={"agree": True}, query="p7")
    refused = performed(tmp_path / "b", signals={"agree": False}, query="p7")
    assert agreed["notes"] == [["import m7\nx = '7'", "out.md"]]
    assert refused["notes"] == []
    assert "'agree' was answered False: this workflow goes on after [True]" in refused["result"]
    assert refused["identical"]


async def test_a_run_of_a_workflow_is_mined_as_the_runs_that_it_came_from(
    tmp_path: Path, traces: list[Trace]
) -> None:
    """What was crystallized once is found again in its own runs, with nothing between."""
    write_bundle(report(*traces), tmp_path / "b")
    performed(tmp_path / "b", query="p7")
    performed(tmp_path / "b", query="p6")
    with LogReader(tmp_path / "new.db") as log:
        again = [trace_of(state_at(log, Traces(), stream).state) for stream in log.streams("run")]

    first, second = report(*traces).selected, report(*again).selected
    assert first is not None
    assert second is not None
    assert [step.inputs for step in first.steps] == [step.inputs for step in second.steps]
    assert first.segments == second.segments


async def test_runs_of_an_agent_and_of_its_workflow_are_of_one_thing(tmp_path: Path) -> None:
    """An agent that calls its tools plainly tells no level, and the workflow, which composes them, does."""
    old = await recorded(tmp_path / "old.db", plainly, *((f"p{n}",) for n in range(4)))
    found = report(*old)
    write_bundle(found, tmp_path / "b")
    for n in range(4):
        performed(tmp_path / "b", query=f"p{n}")
    with LogReader(tmp_path / "new.db") as log:
        new = [trace_of(state_at(log, Traces(), stream).state) for stream in log.streams("run")]

    assert found.selected is not None
    assert {each.level for trace in old for each in trace.actions} == {None}
    assert {each.level for trace in new for each in trace.actions if each.kind == "tool_call"} == {
        "read_only",
        "workspace_write",
    }
    assert {shadow(found.selected, each).verdict for each in new} == {"same"}
    both = report(*old, *new).selected
    assert both is not None
    assert len(both.examples) + len(both.also_in) == 8
    assert [step.level for step in both.steps] == ["read_only", "read_only", "workspace_write"]
    assert {shadow(both, each).verdict for each in (*old, *new)} == {"same"}


ODD = [
    "self",
    "key",
    "name",
    "cls",
    "class",
    "a b",
    "len",
    "ﬁ",
    '"',
    "",
    "_host",
    "SNIPPETS",
    "step_1",
    "x" * 40,
]


async def test_arguments_of_any_names_reach_the_tool_as_they_were(tmp_path: Path) -> None:
    def example(n: int) -> Trace:
        given = {name: f"{name}{n}" for name in ODD}
        return trace(f"t{n}", call("odd.tool", n, **given), call('"', {"n": n}, **{"class": n, "tail": "\\"}))

    write_bundle(report(*map(example, range(4))), tmp_path / "b")
    module = loaded(tmp_path / "b")
    asked: list[tuple[str, dict[str, Any]]] = []

    def answer(binding: str, given: dict[str, Any]) -> int:
        asked.append((binding, given))
        return 7

    tools = [{"name": name, "annotations": {"side_effect_level": "none"}} for name in ("odd.tool", '"')]
    program = module.workflow(CallableHost(answer), build_manifest(tools))
    arguments = {name: f"<{number}>" for number, name in enumerate(program.signature.names)}
    async with Engine.open(tmp_path / "new.db", personas=[program]) as engine:
        run = await engine.start(program, **arguments)
        assert await run.result() == 7
        (await engine.replay(run.id)).check()

    (_, first), (_, second) = asked
    assert sorted(first) == sorted(ODD)
    assert sorted(first.values()) == sorted(arguments.values())
    assert second == {"class": 7, "tail": "\\"}  # the first is the outcome of the call before
