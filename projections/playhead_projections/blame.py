"""Where a value comes from: which earlier events of the run held the very same one.

    origin = blame(log, "4wq2mzkq7xha", 7, "/args/text")
    origin.first.seq, origin.first.path       # the event that first brought an equal value to the program
    origin.last.seq                           # the newest that did: its last writer, as far as one can tell

A log holds values, not the way that they took through a program. So what is said is *equal to*, never
*because of*: two values may be equal by chance, and short ones often are. A value that came from nowhere was
made by the program itself. Where a whole is nowhere, its members are looked for, their names, and the texts
in a text. What was erased on the way may have held it: then it is said that nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
from msgspec import Raw

from playhead.agent_state.pointer import pointed
from playhead.errors import BadEvent, NotFound
from playhead.events.approval import OF_A_CALL
from playhead.events.codec import CATALOG, Erased, Unknown
from playhead.events.erasing import MARK, mended
from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.accounts import OUTCOMES, STEP_ENDS

How = Literal["equal", "inside", "holds", "name"]
PARTS_MAX: Final = 200
"""How many values inside of the one that is asked for are looked for."""
TEXT_MIN: Final = 8
"""Texts that are shorter are in others by chance."""
HELD_MAX: Final = 10
LOST_MAX: Final = 20
"""How many texts that nothing is equal to are looked for in others."""
COMMON_TEXT_MAX: Final = 2
COMMON_NUMBER_MAX: Final = 100
DEFAULT: Final = ("args", "request", "result", "reply", "value", "answer", "content", "shown", "detail")
_TEXTS: Final = {
    "composition.started": ("snippet",),
    "composition.completed": ("stdout",),
    "composition.failed": ("message", "stdout"),
    "approval.answered": ("reviewer", "reason"),
}
"""Fields that hold what users and models wrote, though they are no values."""
_ENDS: Final = frozenset({*OUTCOMES, *STEP_ENDS, "persona.exited"})
"""What comes of a call: that may be what the call itself was handed."""
_PEOPLE: Final = ("reviewer", "sender", "resolved_by")
"""Fields that say who brought what an event brought."""


class Source(NamedTuple):
    """A place in an earlier event. `outside` is what came to the program, as against what it said itself.

    `how` is `equal`; or for texts `inside`, where it is a part of a longer one there, `holds`, where the one
    there is a part of it, and `name`, where it is what a member is called. `by` is the person who brought it,
    where one did.
    """

    seq: int
    type: str
    op: str
    at: int
    path: str
    outside: bool
    how: How = "equal"
    by: str = ""


class Gap(NamedTuple):
    """An event that was erased, so that nobody can tell whether it held a value."""

    seq: int
    type: str


class Origin(NamedTuple):
    """Where one value comes from. `first` and `last` are of what came from outside, if any did.

    `made` is the first place where the program said it, where nothing equal had come from outside. `common`
    marks values that are equal to many by chance. `here` says that it came in with the event itself.

    `gaps` were erased, and may have held it before `first` or after `last`, or at all. `name` says that the
    value is what a member of a whole is called, and `gone` that it was erased itself.
    """

    path: str
    value: Any
    here: bool
    common: bool
    first: Source | None = None
    last: Source | None = None
    times: int = 0
    made: Source | None = None
    texts: tuple[Source, ...] = ()
    parts: tuple[Origin, ...] = ()
    left_out: int = 0
    """How many values inside of it were too many to be looked for."""
    gaps: tuple[Gap, ...] = ()
    name: bool = False
    gone: bool = False


def blame(log: LogReader, run: str, seq: int, path: str | None = None) -> Origin:
    """Where the value at `path` of event `seq` comes from, by default the value that the event is about.

    Raises `NotFound` where there is none, and `BadValue` for what is no JSON pointer.
    """
    stream = f"run/{run}"
    here = list(mended(log, log.read(stream, seq, 1)))
    if not here:
        raise NotFound(
            f"run {run} has no event {seq}.", expected=f"{run}@0 to @{log.head(stream).seq - 1}", found=seq
        )
    body = body_of(here[0])
    where = path if path is not None else _default(here[0], body)
    value = pointed(body, where, missing=_NOWHERE)
    if value is _NOWHERE:
        known = ", ".join(f"/{name}" for name in body) or "nothing"
        raise NotFound(f"event {seq} of {run} has nothing at {where}.", expected=known, found=where)
    wanted = _Wanted(here[0], where, value)
    for event in mended(log, log.scan(stream)):
        if event.seq >= seq:
            break
        wanted.look_at(event)
    texts = _in_texts(log, stream, seq, wanted.lost_texts())
    return wanted.origin((), here=_from_outside(here[0]), texts=texts)


def body_of(event: Event) -> dict[str, Any]:
    """What an event says, as plain values. Raises `NotFound` where nothing of it can be shown."""
    try:
        fact = CATALOG.decode(event)
    except BadEvent:
        fact = Erased(event.type, event.version)
    if isinstance(fact, Unknown):
        data: Any = fact.data
        return cast("dict[str, Any]", data) if isinstance(data, dict) else {"data": data}
    if not isinstance(fact, Fact):
        raise NotFound(f"nothing is left of what event {event.seq} of {event.stream} said.")
    return {name: _plain(getattr(fact, name)) for name in fact.__struct_fields__}


def _plain(value: Any) -> Any:
    return msgspec.msgpack.decode(value if isinstance(value, Raw) else _packed(value))


def _default(event: Event, body: dict[str, Any]) -> str:
    """The place of the value that an event is about."""
    named = next((name for name in DEFAULT if name in body), None)
    if named is None:
        raise NotFound(
            f"event {event.seq} of {event.stream} ({event.type}) holds no value of the program.",
            expected=", ".join(f"/{name}" for name in body),
            next_step=f"Name one: playhead blame {event.stream.partition('/')[2]}@{event.seq} /PATH",
        )
    return f"/{named}"


def _from_outside(event: Event) -> bool:
    kind = CATALOG.facts.get(event.type)
    return event.type == "run.started" or (kind is not None and kind.OUTCOME)


# ------------------------------------------------------- values in events


_NOWHERE: Final = object()
_packed: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_CALLED: Final = "\0"
"""Stands behind the way to a member, where its name is meant."""
_PARAMETERS: Final = frozenset({"/args"})
"""Wholes whose members are called as the parameters of a function are."""
_fields: dict[str, tuple[str, ...]] = {}


def _fields_of(type_: str) -> tuple[str, ...]:
    """The fields of a type of event that hold values of the program."""
    fields = _fields.get(type_)
    if fields is None:
        kind = CATALOG.facts.get(type_)
        raws = [] if kind is None else [f.name for f in msgspec.structs.fields(kind) if f.type is Raw]
        known = () if kind is None else _TEXTS.get(type_, ())
        failure = ("failure",) if kind is not None and "failure" in kind.__struct_fields__ else ()
        fields = _fields[type_] = (*raws, *known, *failure)
    return fields


def _values_in(event: Event) -> Iterator[tuple[str, Any]]:
    """The fields of an event that hold values of the program, with what they hold."""
    fields = _fields_of(event.type)
    if not fields or event.payload is None:
        return
    try:
        body = msgspec.msgpack.decode(event.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, ValueError):
        return  # nobody can read it, so nothing is known to be in it
    if isinstance(body, dict):
        members = cast("dict[str, Any]", body)
        yield from ((name, members[name]) for name in fields if name in members)


def _within(value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A value and everything in it, from the outside in, with the way to each."""
    left: list[tuple[tuple[str, ...], Any]] = [((), value)]
    for way, item in left:  # it grows by the members that are met
        yield way, item
        if isinstance(item, dict):
            left += [((*way, str(name)), inner) for name, inner in cast("dict[str, Any]", item).items()]
        elif isinstance(item, list):
            left += [((*way, str(n)), inner) for n, inner in enumerate(cast("list[object]", item))]


