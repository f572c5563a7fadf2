"""Whether one of many texts stands in another one, in time that hardly grows with how many there are.

literals = Literals(["ada", "lovelace"])
"by adaline" in literals                       # True
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T", str, bytes)

FEW: Final = 16
"""So many are looked for one by one, which is quicker."""
START_MAX: Final = 4


class Literals(Generic[T]):
    """Texts to look for, or bytes; none of them is empty."""

    def __init__(self, given: Iterable[T]) -> None:
        self._all: list[T] = list(dict.fromkeys(given))
        self._by_start: dict[T, list[T]] = {}
        self._starts: Any = None
        if len(self._all) > FEW:
            length = min(START_MAX, *map(len, self._all))
            for one in self._all:
                self._by_start.setdefault(one[:length], []).append(one)
            self._starts = _beginning(self._by_start)

    def __contains__(self, text: T) -> bool:
        if self._starts is None:
            return any(one in text for one in self._all)
        for met in self._starts.finditer(text):
            if any(text.startswith(one, met.start()) for one in self._by_start[met[1]]):
                return True
        return False


def _beginning(starts: Iterable[str | bytes]) -> re.Pattern[Any]:
    """A pattern that is met wherever one of these begins, also inside of another one."""
    named = [one if isinstance(one, str) else one.decode("latin-1") for one in starts]
    pattern = f"(?=({_branches(sorted(named))}))"
    is_text = all(isinstance(one, str) for one in starts)
    return re.compile(pattern) if is_text else re.compile(pattern.encode("latin-1"))


def _branches(starts: list[str]) -> str:
    """Alternatives that share what they begin with, so that few of them are tried."""
    if starts == [""]:
        return ""
    inside: dict[str, list[str]] = {}
    for one in starts:
        inside.setdefault(one[0], []).append(one[1:])
    told = [f"{re.escape(first)}{_branches(rest)}" for first, rest in inside.items()]
    return told[0] if len(told) == 1 else f"(?:{'|'.join(told)})"
