"""`playhead persona …`: a persona on duty is looked after from anywhere, by its stream."""

import asyncio
from pathlib import Path

import msgspec

from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead_projections.cli.wording import decoded, said
from tests.cli.shell import Shell

PROGRAM = """
from playhead import Request, model_call, persona, tool
from playhead.runtime.binding import Binding
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
    assert shell("persona", "trigger", "triage", "--arg-json", "n=1", "--program", "duty.py").code == 2
    assert shell("persona", "trigger", "triage", "--arg-json", "n", "--program", "duty.py").code == 2


TWO = """
import datetime as dt
from playhead import Binding, DutyBudget, Schedule, persona, signal, tool

@persona
async def dated(day: dt.date, n: int = 0) -> str:
    return f"{day:%d.%m.%Y} {n}"

@persona
async def waits(n: int = 0) -> str:
    return await signal("go", str)

async def found() -> str:
    return "found"

@tool(side_effect_level="workspace_write")
async def writes() -> int:
    import os, signal as signals
    os.kill(os.getpid(), signals.SIGKILL)

@persona
async def doubts(n: int = 0) -> int:
    return await writes()

DESK = [Binding(persona(found), schedules=[Schedule("0 7 * * *")]), Binding(doubts)]
"""


def test_arguments_of_a_trigger_are_read_as_its_persona_declares_them(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    words = ["persona", "trigger", "dated", "--program", "two.py", "--event", "1"]

    assert "queued" in shell(*words, "--arg", "day=2026-01-02", "--arg-json", "n=7").out
    assert "completed" in shell("persona", "tick", "dated", "--program", "two.py").out
    assert '"02.01.2026 7"' in shell("show", "@").out + shell("runs", "--json").out + shell("log", "@").out
    for slip, said_ in (
        (["--arg", "day=2026-01-02", "--arg", "m=1"], "persona dated takes no m"),
        (["--arg", "day=today"], "argument day of persona dated"),
        (["--arg", "day=2026-01-02", "--arg-json", 'day="2026-01-02"'], "given twice"),
        ([], "missing a required argument: 'day'"),
    ):
        refused = shell(*words, *slip)
        assert refused.code == 2, refused.err
        assert said_ in refused.err


def test_the_parts_of_a_work_key_can_all_be_given(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    words = ["persona", "trigger", "waits", "--program", "two.py", "--provider", "tracker", "--json"]

    told = shell(*words, "--kind", "opened", "--subject", "a:b", "--event", "e-1").document

    assert (told["work_key"], told["answer"]) == ("tracker:opened:a\\:b:e-1", "queued")
    assert shell(*words, "--work-key", "\udcff").code == 2


def test_a_tick_gives_the_terminal_back_where_only_a_person_can_bring_the_run_on(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "two.py").write_text(TWO)
    shell("persona", "trigger", "waits", "--work-key", "a", "--program", "two.py")

    ticked = shell("persona", "tick", "waits", "--program", "two.py")
    assert ticked.code == 7
    assert "waits for signal go: playhead signal" in ticked.out
    again = shell("persona", "tick", "waits", "--program", "two.py", "--json")
    assert (again.code, again.document["waits"]) == (7, shell("runs", "--json").document["runs"][0]["run"])
    stands = shell("persona", "status", "waits")
    assert "interrupted" in stands.out
    assert "who is gone: the next tick goes on" in stands.out
    shell("persona", "disable", "waits")
    assert "is unfinished" in shell("persona", "list").out
    shell("persona", "resume", "waits")
    shell("signal", "@", "go", '"on"')
    assert shell("persona", "tick", "waits", "--program", "two.py").code == 0


def test_what_is_in_doubt_after_a_crash_is_said_with_the_command_that_answers_for_it(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "two.py").write_text(TWO)
    shell("persona", "trigger", "doubts", "--work-key", "a", "--program", "two.py")
    assert shell("persona", "tick", "doubts", "--program", "two.py").code == -9

    ticked = shell("persona", "tick", "doubts", "--program", "two.py")
    assert ticked.code == 7
    assert "in doubt: playhead resolve" in ticked.out


def test_bindings_are_found_in_lists_and_their_schedules_shown(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)

    assert shell("persona", "tick", "found", "--program", "two.py").code == 0
    assert "next scheduled run" in shell("persona", "status", "found").out
    assert "schedules.bound" in shell("log", "persona/found").out


def test_a_stream_that_cannot_be_read_hides_no_other_persona(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    shell("persona", "trigger", "waits", "--work-key", "a", "--program", "two.py")

    async def spoil() -> None:
        async with SqliteStore.open(tmp_path / "runs.db") as store:
            broken = NewEvent("trigger.received", 1, 0, "", None, msgspec.msgpack.encode({"work_key": 7}))
            await store.append("persona/broken", 0, [broken])

    asyncio.run(spoil())

    listed = shell("persona", "list")
    assert listed.code == 0
    assert "unreadable" in listed.out
    assert "waits" in listed.out
    assert shell("persona", "status", "broken").code == 4


def test_a_run_from_another_store_that_waits_for_somebody_keeps_no_terminal(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "two.py").write_text(TWO)
    shell("persona", "trigger", "waits", "--work-key", "a", "--program", "two.py")
    assert shell("persona", "tick", "waits", "--program", "two.py").code == 7
    (tmp_path / "all.jsonl").write_text(shell("export", "--all").out)
    other = ["--store", "other.db"]
    assert shell("import", "all.jsonl", *other).code == 0

    ticked = shell("persona", "tick", "waits", "--program", "two.py", *other)

    assert ticked.code == 7
    assert "waits for signal go" in ticked.out


def test_a_persona_whose_budget_is_spent_says_so_at_every_tick(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "duty.py").write_text(PROGRAM)
    for key in "abc":
        words = ["--arg", "n=1", "--work-key", key, "--program", "duty.py"]
        shell("persona", "trigger", "triage", *words)
    shell("persona", "tick", "triage", "--program", "duty.py")

    for _ in range(2):
        ticked = shell("persona", "tick", "triage", "--program", "duty.py")
        assert ticked.code == 1
        assert "daily_usd is spent: the next trigger waits" in ticked.out


def test_a_schedule_that_nobody_could_have_bound_hides_no_other_persona(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    shell("persona", "trigger", "waits", "--work-key", "a", "--program", "two.py")

    async def spoil() -> None:
        async with SqliteStore.open(tmp_path / "runs.db") as store:
            bound = msgspec.msgpack.encode({"schedules": {"x": "every day"}})
            await store.append("persona/evil", 0, [NewEvent("schedules.bound", 1, 0, "", None, bound)])

    asyncio.run(spoil())

    listed = shell("persona", "list")
    assert (listed.code, "unreadable" in listed.out, "waits" in listed.out) == (0, True, True)
    assert shell("persona", "status", "evil").code == 4
