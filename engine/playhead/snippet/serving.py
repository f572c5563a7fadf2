"""A process that runs snippets for another one, and has nothing of its own.

Reads requests from standard input and answers each on standard output: four bytes of length, then JSON.

    ["start", machine, source, {binding: [parameters, required, open, refusal]}, limits, names, inputs]
    ["resume", machine, op, "ok", value] or ["resume", machine, op, "err", category, message]
    ["drop", machine]                                            is not answered

The answer is a step as a list, its output only where it has ended. Whoever asks may kill this process at
any time: it holds nothing that cannot be made again from the same requests. It ends when its input does.
"""

from __future__ import annotations

import os
import select
import sys
from json import JSONDecoder, JSONEncoder
from time import process_time
from typing import Any, Final

from playhead.snippet.check import Checked, check
from playhead.snippet.machine import Machine
from playhead.snippet.protocol import Err, Limits, Ok, Step, ToolBinding

try:
    import resource
except ImportError:  # a system without it is not limited by it
    resource = None  # type: ignore[assignment]

HEADER: Final = 4
CHUNK: Final = 65_536
SPINS: Final = 60
"""How often to look for a request before going to sleep for it."""
MEMORY_BYTES: Final = 512 * 1024 * 1024
FILES: Final = 8
CPU_S: Final = 20

_decode: Final = JSONDecoder().decode
_encode: Final = JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def limit() -> None:
    """Take away what a snippet never needs. What the system does not know is left."""
    if resource is None:
        return
    wanted = {"RLIMIT_NOFILE": FILES, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    if sys.platform == "linux":  # elsewhere the libraries of the system alone are larger
        wanted["RLIMIT_AS"] = MEMORY_BYTES
    for name, most in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (most, most))
        except (OSError, ValueError, AttributeError):
            continue


def grant(used: float) -> None:
    """Time for what comes, in seconds of the processor: a machine that hangs is killed by it."""
    if resource is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + CPU_S, hard))


def serve() -> None:
    """Answer until nobody asks any more."""
    channel, machines = Channel(), dict[int, Machine]()
    granted = -1.0
    while True:
        request = _decode(channel.read().decode())
        what, number = request[0], request[1]
        if what == "drop":
            machines.pop(number, None)
            continue
        if (used := process_time()) > granted + 1:
            grant(used)
            granted = used
        step = _start(machines, *request[1:]) if what == "start" else _resume(machines, *request[1:])
        if step.status == "waiting":
            step = step._replace(stdout="")
        else:
            machines.pop(number, None)
        channel.write(_encode(step).encode())


def _start(
    machines: dict[int, Machine],
    number: int,
    source: str,
    named: dict[str, list[Any]],
    limits: list[int],
    inputs: list[str],
    inputs_json: str,
) -> Step:
    tools = {
        name: ToolBinding(tuple(parameters), tuple(required), open_, refusal)
        for name, (parameters, required, open_, refusal) in named.items()
    }
    found = check(source, tools, inputs=inputs)
    if not isinstance(found, Checked):
        raise SystemExit("a snippet came that does not pass the check")
    machines[number] = Machine(found, Limits(*limits), inputs_json)
    return machines[number].start()


def _resume(machines: dict[int, Machine], number: int, op: int, kind: str, *said: str) -> Step:
    return machines[number].resume(op, Ok(*said) if kind == "ok" else Err(*said))


class Channel:
    """Standard input and output, in pieces that say how long they are."""

    def __init__(self) -> None:
        self._left = b""
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)

    def read(self) -> bytes:
        """The next request. Ends the process where there is none."""
        data = self._left
        if not data:
            self._is_there()
        while len(data) < HEADER or len(data) < HEADER + int.from_bytes(data[:HEADER], "little"):
            part = os.read(0, CHUNK)
            if not part:
                raise SystemExit(0)
            data += part
        end = HEADER + int.from_bytes(data[:HEADER], "little")
        self._left = data[end:]
        return data[HEADER:end]

    def _is_there(self) -> bool:
        """Whether a request comes within a moment: most do, and falling asleep takes longer."""
        ready, give_way = self._poll.poll, os.sched_yield
        for _ in range(SPINS):
            if ready(0):
                return True
            give_way()
        return False

    def write(self, answer: bytes) -> None:
        """Send an answer, all of it."""
        data = memoryview(len(answer).to_bytes(HEADER, "little") + answer)
        while data:
            data = data[os.write(1, data) :]
