"""What must hold for every input of `random_input`, and many of them in a process that may die of one.

    check_one(7)                    # how input 7 ended; AssertionError where something does not hold
    run_batch(0, 1_000)             # the same for a thousand, in a process with little memory

The process notes which input it is at, so one that hangs, crashes it or eats its memory is known.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from playhead.snippet.check import Checked, check
from playhead.snippet.diagnostic import Diagnostic
from playhead.snippet.machine import TRACE_MAX, Machine
from playhead.snippet.protocol import Call, Err, Limits, Ok, Outcome, SnippetVM, Step
from playhead.snippet.values import ERROR_TYPES
from tests.checkout import ROOT
from tests.snippet.host import BINDINGS
from tests.snippet.random_input import source

LIMITS: Final = (
    Limits(20_000, 100_000, 8_192, 4_096, 4),
    Limits(300, 2_000, 200, 100, 2),
    Limits(5_000, 1_000_000, 65_536, 65_536, 16),
)
LIMIT_NAMES: Final = frozenset({"max_steps", "max_cells", "max_text", "max_depth", "max_output_bytes"})
ANSWERS_MAX: Final = 12
MESSAGE_LENGTH_MAX: Final = 2_000
MEMORY_BYTES: Final = 512 * 1024 * 1024
"""What a batch may take beyond what it has when it begins."""
GROWTH_KB_MAX: Final = 128 * 1024
"""What one input may add to it."""
STILL_S_MAX: Final = 30.0
"""How long one input may take before it is taken for one that hangs."""
FAILURES_MAX: Final = 20
REPLAYED: Final = 8
"""Each so many inputs that run are run again, from the same outcomes."""

VALUES: Final = (
    *(
        "null",
        "true",
        "0",
        "-0",
        "1.5",
        '""',
        '"a"',
        "[]",
        "{}",
        "[1,2,3]",
        '{"a":{"b":[1,2]}}',
        '{"a":1,"a":2}',
    ),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "1" * 5_000,
        "1e400",
        "-1e400",
        "1E-400",
        "NaN",
        "-Infinity",
    ),
    *(
        "[" * 59 + "]" * 59,
        "[" * 61 + "]" * 61,
        "[" * 90_000,
        '{"a":' * 60 + "1" + "}" * 60,
        '"' + "[" * 200 + '"',
    ),
    *(
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\ud800"',
        '"\\u0000"',
        '"\x00"',
        '{"\\ud800":1}',
        '"\U0001f600"',
        "\ufeff1",
    ),
    *(
        "",
        " ",
        "1 2",
        "[1,]",
        "{'a':1}",
        "nul",
        '"',
        '"\\x"',
        "[1",
        "01",
        "+1",
        ".5",
        "1.",
        "// a",
        " [ 1 ]\n",
        "\x0c1",
    ),
    *(
        "[" + "0," * 3_000 + "0]",
        '"' + "x" * 100_000 + '"',
        '{"ok":true,"value":1}',
        '["a",["b",["c"]]]',
        "[[],[[]]]",
    ),
)
_ok: Any = Ok
_err: Any = Err
MISUSES: Final[tuple[Any, ...]] = (
    *(None, "null", b"null", 1, (), ("null",), {"value_json": "1"}, Ok, Step),
    *(_ok(None), _ok(b"1"), _ok(1), _ok(["1"])),
    *(_err(None, "m"), _err("c", None), _err("c", 1), _err(b"c", "m"), _err("c", ["m"])),
)
WRONG_OPS: Final[tuple[Any, ...]] = (
    -1,
    10**6,
    2**70,
    None,
    "0",
    True,
    False,
    0.0,
    1.0,
    (0,),
    [0],
    {},
    float("nan"),
)


def check_one(seed: int) -> str:
    """Check input `seed`, and run what passes. Says how that ended."""
    kind, text = source(seed)
    found = check(text, BINDINGS)
    if not isinstance(found, Checked):
        assert type(found) is list
        assert found, "refused without a word"
        for each in found:
            _diagnostic(each, text)
        return f"{kind}: refused"
    random = Random(-seed)
    limits = random.choice(LIMITS)
    run = _Run(found, limits, random)
    run.drive()
    if seed % REPLAYED == 0:
        run.again()
    return f"{kind}: {run.steps[-1].status}"


def _diagnostic(each: Diagnostic, text: str) -> None:
    lines = text.replace("\r\n", "\n").split("\n")
    assert 1 <= each.line <= each.end_line <= len(lines), each
    assert (each.line, each.col) <= (each.end_line, each.end_col), each
    assert 1 <= each.col <= len(lines[each.line - 1]) + 1, each
    assert 1 <= each.end_col <= len(lines[each.end_line - 1]) + 2, each
    for said in (each.code, each.message, each.hint):
        assert len(said.encode()) <= MESSAGE_LENGTH_MAX, each
    assert each.code, each
    assert each.message, each


class _Run:
    """One run of a snippet, answered by chance. All that was handed over is kept."""

    def __init__(self, checked: Checked, limits: Limits, random: Random) -> None:
        self.checked = checked
        self.limits = limits
        self.random = random
        self.lines = checked.source.count("\n") + 1
        self.steps: list[Step] = []
        self.outcomes: list[tuple[int, Outcome]] = []
        self.waiting: list[Call] = []
        self.ops = 0

    def drive(self) -> None:
        machine: SnippetVM = Machine(self.checked, self.limits)
        if self.random.random() < 0.05:
            self.misuse(machine)
        self.take(machine.start())
        while self.steps[-1].status == "waiting" and len(self.outcomes) < ANSWERS_MAX:
            if self.random.random() < 0.1:
                self.misuse(machine)
            call = self.waiting.pop(self.random.randrange(len(self.waiting)))
            outcome = self.outcome(call)
            self.outcomes.append((call.op, outcome))
            self.take(machine.resume(call.op, outcome))
        if self.random.random() < 0.1:
            self.misuse(machine)
            assert _refuses(machine.start), "a machine starts once"
        machine.close()
        machine.close()
        assert all(_refuses(machine.resume, call.op, Ok("1")) for call in self.waiting), "it was closed"

    def again(self) -> None:
        """The same outcomes give the same steps."""
        machine = Machine(self.checked, self.limits)
        steps = [machine.start(), *(machine.resume(op, outcome) for op, outcome in self.outcomes)]
        assert steps == self.steps

    def outcome(self, call: Call) -> Outcome:
        if self.random.random() < 0.2:
            words = ("", "child_tool_error", "\ud800", "x" * 5_000, "a\x00b", "{}")
            return Err(self.random.choice(words), self.random.choice(words))
        return Ok(call.input_json if self.random.random() < 0.3 else self.random.choice(VALUES))

    def misuse(self, machine: SnippetVM) -> None:
        """What no host should do is refused, and changes nothing."""
        op = self.random.choice((*WRONG_OPS, *(op for op, _ in self.outcomes)))
        waited_for = [call.op for call in self.waiting]
        if type(op) is not int or op not in waited_for:
            assert _refuses(machine.resume, op, Ok("1")), f"op {op!r} is waited for"
        for op in waited_for[:2]:
            wrong = self.random.choice(MISUSES)
            assert _refuses(machine.resume, op, wrong), f"{wrong!r} is an outcome"

    def take(self, step: Step) -> None:
        """A step is whole, within its limits, and says nothing that cannot be written."""
        before = self.steps[-1] if self.steps else None
        self.steps.append(step)
        limits = self.limits
        assert step.status in ("waiting", "done", "failed", "limit"), step
        assert (before.steps if before else 0) <= step.steps <= limits.max_steps, step
        assert step.stdout.startswith(before.stdout if before else ""), step
        size = len(step.stdout.encode())
        if step.result_json is not None:
            json.loads(step.result_json, parse_constant=_refused)
            size += len(step.result_json.encode())
        assert size <= limits.max_output_bytes, step
        assert (step.result_json is not None) == (step.status == "done"), step
        assert (step.error is not None) == (step.status in ("failed", "limit")), step
        if step.error is not None:
            kinds = LIMIT_NAMES if step.status == "limit" else ERROR_TYPES.keys()
            assert step.error.type in kinds, step
            assert len(step.error.message) <= MESSAGE_LENGTH_MAX, step
            assert 1 <= step.error.line <= self.lines, step
            assert step.error.col >= 1, step
            assert len(step.error.trace) <= TRACE_MAX, step
        json.dumps(step.document(), ensure_ascii=False).encode()
        for call in step.calls:
            self.call(call)
        self.waiting += step.calls
        assert bool(self.waiting) or step.status != "waiting", "it waits for nothing"

    def call(self, call: Call) -> None:
        assert call.op == self.ops, call
        self.ops += 1
        assert call.binding in BINDINGS, call
        assert not BINDINGS[call.binding].refusal, call
        assert len(call.input_json.encode()) <= self.limits.max_input_bytes, call
        assert type(json.loads(call.input_json, parse_constant=_refused)) is dict, call
        assert 1 <= call.line <= self.lines, call


def _refused(word: str) -> Any:
    raise AssertionError(f"{word} is not JSON")


def _refuses(function: Any, *arguments: Any) -> bool:
    """Whether a call is refused as the protocol has it, with words."""
    try:
        function(*arguments)
    except ValueError as error:
        return bool(str(error))
    return False


# Many, in a process of their own.


class Batch(NamedTuple):
    """What came of a batch: how often each end was met, and what is wrong with which seeds."""

    ends: Counter[str]
    failures: dict[int, str]


def run_batch(
    first: int, count: int, *, still_s_max: float = STILL_S_MAX, fault: tuple[int, str] = (-1, "")
) -> Batch:
    """Check inputs `first` and the next ones, until one of them ends the process.

    `fault`: a seed, and what happens at it in place of a check. So the watch itself is tested.
    """
    with tempfile.TemporaryDirectory() as folder:
        at, said = Path(folder) / "at", Path(folder) / "said"
        at.write_bytes(bytes(8))
        with said.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.snippet.random_runs", *map(str, (first, count, at, *fault))],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'engine'}{os.pathsep}{ROOT}"},
                stdout=output,
                stderr=output,
            )
            hangs = _watch(process, at, still_s_max)
        place = first + int.from_bytes(at.read_bytes(), "little")
        words = said.read_text(encoding="utf-8", errors="replace")
        if hangs:
            return Batch(Counter(), {place: f"nothing came for {still_s_max:g} s"})
        if process.returncode:
            return Batch(Counter(), {place: f"the process ended with {process.returncode}: {words[-2_000:]}"})
        ends, failures = json.loads(words)
        return Batch(Counter(ends), {int(seed): wrong for seed, wrong in failures.items()})


def _watch(process: subprocess.Popen[bytes], at: Path, still_s_max: float) -> bool:
    """Wait for the process while it comes on. Says whether it had to be killed."""
    place, since = b"", time.monotonic()
    while True:
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            now = at.read_bytes()
            if now != place:
                place, since = now, time.monotonic()
            elif time.monotonic() - since > still_s_max:
                process.kill()
                process.wait()
                return True
        else:
            return False


def _batch(first: int, count: int, at: Path, faulty: int, fault: str) -> None:
    _hold_memory()
    kept: list[bytes] = []
    ends: Counter[str] = Counter()
    failures: dict[int, str] = {}
    with at.open("r+b") as file, mmap.mmap(file.fileno(), 8) as place:
        most = _most_kb()
        for seed in range(first, first + count):
            place[:] = (seed - first).to_bytes(8, "little")
            try:
                if seed == faulty:
                    exec(fault, {"os": os, "signal": signal, "kept": kept})
                else:
                    ends[check_one(seed)] += 1
            except Exception as error:  # noqa: BLE001  whatever it is, it is told
                failures[seed] = f"{type(error).__name__}: {error}"[:1_000]
            now = _most_kb()
            if now - most > GROWTH_KB_MAX:
                failures[seed] = f"memory grew by {(now - most) // 1024} MB"
            most = now
            if len(failures) >= FAILURES_MAX:
                break
    sys.stdout.write(json.dumps([ends, failures]))


def _most_kb() -> int:
    """The most memory that this process had at once."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # There, what getrusage says counts the process that began this one as well.
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0])


def _hold_memory() -> None:
    if sys.platform != "linux":  # elsewhere the libraries of the system alone are larger
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    _batch(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
