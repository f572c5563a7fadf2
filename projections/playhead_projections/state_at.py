"""State as of any event: which sessions and keys there were, what they held, and who wrote it.

    place = Place.of("notes", "s1")
    keys_at(log, place, position)                    # every key with a value then
    blame(log, place, "plan.json", "/owner")         # the version that gave this place its value
    history(log, place, "plan.json")                 # every version and every conflict

A key is a stream of the log, so the log is its own index: what stood at a position is the
last change at or before it, found by halving and not by folding from the beginning. It is
what a fold of the whole log comes to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from playhead.agent_state.deciding import Standing
from playhead.agent_state.keeping import belongs
from playhead.agent_state.keys import KIND, Place, folded, names_in
from playhead.agent_state.pointer import pointed
from playhead.errors import BadEvent
from playhead.events import state as facts
from playhead.events.catalog import ChildRequested
from playhead.events.codec import CATALOG, Erased
from playhead.events.erasing import MARK, mended
from playhead.events.words import WriterWords
from playhead.log.envelope import Event
from playhead.log.reader import LogReader

STREAMS_MAX: Final = 1_000_000
PAGE_EVENTS: Final = 200
TAIL_EVENTS: Final = 4


class Version(NamedTuple):
    """One accepted change of a key, and the event that says so."""

    root: str
    session: str
    key: str
    version: int
    content: Any
    """None where the key was deleted, and where it was erased or cannot be read."""
    deleted: bool
    erased: bool
    writer: WriterWords
    run: str | None
    op: str | None
    process: str
    at: int
    position: int
    stream: str
    seq: int


class Met(NamedTuple):
    """A change that met another writer's version, or another version than it expected."""

    key: str
    change: Literal["write", "delete"]
    policy: str
    refused: bool
    version: int
    previous: WriterWords
    writer: WriterWords
    expected_version: int | None
    run: str | None
    op: str | None
    process: str
    at: int
    position: int
    seq: int


def sessions(log: LogReader, position: int | None = None) -> list[Place]:
    """All sessions of the log at `position`, or now, in the order in which they were first used."""
    found: dict[Place, None] = {}
    for stream in log.streams(KIND, "", STREAMS_MAX):
        first = next(iter(log.read(stream, 0, 1)), None)
        if first is None or (position is not None and first.position > position):
            continue
        fact = _readable(first)
        if isinstance(fact, _PLACED):
            found[Place(fact.root, fact.session)] = None
    return list(found)


def sessions_of(log: LogReader, run: str, last: int | None = None) -> list[Place]:
    """The sessions that a run and its children asked for up to its event `last`, in the order of asking."""
    until = None
    if last is not None and (positions := log.positions(f"run/{run}", last, 1)):
        until = positions[0]
    found: dict[Place, int] = {}
    runs = [run]
    for each in runs:  # it grows by the children that are met
        for event in _asking(log, each, until):
            fact = _readable(event)
            if isinstance(fact, facts.StateRequested):
                place = Place(fact.root, fact.session)
                found[place] = min(event.position, found.get(place, event.position))
            elif isinstance(fact, ChildRequested) and fact.run not in runs:
                runs.append(fact.run)
    return sorted(found, key=found.__getitem__)


def _asking(log: LogReader, run: str, until: int | None) -> Iterator[Event]:
    """The events of a run that ask for state or for a child, up to the position `until`."""
    start = 0
    while page := log.read(f"run/{run}", start, PAGE_EVENTS, types=("state.requested", "child.requested")):
        for event in page:
            if until is not None and event.position > until:
                return
            yield event
        start = page[-1].seq + 1


def keys_at(log: LogReader, place: Place, position: int | None = None) -> dict[str, Version]:
    """The keys of a session that had a value at `position`, or have one now, sorted by their bytes."""
    live = {one.key: one for one in _standing(log, place, position) if not one.deleted}
    return dict(sorted(live.items(), key=lambda item: item[0].encode()))


