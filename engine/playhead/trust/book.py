"""What trust records say about agents: which ones there are, how they went, and what follows from that.

    newest = query(records, Filters(agent="triage", outcome="denied", limit=10))
    score(records, "triage").policy          # what the agent may do, by what it did

Pure functions over records in any order. The order that counts is the one of `in_order`: by time, and where
that is the same by place in the chain, agent and record id.

A score is made of what came of effects. Not of it are control records, which are about the agent and not by
it, and the denials that a tier is made of: under `shadow` and `suggest` nothing is done, so that each call is
recorded as denied, and that says nothing about the agent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from playhead.policy.capability import Policy
from playhead.policy.level import LEVELS, Level
from playhead.policy.tier import TIERS, Tier
from playhead.trust.record import Outcome, TrustRecord
from playhead.trust.timestamp import instant

PROMOTE: Final = "trust.promote"
DEMOTE: Final = "trust.demote"
TRANSITION: Final = "autonomy.tier_transition"
CONTROL_ACTIONS: Final = frozenset({PROMOTE, DEMOTE, TRANSITION})

RECORDS_TO_JUDGE: Final = 3
RATE_TO_KEEP: Final = 0.5
"""From so many records on, an agent of which less than this part succeeded may only read."""

_NO_EFFECT: Final = frozenset({"shadow_noop", "suggest_approval_request"})
_NO_EFFECT_TIERS: Final = frozenset({"shadow", "suggest"})

_LEVEL_OF: Final[Mapping[Tier, Level]] = {
    "shadow": "none",
    "suggest": "read_only",
    "act_with_approval": "read_only",
    "act_auto": LEVELS[-1],
}


# ---------------------------------------------------------------- finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which records to find. What is None asks for nothing. `since` and `until` are RFC 3339, and inclusive.

    Of more than `limit` the newest are found.
    """

    agent: str | None = None
    action: str | None = None
    since: str | None = None
    until: str | None = None
    tier: Tier | None = None
    outcome: Outcome | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class TraceGroup:
    """The records of one trace."""

    trace_id: str
    records: tuple[TrustRecord, ...]


def in_order(records: Iterable[TrustRecord]) -> list[TrustRecord]:
    """The records in the order that counts. Raises `BadValue` for one whose time is none."""
    return sorted(records, key=_place)


def query(records: Iterable[TrustRecord], filters: Filters) -> list[TrustRecord]:
    """The records that `filters` ask for, in order. Raises `BadValue` for a time that is none."""
    exact = {
        name: value
        for name, value in (
            ("agent", filters.agent),
            ("action", filters.action),
            ("autonomy_tier", filters.tier),
            ("outcome", filters.outcome),
        )
        if value is not None
    }
    since = -math.inf if filters.since is None else instant(filters.since)
    until = math.inf if filters.until is None else instant(filters.until)
    placed = [
        (place, record)
        for record in records
        if all(getattr(record, name) == value for name, value in exact.items())
        and since <= (place := _place(record))[0] <= until
    ]
    placed.sort(key=lambda pair: pair[0])
    found = [record for _, record in placed]
    return found if filters.limit is None else found[max(0, len(found) - filters.limit) :]


def by_trace(records: Iterable[TrustRecord]) -> list[TraceGroup]:
    """The records of each trace, the traces in the order in which they first appear."""
    groups: dict[str, list[TrustRecord]] = {}
    for record in records:
        groups.setdefault(record.trace_id, []).append(record)
    return [TraceGroup(trace_id, tuple(found)) for trace_id, found in groups.items()]


def _place(record: TrustRecord) -> tuple[int, int, str, str]:
    return (instant(record.timestamp), record.chain_index, record.agent, record.record_id)


# ---------------------------------------------------------------- counting


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSummary:
    """All records of an agent, counted. `mean_cost_usd` is over those that have a cost, else None."""

    agent: str
    total: int
    success_rate: float
    mean_cost_usd: float | None
    tier_distribution: dict[str, int]
    outcome_distribution: dict[str, int]


def summaries(records: Iterable[TrustRecord]) -> list[AgentSummary]:
    """What there is of each agent, by name. Says the same whatever the order of the records."""
    agents: dict[str, list[TrustRecord]] = {}
    for record in records:
        agents.setdefault(record.agent, []).append(record)
    return [_summary(agent, agents[agent]) for agent in sorted(agents)]


