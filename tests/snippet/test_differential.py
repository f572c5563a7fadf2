"""Random programs give here what they give in CPython.

What is meant to differ stands in `tests.snippet.test_language.DIFFERENT`, and random programs
keep away from it, but for two things that no program can foresee: a number that leaves 64 bits
(the rest of the program is not compared), and a nest that is too deep (a limit).
"""

from __future__ import annotations

import ast
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
from tests.snippet.bounded import NAMES, in_64_bits
from tests.snippet.programs import program

SLICE = 250
LIMITS = Limits(max_output_bytes=1_000_000)


def by_python(source: str | ast.Module) -> tuple[list[Any], str] | None:
    """Log and output of a program; None where CPython refuses to compile it, or the program failed."""
    names: dict[str, Any] = dict(NAMES)
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
    """Run a random program here and there; say how it went. Raises `AssertionError` where they differ."""
    return compared_source(program(seed), seed)


def compared_source(source: str, seed: int) -> str:
    """Like `compared`, for a program that is known by `seed`."""
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
        if here != there:
            # A number that grew too large may have been caught, and only what came of it is seen.
            bounded = by_python(in_64_bits(source))
            assert bounded is not None, (seed, place)
            assert ours[: place + 1] == bounded[0][: place + 1], (seed, place)
            return "too large"
    assert len(ours) == len(log), seed
    assert step.stdout == printed, seed
    return "same"


def test_python_of_64_bits_raises_where_a_number_grows_beyond() -> None:
    source = "log = []\ni = 2 ** 62\ntry:\n    i += i\nexcept OverflowError:\n    log.append('over')\n"
    assert by_python(source) == ([], "")
    assert by_python(in_64_bits(source)) == (["over"], "")
    for fine in ("log = [2 ** 62 - 1 + 2 ** 62]", "log = [-(2 ** 62) * 2, -5, [1] * 2]"):
        assert by_python(in_64_bits(fine)) == by_python(fine)


def test_a_number_that_grew_too_large_where_that_was_caught_is_no_difference() -> None:
    source = """
log = []
try:
    try:
        i = 2 ** 62
        i *= 4
        log.append("went on")
    finally:
        [].pop()
except Exception as error:
    log.append("caught")
"""
    assert compared_source(source, 0) == "too large"
    with pytest.raises(AssertionError):  # what no number explains is a difference
        compared_source("log = []\nlog.append({3, 1, 2}.pop())\n", 1)


@pytest.mark.parametrize("first", range(0, 2 * SLICE, SLICE))
def test_random_programs_run_as_in_python(first: int) -> None:
    found = Counter(compared(seed) for seed in range(first, first + SLICE))

    assert found["same"] > SLICE * 0.9


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("first", range(100_000, 200_000, 5_000))
def test_a_hundred_thousand_programs_run_as_in_python(first: int) -> None:
    found = Counter(compared(seed) for seed in range(first, first + 5_000))

    assert found["same"] > 4_500
