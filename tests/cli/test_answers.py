"""An answer is one document, and a refusal says what is wrong, where it is and what to do."""

import json
import signal
import time

import pytest

from playhead.log.backup import copy_to
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


def until(shell: Shell, run: str, status: str) -> None:
    """Wait for a status."""
    for _ in range(200):
        if shell("show", run, "--json").document.get("status") == status:
            return
        time.sleep(0.05)
    raise AssertionError(shell("show", run).out)


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


def test_a_message_to_a_sleeping_run_says_whether_its_process_lives(shell: Shell) -> None:
    with shell.start("run", "agents.py:asks", "--wait") as running:
        assert running.stderr is not None
        run = running.stderr.readline().split()[1]
        until(shell, run, "suspended")
        heard = shell("signal", run, "note", "1")
        noted = shell("signal", run, "note", "2", "--json")
        shell("signal", run, "approve", "true")
        running.communicate()

    assert running.returncode == 0
    assert heard.out == f"told {run}: signal note; its process lives and takes it\n"
    assert noted.document["owner_lives"] is True
    other, _ = shell.run("asks")
    assert "unless a worker takes it up: playhead resume" in shell("signal", other, "note", "1").out


# ------------------------------------------------------- what makes no sense


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "agents.py:naps", "--name", "@night"], "could not be used in place of an id"),
        (["run", "agents.py:naps", "--name", "a@b"], "could not be used in place of an id"),
        (["run", "agents.py:naps", "--name", ""], "could not be used in place of an id"),
        (["run", "agents.py:audit", "--arg", "n=1", "--arg", "n=2"], "n is given twice"),
        (["run", "agents.py:audit", "--arg", "n=1", "--arg-json", "n=2"], "n is given twice"),
        (["runs", "--status", "bogus"], "'interrupted', 'parked', 'diverged', 'completed', 'failed'"),
        (["worker", "--program", "agents.py", "--poll", "-1"], "--poll"),
        (["worker", "--program", "agents.py", "--poll", "0"], "--poll"),
        (["worker", "--program", "agents.py", "--idle", "-1"], "--idle"),
    ],
    ids=lambda value: " ".join(value[:1] + value[2:]) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_a_usage_error(shell: Shell, words: list[str], said: str) -> None:
    done = shell(*words)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: ")
    assert said in done.err
    assert not shell.store.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["runs"], ["run", "agents.py:naps"], ["worker", "--program", "agents.py"], ["import", "x.jsonl"],
        ["verify"], ["recover", "--program", "agents.py"], ["signal", "@", "go"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_directory_is_no_store_and_is_called_one(shell: Shell, words: list[str]) -> None:
    (shell.directory / "d").mkdir()
    shell.run("naps")
    shell("export", "@", "-o", "x.jsonl")

    done = shell("--store", "d", *words)

    assert (done.code, done.out) == (3, "")
    assert "store.not_a_store: d is no store." in done.err
    assert "found     a directory" in done.err


def test_whoever_verifies_a_damaged_file_is_not_told_to_verify(shell: Shell) -> None:
    shell.run("naps")
    assert shell("verify").out.startswith("ok  5 events in 1 stream\n")
    copy_to(shell.store, shell.directory / "damaged.db")
    with (shell.directory / "damaged.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 2_000)

    said = shell("verify", "damaged.db")
    shown = shell("verify", "damaged.db", "--json")

    assert said.code == shown.code == 4
    assert "Restore a backup." in said.out
    assert "playhead verify" not in said.out + shown.out


def test_a_second_interrupt_ends_it_at_once_and_without_a_traceback(shell: Shell) -> None:
    (shell.directory / "slow.py").write_text(
        "import time\nfrom playhead import persona, tool\n\n\n"
        "@tool\ndef works() -> None:\n    print('at work', flush=True)\n    time.sleep(3600)\n\n\n"
        "@persona\nasync def waits() -> None:\n    await works()\n"
    )
    with shell.start("run", "slow.py:waits") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        told = ""
        while "resume RUN" not in told:
            line = running.stderr.readline()
            assert line, told
            told += line
        # Its tool is at work in a thread that the interpreter waits for.
        while running.poll() is None:
            running.send_signal(signal.SIGINT)
            time.sleep(0.05)
        told += running.stderr.read()

    assert running.returncode in {130, -signal.SIGINT}
    assert "interrupted: stopped by a signal." in told
    assert "Traceback" not in told


def test_a_store_named_by_a_link_has_everything_beside_it_where_it_really_is(shell: Shell) -> None:
    (shell.directory / "secret.py").write_text(
        "from playhead import persona, tool\n\n\n"
        "@tool(secret=['token'])\nasync def logs_in(token: str) -> int:\n    return 1\n\n\n"
        "@persona\nasync def enters() -> int:\n    return await logs_in('s3cret')\n"
    )
    (shell.directory / "elsewhere").mkdir()
    (shell.directory / "link.db").symlink_to("elsewhere/real.db")
    named = ("--store", "link.db")

    done = shell(*named, "run", "secret.py:enters")
    assert done.code == 0, done.err
    assert "completed" in shell(*named, "runs").out
    assert shell(*named, "replay", "@", "--program", "secret.py").code == 0

    names = {file.name for file in shell.directory.iterdir()} - {"__pycache__"}
    assert names == {"agents.py", "elsewhere", "link.db", "secret.py"}
    assert b"s3cret" not in b"".join(
        file.read_bytes() for file in (shell.directory / "elsewhere").iterdir() if file.is_file()
    )