def _standing(log: LogReader, place: Place, position: int | None) -> Iterator[Version]:
    """The version that stood in each stream of a session. Most often the last event of a stream says it."""
    prefix = f"{place.stream}/"[len(KIND) + 1 :]
    after = ""
    while page := log.tails(KIND, prefix, after):
        for last in page:
            soon = position is not None and last.position > position
            version = None if soon else _version(last, _readable(last))
            if version is None or version.erased:
                version = version_at(log, last.stream, position)
            if version is not None:
                yield version
        after = page[-1].stream


def key_at(log: LogReader, place: Place, key: str, position: int | None = None) -> Version | None:
    """The version of `key` that stood at `position`, or stands now; None where there was none yet."""
    found = version_at(log, place.stream_of(key), position)
    if found is None:
        return None
    named = found.key == key or (found.erased and found.key == folded(key))
    return found if named else None


def asked_at(log: LogReader, version: Version) -> int | None:
    """The event of the run at which a version was asked for; None where no run did, or it is not here."""
    start = 0
    types = ("state.requested", "tool.requested")
    while page := log.read(f"run/{version.run}", start, PAGE_EVENTS, types=types):
        if (found := next((event.seq for event in page if event.op == version.op), None)) is not None:
            return found
        start = page[-1].seq + 1
    return None


def version_at(log: LogReader, stream: str, position: int | None = None) -> Version | None:
    """The version that stood in a key's stream at `position`; a deleted one is a version too."""
    end = log.head(stream).seq if position is None else log.count_at(stream, position)
    while end > 0:
        start = max(0, end - TAIL_EVENTS)
        page = log.read(stream, start, end - start)
        stands: int | None = None
        for event in reversed(page):
            fact = _readable(event)
            if (version := _version(event, fact)) is not None:
                return _numbered(log, version) if version.erased else version
            if event.type == "state.folder_made":
                return None
            if isinstance(fact, facts.StateConflictDetected):
                stands = fact.stands
        end = start if stands is None else min(start, stands + 1)
    return None


def history(log: LogReader, place: Place, key: str) -> Iterator[Version | Met]:
    """Every version and every conflict of a key, in the order of the log."""
    number = 0
    for event in log.scan(place.stream_of(key)):
        fact = _readable(event)
        version = _version(event, fact)
        if version is not None:
            number = number + 1 if version.erased else version.version
            yield version._replace(version=number)
        elif isinstance(fact, facts.StateConflictDetected):
            yield Met(
                fact.key,
                fact.change,
                fact.policy,
                fact.refused,
                fact.version,
                fact.previous,
                fact.writer,
                fact.expected_version,
                fact.run,
                fact.op,
                fact.process,
                event.at,
                event.position,
                event.seq,
            )


def blame(
    log: LogReader, place: Place, key: str, pointer: str = "", position: int | None = None
) -> Version | None:
    """The version that gave the key, or a place in its value, what it had at `position` or has now.

    Versions that wrote the same there again are not to blame. None where there is no value. One that is
    `erased` may have had it or not, so nobody can tell who gave it. Raises `BadValue` for what is no JSON
    pointer.
    """
    stream = place.stream_of(key)
    found = version_at(log, stream, position)
    if found is None or found.deleted or (found.key != key and not found.erased):
        return None
    value: Any = _NOWHERE
    known: Version | None = None
    for version, left in _backwards(log, stream, found.seq + 1):
        there = _GONE if version.erased else pointed(left, pointer, missing=_NOWHERE)
        if version.deleted or there is _NOWHERE or (known is not None and _differs(there, value)):
            break
        if _holds(there, _GONE):
            return version._replace(erased=True, content=None)
        value, known = there, version
    return known


def _differs(one: Any, other: Any) -> bool:
    """Whether two values are surely two: what is gone of one may have been as the other is."""
    if one is _GONE:
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        mine, theirs = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return mine.keys() != theirs.keys() or any(_differs(mine[name], theirs[name]) for name in mine)
    if isinstance(one, list) and isinstance(other, list):
        ours, yours = cast("list[object]", one), cast("list[object]", other)
        return len(ours) != len(yours) or any(map(_differs, ours, yours))
    return not same(one, other)


