"""Two runs side by side: where they part, and what differs in which field.

    found = compare(told("a", log.scan("run/a")), told("b", log.scan("run/b")))
    found.same, found.differences[0].fields

Operations are paired by their ids, and what has no namesake by the order in which it was
asked. What is other in every run is not compared: `VOLATILE` names it. Nothing is run,
and what is equal byte for byte is not even decoded.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from playhead.events.codec import CATALOG
from playhead.events.fact import NEVER_COMPARED
from playhead.log.envelope import AnyEvent
from playhead.runtime.likeness import OF_A_HANDOFF, of_no_run

VOLATILE: Final = (
    *("*.attempt", "*.resolved_by", "*.signature", "*.signed_at", "*.said_at"),
    *("timer.*.due", "approval.*.request", "approval.*.due", "approval.answered.key"),
    *(
        "child.requested.run",
        "state.requested.writer",
        "trust.recorded.request",
        "run.cancel_requested.message",
    ),
    *("approval.answered.message", "signal.received.message", "signal.received.sender"),
    *("*.usage", "*.cost_micros", "*.cost_source", "child.*.used_tokens", "child.*.used_micros"),
)
"""What is other in every run, or told by the totals: fields at the top of events, by type."""
OF_A_REPLY: Final = ("usage", "cost_micros", "cost_source")
STARTED: Final = ("persona", "args", "mode", "policy", "max_tokens", "max_micros", "hooks", "model", "agents")
"""What is compared of how two runs began."""
ABSENT: Final = "(absent)"
_NOTHING: Final = object()
"""What stands where only one of two has something: no value is equal to it."""
ALIGNED_MAX: Final = 2_000
"""How many operations without a namesake are aligned by edit distance; more are paired in their order."""
FIELDS_MAX: Final = 1_000

Kind = Literal["changed", "moved", "only_a", "only_b"]
_ENDS: Final = ("run.completed", "run.failed", "run.cancelled", "run.parked")


class Field(NamedTuple):
    """One difference inside of an operation: the event, the path in it, and both values."""

    event: str
    path: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An operation that is not the same in both. `event_a` and `event_b` are where it begins."""

    kind: Kind
    op: str
    op_b: str
    what: str
    event_a: int | None
    event_b: int | None
    fields: tuple[Field, ...] = ()
    fields_left_out: int = 0
    """How many more fields differ than `fields` has room for."""


@dataclass(slots=True)
class Told:
    """One run, by operation. `erased` and `unknown` are events that nothing can be said about."""

    run: str
    operations: dict[str, list[AnyEvent]] = field(default_factory=dict[str, list[AnyEvent]])
    erased: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was found, the first difference first."""

    a: Told
    b: Told
    compared: int
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs and nothing is unknown of which that could not be said."""
        return not self.differences and not any(told.erased or told.unknown for told in (self.a, self.b))


# --------------------------------------------------------------------- reading


def told(run: str, events: Iterable[AnyEvent]) -> Told:
    """The events of `run` by operation."""
    found = Told(run)
    for event in events:
        known = CATALOG.facts.get(event.type)
        if known is None:
            found.unknown += 1
        elif event.payload is None:
            found.erased += 1
        if known is not None and (known.PROGRAM or known.OUTCOME or event.type in ("run.started", *_ENDS)):
            found.operations.setdefault(_whose(event), []).append(event)
    return found


def _said(event: AnyEvent) -> dict[str, Any]:
    """What an event says, as plain values. An answer of people may be bytes that are no value."""
    if event.payload is None:
        return {"payload": "(erased)"}
    try:
        said: Any = msgspec.msgpack.decode(event.payload)
    except ValueError:  # of msgspec, and of a text that is none
        said = None
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {"payload": event.payload.hex()}


def _whose(event: AnyEvent) -> str:
    """The operation that `event` belongs to; messages go by their name, and the rest is the run's own."""
    if event.op:
        return event.op
    if event.type in ("signal.received", "approval.answered") and event.payload is not None:
        said = _said(event)
        return f"({event.type.partition('.')[0]} {said.get('signal') or said.get('reviewer') or ''})"
    return f"({event.type})" if event.type == "run.cancel_requested" else ""


# ------------------------------------------------------------------- comparing


def compare(a: Told, b: Told, *, ignore: Sequence[str] = (), volatile: bool = False) -> Comparison:
    """Compare two runs. `ignore` are more fields that do not count, `volatile` counts those of `VOLATILE`."""
    rules = _Rules(tuple(ignore), volatile)
    pairs = [(op, op) for op in a.operations if op in b.operations]
    only_a = [op for op in a.operations if op not in b.operations]
    only_b = [op for op in b.operations if op not in a.operations]
    moved = _aligned(a, b, only_a, only_b)
    found: list[Difference] = []
    for op, other in (*pairs, *moved):
        difference = _of_a_pair(a.operations[op], b.operations[other], op, other, rules)
        if difference is not None:
            found.append(difference)
    away, new = {op for op, _ in moved}, {other for _, other in moved}
    found += [_alone("only_a", op, a.operations[op]) for op in only_a if op not in away]
    found += [_alone("only_b", op, b.operations[op]) for op in only_b if op not in new]
    places = _places(a, b, [*pairs, *moved])
    found.sort(key=lambda each: _place(each, places))
    return Comparison(a=a, b=b, compared=len(pairs) + len(moved), differences=tuple(found))


