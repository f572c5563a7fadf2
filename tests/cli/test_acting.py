"""Runs are started, killed, taken up, answered and replayed, each in a process of its own."""

import json
import signal
import time
from pathlib import Path

import pytest

from playhead.log.backup import copy_to
from tests.cli.shell import AGENTS, Shell


def effects(shell: Shell) -> list[str]:
    """What really happened in the world, outside the log."""
    path = shell.directory / "effects.txt"
    return path.read_text().splitlines() if path.exists() else []


def killed(shell: Shell) -> str:
    """A run whose process died inside an effect that cannot be repeated."""
    run, done = shell.run("audit", "--arg", "n=4", die="1")
    assert done.code == -signal.SIGKILL
    return run


def intent(shell: Shell, run: str) -> int:
    """Where the effect that was in flight was asked for."""
    (place,) = [e["seq"] for e in shell("log", run, "--type", "tool.requested", "--json").document["events"]][
        1:
    ]
    assert isinstance(place, int)
    return place


def until(shell: Shell, run: str, *statuses: str) -> None:
    """Wait for a status. A run says its id a moment before it is there."""
    for _ in range(200):
        if shell("show", run, "--json").document.get("status") in statuses:
            return
        time.sleep(0.05)
    raise AssertionError(shell("show", run).out)


# --------------------------------------------------------------------- run


def test_a_run_prints_its_id_and_its_result(shell: Shell) -> None:
    run, done = shell.run("audit", "--arg", "n=4", "--arg", "greeting=ho", "--arg-json", 'flags={"a": true}')

    assert done.code == 0
    assert done.out.splitlines()[0].startswith(f"{run}  audit  completed, took ")
    assert json.loads(done.out.splitlines()[1]) == "HO 8"
    assert shell("event", f"{run}@0", "--json").document["payload"]["args"]["flags"] == {"a": True}


def test_the_same_key_is_the_same_run(shell: Shell) -> None:
    one, _ = shell.run("audit", "--arg", "n=4", "--key", "k")
    other, done = shell.run("audit", "--arg", "n=4", "--key", "k", "--json")

    assert one == other
    assert done.document["result"] == "HI 8"
    assert len(effects(shell)) == 1
    assert shell.run("audit", "--arg", "n=5", "--key", "k")[1].code == 2


def test_a_module_on_the_path_works_like_a_file(shell: Shell) -> None:
    assert shell("run", "agents:naps", "--json").document["result"] == "rested"


def test_a_failed_run_is_a_no(shell: Shell) -> None:
    run, done = shell.run("breaks", "--arg", "n=0", "--json")

    assert done.code == 1
    assert done.document["status"] == "failed"
    assert done.document["error"]["causes"] == ["ZeroDivisionError: division by zero"]
    assert f"see `playhead show {run}`" in shell("resume", run).out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["agents.py"], 2, "several personas"),
        (["agents.py:nobody"], 2, "no persona called 'nobody'"),
        (["nowhere.py:audit"], 3, "no file"),
        (["no_such_module:audit"], 3, "no module"),
        (["agents.py:audit"], 2, "missing a required argument: 'n'"),
        (["agents.py:audit", "--arg", "n=four"], 2, "argument n"),
        (["agents.py:audit", "--arg", "n"], 2, "NAME=VALUE"),
        (["agents.py:audit", "--arg-json", "n={"], 2, "no JSON"),
        (["agents.py:audit", "--arg", "m=4"], 2, "takes no m"),
        (["broken.py:audit"], 2, "broken.py cannot be loaded: ZeroDivisionError: division by zero."),
        (["odd.py:audit"], 2, "PLAYHEAD"),
    ],
)
def test_what_cannot_be_run_is_said_and_nothing_is_made(
    shell: Shell, words: list[str], code: int, said: str
) -> None:
    (shell.directory / "broken.py").write_text("1 / 0\n")
    (shell.directory / "odd.py").write_text(AGENTS + "\nPLAYHEAD = {'colour': 1}\n")

    done = shell("run", *words)

    assert done.code == code
    assert said in done.err
    assert not shell.store.exists()


def test_a_run_that_waits_for_a_person_says_so_and_gives_the_terminal_back(shell: Shell) -> None:
    run, done = shell.run("asks")

    assert done.code == 7
    assert f"playhead signal {run} approve" in done.out


