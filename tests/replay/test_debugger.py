"""A replay stops at any event in the user's own frame, and goes on and back from there.

Every session is a real one: `playhead debug` with processes, on a terminal or with its commands handed in.
"""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from playhead.replay import checkpoints
from tests.cli.shell import Shell, environment
from tests.long_run import recorded
from tests.replay.debugging import PROGRAMS, SLICE_EVENTS, Quick, answers, ask, debugging, line_of

LOOK = "p {name: value for name, value in sorted(locals().items()) if name in LOOKED_AT}"


# The hardest first.


def test_back_and_forward_again_is_the_same_program_with_the_same_locals(long: Path) -> None:
    with debugging(long, f"@@{SLICE_EVENTS - 300}", "survey.py") as terminal:
        far = [terminal.said + terminal.say(LOOK) + terminal.say("tasks")]
        steps = ("back", "back", "back 7", "back model.answered", "back 400", "back 1000", "back")
        far += [terminal.say(step) + terminal.say(LOOK) + terminal.say("tasks") for step in steps]
        places = [text.partition("event ")[2].partition(" of ")[0] for text in far]
        again = [
            terminal.say(f"to {place}") + terminal.say(LOOK) + terminal.say("tasks")
            for place in reversed(places[:-1])
        ]

        assert [text.partition("event ")[2] for text in reversed(again)] == [
            text.partition("event ")[2] for text in far[:-1]
        ]
        assert len(set(places)) == len(places)
        answered = far[
            1 + steps.index("back model.answered")
        ]  # which events lie elsewhere differs by recording
        assert "ward()" in answered
        assert "'number': " in answered
        assert terminal.close() == 0
        assert terminal.gone()


def test_a_step_forward_goes_where_a_jump_does(long: Path) -> None:
    with debugging(long, "@@1200", "survey.py") as terminal:
        walked = [terminal.say("fwd") + terminal.say(LOOK) for _ in range(8)]
        back = terminal.say("to 1200")
        jumped = [
            terminal.say(f"to {text.partition('event ')[2].partition(' of ')[0]}") + terminal.say(LOOK)
            for text in walked
        ]

        assert jumped == walked
        assert back.startswith("event 1200 of ")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_of_a_hundred_thousand_events_is_walked_back_and_forward(tmp_path: Path) -> None:
    recorded(tmp_path / "runs.db", 100_000)
    shutil.copy(Path(sys.modules["tests.long_run"].__file__ or ""), tmp_path / "survey.py")
    look = "p {name: value for name, value in locals().items() if name in ('number', 'words', 'prompt')}"
    with debugging(tmp_path, "@@90000", "survey.py") as terminal:
        seen = {90_000: terminal.said + terminal.say(look)}
        for step in ("back", "back 10", "back 1000", "back 20000", "to 10", "to 45000", "back", "to 99999"):
            said = terminal.say(step)
            seen[int(said.partition("event ")[2].partition(" of ")[0])] = said + terminal.say(look)

        assert {place: terminal.say(f"to {place}") + terminal.say(look) for place in sorted(seen)} == seen
        assert len(terminal.processes()) <= 26
        assert terminal.close() == 0
        assert terminal.gone()


@pytest.mark.parametrize(
    ("start", "target"), [(-1, 90_000), (28_799, 90_000), (-1, 2_200), (100, 10_000_000)]
)
def test_checkpoints_lie_denser_the_nearer_and_none_is_far_from_where_one_goes_to(
    start: int, target: int
) -> None:
    places = checkpoints.marks(start, target)
    gaps = [after - before for before, after in itertools.pairwise([*places, target])]

    assert places[-1] == target - checkpoints.SPACING_EVENTS
    assert gaps[1:] == sorted(gaps[1:], reverse=True)
    assert start < places[0] <= start + (target - start) // 2
    assert len(places) < checkpoints.DEPTH_MAX // 2


def test_on_a_short_way_there_are_no_checkpoints() -> None:
    assert checkpoints.marks(0, checkpoints.SPACING_EVENTS) == []


