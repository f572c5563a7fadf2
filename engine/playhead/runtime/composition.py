"""How a composition ended, for the program that asked for it and for the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from playhead.errors import CompositionFailed
from playhead.events.composition import CompositionCause, FailureCategory
from playhead.events.words import SnippetErrorWords
from playhead.snippet.protocol import SnippetError

CATEGORIES: Final[Mapping[CompositionCause, FailureCategory]] = {
    "unsupported_language": "unsupported_language",
    "manifest_changed": "policy_denied",
    "refused": "policy_denied",
    "denied": "policy_denied",
    "tool_failed": "child_tool_error",
    "error": "execution_error",
    "limit": "execution_error",
    "deadline": "timeout",
    "cancelled": "cancelled",
    "engine_error": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """How a composition ended. `cause` is None where it has a result; see docs/composition.md for the words.

    `problems` are what the check found in a snippet that was refused. `steps` are those of the machine, and
    `calls` the tools that were asked for.
    """

    result: Any = None
    stdout: str = ""
    cause: CompositionCause | None = None
    category: FailureCategory | None = None
    message: str = ""
    error: SnippetErrorWords | None = None
    problems: tuple[dict[str, Any], ...] = ()
    steps: int = 0
    calls: int = 0

    @property
    def ok(self) -> bool:
        """Whether the snippet ended with a result."""
        return self.cause is None

    def value(self) -> Any:
        """The result. Raises `CompositionFailed` where there is none."""
        if self.cause is not None:
            place = f" (line {self.error.line} of the snippet)" if self.error and self.error.line else ""
            raise CompositionFailed(
                f"{self.message}{place}", cause=self.cause, category=self.category or "unknown"
            )
        return self.result


def writable(text: str) -> str:
    """`text` as a log can hold it: half a character is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain(said: str | int) -> str | int:
    """A member of a diagnostic as a log can hold it."""
    return writable(said) if isinstance(said, str) else said


def words_of(error: SnippetError) -> SnippetErrorWords:
    """The error of a machine, in the words of the log."""
    return SnippetErrorWords(
        type=error.type, message=error.message, line=error.line, col=error.col, trace=error.trace
    )
