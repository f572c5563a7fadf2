"""The read model of search: a row for each run, and one for each of its parts.

A part is the run itself, a step, or an operation. Its row is written when it begins, and changed when it is
tried again, is in doubt, or ends. The fold tells only what an event changes, so it costs the same however
long a run is; `playhead_projections.search.tables` makes rows of that.

What was erased before it was folded in is not there: it is no text, and fits nothing. What is erased later
makes the projector fold everything again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from playhead.events import approval as approvals
from playhead.events import catalog as facts
from playhead.events import composition as compositions
from playhead.events import rules, state
from playhead.events.codec import Erased, Unknown
from playhead.events.fact import Fact, Failure
from playhead.log.envelope import Event
from playhead_projections.accounts import (
    COUNT_MAX,
    STEP_ENDS,
    TERMINAL,
    Ledger,
    Life,
    Used,
    enclosing,
    error_in,
    live,
    move,
    name_of,
)
from playhead_projections.listing import Row
from playhead_projections.search.erased import cleared
from playhead_projections.search.texts import value_in

NIL: Final = b"\xc0"
Changed: TypeAlias = tuple[Any, ...]
"""A word for what happens to a part, its place, and values in the order of the columns."""


class Begun(NamedTuple):
    """The columns of a part that are known when it begins."""

    run: str
    seq: int
    kind: str
    op: str
    name: str
    tool: str | None
    model: str | None
    step: str | None
    effect: str | None
    started: int
    args: bytes | None


class Ended(NamedTuple):
    """The columns that are known when it ends; what is None leaves the column as it is."""

    status: str
    ended_seq: int
    ended: int
    model: str | None = None
    cost: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens: int | None = None
    result: bytes | None = None


class Held(msgspec.Struct):
    """What of a part may still change: where its row is, and what was said of it so far."""

    place: int
    attempts: int = 1
    errors: list[str] = []
    notes: list[Any] = []
    """What else was said: questions, answers, reasons."""


class Indexed(msgspec.Struct, kw_only=True):
    """One run, as far as it was folded."""

    life: Life
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    used: Used = msgspec.field(default_factory=Used)
    first: int | None = None
    steps: dict[str, str] = {}
    """The names of its steps, by their ids."""
    open_steps: dict[str, Held] = {}
    parts: dict[str, Held] = {}
    """The operations that may still change."""
    early: dict[str, list[bytes]] = {}
    """What signals brought that came before their wait."""
    whole: Held | None = None
    """The run as a part of itself."""
    types: list[str] = []
    operations: int = 0


RUN_COLUMNS: Final[Mapping[str, str]] = {
    "run": "text not null",
    "position": "integer not null",
    "status": "text not null",
    "worker": "text",
    "persona": "text",
    "name": "text",
    "key": "text",
    "mode": "text",
    "module": "text",
    "parent": "text",
    "reason": "text",
    "tags": "blob",
    "types": "blob not null",
    "started": "integer",
    "ended": "integer",
    "cost": "integer",
    "tokens": "integer",
    "input_tokens": "integer",
    "output_tokens": "integer",
    "model_calls": "integer not null",
    "operations": "integer not null",
    "steps": "integer not null",
    "events": "integer not null",
    "resumes": "integer not null",
    "deaths": "integer not null",
}
"""What the row of a run says, in the order of `line`."""

_pack: Final = msgspec.msgpack.Encoder().encode


def line(state: Indexed) -> Row:
    """The row of a run."""
    life, used = state.life, state.used
    tokens = (used.input_tokens.value, used.output_tokens.value)
    return (
        life.run,
        state.first,
        life.status,
        life.owner.worker if life.owner else None,
        life.persona,
        life.name,
        life.key,
        life.mode,
        life.module,
        life.parent,
        life.reason,
        _pack(life.tags) if life.tags else None,
        _pack(state.types),
        life.started,
        life.ended,
        _counted(used.cost_micros.value),
        _counted(_sum(*tokens)),
        _counted(tokens[0]),
        _counted(tokens[1]),
        used.model_calls,
        state.operations,
        len(state.steps),
        life.events,
        life.resumes,
        life.deaths,
    )


def _sum(*numbers: int | None) -> int | None:
    """The sum of what is known, None where nothing is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _counted(number: int | None) -> int | None:
    """A count, if it can be one."""
    return None if number is None or abs(number) >= 2**63 else number


# --------------------------------------------------------------------- fold


def follow(run: Indexed, event: Event, fact: Fact | Unknown | Erased) -> list[Changed]:
    """One event forward: moves `run`, and tells what that changes in rows of parts."""
    known = None if not isinstance(fact, Fact) else cleared(fact) if event.salt is None else fact
    changed: list[Changed] = []
    if run.first is None or run.whole is None:
        # The other side of zero, because the event may begin an operation as well.
        run.first, run.whole = event.position, Held(-event.position)
        changed.append(("begun", run.whole.place, *_whole(run, event, known)))
    live(run.life, event, known)
    if event.type not in run.types:
        run.types = sorted([*run.types, event.type])
    if isinstance(known, facts.RunStarted):
        changed += _called(run.whole, [known.name, known.key, *known.tags])
    if event.type.startswith("run."):
        changed += _of_run(run, event, known)
    elif event.type.startswith("step."):
        changed += _of_step(run, event, known)
    elif isinstance(known, rules.ToolDenied):
        changed += _denied(run, event, known.reason, "tool", known.tool, args=bytes(known.args))
    else:
        changed += _of_operation(run, event, known)
    return changed


