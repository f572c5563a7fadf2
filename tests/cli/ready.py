"""A process that has loaded what commands need, and runs each in a copy of itself.

    ready = Ready(environment())
    code = ready.run(["runs"], directory, [stdin, stdout, stderr], {"DIE": "b"}, 30.0)      # three paths

Most of what a short command takes are its imports. A copy of a process that did nothing else begins where
they are done, and is a process of its own all the same. It reads commands, one JSON object a line, and
answers each with its exit code.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from tests.checkout import ROOT

SERVE = "import sys; del sys.path[0]; from tests.cli.ready import serve; serve()"


class Ready:
    """One such process, for one command at a time. It ends with whoever made it."""

    def __init__(self, environment: dict[str, str]) -> None:
        paths = os.pathsep.join((environment["PYTHONPATH"], str(ROOT)))
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SERVE],
            env={**environment, "PYTHONPATH": paths},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(self._end)

    def run(
        self,
        words: tuple[str, ...],
        directory: Path,
        files: list[Path],
        variables: dict[str, str],
        wait_s: float,
    ) -> int:
        """Run a command with `files` as standard input, output and error. Its code, or minus its signal.

        `variables` are added to its environment, too late for what an interpreter reads when it starts.
        """
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None
        assert told is not None
        job = {
            "words": words,
            "directory": str(directory),
            "files": [str(file) for file in files],
            "variables": variables,
        }
        asked.write(json.dumps(job).encode() + b"\n")
        asked.flush()
        if not select.select([told], [], [], wait_s)[0]:
            self._end()
            raise subprocess.TimeoutExpired(words, wait_s)
        return int(told.readline())

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def _end(self) -> None:
        if not self.ended:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def serve() -> None:
    """Be that process: load everything, and run what is asked for until nobody asks any more."""
    package = import_module("playhead_projections.cli")
    for found in pkgutil.iter_modules(package.__path__):
        import_module(f"playhead_projections.cli.{found.name}")
    import_module("playhead.replay.engine")
    gc.collect()
    gc.freeze()  # so that no copy looks through what was loaded here, least of all when it ends
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.environ.update(job["variables"])
            _become(job["words"], job["directory"], job["files"])
            return
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


def _become(words: list[str], directory: str, files: list[str]) -> None:
    """Be the command, to the end of this process."""
    for number, (file, how) in enumerate(zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(file, how)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", line_buffering=True)
    os.chdir(directory)
    os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].rpartition(os.pathsep)[0]
    sys.path[:] = ["", *(path for path in sys.path if path != str(ROOT))]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import_module("playhead_projections.cli").main(words)
