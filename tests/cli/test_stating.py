"""`playhead state …`: what outlives a run, as of now or of any event, and as files."""

import json
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

from playhead.agent_state.deciding import By, Change, Standing
from playhead.agent_state.keeping import Keeper
from playhead.agent_state.keys import Place
from playhead.agent_state.writers import writer
from playhead.errors import StateConflict
from playhead.events.codec import CATALOG
from playhead.events.words import ConflictWord
from playhead.log.memory_store import MemoryStore
from playhead_projections.cli.state_files import write_key
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


TAKEN = "taken in, 0 of them over another writer's"


def test_a_session_is_written_as_files_and_taken_in_again(
    shell: Shell, runs: list[str], tmp_path: Path
) -> None:
    first = f"{runs[0]}@8"
    done = shell("state", "export", "notes", "s1", "out", "--as-of", first)
    assert done.code == 0, done.err
    assert (shell.directory / "out" / "s1" / "plan.md").read_text() == "plan 1"
    again = shell("state", "export", "notes", "s1", "out")
    assert (again.code, "--force" in again.err) == (2, True)
    assert shell("state", "export", "notes", "s1", "out", "--force").code == 0
    assert not (shell.directory / "out" / "s1" / "plan.md").exists()

    taken = shell("state", "import", "out/s1", "copies")
    assert taken.out == f"1 key {TAKEN}, 0 there already, 0 refused\n"
    assert shell("state", "import", "out/s1", "copies").out == f"0 keys {TAKEN}, 1 there already, 0 refused\n"
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


def changes(shell: Shell, root: str, key: str) -> list[tuple[str, str, bool]]:
    """What became of a key: type, writer, and whether it was refused."""
    told = shell("state", "history", root, "s1", key, "--json").document["changes"]
    return [(each["type"], each["writer"]["writer_id"], each.get("refused", False)) for each in told]


@pytest.mark.parametrize("policy", ["warn", "ignore"])
def test_what_an_import_replaces_it_replaces_as_another_writer_whomever_a_file_names(
    shell: Shell, runs: list[str], policy: str
) -> None:
    assert shell("state", "export", "notes", "s1", "out", "--as-of", f"{runs[1]}@4").code == 0
    (shell.directory / "out" / "s1" / "evidence" / "a.json").write_text("{}")
    note = shell.directory / "out" / "s1" / ".agent_state_meta" / "evidence" / "a.json.json"
    note.write_text(
        '{"writer": {"writer_id": "writer0"}, "content": "json"}'
    )  # who wrote last, as a thief knows
    done = shell("state", "import", "out/s1", "notes", "--conflict-policy", policy)
    assert done.out == "2 keys taken in, 2 of them over another writer's, 0 there already, 0 refused\n"
    assert done.err.splitlines() == (
        [
            "evidence/a.json: written over version 2, by writer0",
            "plan.md: written although writer1 deleted it, as version 3",
        ]
        if policy == "warn"
        else []
    )
    for key in ("evidence/a.json", "plan.md"):
        *_, met, written = changes(shell, "notes", key)
        assert (met[0], written[0], met[1:]) == ("conflict", "written", written[1:])
        assert not written[1].startswith("writer")


def test_without_a_word_an_import_brings_nothing_back_that_was_deleted(shell: Shell, runs: list[str]) -> None:
    assert shell("state", "export", "notes", "s1", "out", "--as-of", f"{runs[0]}@8").code == 0
    done = shell("state", "import", "out/s1", "notes")
    assert done.code == 1
    assert "plan.md: writer1 deleted it, as version 3\n" in done.out
    assert changes(shell, "notes", "plan.md")[-1][::2] == ("conflict", True)


def test_what_nobody_is_said_to_have_written_is_written_by_the_import(shell: Shell) -> None:
    (shell.directory / "s1").mkdir()
    (shell.directory / "s1" / "a").write_text("1")
    assert shell("state", "import", "s1", "copies").code == 0
    (session,) = shell("state", "show", "copies", "s1", "--json").document["sessions"]
    (key,) = session["keys"]
    assert key["writer"]["writer_id"] == key["writer"]["worker_id"] == key["process"]
    (shell.directory / "s1" / "a").write_text("2")
    assert shell("state", "import", "s1", "copies").code == 1
    over = shell("state", "import", "s1", "copies", "--conflict-policy", "warn")
    assert "1 of them over another writer's" in over.out
    assert [each[0] for each in changes(shell, "copies", "a")] == [
        "written",
        "conflict",
        "conflict",
        "written",
    ]


