"""Hours and days of the clock, UTC, in nanoseconds."""

from __future__ import annotations

from typing import Final

HOUR_NS: Final = 3_600 * 1_000_000_000
DAY_NS: Final = 24 * HOUR_NS
