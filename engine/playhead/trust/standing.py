"""How an agent stands: the tier that people gave it, and how often it acted by itself.

    trusted = Trusted()
    trusted.apply(seq, fact)         # for each event of trust/AGENT
    spent = Spent()
    spent.apply(at, fact)            # for each event of autonomy/AGENT
    spent.this(HOUR_NS, now)

Folds of the two streams of an agent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from playhead.events.autonomy import AutonomySpent, TierChanged
from playhead.events.codec import Erased, Unknown
from playhead.policy.span import DAY_NS, HOUR_NS
from playhead.policy.tier import TIERS, Tier
from playhead.trust.book import DEMOTE, PROMOTE, reason_against_move

_ACTIONS: Final = {"promote": PROMOTE, "demote": DEMOTE}


def reason_against(action: str, before: Tier | None, after: Tier) -> str | None:
    """Why an agent of the tier `before` may not be promoted or demoted to `after`; None where it may.

    `before` None is an agent of which nobody has said a word: it may be given any tier.
    """
    return None if before is None else reason_against_move(_ACTIONS[action], before, after)


@dataclass(slots=True)
class Trusted:
    """The tier that an agent was given; None: nobody gave it one. `changed` is the seq of who did.

    A move in the wrong direction may take away and never gives, and after an event that nobody can read any
    more nothing is left until somebody says a new word.
    """

    tier: Tier | None = None
    promoted: bool = False
    changed: int = -1

    def apply(self, seq: int, fact: object, *, believed: bool = True) -> None:
        """One event of the agent's stream forward. Of who is not `believed` only what takes away counts."""
        if isinstance(fact, (Erased, Unknown)):
            self.tier, self.promoted, self.changed = "shadow", False, seq
        if not isinstance(fact, TierChanged):
            return
        fits = believed and reason_against(fact.action, self.tier, fact.after) is None
        lowers = TIERS.index(fact.after) < TIERS.index(self.tier or TIERS[-1])
        if not fits and not lowers:
            return
        self.tier, self.changed = fact.after, seq
        self.promoted = self.promoted or (fits and fact.action == "promote")


@dataclass(slots=True)
class Spent:
    """How often an agent acted by itself, by the hour and day of the clock, UTC.

    Nothing is forgotten: a clock may go anywhere and come back.
    """

    hours: dict[int, int] = field(default_factory=dict[int, int])
    days: dict[int, int] = field(default_factory=dict[int, int])
    known: dict[tuple[str, str], tuple[int, int]] = field(
        default_factory=dict[tuple[str, str], tuple[int, int]]
    )
    """By run and operation: how many of its hour and of its day came before it."""

    def apply(self, at: int, fact: object) -> None:
        """One event of the agent's stream forward."""
        if not isinstance(fact, AutonomySpent) or (fact.run, fact.op) in self.known:
            return
        hour, day = at // HOUR_NS, at // DAY_NS
        self.known[fact.run, fact.op] = (self.hours.get(hour, 0), self.days.get(day, 0))
        self.hours[hour] = self.hours.get(hour, 0) + 1
        self.days[day] = self.days.get(day, 0) + 1

    def this(self, span_ns: int, now: int) -> int:
        """How often in the hour or the day that `now` lies in."""
        return (self.hours if span_ns == HOUR_NS else self.days).get(now // span_ns, 0)
