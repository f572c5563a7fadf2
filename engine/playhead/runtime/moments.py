"""The moments at which hooks are asked, and what becomes of what they say.

The program asks; each question is an operation under the step, tool or run that it is
about, so its answer is on the tape. Hooks are asked one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Raw

from playhead.errors import HookDenied, HookFailed
from playhead.events.approval import ApprovalRequested
from playhead.events.fact import OutcomeFact
from playhead.events.redaction import holds_redacted
from playhead.events.rules import (
    BudgetThresholdCrossed,
    HookDecided,
    HookFired,
    PolicyNarrowed,
    StepDenied,
    ToolDenied,
)
from playhead.events.rules import HookFailed as HookFailedFact
from playhead.events.state import StateRequested
from playhead.events.values import encode_value
from playhead.events.words import ComposedWords, HookWords
from playhead.policy.budget import Limit
from playhead.runtime.hook import Event, HookCall, Moment, ReplaceArgs, registry_of
from playhead.runtime.place import call_site
from playhead.runtime.purse import Purse
from playhead.runtime.scope import Scope, current
from playhead.runtime.signals import Unwinding
from playhead.runtime.signature import Signature, own

if TYPE_CHECKING:
    from playhead.runtime.persona import Persona

Call = tuple[tuple[Any, ...], dict[str, Any]]


async def _ask(
    scope: Scope,
    op: str,
    hook: HookWords,
    moment: Moment,
    encode: Callable[[Any], Raw] | None = None,
    *,
    secret: Sequence[str] = (),
) -> HookDecided:
    """Show `moment` to one hook and return what it decided. Raises `HookFailed`.

    `op` is the id of the question. The names in `secret` are redacted in what is recorded of it.
    """
    machine = scope.machine
    shown = {"args": moment.args, "output": moment.output, "details": moment.details}
    fired = HookFired(
        hook=hook.name,
        event=hook.event,
        target=moment.target,
        persona=moment.persona,
        step=moment.step,
        tool=moment.tool,
        shown=machine.redacted(
            Raw(encode_value(shown, where=f"what hook {hook.name} is shown", plain=False, ordered=True)),
            secret,
        ),
    )
    registry = registry_of(machine)
    executor = None
    if registry is not None and (known := registry.get(hook.name)) is not None:
        executor = HookCall(
            known, moment, machine, encode, getattr(machine.host, "model", None), secret=secret
        )

    def settle(fact: OutcomeFact) -> HookDecided:
        if isinstance(fact, HookDecided):
            return fact
        assert isinstance(fact, HookFailedFact)
        failure = fact.failure
        raise HookFailed(f"hook {hook.name} failed: {failure.type}: {failure.message}", failure=failure)

    decided: HookDecided = await machine.perform(op, fired, settle, executor=executor)
    return decided


def _op_of(op: str, hook: HookWords) -> str:
    """The id of the question that a hook is asked about the step, tool or run `op`: once for each."""
    return f"{op or '0'}/{hook.event}[{hook.name}]"


def _target(persona: str, what: str | None) -> str:
    return f"{persona}.{what}" if persona and what else what or persona


# ------------------------------------------------------------------- steps


class Named(Protocol):
    """What moments need of a step or a tool."""

    name: str

    @property
    def function(self) -> Callable[..., Any]:
        """The user's own function."""
        ...

    @property
    def signature(self) -> Signature:
        """How it is called."""
        ...


async def before_step(scope: Scope, op: str, step: Named, call: Call) -> Call:
    """Ask who wants to be asked before a step. Returns the call to make; raises `HookDenied`."""
    around = scope.around
    hooks = around.hooks.matching("PreStep", around.persona, step.name) if around.hooks else ()
    for hook in hooks:
        moment = _of_step(scope, hook, step, call)
        decided = await _ask(scope, _op_of(op, hook), hook, moment, _encoder(step.signature))
        if decided.decision == "deny":
            scope.machine.emit(op, StepDenied(step=step.name, hook=hook.name, reason=decided.reason))
            raise _denied(hook, decided, step.name)
        if decided.decision == "replace":
            call = _restored(scope, hook, step.signature, call, decided.value, ())
    return call


async def after_step(scope: Scope, op: str, step: Named, call: Call, output: Any) -> Any:
    """Ask who wants to be asked after a step. Returns its output, which they may have replaced."""
    around = scope.around
    hooks = around.hooks.matching("PostStep", around.persona, step.name) if around.hooks else ()
    for hook in hooks:
        moment = _of_step(scope, hook, step, call, own((output,))[0])
        output = await _output(scope, op, hook, moment, step.signature, output, ())
    return output


