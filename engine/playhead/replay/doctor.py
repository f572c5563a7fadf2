"""Which sources of nondeterminism a program has: its tape, played under different conditions.

    found = examined(plays, trails, hinted(persona))
    found.verdict, found.sources

Each play is a process of its own. Two have nothing in common: other hashes, another time zone, other clocks,
other values of what they read from their environment. Where what the lines of the program hold parts, there
is a source, whatever it is; and from the line in which a play diverged one can go back to the sources that
led there. Others have only other hashes: what differs in them as well is the order of a set.

What is known by name is put down when it is used: `playhead.replay.sources`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from playhead.events.fact import Fact, OutcomeFact
from playhead.replay.causes import hints
from playhead.replay.divergence import Report
from playhead.replay.observed import Observer, Sight
from playhead.replay.parting import Origin, parted
from playhead.replay.portrait import portrait
from playhead.replay.sources import Kind, Sighting, Watch
from playhead.replay.trail import BY_IDS, Tracer, Trail
from playhead.runtime.persona import Persona

SHIFT_S: Final = 400 * 24 * 3600.0
SEEDS: Final = ("0", "4242", "17", "99")
"""Of hashes. Where either of two members may come first, all four orders are the same once in eight times."""
Verdict = Literal["clean", "sources", "diverged"]
Blame = Literal[
    "led to the divergence", "may have led to the divergence", "harmless so far", "not seen on this tape"
]

_LED: Final = "led to the divergence"

# Two sets of conditions that have nothing in common. Time zones lie 26 hours apart: it is never the same day.
BASE: Final[Mapping[str, str]] = {"TZ": "WEST+12", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
OTHER: Final[Mapping[str, str]] = {"TZ": "EAST-14", "LANG": "C", "LC_ALL": "C"}


class Play(msgspec.Struct):
    """What one process saw."""

    verdict: str
    matched: int
    sightings: list[Sighting]
    divergence: str | None = None
    event: int | None = None
    site: str | None = None
    did: str = ""
    """What it did where it diverged."""


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
    """Whether plays held different values after that line; None where that is not known."""


class Found(msgspec.Struct, frozen=True):
    """What the doctor says."""

    verdict: Verdict
    sources: tuple[Source, ...]
    plays: tuple[Play, ...]


class Seen(NamedTuple):
    """A play and its trail."""

    play: Play
    trail: Trail


class Counting(Sight):
    """Counts what is matched with the tape, and lets nothing be looked at once the play diverged."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.matched = 0
        self._tracer = tracer
        self.watch = Watch(lambda: self.matched)

    def caused(self, seq: int, op: str, fact: Fact) -> None:
        self.matched += 1

    def told(self, seq: int, op: str, fact: OutcomeFact) -> None:
        self.matched += 1

    def diverged(self) -> None:
        self._tracer.diverged(sys._getframe(1))
        self.watch.stop()  # the report is made next, and what it looks at is not the program's


async def probe(load: Callable[[], Observer], directory: str, *, shifted: bool) -> Seen:
    """Load a program and play its tape in this process, which is never the same afterwards."""
    tracer = Tracer()
    sight = Counting(tracer)
    if shifted:
        sight.watch.shift(SHIFT_S)
    with sight.watch, tracer:
        observer = load()
        tracer.sets = False  # what modules hold matters where the run comes to it
        os.chdir(directory)
        if observer.tape.started.mode == "relaxed":
            outcome = await observer.watch_relaxed(sight)
        else:
            outcome = observer.watch(sight)
    found = outcome.divergence
    play = Play(
        verdict=outcome.verdict,
        matched=sight.matched,
        sightings=sight.watch.sightings,
        divergence=None if found is None else str(found),
        event=None if found is None else found.event,
        site=None if found is None or found.site is None else str(found.site),
        did="" if found is None else _did(found),
    )
    return Seen(play, tracer.trail())


def _did(found: Report) -> str:
    return f"{found.event} {found.kind} {found.now_type} {found.now_op} {portrait(found.now_value)}"


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


# ------------------------------------------------------------------------------ what it comes to


def is_undecided(seen: Sequence[Seen]) -> bool:
    """Whether plays with other hashes only would tell more: there are sets, or what differs has no name."""
    if any(each.trail.sets for each in seen):
        return True
    known = {(each.file, each.line) for one in seen for each in one.play.sightings if _names(each)}
    return any((origin.file, origin.line) not in known for origin in _parted(seen[0], seen[1]))


