"""A step in the debugger goes to the next line of the program, whatever else runs in between."""

import sys
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.replay.debugging import Quick, answers, ask, line_of


def test_a_breakpoint_stops_going_on_but_not_going_back(made: Shell) -> None:
    line = line_of("total += value")
    done = ask(
        made, "adds@3", f"b programs.py:{line}", "c", "p total, value", "c", "p total", "back 2", "c", "quit"
    )

    _, made_one, stop, values, _, total, back, again, *_ = answers(done)
    assert made_one.startswith("Breakpoint 1 at ")
    assert "adds()\n-> total += value" in stop
    assert values == "(0, 20)\n"
    assert total == "20\n"
    assert back.startswith("event ")
    assert "adds()\n-> total += value" in again


def test_stepping_works_over_awaits_and_returns(made: Shell) -> None:
    until = f"until {line_of('total += sum')}"
    done = ask(made, "adds@3", "step", "next", until, "p total", "return", "quit")

    _, step, after, there, total, end, *_ = answers(done)
    assert "double()\n-> return value * 2" in step
    assert "adds()\n-> total += value" in after
    assert "adds()\n-> total += sum(mapped.values)" in there
    assert total == "120\n"
    assert "the tape ends here" in end


@pytest.mark.parametrize("goes", ["step", "next"])
def test_what_playhead_calls_to_read_values_is_not_stepped_into(made: Shell, goes: str) -> None:
    done = ask(made, "typed", *[goes] * 12, "quit")

    stops = [line for line in done.out.splitlines() if line.startswith("> ")]
    assert stops
    assert all(line.startswith(f"> {made.directory}") for line in stops)
    assert "(the tape ends here)" in done.out
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("event", [2, *range(21, 400, 47)])
@pytest.mark.parametrize("hints", ["as texts", "as types"])
def test_what_playhead_makes_of_a_call_is_not_stepped_into(long: Path, event: int, hints: str) -> None:
    source = Path(sys.modules["tests.long_run"].__file__ or "")
    program = source if hints == "as texts" else long / "survey.py"  # texts are looked up at the first call

    done = ask(Quick(long), f"@@{event}", *["step"] * 8, "quit", program=str(program))

    stops = [line for line in done.out.splitlines() if line.startswith("> ")]
    assert len(stops) >= 8
    assert all(line.startswith(f"> {program}(") for line in stops), stops
    assert (done.code, done.err) == (0, "")


COLLECTS = """\
import gc

from playhead import persona, side_value


def watching(phase: str, about: dict[str, int]) -> None:
    deeper()


def deeper() -> None:
    pass


gc.callbacks.append(watching)


@persona
async def collects() -> int:
    before = await side_value("one", lambda: 1)
    gc.collect()
    return before + await side_value("two", lambda: 2)
"""


def test_what_the_collector_calls_is_not_stepped_into(tmp_path: Path) -> None:
    shell = Quick(tmp_path)
    (tmp_path / "collects.py").write_text(COLLECTS)
    assert shell("run", "collects.py:collects", "--name", "it").code == 0

    line = 1 + COLLECTS.splitlines().index("    gc.collect()")
    done = ask(shell, "it@0", f"tbreak {line}", "c", "step", "quit", program="collects.py")

    assert [line for line in done.out.splitlines() if line.startswith("-> ")][-2:] == [
        "-> gc.collect()",
        '-> return before + await side_value("two", lambda: 2)',
    ]
