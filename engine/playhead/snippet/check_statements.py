"""The statements that snippets have, and what must hold in each."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Final

from playhead.snippet import hints
from playhead.snippet.check_expressions import annotation, arguments, target
from playhead.snippet.checking import Checker, Rule, skip
from playhead.snippet.diagnostic import shown
from playhead.snippet.values import ERROR_TYPES


def _expression(checker: Checker, node: ast.Expr) -> None:
    if isinstance(node.value, ast.Constant) and node.value.value is ...:
        return
    checker.check(node.value)


def _assign(checker: Checker, node: ast.Assign) -> None:
    checker.check(node.value)
    for each in node.targets:
        target(checker, each)


def _assign_augmented(checker: Checker, node: ast.AugAssign) -> None:
    if isinstance(node.op, ast.MatMult):
        checker.problem(node, "expression", *hints.NODES["MatMult"])
    target(checker, node.target)
    checker.check(node.value)


def _assign_annotated(checker: Checker, node: ast.AnnAssign) -> None:
    annotation(checker, node.annotation)
    if not isinstance(node.target, ast.Name):
        checker.problem(node.target, "annotation", "only a variable has an annotation", "leave it out")
    elif node.target.id in checker.scope.declared:
        checker.problem(
            node.target, "annotation", "a global or nonlocal name has no annotation", "leave it out"
        )
    target(checker, node.target)
    checker.check(node.value)


def _if(checker: Checker, node: ast.If) -> None:
    checker.check(node.test)
    checker.check_all(node.body)
    checker.check_all(node.orelse)


def _for(checker: Checker, node: ast.For) -> None:
    checker.check(node.iter)
    target(checker, node.target)
    _loop(checker, node.body)
    checker.check_all(node.orelse)


def _while(checker: Checker, node: ast.While) -> None:
    checker.check(node.test)
    _loop(checker, node.body)
    checker.check_all(node.orelse)


def _loop(checker: Checker, body: Iterable[ast.stmt]) -> None:
    checker.loops += 1
    checker.check_all(body)
    checker.loops -= 1


def _leave_loop(checker: Checker, node: ast.Break | ast.Continue) -> None:
    if not checker.loops:
        word = "break" if isinstance(node, ast.Break) else "continue"
        checker.problem(node, "statement", f"{word} stands in no loop")


def _try(checker: Checker, node: ast.Try) -> None:
    checker.check_all(node.body)
    for place, handler in enumerate(node.handlers):
        if handler.type is None and place < len(node.handlers) - 1:
            checker.problem(handler, "statement", "an except that catches everything comes last")
        checker.check(handler)
    checker.check_all(node.orelse)
    checker.check_all(node.finalbody)


def _handler(checker: Checker, node: ast.ExceptHandler) -> None:
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
    for each in kinds:
        if not isinstance(each, ast.Name) or each.id not in ERROR_TYPES:
            hint = hints.NAMES.get(each.id, "") if isinstance(each, ast.Name) else ""
            known = (
                "except names errors: Exception, ValueError, KeyError, ToolError, or several in parentheses"
            )
            checker.problem(each, "error", known, hint)
            if isinstance(each, ast.Name):
                checker.denied(each.id, each)
    if node.name is not None:
        checker.bind(node.name, node)
    checker.handlers += 1
    checker.check_all(node.body)
    checker.handlers -= 1


def _raise(checker: Checker, node: ast.Raise) -> None:
    if node.exc is None and not checker.handlers:
        checker.problem(node, "statement", "raise alone stands in an except only", "raise ValueError(…)")
    checker.check(node.exc)
    checker.check(node.cause)


def _return(checker: Checker, node: ast.Return) -> None:
    checker.check(node.value)


def _assert(checker: Checker, node: ast.Assert) -> None:
    checker.check(node.test)
    checker.check(node.msg)


def _function(checker: Checker, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    if isinstance(node, ast.AsyncFunctionDef):
        checker.problem(node, "statement", *hints.NODES["AsyncFunctionDef"])
    for each in node.decorator_list:
        checker.problem(each, "statement", "there are no decorators in snippets", "call the function by name")
        checker.check(each)
    if getattr(node, "type_params", None):
        checker.problem(node, "statement", "there are no parameters for types in snippets")
    checker.bind(node.name, node)
    arguments(checker, node.args)
    if node.returns is not None:
        annotation(checker, node.returns)
    before = checker.enter(checker.scopes.of(node), function=True)
    checker.check_all(node.body)
    checker.leave(before)


def _declare(checker: Checker, node: ast.Global | ast.Nonlocal) -> None:
    for each in node.names:
        checker.bind(each, node)
    if isinstance(node, ast.Nonlocal):
        for each in checker.scopes.lost(node, checker.scope):
            checker.problem(node, "name", f"no function around has a variable {shown(each)}")


def _delete(checker: Checker, node: ast.Delete) -> None:
    for each in node.targets:
        _deleted(checker, each)


def _deleted(checker: Checker, node: ast.expr) -> None:
    if isinstance(node, ast.Subscript):
        checker.check(node)
    elif isinstance(node, ast.Tuple | ast.List):
        for each in node.elts:
            _deleted(checker, each)
    else:
        checker.problem(node, "target", "del takes elements away, not names", "del values[key]")
        if isinstance(node, ast.Name):
            checker.bind(node.id, node)


def _nothing(_: Checker, __: ast.Pass) -> None:
    return


STATEMENTS: Final[Mapping[type[ast.AST], Rule]] = {
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.AugAssign: _assign_augmented,
    ast.AnnAssign: _assign_annotated,
    ast.If: _if,
    ast.For: _for,
    ast.While: _while,
    ast.Break: _leave_loop,
    ast.Continue: _leave_loop,
    ast.Try: _try,
    ast.ExceptHandler: _handler,
    ast.Raise: _raise,
    ast.Return: _return,
    ast.Assert: _assert,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.Global: _declare,
    ast.Nonlocal: _declare,
    ast.Delete: _delete,
    ast.Pass: _nothing,
    ast.withitem: skip,
    ast.match_case: skip,
}
