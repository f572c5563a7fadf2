"""What stands in place of an erased part where a fact cannot hold the mark, so that the rest can be read.

    readable = fitted(kept, ["/usage"], ModelAnswered)     # as if the client had not counted

A text or a value of the user holds the mark itself. Where a number, a flag or a structure was erased, None
stands there if the field can be None, else the default of the field; where it has none, what the field is a
part of is treated so. A fact that cannot be without the part stays unreadable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Raw

from playhead.events.fact import Fact

_NIL: Final = b"\xc0"


class _Inside(NamedTuple):
    """Of what type a member is, and whether it may be left out."""

    kind: Any
    optional: bool


def fitted(kept: bytes, ways: Iterable[Sequence[str]], fact: type[Fact]) -> bytes:
    """`kept` of a fact with something that it can hold at the end of each way. Else it is what it was."""
    for way in ways:
        if _takes(fact, kept):
            break
        found = _fitted(kept, way, fact)
        if found is None:
            break
        kept = found
    return kept


def _fitted(data: bytes, way: Sequence[str], kind: Any) -> bytes | None:
    """`data` with something that fits at the end of the way; None where only leaving it out does."""
    if _takes(kind, data):
        return data
    if not way:
        return _NIL if _takes(kind, _NIL) else None
    inside, members = _inside(kind, way[0]), _members(data)
    if inside is not None and members is not None and way[0] in members:
        found = _fitted(bytes(members[way[0]]), way[1:], inside.kind)
        if found is not None or inside.optional:
            return _with(data, members, way[0], found)
    return _NIL if _takes(kind, _NIL) else None


def _takes(kind: Any, data: bytes) -> bool:
    try:
        msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
        return False
    return True


def _inside(kind: Any, name: str) -> _Inside | None:
    """What stands under a name or index in a value of a type; None where the type has no such member."""
    for each in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        origin, arguments = get_origin(each), get_args(each)
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            if name == each.__struct_config__.tag_field:
                return _Inside(Literal[each.__struct_config__.tag], optional=True)
            for n, field in enumerate(msgspec.structs.fields(each)):
                if each.__struct_config__.array_like:
                    if name == str(n):
                        return _Inside(field.type, optional=False)
                elif name == field.encode_name:
                    return _Inside(field.type, optional=not field.required)
        elif origin is dict:
            return _Inside(arguments[1], optional=True)
        elif origin is list or arguments[1:] == (...,):
            return _Inside(arguments[0], optional=False)
    return None


def _members(data: bytes) -> dict[str, Raw] | None:
    """The members of an object by their names, of a list by their indices; None where there are none."""
    if _takes(dict[str, Raw], data):
        return msgspec.msgpack.decode(data, type=dict[str, Raw])
    if _takes(list[Raw], data):
        return {str(n): each for n, each in enumerate(msgspec.msgpack.decode(data, type=list[Raw]))}
    return None


def _with(data: bytes, members: dict[str, Raw], name: str, value: bytes | None) -> bytes:
    """`data` with another value under `name`, or with none."""
    made = {key: each for key, each in members.items() if key != name or value is not None}
    if value is not None:
        made[name] = Raw(value)
    return msgspec.msgpack.encode(list(made.values()) if _takes(list[Raw], data) else made)
