"""The compositions of a run, each with the calls that its snippet asked for, in that order.

    told = state_at(log, Compositions(), "run/4wq2mzkq7xha").state
    [(each.op, each.status, len(each.calls)) for each in told.compositions.values()]

A call that has no outcome is open, and after a crash in doubt; it is never assumed done. An event with a
value that is none counts as one that was erased: it is told that it happened, and no other run is touched.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events.composition import (
    CompositionCompleted,
    CompositionExpired,
    CompositionFailed,
    CompositionStarted,
    ManifestRecorded,
)
from playhead.events.fact import Fact, Failure
from playhead.events.rules import ToolDenied
from playhead.events.words import ComposedWords, SnippetErrorWords
from playhead.log.envelope import Event
from playhead_projections.accounts import Error, enclosing, error_of, name_of
from playhead_projections.projection import Projection

CallStatus = Literal["open", "in_doubt", "completed", "failed", "cancelled", "denied"]
Status = Literal["running", "completed", "failed"]

_OUTCOMES: dict[str, CallStatus] = {
    "tool.completed": "completed",
    "tool.failed": "failed",
    "operation.cancelled": "cancelled",
    "operation.outcome_unknown": "in_doubt",
}

# Where the values of users stand, and what each is at least. They are decoded here, and not with their event.
_VALUES: Final[dict[type[Fact], tuple[str, Any]]] = {
    ManifestRecorded: ("manifest", Any),
    CompositionStarted: ("inputs", dict[str, Any]),
    CompositionCompleted: ("result", Any),
    facts.ToolRequested: ("args", Any),
    ToolDenied: ("args", Any),
    facts.ToolCompleted: ("result", Any),
}


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that was followed by another, why it failed, and how long was waited."""

    message: str
    delay_ms: int


class Call(msgspec.Struct, kw_only=True):
    """A call that a snippet asked for. `seq` is where it did so, `ended_seq` where its outcome stands.

    Times are nanoseconds since the epoch, UTC. Arguments and output are those of the log, and None where
    there are none, or where `erased` says that nobody knows any more.
    """

    op: str
    tool: str
    seq: int
    started: int
    status: CallStatus = "open"
    at: ComposedWords | None = None
    effect: str | None = None
    arguments: Any = None
    output: Any = None
    error: Error | None = None
    outcome_unknown: bool = False
    """Whether it failed because its time was over, and may have had its effect all the same."""
    refused: str | None = None
    """Why it was not allowed; None where it was."""
    invalid: bool = False
    """Whether that is because its arguments did not fit."""
    by: str | None = None
    """The hook that did not allow it, or who answered for it."""
    attempt: int = 1
    retried: list[Retried] = []
    ended_seq: int | None = None
    ended: int | None = None
    erased: bool = False


class Composition(msgspec.Struct, kw_only=True):
    """One composition. `status` is running until the log says how it ended."""

    op: str
    seq: int
    started: int
    status: Status = "running"
    language: str | None = None
    engine: str | None = None
    snippet: str | None = None
    snippet_hash: str | None = None
    manifest_hash: str | None = None
    ceiling: str | None = None
    limits: dict[str, int | None] = {}
    inputs: dict[str, Any] = {}
    calls: list[Call] = []
    expired: bool = False
    result: Any = None
    stdout: str = ""
    steps: int = 0
    cause: str | None = None
    category: str | None = None
    message: str = ""
    error: SnippetErrorWords | None = None
    problems: list[dict[str, Any]] = []
    ended_seq: int | None = None
    ended: int | None = None
    erased: int = 0
    """How many of its events say no more what they said, or hold what is no value."""


class Told(msgspec.Struct, kw_only=True):
    """What a run tells of its compositions, by their operations, and of the manifests that it showed."""

    run: str
    persona: str | None = None
    compositions: dict[str, Composition] = {}
    manifests: dict[str, Any] = {}
    """By hash. One of which something was redacted has not that hash any more."""


class Compositions(Projection[Told]):
    """One state for each run."""

    name = "compositions"
    version = 2
    state = Told
    paged = ("compositions", "manifests")

    def initial(self, key: str) -> Told:
        return Told(run=key)

    def apply(self, state: Told, event: Event, fact: Fact) -> Told:
        return _apply(state, event, fact)

    def erased(self, state: Told, event: Event) -> Told:
        return _apply(state, event, None)


