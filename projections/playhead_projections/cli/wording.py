"""What an event says, on one line: the part after its type.

Every fact of the catalog has words of its own; one of a newer playhead is shown as
it was kept, and one that cannot be read says so.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from playhead.agent_state.writers import name_of
from playhead.errors import BadEvent
from playhead.events import approval as approvals
from playhead.events import autonomy, duty, rules, state
from playhead.events import catalog as facts
from playhead.events import composition as compositions
from playhead.events.codec import CATALOG, Erased, Unknown
from playhead.events.fact import Fact, Failure
from playhead.events.words import NOTHING
from playhead.log.envelope import Event
from playhead_projections.cli.output import brief, count, moment, money, shown

VALUE_WIDTH: Final = 400
HASH_WIDTH: Final = 19


def decoded(event: Event) -> Fact | Unknown | Erased | BadEvent:
    """The fact in `event`, or the error that says why there is none."""
    try:
        return CATALOG.decode(event)
    except BadEvent as error:
        return error


def plain(raw: Any) -> Any:
    """Plain values of what a user's value was encoded as."""
    if isinstance(raw, (Raw, bytes)):
        return msgspec.msgpack.decode(raw)
    return msgspec.to_builtins(raw)


def body(fact: Fact | Unknown | Erased | BadEvent) -> Any:
    """A fact whole, as plain values; None where nothing can be shown."""
    if isinstance(fact, Unknown):
        return fact.data
    if isinstance(fact, Fact):
        return {name: _plain_field(getattr(fact, name)) for name in fact.__struct_fields__}
    return None


def _plain_field(value: Any) -> Any:
    if isinstance(value, Raw):
        return msgspec.msgpack.decode(value)
    return value if isinstance(value, bytes) else msgspec.to_builtins(value, enc_hook=_inside)


def _inside(value: Any) -> Any:
    """What stands inside of a field, such as the outcome that a fork prepared for an operation."""
    return msgspec.msgpack.decode(value) if isinstance(value, Raw) else shown(value)


def said(fact: Fact | Unknown | Erased | BadEvent) -> str:
    """The words of a fact."""
    match fact:
        case BadEvent():
            return "(cannot be read)"
        case Erased():
            return "(erased)"
        case Unknown():
            return f"(of a newer playhead, kept) {brief(fact.data, VALUE_WIDTH)}"
        case _:
            for part in (_of_duty, _of_state, _of_rule, _of_autonomy, _of_run, _of_operation, _of_mailbox):
                words = part(fact)
                if words is not None:
                    return words
            return brief(body(fact), VALUE_WIDTH)


def failed(failure: Failure) -> str:
    """An error on one line, with its place and nearest cause."""
    text = f"{failure.type}: {failure.message}" if failure.message else failure.type
    if failure.site is not None:
        text += f" at {failure.site}"
    if failure.cause is not None:
        text += f", because {failure.cause.type}: {failure.cause.message}"
    return text


def _value(raw: Any) -> str:
    return brief(plain(raw), VALUE_WIDTH)


def _answer(fact: approvals.ApprovalAnswered | approvals.AnswerSent) -> str:
    value = f" {_value(fact.value)}" if bytes(fact.value) != NOTHING else ""
    key = f" with {fact.key}" if fact.signature else ""
    who = _edited(fact.reviewer, getattr(fact, "edited_by", ""))
    return f"{fact.word}{value} by {who}{key}{f': {fact.reason}' if fact.reason else ''}"


def _edited(reviewer: str, by: str) -> str:
    """Who said something, where nobody put something else in its place."""
    return f"{reviewer}, edited by {by}" if by else reviewer


def _by(sender: str) -> str:
    return f" from {sender}" if sender else ""


def _limit(tokens: int | None, micros: int | None) -> str:
    """Tokens and money, of what there is."""
    parts = [] if tokens is None else [f"{tokens:,} tokens"]
    return " and ".join([*parts, *([] if micros is None else [money(micros)])]) or "nothing"


