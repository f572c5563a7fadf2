"""Secrets are compared by their digests, and digests under two keys say nothing of the program."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from playhead import Engine
from playhead.log.reader import LogReader
from playhead.log.transfer import export_lines, import_lines
from playhead_projections.cli.programs import load
from tests.cli.shell import Done, Shell

PROGRAM = """
from playhead import persona, tool

PLAYHEAD = {"secrets": ["password"]}

@tool(side_effect_level="read_only")
async def tries() -> int:
    return TRIES

@tool(side_effect_level="read_only")
async def logs_in(found: dict[str, str]) -> str:
    return found["user"]

@persona
async def visits(user: str) -> str:
    tried = await tries()
    name = await logs_in({"user": user, "password": "hunter2"})
    if tried > 3:
        raise PermissionError(f"{name} is locked out")
    return name
"""
SECRET_AT = 4
"""The event in which the password is redacted."""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A directory with a good run and a bad one, a secret in both, and the key beside the store."""
    shell = Shell(tmp_path)
    for name, tries in (("good", 1), ("bad", 9)):
        program = tmp_path / f"{name}.py"
        program.write_text(PROGRAM.replace("TRIES", str(tries)))
        shell("run", program.name, "--arg", "user=ada", "--name", name)
    (tmp_path / "agents.py").write_text(PROGRAM)
    return shell


def key_beside(shell: Shell) -> Path:
    return shell.store.with_name(f"{shell.store.name}-redaction-key")


def test_without_the_key_of_its_store_nobody_can_compare_a_secret(shell: Shell) -> None:
    key = key_beside(shell)
    kept = shutil.move(key, shell.directory / "kept")

    lost = shell("replay", "good", "--program", "agents.py")
    key.write_bytes(bytes(32))
    other = shell("replay", "good", "--program", "agents.py")
    key.write_bytes(b"none")
    none = shell("replay", "good", "--program", "agents.py")
    shutil.copy(kept, key)
    right = shell("replay", "good", "--program", "agents.py")

    assert (lost.code, other.code, none.code, right.code) == (3, 5, 2, 0)
    assert_names_the_key(lost)
    assert "cause      secret: the digest of a secret is another" in other.out
    assert "Digests under two keys cannot be compared" in other.out
    assert "holds no key" in none.err


def assert_names_the_key(found: Done) -> None:
    assert "holds secrets, and runs.db-redaction-key is not there" in found.err
    assert "Put the key of the store in which it was recorded beside this one." in found.err


@pytest.mark.parametrize(
    "words",
    [
        ["bisect", "good", "bad", "agents.py"],
        ["fork", f"good@{SECRET_AT + 1}", "agents.py", "--dry-run"],
    ],
    ids=lambda words: words[0],
)
def test_what_imagines_a_run_asks_for_the_key_and_makes_none(shell: Shell, words: list[str]) -> None:
    found = shell(*words)
    shutil.move(key_beside(shell), shell.directory / "kept")
    lost = shell(*words)

    assert (found.code, lost.code) == (0, 3), found.err
    assert_names_the_key(lost)
    assert not key_beside(shell).exists()


@pytest.mark.parametrize("words", [["debug", f"good@{SECRET_AT}", "agents.py"], ["doctor", "agents.py"]])
def test_what_replays_a_run_says_that_the_key_is_another(shell: Shell, words: list[str]) -> None:
    shutil.move(key_beside(shell), shell.directory / "kept")

    found = shell(*words)

    assert found.code == 5
    assert "cause      secret: the digest of a secret is another" in found.out
    assert "put the redaction key of the store in which the run was recorded beside this one" in found.out
    assert not key_beside(shell).exists()


def test_a_plan_needs_no_key_for_what_nothing_on_the_tape_is_compared_with(shell: Shell) -> None:
    words = ["fork", f"good@{SECRET_AT - 1}", "agents.py", "--dry-run"]
    planned = shell(*words)
    shutil.move(key_beside(shell), shell.directory / "kept")
    (shell.directory / "plain.py").write_text(PROGRAM.replace(', "password": "hunter2"', ""))
    lost, plain = shell(*words), shell("fork", "good@3", "plain.py", "--dry-run")

    assert (planned.code, lost.code, plain.code) == (0, 0, 0), lost.err
    assert all("live      tool 0/logs_in#0" in found.out for found in (planned, lost, plain))
    assert not key_beside(shell).exists()


def test_what_differs_by_no_secret_is_not_put_down_to_the_key(shell: Shell) -> None:
    (shell.directory / "agents.py").write_text(PROGRAM.replace("await tries()", "await logs_in({})"))
    shutil.move(key_beside(shell), shell.directory / "kept")

    found = shell("replay", "good", "--program", "agents.py")

    assert (found.code, "redaction-key" in found.err) == (5, False)


@pytest.mark.parametrize(
    "words", [["replay", "plain", "--program", "agents.py"], ["fork", "plain@5", "agents.py", "--dry-run"]]
)
def test_nor_is_a_secret_that_was_none_when_it_was_recorded(shell: Shell, words: list[str]) -> None:
    (shell.directory / "plain.py").write_text(PROGRAM.replace("TRIES", "1").replace("password", "passed", 1))
    shell("run", "plain.py", "--arg", "user=ada", "--name", "plain")
    shutil.move(key_beside(shell), shell.directory / "kept")

    found = shell(*words)

    assert (found.code, "redaction-key" in found.err) == (5, False)


async def test_an_engine_says_so_too(shell: Shell) -> None:
    with LogReader(shell.store) as log:
        stream = log.streams("run")[0]
        lines = list(export_lines(log, [stream]))
    path = list(sys.path)
    try:
        program = await asyncio.to_thread(load, [str(shell.directory / "agents.py")])
    finally:  # others have programs of that name, too
        sys.path[:] = path
        sys.modules.pop("agents", None)

    async with Engine.open(
        shell.directory / "other.db", personas=program.personas, **program.options
    ) as engine:
        await engine.store.graft(import_lines(lines))
        found = (await engine.replay(stream.removeprefix("run/"))).divergence

    assert found is not None
    assert (found.cause, found.field) == ("secret", "args.found.password")
    assert "put the redaction key of the store" in found.advice