# Where it stops.


def test_an_event_of_the_program_stops_in_the_frame_that_causes_it(made: Shell) -> None:
    done = ask(made, "adds@3", "p n", "up", "p number, total", "w", "quit")

    first, value, up, above, stack, *_ = answers(done)
    assert first.startswith("event 3 of ")
    assert "tool.requested  0/double#0/fetch#0" in first
    assert "double()\n-> value = await fetch(n)" in first
    assert value == "1\n"
    assert "adds()\n-> value = await double(number)" in up
    assert above == "(1, 0)\n"
    assert "playhead" not in stack.replace("(playhead)", "")


def test_an_outcome_stops_where_the_program_waits_for_it_and_next_wakes_with_it(made: Shell) -> None:
    done = ask(made, "adds@4", "p 'value' in locals()", "next", "p value", "event", "quit")

    first, before, after, value, event, *_ = answers(done)
    assert "tool.completed" in first
    assert "(the program is told so next, where it waits)" in first
    assert before == "False\n"
    assert "double()\n-> return value * 2" in after
    assert value == "10\n"
    assert "(the program is under way after it)" in event


def test_an_event_of_the_world_says_where_the_program_stands(made: Shell) -> None:
    first, tasks, *_ = answers(ask(made, "adds@1", "tasks", "quit"))

    assert "event 1 of " in first
    assert "run.claimed" in first
    assert "the program does not notice it, and goes on here to event 2" in first
    assert "adds()" in first
    assert tasks == f"0  adds:{line_of('await double(number)')}  runs\n"


def test_a_task_shows_the_frames_of_who_started_it(made: Shell) -> None:
    done = ask(made, "adds", "fwd tool.requested 0/map#0*", "w", "p n", "quit")

    _, _, stack, number, *_ = answers(done)
    assert "adds()\n-> mapped = await map_bounded" in stack
    assert "double()\n-> value = await fetch(n)" in stack
    assert number == "1\n"


def test_without_an_event_a_failed_run_stops_where_it_failed_with_its_locals(made: Shell) -> None:
    done = ask(made, "breaks", "p secret, value", "back", "failing", "p secret", "quit")

    first, values, _, again, secret, *_ = answers(done)
    assert "run.failed" in first
    assert "breaks()\n-> return value // (secret - 300)" in first
    assert values == "(300, 60)\n"
    assert again == first
    assert secret == "300\n"


def test_the_end_of_a_tape_in_flight_says_what_the_program_waits_for(made: Shell) -> None:
    done = ask(made, "waits", "continue", "p before", "fwd", "c", "back", "quit")

    _, end, before, forward, still, back, *_ = answers(done)
    assert "the tape ends here, and the program waits for 0/go#0" in end
    assert 'waits()\n-> answer = await signal("go", str)' in end
    assert before == "10\n"
    assert forward.startswith("*** ")
    assert "nothing comes after this" in still
    assert back.startswith("event ")
    assert done.code == 0


def test_the_end_of_a_whole_tape_is_said_too(made: Shell) -> None:
    done = ask(made, "adds", "to 1000000", "fwd run.completed", "step", "back", "quit")

    _, too_far, completed, end, back, *_ = answers(done)
    assert too_far.startswith("*** to an event from 0 to ")
    assert "(no code of the program is under way)" in completed
    assert "the tape ends here" in end
    assert back.startswith("event ")


def test_a_parent_is_told_what_its_child_came_to_by_its_tape(made: Shell) -> None:
    done = ask(made, "parent", "fwd child.completed", "next", "p inner", "quit")

    assert answers(done)[3] == "200\n"


def test_a_relaxed_run_is_played_from_its_beginning_to_go_back(made: Shell) -> None:
    done = ask(
        made, "relaxed", "fwd tool.requested 0/fetch#1", "p first", "back tool.requested", "p n", "quit"
    )

    first, there, value, back, number, *_ = answers(done)
    assert "no process can be forked here" in first
    assert "relaxed()\n-> second = await fetch(first)" in there
    assert value == "20\n"
    assert "relaxed()\n-> first = await fetch(n)" in back
    assert number == "2\n"
    assert done.code == 0