def _of_rule(fact: Fact) -> str | None:
    """What budgets, policies, stages and hooks did."""
    match fact:
        case rules.BudgetReserved():
            return f"at most {_limit(fact.tokens, fact.cost_micros)}"
        case rules.BudgetSettled():
            return f"{_limit(fact.tokens, fact.cost_micros)}, {fact.outcome}"
        case rules.BudgetExhausted():
            spent = _limit(fact.spent_tokens, fact.spent_micros)
            most = _amount(fact.limit, fact.limit_value)
            return f"{fact.of} {fact.name}: {fact.limit} of {most}, spent {spent}"
        case rules.BudgetThresholdCrossed():
            spent, most = _amount(fact.limit, fact.spent), _amount(fact.limit, fact.limit_value)
            return f"{fact.of} {fact.name}: {fact.percent:g} % of {fact.limit}, {spent} of {most}"
        case rules.StageEntered():
            return f"{fact.stage}, entry {fact.iteration}: {_bounds(fact.policy)}"
        case rules.StageExited():
            return f"{fact.stage}, entry {fact.iteration}: {fact.status}"
        case rules.PolicyNarrowed():
            return f"{fact.persona}: {_bounds(fact.policy)}"
        case rules.ToolDenied():
            by = f"hook {fact.by}: " if fact.by else ""
            return f"{_value(fact.args)} {by}{fact.reason}"
        case rules.StepDenied():
            return f"hook {fact.hook}: {fact.reason}"
        case facts.StepRetried():
            return f"attempt {fact.attempt}, again in {fact.retry_in_ms} ms: {failed(fact.failure)}"
        case rules.HookFired():
            return f"{fact.target} {_value(fact.shown)}"
        case rules.HookDecided():
            value = f" {_value(fact.value)}" if fact.decision == "replace" else ""
            return f"{fact.decision}{value}{f': {fact.reason}' if fact.reason else ''}"
        case rules.PersonaEntered():
            return f"{fact.persona}{'' if fact.policy is None else f': {_bounds(fact.policy)}'}"
        case rules.PersonaExited():
            return f"{fact.persona}: {fact.status}"
        case _:
            return None


class _Policy(msgspec.Struct):
    disposition: str


class _Binding(msgspec.Struct):
    binding: str
    policy: _Policy


class _Manifest(msgspec.Struct):
    bindings: list[_Binding]


def _manifest(raw: Raw, known_by: str) -> str:
    """What snippets may call, and how many tools are gated or denied."""
    try:
        entries = msgspec.msgpack.decode(raw, type=_Manifest).bindings
    except (msgspec.MsgspecError, UnicodeDecodeError):  # nobody says that we wrote it
        return f"{_value(raw)}, {known_by[:HASH_WIDTH]}"
    names = [each.binding for each in entries if each.policy.disposition == "allowed"]
    others = f", and {len(entries) - len(names)} not without being asked" if len(names) < len(entries) else ""
    return f"{', '.join(names)[:VALUE_WIDTH]}{others}, {known_by[:HASH_WIDTH]}"


def _of_duty(fact: Fact) -> str | None:
    """What a persona on duty was told and did."""
    match fact:
        case duty.PersonaPaused() | duty.PersonaDrained() | duty.PersonaDisabled():
            return f"{fact.reason or 'no reason given'}{_by(fact.sender)}"
        case duty.PersonaResumed():
            return _by(fact.sender).strip()
        case duty.TriggerReceived():
            return f"{fact.work_key} {_value(fact.args)}"
        case duty.TriggerDuplicated():
            return fact.work_key
        case duty.TriggerDeadLettered():
            return f"{fact.work_key}, {fact.reason} {_value(fact.args)}"
        case duty.SchedulesBound():
            return ", ".join(fact.schedules) or "none"
        case duty.ScheduleFired():
            return f"{fact.schedule}, due {moment(fact.due)}"
        case duty.WorkStarted():
            return f"{fact.work_key}: run {fact.run} by {fact.worker}"
        case duty.WorkExpired():
            return f"{fact.work_key}: {fact.worker} is gone"
        case duty.WorkCompleted():
            return f"{fact.work_key}: run {fact.run}, {_limit(fact.tokens, fact.cost_micros)}"
        case duty.WorkFailed():
            return f"{fact.work_key}: run {fact.run} {fact.status}, {failed(fact.failure)}"
        case duty.WorkRefused():
            most = _amount("max_tokens" if fact.limit == "max_tokens" else "usd", fact.limit_value)
            return f"{fact.work_key}: {fact.limit} of {most} is spent"
        case _:
            return None