def _summary(agent: str, records: list[TrustRecord]) -> AgentSummary:
    outcomes = Counter(record.outcome for record in records)
    tiers = Counter(record.autonomy_tier for record in records)
    costs = [record.cost_usd for record in records if record.cost_usd is not None]
    return AgentSummary(
        agent=agent,
        total=len(records),
        success_rate=outcomes["success"] / len(records),
        mean_cost_usd=math.fsum(costs) / len(costs) if costs else None,
        tier_distribution=dict(sorted(tiers.items())),
        outcome_distribution=dict(sorted(outcomes.items())),
    )


# ---------------------------------------------------------------- judging


def reason_against_move(action: str, before: Tier, after: Tier) -> str | None:
    """Why an agent may not be moved from one tier to the other by this action; None where it may.

    To promote leads up, to demote leads down, and staying is neither.
    """
    if action not in {PROMOTE, DEMOTE}:
        return f"{action!r} moves nobody: it is {PROMOTE} or {DEMOTE}"
    steps = TIERS.index(after) - TIERS.index(before)
    if not steps:
        return f"the tier is {after} already"
    if (steps > 0) == (action == PROMOTE):
        return None
    return f"{action} does not lead {'up' if steps > 0 else 'down'} from {before} to {after}"


def effective_tier(records: Iterable[TrustRecord], agent: str, *, default: Tier = "act_auto") -> Tier:
    """The tier to which an agent was last promoted or demoted, and `default` where it never was.

    A move in the wrong direction may take away and never gives: a promotion that leads down lowers the tier,
    and a demotion that leads up is as if it had not been. The direction is seen from the tier before, which
    for the first move is the one that the record itself names.
    """
    standing: Tier | None = None
    for record in in_order(record for record in records if record.agent == agent):
        if record.action in {PROMOTE, DEMOTE} and record.outcome == "success":
            before = standing or _named_tier(record.metadata.get("from_tier"))
            standing = _moved(record, before)
    return standing or default


def _moved(record: TrustRecord, before: Tier | None) -> Tier:
    after = record.autonomy_tier
    if before is None or reason_against_move(record.action, before, after) is None:
        return after
    return before if TIERS.index(before) < TIERS.index(after) else after


def _named_tier(word: Any) -> Tier | None:
    return next((tier for tier in TIERS if tier == word), None)


def policy_of(tier: Tier) -> Policy:
    """What an agent of this tier may do by itself."""
    return Policy(side_effect_level=_LEVEL_OF[tier], recursion_limit=0 if tier == "shadow" else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How the effects of an agent went, of all actions or of one, and what it may do for that."""

    agent: str
    action: str | None
    total: int
    successes: int
    failures: int
    denied: int
    timeouts: int
    success_rate: float
    latest_outcome: Outcome | None
    latest_timestamp: str | None
    effective_tier: Tier
    policy: Policy


def score(records: Iterable[TrustRecord], agent: str, action: str | None = None) -> Score:
    """The score of an agent. Its policy is the one of its tier, or less.

    Where the latest effect did not succeed, or of three and more less than half did, the agent may at most
    read, and no more than its tier allows.
    """
    own = [record for record in records if record.agent == agent]
    effects = [
        record
        for record in in_order(own)
        if is_effect(record) and (action is None or record.action == action)
    ]
    outcomes = Counter(record.outcome for record in effects)
    latest = effects[-1] if effects else None
    rate = outcomes["success"] / len(effects) if effects else 0.0
    tier = effective_tier(own, agent)
    policy = policy_of(tier)
    if latest is not None and (
        latest.outcome != "success" or (len(effects) >= RECORDS_TO_JUDGE and rate < RATE_TO_KEEP)
    ):
        policy = policy.narrowed(Policy(side_effect_level="read_only"))
    return Score(
        agent=agent,
        action=action,
        total=len(effects),
        successes=outcomes["success"],
        failures=outcomes["failure"],
        denied=outcomes["denied"],
        timeouts=outcomes["timeout"],
        success_rate=rate,
        latest_outcome=latest.outcome if latest else None,
        latest_timestamp=latest.timestamp if latest else None,
        effective_tier=tier,
        policy=policy,
    )


def is_effect(record: TrustRecord) -> bool:
    """Whether a record says what came of something that an agent did, or was refused to do."""
    if record.action in CONTROL_ACTIONS or record.metadata.get("control") is True:
        return False
    enforced = record.metadata.get("autonomy.enforcement")
    if isinstance(enforced, str) and enforced in _NO_EFFECT:
        return False
    return record.outcome != "denied" or record.autonomy_tier not in _NO_EFFECT_TIERS
