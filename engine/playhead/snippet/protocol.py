"""What a runtime knows of a machine that runs snippets: two methods, and what they give back.

    step = machine.start()
    while step.status == "waiting":
        op, outcome = ...                     # of one of step.calls, in the order of the log
        step = machine.resume(op, outcome)

The machine is synchronous, asks nobody and keeps no clock: the same source, bindings,
limits and outcomes give the same calls, result, output and number of steps, in every
later release. Values cross as JSON text, so that log and snippet never share an object.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, Protocol

LANGUAGE: Final = "snippet/1"

Status = Literal["waiting", "done", "failed", "limit"]


class Limits(NamedTuple):
    """What a snippet may use. All of it is counted, none of it is measured."""

    max_steps: int = 1_000_000
    max_cells: int = 4_000_000
    """All that is ever allocated: an element is a cell, and so are sixteen characters."""
    max_output_bytes: int = 65_536
    """JSON of the result and UTF-8 of what was printed, together."""
    max_input_bytes: int = 256 * 1024
    """JSON of the arguments of one call."""
    max_concurrent: int = 16
    """Items of one `map_bounded` that may be under way at once."""


class ToolBinding(NamedTuple):
    """A tool as a snippet sees it: parameters by name, and whether it takes others too.

    `required` are those that must be given, in the order in which they may be given without a name.
    """

    parameters: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    open: bool = False
    refusal: str = ""
    """Why calling it is refused before anything runs; empty where it is not."""


class Call(NamedTuple):
    """A tool that the snippet wants called. `path`: indexes of `map_bounded`, outermost first.

    Lines and columns count from 1, columns in characters.
    """

    op: int
    binding: str
    input_json: str
    line: int
    col: int
    path: tuple[int, ...]


class Ok(NamedTuple):
    """A tool gave this."""

    value_json: str


class Err(NamedTuple):
    """A tool failed. The category is a word that the host decided on, never read from the message."""

    category: str
    message: str


Outcome = Ok | Err


class SnippetError(NamedTuple):
    """What ended a snippet. `type` is the name of its error or of the limit, or `engine_error`.

    `trace`: of each call that was under way the function, and the line where it was called, outermost first.
    """

    type: str
    message: str
    line: int
    col: int
    trace: tuple[tuple[str, int], ...]


class Step(NamedTuple):
    """Where a snippet stands: what it waits for, or how it ended.

    `calls` are those that are new, none where it has ended. `stdout` is all that was printed so far.
    """

    status: Status
    calls: tuple[Call, ...]
    result_json: str | None
    stdout: str
    error: SnippetError | None
    steps: int

    def document(self) -> dict[str, Any]:
        """All of it as plain values."""
        plain = self._asdict()
        plain["calls"] = [call._asdict() for call in self.calls]
        plain["error"] = self.error and self.error._asdict()
        return plain


class SnippetVM(Protocol):
    """One run of one snippet."""

    def start(self) -> Step:
        """Run until every task waits or the snippet has ended."""
        ...

    def resume(self, op: int, outcome: Outcome) -> Step:
        """Hand over what came of call `op`, once. Raises `ValueError` for an op that is not waited for."""
        ...

    def close(self) -> None:
        """Give it up where it stands. Nothing of it runs any further; closing again does nothing."""
        ...
