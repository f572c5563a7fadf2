"""Where an erased value stands besides: what to look for, and in which places of an event it is found.

    needles = Needles(payload, "tool.completed", ("/result/email",))
    needles.places(event, CATALOG)          # [Place("run/…", 4, "tool.requested", "/args/to", "same")]

What is looked for are the texts of the people whose program it is, names of members that are no names of
fields, moments, and numbers that are hardly there twice by chance, also where they are spelled in a text.
Of a payload that goes whole, playhead's own words are not looked for: they stand everywhere and are nobody's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache, cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast, get_args, get_type_hints

import msgspec

from playhead.errors import BadValue
from playhead.events.catalog import PayloadErased
from playhead.events.codec import CATALOG, Catalog
from playhead.events.erasing import (
    MARK,
    is_plain,
    leaves,
    names,
    part_of,
    parts_of,
    pointer_of,
    value_of,
)
from playhead.events.fact import Failure
from playhead.events.words import SnippetErrorWords
from playhead.log.evidence import ERASED_TYPE
from playhead.runtime.literals import Literals

if TYPE_CHECKING:
    from playhead.log.envelope import Event

PART_CHARS_MIN: Final = 3
WHOLE_CHARS_MIN: Final = 4
NUMBER_MIN: Final = 100_000
NUMBER_MAX: Final = 2**64 - 1
NUMBER_DIGITS_MAX: Final = 20
"""A payload holds none that is larger, or has more."""

OF_THE_USER: Final[Mapping[str, tuple[str, ...]]] = {
    "run.started": ("args", "args_digest", "name", "key", "tags", "prepared"),
    "persona.paused": ("reason", "sender"),
    "persona.resumed": ("sender",),
    "persona.drained": ("reason", "sender"),
    "persona.disabled": ("reason", "sender"),
    "trigger.received": ("args", "subject_key", "source_event_id", "metadata"),
    "trigger.dead_lettered": ("args", "reason"),
    "work.started": ("args",),
}
"""All that may go of some types; the rest says which run it is, what was done already, and what bounds it."""
BOUNDS: Final = frozenset({"autonomy.spent", "trigger.duplicated", "schedules.bound", "schedule.fired",
                           "work.expired", "work.completed", "work.failed", "work.refused"})  # fmt: skip
"""Types that say what an agent may still do: whoever could erase them could give it more."""
VALUES: Final = frozenset({"args", "result", "request", "reply", "value", "content", "answer", "failure",
                           "inputs", "detail", "shown", "manifest", "stdout", "snippet", "reason", "name",
                           "key", "message", "metadata", "error", "problems", "kept",
                           "artifact"})  # fmt: skip
"""Fields that hold what users said. The others are playhead's own words, and stand everywhere."""
OWN_WORDS: Final[Mapping[type, frozenset[str]]] = {
    Failure: frozenset({"type", "module", "category", "site", "trace"}),
    SnippetErrorWords: frozenset({"type", "trace"}),
}
"""Fields of structures in these that are playhead's own all the same. In values of users nothing is."""
PLACES_OF_CODE: Final[Mapping[type, frozenset[str]]] = {
    Failure: frozenset({"site", "trace"}),
    SnippetErrorWords: frozenset({"trace"}),
}
"""Those of them that say which code it was."""
OF_DOCUMENTS: Final = frozenset({"type", "module", "category", "function", "kind", "model", "site", "trace"})
"""Names of playhead's own in what it writes itself: manifests, and problems of compositions."""
SAID_TWICE: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "model.answered": (("/usage", "/reply/usage"), ("/cost_micros", "/reply/cost_micros")),
}
"""Parts of facts that say the same, however small it is."""
OF_GIVERS: Final = frozenset({"examples", "metadata", "default", "enum", "const"})
"""Names under which such a document has what somebody gave to it."""
OF_CHATS: Final = frozenset(
    {"user", "assistant", "system", "developer", "tool", "function", "text", "stop", "end_turn",
     "tool_use", "tool_calls", "tool_result", "message"}
)  # fmt: skip
"""Words that stand in every conversation with a model."""
OF_CODE: Final = frozenset(
    {"site", "module", "persona", "tool", "step", "code", "python", "anyio", "playhead", "client", "type"}
)
"""Fields that say which code it was: a short text stands in them by chance, and nothing of anybody."""

