"""Logs about trust, as runs write them: effects that act, wait, are proposed and denied, and moves."""

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, NamedTuple, get_args

from hypothesis import strategies as st
from msgspec import Raw

from playhead.events import approval as asked
from playhead.events import autonomy as facts
from playhead.events import catalog
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact, Failure
from playhead.events.words import EnforcementWord, GrantWords, TierWord, TrustOutcome, VerdictWord
from playhead.log.envelope import Event, NewEvent
from playhead.log.sqlite_store import SqliteStore
from playhead.policy.tier import TIERS
from playhead.trust.record import OUTCOMES

SECOND_NS = 1_000_000_000
NOON_NS = 1_776_600_000 * SECOND_NS
EMPTY = Raw(b"\x80")
NOTHING = Raw(b"\xc0")


class Told(NamedTuple):
    """One fact, with where and when it is written."""

    stream: str
    at: int
    op: str
    fact: Fact


def tell(path: Path, told: Iterable[Told | NewEvent], *, stream: str = "run/odd") -> None:
    """Append each to its stream, in this order: so is the order of positions."""

    async def go() -> None:
        async with SqliteStore.open(path) as store:
            ends: dict[str, int] = {}
            appends: list[Coroutine[Any, Any, Any]] = []
            for one in told:
                where = one.stream if isinstance(one, Told) else stream
                if where not in ends:
                    ends[where] = (await store.head(where)).seq
                event = CATALOG.new_event(one.fact, at=one.at, op=one.op) if isinstance(one, Told) else one
                appends.append(store.append(where, ends[where], [event]))
                ends[where] += 1
            await asyncio.gather(*appends)

    asyncio.run(go())


def as_events(told: Iterable[Told]) -> list[Event]:
    """The events that `tell` writes, as a reader gives them back, without a store."""
    ends: dict[str, int] = {}
    events: list[Event] = []
    for position, one in enumerate(told, 1):
        seq = ends[one.stream] = ends.get(one.stream, -1) + 1
        new = CATALOG.new_event(one.fact, at=one.at, op=one.op)
        said = (new.type, new.version, one.at, 0, one.op, None, None, b"", new.payload, bytes(32))
        events.append(Event(position, one.stream, seq, *said))
    return events


def recorded(
    agent: str = "audit",
    action: str = "fs.write",
    outcome: TrustOutcome = "success",
    tier: TierWord = "act_auto",
    enforcement: EnforcementWord = "auto",
    *,
    tool: str = "save",
    approver: str | None = None,
    request: str = "",
    quorum: int = 0,
    granted: tuple[GrantWords, ...] = (),
    reason: str = "",
    cost_micros: int | None = None,
) -> facts.TrustRecorded:
    return facts.TrustRecorded(
        agent=agent,
        action=action,
        tool=tool,
        outcome=outcome,
        tier=tier,
        enforcement=enforcement,
        approver=approver,
        request=request,
        quorum=quorum,
        granted=granted,
        reason=reason,
        cost_micros=cost_micros,
    )


def moved(
    agent: str, before: TierWord | None, after: TierWord, *, by: str = "ada", reason: str = ""
) -> facts.TierChanged:
    up = TIERS.index(after) > TIERS.index(before or "shadow")
    return facts.TierChanged(
        agent=agent, action="promote" if up else "demote", before=before, after=after, by=by, reason=reason
    )


GRANTED = (
    GrantWords(reviewer="ada", said_at=NOON_NS),
    GrantWords(reviewer="bob", said_at=NOON_NS + 1_500_000_000),
)
APPROVED = recorded(
    tier="act_with_approval",
    enforcement="approval_granted",
    approver="bob",
    request="approval_1",
    quorum=2,
    granted=GRANTED,
    cost_micros=1_500,
)


