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
from playhead.runtime.standings import Standings, Word

if TYPE_CHECKING:
    from playhead.clock import Clock
    from playhead.events.autonomy import TierChanged
    from playhead.sign import Signer


class Trusting:
    """The part of an engine that says what agents are trusted with."""

    if TYPE_CHECKING:
        standings: Standings
        clock: Clock

    async def promote(
        self, agent: str, tier: Tier, *, by: str, reason: str = "", signer: Signer | None = None
    ) -> TierChanged:
        """Trust `agent`, the name of a persona, with a higher tier; durable on return.

        It lifts what it was demoted to, and no policy: of several tiers the lowest holds. `signer` signs it:
        an engine that was opened with keys promotes by nothing else. Raises `BadValue` where `tier` is not
        above the one it has, and for what is not signed as it has to be; `ValueError` for no tier.
        """
        guard.refuse("engine.promote()")
        return await self.standings.change(agent, "promote", tier, _word(by, reason, signer))

    async def demote(
        self, agent: str, tier: Tier, *, by: str, reason: str = "", signer: Signer | None = None
    ) -> TierChanged:
        """Trust `agent` with a lower tier; durable on return. Raises as `promote`.

        What was demoted without a signature that counts stays demoted.
        """
        guard.refuse("engine.demote()")
        return await self.standings.change(agent, "demote", tier, _word(by, reason, signer))

    async def standing(self, agent: str) -> Standing:
        """What `agent` is trusted with now, and how often it acted by itself where that is bounded.

        Its `tier` is None where nobody said a word.
        """
        guard.refuse("engine.standing()")
        return (await self.standings.of(agent, now=self.clock.now())).standing


def _word(by: str, reason: str, signer: Signer | None) -> Word:
    encode_value(reason, where="a reason", plain=True)
    return Word(known_name(by, "whoever says so"), reason, signer)
