"""Secrets are compared by their digests, and digests under two keys say nothing of the program."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from playhead import Engine, persona, step
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import export_lines, import_lines
from tests.cli.shell import Shell

PROGRAM = """
from playhead import persona, step

PLAYHEAD = {"secrets": ["password"]}

@step
async def logs_in(found: dict[str, str]) -> str:
    return found["user"]

@persona
async def visits(user: str) -> str:
    return await logs_in({"user": user, "password": "hunter2"})
"""


@step
async def logs_in(found: dict[str, str]) -> str:
    return found["user"]


@persona
async def visits(user: str) -> str:
    return await logs_in({"user": user, "password": "hunter2"})


def recorded(directory: Path) -> tuple[str, list[bytes]]:
    async def go() -> str:
        async with Engine.open(directory / "first.db", personas=[visits], secrets=["password"]) as engine:
            run = await engine.start(visits, "ada")
            await run.result()
            return run.id

    run = asyncio.run(go())
    with LogReader(directory / "first.db") as log:
        return run, list(export_lines(log, [f"run/{run}"]))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A directory with a store into which a run was brought from another one."""
    shell = Shell(tmp_path)
    (tmp_path / "agents.py").write_text(PROGRAM)
    _, lines = recorded(tmp_path)

    async def bring() -> None:
        async with SqliteStore.open(shell.store) as store:
            await store.graft(import_lines(lines))

    asyncio.run(bring())
    return shell


def test_without_the_key_of_its_store_nobody_can_compare_a_secret(shell: Shell) -> None:
    key = shell.store.with_name("runs.db-redaction-key")

    lost = shell("replay", "--program", "agents.py")
    key.write_bytes(bytes(32))
    other = shell("replay", "--program", "agents.py")
    key.write_bytes(b"none")
    none = shell("replay", "--program", "agents.py")
    shutil.copy(shell.directory / "first.db-redaction-key", key)
    right = shell("replay", "--program", "agents.py")

    assert (lost.code, other.code, none.code, right.code) == (3, 5, 2, 0)
    assert "runs.db-redaction-key is not there" in lost.err
    assert "cause      secret: the digest of a secret is another" in other.out
    assert "Digests under two keys cannot be compared" in other.out
    assert "holds no key" in none.err


async def test_an_engine_says_so_too(tmp_path: Path) -> None:
    run, lines = await asyncio.to_thread(recorded, tmp_path)
    async with Engine.open(tmp_path / "other.db", personas=[visits], secrets=["password"]) as engine:
        await engine.store.graft(import_lines(lines))
        found = (await engine.replay(run)).divergence

    assert found is not None
    assert (found.cause, found.field) == ("secret", "args.found.password")
    assert "put the redaction key of the store" in found.advice
