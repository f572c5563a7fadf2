"""A log that outlives its engines: in a file on a real disk, and in memory."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from playhead import Engine
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.log.sqlite_store import SqliteStore


class Home:
    """Where engines of one test keep their runs."""

    def __init__(self, kind: str, place: Path) -> None:
        self.kind = kind
        self.path = place / "runs.db"
        self.log = MemoryLog()

    def engine(self, *personas: Any, **options: Any) -> AbstractAsyncContextManager[Engine]:
        """An engine of its own worker, as if in another process."""
        if self.kind == "sqlite":
            return Engine.open(self.path, personas=personas, **options)
        return Engine.open(MemoryStore(log=self.log), personas=personas, **options)

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[Any]:
        """A store of its own, for looking."""
        if self.kind == "sqlite":
            async with SqliteStore.open(self.path) as store:
                yield store
        else:
            yield MemoryStore(log=self.log)

    async def events(self, run: str) -> list[Event]:
        """All events of `run`."""
        async with self.store() as store:
            found: list[Event] = await store.read(f"run/{run}", 0, 10_000)
            return found

    async def is_suspended(self, run: str) -> bool:
        async with self.store() as store:
            return bool((await store.head(f"run/{run}")).status == "suspended")

    async def types(self, run: str) -> list[str]:
        return [event.type for event in await self.events(run)]


async def until(reached: Callable[[], bool | Awaitable[bool]], *, within_s: float = 20) -> None:
    """Look again and again, as somebody outside would, until `reached()`."""
    async with asyncio.timeout(within_s):
        while True:
            found = reached()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.002)


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(request.param, tmp_path)
