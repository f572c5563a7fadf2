"""Expressions over plain values: comparisons, `and`, `or`, `not`, `in`, members, `len`, and no other call.

    good = Expression("status == 'completed' and result.total > 3")
    good({"status": "completed", "result": {"total": 4}})      # True

What is not there is None, and what cannot be compared is not true. Whoever asks checks with `paths` that
there is anywhere what is named.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, cast

from playhead.errors import BadValue

_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
}
_CALLS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "len": len,
    "str": str,
    "abs": abs,
    "min": min,
    "max": max,
    "sum": sum,
    "any": any,
    "all": all,
}
_NODES: Final = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Name),
    *(ast.Load, ast.Constant, ast.Attribute, ast.Subscript, ast.List, ast.Tuple, ast.Call, *_COMPARE),
)
LENGTH_MAX: Final = 2_000


class Path(NamedTuple):
    """A name in an expression, or a member of what is named there: `result`, `result.total`."""

    text: str
    root: str
    node: ast.expr

    def is_in(self, values: Mapping[str, Any]) -> bool:
        """Whether there is such a thing in `values`, whatever it is."""
        try:
            match self.node:
                case ast.Attribute(value=inner, attr=name):
                    return _has(_value(inner, values), name)
                case ast.Subscript(value=inner, slice=key):
                    return _has(_value(inner, values), _value(key, values))
                case _:
                    return self.root in values
        except (TypeError, ValueError, RecursionError):
            return False


class Expression:
    """A parsed expression; called with values by name. Raises `BadValue` for a text that is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.told = False
        """Whether it was ever true or false of something, and not only of what it cannot be asked of."""
        self.unlike = ""
        """Why it could not be asked last."""
        try:
            if len(text) > LENGTH_MAX:
                raise ValueError(f"it has {len(text)} characters")
            self._tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            said = error.msg if isinstance(error, SyntaxError) else str(error)
            raise BadValue(
                f"{text[:200]!r} is no expression: {said}.",
                expected="such as status == 'failed' or cost_micros > 100",
                found=text[:200],
            ) from error
        for node in ast.walk(self._tree):
            called = isinstance(node, ast.Call)
            if not isinstance(node, _NODES) or (
                called and not (isinstance(node.func, ast.Name) and node.func.id in _CALLS)  # type: ignore[attr-defined]
            ):
                raise BadValue(
                    f"an expression cannot hold {ast.unparse(node)[:80]!r}.",
                    expected=f"comparisons, and, or, not, in, members, {', '.join(_CALLS)}",
                    found=type(node).__name__,
                )

    def __call__(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true of `values`."""
        try:
            said = bool(_value(self._tree.body, values))
        except (TypeError, ValueError, RecursionError) as error:
            self.unlike = str(error)
            return False
        self.told = True
        return said

    @property
    def names(self) -> frozenset[str]:
        """The names that it reads."""
        nodes = ast.walk(self._tree)
        return frozenset(node.id for node in nodes if isinstance(node, ast.Name) and node.id not in _CALLS)

    @property
    def paths(self) -> tuple[Path, ...]:
        """What it names, with the members that it names by a word: the shorter ones first."""
        nodes = [node for node in ast.walk(self._tree) if _is_path(node)]
        found = {ast.unparse(node): node for node in nodes if isinstance(node, ast.expr)}
        called = [(text, _root(node), node) for text, node in found.items()]
        return tuple(
            Path(text, root, node)
            for text, root, node in sorted(called, key=lambda each: (len(each[0]), each[0]))
            if root and root not in _CALLS
        )

    def check_names(self, known: Collection[str]) -> None:
        """Raise `BadValue` where it names what is not one of `known`."""
        for path in self.paths:
            if path.root not in known:
                raise self.unknown(path, known)

    def unknown(self, path: Path, known: Collection[str] = ()) -> BadValue:
        """What to raise where nothing is called like `path`."""
        close = get_close_matches(path.root, known) or sorted(known)
        return BadValue(
            f"{self.text[:200]!r} names {path.text}, and nothing is called so.",
            expected=", ".join(close) or "a name that there is",
            found=path.text,
        )


def _is_path(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
    return isinstance(node, (ast.Name, ast.Attribute))


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _has(container: Any, key: Any) -> bool:
    return isinstance(container, dict) and key in container


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values.get(name)
        case ast.Attribute(value=inner, attr=name):
            return _member(_value(inner, values), name)
        case ast.Subscript(value=inner, slice=key):
            return _member(_value(inner, values), _value(key, values))
        case ast.List(elts=several) | ast.Tuple(elts=several):
            return [_value(each, values) for each in several]
        case ast.BoolOp(op=ast.And(), values=several):
            return all(_value(each, values) for each in several)
        case ast.BoolOp(values=several):
            return any(_value(each, values) for each in several)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _value(inner, values)
        case ast.UnaryOp(operand=inner):
            return -_value(inner, values)
        case ast.Compare():
            return _compared(node, values)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _CALLS[name](*(_value(each, values) for each in args))
        case _:
            raise TypeError(type(node).__name__)


def _compared(node: ast.Compare, values: Mapping[str, Any]) -> bool:
    left = _value(node.left, values)
    for word, other in zip(node.ops, node.comparators, strict=True):
        right = _value(other, values)
        if not _COMPARE[type(word)](left, right):
            return False
        left = right
    return True


def _member(container: Any, key: Any) -> Any:
    if isinstance(container, dict):
        return cast("dict[object, Any]", container).get(key)
    if isinstance(container, (list, str)) and isinstance(key, int):
        several = cast("list[object] | str", container)
        return several[key] if -len(several) <= key < len(several) else None
    return None
