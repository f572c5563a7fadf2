"""Source with a mark wherever it may walk a set, which no profiler is told of.

    with marked(watch.walked):
        importlib.import_module("program")

A module of the user's own is compiled with each expression that is walked handed to a
function first. Lines, names and what the program does stay as they are.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from types import CodeType, FrameType
from typing import Any, Final

from playhead.replay.frames import is_installed

OURS: Final = frozenset({"playhead", "playhead_projections"})
MARK: Final = "__playhead_walked__"
_WALKING: Final = frozenset(
    {"list", "tuple", "next", "iter", "enumerate", "str", "repr", "map", "filter", "zip", "deque", "join",
     "extend", "fromkeys", "dumps"}
)  # fmt: skip
"""Functions and methods that walk what they are given, and keep the order."""


@contextmanager
def marked(walked: Callable[[Any, FrameType | None], None]) -> Generator[None]:
    """Modules of the user's own that are imported in here tell `walked` of what they walk, for ever after."""

    def mark(value: Any) -> Any:
        walked(value, sys._getframe(1))
        return value

    setattr(builtins, MARK, mark)
    as_it_was = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        own = fullname.partition(".")[0] not in OURS and not is_installed(path)
        return with_marks(self.get_data(path), path) if own else as_it_was(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        SourceFileLoader.get_code = as_it_was  # type: ignore[method-assign]


def with_marks(source: bytes, path: str) -> CodeType:
    """The code of a module, with marks. Raises `SyntaxError`."""
    tree = ast.fix_missing_locations(_Marks().visit(ast.parse(source, path)))
    code: CodeType = compile(tree, path, "exec", dont_inherit=True)
    return code


class _Marks(ast.NodeTransformer):
    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        node.iter = _mark(node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if not node.is_async:
            node.iter = _mark(node.iter)
        return node

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            node.value = _mark(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        if any(isinstance(target, (ast.Tuple, ast.List)) for target in node.targets):
            node.value = _mark(node.value)
        return node

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.AST:
        self.generic_visit(node)
        node.value = _mark(node.value)
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        self.generic_visit(node)
        node.value = _mark(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        if name in _WALKING:
            node.args = [each if isinstance(each, ast.Starred) else _mark(each) for each in node.args]
        return node


def _mark(value: ast.expr) -> ast.expr:
    call = ast.Call(func=ast.Name(id=MARK, ctx=ast.Load()), args=[value], keywords=[])
    return ast.copy_location(call, value)
