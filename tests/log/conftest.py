"""Stores to test, and the guard that no test opens a live store's files by path."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from playhead.log import guards
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.log.sqlite_store import SqliteStore
from tests.log.store_helpers import AnyStore, HandClock

# Once in a process and for good: an audit hook cannot be taken out again.
sys.addaudithook(guards.forbid_live_opens)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, path: Path, clock: HandClock) -> AsyncGenerator[AnyStore]:
    """One store of each kind: what is asked of one is asked of both."""
    if request.param == "memory":
        async with MemoryStore.open(clock=clock) as opened:
            yield opened
    else:
        async with SqliteStore.open(path, clock=clock) as opened:
            yield opened


@pytest.fixture(params=["sqlite", "memory"])
async def two(
    request: pytest.FixtureRequest, path: Path, clock: HandClock
) -> AsyncGenerator[tuple[AnyStore, AnyStore]]:
    """Two workers on one log."""
    if request.param == "memory":
        log = MemoryLog()
        async with (
            MemoryStore.open(clock=clock, log=log) as one,
            MemoryStore.open(clock=clock, log=log) as other,
        ):
            yield one, other
    else:
        async with SqliteStore.open(path, clock=clock) as one, SqliteStore.open(path, clock=clock) as other:
            yield one, other
