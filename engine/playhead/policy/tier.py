"""The tiers of autonomy, from watching to acting alone.

    shadow < suggest < act_with_approval < act_auto

Under `shadow` an effect is only recorded as what would have been done, under `suggest`
somebody is told of it besides, under `act_with_approval` it waits for a yes, and under
`act_auto` it happens. Where several tiers hold, the lowest does.
"""

from __future__ import annotations

from typing import Final, get_args

from playhead.events.words import TierWord

Tier = TierWord
TIERS: Final[tuple[Tier, ...]] = get_args(Tier)


def known_tier(word: object) -> Tier:
    """`word` as a tier. Raises `ValueError` for anything else."""
    for tier in TIERS:
        if tier == word:
            return tier
    raise ValueError(f"autonomy tier {word!r} is not one of {', '.join(TIERS)}")


def strictest(*tiers: Tier | None) -> Tier | None:
    """The lowest of some tiers; None says nothing, and of nothing comes None."""
    said: list[Tier] = [tier for tier in tiers if tier is not None]
    return min(said, key=TIERS.index) if said else None
