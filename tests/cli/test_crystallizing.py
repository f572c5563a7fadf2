"""`playhead crystallize mine`, `validate` and `shadow`: from recorded runs to a workflow, and back."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Done, Shell

AGENTS = '''
"""An agent that does the same thing again and again, and tools that leave lines."""

from playhead import persona, tool


@tool(side_effect_level="read_only")
def find(word: str) -> list[dict[str, str]]:
    return [{"path": f"{word}.txt"}]


@tool(side_effect_level="read_only")
def read(path: str) -> str:
    return f"text of {path}"


@tool(side_effect_level="workspace_write")
def note(text: str, to: str = "notes") -> int:
    with open("notes.txt", "a") as file:
        file.write(f"{to}: {text}\\n")
    return len(text)


@persona
async def agent(word: str, token: str = "") -> int:
    return await note(await read((await find(word))[0]["path"]) + token)


@persona
async def other(word: str) -> int:
    return await note(await read(f"{word}.txt"), to="elsewhere")


@persona
async def fails(word: str) -> int:
    await find(word)
    raise ValueError(word)


@persona
async def looks(word: str) -> int:
    return len(await find(word))
'''
PROGRAM = """
from playhead import ManifestOptions, ToolHost, build_manifest
from audit.workflow import workflow
from desk import find, note, read

host = ToolHost([find, read, note])
again = workflow(host, build_manifest(host.surface, ManifestOptions(side_effect_ceiling="workspace_write")))
"""
WORDS = ("ab", "cd", "ef", "gh")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A directory with four runs of the agent, and their ids. Each test works on a copy."""
    shell = Shell(tmp_path_factory.mktemp("made"))
    (shell.directory / "desk.py").write_text(AGENTS)
    (shell.directory / "program.py").write_text(PROGRAM)
    return shell.directory, [run_of(shell, "agent", word) for word in WORDS]


@pytest.fixture(autouse=True)
def ran(shell: Shell, made: tuple[Path, list[str]]) -> list[str]:
    shutil.copytree(made[0], shell.directory, dirs_exist_ok=True)
    return made[1]


def run_of(shell: Shell, persona: str, word: str, *more: str) -> str:
    done = shell("run", f"desk.py:{persona}", "--arg", f"word={word}", *more)
    assert done.code == 0, done.err
    return done.err.split()[1]


def mined(shell: Shell, *words: str) -> Done:
    return shell("crystallize", "mine", *words, "--out", "audit")


def test_what_runs_have_in_common_becomes_a_workflow_that_runs(shell: Shell, ran: list[str]) -> None:
    done = mined(shell, *ran)

    assert done.code == 0, done.err
    assert "find -> read" in done.out
    assert "4 traces, 1 of them held out: candidate_" in done.out
    assert shell("crystallize", "validate", "audit").out == "ok  audit\n"
    notes = shell.directory / "notes.txt"
    notes.unlink()
    again = shell("run", "program.py:again", "--arg", "word=xy")
    assert again.code == 0, again.err
    assert again.out.splitlines()[-1] == str(len("text of xy.txt"))
    assert notes.read_text() == "notes: text of xy.txt\n"
    assert shell("replay", "@", "--program", "program.py").code == 0
    assert notes.read_text() == "notes: text of xy.txt\n"


def test_a_persona_names_all_its_finished_runs(shell: Shell, ran: list[str]) -> None:
    run_of(shell, "other", "ab")

    document = mined(shell, "--persona", "agent", "--json").document

    assert document["schema"] == "playhead.crystallization.mined/1"
    assert sorted(each["id"] for each in document["report"]["traces"]) == sorted(ran)
    assert document["report"]["kind"] == "candidate"
    assert document["files"] == sorted(
        path.relative_to(shell.directory / "audit").as_posix()
        for path in (shell.directory / "audit").rglob("*")
        if path.is_file()
    )


