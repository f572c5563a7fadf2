"""The words and sums that read models share: the life of a run, its open operations, what was used.

A sum says how much of it is unknown. Nothing here turns an unknown into a zero:
the tokens of a call whose client did not count them are None, and the sum over
such calls is None until one of them is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events.composition import CompositionFailed
from playhead.events.fact import Fact, Failure
from playhead.events.json_text import json_text
from playhead.events.words import Usage
from playhead.log.envelope import Event
from playhead.log.evidence import ERASED_TYPE

CAUSES_MAX: Final = 16
COUNT_MAX: Final = 2**48
TERMINAL: Final = ("completed", "failed", "cancelled")

# What an intent opens, and how an outcome closes it.
KINDS: Final = {
    "composition.started": "composition",
    "tool.requested": "tool",
    "model.called": "model",
    "value.requested": "value",
    "timer.set": "timer",
    "wait.started": "signal",
    "child.requested": "child",
    "hook.fired": "hook",
    "state.requested": "state",
    "approval.requested": "approval",
}
OUTCOMES: Final = {
    "composition.completed": "completed",
    "composition.failed": "failed",
    "tool.completed": "completed",
    "tool.failed": "failed",
    "model.answered": "completed",
    "model.failed": "failed",
    "value.recorded": "completed",
    "value.failed": "failed",
    "timer.fired": "completed",
    "signal.received": "completed",
    "child.completed": "completed",
    "child.failed": "failed",
    "hook.decided": "completed",
    "hook.failed": "failed",
    "state.completed": "completed",
    "state.failed": "failed",
    "approval.granted": "completed",
    "approval.denied": "failed",
    "approval.timed_out": "failed",
    "operation.cancelled": "cancelled",
}
STEP_ENDS: Final = {
    "step.completed": "completed",
    "step.failed": "failed",
    "step.cancelled": "cancelled",
    "step.skipped": "skipped",
    "step.escalated": "escalated",
}
RUN_ENDS: Final = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}


BRIEF_WIDTH: Final = 120
"""How much of a value is kept where it only has to be known which it was."""


def brief(raw: Raw) -> str:
    """A value of the user in JSON, cut."""
    return brief_value(msgspec.msgpack.decode(raw))


def brief_value(value: Any) -> str:
    """The same of what is decoded already."""
    text = json_text(value, default=str)
    return text if len(text) <= BRIEF_WIDTH else text[: BRIEF_WIDTH - 1] + "…"


def length(since: int | None, until: int | None) -> int | None:
    """How long something went on; None where one end is not known. Where the clock went back, it is 0."""
    return None if since is None or until is None else max(until - since, 0)


# ------------------------------------------------------------------- sums


class Sum(msgspec.Struct, array_like=True):
    """A sum of counts of which some may be unknown."""

    total: int = 0
    known: int = 0
    unknown: int = 0

    def add(self, count: int | None) -> None:
        """One more count, or one more unknown. A number that no model can have used tells nothing."""
        if count is None or abs(count) > COUNT_MAX:
            self.unknown += 1
        else:
            self.total += count
            self.known += 1

    def settle(self, count: int | None) -> None:
        """What was unknown because it was not over is known now, or stays unknown."""
        self.unknown = max(self.unknown - 1, 0)
        self.add(count)

    @property
    def value(self) -> int | None:
        """The sum of what is known; None where something was counted and all of it is unknown."""
        return None if self.unknown and not self.known else self.total


class Used(msgspec.Struct, kw_only=True):
    """What models were asked and what that took."""

    model_calls: int = 0
    input_tokens: Sum = msgspec.field(default_factory=Sum)
    output_tokens: Sum = msgspec.field(default_factory=Sum)
    cache_read_tokens: Sum = msgspec.field(default_factory=Sum)
    cache_write_tokens: Sum = msgspec.field(default_factory=Sum)
    reasoning_tokens: Sum = msgspec.field(default_factory=Sum)
    cost_micros: Sum = msgspec.field(default_factory=Sum)

    def ask(self) -> None:
        """A model call that was made. Until it is over, nobody knows what it takes."""
        self.model_calls += 1
        for name in (*TOKENS, "cost_micros"):
            getattr(self, name).add(None)

    def add(self, fact: Fact | None) -> None:
        """A model call that came to its end: with an answer, or with none, which leaves all unknown."""
        answer = fact if isinstance(fact, facts.ModelAnswered) else None
        usage = answer.usage if answer else Usage()
        for name in TOKENS:
            getattr(self, name).settle(getattr(usage, name))
        self.cost_micros.settle(answer.cost_micros if answer else None)

    def learn(self, usage: Usage, cost_micros: int | None) -> None:
        """What a call used that is not counted here among those that were made."""
        for name in TOKENS:
            getattr(self, name).add(getattr(usage, name))
        self.cost_micros.add(cost_micros)

    def merge(self, other: Used) -> None:
        """All that `other` counts as well."""
        self.model_calls += other.model_calls
        for name in (*TOKENS, "cost_micros"):
            ours, theirs = getattr(self, name), getattr(other, name)
            ours.total += theirs.total
            ours.known += theirs.known
            ours.unknown += theirs.unknown

    def document(self) -> dict[str, Any]:
        """As one flat object: each sum, and how many calls it does not know."""
        shown: dict[str, Any] = {"model_calls": self.model_calls}
        for name in (*TOKENS, "cost_micros"):
            counted: Sum = getattr(self, name)
            shown[name] = counted.value
            shown[f"{name}_unknown"] = counted.unknown
        return shown


TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


# ----------------------------------------------------------------- errors


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded error for showing, its causes flattened, nearest first."""

    type: str
    message: str
    category: str
    site: str | None = None
    causes: list[str] = []


