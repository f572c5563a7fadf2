"""What an erasure keeps: a payload without some of its parts, and how such a payload is read.

    kept = without(payload, ["/args/email"])     # the same bytes, with a mark in place of the part
    for event in restored(events): ...           # what was kept stands where the payload was

Parts are named by JSON pointers (RFC 6901) into the payload. The bytes of everything else stay as
they are. The mark is plain: no digest of what was there, because whoever has a digest can try out
what is short. So nobody can compare it either: see `playhead.runtime.difference`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

import msgspec

from playhead.errors import BadEvent, BadValue
from playhead.events.catalog import PayloadErased, RunStarted
from playhead.events.codec import CATALOG, Catalog
from playhead.events.fitting import fitted
from playhead.log.envelope import AnyEvent, Event, with_payload
from playhead.log.evidence import ERASED_TYPE

E = TypeVar("E", bound=AnyEvent)

MARK: Final = "playhead:erased"
MARK_BYTES: Final = MARK.encode()
ERASURES_MAX: Final = 1_000_000
_MARKED: Final = msgspec.msgpack.encode(MARK)
_NIL: Final = b"\xc0"


class Part(NamedTuple):
    """A value inside a payload: where it stands by name, and in bytes."""

    pointer: str
    start: int
    end: int


def words_of(pointer: str) -> list[str]:
    """The names on the way of a JSON pointer. Raises `BadValue` for what is none."""
    if pointer and not pointer.startswith("/"):
        raise BadValue(
            f"{pointer!r} names no part.", expected="a JSON pointer, such as /args/name", found=pointer
        )
    return [word.replace("~1", "/").replace("~0", "~") for word in pointer.split("/")[1:]]


def pointer_of(words: Iterable[object]) -> str:
    """The JSON pointer that goes by these names."""
    return "".join("/" + str(word).replace("~", "~0").replace("/", "~1") for word in words)


def part_of(payload: bytes, pointer: str) -> Part:
    """Where the part stands, the first where there are several. Raises `BadValue` as `parts_of` does."""
    return parts_of(payload, [pointer])[0]


def parts_of(payload: bytes, pointers: Iterable[str]) -> list[Part]:
    """Every value that one of the pointers names: names that are spelled alike, as 1 and "1", are one.

    Raises `BadValue` where one of them names nothing, which says how far it leads.
    """
    tree: dict[str | None, Any] = {}  # None: a pointer that ends here
    wanted = dict.fromkeys(pointers)
    if any(wanted) and not is_plain(payload):
        raise BadValue("this payload has no parts that can be told.", next_step="Erase it whole.")
    for pointer in wanted:
        branch = tree
        for word in words_of(pointer):
            branch = branch.setdefault(word, {})
        branch[None] = pointer
    found: list[Part] = []
    waiting = [(tree, 0)]
    while waiting:
        branch, at = waiting.pop()
        if None in branch:
            found.append(Part(branch[None], at, _skip(payload, at)))
        if len(branch) > (None in branch):
            inside = [(branch.get(str(name)), start) for name, start, _ in _members(payload, at)]
            waiting += [(each, start) for each, start in reversed(inside) if each is not None]
    for pointer in wanted.keys() - {part.pointer for part in found}:
        raise _nothing_at(payload, pointer)
    return found


def _nothing_at(payload: bytes, pointer: str) -> BadValue:
    at, path, members = [0], "", list[tuple[str, int]]()
    for word in words_of(pointer):
        members = [(str(name), start) for each in at for name, start, _ in _members(payload, each)]
        at = [start for name, start in members if name == word]
        if not at:
            break
        path = f"{path}/{word}"
    names = [pointer_of([name]) for name, _ in members]
    return BadValue(
        f"there is nothing at {pointer}.",
        expected=" ".join(names[:20]) or "a value with parts",
        found=path or "the whole payload",
    )


def value_of(payload: bytes, part: Part) -> Any:
    """The plain value of a part."""
    return msgspec.msgpack.decode(payload[part.start : part.end])


def without(payload: bytes, pointers: Sequence[str]) -> bytes:
    """`payload` with a mark in place of all that these name. Raises `BadValue` where one names nothing."""
    made, last = b"", 0
    for start, end in sorted({part[1:] for part in parts_of(payload, pointers)}):
        if start >= last:  # else it lies inside of one that is gone already
            made += payload[last:start] + _MARKED
            last = end
    return made + payload[last:]


def leaves(payload: bytes) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Every value without parts, with the way to it."""
    for path, value in _values(payload):
        if not isinstance(value, (dict, list)):
            yield path, value


def is_plain(payload: bytes) -> bool:
    """Whether the values of a payload can be looked at one by one. Those of strangers may be anything."""
    try:
        msgspec.msgpack.decode(payload, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, ValueError):
        return False
    return True


