"""Edits of a fork as people type them: what does not fit is said in a sentence, what fits is what happens."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Done, Shell

PROGRAM = """
from playhead import ask_user, child_run, persona, sleep, state, tool


@tool(side_effect_level="read_only")
async def fetch(n: int) -> int:
    return n * 2


@tool
async def publish(text: str) -> str:
    return text.upper()


@persona
async def inner(n: int) -> str:
    return await publish(f"inner {n}")


@persona
async def outer(n: int) -> str:
    return await child_run(inner, await fetch(n))


@persona
async def plans(text: str) -> str:
    one, two = await state("notes", "one"), await state("notes", "two")
    found = [await one.read("plan"), await two.read("plan")]
    await sleep(0.01)
    return f"{text} {found}"


@persona
async def adds(n: int) -> int:
    return await fetch(await fetch(n)) + await fetch(7)


@persona
async def asks() -> int:
    return await ask_user("How many?", kind=int)
"""


class Near(Shell):
    """A shell whose commands run in this process, each with its program loaded anew."""

    def __call__(self, *words: str, stdin: bytes = b"", **more: str) -> Done:
        path = list(sys.path)
        try:
            return self.here(*words)
        finally:
            sys.path[:] = path
            for name in ("desk", "newer"):
                sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A run of each persona. Nobody may write to `runs.db` but through a key of its own."""
    shell = Near(tmp_path_factory.mktemp("edited"))
    (shell.directory / "desk.py").write_text(PROGRAM)
    shell("run", "desk.py:outer", "--arg", "n=1", "--name", "outer")
    shell("run", "desk.py:plans", "--arg", "text=hi", "--name", "plans")
    shell("run", "desk.py:adds", "--arg", "n=1", "--name", "adds")
    shell("run", "desk.py:asks", "--name", "asks")
    shell("approve", "asks@2", "--value", "7", "--by", "ada")
    shell("resume", "asks", "--program", "desk.py")
    return shell


def test_what_is_said_of_a_program_that_is_missing_works(made: Shell) -> None:
    for words in (("fork", "outer"), ("bisect", "outer", "outer")):
        said = made(*words)
        assert said.code == 2
        assert "no PROGRAM, and PLAYHEAD_PROGRAM is not set" in said.err
        assert said.err.endswith("Say where it is, last: … desk.py\n")
        assert "--program" not in said.err
    other = made("fork", "outer", "desk.py:asks")
    assert "--program" not in other.err
    assert "Say where it is: RUN path/to/file.py" in other.err


def fork(shell: Shell, *words: str) -> Done:
    return shell("fork", words[0], "desk.py", *words[1:])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plans", "--outcome", 'sleep#0="9999-12-31T23:59:59Z"'), 2, "before the year 2262"),
        (("plans", "--outcome", "sleep#0=99999999999999999999"), 2, "before the year 2262"),
        (("plans", "--outcome", "sleep#0=0"), 2, "no timer goes off before that"),
        (("plans", "--override", 'time:sleep#0="9999-12-31T23:59:59Z"'), 2, "before the year 2262"),
        (("plans", "--state", "plan=1"), 2, "notes/one/plan, notes/two/plan"),
        (("plans", "--state", "three/plan=1"), 3, "notes/one/plan, notes/two/plan"),
        (("plans", "--arg", "nowhere=1"), 2, "hold nothing at 'nowhere'"),
        (("outer", "--arg", "n=null"), 2, "edited arguments of outer do not fit: Expected `int`"),
        (("plans", "--allow", "nosuch", "--dry-run"), 2, "is called 'nosuch'"),
        (("plans", "--allow", "nosuch"), 2, "is called 'nosuch'"),
        (("asks", "--outcome", '@2={"word": "approve", "by": "bob"}'), 2, "has no 'by'"),
        (("asks", "--outcome", '@2="many"'), 2, "counts for nothing"),
        (("outer", "--key", "", "--dry-run"), 2, "the key of a run cannot be"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_in_a_sentence(
    made: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    answer = next(
        event["seq"]
        for event in made.here("log", "asks", "--jsonl").lines
        if event["type"] == "approval.answered"
    )
    done = fork(made, *(word.replace("@2=", f"@{answer}=") for word in words), "--json")

    assert done.code == code, done.out + done.err
    assert json.loads(done.out)["schema"] == "playhead.error/1"
    assert said in done.out
    assert "Traceback" not in done.err


def test_an_edited_answer_is_shown_as_one(made: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    edited = fork(made, "asks", "--outcome", "question#0=8", "--name", "eight")

    log = made.here("log", "eight").out
    report = made.here("report", "eight").out

    assert edited.out.splitlines()[-1] == "8"
    assert "approve 8 by ada, edited by fork" in log
    assert "ada (unsigned), edited by fork" in log
    assert "ada (edited by fork)" in report


def test_a_dry_run_says_that_a_child_begins_and_what_is_not_checked(made: Shell) -> None:
    words = ("outer@0", "--allow", "publish", "--outcome", "inner#0=5", "--key", "child")

    dry = fork(made, *words, "--dry-run")
    document: dict[str, Any] = fork(made, "outer@3", "--key", "cut", "--dry-run", "--json").document
    made_now = fork(made, "outer@3", "--key", "cut")
    again = fork(made, "outer@3", "--key", "cut", "--dry-run")

    assert "  unchecked 0/inner#0: " in dry.out
    assert "  allowed   publish" in dry.out
    (live,) = document["live"]
    assert (live["kind"], live["verdict"], document["made"]) == ("child", "begins", None)
    assert document["digest"] == made.here("event", "outer@3", "--json").document["digest"]
    assert made_now.code == 1
    assert "is this fork already" in again.out


def test_a_new_argument_of_the_program_can_be_given(made: Shell, tmp_path: Path) -> None:
    newer = PROGRAM.replace("async def plans(text: str)", "async def plans(text: str, more: int)").replace(
        "{text} {found}", "{text} {found} {more}"
    )
    (tmp_path / "newer.py").write_text(newer)

    missing = made("fork", "plans", str(tmp_path / "newer.py"), "--json")
    given = made("fork", "plans", str(tmp_path / "newer.py"), "--arg", "more=3")

    assert missing.code == 2
    assert "more" in missing.out
    assert given.out.splitlines()[-1] == '"hi [None, None] 3"'


def test_an_outcome_that_a_fork_prepared_can_be_read_in_the_log(made: Shell) -> None:
    forked = fork(made, "adds", "--outcome", "fetch#0=5", "--name", "prepared")

    listed = made.here("log", "prepared", "--json").document["events"][0]
    lined = made.here("log", "prepared", "--jsonl").lines[0]

    assert forked.out.splitlines()[-1] == "24"
    assert listed["payload"]["prepared"]["0/fetch#2"]["fact"]["result"] == 14
    assert lined == listed
    assert '"result": 14' in made.here("event", "prepared@0").out
