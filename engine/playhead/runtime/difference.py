"""The first difference between a tape and the program as it is now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from playhead.events.approval import ApprovalRequested
from playhead.events.erasing import MARK
from playhead.events.fact import NEVER_COMPARED, Fact, Failure, ProgramFact, Site, type_of


class Gone(ProgramFact, frozen=True, tag="(erased)"):
    """Stands where a fact of the program was erased: of its content only the type is known."""

    type_: str


class Recorded(msgspec.Struct, frozen=True):
    """A fact of the tape with the place it stands at.

    `erased`: `all` of its content, or `part` of it or of what the program was told before.
    """

    seq: int
    op: str
    fact: Fact
    erased: Literal["", "part", "all"] = ""


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
    for name in sorted(fact.__struct_fields__, key=_DERIVED.get(type(fact), ()).__contains__):
        was, now = getattr(recorded.fact, name), getattr(fact, name)
        if was != now and name not in NEVER_COMPARED:
            return name, was, now
    return None, None, None


_DERIVED: Final[dict[type[Fact], tuple[str, ...]]] = {ApprovalRequested: ("request", "digest")}
"""Fields that follow from others, which say more of what differs."""


def agrees(recorded: Recorded, fact: Fact) -> bool:
    """Whether a fact is what was recorded, as far as erasures let anybody tell."""
    if not recorded.erased:
        return False
    if isinstance(recorded.fact, Gone):
        return recorded.fact.type_ == type_of(fact)
    if type(recorded.fact) is not type(fact):
        return False
    return all(
        _alike(_plain(getattr(recorded.fact, name)), _plain(getattr(fact, name)))
        for name in fact.__struct_fields__
        if name not in NEVER_COMPARED
    )


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.msgpack.decode(value, strict=False)
    if isinstance(value, Failure):
        # As two failures are compared: without the lines that they passed through.
        said = (value.type, value.module, value.category, value.message, value.arguments)
        return [*said, [_plain(member) for member in value.members]]
    if isinstance(value, msgspec.Struct):
        return [_plain(getattr(value, name)) for name in value.__struct_fields__]
    return [*value] if type(value) is tuple else value


def _alike(was: Any, now: Any) -> bool:
    """Whether two values are the same where there is no mark of an erasure in one of them."""
    kind: object = was.__class__
    if MARK in [value for value in (was, now) if isinstance(value, str)]:
        return True
    if kind is not now.__class__:
        return bool(was == now)
    if kind is str and MARK in now:
        return re.fullmatch(".*".join(map(re.escape, now.split(MARK))), was, re.DOTALL) is not None
    if kind is dict:
        return bool(was.keys() == now.keys()) and all(_alike(was[key], now[key]) for key in was)
    if kind is list:
        return len(was) == len(now) and all(map(_alike, was, now))
    return bool(was == now)
