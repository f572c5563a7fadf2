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
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from keyword import iskeyword
from typing import Final
from unicodedata import normalize

from playhead.snippet.check_expressions import EXPRESSIONS
from playhead.snippet.check_statements import STATEMENTS
from playhead.snippet.checking import Checker, Rule, reserved
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
    """A snippet that may run, with the tools it was checked for.

    `inputs`: for each variable that is given from outside, its place in the frame.
    """

    __slots__ = ("bindings", "code", "inputs", "source")

    def __init__(
        self, source: str, bindings: Mapping[str, ToolBinding], code: Code, inputs: Mapping[str, int]
    ) -> None:
        self.source = source
        self.bindings = bindings
        self.code = code
        self.inputs = inputs


def check(
    source: str,
    bindings: Mapping[str, ToolBinding],
    limits: Limits = DEFAULTS,  # noqa: ARG001  a language of later days may ask
    inputs: Iterable[str] = (),
) -> Checked | list[Diagnostic]:
    """Check a snippet for the tools that it may call. `limits` change nothing: they are held while it runs.

    `inputs` are variables that hold a value when it begins. Raises `ValueError` for a binding whose name is
    that of a helper or an error, and for an input that could not be a variable of the snippet.
    """
    kept = _kept if len(source) <= LARGE else _kept_large
    found = kept(source, tuple(bindings.items()), tuple(inputs))
    return found if isinstance(found, Checked) else list(found)


def check_names(bindings: Collection[str], inputs: Iterable[str]) -> None:
    """Raise `ValueError` for a name that a tool, or an input beside these tools, cannot have."""
    taken = sorted(TAKEN.intersection(bindings))
    if taken:
        raise ValueError(f"no tool may be called {taken[0]}: that is the name of a helper or an error")
    for name in inputs:
        if not name.isidentifier() or iskeyword(name) or normalize("NFKC", name) != name or reserved(name):
            raise ValueError(f"no input may be called {name!r}: that is no name of a variable")
        if name in TAKEN or name in bindings:
            raise ValueError(
                f"no input may be called {name}: that is the name of a helper, an error or a tool"
            )


def _checked(
    source: str, bindings: tuple[tuple[str, ToolBinding], ...], inputs: tuple[str, ...]
) -> Checked | tuple[Diagnostic, ...]:
    named = dict(bindings)
    check_names(named, inputs)
    problems = Problems()
    text = check_text(source, problems)
    if not problems.found:
        check_tokens(text, problems)
    if problems.found:
        return tuple(problems.ordered())
    with Room():
        return _checked_tree(source, text, named, problems, inputs)


_kept: Final = lru_cache(KEPT_MAX)(_checked)
_kept_large: Final = lru_cache(KEPT_LARGE_MAX)(_checked)


def _checked_tree(
    source: str,
    text: str,
    bindings: dict[str, ToolBinding],
    problems: Problems,
    inputs: tuple[str, ...],
) -> Checked | tuple[Diagnostic, ...]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        problems.add(_place_of(error, text), "syntax", "this is not Python that can be read")
        return tuple(problems.ordered())
    except (ValueError, RecursionError, MemoryError, OverflowError):
        problems.add(Position(1, 1, 1, 1), "syntax", "this is not Python that can be read")
        return tuple(problems.ordered())
    places, scopes = Places(text), Scopes(tree, inputs)
    checker = Checker(places, problems, scopes, bindings, _RULES)
    checker.check_all(tree.body)
    for flaw in scopes.flaws:
        checker.problem(flaw.node, "name", flaw.message)
    if problems.found:
        return tuple(problems.ordered())
    code = compiled(tree, places, scopes, bindings)
    return Checked(source, bindings, code, {name: scopes.top.slots[name] for name in inputs})


def _place_of(error: SyntaxError, text: str) -> Position:
    """Where Python's parser gave up, inside of the text."""
    lines = text.split("\n")
    line = min(max(error.lineno or 1, 1), len(lines))
    col = min(max(error.offset or 1, 1), len(lines[line - 1]) + 1)
    return Position(line, col, line, col + 1)
