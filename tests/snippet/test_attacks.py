"""No snippet escapes, hangs, eats the memory, or catches its limit; and what must work does.

`attacks.json` and `more_attacks.json` hold one snippet each with what is expected of it:
`refuse` before anything runs, `limit`, `refuse_or_error`, `limit_or_error`, `contain` (any
end that is one), or `ok` with a value.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from playhead.snippet.check import Checked, check
from playhead.snippet.machine import ENGINE_ERROR
from playhead.snippet.protocol import Limits
from tests.snippet.host import BINDINGS, Ended, replay, run

HERE = Path(__file__).parent
ATTACKS: list[dict[str, Any]] = [
    each
    for name in ("attacks.json", "more_attacks.json")
    for each in json.loads((HERE / name).read_text(encoding="utf-8"))
]


def outcome_of(attack: dict[str, Any]) -> Ended | None:
    """How it ended; None where the check refused it."""
    found = check(attack["code"], BINDINGS)
    if not isinstance(found, Checked):
        assert found
        return None
    limits = attack.get("limits", {})
    counted = Limits(
        max_output_bytes=limits.get("max_output_bytes", 100_000),
        max_concurrent=limits.get("max_concurrent_operations", 8),
    )
    ended = run(
        found,
        counted,
        operations_max=limits.get("max_operations", 100),
        concurrent_max=min(
            limits.get("max_concurrent_operations", 8), limits.get("max_concurrent_per_server", 8)
        ),
        timeout_ms=limits.get("timeout_ms", 5_000),
    )
    again = replay(found, ended, counted)
    if ended.step.status == "limit" and again.step.status == "waiting":  # the host ended it
        again.step = ended.step
    assert (again.step, again.calls[: len(ended.calls)]) == (ended.step, ended.calls)
    return ended


def test_every_attack_has_a_name_of_its_own() -> None:
    names = [each["id"] for each in ATTACKS]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each["id"])
def test_an_attack_ends_as_expected(attack: dict[str, Any]) -> None:
    ended = outcome_of(attack)

    status = "refuse" if ended is None else ended.step.status
    expected = {
        "ok": {"done"},
        "refuse": {"refuse"},
        "limit": {"limit"},
        "refuse_or_error": {"refuse", "failed", "limit"},
        "limit_or_error": {"refuse", "failed", "limit"},
        "contain": {"refuse", "failed", "limit", "done"},
    }
    assert status in expected[attack["expected"]], ended
    if ended is None:
        return
    said = [ended.step.result_json or "", ended.step.stdout]
    if ended.step.error is not None:
        assert ended.step.error.type != ENGINE_ERROR
        said.append(ended.error)
    for word in attack.get("forbidden", []):
        assert not any(word in each for each in said)
    if attack["expected"] == "ok":
        assert ended.value == attack["value"]
    if "stdout" in attack:
        assert ended.step.stdout == attack["stdout"]
    if "ops" in attack:
        assert len(ended.calls) == attack["ops"]
    if "line" in attack:
        assert ended.step.error is not None
        assert ended.step.error.line == attack["line"]
    assert ended.most_in_flight <= attack.get("max_in_flight", 8)
