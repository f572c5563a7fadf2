"""Looks up how agents stand, counts what they do by themselves, and changes their tiers: on one log.

    standings = Standings(store, catalog)
    await standings.of("audit")                       # Standing(tier='suggest', ...)
    await standings.change("audit", "demote", "shadow", Word(by="ada"))

What was read is kept, and only news is read the next time. Two processes that count at once append where
they read to, so one of them comes second and decides again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Executor as ThreadExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from playhead.errors import BadEvent, BadValue, Conflict
from playhead.events.autonomy import AutonomySpent, StandingFailed, StandingFound, TierChanged
from playhead.events.codec import Catalog
from playhead.events.fact import Failure, OutcomeFact, WorldFact
from playhead.log.store import LogStore
from playhead.log.surely import append_surely
from playhead.policy.autonomy import Ruling, Standing, judge
from playhead.policy.effect import EffectClass
from playhead.policy.retry import ONCE
from playhead.policy.span import DAY_NS, HOUR_NS
from playhead.policy.tier import Tier, known_tier, strictest
from playhead.runtime.attempt import attempt
from playhead.runtime.signature import check_name
from playhead.sign import Keys, Signed, Signer, sign, verify, why_not
from playhead.trust.standing import Spent, Trusted, reason_against

TRUST: Final = "trust"
AUTONOMY: Final = "autonomy"
TIER: Final = "playhead.tier/1"
"""The tag under which changes of tiers are signed."""
PAGE_EVENTS: Final = 1_000


class Word(NamedTuple):
    """Who changes a tier, and why. `signer` signs it."""

    by: str
    reason: str = ""
    signer: Signer | None = None


class Found(NamedTuple):
    """How an agent stands, and which event of its stream said so; -1 where none did."""

    standing: Standing
    changed: int


class _Agent:
    """What is known of one agent, and how far its streams were read."""

    def __init__(self) -> None:
        self.trusted = Trusted()
        self.spent = Spent()
        self.next_trust = 0
        self.next_spent = 0
        self.lock = asyncio.Lock()


class Standings:
    """How the agents of one log stand. Used on one loop.

    With `keys` nobody is promoted but by a change that is signed with a key of who says so.
    """

    def __init__(self, store: LogStore, catalog: Catalog, keys: Keys | None = None) -> None:
        self._store = store
        self._catalog = catalog
        self._keys = keys or {}
        self._agents: defaultdict[str, _Agent] = defaultdict(_Agent)
        self._in_use = False
        self._look: asyncio.Task[None] | None = None
        """A look at the log that has not begun."""
        self._looking = asyncio.Lock()

    async def in_use(self) -> bool:
        """Whether anybody was ever promoted or demoted, as the log says from now on.

        Who asks while others ask is told by the same look, unless that had begun.
        """
        if not self._in_use:
            self._look = self._look or asyncio.create_task(self._see())
            await asyncio.shield(self._look)
        return self._in_use

    async def _see(self) -> None:
        async with self._looking:
            self._look = None
            self._in_use = self._in_use or bool(await self._store.heads(TRUST, limit=1))

    async def of(self, *agents: str, now: int | None = None) -> Found:
        """How all of `agents` stand together now: of each thing the strictest.

        How often they acted by themselves is told where it is asked as of a time. Raises `BadEvent` where a
        stream cannot be read.
        """
        async with self._held(agents) as known:
            for agent in known:
                await self._read_trust(agent, known[agent])
                if now is not None:
                    await self._read_spent(agent, known[agent])
            return _together([_found(each, now, None) for each in known.values()])

    async def counted(self, agents: Sequence[str], ruling: Ruling, run: str, op: str) -> Found:
        """Like `of`, under bounds: an effect that happens by itself is counted, once for each operation."""
        async with self._held(agents) as known:
            for agent in known:
                await self._read_trust(agent, known[agent])
            while True:
                for agent in known:
                    await self._read_spent(agent, known[agent])
                now = self._store.clock.now()
                found = _together([_found(each, now, (run, op)) for each in known.values()])
                judgement = judge(ruling, found.standing)
                if judgement is None or judgement.verdict != "act":
                    return found
                if await self._spend(known, run, op, now):
                    return found

    async def _spend(self, known: Mapping[str, _Agent], run: str, op: str, now: int) -> bool:
        """Count an operation for each agent that has not counted it; False where somebody else came first."""
        for agent, each in known.items():
            fact = AutonomySpent(agent=agent, run=run, op=op)
            if (run, op) in each.spent.known:
                continue  # and a crash came before the run heard of it
            if not await self._append(f"{AUTONOMY}/{agent}", each.next_spent, fact, now):
                return False
        return True

    @asynccontextmanager
    async def _held(self, agents: Sequence[str]) -> AsyncGenerator[dict[str, _Agent]]:
        """What is known of some agents, while nobody else here reads or counts for them."""
        async with AsyncExitStack() as locks:
            for agent in sorted(set(agents)):
                await locks.enter_async_context(self._agents[agent].lock)
            yield {agent: self._agents[agent] for agent in agents}

    async def change(
        self, agent: str, action: Literal["promote", "demote"], tier: Tier, word: Word
    ) -> TierChanged:
        """Give `agent` another tier; durable on return.

        Raises `BadValue` where that leads the wrong way, and where it is not signed as it has to be.
        """
        check_name(agent, "an agent")
        known_tier(tier)
        if word.by == agent:
            raise BadValue(f"{agent} cannot say what {agent} is trusted with.", expected="somebody else")
        if self._keys and (why := why_not(self._keys, word.by, word.signer)):
            raise BadValue(f"{why}.", next_step="Sign it with a key that stands in the keyring.")
        known = self._agents[agent]
        async with known.lock:
            while True:
                await self._read_trust(agent, known)
                before, seq = known.trusted.tier, known.next_trust
                if (against := reason_against(action, before, tier)) is not None:
                    raise BadValue(
                        f"{agent} stays as it is: {against}.",
                        found=before,
                        next_step="See `playhead trust query`.",
                    )
                changed = TierChanged(
                    agent=agent, action=action, before=before, after=tier, by=word.by, reason=word.reason
                )
                if word.signer is not None:
                    signed = sign(word.signer, TIER, *changed.parts(seq))
                    changed = replace(changed, signature=signed.signature, key=signed.key)
                if await self._append(f"{TRUST}/{agent}", seq, changed, self._store.clock.now()):
                    return changed

    # --------------------------------------------------------------- inside

    async def _read_trust(self, agent: str, known: _Agent) -> None:
        while page := await self._store.read(f"{TRUST}/{agent}", known.next_trust, PAGE_EVENTS):
            for event in page:
                fact = self._catalog.decode(event)
                if isinstance(fact, TierChanged) and fact.agent != agent:
                    raise BadEvent(
                        f"{event.stream}@{event.seq} is about {fact.agent}, and not about {agent}."
                    )
                believed = not isinstance(fact, TierChanged) or self._believes(event.seq, fact)
                known.trusted.apply(event.seq, fact, believed=believed)
                known.next_trust = event.seq + 1

    def _believes(self, seq: int, fact: TierChanged) -> bool:
        """Whether a change is by whom it names, where that can be told."""
        signed = Signed(fact.signature, fact.key)
        return not self._keys or verify(self._keys, fact.by, signed, TIER, *fact.parts(seq))

    async def _read_spent(self, agent: str, known: _Agent) -> None:
        while page := await self._store.read(f"{AUTONOMY}/{agent}", known.next_spent, PAGE_EVENTS):
            for event in page:
                known.spent.apply(event.at, self._catalog.decode(event))
                known.next_spent = event.seq + 1

    async def _append(self, stream: str, expected: int, fact: WorldFact, at: int) -> bool:
        """Whether it was appended at `expected`; False where others were first."""
        events = [self._catalog.new_event(fact, at=at)]
        try:
            await append_surely(self._store, stream, expected, events)
        except Conflict:
            return False
        return True


class StandingCall:
    """One look-up for an effect of a run, as a runner carries it out."""

    effect = EffectClass.IDEMPOTENT
    retry = ONCE
    timeout_s: float | None = None
    name = "standing"

    def __init__(self, standings: Standings, agents: Sequence[str], ruling: Ruling) -> None:
        self._standings = standings
        self._agents = agents
        self._ruling = ruling

    async def act(self, threads: ThreadExecutor) -> Found:
        if self._ruling.per_hour is None and self._ruling.per_day is None:
            return await self._standings.of(*self._agents)
        now = attempt()
        return await self._standings.counted(self._agents, self._ruling, now.run, now.op)

    def completed(self, value: Found, number: int) -> OutcomeFact:
        said = value.standing
        return StandingFound(
            tier=said.tier,
            promoted=said.promoted,
            changed=value.changed,
            hour=said.hour,
            day=said.day,
            attempt=number,
        )

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return StandingFailed(failure=failure, attempt=number)


def _found(known: _Agent, now: int | None, op: tuple[str, str] | None) -> Found:
    """How one agent stands at `now`; for an operation that was counted, how it stood before that."""
    trusted, spent = known.trusted, known.spent
    hour, day = (0, 0) if now is None else (spent.this(HOUR_NS, now), spent.this(DAY_NS, now))
    if op is not None:
        hour, day = spent.known.get(op, (hour, day))
    return Found(Standing(trusted.tier, hour, day, trusted.promoted), trusted.changed)


def _together(found: Sequence[Found]) -> Found:
    """How several agents stand together."""
    all_of = [each.standing for each in found]
    tiers: list[Tier | None] = [standing.tier for standing in all_of]
    tier = strictest(*tiers)
    return Found(
        Standing(
            tier,
            max(standing.hour for standing in all_of),
            max(standing.day for standing in all_of),
            all(standing.promoted for standing in all_of),
        ),
        next((each.changed for each in found if each.standing.tier == tier), -1),
    )
