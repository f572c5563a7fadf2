"""Calling: arguments find their parameters, and whatever can be called is called.

A call is made from a frame, which says how deep the calls already go; a function gets a
frame of its own. Nothing of Python's own calling is used for functions of the snippet,
so its messages are ours.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any, Final

from playhead.snippet.meter import CALLS_DEPTH_MAX, HEIGHT_MAX, Limit
from playhead.snippet.protocol import Err, Outcome, ToolBinding
from playhead.snippet.text import from_json, to_json
from playhead.snippet.values import (
    COL,
    DEPTH,
    ERROR_TYPES,
    FIRST_VARIABLE,
    HEIGHT,
    LINE,
    METER,
    TASK,
    ErrorType,
    ErrorValue,
    Frame,
    Function,
    Helper,
    Raised,
    Tool,
    failed,
    kind_of,
)

MESSAGE_LENGTH_MAX: Final = 2_000
Named = dict[str, Any]


@types.coroutine
def suspend(request: Any) -> Generator[Any, Any, Any]:
    """Hand a request to the machine; what it sends back is the answer."""
    return (yield request)


class ToolCall:
    """A request of a task: call this tool."""

    __slots__ = ("binding", "col", "input_json", "line")

    def __init__(self, binding: str, input_json: str, line: int, col: int) -> None:
        self.binding = binding
        self.input_json = input_json
        self.line = line
        self.col = col


# Functions of the snippet.


def enter(frame: Frame, function: Function, arguments: list[Any], named: Named | None) -> Frame:
    """The frame of a call of `function` from `frame`."""
    code = function.code
    depth, height = frame[DEPTH] + 1, frame[HEIGHT] + code.height
    if depth > CALLS_DEPTH_MAX:
        raise Limit("max_depth", f"more than {CALLS_DEPTH_MAX} calls were open at once.")
    if height > HEIGHT_MAX:
        raise Limit("max_depth", "too much was open at once: calls in calls, and what they stand in.")
    new: Frame = [frame[METER], function.outer, depth, height, frame[TASK]]
    if code.plain and not named and len(arguments) == code.count:
        new += arguments
        new += code.unbound[code.count :]
        return new
    new += code.unbound
    _bind(new, function, arguments, dict(named or {}))
    return new


def _bind(new: Frame, function: Function, arguments: list[Any], named: Named) -> None:
    name, parameters = function.code.name, function.code.parameters
    names = parameters.names
    if len(arguments) > len(names) and parameters.rest is None:
        raise failed("TypeError", f"{name}() takes {len(names)} arguments, not {len(arguments)}")
    at = FIRST_VARIABLE
    first_default = len(names) - len(function.defaults)
    for place, each in enumerate(names):
        known = place >= parameters.positional_only and each in named
        if place < len(arguments):
            if known:
                raise failed("TypeError", f"{name}() got {each} twice")
            new[at] = arguments[place]
        elif known:
            new[at] = named.pop(each)
        elif place >= first_default:
            new[at] = function.defaults[place - first_default]
        else:
            raise failed("TypeError", f"{name}() needs {each}")
        at += 1
    for each in parameters.named:
        if each in named:
            new[at] = named.pop(each)
        elif each in function.named_defaults:
            new[at] = function.named_defaults[each]
        else:
            raise failed("TypeError", f"{name}() needs {each}=")
        at += 1
    if parameters.rest is not None:
        new[METER].grow(max(len(arguments) - len(names), 0))
        new[at] = tuple(arguments[len(names) :])
        at += 1
    if parameters.named_rest is not None:
        new[METER].grow(2 * len(named))
        new[at] = named
    elif named:
        raise failed("TypeError", f"{name}() takes no {next(iter(named))}")


# Helpers and errors.


def given(helper: Helper, arguments: list[Any], named: Named | None) -> list[Any]:
    """The arguments of a helper in its own order."""
    names = helper.names
    if not named and not helper.rest and not helper.named_rest and len(arguments) == len(names):
        if helper.named_only:
            raise _too_many(helper, arguments)
        return arguments
    rest = dict(named or {})
    found: list[Any] = [arguments] if helper.rest else arguments[:]
    by_position = len(found)
    if not helper.rest and by_position > len(names) - helper.named_only:
        raise _too_many(helper, arguments)
    for place in range(0 if helper.rest else by_position, len(names)):
        if names[place] in rest:
            found.append(rest.pop(names[place]))
        elif place >= helper.required:
            found.append(helper.defaults[place - helper.required])
        else:
            raise failed("TypeError", f"{helper.name}() needs {names[place]}")
    if helper.named_rest:
        found.append(rest)
    elif rest:
        name = next(iter(rest))
        twice = f"got {name} twice" if name in names else f"takes no {name}"
        raise failed("TypeError", f"{helper.name}() {twice}")
    return found


def _too_many(helper: Helper, arguments: list[Any]) -> Raised:
    most = len(helper.names) - helper.named_only
    return failed("TypeError", f"{helper.name}() takes {most} arguments, not {len(arguments)}")


def raisable(frame: Frame, kind: ErrorType, arguments: list[Any], named: Named | None) -> ErrorValue:
    """An error with what it says."""
    if named:
        raise failed("TypeError", f"{kind.name}() takes no {next(iter(named))}")
    frame[METER].grow(len(arguments) + 4)
    return ErrorValue(kind, tuple(arguments))


# Tools.


def tool_arguments(name: str, binding: ToolBinding, arguments: list[Any], named: Named | None) -> Named:
    """The arguments of a tool by name. Raises a `TypeError` of the snippet."""
    found: Named = {}
    if len(arguments) > len(binding.required):
        most = f"{len(binding.required)} by position ({', '.join(binding.required)})"
        raise failed("TypeError", f"{name}() takes {most if binding.required else 'its arguments by name'}")
    for parameter, value in zip(binding.required, arguments, strict=False):
        found[parameter] = value
    for parameter, value in (named or {}).items():
        if parameter in found:
            raise failed("TypeError", f"{name}() got {parameter} twice")
        if parameter not in binding.parameters and parameter not in binding.required and not binding.open:
            known = ", ".join(binding.parameters) or "nothing"
            raise failed("TypeError", f"{name}() takes no {parameter}; it takes {known}")
        found[parameter] = value
    for parameter in binding.required:
        if parameter not in found:
            raise failed("TypeError", f"{name}() needs {parameter}")
    return found


async def ask_tool(frame: Frame, name: str, arguments: Named, line: int, col: int) -> Any:
    """Ask the machine to call a tool, and wait for what comes of it."""
    meter = frame[METER]
    try:
        written = to_json(
            meter, arguments, bytes_max=meter.limits.max_input_bytes, what=f"the input of {name}()"
        )
    except Limit as limit:
        if limit.name != f"the input of {name}()":
            raise
        raise failed("ValueError", limit.message) from None
    outcome: Outcome = await suspend(ToolCall(name, written, line, col))
    if isinstance(outcome, Err):
        message = outcome.message[:MESSAGE_LENGTH_MAX]
        raise Raised(ErrorValue(ERROR_TYPES["ToolError"], (message,), outcome.category))
    try:
        return from_json(meter, outcome.value_json)
    except Raised as raised:
        message = f"{name}() gave what a snippet cannot hold: {raised.error.args[0]}"
    raise Raised(ErrorValue(ERROR_TYPES["ToolError"], (message,), "output"))


# Whatever it is.


def helper_frame(frame: Frame, line: int, col: int) -> Frame:
    """The frame of a helper that calls functions: where its own call stands is where theirs do."""
    return [frame[METER], None, frame[DEPTH], frame[HEIGHT], frame[TASK], line, col]


async def call(frame: Frame, callee: Any, arguments: list[Any], named: Named | None = None) -> Any:
    """Call whatever it is, from a helper, whose frame this is."""
    frame[METER].spend(1)
    return await call_from(frame, callee, arguments, named, frame[LINE], frame[COL])


async def call_from(
    frame: Frame, callee: Any, arguments: list[Any], named: Named | None, line: int, col: int
) -> Any:
    """Call whatever it is. The call stands in that line and column."""
    kind = type(callee)
    if kind is Function:
        inner = enter(frame, callee, arguments, named)
        code = callee.code
        try:
            return await code.body(inner) if code.waits else code.body(inner)
        except Raised as raised:
            raised.trace.append((code.name, line))
            raise
    if kind is Helper:
        ready = given(callee, arguments, named)
        if callee.waits:
            return await callee.function(helper_frame(frame, line, col), *ready)
        return callee.function(frame, *ready)
    if kind is Tool:
        ready_ = tool_arguments(callee.name, callee.binding, arguments, named)
        return await ask_tool(frame, callee.name, ready_, line, col)
    if kind is ErrorType:
        return raisable(frame, callee, arguments, named)
    raise failed("TypeError", f"a {kind_of(callee)} cannot be called")
