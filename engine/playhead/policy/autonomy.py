"""Autonomy: which effects happen by themselves, which wait for a person, and which are only proposed.

    careful = Autonomy(tier="act_auto", actions={"fs.delete": "act_with_approval"}, reviewers=["ada"])
    ruling = rule([outer, careful], "audit", Action("remove", "fs.delete"))
    judge(ruling, Standing(tier="act_auto"))          # Judgement(verdict='ask', ...)

Every scope has its word, and the strictest counts: an inner one never allows what one
around it does not. Both functions are pure, and a recorded decision can be made again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar, cast, get_args

import msgspec
from msgspec.structs import replace

from playhead.events.words import JudgedBecause, VerdictWord
from playhead.policy.action import BY_NAME_ONLY, UNKNOWN, Action
from playhead.policy.annotations import words
from playhead.policy.tier import TIERS, Tier, known_tier, strictest

V = TypeVar("V")
N = TypeVar("N", int, float)
DEADLINE_S_MAX: Final = 1e9
"""About thirty years."""
Verdict = VerdictWord
Cause = JudgedBecause
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
"""From the mildest to the strictest."""
_BY_TIER: Final[dict[Tier, Verdict]] = {
    "act_auto": "act",
    "act_with_approval": "ask",
    "suggest": "suggest",
    "shadow": "shadow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Autonomy:
    """What one scope says. What it does not say it leaves to the scopes around it.

    The most specific word counts: that for an agent and an action, then for the agent, then for the action,
    then `tier`. Actions are named as the tool is or by class, and the name of the tool comes first.
    `requires_human` and the like make an effect wait that would happen by itself. `reviewers` None is
    anybody, `quorum` how many of them have to agree, and `deadline_s` how long they have, a day where nobody
    says. `per_hour` and `per_day` bound how often the agent may act by itself, in all runs together, also
    where no scope says a tier.
    `newcomers` is the tier of an agent that nobody has promoted yet.

    Raises `ValueError` for a tier, class or number that is none, and for a quorum that could not be reached.
    """

    tier: Tier | None = None
    actions: Mapping[str, Tier] | None = None
    agents: Mapping[str, Tier] | None = None
    agent_actions: Mapping[str, Mapping[str, Tier]] | None = None
    requires_human: bool = False
    requires_human_actions: Collection[str] = ()
    requires_human_agents: Collection[str] = ()
    reviewers: Collection[str] | None = None
    quorum: int = 1
    deadline_s: float | None = None
    per_hour: int | None = None
    per_day: int | None = None
    newcomers: Tier | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        for tier in (self.tier, self.newcomers):
            if tier is not None:
                known_tier(tier)
        put(self, "actions", _tiers(self.actions, "actions"))
        put(self, "agents", _tiers(self.agents, "agents"))
        by_agent = {
            agent: _tiers(tiers, f"agent_actions of {agent}")
            for agent, tiers in _by_name(self.agent_actions, "agent_actions")
        }
        put(self, "agent_actions", by_agent)
        for name in ("requires_human_actions", "requires_human_agents"):
            put(self, name, tuple(sorted(words(getattr(self, name), name))))
        if self.reviewers is not None:
            put(self, "reviewers", tuple(sorted(words(self.reviewers, "reviewers"))))
        if type(self.quorum) is not int or self.quorum < 1:
            raise ValueError(f"quorum must be positive, not {self.quorum!r}")
        if self.reviewers is not None and len(self.reviewers) < self.quorum:
            raise ValueError(
                f"a quorum of {self.quorum} cannot be reached by {len(self.reviewers)} reviewers"
            )
        for name in ("per_hour", "per_day"):
            most = getattr(self, name)
            if most is not None and (type(most) is not int or most < 0):
                raise ValueError(f"{name} is a number from 0 on, not {most!r}")
        time: Any = self.deadline_s
        if time is not None and (type(time) not in (int, float) or not 0 < time <= DEADLINE_S_MAX):
            raise ValueError(f"deadline_s is a number of seconds above 0, not {time!r}")

    def tier_for(self, agent: str, action: Action) -> tuple[Tier | None, str]:
        """The tier that this scope gives an effect, and the rule that says so; None where none does.

        Of an effect of unknown class the strictest word counts that could be about it.
        """
        mine, every = (self.agent_actions or {}).get(agent, {}), self.actions or {}
        blanket = action.kind not in BY_NAME_ONLY
        rules: list[tuple[Tier | None, str]] = [
            (mine.get(action.name), f"agent_actions[{agent}][{action.name}]"),
            (mine.get(action.kind), f"agent_actions[{agent}][{action.kind}]"),
            ((self.agents or {}).get(agent) if blanket else None, f"agents[{agent}]"),
            (every.get(action.name), f"actions[{action.name}]"),
            (every.get(action.kind), f"actions[{action.kind}]"),
            (self.tier if blanket else None, "tier"),
        ]
        if action.kind == UNKNOWN and action.name not in mine and action.name not in every:
            rules.extend((tier, f"agent_actions[{agent}][{name}]") for name, tier in mine.items())
            rules.extend((tier, f"actions[{name}]") for name, tier in every.items())
            said = [rule for rule in rules if rule[0] is not None]
            tier, why = min(said, key=lambda rule: TIERS.index(rule[0] or "shadow"), default=(None, ""))
            return tier, f"{why}, the strictest word for an effect of unknown class" if tier else ""
        return next((rule for rule in rules if rule[0] is not None), (None, ""))

    def human_for(self, agent: str, action: Action) -> str:
        """The rule that wants a person to agree; "" where none does."""
        blanket = action.kind not in BY_NAME_ONLY
        if self.requires_human and blanket:
            return "requires_human"
        if named := next((n for n in (action.name, action.kind) if n in self.requires_human_actions), ""):
            return f"requires_human_actions[{named}]"
        return f"requires_human_agents[{agent}]" if agent in self.requires_human_agents and blanket else ""

    def bounds(self) -> list[str]:
        """How often an agent may act by itself, as rules that speak."""
        said = (("per_hour", self.per_hour), ("per_day", self.per_day))
        return [f"{name} = {most}" for name, most in said if most is not None]

    def document(self) -> dict[str, Any]:
        """As plain values in one order, for the log."""
        return {
            "tier": self.tier,
            "actions": dict(self.actions or {}),
            "agents": dict(self.agents or {}),
            "agent_actions": {agent: dict(tiers) for agent, tiers in (self.agent_actions or {}).items()},
            "requires_human": self.requires_human,
            "requires_human_actions": list(self.requires_human_actions),
            "requires_human_agents": list(self.requires_human_agents),
            "reviewers": None if self.reviewers is None else list(self.reviewers),
            "quorum": self.quorum,
            "deadline_s": self.deadline_s,
            "per_hour": self.per_hour,
            "per_day": self.per_day,
            "newcomers": self.newcomers,
        }


def autonomy_of(said: Mapping[str, Any]) -> Autonomy:
    """The scope that `document` wrote. Raises `ValueError` for a field that it does not know."""
    known = {each.name for each in fields(Autonomy)}
    unknown = sorted(set(said) - known)
    if unknown:
        raise ValueError(f"autonomy has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return Autonomy(**dict(said))


class Ruling(msgspec.Struct, frozen=True, array_like=True):
    """What all scopes together say of one effect. `tier` None: none of them says anything.

    `because` are the rules that spoke, the outermost scope first. `reviewers` None is anybody but the agent.
    """

    tier: Tier | None = None
    human: bool = False
    reviewers: tuple[str, ...] | None = None
    quorum: int = 1
    deadline_s: float | None = None
    per_hour: int | None = None
    per_day: int | None = None
    newcomers: Tier | None = None
    because: tuple[str, ...] = ()


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """How an agent stands outside of the run: the tier that it was given, and how often it acted by itself.

    `tier` None is no word. `hour` and `day` count what it did in this hour and day of the clock, UTC.
    `promoted`: somebody promoted it once, so it is no newcomer.
    """

    tier: Tier | None = None
    hour: int = 0
    day: int = 0
    promoted: bool = False


NO_WORD: Final = Standing()
"""Of an agent that nobody said anything of, and that did nothing by itself."""


class Judgement(msgspec.Struct, frozen=True, array_like=True):
    """What becomes of an effect, under which tier, and why. `cause` is what settled it."""

    verdict: Verdict
    tier: Tier
    reason: str
    cause: Cause = "tier"


def rule(scopes: Sequence[Autonomy], agent: str, action: Action, within: Sequence[str] = ()) -> Ruling:
    """What `scopes`, the outermost first, say of an effect that `agent` wants to have.

    `within` are the agents whose code called it: what one of them may not do, it may not do through another.
    """
    found = Ruling()
    agents = dict.fromkeys((agent, *within))
    for depth, scope in enumerate(scope for scope in scopes if scope != SILENT):
        tier, why = min(
            (scope.tier_for(each, action) for each in agents), key=lambda said: _strictness(said[0])
        )
        human = next(filter(None, (scope.human_for(each, action) for each in agents)), "")
        told = [f"scope {depth}: {why} = {tier}"] if tier is not None else []
        told += [f"scope {depth}: {human}"] if human else []
        told = told or [f"scope {depth}: {bound}" for bound in scope.bounds()]
        found = Ruling(
            tier=strictest(found.tier, tier),
            human=found.human or bool(human),
            reviewers=_common(found.reviewers, scope.reviewers),
            quorum=max(found.quorum, scope.quorum),
            deadline_s=_least(found.deadline_s, scope.deadline_s),
            newcomers=strictest(found.newcomers, scope.newcomers),
            per_hour=_least(found.per_hour, scope.per_hour),
            per_day=_least(found.per_day, scope.per_day),
            because=(*found.because, *told),
        )
    if action.kind in BY_NAME_ONLY:
        found = replace(found, newcomers=None)
        if found.tier is None and not found.human:
            found = replace(found, per_hour=None, per_day=None)
    if found.reviewers is not None:
        return replace(found, reviewers=tuple(name for name in found.reviewers if name not in agents))
    return found


def _strictness(tier: Tier | None) -> int:
    return len(TIERS) if tier is None else TIERS.index(tier)


def judge(ruling: Ruling, standing: Standing | None) -> Judgement | None:
    """What becomes of an effect; None where nobody said a word, neither a scope nor who trusts the agent.

    `standing` None is an agent of which it is not known how it stands: then nothing happens.
    """
    if standing is None:
        return Judgement("denied", "shadow", "how the agent stands could not be looked up", "look_up")
    newcomer = None if standing.promoted else ruling.newcomers
    trusted = strictest(standing.tier, newcomer)
    bounded = ruling.per_hour is not None or ruling.per_day is not None
    if ruling.tier is None and trusted is None and not ruling.human and not bounded:
        return None
    tier = strictest(ruling.tier, trusted) or "act_auto"
    cause: Cause = "tier"
    reason = "; ".join(ruling.because)
    if trusted is not None and tier != ruling.tier:
        told = "nobody has promoted the agent, and newcomers have" if trusted != standing.tier else ""
        cause, reason = "trust", f"{told or 'the agent is trusted with'} {trusted}"
    verdict = _BY_TIER[tier]
    if verdict == "ask":
        return _asked(ruling, tier, reason, cause)
    if verdict != "act":
        return Judgement(verdict, tier, reason, cause)
    if ruling.human:
        return _asked(ruling, tier, "; ".join(ruling.because), "human")
    for most, spent, bound in (
        (ruling.per_hour, standing.hour, "hour"),
        (ruling.per_day, standing.day, "day"),
    ):
        if most is not None and spent >= most:
            over: Cause = "per_hour" if bound == "hour" else "per_day"
            return _asked(ruling, tier, f"{spent} automatic decisions this {bound}, of {most}", over)
    return Judgement("act", tier, reason, cause)


def _asked(ruling: Ruling, tier: Tier, reason: str, cause: Cause) -> Judgement:
    """Somebody is asked, if there is anybody who could say yes."""
    if ruling.reviewers is not None and len(ruling.reviewers) < ruling.quorum:
        allowed = ", ".join(ruling.reviewers) or "nobody"
        said = f"{reason}; of {ruling.quorum} reviewers all scopes allow only {allowed}"
        return Judgement("denied", tier, said, "reviewers")
    return Judgement("ask", tier, reason, cause)


def _common(one: tuple[str, ...] | None, other: Collection[str] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return one if other is None else tuple(other)
    return tuple(name for name in one if name in other)


def _least(one: N | None, other: N | None) -> N | None:
    return min((most for most in (one, other) if most is not None), default=None)


def _tiers(said: Mapping[str, Tier] | None, what: str) -> dict[str, Tier]:
    return {name: known_tier(tier) for name, tier in _by_name(said, what)}


def _by_name(said: Mapping[str, V] | None, what: str) -> list[tuple[str, V]]:
    """What is said by name, sorted. Raises `ValueError` for what has no names."""
    told: Any = said or {}
    if not isinstance(told, Mapping):
        raise ValueError(f"{what} says something by name, and {told!r} does not")  # noqa: TRY004
    known = cast("Mapping[Any, V]", told)
    if wrong := [name for name in known if not isinstance(name, str) or not name]:
        raise ValueError(f"{what} says something by name, and {wrong[0]!r} is none")
    return sorted(known.items(), key=lambda pair: pair[0])


SILENT: Final = Autonomy()
"""Says nothing. With it every effect is looked up all the same."""
