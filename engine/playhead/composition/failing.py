"""How a call of a tool fails: a category that whoever carried it out decided on, and what it knows besides.

A category is never read out of a message, because a message can say anything. Only for a foreign host that
says nothing else does `cause_in_words` look at one, for whether another attempt makes sense and when.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, cast, get_args

from playhead.clock import SystemClock
from playhead.errors import CallFailed, PlayheadError

CallCategory = Literal[
    "schema_validation",
    "tool_error",
    "mcp_server_error",
    "host_bridge_error",
    "permission_denied",
    "output_too_large",
    "timeout",
    "network",
    "cancelled",
    "unknown",
]

CATEGORIES: Final[tuple[CallCategory, ...]] = get_args(CallCategory)
TRANSIENT: Final[frozenset[str]] = frozenset({"network", "timeout", "mcp_server_error"})
"""What may be over when it is asked for again."""

_TRANSIENT_WORDS: Final = (
    *("429", "503", "retry-after", "rate limit", "rate-limit", "timeout", "timed out", "transient"),
    *("overloaded", "server closed connection", "disconnected", "mcp read error", "mcp write error"),
    "connection reset",
)
_NUMBERS: Final = re.compile(r"(?<!\d)(?:429|503)(?!\d)")
_RETRY_AFTER: Final = re.compile(r"retry-after[:=\s]*([^\n;]{1,40})", re.IGNORECASE)
_DAY_AND_MONTH: Final = re.compile(
    r"\d{1,2}[ -](?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.IGNORECASE
)
DELAY_S_MAX: Final = 86_400.0
_clock: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a call failed. `transient` None: the category says it.

    `retry_after_s` is how long whoever refused the call asked to be left alone, in seconds.
    """

    category: CallCategory
    message: str
    transient: bool | None = None
    retry_after_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def may_pass(self) -> bool:
        """Whether another attempt could do better."""
        return self.category in TRANSIENT if self.transient is None else self.transient


def cause_in_words(category: CallCategory, message: str, *, now: float) -> Cause:
    """The cause of a failure of which a foreign host gave a category and a text, and nothing else.

    `now` is the time in seconds since 1970, for a date in a Retry-After.
    """
    words = message.lower()
    found = any(word in words for word in _TRANSIENT_WORDS if not word.isdigit()) or _NUMBERS.search(words)
    told = _RETRY_AFTER.search(message)
    after = retry_after_s(told.group(1), now=now) if told else None
    return Cause(category, message, transient=category in TRANSIENT or bool(found), retry_after_s=after)


def cause_of(error: BaseException) -> Cause:
    """The cause that an error is. What is not a `CallFailed` has the category of its kind.

    Where a host has no word for why, and says neither whether it may pass nor when, its message is looked at.
    """
    if isinstance(error, CallFailed):
        transient = error.transient if isinstance(error.transient, bool) else None
        category, said = known_category(error.category), (transient, _seconds(error.retry_after_s))
        if category == "unknown" and said == (None, None):
            return cause_in_words(category, error.message, now=_clock.now() / 1e9)
        return Cause(category, error.message, *said)
    kinds: tuple[tuple[type[BaseException], CallCategory], ...] = (
        (TimeoutError, "timeout"),
        (ConnectionError, "network"),
        (PermissionError, "permission_denied"),
    )
    for kind, category in kinds:
        if isinstance(error, kind):
            return Cause(category, _text_of(error))
    return Cause("tool_error", _text_of(error))


def sound(error: Exception) -> Exception:
    """`error`; where its members are not what its type says, one in its place that can be recorded."""
    if not isinstance(error, PlayheadError):
        return error
    try:
        cause, message = cause_of(error), cast("object", error.message)
        if isinstance(message, str):
            return error
        after = cause.retry_after_s
        return CallFailed(
            str(message), category=cause.category, transient=cause.transient, retry_after_s=after
        )
    except Exception:  # noqa: BLE001  what a stranger's error does when it is looked at, it does not do here
        return CallFailed(f"{type(error).__qualname__}: {_text_of(error)}", category="unknown")


def _seconds(said: object) -> float | None:
    """`said` where it is a number, however large; None for anything else."""
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        return None
    try:
        return float(said)
    except OverflowError:
        return math.inf if said > 0 else 0.0


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as unspeakable:  # noqa: BLE001  an error whose text raises has no text
        return f"({type(unspeakable).__qualname__} in its own text)"


def known_category(word: str) -> CallCategory:
    """`word` as a category; `unknown` for any other word."""
    for category in CATEGORIES:
        if category == word:
            return category
    return "unknown"


def retry_after_s(value: str, *, now: float) -> float | None:
    """What a Retry-After header asks for, in seconds from `now`: a count, or an HTTP date. None for neither.

    Source: RFC 9110, section 10.2.3.
    """
    text = value.strip().strip("'\"")
    digits = re.match(r"\d{1,9}(?![\d:])", text)
    if digits is not None and not _DAY_AND_MONTH.match(text):
        return min(float(digits.group()), DELAY_S_MAX)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return min(max(0.0, (when - datetime.fromtimestamp(now, UTC)).total_seconds()), DELAY_S_MAX)