OF_VOCABULARY: Final = frozenset({"attempt.started", "timer.set"})
"""Types whose reason is one of a few words of playhead's own."""
OF_PEOPLE: Final = frozenset({"sender", "reviewer", "by", "principal"})
"""Fields that name people."""
OF_PLAYHEAD: Final = frozenset(
    {
        "none", "read_only", "workspace_write", "process_exec", "network", "desktop_control", "allowed",
        "gated", "denied", "playhead", "handoff_artifact", "max_tokens", "max_usd", "shadow", "suggest",
        "act_with_approval", "act_auto", "human", "persona",
    }
)  # fmt: skip
"""Words of playhead's own that stand in fields of users."""
OF_HANDOFFS: Final = frozenset({"_type", "id", "parent_run_id", "source_persona"})
"""What an artifact of a handoff has from playhead and not from anybody."""

_MADE: Final = re.compile(r"[a-z_]+_[0-9a-f]{24}")
"""Ids of requests and handoffs, which follow from where they were asked for."""
_DIGEST: Final = re.compile(r"(?:[a-z0-9:]+:)?[0-9a-f]{32,128}")


How = Literal["same", "inside", "name", "envelope", "bound"]


class Place(NamedTuple):
    """Where else an erased value stands.

    `how`: it is the `same`, stands `inside` a longer text or is the `name` of a member in what `part` names.
    In the `envelope` of an event, and where it is `bound` to what nobody may erase, it stays.
    """

    stream: str
    seq: int
    type: str
    part: str
    how: How

    @property
    def erasable(self) -> bool:
        return self.how in ("same", "inside", "name")


def why_not(event: Event) -> str | None:
    """Why nothing of `event` can be erased, as the end of a sentence; None where it can."""
    if event.type == ERASED_TYPE:
        return "the record that something was erased; name the event that it is about."
    if event.type in BOUNDS:
        return "what says what was done and what an agent is bound by."
    return None