def called_nowhere(a: Told, b: Told, names: Iterable[str]) -> list[str]:
    """Those of `names`, as `compare` takes them to ignore, that fit nothing in either run: misspelt ones."""
    left = dict.fromkeys(names)
    seen: set[tuple[str, str]] = set()
    for event in (each for run in (a, b) for events in run.operations.values() for each in events):
        if not left:
            break
        for place in ((event.type, path) for path in ("", *_paths(_said(event)))):
            if place not in seen:
                seen.add(place)
                for name in [name for name in left if _Rules((name,), volatile=False).ignores(*place)]:
                    del left[name]
    return list(left)


def _paths(value: Any) -> Iterator[str]:
    """Every path in a value."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, inside = waiting.pop()
        if place:
            yield place
        below = _members(inside, inside) or ()
        waiting += [(f"{place}.{key}" if place else str(key), each) for key, each, _ in below]


class _Rules(NamedTuple):
    ignore: tuple[str, ...]
    volatile: bool

    def ignores(self, event: str, path: str) -> bool:
        """Whether somebody said that `path` of `event` does not count."""
        whole, parts = f"{event}.{path}", path.split(".")
        return any(
            pattern in (path, whole, event)
            or path.startswith(f"{pattern}.")
            or pattern in parts
            or fnmatchcase(path, pattern)
            or fnmatchcase(whole, pattern)
            for pattern in self.ignore
        )

    def plain(self, event: AnyEvent) -> dict[str, Any]:
        """What is compared of `event`."""
        said = _said(event)
        if self.volatile:
            return said
        if event.type == "run.started":
            return {name: said[name] for name in STARTED if name in said}
        dropped = _dropped(event.type, tuple(said))
        kept = {name: value for name, value in said.items() if name not in dropped}
        if event.type == "model.answered" and isinstance(kept.get("reply"), dict):
            reply = cast("dict[str, Any]", kept["reply"])
            kept["reply"] = {name: value for name, value in reply.items() if name not in OF_A_REPLY}
        run = event.stream.partition("/")[2]
        if kept.get("action") == "handoff":
            kept["content"] = of_no_run(kept.get("content"), (run,), OF_A_HANDOFF)
        if kept.get("session") == run:
            kept["session"] = "(its own)"
        if "failure" in kept:
            kept["failure"] = _without_lines(kept["failure"])
        return kept


@functools.cache
def _dropped(event: str, names: tuple[str, ...]) -> frozenset[str]:
    """Which of the fields of an event are not compared."""
    volatile = (name for name in names if any(fnmatchcase(f"{event}.{name}", rule) for rule in VOLATILE))
    return frozenset(("type", *NEVER_COMPARED, *volatile))


def _without_lines(failure: Any) -> Any:
    """A failure without the lines that it passed through."""
    if isinstance(failure, dict):
        members = cast("dict[str, Any]", failure)
        return {n: _without_lines(value) for n, value in members.items() if n not in ("site", "trace")}
    if isinstance(failure, list):
        return [_without_lines(each) for each in cast("list[object]", failure)]
    return failure


def _of_a_pair(
    ours: list[AnyEvent], theirs: list[AnyEvent], op: str, other: str, rules: _Rules
) -> Difference | None:
    fields = tuple(_fields(ours, theirs, rules))
    if not fields and op == other:
        return None
    return Difference(
        kind="moved" if op != other else "changed",
        op=op,
        op_b=other,
        what=what_of(ours[0]),
        event_a=ours[0].seq,
        event_b=theirs[0].seq,
        fields=fields[:FIELDS_MAX],
        fields_left_out=len(fields[FIELDS_MAX:]),
    )


def _fields(ours: list[AnyEvent], theirs: list[AnyEvent], rules: _Rules) -> Iterator[Field]:
    if len(ours) == len(theirs) and all(
        a.type == b.type and a.payload == b.payload for a, b in zip(ours, theirs, strict=True)
    ):
        return
    left: defaultdict[str, deque[AnyEvent]] = defaultdict(deque)
    for event in theirs:
        left[event.type].append(event)
    for event in ours:
        if rules.ignores(event.type, ""):
            left[event.type].clear()
        elif left[event.type]:
            twin = left[event.type].popleft()
            if event.payload != twin.payload:
                yield from _differing(event.type, "", rules.plain(event), rules.plain(twin), rules)
        else:
            yield Field(event.type, "", rules.plain(event), ABSENT)
    for kind, events in left.items():
        if not rules.ignores(kind, ""):
            yield from (Field(kind, "", ABSENT, rules.plain(event)) for event in events)


def _differing(event: str, path: str, a: Any, b: Any, rules: _Rules) -> Iterator[Field]:
    """Every path below `path` at which `a` and `b` differ."""
    waiting: list[tuple[str, Any, Any]] = [(path, a, b)]
    while waiting:
        place, was, now = waiting.pop()
        if place and rules.ignores(event, place):
            continue
        below = _members(was, now)
        if below is None:
            yield Field(event, place, *(ABSENT if each is _NOTHING else each for each in (was, now)))
            continue
        for key, x, y in reversed(below):
            if not _equal(x, y):
                waiting.append((f"{place}.{key}" if place else key, x, y))


def _equal(x: Any, y: Any) -> bool:
    """Whether two values are written alike: 1 is neither 1.0 nor true, wherever it stands."""
    if x is _NOTHING or y is _NOTHING:
        return x is y
    return type(x) is type(y) and msgspec.msgpack.encode(x) == msgspec.msgpack.encode(y)


def _members(was: Any, now: Any) -> list[tuple[str, Any, Any]] | None:
    """What two containers hold, side by side; None where they are not two of a kind."""
    if isinstance(was, dict) and isinstance(now, dict):
        one, two = cast("dict[str, Any]", was), cast("dict[str, Any]", now)
        keys = dict.fromkeys((*one, *two))
        return [(str(key), one.get(key, _NOTHING), two.get(key, _NOTHING)) for key in keys]
    if isinstance(was, list) and isinstance(now, list):
        ours, theirs = cast("list[object]", was), cast("list[object]", now)
        longest = max(len(ours), len(theirs))
        return [(str(n), _at(ours, n), _at(theirs, n)) for n in range(longest)]
    return None


def _at(values: list[object], n: int) -> Any:
    return values[n] if n < len(values) else _NOTHING


def _alone(kind: Literal["only_a", "only_b"], op: str, events: list[AnyEvent]) -> Difference:
    seq = events[0].seq
    return Difference(
        kind=kind,
        op=op,
        op_b=op,
        what=what_of(events[0]),
        event_a=seq if kind == "only_a" else None,
        event_b=seq if kind == "only_b" else None,
    )


def what_of(event: AnyEvent) -> str:
    """What kind of thing begins with `event`."""
    return event.type.partition(".")[0]


# --------------------------------------------------------------------- aligning


def _aligned(a: Told, b: Told, only_a: list[str], only_b: list[str]) -> list[tuple[str, str]]:
    """Operations that were asked at another place: first those with equal questions, then namesakes."""
    pairs: list[tuple[str, str]] = []
    for key in (_question, _name):
        ours, theirs = [key(a, op) for op in only_a], [key(b, op) for op in only_b]
        matched = list(_matched(ours, theirs))
        pairs += [(only_a[x], only_b[y]) for x, y in matched]
        gone, taken = {x for x, _ in matched}, {y for _, y in matched}
        only_a = [op for x, op in enumerate(only_a) if x not in gone]
        only_b = [op for y, op in enumerate(only_b) if y not in taken]
    return pairs


def _matched(ours: list[Any], theirs: list[Any]) -> Iterator[tuple[int, int]]:
    if max(len(ours), len(theirs)) <= ALIGNED_MAX:
        for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
            yield from ((block.a + n, block.b + n) for n in range(block.size))
        return
    places: defaultdict[Any, deque[int]] = defaultdict(deque)
    for y, key in enumerate(theirs):
        places[key].append(y)
    for x, key in enumerate(ours):
        if places[key]:
            yield x, places[key].popleft()


def _question(run: Told, op: str) -> tuple[Any, ...]:
    event = run.operations[op][0]
    return (*_name(run, op), msgspec.msgpack.encode(_Rules((), volatile=False).plain(event)))


def _name(run: Told, op: str) -> tuple[Any, ...]:
    return run.operations[op][0].type, op.rpartition("/")[2].partition("#")[0]


def _places(a: Told, b: Told, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Where the pairs begin, in both runs, in the order of the second."""
    found = sorted((b.operations[y][0].seq, a.operations[x][0].seq) for x, y in pairs)
    highest, places = -1, list[tuple[int, int]]()
    for theirs, ours in found:
        highest = max(highest, ours)
        places.append((theirs, highest))
    return places


def _place(each: Difference, places: list[tuple[int, int]]) -> tuple[float, int]:
    """Where a difference stands in the story of the first run."""
    if each.event_a is not None:
        return (_first_seq(each), 0)
    assert each.event_b is not None
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        if places[middle][0] < each.event_b:
            low = middle + 1
        else:
            high = middle
    return (places[low - 1][1] + 0.5 if low else -0.5, each.event_b)


def _first_seq(each: Difference) -> float:
    """The end of a run stands where it ended, not where it began."""
    assert each.event_a is not None
    if each.op == "" and each.fields and all(found.event in _ENDS for found in each.fields):
        return float("inf")
    return each.event_a


def kinds(differences: Iterable[Difference]) -> Counter[str]:
    """How many differences there are of each kind."""
    return Counter(each.kind for each in differences)