def test_a_parent_waits_with_its_child(shell: Shell) -> None:
    _, done = shell.run("delegates")

    assert done.code == 7


def test_an_interrupt_lets_go_of_the_run(shell: Shell) -> None:
    with shell.start("run", "agents.py:rests", "--wait") as running:
        assert running.stderr is not None
        run = running.stderr.readline().split()[1]
        until(shell, run, "suspended")
        running.send_signal(signal.SIGINT)
        _, told = running.communicate()

    assert running.returncode == 130
    assert "interrupted: stopped by a signal." in told
    assert "playhead resume" in told


# ----------------------------------------------------- dying and coming back


def test_an_effect_in_flight_is_in_doubt_and_is_answered_from_another_process(shell: Shell) -> None:
    run = killed(shell)
    assert shell("runs", "--json").document["runs"][0]["status"] == "interrupted"

    stopped = shell("resume", run, "--program", "agents.py")
    assert stopped.code == 7
    assert len(effects(shell)) == 1
    assert "in doubt: publish" in shell("runs").out

    place = intent(shell, run)
    assert f"playhead resolve {run}@{place}" in stopped.out
    assert shell("resolve", f"{run}@{place}", "--value", '"DONE BY HAND"').code == 0
    done = shell("resume", run, "--program", "agents.py", "--json")

    assert done.document["result"] == "DONE BY HAND"
    assert len(effects(shell)) == 1
    assert done.document["totals"]["model_calls"] == 1
    assert shell("replay", run, "--program", "agents.py").code == 0


def test_an_answer_may_come_before_anybody_takes_the_run_up(shell: Shell) -> None:
    run = killed(shell)

    told = shell("resolve", f"{run}@{intent(shell, run)}", "--retry")
    done = shell("resume", run, "--program", "agents.py", "--json")

    assert "unless a worker takes it up: playhead resume" in told.out
    assert done.document["result"] == "HI 8"
    assert effects(shell) == ["hi 8 1", "hi 8 2"]


def test_a_doubt_can_be_answered_with_a_failure(shell: Shell) -> None:
    run = killed(shell)

    assert shell("resolve", f"{run}@{intent(shell, run)}", "--fail").code == 0

    assert shell("resume", run, "--program", "agents.py").code == 1
    assert len(effects(shell)) == 1


def test_what_is_not_in_doubt_is_not_answered_for(shell: Shell) -> None:
    run = killed(shell)
    fetched = shell("log", run, "--type", "tool.requested", "--json").document["events"][0]["seq"]

    done = shell("resolve", f"{run}@{fetched}", "--retry")

    assert done.code == 1
    assert "fetch" in done.err
    assert "is not in doubt" in done.err
    assert shell("resolve", f"{run}@0", "--retry").code == 1
    assert shell("resolve", run, "--retry").code == 2
    assert shell("resolve", f"{run}@{fetched}").code == 2
    assert shell("resolve", f"{run}@99", "--retry").code == 3
    assert shell("resolve", f"{run}@{intent(shell, run)}", "--value", "{").code == 2


def test_a_program_is_only_loaded_when_it_is_named(shell: Shell) -> None:
    run, _ = shell.run("asks")

    unnamed = shell("resume", run)

    assert unnamed.code == 2
    assert "--program agents.py" in unnamed.err
    assert shell("replay", run).code == 2
    assert shell("recover").code == 2
    assert shell("worker").code == 2
    assert shell("replay", run, PLAYHEAD_PROGRAM="agents.py").code == 1
    assert shell("replay", run, "--program", "agents.py:audit").code == 2


def test_a_finished_run_is_just_told(shell: Shell) -> None:
    run, _ = shell.run("naps")

    assert shell("resume", run).out.splitlines()[-1] == '"rested"'


def test_a_run_of_a_living_worker_is_left_alone(shell: Shell) -> None:
    with shell.start("run", "agents.py:works") as running:
        assert running.stderr is not None
        run = running.stderr.readline().split()[1]
        until(shell, run, "running")
        busy = shell("resume", run, "--program", "agents.py", "--json")
        running.kill()

    assert (busy.code, busy.document["code"]) == (6, "store.held")


