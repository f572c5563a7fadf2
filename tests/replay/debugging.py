"""`playhead debug` on a terminal of its own, as a person would use it, and runs for it."""

import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from playhead_projections.cli import cli
from playhead_projections.cli.faults import guarded
from tests.checkout import ROOT
from tests.cli.shell import Done, Shell, environment

PROMPT = "(playhead) "
WAIT_S_MAX = 60
SLICE_EVENTS = 2_500
LOOKED_AT = ("number", "words", "advice", "prompt", "urls", "pages")  # locals of the long run

PROGRAMS = '''\
"""Programs to debug."""

from dataclasses import dataclass

from playhead import Engine, child_run, map_bounded, now, persona, race, signal, sleep, step, tool


@tool(side_effect_level="read_only")
async def fetch(n: int) -> int:
    if n == 13:
        raise LookupError("nothing at 13")
    return n * 10


@tool(side_effect_level="network")
async def publish(text: str) -> str:
    with open("effects.txt", "a") as file:
        file.write(text)
    return text.upper()


@dataclass
class Parcel:
    grams: int
    marked: bool = False


@tool(side_effect_level="read_only")
async def marks(parcel: Parcel) -> Parcel:
    return Parcel(parcel.grams, marked=True)


@step
async def double(n: int) -> int:
    value = await fetch(n)
    return value * 2


@persona
async def adds(numbers: list[int]) -> int:
    total = 0
    for number in numbers:
        value = await double(number)
        total += value
    mapped = await map_bounded(numbers, double, concurrency=2)
    total += sum(mapped.values)
    winner, _ = await race(fetch(1), sleep(30))
    return total


@persona
async def breaks(n: int) -> int:
    secret = n * 100
    value = await double(n)
    return value // (secret - 300)


@persona
async def waits(name: str) -> str:
    before = await fetch(1)
    answer = await signal("go", str)
    await publish(answer)
    return f"{name} {answer} {before}"


@persona(mode="relaxed")
async def relaxed(n: int) -> int:
    first = await fetch(n)
    second = await fetch(first)
    return first + second


@persona(mode="relaxed")
async def typed(parcels: list[Parcel]) -> dict[str, list[Parcel]]:
    marked = [await marks(parcel) for parcel in parcels]
    return {"marked": marked}


@persona
async def parent(n: int) -> int:
    inner = await child_run(adds, [n])
    return inner + 1


@persona
async def turns(n: int) -> int:
    first = await fetch(n)
    count = 0
    print("turning", flush=True)
    while count < 10_000_000:
        count += 1
    return first + await fetch(count)
'''


class Quick(Shell):
    """A shell whose commands run in a copy of this process, which has imported everything already."""

    def __call__(self, *words: str, stdin: bytes = b"", **more: str) -> Done:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork, where the test runner has threads
            child = os.fork()
            if child == 0:
                self._run(words, out.fileno(), err.fileno(), more)
            _, status = os.waitpid(child, 0)
            out.seek(0)
            err.seek(0)
            return Done(os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode())

    def _run(self, words: tuple[str, ...], out: int, err: int, more: dict[str, str]) -> NoReturn:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(self.directory)
            os.environ.clear()
            os.environ.update(environment(**more))
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  until this process ends
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.path.insert(0, str(self.directory))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = guarded(cli, words)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


class Terminal:
    """One session of `playhead debug`, in a process group of its own."""

    def __init__(self, directory: Path, *words: str, nohup: bool = False) -> None:
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            if nohup:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.chdir(directory)
            code = "from playhead_projections.cli import main; import sys; main(sys.argv[1:])"
            argv = [sys.executable, "-W", "error", "-c", code, "debug", *words]
            os.execve(sys.executable, argv, environment(TERM="dumb", PYTHONPATH=_paths()))
        self.said = self.read()

    def read(self, text: str = PROMPT) -> str:
        """What is said up to `text`, or to the end."""
        found = b""
        ends = time.monotonic() + WAIT_S_MAX
        while text.encode() not in found:
            ready, _, _ = select.select([self._end], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"nothing more was said after {found.decode()!r}"
            with suppress(OSError):
                more = os.read(self._end, 65_536)
                if more:
                    found += more
                    continue
            break
        return found.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix(text)

    def say(self, line: str) -> str:
        """What a command is answered, without its echo."""
        os.write(self._end, f"{line}\n".encode())
        return self.read().partition("\n")[2]

    def press(self, key: bytes) -> None:
        os.write(self._end, key)

    def close(self, line: str = "quit") -> int:
        """End the session; the exit code of `playhead debug`."""
        with suppress(OSError):
            os.write(self._end, f"{line}\n".encode())
        return self.ended()

    def ended(self) -> int:
        """Wait for the end. The exit code; minus the signal that ended it."""
        self.read("\0")
        _, status = os.waitpid(self.pid, 0)
        os.close(self._end)
        return os.waitstatus_to_exitcode(status)

    def hang_up(self) -> int:
        """Take the terminal away. The exit code of `playhead debug`."""
        os.close(self._end)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def processes(self) -> list[int]:
        """The processes of the session, oldest first."""
        done = subprocess.run(
            ["ps", "-o", "pid=", "-g", str(self.pid)], capture_output=True, text=True, check=False
        )
        return sorted(int(line) for line in done.stdout.split())

    def gone(self) -> bool:
        """Whether every process of the session ends within a few seconds."""
        return gone(self.pid)


def gone(group: int) -> bool:
    """Whether every process of a group ends within a few seconds."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def line_of(text: str) -> int:
    """The line of the program in which `text` stands first."""
    return next(n for n, line in enumerate(PROGRAMS.splitlines(), 1) if text in line)


def ask(shell: Shell, run: str, *commands: str, program: str = "programs.py") -> Done:
    """A session whose commands are handed in; what follows each prompt."""
    words = [word for command in commands for word in ("-c", command)]
    return shell("debug", run, program, *words)


def answers(done: Done) -> list[str]:
    """What was said at first, and after each command that was handed in."""
    first, *rest = done.out.split("(playhead) ")
    return [first, *(each.partition("\n")[2] for each in rest)]


@contextmanager
def debugging(directory: Path, *words: str, nohup: bool = False) -> Generator[Terminal]:
    """A session, none of whose processes outlives the test."""
    terminal = Terminal(directory, *words, nohup=nohup)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            os.killpg(terminal.pid, signal.SIGKILL)


def _paths() -> str:
    return os.pathsep.join(str(ROOT / part) for part in ("engine", "projections", "."))
