"""Eight processes write the same fifty keys under `error`, and some of them are killed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from playhead.events import state as facts
from playhead.events.codec import CATALOG
from playhead.log.reader import LogReader
from playhead.log.verify import verify
from tests.checkout import ROOT
from tests.crashes.state_writer import KEYS

PROCESSES = 8
WRITERS = 4
"""So that two processes share a name, and race for the next version of what is theirs."""


class Told(NamedTuple):
    """What the processes say that they were told."""

    asked: dict[str, str]
    accepted: dict[str, int]
    refused: dict[str, str]
    kills: int


def test_eight_processes_write_the_same_keys_and_every_version_is_accounted_for(tmp_path: Path) -> None:
    check(tmp_path, written_by_eight(tmp_path, writes=120, kills=3))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_eight_processes_write_two_thousand_times_each(tmp_path: Path) -> None:
    check(tmp_path, written_by_eight(tmp_path, writes=2_000, kills=6))


def written_by_eight(place: Path, *, writes: int, kills: int) -> Told:
    """Run the processes, kill some of them in the middle, and put others in their place."""
    random = Random(7)
    number = PROCESSES
    running = {n: _begin(place, n, writes) for n in range(number)}
    killed: list[int] = []
    while running:
        time.sleep(0.01)
        for n, process in list(running.items()):
            lines = _lines(place, n)
            ready = len(lines) > writes // 4 and n % WRITERS < 2
            if len(killed) < kills and ready and random.random() < 0.3 and process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed.append(n)
                left = writes - sum(line.startswith("ask ") for line in _lines(place, n))
                del running[n]
                running[number] = _begin(place, number, max(left, 1), n % WRITERS)
                number += 1
            elif process.poll() is not None:
                assert process.returncode == 0, f"writer {n} ended with {process.returncode}"
                assert lines[-1:] == ["end"] or _lines(place, n)[-1:] == ["end"]
                del running[n]
    assert len(killed) == kills
    return _told(place, number, kills)


def _begin(place: Path, n: int, writes: int, writer: int | None = None) -> subprocess.Popen[bytes]:
    name = f"w{n % WRITERS if writer is None else writer}"
    command = [sys.executable, "-m", "tests.crashes.state_writer", str(place / "runs.db")]
    paths = [str(ROOT), str(ROOT / "engine"), str(ROOT / "projections")]
    return subprocess.Popen(
        [*command, str(place / f"told{n}"), name, str(n), str(writes)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=ROOT,
    )


def _lines(place: Path, n: int) -> list[str]:
    path = place / f"told{n}"
    return path.read_text().splitlines() if path.exists() else []


def _told(place: Path, number: int, kills: int) -> Told:
    told = Told({}, {}, {}, kills)
    for n in range(number):
        for line in _lines(place, n):
            word, *rest = line.split(" ")
            if word == "ask":
                told.asked[rest[1]] = rest[0]
            elif word == "yes":
                told.accepted[rest[1]] = int(rest[2])
            elif word == "no":
                told.refused[rest[1]] = rest[2]
    return told


def check(place: Path, told: Told) -> None:
    """The log against what everybody was told."""
    assert verify(place / "runs.db").ok
    with LogReader(place / "runs.db") as log:
        kept: dict[str, tuple[str, int]] = {}
        conflicts: Counter[tuple[str, str, str]] = Counter()
        for key in KEYS:
            versions: list[int] = []
            writers: set[str | None] = set()
            for event in log.scan(f"state/shared/s1/{key}"):
                fact = CATALOG.decode(event)
                if isinstance(fact, facts.StateWritten):
                    versions.append(fact.version)
                    writers.add(fact.writer.writer_id)
                    kept[msgspec.msgpack.decode(fact.content)] = (key, fact.version)
                else:
                    assert isinstance(fact, facts.StateConflictDetected)
                    assert fact.refused
                    names = (fact.previous.writer_id or "", fact.writer.writer_id or "")
                    assert all(names)
                    assert names[0] != names[1]
                    conflicts[key, *names] += 1
            assert versions == list(range(1, len(versions) + 1)), key
            assert len(writers) <= 1, f"{key} changed hands under `error`"
    for content, version in told.accepted.items():
        assert kept[content] == (told.asked[content], version), "an acknowledged write was lost"
    refused = Counter(
        (told.asked[content], was, content.partition(":")[0]) for content, was in told.refused.items()
    )
    assert refused <= conflicts
    untold = (len(kept) - len(told.accepted)) + (conflicts.total() - refused.total())
    assert 0 <= untold <= told.kills, "more was written than anybody asked for"
    assert told.refused
    assert max(version for _, version in kept.values()) > 1
