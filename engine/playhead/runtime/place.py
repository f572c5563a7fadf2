"""Places in the user's code: where an operation was asked for, and which code it was.

Recorded and shown, never compared, and never a path of a machine.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import sys
from asyncio.events import Handle
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, Final, TypeVar, cast

from playhead.events.fact import Site

T = TypeVar("T")
R = TypeVar("R")
MODULES_KEPT_MAX: Final = 1_000


def is_ours(frame: FrameType) -> bool:
    """Whether `frame` is playhead's or a library's that runs programs, rather than the user's."""
    return _is_our_module(frame.f_globals.get("__name__", ""))


@functools.lru_cache(MODULES_KEPT_MAX)
def _is_our_module(module: str) -> bool:
    return (module.startswith(_OURS) and not module.startswith(_PROGRAMS)) or module == "playhead"


def is_pump(frame: FrameType) -> bool:
    """Whether `frame` calls program code: what is below it belongs to whoever runs the loop."""
    # The module first: whoever asks for the code of a frame raises an audit event.
    if frame.f_globals.get("__name__") not in _PUMPS:
        return False
    code = frame.f_code
    return code.co_name == "_run_ready" or code is _CALLBACK


_OURS: Final = ("playhead.", "playhead_projections.", "asyncio", "anyio", "contextlib")
_PROGRAMS: Final = "playhead_projections.demo."
"""Ours, and programs like those of users all the same."""
_PUMPS: Final = ("playhead.runtime.loop", "asyncio.events")
_CALLBACK: Final = Handle._run.__code__
SITES_KEPT_MAX: Final = 20_000

Place = tuple[str, CodeType, int]
"""Module, code and instruction of a call: a line is looked up only where somebody wants to see it."""

MAPPED: ContextVar[Place | None] = ContextVar("playhead_mapped", default=None)
"""Where the program asked for what playhead itself now calls for it, in a task of its own."""

_sites: dict[tuple[int, int], tuple[CodeType, Site]] = {}
"""Sites by the identity of their code, which is kept beside them so that it stays theirs."""


def place_of(frame: FrameType) -> Place:
    """The place of `frame`, or of the innermost frame below it that is the user's own."""
    module = frame.f_globals.get("__name__", "?")
    if module == __name__ and (mapped := MAPPED.get()) is not None:
        return mapped
    if module.startswith("playhead."):
        if (outer := _own_frame(frame)) is not None:
            return place_of(outer)
        if (mapped := MAPPED.get()) is not None:
            return mapped
    return module, frame.f_code, frame.f_lasti


async def call_mapped(function: Callable[[T], Awaitable[R]], item: T) -> R:
    """Call `function` in a task of its own: below this frame nobody has to be looked for."""
    return await function(item)


def site_at(place: Place) -> Site:
    """The recorded form of a place: module, qualified name and line."""
    module, code, instruction = place
    known = _sites.get((id(code), instruction))
    if known is not None and known[1].module == module:
        return known[1]
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    site = Site(module, code.co_qualname, next(lines, None) or code.co_firstlineno)
    if len(_sites) >= SITES_KEPT_MAX:
        _sites.clear()
    _sites[id(code), instruction] = (code, site)
    return site


def site_of(frame: FrameType) -> Site:
    """The place of `frame`: module, qualified name and line."""
    return site_at((frame.f_globals.get("__name__", "?"), frame.f_code, frame.f_lasti))


def call_site() -> Site | None:
    """The innermost place on the stack that is the user's own code."""
    frame = _own_frame(sys._getframe(1))
    if frame is not None:
        return site_of(frame)
    mapped = MAPPED.get()
    return None if mapped is None else site_at(mapped)


def _own_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame from `frame` outwards that is the user's own, of what runs now."""
    while frame is not None and is_ours(frame):
        frame = None if is_pump(frame) else frame.f_back
    return frame


def waiting_frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of the user's own in which `task` waits, outermost first."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(waiting, f"{kind}_frame")), None)
        if kind is None:
            break
        frame: FrameType | None = getattr(waiting, f"{kind}_frame")
        if frame is not None and not is_ours(frame):
            yield frame
        waiting = getattr(waiting, f"{kind}_yieldfrom" if kind == "gi" else f"{kind}_await")


def standing(task: asyncio.Task[Any]) -> FrameType | None:
    """The innermost frame of the user's own in which `task` waits; None where it waits in none."""
    return next(reversed(list(waiting_frames(task))), None)


def code_digest(function: Any) -> str:
    """16 hex digits over the bytecode of `function`: other code, other digest. Comments do not count."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    return str(_digest_of(code).hexdigest()[:16])


def _digest_of(code: Any) -> Any:
    digest = hashlib.sha256(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            digest.update(_digest_of(constant).digest())
        elif isinstance(constant, frozenset):
            members: list[str] = sorted(repr(member) for member in cast("frozenset[object]", constant))
            digest.update(repr(members).encode())
        else:
            digest.update(repr(constant).encode())
    return digest
