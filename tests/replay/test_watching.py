"""Expressions are printed wherever they change, without stopping and without changing the program."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from playhead.errors import OutsideRun
from playhead.events.fact import Fact, ProgramFact
from playhead.log.reader import LogReader
from playhead.replay.frames import aside
from playhead.replay.observed import Observer, Sight
from playhead.replay.player import play
from playhead.replay.watching import Change, Watcher
from playhead.runtime.tape import Tape
from tests.checkout import ROOT
from tests.cli.shell import Shell, command, environment
from tests.long_run import recorded, survey_wards
from tests.replay.debugging import PROGRAMS, Quick


def test_a_value_is_printed_at_each_event_where_it_changed(made: Shell) -> None:
    done = made("debug", "adds", "programs.py", "--watch", "total", "--watch", "len(numbers)")

    totals = [line.split()[-1] for line in done.out.splitlines() if " total = " in line]
    assert totals == ["0", "20", "60", "120", "240"]
    assert done.out.count("len(numbers) = 3") == 1
    assert done.code == 0


def test_lines_of_json_say_where_and_what(made: Shell) -> None:
    done = made("debug", "adds", "programs.py", "--watch", "value", "--watch", "1 // 0", "--jsonl")

    values = [line for line in done.lines if line["expression"] == "value"]
    assert {line["schema"] for line in done.lines} == {"playhead.watch/1"}
    assert values[0]["value"] == "20"
    assert values[0]["site"].startswith("programs:adds:")
    assert values[0]["type"] == "step.started"
    assert {line["task"] for line in values} == {"0"}
    failed = next(line for line in done.lines if line["expression"] == "1 // 0")
    assert failed["failed"]
    assert failed["value"].startswith("ZeroDivisionError")


def test_an_expression_that_never_had_a_value_is_said_at_the_end(made: Shell) -> None:
    done = made("debug", "adds", "programs.py", "--watch", "totl", "--watch", "total", "--watch", "1 // 0")
    before = made("debug", "adds@0..1", "programs.py", "--watch", "total")

    assert [line for line in done.err.splitlines() if "never" in line] == [
        "totl never had a value: no code of the program that was looked at knows it."
    ]
    assert done.code == 0
    assert (before.out, before.code) == ("", 0)
    assert before.err.startswith("total never had a value")


def test_only_the_events_between_from_and_to_are_looked_at(made: Shell) -> None:
    words = ("debug", "adds", "programs.py", "--watch", "total", "--jsonl")

    some = made(*words, "--from", "6", "--to", "12").lines
    ranged = made("debug", "adds@6..12", *words[2:]).lines

    assert some == ranged
    assert all(6 <= line["event"] <= 12 for line in some)
    assert len(some) == 2


def test_a_relaxed_run_is_watched_too(made: Shell) -> None:
    done = made("debug", "relaxed", "programs.py", "--watch", "first", "--jsonl")

    assert [line["value"] for line in done.lines] == ["20"]


# What is made and refused is a coroutine that nobody awaits.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
def test_an_expression_can_start_no_operation_and_the_replay_is_the_same(tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs.db", 300)
    with LogReader(tmp_path / "runs.db") as log:
        tape = Tape(run, log.scan(f"run/{run}"))
    expressions = (
        "fetch('pages/1').send(None)",
        "ward(1).send(None)",
        "__import__('asyncio').create_task(ward(1))",
        "__import__('asyncio').sleep(1).send(None)",
        "__import__('playhead').patched('no')",
        "__import__('playhead').random().random() < 2",
    )
    said: list[Change] = []

    outcome = Observer(tape, survey_wards).watch(Watcher(expressions, said.append))

    assert outcome == play(tape, survey_wards)
    assert outcome.identical
    assert {change.expression for change in said if not change.failed} == {expressions[5]}
    assert {change.value.partition(":")[0] for change in said if change.expression in expressions[:2]} == {
        "OutsideRun"
    }


class Meddling(Sight):
    """Says of each event, while the program is looked at, that it happened again."""

    def caused(self, seq: int, op: str, fact: Fact) -> None:
        assert isinstance(fact, ProgramFact)
        with aside(self.machine), pytest.raises(OutsideRun, match="not being pumped"):
            self.machine.emit(op, fact)
        self.refused = seq


def test_nothing_that_is_said_while_a_person_looks_is_taken_for_the_program(tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs.db", 100)
    with LogReader(tmp_path / "runs.db") as log:
        tape = Tape(run, log.scan(f"run/{run}"))
    meddling = Meddling()

    outcome = Observer(tape, survey_wards).watch(meddling)

    assert outcome == play(tape, survey_wards)
    assert outcome.identical
    assert meddling.refused == meddling.passed[0]


def test_an_edited_program_is_watched_up_to_where_it_diverges(made: Shell, tmp_path: Path) -> None:
    shutil.copy(made.store, tmp_path / "runs.db")
    (tmp_path / "programs.py").write_text(PROGRAMS.replace("await fetch(n)", "await fetch(n + (n > 1))"))

    done = Quick(tmp_path)("debug", "adds", "programs.py", "--watch", "total")

    assert done.code == 5
    assert "args.n" in done.err
    assert " total = 20" in done.out


# An IDE.


def test_without_debugpy_the_extra_is_named(made: Shell) -> None:
    if importlib.util.find_spec("debugpy") is not None:
        pytest.skip("it is installed here")

    done = made("debug", "adds@3", "programs.py", "--listen", "0")

    assert done.code == 70
    assert "playhead[debugpy]" in done.err
    assert "Traceback" not in done.err


class Ide:
    """What speaks the debug adapter protocol: as little of it as a stop needs."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self._socket.makefile("rb")
        self._seq = 0

    def ask(self, name: str, **arguments: Any) -> int:
        self._seq += 1
        body = {"seq": self._seq, "type": "request", "command": name, "arguments": arguments}
        data = json.dumps(body).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        return self._seq

    def until(self, **wanted: Any) -> Any:
        while True:
            length = 0
            while (line := self._file.readline().strip()) or not length:
                if line.lower().startswith(b"content-length"):
                    length = int(line.partition(b":")[2])
            message = json.loads(self._file.read(length))
            if all(message.get(name) == value for name, value in wanted.items()):
                return message

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_an_ide_stops_in_the_users_frame_with_its_locals(made: Shell) -> None:
    debugpy = pytest.importorskip("debugpy")
    paths = [ROOT / "engine", ROOT / "projections", Path(debugpy.__file__).parent.parent]
    with subprocess.Popen(
        command("debug", "adds@3", "programs.py", "--listen", "0", "--wait"),
        cwd=made.directory,
        env=environment(PYTHONPATH=os.pathsep.join(map(str, paths)), PYDEVD_DISABLE_FILE_VALIDATION="1"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "debugpy listens" in line)
        ide = Ide(int(line.rpartition(":")[2]))
        ide.ask("initialize", adapterID="test", pathFormat="path")
        ide.until(command="initialize")
        ide.ask("attach", justMyCode=False)
        ide.until(event="initialized")
        ide.ask("configurationDone")
        stopped = ide.until(event="stopped")["body"]
        ide.ask("stackTrace", threadId=stopped["threadId"])
        top = ide.until(command="stackTrace")["body"]["stackFrames"][0]
        ide.ask("scopes", frameId=top["id"])
        scopes = ide.until(command="scopes")["body"]["scopes"]
        ide.ask("variables", variablesReference=scopes[0]["variablesReference"])
        variables = ide.until(command="variables")["body"]["variables"]
        ide.ask("continue", threadId=stopped["threadId"])
        code = process.wait(30)
        ide.close()
        said = process.stderr.read()

    assert code == 0
    assert top["name"] == "double"
    assert {each["name"]: each["value"] for each in variables}["n"] == "1"
    assert "identical" in said
