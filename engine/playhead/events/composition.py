"""Facts about compositions: the small programs over tools that a model wrote, and how they ended.

The calls in between are tool requests and outcomes like any others, under the composition's id.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Raw, field

from playhead.events.fact import OutcomeFact, ProgramFact, Site
from playhead.events.words import SnippetErrorWords

NO_INPUTS: Final = b"\x80"
"""An empty object in msgpack."""

CompositionCause = Literal[
    "unsupported_language",
    "manifest_changed",
    "refused",
    "denied",
    "tool_failed",
    "error",
    "limit",
    "deadline",
    "cancelled",
    "engine_error",
]
FailureCategory = Literal[
    "unsupported_language",
    "schema_validation",
    "policy_denied",
    "child_tool_error",
    "execution_error",
    "timeout",
    "cancelled",
    "unknown",
]


class ManifestRecorded(ProgramFact, frozen=True, tag="manifest.recorded"):
    """What snippets may call, in full: before the first composition of a run that says its hash."""

    hash: str
    manifest: Raw


class CompositionStarted(ProgramFact, frozen=True, tag="composition.started"):
    """The program began a composition: the whole snippet, what it may call by hash, and its limits.

    `engine` is the machine that runs it. `inputs` are the variables that it begins with. A limit of None is
    none.
    """

    language: str
    engine: str
    snippet: str
    snippet_hash: str
    manifest_hash: str
    ceiling: str
    limits: dict[str, int | None]
    inputs: Raw = field(default_factory=lambda: Raw(NO_INPUTS))
    site: Site | None = None


class CompositionExpired(OutcomeFact, frozen=True, tag="composition.expired"):
    """A composition took longer than it may, counted in the process that runs it. Written before it ends."""

    timeout_ms: int


class CompositionCompleted(ProgramFact, frozen=True, tag="composition.completed"):
    """A snippet ended with a result. `steps` are those of its machine, `calls` those that it asked for."""

    result: Raw
    steps: int
    calls: int
    stdout: str = ""


class CompositionFailed(ProgramFact, frozen=True, tag="composition.failed"):
    """A composition ended without a result. `cause` says why; `category` is a coarser word for others.

    `problems` are what the check of a snippet that was refused had to say.
    """

    cause: CompositionCause
    category: FailureCategory
    message: str
    error: SnippetErrorWords | None = None
    problems: tuple[dict[str, Any], ...] = ()
    steps: int = 0
    calls: int = 0
    stdout: str = ""
