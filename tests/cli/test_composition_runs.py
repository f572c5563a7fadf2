"""`playhead compose run`, `resume`, `report`, `events` and `trace`: a snippet in a run of its own."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT
from tests.cli.shell import Shell
from tests.cli.snippet_files import SECRETS, TOOLS, run_of, write_files

SERVER = ROOT / "tests" / "composition" / "servers" / "honest.py"


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    write_files(tmp_path)


def test_a_snippet_runs_with_the_tools_of_a_file_and_its_run_is_on_the_log(shell: Shell) -> None:
    ran = shell("compose", "run", "count.snippet", "--host", "tools.py", "--input", 'line="a bc def"')
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "seen 3"
    assert ran.out.splitlines()[-1] == "[1, 2, 3]"
    run = run_of(ran.err)
    assert "length, send" not in shell("show", run).out  # what is above the ceiling is no entry

    replayed = shell("replay", run)
    assert (replayed.code, replayed.out.split()[0]) == (0, "identical")

    reported = shell("compose", "report", run)
    assert reported.code == 0
    assert "composition completed with 4 child operation(s)" in reported.out
    assert [line.split()[1:4] for line in reported.out.splitlines()[2:]] == [
        ["words", "2", "completed"],
        *([f"length 2[{n}] completed".split() for n in range(3)]),
    ]


def test_the_report_is_one_document_and_events_are_lines(shell: Shell) -> None:
    ran = shell("compose", "run", "count.snippet", "--host", "tools.py", "--input", 'line="a b"', "--json")
    assert (ran.document["status"], ran.document["result"]) == ("completed", [1, 1])
    whole = shell("compose", "report", "--json").document
    assert whole["schema"] == "playhead.compositions/1"
    assert whole["compositions"][0]["run"]["result"] == [1, 1]
    events = shell("compose", "events", "@", "--session", "s1").lines
    assert [event["type"] for event in events][:2] == ["composition_start", "composition_child_call"]
    assert events[-1]["type"] == "composition_finish"
    assert {event["session_id"] for event in events} == {"s1"}
    trace = shell("compose", "trace", "@", "--op", "compose#0", "--id", "t1").document
    assert (trace["schema"], trace["id"], len(trace["actions"])) == ("playhead.composition_trace/1", "t1", 4)


def test_a_snippet_that_is_refused_or_fails_says_why_with_exit_code_1(shell: Shell) -> None:
    refused = shell("compose", "run", "count.snippet", "--host", "tools.py")
    assert refused.code == 1
    assert "2:32: name: line is neither a variable" in refused.out
    failed = shell("compose", "run", "count.snippet", "--host", "tools.py", "--input", "line=3")
    assert failed.code == 1
    assert "schema_validation" in shell("compose", "report", "--json").out
    above = shell("compose", "run", "send.snippet", "--host", "tools.py", "--input", "texts=[]")
    assert above.code == 1
    assert "send is neither" in above.out


def test_other_hosts_are_a_table_a_function_an_object_and_a_list_of_tools(
    shell: Shell, tmp_path: Path
) -> None:
    surface = [{"name": "ask", "annotations": {"side_effect_level": "read_only"}}]
    (tmp_path / "surface.json").write_text(json.dumps(surface))
    (tmp_path / "out.json").write_text('{"ask": {"a": 1}}')
    (tmp_path / "ask.snippet").write_text("return ask(x=1)")

    def result(*words: str) -> Any:
        ran = shell("compose", "run", "ask.snippet", "--manifest", "surface.json", *words, "--json")
        return ran.document["result"]

    assert result("--outputs", "out.json") == {"a": 1}
    (tmp_path / "none.json").write_text("{}")
    assert result("--outputs", "none.json") == {"tool": "ask", "input": {"x": 1}}
    assert result("--host", "tools.py:plain") == ["ask", {"x": 1}]
    assert result("--host", "tools.py:both") == "ask"
    (tmp_path / "words.snippet").write_text("return words(text='a b')")
    ran = shell("compose", "run", "words.snippet", "--host", "tools.py:some", "--json")
    assert ran.document["result"] == ["a", "b"]


def test_an_mcp_server_carries_calls_out_and_is_trusted_only_where_somebody_says_so(
    shell: Shell, tmp_path: Path
) -> None:
    pytest.importorskip("mcp")
    server = f"desk={sys.executable} {SERVER}"
    (tmp_path / "none.snippet").write_text("return 1")
    ran = shell("compose", "run", "none.snippet", "--mcp", server)
    assert ran.code == 0, ran.err
    shown = shell("show", run_of(ran.err)).out
    assert "desk_" in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere.snippet",), 3, "no file"),
        (("count.snippet", "--host", "nowhere.py"), 3, "no file"),
        (("count.snippet", "--host", "tools.py:nothing"), 3, "no nothing"),
        (("count.snippet", "--host", "tools.py:odd"), 2, "carries no calls out"),
        (("count.snippet", "--host", "tools.py", "--outputs", "x.json"), 2, "several hosts"),
        (("count.snippet", "--mcp", "broken"), 2, "names no server"),
        (("count.snippet", "--mcp", "a b=true"), 2, "no name of a server"),
        (("count.snippet", "--input", "line"), 2, "NAME=VALUE"),
        (("count.snippet", "--input", "line=x"), 2, "no JSON"),
        (("count.snippet", "--limit", "max_luck=1"), 2, "no limit max_luck"),
        (("count.snippet", "--limit", "max_operations=-1"), 2, "whole number"),
        (("count.snippet", "--ceiling", "sky"), 2, "sky"),
        (("count.snippet", "--outputs", "count.snippet"), 2, "no JSON"),
        (("count.snippet", "--host", "tools.py", "--gate", "sned"), 2, "no tool is called 'sned'"),
    ],
)
def test_what_makes_no_sense_is_said_and_no_run_begins(
    shell: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = shell("compose", "run", *words)
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert not shell.store.exists()


def test_bounds_and_a_pinned_manifest_hold(shell: Shell) -> None:
    count = ("compose", "run", "count.snippet", "--host", "tools.py", "--input", 'line="a b"')
    assert "max_operations=2" in shell(*count, "--limit", "max_operations=2").out
    assert "not the one that was pinned" in shell(*count, "--pin", "sha256:0").out
    known = shell("compose", "report", "--json").document["compositions"][0]["run"]["binding_manifest_hash"]
    assert shell(*count, "--pin", known).code == 0


def test_the_same_key_is_the_same_run(shell: Shell) -> None:
    count = ("compose", "run", "count.snippet", "--host", "tools.py", "--input", 'line="a"', "--key", "k")
    first, second = shell(*count), shell(*count)
    assert run_of(first.err) == run_of(second.err)
    assert len(shell("runs", "--json").document["runs"]) == 1


def test_one_that_was_killed_goes_on_where_it_was_and_an_effect_in_doubt_asks(
    shell: Shell, tmp_path: Path
) -> None:
    words = ("send.snippet", "--host", "tools.py", "--ceiling", "network", "--input", 'texts=["a","b","c"]')
    killed = shell("compose", "run", *words, DIE="b")
    assert killed.code == -9
    run = run_of(killed.err)

    assert "somebody has to carry its calls out" in shell("resume", run).err
    waits = shell("compose", "resume", run, "--host", "tools.py")
    assert waits.code == 7
    assert "playhead resolve" in waits.out
    place = waits.out.partition("playhead resolve ")[2].split()[0]
    assert shell("compose", "report", run, "--json").document["compositions"][0]["child_results"][1][
        "outcome"
    ] == ("in_doubt")

    assert shell("resolve", place, "--value", '"sent"').code == 0
    done = shell("compose", "resume", run, "--host", "tools.py")
    assert (done.code, done.out.splitlines()[-1]) == (0, "3")
    assert (tmp_path / "sent.txt").read_text() == "a\nb\nc\n"  # nothing twice
    results = shell("compose", "report", run, "--json").document["compositions"][0]["child_results"]
    assert [result["answered_by"] for result in results] == [None, "ada", None]
    assert shell("replay", run).code == 0
    assert shell("compose", "resume", run, "--host", "tools.py").code == 0  # it is over


def test_what_is_secret_by_name_is_in_no_event_of_the_run_and_its_replay_agrees(shell: Shell) -> None:
    (Path(shell.store).parent / "tokens.py").write_text(SECRETS)
    (Path(shell.store).parent / "login.snippet").write_text("return login(token=key, user='me')")
    login = ("compose", "run", "login.snippet", "--host", "tokens.py", "--input", 'key="hunter2"')
    shown = shell(*login, "--secret", "token", "--secret", "key")
    assert shown.code == 0, shown.err
    assert "playhead:redacted:" in shown.out
    files = [path for path in shell.store.parent.glob("runs.db*") if path.is_file()]
    assert not [path for path in files if b"hunter2" in path.read_bytes() or b"sesame" in path.read_bytes()]
    assert shell("replay").code == 0
    report = shell("compose", "report", "--json").document["compositions"][0]
    assert report["child_calls"][0]["raw_input"]["token"].startswith("playhead:redacted:")

    for name in ("snippet", "*", "max_operations"):
        refused = shell(*login, "--secret", name, "--limit", "max_operations=3")
        assert (refused.code, f"--secret {name} would hide" in refused.err) == (2, True)


def test_one_that_was_killed_goes_on_with_the_names_that_were_secret(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "vault.py").write_text(TOOLS + SECRETS)
    (tmp_path / "s.snippet").write_text("send(text='b')\nreturn login(token='x', user='me')")
    words = ("s.snippet", "--host", "vault.py", "--ceiling", "network", "--secret", "tok*")
    run = run_of(shell("compose", "run", *words, DIE="b").err)
    waits = shell("compose", "resume", run, "--host", "vault.py")
    place = waits.out.partition("playhead resolve ")[2].split()[0]
    assert shell("resolve", place, "--value", '"sent"').code == 0
    done = shell("compose", "resume", run, "--host", "vault.py")
    assert (done.code, "playhead:redacted:" in done.out) == (0, True)
    files = [path for path in tmp_path.glob("runs.db*") if path.is_file()]
    assert not [path for path in files if b"sesame" in path.read_bytes()]
    assert shell("replay", run).code == 0


def test_a_run_without_compositions_says_so(shell: Shell) -> None:
    run, _ = shell.run("naps")
    assert shell("compose", "report", run).code == 1
    assert shell("compose", "events", run).code == 1
    assert shell("compose", "trace", run).code == 3
    assert shell("compose", "report", run, "--op", "compose#0").code == 3
    other = shell("compose", "resume", run)
    assert (other.code, "--program" in other.err) == (3, True)