def _whole(run: Indexed, event: Event, fact: Fact | None) -> Begun:
    known = fact if isinstance(fact, facts.RunStarted) else None
    name = known.persona if known else ""
    args = bytes(known.args) if known else None
    return Begun(run.life.run, event.seq, "run", "", name, None, None, None, None, event.at, args)


def _called(whole: Held, given: Iterable[str | None]) -> list[Changed]:
    """What people called a run when they started it."""
    words = [word for word in given if word]
    whole.notes += words
    return [_noted(whole)] if words else []


def _of_run(run: Indexed, event: Event, fact: Fact | None) -> list[Changed]:
    assert run.whole is not None
    if run.life.status in TERMINAL and run.life.ended_seq == event.seq:
        result = bytes(fact.result) if isinstance(fact, facts.RunCompleted) else None
        _say(run.whole, fact)
        if isinstance(fact, facts.RunCancelled):
            run.whole.notes += [fact.reason] * bool(fact.reason)
        return [_ended(run.whole, Ended(run.life.status, event.seq, event.at, result=result))]
    said = fact.reason if isinstance(fact, (facts.RunReleased, facts.RunCancelRequested)) else ""
    if not said:
        return []
    run.whole.notes.append(said)
    return [_noted(run.whole)]


def _of_step(run: Indexed, event: Event, fact: Fact | None) -> list[Changed]:
    if event.type == "step.started":
        known = fact if isinstance(fact, facts.StepStarted) else None
        name = known.step if known else name_of(event.op)
        run.steps[event.op] = name
        run.open_steps[event.op] = Held(event.position)
        args = bytes(known.args) if known else None
        begun = Begun(run.life.run, event.seq, "step", event.op, name, None, None, name, None, event.at, args)
        return [("begun", event.position, *begun)]
    if isinstance(fact, rules.StepDenied):
        return _denied(run, event, fact.reason, "step", fact.step)
    held = run.open_steps.get(event.op)
    if held is None:
        return []
    _say(held, fact)
    if event.type == "step.retried":
        held.attempts += 1
    if event.type not in STEP_ENDS:
        return [_noted(held)]
    del run.open_steps[event.op]
    result = bytes(fact.result) if isinstance(fact, facts.StepCompleted) else None
    return [_ended(held, Ended(STEP_ENDS[event.type], event.seq, event.at, result=result))]


def _denied(
    run: Indexed, event: Event, reason: str, kind: str, name: str, *, args: bytes | None = None
) -> list[Changed]:
    """A call that was not allowed begins and ends at once."""
    around = next(enclosing(event.op, run.steps), None)
    begun = Begun(
        run=run.life.run,
        seq=event.seq,
        kind=kind,
        op=event.op,
        name=name,
        tool=name if kind == "tool" else None,
        model=None,
        step=name if kind == "step" else run.steps[around] if around is not None else None,
        effect=None,
        started=event.at,
        args=args,
    )
    held = Held(event.position, attempts=0, errors=[reason] if reason else [])
    return [("begun", event.position, *begun), _ended(held, Ended("denied", event.seq, event.at))]


def _of_operation(run: Indexed, event: Event, fact: Fact | None) -> list[Changed]:
    changed: list[Changed] = []
    for moved in move(run.ledger, event, fact):
        kind, name = moved.was.kind, moved.was.name
        if moved.status == "opened":
            run.operations += 1
            if kind == "model":
                run.used.ask()
            run.parts[moved.op] = held = Held(event.position, notes=_asked(fact))
            changed.append(("begun", event.position, *_begun(run, event, fact, kind, name)))
            if held.notes:
                changed.append(_noted(held))
            continue
        if kind == "model":
            run.used.add(fact)
        held = run.parts[moved.op]
        _say(held, fact)
        ended = _outcome(event, fact, moved.status)
        if isinstance(fact, facts.WaitStarted):
            ended = ended._replace(result=run.early[name].pop(0))
        changed.append(_ended(held, ended))
        if moved.status != "cancelled":  # an attempt of a cancelled one may still come to its end
            del run.parts[moved.op]
    if isinstance(fact, facts.SignalReceived) and not changed:
        run.early.setdefault(fact.signal, []).append(bytes(fact.value))
    return changed or _later(run, event, fact)


def _begun(run: Indexed, event: Event, fact: Fact | None, kind: str, name: str) -> Begun:
    around = next(enclosing(event.op, run.steps), None)
    model = None
    if isinstance(fact, facts.ModelCalled):
        model = fact.model or fact.client
    return Begun(
        run=run.life.run,
        seq=event.seq,
        kind=kind,
        op=event.op,
        name=name,
        tool=name if kind == "tool" else None,
        model=model,
        step=run.steps[around] if around is not None else None,
        effect=fact.effect if isinstance(fact, facts.ToolRequested) else None,
        started=event.at,
        args=_args(fact),
    )


