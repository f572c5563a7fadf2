"""Whatever is given to the check and the machine, they answer: no exception, no hang, no crash.

What must hold of each input stands in `random_runs.check_one`. An input that fails is told by its seed:
`python -c "from tests.snippet.random_runs import check_one; print(check_one(SEED))"`.
"""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from tests.snippet.random_input import KINDS, source
from tests.snippet.random_runs import run_batch

SLICE = 2_500
BATCH = 25_000


def test_random_inputs_are_answered() -> None:
    found = run_batch(0, SLICE)

    assert not found.failures
    ends = Counter(end.partition(": ")[2] for end in found.ends.elements())
    assert ends.total() == SLICE
    # Were one of these rare, little would be tested.
    assert min(ends[end] for end in ("refused", "failed", "done")) > SLICE * 0.1
    assert ends["limit"] > SLICE * 0.01


def test_there_are_inputs_of_every_kind() -> None:
    assert {source(seed)[0] for seed in range(500)} == set(KINDS)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("first", range(1_000_000, 2_000_000, BATCH))
def test_a_million_inputs_are_answered(first: int) -> None:
    found = run_batch(first, BATCH)

    assert not found.failures
    assert found.ends.total() == BATCH


# The watch sees what it should.


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ("while True: pass", "nothing came"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", f"ended with {-signal.SIGSEGV}"),
        ("os._exit(7)", "ended with 7"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("bytes(2**30)", "MemoryError"),
        ("kept.append(b'x' * 2**28)", "memory grew by"),
    ],
)
def test_an_input_that_takes_the_process_with_it_is_told_by_its_seed(fault: str, wrong: str) -> None:
    found = run_batch(40, 3, still_s_max=2.0, fault=(41, fault))

    assert list(found.failures) == [41]
    assert wrong in found.failures[41]
