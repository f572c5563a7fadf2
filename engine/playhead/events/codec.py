"""From facts to stored bytes and back, also for facts of other times.

A fact written by an older version is lifted, one version at a time, by pure
functions over plain values. A type or version that only a newer playhead knows
is kept as `Unknown`: shown, verified, skipped by folds, never dropped.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from playhead.errors import BadEvent
from playhead.events.fact import Fact, type_of
from playhead.events.registry import FACTS
from playhead.log.envelope import AnyEvent, NewEvent

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Lifts the plain payload of one version of a type to the next. Pure."""

_encoder: Final = msgspec.msgpack.Encoder()
_NOT_ITS_TYPE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)
"""What reading bytes fails with that are not what they should be."""


Part = Literal["program", "outcome", "aside", "unread"]
"""What a fact is to a replay: caused by the program, handed to it, or neither; or there is none to be had."""


class Unknown(msgspec.Struct, frozen=True):
    """A fact that this version does not know. `data` is its plain payload, or None where erased."""

    type: str
    version: int
    data: Any


class Erased(msgspec.Struct, frozen=True):
    """What is left of a fact whose payload was erased."""

    type: str
    version: int


class Catalog:
    """The facts one playhead knows, and how to lift the older ones."""

    def __init__(
        self,
        facts: Sequence[type[Fact]],
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
    ) -> None:
        self.facts: dict[str, type[Fact]] = {type_of(fact): fact for fact in facts}
        assert len(self.facts) == len(facts), "two facts share a type"
        self._decoders: dict[str, tuple[int, Callable[[bytes], Fact], Part]] = {}
        """Of the facts of this version, made when the first event of its type is read: all are slow."""
        self._upcasters = dict(upcasters or {})
        for name, version in self._upcasters:
            assert version < self.facts[name].VERSION, f"{name}/{version} is not an old version"
        known = sorted((name, fact.VERSION) for name, fact in self.facts.items())
        self.sum = zlib.crc32(_encoder.encode(known))
        """Of the types and versions that are known here, to tell whether others knew the same."""

    def new_event(self, fact: Fact, *, at: int, op: str = "", cause: int | None = None) -> NewEvent:
        """The event that appends `fact`, encoded once."""
        return NewEvent(type_of(fact), fact.VERSION, at, op, cause, _encoder.encode(fact))

    def decode(self, event: AnyEvent) -> Fact | Unknown | Erased:
        """The fact in `event`. Raises `BadEvent` where the payload is not what its type says."""
        payload = event.payload
        if payload is None:
            return Erased(event.type, event.version)
        met = self._decoders.get(event.type)
        try:
            return self._decode_first(event) if met is None or met[0] != event.version else met[1](payload)
        except _NOT_ITS_TYPE as error:
            raise _unreadable(event, error) from error

    def decoded(self, events: Iterable[AnyEvent]) -> Iterator[tuple[AnyEvent, Any, Part]]:
        """Each of `events`, the fact in it as `decode` gives it, and what it is to a replay.

        For whoever reads many: there is no call for each of them.
        """
        decoders = self._decoders
        for event in events:
            payload = event.payload
            met = decoders.get(event.type)
            if met is not None and payload is not None:
                version, read, part = met
                if version == event.version:
                    try:
                        fact = read(payload)
                    except _NOT_ITS_TYPE as error:
                        raise _unreadable(event, error) from error
                    yield event, fact, part
                    continue
            other = self.decode(event)
            yield event, other, _part_of(type(other)) if isinstance(other, Fact) else "unread"

    def _decode_first(self, event: AnyEvent) -> Fact | Unknown:
        """The fact in an event of a type not met before, of an older version, or of a newer playhead's."""
        known = self.facts.get(event.type)
        if known is None or event.version > known.VERSION:
            return Unknown(event.type, event.version, plain(event))
        decoder = self._decoder_of(known)
        if event.version == known.VERSION:
            assert event.payload is not None
            return decoder(event.payload)
        return decoder(_encoder.encode(self._lifted(event, known)))

    def _decoder_of(self, known: type[Fact]) -> Callable[[bytes], Fact]:
        name = type_of(known)
        if name not in self._decoders:
            decoder = msgspec.msgpack.Decoder(known).decode
            self._decoders[name] = (known.VERSION, decoder, _part_of(known))
        return self._decoders[name][1]

    def _lifted(self, event: AnyEvent, known: type[Fact]) -> dict[str, Any]:
        data: dict[str, Any] = plain(event)
        for version in range(event.version, known.VERSION):
            upcaster = self._upcasters.get((event.type, version))
            if upcaster is None:
                raise BadEvent(
                    f"{event.stream} event {event.seq}: nothing lifts {event.type}/{version}.",
                    expected=known.VERSION,
                    found=version,
                )
            data = upcaster(data)
        return data

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


def _part_of(fact: type[Fact]) -> Part:
    return "program" if fact.PROGRAM else "outcome" if fact.OUTCOME else "aside"


def _unreadable(event: AnyEvent, error: Exception) -> BadEvent:
    return BadEvent(
        f"{event.stream} event {event.seq} cannot be read as {event.type}/{event.version}: {error}.",
        expected=event.type,
        next_step="Run `playhead verify` to see whether the log was damaged.",
    )


def plain(event: AnyEvent) -> Any:
    """The payload of `event` as plain values, for showing. Raises `BadEvent`."""
    if event.payload is None:
        return None
    try:
        return msgspec.msgpack.decode(event.payload)
    except (*_NOT_ITS_TYPE, ValueError) as error:
        raise BadEvent(f"{event.stream} event {event.seq} is not msgpack: {error}.") from error


CATALOG: Final = Catalog(FACTS)
"""What this version of playhead knows."""
