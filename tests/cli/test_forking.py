"""Forks, differences and bisections, as people and scripts ask for them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell, environment

Recorded = tuple[Shell, dict[str, str]]
Forked = tuple[Shell, dict[str, Any]]
HEAVY = {"asyncio", "pydantic", "structlog", "aiosqlite"}


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, dict[str, Any]]:
    """A run, a dry run of a fork of it, the fork, and one that died and was resumed."""
    shell = Shell(tmp_path_factory.mktemp("forked"))
    run, _ = shell.run("audit", "--arg", "n=4", "--name", "nightly")
    edit = ("--outcome", "fetch#0=9")
    dry = shell("fork", "nightly", "agents.py", *edit, "--dry-run", "--json")
    withheld = shell("fork", "nightly", "agents.py", *edit, "--json")
    made = shell(
        "fork", "nightly", "agents.py", *edit, "--allow", "publish", "--name", "nine", "--reason", "why"
    )
    died = shell("fork", "nightly@0", "agents.py", "--allow", "all", "--key", "k", DIE="1")
    again = shell("fork", "nightly@0", "agents.py", "--allow", "all", "--key", "k")
    return shell, {"run": run, "dry": dry, "withheld": withheld, "made": made, "died": died, "again": again}


def test_a_dry_run_says_what_would_happen_and_makes_nothing(forked: Forked) -> None:
    _, said = forked

    found = said["dry"].document

    assert said["dry"].code == 1
    assert found["schema"] == "playhead.fork/1"
    assert (found["run"], found["mode"], found["answered"]) == (said["run"], "with_overrides", 2)
    (live,) = found["live"]
    assert (live["op"], live["kind"], live["verdict"]) == ("0/publish#0", "tool", "withheld")
    assert live["args"] == {"text": "hi 9"}
    assert live["allow"][:2] == ["publish", "effect"]
    assert found["departure"]["recorded"] == "step.completed"


def test_what_is_withheld_fails_the_fork_and_says_how_to_allow_it(
    forked: Forked,
) -> None:
    shell, said = forked

    document = said["withheld"].document

    assert said["withheld"].code == 1
    assert document["status"] == "failed"
    assert "publish is not carried out in a fork" in document["error"]["message"]
    assert "effect.withheld" in shell("show", document["run"]).out


def test_a_fork_prints_its_result_and_names_its_source(forked: Forked) -> None:
    shell, said = forked

    assert said["made"].code == 0
    assert said["made"].out.splitlines()[-1] == '"HI 9"'
    assert f"forked from {said['run']}@" in shell("show", "nine").out
    shown = shell("show", "nine", "--json").document
    assert shown["forked_from"].startswith(f"{said['run']}@")
    listed = {line["run"]: line["forked_from"] for line in shell("runs", "--json").document["runs"]}
    assert listed[shown["run"]] == shown["forked_from"]
    assert listed[said["run"]] is None
    forks = shell("show", "nightly", "--json").document["forks"]
    assert {"run": shown["run"], "event": int(shown["forked_from"].partition("@")[2])} in forks
    assert f"playhead show {shown['run']}" in shell("show", "nightly").out
    assert "run.forked" in shell("log", f"mailbox/{said['run']}").out


def test_a_fork_that_died_is_the_same_run_again_and_its_effect_is_in_doubt(forked: Forked) -> None:
    shell, said = forked
    effects = (shell.directory / "effects.txt").read_text().splitlines()

    assert said["died"].code < 0
    assert said["again"].code == 7
    assert "in doubt: playhead resolve" in said["again"].out
    assert effects == ["hi 8 1", "hi 9 1", "hi 8 1"]


def test_two_runs_are_compared(forked: Forked) -> None:
    shell, said = forked

    found = shell.here("diff", "nightly", "nine", "--json")
    same = shell.here("diff", "nightly", "nightly")

    assert found.code == 1
    document = found.document
    assert document["runs"][0] == said["run"]
    first, *_ = document["differences"]
    assert (first["kind"], first["op"]) == ("changed", "0/work#0")
    (tool,) = [each for each in document["differences"] if each["op"] == "0/work#0/fetch#0"]
    assert tool["fields"] == [{"event": "tool.completed", "path": "result", "a": 8, "b": 9}]
    assert document["totals"]["a"]["model_calls"] == document["totals"]["b"]["model_calls"] == 1
    assert same.code == 0
    assert same.out.startswith("identical")
    assert shell.here("diff", "nightly", "nine", "--ignore", "result", "--ignore", "args").code == 0
    assert shell.here("diff", "nightly@4", "nine@2", "--json").document["same"] is False


def test_the_first_event_at_which_something_holds_is_found(recorded: Recorded) -> None:
    shell, runs = recorded

    slow = shell.here("bisect", "nightly", "--when", "cost_micros > 0", "--json").document
    quick = shell.here("bisect", "nightly", "--when", "cost_micros > 0", "--monotone", "--json").document

    assert slow["event"] == quick["event"]
    assert (slow["run"], slow["type"]) == (runs["audit"], "model.answered")
    assert quick["looked_at"] <= 6
    assert shell.here("bisect", "twice", "--when", "status").code == 2
    nothing = shell.here("bisect", "nightly", "--when", "status == 'failed'")
    assert (nothing.code, nothing.out.split()[0]) == (1, "nowhere")
    assert shell.here("bisect", "nightly@3..5", "--when", "event.seq >= 0", "--json").document["event"] == 3


def test_two_runs_are_bisected_by_their_end_an_expression_and_a_command(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    (tmp_path / "jury.py").write_text(
        "import os\n"
        "from playhead import persona, tool\n\n"
        '@tool(side_effect_level="read_only")\n'
        "async def vote(juror: str) -> str:\n"
        '    open("asked.txt", "a").write(juror)\n'
        '    return os.environ["VOTES"][ord(juror) - ord("a")]\n\n'
        "@persona\n"
        "async def jury() -> str:\n"
        '    votes = [await vote(juror) for juror in "abcd"]\n'
        '    return "hung" if "x" in votes else "decided"\n'
    )
    shell("run", "jury.py:jury", "--name", "calm", VOTES="ynyn")
    shell("run", "jury.py:jury", "--name", "torn", VOTES="nyxy")
    asked = (tmp_path / "asked.txt").read_text()

    said = shell("bisect", "calm", "torn", "jury.py", "--json")
    script = "import json, sys; sys.exit(json.load(sys.stdin)['result'] != 'decided')"
    told = shell("bisect", "calm", "torn", "jury.py", "--", sys.executable, "-c", script)
    lost = shell("bisect", "calm", "torn", "jury.py", "--", "sh", "-c", "exit 200")

    (culprit,) = said.document["culprits"]
    assert (culprit["kind"], culprit["name"]) == ("outcome", "0/vote#2")
    assert said.document["tests"] <= 10
    assert told.code == 0
    assert "0/vote#2" in told.out
    assert lost.code == 2
    assert (tmp_path / "asked.txt").read_text() == asked


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("fork", "nobody", "agents.py"), 3, "store.not_found"),
        (("fork", "nightly@1..3", "agents.py"), 2, "is a range"),
        (("fork", "nightly@99", "agents.py"), 3, "has no event 99"),
        (("fork", "nightly"), 2, "needs its program"),
        (("fork", "nightly", "agents.py", "--arg", "n=x"), 2, "no JSON"),
        (("fork", "nightly", "agents.py", "--set-args", "[1]"), 2, "takes an object"),
        (("fork", "nightly", "agents.py", "--outcome", "fetch#0"), 2, "NAME=VALUE"),
        (("fork", "nightly", "agents.py", "--outcome", 'fetch#0="x"'), 2, "does not fit"),
        (("fork", "nightly", "agents.py", "--allow", ""), 2, "can allow"),
        (("fork", "nightly", "agents.py", "--policy", "nowhere.json"), 3, "no file"),
        (("fork", "nightly", "agents.py", "--mode", "exact", "--arg", "n=5"), 2, "no edits"),
        (("bisect", "nightly"), 2, "what is wrong"),
        (("bisect", "nightly", "--when", "a b"), 2, "no expression"),
        (("bisect", "nightly", "--when", "open('x')"), 2, "cannot hold"),
        (("diff", "nightly", "nobody"), 3, "store.not_found"),
        (("diff", "nightly", "nightly", "--ignore", ""), 2, "names a field"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    shell, _ = recorded
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "agents", raising=False)

    done = shell.here(*words, "--json")
    sys.modules.pop("agents", None)

    assert done.code == code, done.out + done.err
    document = json.loads(done.out)
    assert document["schema"] == "playhead.error/1"
    assert said in json.dumps(document)
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "words", [("diff", "nightly", "nightly"), ("bisect", "nightly", "--when", "operations > 1")]
)
def test_looking_loads_nothing_that_runs_programs(recorded: Recorded, words: tuple[str, ...]) -> None:
    shell, _ = recorded
    code = (
        "import sys\nfrom playhead_projections.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        f"    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=shell.directory,
        env=environment(),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.decode().splitlines()[-1] == "[]"
