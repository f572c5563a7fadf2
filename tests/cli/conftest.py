"""A directory with recorded runs, made once for all tests that only read."""

from pathlib import Path

import pytest

from tests.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, dict[str, str]]:
    """Four runs: one of each kind of end, and one that waits. Nobody may write here."""
    shell = Shell(tmp_path_factory.mktemp("recorded"))
    runs = {
        "audit": shell.run("audit", "--arg", "n=4", "--name", "nightly")[0],
        "breaks": shell.run("breaks", "--arg", "n=0", "--name", "twice")[0],
        "naps": shell.run("naps", "--name", "twice")[0],
        "asks": shell.run("asks")[0],
    }
    return shell, runs
