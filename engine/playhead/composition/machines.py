"""Machines for snippets: in a worker process that can be killed, or in this one.

    with Workers() as workers:
        machine = workers.machine(source, bindings, limits)
        step = machine.start()

A machine is a pure function of its source and the outcomes that it was handed, so when its worker dies,
for whatever reason, another one is brought to the same place from the same requests. Only the machine
that a worker died of twice is given up.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec

from playhead.snippet import worker as worker_file
from playhead.snippet.check import Checked, check
from playhead.snippet.machine import Machine
from playhead.snippet.protocol import Call, Limits, Ok, Outcome, SnippetError, SnippetVM, Step, ToolBinding

ANSWER_S_MAX: Final = 10.0
"""How long a worker may take for one step before it is killed. What bounds a step is its count, not this."""
STEPS_PER_WORKER: Final = 200_000
"""After so many steps a worker that nobody uses makes way for a new one."""
DEATHS_MAX: Final = 2
HEADER: Final = 4
SPINS: Final = 60
"""How often to look for an answer before going to sleep for it."""
CHUNK: Final = 65_536

Request = list[Any]
Answer = tuple[
    Literal["waiting", "done", "failed", "limit"],
    tuple[Call, ...],
    str | None,
    str,
    SnippetError | None,
    int,
]
Inputs = Mapping[str, str]
"""Variables that hold a value when a snippet begins, each as JSON text."""
NO_INPUTS: Final[Inputs] = {}


class WorkerDied(Exception):
    """The worker is gone. `why` says how."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def in_process(
    source: str, bindings: Mapping[str, ToolBinding], limits: Limits, inputs: Inputs = NO_INPUTS
) -> SnippetVM:
    """A machine in this very process. Only for snippets that are trusted: nothing but its counts stops it.

    Raises `ValueError` for a snippet that does not pass the check.
    """
    return Machine(_checked(source, bindings, inputs), limits, _object_of(inputs))


def _object_of(inputs: Inputs) -> str:
    return msgspec.json.encode({name: msgspec.Raw(text.encode()) for name, text in inputs.items()}).decode()


def _checked(source: str, bindings: Mapping[str, ToolBinding], inputs: Inputs) -> Checked:
    found = check(source, bindings, inputs=inputs)
    problems = () if isinstance(found, Checked) else found
    if problems:
        raise ValueError(f"line {problems[0].line}: {problems[0].message}")
    assert isinstance(found, Checked)
    return found