def test_the_tasks_of_a_relaxed_run_are_listed_and_it_goes_on_as_recorded(made: Shell) -> None:
    line = line_of("return first + second")
    done = ask(
        made, "relaxed", "tasks", "fwd tool.completed", "tasks", f"tbreak {line}", "continue", "tasks",
        "p first, second", "continue", "tasks", "quit",
    )  # fmt: skip

    _, begun, _, waits, _, stopped, running, values, end, over, *_ = answers(done)
    assert begun.startswith("0  relaxed:")
    assert waits.startswith("0  ")
    assert "waits for 0/fetch#0" in waits
    assert "-> return first + second" in stopped
    assert running == f"0  relaxed:{line}  runs\n"
    assert values == "(20, 200)\n"
    assert "the tape ends here" in end
    assert over == "no task is under way\n"
    assert (done.code, done.err) == (0, "")


def test_playing_loads_nothing_that_only_shows_reads_mail_or_runs_snippets(made: Shell) -> None:
    heavy = {"structlog", "email", "playhead.snippet.machine"}
    code = (
        "import sys\nfrom playhead_projections.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        f"    print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "replay", "adds", "--program", "programs.py"],
        cwd=made.directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")


# What a person types.


def test_a_changed_local_is_what_the_program_goes_on_with(made: Shell) -> None:
    done = ask(made, "adds@4", "next", "!value = 7", "p value", "continue", "to 4", "next", "p value", "quit")

    _, _, _, value, diverged, _, _, again, *_ = answers(done)
    assert value == "7\n"
    assert "result = 14" in diverged
    assert again == "10\n"
    assert done.code == 0


def test_a_local_of_a_frame_that_waits_can_be_changed_too(made: Shell) -> None:
    done = ask(made, "breaks@4", "up", "!secret = 0", "continue", "back", "up", "p secret", "quit")

    first, _, _, diverged, _, _, secret, *_ = answers(done)
    assert "(the program is told so next, where it waits)" in first
    assert "now        run.completed" in diverged
    assert secret == "300\n"


def test_a_change_that_leads_elsewhere_diverges_in_the_frame_where_it_does(made: Shell) -> None:
    done = ask(made, "adds@3", "up", "!numbers.append(9)", "continue", "p numbers", "quit")

    _, _, _, diverged, numbers, *_ = answers(done)
    assert "Diverged: run " in diverged
    assert "something was changed by hand before" in diverged
    assert "adds()" in diverged
    assert numbers == "[1, 2, 3, 9]\n"
    assert done.code == 5


def test_an_edited_program_stops_where_it_diverges(made: Shell, tmp_path: Path) -> None:
    shutil.copy(made.store, tmp_path / "runs.db")
    edited = PROGRAMS.replace("value = await fetch(n)", "value = await fetch(n + (n > 1))")
    (tmp_path / "programs.py").write_text(edited)

    done = ask(Quick(tmp_path), "adds", "continue", "p n", "back", "p n", "quit")

    first, diverged, number, back, *_ = answers(done)
    assert first.startswith("event 0 of ")
    assert "args.n = 2" in diverged
    assert "double()\n-> value = await fetch(n" in diverged
    assert number == "2\n"
    assert back.startswith("event ")
    assert done.code == 0


def test_what_is_typed_can_start_no_operation_and_changes_no_identity(made: Shell) -> None:
    commands = (
        "p fetch(1).send(None)",
        "p __import__('asyncio').create_task(fetch(1))",
        "p publish('x').send(None)",
        "p now() is not None",
        "continue",
        "quit",
    )
    done = ask(made, "adds@3", *commands)

    _, fetched, task, published, _, end, *_ = answers(done)
    assert "OutsideRun" in fetched
    assert "RuntimeError" in task
    assert "OutsideRun" in published
    assert "the tape ends here" in end
    assert not (made.directory / "effects.txt").exists()


