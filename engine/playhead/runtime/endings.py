"""How a run ends, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from playhead.errors import Diverged, ErasedPayload, RunCancelled, RunError, RunFailed, RunParked, ToolFailed
from playhead.events.catalog import RunCancelled as RunCancelledFact
from playhead.events.catalog import RunClaimed, RunCompleted, RunReleased, RunSuspended
from playhead.events.catalog import RunFailed as RunFailedFact
from playhead.events.catalog import RunParked as RunParkedFact
from playhead.events.codec import Catalog, Erased
from playhead.events.erasing import ERASURES_MAX, erasures_in, restored
from playhead.events.fact import Fact, Failure
from playhead.log.envelope import Event, Head
from playhead.log.evidence import ERASED_TYPE
from playhead.log.store import LogStore
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.persona import Persona

TERMINAL: Final = ("completed", "failed", "cancelled")
UNFINISHED: Final = ("running", "released", "suspended", "diverged")
TAIL_EVENTS: Final = 16


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: what its last fact says."""

    status: str
    result: Raw | None = None
    failure: Failure | None = None
    reason: str = ""


@dataclass(slots=True)
class Watch:
    """Somebody in this process waits for a run that it runs or has put to sleep."""

    ended: asyncio.Future[Ending]
    parent: str | None = None
    persona: Persona[..., Any] | None = None

    def fail(self, error: BaseException) -> None:
        """Tell who waits that its end cannot be known here."""
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()  # nobody has to ask


_ERASED: Final[Mapping[str, str]] = {
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
    "run.parked": "parked",
}


def ending_of(fact: Fact | Erased | None) -> Ending | None:
    """The ending that `fact` states, if it states one."""
    match fact:
        case RunCompleted(result=result):
            return Ending("completed", result=result)
        case RunFailedFact(failure=failure):
            return Ending("failed", failure=failure)
        case RunCancelledFact(reason=reason):
            return Ending("cancelled", reason=reason)
        case Erased(type=kind) if kind in _ERASED:
            return Ending(_ERASED[kind], reason="what it ended with was erased")
        case RunParkedFact(deaths=deaths, last_op=op):
            return Ending("parked", reason=f"died {deaths} times at {op or 'its start'}")
        case _:
            return None


async def standing_of(store: LogStore, catalog: Catalog, run: str) -> str:
    """How `run` stands by its events alone, for one that came from another store: there, it had a status."""
    head = await store.head(f"run/{run}")
    for event in reversed(await _tail(store, head)):
        fact = catalog.decode(event)
        if isinstance(fact, (Fact, Erased)) and (ending := ending_of(fact)) is not None:
            return ending.status
        if isinstance(fact, RunSuspended):
            return "suspended"
        if isinstance(fact, (RunReleased, RunClaimed)):
            break
    return "released"


async def read_ending(store: LogStore, catalog: Catalog, run: str) -> Ending | None:
    """The ending of `run` as the log has it, None while it goes on."""
    head = await store.head(f"run/{run}")
    for event in reversed(await _tail(store, head)):
        fact = catalog.decode(event)
        if head.status == "diverged" and isinstance(fact, RunReleased):
            return Ending("diverged", reason=fact.reason)
        if isinstance(fact, (Fact, Erased)) and (ending := ending_of(fact)) is not None:
            return ending if head.status in (ending.status, "") else None
    return None


async def _tail(store: LogStore, head: Head) -> list[Event]:
    """The last events before those that say what was erased, with what was kept of them."""
    end, found = head.seq, list[Event]()
    while end and not found:
        start = max(0, end - TAIL_EVENTS)
        found = [e for e in await store.read(head.stream, start, end - start) if e.type != ERASED_TYPE]
        end = start
    if all(event.payload is not None for event in found):
        return found
    return restored(found, erasures_in(await store.read(head.stream, 0, ERASURES_MAX, types=[ERASED_TYPE])))


def abandon(run: str, watch: Watch) -> None:
    """Tell who still waits that nobody in this process will learn the end."""
    watch.fail(
        RunError(
            f"the engine was closed while run {run} went on.",
            next_step="Open an engine and recover(): nothing that was recorded is lost.",
        )
    )


def unpack(run: str, ending: Ending, persona: Persona[..., Any] | None, errors: ErrorTypes) -> Any:
    """The result that `ending` holds. Raises `RunFailed`, `RunCancelled`, `RunParked` or `Diverged`."""
    match ending:
        case Ending(status="completed", result=Raw() as result):
            return (
                msgspec.msgpack.decode(result) if persona is None else persona.signature.result.decode(result)
            )
        case Ending(status="failed", failure=Failure() as failure):
            error = RunFailed(f"run {run} failed: {failure.type}: {failure.message}", failure=failure)
            raise error from errors.revive(failure, otherwise=ToolFailed)
        case Ending(status="completed" | "failed"):
            raise ErasedPayload(f"run {run} {ending.status}, and {ending.reason}.")
        case Ending(status="cancelled", reason=reason):
            raise RunCancelled(f"run {run} was cancelled{': ' if reason else ''}{reason}.")
        case Ending(status="parked", reason=reason):
            raise RunParked(f"run {run} is parked: {reason}.", next_step=f"`playhead resume {run}`")
        case _:
            raise Diverged(f"run {run}: {ending.reason}")