class Needles:
    """What to look for: texts, names and large numbers of what is erased. `stream` is where that stands."""

    def __init__(self, payload: bytes, type_: str, parts: tuple[str, ...] = (), *, stream: str = "") -> None:
        self.texts: dict[str, bytes] = {}
        self.blobs: set[bytes] = set()
        """Bytes that are no text."""
        self.numbers: dict[int | float, tuple[bytes, ...]] = {}
        """Each with the bytes that a payload can hold it as."""
        self.moments: dict[datetime, bytes] = {}
        """Each with the bytes that a payload holds it as."""
        self._spelled: dict[str, re.Pattern[str]] = {}
        self._keys = frozenset(stream.split("/")[1:]) if stream.startswith("state/") else frozenset[str]()
        self.in_its_name = False
        """Whether one of them is a key of state, which the name of its stream keeps."""
        if not is_plain(payload) or type_ in OF_VOCABULARY:
            return
        known = type_ in CATALOG.facts
        fields: Mapping[str, Any] = _fields_of(CATALOG.facts[type_]) if known else {}
        own = _own(payload, stream) if known and not parts else frozenset[str]()
        own |= OF_CHATS if own and type_ in ("model.called", "model.answered") else frozenset[str]()
        for part, start, end in parts_of(payload, parts or ("",)):
            least = PART_CHARS_MIN if part else WHOLE_CHARS_MIN
            for path, leaf in leaves(payload[start:end]):
                if part or not known or _is_users(fields, path):
                    self._add(leaf, least, own)
            for path, name in names(payload[start:end], part=bool(part)):
                if (part or not known or _is_users(fields, path)) and not str(name).isidentifier():
                    self._add(name, least, own)

    def _add(self, leaf: Any, least: int, own: frozenset[str]) -> None:
        if isinstance(leaf, bytes):
            try:
                leaf = leaf.decode()
            except UnicodeDecodeError:
                if len(leaf) >= least:
                    self.blobs.add(leaf)
                    self._spell(repr(leaf)[2:-1])
                return
        if isinstance(leaf, str):
            if len(leaf) < least or MARK in leaf:
                return
            if leaf in own or (own and _MADE.fullmatch(leaf)):
                self.in_its_name |= leaf in self._keys
                return
            for spelled in (leaf, *_escaped(leaf)):
                self._spell(spelled)
            digits = leaf.isascii() and leaf.isdecimal() and len(leaf) <= NUMBER_DIGITS_MAX
            if digits and _is_telling(number := int(leaf)) and number <= NUMBER_MAX:
                self.numbers[number] = _written(number)
        elif isinstance(leaf, datetime):
            self.moments[leaf] = msgspec.msgpack.encode(leaf)
            for spelled in (str(leaf), leaf.isoformat(), leaf.isoformat().replace("+00:00", "Z"), repr(leaf)):
                self._spell(spelled)
        elif _is_telling(leaf):
            self.numbers[leaf] = _written(leaf)
            for spelled in {str(leaf), str(leaf).removesuffix(".0")}:
                self._spelled[spelled] = re.compile(rf"(?<![0-9.]){re.escape(spelled)}(?![0-9])")

    def _spell(self, text: str) -> None:
        """One more text to look for."""
        self.texts[text] = text.encode("utf-8", "surrogatepass")

    def __bool__(self) -> bool:
        return bool(self.texts or self.numbers or self.blobs)

    def inside(self, text: str) -> bool:
        """Whether one of the texts, or a number as it is spelled, stands in `text`."""
        return text in self._texts or any(
            number in text and pattern.search(text) for number, pattern in self._spelled.items()
        )

    def places(self, event: Event, catalog: Catalog) -> list[Place]:
        """Where in `event` one of them stands."""
        found: dict[tuple[int, str, How], Place] = {}

        def at(part: str, how: How) -> None:
            found.setdefault((event.seq, part, how), Place(event.stream, event.seq, event.type, part, how))

        if self.inside(event.op) or self.inside(event.stream):
            at("", "envelope")
        payload = event.payload
        if payload is None or payload not in self._bytes:
            return list(found.values())
        kept = _kept_in(event, catalog)
        for place in self.places(kept, catalog) if kept is not None else ():
            if place.how != "envelope":  # told of the event itself
                found[place.seq, place.part, place.how] = place
        bound, users = why_not(event) is not None, OF_THE_USER.get(event.type)
        for path, how in self._hits(payload, event.type):
            if kept is not None and path[:1] == ("kept",):
                continue
            stays = bound or (users is not None and (not path or path[0] not in users))
            at(pointer_of(path), "bound" if stays else how)
        return list(found.values())

    @cached_property
    def _texts(self) -> Literals[str]:
        return Literals(self.texts)

    @cached_property
    def _in_bytes(self) -> Literals[bytes]:
        return Literals((*self.texts.values(), *self.blobs))

    @cached_property
    def _bytes(self) -> Literals[bytes]:
        """What stands in any payload in which something can be found."""
        numbers = (form for forms in self.numbers.values() for form in forms)
        spelled = (number.encode() for number in self._spelled)
        return Literals((*self.texts.values(), *self.blobs, *self.moments.values(), *numbers, *spelled))

    def _hits(self, payload: bytes, type_: str) -> Iterator[tuple[tuple[object, ...], How]]:
        if not is_plain(payload):
            yield (), "inside"
            return
        fields: Mapping[str, Any] = _fields_of(CATALOG.facts[type_]) if type_ in CATALOG.facts else {}
        for path, leaf in leaves(payload):
            how = self._how(leaf)
            if how is None or _is_code(fields, path) or (how == "inside" and _is_digest(path, leaf)):
                continue
            yield path, how
        for path, name in names(payload):
            if self._how(name) is not None:
                yield path, "name"

    def _how(self, leaf: Any) -> How | None:
        if isinstance(leaf, (bytes, bytearray)):
            return "inside" if bytes(leaf) in self._in_bytes else None
        if isinstance(leaf, str):
            return "same" if leaf in self.texts else "inside" if self.inside(leaf) else None
        if isinstance(leaf, datetime):
            return "same" if leaf in self.moments else None
        return "same" if _is_telling(leaf) and leaf in self.numbers else None


def _kept_in(event: Event, catalog: Catalog) -> Event | None:
    """The event that a record of an erasure is about, with what was kept of it; None for any other event."""
    fact = catalog.decode(event) if event.type == ERASED_TYPE else None
    if not isinstance(fact, PayloadErased) or fact.event is None:
        return None
    kept = bytes(fact.kept)
    told: Any = msgspec.msgpack.decode(kept, strict=False) if is_plain(kept) else None
    tag = cast("dict[str, Any]", told).get("type") if isinstance(told, dict) else None
    return event._replace(seq=fact.event, type=tag if isinstance(tag, str) else "", payload=kept)


