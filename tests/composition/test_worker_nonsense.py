"""Nonsense between a process and its worker ends the worker at most: the snippet goes on in another one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from playhead.composition.machines import Workers, in_process
from playhead.snippet import worker as worker_file
from playhead.snippet.protocol import Limits, Ok, Step, ToolBinding
from tests.snippet.random_input import source

BINDINGS = {"echo": ToolBinding(("value",), ("value",))}
SNIPPET = "print('a')\nreturn [echo(value=1), echo(value=2)]"
HERE = in_process(SNIPPET, BINDINGS, Limits())
STEPS = [step._replace(stdout="") for step in (HERE.start(), HERE.resume(0, Ok("[3]")))]
STEPS.append(HERE.resume(1, Ok("4")))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


KINDS: Final[tuple[Callable[[Random], bytes], ...]] = (
    lambda random: random.randbytes(random.randint(1, 50)),
    lambda random: framed(random.randbytes(random.randint(0, 50))),
    lambda random: framed(source(random.randrange(1_000))[1].encode("utf-8", "surrogatepass")),
    lambda _: framed(b'["resume",99,0,"ok","1"]'),
    lambda _: framed(b'["start",1]'),
    lambda _: framed(b'["waiting",[[0]],null,"",null,1]'),
    lambda _: framed(b'["odd",[],null,"",null,1]'),
    lambda _: framed(b"[]"),
    lambda _: framed(b"[" * 5_000),
    lambda _: b"\xff\xff\xff\xff[",
    lambda _: b"\x00\x00\x00\x00",
    lambda _: b"\x05",
)
SEEDS: Final = range(2 * len(KINDS))


def nonsense(seed: int) -> bytes:
    """Bytes that no worker and no host was ever meant to read."""
    return KINDS[seed % len(KINDS)](Random(seed))


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(answer_s_max=1.0) as found:
        yield found


def pipes(workers: Workers) -> tuple[int, int]:
    """What the host writes to and what it reads from."""
    workers.warm()
    assert workers._worker is not None
    process = workers._worker.process
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin.fileno(), process.stdout.fileno()


@pytest.mark.parametrize("seed", SEEDS)
def test_nonsense_that_a_worker_is_asked_ends_the_worker_at_most(workers: Workers, seed: int) -> None:
    machine = workers.machine(SNIPPET, BINDINGS, Limits())
    steps = [machine.start(), machine.resume(0, Ok("[3]"))]
    os.write(pipes(workers)[0], nonsense(seed))
    steps.append(machine.resume(1, Ok("4")))

    assert steps == STEPS
    assert workers.deaths


@pytest.mark.parametrize("seed", SEEDS)
def test_nonsense_that_a_worker_answers_is_no_answer(workers: Workers, seed: int) -> None:
    machine = workers.machine(SNIPPET, BINDINGS, Limits())
    steps = [machine.start(), machine.resume(0, Ok("[3]"))]
    answers, said = os.pipe()
    os.write(said, nonsense(seed))
    os.dup2(answers, pipes(workers)[1])
    os.close(answers)
    os.close(said)
    steps.append(machine.resume(1, Ok("4")))

    assert steps == STEPS
    assert workers.deaths


def test_a_worker_that_answers_nonsense_twice_takes_the_snippet_with_it(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(f"import os\nwhile os.read(0, 9999): os.write(1, {framed(b'[1]')!r})\n")
    monkeypatch.setattr(worker_file, "__file__", str(script))
    step: Step = workers.machine(SNIPPET, BINDINGS, Limits()).start()

    assert (step.status, workers.deaths) == ("limit", 2)
    assert step.error is not None
    assert step.error.type == "worker"
    assert "Expected `str`, got `int`" in step.error.message


@pytest.mark.parametrize("seed", SEEDS)
def test_a_worker_that_reads_nonsense_alone_ends_with_its_input(seed: int) -> None:
    command = [sys.executable, "-I", "-S", worker_file.__file__]
    done = subprocess.run(command, input=nonsense(seed), env={}, capture_output=True, timeout=30, check=False)

    assert done.returncode in (0, 1), done.stderr
    assert done.stdout == b""
