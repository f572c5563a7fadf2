"""Hooks: world code that is asked at certain moments, and whose word goes into the log.

    @hook("PreStep", persona="audit*", step="publish")
    async def office_hours(moment: Moment) -> Deny | None:
        return None if await open_now() else Deny("nobody is there to look at it")

    Engine.open("runs.db", personas=[audit], hooks=[office_hours])

Which hooks hold for a run is recorded when it starts. What a hook was shown and what it
said are two facts, as with a tool: a resumed run does not ask again what was answered,
and a replay asks nobody. What a hook asks a model with `model_call` is charged to it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor as ThreadExecutor
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, Literal, cast, get_args

import msgspec
from msgspec import Raw

from playhead.errors import BadValue, HookMissing, ProgramError
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.rules import HookDecided
from playhead.events.rules import HookFailed as HookFailedFact
from playhead.events.words import NOTHING, HookModelCall, HookWords
from playhead.policy.effect import EffectClass
from playhead.policy.glob import matches
from playhead.policy.retry import ONCE
from playhead.runtime.attempt import call_in_thread
from playhead.runtime.fence import check_model
from playhead.runtime.machine import Machine
from playhead.runtime.model import ASKS, ModelCall, Reply
from playhead.runtime.signature import check_name

Event = Literal[
    "SessionStart",
    "PreStep",
    "PostStep",
    "PreToolUse",
    "PostToolUse",
    "OnBudgetThreshold",
    "OnApprovalRequested",
    "OnHandoffEmitted",
    "PreFinish",
    "OnUnsettledDetected",
    "PostFinish",
    "SessionEnd",
    "OnPersonaPaused",
    "OnPersonaResumed",
]
EVENTS: Final[tuple[Event, ...]] = get_args(Event)
PERCENT_MAX: Final = 1_000.0
_WITH_PERCENT: Final = re.compile(r"OnBudgetThreshold\((.*)\)")


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook is shown. `target` is "persona.step", or what there is of it.

    `args` are arguments by name, of the step or the tool; `output` is what came back, in a Post event.
    `details` says more: of a budget its `limit`, `limit_value`, `spent` and `percent`; of unsettled work
    its `operations`; of the end of a session its `status`; of a handoff where it is kept, its `version`,
    its `writer`, `summary` and typed form (`handoff`), and whether it met another writer's (`conflict`); of
    what people are asked its `request`, `kind`, `action`, `args`, `reviewers`, `quorum` and when it is `due`.
    """

    event: str
    target: str
    persona: str
    step: str | None = None
    function: str | None = None
    tool: str | None = None
    args: dict[str, Any] = {}
    output: Any = None
    details: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Deny:
    """It must not go on. The program is told `HookDenied` with this reason."""

    reason: str


