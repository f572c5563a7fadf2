"""What a tape tells, in the words of a test: steps, calls, model calls, refusals and approvals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from msgspec import Raw

from playhead.events import approval as asked
from playhead.events import catalog as facts
from playhead.events.fact import Fact, Failure, type_of
from playhead.events.rules import ToolDenied
from playhead.events.words import Usage
from playhead.runtime.difference import Recorded

NOT_TOLD: Final = Usage()

_STATUS: Final = {
    "run.suspended": "suspended",
    "run.parked": "parked",
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}
_STEP_ENDS: Final = {
    "step.completed": "completed",
    "step.failed": "failed",
    "step.skipped": "skipped",
    "step.escalated": "escalated",
    "step.denied": "denied",
    "step.cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that was entered. `status` is `open` where the recording ends inside it."""

    name: str
    args: dict[str, Any]
    status: str = "open"
    result: Any = None
    error: Failure | None = None
    op: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool that the program asked for: `open`, `completed`, `failed`, `cancelled` or `in_doubt`."""

    tool: str
    args: dict[str, Any]
    status: str = "open"
    result: Any = None
    error: Failure | None = None
    attempts: int = 1
    op: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A question to a model. `cost_micros` and the members of `usage` are None where nobody told."""

    client: str
    model: str | None
    request: Any
    status: str = "open"
    reply: Any = None
    error: Failure | None = None
    usage: Usage = NOT_TOLD
    cost_micros: int | None = None
    op: str
    seq: int

    @property
    def tokens(self) -> int | None:
        """Tokens in and out; None where one of them is not known."""
        used = self.usage
        if used.input_tokens is None or used.output_tokens is None:
            return None
        return used.input_tokens + used.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A call that was refused, with the words of the policy, or of the hook that is named by `by`."""

    tool: str
    args: dict[str, Any]
    reason: str
    verdict: str
    by: str | None
    op: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What people were asked: `open`, `granted`, `denied` or `timed_out`, and by whom.

    `args` are those that were asked for, and `agreed` those that people agreed to: others where it is
    `edited`, and None where they did not.
    """

    action: str
    args: Any
    agreed: Any = None
    status: str = "open"
    by: tuple[str, ...] = ()
    reason: str = ""
    edited: bool = False
    op: str
    seq: int


@dataclass(slots=True)
class Views:
    """Everything above, by operation, in the order of asking. Approvals go by their request."""

    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    model_calls: dict[str, ModelCall] = field(default_factory=dict[str, ModelCall])
    denied: list[Denied] = field(default_factory=list[Denied])
    approvals: dict[str, Approval] = field(default_factory=dict[str, Approval])


def fold(recorded: Iterable[Recorded]) -> Views:
    """The views of one run."""
    views = Views()
    for each in recorded:
        _step(views, each)
        _call(views, each)
        _model(views, each)
        _approval(views, each)
    return views


def status_of(recorded: Iterable[Recorded]) -> str:
    """How a run ended, or how it was left; `interrupted` where its owner did not say."""
    status = "interrupted"
    for each in recorded:
        match each.fact:
            case facts.RunReleased(reason=reason):
                status = "diverged" if reason.startswith("diverged") else "released"
            case facts.RunStarted() | facts.RunClaimed() | facts.RunResumed():
                status = "interrupted"
            case fact:
                status = _STATUS.get(type_of(fact), status)
    return status


def _step(views: Views, each: Recorded) -> None:
    seq, op, fact = each.seq, each.op, each.fact
    if isinstance(fact, facts.StepStarted):
        views.steps[op] = Step(name=fact.step, args=plain(fact.args), op=op, seq=seq)
        return
    end = _STEP_ENDS.get(type_of(fact))
    step = views.steps.get(op)
    if end is not None and step is not None:
        result = plain(fact.result) if isinstance(fact, facts.StepCompleted) else None
        views.steps[op] = replace(step, status=end, result=result, error=_failure(fact))


def _call(views: Views, each: Recorded) -> None:
    seq, op, fact = each.seq, each.op, each.fact
    if isinstance(fact, facts.ToolRequested):
        views.calls[op] = Call(tool=fact.tool, args=plain(fact.args), op=op, seq=seq)
    elif isinstance(fact, ToolDenied):
        args, by = plain(fact.args), fact.by
        views.denied.append(
            Denied(tool=fact.tool, args=args, reason=fact.reason, verdict=fact.verdict, by=by, op=op, seq=seq)
        )
    elif (call := views.calls.get(op)) is not None:
        views.calls[op] = _called(call, fact)


def _called(call: Call, fact: Fact) -> Call:
    match fact:
        case facts.ToolCompleted():
            attempts = max(call.attempts, fact.attempt)
            return replace(call, status="completed", result=plain(fact.result), attempts=attempts)
        case facts.ToolFailed():
            attempts = max(call.attempts, fact.attempt)
            return replace(call, status="failed", error=fact.failure, attempts=attempts)
        case facts.OperationCancelled():
            return replace(call, status="cancelled")
        case facts.OperationOutcomeUnknown():
            return replace(call, status="in_doubt")
        case facts.OperationResolved():
            return replace(call, status="open")
        case facts.AttemptStarted():
            return replace(call, status="open", attempts=max(call.attempts, fact.attempt))
        case _:
            return call


def _model(views: Views, each: Recorded) -> None:
    seq, op, fact = each.seq, each.op, each.fact
    if isinstance(fact, facts.ModelCalled):
        views.model_calls[op] = ModelCall(
            client=fact.client, model=fact.model, request=plain(fact.request), op=op, seq=seq
        )
        return
    call = views.model_calls.get(op)
    if call is None:
        return
    match fact:
        case facts.ModelAnswered():
            views.model_calls[op] = replace(
                call,
                status="completed",
                model=fact.model or call.model,
                reply=plain(fact.reply),
                usage=fact.usage,
                cost_micros=fact.cost_micros,
            )
        case facts.ModelFailed():
            views.model_calls[op] = replace(call, status="failed", error=fact.failure)
        case facts.OperationCancelled():
            views.model_calls[op] = replace(call, status="cancelled")
        case _:
            pass


def _approval(views: Views, each: Recorded) -> None:
    seq, op, fact = each.seq, each.op, each.fact
    if isinstance(fact, asked.ApprovalRequested):
        views.approvals[fact.request] = Approval(action=fact.action, args=plain(fact.args), op=op, seq=seq)
        return
    if not isinstance(fact, (asked.ApprovalGranted, asked.ApprovalDenied, asked.ApprovalTimedOut)):
        return
    approval = views.approvals.get(fact.request)
    if approval is not None:
        views.approvals[fact.request] = _answered(approval, fact)


def _answered(
    approval: Approval, fact: asked.ApprovalGranted | asked.ApprovalDenied | asked.ApprovalTimedOut
) -> Approval:
    match fact:
        case asked.ApprovalGranted():
            by, agreed = tuple(grant.reviewer for grant in fact.granted), plain(fact.args)
            return replace(
                approval, status="granted", by=by, reason=fact.reason, edited=fact.edited, agreed=agreed
            )
        case asked.ApprovalDenied():
            return replace(approval, status="denied", by=(fact.reviewer,), reason=fact.reason)
        case asked.ApprovalTimedOut():
            return replace(approval, status="timed_out")


def _failure(fact: Fact) -> Failure | None:
    return getattr(fact, "failure", None)


def plain(raw: Raw) -> Any:
    """A recorded value in plain types."""
    return msgspec.msgpack.decode(raw)
