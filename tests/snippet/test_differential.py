"""Random programs give here what they give in CPython.

What is meant to differ stands in `tests.snippet.test_language.DIFFERENT`, and random programs
keep away from it, but for two things that no program can foresee: a number that leaves 64 bits
(the rest of the program is not compared), and a nest that is too deep (a limit).
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections import Counter
from typing import Any

import pytest

from playhead.snippet.check import Checked, check
from playhead.snippet.machine import Machine
from playhead.snippet.protocol import Limits
from tests.snippet.programs import program

SLICE = 250
LIMITS = Limits(max_output_bytes=1_000_000)


def by_python(source: str) -> tuple[list[Any], str] | None:
    """Log and output of a program; None where CPython refuses to compile it, or the program failed."""
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")
        try:
            exec(compile(source, "program", "exec"), names)
        except Exception:  # noqa: BLE001  what it is does not matter: it fails here too, or is refused
            return None
    found: list[Any] = json.loads(json.dumps(names["log"]))
    return found, printed.getvalue()


def is_too_large(value: str) -> bool:
    """Whether a state says a number that needs more than 64 bits."""
    return any(len(part) > 18 for part in "".join(c if c.isdigit() else " " for c in value).split())


def compared(seed: int) -> str:
    """Run a program here and there; say how it went. Raises `AssertionError` where they differ."""
    source = program(seed)
    found = check(f"{source}return log\n", {})
    theirs = by_python(source)
    if not isinstance(found, Checked):
        assert theirs is None, (seed, found)
        return "refused"
    step = Machine(found, LIMITS).start()
    if step.status == "limit":
        assert step.error is not None
        assert step.error.type == "max_depth", (seed, step)
        return "limit"
    if theirs is None:
        return "too large"
    assert step.status == "done", (seed, step)
    ours = json.loads(step.result_json or "")
    log, printed = theirs
    for place, (here, there) in enumerate(zip(ours, log, strict=False)):
        if here == "OverflowError" or is_too_large(json.dumps(there)):
            return "too large"
        assert here == there, (seed, place)
    assert len(ours) == len(log), seed
    assert step.stdout == printed, seed
    return "same"


@pytest.mark.parametrize("first", range(0, 2_000, SLICE))
def test_two_thousand_programs_run_as_in_python(first: int) -> None:
    found = Counter(compared(seed) for seed in range(first, first + SLICE))

    assert found["same"] > SLICE * 0.9


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("first", range(100_000, 200_000, 5_000))
def test_a_hundred_thousand_programs_run_as_in_python(first: int) -> None:
    found = Counter(compared(seed) for seed in range(first, first + 5_000))

    assert found["same"] > 4_500
