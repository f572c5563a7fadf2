"""Personas on duty, looked after by several processes that are killed at random moments.

Each errand is run once: one run, one end, one effect, paid once, however many processes triggered it. Nobody
takes work from the living, none is taken while the persona is paused, and two are never on duty at once.
Somebody who takes work from whoever has it must be found out by the same verdict.
"""

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT

KILLS = 100
KILLS_LONG = 3_000
KILLS_PER_STORE = 40
STORES_OF_CONTROL = 12


def job(place: Path, seed: int, kills: int, control: str = "") -> dict[str, Any]:
    """What came of one store."""
    place.mkdir()
    command = [sys.executable, "-m", "tests.crashes.duty", str(place), str(seed), str(kills), control]
    paths = os.pathsep.join((str(ROOT / "engine"), str(ROOT)))
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=200,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def kill_until(kills: int, tmp_path: Path, first_seed: int) -> None:
    killed = expired = 0
    for seed in count(first_seed):
        answer = job(tmp_path / str(seed), seed, KILLS_PER_STORE)
        assert answer["faults"] == [], seed
        killed, expired = killed + answer["kills"], expired + answer["expired"]
        if killed >= kills:
            break
    assert expired > kills / 10  # many died with work in hand


@pytest.mark.timeout(240)
def test_each_errand_is_run_once_by_processes_that_are_killed_a_hundred_times(tmp_path: Path) -> None:
    kill_until(KILLS, tmp_path, first_seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_each_errand_is_run_once_by_processes_that_are_killed_three_thousand_times(tmp_path: Path) -> None:
    kill_until(KILLS_LONG, tmp_path, first_seed=1_000)


def test_taking_work_from_the_living_is_found_out(tmp_path: Path) -> None:
    for seed in range(STORES_OF_CONTROL):
        faults = job(tmp_path / str(seed), seed, 10, "reckless")["faults"]
        if any("was taken from a living worker" in fault for fault in faults):
            return
    pytest.fail(f"none of {STORES_OF_CONTROL} stores shows it")