def _apply(told: Told, event: Event, fact: Fact | None) -> Told:
    if isinstance(fact, facts.RunStarted):
        told.persona = fact.persona
    elif isinstance(fact, ManifestRecorded):
        if _readable(fact) is not None:
            told.manifests[fact.hash] = _plain(fact.manifest)
    elif event.type == "composition.started":
        told.compositions[event.op] = _started(event, _readable(fact))
    elif (found := told.compositions.get(event.op)) is not None:
        _ended(found, event, _readable(fact))
    elif (around := next(enclosing(event.op, told.compositions), None)) is not None:
        _called(told.compositions[around], event, _readable(fact))
    return told


def _plain(raw: Raw) -> Any:
    return msgspec.msgpack.decode(raw)


def _readable(fact: Fact | None) -> Fact | None:
    """`fact`, unless a value in it cannot be read, or has no form in JSON: then as if it was erased."""
    found = None if fact is None else _VALUES.get(type(fact))
    if fact is None or found is None:
        return fact
    name, kind = found
    try:
        msgspec.json.encode(msgspec.msgpack.decode(getattr(fact, name), type=kind))
    except (msgspec.MsgspecError, UnicodeError, TypeError, RecursionError, ValueError, OverflowError):
        return None
    return fact


def _started(event: Event, fact: Fact | None) -> Composition:
    found = Composition(op=event.op, seq=event.seq, started=event.at)
    if isinstance(fact, CompositionStarted):
        found.language, found.engine, found.snippet = fact.language, fact.engine, fact.snippet
        found.snippet_hash, found.manifest_hash = fact.snippet_hash, fact.manifest_hash
        found.ceiling, found.limits, found.inputs = fact.ceiling, fact.limits, _plain(fact.inputs)
    else:
        found.erased = 1
    return found


def _ended(found: Composition, event: Event, fact: Fact | None) -> None:
    if event.type not in {"composition.completed", "composition.failed"}:
        found.expired = found.expired or isinstance(fact, CompositionExpired)
        return
    found.status = "completed" if event.type == "composition.completed" else "failed"
    found.ended_seq, found.ended = event.seq, event.at
    match fact:
        case CompositionCompleted():
            found.result, found.stdout, found.steps = _plain(fact.result), fact.stdout, fact.steps
        case CompositionFailed():
            found.cause, found.category, found.message = fact.cause, fact.category, fact.message
            found.error, found.problems = fact.error, list(fact.problems)
            found.stdout, found.steps = fact.stdout, fact.steps
        case _:
            found.erased += 1


def _called(found: Composition, event: Event, fact: Fact | None) -> None:
    """One event of a call of this composition."""
    if event.type in {"tool.requested", "tool.denied"}:
        found.calls.append(_asked(event, fact))
        found.erased += fact is None
        return
    call = next((call for call in reversed(found.calls) if call.op == event.op), None)
    if call is None:
        return
    found.erased += fact is None
    call.erased = call.erased or fact is None
    match fact:
        case facts.AttemptStarted():
            call.status, call.attempt = "open", fact.attempt
        case facts.AttemptFinished() if fact.retry_in_ms is not None:
            message = fact.failure.message or fact.failure.type if fact.failure is not None else ""
            call.retried.append(Retried(message=message, delay_ms=fact.retry_in_ms))
        case facts.OperationResolved():
            call.by = fact.by
        case _ if event.type in _OUTCOMES:
            call.status = _OUTCOMES[event.type]
            if call.status != "in_doubt":
                _settled(call, event, fact)
        case _:
            pass


def _asked(event: Event, fact: Fact | None) -> Call:
    call = Call(op=event.op, tool=name_of(event.op), seq=event.seq, started=event.at)
    match fact:
        case facts.ToolRequested():
            call.tool, call.effect, call.at = fact.tool, fact.effect, fact.composed
            call.arguments = _plain(fact.args)
        case ToolDenied():
            call.tool, call.at, call.arguments = fact.tool, fact.composed, _plain(fact.args)
            call.refused, call.invalid, call.by = fact.reason, fact.verdict == "invalid", fact.by
        case _:
            call.erased = True
    if event.type == "tool.denied":
        call.status, call.ended_seq, call.ended = "denied", event.seq, event.at
    return call


def _settled(call: Call, event: Event, fact: Fact | None) -> None:
    call.ended_seq, call.ended = event.seq, event.at
    failure = getattr(fact, "failure", None)
    if isinstance(failure, Failure):
        call.error = error_of(failure)
    if isinstance(fact, facts.ToolCompleted):
        call.output = _plain(fact.result)
    if isinstance(fact, facts.ToolCompleted | facts.ToolFailed):
        call.attempt = max(call.attempt, fact.attempt)  # an answer names none
        call.by = fact.resolved_by or call.by
    if isinstance(fact, facts.ToolFailed):
        call.outcome_unknown = fact.outcome_unknown
