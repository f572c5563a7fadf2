"""Random trees of Python, written as source: every node that the Python at hand knows, in any place.

The grammar is read from Python itself, which has it in the docstrings of `ast`.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from random import Random
from typing import Any, Final

from playhead.snippet.helpers import HELPERS
from playhead.snippet.methods import METHOD_NAMES
from playhead.snippet.values import ERROR_TYPES
from tests.snippet.host import BINDINGS

NAMES: Final = ("x", "y", "z", "x", "y", "f")
NODES_MAX: Final = 60
REFUSED: Final = frozenset(
    [
        *("ClassDef", "AsyncFunctionDef", "AsyncFor", "AsyncWith", "With", "Match", "Import", "ImportFrom"),
        *(
            "TryStar",
            "Yield",
            "YieldFrom",
            "Attribute",
            "MatMult",
            "TypeAlias",
            "TemplateStr",
            "Interpolation",
        ),
        *("Global", "Nonlocal", "Delete", "Slice", "Starred", "JoinedStr", "FormattedValue", "Await"),
    ]
)
CONSTANTS: Final = (
    0,
    1,
    -1,
    2**63 - 1,
    2**63,
    1.5,
    1e300,
    "",
    "a",
    "a,b",
    "\ud800",
    "\n",
    True,
    False,
    None,
    ...,
    b"",
    1j,
)
PLAIN: Final = (0, 1, 2, 7, 2**63 - 1, 1.5, 1e300, "", "a", "a,b", "é\n", True, False, None)
HEAD: Final = "x, y, z = 3, [1, 'a', None], {'a': {1, 2}}\ndef f(*a, **k):\n    return a or x\n"


class _Kinds:
    """The kinds of nodes by the sort that they belong to, and the fields of each."""

    def __init__(self) -> None:
        self.of_sort: dict[str, list[str]] = {}
        self.fields: dict[str, list[tuple[str, str, str]]] = {}
        for sort in (
            "mod",
            "stmt",
            "expr",
            "operator",
            "boolop",
            "unaryop",
            "cmpop",
            "pattern",
            "excepthandler",
        ):
            doc = str(getattr(ast, sort).__doc__)
            found = re.findall(r"(\w+)(\([^)]*\))?(?=\s*(?:\||$))", doc.partition("=")[2], re.MULTILINE)
            self.of_sort[sort] = [name for name, _ in found]
        for sort in (
            "arguments",
            "arg",
            "keyword",
            "alias",
            "withitem",
            "match_case",
            "comprehension",
            "type_param",
        ):
            self.of_sort[sort] = [sort]
        for name in {each for several in self.of_sort.values() for each in several}:
            doc = str(getattr(getattr(ast, name, None), "__doc__", ""))
            self.fields[name] = re.findall(r"(\w+)([?*]?) (\w+)(?=[,)])", doc.partition("(")[2])


@cache
def _kinds() -> _Kinds:
    return _Kinds()


class _Planter:
    def __init__(self, random: Random, *, everything: bool) -> None:
        self.random = random
        self.everything = everything
        self.left = NODES_MAX

    def several(self, sort: str, most: int = 3) -> list[Any]:
        return [self.node(sort) for _ in range(self.random.randint(1, most))]

    def node(self, sort: str) -> Any:
        names = [each for each in _kinds().of_sort.get(sort, []) if self.everything or each not in REFUSED]
        if self.left <= 0:
            names = {"expr": ["Name", "Constant"], "stmt": ["Pass"], "pattern": ["MatchAs"]}.get(sort, names)
        self.left -= 1
        name = self.random.choice(names)
        if name == "Constant":
            return ast.Constant(self.random.choice(CONSTANTS if self.everything else PLAIN))
        if name == "Name":
            return ast.Name(self.named(), ast.Load())
        kind = getattr(ast, name)
        fields = {field: self.field(name, field, type_, many) for type_, many, field in _kinds().fields[name]}
        return self.mended(kind(**fields))

    def named(self) -> str:
        bag = self.random.choice((NAMES, NAMES, NAMES, tuple(HELPERS), tuple(ERROR_TYPES), tuple(BINDINGS)))
        return self.random.choice(bag)

    def field(self, node: str, field: str, type_: str, many: str) -> Any:
        if type_ == "expr_context":
            return ast.Load()
        if type_ == "identifier":
            name = self.random.choice(sorted(METHOD_NAMES)) if field == "attr" else self.random.choice(NAMES)
            if many == "*":
                return [name]
            return None if many == "?" and self.random.random() < 0.4 else name
        if type_ in ("int", "string", "constant"):
            return {"conversion": self.random.choice((-1, 114, 115, 97)), "value": 1}.get(
                field, 0 if type_ == "int" else None
            )
        if many == "*":
            return self.several(type_) if self.left > 0 or type_ == "stmt" else []
        if many == "?" and (self.random.random() < 0.5 or self.left <= 0):
            return None
        return self.node(type_)

    def mended(self, node: ast.AST) -> ast.AST:
        """The same node with as many of each as belong together, and targets that can be targets."""
        if isinstance(node, ast.Compare | ast.Dict):
            pair = ("ops", "comparators") if isinstance(node, ast.Compare) else ("keys", "values")
            count = min(len(getattr(node, name)) for name in pair)
            for name in pair:
                setattr(node, name, getattr(node, name)[:count])
        elif isinstance(node, ast.arguments):
            node.defaults = node.defaults[: len(node.posonlyargs) + len(node.args)]
            node.kw_defaults = [*node.kw_defaults, *[None] * len(node.kwonlyargs)][: len(node.kwonlyargs)]
            for place, each in enumerate((*node.posonlyargs, *node.args, *node.kwonlyargs)):
                each.arg = f"{each.arg}{place}"
        elif isinstance(node, ast.Try) and not self.everything:
            for place, handler in enumerate(node.handlers):
                handler.type = ast.Name(self.random.choice(sorted(ERROR_TYPES)), ast.Load())
                handler.name = None if place else handler.name
        for name in ("target", "targets", "optional_vars"):
            if hasattr(node, name) and self.random.random() < 0.9:
                self.aim(node, name)
        return node

    def aim(self, node: ast.AST, name: str) -> None:
        target = ast.Name(self.random.choice(NAMES), ast.Store())
        setattr(node, name, [target] if name == "targets" else target)
        if isinstance(node, ast.AnnAssign):
            node.simple = 1


def tree(random: Random, *, everything: bool) -> str:
    """The source of a random tree: of all nodes, or of those that snippets have."""
    planter = _Planter(random, everything=everything)
    for _ in range(20):
        planter.left = random.choice((8, 20, NODES_MAX))
        body = planter.several("stmt", 2 if everything else 5)
        try:
            written = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
        except (ValueError, AttributeError, TypeError, KeyError, IndexError):  # no tree that can be written
            continue
        return written if everything and random.random() < 0.5 else f"{HEAD}{written}"
    return HEAD