def test_recover_takes_up_everything_and_says_how_it_went(shell: Shell) -> None:
    lost = killed(shell)
    asking, _ = shell.run("asks")
    shell("signal", asking, "approve", "true")

    done = shell("recover", "--program", "agents.py", "--json")

    assert done.code == 7
    statuses = {one["run"]: one["status"] for one in done.document["recovered"]}
    assert statuses == {lost: "suspended", asking: "completed"}
    assert shell("show", asking, "--json").document["mailbox"][0]["sender"] == "ada"


def test_recover_with_nothing_to_do_is_done(shell: Shell) -> None:
    shell.run("naps")

    assert shell("recover", "--program", "agents.py").out == "nothing to recover.\n"


def test_recover_names_the_persona_that_is_missing(shell: Shell) -> None:
    killed(shell)

    done = shell("recover", "--program", "agents.py:naps")

    assert done.code == 2
    assert "audit" in done.err


# ------------------------------------------------------------------ worker


def test_a_worker_takes_up_what_is_due_and_lets_go_when_told(shell: Shell) -> None:
    asking, _ = shell.run("asks")
    with shell.start("worker", "--program", "agents.py", "--poll", "0.05") as working:
        assert working.stdout is not None
        assert working.stdout.readline().startswith("worker ")
        shell("signal", asking, "approve", "true")
        until(shell, asking, "completed")
        assert working.stdout.readline() == f"took up {asking}\n"
        assert working.stdout.readline() == f"completed {asking}\n"
        working.send_signal(signal.SIGTERM)
        assert working.stdout.readline() == "stopped.\n"

    assert working.returncode == 0


def test_a_worker_wakes_a_parent_whose_child_ended_elsewhere(shell: Shell) -> None:
    parent, _ = shell.run("delegates")
    (child,) = [run["run"] for run in shell("runs", "--json").document["runs"] if run["parent"] == parent]
    shell("signal", child, "approve", "true")
    shell("resume", child, "--program", "agents.py:asks")

    assert shell("worker", "--program", "agents.py", "--poll", "0.05", "--idle", "0.5").code == 0

    assert shell("show", parent, "--json").document["status"] == "completed"


def test_a_worker_does_not_write_about_what_it_cannot_help_with(shell: Shell) -> None:
    run, _ = shell.run("asks")
    (shell.directory / "agents.py").write_text(AGENTS.replace('signal("approve"', 'signal("other"'))
    shell("signal", run, "approve", "true")

    done = shell("worker", "--program", "agents.py", "--poll", "0.05", "--idle", "0.5")

    assert f"left {run}: diverged" in done.out
    assert [event["type"] for event in shell("log", run, "--json").document["events"]].count(
        "run.claimed"
    ) == 2


# ---------------------------------------------------------------- messages


def test_a_cancelled_run_tidies_up_and_is_over(shell: Shell) -> None:
    run, _ = shell.run("asks")

    assert shell("cancel", run, "--reason", "too dear", "--json").document["owner_lives"] is False
    done = shell("resume", run, "--program", "agents.py", "--json")

    assert done.code == 1
    assert (done.document["status"], done.document["reason"]) == ("cancelled", "too dear")
    again = shell("cancel", run)
    assert (again.code, again.err) == (1, f"no: run {run} is over: it was cancelled.\n")


def test_a_signal_takes_json_or_text(shell: Shell) -> None:
    run, _ = shell.run("asks")

    assert shell("signal", run, "approve", "yes").code == 2
    assert shell("signal", run, "note", "--text", "yes", "--by", "eve").code == 0
    assert shell("signal", run, "approve", "true", "--text", "yes").code == 2
    assert shell("signal", "nobody", "approve").code == 3
    (sent,) = shell("log", f"mailbox/{run}", "--json").document["events"]
    assert sent["payload"] == {"signal": "note", "value": "yes", "sender": "eve"}
    assert "1 message in its mailbox not taken yet" in shell("show", run).out


# ------------------------------------------------------------------ replay


def test_a_replay_touches_nothing_and_says_identical(shell: Shell) -> None:
    run, _ = shell.run("audit", "--arg", "n=4")

    def files() -> list[tuple[str, bytes]]:
        # All but the shared memory, in which every reader of SQLite takes its place.
        return sorted(
            (path.name, path.read_bytes())
            for path in shell.directory.glob("*.db*")
            if path.is_file() and "-shm" not in path.name
        )

    before = files()

    done = shell("replay", run, "--program", "agents.py", "--json")

    assert (done.code, done.document["verdict"]) == (0, "identical")
    assert len(effects(shell)) == 1
    assert files() == before


