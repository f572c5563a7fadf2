"""The keeper: looks after mail that other processes send, and after the leases."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final, Protocol

from playhead.errors import Fenced, PlayheadError, StoreError
from playhead.log.store import LogStore
from playhead.logger import log
from playhead.runtime.runner import Runner
from playhead.runtime.sleepers import Sleepers

MAIL_S_MIN: Final = 0.05
MAIL_S_MAX: Final = 0.4
MAIL_S_PER_RUN: Final = 0.0005
LEASE_AGE_MAX: Final = 0.75
"""Part of a lease's life after which a worker that could not renew it stops by itself."""


class Kept(Protocol):
    """What the keeper needs of an engine."""

    store: LogStore
    runners: dict[str, Runner]
    sleepers: Sleepers

    async def look(self, run: str) -> None:
        """Let `run` take its mail."""
        ...


async def keep(engine: Kept) -> None:
    """Look again and again, less often while nothing comes. Runs until it is cancelled."""
    pause = MAIL_S_MIN
    while True:
        runs = [*engine.runners, *engine.sleepers]
        await asyncio.sleep(max(pause, MAIL_S_PER_RUN * len(runs)))
        pause = min(pause * 2, MAIL_S_MAX)
        for run in runs:
            try:
                mailbox = await engine.store.head(f"mailbox/{run}")
                if mailbox.seq > _taken(engine, run, mailbox.seq):
                    pause = MAIL_S_MIN
                    await engine.look(run)
            except PlayheadError as error:
                # One mailbox that cannot be read makes nobody else deaf, and the leases are looked after.
                log.warning("mail.not_taken", run=run, code=error.code, error=error.message)
        await _keep_leases(engine)


def _taken(engine: Kept, run: str, otherwise: int) -> int:
    runner = engine.runners.get(run)
    if runner is not None:
        return runner.messages
    return engine.sleepers.messages(run) if run in engine.sleepers else otherwise


async def _keep_leases(engine: Kept) -> None:
    """Stop everything here when the leases may be over: somebody else may own the runs by now."""
    store: Any = engine.store
    age_s: float | None = getattr(store, "lease_age_s", None)
    if age_s is None or age_s < LEASE_AGE_MAX * store.lease_ttl_s:
        return
    with suppress(StoreError):  # a store that cannot be asked did not say yes
        if await store.renew():
            return
    if not engine.runners:
        return
    log.warning("lease.lost", worker=store.worker, age_s=round(age_s, 3))
    for runner in list(engine.runners.values()):
        runner.lose(Fenced(runner.stream, epoch=runner.epoch, found=runner.epoch + 1))
