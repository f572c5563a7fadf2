"""From facts to stored bytes and back, also for facts of other times.

A fact written by an older version is lifted, one version at a time, by pure
functions over plain values. A type or version that only a newer playhead knows
is kept as `Unknown`: shown, verified, skipped by folds, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from playhead.errors import BadEvent
from playhead.events.catalog import FACTS
from playhead.events.fact import Fact, type_of
from playhead.log.envelope import Event, NewEvent

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Lifts the plain payload of one version of a type to the next. Pure."""

_encoder: Final = msgspec.msgpack.Encoder()


class Unknown(msgspec.Struct, frozen=True):
    """A fact that this version does not know. `data` is its plain payload, or None where erased."""

    type: str
    version: int
    data: Any


class Erased(msgspec.Struct, frozen=True):
    """What is left of a fact whose payload was erased."""

    type: str
    version: int


class _Decoders(dict[str, "msgspec.msgpack.Decoder[Fact]"]):
    """A decoder for each fact, made when the first event of its type is read: making all of them is slow."""

    def __init__(self, facts: Mapping[str, type[Fact]]) -> None:
        super().__init__()
        self._facts = facts

    def __missing__(self, name: str) -> msgspec.msgpack.Decoder[Fact]:
        decoder: msgspec.msgpack.Decoder[Fact] = msgspec.msgpack.Decoder(self._facts[name])
        self[name] = decoder
        return decoder


class Catalog:
    """The facts one playhead knows, and how to lift the older ones."""

    def __init__(
        self,
        facts: Sequence[type[Fact]],
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
    ) -> None:
        self.facts: dict[str, type[Fact]] = {type_of(fact): fact for fact in facts}
        assert len(self.facts) == len(facts), "two facts share a type"
        self._decoders = _Decoders(self.facts)
        self._upcasters = dict(upcasters or {})
        for name, version in self._upcasters:
            assert version < self.facts[name].VERSION, f"{name}/{version} is not an old version"

    def new_event(self, fact: Fact, *, at: int, op: str = "", cause: int | None = None) -> NewEvent:
        """The event that appends `fact`, encoded once."""
        return NewEvent(type_of(fact), fact.VERSION, at, op, cause, _encoder.encode(fact))

    def decode(self, event: Event) -> Fact | Unknown | Erased:
        """The fact in `event`. Raises `BadEvent` where the payload is not what its type says."""
        if event.payload is None:
            return Erased(event.type, event.version)
        known = self.facts.get(event.type)
        if known is None or event.version > known.VERSION:
            return Unknown(event.type, event.version, plain(event))
        try:
            if event.version == known.VERSION:
                return self._decoders[event.type].decode(event.payload)
            return self._lift(event, known)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise BadEvent(
                f"{event.stream} event {event.seq} cannot be read as {event.type}/{event.version}: {error}.",
                expected=event.type,
                next_step="Run `playhead verify` to see whether the log was damaged.",
            ) from error

    def _lift(self, event: Event, known: type[Fact]) -> Fact:
        data = plain(event)
        for version in range(event.version, known.VERSION):
            upcaster = self._upcasters.get((event.type, version))
            if upcaster is None:
                raise BadEvent(
                    f"{event.stream} event {event.seq}: nothing lifts {event.type}/{version}.",
                    expected=known.VERSION,
                    found=version,
                )
            data = upcaster(data)
        return self._decoders[event.type].decode(_encoder.encode(data))

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of every fact, as one document."""
        facts = [self.facts[name] for name in sorted(self.facts)]
        schemas, components = msgspec.json.schema_components(
            facts, schema_hook=_schema_of_raw, ref_template="#/$defs/{name}"
        )
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "schema": "playhead.schema/1",
            "title": "Events of playhead",
            "oneOf": list(schemas),
            "$defs": components,
            "events": {
                type_of(fact): {
                    "version": fact.VERSION,
                    "of": "program" if fact.PROGRAM else "world",
                    "about": (fact.__doc__ or "").strip(),
                }
                for fact in facts
            },
        }


def _schema_of_raw(kind: type) -> dict[str, Any]:
    if kind is msgspec.Raw:
        return {"description": "a value of the user"}
    raise NotImplementedError(f"no schema for {kind}")


def plain(event: Event) -> Any:
    """The payload of `event` as plain values, for showing. Raises `BadEvent`."""
    if event.payload is None:
        return None
    try:
        return msgspec.msgpack.decode(event.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, ValueError) as error:
        raise BadEvent(f"{event.stream} event {event.seq} is not msgpack: {error}.") from error


CATALOG: Final = Catalog(FACTS)
"""What this version of playhead knows."""
