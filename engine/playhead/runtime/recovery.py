"""Taking up what was interrupted: which runs those are, and what becomes of each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from playhead.errors import Held, PersonaMissing, PlayheadError
from playhead.log.envelope import Head
from playhead.logger import log
from playhead.runtime.endings import TERMINAL, UNFINISHED, Ending, standing_of
from playhead.runtime.holders import held_by_another
from playhead.runtime.run import Run

if TYPE_CHECKING:
    from playhead.runtime.engine import Engine

RUNS_MAX = 1_000_000
LOOK_S: Final = 1.0
"""How often to look whether the owner of a run that is waited for still lives."""


async def recover(engine: Engine, *, missing: Literal["raise", "skip"]) -> list[Run]:
    """What `Engine.recover` promises."""
    todo = await _interrupted(engine)
    personas = {run: await engine.persona_of(run) for _, run in todo}
    unknown = [run for run, persona in personas.items() if engine.personas.get(persona) is None]
    if unknown and missing == "raise":
        raise PersonaMissing(unknown, persona=personas[unknown[0]], known=engine.personas.names)
    recovered: list[Run] = []
    for head, run in todo:
        if run in unknown:
            continue
        try:
            if head.status == "suspended":
                recovered.append(await wake_or_watch(engine, head, run))
            else:
                recovered.append(await engine.resume(run))
        except PlayheadError as error:
            # One run that cannot go on keeps none of the others waiting.
            log.warning("run.not_recovered", run=run, code=error.code, error=error.message)
        except Exception as error:  # noqa: BLE001  nor does one whose program meets a mistake of ours
            log.warning("run.not_recovered", run=run, code=type(error).__name__, error=str(error))
    return recovered


async def take_on(engine: Engine, run: str) -> Run:
    """Run `run` here where nobody does: resumed, or watched for as long as it sleeps.

    Does nothing where it is over or parked. Raises `Held` where a living worker has it, and what
    `Engine.resume` raises.
    """
    head = await engine.store.head(f"run/{run}")
    status = head.status or await standing_of(engine.store, engine.catalog, run)
    if status == "suspended":
        return await wake_or_watch(engine, head, run)
    if status in ("running", "released", "diverged"):
        return await engine.resume(run)
    return engine.handle(run)


async def end_of(engine: Engine, run: str) -> Ending:
    """The end of `run`, which is taken on here whenever whoever has it is gone. Raises like `take_on`."""
    while True:
        with suppress(Held):
            await take_on(engine, run)
            return await engine.ending(run)
        ending = asyncio.ensure_future(engine.ending(run))
        try:
            done, _ = await asyncio.wait({ending}, timeout=LOOK_S)
            if done:
                return ending.result()
        finally:
            ending.cancel()


async def _interrupted(engine: Engine) -> list[tuple[Head, str]]:
    """Runs that are not over and that nobody runs now, oldest first."""
    found: list[tuple[Head, str]] = []
    # Without a status are runs that came from another store.
    for head in reversed(await engine.store.heads("run", status=(*UNFINISHED, ""), limit=RUNS_MAX)):
        run = head.stream.partition("/")[2]
        if run in engine.runners or await owned_elsewhere(engine, head):
            continue
        status = head.status or await standing_of(engine.store, engine.catalog, run)
        if status not in (*TERMINAL, "parked"):
            found.append((head._replace(status=status), run))
    return found


async def owned_elsewhere(engine: Engine, head: Head) -> bool:
    """Whether a living worker, or another engine on our own store, runs it."""
    if held_by_another(engine.store, head.stream.partition("/")[2], engine):
        return True
    # A run of our own worker that no engine has in memory was lost here, and is ours to take up again.
    worker = head.worker
    return worker is not None and worker != engine.store.worker and await engine.store.alive(worker)


async def wake_or_watch(engine: Engine, head: Head, run: str) -> Run:
    """A suspended run: resumed when it is due, else watched until it is."""
    if run in engine.sleepers or run in engine.runners:
        return engine.handle(run)
    notes = await engine.notes_of(run)
    mailbox = await engine.store.head(f"mailbox/{run}")
    due = head.wake_at is not None and head.wake_at <= engine.clock.now()
    if due or mailbox.seq > notes.messages or notes.children:
        return await engine.resume(run)
    watch = engine.watch(run, engine.personas.get(await engine.persona_of(run)), None)
    engine.sleepers.add(run, head.wake_at, notes.messages)
    return Run(engine, run, watch)
