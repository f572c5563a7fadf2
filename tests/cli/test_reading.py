"""What was recorded can be found, shown and proved, by people and by scripts, without an event loop."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from playhead.log.driver import sqlite
from tests.cli.shell import Shell, command, environment
from tests.projections.recorded import started, unknown, write

Recorded = tuple[Shell, dict[str, str]]
HEAVY = {"asyncio", "pydantic", "structlog", "aiosqlite"}


def test_runs_are_listed_newest_first(recorded: Recorded) -> None:
    shell, runs = recorded

    done = shell("runs")

    assert done.code == 0
    head, *rows = done.out.splitlines()
    assert head.split() == ["run", "status", "persona", "name", "age", "ops", "cost"]
    assert [row.split()[0] for row in rows] == [runs["asks"], runs["naps"], runs["breaks"], runs["audit"]]
    assert "waiting for signal approve" in rows[0]
    assert "$0.001210" in rows[3]


def test_a_cut_list_says_what_is_left_out(recorded: Recorded) -> None:
    shell, _ = recorded

    assert shell("runs", "-n", "1").out.splitlines()[-1] == "… 3 more: playhead runs --all, or -n 4"
    assert shell("runs", "-n", "1", "--json").document["left_out"] == 3
    assert "… 9 events left out" in shell("show", "nightly", "-n", "4").out
    assert "… 11 more" in shell("log", "nightly", "-n", "2").out


def test_runs_can_be_chosen_by_status_and_persona(recorded: Recorded) -> None:
    shell, runs = recorded

    assert [run["run"] for run in shell("runs", "--status", "failed", "--json").document["runs"]] == [
        runs["breaks"]
    ]
    assert [run["run"] for run in shell("runs", "--persona", "audit", "--jsonl").lines] == [runs["audit"]]


def test_show_tells_a_run_one_event_per_line(recorded: Recorded) -> None:
    shell, runs = recorded

    lines = shell("show", "nightly").out.splitlines()

    assert lines[0].startswith(f'{runs["audit"]}  audit  "nightly"  completed, ')
    assert lines[1] == "  3 operations, 2 steps, 1 model call (300 in, 40 out)"
    told = [line.split() for line in lines[3:]]
    assert [line[:2] for line in told[:4]] == [
        ["0", "run.started"],
        ["1", "run.claimed"],
        ["2", "step.started"],
        ["3", "step.started"],
    ]
    assert any("340 tok" in line and "$0.001210" in line for line in lines)


def test_show_as_of_an_event_knows_nothing_of_what_came_later(recorded: Recorded) -> None:
    shell, _ = recorded

    done = shell("show", "nightly@4")

    assert "running, as of event 4" in done.out.splitlines()[0]
    assert done.out.splitlines()[-1].split()[0] == "4"
    assert shell("show", "nightly@4", "--json").document["totals"]["model_calls"] == 1
    assert shell("show", "nightly@4", "--json").document["totals"]["cost_micros"] is None
    assert "1 model call (? in, ? out)" in done.out
    assert shell("show", "nightly@3", "--json").document["totals"]["model_calls"] == 0


def test_a_range_shows_those_events(recorded: Recorded) -> None:
    shell, _ = recorded

    shown = [line.split()[0] for line in shell("show", "nightly@3..6").out.splitlines()[3:]]
    listed = [line.split()[0] for line in shell("log", "nightly@3..6").out.splitlines()]

    assert shown == listed == ["3", "4", "5", "6"]
    assert [line.split()[0] for line in shell("log", "nightly@11..").out.splitlines()] == ["11", "12"]


def test_a_failed_run_says_why_and_a_waiting_one_what_to_do(recorded: Recorded) -> None:
    shell, runs = recorded

    failed = shell("show", "@failed").out
    waiting = shell("show", runs["asks"]).out

    assert "error: RuntimeError: it broke at agents:breaks:" in failed
    assert "because ZeroDivisionError: division by zero" in failed
    assert f"playhead signal {runs['asks']} approve" in waiting


@pytest.mark.parametrize("text", ["@", "prefix", "whole"])
def test_a_run_is_found_by_what_people_write(recorded: Recorded, text: str) -> None:
    shell, runs = recorded
    asked = {"@": "@", "prefix": runs["asks"][:6], "whole": runs["asks"]}[text]

    assert shell("show", asked, "--json").document["run"] == runs["asks"]


def test_a_name_that_fits_two_runs_is_refused_with_both(recorded: Recorded) -> None:
    shell, runs = recorded

    done = shell("show", "twice")

    assert done.code == 2
    assert runs["naps"] in done.err
    assert runs["breaks"] in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "nobody"], 3),
        (["show", "nightly@999"], 3),
        (["log", "nightly@999"], 3),
        (["event", "nightly@999"], 3),
        (["event", "nightly"], 2),
        (["event", "nightly@3..5"], 2),
        (["show", "nightly@5..3"], 2),
        (["show", "nightly@x"], 2),
        (["log", "mailbox/nobody"], 3),
        (["--store", "nowhere.db", "runs"], 3),
        (["runs", "--store", "agents.py"], 3),
        (["nonsense"], 2),
        (["runs", "--nonsense"], 2),
        (["verify", "nowhere.db"], 3),
        (["export"], 2),
        (["export", "nightly@3"], 2),
        (["import", "nowhere.jsonl"], 3),
        (["verify", "--expect", "nightly@3"], 2),
    ],
)
def test_what_cannot_be_answered_has_a_code_and_a_sentence(
    recorded: Recorded, words: list[str], code: int
) -> None:
    shell, _ = recorded

    done = shell(*words)

    assert done.code == code
    assert done.out == ""
    assert done.err.splitlines()[0].partition(": ")[2]
    assert "Traceback" not in done.err


def test_an_error_is_one_document_too(recorded: Recorded) -> None:
    shell, _ = recorded

    done = shell("show", "nobody", "--json")

    assert (done.code, done.err) == (3, "")
    assert done.document["schema"] == "playhead.error/1"
    assert done.document["code"] == "store.not_found"
    assert done.document["exit"] == 3


def test_verbose_shows_the_traceback(recorded: Recorded) -> None:
    shell, _ = recorded

    assert "Traceback" in shell("-v", "show", "nobody", LC_ALL="C").err


def test_an_event_is_shown_whole(recorded: Recorded) -> None:
    shell, runs = recorded

    shown = shell("event", "nightly@2", "--json").document

    assert (shown["schema"], shown["stream"], shown["seq"]) == ("playhead.event/1", f"run/{runs['audit']}", 2)
    assert shown["payload"]["step"] == "work"
    assert shown["payload"]["args"] == {"n": 4}
    assert len(shown["digest"]) == 64
    assert "step.started" in shell("event", "nightly@2").out
    first = shell.here("event", "nightly@0").out.splitlines()
    assert {'  mode        "strict"', "  reviewer_keys null"} <= set(first)


SCHEMAS = {
    "runs": ["schema", "runs", "left_out", "events_unknown", "stopped_at"],
    "show": [
        "schema", "at", "run", "name", "key", "tags", "persona", "module", "mode", "status", "started",
        "ended", "ended_seq", "parent", "parent_op", "forked_from", "owner", "resumes", "deaths", "wake_at",
        "events", "last_at", "reason", "error", "duration",
        "totals", "steps", "operations", "errors", "waits_for",
        "in_doubt", "mailbox", "patches", "events_unknown", "events_erased", "mailbox_not_taken", "denied",
        "hooks", "forks",
    ],
    "log": ["schema", "stream", "events", "left_out"],
    "receipts": ["schema", "run", "receipts", "cursor", "unfinished", "besides"],
    "timeline": ["schema", "run", "persona", "spans"],
    "verify": [
        "schema", "path", "ok", "events", "streams", "erased", "erasures", "anchors", "store_anchor",
        "checkpoints",
        "faults", "faults_unlisted",
    ],
    "db": ["schema", "path", "events", "position", "streams", "bytes", "sqlite", "settings"],
    "where": ["schema", "path", "why", "exists"],
    "doctor": ["schema", "ok", "findings"],
    "rebuild": ["schema", "path", "read_models"],
    "schema": ["schema", "$schema", "title", "oneOf", "$defs", "events"],
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_document_keeps_its_keys(recorded: Recorded, name: str) -> None:
    shell, _ = recorded
    words = [name, "nightly"] if name in {"show", "log", "receipts", "timeline"} else [name]

    shown = shell(*words, "--json").document

    assert sorted(shown) == sorted(SCHEMAS[name])
    assert shown["schema"].startswith("playhead.")
    assert shown["schema"].endswith("/1")


def test_receipts_are_listed_and_the_cursor_gives_each_once(recorded: Recorded) -> None:
    shell, _ = recorded

    first = shell("receipts", "nightly", "--json").document

    assert [receipt["name"] for receipt in first["receipts"]] == ["ask", "work"]
    assert shell("receipts", "nightly", "--after", str(first["cursor"]), "--json").document["receipts"] == []
    assert [receipt["name"] for receipt in shell("receipts", "nightly", "--jsonl").lines] == ["ask", "work"]
    assert "ask" in shell("receipts", "nightly").out


def test_which_store_is_used_is_said_with_the_reason(recorded: Recorded, tmp_path: Path) -> None:
    shell, _ = recorded
    below = shell.directory / "deep" / "down"
    below.mkdir(parents=True, exist_ok=True)

    def where(cwd: Path, *words: str, **more: str) -> dict[str, Any]:
        done = subprocess.run(
            command(*words, "where", "--json"),
            cwd=cwd,
            env=environment(**more),
            capture_output=True,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    assert where(below)["path"] == str(shell.store)
    assert where(below, PLAYHEAD_STORE="x.db")["why"] == "named by PLAYHEAD_STORE"
    assert where(below, "--store", "y.db", PLAYHEAD_STORE="x.db")["why"] == "named by --store"
    assert where(tmp_path)["exists"] is False
    assert shell("where").code == 0


def test_tail_shows_the_newest_and_follows_other_processes(shell: Shell) -> None:
    shell.run("naps")
    assert len(shell("tail", "-n", "3").out.splitlines()) == 3

    with shell.start("tail", "-f", "-n", "1", "--jsonl") as following:
        assert following.stdout is not None
        # It has looked once where it has told what was the newest; what comes after that must be told.
        assert json.loads(following.stdout.readline())["type"] == "run.completed"
        shell.run("naps", "--name", "later")
        seen = [json.loads(following.stdout.readline())["type"] for _ in range(5)]
        following.terminate()

    assert seen == ["run.started", "run.claimed", "timer.set", "timer.fired", "run.completed"]


def test_colour_is_only_for_terminals_or_when_asked_for(recorded: Recorded) -> None:
    shell, _ = recorded

    assert "\x1b" not in shell("runs").out
    assert "\x1b" in shell("--color", "always", "runs").out


def test_events_of_a_newer_playhead_are_shown_as_they_were_kept(shell: Shell) -> None:
    write(shell.store, "aaaaaaaaaaaa", started(), unknown("dream.dreamt"))

    assert '(of a newer playhead, kept) {"a": 1}' in shell("show").out
    assert shell("event", "@1", "--json").document["kept_as"] == "unknown"
    assert "1 event of a newer playhead kept" in shell("show").out


def test_an_event_that_cannot_be_read_is_shown_as_such_with_code_4(shell: Shell) -> None:
    write(shell.store, "aaaaaaaaaaaa", started(), unknown("run.completed"))

    shown = shell("show")

    assert shown.code == 4
    assert "run.completed" in shown.out
    assert "`playhead verify` says whether it was damaged" in shown.err
    assert "(cannot be read)" in shown.out
    assert shell("log", "@").code == 4
    assert shell("event", "@1", "--json").document["kept_as"] == "unreadable"


def test_verify_prints_anchors_and_finds_an_edit(shell: Shell) -> None:
    run, _ = shell.run("audit", "--arg", "n=4")
    sound = shell("verify", "--json").document
    assert shell("verify").code == 0
    assert shell("verify", "--expect", sound["anchors"][0], "--expect", sound["store_anchor"]).code == 0
    digest = sound["anchors"][0].rpartition(":")[2]
    assert shell("verify", "--expect", f"{run[:6]}@12:{digest}").code == 0
    assert shell("verify", "--expect", f"{run[:6]}@11:{digest}").code == 4

    db = sqlite.connect(shell.store)
    db.execute("update payloads set bytes = zeroblob(3) where position = 5")
    db.commit()
    db.close()

    done = shell("verify")
    assert done.code == 4
    assert f"run/{run}@4" in done.out
    assert shell("verify", "--json").document["faults"][0]["seq"] == 4
    assert shell("doctor").code == 4


def test_a_store_of_a_newer_playhead_cannot_be_written(shell: Shell) -> None:
    shell.run("naps")
    db = sqlite.connect(shell.store)
    db.execute("pragma user_version = 99")
    db.close()

    assert shell("run", "agents.py:naps").code == 6


def test_doctor_says_yes_and_no(recorded: Recorded, tmp_path: Path) -> None:
    shell, _ = recorded

    healthy = shell("doctor")
    nothing = subprocess.run(
        command("doctor"), cwd=tmp_path, env=environment(), capture_output=True, check=False
    )

    assert healthy.code == 0
    assert {line.split()[0] for line in healthy.out.splitlines()} <= {"yes", "-"}
    assert nothing.returncode == 1
    assert nothing.stdout.decode().startswith("no   is there a store")


@pytest.mark.parametrize(
    "words",
    [
        ["runs"], ["show", "@"], ["show", "nightly"], ["log", "@"], ["event", "@1"], ["tail", "@"], ["tail"],
        ["receipts", "@"], ["verify"], ["schema"], ["db"], ["where"], ["export", "@"], ["doctor"],
        ["rebuild"], ["runs", "--json"], ["--help"], ["show", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_reading_imports_nothing_heavy(recorded: Recorded, words: list[str]) -> None:
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

    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[-1] == "[]"


def test_a_reader_that_has_seen_enough_is_no_error(recorded: Recorded) -> None:
    shell, _ = recorded

    done = subprocess.run(
        ["bash", "-c", '"$@" | head -n 1', "bash", *command("schema")],
        cwd=shell.directory,
        env=environment(),
        capture_output=True,
        check=False,
    )

    assert done.stdout.decode().strip() == "{"
    assert done.stderr == b""