def twins(payload: bytes, type_: str, parts: tuple[str, ...]) -> list[str]:
    """Where a payload says once more, as playhead wrote it there, what stands in one of its parts.

    Such numbers are small, and nothing to look for anywhere else.
    """
    found: list[str] = []
    for one, other in SAID_TWICE.get(type_, ()):
        for here, there in ((one, other), (other, one)):
            for part in parts:
                twin = f"{there}{part[len(here) :]}"
                if f"{part}/".startswith(f"{here}/") and _value_at(payload, twin) == _value_at(payload, part):
                    found.append(twin)
    return found


def _value_at(payload: bytes, pointer: str) -> Any:
    try:
        return value_of(payload, part_of(payload, pointer))
    except BadValue:
        return None


def _is_telling(leaf: Any) -> bool:
    """Whether a number is so large or so exact that it is hardly there twice by chance."""
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float)):
        return False
    return isfinite(leaf) and (abs(leaf) >= NUMBER_MIN or leaf != int(leaf))


def _escaped(text: str) -> Iterator[str]:
    """How a text is spelled inside of JSON, and where Python shows it, if that is another way."""
    for ascii_ in (False, True):
        yield json.dumps(text, ensure_ascii=ascii_)[1:-1]
    yield repr(text)[1:-1]


def _written(number: float) -> tuple[bytes, ...]:
    """How a payload holds a number: a whole one may stand as an integer and as a float."""
    if number != int(number) or abs(number) > NUMBER_MAX:
        return (msgspec.msgpack.encode(number),)
    return tuple(msgspec.msgpack.encode(form) for form in (int(number), float(number)) if form == number)


def _is_code(fields: Mapping[str, Any], path: tuple[object, ...]) -> bool:
    first = path[0] if path else ""
    return first in OF_CODE or _is_own(fields.get(str(first)), path[1:], PLACES_OF_CODE)


def _is_digest(path: tuple[object, ...], leaf: Any) -> bool:
    """Whether it is a digest that playhead made: any short text of its letters stands in some by chance."""
    return path[0] not in VALUES and isinstance(leaf, str) and _DIGEST.fullmatch(leaf) is not None


@cache
def _fields_of(kind: type) -> Mapping[str, Any]:
    """What the fields of a structure are declared as."""
    return get_type_hints(kind)


def _is_users(fields: Mapping[str, Any], path: tuple[object, ...]) -> bool:
    """Whether a user said what stands at `path` of a fact with these fields: by their types, not by names."""
    if not path or path[0] not in VALUES:
        return False
    if path[0] in ("manifest", "problems"):
        named = [name for name in path if isinstance(name, str)]
        return named[-1] not in OF_DOCUMENTS or not OF_GIVERS.isdisjoint(named)
    if path[0] == "artifact" and len(path) == 2 and path[1] in OF_HANDOFFS:
        return False
    return not _is_own(fields.get(str(path[0])), path[1:], OWN_WORDS)


def _is_own(kind: Any, path: tuple[object, ...], words: Mapping[type, frozenset[str]]) -> bool:
    """Whether `path` leads from a value of `kind` into one of these fields of structures."""
    for name in path:
        if isinstance(name, int):
            continue
        struct = _struct_in(kind)
        if struct is None:
            return False
        if name in words.get(struct, ()):
            return True
        kind = _fields_of(struct).get(str(name))
    return False


def _struct_in(kind: Any) -> type | None:
    """The structure that a value of `kind` is, or is one of, or holds."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for one in get_args(kind) if (found := _struct_in(one)) is not None), None)


def _own(payload: bytes, stream: str) -> frozenset[str]:
    """Texts of a payload that are nobody's: words of playhead's own, and what its other fields say, too."""
    fields = (leaf for path, leaf in leaves(payload) if path and path[0] not in VALUES | OF_PEOPLE)
    return frozenset({*OF_PLAYHEAD, *stream.split("/"), *(leaf for leaf in fields if isinstance(leaf, str))})