class Workers:
    """Looks after the worker process, which is started when it is first needed and kept warm.

    Not to be shared between threads. A crash of this process ends the worker, whose input ends with it.
    """

    def __init__(self, *, answer_s_max: float = ANSWER_S_MAX) -> None:
        self.answer_s_max = answer_s_max
        self.deaths = 0
        self._worker: _Worker | None = None
        self._numbers = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the worker; None where there is none."""
        return self._worker.process.pid if self._worker is not None else None

    def warm(self) -> None:
        """Start the worker now, so that the first snippet does not wait for it."""
        if self._worker is None:
            self._worker = _Worker()

    def machine(
        self, source: str, bindings: Mapping[str, ToolBinding], limits: Limits, inputs: Inputs = NO_INPUTS
    ) -> RemoteMachine:
        """A machine in the worker. Raises `ValueError` for a snippet that does not pass the check."""
        _checked(source, bindings, inputs)
        self._numbers += 1
        shapes = {name: list(shape) for name, shape in bindings.items()}
        begin = ["start", self._numbers, source, shapes, list(limits), list(inputs), _object_of(inputs)]
        return RemoteMachine(self, begin)

    def ask(self, worker: _Worker | None, requests: list[Request]) -> tuple[_Worker, Answer]:
        """The answer to the last of `requests`; all of them are sent where another worker had the others.

        Raises `WorkerDied`, after which there is none.
        """
        self.warm()
        current = self._worker
        assert current is not None
        try:
            for request in requests[:-1] if current is not worker else ():
                current.ask(request, self.answer_s_max)
            answer = current.ask(requests[-1], self.answer_s_max)
        except WorkerDied:
            self.deaths += 1
            self._worker = None
            raise
        return current, answer

    def drop(self, worker: _Worker | None, number: int) -> None:
        """Forget a machine that is not needed any more."""
        if worker is not None and worker is self._worker:
            worker.forget(number)

    def recycle(self) -> None:
        """Let the worker go where it has done enough, or something in it came to a limit."""
        if self._worker is not None:
            self._worker.kill("it is replaced")
            self._worker = None

    def close(self) -> None:
        """End the worker. Machines that are used afterwards start another."""
        self.recycle()


class RemoteMachine:
    """One run of one snippet in a worker. See `playhead.snippet.protocol.SnippetVM`."""

    def __init__(self, workers: Workers, start: Request) -> None:
        self._workers = workers
        self._requests: list[Request] = [start]
        self._worker: _Worker | None = None
        self._waits: set[int] = set()
        self._steps = 0
        self._started = False

    def start(self) -> Step:
        """Run until every task waits or the snippet has ended. Raises `ValueError` when called again."""
        if self._started:
            raise ValueError("the machine was started before")
        self._started = True
        return self._step()

    def resume(self, op: int, outcome: Outcome) -> Step:
        """Hand over what came of call `op`. Raises `ValueError` for an op that is not waited for."""
        if op not in self._waits:
            raise ValueError(f"call {op} is not waited for")
        self._waits.discard(op)
        said = ["ok", outcome.value_json] if isinstance(outcome, Ok) else ["err", *outcome]
        self._requests.append(["resume", self._requests[0][1], op, *said])
        return self._step()

    def close(self) -> None:
        """Give it up where it stands. Nothing of it runs any further; closing again does nothing."""
        self._waits.clear()
        self._workers.drop(self._worker, self._requests[0][1])

    def _step(self) -> Step:
        why = ""
        for _ in range(DEATHS_MAX):
            try:
                self._worker, answer = self._workers.ask(self._worker, self._requests)
            except WorkerDied as died:
                self._worker, why = None, died.why
                continue
            status, calls, result, stdout, error, steps = answer
            self._steps = steps
            self._waits.update(call.op for call in calls)
            if status != "waiting":
                self._end(status)
            return Step(status, calls, result, stdout, error, steps)
        self._end("limit")
        message = f"the worker died of the snippet: {why}."
        return Step("limit", (), None, "", SnippetError("worker", message, 0, 0, ()), self._steps)

    def _end(self, status: str) -> None:
        self._waits.clear()
        worker = self._worker
        if status == "limit" or (worker is not None and worker.steps > STEPS_PER_WORKER):
            self._workers.recycle()


_read: Final = msgspec.json.Decoder(Answer).decode


class _Worker:
    """One worker process, and what is said to it."""

    def __init__(self) -> None:
        self.steps = 0
        self.process = subprocess.Popen(  # noqa: S603  (our own script, by its path)
            [sys.executable, "-I", "-S", str(Path(worker_file.__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            bufsize=0,
            start_new_session=True,  # an interrupt at the terminal is ours to handle
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to, self._from = self.process.stdin.fileno(), self.process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)

    def ask(self, request: Request, within_s: float) -> Answer:
        """The answer to one request. Raises `WorkerDied`, also for what is no answer."""
        self.steps += 1
        try:
            self._send(request)
            answer: Answer = _read(self._receive(within_s))
        except (OSError, EOFError, msgspec.DecodeError) as error:
            raise WorkerDied(self.kill(str(error) or type(error).__name__)) from error
        return answer

    def forget(self, number: int) -> None:
        try:
            self._send(["drop", number])
        except OSError as error:
            self.kill(str(error))

    def _send(self, request: Request) -> None:
        try:
            body = msgspec.json.encode(request)
        except UnicodeEncodeError:  # half of a character, which only escapes can hold
            body = json.dumps(request, ensure_ascii=True).encode()
        data = len(body).to_bytes(HEADER, "little") + body
        sent = os.write(self._to, data)
        while sent < len(data):
            sent += os.write(self._to, data[sent:])

    def _is_there(self) -> bool:
        """Whether an answer comes within a moment: most do, and falling asleep takes longer."""
        ready, give_way = self._poll.poll, os.sched_yield
        for _ in range(SPINS):
            if ready(0):
                return True
            give_way()
        return False

    def _receive(self, within_s: float) -> bytes:
        """One answer. There is never more than one under way."""
        data = b""
        size = HEADER
        while len(data) < size:
            if not self._is_there() and not self._poll.poll(within_s * 1000):
                raise EOFError(f"it took longer than {within_s:g} s")
            part = os.read(self._from, CHUNK)
            if not part:
                raise EOFError
            data += part
            if size == HEADER and len(data) >= HEADER:
                size += int.from_bytes(data[:HEADER], "little")
        return data[HEADER:]

    def kill(self, why: str) -> str:
        """End the process. Returns how it ended, in words."""
        before = self.process.poll()
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if before is None and why != "EOFError":
            return why
        return f"signal {-code}" if code < 0 else f"exit code {code}"
