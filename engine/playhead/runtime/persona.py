"""Personas: programs that an engine can run.

    @persona
    async def audit(urls: list[str]) -> Report: ...

A persona is registered by name, because a run must find its program again in
another process, and nothing is ever imported by name.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from playhead.errors import ProgramError
from playhead.events.rules import PersonaEntered, PersonaExited
from playhead.policy.budget import Budget, budget_of
from playhead.policy.capability import Policy
from playhead.runtime.around import Around
from playhead.runtime.place import Place, code_digest, place_of, site_at
from playhead.runtime.purse import Purse
from playhead.runtime.scope import CURRENT, current
from playhead.runtime.signature import Signature, check_name
from playhead.runtime.stage import Stage, Stages, checked_stages

P = ParamSpec("P")
R = TypeVar("R")

Mode = Literal["strict", "relaxed"]


class Persona(Generic[P, R]):
    """A function marked with `@persona`."""

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        *,
        name: str | None = None,
        mode: Mode = "strict",
        stages: Iterable[Stage] = (),
        policy: Policy | None = None,
        budget: Budget | Mapping[str, Any] | None = None,
    ) -> None:
        if not inspect.iscoroutinefunction(getattr(function, "function", function)):
            raise ProgramError(
                f"{getattr(function, '__qualname__', function)} is no async function, and a persona is one.",
                next_step="Write `async def`.",
            )
        self.function = function
        self.name = check_name(name or function.__name__, "a persona")
        if mode not in ("strict", "relaxed"):
            raise ProgramError(
                f"mode of persona {self.name} is {mode!r}.", expected="'strict' or 'relaxed'", found=mode
            )
        if policy is not None and not isinstance(policy, Policy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(
                f"policy of persona {self.name} is no Policy.", found=policy, next_step="Write Policy(...)."
            )
        self.mode: Mode = mode
        self.stages = checked_stages(stages, self.name)
        self.policy = policy
        self.budget = budget_of(budget, f"persona {self.name}")
        plain = getattr(function, "function", function)
        self.signature = Signature(plain, f"persona {self.name}")
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        return f"<persona {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        if current() is None:
            return cast("Coroutine[Any, Any, R]", self.function(*args, **kwargs))
        return self._run(args, kwargs, place_of(sys._getframe(1)))

    @functools.cached_property
    def code(self) -> str:
        return code_digest(self.function)

    def around(self, outer: Around, op: str = "") -> Around:
        """What encloses a call of this persona inside `outer`. `op` is the call, "" for a whole run."""
        purse = outer.purse
        if self.budget is not None and not self.budget.unlimited:
            function = self.function.__qualname__
            purse = Purse(self.budget, of="persona", name=self.name, function=function, op=op, outer=purse)
        return Around(
            persona=self.name,
            hooks=outer.hooks,
            stages=Stages(self.stages) if self.stages else None,
            model=outer.model,
            policy=outer.policy if self.policy is None else outer.narrowed(self.policy),
            purse=purse,
            depth=outer.depth,
            reviewer_keys=outer.reviewer_keys,
            agents=outer.enclosing,
        )

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place) -> R:
        """A call from inside a run: the code of another persona, under what encloses the call."""
        outer = current()
        assert outer is not None
        machine = outer.machine
        op = outer.op(self.name)
        machine.check_inside(op)
        around = self.around(outer.around, op)
        machine.emit(op, PersonaEntered(persona=self.name, policy=around.policy_words, site=site_at(place)))
        token = CURRENT.set(outer.inner(op, around))
        status: Literal["completed", "failed", "cancelled"] = "completed"
        try:
            return await self.function(*args, **kwargs)
        except BaseException as error:
            status = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
            raise
        finally:
            CURRENT.reset(token)
            if not machine.unwinding:
                machine.emit(op, PersonaExited(persona=self.name, status=status))


@overload
def persona(function: Callable[P, Awaitable[R]], /) -> Persona[P, R]: ...
@overload
def persona(
    *,
    name: str | None = None,
    mode: Mode = "strict",
    stages: Iterable[Stage] = (),
    policy: Policy | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Persona[P, R]]: ...
def persona(function: Any = None, /, **options: Any) -> Any:
    """Mark an async function as a persona: a program that an engine can start, resume and replay.

    `mode` is `strict` (the run has an event loop of its own, in which plain asyncio and anyio are
    deterministic) or `relaxed` (the program lives in the caller's loop and must use playhead's own
    combinators). `stages` narrow what the steps of their names may do, `policy` what the whole program
    may, and `budget` is what all its model calls may use. Called from inside a run, a persona is a part of
    that run, under what encloses the call.

    Raises `ProgramError` for a function that is not async and for two stages of one name, and
    `ValueError` for a budget that cannot be read.
    """
    if function is not None:
        return Persona(function)
    return functools.partial(Persona, **options)


class Personas:
    """The personas an engine knows, by name."""

    def __init__(self, known: Iterable[Persona[..., Any]] = ()) -> None:
        self._known: dict[str, Persona[..., Any]] = {}
        for item in known:
            self.add(item)

    def add(self, item: Persona[..., Any] | object) -> None:
        """Register `item`. Raises `ProgramError` when another one has its name, or it is no persona."""
        if not isinstance(item, Persona):
            raise ProgramError(
                f"{item!r} is not a persona.",
                next_step="Mark the function with @persona before registering it.",
            )
        known = cast("Persona[..., Any]", item)
        if self._known.setdefault(known.name, known) is not known:
            raise ProgramError(
                f"two personas are called {known.name!r}.",
                next_step="Give one another name: @persona(name=...).",
            )

    def get(self, name: str) -> Persona[..., Any] | None:
        return self._known.get(name)

    @property
    def names(self) -> list[str]:
        return sorted(self._known)
