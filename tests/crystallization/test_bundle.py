"""A bundle is written whole or not at all, holds no secret, and every problem of one is told."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import BadValue, NotFound
from playhead_projections.crystallization.bundle import files_of, hash_of, toml_of, write_bundle
from playhead_projections.crystallization.checking import load, problems_of
from playhead_projections.crystallization.mining import Report
from playhead_projections.crystallization.plans import Flow
from playhead_projections.crystallization.reading import read_traces
from playhead_projections.trace import Action, Approval, SideEffect, Trace
from tests.checkout import ROOT
from tests.crystallization.made import call, report, search_and_read, trace, write

FOUR = [search_and_read(n) for n in range(1, 5)]
FOUND = report(*FOUR)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(FOUND, tmp_path / "b")
    return tmp_path / "b"


def said(directory: Path) -> list[str]:
    return [f"{problem.file}: {problem.message}" for problem in problems_of(directory)]


# ------------------------------------------------------------------ what is in it


def test_a_bundle_holds_what_was_found_and_what_it_can_be_checked_with(bundle: Path) -> None:
    candidate = FOUND.selected
    assert candidate is not None

    loaded = load(bundle)
    assert said(bundle) == []
    assert loaded.candidate == candidate
    assert {case.trace: case.role for case in loaded.cases} == {
        "t1": "mined",
        "t2": "mined",
        "t3": "mined",
        "t4": "mined",
    } | dict.fromkeys(FOUND.held_out, "held_out")
    assert {trace.id for trace in loaded.traces.values()} == {"t1", "t2", "t3", "t4"}
    assert (bundle / "workflow.snippet").read_text() == candidate.segments[0].snippet
    documents = [json.loads((bundle / name).read_text()) for name in ("report.json", "manifest.json")]
    assert [each["schema"] for each in documents] == [
        "playhead.crystallization.report/1",
        "playhead.crystallization.manifest/1",
    ]
    assert [tool["name"] for tool in documents[1]["tools"]] == ["read.file", "save", "search"]


def test_without_a_candidate_there_is_a_report_and_no_workflow(tmp_path: Path) -> None:
    names = write_bundle(report(trace("a", call("x")), trace("b", call("y"))), tmp_path / "b")

    assert names == ["manifest.json", "playhead.eval.toml", "report.json"]
    assert said(tmp_path / "b") == []
    assert load(tmp_path / "b").candidate is None


def test_a_plan_has_no_workflow(tmp_path: Path) -> None:
    asked = msgspec.structs.replace(call("b", 1), approval=Approval(required=True, prompt="May I?"))
    found = report(*[trace(f"t{n}", call("a", n, n=n), asked) for n in range(3)])

    names = write_bundle(found, tmp_path / "b")

    assert found.selected is not None
    assert found.selected.kind == "plan_only"
    assert "candidate.json" in names
    assert not [name for name in names if name.startswith("workflow")]
    assert said(tmp_path / "b") == []


def test_the_same_traces_give_the_same_bytes() -> None:
    assert files_of(report(*FOUR[::-1])) == files_of(FOUND)


@given(st.text(), st.lists(st.text()), st.booleans(), st.integers(-(2**63), 2**63 - 1))
def test_what_stands_in_the_evaluation_file_is_read_back_as_it_was(
    text: str, texts: list[str], yes: bool, number: int
) -> None:
    table: dict[str, Any] = {"a": text, "b": texts, "c": yes, "d": number}

    assert tomllib.loads(toml_of(table, [table, table])) == table | {"case": [table, table]}


# ----------------------------------------------------------------- where it lies


def test_what_stands_there_already_stays(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(BadValue, match="already") as told:
        write_bundle(FOUND, bundle)
    assert "--force" in told.value.next
    for name, make in (
        ("file", Path.touch),
        ("empty", Path.mkdir),
        ("link", lambda path: path.symlink_to(bundle)),
    ):
        make(tmp_path / name)
        with pytest.raises(BadValue, match="already"):
            write_bundle(FOUND, tmp_path / name, force=True)


def test_by_force_one_bundle_takes_the_place_of_another(tmp_path: Path, bundle: Path) -> None:
    (bundle / "workflow.snippet").write_text("return 1")
    (bundle / "__pycache__").mkdir()
    (bundle / "__pycache__" / "workflow.cpython-311.pyc").write_bytes(b"x")

    write_bundle(FOUND, bundle, force=True)

    assert said(bundle) == []
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("name", ["NOTES.md", "sub/y", "fixtures/old.json", "__pycache__/x", "listed.md"])
def test_what_is_not_of_a_bundle_is_not_deleted_by_force(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("mine")
    if name == "listed.md":
        relisted(bundle / name)

    with pytest.raises(BadValue, match="not its own") as told:
        write_bundle(FOUND, bundle, force=True)

    assert told.value.found == repr(name)
    assert (bundle / name).read_text() == "mine"


def test_a_link_in_a_bundle_is_not_its_own(tmp_path: Path, bundle: Path) -> None:
    (bundle / "workflow.py").unlink()
    (bundle / "workflow.py").symlink_to(tmp_path)

    with pytest.raises(BadValue, match="not its own"):
        write_bundle(FOUND, bundle, force=True)


@pytest.mark.parametrize(
    "schema", ["playhead.crystallization.manifestXXX/9", "playhead.crystallization.manifest/99"]
)
def test_what_is_no_bundle_of_this_version_is_not_replaced_by_force(bundle: Path, schema: str) -> None:
    rewritten(bundle / "manifest.json", lambda document: document.update(schema=schema))

    with pytest.raises(BadValue, match="already") as told:
        write_bundle(FOUND, bundle, force=True)

    assert told.value.found == repr(schema)
    assert "--force" not in told.value.next


KILLED = """
import os, pathlib, signal, sys
from playhead_projections.crystallization import bundle
from playhead_projections.crystallization.mining import mined
from playhead_projections.crystallization.reading import read_traces

