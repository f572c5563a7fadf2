"""`playhead compose …`: snippets are checked and surfaces shown, without a store."""

import json
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.cli.shell import Shell
from tests.cli.snippet_files import write_files

TOOLS = {
    "tools": [
        {
            "name": "read.file",
            "description": "Read one file.\nMore.",
            "inputSchema": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}},
                "required": ["path"],
            },
            "annotations": {"kind": "read", "side_effect_level": "read_only"},
        },
        {"name": "send", "annotations": {"destructiveHint": True}},
        {"name": "who", "inputSchema": {"type": "object"}},
        {"type": "x"},
    ]
}


@pytest.fixture(autouse=True)
def surface(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))


def test_everything_that_is_wrong_with_a_snippet_is_said_with_its_place(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text('import os\nx = read_file(path="a")\nreturn open("b")\n')

    checked = shell("compose", "check", "s.py", "--manifest", "tools.json")
    assert checked.code == 1
    lines = checked.out.splitlines()
    assert lines[0].startswith("s.py:1:1: ")
    assert lines[1].startswith("s.py:3:8: ")
    assert "only tools reach outside" in lines[1]

    told = shell("compose", "check", "s.py", "--manifest", "tools.json", "--json")
    assert [problem["line"] for problem in told.document["problems"]] == [1, 3]


def test_a_snippet_that_passes_says_nothing(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text('return read_file(path="a")\n')

    assert (shell("compose", "check", "s.py", "--manifest", "tools.json").out) == ""
    assert shell("compose", "check", "s.py").code == 1
    assert shell("compose", "check", "nowhere.py").code == 3


def test_a_manifest_says_what_may_be_called_and_why_the_rest_may_not(shell: Shell) -> None:
    shown = shell("compose", "manifest", "tools.json", "--include-denied", "--gate", "read.file")
    assert shown.code == 1
    for said in (
        "read_file read.file read_only gated",
        "send       network    denied",
        "who        ?          denied",
        "skipped /tools/3",
        "0 tools may be called",
    ):
        assert said in " ".join(shown.out.split()) or said in shown.out, shown.out

    whole = shell("compose", "manifest", "tools.json", "--vouch", "who", "--json").document
    assert [each["binding"] for each in whole["manifest"]["bindings"]] == ["read_file", "who"]
    assert whole["hash"].startswith("sha256:")
    compact = shell("compose", "manifest", "tools.json", "--compact", "--json").document
    assert "input_schema" not in compact["manifest"]["bindings"][0]


def test_what_is_denied_is_named_also_where_it_is_no_entry(shell: Shell) -> None:
    shown = shell("compose", "manifest", "tools.json").out
    assert "denied  send: side-effect level 'network' is above the ceiling 'read_only'" in shown
    assert "denied  who: declares no side-effect level" in shown


def test_declarations_are_for_models_editors_and_others(shell: Shell) -> None:
    assert (
        "def read_file(path: str, *, limit: int = ...)" in shell("compose", "declarations", "tools.json").out
    )
    stub = shell("compose", "declarations", "tools.json", "--to", "python").out
    assert stub.startswith("from typing import")
    other = shell("compose", "declarations", "tools.json", "--to", "typescript").out
    assert "export declare function read_file(args: { limit?: number; path: string })" in other


def test_examples_are_found_by_what_stands_in_them(shell: Shell) -> None:
    assert "map_bounded" in shell("compose", "examples", "deadline").out
    assert len(shell("compose", "examples", "--json").document["examples"]) == 2
    assert shell("compose", "examples", "no such thing").code == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["manifest", "nowhere.json"], 3, "no file at nowhere.json"),
        (["manifest", "broken.json"], 2, "is no JSON"),
        (["manifest", "tools.json", "--ceiling", "all"], 2, "side_effect_level 'all'"),
        (["declarations", "tools.json", "--to", "cobol"], 2, "cobol"),
        (["manifest", "tools.json", "--gate", "raed.file"], 2, "no tool is called 'raed.file'"),
        (["declarations", "tools.json", "--deny", "read_file"], 2, "read.file"),
    ],
)
def test_a_slip_is_told(shell: Shell, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    (tmp_path / "broken.json").write_text("{")

    refused = shell("compose", *words)

    assert refused.code == code
    assert said in refused.err


def test_the_tools_of_a_host_are_checked_against_and_shown_without_a_file_of_them(
    shell: Shell, tmp_path: Path
) -> None:
    write_files(tmp_path)
    told = shell("compose", "manifest", "--host", "tools.py", "--ceiling", "network")
    assert told.code == 0
    assert "3 tools may be called" in told.out
    assert (
        "def words(text: str)" in shell("compose", "declarations", "--host", "tools.py", "--to", "python").out
    )
    assert shell("compose", "check", "count.snippet", "--host", "tools.py", "--input", "line").code == 0
    assert "line is neither" in shell("compose", "check", "count.snippet", "--host", "tools.py").out
    for words, said in (
        (("manifest",), "come from one place"),
        (("manifest", "tools.json", "--host", "tools.py"), "come from one place"),
        (("manifest", "--host", "tools.py:plain"), "does not say which tools it has"),
        (("check", "count.snippet", "--input", "1x"), "no name of a variable"),
    ):
        refused = shell("compose", *words)
        assert (refused.code, said in refused.err) == (2, True), refused.err


def test_the_tools_of_an_mcp_server_are_shown_and_their_hash_can_be_pinned(shell: Shell) -> None:
    pytest.importorskip("mcp")
    server = f"desk={sys.executable} {ROOT / 'tests' / 'composition' / 'servers' / 'honest.py'}"
    told = shell("compose", "manifest", "--mcp", server, "--json").document
    assert told["hash"].startswith("sha256:")
    assert all(each["source"] == "mcp_server" for each in told["manifest"]["bindings"])
