"""Runs on simulated time, and logs that end where a process died."""

from collections.abc import Callable
from typing import Any

from playhead import Engine
from playhead.log.envelope import Event, NewEvent
from playhead.log.memory_store import MemoryLog, MemoryStore
from tests.simulation.world import SimulatedLoop, World

RUN = "run/"

Answer = Callable[[SimulatedLoop, Engine], bool]


def play(
    log: MemoryLog, work: Any, *, answer: Answer | None = None, begins_s: float = 0, **options: Any
) -> Any:
    """Run `work(engine)` on simulated time, which `begins_s` after its birth, in a process of its own.

    `options` are the engine's. `answer` is asked when nothing else happens, and says whether it did anything.
    """
    world = World(0)
    world.now_ns = round(begins_s * 1e9)
    loop = SimulatedLoop(world)
    engine = Engine(MemoryStore(world, log), clock=world, suspend_after_s=0.2, **options)
    if answer is not None:
        world.idle = lambda: answer(loop, engine)
    try:
        return loop.live(work(engine))
    finally:
        engine.threads.shutdown(wait=False)


def cut(log: MemoryLog, run: str, length: int) -> MemoryLog:
    """A log of a dead process: the first `length` events of the run, and all other streams."""
    return copied(log, run, lambda events: events[:length])


def copied(
    log: MemoryLog, run: str, change: Callable[[list[Event]], list[Event]], *, name: str | None = None
) -> MemoryLog:
    """A log of its own with what `change` makes of the events of the run, and all other streams.

    With `name` it is another run that has all that stood in this one and in its mailbox.
    """
    shorter = MemoryLog()
    world = World(1)
    loop = SimulatedLoop(world)
    store = MemoryStore(world, shorter)

    async def copy() -> None:
        for stream, events in ((RUN + run, change([*log.streams[RUN + run]])), *_others(log)):
            again = [NewEvent(e.type, e.version, e.at, e.op, e.cause, e.payload or b"") for e in events]
            owner = store.worker if stream.startswith(RUN) else None
            kind, _, whose = stream.partition("/")
            called = f"{kind}/{name}" if name is not None and whose == run else stream
            await store.append(called, 0, again, claim=owner, status="running" if owner else None)

    loop.live(copy())
    store.kill()
    return shorter


def _others(log: MemoryLog) -> list[tuple[str, list[Event]]]:
    return [(name, events) for name, events in log.streams.items() if not name.startswith(RUN)]
