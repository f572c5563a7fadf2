"""A model that knows its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from playhead.runtime.model import Reply


class ScriptedModel:
    """A model client that answers from a list, in order, and remembers what it was asked.

    A line is a text, a `Reply`, an exception to raise, or a function of the request. Asking for more
    lines than there are raises `LookupError`: a replay that asks is caught by it.
    """

    def __init__(
        self, lines: Iterable[str | Reply | Exception | Callable[[Any], Reply]], *, name: str = "scripted"
    ) -> None:
        self.name = name
        self.asked: list[Any] = []
        self._lines = list(lines)

    async def complete(self, request: Any) -> Reply:
        """The next line."""
        self.asked.append(request)
        if len(self.asked) > len(self._lines):
            raise LookupError(f"the model {self.name} has only {len(self._lines)} lines")
        line = self._lines[len(self.asked) - 1]
        if isinstance(line, Exception):
            raise line
        if isinstance(line, str):
            return Reply(text=line, model=self.name)
        return line if isinstance(line, Reply) else line(request)
