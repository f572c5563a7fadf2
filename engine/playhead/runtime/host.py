"""What a runner needs of the engine that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor as ThreadExecutor
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from playhead.clock import Clock
from playhead.events.codec import Catalog
from playhead.log.store import LogStore

if TYPE_CHECKING:
    from playhead.runtime.runner import Runner


class Host(Protocol):
    """What a runner needs of the engine."""

    store: LogStore
    clock: Clock
    catalog: Catalog
    suspend_after_s: float
    tools_context: Context

    @property
    def threads(self) -> ThreadExecutor:
        """Where blocking tools run."""
        ...

    @property
    def alone(self) -> bool:
        """Whether no other run is in memory, so that nobody else is about to append."""
        ...

    def call_at(self, due: int, callback: Callable[[], None]) -> Any:
        """Call back at `due`, nanoseconds UTC. Returns something with `cancel()`."""
        ...

    def ended(self, runner: Runner) -> None:
        """The run ended, left memory or was lost; `runner.end` says which."""
        ...
