"""Times of records, as RFC 3339 texts.

    canonical("2026-04-19T18:42:11.250+00:00")     # '2026-04-19T18:42:11.25Z'
    instant("2026-04-19T20:42:11+02:00")           # nanoseconds since the epoch
    written(clock.now())

The canonical text has a capital T, no fraction where it is zero and no zeros at its end, and a Z where the
offset is zero, also for `-00:00`. Any other offset stays as it is: a time is not moved to UTC. Digits of a
second beyond the ninth are cut off. A leap second, which a month may have at its end in UTC, is the last
nanosecond before it. `t`, `z` and a space instead of the T are read and written as T and Z.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Final

from playhead.errors import BadValue

SECOND_NS: Final = 1_000_000_000
DAY_S: Final = 86_400
DAYS_CACHED: Final = 1_000

_EPOCH: Final = date(1970, 1, 1).toordinal()
_CYCLE_YEARS: Final = 400
_CYCLE_DAYS: Final = 146_097
"""The calendar repeats itself; `date` begins at year 1, and RFC 3339 at year 0."""

# A 29th of February is left to the slow way, which knows the years.
_is_canonical: Final = re.compile(
    r"\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
    r"(?:\.\d{0,8}[1-9])?(?:Z|[+-](?!00:00)(?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
).fullmatch
_ZERO: Final = "+00:00"
_read: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
).fullmatch


def canonical(text: str) -> str:
    """The one text of a time that is hashed. Raises `BadValue` for what is no time with an offset."""
    if _is_canonical(text):
        return text
    if text.endswith(_ZERO) and _is_canonical(short := f"{text[: -len(_ZERO)]}Z"):
        return short
    return _Time(text).text()


def instant(text: str) -> int:
    """When it was, in nanoseconds since the epoch. Raises `BadValue` as `canonical`."""
    if text[-1:] == "Z" and text[:4] != "0000" and _is_canonical(text):
        seconds = _midnight(text[:10]) + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
        return seconds * SECOND_NS + (int(text[20:-1].ljust(9, "0")) if len(text) > 20 else 0)
    return _Time(text).instant()


def written(instant_ns: int) -> str:
    """Nanoseconds since the epoch, as a canonical text in UTC. Raises `BadValue` beyond the year 9999."""
    seconds, fraction = divmod(instant_ns, SECOND_NS)
    days, second = divmod(seconds, DAY_S)
    day = _day(days)
    if not day:
        raise BadValue(f"{instant_ns} nanoseconds since the epoch are in no year that RFC 3339 can write.")
    minutes, second = divmod(second, 60)
    hour, minute = divmod(minutes, 60)
    return f"{day}T{hour:02}:{minute:02}:{second:02}{_fraction(fraction)}Z"


@lru_cache(DAYS_CACHED)
def _day(days: int) -> str:
    """The date so many days after the epoch; "" for one that cannot be written."""
    ordinal = days + _EPOCH + _CYCLE_DAYS
    if not date(_CYCLE_YEARS, 1, 1).toordinal() <= ordinal <= date.max.toordinal() + _CYCLE_DAYS:
        return ""
    # One cycle later for the years before 1, one cycle earlier for those after 9599.
    shift = _CYCLE_YEARS if ordinal <= date.max.toordinal() else 0
    day = date.fromordinal(ordinal if shift else ordinal - _CYCLE_DAYS)
    return f"{day.year - shift:04}-{day.month:02}-{day.day:02}"


@lru_cache(DAYS_CACHED)
def _midnight(day: str) -> int:
    """When a day of the years from 1 on began, in seconds since the epoch."""
    return (date.fromisoformat(day).toordinal() - _EPOCH) * DAY_S


class _Time:
    """A time as it was read."""

    __slots__ = ("day", "fraction", "hour", "minute", "month", "offset", "second", "year")

    def __init__(self, text: str) -> None:
        found = _read(text)
        if found is None:
            raise _no_time(text)
        parts = found.groups()
        self.year, self.month, self.day, self.hour, self.minute, self.second = map(int, parts[:6])
        self.fraction = int((parts[6] or "0")[:9].ljust(9, "0"))
        offset = (int(parts[8]), int(parts[9])) if parts[7] else (0, 0)
        self.offset = (offset[0] * 60 + offset[1]) * (-1 if parts[7] == "-" else 1)
        if (
            not 1 <= self.month <= 12
            or not 1 <= self.day <= _days_of(self.year, self.month)
            or self.hour > 23
            or self.minute > 59
            or self.second > 60
            or offset[0] > 23
            or offset[1] > 59
        ):
            raise _no_time(text)
        if self.second == 60:
            self.second, self.fraction = 59, SECOND_NS - 1
            if not self._ends_a_month():
                raise _no_time(text)

    def text(self) -> str:
        sign, (hours, minutes) = "-" if self.offset < 0 else "+", divmod(abs(self.offset), 60)
        zone = f"{sign}{hours:02}:{minutes:02}" if self.offset else "Z"
        return (
            f"{self.year:04}-{self.month:02}-{self.day:02}T{self.hour:02}:{self.minute:02}:{self.second:02}"
            f"{_fraction(self.fraction)}{zone}"
        )

    def instant(self) -> int:
        return self._seconds() * SECOND_NS + self.fraction

    def _seconds(self) -> int:
        years, days = (_CYCLE_YEARS, _CYCLE_DAYS) if self.year < 1 else (0, 0)
        days = date(self.year + years, self.month, self.day).toordinal() - days - _EPOCH
        return ((days * 24 + self.hour) * 60 + self.minute - self.offset) * 60 + self.second

    def _ends_a_month(self) -> bool:
        """Whether the second is the last one of a month in UTC."""
        utc = written(self._seconds() * SECOND_NS)
        days = _days_of(int(utc[:4]), int(utc[5:7]))
        return utc[8:] == f"{days}T23:59:59Z"


def _days_of(year: int, month: int) -> int:
    return monthrange(year or _CYCLE_YEARS, month)[1]


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""


def _no_time(text: str) -> BadValue:
    shown = repr(text if len(text) <= 60 else f"{text[:60]}…")
    return BadValue(
        f"{shown} is no time.", expected="RFC 3339 with an offset", next_step="Write 2026-04-19T18:42:11Z."
    )
