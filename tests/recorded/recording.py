"""What a recorded run is: a name, a way to live it, and what a replay of it comes to.

    Recording("0002-retries-exhausted", live, holds={"step.retried"})

`live` is called in a process of its own, once for each of `lives`: with the store, and with the place in the
program where the process dies, which is "" for the last one.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playhead import Engine, Run
from playhead.errors import RunError

Live = Callable[[Path], Awaitable[None]]
KILLED = -9
DIES_IN = "RECORDED_PROGRAM_DIES_IN"
SENDER = "the recorder"


@dataclass(frozen=True)
class Recording:
    """One file of replay_fixtures/. Where `refused` says something, a replay is refused with these words."""

    name: str
    live: Live
    holds: frozenset[str]
    """Types of events that it is about."""
    verdict: Literal["identical", "incomplete"] = "identical"
    refused: str = ""
    dies_in: tuple[str, ...] = ()
    key: bytes | None = None
    """What its secrets are redacted with."""
    streams: tuple[str, ...] = ()
    """Kinds of streams that are exported; all where it says none."""
    model: Any = None
    """The model client of a tape from before tapes named theirs."""

    @property
    def lives(self) -> tuple[tuple[str, int], ...]:
        """Where each process dies, and with which code it ends."""
        return (*((place, KILLED) for place in self.dies_in), ("", 0))


def die_if_told(where: str) -> None:
    """End this process as a power cut would, where it was told to."""
    if os.environ.get(DIES_IN) == where:
        os.kill(os.getpid(), signal.SIGKILL)


@asynccontextmanager
async def engine(store: Path, *personas: Any, **options: Any) -> AsyncGenerator[Engine]:
    """An engine that puts waiting runs to sleep soon, so that sleeping is on the tape too."""
    async with Engine.open(store, personas=personas, suspend_after_s=0.02, **options) as opened:
        yield opened


async def ended(run: Run) -> Any:
    """Its result, or the error that it ended with."""
    try:
        return await run.result()
    except RunError as error:
        return error


def simply(persona: Any, *args: Any, name: str | None = None, **options: Any) -> Live:
    """A live that starts `persona` and waits for its end."""

    async def live(store: Path) -> None:
        async with engine(store, persona, **options) as opened:
            await ended(await opened.start(persona, *args, name=name))

    return live


async def seen(opened: Engine, run: str, type_: str, number: int = 1) -> Any:
    """The event of that type, once the run has it."""
    async with asyncio.timeout(20):
        while True:
            events = await opened.store.read(f"run/{run}", types=[type_])
            if len(events) >= number:
                return events[number - 1]
            await asyncio.sleep(0.005)


async def asleep(opened: Engine, run: str) -> None:
    """Return once the run is out of memory."""
    await seen(opened, run, "run.suspended")
