"""Taking a run, and giving it back: what an engine writes when it becomes a run's owner."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from playhead.errors import Diverged, Held, PlayheadError, RunParked
from playhead.events.catalog import RunClaimed, RunReleased, RunResumed
from playhead.events.catalog import RunParked as RunParkedFact
from playhead.events.codec import Catalog
from playhead.events.fact import WorldFact
from playhead.log.envelope import Appended
from playhead.log.store import LogStore
from playhead.runtime.tape import Notes, Tape

REASON_LENGTH_MAX = 500


def claimed(store: LogStore) -> RunClaimed:
    """The fact that this store's worker took a run."""
    return RunClaimed(worker=store.worker, pid=os.getpid(), host=socket.gethostname())


async def claim(store: LogStore, catalog: Catalog, tape: Tape, notes: Notes, *, deaths_max: int) -> Appended:
    """Take the lease of a run that was left, and say after what it goes on.

    A run that died more than `deaths_max` times without a new outcome is parked instead: `RunParked`.
    Raises `Held` when a living worker owns it, and `Conflict` when its tape grew since it was read.
    """
    crashed = notes.left == "crash"
    deaths = notes.deaths + 1 if crashed else 0
    if deaths > deaths_max:
        op, kind = notes.last
        parked = RunParkedFact(deaths=deaths, last_op=op, last_type=kind)
        await _append(store, catalog, tape, [claimed(store), parked], status="parked", release=True)
        raise RunParked(
            f"run {tape.run} died {deaths} times at {op or 'its start'} and is parked.",
            found=deaths,
            next_step=f"Find out why, then `playhead resume {tape.run}`.",
        )
    after: Any = notes.left if notes.left in ("crash", "suspension", "release") else "request"
    resumed = RunResumed(after=after, deaths=deaths)
    return await _append(store, catalog, tape, [claimed(store), resumed], status="running")


async def check_free(store: LogStore, run: str) -> None:
    """Raise `Held` when another worker owns `run` and is alive."""
    head = await store.head(f"run/{run}")
    if head.worker not in (None, store.worker) and await store.alive(head.worker or ""):
        raise Held(head.stream, worker=head.worker)


async def _append(
    store: LogStore, catalog: Catalog, tape: Tape, facts: Sequence[WorldFact], **options: Any
) -> Appended:
    at = store.clock.now()
    events = [catalog.new_event(fact, at=at) for fact in facts]
    return await store.append(f"run/{tape.run}", len(tape.events), events, claim=store.worker, **options)


async def give_back(
    store: LogStore, catalog: Catalog, run: str, taken: Appended, error: PlayheadError
) -> None:
    """Let go of a run that cannot go on here, and say why."""
    # A divergence shows values, and what is secret must not get into the log by way of a report.
    shown = "the program no longer does what its tape says." if isinstance(error, Diverged) else error.message
    released = RunReleased(reason=f"{error.code}: {shown}"[:REASON_LENGTH_MAX])
    await store.append(
        f"run/{run}",
        taken.next_seq,
        [catalog.new_event(released, at=store.clock.now())],
        epoch=taken.epoch,
        release=True,
        status="diverged" if isinstance(error, Diverged) else "released",
    )
