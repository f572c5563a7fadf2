"""Two of three people agree, in three processes at once, while the run's owner is killed at every append.

Each says it twice: at once, while no owner lives, after the deadline, around it, and after the time-out was
decided. Now and then one of them is killed in the middle. Afterwards there is one decision, by who said what
in time; the effect ran once where it was granted and else not at all; and no answer is lost or torn. Owners
who take one yes for two, run again what was in flight, or do not look into the mail are found out.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT

PROCESSES = 3
STORIES: dict[str, set[str]] = {
    "at once": {"granted"},
    "asleep": {"granted", "timed_out"},
    "late": {"timed_out"},
    "around the deadline": {"granted", "timed_out"},
    "one denies": {"granted", "denied"},
}
EFFECTS = ("pay", "put", "none")
MOMENTS = ("before", "amid", "after")
SLICE = (
    ("at once", "pay", "before", 1),
    ("asleep", "put", "amid", 2),
    ("late", "none", "before", 3),
    ("around the deadline", "none", "after", 4),
    ("one denies", "none", "amid", 5),
)
SEEDS_LONG = 4
Job = tuple[str, str, str, int]


def told(place: Path, job: Job, control: str = "") -> dict[str, Any]:
    """What came of one story, with an owner that was killed at each of its appends."""
    words = [str(place / "-".join(map(str, job))), *map(str, job), control]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crashes.approval", *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "engine", ROOT / "projections", ROOT))),
        },
        timeout=300,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def all_told(place: Path, jobs: Iterable[Job]) -> dict[str, int]:
    """How often something was killed, in doubt, and said for nothing."""
    kills = doubts = without = stores = 0
    with ThreadPoolExecutor(PROCESSES) as threads:
        for job, found in [(job, threads.submit(told, place, job)) for job in jobs]:
            came = found.result()
            assert came["faults"] == [], job
            assert set(came["ends"]) <= STORIES[job[0]], (job, came)
            stores, kills = stores + came["stores"], kills + came["kills"]
            doubts, without = doubts + came["doubts"], without + came["without"]
    return {"stores": stores, "kills": kills, "doubts": doubts, "without": without}


@pytest.mark.timeout(300)
def test_the_effect_of_an_approval_happens_once_or_not_at_all_wherever_somebody_dies(tmp_path: Path) -> None:
    came = all_told(tmp_path, SLICE)
    assert came["kills"] > came["stores"] >= 4 * len(SLICE)
    assert came["doubts"]
    assert came["without"] > 2 * came["stores"]


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_effect_of_an_approval_happens_once_or_not_at_all_in_every_story(tmp_path: Path) -> None:
    all_told(
        tmp_path,
        [
            (story, effect, moment, 100 + seed)
            for seed in range(SEEDS_LONG)
            for story in STORIES
            for effect in EFFECTS
            for moment in MOMENTS
        ],
    )


@pytest.mark.parametrize(
    ("control", "job", "what"),
    [
        ("generous", ("at once", "none", "after", 1), "was granted by"),
        ("careless", ("at once", "pay", "before", 1), "the effect ran 2 times"),
        ("deaf", ("asleep", "none", "after", 1), "was not heard before the time was over"),
    ],
)
def test_an_owner_who_does_not_keep_the_rules_is_found_out(
    tmp_path: Path, control: str, job: Job, what: str
) -> None:
    assert any(what in fault for fault in told(tmp_path, job, control)["faults"])