def error_of(failure: Failure) -> Error:
    """What is shown of a recorded failure."""
    causes: list[str] = []
    cause = failure.cause
    while cause is not None and len(causes) < CAUSES_MAX:
        causes.append(f"{cause.type}: {cause.message}" if cause.message else cause.type)
        cause = cause.cause
    return Error(
        type=failure.type,
        message=failure.message,
        category=failure.category,
        site=str(failure.site) if failure.site else None,
        causes=causes,
    )


def error_in(fact: Fact | None) -> Error | None:
    """The error that a fact tells, if it tells one."""
    if isinstance(fact, CompositionFailed):
        kind = fact.error.type if fact.error else fact.cause
        return Error(type=kind, message=fact.message.removeprefix(f"{kind}: "), category=fact.category)
    failure = getattr(fact, "failure", None)
    return error_of(failure) if isinstance(failure, Failure) else None


# ------------------------------------------------------------- life of a run


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The worker that holds a run's lease, or held it last."""

    worker: str
    pid: int
    host: str


class Life(msgspec.Struct, kw_only=True):
    """A run as a whole. Times are nanoseconds since the epoch, UTC; what is unknown is None."""

    run: str
    name: str | None = None
    key: str | None = None
    tags: list[str] = []
    persona: str | None = None
    module: str | None = None
    mode: str | None = None
    status: str = "unknown"
    started: int | None = None
    """For a fork, when it was made: what it was told from its source has the times from there."""
    ended: int | None = None
    ended_seq: int | None = None
    parent: str | None = None
    parent_op: str | None = None
    forked_from: str | None = None
    """The run and the event that it was forked from, as RUN@N."""
    owner: Owner | None = None
    taken: bool = False
    """Whether anybody has claimed it."""
    resumes: int = 0
    deaths: int = 0
    wake_at: int | None = None
    events: int = 0
    last_at: int | None = None
    reason: str | None = None
    """Why it was cancelled, released or diverged, in the recorded words."""
    error: Error | None = None

    @property
    def duration(self) -> int | None:
        """From its start to its end, nanoseconds."""
        return length(self.started, self.ended)

    def document(self) -> dict[str, Any]:
        """As plain values, for others to read."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        del told["taken"]  # which only a fold asks
        return told


def live(life: Life, event: Event, fact: Fact | None) -> bool:
    """One event forward in the life of a run. `fact` is None where the payload was erased.

    Returns whether it is a fork that was made here: what comes from now on is its own.
    """
    made = event.type == "run.released" and life.forked_from is not None and not life.taken
    if made:
        life.started = event.at
    _live(life, event, fact)
    return made


def _live(life: Life, event: Event, fact: Fact | None) -> None:
    life.events += 1
    if event.type == ERASED_TYPE:
        return  # done to the log, and by others: no sign of life
    life.last_at = event.at
    if event.type in RUN_ENDS:
        _end(life, event, fact)
        return
    match event.type:
        case "run.started":
            life.started, life.status = event.at, "running"
        case "run.claimed":
            life.status, life.wake_at, life.taken = "running", None, True
        case "run.resumed":
            life.resumes += 1
        case "run.suspended":
            life.status, life.owner = "suspended", None
        case "run.released":
            life.status, life.owner = "released", None
        case "run.parked":
            life.status, life.owner = "parked", None
            life.deaths += 1
        case _:
            return
    _live_words(life, fact)


def _end(life: Life, event: Event, fact: Fact | None) -> None:
    life.status = RUN_ENDS[event.type]
    life.ended, life.ended_seq = event.at, event.seq
    life.owner = life.wake_at = life.reason = None
    if isinstance(fact, facts.RunFailed):
        life.error = error_of(fact.failure)
    elif isinstance(fact, facts.RunCancelled):
        life.reason = fact.reason or None


def _live_words(life: Life, fact: Fact | None) -> None:
    match fact:
        case facts.RunStarted():
            life.name, life.key, life.persona = fact.name, fact.key, fact.persona
            life.module, life.mode, life.tags = fact.module or None, fact.mode, [*fact.tags]
            life.parent, life.parent_op = fact.parent, fact.parent_op
            life.forked_from = f"{fact.forked.run}@{fact.forked.event}" if fact.forked else None
        case facts.RunClaimed():
            life.owner = Owner(worker=fact.worker, pid=fact.pid, host=fact.host)
        case facts.RunResumed():
            life.deaths += fact.after == "crash"
            life.reason = None
        case facts.RunSuspended():
            life.wake_at = fact.wake_at
        case facts.RunReleased():
            life.reason = fact.reason or None
            if fact.reason.startswith("diverged"):
                life.status = "diverged"
        case facts.RunParked():
            life.reason = f"died {fact.deaths} times at {fact.last_op or 'its start'}"
        case _:
            return


# --------------------------------------------------------- open operations


class Open(msgspec.Struct, kw_only=True):
    """An operation that has no outcome yet."""

    kind: str
    name: str
    seq: int
    at: int
    in_doubt: bool = False
    doubt_seq: int | None = None


class Ledger(msgspec.Struct, kw_only=True):
    """The operations of a run that have no outcome yet, and signals that came before their wait."""

    open: dict[str, Open] = {}
    early: dict[str, int] = {}
    nameless: list[int] = []
    """Seqs of signals that were erased, and so may be what any of several waits was told."""


class Moved(NamedTuple):
    """What an event did to an operation: `opened` it, or closed it with a status."""

    op: str
    status: str
    was: Open


def move(ledger: Ledger, event: Event, fact: Fact | None) -> Iterator[Moved]:
    """One event forward in the ledger, and what that did. `fact` is None where the payload was erased."""
    if ledger.nameless:
        yield from _recognised(ledger, event)
    if event.type in KINDS:
        yield from _opened(ledger, event, fact)
    elif event.type == "signal.received":
        yield from _signalled(ledger, event, fact)
    elif event.type in OUTCOMES:
        was = ledger.open.pop(event.op, None)
        if was is None and event.type == "timer.fired":
            # Timers of the standard library are recorded by this fact alone.
            was = Open(kind="timer", name=name_of(event.op), seq=event.seq, at=event.at)
            yield Moved(event.op, "opened", was)
        if was is not None:
            yield Moved(event.op, OUTCOMES[event.type], was)
    elif event.op in ledger.open:
        _doubted(ledger.open[event.op], event)


def _opened(ledger: Ledger, event: Event, fact: Fact | None) -> Iterator[Moved]:
    kind = KINDS[event.type]
    opened = Open(kind=kind, name=_name(event, fact), seq=event.seq, at=event.at)
    ledger.open[event.op] = opened
    yield Moved(event.op, "opened", opened)
    early = ledger.early.get(opened.name, 0) if kind == "signal" else 0
    if early:
        ledger.early[opened.name] = early - 1
        yield Moved(event.op, "completed", ledger.open.pop(event.op))


def _signalled(ledger: Ledger, event: Event, fact: Fact | None) -> Iterator[Moved]:
    """A signal answers the oldest wait for its name, or the next. One that was erased has no name left."""
    waits = {op: opened for op, opened in ledger.open.items() if opened.kind == "signal"}
    if not isinstance(fact, facts.SignalReceived):
        if len({opened.name for opened in waits.values()}) == 1:
            yield _closed(ledger, next(iter(waits)))
        elif waits:
            ledger.nameless.append(event.seq)
        return
    told = next((op for op, opened in waits.items() if opened.name == fact.signal), None)
    if told is None:
        ledger.early[fact.signal] = ledger.early.get(fact.signal, 0) + 1
    else:
        yield _closed(ledger, told)


def _recognised(ledger: Ledger, event: Event) -> Iterator[Moved]:
    """Which wait an erased signal was for is told by where the program went on when it had it."""
    if event.cause is None or event.cause not in ledger.nameless:
        return
    waits = [op for op, opened in ledger.open.items() if opened.kind == "signal" and opened.seq < event.cause]
    near = [op for op in waits if event.op.startswith(op.removesuffix(tail_of(op)))]
    if near and len({ledger.open[op].name for op in near}) == 1:
        ledger.nameless.remove(event.cause)
        yield _closed(ledger, near[0])


def _closed(ledger: Ledger, op: str) -> Moved:
    return Moved(op, "completed", ledger.open.pop(op))


def _doubted(opened: Open, event: Event) -> None:
    if event.type == "operation.outcome_unknown":
        opened.in_doubt, opened.doubt_seq = True, event.seq
    elif event.type in {"attempt.started", "operation.resolved"}:
        opened.in_doubt = False


def _name(event: Event, fact: Fact | None) -> str:
    for field in ("hook", "tool", "client", "name", "signal", "persona", "action", "reason"):
        value = getattr(fact, field, None)
        if value:
            return str(value)
    return name_of(event.op)


# -------------------------------------------------------------- nesting


def name_of(op: str) -> str:
    """What an operation is called by its id alone: `0/work#0.1/fetch#0` is `fetch`."""
    tail = tail_of(op)
    return tail.partition("[")[0] if tail.endswith("]") else tail.rpartition("#")[0] or tail


def tail_of(op: str) -> str:
    """The last part of an id: `0/work#0.1/fetch#0` is `fetch#0`. A key may hold slashes of its own."""
    end = len(op)
    if op.endswith("]"):
        depth = 0
        for at in range(len(op) - 1, -1, -1):
            depth += (op[at] == "]") - (op[at] == "[")
            if not depth:
                end = at
                break
    return op[op.rfind("/", 0, end) + 1 :]


def enclosing(op: str, steps: Any) -> Iterator[str]:
    """The ids in `steps` whose scope `op` lies in, innermost first."""
    end = len(op)
    while (end := max(op.rfind("/", 0, end), op.rfind(".", 0, end))) > 0:
        if op[:end] in steps:
            yield op[:end]
