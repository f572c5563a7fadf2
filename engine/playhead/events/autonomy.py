"""Facts about who acted alone, who was stopped, and what became of it.

Before an effect that a scope of autonomy is about, the program looks up how its agent
stands, and decides. A decision and what it leads to at once (a proposal, a request to
people, the intent of the effect, a trust record) are one append. What came of an effect
is a trust record of its own, written when the program is told.

Tiers are changed in a stream of each agent, `trust/AGENT`, and automatic decisions are
counted in another, `autonomy/AGENT`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Raw

from playhead.events.fact import Failure, OutcomeFact, ProgramFact, WorldFact
from playhead.events.words import (
    EnforcementWord,
    GrantWords,
    JudgedBecause,
    TierWord,
    TrustOutcome,
    VerdictWord,
)


class StandingRequested(ProgramFact, frozen=True, tag="standing.requested"):
    """The program wants an effect, and asks how its agent stands. Under an id of its own below the effect's.

    `within` are the agents whose code called it, outermost first: they have to stand as well. Where a bound
    is given, and the effect may happen by itself, the look-up counts it against the bound.
    """

    agent: str
    tool: str
    action: str
    """The class of the effect, such as fs.write."""
    within: tuple[str, ...] = ()
    per_hour: int | None = None
    per_day: int | None = None


class StandingFound(OutcomeFact, frozen=True, tag="standing.found"):
    """How the agent stood: the tier it was given last, and how often it had acted by itself until then.

    `hour` and `day` are of the clock, UTC, and known only where they are bounded. `changed` is the seq of the
    event in the agent's stream that gave the tier, -1 where none did. `promoted` says whether anybody ever
    promoted it.
    """

    tier: TierWord | None = None
    promoted: bool = False
    changed: int = -1
    hour: int = 0
    day: int = 0
    attempt: int = 1


class StandingFailed(OutcomeFact, frozen=True, tag="standing.failed"):
    """How the agent stood could not be found out. Then the effect is denied."""

    failure: Failure
    attempt: int = 1


class AutonomyProposed(ProgramFact, frozen=True, tag="autonomy.proposed"):
    """The effect that the program would have had. It did not happen by itself, and perhaps not at all.

    `digest` is that of the exact call, as an approval of it has it.
    """

    agent: str
    tool: str
    action: str
    args: Raw
    digest: str
    tier: TierWord


class AutonomyDecided(ProgramFact, frozen=True, tag="autonomy.decided"):
    """What becomes of an effect: it acts, waits for people, is only proposed, or is denied.

    `because` are the rules that spoke, the outermost scope first; `cause` is what settled it. `request` is
    the id under which people are asked, "" where nobody is.
    """

    agent: str
    tool: str
    action: str
    verdict: VerdictWord
    tier: TierWord
    cause: JudgedBecause
    reason: str
    because: tuple[str, ...] = ()
    request: str = ""


class TrustRecorded(ProgramFact, frozen=True, tag="trust.recorded"):
    """What became of an effect, for the trust graph: the last word about it, one for each.

    `tool` is what was called, `action` its class; under `autonomy.tier_transition` it is the record that
    nothing more happened by itself. `approver` is who gave the deciding yes, `granted` all who agreed, in
    their order. `reason` says why it was denied, failed or came too late.
    """

    agent: str
    action: str
    tool: str
    outcome: TrustOutcome
    tier: TierWord
    enforcement: EnforcementWord
    approver: str | None = None
    request: str = ""
    quorum: int = 0
    granted: tuple[GrantWords, ...] = ()
    reason: str = ""
    cost_micros: int | None = None
    copied: bool = False
    """Whether a fork has it from its source, where it is evidence already: it began so, or had it ready."""


class TierChanged(WorldFact, frozen=True, tag="trust.tier_changed"):
    """Somebody promoted or demoted an agent. It holds for every effect that is looked up from now on.

    `before` is the tier that the agent was trusted with, and None where nobody had said a word. Where it is
    signed, `signature` is in base64, and `key` is the fingerprint of the key that it was made with.
    """

    agent: str
    action: Literal["promote", "demote"]
    before: TierWord | None
    after: TierWord
    by: str
    reason: str = ""
    signature: str = ""
    key: str = ""

    def parts(self, seq: int) -> tuple[bytes, ...]:
        """What is signed of it as event `seq` of its stream: elsewhere the same words are not signed."""
        said = (self.agent, self.action, self.before or "", self.after, self.by, self.reason, str(seq))
        return tuple(word.encode() for word in said)


class AutonomySpent(WorldFact, frozen=True, tag="autonomy.spent"):
    """An agent is about to act by itself, and it is counted. Before the decision is written in the run.

    `at` of this event is the hour and the day that it counts for.
    """

    agent: str
    run: str
    op: str
