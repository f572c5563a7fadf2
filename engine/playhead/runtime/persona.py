"""Personas: programs that an engine can run.

    @persona
    async def audit(urls: list[str]) -> Report: ...

A persona is registered by name, because a run must find its program again in
another process, and nothing is ever imported by name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from playhead.errors import ProgramError
from playhead.runtime.place import code_digest
from playhead.runtime.signature import Signature, check_name

P = ParamSpec("P")
R = TypeVar("R")

Mode = Literal["strict", "relaxed"]


class Persona(Generic[P, R]):
    """A function marked with `@persona`."""

    def __init__(
        self, function: Callable[P, Awaitable[R]], *, name: str | None = None, mode: Mode = "strict"
    ) -> None:
        if not inspect.iscoroutinefunction(getattr(function, "function", function)):
            raise ProgramError(
                f"{getattr(function, '__qualname__', function)} is no async function, and a persona is one.",
                next_step="Write `async def`.",
            )
        self.function = function
        self.name = check_name(name or function.__name__, "a persona")
        self.mode: Mode = mode
        plain = getattr(function, "function", function)
        self.signature = Signature(plain, f"persona {self.name}")
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<persona {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return cast("Coroutine[Any, Any, R]", self.function(*args, **kwargs))

    @functools.cached_property
    def code(self) -> str:
        return code_digest(self.function)


@overload
def persona(function: Callable[P, Awaitable[R]], /) -> Persona[P, R]: ...
@overload
def persona(
    *, name: str | None = None, mode: Mode = "strict"
) -> Callable[[Callable[P, Awaitable[R]]], Persona[P, R]]: ...
def persona(function: Any = None, /, **options: Any) -> Any:
    """Mark an async function as a persona: a program that an engine can start, resume and replay.

    `mode` is `strict` (the run has an event loop of its own, in which plain asyncio and anyio are
    deterministic) or `relaxed` (the program lives in the caller's loop and must use playhead's own
    combinators). Raises `ProgramError` for a function that is not async.
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
