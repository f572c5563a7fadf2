"""Two hundred workers are killed at random moments, and nothing that was promised is lost or done twice.

Every acknowledged event is there, the chain verifies, all runs end with the results of an uninterrupted
process, no completed tool or model call ran twice, and every effect in flight was in doubt until somebody
answered for it. The witness of what really ran is a file outside the log. A store that acknowledges before it
commits, and two owners of one run, must be found out by the same checker.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.checkout import ROOT
from tests.crashes.workload import RUNS

KILLS = 200
KILLS_LONG = 10_000
KILLS_PER_STORE = 15
ZYGOTES = 2
CONTROL_SEEDS_MAX = 40
"""Where a kill falls goes by chance: one store in four shows that nobody is fenced, so eight were too few."""


class Zygote:
    """A process that does one job after the other."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "engine"), str(ROOT)))},
        )

    def work(self, place: Path, **job: Any) -> dict[str, Any]:
        """One store, killed `kills` times at most."""
        place.mkdir()
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"place": str(place), **job}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        self.process.communicate(timeout=60)


class Zygotes(NamedTuple):
    """All of them, and what an uninterrupted process answers."""

    all: list[Zygote]
    expected: dict[str, str]


@pytest.fixture(scope="module")
def zygotes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygotes]:
    made = [Zygote() for _ in range(ZYGOTES)]
    place = tmp_path_factory.mktemp("crashes") / "unbroken"
    unbroken = made[0].work(place, seed=0, kills=0, control="", expected={})
    assert unbroken["faults"] == []
    yield Zygotes(made, unbroken["results"])
    for zygote in made:
        zygote.close()


@dataclass
class Tally:
    """What came of many jobs; faults name their seeds."""

    kills: int = 0
    doubts: int = 0
    faults: list[str] = field(default_factory=list)


def kill_until(kills: int, zygotes: Zygotes, tmp_path: Path, first_seed: int) -> Tally:
    """Jobs with one seed after the other until that many processes were killed."""
    seeds = count(first_seed)
    tally = Tally()

    def keep_busy(zygote: Zygote) -> None:
        while tally.kills < kills and not tally.faults:
            seed = next(seeds)
            job = {"seed": seed, "kills": KILLS_PER_STORE, "control": "", "expected": zygotes.expected}
            answer = zygote.work(tmp_path / str(seed), **job)
            tally.kills += answer["kills"]
            tally.doubts += answer["doubts"]
            tally.faults.extend(f"seed {seed}: {fault}" for fault in answer["faults"])

    with ThreadPoolExecutor(len(zygotes.all)) as threads:
        list(threads.map(keep_busy, zygotes.all))
    return tally


def test_an_uninterrupted_process_ends_every_run(zygotes: Zygotes) -> None:
    assert sorted(map(int, zygotes.expected)) == list(range(RUNS))


@pytest.mark.timeout(240)
def test_nothing_is_lost_or_done_twice_by_two_hundred_kills(zygotes: Zygotes, tmp_path: Path) -> None:
    tally = kill_until(KILLS, zygotes, tmp_path, first_seed=1)

    assert tally.faults == []
    assert tally.kills >= KILLS
    assert tally.doubts > KILLS / 4


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_nothing_is_lost_or_done_twice_by_ten_thousand_kills(zygotes: Zygotes, tmp_path: Path) -> None:
    tally = kill_until(KILLS_LONG, zygotes, tmp_path, first_seed=1_000)

    assert tally.faults == []
    assert tally.kills >= KILLS_LONG


# The controls.


def found_out(zygotes: Zygotes, tmp_path: Path, control: str, what: str) -> bool:
    """Whether the checker says `what` of at least one of a few stores."""
    for seed in range(CONTROL_SEEDS_MAX):
        job = {"seed": seed, "kills": 3, "control": control, "expected": zygotes.expected}
        answer = zygotes.all[0].work(tmp_path / f"{control}{seed}", **job)
        if any(what in fault for fault in answer["faults"]):
            return True
    return False


def test_acknowledging_before_the_commit_is_found_out(zygotes: Zygotes, tmp_path: Path) -> None:
    assert found_out(zygotes, tmp_path, "hasty", "was acknowledged and is not there")


def test_two_owners_of_one_run_are_found_out(zygotes: Zygotes, tmp_path: Path) -> None:
    assert found_out(zygotes, tmp_path, "unfenced", "an effect ran twice as the same attempt")
