"""Where two trails of one tape part: the lines where they first do, and which of them led to a divergence.

    found = parted(one, other)
    [(each.file, each.line) for each in found if each.led]

A line whose names held the same before, and something else after it, is an origin: what it asked is on no
tape. What differs after a line that read something different comes from there. So from the line in which a
play diverged one can go back to the lines where that began, and all others are innocent of it. What differs
only while a line is under way, as in the order in which a sort asks for its keys, is no origin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from playhead.replay.trail import Row, Stretch, Trail

UNDER_WAY: Final = 2**62
PART_MIN: Final = 6
"""What is shorter stands in others by chance."""
_INSIDE: Final = frozenset({"<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>", "<lambda>"})
"""Functions that are a part of the line that calls them."""

Key = tuple[int, int]
"""A pair of stretches and one of their rows."""


@dataclass(slots=True)
class Origin:
    """A line where two plays part: what each held there, and whether that led to a divergence."""

    file: str
    line: int
    function: str
    one: str
    other: str
    led: bool = False


@dataclass(slots=True)
class _Pair:
    """A stretch of the one trail and the same of the other, as far as they go the same way."""

    number: int
    one: int
    other: int
    around: Key | None
    rows: int = 0
    parts: bool = False
    """Whether they go different ways after the last of those rows."""
    held: dict[str, frozenset[Key]] = field(default_factory=dict[str, frozenset[Key]])
    values: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """What those names held when they were looked at last."""
    same: set[str] = field(default_factory=set[str])
    """Names that held the same when they were looked at."""
    raised: frozenset[Key] = frozenset()
    """Where the error comes from that was raised in the row before, if that differs."""
    told: frozenset[Key] = frozenset()
    """Where what it returned or raised comes from, if that differs."""


def parted(one: Trail, other: Trail, said: tuple[str, str] = ("", "")) -> list[Origin]:
    """The lines where two trails part. `said` is what each play did where it diverged, "" if it did not."""
    return _Comparison(one, other, said).parted()


class _Comparison:
    def __init__(self, one: Trail, other: Trail, said: tuple[str, str]) -> None:
        self.one, self.other, self.said = one, other, said
        self.pairs: list[_Pair] = []
        self.by_one: dict[int, _Pair] = {}
        self.by_other: dict[int, _Pair] = {}
        self.found: dict[Key, Origin] = {}
        self.seen: set[Key] = set()
        self.shared: dict[str, frozenset[Key]] = {}
        """Where values of modules come from."""
        self.differs: dict[str, tuple[str, str]] = {}
        """What they are since then."""
        self.newest: frozenset[Key] = frozenset()
        self.guilty: set[Key] = set()

    def parted(self) -> list[Origin]:
        self._pair_up()
        rows = [(self._row(pair, at).closed or UNDER_WAY, pair.number, at)
                for pair in self.pairs for at in range(pair.rows)]  # fmt: skip
        for _, number, at in sorted(rows):
            self._look(self.pairs[number], at)
        self._blame()
        lines: dict[tuple[str, int], Origin] = {}
        for key in sorted({*self.seen, *self.guilty}):
            origin = self.found[key]
            kept = lines.setdefault((origin.file, origin.line), origin)
            kept.led |= key in self.guilty
        return list(lines.values())

    # ------------------------------------------------------------- what stands beside what

    def _pair_up(self) -> None:
        for path in self.one.roots.keys() & self.other.roots.keys():
            self._beside(self.one.roots[path], self.other.roots[path], None)
        for pair in self.pairs:  # it grows by the calls that are made on the way
            ours, theirs = self._stretches(pair)
            for at in range(min(len(ours.rows), len(theirs.rows))):
                mine, its = ours.rows[at], theirs.rows[at]
                if mine.line != its.line:
                    break
                pair.rows = at + 1
                self._beside(mine.calls, its.calls, (pair.number, at))
            ends = (ours.done and pair.rows == len(ours.rows), theirs.done and pair.rows == len(theirs.rows))
            goes_on = pair.rows < len(ours.rows), pair.rows < len(theirs.rows)
            pair.parts = all(goes_on) or (ends[0] and goes_on[1]) or (ends[1] and goes_on[0])

    def _beside(self, ours: list[int], theirs: list[int], around: Key | None) -> None:
        for one, other in zip(ours, theirs, strict=False):
            mine, its = self.one.stretches[one], self.other.stretches[other]
            if (mine.file, mine.function, mine.first) != (its.file, its.function, its.first):
                return
            pair = _Pair(len(self.pairs), one, other, around)
            self.pairs.append(pair)
            self.by_one[one] = self.by_other[other] = pair

    def _stretches(self, pair: _Pair) -> tuple[Stretch, Stretch]:
        return self.one.stretches[pair.one], self.other.stretches[pair.other]

    def _row(self, pair: _Pair, at: int) -> Row:
        return self.one.stretches[pair.one].rows[at]

    # --------------------------------------------------------------- what comes from where

    def _look(self, pair: _Pair, at: int) -> None:
        """What differs after a row of both, and where that comes from."""
        ours, theirs = self._stretches(pair)
        mine, its = ours.rows[at], theirs.rows[at]
        parts = pair.parts and at == pair.rows - 1
        is_same = mine.before == its.before and mine.after == its.after and mine.result == its.result
        if is_same and not parts:
            pair.same.update(mine.before, mine.after)
            return
        whence = self._read(pair, at)
        pair.same.update(name for name in mine.before if mine.before[name] == its.before.get(name))
        for one in mine.calls:
            if one in self.by_one:
                whence |= self.by_one[one].told
        if at and ours.rows[at - 1].raised:
            whence |= pair.raised
        differ = {
            name: values
            for name in mine.after.keys() | its.after.keys()
            if (values := (_after(mine, name), _after(its, name)))[0] != values[1]
            and self.differs.get(name) != values  # since a call that this line made
        }
        is_end = bool(mine.closed and its.closed)
        told = is_end and mine.result != its.result
        if not (is_end and differ) and not told and not parts:
            return
        shown = next(iter(differ.values()), (mine.result or "", its.result or ""))
        if shown[0] == shown[1]:
            shown = _next(ours, at), _next(theirs, at)
        changed = [*differ.values(), *([(mine.result or "", its.result or "")] if told else [])]
        whence = whence or self._left_by(mine.calls, changed) or self._begins(pair, at, shown)
        for name, values in differ.items():
            self._know(pair, name, values, whence)
        if told or parts:
            pair.told |= whence
        pair.raised = whence if told and mine.raised else frozenset()
        self.newest = whence
        self.seen |= {key for key in whence if self._lasts(key, pair)}

    def _read(self, pair: _Pair, at: int) -> frozenset[Key]:
        """Where what differs before a row comes from; nothing where all is the same."""
        mine, its = (stretch.rows[at] for stretch in self._stretches(pair))
        found: frozenset[Key] = frozenset()
        for name in mine.before.keys() | its.before.keys():
            values = mine.before.get(name, ""), its.before.get(name, "")
            if values[0] == values[1]:
                continue
            known = self.shared.get(name) if ":" in name else pair.held.get(name)
            if known is None and pair.around is not None and ":" not in name and name not in pair.same:
                known = self._handed(pair.around, values)
            known = known or self.newest or self._begins(pair, at, values)
            self._know(pair, name, values, known)
            found |= known
        return found

    def _know(self, pair: _Pair, name: str, values: tuple[str, str], whence: frozenset[Key]) -> None:
        """From here on `name` holds those values, which come from there."""
        if ":" in name:
            self.shared[name], self.differs[name] = whence, values
        else:
            pair.held[name], pair.values[name] = whence, values

    def _handed(self, around: Key, values: tuple[str, str]) -> frozenset[Key]:
        """Where an argument comes from: what the line read that makes the call, or that line itself.

        The end of a `with` reads nothing: then it is a name that holds the very same.
        """
        pair = self.pairs[around[0]]
        found = self._read(pair, around[1])
        if not found:
            alike = (pair.held[name] for name, held in pair.values.items() if held == values)
            found = next(alike, found)
        return found or self._begins(pair, around[1], values)

    def _left_by(self, calls: list[int], changed: list[tuple[str, str]]) -> frozenset[Key]:
        """Where what calls left in what they were handed comes from, as in `self.began = time.time()`.

        `changed` is what is another after them: what they held is a part of that, or was handed in.
        """
        found: frozenset[Key] = frozenset()
        calls = calls if changed else []
        for pair in (self.by_one[one] for one in calls if one in self.by_one and self.by_one[one].held):
            handed: dict[str, bool] = {}
            differs: dict[str, bool] = {}
            ours, theirs = self._stretches(pair)
            for mine, its in zip(ours.rows[: pair.rows], theirs.rows, strict=False):
                for name in mine.before.keys() | mine.after.keys():
                    handed.setdefault(name, name in mine.before)  # else it was made here
                    differs[name] = _after(mine, name) != _after(its, name)
            left = (
                name
                for name, (one, other) in pair.values.items()
                if (handed.get(name) and differs[name])
                or (
                    min(len(one), len(other)) >= PART_MIN
                    and any(one in mine and other in its for mine, its in changed)
                )
            )
            found = found.union(*(pair.held[name] for name in left))
        return found

    def _begins(self, pair: _Pair, at: int, values: tuple[str, str]) -> frozenset[Key]:
        """The row is where it begins; the line around it, where it is a part of that."""
        ours, _ = self._stretches(pair)
        while ours.function.rpartition(".")[2] in _INSIDE and pair.around is not None:
            at, pair = pair.around[1], self.pairs[pair.around[0]]
            ours, _ = self._stretches(pair)
            if read := self._read(pair, at):
                return read
        key = (pair.number, at)
        if key not in self.found:
            self.found[key] = Origin(ours.file, ours.rows[at].line, ours.function, *values)
        return frozenset({key})

    def _lasts(self, key: Key, pair: _Pair) -> bool:
        """Whether what began at `key` differs outside of what that line called."""
        within: Key | None = (pair.number, 0)
        while within is not None:
            here = self.pairs[within[0]]
            if here.around is not None and here.around == key:
                return False
            within = here.around
        return True

    # ------------------------------------------------------------------------- the divergence

    def _blame(self) -> None:
        """From the line in which a play diverged back to where that began."""
        for trail, pairs in ((self.one, self.by_one), (self.other, self.by_other)):
            for stretch, at in trail.here:
                pair = pairs.get(stretch)
                if pair is None:
                    continue
                if at < pair.rows:
                    whence = self._read(pair, at) | self._told_in(pair, at)
                    if not whence and self.said[0] != self.said[1]:
                        whence = self._begins(pair, at, self.said)
                    self.guilty |= whence
                elif pair.parts:
                    self.guilty |= pair.told
                break
            else:
                if self.said[0] != self.said[1]:  # in nobody's call: something ended, and nothing followed
                    parted = {key for pair in self.pairs if pair.parts for key in pair.told}
                    self.guilty |= parted or self.newest

    def _told_in(self, pair: _Pair, at: int) -> frozenset[Key]:
        found: frozenset[Key] = frozenset()
        for one in self._row(pair, at).calls:
            found |= self.by_one[one].told if one in self.by_one else frozenset()
        return found


def _next(stretch: Stretch, at: int) -> str:
    return f"line {stretch.rows[at + 1].line}" if at + 1 < len(stretch.rows) else "the end"


def _after(row: Row, name: str) -> str:
    return row.after.get(name, row.before.get(name, ""))
