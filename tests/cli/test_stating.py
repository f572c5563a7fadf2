"""`playhead state …`: what outlives a run, as of now or of any event, and as files."""

import json
from pathlib import Path

import pytest

from tests.cli.shell import Shell

NOTES = """
from playhead import persona, state


@persona
async def takes(n: int) -> None:
    notes = await state("notes", "s1", conflict_policy="warn", writer_id=f"writer{n % 2}")
    await notes.write("plan.md", f"plan {n}")
    await notes.write("evidence/a.json", {"pages": [1, n], "done": False})


@persona
async def clears() -> None:
    notes = await state("notes", "s1", writer_id="writer1")
    await notes.delete("plan.md")
"""


@pytest.fixture
def runs(shell: Shell) -> list[str]:
    (shell.directory / "notes.py").write_text(NOTES)
    found: list[str] = []
    for words in (("takes", "--arg", "n=1"), ("takes", "--arg", "n=2"), ("clears",)):
        done = shell("run", f"notes.py:{words[0]}", *words[1:])
        assert done.code == 0, done.err
        found.append(done.err.partition("run ")[2].split()[0])
    return found


PASSES = """
from playhead import persona, state


@persona
async def passes(tasks: list[str]) -> dict:
    notes = await state("notes", "s1")
    said = {"source_persona": "triage", "target_human": "Ada", "reason": "asked"}
    for task in tasks:
        await notes.handoff(said | {"id": task, "task": task})
    return {"_type": "handoff_artifact", "task": "unsigned"}
"""


TASKS = 'tasks=["judge it", "two\\nlines"]'


def test_the_handoffs_of_a_run_are_listed(shell: Shell) -> None:
    (shell.directory / "passes.py").write_text(PASSES)
    assert shell("run", "passes.py:passes", "--arg-json", TASKS).code == 0

    shown = shell("state", "handoffs", "@")
    assert (shown.code, len(shown.out.splitlines())) == (0, 4)
    assert shown.out.splitlines()[1].split()[1:] == ["triage", "human", "Ada", '"judge', 'it"', '"asked"']
    assert '"two\\nlines"' in shown.out
    assert "is no handoff: a handoff needs source_persona." in shown.out
    document = shell("state", "handoffs", "@", "--json").document
    assert [each["artifact"]["id"] for each in document["handoffs"]] == ["judge it", "two\nlines"]
    assert len(document["flawed"]) == 1
    first = document["handoffs"][0]["seqs"][0]
    assert shell("state", "handoffs", f"@@{first}").code == 1  # it was only asked for by then


def test_sessions_keys_and_values_are_shown(shell: Shell, runs: list[str]) -> None:
    assert shell("state", "show").out.splitlines()[1].split()[:3] == ["notes", "s1", "1"]
    keys = shell("state", "show", "notes", "s1").out.splitlines()
    assert keys[1].split()[:3] == ["evidence/a.json", "2", "writer0"]
    value = shell("state", "show", "notes", "s1", "evidence/a.json")
    assert json.loads(value.out) == {"pages": [1, 2], "done": False}
    assert shell("state", "show", "notes", "s1", "evidence/a.json", "--pointer", "/pages/1").out == "2\n"
    nothing = shell("state", "show", "notes", "s1", "evidence/a.json", "--pointer", "/pages/2")
    assert (nothing.code, nothing.out) == (1, "")
    assert "has nothing at /pages/2" in nothing.err
    gone = shell("state", "show", "notes", "s1", "plan.md")
    assert (gone.code, gone.out) == (1, "")
    assert "has no value" in gone.err
    document = shell("state", "show", "notes", "s1", "--json").document
    (session,) = document["sessions"]
    assert document["schema"] == "playhead.state/1"
    assert [(key["key"], key["version"], key["run"]) for key in session["keys"]] == [
        ("evidence/a.json", 2, runs[1])
    ]


def test_state_is_shown_as_of_an_event(shell: Shell, runs: list[str]) -> None:
    written = [
        int(line.split()[0])
        for line in shell("show", runs[1]).out.splitlines()
        if "state.completed" in line and "version 2" in line
    ]
    first, second = written
    at = f"{runs[1]}@{first}"
    assert shell("state", "at", at, "notes", "s1", "plan.md").out == "plan 2\n"
    a_json = json.loads(shell("state", "at", at, "notes", "s1", "evidence/a.json").out)
    assert a_json["pages"] == [1, 1]
    (session,) = shell("state", "at", at, "--json").document["sessions"]
    assert {key["key"]: key["version"] for key in session["keys"]} == {"evidence/a.json": 1, "plan.md": 2}
    changed = shell("state", "diff", at, f"{runs[1]}@{second}")
    assert changed.code == 1
    assert changed.out.split()[:4] == ["~", "notes", "s1", "evidence/a.json"]
    assert shell("state", "diff", at, at).code == 0
    since = shell("state", "diff", at, "--json").document["differences"]
    assert [each["key"] for each in since] == ["evidence/a.json", "plan.md"]
    assert since[1]["after"] is None


