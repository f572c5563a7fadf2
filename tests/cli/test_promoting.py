"""`playhead trust promote` and `demote`: people say what an agent is trusted with, from the command line."""

import json
from pathlib import Path

import pytest

from tests.cli.shell import Shell

PROGRAM = """
from typing import Any

from playhead import Autonomy, Policy, Proposed, persona, tool


@tool(side_effect_level="network")
async def send(to: str) -> str:
    return f"sent to {to}"


@persona
async def clerk() -> str:
    made: Any = await send("ada")
    return "proposed" if isinstance(made, Proposed) else made
"""


@pytest.fixture
def home(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("COLUMNS", "400")
    (shell.directory / "clerks.py").write_text(PROGRAM)
    return shell


def ran(home: Shell) -> str:
    done = home("run", "clerks.py:clerk")
    assert done.code == 0, done.err
    return done.out.splitlines()[-1].strip().strip('"')


def test_who_is_demoted_is_held_to_it_in_every_run_that_starts_later(home: Shell) -> None:
    assert ran(home) == "sent to ada"
    done = home("trust", "demote", "clerk", "shadow", "--by", "ada", "--reason", "too loud")
    assert (done.code, done.out.strip()) == (0, "clerk  no word -> shadow, by ada, unsigned")
    assert ran(home) == "proposed"
    told = home("trust", "promote", "clerk", "act_auto", "--by", "bob", "--json").document
    assert told == {
        "schema": "playhead.trust_changed/1",
        "agent": "clerk",
        "action": "promote",
        "before": "shadow",
        "after": "act_auto",
        "by": "bob",
        "signed": False,
    }
    assert ran(home) == "sent to ada"
    found = home("trust", "query", "--json").document["records"]
    assert [(each["action"], each["outcome"]) for each in found] == [
        ("trust.demote", "success"),
        ("network.call", "denied"),
        ("trust.promote", "success"),
        ("network.call", "success"),
    ]
    log = home("log", "trust/clerk").out
    assert "clerk demoted from no word to shadow by ada: too loud" in log


def test_a_change_that_leads_the_wrong_way_or_names_nobody_changes_nothing(home: Shell) -> None:
    missing = home("trust", "demote", "clerk", "suggest", "--by", "ada")
    assert (missing.code, "there is no store" in missing.err) == (3, True)
    ran(home)
    assert home("trust", "demote", "clerk", "suggest", "--by", "ada").code == 0
    wrong = home("trust", "promote", "clerk", "shadow", "--by", "ada")
    assert (wrong.code, "does not lead down from suggest to shadow" in wrong.err) == (1, True)
    nobody = home("trust", "promote", "clerk", "act_auto", "--by", " ")
    assert (nobody.code, "--by NAME" in nobody.err) == (2, True)
    assert home("trust", "promote", "clerk", "boss", "--by", "ada").code == 2
    assert home("trust", "promote", "no such/name", "act_auto", "--by", "ada").code in (1, 2)
    itself = home("trust", "promote", "clerk", "act_auto", "--by", "clerk")
    assert (itself.code, "cannot say what clerk is trusted with" in itself.err) == (1, True)
    assert len(home("trust", "query", "--json").document["records"]) == 1


def test_with_a_keyring_only_a_signed_change_is_taken(home: Shell) -> None:
    key = home.directory / "ada.pem"
    public = json.loads("{" + home("key", "new", "ada", "--out", str(key)).out.strip() + "}")
    ring = home.directory / "keys.json"
    ring.write_text(json.dumps({"reviewers": public}))
    keys = ("--reviewer-keys", str(ring))
    ran(home)
    refused = home("trust", "promote", "clerk", "act_auto", "--by", "ada", *keys)
    assert (refused.code, "only what is signed counts" in refused.err) == (1, True)
    stranger = home("trust", "promote", "clerk", "act_auto", "--by", "eve", *keys, "--key", str(key))
    assert (stranger.code, "eve has no key" in stranger.err) == (1, True)
    done = home("trust", "promote", "clerk", "act_auto", "--by", "ada", *keys, "--key", str(key))
    assert (done.code, "unsigned" in done.out) == (0, False)
    (record,) = home("trust", "query", "--json").document["records"]
    assert record["metadata"]["signature"] not in ("", "unsigned")
    assert Path(key).stat().st_mode & 0o077 == 0