def _holds(value: Any, wanted: object) -> bool:
    if isinstance(value, dict):
        return any(_holds(each, wanted) for each in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return any(_holds(each, wanted) for each in cast("list[object]", value))
    return value is wanted


def same(one: Any, other: Any) -> bool:
    """Whether two values are one and the same JSON: 1, 1.0 and true are three."""
    return _packed(one) == _packed(other)


def fold_all(log: LogReader, position: int | None = None) -> dict[str, Standing]:
    """How every key of the log stood at `position`, by folding all of it from the beginning."""
    found: dict[str, Standing] = {}
    after = 0
    while page := log.feed(after):
        for event in page:
            if position is not None and event.position > position:
                return found
            if event.stream.startswith(f"{KIND}/"):
                before = found.get(event.stream, Standing())
                fact = _readable(event) or Erased(
                    event.type, event.version
                )  # one that nobody can read counts
                found[event.stream] = before.after(event.seq, fact)
        after = page[-1].position
    return found


_NOWHERE: Final = object()
_GONE: Final = object()
"""Stands where a part of a value was erased."""
_PLACED: Final = (
    facts.SessionOpened,
    facts.StateWritten,
    facts.StateDeleted,
    facts.StateConflictDetected,
    facts.StateFolderMade,
)
_packed: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def _backwards(log: LogReader, stream: str, end: int) -> Iterator[tuple[Version, Any]]:
    """The versions before event `end`, the newest first, each with what is left of its content."""
    while end > 0:
        start = max(0, end - PAGE_EVENTS)
        for event in reversed(list(mended(log, log.read(stream, start, end - start)))):
            version = _version(event, _readable(event))
            if version is not None:
                yield version, version.content if event.salt is not None else _marked(version.content)
        end = start


def _marked(content: Any) -> Any:
    """A value with what was erased told from a text of the same words."""
    if isinstance(content, dict):
        return {name: _marked(each) for name, each in cast("dict[str, Any]", content).items()}
    if isinstance(content, list):
        return [_marked(each) for each in cast("list[object]", content)]
    return _GONE if content == MARK else content


def _readable(event: Event) -> object:
    try:
        fact = CATALOG.decode(event)
    except BadEvent:  # one that nobody can read hides no other
        return None
    return fact if belongs(event.stream, fact) else None


def _version(event: Event, fact: object) -> Version | None:
    if not isinstance(fact, (facts.StateWritten, facts.StateDeleted)):
        return _gone(event) if event.type in ("state.written", "state.deleted") else None
    written = isinstance(fact, facts.StateWritten)
    return Version(
        fact.root,
        fact.session,
        fact.key,
        fact.version,
        msgspec.msgpack.decode(fact.content) if isinstance(fact, facts.StateWritten) else None,
        not written,
        False,
        fact.writer,
        fact.run,
        fact.op,
        fact.process,
        event.at,
        event.position,
        event.stream,
        event.seq,
    )


def _numbered(log: LogReader, erased: Version) -> Version:
    """An erased version with its number and its names as they were spelt: the versions before it say both."""
    passed = 1
    for earlier, _ in _backwards(log, erased.stream, erased.seq):
        if not earlier.erased:
            return erased._replace(
                version=earlier.version + passed,
                root=earlier.root,
                session=earlier.session,
                key=earlier.key,
            )
        passed += 1
    return erased._replace(version=passed)


def _gone(event: Event) -> Version:
    """What is left of a version that was erased or cannot be read: that it was there, and when."""
    root, session, key = names_in(event.stream)
    return Version(
        root,
        session,
        key,
        0,
        None,
        event.type == "state.deleted",
        True,
        WriterWords(),
        None,
        None,
        "",
        event.at,
        event.position,
        event.stream,
        event.seq,
    )