def test_a_relaxed_run_is_replayed_too(shell: Shell) -> None:
    (shell.directory / "agents.py").write_text(
        AGENTS.replace("@persona\nasync def naps", '@persona(mode="relaxed")\nasync def naps')
    )
    run, done = shell.run("naps")
    assert done.code == 0

    assert shell("replay", run, "--program", "agents.py", "--json").document["verdict"] == "identical"


def test_an_edited_program_diverges_with_the_event_and_the_line(shell: Shell) -> None:
    run, _ = shell.run("audit", "--arg", "n=4")
    edited = AGENTS.replace(
        'return await publish(f"{greeting} {await work(n)}")', 'return await publish(f"{await work(n)}")'
    )
    (shell.directory / "agents.py").write_text(edited)

    told = shell("replay", run, "--program", "agents.py")
    shown = shell("replay", run, "--program", "agents.py", "--json")

    assert told.code == shown.code == 5
    assert "args.text = '8'" in told.out
    found = shown.document["divergence"]
    assert (found["field"], found["recorded_value"], found["now_value"]) == ("args.text", "hi 8", "8")
    assert found["site"].startswith("agents:audit:")


def test_an_edited_program_is_not_resumed(shell: Shell) -> None:
    run, _ = shell.run("asks")
    (shell.directory / "agents.py").write_text(AGENTS.replace('signal("approve"', 'signal("other"'))

    assert shell("resume", run, "--program", "agents.py").code == 5
    assert shell("show", run, "--json").document["status"] == "diverged"


# ---------------------------------------------------------- out and in again


def test_a_run_leaves_as_lines_and_comes_back_as_it_was(shell: Shell, tmp_path: Path) -> None:
    run, _ = shell.run("asks", "--name", "kept")
    shell("signal", run, "approve", "true")
    assert shell("export", run, "-o", "run.jsonl").code == 0
    copied = shell("--store", "other.db", "import", "run.jsonl", "--json").document

    assert copied["copied"] == [f"run/{run}", f"mailbox/{run}"]
    assert shell("--store", "other.db", "import", "run.jsonl", "--json").document["copied"] == []
    assert shell("--store", "other.db", "verify").code == 0
    assert shell("--store", "other.db", "export", "kept").out == (shell.directory / "run.jsonl").read_text()
    done = shell("--store", "other.db", "resume", run, "--program", "agents.py", "--json")
    assert done.document["result"] == "yes"


def test_a_store_file_is_imported_through_quarantine_and_from_standard_input(shell: Shell) -> None:
    run, _ = shell.run("naps")

    # A store that may be in use is not taken by its file; a backup of it is.
    assert shell("--store", "a.db", "import", "runs.db").code == 8
    copy_to(shell.store, shell.directory / "backup.db")

    assert shell("--store", "a.db", "import", "backup.db").out == f"copied        run/{run}\n"
    exported = shell("export", run).out.encode()
    assert shell("--store", "b.db", "import", "-", stdin=exported).code == 0
    assert shell("--store", "b.db", "show", run, "--json").document["status"] == "completed"


def test_a_tampered_export_is_refused_whole(shell: Shell) -> None:
    run, _ = shell.run("naps")
    lines = shell("export", run).out.splitlines()
    (shell.directory / "bad.jsonl").write_text("\n".join([*lines[:2], *lines[3:]]))

    done = shell("--store", "other.db", "import", "bad.jsonl")

    assert done.code == 8
    assert "line" in done.err
    assert not (shell.directory / "other.db").exists()


def test_an_export_is_not_written_over_its_store(shell: Shell) -> None:
    run, _ = shell.run("naps")

    assert shell("export", run, "-o", "runs.db").code == 2
    assert shell("export", "--all", "-o", "all.jsonl").code == 0


def test_rebuild_gives_the_same_list(shell: Shell) -> None:
    shell.run("naps")
    before = shell("runs", "--json").out

    done = shell("rebuild")

    assert done.code == 0
    assert shell("runs", "--json").out == before
    (shell.directory / "runs.db-readmodels").unlink()
    assert shell("runs", "--json").out == before