left = int(sys.argv[2])

def audit(event, arguments):
    global left
    if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove") and ".b." in str(arguments):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

found = mined(read_traces(pathlib.Path(sys.argv[1])))
sys.addaudithook(audit)
bundle.write_bundle(found, pathlib.Path("b"), force=True)
"""


@pytest.mark.parametrize("there", [False, True])
def test_a_bundle_whose_writer_was_killed_is_whole_or_not_there(tmp_path: Path, there: bool) -> None:
    traces, place = tmp_path / "traces", tmp_path / "here"
    traces.mkdir()
    place.mkdir()
    for each in FOUR:
        (traces / f"{each.id}.json").write_bytes(msgspec.json.encode(each))
    old = files_of(report(*FOUR[:3]))
    new = files_of(report(*read_traces(traces)))
    if there:
        write_bundle(report(*FOUR[:3]), place / "b")

    def after(moment: int) -> int:
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(traces), str(moment)],
            cwd=place,
            env={"PYTHONPATH": os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")])},
            check=False,
            timeout=60,
        ).returncode

    codes: list[int] = []
    for moment in range(0, 80, 6):
        codes.append(after(moment))
        files = {
            path.relative_to(place / "b").as_posix(): path.read_bytes()
            for path in (place / "b").rglob("*")
            if path.is_file()
        }
        assert files in ({}, old, new), moment
        if codes[-1] == 0:
            break
    assert codes[0] == -signal.SIGKILL
    assert codes[-1] == 0
    assert said(place / "b") == []


# ------------------------------------------------------------------ what is wrong


def rewritten(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a file as somebody would who also knows of the hashes."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    relisted(path)


def relisted(path: Path) -> None:
    place = next(each for each in path.parents if (each / "manifest.json").exists())
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][path.relative_to(place).as_posix()] = hash_of(path.read_bytes())
    (place / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_no_directory_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        problems_of(tmp_path / "nowhere")


def test_missing_added_and_edited_files_are_all_told(bundle: Path) -> None:
    (bundle / "workflow.py").unlink()
    (bundle / "more.txt").write_text("hello")
    (bundle / "workflow.snippet").write_text("return 1\n")
    (bundle / "link").symlink_to("report.json")

    assert said(bundle) == [
        "link: is no plain file",
        "workflow.py: is missing",
        "workflow.snippet: is not as it was written: its hash differs",
        "more.txt: is not listed in the manifest",
        "workflow.snippet: is not the snippet of the candidate",
    ]
    with pytest.raises(BadValue, match=r"link: is no plain file and 4 more") as told:
        load(bundle)
    assert "validate" in told.value.next


def test_an_empty_directory_misses_everything(tmp_path: Path) -> None:
    assert said(tmp_path) == [
        "manifest.json: is missing",
        "report.json: is missing",
        "playhead.eval.toml: is missing",
    ]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("report.json", "{", "report.json: cannot be read"),
        ("report.json", "[]", "report.json: is no object"),
        ("report.json", "[" * 100_000, "report.json: cannot be read"),
        ("report.json", '{"a":' * 300 + "1" + "}" * 300, "report.json: is nested too deeply"),
        ("playhead.eval.toml", "a = ", "playhead.eval.toml: cannot be read"),
        ("manifest.json", "{}", "manifest.json: lists no files"),
        ("report.json", '{"a": "\\ud800"}', "report.json: cannot be read"),
        ("report.json", '{"a": 1e999}', "report.json: cannot be read"),
        ("workflow.py", "x = 'ghp_abcdefgh'", "workflow.py: holds what looks like a secret"),
    ],
)
def test_what_cannot_be_read_is_told(bundle: Path, name: str, body: str, message: str) -> None:
    (bundle / name).write_text(body)
    if name != "manifest.json":
        relisted(bundle / name)

    assert any(line.startswith(message) for line in said(bundle)), said(bundle)


def fixture_of(bundle: Path) -> Path:
    return min((bundle / "fixtures").iterdir())


def of_candidate(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Changes the candidate in its own file and in the report."""

    def changed(bundle: Path) -> None:
        rewritten(bundle / "candidate.json", change)
        rewritten(bundle / "report.json", lambda document: change(document["candidates"][0]))

    return changed