def test_history_and_blame_say_who_wrote_what_where(shell: Shell, runs: list[str]) -> None:
    told = shell("state", "history", "notes", "s1", "plan.md").out
    assert "write over version 1 by writer1: let pass (warn)" in told
    assert "(deleted)" in told
    changes = shell("state", "history", "notes", "s1", "plan.md", "--json").document["changes"]
    assert [each["type"] for each in changes] == ["written", "conflict", "written", "conflict", "deleted"]
    blamed = shell("state", "blame", "notes", "s1", "evidence/a.json", "--pointer", "/pages/0").out
    assert "version 1 by writer1" in blamed
    assert runs[0] in blamed
    document = shell("state", "blame", "notes", "s1", "evidence/a.json", "--json").document
    assert (document["run"], document["version"], document["op"]) == (runs[1], 2, "0/state.write#1")
    assert shell("state", "blame", "notes", "s1", "plan.md").code == 1
    assert shell("state", "history", "notes", "s1", "never").code == 1


def test_a_session_is_written_as_files_and_taken_in_again(
    shell: Shell, runs: list[str], tmp_path: Path
) -> None:
    first = f"{runs[0]}@8"
    done = shell("state", "export", "notes", "s1", "out", "--at", first)
    assert done.code == 0, done.err
    assert (shell.directory / "out" / "s1" / "plan.md").read_text() == "plan 1"
    again = shell("state", "export", "notes", "s1", "out")
    assert (again.code, "--force" in again.err) == (2, True)
    assert shell("state", "export", "notes", "s1", "out", "--force").code == 0
    assert not (shell.directory / "out" / "s1" / "plan.md").exists()

    taken = shell("state", "import", "out/s1", "copies")
    assert taken.out == "1 key taken in, 0 there already, 0 refused\n"
    assert shell("state", "import", "out/s1", "copies").out.startswith("0 keys taken in, 1 there already")
    (session,) = shell("state", "show", "copies", "s1", "--json").document["sessions"]
    assert [(key["key"], key["writer"]["writer_id"]) for key in session["keys"]] == [
        ("evidence/a.json", "writer0")
    ]
    (shell.directory / "out" / "s1" / "evidence" / "a.json").write_text("{}")
    refused = shell("state", "import", "out/s1", "copies")  # although its file names who wrote last
    assert refused.code == 1
    assert "evidence/a.json: version 1, by writer0, stands there" in refused.out
    (_, met) = shell("state", "history", "copies", "s1", "evidence/a.json", "--json").document["changes"]
    assert (met["type"], met["refused"], met["expected_version"]) == ("conflict", True, 0)
    meta = shell.directory / "out" / "s1" / ".agent_state_meta" / "evidence" / "a.json.json"
    meta.write_text('{"writer": {"writer_id": "stranger"}}')
    assert shell("state", "import", "out/s1", "copies").code == 1
    assert shell("state", "import", "out/s1", "copies", "--conflict-policy", "warn").code == 0
    assert shell("state", "show", "copies", "s1", "evidence/a.json").out == "{}\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "nowhere"), 3, "no session under"),
        (("show", "notes", "nowhere"), 3, "not found under"),
        (("show", "notes", "../s1"), 2, "session"),
        (("show", "notes", "s1", "/etc/passwd"), 2, "must be relative"),
        (("show", "notes", "s1", "evidence/a.json", "--pointer", "pages"), 2, "JSON pointer"),
        (("at", "@", "notes", "s1"), 2, "one event is meant"),
        (("at", "@@9999", "notes", "s1"), 3, "has no event 9999"),
        (("export", "notes", "nowhere", "out"), 3, "not found under"),
        (("import", "nowhere", "notes"), 2, "no directory"),
        (("import", ".", "notes", "s2", "--conflict-policy", "maybe"), 2, "unknown conflict policy"),
    ],
)
def test_what_cannot_be_answered_says_why(
    shell: Shell, runs: list[str], words: tuple[str, ...], code: int, said: str
) -> None:
    done = shell("state", *words)
    assert (done.code, said in done.err) == (code, True), done.err


def test_nothing_is_taken_in_where_one_file_could_not_be(shell: Shell, runs: list[str]) -> None:
    assert shell("state", "export", "notes", "s1", "out").code == 0
    for odd in ("1e400", '["\\ud800"]', "9" * 30, "[" * 500 + "]" * 500, "null", "NaN"):
        (shell.directory / "out" / "s1" / "evidence" / "a.json").write_text(odd)
        (shell.directory / "out" / "s1" / "aaa").write_text("fine")
        refused = shell("state", "import", "out/s1", "copies")
        assert refused.code == 2, odd
        assert "internal" not in refused.err
        assert "copies" not in shell("state", "show").out
