"""`playhead compose …` where something is wrong: what is said, and what is not done."""

import json
import subprocess
from pathlib import Path

import pytest

from playhead_projections.compositions.trace import _effects
from tests.cli.shell import Shell, command, environment
from tests.cli.snippet_files import SECRETS, TOOLS, run_of, write_files


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    write_files(tmp_path)


# What is said before anything is recorded, and what is said in the right words.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--manifest", "surface.json"), "somebody has to carry the calls out"),
        (("--host", "tools.py", "--input", "1x=2"), "no name of a variable"),
        (("--host", "tools.py", "--input", "len=2"), "name of a helper"),
        (("--host", "tools.py", "--input", "words=2"), "a tool"),
        (("--host", "tools.py", "--input", "line=NaN"), "line"),
        (("--host", "tools.py", "--input", f"line={2**64}"), "64"),
        (("--host", "tools.py", "--input", f"line={'[' * 5000}{']' * 5000}"), "no JSON"),
        (("--host", "tools.py", "--attempts", "0"), "attempts"),
        (("--mcp", "a=true", "--mcp", "a=true"), "two servers have one name"),
        (("--host", ""), "names no program"),
        (("--host", "."), "names no program"),
        (("--host", "tools.py:alone"), "carries no calls out"),
        (("--host", "tools.py", "--trust", "nobody"), "no server is called 'nobody'"),
        (("--host", "tools.py", "--secret", ""), "--secret names nothing"),
        (("--outputs", "nan.json"), "no number of JSON"),
    ],
)
def test_what_cannot_run_is_refused_before_there_is_a_run(
    shell: Shell, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "surface.json").write_text('[{"name": "ask"}]')
    (tmp_path / "nan.json").write_text('{"words": NaN}')
    before = shell("runs", "--json").document["runs"] if (tmp_path / "runs.db").exists() else []
    refused = shell("compose", "run", "count.snippet", *words)
    assert refused.code == 2
    assert said in refused.err
    assert "internal" not in refused.err
    after = shell("runs", "--json").document["runs"] if (tmp_path / "runs.db").exists() else []
    assert after == before


def test_a_snippet_comes_from_standard_input_too_and_one_that_is_too_long_is_not_recorded(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "long.snippet").write_text("x = 1\n" * 1_000_000)
    refused = shell("compose", "run", "long.snippet")
    assert refused.code == 2
    assert "too long for a snippet" in refused.err
    assert not (tmp_path / "runs.db").exists() or (tmp_path / "runs.db").stat().st_size < 1_000_000


def test_a_run_is_named_as_its_file_where_that_can_stand_in_an_address(shell: Shell, tmp_path: Path) -> None:
    for name in ("plain.snippet", "at@12.snippet"):
        (tmp_path / name).write_text("return 1")
        assert shell("compose", "run", name).code == 0
    assert [run["name"] for run in shell("runs", "--json").document["runs"]] == [None, "plain.snippet"]


def test_a_denied_tool_is_not_called_unknown(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "surface.json").write_text('[{"name": "read.it"}, {"name": "odd", "inputSchema": 5}]')
    (tmp_path / "read.snippet").write_text("return read_it(a=1)")
    checked = shell("compose", "check", "read.snippet", "--manifest", "surface.json")
    assert "the tool read.it is denied: declares no side-effect level" in checked.out
    ran = shell("compose", "run", "read.snippet", "--manifest", "surface.json", "--outputs", "none.json")
    assert ran.code == 3
    (tmp_path / "none.json").write_text("{}")
    ran = shell("compose", "run", "read.snippet", "--manifest", "surface.json", "--outputs", "none.json")
    assert "the tool read.it is denied: declares no side-effect level" in ran.out


def test_an_error_of_a_snippet_is_told_with_its_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "zero.snippet").write_text("x = 1\nprint('so far')\nreturn x // 0")
    ran = shell("compose", "run", "zero.snippet")
    assert "ZeroDivisionError: division by zero (line 3 of the snippet)" in ran.out
    assert "division by zero, line 3" in shell("compose", "report").out
    as_json = shell("compose", "run", "zero.snippet", "--json")
    assert as_json.document["status"] == "failed"
    assert "so far" in as_json.err


def test_what_a_snippet_printed_and_what_is_wrong_with_it_stand_beside_the_document(shell: Shell) -> None:
    ran = shell("compose", "run", "count.snippet", "--host", "tools.py", "--json")
    assert ran.document["status"] == "failed"
    assert "2:32: name: line is neither a variable" in ran.err


def test_a_surface_is_run_without_what_the_manifest_skips(shell: Shell, tmp_path: Path) -> None:
    broken = {"name": "big", "inputSchema": {"type": "integer", "maximum": 2**70}}
    fine = {"name": "ask", "annotations": {"side_effect_level": "read_only"}}
    (tmp_path / "surface.json").write_text(json.dumps({"tools": [broken, fine]}))
    (tmp_path / "none.json").write_text("{}")
    (tmp_path / "ask.snippet").write_text("return ask(x=1)")
    ran = shell("compose", "run", "ask.snippet", "--manifest", "surface.json", "--outputs", "none.json")
    assert ran.code == 0, ran.err


