"""Machines for snippets in a worker: the same answers as in this process, whatever happens to it."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from playhead.composition.machines import Workers, in_process
from playhead.snippet.protocol import Err, Limits, Ok, Outcome, SnippetVM, Step, ToolBinding

BINDINGS = {"echo": ToolBinding(("value",), ("value",)), "slow": ToolBinding(("ms",), ("ms",))}
MANY = """
print("begin")
found = map_bounded(list(range(12)), lambda n: echo(value=n)["value"] * 2, concurrency=4)
try:
    slow(ms=1)
except ToolError as error:
    print(len(str(error)))
return [each["value"] for each in found["results"]]
"""


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers() as found:
        yield found


def outcome(binding: str, input_json: str) -> Outcome:
    return Err("timeout", "half \ud83d of ü") if binding == "slow" else Ok(input_json)


def driven(machine: SnippetVM, *, kill: Sequence[int] = (), workers: Workers | None = None) -> list[Step]:
    """All steps of a machine, calls answered in their order; the worker is killed before those in `kill`."""
    steps = [machine.start()]
    waiting = list(steps[0].calls)
    while steps[-1].status == "waiting":
        if len(steps) in kill and workers is not None and workers.pid is not None:
            os.kill(workers.pid, signal.SIGKILL)
        call = waiting.pop(0)
        steps.append(machine.resume(call.op, outcome(call.binding, call.input_json)))
        waiting += steps[-1].calls
    return steps


def ends(steps: list[Step]) -> list[Step]:
    """Steps as a worker tells them: what was printed only at the end."""
    return [step if step.status != "waiting" else step._replace(stdout="") for step in steps]


HERE = ends(driven(in_process(MANY, BINDINGS, Limits())))


def test_a_worker_takes_the_very_same_steps(workers: Workers) -> None:
    assert HERE[-1].result_json == str([2 * n for n in range(12)]).replace(" ", "")
    assert HERE[-1].stdout.startswith("begin\n11")
    assert ends(driven(workers.machine(MANY, BINDINGS, Limits()))) == HERE


@pytest.mark.parametrize("kill", [[1], [5], [len(HERE) - 1], list(range(1, len(HERE)))])
def test_a_worker_that_is_killed_is_replaced_and_nobody_notices(workers: Workers, kill: list[int]) -> None:
    machine = workers.machine(MANY, BINDINGS, Limits())

    assert ends(driven(machine, kill=kill, workers=workers)) == HERE
    assert workers.deaths == len(kill)


def test_machines_side_by_side_share_a_worker_and_survive_each_other(workers: Workers) -> None:
    source = "for n in range(3):\n    echo(value=n)\nreturn n"
    machines = [workers.machine(source, BINDINGS, Limits()) for _ in range(3)]
    steps = [machine.start() for machine in machines]
    assert workers.pid is not None
    os.kill(workers.pid, signal.SIGKILL)
    for round_ in range(3):
        steps = [machine.resume(round_, Ok("null")) for machine in machines]
    assert [step.result_json for step in steps] == ["2"] * 3


def test_a_worker_that_does_not_answer_is_killed_and_the_snippet_given_up_the_second_time() -> None:
    with Workers(answer_s_max=0.01) as workers:
        step = workers.machine("while True:\n    pass", BINDINGS, Limits()).start()
    assert (step.status, workers.deaths) == ("limit", 2)
    assert step.error is not None
    assert step.error.type == "worker"
    assert "took longer than 0.01 s" in step.error.message


def test_a_worker_that_stands_still_is_replaced() -> None:
    with Workers(answer_s_max=1.0) as workers:
        machine = workers.machine("return echo(value=1)", BINDINGS, Limits())
        machine.start()
        assert workers.pid is not None
        os.kill(workers.pid, signal.SIGSTOP)
        assert machine.resume(0, Ok("7")).result_json == "7"
        assert workers.deaths == 1


def test_after_a_limit_a_new_worker_is_used(workers: Workers) -> None:
    workers.warm()
    before = workers.pid
    assert workers.machine("while True:\n    pass", BINDINGS, Limits()).start().status == "limit"
    assert workers.machine("return 1", BINDINGS, Limits()).start().result_json == "1"
    assert workers.pid != before


def test_a_machine_is_handed_each_outcome_once_and_none_that_it_does_not_wait_for(workers: Workers) -> None:
    machine = workers.machine("echo(value=1)\nreturn echo(value=2)", BINDINGS, Limits())
    machine.start()
    machine.resume(0, Ok("1"))
    for op in (0, 2, -1):
        with pytest.raises(ValueError, match="not waited for"):
            machine.resume(op, Ok("1"))
    with pytest.raises(ValueError, match="started before"):
        machine.start()


def test_a_machine_that_is_closed_does_not_go_on(workers: Workers) -> None:
    machine = workers.machine("return echo(value=1)", BINDINGS, Limits())
    machine.start()
    machine.close()
    machine.close()
    with pytest.raises(ValueError, match="not waited for"):
        machine.resume(0, Ok("1"))
    assert workers.machine("return 1", BINDINGS, Limits()).start().status == "done"


def test_what_does_not_pass_the_check_gets_no_machine(workers: Workers) -> None:
    for make in (workers.machine, in_process):
        with pytest.raises(ValueError, match="line 1"):
            make("import os", BINDINGS, Limits())
    assert workers.pid is None


def test_values_of_any_size_and_alphabet_cross_whole(workers: Workers) -> None:
    text = '"' + "ü😀\\ud83d\\n" * 20_000 + '"'
    step = workers.machine("return len(echo(value=1))", BINDINGS, Limits())
    step.start()
    assert step.resume(0, Ok(text)).result_json == "80000"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says it")
def test_a_worker_has_no_environment_and_little_of_anything_else(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "a secret")
    workers.warm()
    workers.machine("return 1", BINDINGS, Limits()).start()
    place = Path(f"/proc/{workers.pid}")
    assert b"CANARY" not in (place / "environ").read_bytes()
    limits = (place / "limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert rows["Max open files"] == "8"
    assert rows["Max file size"] == "0"
    assert rows["Max core file size"] == "0"
    assert rows["Max address space"] == str(512 * 1024 * 1024)
    assert int(rows["Max cpu time"]) < 60
    assert len(list((place / "fd").iterdir())) <= 4


def test_a_worker_ends_with_whoever_started_it(workers: Workers) -> None:
    workers.warm()
    worker = workers._worker
    assert worker is not None
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(timeout=10) == 0