def _of_state(fact: Fact) -> str | None:
    """What a run asked of state, and what became of a key."""
    match fact:
        case state.StateRequested():
            about = f" = {_value(fact.content)}" if fact.action in ("write", "handoff") else ""
            return f"{fact.root} {fact.session} {fact.key}".rstrip() + about
        case state.StateCompleted():
            met = ", over another writer's" if fact.conflict else ""
            version = f"  version {fact.version}{met}" if fact.version else ""
            return f"{_value(fact.answer)}{version}"
        case state.SessionOpened():
            return f"{fact.root} {fact.session} by {name_of(fact.writer)}"
        case state.StateWritten():
            return f"version {fact.version} by {name_of(fact.writer)} = {_value(fact.content)}"
        case state.StateDeleted():
            return f"version {fact.version} by {name_of(fact.writer)}"
        case state.StateConflictDetected():
            done = "refused" if fact.refused else "let pass"
            met = f"version {fact.version} by {name_of(fact.previous)}" if fact.version else "nothing"
            return f"{fact.change} by {name_of(fact.writer)} met {met}: {done}, {fact.policy}"
        case state.StateFolderMade():
            return fact.key
        case state.HandoffEmitted():
            return f"version {fact.version} {_value(fact.artifact)}"
        case _:
            return None


def _amount(limit: str, value: int) -> str:
    return f"{value:,} tokens" if limit == "max_tokens" else money(value)


def _bounds(policy: dict[str, Any]) -> str:
    """What a policy says, without what it does not."""
    rules = ("tool_arg_constraints", "tool_annotations", "approval")
    said_so = {
        name: value for name, value in policy.items() if value is not None and (value or name not in rules)
    }
    if scopes := said_so.get("autonomy"):
        said_so["autonomy"] = [_said(scope) for scope in scopes]
    return brief(said_so, VALUE_WIDTH) if said_so else "no bounds of its own"


def _said(scope: dict[str, Any]) -> dict[str, Any]:
    """A scope of autonomy without what it does not say."""
    return {name: value for name, value in scope.items() if value and (name, value) != ("quorum", 1)}


def _of_autonomy(fact: Fact) -> str | None:
    match fact:
        case autonomy.StandingRequested():
            return f"how {fact.agent} stands, for {fact.action} of {fact.tool}"
        case autonomy.StandingFound():
            spent = f", {fact.hour} this hour and {fact.day} this day" if fact.hour or fact.day else ""
            return f"{fact.tier or 'nobody said a word'}{spent}"
        case autonomy.AutonomyProposed():
            return f"{fact.tool} {_value(fact.args)}, which is {fact.action}, under {fact.tier}"
        case autonomy.AutonomyDecided():
            return f"{fact.verdict}: {fact.tool} is {fact.action}; {fact.tier}, {fact.reason}"
        case autonomy.TrustRecorded():
            approver = f", approved by {fact.approver}" if fact.approver else ""
            why = f": {fact.reason}" if fact.reason else ""
            return f"{fact.outcome} of {fact.action} under {fact.tier}, {fact.enforcement}{approver}{why}"
        case autonomy.TierChanged():
            why = f": {fact.reason}" if fact.reason else ""
            before = fact.before or "no word"
            return f"{fact.agent} {fact.action}d from {before} to {fact.after} by {fact.by}{why}"
        case autonomy.AutonomySpent():
            return f"{fact.agent} in run {fact.run}, {fact.op}"
        case _:
            return None


def _of_run(fact: Fact) -> str | None:
    match fact:
        case facts.RunStarted():
            called = f' "{fact.name}"' if fact.name else ""
            forked = f", forked from {fact.forked.run}@{fact.forked.event}" if fact.forked else ""
            return f"{fact.persona}{called} {_value(fact.args)}{forked}"
        case facts.RunClaimed():
            return f"worker {fact.worker}, pid {fact.pid}"
        case facts.RunResumed():
            deaths = f", {count(fact.deaths, 'death')} in a row" if fact.deaths > 1 else ""
            return f"after {fact.after}{deaths}"
        case facts.RunSuspended():
            until = f", until {moment(fact.wake_at)}" if fact.wake_at is not None else ""
            return f"waits for {', '.join(fact.waiting) or 'nothing'}{until}"
        case facts.RunForked():
            return f"run {fact.run} was made of it up to event {fact.event}, {fact.mode}"
        case facts.RunReleased():
            return fact.reason
        case facts.RunParked():
            return f"died {count(fact.deaths, 'time')} at {fact.last_op or 'its start'}"
        case facts.RunCancelRequested():
            return f"{fact.reason or 'no reason given'}{_by(fact.sender)}, message {fact.message}"
        case facts.RunCompleted() | facts.StepCompleted() | facts.ToolCompleted() | facts.ChildCompleted():
            resolved = getattr(fact, "resolved_by", None)
            return _value(fact.result) + (f" (answered by {resolved})" if resolved else "")
        case facts.RunCancelled():
            return fact.reason
        case _:
            failure = getattr(fact, "failure", None)
            if isinstance(failure, Failure) and not isinstance(fact, facts.AttemptFinished):
                unknown = getattr(fact, "outcome_unknown", False)
                return failed(failure) + (" (it may have happened all the same)" if unknown else "")
            return None