def of_file(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda bundle: rewritten(bundle / name if name else fixture_of(bundle), change)


def constant(document: Any) -> None:
    document["steps"][0]["inputs"]["password"] = {"from": "constant", "value": "hunter2"}


def without_cases(bundle: Path) -> None:
    path = bundle / "playhead.eval.toml"
    path.write_text(path.read_text().partition("[[case]]")[0])
    relisted(path)


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (of_file("report.json", lambda d: d.update(schema="x/1")), "report.json: has schema 'x/1'"),
    (
        of_file("candidate.json", lambda d: d.update(schema="playhead.crystallization.candidate/2")),
        "candidate.json: is from a newer playhead: playhead.crystallization.candidate/2",
    ),
    (of_file("report.json", lambda d: d.update(selected="x")), "report.json: selected another candidate"),
    (of_file("report.json", lambda d: d.update(candidates=[])), "candidate.json: is not in the report"),
    (
        of_file("candidate.json", lambda d: d.update(id="x")),
        "candidate.json: is not the one that was selected",
    ),
    (of_file("candidate.json", lambda d: d.pop("id")), "candidate.json: cannot be read"),
    (of_file("", lambda d: d.update(redacted=False)), "is not marked as redacted"),
    (of_file("", lambda d: d.update(schema=None)), "has schema None"),
    (of_file("", lambda d: d["trace"].update(id="other")), "is not the trace 't"),
    (of_file("", lambda d: d["trace"].update(actions=3)), "holds no trace"),
    (
        of_file("", lambda d: d["trace"]["actions"][0]["inputs"].update(token="hunter2")),
        "holds a value under 'token' that was not redacted",
    ),
    (
        of_file("", lambda d: d["trace"].update(metadata={"a": ["Bearer abcdefgh"]})),
        "holds what looks like a secret",
    ),
    (of_file("", lambda d: d.update({"AKIA1234567": 1})), "holds what looks like a secret"),
    (of_candidate(constant), "report.json: holds a value under 'password' that was not redacted"),
    (of_candidate(lambda d: d["steps"][0].update(index=2)), "its steps are not numbered from 1"),
    (
        of_candidate(lambda d: d["steps"][0]["inputs"]["query"].update(name="x")),
        "step 1 takes 'x', which is no parameter of it",
    ),
    (
        of_candidate(lambda d: d["steps"][1]["inputs"]["path"].update(step=2)),
        "step 2 takes a value from step 2, which is not before it",
    ),
    (of_candidate(lambda d: d["parameters"][0].update(step=9)), "a parameter is of a step that there is not"),
    (of_candidate(lambda d: d.update(gap_max=10**12)), "its gap is out of bounds"),
    (
        of_candidate(lambda d: d["bindings"].update(save="search")),
        "its bindings are not those of its tools",
    ),
    (of_candidate(lambda d: d["bindings"].pop("save")), "its bindings are not those of its tools"),
    (of_candidate(lambda d: d["segments"][0].update(steps=[1, 3])), "not those that its steps make"),
    (of_candidate(lambda d: d["segments"][0].update(gives=[])), "not those that its steps make"),
    (of_candidate(lambda d: d["segments"][0].update(file="../x")), "not those that its steps make"),
    (of_candidate(lambda d: d.update(segments=[])), "not those that its steps make"),
    (of_candidate(lambda d: d["segments"][0].update(snippet="import os")), "not those that its steps make"),
    (
        of_candidate(lambda d: d["parameters"][0].update(name="x=print()")),
        "no input may be called 'x=print()'",
    ),
    (of_candidate(lambda d: d.update(confidence=7.5)), "its confidence is not between 0 and 0.99"),
    (of_candidate(lambda d: d.update(confidence=-1)), "its confidence is not between 0 and 0.99"),
    (of_candidate(lambda d: d.update(traces=-1)), "its examples are none, or more than there are traces"),
    (of_candidate(lambda d: d.update(examples=[])), "its examples are none, or more than there are traces"),
    (of_candidate(lambda d: d.update(traces=5)), "report.json: says something else of its traces"),
    (of_candidate(lambda d: d.update(risk="low")), "its risk is not the one of its steps"),
    (
        of_file("report.json", lambda d: d.update(risk="low")),
        "report.json: says something else of its traces",
    ),
    (of_candidate(lambda d: d.update(secrets=["x"])), "its secrets are not those of its steps"),
    (of_candidate(lambda d: d.update(capabilities=["x"])), "its capabilities are not those of its steps"),
    (of_candidate(lambda d: d.update(shadow=[])), "it does not tell what came of each of its examples"),
    (of_file("manifest.json", lambda d: d.update(tools=[])), "manifest.json: tells other tools"),
    (
        of_file("manifest.json", lambda d: d["tools"][2].update(level="pure")),
        "manifest.json: tells other tools",
    ),
    (without_cases, "playhead.eval.toml: is not what the report and the candidate say"),
    (of_candidate(lambda d: d.update(kind="plan_only")), "workflow.py: stands beside what is plan_only"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message for _, message in CHANGES])
