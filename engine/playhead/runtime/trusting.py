"""Who trusts an agent with what, from any process.

    await engine.demote("audit", "suggest", by="ada", reason="it opened the same issue four times")
    await engine.promote("audit", "act_with_approval", by="ada")

It holds for every effect that is looked up from then on, also in runs that are under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.events.values import encode_value
from playhead.policy.autonomy import Standing
from playhead.policy.tier import Tier
from playhead.runtime import guard
from playhead.runtime.approving import known_name

if TYPE_CHECKING:
    from playhead.events.autonomy import TierChanged
    from playhead.runtime.standings import Standings


class Trusting:
    """The part of an engine that says what agents are trusted with."""

    if TYPE_CHECKING:
        standings: Standings

    async def promote(self, agent: str, tier: Tier, *, by: str, reason: str = "") -> TierChanged:
        """Trust `agent`, the name of a persona, with a higher tier; durable on return.

        It lifts what it was demoted to, and no policy: of several tiers the lowest holds. Raises `BadValue`
        where `tier` is none, or is not above the one it has.
        """
        guard.refuse("engine.promote()")
        said = _checked(by, reason)
        return await self.standings.change(agent, "promote", tier, by=said, reason=reason)

    async def demote(self, agent: str, tier: Tier, *, by: str, reason: str = "") -> TierChanged:
        """Trust `agent` with a lower tier; durable on return.

        Raises `BadValue` where `tier` is none, or is not below the one it has.
        """
        guard.refuse("engine.demote()")
        said = _checked(by, reason)
        return await self.standings.change(agent, "demote", tier, by=said, reason=reason)

    async def standing(self, agent: str) -> Standing:
        """What `agent` is trusted with now; its `tier` is None where nobody said a word."""
        guard.refuse("engine.standing()")
        return (await self.standings.of(agent)).standing


def _checked(by: str, reason: str) -> str:
    encode_value(reason, where="a reason", plain=True)
    return known_name(by, "whoever says so")