def test_files_are_mined_with_runs_and_without_a_store(shell: Shell, ran: list[str], tmp_path: Path) -> None:
    directory = shell.directory / "traces"
    directory.mkdir()
    for n in range(3):
        actions = [
            {"kind": "tool_call", "name": name, "inputs": given, "output": output, "level": "read_only"}
            for name, given, output in (
                ("find", {"word": f"w{n}"}, [f"w{n}"]),
                ("read", {"path": f"w{n}"}, n),
            )
        ]
        (directory / f"{n}.json").write_text(json.dumps({"actions": actions}))

    alone = shell("--store", "nowhere.db", "crystallize", "mine", "--from", "traces", "--out", "b1", "--json")
    both = shell("crystallize", "mine", *ran[:2], "--from", "traces", "--out", "b2", "--json")

    assert alone.document["report"]["kind"] == "candidate"
    assert len(both.document["report"]["traces"]) == 5
    (directory / "x.json").write_text("{}")
    refused = mined(shell, "--from", "traces")
    assert refused.code == 2
    assert "x.json: is no trace" in refused.err
    assert not (shell.directory / "audit").exists()


def test_the_trace_of_a_composition_is_mined(shell: Shell) -> None:
    (shell.directory / "s.snippet").write_text("hits = find(word=w)\nreturn read(path=hits[0]['path'])")
    (shell.directory / "traces").mkdir()
    for word in ("ij", "kl", "mn"):
        done = shell("compose", "run", "s.snippet", "--host", "desk.py", "--input", f'w="{word}"')
        assert done.code == 0, done.err
        trace = shell("compose", "trace", "@")
        (shell.directory / "traces" / f"{word}.json").write_text(trace.out)

    report = mined(shell, "--from", "traces", "--json").document["report"]

    (candidate,) = [each for each in report["candidates"] if each["id"] == report["selected"]]
    assert candidate["steps"][1]["inputs"] == {"path": {"from": "step", "step": 1, "path": [0, "path"]}}
    assert shell("crystallize", "shadow", "audit").code == 0


def test_without_a_candidate_the_report_is_written_and_the_answer_is_no(shell: Shell, ran: list[str]) -> None:
    done = mined(shell, ran[0], run_of(shell, "looks", "ab"))
    assert done.code == 1, done.out
    assert "no candidate in audit" in done.out
    assert (shell.directory / "audit" / "report.json").exists()
    shadowed = shell("crystallize", "shadow", "audit")
    assert (shadowed.code, "has no workflow" in shadowed.err) == (1, True)


def test_what_cannot_be_mined_is_a_usage_error(shell: Shell, ran: list[str]) -> None:
    assert mined(shell).code == 2
    assert "what is to be mined?" in mined(shell).err
    assert "requires at least 5 traces, got 4" in mined(shell, *ran, "--min-examples", "5").err
    assert mined(shell, "nobody").code == 3
    assert mined(shell, "--from", "nowhere").code == 3
    assert mined(shell, ran[0], ran[0]).code == 2  # one trace vouches for nothing
    assert mined(shell, *ran, "--pick", "nobody").code == 2
    assert not (shell.directory / "audit").exists()


def test_a_bundle_is_replaced_by_force_only(shell: Shell, ran: list[str]) -> None:
    assert mined(shell, *ran).code == 0
    again = mined(shell, *ran)
    assert again.code == 2
    assert "--force" in again.err
    assert mined(shell, *ran, "--force", "--name", "Look & note").code == 0
    assert 'NAME = "Look_note"' in (shell.directory / "audit" / "workflow.py").read_text()


def test_validate_says_all_that_is_wrong(shell: Shell, ran: list[str]) -> None:
    mined(shell, *ran)
    (shell.directory / "audit" / "workflow.py").write_text("x")
    (shell.directory / "audit" / "report.json").unlink()

    done = shell("crystallize", "validate", "audit")
    document = shell("crystallize", "validate", "audit", "--json").document

    assert done.code == 1
    assert "workflow.py: is not as it was written" in done.out
    assert "report.json: is missing" in done.out
    assert done.out.splitlines()[-1] == f"{len(document['problems'])} problems"
    assert document["schema"] == "playhead.crystallization.problems/1"
    assert shell("crystallize", "validate", "nowhere").code == 3
    refused = shell("crystallize", "shadow", "audit")
    assert refused.code == 2
    assert "playhead crystallize validate audit" in refused.err


