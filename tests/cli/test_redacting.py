"""`playhead redact` at a prompt: what it prints, what it refuses, and its exit codes."""

import shlex
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from playhead.events import catalog as facts
from playhead.log.scrubbing import owed_path
from tests.cli.shell import Shell
from tests.projections.recorded import started, write


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def greeted(shell: Shell) -> str:
    """A finished run that holds a greeting in its arguments, in a call and in results."""
    run, done = shell.run("audit", "--arg", "n=4", "--arg", "greeting=moin-moin")
    assert done.code == 0
    return run


def test_a_value_goes_wherever_it_stands_and_documents_say_so(shell: Shell) -> None:
    run = greeted(shell)

    words = ["redact", f"{run}@0", "/args/greeting", "--reason", "asked to", "--json"]
    planned = shell(*words, "--dry-run", "--everywhere").document
    done = shell(*words, "--everywhere").document
    again = shell(*words).document

    assert (planned["schema"], planned["dry_run"], planned["erased"]) == ("playhead.redaction/1", True, False)
    assert {place["part"] for place in planned["also"]} == {"/args/text"}
    assert (done["erased"], done["left"], done["also"]) == (True, [], [])
    assert [each["parts"] for each in done["everywhere"]] == [["/args/text"]]
    assert (again["already"], again["reason_then"]) == (True, "asked to")
    assert b"moin-moin" not in shell.store.read_bytes()
    verified = shell("verify", "--json").document
    assert verified["ok"]
    assert {gap["by"] for gap in verified["erasures"]} == {"ada"}


def test_what_is_gone_is_shown_as_that(shell: Shell) -> None:
    run = greeted(shell)
    assert shell("redact", f"{run}@2", "--reason", "no \x1b[31mred\x1b[0m here").code == 0

    shown = shell("show", run).out
    event = shell("event", f"{run}@2", "--json").document

    assert "(erased: no" in shown
    assert "\x1b" not in shown
    assert (event["kept_as"], event["payload"], event["erased"]["parts"]) == ("erased", None, [])
    for words in (["log", run], ["tail", run], ["receipts", run], ["timeline", run], ["runs"]):
        assert shell(*words).code == 0


def test_an_event_is_the_same_document_whether_it_was_looked_for_or_not(shell: Shell) -> None:
    run = greeted(shell)
    (asked,) = [each for each in shell("log", run, "--jsonl").lines if "greeting" in str(each["payload"])]
    shell("redact", f"{run}@{asked['seq']}", "/args/greeting", "--reason", "asked to")
    place = f"{run}@{asked['seq']}"

    (listed,) = shell("log", place, "--jsonl").lines
    (found,) = shell("log", place, "--grep", "audit", "--jsonl").lines

    assert found.pop("hits")
    assert found == listed == shell("tail", run, "--jsonl", "-n", "99").lines[asked["seq"]]
    assert (listed["kept_as"], listed["payload"]) == ("erased", None)
    assert listed["erased"]["kept"]["persona"] == "audit"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A store with one finished run, of which nothing is to be erased."""
    shell = Shell(tmp_path_factory.mktemp("finished"))
    greeted(shell)
    return shell


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["redact"], 2),
        (["redact", "@"], 2),
        (["redact", "@2"], 2),
        (["redact", "@2", "--reason", "  "], 2),
        (["redact", "@2", "args", "--reason", "x"], 2),
        (["redact", "@2", "/nowhere", "--reason", "x"], 2),
        (["redact", "@0", "/mode", "--reason", "x"], 2),
        (["redact", "@0", "/args/greeting", "--reason", "moin-moin"], 2),
        (["redact", "@99", "--reason", "x"], 3),
        (["redact", "nobody@1", "--reason", "x"], 3),
        (["redact", "state/none@1", "--reason", "x"], 3),
        (["redact", "@1..2", "--reason", "x"], 2),
        (["redact", "@2", "--finish"], 2),
        (["redact", "--finish"], 0),
    ],
)
def test_what_cannot_be_is_said_with_its_code_and_nothing_is_erased(
    finished: Shell, words: list[str], code: int
) -> None:
    shell = finished
    told = shell.here(*words, "--json")

    assert told.code == code, told
    assert "Traceback" not in told.err
    assert told.document["schema"] == ("playhead.error/1" if code else "playhead.redaction/1")
    assert shell("verify", "--json").document["erased"] == 0


def test_a_run_of_a_living_worker_is_refused(shell: Shell) -> None:
    process = shell.start("run", "agents.py:works", "--json")
    try:
        for _ in range(200):
            found = shell("runs", "--json").document.get("runs") if shell.store.exists() else None
            if found and found[0]["status"] == "running":
                break
            time.sleep(0.05)
        done = shell("redact", "@0", "--reason", "x")
        assert (done.code, "Traceback" in done.err) == (6, False)
        assert "store.held" in done.err
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert shell("redact", "@0", "--reason", "x").code == 0


@pytest.mark.long
def test_a_reader_in_the_way_is_told_and_finished_later(shell: Shell) -> None:
    run = greeted(shell)
    with closing(sqlite3.connect(f"{shell.store.as_uri()}?mode=ro", uri=True, isolation_level=None)) as slow:
        slow.execute("begin")
        slow.execute("select count(*) from payloads").fetchone()
        done = shell("redact", f"{run}@0", "/args/greeting", "--reason", "x", "--everywhere")
        assert done.code == 6
        assert "not gone yet: runs.db-wal holds it until its readers are done" in done.out
    assert owed_path(shell.store).exists()

    assert shell("redact", "--finish").out == "nothing is left of what was erased\n"
    assert not owed_path(shell.store).exists()
    assert b"moin-moin" not in shell.store.read_bytes()


def test_what_is_told_to_do_about_another_place_can_be_pasted(shell: Shell) -> None:
    value = msgspec.Raw(msgspec.msgpack.encode({"$HOME; Ada's": "adalovelace"}))
    done = facts.ToolCompleted(result=value)
    write(shell.store, "aaaaaaaaaaaa", started(), ("0/a#0", done), ("0/b#0", done))

    said = shell("redact", "@@1", "/result/$HOME; Ada's", "--reason", "asked to", "--dry-run").out
    (line,) = [line for line in said.splitlines() if line.startswith("also stands")]
    words = shlex.split(line.rpartition(": playhead ")[2].replace("TEXT", "this"))

    assert words == ["redact", "aaaaaaaaaaaa@2", "/result/$HOME; Ada's", "--reason", "this"]
    assert shell(*words).code == 0
