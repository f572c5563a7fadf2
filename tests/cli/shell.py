"""`playhead` as its users run it: a process of its own, in a directory of its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from playhead_projections.cli import cli
from playhead_projections.cli.faults import guarded
from tests.checkout import ROOT
from tests.cli.ready import Ready

WAIT_S_MAX = 30
# These only read, so a test may ask them without a new process; test_reading.py runs each in one as well.
READING = {"runs", "show", "log", "event", "tail", "receipts", "verify", "export", "schema", "db", "where"}

AGENTS = '''
"""Programs for the tests of the command line."""

import asyncio
import os
import signal as signals

from playhead import Reply, Request, Usage, attempt, child_run, model_call, persona, signal, sleep, step, tool


class Model:
    name = "tiny"

    async def complete(self, request):
        usage = Usage(input_tokens=300, output_tokens=40)
        return Reply(text="fine", model="tiny-1", usage=usage, cost_micros=1210)


PLAYHEAD = {"model": Model()}


@tool(side_effect_level="read_only")
async def fetch(n: int) -> int:
    return n * 2


@tool
def publish(text: str) -> str:
    """Not repeatable. Dies in the middle where it is told to."""
    with open("effects.txt", "a") as file:
        file.write(f"{text} {attempt().number}\\n")
    if os.environ.get("DIE"):
        os.kill(os.getpid(), signals.SIGKILL)
    return text.upper()


@step
async def ask(prompt: str) -> str:
    return (await model_call(Request(prompt=prompt))).text


@step
async def work(n: int) -> int:
    await ask("licence?")
    return await fetch(n)


@persona
async def audit(n: int, greeting: str = "hi", flags: dict[str, bool] | None = None) -> str:
    return await publish(f"{greeting} {await work(n)}")


@persona
async def asks() -> str:
    return "yes" if await signal("approve", bool) else "no"


@persona
async def breaks(n: int) -> float:
    try:
        return 1 / (await fetch(n))
    except ZeroDivisionError as error:
        raise RuntimeError("it broke") from error


@persona
async def naps() -> str:
    await sleep(0.05)
    return "rested"


@persona
async def rests() -> None:
    await sleep(3600)


@tool(side_effect_level="read_only")
async def stares() -> None:
    await asyncio.sleep(3600)


@persona
async def works() -> None:
    await stares()


@persona
async def delegates() -> str:
    return await child_run(asks)
'''


class Done(NamedTuple):
    """What a command said, and the code it ended with."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON objects on standard output, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**more: str) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")]),
        "LC_ALL": "C.UTF-8",
        "USER": "ada",
        **more,
    }


def command(*words: str) -> list[str]:
    # Whoever runs the tests in the background hands down that SIGINT is ignored; a terminal does not.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " from playhead_projections.cli import main; main(sys.argv[1:])"
    )
    return [sys.executable, "-W", "error", "-c", code, *words]


def ready() -> Ready:
    """The process that commands are copies of: one for each process of pytest."""
    if not _ready or _ready[-1].ended:
        _ready.append(Ready(environment()))
    return _ready[-1]


_ready: list[Ready] = []


class Shell:
    """A directory with a program and a store in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "agents.py").write_text(AGENTS)

    @property
    def store(self) -> Path:
        return self.directory / "runs.db"

    def __call__(self, *words: str, stdin: bytes = b"", **more: str) -> Done:
        """What a command says: in this process where it only reads, else in one of its own."""
        if READING & set(words) and not more and "-f" not in words:
            return self.here(*words)
        if not any(name.startswith(("LC_", "PYTHON")) for name in more):
            return self._beside(words, stdin, more)
        done = subprocess.run(
            command(*words),
            cwd=self.directory,
            env=environment(**more),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=WAIT_S_MAX,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _beside(self, words: tuple[str, ...], stdin: bytes, variables: dict[str, str]) -> Done:
        """In a process of its own that begins where the imports of all commands are done."""
        with tempfile.TemporaryDirectory() as place:
            files = [Path(place, name) for name in ("in", "out", "err")]
            for file in files:
                file.write_bytes(stdin if file.name == "in" else b"")
            code = ready().run(words, self.directory, files, variables, WAIT_S_MAX)
            return Done(code, files[1].read_text(), files[2].read_text())

    def here(self, *words: str) -> Done:
        """What a command says in this process."""
        said, told = io.BytesIO(), io.BytesIO()
        out, err = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in (said, told))
        with (
            contextlib.chdir(self.directory),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = guarded(cli, words)
        return Done(code, said.getvalue().decode(), told.getvalue().decode())

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*words),
            cwd=self.directory,
            env=environment(PYTHONUNBUFFERED="1", **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, persona: str, *words: str, die: str = "") -> tuple[str, Done]:
        """Run a persona of agents.py; the id of the run, and what was said."""
        done = self("run", f"agents.py:{persona}", *words, stdin=b"", **({"DIE": die} if die else {}))
        return done.err.partition("run ")[2].split()[0], done
