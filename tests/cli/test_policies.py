"""`playhead policy test`: which rule decides about a call, and why."""

import json
from typing import Any

import pytest

from tests.cli.shell import Shell

TOOLS = """
from playhead import tool


@tool(side_effect_level="workspace_write", kind="edit", path_params=["path"])
async def save(path: str, text: str) -> None: ...


@tool(side_effect_level="read_only")
async def look(path: str) -> str: ...


@tool
async def mystery() -> None: ...


words = "no tool"
"""

CAREFUL: dict[str, Any] = {
    "autonomy": [
        {"tier": "act_auto", "reviewers": ["ada", "bob"], "quorum": 2},
        {"actions": {"fs.write": "act_with_approval"}, "agents": {"watcher": "shadow"}},
    ],
    "policy": {"tools": ["save", "look", "mystery"], "workspace_roots": ["notes"]},
}


@pytest.fixture
def home(shell: Shell) -> Shell:
    (shell.directory / "tools.py").write_text(TOOLS)
    (shell.directory / "careful.json").write_text(json.dumps(CAREFUL))
    return shell


def test_the_rules_that_decide_about_a_call_are_named(home: Shell) -> None:
    done = home("policy", "test", "careful.json", "tools.py:save", "--arg", "path=notes/a", "--arg", "text=x")
    assert done.out.splitlines() == [
        "ask: save is fs.write",
        "  scope 0: tier = act_auto",
        "  scope 1: actions[fs.write] = act_with_approval",
        "  act_with_approval: scope 0: tier = act_auto; scope 1: actions[fs.write] = act_with_approval",
        "  2 of ada, bob must agree",
    ]
    assert done.code == 1


@pytest.mark.parametrize(
    ("words", "code", "verdict", "said"),
    [
        (("tools.py:look", "--arg", "path=notes/a"), 1, "denied", "does not declare its path_params"),
        (("tools.py:save", "--arg", "path=/etc/a"), 1, "denied", "exceeds workspace roots"),
        (("erase", "--level", "network"), 1, "denied", "exceeds tool ceiling"),
        (("mystery",), 1, "denied", "workspace roots"),
    ],
)
def test_what_a_policy_forbids_is_denied_whatever_the_tier(
    home: Shell, words: tuple[str, ...], code: int, verdict: str, said: str
) -> None:
    done = home("policy", "test", "careful.json", *words)
    assert (done.code, done.out.partition(":")[0]) == (code, verdict)
    assert said in done.out


@pytest.mark.parametrize(
    ("autonomy", "words", "verdict"),
    [
        ({"tier": "act_auto"}, ("save", "--level", "network"), "act"),
        ({"tier": "act_auto"}, ("save", "--level", "network", "--trusted", "suggest"), "suggest"),
        ({"tier": "act_auto", "per_hour": 3}, ("save", "--level", "network", "--hour", "3"), "ask"),
        ({"tier": "act_auto", "per_day": 3}, ("save", "--level", "network", "--day", "2"), "act"),
        ({"agents": {"a": "shadow"}}, ("save", "--level", "network", "--agent", "a"), "shadow"),
        ({"agents": {"a": "shadow"}}, ("save", "--level", "network"), "act"),
        ({"tier": "shadow"}, ("save", "--level", "read_only"), "act"),
        ({"tier": "act_auto", "actions": {"x.y": "suggest"}}, ("save", "--class", "x.y"), "suggest"),
        ({"tier": "act_auto", "actions": {"x.y": "suggest"}}, ("save",), "suggest"),
    ],
)
def test_a_scope_of_autonomy_is_tried_without_running_anything(
    home: Shell, autonomy: dict[str, Any], words: tuple[str, ...], verdict: str
) -> None:
    (home.directory / "p.json").write_text(json.dumps({"autonomy": autonomy}))
    done = home("policy", "test", "p.json", *words, "--json")
    assert done.document["verdict"] == verdict
    assert done.code == (0 if verdict == "act" else 1)


def test_an_approval_rule_of_a_policy_makes_a_call_wait_that_would_happen_by_itself(home: Shell) -> None:
    said = {"autonomy": {"tier": "act_auto"}, "policy": {"approval": [{"require_approval": ["save"]}]}}
    (home.directory / "p.json").write_text(json.dumps(said))
    assert home("policy", "test", "p.json", "save", "--level", "network").out.startswith("ask: ")
    assert home("policy", "test", "p.json", "load", "--level", "network").code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "holds no policy"),
        ("{}", "holds no policy"),
        ('{"autonomy": {"teir": "shadow"}}', "autonomy has no teir"),
        ('{"autonomy": [3]}', "holds no policy"),
        ('{"autonomy": {"tier": "auto"}}', "'auto' is not one of"),
        ('{"policy": {"tools": "save"}}', "tools is a list"),
        ('{"other": 1}', "holds no policy"),
        ("{", "no JSON"),
    ],
)
def test_a_file_that_holds_no_policy_says_what_is_wrong(home: Shell, text: str, said: str) -> None:
    (home.directory / "p.json").write_text(text)
    done = home("policy", "test", "p.json", "save")
    assert (done.code, said in done.err) == (2, True), done.err


def test_what_is_no_tool_or_no_argument_is_refused(home: Shell) -> None:
    for words, code, said in (
        (("tools.py:words",), 2, "is no tool"),
        (("tools.py:nothing",), 2, "is no tool"),
        (("save", "--arg", "path"), 2, "is no argument"),
        (("save", "--kind", "write"), 2, "kind 'write' is not one of"),
        (("save", "--class", "Fs"), 2, "words with dots between"),
    ):
        done = home("policy", "test", "careful.json", *words)
        assert (done.code, said in done.err) == (code, True), done.err
    assert home("policy", "test", "nowhere.json", "save").code == 3