class Effect(NamedTuple):
    """An effect as a run goes through it, under one operation."""

    run: str
    op: str
    tool: str = "save"
    action: str = "fs.write"
    agent: str = "audit"
    verdict: VerdictWord | None = "act"
    """None where nothing decides about it."""
    tier: TierWord = "act_auto"
    trusted: TierWord | None = None
    granted: bool = True
    fails: bool = False
    per_hour: int | None = None
    hour: int = 0
    looked_up: bool = True

    def told(self) -> list[tuple[str, Fact]]:
        """What stands in the log of it, each with its operation."""
        told: list[tuple[str, Fact]] = []
        if self.verdict is not None:
            told += self._decided(self.verdict)
            if self.verdict == "ask":
                told += self._asked()
        if self.verdict in (None, "act") or (self.verdict == "ask" and self.granted):
            told += self._done()
        if self.verdict is not None:
            told.append((self.op, self._recorded(self.verdict)))
        return told

    @property
    def request(self) -> str:
        return f"approval_{self.op}"

    def _decided(self, verdict: VerdictWord) -> list[tuple[str, Fact]]:
        place = f"{self.op}/standing"
        asks = facts.StandingRequested(
            agent=self.agent, tool=self.tool, action=self.action, per_hour=self.per_hour
        )
        found = facts.StandingFound(tier=self.trusted, hour=self.hour)
        looks: list[tuple[str, Fact]] = [(place, asks), (place, found)] if self.looked_up else []
        decided = facts.AutonomyDecided(
            agent=self.agent,
            tool=self.tool,
            action=self.action,
            verdict=verdict,
            tier=self.tier,
            cause="tier",
            reason=f"scope 0: tier = {self.tier}",
            request=self.request if verdict in ("ask", "suggest") else "",
        )
        if verdict == "act":
            return [*looks, (self.op, decided)]
        proposed = facts.AutonomyProposed(
            agent=self.agent, tool=self.tool, action=self.action, args=EMPTY, digest="d", tier=self.tier
        )
        return [*looks, (self.op, proposed), (self.op, decided)]

    def _asked(self) -> list[tuple[str, Fact]]:
        place = f"{self.op}/approval"
        asks = asked.ApprovalRequested(
            request=self.request,
            kind="approval",
            action=self.action,
            digest="d",
            args=EMPTY,
            detail=NOTHING,
            principal=self.agent,
        )
        if not self.granted:
            return [
                (place, asks),
                (place, asked.ApprovalDenied(request=self.request, reviewer="ada", reason="not now")),
            ]
        said = asked.ApprovalGranted(
            request=self.request, digest="d", args=EMPTY, granted=GRANTED[:1], reason="go on"
        )
        return [(place, asks), (place, said)]

    def _done(self) -> list[tuple[str, Fact]]:
        asks = catalog.ToolRequested(tool=self.tool, args=EMPTY, effect="effect", side_effect=self.action)
        if self.fails:
            failure = Failure(type="OSError", message="disk full")
            return [(self.op, asks), (self.op, catalog.ToolFailed(failure=failure))]
        return [(self.op, asks), (self.op, catalog.ToolCompleted(result=NOTHING))]

    def _recorded(self, verdict: VerdictWord) -> facts.TrustRecorded:
        words: dict[VerdictWord, EnforcementWord] = {
            "act": "auto",
            "ask": "approval_granted" if self.granted else "approval_denied",
            "suggest": "suggest_approval_request",
            "shadow": "shadow_noop",
            "denied": "denied",
        }
        ran = verdict == "act" or (verdict == "ask" and self.granted)
        agreed = GRANTED[:1] if verdict == "ask" and self.granted else ()
        return recorded(
            self.agent,
            self.action,
            ("failure" if self.fails else "success") if ran else "denied",
            self.tier,
            words[verdict],
            tool=self.tool,
            approver="ada" if agreed else None,
            request=self.request if verdict in ("ask", "suggest") else "",
            quorum=1 if agreed else 0,
            granted=agreed,
        )


def begun(run: str, at: int = NOON_NS, persona: str = "audit") -> Told:
    """The first fact of a run."""
    fact = catalog.RunStarted(
        persona=persona, args=EMPTY, args_digest="", mode="strict", seed=bytes(16), name=f"{persona} of {run}"
    )
    return Told(f"run/{run}", at, "", fact)


def story(*effects: Effect, at: int = NOON_NS, step_ns: int = SECOND_NS) -> list[Told]:
    """Runs that have these effects one after the other, a second for each fact."""
    told: list[Told] = []
    for effect in effects:
        if all(one.stream != f"run/{effect.run}" for one in told):
            told.append(begun(effect.run, at + len(told) * step_ns, effect.agent))
        for op, fact in effect.told():
            told.append(Told(f"run/{effect.run}", at + len(told) * step_ns, op, fact))
    return told


# ------------------------------------------------------------------- drawn

agents = st.sampled_from(["audit", "a/b", "a_b", "Ädi", "watch er"])
streams = st.sampled_from(["run/one", "run/two", "run/three"])
instants = st.integers(0, 40).map(lambda n: NOON_NS + n * 250_000_000)
names = st.sampled_from(["ada", "bob", "", " ", "eve"])
grants = st.builds(GrantWords, reviewer=names, said_at=instants | st.integers(0, 2**64 - 1))
records = st.builds(
    facts.TrustRecorded,
    agent=agents | st.just(""),
    action=st.sampled_from(["fs.write", "fs.delete", "autonomy.tier_transition", ""]),
    tool=st.sampled_from(["save", "remove", ""]),
    outcome=st.sampled_from(OUTCOMES),
    tier=st.sampled_from(TIERS),
    enforcement=st.sampled_from(get_args(EnforcementWord)),
    approver=st.none() | names,
    request=st.sampled_from(["", "approval_1"]),
    quorum=st.integers(0, 3),
    granted=st.lists(grants, max_size=3).map(tuple),
    reason=st.sampled_from(["", "over the bound"]),
    cost_micros=st.none() | st.integers(-5, 2**63),
)
moves = st.builds(
    facts.TierChanged,
    agent=agents,
    action=st.sampled_from(["promote", "demote"]),
    before=st.none() | st.sampled_from(TIERS),
    after=st.sampled_from(TIERS),
    by=names,
    reason=st.sampled_from(["", "it did well"]),
)
others = st.just(catalog.ToolCompleted(result=NOTHING))
logs = st.lists(
    st.builds(Told, streams, instants, st.just("0/save#0"), records | others)
    | moves.flatmap(lambda fact: instants.map(lambda at: Told(f"trust/{fact.agent or 'x'}", at, "", fact))),
    max_size=14,
)
