"""What is wrong with a snippet: where, what, and what to write instead.

Lines and columns count from 1, columns in characters; the end is the place behind the last character.
"""

from __future__ import annotations

import ast
from typing import Final, NamedTuple

SHOWN_MAX: Final = 60


class Diagnostic(NamedTuple):
    """One problem. `code` is a word for programs, `message` and `hint` are for whoever wrote the snippet."""

    line: int
    col: int
    end_line: int
    end_col: int
    code: str
    message: str
    hint: str = ""


class Position(NamedTuple):
    """Where something stands."""

    line: int
    col: int
    end_line: int
    end_col: int


class Places:
    """Where the nodes of a tree stand in their source, in characters; the tree itself counts bytes."""

    __slots__ = ("_lines",)

    def __init__(self, source: str) -> None:
        self._lines = None if source.isascii() else source.split("\n")

    def start(self, node: ast.AST) -> tuple[int, int]:
        """Line and column of the first character."""
        line: int = getattr(node, "lineno", 1)
        return line, self._column(line, getattr(node, "col_offset", 0))

    def of(self, node: ast.AST) -> Position:
        """The whole place."""
        line, col = self.start(node)
        end_line: int = getattr(node, "end_lineno", None) or line
        end = getattr(node, "end_col_offset", None)
        return Position(line, col, end_line, col if end is None else self._column(end_line, end))

    def _column(self, line: int, offset: int) -> int:
        if self._lines is None or line > len(self._lines):
            return offset + 1
        return len(self._lines[line - 1].encode()[:offset].decode(errors="ignore")) + 1


class Problems:
    """What was found so far."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: dict[Diagnostic, None] = {}

    def add(self, place: Position, code: str, message: str, hint: str = "") -> None:
        """Note a problem, once."""
        self.found[Diagnostic(*place, code, message, hint)] = None

    def ordered(self) -> list[Diagnostic]:
        """All of them as they stand in the source."""
        return sorted(self.found, key=lambda each: each[:4])


def shown(name: str) -> str:
    """A name as a message says it, not longer than a message should be."""
    return name if len(name) <= SHOWN_MAX else f"{name[:SHOWN_MAX]}…"
