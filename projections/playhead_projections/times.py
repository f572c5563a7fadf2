"""Times as people write them, for every option and expression that names one.

time_in("2026-11-26", now)                  # midnight, in UTC
time_in("2026-11-26T09:30:00+01:00", now)
time_in("-2d", now)                         # two days before `now`
"""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import Decimal
from typing import Final

from playhead.errors import BadValue
from playhead.trust.timestamp import instant

S_NS: Final = 1_000_000_000
SPANS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": S_NS,
    "m": 60 * S_NS,
    "h": 3_600 * S_NS,
    "d": 86_400 * S_NS,
    "w": 7 * 86_400 * S_NS,
}
"""Lengths of time in nanoseconds."""
NUMBER: Final = r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))"
SPAN: Final = re.compile(rf"{NUMBER}(?P<unit>ns|us|ms|s|m|h|d|w)", re.ASCII)
EXAMPLES: Final = "2026-11-26, 2026-11-26T09:30:00Z, -2d or now"

LENGTH_MAX: Final = 1_000
"""More characters than that no time has that anybody means."""

_LOOSE: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:[Tt ](?P<clock>\d\d:\d\d)(?P<seconds>:\d\d(?:\.\d+)?)?)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)


def time_in(text: str, now: int) -> int | None:
    """Nanoseconds since the epoch, however far from it; None where `text` is no time.

    A day begins at midnight, and what names no zone is in UTC.
    """
    if text == "now":
        return now
    if len(text) > LENGTH_MAX:
        return None
    if text[:1] in {"-", "+"} and (span := SPAN.fullmatch(text)):
        return now + int(Decimal(span["number"]) * SPANS[span["unit"]])
    match = _LOOSE.fullmatch(text)
    if match is None:
        return None
    clock, seconds, zone = match["clock"] or "00:00", match["seconds"] or ":00", match["zone"] or "Z"
    with suppress(BadValue):
        return instant(f"{match['day']}T{clock}{seconds}{zone}")
    return None
