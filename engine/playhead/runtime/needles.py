"""Where an erased value stands besides: what to look for, and in which places of an event it is found.

    needles = Needles(payload, "tool.completed", ("/result/email",))
    needles.places(event, CATALOG)          # [Place("run/…", 4, "tool.requested", "/args/to", "same")]

What is looked for are the texts of the people whose program it is, names of members that are no names of
fields, and numbers that are hardly there twice by chance, also where they are spelled in a text. Of a payload
that goes whole, playhead's own words are not looked for: they stand everywhere and are nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from playhead.events.catalog import PayloadErased
from playhead.events.codec import CATALOG, Catalog
from playhead.events.erasing import MARK, is_plain, leaves, names, part_of, pointer_of, words_of
from playhead.log.evidence import ERASED_TYPE

if TYPE_CHECKING:
    from playhead.log.envelope import Event

PART_CHARS_MIN: Final = 3
WHOLE_CHARS_MIN: Final = 4
NUMBER_MIN: Final = 100_000
NUMBER_DIGITS_MAX: Final = 18
"""More are none that a payload holds as a number."""

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
OWN_WORDS: Final = frozenset(
    {"type", "module", "category", "function", "role", "kind", "model", "site", "trace"}
)
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
        "act_with_approval", "act_auto",
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
        self.numbers: dict[int | float, bytes] = {}
        self._spelled: dict[str, re.Pattern[str]] = {}
        self._keys = frozenset(stream.split("/")[1:]) if stream.startswith("state/") else frozenset[str]()
        self.in_its_name = False
        """Whether one of them is a key of state, which the name of its stream keeps."""
        if not is_plain(payload) or type_ in OF_VOCABULARY:
            return
        known = type_ in CATALOG.facts
        own = _own(payload, stream) if known and not parts else frozenset[str]()
        for part in parts or ("",):
            least = PART_CHARS_MIN if part else WHOLE_CHARS_MIN
            found = payload if not part else payload[slice(*part_of(payload, part)[1:])]
            for path, leaf in leaves(found):
                if part or not known or _is_users((*words_of(part), *path)):
                    self._add(leaf, least, own)
            for path, name in names(found, part=bool(part)):
                if (part or not known or _is_users((*words_of(part), *path))) and not str(
                    name
                ).isidentifier():
                    self._add(name, least, own)

    def _add(self, leaf: Any, least: int, own: frozenset[str]) -> None:
        text = leaf.decode("utf-8", "replace") if isinstance(leaf, bytes) else leaf
        if isinstance(text, str):
            if len(text) < least or MARK in text:
                return
            if text in own or (own and _MADE.fullmatch(text)):
                self.in_its_name |= text in self._keys
                return
            self.texts[text] = text.encode("utf-8", "surrogatepass")
            digits = text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX
            if digits and _is_telling(number := int(text)):
                self.numbers[number] = msgspec.msgpack.encode(number)
        elif isinstance(text, (int, float)) and _is_telling(leaf):
            self.numbers[text] = msgspec.msgpack.encode(leaf)
            self._spelled[str(leaf)] = re.compile(rf"(?<![0-9.]){re.escape(str(leaf))}(?![0-9])")

    def __bool__(self) -> bool:
        return bool(self.texts or self.numbers)

    def inside(self, text: str) -> bool:
        """Whether one of the texts, or a number as it is spelled, stands in `text`."""
        return any(needle in text for needle in self.texts) or any(
            number in text and pattern.search(text) for number, pattern in self._spelled.items()
        )

    def places(self, event: Event, catalog: Catalog) -> list[Place]:
        """Where in `event` one of them stands."""
        found: dict[tuple[str, How], Place] = {}

        def at(seq: int, part: str, how: How) -> None:
            found.setdefault((part, how), Place(event.stream, seq, event.type, part, how))

        if self.inside(event.op) or self.inside(event.stream):
            at(event.seq, "", "envelope")
        payload = event.payload
        if payload is None or not any(one in payload for one in self._bytes()):
            return list(found.values())
        bound, users = why_not(event) is not None, OF_THE_USER.get(event.type)
        seq, kept = event.seq, False
        if event.type == ERASED_TYPE:
            fact = catalog.decode(event)
            kept = isinstance(fact, PayloadErased) and fact.event is not None
            seq = fact.event if isinstance(fact, PayloadErased) and fact.event is not None else seq
        for path, how in self._hits(payload):
            if kept and path[:1] == ("kept",):
                at(seq, pointer_of(path[1:]), how)
            elif bound or (users is not None and (not path or path[0] not in users)):
                at(event.seq, pointer_of(path), "bound")
            else:
                at(event.seq, pointer_of(path), how)
        return list(found.values())

    def _bytes(self) -> Iterator[bytes]:
        """What stands in any payload in which something can be found."""
        yield from self.texts.values()
        yield from self.numbers.values()
        yield from (number.encode() for number in self._spelled)

    def _hits(self, payload: bytes) -> Iterator[tuple[tuple[object, ...], How]]:
        if not is_plain(payload):
            yield (), "inside"
            return
        for path, leaf in leaves(payload):
            how = self._how(leaf)
            if how is not None and not _is_code(path) and not (how == "inside" and _is_digest(path, leaf)):
                yield path, how
        for path, name in names(payload):
            if self._how(name) is not None:
                yield path, "name"

    def _how(self, leaf: Any) -> How | None:
        if isinstance(leaf, (bytes, bytearray)):
            return "inside" if any(one in leaf for one in self.texts.values()) else None
        if isinstance(leaf, str):
            return "same" if leaf in self.texts else "inside" if self.inside(leaf) else None
        return "same" if _is_telling(leaf) and leaf in self.numbers else None


def _is_telling(leaf: Any) -> bool:
    """Whether a number is so large or so exact that it is hardly there twice by chance."""
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float)):
        return False
    return isfinite(leaf) and (abs(leaf) >= NUMBER_MIN or leaf != int(leaf))


def _is_code(path: tuple[object, ...]) -> bool:
    first = path[0] if path else ""
    return first in OF_CODE or (first in ("failure", "error") and not {"site", "trace"}.isdisjoint(path))


def _is_digest(path: tuple[object, ...], leaf: Any) -> bool:
    """Whether it is a digest that playhead made: any short text of its letters stands in some by chance."""
    return path[0] not in VALUES and isinstance(leaf, str) and _DIGEST.fullmatch(leaf) is not None


def _is_users(path: tuple[object, ...]) -> bool:
    if not path or path[0] not in VALUES or any(word in OWN_WORDS for word in path[1:]):
        return False
    return not (path[0] == "artifact" and len(path) == 2 and path[1] in OF_HANDOFFS)


def _own(payload: bytes, stream: str) -> frozenset[str]:
    """Texts of a payload that are nobody's: words of playhead's own, and what its other fields say, too."""
    fields = (leaf for path, leaf in leaves(payload) if path and path[0] not in VALUES | OF_PEOPLE)
    return frozenset({*OF_PLAYHEAD, *stream.split("/"), *(leaf for leaf in fields if isinstance(leaf, str))})
