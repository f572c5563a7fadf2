"""Hosts: whoever carries out the calls of a composition.

    StaticHost({"search": [{"path": "a.py"}]})
    CallableHost(lambda binding, arguments: TOOLS[binding](**arguments))

A host gets the entry of the manifest and the arguments by name, and gives back a plain JSON value. What it
raises fails the call; `CallFailed` says more about why than any other error can.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from playhead.composition.manifest import Entry

Arguments = dict[str, Any]


class Host(Protocol):
    """What carries out calls. It may be asked for several at once."""

    async def call(self, entry: Entry, arguments: Arguments) -> Any:
        """The answer of a tool, as a plain JSON value. Raises `CallFailed`, or any other error."""
        ...


class StaticHost:
    """Answers out of a table, by the tools' own names; for a tool that is not in it, with what it was asked.

    The metadata of a tool may hold its answer as `mock_output`.
    """

    def __init__(self, outputs: Mapping[str, Any] | None = None) -> None:
        self._outputs = dict(outputs or {})

    async def call(self, entry: Entry, arguments: Arguments) -> Any:
        if entry.name in self._outputs:
            return self._outputs[entry.name]
        if "mock_output" in entry.tool.metadata:
            return entry.tool.metadata["mock_output"]
        return {"tool": entry.name, "input": arguments}


class CallableHost:
    """Hands every call to one function, which is told the binding and the arguments."""

    def __init__(self, function: Callable[[str, Arguments], Any | Awaitable[Any]]) -> None:
        self._function = function

    async def call(self, entry: Entry, arguments: Arguments) -> Any:
        answer = self._function(entry.binding, arguments)
        return await answer if inspect.isawaitable(answer) else answer
