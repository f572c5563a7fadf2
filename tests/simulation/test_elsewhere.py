"""A tape is the same tape under every hash seed, and under every CPython where only playhead cancelled.

Interpreters are looked for on PATH and among pyenv's; PLAYHEAD_PYTHONS names more of them. One that cannot
import what playhead needs gets an environment of its own, from requirements.lock.
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
PROGRAMS_LONG = 5_000
TAPES = 30
NEEDS = (
    "import aiosqlite, anyio, cronsim, cryptography, jsonschema_rs, msgspec, pydantic, structlog, sys;"
    " print(sys.version_info[:3])"
)
NEEDED = {
    *("aiosqlite", "annotated-types", "anyio", "idna", "msgspec", "pydantic", "pydantic-core", "structlog"),
    *(
        "typing-extensions",
        "typing-inspection",
        "cronsim",
        "jsonschema-rs",
        "cryptography",
        "cffi",
        "pycparser",
    ),
}
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
    """Every CPython from 3.11 up that the machine has, other than this one's version; the farthest first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [name for name in os.environ.get("PLAYHEAD_PYTHONS", "").split(os.pathsep) if name]
    here = sys.version_info.minor
    for minor in sorted(range(OLDEST, NEWEST + 1), key=lambda minor: -abs(minor - here)):
        if minor != here:
            found += [path for path in (shutil.which(f"python3.{minor}"),) if path]
            found += [str(path) for path in sorted(pyenv.glob(f"3.{minor}.*/bin/python"))]
    return tuple(found)


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_programs_are_right_under_every_hash_seed(hash_seed: str) -> None:
    assert run(sys.executable, "simulate", "0", str(PROGRAMS), hash_seed=hash_seed) == ""


def test_a_tape_of_one_hash_seed_replays_under_the_others(tmp_path: Path) -> None:
    tapes = str(tmp_path / "tapes")
    assert run(sys.executable, "record", "0", str(TAPES), tapes, hash_seed=HASH_SEEDS[0]) == ""

    for other in HASH_SEEDS[1:]:
        assert run(sys.executable, "replay", tapes, hash_seed=other) == ""


@pytest.mark.timeout(600)
def test_programs_are_right_under_the_python_of_the_machine_that_is_farthest_from_this_one(
    tmp_path: Path,
) -> None:
    check_elsewhere(tmp_path, PROGRAMS, versions_max=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_five_thousand_programs_are_right_under_every_other_python_of_the_machine(tmp_path: Path) -> None:
    check_elsewhere(tmp_path, PROGRAMS_LONG)


def check_elsewhere(place: Path, programs: int, versions_max: int = NEWEST) -> None:
    """Run programs under other versions of CPython, the farthest first, and let their tapes travel."""
    versions: set[str] = {str(sys.version_info[:3])}
    refused: list[str] = []
    for number, python in enumerate(pythons()):
        if len(versions) > versions_max:
            break
        own = environment_of(python, place / f"venv{number}")
        version = version_of(own) if own is not None else None
        if own is None or version is None:
            refused.append(python)
        elif version not in versions:
            versions.add(version)
            assert run(own, "simulate", "0", str(programs)) == "", version
            assert run(own, "fixtures") == "", version
            check_tapes_travel(own, place / f"tapes{number}")
    if len(versions) == 1:
        pytest.skip(
            "the machine has one CPython from 3.11 up"
            if not refused
            else f"no environment for {', '.join(refused)}: name a ready one in PLAYHEAD_PYTHONS"
        )


def check_tapes_travel(python: str, place: Path) -> None:
    """Tapes on which only playhead cancelled replay there as here, and the other way round."""
    place.mkdir()
    here, there = str(place / "here"), str(place / "there")
    assert run(sys.executable, "record", "0", str(TAPES), here, "--own-only") == ""
    assert run(python, "record", "0", str(TAPES), there, "--own-only") == ""

    assert run(python, "replay", here) == ""
    assert run(sys.executable, "replay", there) == ""


def environment_of(python: str, place: Path) -> str | None:
    """An interpreter that can import what playhead needs; None where that cannot be made."""
    if version_of(python) is not None:
        return python
    bare = [python, "-m", "venv", "--without-pip", str(place)]  # our own pip fills it, which saves making one
    made = subprocess.run(bare, check=False, capture_output=True)
    if made.returncode:
        return None
    own = str(place / "bin" / "python")
    needed = place / "needed.lock"
    needed.write_text(locked(NEEDED))
    pip = [sys.executable, "-m", "pip", "--python", own]
    install = [*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(needed)]
    installed = subprocess.run(install, check=False, capture_output=True, cwd=ROOT)
    return None if installed.returncode else own


def locked(names: set[str]) -> str:
    """The entries of requirements.lock for `names`, hashes and all."""
    entries = (ROOT / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    return "\n".join(entry for entry in entries if entry.partition("==")[0].strip() in names)
