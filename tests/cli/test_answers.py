"""An answer is one document, and a refusal says what is wrong, where it is and what to do."""

import json
import signal

import pytest

from tests.checkout import ROOT
from tests.cli.shell import Shell
from tests.pages import blocks


def greet(shell: Shell) -> None:
    """The program of the first screen of README.md, which prints."""
    (program,) = [
        block.body for block in blocks((ROOT / "README.md").read_text()) if block.what == "greet.py"
    ]
    (shell.directory / "greet.py").write_text(program)


def killed(shell: Shell) -> tuple[str, int]:
    """A run whose process died inside an effect, and the event of its intent."""
    run, done = shell.run("audit", "--arg", "n=4", die="1")
    assert done.code == -signal.SIGKILL
    asked = shell("log", run, "--type", "tool.requested", "--json").document["events"]
    return run, asked[-1]["seq"]


# --------------------------------------------------------------- one document


def test_what_a_program_prints_stands_beside_the_document(shell: Shell) -> None:
    greet(shell)

    done = shell("run", "greet.py:greet", "--arg", "name=Ada", "--json")

    assert done.code == 0
    assert done.document["result"] == "to ada@example.org: Dear Ada, the report is ready."
    assert "asking a model, which costs money" in done.err


def test_a_resumed_and_a_replayed_program_leave_one_document_too(shell: Shell) -> None:
    greet(shell)
    shell("run", "greet.py:greet", "--arg", "name=Ada", POWER="fails")

    assert shell("resume", "@", "--program", "greet.py", "--json").document["status"] == "completed"
    assert shell("replay", "@", "--program", "greet.py", "--json").document["verdict"] == "identical"


def test_an_interrupt_is_a_document_too(shell: Shell) -> None:
    with shell.start("run", "agents.py:works", "--json") as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("run ")
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate()

    assert running.returncode == 130
    assert json.loads(said)["code"] == "interrupted"


@pytest.mark.parametrize(
    "words", [["cancel", "{run}"], ["signal", "{run}", "go"], ["resolve", "{run}@2", "--retry"]], ids=" ".join
)
def test_a_run_that_is_over_is_told_nothing_and_says_so_as_a_document(shell: Shell, words: list[str]) -> None:
    run, _ = shell.run("naps")

    done = shell(*(word.format(run=run) for word in words), "--json")

    assert (done.code, done.document["code"], done.document["exit"]) == (1, "no", 1)
    assert "completed" in done.document["message"]
    assert done.err == ""


def test_verbose_adds_the_traceback_and_changes_nothing_else(shell: Shell) -> None:
    (shell.directory / "broken.py").write_text("1 / 0\n")
    plain = shell("run", "broken.py:audit", "--json")

    told = shell("-v", "run", "broken.py:audit", "--json")

    assert (told.code, told.document) == (plain.code, plain.document)
    assert "Traceback" in told.err
    assert "Traceback" not in plain.err


# ------------------------------------------- programs that cannot be loaded


@pytest.mark.parametrize(
    ("source", "said", "line"),
    [
        ("import os\n\ndef f(:\n", "SyntaxError", 3),
        ("import os\nimport no_such_thing_here\n", "ModuleNotFoundError: No module named 'no_such", 2),
        ("import sys\n\n\nsys.exit(3)\n", "SystemExit: 3", 4),
        ("def f():\n    raise LookupError('gone')\nf()\n", "LookupError: gone", 2),
    ],
    ids=["syntax", "import", "exit", "error"],
)
@pytest.mark.parametrize("named", ["odd.py:audit", "odd:audit"])
def test_a_program_that_cannot_be_loaded_is_a_usage_error_with_its_line(
    shell: Shell, source: str, said: str, line: int, named: str
) -> None:
    (shell.directory / "odd.py").write_text(source)

    done = shell("run", named, "--json")

    assert (done.code, done.document["code"]) == (2, "usage")
    assert "cannot be loaded: " + said in done.document["message"]
    assert done.document["found"].endswith(f"odd.py:{line}")
    assert not shell.store.exists()


# ------------------------------------------------------- errors of the system


def test_an_export_into_a_directory_that_is_not_there_names_it(shell: Shell) -> None:
    shell.run("naps")

    done = shell("export", "@", "-o", "nowhere/x.jsonl")

    assert done.code == 3
    assert "nowhere/x.jsonl: No such file or directory." in done.err


def test_a_directory_cannot_be_imported(shell: Shell) -> None:
    (shell.directory / "d").mkdir()

    done = shell("import", "d", "--json")

    assert (done.code, done.document["code"]) == (2, "os")
    assert done.document["message"] == "d: Is a directory."
    assert not shell.store.exists()


# ------------------------------------------------------ which run is the last


def test_the_latest_run_is_the_one_that_a_person_started(shell: Shell) -> None:
    parent, _ = shell.run("delegates")

    assert shell("show", "@", "--json").document["run"] == parent
    assert len(shell("runs", "--json").document["runs"]) == 2


# --------------------------------------------------------------- wrong answers


def test_a_value_of_the_wrong_type_leaves_the_doubt_and_can_be_corrected(shell: Shell) -> None:
    run, place = killed(shell)
    assert shell("resolve", f"{run}@{place}", "--value", "17").code == 0

    doubtful = shell("resume", run, "--program", "agents.py", "--json")

    assert doubtful.code == 7
    assert [one["name"] for one in doubtful.document["in_doubt"]] == ["publish"]
    assert shell("resolve", f"{run}@{place}", "--value", '"DONE"').code == 0
    done = shell("resume", run, "--program", "agents.py", "--json")
    assert (done.code, done.document["result"]) == (0, "DONE")
