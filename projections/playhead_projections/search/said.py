"""What an event says, member by member, with those that its payload leaves out because they are as usual.

said_by(event)              # {"persona": "audit", "mode": "strict", "name": None, …}
omitted("run.started")      # the texts that may be said without being written
errors_by(event)            # ("failure", "LookupError", "nothing at pages/7"), ("failure.cause", …)
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from playhead.errors import BadEvent
from playhead.events.codec import CATALOG, plain
from playhead.events.composition import CompositionFailed
from playhead.events.fact import Fact, Failure
from playhead.log.envelope import Event
from playhead_projections.accounts import error_in
from playhead_projections.search.texts import as_list, as_members, value_in, words_in

TAG: Final = "type"


def said_by(event: Event) -> Any:
    """The members of `event`, as plain values. Raises `BadEvent` for a payload that nobody can read."""
    try:
        fact = CATALOG.decode(event)
    except BadEvent:
        fact = None
    if isinstance(fact, Fact):
        return {name: _plain(getattr(fact, name)) for name in fact.__struct_fields__}
    said = plain(event)
    members = as_members(said)
    return said if members is None else {key: members[key] for key in members if key != TAG}


def _plain(value: Any) -> Any:
    if isinstance(value, Raw):
        return value_in(value)
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if (members := as_members(value)) is not None:
        return {key: _plain(each) for key, each in members.items()}
    if (listed := as_list(value)) is not None:
        return [_plain(each) for each in listed]
    return value


def errors_by(event: Event) -> Iterator[tuple[str, str, str]]:
    """The place, type and message of each error that `event` records, also of causes and those of a group."""
    try:
        fact = CATALOG.decode(event)
    except BadEvent:
        return
    if isinstance(fact, CompositionFailed) and (error := error_in(fact)) is not None:
        yield "message", error.type, error.message
    left = [
        (name, value)
        for name in (fact.__struct_fields__ if isinstance(fact, Fact) else ())
        if isinstance(value := getattr(fact, name), Failure)
    ]
    while left:
        place, failure = left.pop(0)
        yield place, failure.type, failure.message
        left += [(f"{place}.members[{n}]", one) for n, one in enumerate(failure.members)]
        left += [(f"{place}.cause", failure.cause)] if failure.cause is not None else []


@functools.cache
def may_record_errors(type_: str) -> bool:
    """Whether events of this type may record an error."""
    fact = CATALOG.facts.get(type_)
    return fact is not None and (
        fact is CompositionFailed or Failure in _kinds(msgspec.inspect.type_info(fact))
    )


@functools.cache
def omitted(type_: str) -> frozenset[str]:
    """The texts that an event of this type may say without its payload holding them."""
    fact = CATALOG.facts.get(type_)
    if fact is None:
        return frozenset()
    return frozenset(text for kind in _kinds(msgspec.inspect.type_info(fact)) for text in _defaults(kind))


def _kinds(info: Any) -> Iterator[type[msgspec.Struct]]:
    """Every structure in a type: itself, and those in its fields."""
    left, seen = [info], set[Any]()
    while left:
        one = left.pop()
        if isinstance(one, msgspec.inspect.StructType) and one.cls not in seen:
            seen.add(one.cls)
            yield one.cls
            left += [field.type for field in one.fields]
        for name in ("types", "item_types"):
            left += getattr(one, name, ())
        for name in ("item_type", "key_type", "value_type"):
            left += [inner for inner in (getattr(one, name, None),) if inner is not None]


def _defaults(kind: type[msgspec.Struct]) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        if field.default_factory is not msgspec.NODEFAULT:
            yield from words_in(_plain(field.default_factory()))
        elif field.default is not msgspec.NODEFAULT:
            yield from words_in(_plain(field.default))