def test_a_workflow_is_held_against_its_own_traces_and_against_new_runs(shell: Shell, ran: list[str]) -> None:
    mined(shell, *ran)
    own = shell("crystallize", "shadow", "audit")
    new = run_of(shell, "agent", "zz")
    different = run_of(shell, "agent", "yy", "--arg", "token=!")
    lacking = run_of(shell, "other", "xx")

    def verdicts(*runs: str) -> tuple[int, dict[str, Any]]:
        done = shell("crystallize", "shadow", "audit", *runs, "--json")
        assert done.document["schema"] == "playhead.crystallization.shadow/1"
        return done.code, {each["trace"]: each for each in done.document["verdicts"]}

    assert own.code == 0
    assert own.out.splitlines()[-1] == "4 traces, 4 the same"
    assert verdicts(new)[0] == 0
    code, found = verdicts(new, different, lacking)
    assert code == 1
    assert (found[new]["verdict"], found[lacking]["verdict"]) == ("same", "absent")
    assert (found[different]["verdict"], found[different]["step"]) == ("different", 3)
    assert found[different]["expected"]["text"] == "text of yy.txt!"
    assert found[different]["found"]["text"] == "text of yy.txt"
    assert verdicts(lacking)[0] == 1  # nothing was the same
    assert "3 note" in shell("crystallize", "shadow", "audit", different).out


def test_a_persona_that_never_ran_is_not_found_and_the_known_ones_are_told(
    shell: Shell, ran: list[str]
) -> None:
    done = mined(shell, "--persona", "agnet")

    assert done.code == 3
    assert "'agnet'" in done.err
    assert "agent" in done.err.replace("agnet", "")


def test_a_persona_whose_runs_all_failed_is_refused_with_how_they_ended(shell: Shell) -> None:
    for word in ("ab", "cd"):
        assert shell("run", "desk.py:fails", "--arg", f"word={word}").code == 1

    done = mined(shell, "--persona", "fails")

    assert done.code == 2
    assert "no run of fails completed" in done.err
    assert "2 failed" in done.err


def test_runs_of_several_personas_are_mined_together(shell: Shell, ran: list[str]) -> None:
    others = [run_of(shell, "other", word) for word in ("ij", "kl")]

    found = mined(shell, "--persona", "agent", "--persona", "other", "--json").document["report"]

    assert {trace["id"] for trace in found["traces"]} == {*ran, *others}


def test_where_nothing_is_found_it_is_told_what_is_lacking(shell: Shell) -> None:
    looked = [run_of(shell, "looks", word) for word in ("ab", "cd")]

    done = mined(shell, *looked)

    assert done.code == 1
    assert (
        "no 2 steps follow each other in 2 traces or more, within --gap: each holds 1 completed action\n"
        in done.out
    )


def test_a_rejected_candidate_that_is_picked_is_written_and_the_answer_is_no(shell: Shell) -> None:
    (shell.directory / "traces").mkdir()
    for n in range(3):
        effects = [{"kind": f"mail-{n}"}]
        actions = [{"kind": "tool_call", "name": name, "side_effects": effects, "output": n} for name in "ab"]
        (shell.directory / "traces" / f"{n}.json").write_text(json.dumps({"actions": actions}))
    none = mined(shell, "--from", "traces", "--json")
    (candidate,) = none.document["report"]["candidates"]

    picked = mined(shell, "--from", "traces", "--force", "--pick", candidate["id"])

    assert (none.code, candidate["kind"]) == (1, "rejected")
    assert (picked.code, f"{candidate['id']} in audit" in picked.out) == (1, True)


def test_what_anybody_wrote_stays_on_its_line(shell: Shell) -> None:
    (shell.directory / "traces").mkdir()
    for n in range(2):
        body = {
            "id": f"t{n}\nok  all",
            "actions": [
                {"kind": "tool_call", "name": name, "level": "read_only", "output": n, "inputs": {"n": n}}
                for name in ("a\nb", "c")
            ],
        }
        (shell.directory / "traces" / f"{n}.json").write_text(json.dumps(body))
    assert mined(shell, "--from", "traces").code == 0

    told = shell("crystallize", "shadow", "audit").out
    (shell.directory / "audit" / "x\nok  audit").write_text("x")
    checked = shell("crystallize", "validate", "audit").out

    assert not [line for line in (told + checked).splitlines() if line.startswith("ok")]
    assert "t0\\nok  all" in told
    assert checked.splitlines()[0] == "x\\nok  audit: is not listed in the manifest"
