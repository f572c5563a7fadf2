"""What is left to look for in a fact of which parts were erased.

    cleared(ToolRequested(tool="fetch", args=Raw(...)))     # the marks are no texts any more

The mark that stands in place of what is gone is not what anybody said. A recorded value holds `ERASED` there:
it is no text, fits no comparison, and says that there was something. In a field of a fact there is nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw

from playhead.events.erasing import MARK, MARK_BYTES
from playhead.events.fact import Fact
from playhead_projections.search.texts import ERASED, as_list, as_members, value_in

F = TypeVar("F", bound=Fact)


def cleared(fact: F) -> F:
    """`fact`, of which parts were erased, without the marks in their place."""
    return cast("F", _struct(fact))


def _struct(value: msgspec.Struct) -> msgspec.Struct:
    defaults = _nothing(type(value))
    told = {name: getattr(value, name) for name in value.__struct_fields__}
    return msgspec.structs.replace(
        value, **{name: defaults[name] if said == MARK else _field(said) for name, said in told.items()}
    )


def _field(value: Any) -> Any:
    """A value of a field, as the field takes it."""
    if isinstance(value, Raw):
        said = value_in(value) if MARK_BYTES in bytes(value) else None
        return value if said is None else Raw(msgspec.msgpack.encode(_marked(said)))
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if (members := as_members(value)) is not None:
        return {key: _field(each) for key, each in members.items() if each != MARK}
    if (listed := as_list(value)) is not None:
        return type(listed)(_field(each) for each in listed if each != MARK)
    return value


def _marked(value: Any) -> Any:
    """A value of the user, with something that is no text in place of each mark."""
    if value == MARK:
        return ERASED
    if (members := as_members(value)) is not None:
        return {key: _marked(each) for key, each in members.items()}
    if (listed := as_list(value)) is not None:
        return [_marked(each) for each in listed]
    return value


@functools.cache
def _nothing(kind: type[msgspec.Struct]) -> Mapping[str, Any]:
    """What a field holds of which nothing is known: None where it may, else an empty text."""
    return {each.name: None if each.default is None else "" for each in msgspec.structs.fields(kind)}
