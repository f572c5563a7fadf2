"""Which calls of a composition are tried again, and when.

Whether a call may be repeated at all follows from what its tool declares, once for each call; an idempotency
key among the arguments proves nothing about the server. Whether it is worth it follows from the cause. The
wait follows from tool, arguments and attempt, so that a test can say what to expect, and two calls that
differ do not march in step.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from playhead.composition.failing import Cause
from playhead.composition.manifest import Entry
from playhead.policy.annotations import words
from playhead.policy.effect import EffectClass

MCP_SOURCE: Final = "mcp_server"
DOUBLINGS_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetry:
    """How often a failed call is tried again, and how long to wait, in milliseconds.

    Raises `ValueError` for what is no whole number, and for waits below zero. `max_attempts` below 1 is 1.
    """

    max_attempts: int = 3
    base_delay_ms: int = 100
    max_delay_ms: int = 2_000
    honor_retry_after: bool = True

    def __post_init__(self) -> None:
        for name in ("max_attempts", "base_delay_ms", "max_delay_ms"):
            if type(value := getattr(self, name)) is not int:
                raise ValueError(f"{name} is a whole number, not {value!r}")
        object.__setattr__(self, "max_attempts", max(1, self.max_attempts))
        if self.base_delay_ms < 0 or self.max_delay_ms < 0:
            raise ValueError("the waits of a retry are not negative")

    def another(self, effect: EffectClass, cause: Cause, attempt: int) -> bool:
        """Whether attempt number `attempt`, from 1, is followed by another.

        A call that timed out may still be under way at the server, so only what may be repeated is.
        """
        return attempt < self.max_attempts and effect.repeatable and cause.may_pass

    def delay_ms(self, tool: str, arguments: bytes, attempt: int, cause: Cause | None = None) -> int:
        """How long to wait after failed attempt number `attempt`, from 1.

        `arguments` are the canonical JSON of the call. What a Retry-After asks for is cut at the longest
        wait; otherwise the wait doubles from attempt to attempt, with up to half of it added.
        """
        if self.max_delay_ms == 0:
            return 0
        asked_s = cause.retry_after_s if cause is not None and self.honor_retry_after else None
        if asked_s is not None and not math.isnan(asked_s):
            return round(min(max(asked_s * 1000, 0), self.max_delay_ms))
        base = self.base_delay_ms << min(attempt - 1, DOUBLINGS_MAX)
        if base == 0:
            return 0
        named = tool.encode() + b"\0" + attempt.to_bytes(4, "little") + b"\0" + arguments
        drawn = int.from_bytes(sha256(named).digest()[:8], "little")
        span = max(base // 2, 1)
        return min(base + drawn % (span + 1), self.max_delay_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose word counts: servers whose annotations are believed. `annotations` believes all of them.

    Raises `ValueError` for servers that are one text, and not a list of names.
    """

    servers: Collection[str] = frozenset()
    annotations: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "servers", words(self.servers, "servers"))

    def covers(self, entry: Entry) -> bool:
        return self.annotations or (entry.server is not None and entry.server in self.servers)


def effect_of(entry: Entry, trust: Trust) -> EffectClass:
    """What a crash in the middle of a call means, and so whether it may be repeated.

    A tool of an MCP server may where somebody trusts the server and it hints to read or to be idempotent,
    and not to destroy. Any other tool may where it declares to do no more than read, and to be of a kind
    that reads. What nobody says is `effect`.
    """
    hints, annotations = entry.tool.hints, entry.tool.annotations
    if entry.tool.source == MCP_SOURCE:
        if not trust.covers(entry) or hints.destructive:
            return EffectClass.EFFECT
        if hints.read_only:
            return EffectClass.READ_ONLY
        return EffectClass.IDEMPOTENT if hints.idempotent else EffectClass.EFFECT
    if annotations.side_effect_level in ("none", "read_only") and annotations.reads_only:
        return EffectClass.READ_ONLY
    return EffectClass.IDEMPOTENT if hints.idempotent and not hints.destructive else EffectClass.EFFECT
