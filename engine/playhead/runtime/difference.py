"""The first difference between a tape and the program as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from playhead.events.fact import NEVER_COMPARED, Fact, Site, type_of


class Recorded(msgspec.Struct, frozen=True):
    """A fact of the tape with the place it stands at."""

    seq: int
    op: str
    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first difference between a tape and the program as it is now.

    `kind`: `missing` (recorded, but the program did not do it), `extra` (the program did what is not
    recorded), `changed` (same place, different content), `unanswered` (an outcome that nobody awaits).
    """

    kind: str
    seq: int | None
    recorded: Recorded | None
    now: tuple[str, Fact] | None
    site: Site | None
    last_match: Recorded | None
    field: str | None = None
    recorded_value: Any = None
    now_value: Any = None
    waiting: tuple[str, ...] = ()


def first_difference(
    recorded: Recorded | None, op: str | None, fact: Fact | None
) -> tuple[str | None, Any, Any]:
    """The first compared field in which two facts differ, with both values."""
    if recorded is None or op is None or fact is None:
        return None, None, None
    if type(recorded.fact) is not type(fact):
        return "type", type_of(recorded.fact), type_of(fact)
    if recorded.op != op:
        return "op", recorded.op, op
    for name in fact.__struct_fields__:
        was, now = getattr(recorded.fact, name), getattr(fact, name)
        if was != now and name not in NEVER_COMPARED:
            return name, was, now
    return None, None, None
