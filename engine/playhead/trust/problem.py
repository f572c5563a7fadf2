"""What is wrong with a record or a file of records: all of it at once, up to a number.

found = Problems()
found.add("/records/3/timestamp", "'yesterday' is no time")
found.listed()          # (Problem(where='/records/3/timestamp', text=…),)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

PROBLEMS_MAX: Final = 100
TEXT_CHARS_MAX: Final = 300


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. `where` is a JSON Pointer into what was looked at."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"at {self.where or 'the top'}: {self.text}"


class Problems:
    """Problems in the order in which they are found. Those beyond the most that are kept are counted."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._all_counted = True
        self.count = 0

    def add(self, where: str, text: str) -> None:
        """Keep one more, cut to a line."""
        self.count += 1
        if len(self._kept) < PROBLEMS_MAX:
            self._kept.append(Problem(cut(where), cut(text)))

    def take(self, found: Iterable[Problem]) -> bool:
        """Keep those that are found, and stop to look where no more can be kept; whether there was any."""
        before = self.count
        for problem in found:
            self.add(problem.where, problem.text)
            if self.count - before > PROBLEMS_MAX:
                self._all_counted = False
                break
        return self.count > before

    def listed(self) -> tuple[Problem, ...]:
        """What is kept, and at the end how many there are besides."""
        more = self.count - len(self._kept)
        said = f"and {more} more" if self._all_counted else f"and at least {more} more"
        return (*self._kept, Problem("", said)) if more else tuple(self._kept)


def cut(text: str) -> str:
    """`text` on one line that is not too long to read, and that can be printed anywhere."""
    line = " ".join(text[: 4 * TEXT_CHARS_MAX].split()).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= TEXT_CHARS_MAX else f"{line[: TEXT_CHARS_MAX - 1]}…"


def step(key: str) -> str:
    """A key as a step of a JSON Pointer."""
    return "/" + key.replace("~", "~0").replace("/", "~1")
