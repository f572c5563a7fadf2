"""What calls do: of tools, helpers, methods, and whatever else a snippet calls.

Calls of helpers and methods that call nothing themselves are plain functions. All others
may come to a tool, so they wait.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final

from playhead.snippet.building import (
    Builder,
    Make,
    Part,
    Run,
    after,
    after_all,
    after_both,
    double_starred,
    starred,
    values_of,
)
from playhead.snippet.calling import (
    Named,
    ask_tool,
    call_from,
    given,
    helper_frame,
    tool_arguments,
)
from playhead.snippet.helpers import HELPERS
from playhead.snippet.meter import Limit
from playhead.snippet.methods import METHODS, method_of
from playhead.snippet.values import Frame, Helper, Raised, Tool, failed, kind_of

WAITING_METHODS: Final = frozenset({"sort"})


def call(builder: Builder, node: ast.Call) -> Part:
    """Build a call, in the way that its callee allows."""
    function = node.func
    place = builder.where(node)
    if isinstance(function, ast.Attribute):
        return _method(builder, node, function, place)
    if isinstance(function, ast.Name) and builder.scope.find(function.id) is None:
        tool = builder.program.tools.get(function.id)
        if tool is not None:
            return _tool(builder, node, tool, place)
        if function.id in HELPERS:
            return _helper(builder, node, HELPERS[function.id], place)
    return _anything(builder, node, place)


# Arguments.


def _is_plain(node: ast.Call) -> bool:
    """Whether all arguments are given by position, each written out."""
    return not node.keywords and not any(isinstance(each, ast.Starred) for each in node.args)


class _Arguments:
    """The arguments of a call as they are written: their parts, and what becomes of the values."""

    __slots__ = ("kinds", "parts")

    def __init__(self, builder: Builder, node: ast.Call) -> None:
        self.parts: list[Part] = []
        self.kinds: list[str | bool | None] = []
        """The name of an argument; None for one by position, True behind `*`, False behind `**`."""
        for each in node.args:
            star = isinstance(each, ast.Starred)
            part = builder.part(each.value if isinstance(each, ast.Starred) else each)
            self.parts.append(starred(part) if star else part)
            self.kinds.append(True if star else None)
        for keyword in node.keywords:
            part = builder.part(keyword.value)
            self.parts.append(part if keyword.arg else double_starred(part))
            self.kinds.append(keyword.arg or False)

    def sort(self, _: Frame, values: list[Any]) -> tuple[list[Any], Named]:
        """The values by position, and those by name."""
        arguments: list[Any] = []
        named: Named = {}
        for kind, value in zip(self.kinds, values, strict=True):
            if kind is None:
                arguments.append(value)
            elif kind is True:
                arguments += value
            elif kind is False:
                self.spread(value, named)
            elif kind in named:
                raise failed("TypeError", f"{kind} is given twice")
            else:
                named[str(kind)] = value
        return arguments, named

    def spread(self, value: dict[Any, Any], named: Named) -> None:
        for name, each in value.items():
            if type(name) is not str:
                raise failed("TypeError", f"the name of an argument is a text, not a {kind_of(name)}")
            if name in named:
                raise failed("TypeError", f"{name} is given twice")
            named[name] = each


def _arguments(builder: Builder, node: ast.Call) -> Part:
    """A part that gives `(arguments, named)`."""
    if _is_plain(node):
        parts = [builder.part(each) for each in node.args]
        return after_all(parts, lambda _, values: (values, None))
    found = _Arguments(builder, node)
    return after_all(found.parts, found.sort)


# Whatever is called.


def _anything(builder: Builder, node: ast.Call, place: tuple[int, int]) -> Part:
    line, col = place
    callee, callee_waits = builder.part(node.func)
    arguments, arguments_wait = _arguments(builder, node)

    async def run(frame: Frame) -> Any:
        function = await callee(frame) if callee_waits else callee(frame)
        try:
            found, named = await arguments(frame) if arguments_wait else arguments(frame)
            return await call_from(frame, function, found, named, line, col)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return Part(run, True)


# Tools.


def _tool(builder: Builder, node: ast.Call, tool: Tool, place: tuple[int, int]) -> Part:
    line, col = place
    name, binding = tool.name, tool.binding
    names = _names_of(node, tool)
    if names is None:
        arguments, arguments_wait = _arguments(builder, node)

        async def run_sorting(frame: Frame) -> Any:
            try:
                found, named = await arguments(frame) if arguments_wait else arguments(frame)
                given_ = tool_arguments(name, binding, found, named)
                return await ask_tool(frame, name, given_, line, col)
            except (Raised, Limit) as ended:
                ended.at(line, col)
                raise

        return Part(run_sorting, True)
    values, values_wait = values_of([builder.part(each) for each in (*node.args, *_values(node))])

    async def run(frame: Frame) -> Any:
        try:
            found = await values(frame) if values_wait else values(frame)
            return await ask_tool(frame, name, dict(zip(names, found, strict=True)), line, col)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return Part(run, True)


def _values(node: ast.Call) -> list[ast.expr]:
    return [each.value for each in node.keywords]


def _names_of(node: ast.Call, tool: Tool) -> list[str] | None:
    """The names of the arguments, where it is known beforehand that the tool takes them; else None."""
    if any(isinstance(each, ast.Starred) for each in node.args):
        return None
    if any(each.arg is None for each in node.keywords):
        return None
    named: Named = {each.arg: None for each in node.keywords if each.arg is not None}
    try:
        return list(tool_arguments(tool.name, tool.binding, [None] * len(node.args), named))
    except Raised:
        return None


# Helpers.


def _helper(builder: Builder, node: ast.Call, helper: Helper, place: tuple[int, int]) -> Part:
    has_key = any(each.arg is None or each.arg in ("key", "default") for each in node.keywords)
    if helper.waits and (helper.plain is None or has_key):
        return _waiting_helper(builder, node, helper, place)
    function = helper.function if helper.plain is None else helper.plain
    if _is_plain(node) and not helper.rest and not helper.named_rest:
        missing = len(helper.names) - len(node.args)
        by_position = len(node.args) <= len(helper.names) - helper.named_only
        if by_position and 0 <= missing <= len(helper.defaults):
            rest = helper.defaults[len(helper.defaults) - missing :]
            parts = [builder.part(each) for each in node.args]
            return _placed(_applied(function, parts, rest), place)
    arguments = _arguments(builder, node)
    return _placed(
        after(arguments, lambda frame, both: function(frame, *given(helper, both[0], both[1]))), place
    )


def _applied(function: Callable[..., Any], parts: list[Part], rest: tuple[Any, ...]) -> Part:
    """A helper and its arguments, of which the last are known beforehand."""
    if len(parts) == 1 and not rest:
        return after(parts[0], function)
    if len(parts) == 2 and not rest:
        return after_both(parts[0], parts[1], function)
    return after_all(parts, lambda frame, values: function(frame, *values, *rest))


def _waiting_helper(builder: Builder, node: ast.Call, helper: Helper, place: tuple[int, int]) -> Part:
    line, col = place
    arguments, arguments_wait = _arguments(builder, node)
    function = helper.function

    async def run(frame: Frame) -> Any:
        try:
            found, named = await arguments(frame) if arguments_wait else arguments(frame)
            ready = given(helper, found, named)
            return await function(helper_frame(frame, line, col), *ready)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return Part(run, True)


def _placed(part: Part, place: tuple[int, int]) -> Part:
    """The same part, which says where it stands when it fails."""
    line, col = place
    inner = part.run

    async def run_waiting(frame: Frame) -> Any:
        try:
            return await inner(frame)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    def run(frame: Frame) -> Any:
        try:
            return inner(frame)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return Part(run_waiting if part.waits else run, part.waits)


# Methods.


def _method(builder: Builder, node: ast.Call, function: ast.Attribute, place: tuple[int, int]) -> Part:
    name = function.attr
    receiver = builder.part(function.value)
    has_key = any(each.arg in (None, "key") for each in node.keywords)
    if name in WAITING_METHODS and has_key:
        return _waiting_method(receiver, name, _arguments(builder, node), place)
    # The method is looked for before the arguments are, as in Python.
    found = after(receiver, lambda _, value: (value, method_of(value, name)))
    if not _is_plain(node):
        arguments = _arguments(builder, node)
        return _placed(after_both(found, arguments, _apply), place)
    parts = [builder.part(each) for each in node.args]
    if receiver.waits or any(waits for _, waits in parts):
        return _placed(after_both(found, _arguments(builder, node), _apply), place)
    return Part(_plain_method(receiver.run, name, [run for run, _ in parts], place), False)


def _apply(frame: Frame, found: tuple[Any, Helper], both: tuple[list[Any], Named | None]) -> Any:
    value, method = found
    function = method.function if method.plain is None else method.plain
    return function(frame, value, *given(method, both[0], both[1]))


def _plain_method(receiver: Run, name: str, runs: list[Run], place: tuple[int, int]) -> Run:
    line, col = place
    count = len(runs)

    def run(frame: Frame) -> Any:
        value = receiver(frame)
        try:
            table = METHODS.get(type(value))
            method = table.get(name) if table is not None else None
            if method is None:
                method = method_of(value, name)
            values = [each(frame) for each in runs]
            if not method.simple or len(method.names) != count:
                values = given(method, values, None)
            return (method.plain or method.function)(frame, value, *values)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return run


def _waiting_method(receiver: Part, name: str, arguments: Part, place: tuple[int, int]) -> Part:
    line, col = place

    async def run(frame: Frame) -> Any:
        value = await receiver.run(frame) if receiver.waits else receiver.run(frame)
        try:
            method = method_of(value, name)
            found, named = await arguments.run(frame) if arguments.waits else arguments.run(frame)
            return await method.function(helper_frame(frame, line, col), value, *given(method, found, named))
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return Part(run, True)


CALLS: Final[Mapping[type[ast.AST], Make]] = {ast.Call: call}
