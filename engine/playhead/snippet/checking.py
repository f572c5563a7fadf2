"""Going over the tree of a snippet and noting everything in it that the language does not have.

What is allowed is on a list, by type of node; whatever is not on it is refused, also what
Python may have one day. Each rule looks at its own node and sends its parts back here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from playhead.snippet import hints
from playhead.snippet.diagnostic import Places, Problems, shown
from playhead.snippet.helpers import HELPERS
from playhead.snippet.protocol import ToolBinding
from playhead.snippet.scopes import Scope, Scopes
from playhead.snippet.values import ERROR_TYPES

NODES_MAX: Final = 10_000
DEPTH_MAX: Final = 40
TOOLS_NAMED_MAX: Final = 12

Rule = Callable[["Checker", Any], None]


class Checker:
    """The state of one check: where in the tree it is, and what it found."""

    def __init__(
        self,
        places: Places,
        problems: Problems,
        scopes: Scopes,
        bindings: Mapping[str, ToolBinding],
        rules: Mapping[type[ast.AST], Rule],
    ) -> None:
        self.places = places
        self.problems = problems
        self.scopes = scopes
        self.bindings = bindings
        self.rules = rules
        self.scope: Scope = scopes.top
        self.loops = 0
        self.handlers = 0
        self.depth = 0
        self.nodes = 0
        self.text: ast.AST | None = None
        """The outermost f-string around; releases of Python differ about places inside of one."""

    # Going on.

    def check(self, node: ast.AST | None) -> None:
        """Look at a node and all that is in it."""
        if node is None or self.nodes > NODES_MAX:
            return
        self.nodes += 1
        if self.nodes > NODES_MAX:
            message = f"a snippet has at most {NODES_MAX} parts"
            self.problem(node, "size", message, "do less in one snippet")
            return
        self.depth += 1
        if self.depth > DEPTH_MAX:
            message = f"this is nested deeper than {DEPTH_MAX}"
            self.problem(node, "depth", message, "calculate it in several steps")
        else:
            self.rules.get(type(node), refuse)(self, node)
        self.depth -= 1

    def check_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            self.check(node)

    def problem(self, node: ast.AST, code: str, message: str, hint: str = "") -> None:
        self.problems.add(self.places.of(self.text or node), code, message, hint)

    def enter(self, scope: Scope, *, function: bool) -> tuple[Scope, int, int]:
        """Look at what a function or comprehension holds. Give back what this gives to `leave`."""
        before = self.scope, self.loops, self.handlers
        self.scope = scope
        if function:
            self.loops = self.handlers = 0
        return before

    def leave(self, before: tuple[Scope, int, int]) -> None:
        self.scope, self.loops, self.handlers = before

    # Names.

    def bind(self, name: str, node: ast.AST) -> None:
        """A name is given a value here."""
        if name in self.bindings:
            self.problem(node, "rebinding", f"{shown(name)} is a tool and stays one", "choose another name")
        elif name in HELPERS:
            self.problem(node, "rebinding", f"{shown(name)} is a helper and stays one", "choose another name")
        elif name in ERROR_TYPES:
            self.problem(node, "rebinding", f"{shown(name)} is an error and stays one", "choose another name")
        elif reserved(name):
            self.problem(node, "name", f"{shown(name)} is no name for a variable", "choose another name")

    def load(self, name: str, node: ast.AST) -> None:
        """A name is read here."""
        if self.denied(name, node) or self.scope.owner(name) is not None:
            return
        if name in self.bindings or name in HELPERS or name in ERROR_TYPES:
            return
        hint = hints.NAMES.get(name, "")
        if not hint and 0 < len(self.bindings) <= TOOLS_NAMED_MAX:
            hint = f"there are the tools {', '.join(sorted(self.bindings))}"
        self.problem(node, "name", f"{shown(name)} is neither a variable, a helper nor a tool", hint)

    def denied(self, name: str, node: ast.AST) -> bool:
        """Whether the name is one of a tool that may not be called; that is a problem wherever it stands."""
        binding = self.bindings.get(name)
        if binding is None or not binding.refusal:
            return False
        self.problem(node, "denied", f"{shown(name)} may not be called: {binding.refusal}")
        return True


def reserved(name: str) -> bool:
    """Whether only Python itself gives such names."""
    return name.startswith("__") and name.endswith("__") and len(name) > 4


def refuse(checker: Checker, node: ast.AST) -> None:
    """What is not on the list. Its parts are looked at all the same, so that all is told at once."""
    name = type(node).__name__
    known = f"there is no {name} in snippets", ""
    message, hint = hints.NODES.get(name, known)
    if isinstance(node, ast.Import | ast.ImportFrom):
        hint = hints.for_import(node)
    checker.problem(node, "statement" if isinstance(node, ast.stmt) else "expression", message, hint)
    checker.loops += 1
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr | ast.stmt | ast.withitem | ast.match_case | ast.excepthandler):
            checker.check(child)
    checker.loops -= 1


def skip(checker: Checker, node: ast.AST) -> None:
    """A part of something that was refused: only what is in it is looked at."""
    checker.check_all(each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr | ast.stmt))