def _of_step(scope: Scope, hook: HookWords, step: Named, call: Call, output: Any = None) -> Moment:
    persona = scope.around.persona
    return Moment(
        event=hook.event,
        target=_target(persona, step.name),
        persona=persona,
        step=step.name,
        function=step.function.__qualname__,
        args=own(step.signature.bind(*call)),
        output=output,
    )


async def _output(
    scope: Scope,
    op: str,
    hook: HookWords,
    moment: Moment,
    signature: Signature,
    output: Any,
    secret: Sequence[str],
) -> Any:
    """What comes out after a hook was shown `output`."""
    codec = signature.result
    decided = await _ask(
        scope, _op_of(op, hook), hook, moment, lambda said: codec.encode(said.output), secret=secret
    )
    return codec.decode(decided.value) if decided.decision == "replace" else output


# ------------------------------------------------------------------- tools


class NamedTool(Named, Protocol):
    """And of a tool besides: which of its arguments and fields nobody may read."""

    secret: tuple[str, ...]


async def before_tool(
    scope: Scope, op: str, tool: NamedTool, call: Call, *, composed: ComposedWords | None = None
) -> Call:
    """Ask who wants to be asked before a tool. Returns the call to make; raises `HookDenied`."""
    around = scope.around
    hooks = around.hooks.matching("PreToolUse", around.persona, around.step) if around.hooks else ()
    for hook in hooks:
        moment = _of_tool(scope, hook, tool, call)
        decided = await _ask(
            scope, _op_of(op, hook), hook, moment, _encoder(tool.signature), secret=tool.secret
        )
        if decided.decision == "deny":
            denied = ToolDenied(
                tool=tool.name,
                args=scope.machine.redacted(tool.signature.encode(tool.signature.bind(*call)), tool.secret),
                reason=decided.reason,
                by=hook.name,
                site=call_site(),
                composed=composed,
            )
            scope.machine.emit(op, denied)
            raise _denied(hook, decided, around.step or "")
        if decided.decision == "replace":
            call = _restored(scope, hook, tool.signature, call, decided.value, tool.secret)
    return call


async def after_tool(scope: Scope, op: str, tool: NamedTool, call: Call, output: Any) -> Any:
    """Ask who wants to be asked after a tool. Returns its output, which they may have replaced."""
    around = scope.around
    hooks = around.hooks.matching("PostToolUse", around.persona, around.step) if around.hooks else ()
    for hook in hooks:
        moment = _of_tool(scope, hook, tool, call, own((output,))[0])
        output = await _output(scope, op, hook, moment, tool.signature, output, tool.secret)
    return output


def _of_tool(scope: Scope, hook: HookWords, tool: NamedTool, call: Call, output: Any = None) -> Moment:
    around = scope.around
    return Moment(
        event=hook.event,
        target=_target(around.persona, tool.name),
        persona=around.persona,
        step=around.step,
        tool=tool.name,
        args=own(tool.signature.bind(*call)),
        output=output,
    )


def _encoder(signature: Signature) -> Callable[[Any], Raw]:
    def encode(said: Any) -> Raw:
        assert isinstance(said, ReplaceArgs)
        raw = signature.encode(signature.bind(said.args, said.kwargs))
        signature.decode(raw)  # what the program could not be given is the hook's mistake
        return raw

    return encode


def _restored(
    scope: Scope, hook: HookWords, signature: Signature, before: Call, replaced: Raw, secret: Sequence[str]
) -> Call:
    """The call that a hook put in place: a secret that it handed on as it was is the real one again.

    Raises `HookFailed` for a new secret: no tape holds it, so no program may have it.
    """
    if not holds_redacted(replaced):
        return signature.decode(replaced)
    real = signature.encode(signature.bind(*before))
    was: dict[str, Any] = msgspec.msgpack.decode(real)
    told: dict[str, Any] = msgspec.msgpack.decode(scope.machine.redacted(real, secret))
    now: dict[str, Any] = msgspec.msgpack.decode(replaced)
    whole = {name: was[name] if told.get(name) == value else value for name, value in now.items()}
    raw = Raw(encode_value(whole, where="arguments", plain=True, ordered=True))
    if holds_redacted(raw) and not holds_redacted(real):
        raise HookFailed(f"hook {hook.name} put in a secret argument, and a secret is on no tape.")
    return signature.decode(raw)


def _denied(hook: HookWords, decided: HookDecided, step: str) -> HookDenied:
    reason = decided.reason or "hook denied execution"
    return HookDenied(reason, hook=hook.name, event=hook.event, step=step)


# ----------------------------------------------------------------- budgets


