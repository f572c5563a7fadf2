"""Tools: world code that a run may call, and that leaves an intent and an outcome.

    @tool(side_effect_level="read_only", retry=Retry(max_attempts=3), timeout_s=10)
    async def fetch(url: str) -> Page: ...

Inside a run, `await fetch(url)` is an operation. Outside a run a tool is the plain
function it was.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Executor as ThreadExecutor
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)
from weakref import WeakSet

import msgspec
from msgspec import Raw

from playhead.errors import (
    BadValue,
    ProgramError,
    SecretGone,
    ToolFailed,
    ToolRejected,
)
from playhead.events.catalog import ToolCompleted, ToolRequested
from playhead.events.catalog import ToolFailed as ToolFailedFact
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.redaction import holds_redacted
from playhead.events.rules import ToolDenied
from playhead.events.words import EffectWord
from playhead.policy.action import Action, action_of
from playhead.policy.annotations import Annotations, Kind, words
from playhead.policy.effect import EffectClass, effect_class
from playhead.policy.level import known_level
from playhead.policy.retry import ONCE, Retry
from playhead.runtime.approving import covers
from playhead.runtime.attempt import call_in_thread, outcome_unknown
from playhead.runtime.enforcing import Effect, Permit, Wish, ask_again, check_wish, permitted
from playhead.runtime.failures import error_types
from playhead.runtime.moments import after_tool, before_tool
from playhead.runtime.place import Place, call_site, code_digest, place_of
from playhead.runtime.scope import Scope, current
from playhead.runtime.signature import Signature, check_name, own

if TYPE_CHECKING:
    from playhead.runtime.machine import Machine

P = ParamSpec("P")
R = TypeVar("R")


TOOLS: Final[WeakSet[Tool[..., Any]]] = WeakSet()
"""Every tool that there is in this process."""


class Tool(Generic[P, R]):
    """A function marked with `@tool`."""

    def __init__(
        self,
        function: Callable[P, Awaitable[R]] | Callable[P, R],
        *,
        name: str | None = None,
        side_effect_level: str | None = None,
        effect: str | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        reconcile: Callable[..., Any] | None = None,
        raises: Sequence[type[Exception]] = (),
        secret: Sequence[str] = (),
        kind: Kind = "other",
        capabilities: Mapping[str, Collection[str]] | None = None,
        path_params: Collection[str] | None = None,
        action: str | None = None,
    ) -> None:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ProgramError(
                f"{function.__qualname__} is a generator, and a tool returns once.",
                next_step="Return a list, or one completed value.",
            )
        self.function = function
        self.name = check_name(name or function.__name__, "a tool")
        self.blocking = not inspect.iscoroutinefunction(function)
        self.side_effect_level = side_effect_level
        self.effect = effect_class(level=side_effect_level, declared=effect)
        self._effect_word: EffectWord = self.effect.value
        if retry is not None and not isinstance(retry, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(f"retry of {self.name} is a Retry(...), not {retry!r}.", found=retry)
        self.retry = retry or ONCE
        if timeout_s is not None and timeout_s <= 0:
            raise ValueError(f"timeout_s of {self.name} must be above 0, not {timeout_s}")
        self.timeout_s = timeout_s
        self.reconcile = reconcile
        self.raises = error_types(raises, f"the raises of {self.name}")
        self.secret = tuple(sorted(words(secret, f"secret of {self.name}")))
        self.annotations = Annotations(
            kind=kind,
            side_effect_level=None if side_effect_level is None else known_level(side_effect_level),
            capabilities=capabilities,
            path_params=path_params,
        )
        self.action_class = action
        """The class of its effect as the tool names it itself; None where it follows from the rest."""
        self.wanted: Action | None = action_of(
            self.name, self.annotations, effect=self.effect, declared=action
        )
        self._side_effect = self.wanted.kind if self.wanted is not None else ""
        self.signature = Signature(function, f"tool {self.name}")
        unknown = sorted(set(self.annotations.path_params or ()) - set(self.signature.names))
        if unknown:
            raise ValueError(f"tool {self.name} has no parameter {', '.join(unknown)} to be a path")
        functools.update_wrapper(self, function, updated=())
        TOOLS.add(self)

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self.effect})>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        scope = current()
        if scope is None:
            return cast("Coroutine[Any, Any, R]", self.function(*args, **kwargs))
        place = place_of(sys._getframe(1))
        if scope.around.hooks is None:
            return self._perform(args, kwargs, place, None)
        return self._hooked(args, kwargs, place, None)

    def with_key(self, key: str) -> Callable[P, Coroutine[Any, Any, R]]:
        """This tool, with operations named by `key` instead of by counting. For calls that data decides."""

        def keyed(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            scope = current()
            if scope is None:
                return cast("Coroutine[Any, Any, R]", self.function(*args, **kwargs))
            perform = self._perform if scope.around.hooks is None else self._hooked
            return perform(args, kwargs, place_of(sys._getframe(1)), key)

        return keyed

    @functools.cached_property
    def code(self) -> str:
        return code_digest(self.function)

    async def _hooked(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place, key: str | None
    ) -> R:
        """A call that hooks are asked about, before and after. What a policy denies they are not asked."""
        scope = current()
        assert isinstance(scope, Scope)
        op = scope.op(self.name, key)
        args, kwargs = own(args), own(kwargs)  # so that what is judged is what is done
        permit = Permit()
        if scope.around.policy is not None:
            check_wish(scope, op, self._wish(scope, args, kwargs))
        call = await before_tool(scope, op, self, (args, kwargs))
        if scope.around.policy is not None:
            permit = await permitted(scope, op, self._wish(scope, *call))
            if permit.edited is not None:
                call = self.signature.decode(permit.edited)
                await ask_again(scope, op, self, call, permit)
        output = await self._perform(*call, place, key, op, permit)
        if permit.proposed is not None:
            return output
        return cast("R", await after_tool(scope, op, self, call, output))

    async def _perform(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        place: Place,
        key: str | None,
        op: str | None = None,
        permit: Permit | None = None,
    ) -> R:
        scope = current()
        assert isinstance(scope, Scope)
        machine = scope.machine
        op = op or scope.op(self.name, key)
        _ = self.signature.result  # a result that no log could hold is refused here, and not after the effect
        policy = scope.around.policy if permit is None else None
        if policy is not None and self.wanted is None and not policy.bounds_tools:
            policy = None  # it changes nothing, and what it says of effects is all that this policy says
        if policy is not None and policy.may_ask:
            args, kwargs = own(args), own(kwargs)  # as in _hooked
            permit = await permitted(scope, op, self._wish(scope, args, kwargs))
        if permit is not None and permit.proposed is not None:
            return cast("R", permit.proposed)
        if permit is not None and permit.edited is not None:
            args, kwargs = self.signature.decode(permit.edited)
        named, given, recorded = self._said(machine, args, kwargs)
        if policy is not None and permit is None:  # nobody is asked, so nothing changes meanwhile
            check_wish(scope, op, Wish(self.name, self.annotations, self.wanted, named, recorded))
        effect = None if permit is None else permit.effect
        if permit is not None and permit.judged not in (None, recorded):
            self._refuse(scope, op, recorded, effect)
        request = ToolRequested(
            tool=self.name,
            args=recorded,
            effect=self._effect_word,
            key=key,
            site=machine.site(place),
            code=self.code,
            side_effect=self._side_effect,
        )
        call = ToolCall(self, own(args), own(kwargs), machine, given)
        # What machine.perform() does, without a coroutine of its own between the program and the answer.
        pending = machine.ask(
            op, request, call.settle if effect is None else effect.watch(call.settle, request), call, place
        )
        try:
            return await pending.future  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            machine.abandon(pending)
            raise
        finally:
            if effect is not None:
                effect.over()

    def _refuse(self, scope: Scope, op: str, recorded: Raw, effect: Effect | None) -> NoReturn:
        """Arguments that cannot be held still are not those that were judged. Raises `ToolRejected`."""
        reason = f"arguments of {self.name} changed after they were judged"
        scope.machine.emit(op, ToolDenied(tool=self.name, args=recorded, reason=reason, site=call_site()))
        error = ToolRejected(reason, tool=self.name)
        if effect is not None:
            effect.refuse(error)
        raise error

    def _said(
        self, machine: Machine, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Any], Raw, Raw]:
        """Arguments by name, as they are recorded, and so without secrets. Raises `TypeError`, `BadValue`."""
        named = self.signature.bind(args, kwargs)
        given = self.signature.encode(named)
        return named, given, machine.redacted(given, self.secret)

    def _wish(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Wish:
        named, _, recorded = self._said(scope.machine, args, kwargs)
        return Wish(self.name, self.annotations, self.wanted, named, recorded, self._readable)

    def _readable(self, edited: Raw) -> Mapping[str, Any]:
        """Edited arguments by name. Raises `BadValue` for those of another tool."""
        args, kwargs = self.signature.decode(edited)
        named = self.signature.bind(args, kwargs)
        told = self.signature.encode(named)
        if not covers(msgspec.msgpack.decode(told), msgspec.msgpack.decode(edited)):
            raise BadValue(f"edited arguments of {self.name} name what it does not have.", found=edited)
        return named


class ToolCall(msgspec.Struct, eq=False):
    """One call of a tool, as a runner carries it out."""

    tool: Tool[..., Any]
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _machine: Any
    _given: Raw

    @property
    def effect(self) -> EffectClass:
        return self.tool.effect

    @property
    def retry(self) -> Retry:
        return self.tool.retry

    @property
    def timeout_s(self) -> float | None:
        return self.tool.timeout_s

    @property
    def name(self) -> str:
        return self.tool.name

    def settle(self, fact: OutcomeFact) -> Any:
        """What the program gets for the recorded `fact`, or the error that it is told."""
        if isinstance(fact, ToolCompleted):
            return self.tool.signature.result.decode(fact.result)
        assert isinstance(fact, ToolFailedFact)
        raise self._machine.errors.revive(fact.failure, otherwise=ToolFailed, also=self.tool.raises)

    async def act(self, threads: ThreadExecutor) -> Any:
        if holds_redacted(self._given):
            raise SecretGone(f"an argument of {self.name} was redacted when it was recorded.")
        if not self.tool.blocking:
            return await cast("Awaitable[Any]", self.tool.function(*self._args, **self._kwargs))
        return await call_in_thread(threads, self.tool.function, *self._args, **self._kwargs)

    async def reconcile(self, threads: ThreadExecutor) -> Any:
        """Ask the tool's own function what became of this call."""
        function = self.tool.reconcile
        assert function is not None
        if inspect.iscoroutinefunction(function):
            return await function(*self._args, **self._kwargs)
        return await call_in_thread(threads, function, *self._args, **self._kwargs)

    def completed(self, value: Any, number: int) -> OutcomeFact:
        result = self.tool.signature.result.encode(value)
        return ToolCompleted(result=self._machine.redacted(result, self.tool.secret), attempt=number)

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        unknown = outcome_unknown(self.effect, failure)
        return ToolFailedFact(failure=failure, attempt=number, outcome_unknown=unknown)