def examined(seen: Sequence[Seen], others: Sequence[Source] = ()) -> Found:
    """What several plays of one tape, and a look at the source, come to.

    The first two have nothing in common. Any further has the conditions of the first, and other hashes: the
    third those of the second.
    """
    told = _Origins(seen)
    merged: dict[tuple[Kind, str, int], Source] = {}
    for play in (each.play for each in seen):
        for sighting in play.sightings:
            key = (sighting.kind, sighting.file, sighting.line)
            differed = told.differed(sighting.file, sighting.line)
            if not (_names(sighting) or (differed and sighting.kind in ("time", "chance"))):
                continue
            blame = _blame(play, sighting, told)
            known = merged.get(key)
            if known is None or _GRAVITY[blame] > _GRAVITY[known.blame]:
                merged[key] = Source(
                    sighting.kind,
                    sighting.what,
                    sighting.file,
                    sighting.line,
                    sighting.function,
                    sighting.times,
                    blame,
                    differed or None,
                )
    sources = list(merged.values())
    places = {(source.file, source.line) for source in sources}
    sources += [source for source in told.unnamed() if (source.file, source.line) not in places]
    places |= {(source.file, source.line) for source in sources}
    gone_through = {(stretch.file, row.line) for stretch in seen[0].trail.stretches for row in stretch.rows}
    for hint in others:
        place = (hint.file, hint.line)
        if place not in places and not (hint.kind == "set order" and place in gone_through):
            sources.append(hint)
    sources.sort(key=lambda each: (-_GRAVITY[each.blame], each.file, each.line))
    diverged = any(each.play.divergence is not None for each in seen)
    verdict: Verdict = "diverged" if diverged else "sources" if sources else "clean"
    return Found(verdict, tuple(sources), tuple(each.play for each in seen))


def _names(seen: Sighting) -> bool:
    """Whether a sighting is a source by itself. What others use for their own ends shows, or it is none."""
    return seen.direct or seen.kind in ("environment", "unrecorded I/O", "threads")


def _parted(one: Seen, other: Seen) -> list[Origin]:
    return parted(one.trail, other.trail, (one.play.did, other.play.did))


class _Origins:
    """Where plays part, by file and line."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        self._asks = {place: what for each in seen for place, what in each.trail.asks.items()}
        self._by_play = [
            {(each.file, each.line): each for each in _parted(seen[0], other)} for other in seen[1:]
        ]
        self.led = {place for origins in self._by_play for place, origin in origins.items() if origin.led}
        named = {(each.file, each.line) for one in seen for each in one.play.sightings}
        led = ((each.file, each.line, each.what) for each in self.unnamed() if each.blame == _LED)
        self.is_hidden = any((file, line) not in named and what == _NAMELESS for file, line, what in led)
        """Whether a play diverged by what came out of something that nobody can look into."""

    def differed(self, file: str, line: int) -> bool:
        return any((file, line) in origins for origins in self._by_play)

    def unnamed(self) -> list[Source]:
        """All of them, by what they seem to be."""
        found: dict[tuple[str, int], Source] = {}
        for origins in self._by_play:
            for place, origin in origins.items():
                if place not in found:
                    kind, what = self._class_of(place, origin)
                    blame: Blame = _LED if place in self.led else "harmless so far"
                    found[place] = Source(
                        kind, what, origin.file, origin.line, origin.function, 1, blame, differed=True
                    )
        return list(found.values())

    def _class_of(self, place: tuple[str, int], origin: Origin) -> tuple[Kind, str]:
        """What differs with the hashes alone is an order; with the process alone, chance or an address."""
        everything, *hashes = self._by_play
        with_hashes = [origins[place].other for origins in hashes[:1] if place in origins]
        asked = self._asks.get(f"{place[0]}:{place[1]}", [])
        walked = BY_IDS if BY_IDS in asked else _WALKED
        if place not in everything or with_hashes == [everything[place].other]:
            return "set order", walked
        for names, kind in _ASKED:
            named = next((each for each in asked if each.startswith(names)), None)
            if named is not None:
                return kind, named
        if _ADDRESS.sub("", origin.one) == _ADDRESS.sub("", origin.other):
            return "ids", "an address in memory"
        if hashes and not with_hashes and walked != BY_IDS:
            return "environment", ", ".join(asked) or "something that the conditions decide"
        if walked == BY_IDS or sorted(origin.one) == sorted(origin.other):
            return "set order", walked
        return "chance", ", ".join(asked) or _NAMELESS


_NAMELESS: Final = "something that differs in each process"
_WALKED: Final = "iteration over a set"
_ASKED: Final[tuple[tuple[tuple[str, ...], Kind], ...]] = (
    (("sys.argv", "sys.flags", "sys.orig_argv", "sys.platform", "sys.path", "sys.executable"), "environment"),
    (("sys.stdin",), "unrecorded I/O"),
    (("time.", "datetime."), "time"),
)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]+|…[0-9a-f]{8}$")


def _blame(play: Play, seen: Sighting, told: _Origins) -> Blame:
    if (seen.file, seen.line) in told.led:
        return _LED
    if told.led and told.is_hidden and play.divergence is not None:
        return "may have led to the divergence"
    if play.divergence is None or told.led:
        return "harmless so far"
    since = [each for each in play.sightings if each.matched == play.matched]
    if seen in since or not since:
        return "may have led to the divergence"
    return "harmless so far"


_GRAVITY: Final[dict[Blame, int]] = {
    "led to the divergence": 3,
    "may have led to the divergence": 2,
    "harmless so far": 1,
    "not seen on this tape": 0,
}