async def crossings(scope: Scope, purse: Purse) -> None:
    """Say that budgets around a call have crossed a threshold, and ask who wants to know: once for each."""
    hooks = scope.around.hooks
    if hooks is None:
        return
    persona = scope.around.persona
    for each in purse.chain():
        step = each.name if each.of == "step" else None
        for hook in hooks.matching("OnBudgetThreshold", persona, step):
            percent = hook.percent or 100.0
            limit = each.first_beyond(percent)
            if limit is None or hook.name in each.told:
                continue
            each.told.add(hook.name)
            await _crossed(scope, each, hook, limit, percent)


async def _crossed(scope: Scope, purse: Purse, hook: HookWords, limit: Limit, percent: float) -> None:
    spent, most = purse.spent[limit], purse.limits[limit]
    scope.machine.emit(
        purse.op,
        BudgetThresholdCrossed(
            of=purse.of, name=purse.name, limit=limit, percent=percent, limit_value=most, spent=spent
        ),
    )
    step = purse.name if purse.of == "step" else None
    moment = Moment(
        event=hook.event,
        target=_target(scope.around.persona, step),
        persona=scope.around.persona,
        step=step,
        details={"limit": limit, "limit_value": most, "spent": spent, "percent": percent},
    )
    # Under the place of the call that crossed it: the budget's own may be another task's, or two at once.
    await _ask(scope, scope.op(f"{hook.event}:{hook.name}"), hook, moment)


# ---------------------------------------------------- handoffs and requests


async def handed_off(scope: Scope, op: str, request: StateRequested, version: int, *, conflict: bool) -> None:
    """Tell who wants to know that the operation `op` passed a task on."""
    if scope.around.hooks is None:
        return
    kept: dict[str, Any] = msgspec.msgpack.decode(request.content)
    said = {name: kept[name] for name in ("summary", "handoff", "writer")}
    where = {"root": request.root, "session": request.session, "key": request.key}
    await _told(scope, op, "OnHandoffEmitted", {**where, **said, "version": version, "conflict": conflict})


async def people_asked(scope: Scope, op: str, asked: ApprovalRequested) -> None:
    """Tell who wants to know that the operation `op` asked people for something."""
    if scope.around.hooks is None:
        return
    names = ("request", "kind", "action", "principal", "quorum", "due")
    said: dict[str, Any] = {name: getattr(asked, name) for name in names}
    said["args"] = msgspec.msgpack.decode(asked.args)
    said["reviewers"] = None if asked.reviewers is None else list(asked.reviewers)
    await _told(scope, op, "OnApprovalRequested", said)


async def _told(scope: Scope, op: str, event: Event, details: dict[str, Any]) -> None:
    around = scope.around
    assert around.hooks is not None
    for hook in around.hooks.matching(event, around.persona, around.step):
        moment = Moment(
            event=event,
            target=_target(around.persona, around.step),
            persona=around.persona,
            step=around.step,
            details=details,
        )
        await _ask(scope, _op_of(op, hook), hook, moment)


# ---------------------------------------------------------------- sessions


async def session(persona: Persona[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A whole run: the program of `persona`, and the moments around it."""
    scope = current()
    assert scope is not None
    around = scope.around
    if around.policy is not None:
        narrowed = PolicyNarrowed(persona=around.persona, policy=around.policy.document())
        scope.machine.emit("", narrowed)
    if around.hooks is None:
        return await persona.function(*args, **kwargs)
    await _tell(scope, "SessionStart")
    try:
        result = await persona.function(*args, **kwargs)
        await _finish(scope)
        persona.signature.result.encode(result, ordered=True)  # a result that fits no log is no completion
    except (asyncio.CancelledError, GeneratorExit, Unwinding):
        raise
    except BaseException as error:
        if not scope.machine.unwinding:
            await _tell(scope, "SessionEnd", status="failed", error=type(error).__qualname__)
        raise
    await _tell(scope, "SessionEnd", status="completed")
    return result


async def _finish(scope: Scope) -> None:
    """The end of a program: what is left undone may be a reason not to call it done."""
    await _tell(scope, "PreFinish")
    unsettled = sorted(scope.machine.pending)
    if unsettled:
        await _tell(scope, "OnUnsettledDetected", operations=unsettled)
    await _tell(scope, "PostFinish")


async def _tell(scope: Scope, event: Event, **details: Any) -> None:
    around = scope.around
    assert around.hooks is not None
    for hook in around.hooks.matching(event, around.persona, None):
        moment = Moment(event=event, target=around.persona, persona=around.persona, details=details)
        decided = await _ask(scope, _op_of("", hook), hook, moment)
        if decided.decision == "deny":
            raise _denied(hook, decided, "")
