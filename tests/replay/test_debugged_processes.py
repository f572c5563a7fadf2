"""The processes of a debugging session: they end together, whatever ends one of them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.shell import Shell, command, environment
from tests.replay.debugging import debugging, gone


def test_no_process_is_left_after_quit_and_end_of_input(made: Shell) -> None:
    for end in ("quit", "\x04"):
        with debugging(made.directory, "adds@9", "programs.py") as terminal:
            terminal.say("back 3")
            assert len(terminal.processes()) > 1
            assert terminal.close(end) == 0
            assert terminal.gone()


@pytest.mark.parametrize("victim", [0, -1])
def test_a_process_that_is_killed_takes_the_session_along(made: Shell, victim: int) -> None:
    if victim == 0 and sys.platform != "linux":
        pytest.skip("only Linux kills who lost its parent")
    with debugging(made.directory, "adds@9", "programs.py") as terminal:
        os.kill(terminal.processes()[victim], signal.SIGKILL)

        assert terminal.ended() in (-signal.SIGKILL, 128 + signal.SIGKILL)
        assert terminal.gone()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills who lost its parent")
def test_nobody_goes_on_without_a_terminal_when_the_first_process_is_killed(made: Shell) -> None:
    process = subprocess.Popen(
        command("debug", "adds@9", "programs.py"),
        cwd=made.directory,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        said = b""
        while b"(playhead) " not in said:
            said += os.read(process.stdout.fileno(), 65_536)
        process.kill()
        process.wait()
        try:
            assert gone(process.pid)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_goes_away_ends_everything(made: Shell, nohup: bool) -> None:
    with debugging(made.directory, "adds@9", "programs.py", nohup=nohup) as terminal:
        # On a busy machine the end of its input may be read before the signal comes.
        assert terminal.hang_up() in ({0} if nohup else {0, -signal.SIGHUP})
        assert terminal.gone()


def test_a_signal_that_ends_it_ends_everything(long: Path) -> None:
    with debugging(long, "@@2000", "survey.py") as terminal:
        assert len(terminal.processes()) > 3
        os.kill(terminal.pid, signal.SIGTERM)

        assert terminal.ended() == -signal.SIGTERM
        assert terminal.gone()


@pytest.mark.long  # a signal that comes before anybody listens at the prompt is lost, on a busy machine
def test_an_interrupt_at_the_prompt_only_begins_a_new_line(made: Shell) -> None:
    with debugging(made.directory, "adds@9", "programs.py") as terminal:
        terminal.press(b"p tot")
        time.sleep(0.3)  # the prompt is said a moment before somebody listens to signals at it
        terminal.press(b"\x03")
        assert "KeyboardInterrupt" in terminal.read()
        assert terminal.say("back").startswith("event ")
        assert terminal.close() == 0


def test_an_interrupt_while_the_program_runs_stops_at_its_next_line(made: Shell) -> None:
    with debugging(made.directory, "turns@2", "programs.py") as terminal:
        terminal.press(b"to 4\n")
        terminal.read("turning")
        terminal.press(b"\x03")
        said = terminal.read()

        assert "stopped by Ctrl-C" in said
        assert "turns()" in said
        assert int(terminal.say("p count")) >= 0  # at the very first turn, if the signal is quick
        assert terminal.say("back").startswith("event ")
        assert terminal.close() == 0


def test_a_session_has_a_bounded_number_of_processes(long: Path) -> None:
    with debugging(long, "@@100", "survey.py") as terminal:
        for place in (2400, 300, 2300, 400, 900, 1400, 1900, 2400, 2450):
            assert f"event {place} of" in terminal.say(f"to {place}")
        assert len(terminal.processes()) <= 26
