"""What a model call was shown, exactly as it is recorded, and what differs between two of them.

    shown = shown_at(log, "4wq2mzkq7xha", 5)         # any event of the call will do
    shown.parts["prompt"], shown.redacted            # the text, and ["/options/api_key"]
    differences(shown.parts, other.parts)            # one for each place that differs

The request stands whole in the intent of a call, after every bound that a budget put on it. Where a secret
was redacted the log holds a digest in its place: the client was handed the value itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple, cast

import msgspec

from playhead.errors import BadEvent, NotFound
from playhead.events import catalog as facts
from playhead.events import rules
from playhead.events.codec import CATALOG, Erased, Unknown
from playhead.events.erasing import mended
from playhead.events.redaction import PREFIX
from playhead.events.words import Usage
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.accounts import OUTCOMES, enclosing, name_of

PAGE_EVENTS: Final = 1_000
ALIGNED_MAX: Final = 2_000
"""How many items of two lists are aligned by what they hold; longer ones are compared place by place."""
PART_ORDER: Final = (
    "system",
    "prompt",
    "messages",
    "context",
    "tools",
    "model",
    "max_output_tokens",
    "max_cost_micros",
    "temperature",
    "options",
)
_OF_CALLS: Final = (
    "step.started",
    "model.called",
    "model.answered",
    "model.failed",
    "operation.cancelled",
    "budget.reserved",
)


class Shown(NamedTuple):
    """One model call and what it was shown. `parts` is None where the request was erased or is unreadable."""

    run: str
    seq: int
    op: str
    at: int
    client: str
    model: str | None
    step: str | None
    site: str | None
    parts: dict[str, Any] | None
    kept_as: str
    size: int | None
    """Bytes of the request as it is recorded."""
    redacted: list[str]
    """Where a digest stands in place of a secret, as JSON pointers."""
    reserved_tokens: int | None
    reserved_micros: int | None
    status: str
    ended_seq: int | None
    usage: Usage
    cost_micros: int | None


class Difference(NamedTuple):
    """One place at which two values differ. `was` or `now` is None where nothing stands there."""

    path: str
    change: str
    was: Any
    now: Any


# ------------------------------------------------------------------ calls


def calls(log: LogReader, run: str, first: int = 0, last: int | None = None) -> list[Shown]:
    """The model calls of a run whose intent lies between two events, in the order of asking."""
    steps: dict[str, str] = {}
    found: dict[str, Shown] = {}
    reserved: dict[str, rules.BudgetReserved] = {}
    for event in _events(log, f"run/{run}", last):
        fact = _decoded(event)
        if event.type == "step.started":
            steps[event.op] = fact.step if isinstance(fact, facts.StepStarted) else name_of(event.op)
        elif isinstance(fact, rules.BudgetReserved):
            reserved[event.op] = fact
        elif event.type == "model.called":
            if event.seq >= first:
                found[event.op] = _called(run, event, fact, steps, reserved.get(event.op))
        elif event.op in found:
            found[event.op] = _ended(found[event.op], event, fact)
    return list(found.values())


def shown_at(log: LogReader, run: str, seq: int) -> Shown:
    """The model call that event `seq` belongs to. Raises `NotFound` where it belongs to none."""
    stream = f"run/{run}"
    here = log.read(stream, seq, 1)
    if not here:
        raise NotFound(
            f"run {run} has no event {seq}.", expected=f"{run}@0 to @{log.head(stream).seq - 1}", found=seq
        )
    for call in calls(log, run):
        if call.op == here[0].op:
            return call
    raise NotFound(
        f"event {seq} of {run} ({here[0].type}) belongs to no model call.",
        next_step=f"List the model calls: playhead context {run}",
    )


def _events(log: LogReader, stream: str, last: int | None) -> Iterator[Event]:
    start = 0
    while page := log.read(stream, start, PAGE_EVENTS, types=_OF_CALLS):
        for event in mended(log, page):
            if last is not None and event.seq > last:
                return
            yield event
        start = page[-1].seq + 1


def _decoded(event: Event) -> Any:
    try:
        return CATALOG.decode(event)
    except BadEvent as error:
        return error


def _called(
    run: str, event: Event, fact: Any, steps: dict[str, str], reserved: rules.BudgetReserved | None
) -> Shown:
    known = fact if isinstance(fact, facts.ModelCalled) else None
    around = next(enclosing(event.op, steps), None)
    parts = None if known is None else _parts(msgspec.msgpack.decode(known.request))
    words = ((Erased, "erased"), (Unknown, "unknown"), (BadEvent, "unreadable"))
    return Shown(
        run=run,
        seq=event.seq,
        op=event.op,
        at=event.at,
        client=known.client if known else name_of(event.op),
        model=known.model if known else None,
        step=None if around is None else steps[around],
        site=str(known.site) if known and known.site else None,
        parts=parts,
        kept_as=next((word for kind, word in words if isinstance(fact, kind)), "fact"),
        size=len(bytes(known.request)) if known else None,
        redacted=[] if parts is None else redacted_in(parts),
        reserved_tokens=reserved.tokens if reserved else None,
        reserved_micros=reserved.cost_micros if reserved else None,
        status="open",
        ended_seq=None,
        usage=Usage(),
        cost_micros=None,
    )


def _ended(call: Shown, event: Event, fact: Any) -> Shown:
    if event.type not in OUTCOMES:
        return call
    ended = call._replace(status=OUTCOMES[event.type], ended_seq=event.seq)
    if not isinstance(fact, facts.ModelAnswered):
        return ended
    return ended._replace(model=fact.model or call.model, usage=fact.usage, cost_micros=fact.cost_micros)


def _parts(request: Any) -> dict[str, Any]:
    """The members of a request in the order in which people read them; one that has none is `request`."""
    if not isinstance(request, dict):
        return {"request": request}
    members = {str(name): value for name, value in cast("dict[str, Any]", request).items()}
    known = [name for name in PART_ORDER if name in members]
    return {name: members[name] for name in (*known, *(name for name in members if name not in PART_ORDER))}


def redacted_in(value: Any) -> list[str]:
    """Where in `value` a secret was redacted, as JSON pointers, in order."""
    found: list[str] = []
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        path, item = left.pop()
        if isinstance(item, str) and item.startswith(PREFIX):
            found.append(path)
        left += reversed(_members(path, item))
    return found


def _members(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(_below(path, str(name)), item) for name, item in cast("dict[str, Any]", value).items()]
    if isinstance(value, list):
        return [(_below(path, str(n)), item) for n, item in enumerate(cast("list[object]", value))]
    return []


def _below(path: str, name: str) -> str:
    return f"{path}/{name.replace('~', '~0').replace('/', '~1')}"


# ------------------------------------------------------------- differences


def differences(was: Any, now: Any) -> list[Difference]:
    """Every place at which two values differ, in the order of the first. Items of lists are aligned first."""
    found: list[Difference] = []
    left: list[Difference] = [Difference("", "changed", was, now)]
    while left:
        here = left.pop()
        if here.change != "changed":
            found.append(here)
        elif not same(here.was, here.now):
            inner = _inner(here)
            if inner is None:
                found.append(here)
            else:
                left += reversed(inner)
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are one and the same: 1, 1.0 and true are three."""
    return _packed(one) == _packed(other)


