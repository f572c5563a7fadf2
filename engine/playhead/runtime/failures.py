"""Errors, recorded whole and raised again as what they were.

A tape cannot hold an exception object. It holds type, message, plain arguments,
cause chain and place; an error whose type is registered is raised again as that
type, any other as `ToolFailed` that carries everything. Live code gets the very
same object a replay would, so that the two cannot take different branches.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from playhead import errors as playhead_errors
from playhead.errors import BadValue, ForeignAwait, OperationError, PlayheadError
from playhead.events.fact import Failure, Site
from playhead.events.values import plain_or_none

CAUSES_MAX: Final = 8
MEMBERS_MAX: Final = 64
TRACE_LINES_MAX: Final = 12
MESSAGE_LENGTH_MAX: Final = 4_000

_NOT_THE_USERS: Final = ("playhead.", "playhead_projections.", "asyncio.", "concurrent.futures", "contextlib")
_GROUPS: Final = {("builtins", "ExceptionGroup"), ("builtins", "BaseExceptionGroup")}
_FOREIGN: Final = ("attached to a different loop", "await wasn't used with future", "Task got bad yield")
_categories: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (playhead_errors.ToolTimedOut, "timeout"),
    (TimeoutError, "timeout"),
    (asyncio.CancelledError, "cancelled"),
    (ConnectionError, "network"),
    (PermissionError, "permission_denied"),
)


def record_failure(error: BaseException, *, depth: int = 0) -> Failure:
    """What a tape keeps of `error`. Never raises: a text that cannot be kept is replaced by its repr."""
    error = _in_our_words(error)
    kind = type(error)
    trace = _trace(error.__traceback__)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if isinstance(error, OperationError) and _recorded(error) is not None:
        # It was raised again from a tape: what went wrong first is what counts.
        cause = None
    inside: Sequence[BaseException] = getattr(error, "exceptions", ()) if _is_group(error) else ()
    members = [
        record_failure(member, depth=depth + 1) for member in inside[:MEMBERS_MAX] if depth < CAUSES_MAX
    ]
    # A group is raised by whoever waited for its tasks: what went wrong stands in them.
    trace = next((member.trace for member in members if member.trace), trace)
    return Failure(
        type=kind.__qualname__,
        module=kind.__module__,
        message=_message(error),
        category=_category(error),
        arguments=plain_or_none(error.args),
        members=members,
        site=trace[-1] if trace else None,
        trace=trace,
        cause=record_failure(cause, depth=depth + 1) if cause is not None and depth < CAUSES_MAX else None,
        cause_suppressed=error.__suppress_context__ and error.__cause__ is None,
    )


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)


def _in_our_words(error: BaseException) -> BaseException:
    """asyncio tells of a foreign await with addresses and paths in its text, another time otherwise."""
    if type(error) is not RuntimeError or not any(words in str(error) for words in _FOREIGN):
        return error
    return ForeignAwait("program code awaited what its run does not own.").with_traceback(error.__traceback__)


def _message(error: BaseException) -> str:
    try:
        # The text of these says more than their message: what to do next, and how many members there are.
        text = str(error.message if isinstance(error, (PlayheadError, BaseExceptionGroup)) else error)
    except Exception as unspeakable:  # noqa: BLE001  an error whose text raises has no text
        text = f"({type(unspeakable).__qualname__} in its own text)"
    return text.encode("utf-8", "backslashreplace").decode()[:MESSAGE_LENGTH_MAX]


def _recorded(error: BaseException) -> Failure | None:
    """The failure that `error` was raised again from, if it was."""
    found = vars(error).get("failure") if isinstance(error, OperationError) else None
    return found if isinstance(found, Failure) else None


def _category(error: BaseException) -> str:
    if (recorded := _recorded(error)) is not None:
        return recorded.category
    said = getattr(error, "category", None) if isinstance(error, PlayheadError) else None
    if isinstance(said, str):
        return said
    return next((word for kind, word in _categories if isinstance(error, kind)), "generic")


def _trace(traceback: TracebackType | None) -> list[Site]:
    """Places from the outermost frame to the one that raised, without our own."""
    places: list[Site] = []
    while traceback is not None:
        frame = traceback.tb_frame
        module = frame.f_globals.get("__name__", "?")
        if not module.startswith(_NOT_THE_USERS):
            places.append(Site(module, frame.f_code.co_qualname, traceback.tb_lineno))
        traceback = traceback.tb_next
    return places[-TRACE_LINES_MAX:]


def error_types(given: Iterable[type[Exception]], what: str) -> tuple[type[Exception], ...]:
    """Types of exceptions as they were given. Raises `BadValue` for what is no list of these."""
    try:
        kinds: tuple[Any, ...] = tuple(given)
    except TypeError:
        kinds = (None,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise BadValue(
            f"{what} are a list of types of exceptions, not {given!r}.",
            expected="[ConnectionError]",
            found=given,
        )
    return kinds


class ErrorTypes:
    """Which recorded error types are raised again as themselves.

    Built-in exceptions and playhead's own are known; others are added by `Engine.open(errors=[...])`
    or `@tool(raises=[...])`. Nothing is imported by name.
    """

    def __init__(self, kinds: Iterable[type[Exception]] = ()) -> None:
        self._kinds: dict[tuple[str, str], type[Exception]] = {}
        self.add(_BUILTIN)
        self.add(kinds)

    def add(self, kinds: Iterable[type[Exception]]) -> None:
        """Register more types, by module and qualified name."""
        for kind in error_types(kinds, "errors"):
            self._kinds[kind.__module__, kind.__qualname__] = kind

    def revive(
        self, failure: Failure, *, otherwise: type[OperationError], also: Iterable[type[Exception]] = ()
    ) -> Exception:
        """The exception that `failure` records: its own type where that is known, else `otherwise`.

        `also` are known for this one failure. They are not kept: what a program gets must not depend on
        which tool of which run failed before.
        """
        if failure.members and (failure.module, failure.type) in _GROUPS:
            members = [self.revive(member, otherwise=otherwise, also=also) for member in failure.members]
            return self._led_to(ExceptionGroup(failure.message, members), failure, otherwise, also)
        kind = self._kinds.get((failure.module, failure.type)) or next(
            (kind for kind in also if (kind.__module__, kind.__qualname__) == (failure.module, failure.type)),
            None,
        )
        error = _wrap(failure, otherwise) if kind is None else _build(kind, failure)
        return self._led_to(error, failure, otherwise, also)

    def _led_to(
        self,
        error: Exception,
        failure: Failure,
        otherwise: type[OperationError],
        also: Iterable[type[Exception]],
    ) -> Exception:
        """`error` with the cause that `failure` records."""
        if failure.cause is not None:
            error.__cause__ = self.revive(failure.cause, otherwise=otherwise, also=also)
        error.__suppress_context__ = True
        return error


def _build(kind: type[Exception], failure: Failure) -> Exception:
    """An error of `kind` that says what the recorded one said.

    An `__init__` that takes other arguments than it hands on is passed by: what it sets besides is missing.
    """
    if failure.arguments is not None:
        with suppress(Exception):
            error = kind(*failure.arguments)
            if type(error) is kind and _message(error) == failure.message:
                return error
    said = [failure.message] if failure.arguments is None else failure.arguments
    bare = kind.__new__(kind, *said)
    bare.args = tuple(said)
    return bare


def _wrap(failure: Failure, otherwise: type[OperationError]) -> OperationError:
    text = f"{failure.type}: {failure.message}" if failure.message else failure.type
    error = otherwise(text)
    error.failure = failure  # type: ignore[attr-defined]
    return error


_BUILTIN: Final[list[type[Exception]]] = [
    kind
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, ExceptionGroup)
] + [
    playhead_errors.ToolTimedOut,
    playhead_errors.TimedOut,
    playhead_errors.BadValue,
    playhead_errors.ForkDenied,
    playhead_errors.NotFound,
    playhead_errors.OutsideRun,
    playhead_errors.SecretGone,
]