def names(payload: bytes, *, part: bool = False) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Every name of a member of a value, with the way to the value. Those of fields are the catalog's.

    Of a `part` of a payload those of the outermost value are somebody's, too.
    """
    for path, value in _values(payload):
        if (path or part) and isinstance(value, dict):
            for name in cast("dict[object, object]", value):
                yield path, name


def _values(payload: bytes) -> Iterator[tuple[tuple[object, ...], Any]]:
    waiting: list[tuple[tuple[object, ...], Any]] = [((), msgspec.msgpack.decode(payload, strict=False))]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        if isinstance(value, dict):
            waiting.extend(((*path, n), member) for n, member in cast("dict[object, object]", value).items())
        elif isinstance(value, list):
            waiting.extend(((*path, n), member) for n, member in enumerate(cast("list[object]", value)))


# --- msgpack, as far as finding places needs it ---------------------------------------------------

_SIZED: Final = {  # header to bytes of the length, and what comes after it besides
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
_FIXED: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2,
    0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip


def _container(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Where the members begin, how many values they are, and how many a member takes; None for a leaf."""
    head = data[at]
    if head in (0xDC, 0xDE):
        count, begin = int.from_bytes(data[at + 1 : at + 3]), at + 3
    elif head in (0xDD, 0xDF):
        count, begin = int.from_bytes(data[at + 1 : at + 5]), at + 5
    elif 0x80 <= head <= 0x9F:
        count, begin = head & 0x0F, at + 1
    else:
        return None
    each = 2 if head in (0xDE, 0xDF) or 0x80 <= head <= 0x8F else 1
    return begin, count * each, each


def _skip(data: bytes, at: int) -> int:
    """Where the value at `at` ends."""
    left = 1
    while left:
        left -= 1
        found = _container(data, at)
        if found is not None:
            at, more, _ = found
            left += more
            continue
        head = data[at]
        if head in _SIZED:
            size, extra = _SIZED[head]
            at += 1 + size + extra + int.from_bytes(data[at + 1 : at + 1 + size])
        elif 0xA0 <= head <= 0xBF:
            at += 1 + (head & 0x1F)
        else:
            at += 1 + _FIXED.get(head, 0)
    return at


def _members(data: bytes, at: int) -> Iterator[tuple[object, int, int]]:
    """Name or index, start and end of each member; nothing for a value without parts."""
    found = _container(data, at)
    if found is None:
        return
    start, count, each = found
    for n in range(count // each):
        name: object = n
        if each == 2:
            end = _skip(data, start)
            (name,) = msgspec.msgpack.decode(b"\x81" + data[start:end] + _NIL)  # as it is in a mapping
            start = end
        end = _skip(data, start)
        yield name, start, end
        start = end


# --- what was kept --------------------------------------------------------------------------------


def erasures_in(events: Iterable[AnyEvent], catalog: Catalog = CATALOG) -> dict[int, PayloadErased]:
    """The newest word about each erased payload of one stream, by the seq of the event that it was of."""
    found: dict[int, PayloadErased] = {}
    for event in events:
        if event.type == ERASED_TYPE and event.payload is not None:
            fact = catalog.decode(event)
            if isinstance(fact, PayloadErased) and fact.event is not None:
                found[fact.event] = fact
    return found


def restored(
    events: Sequence[E],
    said: Mapping[int, PayloadErased] | None = None,
    catalog: Catalog = CATALOG,
    *,
    to_show: bool = False,
) -> list[E]:
    """`events` of one stream, with what was kept of erased payloads where it is enough to be read.

    `to_show`: what cannot hold the mark holds nothing there. What a program is compared with must not, for
    nobody could tell it from what the program said.
    """
    if all(event.payload is not None for event in events):
        return list(events)
    said = erasures_in(events, catalog) if said is None else said
    return [_restored(event, said.get(event.seq), catalog, to_show=to_show) for event in events]


def _restored(event: E, said: PayloadErased | None, catalog: Catalog, *, to_show: bool) -> E:
    if event.payload is not None or said is None or not said.parts:
        return event
    kept = bytes(said.kept)
    if to_show and (known := catalog.facts.get(event.type)) is not None and event.version == known.VERSION:
        kept = fitted(kept, map(words_of, said.parts), known)
    filled = cast("E", with_payload(event, kept))
    try:
        catalog.decode(filled)
    except BadEvent:
        return event
    return filled


def is_needed(type_: str, catalog: Catalog = CATALOG) -> bool:
    """Whether the program caused what an event of this type holds, or was told it.

    Without that nobody can make sure that it does the same once more.
    """
    known = catalog.facts.get(type_)
    return known is None or known.PROGRAM or known.OUTCOME or known is RunStarted


class Reads(Protocol):
    """What reads a log, as far as is needed here."""

    def read(
        self, stream: str, start: int = 0, limit: int = 1000, *, types: Sequence[str] | None = None
    ) -> list[Event]: ...


def mended(log: Reads, events: Iterable[Event], catalog: Catalog = CATALOG) -> Iterator[Event]:
    """Events of any streams of `log`, with what was kept of erased payloads where it can be shown."""
    said: dict[str, dict[int, PayloadErased]] = {}
    for event in events:
        if event.payload is not None:
            yield event
            continue
        if event.stream not in said:
            said[event.stream] = said_in(log, event.stream, catalog)
        yield _restored(event, said[event.stream].get(event.seq), catalog, to_show=True)


def said_in(log: Reads, stream: str, catalog: Catalog = CATALOG) -> dict[int, PayloadErased]:
    """The newest word about each erased payload of `stream`."""
    return erasures_in(log.read(stream, 0, ERASURES_MAX, types=[ERASED_TYPE]), catalog)
