"""How the time of a run or a step was spent: at work, or waiting, and for whom.

    shares = shared(since, until, [Stretch(10, 30, "work"), Stretch(20, 60, "people")])
    sum(shares.values()) == until - since

Every moment counts once. At work is any moment in which something was carried out; else it waited, for the
first of WAITS that was awaited; else it was the program's own. So the shares add up to the whole, however
much ran side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

WORK: Final[str] = "work"
WAITS: Final[tuple[str, ...]] = ("people", "signals", "children", "retries", "timers")
"""What is waited for, the first that applies."""
AWAY: Final[str] = "away"
PROGRAM: Final[str] = "program"
SHARES: Final[tuple[str, ...]] = (WORK, *WAITS, AWAY, PROGRAM)
_RANK: Final = {name: rank for rank, name in enumerate((WORK, *WAITS, AWAY))}


class Stretch(NamedTuple):
    """Something that went on from one moment to another, and what it counts as."""

    since: int
    until: int
    what: str


def shared(since: int, until: int, stretches: Iterable[Stretch]) -> dict[str, int]:
    """Nanoseconds of each share between two moments. What is carried out while nobody is there counts not."""
    moves: list[tuple[int, int, int]] = []
    for stretch in stretches:
        begin, end = max(stretch.since, since), min(stretch.until, until)
        if begin < end:
            rank = _RANK[stretch.what]
            moves.append((begin, 1, rank))
            moves.append((end, -1, rank))
    moves.sort()
    shares: dict[str, int] = dict.fromkeys(SHARES, 0)
    under_way = [0] * len(_RANK)
    last = since
    for at, step, rank in moves:
        if at > last:
            shares[_share(under_way)] += at - last
            last = at
        under_way[rank] += step
    if until > last:
        shares[_share(under_way)] += until - last
    return shares


def _share(under_way: list[int]) -> str:
    away = under_way[_RANK[AWAY]] > 0
    if under_way[0] and not away:
        return WORK
    for name in WAITS:
        if under_way[_RANK[name]]:
            return name
    return AWAY if away else PROGRAM