def test_a_bundle_that_contradicts_itself_is_told(
    bundle: Path, change: Callable[[Path], None], message: str
) -> None:
    change(bundle)

    assert any(message in line for line in said(bundle)), said(bundle)


def test_bytecode_is_told_and_keeps_nobody_from_what_has_nothing_to_do_with_it(bundle: Path) -> None:
    (bundle / "__pycache__").mkdir()
    (bundle / "__pycache__" / "workflow.cpython-311.pyc").write_bytes(b"x")

    assert [line.partition(",")[0] for line in said(bundle)] == [
        "__pycache__/workflow.cpython-311.pyc: is bytecode"
    ]
    assert load(bundle).candidate == FOUND.selected


def test_nothing_else_hides_beside_the_bytecode(bundle: Path) -> None:
    (bundle / "__pycache__").mkdir()
    (bundle / "__pycache__" / "workflow.x.pyc").symlink_to(bundle / "report.json")
    (bundle / "__pycache__" / "keys").write_text("ghp_0123456789abcdef")
    (bundle / "fixtures" / "__pycache__").mkdir()
    (bundle / "fixtures" / "__pycache__" / "workflow.x.pyc").write_bytes(b"x")

    assert said(bundle) == [
        "__pycache__/workflow.x.pyc: is no plain file",
        "__pycache__/keys: is not listed in the manifest",
        "fixtures/__pycache__/workflow.x.pyc: is not listed in the manifest",
        "__pycache__/keys: holds what looks like a secret",
    ]
    with pytest.raises(BadValue):
        load(bundle)


