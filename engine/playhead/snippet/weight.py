"""What the source alone makes a snippet cost: a step for each statement, and one for each eight parts of it.

Counted are only nodes that every release of Python makes alike: of an f-string its fields,
but neither the texts between them nor their formats.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

PARTS_PER_STEP: Final = 8


def parts_of(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes directly inside of one, in the order of the source, as every release of Python has them."""
    if isinstance(node, ast.JoinedStr):
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                yield value.value
        return
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr_context | ast.operator | ast.unaryop | ast.boolop | ast.cmpop):
            yield child


def weight(*nodes: ast.AST | None) -> int:
    """How many nodes are evaluated at once with these. What a lambda or each round of a loop does is not."""
    total = 0
    waiting = [node for node in nodes if node is not None]
    while waiting:
        node = waiting.pop()
        total += 1
        if isinstance(node, ast.Lambda):
            waiting += node.args.defaults
            waiting += [each for each in node.args.kw_defaults if each is not None]
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            waiting.append(node.generators[0].iter)
        else:
            waiting += parts_of(node)
    return total


def steps(*nodes: ast.AST | None) -> int:
    """The steps of doing all this once."""
    return 1 + weight(*nodes) // PARTS_PER_STEP


def statement_steps(node: ast.stmt) -> int:
    """The steps of a statement, without those of the blocks in it."""
    if isinstance(node, ast.FunctionDef):
        return steps(*node.args.defaults, *node.args.kw_defaults)
    if isinstance(node, ast.While):
        return 1
    if isinstance(node, ast.AnnAssign):
        return steps(node.target, node.value)
    return steps(*(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)))


def block_steps(body: Iterable[ast.stmt]) -> int:
    """The steps of a block, charged as a whole when it is entered."""
    return sum(map(statement_steps, body))


def height(node: ast.AST) -> int:
    """How many nodes stand inside of each other at most."""
    highest, waiting = 0, [(node, 1)]
    while waiting:
        each, depth = waiting.pop()
        highest = max(highest, depth)
        waiting += [(child, depth + 1) for child in parts_of(each)]
    return highest
