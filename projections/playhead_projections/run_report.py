"""The report of a run: what it did, what that took, what failed and why, and what it waits for.

    report = state_at(log, RunReport(), "run/4wq2mzkq7xha", 41).state
    document(report)["totals"]["cost_micros"]

A report holds every operation once, in the order in which the program asked, each
inside the step that asked for it. It ends in exactly as much as the events say: an
operation without an outcome is open, and after a crash in doubt, never assumed done.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from playhead.events import approval as approvals
from playhead.events import catalog as facts
from playhead.events import rules
from playhead.events.fact import Fact
from playhead.events.words import Declared, Usage
from playhead.log.envelope import Event
from playhead_projections.accounts import (
    STEP_ENDS,
    TERMINAL,
    Error,
    Ledger,
    Life,
    Moved,
    Used,
    enclosing,
    error_in,
    error_of,
    live,
    move,
    name_of,
)
from playhead_projections.projection import Projection

SCHEMA: Final = "playhead.report/1"


class Attempt(msgspec.Struct, kw_only=True):
    """One try at an operation."""

    number: int
    reason: str
    started: int
    ended: int | None = None
    error: Error | None = None
    retry_in_ms: int | None = None


class Operation(msgspec.Struct, kw_only=True):
    """One operation. `seq` is where it was asked for, `ended_seq` where its outcome stands."""

    op: str
    kind: str
    name: str
    step: str | None
    status: str
    seq: int
    started: int
    ended_seq: int | None = None
    ended: int | None = None
    effect: str | None = None
    attempts: list[Attempt] = []
    error: Error | None = None
    outcome_unknown: bool = False
    """Whether it is an effect that failed because its time was over, and that may have happened."""
    model: str | None = None
    usage: Usage | None = None
    cost_micros: int | None = None
    cost_source: str | None = None
    due: int | None = None
    child: str | None = None
    resolved_by: str | None = None
    refused: str | None = None
    """Why the last answer for it, while it was in doubt, was not taken."""


class Step(msgspec.Struct, kw_only=True):
    """One step, with the operations that it asked for itself in `used` and those inside it in `inclusive`."""

    op: str
    name: str
    step: str | None
    status: str
    seq: int
    started: int
    function: str | None = None
    ended_seq: int | None = None
    ended: int | None = None
    error: Error | None = None
    used: Used = msgspec.field(default_factory=Used)
    inclusive: Used = msgspec.field(default_factory=Used)
    declared: Declared | None = None
    stage: str | None = None
    iteration: int | None = None
    exhausted: str | None = None
    """The limit of its budget that was passed, or of which nothing was left."""


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was not allowed. `by` is the hook that said so; None where it was a policy."""

    op: str
    of: str
    name: str
    reason: str
    verdict: str
    by: str | None
    seq: int
    at: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something an outsider said, as the owner took it from the mailbox."""

    message: int
    kind: str
    name: str
    sender: str
    seq: int
    at: int


class Report(msgspec.Struct, kw_only=True):
    """Everything there is to say of one run."""

    life: Life
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    steps: dict[str, Step] = {}
    operations: dict[str, Operation] = {}
    used: Used = msgspec.field(default_factory=Used)
    hooks: Used = msgspec.field(default_factory=Used)
    """What hooks asked of models: charged to them, and to no step."""
    denied: list[Denial] = []
    attempts: int = 0
    retries: int = 0
    mailbox: list[Message] = []
    races: int = 0
    patches: list[str] = []
    skipped: int = 0
    erased: int = 0


class RunReport(Projection[Report]):
    """One report for each run."""

    name = "run_report"
    version = 9
    state = Report
    effort = 8
    paged = ("steps", "operations", "denied", "mailbox", "patches")

    def initial(self, key: str) -> Report:
        return Report(life=Life(run=key))

    def apply(self, state: Report, event: Event, fact: Fact) -> Report:
        return _apply(state, event, fact)

    def erased(self, state: Report, event: Event) -> Report:
        state.erased += 1
        return _apply(state, event, None)

    def newer(self, state: Report, event: Event) -> Report:
        state.skipped += 1
        return _apply(state, event, None)

    def label(self, state: Report) -> str | None:
        return state.life.name


def _apply(report: Report, event: Event, fact: Fact | None) -> Report:
    if live(report.life, event, fact):
        _begins(report, event.at)
    if event.type == "step.started":
        _step_started(report, event, fact)
    elif event.type in STEP_ENDS:
        _step_ended(report, event, fact)
    else:
        for moved in move(report.ledger, event, fact):
            if moved.status == "opened":
                _opened(report, event, fact, moved)
            else:
                _closed(report, event, fact, moved)
        _noted(report, event, fact)
    return report


def _begins(report: Report, now: int) -> None:
    """A fork is made: what is open begins now, and so does what ended with its last outcome, told it now.

    No time has passed between its source and it.
    """
    items: list[Step | Operation] = [*report.steps.values(), *report.operations.values()]
    last = max((each.ended or 0 for each in items), default=0)
    for each in items:
        if each.ended is None:
            each.started = now
        elif each.ended == last:
            each.started = last


# ------------------------------------------------------------------ steps


def _step_started(report: Report, event: Event, fact: Fact | None) -> None:
    known = fact if isinstance(fact, facts.StepStarted) else None
    report.steps[event.op] = Step(
        op=event.op,
        name=known.step if known else name_of(event.op),
        function=known.function if known else None,
        step=next(enclosing(event.op, report.steps), None),
        status="running",
        seq=event.seq,
        started=event.at,
        declared=known.declared if known else None,
    )


def _step_ended(report: Report, event: Event, fact: Fact | None) -> None:
    step = report.steps.get(event.op)
    if step is None:
        return
    step.status = STEP_ENDS[event.type]
    step.ended_seq, step.ended = event.seq, event.at
    step.error = error_in(fact)


# ------------------------------------------------------------- operations


def _opened(report: Report, event: Event, fact: Fact | None, moved: Moved) -> None:
    was = moved.was
    operation = Operation(
        op=moved.op,
        kind=was.kind,
        name=was.name,
        step=next(enclosing(moved.op, report.steps), None),
        status="open",
        seq=event.seq,
        started=event.at,
        effect=getattr(fact, "effect", None),
        model=getattr(fact, "model", None),
        due=getattr(fact, "due", None),
        child=getattr(fact, "run", None),
    )
    if was.kind in {"tool", "model", "value"}:
        operation.attempts.append(Attempt(number=1, reason="first", started=event.at))
        report.attempts += 1
    if was.kind == "model":
        for used in _users(report, moved.op):
            used.ask()
    report.operations[moved.op] = operation


def _closed(report: Report, event: Event, fact: Fact | None, moved: Moved) -> None:
    operation = report.operations[moved.op]
    operation.status = moved.status
    operation.ended_seq, operation.ended = event.seq, event.at
    operation.resolved_by = getattr(fact, "resolved_by", None)
    operation.error = error_in(fact)
    operation.outcome_unknown = getattr(fact, "outcome_unknown", False)
    if operation.attempts and operation.attempts[-1].ended is None:
        operation.attempts[-1].ended = event.at
        operation.attempts[-1].error = operation.error
    if operation.kind == "model":
        for used in _users(report, moved.op):
            used.add(fact)
        if isinstance(fact, facts.ModelAnswered):
            operation.model = fact.model or operation.model
            operation.usage = fact.usage
            operation.cost_micros, operation.cost_source = fact.cost_micros, fact.cost_source


def _users(report: Report, op: str) -> list[Used]:
    """Whom the use of a model by `op` is counted for: its run, the steps around it, and its own step."""
    around = [report.steps[step] for step in enclosing(op, report.steps)]
    return [report.used, *(step.inclusive for step in around), *(step.used for step in around[:1])]


def _noted(report: Report, event: Event, fact: Fact | None) -> None:
    operation = report.operations.get(event.op)
    match fact:
        case facts.AttemptStarted() if operation is not None:
            attempt = Attempt(number=fact.attempt, reason=fact.reason, started=event.at)
            operation.attempts.append(attempt)
            operation.status = "open"
            report.attempts += 1
            report.retries += fact.reason == "retry"
        case facts.AttemptFinished() if operation is not None and fact.attempt > 0:
            _attempt_finished(operation, event, fact)
        case facts.AttemptFinished(message=int(message)) if operation is not None:
            operation.refused = fact.failure.message if fact.failure is not None else ""
            _took(report, event, message, "resolution", "refused", "")
        case facts.OperationOutcomeUnknown() if operation is not None:
            operation.status = "in_doubt"
        case facts.OperationResolved():
            if operation is not None and operation.status == "in_doubt":
                operation.status, operation.resolved_by = "open", fact.by
            _took(report, event, fact.message, "resolution", fact.action, fact.by)
        case facts.SignalReceived():
            _took(report, event, fact.message, "signal", fact.signal, fact.sender)
        case approvals.ApprovalAnswered():
            _took(report, event, fact.message, "answer", f"{fact.word} {fact.request}", fact.reviewer)
        case facts.RunCancelRequested():
            _took(report, event, fact.message, "cancel", fact.reason, fact.sender)
        case facts.RaceDecided():
            report.races += 1
        case facts.PatchTaken():
            report.patches.append(fact.name)
        case rules.StageEntered() | rules.BudgetExhausted() | rules.ToolDenied() | rules.StepDenied():
            _ruled(report, event, fact)
        case rules.HookDecided() | rules.HookFailed():
            report.hooks.model_calls += len(fact.model_calls)
            for call in fact.model_calls:
                report.hooks.learn(call.usage, call.cost_micros)
        case _:
            if event.type == "operation.outcome_unknown" and operation is not None:
                operation.status = "in_doubt"


def _ruled(
    report: Report,
    event: Event,
    fact: rules.StageEntered | rules.BudgetExhausted | rules.ToolDenied | rules.StepDenied,
) -> None:
    """What policies, budgets and hooks did to the program."""
    step = report.steps.get(event.op)
    match fact:
        case rules.StageEntered() if step is not None:
            step.stage, step.iteration = fact.stage, fact.iteration
        case rules.BudgetExhausted() if step is not None:
            step.exhausted = fact.limit
        case rules.ToolDenied():
            _deny(report, event, "tool", fact.tool, fact.reason, fact.verdict, fact.by)
        case rules.StepDenied():
            _deny(report, event, "step", fact.step, fact.reason, "denied", fact.hook)
        case _:
            pass


def _deny(
    report: Report, event: Event, of: str, name: str, reason: str, verdict: str, by: str | None
) -> None:
    report.denied.append(
        Denial(
            op=event.op,
            of=of,
            name=name,
            reason=reason,
            verdict=verdict,
            by=by,
            seq=event.seq,
            at=event.at,
        )
    )


def _attempt_finished(operation: Operation, event: Event, fact: facts.AttemptFinished) -> None:
    for attempt in operation.attempts:
        if attempt.number == fact.attempt:
            attempt.ended, attempt.retry_in_ms = event.at, fact.retry_in_ms
            attempt.error = error_of(fact.failure) if fact.failure else None


def _took(report: Report, event: Event, message: int | None, kind: str, name: str, sender: str) -> None:
    if message is not None:
        report.mailbox.append(
            Message(message=message, kind=kind, name=name, sender=sender, seq=event.seq, at=event.at)
        )


# ------------------------------------------------------------ the document


def waits(report: Report) -> list[Operation]:
    """What a run that is not over waits for: people, time, other runs, and answers for what is in doubt."""
    if report.life.status in TERMINAL:
        return []
    return [
        operation
        for operation in report.operations.values()
        if operation.status == "in_doubt"
        or (operation.status == "open" and operation.kind in {"signal", "timer", "child", "approval"})
    ]


def in_doubt(report: Report) -> list[Operation]:
    """Effects whose intent is recorded, whose outcome is not, and that nobody has answered for yet."""
    return [operation for operation in report.operations.values() if operation.status == "in_doubt"]


def errors(report: Report) -> list[dict[str, Any]]:
    """Every recorded error with the place it was recorded for, in the order of the log."""
    found: list[tuple[int, str, str, Error]] = [
        (operation.ended_seq or operation.seq, operation.op, operation.kind, operation.error)
        for operation in report.operations.values()
        if operation.error is not None
    ]
    found += [
        (step.ended_seq or step.seq, step.op, "step", step.error)
        for step in report.steps.values()
        if step.error is not None
    ]
    found.sort(key=lambda error: error[0])
    if report.life.error is not None:
        found.append((report.life.ended_seq or 0, "", "run", report.life.error))
    return [{"seq": seq, "op": op, "of": of, **msgspec.to_builtins(error)} for seq, op, of, error in found]


def document(report: Report, *, at: int | None = None) -> dict[str, Any]:
    """The report as one JSON document. `at` is the seq that it was folded to, None for all there is."""
    life = report.life
    return {
        "schema": SCHEMA,
        "at": at,
        **life.document(),
        "duration": life.duration,
        "totals": totals(report),
        "steps": _children(report, None, "steps"),
        "operations": _children(report, None, "operations"),
        "errors": errors(report),
        "waits_for": [brief(operation) for operation in waits(report)],
        "in_doubt": [brief(operation) for operation in in_doubt(report)],
        "mailbox": msgspec.to_builtins(report.mailbox),
        "denied": msgspec.to_builtins(report.denied),
        "hooks": report.hooks.document(),
        "patches": report.patches,
        "events_unknown": report.skipped,
        "events_erased": report.erased,
    }


def totals(report: Report) -> dict[str, Any]:
    """Counts over the whole run."""
    kinds: dict[str, int] = {}
    for operation in report.operations.values():
        kinds[operation.kind] = kinds.get(operation.kind, 0) + 1
    return {
        "operations": len(report.operations),
        "by_kind": {kind: kinds[kind] for kind in sorted(kinds)},
        "steps": len(report.steps),
        "attempts": report.attempts,
        "retries": report.retries,
        "races": report.races,
        **report.used.document(),
    }


def _children(report: Report, step: str | None, what: str) -> list[dict[str, Any]]:
    """What lies directly in `step`: built from the outside in, without recursion over operations."""
    if what == "operations":
        return [_plain(item) for item in report.operations.values() if item.step == step]
    nested: dict[str | None, list[dict[str, Any]]] = {}
    within: dict[str | None, list[dict[str, Any]]] = {}
    for operation in report.operations.values():
        within.setdefault(operation.step, []).append(_plain(operation))
    # Inner steps come after the ones around them, so the tree is put together from its leaves.
    for item in reversed(list(report.steps.values())):
        shown = _plain(item)
        shown["used"], shown["inclusive"] = item.used.document(), item.inclusive.document()
        shown["steps"] = nested.pop(item.op, [])[::-1]
        shown["operations"] = within.get(item.op, [])
        nested.setdefault(item.step, []).append(shown)
    return nested.get(step, [])[::-1]


def _plain(item: Step | Operation) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(item)
    if isinstance(item, Operation) and item.usage is not None:
        shown["usage"] = {name: getattr(item.usage, name) for name in item.usage.__struct_fields__}
    return shown


def brief(operation: Operation) -> dict[str, Any]:
    """An operation that is waited for, as JSON."""
    return {
        "op": operation.op,
        "kind": operation.kind,
        "name": operation.name,
        "status": operation.status,
        "seq": operation.seq,
        "since": operation.started,
        "due": operation.due,
        "child": operation.child,
        "refused": operation.refused,
    }