def test_a_watched_expression_is_printed_where_it_changes_and_nothing_stops(made: Shell) -> None:
    done = ask(made, "adds@2", "watch total", "to 20", "unwatch total", "back", "quit")

    _, _, way, *_ = answers(done)
    assert [line.split()[-1] for line in way.splitlines() if " total = " in line] == ["0", "20", "60", "120"]


# What cannot be debugged.


def test_a_word_that_means_nowhere_is_refused(made: Shell) -> None:
    said = answers(ask(made, "adds@6", "back 0", "fwd 0", "log all", "watch totl", "watch total", "quit"))

    assert [each.strip() for each in said[1:6]] == [
        "*** 0 events away is here",
        "*** 0 events away is here",
        "*** all is no number of events",
        "(totl has no value here; it is looked at from the next event on)",
        "",
    ]


def test_what_makes_no_sense_is_said_in_words(made: Shell) -> None:
    for words, code, says in (
        (("adds@999", "programs.py"), 3, "has no event 999"),
        (("adds",), 2, "--program programs.py"),
        (("adds", "programs.py:breaks"), 2, "persona"),
        (("nobody", "programs.py"), 3, "no run is called"),
        (("adds", "programs.py", "--watch", "1 +"), 2, "is no expression"),
        (("adds", "programs.py", "--watch", ""), 2, "is no expression"),
        (("adds", "programs.py", "--watch", "total", "--from", "999"), 3, "has no event 999"),
        (("adds", "programs.py", "--watch", "total", "--to", "999"), 3, "has no event 999"),
        (("adds", "programs.py", "--watch", "total", "--from", "-1"), 2, "--from"),
        (("adds", "programs.py", "--watch", "total", "--from", "9", "--to", "3"), 2, "comes before"),
        (("adds@3..9", "programs.py", "--watch", "total", "--to", "2"), 2, "comes before"),
        (("adds@3..999", "programs.py", "--watch", "total"), 3, "has no event 999"),
        (("adds@3..9", "programs.py", "-c", "quit"), 2, "is a range"),
        (("adds@3..", "programs.py", "-c", "quit"), 2, "is a range"),
        (("adds", "programs.py", "--jsonl"), 2, "--watch"),
        (("adds", "programs.py", "--wait"), 2, "--listen"),
        (("adds", "programs.py", "--listen", "99999"), 2, "is no port"),
    ):
        done = made("debug", *words)

        assert done.code == code, (words, done)
        assert says in done.err
        assert "Traceback" not in done.err


def test_a_tape_that_was_erased_in_the_middle_is_debugged_up_to_there(made: Shell, tmp_path: Path) -> None:
    shutil.copy(made.store, tmp_path / "runs.db")
    (tmp_path / "programs.py").write_text(PROGRAMS)
    shell = Quick(tmp_path)
    assert shell("redact", "adds@8", "--by", "ada", "--reason", "she asked for it").code == 0

    done = ask(shell, "adds@2", "continue", "back", "quit")

    _, end, back, *_ = answers(done)
    assert "was erased by ada: she asked for it. It cannot run again past it" in end
    assert "the tape cannot be followed further" in end
    assert back.startswith("event ")


def test_arguments_that_no_longer_fit_are_said_in_words(made: Shell, tmp_path: Path) -> None:
    shutil.copy(made.store, tmp_path / "runs.db")
    (tmp_path / "programs.py").write_text(
        PROGRAMS.replace("async def breaks(n: int)", "async def breaks(n: dict)")
    )

    done = ask(Quick(tmp_path), "breaks", "quit")

    assert done.code == 2
    assert "Traceback" not in done.err


def test_nothing_in_a_value_moves_the_terminal(made: Shell) -> None:
    done = ask(made, "waits@2", "p type('X', (), {'__repr__': lambda self: '\\x1b[31mred'})()", "quit")

    assert "\x1b" not in done.out
    assert "\N{REPLACEMENT CHARACTER}[31mred" in done.out