def _args(fact: Fact | None) -> bytes | None:
    """What went in."""
    match fact:
        case facts.ToolRequested() | facts.ChildRequested():
            return bytes(fact.args)
        case facts.ModelCalled():
            return bytes(fact.request)
        case rules.HookFired():
            return bytes(fact.shown)
        case approvals.ApprovalRequested():
            return bytes(fact.detail if fact.args == Raw(NIL) else fact.args)
        case compositions.CompositionStarted():
            return _pack({"snippet": fact.snippet, "inputs": fact.inputs})
        case state.StateRequested():
            place = {"action": fact.action, "root": fact.root, "session": fact.session, "key": fact.key}
            return _pack({**place, "content": fact.content})
        case _:
            return None


def _result(fact: Fact | None) -> bytes | None:
    """What came out."""
    match fact:
        case facts.ToolCompleted() | facts.ChildCompleted() | compositions.CompositionCompleted():
            return bytes(fact.result)
        case facts.ModelAnswered():
            return bytes(fact.reply)
        case facts.ValueRecorded() | facts.SignalReceived() | rules.HookDecided():
            return bytes(fact.value)
        case state.StateCompleted():
            return bytes(fact.answer)
        case approvals.ApprovalGranted():
            return bytes(fact.args)
        case _:
            return None


def _outcome(event: Event, fact: Fact | None, status: str) -> Ended:
    answer = fact if isinstance(fact, facts.ModelAnswered) else None
    if answer is None:
        return Ended(status, event.seq, event.at, result=_result(fact))
    counts = [_used(answer.usage.input_tokens), _used(answer.usage.output_tokens)]
    return Ended(
        status=status,
        ended_seq=event.seq,
        ended=event.at,
        model=answer.model,
        cost=_used(answer.cost_micros),
        input_tokens=counts[0],
        output_tokens=counts[1],
        tokens=_sum(*counts),
        result=_result(fact),
    )


def _used(count: int | None) -> int | None:
    """A number that a model can have used, as sums count it."""
    return None if count is None or abs(count) > COUNT_MAX else count


def _later(run: Indexed, event: Event, fact: Fact | None) -> list[Changed]:
    """What is said of an operation between its beginning and its end, and sometimes behind it."""
    if isinstance(fact, approvals.ApprovalAnswered):
        return _answered(run, fact)
    held = run.parts.get(event.op)
    if held is None:
        return []
    status: str | None = None
    match fact:
        case facts.AttemptStarted():
            held.attempts += 1
            status = "open"
        case facts.AttemptFinished():
            _say(held, fact)
        case facts.OperationResolved():
            status = "open"
        case _ if event.type == "operation.outcome_unknown":
            status = "in_doubt"
        case _:
            return []
    return [_noted(held, status if event.op in run.ledger.open else None)]


def _asked(fact: Fact | None) -> list[Any]:
    """What a question to people says besides the call that it is about. The request stands first."""
    if not isinstance(fact, approvals.ApprovalRequested):
        return []
    return [fact.request, fact.action, value_in(fact.detail)]


def _answered(run: Indexed, fact: approvals.ApprovalAnswered) -> list[Changed]:
    """An answer stands under no operation; the request says whom it is for."""
    for op, opened in run.ledger.open.items():
        held = run.parts[op]
        if opened.kind == "approval" and held.notes[:1] == [fact.request]:
            held.notes += [text for text in (fact.reviewer, fact.reason) if text]
            held.notes += [] if fact.value == Raw(NIL) else [value_in(fact.value)]
            return [_noted(held)]
    return []


# -------------------------------------------------------------------- words


def errors_in(failure: Failure) -> list[str]:
    """Each error in a recorded failure as `Type: message`: itself, its causes, and those of a group."""
    found: list[str] = []
    left = [failure]
    while left:
        error = left.pop()
        found.append(f"{error.type}: {error.message}" if error.message else error.type)
        left += [*reversed(error.members), *([error.cause] if error.cause else [])]
    return found


def _say(held: Held, fact: Fact | None) -> None:
    failure = getattr(fact, "failure", None)
    if isinstance(failure, Failure):
        held.errors += errors_in(failure)
    elif (error := error_in(fact)) is not None:
        held.errors.append(f"{error.type}: {error.message}" if error.message else error.type)
    elif isinstance(fact, approvals.ApprovalDenied) and fact.reason:
        held.errors.append(fact.reason)


def _ended(held: Held, ended: Ended) -> Changed:
    return ("ended", held.place, *ended, held.attempts, *_said(held))


def _noted(held: Held, status: str | None = None) -> Changed:
    return ("noted", held.place, status, held.attempts, *_said(held))


def _said(held: Held) -> tuple[bytes | None, bytes | None]:
    return (_pack(held.errors) if held.errors else None, _pack(held.notes) if held.notes else None)
