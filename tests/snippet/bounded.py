"""Python with whole numbers of 64 bits, as snippets have them: for programs whose numbers grow beyond.

`in_64_bits(source)` is a program in which what an operator or a call gives is looked at, and raises an
`OverflowError` where it needs more.
"""

import ast
import operator
from typing import Any

_IN_PLACE: dict[type[ast.operator], Any] = {
    ast.Add: operator.iadd,
    ast.Sub: operator.isub,
    ast.Mult: operator.imul,
    ast.FloorDiv: operator.ifloordiv,
    ast.Mod: operator.imod,
    ast.Pow: operator.ipow,
    ast.LShift: operator.ilshift,
    ast.RShift: operator.irshift,
    ast.BitAnd: operator.iand,
    ast.BitOr: operator.ior,
    ast.BitXor: operator.ixor,
    ast.Div: operator.itruediv,
}


def fitting(value: Any) -> Any:
    """`value`, where it is no whole number of more than 64 bits. Raises `OverflowError`."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OverflowError("more than 64 bits")
    return value


NAMES: dict[str, Any] = {
    "__fitting": fitting,
    **{f"__{kind.__name__}": function for kind, function in _IN_PLACE.items()},
}


class _Bounded(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return _looked_at(self.generic_visit(node))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        return _looked_at(self.generic_visit(node))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return _looked_at(self.generic_visit(node))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        before = ast.Name(node.target.id, ast.Load())
        called = ast.Call(ast.Name(f"__{type(node.op).__name__}", ast.Load()), [before, node.value], [])
        return ast.Assign([node.target], _looked_at(called))


def _looked_at(node: ast.AST) -> ast.expr:
    assert isinstance(node, ast.expr)
    return ast.Call(ast.Name("__fitting", ast.Load()), [node], [])


def in_64_bits(source: str) -> ast.Module:
    """The program, whose numbers are looked at. It needs `NAMES`."""
    tree = _Bounded().visit(ast.parse(source))
    assert isinstance(tree, ast.Module)
    return ast.fix_missing_locations(tree)
