"""Which sources of nondeterminism a program has: its tape, played twice under different conditions.

    found = examined([first, second], hinted(persona))
    found.verdict, found.sources

Each play is a process of its own, with other hashes, another time zone, other clocks and other
values of what it reads from its environment. It puts down every source that is used and the line
that used it. A source has led to a divergence where it was used since the last event on which
program and tape agreed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from playhead.events.fact import Fact, OutcomeFact
from playhead.replay.causes import hints
from playhead.replay.divergence import Report
from playhead.replay.marking import marked
from playhead.replay.observed import Observer, Sight
from playhead.replay.sources import Kind, Sighting, Watch
from playhead.runtime.persona import Persona

SHIFT_S: Final = 400 * 24 * 3600.0
Verdict = Literal["clean", "sources", "diverged"]
Blame = Literal[
    "led to the divergence", "may have led to the divergence", "harmless so far", "not seen on this tape"
]

# Two sets of conditions that have nothing in common. Time zones lie 26 hours apart: it is never the same day.
CONDITIONS: Final[tuple[Mapping[str, str], ...]] = (
    {"PYTHONHASHSEED": "0", "TZ": "WEST+12", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4242", "TZ": "EAST-14", "LANG": "C", "LC_ALL": "C"},
)


class Play(msgspec.Struct):
    """What one process saw."""

    verdict: str
    matched: int
    sightings: list[Sighting]
    divergence: str | None = None
    event: int | None = None
    site: str | None = None


class Source(msgspec.Struct, frozen=True):
    """A source of nondeterminism, where it is, and what came of it."""

    kind: Kind
    what: str
    file: str
    line: int
    function: str
    times: int
    blame: Blame
    differed: bool | None = None
    """Whether the two plays saw different orders of a set; None where that is not known."""


class Found(msgspec.Struct, frozen=True):
    """What the doctor says."""

    verdict: Verdict
    sources: tuple[Source, ...]
    plays: tuple[Play, ...]


class _Counting(Sight):
    def __init__(self) -> None:
        self.matched = 0
        self.over = False

    def caused(self, seq: int, op: str, fact: Fact) -> None:
        self.matched += 1

    def told(self, seq: int, op: str, fact: OutcomeFact) -> None:
        self.matched += 1

    def diverged(self) -> None:
        self.over = True


async def probe(load: Callable[[], Observer], directory: str, *, shifted: bool) -> Play:
    """Load a program and play its tape in this process, which is never the same afterwards."""
    sight = _Counting()
    watch = Watch(lambda: None if sight.over else sight.matched)
    if shifted:
        watch.shift(SHIFT_S)
    with watch, marked(watch.walked):
        observer = load()
        os.chdir(directory)
        if observer.tape.started.mode == "relaxed":
            outcome = await observer.watch_relaxed(sight)
        else:
            outcome = observer.watch(sight)
    found = outcome.divergence
    return Play(
        verdict=outcome.verdict,
        matched=sight.matched,
        sightings=watch.sightings,
        divergence=None if found is None else str(_without_marks(found)),
        event=None if found is None else found.event,
        site=None if found is None or found.site is None else str(found.site),
    )


def _without_marks(found: Report) -> Report:
    """A report that does not take the marks for changed code."""
    causes = tuple(cause for cause in found.causes if not cause.startswith("the code of "))
    return dataclasses.replace(found, causes=causes)


def hinted(persona: Persona[..., Any]) -> list[Source]:
    """Sources that stand in the code of a persona and its steps, whether its tape leads there or not."""
    return [
        Source(_kind_of(what), what, file, line, function, 0, "not seen on this tape")
        for what, file, line, function in hints(persona)
    ]


def _kind_of(what: str) -> Kind:
    for kind in _KINDS:
        if f"unrecorded {kind}" in what:
            return kind
    return "set order"


_KINDS: Final[tuple[Kind, ...]] = ("time", "chance", "environment")


def examined(plays: Sequence[Play], others: Sequence[Source] = ()) -> Found:
    """What several plays of one tape, and a look at the source, come to."""
    merged: dict[tuple[Kind, str, int], Source] = {}
    orders: dict[tuple[Kind, str, int], set[int]] = {}
    for play in plays:
        for seen in play.sightings:
            key = (seen.kind, seen.file, seen.line)
            orders.setdefault(key, set()).add(seen.order)
            blame = _blame(play, seen)
            known = merged.get(key)
            if known is None or _GRAVITY[blame] > _GRAVITY[known.blame]:
                merged[key] = Source(*key_and_name(seen), seen.times, blame)
    sources = [
        msgspec.structs.replace(source, differed=len(orders[key]) > 1 if key[0] == "set order" else None)
        for key, source in merged.items()
    ]
    places = {(source.file, source.line) for source in sources}
    sources += [hint for hint in others if (hint.file, hint.line) not in places]
    sources.sort(key=lambda each: (-_GRAVITY[each.blame], each.file, each.line))
    diverged = any(play.divergence is not None for play in plays)
    verdict: Verdict = "diverged" if diverged else "sources" if sources else "clean"
    return Found(verdict, tuple(sources), tuple(plays))


def key_and_name(seen: Sighting) -> tuple[Kind, str, str, int, str]:
    """What a sighting says of its source."""
    return seen.kind, seen.what, seen.file, seen.line, seen.function


def _blame(play: Play, seen: Sighting) -> Blame:
    if play.divergence is None:
        return "harmless so far"
    since = [each for each in play.sightings if each.matched == play.matched]
    if seen in since:
        return "led to the divergence"
    return "harmless so far" if since else "may have led to the divergence"


_GRAVITY: Final[dict[Blame, int]] = {
    "led to the divergence": 3,
    "may have led to the divergence": 2,
    "harmless so far": 1,
    "not seen on this tape": 0,
}