class ReplaceArgs:
    """Go on with these arguments instead."""

    __slots__ = ("args", "kwargs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs


@dataclass(frozen=True, slots=True)
class ReplaceOutput:
    """Go on with this output instead."""

    output: Any


_ANSWERS: Final[dict[str, tuple[type[Any], ...]]] = {
    "PreStep": (Deny, ReplaceArgs),
    "PreToolUse": (Deny, ReplaceArgs),
    "PostStep": (ReplaceOutput,),
    "PostToolUse": (ReplaceOutput,),
    "OnUnsettledDetected": (Deny,),
}


class Hook:
    """A function marked with `@hook`."""

    def __init__(
        self,
        function: Callable[[Moment], Any],
        event: str,
        *,
        name: str | None = None,
        persona: str = "*",
        step: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        if not callable(function):
            raise ProgramError(f"{function!r} is no function, and a hook is one.")
        self.function = function
        self.blocking = not inspect.iscoroutinefunction(function)
        self.event, percent = _event_of(event)
        if not isinstance(persona, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(f"persona of a hook is a pattern, not {persona!r}.", found=persona)
        if step is not None and (not isinstance(step, str) or "*" in step):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(
                f"step of a hook is the exact name of a step, not {step!r}.",
                found=step,
                next_step="Leave step out for every step, or register the hook once for each.",
            )
        if timeout_s is not None and not timeout_s > 0:
            raise ProgramError(f"timeout_s of a hook is above 0, not {timeout_s!r}.", found=timeout_s)
        self.timeout_s = timeout_s
        self.words = HookWords(
            name=check_name(name or str(getattr(function, "__name__", "hook")), "a hook"),
            event=self.event,
            persona=persona,
            step=step,
            percent=percent,
        )
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        return f"<hook {self.words.name} {self.event}>"

    def __call__(self, moment: Moment) -> Any:
        return self.function(moment)

    @property
    def name(self) -> str:
        return self.words.name


def hook(
    event: str,
    *,
    name: str | None = None,
    persona: str = "*",
    step: str | None = None,
    timeout_s: float | None = None,
) -> Callable[[Callable[[Moment], Any]], Hook]:
    """Mark a function as a hook: world code that is shown a `Moment` and may have a say.

    `event` is one of SessionStart, PreStep, PostStep, PreToolUse, PostToolUse, OnBudgetThreshold (also
    with a percentage, `OnBudgetThreshold(80)`; without one it is 100), OnApprovalRequested, OnHandoffEmitted,
    PreFinish, OnUnsettledDetected, PostFinish, SessionEnd, OnPersonaPaused, OnPersonaResumed. `persona` is
    a pattern, `step` the name of a step.

    It returns None to let things go on; a Pre event takes `Deny(reason)` and `ReplaceArgs(...)`, a Post
    event of a step or tool `ReplaceOutput(value)`, and OnUnsettledDetected `Deny`. Whatever else it
    returns or raises fails what it was asked about. Hooks are asked in the order in which the engine got
    them, and each sees the changes of the one before.

    Raises `ProgramError` for an event that does not exist and a percentage that is none. A crash while it
    is asked makes a resumed run ask again; an answer that is recorded is never asked for twice.
    """
    return lambda function: Hook(function, event, name=name, persona=persona, step=step, timeout_s=timeout_s)


def _event_of(text: str) -> tuple[Event, float | None]:
    """An event and its percentage."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ProgramError(
            f"a hook is for an event, not {text!r}.",
            expected=", ".join(EVENTS),
            found=type(text).__qualname__,
        )
    found = _WITH_PERCENT.fullmatch(text)
    if found is not None:
        try:
            percent = float(found.group(1))
        except ValueError:
            percent = -1.0
        if not isfinite(percent) or not 0 < percent <= PERCENT_MAX:
            raise ProgramError(f"{text}: the percentage is a number above 0, not {found.group(1)!r}.")
        return "OnBudgetThreshold", percent
    for event in EVENTS:
        if event == text:
            return event, 100.0 if event == "OnBudgetThreshold" else None
    raise ProgramError(
        f"there is no hook event {text!r}.",
        expected=", ".join(EVENTS),
        found=text,
        next_step="Use one of the events that exist; docs/steps.md says when each comes.",
    )


class HookRegistry:
    """The hooks that an engine knows, by name. Raises `ProgramError` where two have one name."""

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._known: dict[str, Hook] = {}
        for each in hooks:
            if not isinstance(each, Hook):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ProgramError(f"{each!r} is no hook.", next_step="Mark the function with @hook(...).")
            if self._known.setdefault(each.name, each) is not each:
                raise ProgramError(f"two hooks are called {each.name!r}.", next_step="Give one another name.")

    def get(self, name: str) -> Hook | None:
        return self._known.get(name)

    @property
    def words(self) -> list[HookWords]:
        """What is recorded of them."""
        return [each.words for each in self._known.values()]

    def matching(self, event: Event, persona: str) -> list[Hook]:
        """The hooks to tell of what happens to a persona outside of any run, in order."""
        return [
            each
            for each in self._known.values()
            if each.event == event and matches(each.words.persona, persona) and each.words.step is None
        ]

    def require(self, recorded: Sequence[HookWords], run: str) -> None:
        """Raise `HookMissing` where a run has a hook that is not here: nobody goes on unasked."""
        missing = [words.name for words in recorded if words.name not in self._known]
        if missing:
            raise HookMissing(
                f"run {run} is under hooks that this engine does not have: {', '.join(missing)}.",
                expected=missing,
                found=sorted(self._known),
            )


class Hooks:
    """The hooks that hold for a run, as its first fact says."""

    __slots__ = ("_words",)

    def __init__(self, words: Sequence[HookWords]) -> None:
        self._words = tuple(words)

    def matching(self, event: Event, persona: str, step: str | None) -> list[HookWords]:
        """The hooks to ask, in order."""
        return [
            words
            for words in self._words
            if words.event == event
            and matches(words.persona, persona)
            and (words.step is None or words.step == step)
        ]


async def tell(hook: Hook, moment: Moment, threads: ThreadExecutor) -> None:
    """Show a hook what has happened. Raises what it raises, and `BadValue` where it wants a say."""
    if hook.blocking:
        said = await call_in_thread(threads, hook.function, moment)
    else:
        said = await asyncio.wait_for(hook.function(moment), hook.timeout_s)
    if said is not None:
        raise BadValue(
            f"{moment.event} hook {hook.name} must return None, got {type(said).__qualname__}.",
            expected="None",
            found=type(said).__qualname__,
        )


class HookCall:
    """One question to a hook, as a runner carries it out."""

    effect = EffectClass.READ_ONLY
    retry = ONCE

    def __init__(
        self,
        hook: Hook,
        moment: Moment,
        machine: Machine,
        encode: Callable[[Any], Raw] | None,
        model: Any,
        *,
        secret: Sequence[str] = (),
    ) -> None:
        self.name = hook.name
        self.timeout_s = hook.timeout_s
        self._hook = hook
        self._moment = moment
        self._machine = machine
        self._encode = encode
        self._model = model
        self._secret = secret
        self._calls: list[HookModelCall] = []

    async def act(self, threads: ThreadExecutor) -> Any:
        token = ASKS.set(functools.partial(self._ask, threads))
        try:
            if self._hook.blocking:
                return await call_in_thread(threads, self._hook.function, self._moment)
            return await self._hook.function(self._moment)
        finally:
            ASKS.reset(token)

    async def _ask(self, threads: ThreadExecutor, client: Any, request: Any) -> Reply:
        """What `model_call` is inside a hook: asked at once, and charged to the hook."""
        client = self._model if client is None else client
        if client is None:
            raise ProgramError("model_call(request) needs a client, and this engine has none.")
        check_model(self._machine.fence, client.name)
        reply = await ModelCall(client, request, self._machine, retry=ONCE, timeout_s=None).act(threads)
        self._calls.append(
            HookModelCall(
                client=client.name,
                model=reply.model or getattr(request, "model", None),
                usage=reply.usage,
                cost_micros=reply.cost_micros,
                cost_source=reply.cost_source,
            )
        )
        return reply

    def completed(self, value: Any, number: int) -> OutcomeFact:
        allowed = _ANSWERS.get(self._moment.event, ())
        if value is not None and not isinstance(value, allowed):
            names = ["None", *(kind.__name__ for kind in allowed)]
            raise BadValue(
                f"{self._moment.event} hook {self.name} must return {' or '.join(names)},"
                f" got {type(value).__qualname__}.",
                expected=names,
                found=type(value).__qualname__,
            )
        if isinstance(value, Deny):
            return self._decided("deny", number, reason=str(value.reason))
        if isinstance(value, (ReplaceArgs, ReplaceOutput)):
            assert self._encode is not None
            return self._decided("replace", number, value=self._encode(value))
        return self._decided("allow", number)

    def _decided(
        self, decision: Any, number: int, *, reason: str = "", value: Raw | None = None
    ) -> OutcomeFact:
        return HookDecided(
            decision=decision,
            reason=reason,
            value=Raw(NOTHING) if value is None else self._machine.redacted(value, self._secret),
            model_calls=tuple(self._calls),
            attempt=number,
        )

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return HookFailedFact(failure=failure, model_calls=tuple(self._calls), attempt=number)


def registry_of(machine: Machine) -> HookRegistry | None:
    """The hooks of the engine that runs `machine`; None on a tape, where nobody is asked."""
    return cast("HookRegistry | None", getattr(machine.host, "hooks", None))