def _pointer(way: tuple[str, ...]) -> str:
    return "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in way)


def is_common(value: Any) -> bool:
    """Whether a value is so short that others are equal to it by chance."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        return abs(value) <= COMMON_NUMBER_MAX
    return hasattr(value, "__len__") and len(value) <= (
        COMMON_TEXT_MAX if isinstance(value, (str, bytes)) else 0
    )


class _Wanted:
    """The values that are looked for, by what they are, and what was found of each."""

    def __init__(self, event: Event, where: str, value: Any) -> None:
        self.where = where
        self._is_mended = event.salt is None
        self._gaps: list[tuple[Gap, bool]] = []
        self._named: dict[tuple[str, ...], Source] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._own = "" if event.type in _ENDS else event.op.removesuffix(OF_A_CALL)
        self.values: dict[tuple[str, ...], Any] = {}
        self.left_out = 0
        self._ways: dict[Any, list[tuple[str, ...]]] = {}
        self._shapes: set[tuple[type, int]] = set()
        self._first: dict[tuple[str, ...], Source] = {}
        self._last: dict[tuple[str, ...], Source] = {}
        self._made: dict[tuple[str, ...], Source] = {}
        self._times: dict[tuple[str, ...], int] = {}
        for way, inner in _within(value):
            if len(self.values) >= PARTS_MAX:
                self.left_out += 1
                continue
            self.values[way] = inner
            if isinstance(inner, (dict, list)):
                self._shapes.add((type(cast("object", inner)), len(cast("list[Any]", inner))))
            if not (self._is_mended and inner == MARK):
                self._ways.setdefault(self._key(inner), []).append(way)
            if isinstance(inner, dict) and (way or where not in _PARAMETERS):
                self._look_for_names(way, cast("dict[object, object]", inner))

    def _look_for_names(self, way: tuple[str, ...], members: dict[object, object]) -> None:
        for name in members:
            if isinstance(name, str) and len(self._names) < PARTS_MAX:
                called = (*way, name, _CALLED)
                self._names[called] = way
                self._ways.setdefault(self._key(name), []).append(called)

    def _key(self, value: Any) -> Any:
        if not isinstance(value, (dict, list)):
            return (type(value), value if not isinstance(value, float) else value.hex())
        shape = (type(cast("object", value)), len(cast("list[Any]", value)))
        return _packed(value) if shape in self._shapes else None

    def look_at(self, event: Event) -> None:
        outside = _from_outside(event)
        if not outside and self._own and event.op.removesuffix(OF_A_CALL) == self._own:
            return  # the same call, proposed or asked about before
        if event.salt is None and _may_hold(event):
            self._gaps.append((Gap(event.seq, event.type), outside))
        met: set[tuple[str, ...]] = set()
        for name, value in _values_in(event):
            for way, inner in _within(value):
                if event.salt is None and inner == MARK:
                    continue
                for wanted in self._ways.get(self._key(inner), ()):
                    if wanted not in met:
                        met.add(wanted)
                        self._met(wanted, _source(event, (name, *way), outside=outside))
                if outside and isinstance(inner, dict):
                    self._met_names(event, (name, *way), cast("dict[object, object]", inner))

    def _met_names(self, event: Event, way: tuple[str, ...], members: dict[object, object]) -> None:
        for name in members:
            for wanted in self._ways.get((str, name), ()) if isinstance(name, str) else ():
                if wanted not in self._named and wanted not in self._names:
                    self._named[wanted] = _source(event, (*way, str(name)), outside=True, how="name")

    def _met(self, wanted: tuple[str, ...], source: Source) -> None:
        if source.outside:
            self._first.setdefault(wanted, source)
            self._last[wanted] = source
            self._times[wanted] = self._times.get(wanted, 0) + 1
        else:
            self._made.setdefault(wanted, source)

    def lost_texts(self) -> list[str]:
        """The texts that nothing from outside was equal to, themselves or with what they are a part of."""
        lost: list[str] = []
        for way, value in self.values.items():
            told = not any(way[:n] in self._first for n in range(len(way) + 1))
            if told and isinstance(value, str) and len(value) >= TEXT_MIN and value not in lost:
                lost.append(value)
        return lost[:LOST_MAX]

    def origin(self, way: tuple[str, ...], *, here: bool, texts: dict[str, list[Source]]) -> Origin:
        """What was found of one value; its members are told where the whole did not come from outside."""
        value = self.values[way]
        parts: list[Origin] = []
        if way not in self._first and isinstance(value, (dict, list)):
            inner = [one for one in self.values if len(one) == len(way) + 1 and one[: len(way)] == way]
            parts = [self.origin(one, here=here, texts=texts) for one in inner]
            parts += [
                self._of_name(one) for one, of in self._names.items() if of == way and one in self._first
            ]
        found = [] if way in self._first or way not in self._named else [self._named[way]]
        return Origin(
            path=self.where + _pointer(way),
            value=value,
            here=here,
            common=is_common(value),
            first=self._first.get(way),
            last=self._last.get(way),
            times=self._times.get(way, 0),
            made=None if way in self._first else self._made.get(way),
            texts=(*found, *texts.get(value, ())) if isinstance(value, str) else (),
            parts=tuple(parts),
            left_out=0 if way else self.left_out,
            gaps=() if isinstance(value, (dict, list)) and parts else self._gaps_around(way),
            gone=self._is_mended and value == MARK,
        )

    def _of_name(self, called: tuple[str, ...]) -> Origin:
        *way, _ = called
        return Origin(
            path=self.where + _pointer(tuple(way)),
            value=way[-1],
            here=False,
            common=is_common(way[-1]),
            first=self._first[called],
            last=self._last[called],
            times=self._times[called],
            gaps=self._gaps_around(called),
            name=True,
        )

    def _gaps_around(self, way: tuple[str, ...]) -> tuple[Gap, ...]:
        """What was erased where it may have held the value first, or last."""
        if way not in self._first:
            known = way in self._made
            return tuple(gap for gap, outside in self._gaps if outside or not known)
        first, last = self._first[way].seq, self._last[way].seq
        return tuple(gap for gap, outside in self._gaps if outside and not first < gap.seq < last)


def _may_hold(event: Event) -> bool:
    """Whether events of this type hold values of the program."""
    return event.type in _TEXTS or bool(_fields_of(event.type))


def _source(event: Event, way: tuple[str, ...], *, outside: bool, how: How = "equal") -> Source:
    return Source(event.seq, event.type, event.op, event.at, _pointer(way), outside, how, _person(event))


def _person(event: Event) -> str:
    """Who brought what an event brought, where that was a person."""
    body = None if event.payload is None else msgspec.msgpack.decode(event.payload)
    said = (cast("dict[str, Any]", body).get(name) for name in _PEOPLE) if isinstance(body, dict) else ()
    return next((who for who in said if isinstance(who, str) and who), "")


def _in_texts(log: LogReader, stream: str, seq: int, texts: list[str]) -> dict[str, list[Source]]:
    """For each of `texts` the first longer one from outside that it lies in, and those that lie in it."""
    longer: dict[str, Source] = {}
    held: dict[str, dict[str, Source]] = {text: {} for text in texts}
    for event in mended(log, log.scan(stream)) if texts else ():
        if event.seq >= seq:
            break
        for name, value in _values_in(event) if _from_outside(event) else ():
            for way, inner in _within(value):
                if not isinstance(inner, str) or len(inner) < TEXT_MIN:
                    continue
                for text in texts:
                    if len(inner) > len(text) and text not in longer and text in inner:
                        longer[text] = _source(event, (name, *way), outside=True, how="inside")
                    elif len(inner) < len(text) and inner not in held[text] and inner in text:
                        held[text][inner] = _source(event, (name, *way), outside=True, how="holds")
    return {text: [*([longer[text]] if text in longer else []), *_longest(held[text])] for text in texts}


def _longest(held: dict[str, Source]) -> list[Source]:
    """The texts of which none is a part of another, at most so many, in the order of the log."""
    kept: list[str] = []
    for text in sorted(held, key=len, reverse=True):
        if len(kept) < HELD_MAX and not any(text in other for other in kept):
            kept.append(text)
    return sorted((held[text] for text in kept), key=lambda source: source.seq)