def test_a_run_is_taken_up_with_the_host_that_it_began_with_and_with_no_other(
    shell: Shell, tmp_path: Path
) -> None:
    changed = TOOLS.replace("def send(text: str)", "def send(text: str, more: int = 0)")
    (tmp_path / "other.py").write_text(changed)
    (tmp_path / "less.py").write_text(SECRETS)
    texts = ("--input", 'texts=["a", "b", "c"]', "--ceiling", "network")
    killed = shell("compose", "run", "send.snippet", "--host", "tools.py", *texts, DIE="b")
    run = run_of(killed.err)
    for words, said in (
        ((), "somebody has to carry the calls out"),
        (("--host", "less.py"), f"the host has no length, and run {run} began with it"),
        (("--host", "other.py"), f"the host has another send, and run {run} began with it"),
    ):
        refused = shell("compose", "resume", run, *words)
        assert (refused.code, said in refused.err) == (2, True), refused.err
    assert "running, its run interrupted" in shell("compose", "report", run).out
    (report,) = shell("compose", "report", run, "--json").document["compositions"]
    assert report["run"]["metadata"]["run_status"] == "interrupted"
    doubt = shell("compose", "resume", run, "--host", "tools.py")
    assert doubt.code == 7
    (place,) = (word for word in doubt.out.split() if word.startswith(f"{run}@"))
    told = shell("resolve", place, "--value", '"sent"')
    assert f"playhead compose resume {run} --host FILE.py" in told.out
    assert shell("compose", "resume", run, "--host", "tools.py").code == 0
    assert (tmp_path / "sent.txt").read_text() == "a\nb\nc\n"


@pytest.mark.parametrize("capabilities", [{"a": 5}, 5, {"a": ["x", 5]}, None])
def test_odd_annotations_on_a_log_do_not_keep_a_trace_from_being_read(capabilities: object) -> None:
    call = {
        "annotations": {"capabilities": capabilities, "path_params": [["n"], 5]},
        "requested_side_effect_level": "network",
        "effect": "effect",
        "raw_input": {"n": 1},
    }
    assert [effect["target"] for effect in _effects(call) or ()] == [None]


def test_a_locale_that_knows_ascii_only_is_no_reason_to_lose_an_answer(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "snow.snippet").write_text('print("\u2603")\nreturn "\u00e9"')
    ran = shell("compose", "run", "snow.snippet", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "\u2603"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_answer_that_cannot_be_written_is_one_clear_error(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "one.snippet").write_text("return 1")
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command("compose", "run", "one.snippet"),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert "os: " in ran.stderr


def test_a_run_with_a_surface_of_its_own_is_taken_up_with_the_host_that_carried_it(
    shell: Shell, tmp_path: Path
) -> None:
    surface = [{"name": "send", "annotations": {"side_effect_level": "network"}}]
    (tmp_path / "surface.json").write_text(json.dumps(surface))
    texts = ("--input", 'texts=["a", "b"]', "--ceiling", "network")
    words = ("send.snippet", "--host", "tools.py", "--manifest", "surface.json", *texts)
    run = run_of(shell("compose", "run", *words, DIE="b").err)
    assert shell("compose", "resume", run, "--host", "tools.py").code == 7


def test_a_surface_says_no_less_of_a_tool_than_its_host(shell: Shell, tmp_path: Path) -> None:
    surface = [{"name": "send", "annotations": {"side_effect_level": "read_only"}}]
    (tmp_path / "lie.json").write_text(json.dumps(surface))
    words = ("--host", "tools.py", "--manifest", "lie.json", "--input", "texts=[]")
    refused = shell("compose", "run", "send.snippet", *words)
    assert refused.code == 2
    assert "send is declared as read_only, and its own host says more" in refused.err


def test_a_surface_says_the_class_that_a_tool_of_its_host_names_itself(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mails.py").write_text(
        "from playhead import tool\n\n"
        '@tool(side_effect_level="read_only", kind="read", action="mail.send")\n'
        "async def send(text: str) -> int:\n    return 1\n"
    )
    said = {"name": "send", "annotations": {"side_effect_level": "read_only", "kind": "read"}}
    words = ("send.snippet", "--host", "mails.py", "--manifest", "surface.json", "--input", "texts=[]")
    (tmp_path / "surface.json").write_text(json.dumps([said]))
    refused = shell("compose", "run", *words)
    assert refused.code == 2
    assert "send has effects of the class mail.send, and is declared without" in refused.err
    (tmp_path / "surface.json").write_text(json.dumps([{**said, "metadata": {"action_class": "mail.send"}}]))
    assert shell("compose", "run", *words).code == 0


def test_an_answer_that_does_not_fit_is_judged_once_and_told(shell: Shell, tmp_path: Path) -> None:
    texts = ("--input", 'texts=["a", "b"]', "--ceiling", "network")
    run = run_of(shell("compose", "run", "send.snippet", "--host", "tools.py", *texts, DIE="b").err)
    doubt = shell("compose", "resume", run, "--host", "tools.py")
    (place,) = (word for word in doubt.out.split() if word.startswith(f"{run}@"))
    shell("resolve", place, "--value", "3")
    for _ in range(2):
        again = shell("compose", "resume", run, "--host", "tools.py")
        assert again.code == 7
        assert "the last answer for send was refused: " in again.out
    shown = shell("show", run).out
    assert shown.count("attempt 0") == 1
    assert "not taken yet" not in shown
    shell("resolve", place, "--value", '"sent"')
    assert shell("compose", "resume", run, "--host", "tools.py").code == 0


def test_where_no_tools_are_known_that_is_said(shell: Shell) -> None:
    ran = shell("compose", "run", "count.snippet", "--input", 'line="a"')
    assert ran.code == 1
    assert "No tools are known here" in ran.err
