"""The expressions that snippets have, and what must hold in each."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Final

from playhead.snippet import hints
from playhead.snippet.checking import Checker, Rule
from playhead.snippet.diagnostic import shown
from playhead.snippet.methods import METHOD_NAMES
from playhead.snippet.scopes import Comprehension, parameters
from playhead.snippet.values import INT_MAX

_SPEC_TYPES: Final = frozenset("bcdeEfFgGosxX%")
_DIGITS: Final = frozenset("0123456789")
SPEC_DIGITS_MAX: Final = 3


def _constant(checker: Checker, node: ast.Constant) -> None:
    value = node.value
    if isinstance(value, bytes):
        checker.problem(
            node, "literal", "there are no bytes in snippets", "write a text, without b before it"
        )
    elif isinstance(value, complex):
        checker.problem(node, "literal", "there are no complex numbers in snippets")
    elif value is ...:
        checker.problem(node, "literal", "... stands alone only", "write None")
    elif isinstance(value, int) and value > INT_MAX:
        checker.problem(node, "number", "a whole number has at most 64 bits", "write a number with a point")


def _name(checker: Checker, node: ast.Name) -> None:
    if isinstance(node.ctx, ast.Load):
        checker.load(node.id, node)
    else:
        checker.bind(node.id, node)


def _unary(checker: Checker, node: ast.UnaryOp) -> None:
    operand = node.operand
    if isinstance(node.op, ast.USub) and isinstance(operand, ast.Constant) and operand.value == INT_MAX + 1:
        return
    checker.check(operand)


def _binary(checker: Checker, node: ast.BinOp) -> None:
    if isinstance(node.op, ast.MatMult):
        checker.problem(node, "expression", *hints.NODES["MatMult"])
    text = isinstance(node.left, ast.JoinedStr) or (
        isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
    )
    if text and isinstance(node.op, ast.Mod):
        checker.problem(node, "expression", "% does not format texts", "use an f-string")
    checker.check(node.left)
    checker.check(node.right)


def _boolean(checker: Checker, node: ast.BoolOp) -> None:
    checker.check_all(node.values)


def _conditional(checker: Checker, node: ast.IfExp) -> None:
    checker.check_all((node.test, node.body, node.orelse))


def _compare(checker: Checker, node: ast.Compare) -> None:
    sides = [node.left, *node.comparators]
    for place, operation in enumerate(node.ops):
        if isinstance(operation, ast.Is | ast.IsNot) and not any(
            isinstance(side, ast.Constant) and (side.value is None or isinstance(side.value, bool))
            for side in sides[place : place + 2]
        ):
            checker.problem(node, "expression", "is compares with None, True and False only", "write ==")
    checker.check_all(sides)


def _sequence(checker: Checker, node: ast.List | ast.Tuple | ast.Set) -> None:
    if isinstance(node, ast.List | ast.Tuple) and not isinstance(node.ctx, ast.Load):
        _targets(checker, node)
        return
    for each in node.elts:
        checker.check(each.value if isinstance(each, ast.Starred) else each)


def _dictionary(checker: Checker, node: ast.Dict) -> None:
    checker.check_all((*node.keys, *node.values))


def _subscript(checker: Checker, node: ast.Subscript) -> None:
    checker.check(node.value)
    index = node.slice
    if isinstance(index, ast.Slice):
        checker.check_all((index.lower, index.upper, index.step))
        return
    if isinstance(index, ast.Tuple) and any(isinstance(each, ast.Starred) for each in index.elts):
        checker.problem(index, "expression", "a star cannot stand in an index")
    checker.check(index)


def attribute(checker: Checker, node: ast.Attribute) -> None:
    """With a dot alone nothing is reached; a method that is called comes by `method`."""
    hint = hints.METHODS.get(node.attr, "")
    if not hint and isinstance(node.value, ast.Name):
        hint = hints.NAMES.get(node.value.id, "")
    if not hint:
        hint = (
            f"call it, {shown(node.attr)}()"
            if node.attr in METHOD_NAMES
            else 'members are read as value["name"]'
        )
    checker.problem(node, "attribute", f"there is no .{shown(node.attr)} to read or set", hint)
    checker.check(node.value)


def _call(checker: Checker, node: ast.Call) -> None:
    if isinstance(node.func, ast.Attribute):
        method(checker, node.func)
    else:
        checker.check(node.func)
    for each in node.args:
        checker.check(each.value if isinstance(each, ast.Starred) else each)
    seen: set[str] = set()
    for keyword in node.keywords:
        if keyword.arg is not None and keyword.arg in seen:
            checker.problem(keyword, "call", f"{shown(keyword.arg)} is given twice")
        if keyword.arg is not None:
            seen.add(keyword.arg)
        checker.check(keyword.value)


def method(checker: Checker, node: ast.Attribute) -> None:
    """The part of a call that names a method."""
    module = (
        isinstance(node.value, ast.Name)
        and node.value.id in hints.NAMES
        and checker.scope.owner(node.value.id) is None
    )
    if node.attr not in METHOD_NAMES and not module:
        hint = hints.METHODS.get(node.attr, "")
        checker.problem(node, "method", f"no value has a method {shown(node.attr)}()", hint)
    checker.check(node.value)


def _awaited(checker: Checker, node: ast.Await) -> None:
    if not isinstance(node.value, ast.Call):
        checker.problem(
            node, "expression", "await stands before a call only", "leave it out; tools are waited for"
        )
    checker.check(node.value)


def _walrus(checker: Checker, node: ast.NamedExpr) -> None:
    checker.check(node.value)
    checker.check(node.target)


# Texts.


def _joined(checker: Checker, node: ast.JoinedStr) -> None:
    outer, checker.text = checker.text, checker.text or node
    for each in node.values:
        if isinstance(each, ast.FormattedValue):
            field(checker, each)
    checker.text = outer


def field(checker: Checker, node: ast.FormattedValue) -> None:
    """One field of an f-string. Its format is written out, so that its width is known beforehand."""
    checker.check(node.value)
    if isinstance(node.format_spec, ast.JoinedStr):
        parts = node.format_spec.values
        spec = "".join(str(each.value) for each in parts if isinstance(each, ast.Constant))
        if not all(isinstance(each, ast.Constant) for each in parts) or not is_spec(spec):
            hint = "a width and a precision of at most three digits, and one of b c d e f g o s x %"
            checker.problem(node, "format", f"{shown(spec)} is not a format", hint)


def is_spec(spec: str) -> bool:
    """Whether this is a format of a number or text: fill, sign, width, grouping, precision, type."""
    at = 0
    if spec[1:2] and spec[1] in "<>=^":
        at = 2
    elif spec[:1] and spec[0] in "<>=^":
        at = 1
    at += spec[at : at + 1] in ("+", "-", " ")
    at += spec[at : at + 1] == "z"
    at += spec[at : at + 1] == "#"
    width = _digits(spec, at)
    at = width + (spec[width : width + 1] in (",", "_"))
    if width - at > SPEC_DIGITS_MAX:
        return False
    start = width
    while start > 0 and spec[start - 1] in _DIGITS:
        start -= 1
    if width - start > SPEC_DIGITS_MAX:
        return False
    if spec[at : at + 1] == ".":
        precision = _digits(spec, at + 1)
        if not 1 <= precision - at - 1 <= SPEC_DIGITS_MAX:
            return False
        at = precision
    return spec[at:] == "" or (len(spec) == at + 1 and spec[at] in _SPEC_TYPES)


def _digits(text: str, at: int) -> int:
    while at < len(text) and text[at] in _DIGITS:
        at += 1
    return at


# Functions and comprehensions.


def arguments(checker: Checker, node: ast.arguments) -> None:
    """Parameters of a function or lambda: no two alike, none that hides a tool or helper."""
    checker.check_all((*node.defaults, *node.kw_defaults))
    seen: set[str] = set()
    for each in parameters(node):
        if each.arg in seen:
            checker.problem(each, "parameter", f"there are two parameters {shown(each.arg)}")
        seen.add(each.arg)
        checker.bind(each.arg, each)
        if each.annotation is not None:
            annotation(checker, each.annotation)


def _lambda(checker: Checker, node: ast.Lambda) -> None:
    arguments(checker, node.args)
    before = checker.enter(checker.scopes.of(node), function=True)
    checker.check(node.body)
    checker.leave(before)


def _comprehension(checker: Checker, node: Comprehension) -> None:
    results: list[ast.expr | None] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    checker.check(node.generators[0].iter)
    before = checker.enter(checker.scopes.of(node), function=False)
    for place, each in enumerate(node.generators):
        if each.is_async:
            checker.problem(each.iter, "expression", *hints.NODES["AsyncFor"])
        if any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(each.iter)):
            checker.problem(each.iter, "expression", "what a comprehension goes over holds no :=")
        if place:
            checker.check(each.iter)
        target(checker, each.target)
        checker.check_all(each.ifs)
    for result in results:
        if result is None:  # a way to write comprehensions that Python may have one day
            checker.problem(node, "expression", "a star cannot stand here")
        checker.check(result)
    checker.leave(before)


# Targets.


def target(checker: Checker, node: ast.expr) -> None:
    """What can be assigned to: names, elements, and several of them with one star at most."""
    if isinstance(node, ast.Tuple | ast.List):
        checker.check(node)
    elif isinstance(node, ast.Starred):
        checker.problem(node, "target", "a star stands in a list of targets only", "write a comma behind it")
        checker.check(node.value)
    elif isinstance(node, ast.Name | ast.Subscript | ast.Attribute):
        checker.check(node)
    else:
        checker.problem(node, "target", "this cannot be assigned to")


def _targets(checker: Checker, node: ast.List | ast.Tuple) -> None:
    if sum(isinstance(each, ast.Starred) for each in node.elts) > 1:
        checker.problem(node, "target", "there are two stars among the targets")
    for each in node.elts:
        target(checker, each.value if isinstance(each, ast.Starred) else each)


# Annotations are read by people only, but what they say is looked at.


def annotation(checker: Checker, node: ast.expr) -> None:
    """What stands behind a colon or an arrow: names of types, put together, and no calls."""
    for each in _annotation_nodes(node):
        if isinstance(each, ast.Name):
            if not checker.denied(each.id, each) and each.id.startswith("__"):
                checker.problem(each, "annotation", f"{shown(each.id)} stands in no annotation")
        elif isinstance(each, ast.BinOp):
            if not isinstance(each.op, ast.BitOr):
                checker.problem(each, "annotation", "annotations are put together by | only")
        elif not isinstance(each, ast.Subscript | ast.Constant | ast.Tuple | ast.List):
            checker.problem(each, "annotation", "an annotation names types and calls nothing", "leave it out")


def _annotation_nodes(node: ast.expr) -> Iterable[ast.expr]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        if isinstance(each, ast.JoinedStr):  # refused as a whole: where its parts stand is up to each Python
            continue
        waiting += [child for child in ast.iter_child_nodes(each) if isinstance(child, ast.expr)]


def star(checker: Checker, node: ast.Starred) -> None:
    """A star where there is nothing to spread it into."""
    checker.problem(node, "expression", "a star cannot stand here")
    checker.check(node.value)


EXPRESSIONS: Final[Mapping[type[ast.AST], Rule]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.BoolOp: _boolean,
    ast.IfExp: _conditional,
    ast.Compare: _compare,
    ast.List: _sequence,
    ast.Tuple: _sequence,
    ast.Set: _sequence,
    ast.Dict: _dictionary,
    ast.Subscript: _subscript,
    ast.Attribute: attribute,
    ast.Call: _call,
    ast.Await: _awaited,
    ast.NamedExpr: _walrus,
    ast.JoinedStr: _joined,
    ast.Lambda: _lambda,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Starred: star,
}
