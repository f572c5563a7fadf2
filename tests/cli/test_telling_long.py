"""`report`, `why`, `blame`, `context` and `doctor` on a long run, with a little of everything in it."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from playhead.log.reader import LogReader
from tests import long_run
from tests.checkout import ROOT
from tests.cli.shell import Shell

PROGRAM = "tests.long_run:survey_wards"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=[1_500, pytest.param(100_000, marks=pytest.mark.long)])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("long"))
    long_run.recorded(shell.store, request.param)
    return shell


@pytest.fixture(scope="module")
def types(shell: Shell) -> list[str]:
    with LogReader(shell.store) as log:
        return [event.type for event in log.scan(log.streams("run")[0])]


def test_the_report_holds_every_step_and_operation(shell: Shell, types: list[str]) -> None:
    counted = Counter(types)

    report = shell.here("report", "@", "--json").document

    kinds = Counter(node["kind"] for node in report["nodes"])
    assert (kinds["step"], kinds["tool"], kinds["model"], kinds["state"]) == (
        counted["step.started"],
        counted["tool.requested"],
        counted["model.called"],
        counted["state.requested"],
    )
    time = report["time"]
    assert time["took"] == sum(time.values()) - time["took"] == report["run"]["took"]


def test_why_goes_back_to_the_beginning_of_the_run(shell: Shell, types: list[str]) -> None:
    told = shell.here("why", f"@{len(types) - 1}", "--all", "--json").document

    assert told["complete"] is True
    assert told["links"][-1]["type"] == "run.started"


def test_blame_finds_what_the_model_said_in_what_was_published(shell: Shell, types: list[str]) -> None:
    asked = shell.here("log", "@", "--type", "tool.requested", "--grep", "publish", "--json").document
    last = max(each["seq"] for each in asked["events"])

    told = shell.here("blame", f"@{last}", "/args/text", "--json").document

    assert (told["first"]["type"], told["first"]["path"]) == ("model.answered", "/reply/text")
    assert types[told["first"]["seq"]] == "model.answered"


def test_context_lists_every_model_call_and_shows_each(shell: Shell, types: list[str]) -> None:
    calls = [seq for seq, type_ in enumerate(types) if type_ == "model.called"]

    listed = shell.here("context", "@", "--json").document["calls"]
    shown = shell.here("context", f"@{calls[-1]}")

    assert [each["seq"] for each in listed] == calls
    assert "words on" in shown.out


def test_the_doctor_finds_nothing_in_it(shell: Shell) -> None:
    paths = os.pathsep.join(str(ROOT / each) for each in ("engine", "projections", ""))
    done = subprocess.run(
        [sys.executable, "-c", "from playhead_projections.cli import main; main()", "doctor", PROGRAM],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=shell.directory,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, b"0 sources" in done.stdout) == (0, True), done
