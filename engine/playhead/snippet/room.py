"""Room on Python's stack: as much as the deepest snippet takes, whoever calls from however deep.

Nothing here is about the limits of snippets. Those are counted, and are reached long before.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final

FRAMES: Final = 12_000
"""More than a snippet of the greatest height opens, at up to eight frames for each node."""


class Room:
    """Entered, it raises Python's limit on recursion; left, the limit is what it was."""

    __slots__ = ("before",)

    def __init__(self) -> None:
        self.before = 0

    def __enter__(self) -> None:
        self.before = sys.getrecursionlimit()
        sys.setrecursionlimit(self.before + FRAMES)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setrecursionlimit(self.before)
