"""What people said to a call is told by `report`, `why` and `blame`: who said no, and who edited it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from playhead import ApprovalRules, Engine, Policy, persona, tool
from playhead.errors import ApprovalDenied
from playhead.runtime.run import Run
from playhead.testing.recording import Programs, replay_recording
from tests.cli.shell import Shell
from tests.runtime.conftest import until

RULES = Policy(approval=ApprovalRules(require_approval=["publish"]))


@tool(side_effect_level="network")
async def publish(text: str, copies: int) -> str:
    return f"published {copies} of {text}"


@persona(policy=RULES)
async def prints(text: str) -> str:
    first = await publish(text, 1000)
    try:
        await publish("a secret", 1)
    except ApprovalDenied:
        return first
    return "nobody said no"


async def _asked(run: Run) -> str:
    while not (asked := await run.requests()):  # noqa: ASYNC110  only the log says it
        await asyncio.sleep(0.005)
    return asked[0].request


async def _asks_for(run: Run, text: str) -> bool:
    return any(text.encode() in bytes(each.args) for each in await run.requests())


async def _recorded(path: Path) -> str:
    async with Engine.open(path, personas=[prints]) as engine:
        run = await engine.start(prints, "the news")
        cheaper = {"text": "the news", "copies": 25}
        await run.answer(await _asked(run), "approve", cheaper, reviewer="ada", reason="too many")
        await until(lambda: _asks_for(run, "a secret"))
        await run.answer(await _asked(run), "deny", reviewer="bob", reason="not that")
        await run.result()
        return run.id


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("people"))
    asyncio.run(_recorded(shell.store))
    return shell


def seqs(shell: Shell, type_: str) -> list[int]:
    events = shell.here("log", "@", "--json").document["events"]
    return [each["seq"] for each in events if each["type"] == type_]


def test_a_no_of_a_person_is_not_said_to_be_of_a_policy(shell: Shell) -> None:
    (denied,) = shell.here("report", "@", "--json").document["denied"]
    told = shell.here("report", "@").out

    assert (denied["by"], denied["people"]) == (None, {"status": "denied", "by": ["bob"]})
    assert "denied by bob" in told
    (row,) = [line for line in told.partition("\nDenied\n")[2].splitlines() if "tool publish" in line][:1]
    assert row.split()[3] == "bob"


def test_an_edited_approval_shows_what_was_asked_for_and_what_was_agreed_to(shell: Shell) -> None:
    report = shell.here("report", "@", "--json").document

    (edited,) = [node["edited"] for node in report["nodes"] if "edited" in node]
    assert ("1000" in edited["asked"], "25" in edited["agreed"], edited["by"]) == (True, True, ["ada"])
    first, second = report["people"]
    assert (first["edited"], first["answers"][0]["edited"], second["edited"]) == (True, True, False)
    told = shell.here("report", "@").out
    assert "granted as edited by ada" in told
    assert "edited by ada: asked for" in told
    assert "ada: approve as edited (too many)" in told
    (calls,) = [line for line in told.splitlines() if line.strip().startswith("asked for")]
    assert ("1000" in calls.partition("agreed to")[0], "25" in calls.partition("agreed to")[2]) == (
        True,
        True,
    )


def test_why_shows_both_calls(shell: Shell) -> None:
    intent, granted = seqs(shell, "tool.requested")[0], seqs(shell, "approval.granted")[0]
    asked = seqs(shell, "approval.requested")[0]

    for seq in (intent, granted):
        (link, *_) = shell.here("why", f"@{seq}", "--json").document["links"]
        found: dict[str, Any] = {each["relation"]: each for each in link["because"]}
        assert found["asked_otherwise"]["seq"] == asked
        assert "1000" in found["asked_otherwise"]["says"]
    assert "it was edited, and had been asked for as" in shell.here("why", f"@{intent}").out


def test_a_replayed_run_has_both_calls(shell: Shell) -> None:
    exported = shell.directory / "run.jsonl"
    assert shell.here("export", "@", "-o", str(exported)).code == 0

    first, second = replay_recording(exported, Programs.of([prints]))[0].approvals

    assert (first.args["copies"], first.agreed["copies"], first.edited) == (1000, 25, True)
    assert (second.status, second.agreed) == ("denied", None)


def test_blame_names_who_edited_a_call(shell: Shell) -> None:
    intent = seqs(shell, "tool.requested")[0]

    told = shell.here("blame", f"@{intent}", "/args/copies")

    assert told.code == 0
    assert "approval.answered" in told.out
    assert "/value/copies  by ada" in told.out


def test_blame_says_what_was_erased_instead_of_a_wrong_writer(shell: Shell, tmp_path: Path) -> None:
    copied = Shell(tmp_path)
    assert shell.here("export", "@", "-o", str(tmp_path / "run.jsonl")).code == 0
    assert copied.here("import", str(tmp_path / "run.jsonl")).code == 0
    intent, answered = seqs(shell, "tool.requested")[0], seqs(shell, "approval.answered")[0]
    assert copied.here("redact", f"@{answered}", "--by", "ada", "--reason", "asked to").code == 0

    told = copied.here("blame", f"@{intent}", "/args/copies")

    assert told.code == 1
    assert f"erased at        {answered} (approval.answered): where it came from cannot be told" in told.out
