"""How a run ends, and who is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from playhead.errors import Diverged, RunCancelled, RunError, RunFailed, RunParked, ToolFailed
from playhead.events.catalog import RunCancelled as RunCancelledFact
from playhead.events.catalog import RunClaimed, RunCompleted, RunReleased, RunSuspended
from playhead.events.catalog import RunFailed as RunFailedFact
from playhead.events.catalog import RunParked as RunParkedFact
from playhead.events.codec import Catalog
from playhead.events.fact import Fact, Failure
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


def ending_of(fact: Fact | None) -> Ending | None:
    """The ending that `fact` states, if it states one."""
    match fact:
        case RunCompleted(result=result):
            return Ending("completed", result=result)
        case RunFailedFact(failure=failure):
            return Ending("failed", failure=failure)
        case RunCancelledFact(reason=reason):
            return Ending("cancelled", reason=reason)
        case RunParkedFact(deaths=deaths, last_op=op):
            return Ending("parked", reason=f"died {deaths} times at {op or 'its start'}")
        case _:
            return None


async def standing_of(store: LogStore, catalog: Catalog, run: str) -> str:
    """How `run` stands by its events alone, for one that came from another store: there, it had a status."""
    head = await store.head(f"run/{run}")
    for event in reversed(await store.read(f"run/{run}", max(0, head.seq - TAIL_EVENTS))):
        fact = catalog.decode(event)
        if isinstance(fact, Fact) and (ending := ending_of(fact)) is not None:
            return ending.status
        if isinstance(fact, RunSuspended):
            return "suspended"
        if isinstance(fact, (RunReleased, RunClaimed)):
            break
    return "released"


async def read_ending(store: LogStore, catalog: Catalog, run: str) -> Ending | None:
    """The ending of `run` as the log has it, None while it goes on."""
    head = await store.head(f"run/{run}")
    events = await store.read(f"run/{run}", max(0, head.seq - TAIL_EVENTS))
    for event in reversed(events):
        fact = catalog.decode(event)
        if head.status == "diverged" and isinstance(fact, RunReleased):
            return Ending("diverged", reason=fact.reason)
        if isinstance(fact, Fact) and (ending := ending_of(fact)) is not None:
            return ending if head.status in (ending.status, "") else None
    return None


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
        case Ending(status="cancelled", reason=reason):
            raise RunCancelled(f"run {run} was cancelled{': ' if reason else ''}{reason}.")
        case Ending(status="parked", reason=reason):
            raise RunParked(f"run {run} is parked: {reason}.", next_step=f"`playhead resume {run}`")
        case _:
            raise Diverged(f"run {run}: {ending.reason}")
