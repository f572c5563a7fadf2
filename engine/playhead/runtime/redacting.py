"""Erasing what should not have been recorded: what goes, what may stay, and where else it stands.

    done = await redact(store, CATALOG, "run/4wq2mzkq7xha", 4, "/args/email", reason="asked to", by="ada")
    for place in done.also: ...       # where the same value stands, too

An erasure without a part takes the whole payload. Of `run.started` it takes what the user gave,
because the rest says which run this is and what bounds it, and so of the other types in `OF_THE_USER`.
What says only what was done and what bounds an agent cannot be erased.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec import Raw

from playhead.agent_state.handoff import is_derived_id
from playhead.errors import BadValue, Conflict, Held, NotFound
from playhead.events.catalog import PayloadErased
from playhead.events.codec import Catalog
from playhead.events.erasing import (
    ERASURES_MAX,
    erasures_in,
    is_plain,
    leaves,
    part_of,
    parts_of,
    pointer_of,
    restored,
    value_of,
    without,
    words_of,
)
from playhead.events.values import encode_value
from playhead.events.words import NOTHING
from playhead.log.erasing import Erasure
from playhead.log.evidence import ERASED_TYPE
from playhead.runtime import guard
from playhead.runtime.needles import OF_THE_USER, Needles, Place, twins, why_not

if TYPE_CHECKING:
    from playhead.log.envelope import Event, NewEvent
    from playhead.log.store import LogStore

PAGE_EVENTS: Final = 1_000
TRIES_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """What an erasure did, or would do.

    `parts` are JSON pointers, none for the whole payload. `already` says that it was gone before, and
    `earlier` who said so then. `also` is where the value stands still. `everywhere` are the events of
    which the same was erased too. `left` says in words where bytes can be found until readers are done.
    """

    stream: str
    seq: int
    type: str
    parts: tuple[str, ...]
    kept: Any = None
    already: bool = False
    earlier: PayloadErased | None = None
    also: tuple[Place, ...] = ()
    everywhere: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    held: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Redacting:
    """The part of an engine that erases."""

    if TYPE_CHECKING:
        store: LogStore
        catalog: Catalog

    async def redact(
        self,
        run: str,
        seq: int,
        part: str = "",
        *,
        reason: str,
        by: str = "",
        everywhere: bool = False,
        dry_run: bool = False,
    ) -> Redacted:
        """Erase the payload of event `seq` of `run`, or the part that a JSON pointer names. Durable then.

        With `everywhere` the same value goes wherever it stands in this store. What was erased is gone: a
        run that is not over cannot go on past it. A crash leaves each event erased or not.
        Raises `NotFound`, `BadValue` for what cannot be erased, and `Held` while somebody runs the run.
        """
        guard.refuse("engine.redact()")
        return await redact(
            self.store,
            self.catalog,
            f"run/{run}",
            seq,
            part,
            reason=reason,
            by=by,
            everywhere=everywhere,
            dry_run=dry_run,
        )


# --- one event ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Stream:
    """One stream as it stands, and what is to go of it, by seq; no parts for all of a payload."""

    name: str
    events: list[Event]
    said: dict[int, PayloadErased]
    wanted: dict[int, tuple[str, ...]] = field(default_factory=dict[int, "tuple[str, ...]"])

    def payload(self, seq: int) -> bytes | None:
        """The payload, or what was kept of it."""
        found = self.events[seq].payload
        if found is None and (said := self.said.get(seq)) is not None and said.parts:
            return bytes(said.kept)
        return found

    def gone(self, seq: int) -> tuple[str, ...]:
        """The parts that are gone by now."""
        said = self.said.get(seq)
        return said.parts if said is not None and self.events[seq].payload is None else ()

    def want(self, seq: int, parts: Iterable[str]) -> bool:
        """Have parts erased as well. False where all of them are gone already. Raises `BadValue`."""
        event, payload = self.events[seq], self.payload(seq)
        if (why := why_not(event)) is not None:
            raise BadValue(f"{self.name}@{seq} is {why}", found=event.type)
        if payload is None:
            return False
        fields, before = _fields_of(payload), frozenset(self.wanted.get(seq, self.gone(seq)))
        wanted = [one for part in parts for one in _parts_of(event, fields, payload, part)]
        new = [one for one in wanted if not _is_under(one, before)]
        if not new:
            return False
        parts_of(payload, new)
        self.wanted[seq] = () if "" in new else _outermost([*before, *new])
        return True

    def new_events(self, catalog: Catalog, reason: str, by: str, at: int) -> list[NewEvent]:
        """What is to be appended for what is wanted."""
        made: list[NewEvent] = []
        words: dict[int | None, list[Event]] = {}
        for event in self.events:
            if event.type == ERASED_TYPE and event.payload is not None:
                words.setdefault(event.cause, []).append(event)
        for seq, parts in sorted(self.wanted.items()):
            payload = self.payload(seq)
            assert payload is not None
            kept = Raw(without(payload, parts) if parts else NOTHING)
            fact = PayloadErased(reason=reason, sender=by, event=seq, parts=parts, kept=kept)
            made.append(catalog.new_event(fact, at=at, op=self.events[seq].op, cause=seq))
            made += [
                catalog.new_event(
                    PayloadErased(reason=reason, sender=by, event=word.seq), at=at, cause=word.seq
                )
                for word in words.get(seq, ())
            ]
        return made


def _parts_of(event: Event, fields: Sequence[str], payload: bytes, part: str) -> list[str]:
    """The parts that go with `part`: a digest of a value lets whoever guesses it make sure."""
    words = words_of(part)
    users = OF_THE_USER.get(event.type)
    if users is None:
        return [part, *(_digests(fields, payload, words[0]) if part else ())]
    if not part:
        return [one for name in fields if name in users for one in _whole(payload, name)]
    if words[0] not in users:
        raise BadValue(
            f"{part} of {event.type} says what this is and what bounds it.",
            expected=" ".join(f"/{name}" for name in users),
            found=part,
        )
    digests = _digests(fields, payload, words[0]) if words[0] == "args" else []
    return [*(_whole(payload, words[0]) if len(words) == 1 else [part]), *digests]


def _digests(fields: Sequence[str], payload: bytes, erased: str) -> list[str]:
    """Digests in a payload that go with a part of its field `erased`, and signatures over such digests."""
    found = [name for name in fields if name in ("digest", "signature") or name.endswith("_digest")]
    if erased in found:
        return []
    if erased == "snippet":
        found += [name for name in fields if name == "snippet_hash"]
    grants: Any = value_of(payload, part_of(payload, "/granted")) if "granted" in fields else None
    listed = cast("list[object]", grants) if isinstance(grants, list) else []
    signed = [n for n, one in enumerate(listed) if isinstance(one, dict) and "signature" in one]
    each = [pointer_of(["granted", n, "signature"]) for n in signed]
    told = leaves(payload) if is_plain(payload) else ()
    ids = [pointer_of(path) for path, leaf in told if is_derived_id(leaf)]
    return [*map(pointer_of, ([name] for name in found)), *each, *ids]


def _whole(payload: bytes, name: str) -> list[str]:
    """What goes with all of a field. One with members keeps its form, so that what is left can be read."""
    if name not in ("metadata", "tags", "prepared"):
        return [pointer_of([name])]
    inside = value_of(payload, part_of(payload, pointer_of([name]))) or ()
    members = range(len(inside)) if name == "tags" else cast("Iterable[object]", inside)
    return [pointer_of([name, member, *(("fact",) if name == "prepared" else ())]) for member in members]


def _fields_of(payload: bytes) -> list[str]:
    try:
        return list(msgspec.msgpack.decode(payload, type=dict[str, Raw]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def _is_under(part: str, others: Collection[str]) -> bool:
    """Whether a part is one of others, or lies inside of one."""
    words = part.split("/")
    return any("/".join(words[:length]) in others for length in range(1, len(words) + 1))


def _outermost(parts: Iterable[str]) -> tuple[str, ...]:
    """The parts without those that lie inside of others."""
    every = frozenset(parts)
    return tuple(sorted(one for one in every if not _is_under(one.rpartition("/")[0], every)))


# --- erasing --------------------------------------------------------------------------------------


async def redact(
    store: LogStore,
    catalog: Catalog,
    stream: str,
    seq: int,
    part: str = "",
    *,
    reason: str,
    by: str = "",
    everywhere: bool = False,
    dry_run: bool = False,
) -> Redacted:
    """What `Engine.redact` promises, of an event of any stream."""
    for what, text in (("a reason", reason), ("who erases", by)):
        encode_value(text, where=what, plain=True)
    if not reason.strip():
        raise BadValue("an erasure has a reason.", expected="why it is erased", found=reason)
    here = await _read(store, catalog, stream)
    if not 0 <= seq < len(here.events):
        raise NotFound(f"{stream} has no event {seq}.", expected=f"0 to {len(here.events) - 1}", found=seq)
    event = here.events[seq]
    if not here.want(seq, [part]):
        scrubbed = () if dry_run else (await store.scrub()).left
        return Redacted(
            stream=stream,
            seq=seq,
            type=event.type,
            parts=here.gone(seq),
            already=True,
            earlier=here.said.get(seq),
            left=scrubbed,
        )
    parts = here.wanted[seq]
    fresh = tuple(one for one in parts if one not in here.gone(seq))
    payload = here.payload(seq)
    assert payload is not None
    needles = Needles(payload, event.type, fresh, stream=stream)
    if needles.inside(reason) or needles.inside(by):
        raise BadValue("the reason holds what is to be erased, and it stays.", expected="a reason without it")
    also = await _also(store, catalog, needles, here)
    known = {place.part for place in also if (place.stream, place.seq) == (stream, seq)}
    also += [
        Place(stream, seq, event.type, twin, "same")
        for twin in twins(payload, event.type, fresh)
        if twin not in known and not _is_under(twin, parts)
    ]
    if needles.in_its_name:
        also.insert(0, Place(stream, seq, event.type, "", "envelope"))
    told = Redacted(
        stream=stream,
        seq=seq,
        type=event.type,
        parts=parts,
        kept=msgspec.msgpack.decode(without(payload, parts), strict=False) if parts else None,
        also=tuple(also),
    )
    if dry_run:
        return told
    del here  # a stream may be large, and is read again to be erased from
    return await _carry_out(store, catalog, told, part, reason, by, everywhere=everywhere)


async def _carry_out(
    store: LogStore, catalog: Catalog, told: Redacted, part: str, reason: str, by: str, *, everywhere: bool
) -> Redacted:
    """Erase: what was named last, because only it says what to look for when this is interrupted."""
    wanted: dict[str, list[tuple[int, str]]] = {}
    for place in told.also if everywhere else ():
        if place.erasable:
            wanted.setdefault(place.stream, []).append((place.seq, place.part))
    mine = [*wanted.pop(told.stream, []), (told.seq, part)]
    done: list[tuple[str, int, tuple[str, ...]]] = []
    held: list[str] = []
    left: tuple[str, ...] = ()
    for name, parts in [*wanted.items(), (told.stream, mine)]:
        try:
            erased, left = await _erase(store, catalog, name, parts, reason, by)
        except Held:
            if name == told.stream:
                raise
            held.append(name)
            continue
        done += [(name, seq, gone) for seq, gone in erased if (name, seq) != (told.stream, told.seq)]
    over = {(name, seq): frozenset(gone or ("",)) for name, seq, gone in done}
    also = [
        place
        for place in told.also
        if not (place.erasable and everywhere and (place.stream not in held))
        or not _is_under(place.part, over.get((place.stream, place.seq), ()))
    ]
    if everywhere:
        also = [p for p in also if (p.stream, p.seq) != (told.stream, told.seq) or not p.erasable]
        if any(
            place.erasable and (place.stream, place.seq) == (told.stream, told.seq) for place in told.also
        ):
            told = await _as_it_stands(store, catalog, told)
    return replace(told, also=tuple(also), everywhere=tuple(done), held=tuple(held), left=left)


async def _as_it_stands(store: LogStore, catalog: Catalog, told: Redacted) -> Redacted:
    """With all that is gone of the event that was named: the value may have stood in it more than once."""
    stream = await _read(store, catalog, told.stream)
    payload, parts = stream.payload(told.seq), stream.gone(told.seq)
    kept = None if payload is None else msgspec.msgpack.decode(payload, strict=False)
    return replace(told, parts=parts, kept=kept)


async def _erase(
    store: LogStore, catalog: Catalog, name: str, parts: Sequence[tuple[int, str]], reason: str, by: str
) -> tuple[list[tuple[int, tuple[str, ...]]], tuple[str, ...]]:
    """Erase parts of events of one stream, all or none; again where the stream grew meanwhile."""
    wanted: dict[int, list[str]] = {}
    for seq, part in parts:
        wanted.setdefault(seq, []).append(part)
    for _ in range(TRIES_MAX):
        stream = await _read(store, catalog, name)
        for seq, those in wanted.items():
            stream.want(seq, those)
        events = stream.new_events(catalog, reason, by, store.clock.now())
        if not events:
            return [], (await store.scrub()).left
        try:
            scrubbed = await store.erase(Erasure(name, len(stream.events), events))
        except Conflict:
            continue
        return sorted(stream.wanted.items()), scrubbed.left
    raise Conflict(name, expected=0, found=0)


async def _read(store: LogStore, catalog: Catalog, name: str) -> _Stream:
    events: list[Event] = []
    while page := await store.read(name, len(events), PAGE_EVENTS):
        events += page
    if not events:
        raise NotFound(f"there is no stream {name}.", next_step="See `playhead runs`.")
    return _Stream(name, events, erasures_in(events, catalog))


async def _also(store: LogStore, catalog: Catalog, needles: Needles, here: _Stream) -> list[Place]:
    """Where the same stands, in all events of the store but for what is to go anyway."""
    found: list[Place] = []
    after = 0
    while needles and (page := await store.feed(after, PAGE_EVENTS)):
        for event in page:
            for place in needles.places(event, catalog):
                mine = place.stream == here.name and place.seq in here.wanted
                gone = here.wanted[place.seq] if mine else ()
                if mine and place.how != "envelope" and (not gone or _is_under(place.part, gone)):
                    continue
                found.append(place)
        after = page[-1].position
    return found


async def first_of(store: LogStore, catalog: Catalog, stream: str) -> Event:
    """The first event of `stream`, with what was kept of it. Raises `IndexError` where there is none."""
    first = (await store.read(stream, 0, 1))[0]
    if first.payload is not None:
        return first
    return restored(
        [first], erasures_in(await store.read(stream, 0, ERASURES_MAX, types=[ERASED_TYPE]), catalog)
    )[0]