@overload
def tool(function: Callable[P, Awaitable[R]], /) -> Tool[P, R]: ...
@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    side_effect_level: str | None = None,
    effect: str | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    reconcile: Callable[..., Any] | None = None,
    raises: Sequence[type[Exception]] = (),
    secret: Sequence[str] = (),
    kind: Kind = "other",
    capabilities: Mapping[str, Collection[str]] | None = None,
    path_params: Collection[str] | None = None,
    action: str | None = None,
) -> _ToolDecorator: ...
def tool(function: Any = None, /, **options: Any) -> Any:
    """Mark a function as a tool: world code whose calls are recorded.

    `side_effect_level` is one of none, read_only, workspace_write, process_exec, network,
    desktop_control; with it comes the effect class (none: pure, read_only: read_only, all others and
    undeclared: effect), unless `effect` names it. A blocking function runs in a thread. `timeout_s` is
    per attempt. `reconcile(*args, **kwargs)` answers for an effect in doubt: it returns the result, or
    raises `NotFound` when the effect did not happen, and anything else leaves it in doubt. `raises`
    names error types that a replay raises again as themselves. `secret` names arguments and fields that
    are redacted before anything is recorded. `kind`, `capabilities` and `path_params` are what policies
    go by: what sort of tool it is, which operations it needs by domain, and which parameters are paths;
    what is not declared is taken for the worst. `action` is the class of its effect, such as mcp.call,
    where that does not follow from the others.

    Raises `ProgramError` or `ValueError` where the declaration makes no sense. A crash while the tool
    runs leaves the intent; class `effect` is then in doubt, all others run again.
    """
    if function is not None:
        return Tool(function)
    return functools.partial(Tool, **options)


class _ToolDecorator(Protocol):
    """What `@tool(...)` returns, for type checkers."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Tool[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Tool[P, R]: ...
    def __call__(self, function: Any, /) -> Any: ...
