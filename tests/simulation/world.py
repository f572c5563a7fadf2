"""A world without time: what a simulated engine sees when it looks outside.

The host's event loop never waits. When nothing is ready in it, the world draws from
its seed what happens next: one of the tools in flight answers, the next timer is
reached, somebody sends a signal, or the process dies. So a whole life of an engine,
with time-outs, backoff and suspension, takes milliseconds and follows from one number.
"""

import asyncio
import math
import selectors
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from playhead.runtime.attempt import attempt

BIRTH_NS = 1_700_000_000 * 10**9


class World:
    """What outlives an engine: time, chance, and what tools really did."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"world {seed}")
        self.now_ns = 0
        self.dead = False
        self.completions = 0
        self.flight: list[asyncio.Future[None]] = []
        self.pauses: list[asyncio.Future[None]] = []
        self.bodies: list[tuple[str, str, str, int]] = []
        """Operation, effect class, what it was asked, and the length of the log, for each body that began."""
        self.log_length: Callable[[], int] = lambda: 0
        self.loop: SimulatedLoop | None = None
        self.die_at: int | None = None
        self.kill: Callable[[], None] = lambda: None
        self.idle: Callable[[], bool] = lambda: False
        """Asked when no tool is in flight; True when it made something happen."""
        self.asked: Counter[str] = Counter()
        self.allowed: Counter[str] = Counter()

    # --- a clock, as the engine wants one ---------------------------------------------------------

    def now(self) -> int:
        return BIRTH_NS + self.now_ns

    def boottime(self) -> int:
        return self.now_ns

    def boot(self) -> str:
        return "simulated"

    def entropy(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def call_at(self, due: int, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back when the simulated time reaches `due`."""
        assert self.loop is not None
        return self.loop.call_at((due - BIRTH_NS) / 1e9, callback)

    # --- what tools do ----------------------------------------------------------------------------

    async def answer(self, effect: str, question: str) -> int:
        """Be a tool: begin, wait until the world lets it end, and say how often it was asked already."""
        assert not self.dead, "a dead process began a tool"
        current = attempt()
        self.bodies.append((current.op, effect, question, self.log_length()))
        self.asked[current.op] += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flight.append(future)
        await future
        return self.asked[current.op]

    async def pause(self) -> None:
        """Be something that a program waits for beside its operations."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flight.append(future)
        self.pauses.append(future)
        await future

    # --- what happens next ------------------------------------------------------------------------

    def turn(self, wait_s: float | None) -> None:
        """The host's loop has nothing to do: let one thing happen."""
        self.flight = [future for future in self.flight if not future.done()]
        if self.die_at is not None and self.completions >= self.die_at:
            self.die()
            return
        self.pauses = [future for future in self.pauses if not future.done()]
        chance = self.random
        # A pause is short: no clock runs ahead of it.
        if self.flight and (wait_s is None or self.pauses or chance.random() < 0.8):
            # Now and then two at once, so that the second waits while the first is handed over.
            for _ in range(1 + (chance.random() < 0.25)):
                if self.flight:
                    self.flight.pop(chance.randrange(len(self.flight))).set_result(None)
                    self.completions += 1
        elif chance.random() < 0.3 and self.idle():
            return
        elif wait_s is not None:
            self.now_ns += max(1, math.ceil(wait_s * 1e9))
            self.completions += 1
        elif not self.idle():
            raise AssertionError("everything waits, for ever")

    def die(self) -> None:
        """The process is gone: no tool of it goes on, and nobody hears of what it had not committed."""
        self.dead = True
        self.kill()
        assert self.loop is not None
        self.loop.stop()


class _Selector(selectors.SelectSelector):
    """Asks the world instead of waiting."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0 and not self._world.dead:
            self._world.turn(timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop on the world's time."""

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__(_Selector(world))
        self.set_exception_handler(lambda _loop, _context: None)
        world.loop = self

    def time(self) -> float:
        return self._world.now_ns / 1e9

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """A dead process tidies nothing up, whenever the collector finds what it left."""

    def live(self, work: Any, *, after: Callable[[], None] = lambda: None) -> Any:
        """Run `work` to its end, or until the world kills this process; None then. Then put away."""
        self._world.dead = False
        task = self.create_task(work)
        task.add_done_callback(lambda _task: self.stop())
        try:
            self.run_forever()
            return task.result() if task.done() else None
        finally:
            self.call_soon(after)
            self._bury()

    def _bury(self) -> None:
        """Take the dead process apart without letting it do anything."""
        self._world.dead = True
        for _ in range(100):
            left = [task for task in asyncio.all_tasks(self) if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self.call_soon(self.stop)
            self.run_forever()
        self.close()
