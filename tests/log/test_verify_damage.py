"""Whatever damage does to a stored row is found, wherever in the file it falls.

One of four things happens to a closed store: a bit flips, a byte turns into another, two pages change
places, a sector becomes zeros. When a row of evidence then reads differently in plain SQL, both verifiers
must say so. The seed of each case is in the failure's message.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from tests.log.evidence_helpers import both, integrity_ok, rows_of
from tests.log.second_writer import a_store

CASES = 1_000
CASES_LONG = 50_000
PAGE_BYTES = (8192, 1024)
SECTOR_BYTES = 512


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of files are written."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def damaged(data: bytes, page: int, chance: Random) -> bytes:
    changed = bytearray(data)
    how = chance.random()
    if how < 0.7:
        bit = chance.randrange(len(data) * 8)
        changed[bit // 8] ^= 1 << bit % 8
    elif how < 0.8:
        changed[chance.randrange(len(data))] = chance.randrange(256)
    elif how < 0.9:
        first, second = (chance.randrange(len(data) // page) * page for _ in range(2))
        changed[first : first + page] = data[second : second + page]
        changed[second : second + page] = data[first : first + page]
    else:
        sector = chance.randrange(len(data) // SECTOR_BYTES) * SECTOR_BYTES
        changed[sector : sector + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    return bytes(changed)


def run(place: Path, cases: int, seed: int) -> dict[str, int]:
    """Damage stores `cases` times; count what differed, what was found, and what integrity_check let pass."""
    stores = []
    for number, page in enumerate(PAGE_BYTES):
        path = a_store(place / f"sound-{page}.db", seed=number, events=60, page_size=page, large=1)
        stores.append((path.read_bytes(), page, rows_of(path)))
    path = place / "damaged.db"
    counted = {"cases": 0, "differ": 0, "found": 0, "integrity_check says ok": 0}
    for case in range(cases):
        chance = Random(f"{seed}/{case}")
        data, page, sound = stores[case % len(stores)]
        path.write_bytes(damaged(data, page, chance))
        differs = rows_of(path) != sound
        said = both(path)
        assert not (differs and said.ok), f"seed {seed}/{case}: a row differs, and nothing was found"
        counted["cases"] += 1
        counted["found"] += not said.ok
        if differs:
            counted["differ"] += 1
            counted["integrity_check says ok"] += integrity_ok(path)
    return counted


def test_no_damage_to_a_row_goes_undetected(place: Path) -> None:
    counted = run(place, CASES, seed=1)

    # The controls: the damage does reach rows, and SQLite's own check is not enough.
    assert counted["differ"] > CASES // 4, counted
    assert counted["integrity_check says ok"] > CASES // 10, counted


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_damage_to_a_row_goes_undetected_in_fifty_thousand_cases(place: Path) -> None:
    counted = run(place, CASES_LONG, seed=2)

    assert counted["integrity_check says ok"] > CASES_LONG // 10, counted
