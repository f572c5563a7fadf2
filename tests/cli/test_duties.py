"""`playhead persona …`: a persona on duty is looked after from anywhere, by its stream."""

from pathlib import Path

from playhead.log.reader import LogReader
from playhead_projections.cli.wording import decoded, said
from tests.cli.shell import Shell

PROGRAM = """
from playhead import Request, model_call, persona, tool
from playhead.runtime.dispatcher import Binding
from playhead.policy.duty import DutyBudget
from playhead.testing import ScriptedModel, priced

@persona
async def triage(n: int) -> str:
    if n == 13:
        raise ValueError("unlucky")
    return (await model_call(Request(prompt=str(n)))).text

ON_DUTY = Binding(triage, budget=DutyBudget(daily_usd="0.0012"))
PLAYHEAD = {"model": ScriptedModel([priced("fine", tokens_in=5, micros=700)] * 9)}
"""


def test_a_persona_is_triggered_paused_ticked_and_asked_from_the_command_line(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "duty.py").write_text(PROGRAM)
    program = ["--program", "duty.py"]

    def persona(*words: str, code: int = 0) -> str:
        said = shell("persona", *words)
        assert said.code == code, said.err
        return said.out

    assert "queued" in persona("trigger", "triage", "--arg-json", "n=1", "--work-key", "a", *program)
    assert "duplicate" in persona(
        "trigger", "triage", "--arg-json", "n=1", "--work-key", "a", *program, code=1
    )
    assert "paused" in persona("pause", "triage", "--reason", "deploying")
    assert "nothing is due" in persona("tick", "triage", *program)
    assert "paused, deploying" in persona("status", "triage")
    persona("resume", "triage")
    assert "completed" in persona("tick", "triage", *program)
    persona("trigger", "triage", "--arg-json", "n=13", "--work-key", "b", *program)
    assert "unlucky" in persona("tick", "triage", *program, code=1)
    for key in ("c", "d"):
        persona("trigger", "triage", "--arg-json", "n=2", "--work-key", key, *program)
    ticked = persona("tick", "triage", *program, code=1)
    assert "exceeded max_usd budget" in ticked
    assert "daily_usd is spent" in ticked
    assert "daily_usd is spent: the next trigger waits" in persona("status", "triage")
    assert "$0.0014" in persona("spend", "triage") or "$0.0007" in persona("spend", "triage")
    persona("disable", "triage", "--reason", "too dear")

    assert "work off what waits" in persona("drain", "--help")
    assert "--reason" in persona("pause", "--help")
    assert "trigger.duplicated" in shell("log", "persona/triage").out
    with LogReader(tmp_path / "runs.db") as log:
        told = [f"{event.type} {said(decoded(event))}" for event in log.scan("persona/triage")]
    for words in (
        'trigger.received a {"n": 1}',
        "trigger.duplicated a",
        "persona.paused deploying",
        "persona.resumed",
        "work.started a: run ",
        "work.completed a: run ",
        "work.failed b: run ",
        "ValueError: unlucky",
        "work.refused d: daily_usd of $0.0012 is spent",
        "persona.disabled too dear",
        "trigger.dead_lettered d, disabled",
    ):
        assert any(words in line for line in told), (words, told)

    stands = shell("persona", "status", "triage", "--json").document
    assert (stands["state"], stands["queued"], stands["dead_letters"]) == ("disabled", 0, 1)
    assert (stands["runs"], stands["duplicates"], stands["spent_today_micros"]) == (3, 1, 1400)
    assert shell("persona", "list", "--json").document["personas"][0]["persona"] == "triage"
    assert "triage" in persona("list")


def test_who_is_not_on_duty_is_not_found_and_a_slip_is_told(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "duty.py").write_text(PROGRAM)
    assert shell("persona", "list").code == 3
    shell("persona", "trigger", "triage", "--arg-json", "n=1", "--work-key", "a", "--program", "duty.py")

    for words in (["status", "nobody"], ["pause", "nobody"], ["tick", "nobody", "--program", "duty.py"]):
        refused = shell("persona", *words)
        assert refused.code == 3, refused.err
        assert "nobody" in refused.err
    assert shell("persona", "trigger", "triage", "--program", "duty.py").code == 1
    assert shell("persona", "trigger", "triage", "--arg-json", "n", "--program", "duty.py").code == 2
