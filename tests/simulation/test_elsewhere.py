"""A tape is the same tape under every hash seed, and under every CPython where only playhead cancelled.

Interpreters are looked for on PATH and among pyenv's; one takes part when it can import what playhead needs.
PLAYHEAD_PYTHONS names more of them. The long suite makes environments from requirements.lock for the rest.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.checkout import ROOT

HASH_SEEDS = ("0", "1", "4711")
PROGRAMS = 60
NEEDS = "import aiosqlite, anyio, msgspec, pydantic, structlog, sys; print(sys.version_info[:3])"
OLDEST, NEWEST = 11, 15


def run(python: str, *words: str, hash_seed: str = "random") -> str:
    """What `python -m tests.simulation.elsewhere` prints: nothing, when nothing went wrong."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "engine", ROOT))),
        "PYTHONHASHSEED": hash_seed,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [python, "-m", "tests.simulation.elsewhere", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=600)
    return done.stdout + (done.stderr if done.returncode else "")


@cache
def version_of(python: str) -> str | None:
    """The version of an interpreter that could run playhead, None for any other."""
    try:
        done = subprocess.run([python, "-c", NEEDS], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def pythons() -> tuple[str, ...]:
    """Every CPython from 3.11 up that the machine has, other than this one's version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [name for name in os.environ.get("PLAYHEAD_PYTHONS", "").split(os.pathsep) if name]
    for minor in range(OLDEST, NEWEST + 1):
        if minor != sys.version_info.minor:
            found += [path for path in (shutil.which(f"python3.{minor}"),) if path]
            found += [str(path) for path in sorted(pyenv.glob(f"3.{minor}.*/bin/python"))]
    return tuple(found)


def ready() -> dict[str, str]:
    """Version to interpreter, for those that can import what playhead needs."""
    here = str(sys.version_info[:3])
    known = {version: python for python in pythons() if (version := version_of(python)) is not None}
    return {version: python for version, python in known.items() if version != here}


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_programs_are_right_under_every_hash_seed(hash_seed: str) -> None:
    assert run(sys.executable, "simulate", "0", str(PROGRAMS), hash_seed=hash_seed) == ""


def test_a_tape_of_one_hash_seed_replays_under_the_others(tmp_path: Path) -> None:
    tapes = str(tmp_path / "tapes")
    assert run(sys.executable, "record", "0", str(PROGRAMS), tapes, hash_seed=HASH_SEEDS[0]) == ""

    for other in HASH_SEEDS[1:]:
        assert run(sys.executable, "replay", tapes, hash_seed=other) == ""


def test_programs_are_right_under_every_other_python_of_the_machine(tmp_path: Path) -> None:
    others = ready()
    if not others:
        pytest.skip(
            f"no other CPython here can import what playhead needs (looked at {len(pythons())}): name one in "
            "PLAYHEAD_PYTHONS, or run `make long`, which makes environments from requirements.lock"
        )
    for version, python in others.items():
        assert run(python, "simulate", "0", str(PROGRAMS)) == "", version
        check_tapes_travel(python, tmp_path / version)


def check_tapes_travel(python: str, place: Path) -> None:
    """Tapes on which only playhead cancelled replay there as here, and the other way round."""
    place.mkdir()
    here, there = str(place / "here"), str(place / "there")
    assert run(sys.executable, "record", "0", str(PROGRAMS), here, "--own-only") == ""
    assert run(python, "record", "0", str(PROGRAMS), there, "--own-only") == ""

    assert run(python, "replay", here) == ""
    assert run(sys.executable, "replay", there) == ""


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_right_under_each_python_in_an_environment_of_its_own(tmp_path: Path) -> None:
    tried = 0
    for number, python in enumerate(pythons()):
        own = environment_of(python, tmp_path / f"venv{number}")
        if own is None:
            continue
        tried += 1
        assert run(own, "simulate", "0", "1000") == "", python
        check_tapes_travel(own, tmp_path / f"tapes{number}")
    if not tried:
        pytest.skip("the machine has one CPython only")


def environment_of(python: str, place: Path) -> str | None:
    """An interpreter with everything in requirements.lock; None where that cannot be made."""
    if version_of(python) is not None:
        return python
    made = subprocess.run([python, "-m", "venv", str(place)], check=False, capture_output=True)
    own = str(place / "bin" / "python")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", "requirements.lock"]
    if (
        made.returncode
        or subprocess.run([own, *install], check=False, capture_output=True, cwd=ROOT).returncode
    ):
        return None
    return own
