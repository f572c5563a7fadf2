"""The one bridge for callers without a loop.

    with blocking("runs.db", personas=[audit]) as bridge:
        receipt = bridge.run(audit, urls, key="nightly")
        outcome = bridge.call(bridge.engine.replay, run)

The engine lives on a loop in a thread of its own; every call waits for its answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from playhead.replay.engine import Engine

if TYPE_CHECKING:
    from playhead.runtime.persona import Persona

T = TypeVar("T")


class Blocking:
    """An engine seen from code without a loop."""

    def __init__(self, portal: BlockingPortal, engine: Engine) -> None:
        self._portal = portal
        self.engine = engine

    def run(self, persona: Persona[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Start `persona` as `Engine.start` does and return its result. Raises what `Run.result` raises."""

        async def through() -> Any:
            run = await self.engine.start(persona, *args, **kwargs)
            return await run.result()

        return self._portal.call(through)

    def call(self, function: Callable[..., Awaitable[T]], /, *args: Any) -> T:
        """The answer of any async method of `engine`."""
        return self._portal.call(function, *args)


@contextmanager
def blocking(store: Any, **options: Any) -> Generator[Blocking]:
    """An engine for callers without a loop; takes what `Engine.open` takes, and raises what it raises."""
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(Engine.open(store, **options)) as engine,
    ):
        yield Blocking(portal, engine)