def _of_operation(fact: Fact) -> str | None:
    match fact:
        case facts.StepStarted() | facts.ChildRequested():
            return _value(fact.args)
        case compositions.ManifestRecorded():
            return _manifest(fact.manifest, fact.hash)
        case compositions.CompositionStarted():
            return (
                f"{fact.language}, {len(fact.snippet.splitlines())} lines, {fact.snippet_hash[:HASH_WIDTH]}"
            )
        case compositions.CompositionExpired():
            return f"after {fact.timeout_ms} ms"
        case compositions.CompositionCompleted():
            return f"{_value(fact.result)}  {fact.calls} calls, {fact.steps} steps"
        case compositions.CompositionFailed():
            return f"{fact.cause}: {fact.message}"
        case facts.ToolRequested():
            return f"{_value(fact.args)}{'  (effect)' if fact.effect == 'effect' else ''}"
        case facts.EffectWithheld():
            return f"{fact.kind} {fact.name}: the fork is not allowed to"
        case facts.AttemptStarted():
            return f"attempt {fact.attempt}, {fact.reason}"
        case facts.AttemptFinished():
            why = failed(fact.failure) if fact.failure else "nobody waits for it any more"
            again = f", again in {fact.retry_in_ms} ms" if fact.retry_in_ms is not None else ""
            return f"attempt {fact.attempt}{again}: {why}"
        case facts.OperationOutcomeUnknown():
            return f"in doubt: attempt {fact.attempt} was in flight when the owner died"
        case facts.OperationResolved():
            return f"{fact.action} by {fact.by}"
        case facts.ModelCalled():
            return f"{fact.model or fact.client} {_asked(plain(fact.request))}"
        case facts.ModelAnswered():
            reply = plain(fact.reply)
            return brief(_field(reply, "text"), VALUE_WIDTH)
        case facts.ValueRecorded():
            return _value(fact.value)
        case facts.TimerSet():
            return f"until {moment(fact.due)}"
        case facts.TimerFired():
            return f"due {moment(fact.due)}"
        case facts.RaceDecided():
            return f"won by {fact.winner}"
        case facts.PatchTaken():
            return fact.name
        case facts.SignalReceived():
            return f"{fact.signal} {_value(fact.value)}{_by(fact.sender)}, message {fact.message}"
        case approvals.ApprovalRequested():
            who = "anybody" if fact.reviewers is None else ", ".join(fact.reviewers)
            due = f", until {moment(fact.due)}" if fact.due is not None else ""
            what = f"{fact.action} {_value(fact.args)}" if bytes(fact.args) != NOTHING else fact.action
            kind = fact.kind if fact.waits else "suggestion"
            return f"{kind}: {brief(what, VALUE_WIDTH)}, {fact.quorum} of {who}{due}: {fact.request}"
        case approvals.ApprovalAnswered() | approvals.AnswerSent():
            return _answer(fact)
        case approvals.ApprovalGranted():
            edited = f", edited to {_value(fact.args)}" if fact.edited else ""
            agreed = [_edited(f"{each.reviewer} ({each.signed})", each.edited_by) for each in fact.granted]
            return f"{', '.join(agreed)}{edited}"
        case approvals.ApprovalDenied():
            return f"by {_edited(fact.reviewer, fact.edited_by)}{f': {fact.reason}' if fact.reason else ''}"
        case approvals.ApprovalTimedOut():
            return f"due {moment(fact.due)}"
        case (
            facts.StepCancelled() | facts.OperationCancelled() | facts.ValueRequested() | facts.WaitStarted()
        ):
            return ""
        case _:
            return None


def _asked(request: Any) -> str:
    return brief(_field(request, "prompt"), VALUE_WIDTH)


def _field(value: Any, name: str) -> Any:
    """What stands under `name` in an object; the whole of it where nothing does."""
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    return fields.get(name) or fields


def _of_mailbox(fact: Fact) -> str | None:
    match fact:
        case facts.SignalSent():
            return f"{fact.signal} {_value(fact.value)}{_by(fact.sender)}"
        case facts.CancelSent():
            return f"{fact.reason or 'no reason given'}{_by(fact.sender)}"
        case facts.ResolutionSent():
            value = f" {_value(fact.value)}" if fact.action == "value" else ""
            return f"{fact.op} {fact.action}{value}{_by(fact.sender)}"
        case facts.ChildEnded():
            return f"run {fact.run} {fact.status}"
        case facts.PayloadErased():
            return f"{fact.reason}{_by(fact.sender)}"
        case _:
            return None
