"""From tree to closures: each node becomes a function of a frame, once, before anything runs.

A part that may wait for a tool is an `async` function, every other one a plain function. A
builder knows where in the tree it is; what is built from which node is said in tables.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from playhead.snippet.diagnostic import Places
from playhead.snippet.meter import Limit
from playhead.snippet.operators import listed
from playhead.snippet.scopes import Scope, Scopes
from playhead.snippet.values import METER, Frame, Raised, Tool, failed, kind_of
from playhead.snippet.weight import block_steps

BREAK: Final = object()
CONTINUE: Final = object()
"""What a statement gives that leaves a round of a loop. `return` gives a tuple, everything else None."""

Run = Callable[[Frame], Any]


class Part(NamedTuple):
    """A part that can be run. `waits`: running it gives an awaitable."""

    run: Run
    waits: bool


Make = Callable[["Builder", Any], Part]


class Program(NamedTuple):
    """What is the same everywhere in a snippet."""

    places: Places
    scopes: Scopes
    tools: Mapping[str, Tool]
    tables: Mapping[type[ast.AST], Make]


class Builder:
    """Builds the parts of one function, lambda or comprehension."""

    __slots__ = ("caught", "program", "scope", "text")

    def __init__(
        self, program: Program, scope: Scope, *, caught: int | None = None, text: ast.AST | None = None
    ) -> None:
        self.program = program
        self.scope = scope
        self.caught = caught
        """The variable that holds the error of the `except` around, for `raise` alone."""
        self.text = text
        """The outermost f-string around; releases of Python differ about places inside of one."""

    def part(self, node: ast.AST) -> Part:
        """Build a node."""
        return self.program.tables[type(node)](self, node)

    def optional(self, node: ast.AST | None) -> Part | None:
        return None if node is None else self.part(node)

    def where(self, node: ast.AST) -> tuple[int, int]:
        """Line and column of a node."""
        return self.program.places.start(self.text or node)

    def within(self, node: ast.AST) -> Builder:
        """The builder of what a function, lambda or comprehension holds."""
        return Builder(self.program, self.program.scopes.of(node), text=self.text)

    def block(self, body: Iterable[ast.stmt], extra: int = 0) -> Part:
        """Statements one after the other. Their steps, and `extra` ones, are charged when they begin."""
        body = list(body)
        rows: list[Row] = []
        for node in body:
            if isinstance(node, ast.Pass | ast.Global | ast.Nonlocal):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            run, waits = self.part(node)
            rows.append((run, waits, *self.where(node)))
        cost = block_steps(body) + extra
        if not rows:
            return Part(_nothing(cost), False)
        if not any(waits for _, waits, _, _ in rows):
            return Part(_one(cost, rows[0]) if len(rows) == 1 else _several(cost, rows), False)
        return Part(_waiting(cost, rows), True)


Row = tuple[Run, bool, int, int]


def _nothing(cost: int) -> Run:
    def run(frame: Frame) -> Any:
        frame[METER].spend(cost)

    return run


def _one(cost: int, row: Row) -> Run:
    statement, _, line, col = row

    def run(frame: Frame) -> Any:
        meter = frame[0]
        meter.steps -= cost
        try:
            if meter.steps < 0:
                meter.spend(0)
            return statement(frame)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return run


def _several(cost: int, rows: list[Row]) -> Run:
    plain = [(run, line, col) for run, _, line, col in rows]
    _, first_line, first_col = plain[0]

    def run(frame: Frame) -> Any:
        line, col = first_line, first_col
        meter = frame[0]
        meter.steps -= cost
        try:
            if meter.steps < 0:
                meter.spend(0)
            for statement, line, col in plain:  # noqa: B007  read where one ends
                result = statement(frame)
                if result is not None:
                    return result
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise
        return None

    return run


def _waiting(cost: int, rows: list[Row]) -> Run:
    _, _, first_line, first_col = rows[0]

    async def run(frame: Frame) -> Any:
        line, col = first_line, first_col
        meter = frame[0]
        meter.steps -= cost
        try:
            if meter.steps < 0:
                meter.spend(0)
            for statement, waits, line, col in rows:  # noqa: B007  read where one ends
                result = await statement(frame) if waits else statement(frame)
                if result is not None:
                    return result
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise
        return None

    return run


# Parts whose parts are all run first, from left to right; what is done then does not wait.


def after(part: Part, finish: Callable[[Frame, Any], Any]) -> Part:
    """Run a part, then `finish` with its value."""
    run, waits = part

    async def run_waiting(frame: Frame) -> Any:
        return finish(frame, await run(frame))

    return Part(run_waiting if waits else lambda frame: finish(frame, run(frame)), waits)


def after_both(first: Part, second: Part, finish: Callable[[Frame, Any, Any], Any]) -> Part:
    """Run two parts, then `finish` with their values."""
    a, b = first.run, second.run

    async def run_waiting(frame: Frame) -> Any:
        left = await a(frame) if first.waits else a(frame)
        return finish(frame, left, await b(frame) if second.waits else b(frame))

    waits = first.waits or second.waits
    return Part(run_waiting if waits else lambda frame: finish(frame, a(frame), b(frame)), waits)


def after_all(parts: Sequence[Part], finish: Callable[[Frame, list[Any]], Any]) -> Part:
    """Run all parts, then `finish` with a new list of their values."""
    runs = [run for run, _ in parts]

    async def run_waiting(frame: Frame) -> Any:
        values: list[Any] = []
        for part, waits in parts:
            values.append(await part(frame) if waits else part(frame))
        return finish(frame, values)

    def run(frame: Frame) -> Any:
        return finish(frame, [part(frame) for part in runs])

    waits = any(each.waits for each in parts)
    return Part(run_waiting if waits else run, waits)


def values_of(parts: Sequence[Part]) -> Part:
    """The values of all parts as a new list."""
    return after_all(parts, lambda _, values: values)


# What stands behind a star is read when it is reached: what comes after may change it.


def starred(part: Part) -> Part:
    """What `*` spreads, as a new list."""
    return after(part, lambda frame, value: listed(frame[METER], value))


def double_starred(part: Part) -> Part:
    """What `**` spreads, as a new dict."""
    return after(part, _copied)


def _copied(frame: Frame, value: Any) -> dict[Any, Any]:
    if type(value) is not dict:
        raise failed("TypeError", f"** spreads a dict, not a {kind_of(value)}")
    frame[METER].grow(2 * len(value))
    return value.copy()
