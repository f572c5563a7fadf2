"""Blocking work for a caller that waits, and that nobody leaves in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `function` returns, called in a thread.

    Who is cancelled meanwhile waits for its end all the same: a change of a file takes no time worth
    mentioning, and afterwards it is done or not done, and nothing goes on behind anybody's back.
    """
    context = contextvars.copy_context()
    call = functools.partial(function, *args, **kwargs)
    work: asyncio.Future[R] = asyncio.get_running_loop().run_in_executor(None, context.run, call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # looked at, so that nobody is told that it was not
        raise
