"""Runs to debug, recorded once for all tests that only read them."""

import sys
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.long_run import recorded
from tests.replay.debugging import LOOKED_AT, PROGRAMS, SLICE_EVENTS, Quick


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A directory with a program, and a run of each kind by the name of its persona."""
    shell = Quick(tmp_path_factory.mktemp("debugged"))
    (shell.directory / "programs.py").write_text(PROGRAMS)
    for persona, arguments in {
        "adds": "numbers=[1, 2, 3]",
        "breaks": "n=3",
        "waits": 'name="Ada"',
        "relaxed": "n=2",
        "typed": 'parcels=[{"grams": 5}]',
        "parent": "n=5",
        "turns": "n=4",
    }.items():
        words = ("--name", persona, "--arg-json", arguments)
        done = shell("run", f"programs.py:{persona}", *words)
        assert done.code in (0, 1, 7), done.err
    return shell


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run of some thousand events."""
    directory = tmp_path_factory.mktemp("long")
    recorded(directory / "runs.db", SLICE_EVENTS)
    source = Path(sys.modules["tests.long_run"].__file__ or "").read_text()
    (directory / "survey.py").write_text(
        f"LOOKED_AT = {LOOKED_AT}\n{source}".replace('"""A run', '_ = """A run', 1).replace(
            "from __future__ import annotations\n", ""
        )
    )
    return directory