@pytest.mark.parametrize("name", ["__init__.py", "workflow/__init__.py", "workflow.abi3.so", "notes.md"])
def test_a_file_that_the_manifest_lists_is_still_no_file_of_the_bundle(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("import os")
    relisted(bundle / name)

    assert said(bundle) == [f"{name}: is no file of this bundle"]


def test_a_workflow_says_what_its_candidate_makes_and_not_a_line_more(bundle: Path) -> None:
    with (bundle / "workflow.py").open("a") as file:
        file.write("import os\n")
    relisted(bundle / "workflow.py")

    assert said(bundle) == ["workflow.py: is not what this version of playhead makes of the candidate"]


def test_a_name_with_a_line_end_stays_on_its_line(bundle: Path) -> None:
    (bundle / "a\nok  b").write_text("x")

    assert said(bundle) == ["a\\nok  b: is not listed in the manifest"]


def test_where_nothing_is_known_of_the_candidate_no_other_file_is_blamed(bundle: Path) -> None:
    for name in ("candidate.json", "report.json"):
        (bundle / name).write_text("{")
        relisted(bundle / name)

    assert [line.partition(": ")[:1] for line in said(bundle)] == [("candidate.json",), ("report.json",)]


def test_a_member_that_stands_twice_is_told(bundle: Path) -> None:
    text = (bundle / "report.json").read_text()
    (bundle / "report.json").write_text(text.replace("{", '{"kind": "candidate",', 1))
    relisted(bundle / "report.json")

    assert "report.json: cannot be read: an object has the member 'kind' twice" in said(bundle)


# -------------------------------------------------------------------- secrets

SECRETS = [
    "sk-live-abcdef123456",
    "ghp_0123456789abcdef",
    "xoxb-12345-abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "q" * 49,
    "hunter2-hunter2",
    "correct horse battery",
]
BY_NAME = ("hunter2-hunter2", "correct horse battery")


def planted(secret: str, n: int, *, given: bool) -> Trace:
    """A trace with `secret` in every place that a trace has; in what a step is given only where `given`."""
    inside: dict[str, Any] = {"deep": [{"password": secret}], "text": f"see {secret} there"}
    odd = Action(
        id=secret,
        kind="tool_call",
        name="look",
        inputs={"q": f"n{n}"} | (inside if given else {}),
        output={"found": [secret, {"v": f"x{n} {secret}"}], "token": secret, f"a {secret}": 1},
        parameters={"api_key": secret},
        side_effects=(SideEffect(kind="mail", target=secret, metadata={"secret": secret}),),
        side_effects_known=True,
        capabilities=(f"mail.{secret}",),
        required_secrets=(f"{secret}",),
        approval=Approval(prompt=f"Use {secret}?", approver=secret),
        metadata={"authorization": secret, secret: secret},
    )
    failed = msgspec.structs.replace(
        call(f"use {secret}", **{f"a {secret}": 1}), status="failed", error=f"failed with {secret}"
    )
    return Trace(
        id=f"t{n} {secret}",
        source=f"runs/{secret}/{n}.json",
        source_hash=f"sha256:{n}",
        workflow=secret,
        flow={"cookie": secret, "x": secret},
        actions=(odd, failed, write("save", n, text=f"x{n} {secret}", **({"key": secret} if given else {}))),
        tools={"look": {"level": "read_only", "input_schema": {"default": secret, "description": secret}}},
        usage={"secret": secret},
        metadata={"more": {"password": secret, "path": f"/{secret}/x"}},
    )


@pytest.mark.parametrize(("given", "kind", "files"), [(False, "candidate", 10), (True, "rejected", 8)])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_never_reaches_a_bundle_wherever_it_stood(
    tmp_path: Path, secret: str, given: bool, kind: str, files: int
) -> None:
    for n in range(4):
        (tmp_path / f"{n}.json").write_bytes(msgspec.json.encode(planted(secret, n, given=given)))
    traces = read_traces(tmp_path)
    best = report(*traces).candidates[0]

    found = report(*traces, name=f"use {secret}" if secret not in BY_NAME else None, pick=best.id)
    write_bundle(found, tmp_path / "b")

    assert best.kind == kind
    paths = [path for path in (tmp_path / "b").rglob("*") if path.is_file()]
    assert len(paths) == files
    for path in paths:
        assert secret.encode() not in path.read_bytes(), path
        assert secret not in str(path)
    assert said(tmp_path / "b") == []


def test_a_step_with_a_name_that_was_redacted_is_in_no_workflow() -> None:
    for named in (call("b", 1, ghp_12345678=1), call("ghp_12345678", 1)):
        (plan,) = report(*[trace(f"t{n}", call("a", n, n=n), named) for n in range(3)]).candidates
        assert plan.kind == "plan_only"
        assert "name" in plan.reasons[0]
        assert "was redacted" in plan.reasons[0]


def test_what_was_redacted_becomes_a_parameter_and_no_workflow_is_given_it() -> None:
    traces = [trace(f"t{n}", call("a", n, n=n), call("b", {"ok": 1}, password="hunter2")) for n in range(4)]

    found: Report = report(*traces)

    candidate = found.selected
    assert candidate is not None
    assert [(each.name, each.secret) for each in candidate.parameters] == [("n", False), ("password", True)]
    assert candidate.kind == "plan_only"
    assert "step 2 'b' takes password, which was redacted" in candidate.reasons[0]
    assert "hunter2" not in str(found)


def test_a_secret_that_an_earlier_step_gave_is_handed_on() -> None:
    traces = [
        trace(f"t{n}", call("a", {"token": f"hunter{n}"}, n=n), call("b", 1, token=f"hunter{n}"))
        for n in range(4)
    ]

    found: Report = report(*traces)

    candidate = found.selected
    assert candidate is not None
    assert candidate.kind == "candidate"
    assert candidate.steps[1].inputs == {"token": Flow(step=1, path=("token",))}
    assert {each.verdict for each in candidate.shadow} == {"same"}
