"""Programs that run inside a workspace, and of which nothing stays.

    done = await Processes(Path("out"), {}).exec(["make", "-s", "test"])
    done.exit_code, done.stdout

A program leads a process group of its own. When it ends, when its time is over and when its caller is
cancelled, whoever is left of the group is killed. It begins in a folder that is already open, so that
nobody can put a link in its place, and its environment holds what it was given and little more.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from playhead.errors import BadValue
from playhead.workspace.paths import parts_of
from playhead.workspace.telling import opened, told
from playhead.workspace.threads import in_thread

TIMEOUT_S: Final = 600.0
TIMEOUT_S_MAX: Final = 1e9
"""About thirty years."""
OUTPUT_BYTES_MAX: Final = 1024 * 1024
DRAIN_S_MAX: Final = 1.0
"""How long what was written may take to arrive once everybody who could write is dead."""
EXIT_S_MAX: Final = 10.0
LOOK_S: Final = 0.01

# Where a folder that is open has no path: go there, and become the program.
_LAUNCH: Final = """
import os, sys
os.fchdir(int(sys.argv[1]))
os.close(int(sys.argv[1]))
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.stderr.write(f"{sys.argv[2]}: {error.strerror}\\n")
    sys.stderr.flush()
    os._exit(127)
"""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended and what it wrote. A negative `exit_code` is the signal that killed it.

    Of each output the beginning is kept; `truncated` says that there was more. Bytes that are no UTF-8 are
    replaced. `timed_out`: it was killed because its time was over.
    """

    exit_code: int
    stdout: str
    stderr: str
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


class Processes:
    """Runs programs in folders below a directory, with `env` beside the little that every program needs."""

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self._root = root
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **env}

    async def exec(
        self,
        argv: list[str],
        cwd: str = "",
        *,
        env: dict[str, str] | None = None,
        input: str | None = None,
        timeout_s: float = TIMEOUT_S,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
    ) -> Finished:
        """Run a program, without a shell. That it fails is a result; that there is no such program raises.

        `env` is recorded: secrets belong into the `env` of the workspace.
        """
        if not 0 < timeout_s <= TIMEOUT_S_MAX or output_bytes_max < 0:
            raise BadValue("timeout_s is above 0, and output_bytes_max not below.")
        with contextlib.ExitStack() as held:
            process = self._start(held, argv, cwd, self._env | (env or {}), input)
            return await _see_through(process, timeout_s, output_bytes_max)

    async def shell(
        self,
        command: str,
        cwd: str = "",
        *,
        env: dict[str, str] | None = None,
        input: str | None = None,
        timeout_s: float = TIMEOUT_S,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
    ) -> Finished:
        """Run a command of /bin/sh."""
        return await self.exec(
            ["/bin/sh", "-c", command],
            cwd,
            env=env,
            input=input,
            timeout_s=timeout_s,
            output_bytes_max=output_bytes_max,
        )

    def _start(
        self,
        held: contextlib.ExitStack,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        input: str | None,
    ) -> subprocess.Popen[bytes]:
        """Start a program. Not in a thread: who is cancelled then would not know that it runs."""
        _check(argv, env)
        parts = parts_of(cwd, folder=True)
        given = held.enter_context(_file_of(input)) if input is not None else subprocess.DEVNULL
        with contextlib.ExitStack() as above:
            with opened(self._root, cwd, make=True) as ground:
                folder = above.enter_context(ground.folder(parts))
            with told(None, argv[0][:200]):
                command, directory, descriptors = placed(argv, folder, sys.platform)
                process = subprocess.Popen(  # noqa: S603  it is what this is for
                    command,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=env,
                    start_new_session=True,
                    cwd=directory,
                    pass_fds=descriptors,
                )
        return held.enter_context(_closed(process))


def placed(argv: list[str], folder: int, platform: str) -> tuple[list[str], str | None, tuple[int, ...]]:
    """Command, directory and descriptors with which `argv` begins in an open folder, whatever its name is."""
    if platform == "linux":
        return argv, f"/proc/self/fd/{folder}", ()
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(folder), *argv], None, (folder,)


def _check(argv: Sequence[object], env: Mapping[str, object]) -> None:
    """Raise `BadValue` for what no system takes."""
    listed = not isinstance(argv, str) and all(isinstance(word, str) and "\0" not in word for word in argv)
    if not listed or not argv or not argv[0]:
        raise BadValue("argv is a list of texts without NUL, the program first.")
    if not all(name and "=" not in name and "\0" not in f"{name}{value}" for name, value in env.items()):
        raise BadValue("env has names without = and NUL, and texts without NUL.")


@contextlib.contextmanager
def _file_of(text: str) -> Generator[IO[bytes]]:
    """A file without a name that holds `text`: nobody has to feed it to a program that does not read."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file


@contextlib.contextmanager
def _closed(process: subprocess.Popen[bytes]) -> Generator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


class _Output(asyncio.Protocol):
    """Keeps the beginning of what arrives, and takes the rest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self.truncated = False
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        room = self._most - len(self._kept)
        self._kept += data[:room]
        self.truncated |= len(data) > room

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


async def _see_through(process: subprocess.Popen[bytes], timeout_s: float, most: int) -> Finished:
    """Wait for a program, and kill what is left of it then, also where this is cancelled."""
    loop = asyncio.get_running_loop()
    outputs: list[_Output] = []
    transports: list[asyncio.ReadTransport] = []
    try:
        try:
            for pipe in (process.stdout, process.stderr):
                transport, output = await loop.connect_read_pipe(functools.partial(_Output, most), pipe)
                transports.append(transport)
                outputs.append(output)
            timed_out = not await _ends(process, timeout_s)
        finally:
            _kill_group(process)
            await in_thread(process.wait, EXIT_S_MAX)
        with contextlib.suppress(TimeoutError):  # somebody who has left the group may hold them for ever
            async with asyncio.timeout(DRAIN_S_MAX):
                for output in outputs:
                    await output.ended.wait()
    finally:
        for transport in transports:
            transport.close()
    out, err = outputs
    return Finished(
        exit_code=process.returncode,
        stdout=out.text,
        stderr=err.text,
        stdout_truncated=out.truncated,
        stderr_truncated=err.truncated,
        timed_out=timed_out,
    )


async def _ends(process: subprocess.Popen[bytes], within_s: float) -> bool:
    """Whether a program ends in time."""
    try:
        async with asyncio.timeout(within_s):
            await _end(process)
    except TimeoutError:
        return False
    return True


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a program.

    Where the system allows it is not reaped before its group is killed, so that nobody else has its number.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        while process.poll() is None:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(LOOK_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
