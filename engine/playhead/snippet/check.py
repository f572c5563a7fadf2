"""The check of a snippet: all that is wrong with it, or what is needed to run it.

    found = check(source, {"search": ToolBinding(("query", "limit"), ("query",))})
    if isinstance(found, Checked):
        step = Machine(found).start()
    else:
        for each in found:
            print(each.line, each.message, each.hint)

Nothing of the snippet runs here. What is wrong with the text itself is told first,
because a tree cannot be made of it; everything in the tree is told at once.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from playhead.snippet.check_expressions import EXPRESSIONS
from playhead.snippet.check_statements import STATEMENTS
from playhead.snippet.checking import Checker, Rule
from playhead.snippet.diagnostic import Diagnostic, Places, Position, Problems
from playhead.snippet.helpers import HELPERS
from playhead.snippet.lexing import check_tokens
from playhead.snippet.program import compiled
from playhead.snippet.protocol import Limits, ToolBinding
from playhead.snippet.room import Room
from playhead.snippet.scopes import Scopes
from playhead.snippet.source import check_text
from playhead.snippet.values import ERROR_TYPES, Code

KEPT_MAX: Final = 64
KEPT_LARGE_MAX: Final = 4
LARGE: Final = 4_096
"""Compiled, a snippet takes some hundred times the room of its source; of large ones few are kept."""
TAKEN: Final = frozenset(HELPERS) | frozenset(ERROR_TYPES)
"""Names that no tool may have."""
DEFAULTS: Final = Limits()
_RULES: Final[Mapping[type[ast.AST], Rule]] = {**STATEMENTS, **EXPRESSIONS}


class Checked:
    """A snippet that may run, with the tools it was checked for."""

    __slots__ = ("bindings", "code", "source")

    def __init__(self, source: str, bindings: Mapping[str, ToolBinding], code: Code) -> None:
        self.source = source
        self.bindings = bindings
        self.code = code


def check(
    source: str,
    bindings: Mapping[str, ToolBinding],
    limits: Limits = DEFAULTS,  # noqa: ARG001  a language of later days may ask
) -> Checked | list[Diagnostic]:
    """Check a snippet for the tools that it may call. `limits` change nothing: they are held while it runs.

    Raises `ValueError` for a binding whose name is that of a helper or an error.
    """
    kept = _kept if len(source) <= LARGE else _kept_large
    found = kept(source, tuple(bindings.items()))
    return found if isinstance(found, Checked) else list(found)


def _checked(source: str, bindings: tuple[tuple[str, ToolBinding], ...]) -> Checked | tuple[Diagnostic, ...]:
    named = dict(bindings)
    taken = sorted(TAKEN & named.keys())
    if taken:
        raise ValueError(f"no tool may be called {taken[0]}: that is the name of a helper or an error")
    problems = Problems()
    text = check_text(source, problems)
    if not problems.found:
        check_tokens(text, problems)
    if problems.found:
        return tuple(problems.ordered())
    with Room():
        return _checked_tree(source, text, named, problems)


_kept: Final = lru_cache(KEPT_MAX)(_checked)
_kept_large: Final = lru_cache(KEPT_LARGE_MAX)(_checked)


def _checked_tree(
    source: str, text: str, bindings: dict[str, ToolBinding], problems: Problems
) -> Checked | tuple[Diagnostic, ...]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        problems.add(_place_of(error, text), "syntax", "this is not Python that can be read")
        return tuple(problems.ordered())
    except (ValueError, RecursionError, MemoryError, OverflowError):
        problems.add(Position(1, 1, 1, 1), "syntax", "this is not Python that can be read")
        return tuple(problems.ordered())
    places, scopes = Places(text), Scopes(tree)
    checker = Checker(places, problems, scopes, bindings, _RULES)
    checker.check_all(tree.body)
    for flaw in scopes.flaws:
        checker.problem(flaw.node, "name", flaw.message)
    if problems.found:
        return tuple(problems.ordered())
    return Checked(source, bindings, compiled(tree, places, scopes, bindings))


def _place_of(error: SyntaxError, text: str) -> Position:
    """Where Python's parser gave up, inside of the text."""
    lines = text.split("\n")
    line = min(max(error.lineno or 1, 1), len(lines))
    col = min(max(error.offset or 1, 1), len(lines[line - 1]) + 1)
    return Position(line, col, line, col + 1)
