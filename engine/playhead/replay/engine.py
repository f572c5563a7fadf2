"""The whole engine: what runs programs, plays their tapes again, and makes forks of them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from playhead.clock import new_id
from playhead.errors import Conflict, Diverged, Fenced, Held, NotFound
from playhead.events.catalog import RunForked
from playhead.replay.divergence import report_of
from playhead.replay.edits import Edits
from playhead.replay.fork import Mode, Origin, Plan, Wish, check_made_before, plan_fork
from playhead.replay.own_state import carry_over
from playhead.replay.player import Outcome, Player, on_tape
from playhead.runtime import engine as runtime
from playhead.runtime import guard, recovery
from playhead.runtime.difference import Divergence
from playhead.runtime.fence import fence_of
from playhead.runtime.mailbox import post
from playhead.runtime.persona import Persona
from playhead.runtime.run import Run
from playhead.runtime.secrets import key_of
from playhead.runtime.starting import check_text, id_of_key
from playhead.runtime.tape import Tape

ASIDE_EVENTS: Final = 1_000
"""How long a tape is whose program is imagined in a thread."""


class Engine(runtime.Engine):
    """Starts, resumes, recovers, replays and forks runs on one log. Made by `Engine.open`."""

    async def replay(self, run: str) -> Outcome:
        """Run the program of `run` again against its tape, touching nothing.

        Raises `NotFound`, `PersonaMissing`, and what `playhead.replay.player.play` raises. A divergence
        is an answer, not an error: look at `Outcome.divergence`, or call `Outcome.check()`.
        """
        tape = Tape(run, await self._read(run), self.catalog)
        persona = self._persona_for(tape)
        player = Player(tape, persona, errors=self.errors, redaction=self.redaction, model=self.model)
        return await player.play_relaxed() if tape.started.mode == "relaxed" else player.play()

    async def fork(
        self,
        run: str,
        *,
        at: int | None = None,
        edits: Edits | None = None,
        allow: Iterable[str] = (),
        mode: Mode | None = None,
        name: str | None = None,
        key: str | None = None,
        reason: str = "",
    ) -> Run:
        """Make a run of its own of `run` up to event `at`, edited, and take it up where that ends.

        What the tape answers is taken from there; what it does not answer happens, as far as `allow` lets
        it: without it nothing is changed and no model is asked. The source may go on meanwhile, and is told.
        With `key` the same fork again is the same run. A crash leaves no fork, or a whole one that
        `recover()` takes up. Raises what `plan_fork` raises, and `KeyReuse`.
        """
        plan = await self.plan_fork(
            run, at=at, edits=edits, allow=allow, mode=mode, name=name, key=key, reason=reason
        )
        await self._make(plan)
        with suppress(Held):
            return await recovery.take_on(self, plan.run)
        return self.handle(plan.run)

    async def plan_fork(
        self,
        run: str,
        *,
        at: int | None = None,
        edits: Edits | None = None,
        allow: Iterable[str] = (),
        mode: Mode | None = None,
        name: str | None = None,
        key: str | None = None,
        reason: str = "",
    ) -> Plan:
        """What `fork` with the same arguments would make, and what would happen.

        Nothing is made, but for the key of the store that digests of edits are made with, where it has none.
        Raises what `playhead.replay.fork.plan_fork` raises, `PersonaMissing` and `HookMissing`.
        """
        guard.refuse("engine.fork()")
        for what, text in (("name", name), ("key", key)):
            check_text(what, text)
        tape = Tape(run, await self._read(run), self.catalog)
        persona = self._persona_for(tape)
        last = tape.events[-1].seq if at is None else at
        found = await self.store.read(f"run/{run}", last, 1) if last >= 0 else []
        new = new_id(self.clock) if key is None else id_of_key(key)
        digest, secret = found[0].digest.hex() if found else "", key_of(self.store) if edits else None
        self.hooks.require(tape.started.hooks, run)
        host = on_tape(tape.started.model, self.model, self.redaction, self.errors, self.tools_context)
        origin = Origin(new, self.clock.now(), host, digest, secret)
        wish = Wish(
            at=at, edits=edits or Edits(), allow=fence_of(allow), mode=mode, name=name, key=key, reason=reason
        )
        work = functools.partial(plan_fork, tape, persona, wish, origin)
        # Of a long tape that takes long, and the leases of other runs here have to be kept meanwhile.
        plan = work() if len(tape.events) < ASIDE_EVENTS else await asyncio.to_thread(work)
        absent = [op for op, stream in plan.opens.items() if not await self.store.read(stream, 0, 1)]
        return replace(plan, absent=frozenset(absent))

    async def _make(self, plan: Plan) -> None:
        """Append the beginning of a fork, in one append, and tell its source.

        State of its own is there before it, so that whoever takes the fork up finds it.
        """
        events = plan.events(self.catalog, self.clock.now())
        stream, status = f"run/{plan.run}", plan.imagined.status
        try:
            if (await self.store.head(stream)).seq:
                raise Conflict(stream, expected=0, found=1)
            await carry_over(self.store, self.catalog, plan)
            await self.store.append(stream, 0, events, status=status or "released", anchor=status is not None)
        except (Conflict, Fenced):  # made before, or by another process just now, and perhaps taken up
            await self._check_made_before(plan)
        if not await self._mentioned(plan):
            await post(self.store, self.catalog, plan.words.run, plan.mention(self.store.worker))

    async def _check_made_before(self, plan: Plan) -> None:
        check_made_before(plan, self.catalog.decode((await self.store.read(f"run/{plan.run}", 0, 1))[0]))

    async def _mentioned(self, plan: Plan) -> bool:
        """Whether the source knows already, from an earlier try."""
        if plan.started.key is None:
            return False
        with suppress(NotFound):
            for event in await self.store.read(f"mailbox/{plan.words.run}", 0):
                fact = self.catalog.decode(event)
                if isinstance(fact, RunForked) and fact.run == plan.run:
                    return True
        return False

    def _diverged(self, tape: Tape, persona: Persona[..., Any], found: Divergence) -> Diverged:
        host = on_tape(tape.started.model, self.model, self.redaction, self.errors)
        report = report_of(tape, persona, found, host)
        return Diverged(str(report), divergence=report)