def _inner(here: Difference) -> list[Difference] | None:
    """What to compare inside of two values that differ; None where they differ as a whole."""
    was, now = here.was, here.now
    if isinstance(was, dict) and isinstance(now, dict):
        return _of_members(here.path, cast("dict[str, Any]", was), cast("dict[str, Any]", now))
    if isinstance(was, list) and isinstance(now, list):
        return list(_of_items(here.path, cast("list[object]", was), cast("list[object]", now)))
    return None


def _of_members(path: str, was: dict[Any, Any], now: dict[Any, Any]) -> list[Difference]:
    inner: list[Difference] = []
    for name in (*was, *(name for name in now if name not in was)):
        below = _below(path, str(name))
        if name not in now:
            inner.append(Difference(below, "removed", was[name], None))
        elif name not in was:
            inner.append(Difference(below, "added", None, now[name]))
        else:
            inner.append(Difference(below, "changed", was[name], now[name]))
    return inner


def _of_items(path: str, was: list[Any], now: list[Any]) -> Iterator[Difference]:
    """Items paired by what they hold. A place is one in the first list; of what was added, in the second."""
    for start, end, other_start, other_end in _unlike([_packed(i) for i in was], [_packed(i) for i in now]):
        pairs = min(end - start, other_end - other_start)
        for n in range(pairs):
            yield Difference(f"{path}/{start + n}", "changed", was[start + n], now[other_start + n])
        for n in range(start + pairs, end):
            yield Difference(f"{path}/{n}", "removed", was[n], None)
        for n in range(other_start + pairs, other_end):
            yield Difference(f"{path}/{n}", "added", None, now[n])


def _unlike(was: list[bytes], now: list[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """The stretches in which two lists differ. What they begin and end with alike costs nothing."""
    head = 0
    while head < min(len(was), len(now)) and was[head] == now[head]:
        head += 1
    tail = 0
    while tail < min(len(was), len(now)) - head and was[-1 - tail] == now[-1 - tail]:
        tail += 1
    mine, other = was[head : len(was) - tail], now[head : len(now) - tail]
    if max(len(mine), len(other)) > ALIGNED_MAX:
        yield head, head + len(mine), head, head + len(other)
        return
    matcher: SequenceMatcher[bytes] = SequenceMatcher(None, mine, other, autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        if tag != "equal":
            yield head + start, head + end, head + other_start, head + other_end


_packed: Final = msgspec.msgpack.Encoder(order="deterministic").encode