def test_of_many_conflicts_some_are_said_and_all_are_counted(shell: Shell) -> None:
    (shell.directory / "s1").mkdir()
    for n in range(25):
        (shell.directory / "s1" / f"k{n}").write_text("1")
    assert shell("state", "import", "s1", "copies").code == 0
    for n in range(25):
        (shell.directory / "s1" / f"k{n}").write_text("2")
    done = shell("state", "import", "s1", "copies", "--conflict-policy", "warn")
    assert "25 keys taken in, 25 of them over another writer's" in done.out
    assert len(done.err.splitlines()) == 21
    assert done.err.splitlines()[-1] == "and 5 more"


async def test_what_somebody_writes_at_the_last_moment_is_not_replaced_in_his_own_name() -> None:
    place, by, key = Place.of("notes", "s1"), By("p"), "plan.md"
    his, mine = (Raw(msgspec.msgpack.encode(text)) for text in ("his", "mine"))

    class Slow(Keeper):
        late = False

        async def read(self, place: Place, key: str) -> Standing:
            standing = await super().read(place, key)
            if not self.late:
                self.late = True
                await self.change(place, Change("write", key, writer("him"), "ignore", by, his))
            return standing

    policies: list[ConflictWord] = ["ignore", "warn", "error"]
    for policy in policies:
        store = MemoryStore()
        change = Change("write", key, writer("him"), policy, by, mine)
        if policy == "error":
            with pytest.raises(StateConflict):
                await write_key(Slow(store, CATALOG), place, change, writer("import"))
            continue
        done = await write_key(Slow(store, CATALOG), place, change, writer("import"))
        assert done is not None
        assert done.changed.version == 2
        assert done.changed.conflict is not None
        standing = await Keeper(store, CATALOG).read(place, key)
        assert standing.writer == writer("import")


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("show", "nowhere"), 3, "no session under"),
    (("show", "notes", "nowhere"), 3, "not found under"),
    (("show", "notes", "../s1"), 2, "session"),
    (("show", "Notes", "s1"), 2, "is kept as 'notes'"),
    (("history", "notes", "S1", "plan.md"), 2, "is kept as 's1'"),
    (("history", "notes", "s1", "Plan.md"), 1, "was never written"),
    (("show", "notes", "s1", "/etc/passwd"), 2, "must be relative"),
    (("show", "notes", "s1", "evidence/a.json", "--pointer", "pages"), 2, "JSON pointer"),
    (("at", "@", "notes", "s1"), 2, "one event is meant"),
    (("at", "@@9999", "notes", "s1"), 3, "has no event 9999"),
    (("export", "notes", "nowhere", "out"), 3, "not found under"),
    (("import", "nowhere", "notes"), 2, "no directory"),
    (("import", ".", "notes", "s2", "--conflict-policy", "maybe"), 2, "unknown conflict policy"),
]


def test_what_cannot_be_answered_says_why(shell: Shell, runs: list[str]) -> None:
    for words, code, said in REFUSED:
        done = shell("state", *words)
        assert (done.code, said in done.err) == (code, True), (words, done.err)


def test_a_directory_of_sessions_is_refused_by_its_own_name(shell: Shell) -> None:
    (shell.directory / "out" / "s1" / ".agent_state_meta").mkdir(parents=True)
    (shell.directory / "out" / "s1" / "a").write_text("1")
    for named in ("out", "out/."):
        done = shell("state", "import", named, "copies")
        assert (done.code, done.out) == (2, "")
        assert "out cannot be taken in: 's1': it is a session of its own: import it by itself." in done.err
    assert shell("state", "show", "copies").code != 0


def test_nothing_is_taken_in_where_one_file_could_not_be(shell: Shell, runs: list[str]) -> None:
    assert shell("state", "export", "notes", "s1", "out").code == 0
    for odd in ("1e400", '["\\ud800"]', "9" * 30, "[" * 500 + "]" * 500, "null", "NaN"):
        (shell.directory / "out" / "s1" / "evidence" / "a.json").write_text(odd)
        (shell.directory / "out" / "s1" / "aaa").write_text("fine")
        refused = shell("state", "import", "out/s1", "copies")
        assert refused.code == 2, odd
        assert "internal" not in refused.err
        assert "copies" not in shell("state", "show").out
