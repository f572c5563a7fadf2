"""Which names are whose, found out before anything runs.

A name that a function binds anywhere is a variable of that function from its first line on.
The top level is the body of a function like any other. A comprehension has variables of
its own; they live in the frame of the function around it, unless a lambda inside
of the comprehension uses one of them: then the comprehension has a frame of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from playhead.snippet.values import FIRST_VARIABLE

Kind = Literal["top", "function", "lambda", "comprehension"]
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Place(NamedTuple):
    """Where a variable is: so many frames out, in that slot. `own`: in the scope that asks.

    `bound`: it holds a value whenever it is read.
    """

    hops: int
    slot: int
    own: bool
    bound: bool


class Flaw(NamedTuple):
    """A declaration that cannot be."""

    node: ast.AST
    message: str


class Scope:
    """The names of one function, lambda or comprehension, or of the top level."""

    __slots__ = (
        "bound",
        "declared",
        "has_frame",
        "kind",
        "parameters",
        "parent",
        "slots",
        "steady",
        "unsteady",
        "used",
        "variables",
    )

    def __init__(self, kind: Kind, parent: Scope | None) -> None:
        self.kind = kind
        self.parent = parent
        self.bound: set[str] = set()
        self.declared: dict[str, Literal["global", "nonlocal"]] = {}
        self.used: set[str] = set()
        self.parameters: tuple[str, ...] = ()
        self.steady: set[str] = set()
        """Names that hold a value whenever they are read: parameters, and what a lone loop binds."""
        self.unsteady: set[str] = set()
        """Names that `except` unbinds."""
        self.has_frame = kind != "comprehension"
        self.slots: dict[str, int] = {}
        self.variables = 0

    @property
    def top(self) -> Scope:
        return self.parent.top if self.parent is not None else self

    @property
    def function(self) -> Scope:
        """The scope that is no comprehension around this one, or itself."""
        return self.parent.function if self.kind == "comprehension" and self.parent is not None else self

    @property
    def framed(self) -> Scope:
        """The scope whose frame holds the variables of this one."""
        return self if self.has_frame or self.parent is None else self.parent.framed

    def give(self, name: str) -> None:
        """A variable that holds a value from the first line on."""
        self.bound.add(name)
        self.steady.add(name)
        self.slots[name] = self.new_slot()

    def new_slot(self) -> int:
        """A place in the frame for one more variable."""
        holder = self.framed
        holder.variables += 1
        return FIRST_VARIABLE + holder.variables - 1

    def owner(self, name: str) -> Scope | None:
        """The scope whose variable a name is, seen from here; None where it is nobody's."""
        scope: Scope | None = self
        while scope is not None:
            declared = scope.declared.get(name)
            if declared == "global":
                return scope.top if name in scope.top.bound else None
            if declared is None and name in scope.bound:
                return scope
            scope = scope.parent
        return None

    def find(self, name: str) -> Place | None:
        """Where the variable is that a name stands for here."""
        owner = self.owner(name)
        if owner is None:
            return None
        if name not in owner.slots:
            owner.slots[name] = owner.new_slot()
        hops = 0
        scope, target = self.framed, owner.framed
        while scope is not target:
            assert scope.parent is not None
            hops += 1
            scope = scope.parent.framed
        bound = name in owner.steady and name not in owner.unsteady
        return Place(hops, owner.slots[name], owner is self, bound)


class Scopes:
    """All scopes of a snippet, by the node that opens each, and what is wrong with its declarations."""

    def __init__(self, tree: ast.Module, inputs: Iterable[str] = ()) -> None:
        self.top = Scope("top", None)
        for name in inputs:
            self.top.give(name)
        self.flaws: list[Flaw] = []
        self._of: dict[ast.AST, Scope] = {tree: self.top}
        self._uses: list[tuple[Scope, str]] = []
        self._walruses: list[tuple[Scope, ast.NamedExpr]] = []
        self._visit_all(tree.body, self.top)
        self._settle()

    def of(self, node: ast.AST) -> Scope:
        return self._of[node]

    # Collecting.

    def _visit_all(self, nodes: Iterable[ast.AST | None], scope: Scope) -> None:
        for node in nodes:
            if node is not None:
                self._visit(node, scope)

    def _visit(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            self._function(node, scope)
        elif isinstance(node, COMPREHENSIONS):
            self._comprehension(node, scope)
        elif isinstance(node, ast.NamedExpr):
            self._visit(node.value, scope)
            self._walrus(node, scope)
        elif isinstance(node, ast.Name):
            self._name(node, scope)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            self._declare(node, scope)
        elif isinstance(node, ast.AnnAssign):
            self._visit_all((node.value, node.target), scope)
        else:
            self._bind_others(node, scope)
            self._visit_all(ast.iter_child_nodes(node), scope)

    def _name(self, node: ast.Name, scope: Scope) -> None:
        if isinstance(node.ctx, ast.Load):
            scope.used.add(node.id)
            self._uses.append((scope, node.id))
        else:
            self._bind(node.id, scope)

    def _bind(self, name: str, scope: Scope) -> None:
        if scope.declared.get(name) == "global":
            scope.top.bound.add(name)
        elif name not in scope.declared:
            scope.bound.add(name)

    def _bind_others(self, node: ast.AST, scope: Scope) -> None:
        """Names that statements bind; those of statements that snippets do not have too."""
        if isinstance(node, ast.ExceptHandler):
            if node.name is not None:
                self._bind(node.name, scope)
                self._unsteady(node.name, scope)
        elif isinstance(node, ast.ClassDef):
            self._bind(node.name, scope)
        elif isinstance(node, ast.alias):
            self._bind((node.asname or node.name).partition(".")[0], scope)
        elif isinstance(node, ast.MatchAs | ast.MatchStar):
            if node.name is not None:
                self._bind(node.name, scope)
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            self._bind(node.rest, scope)

    def _unsteady(self, name: str, scope: Scope) -> None:
        owner = scope.owner(name)
        if owner is not None:
            owner.unsteady.add(name)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope) -> None:
        arguments = node.args
        self._visit_all((*arguments.defaults, *arguments.kw_defaults), scope)
        inner = Scope("lambda" if isinstance(node, ast.Lambda) else "function", scope)
        if not isinstance(node, ast.Lambda):
            self._visit_all(node.decorator_list, scope)
            self._bind(node.name, scope)
        self._of[node] = inner
        inner.parameters = tuple(each.arg for each in parameters(arguments))
        for name in inner.parameters:
            inner.bound.add(name)
            inner.steady.add(name)
            inner.slots.setdefault(name, inner.new_slot())
        self._visit_all([node.body] if isinstance(node, ast.Lambda) else node.body, inner)

    def _comprehension(self, node: Comprehension, scope: Scope) -> None:
        first = node.generators[0]
        self._visit(first.iter, scope)
        inner = Scope("comprehension", scope)
        self._of[node] = inner
        for place, each in enumerate(node.generators):
            if place:
                self._visit(each.iter, inner)
            self._visit(each.target, inner)
            self._visit_all(each.ifs, inner)
        if isinstance(node, ast.DictComp):
            self._visit_all((node.key, node.value), inner)
        else:
            self._visit(node.elt, inner)
        if len(node.generators) == 1:
            inner.steady |= inner.bound

    def _walrus(self, node: ast.NamedExpr, scope: Scope) -> None:
        self._bind(node.target.id, scope.function)
        if scope.kind == "comprehension":
            self._walruses.append((scope, node))

    def _declare(self, node: ast.Global | ast.Nonlocal, scope: Scope) -> None:
        word: Literal["global", "nonlocal"] = "global" if isinstance(node, ast.Global) else "nonlocal"
        for name in node.names:
            if word == "nonlocal" and scope.kind == "top":
                self.flaws.append(Flaw(node, f"nonlocal {name} stands in no function"))
            elif name in scope.parameters:
                self.flaws.append(Flaw(node, f"{name} is a parameter, so it cannot be {word}"))
            elif name in scope.bound or name in scope.used:
                if scope.kind != "top":
                    self.flaws.append(Flaw(node, f"{name} is used before it is declared {word}"))
            elif scope.declared.get(name, word) != word:
                self.flaws.append(Flaw(node, f"{name} is declared both global and nonlocal"))
            elif scope.kind != "top":
                scope.declared[name] = word

    # Settling, when all names are known.

    def _settle(self) -> None:
        for scope, name in self._uses:
            owner = scope.owner(name)
            if owner is not None and owner.kind == "comprehension" and scope.function is not owner.function:
                owner.has_frame = True
        for scope, node in self._walruses:
            name = node.target.id
            inner: Scope | None = scope
            while inner is not None and inner.kind == "comprehension":
                if name in inner.bound:
                    self.flaws.append(
                        Flaw(node, f"{name} is a variable of the comprehension that it stands in")
                    )
                    break
                inner = inner.parent

    def lost(self, node: ast.Nonlocal, scope: Scope) -> list[str]:
        """The names of a `nonlocal` that no function around binds."""
        return [
            name
            for name in node.names
            if scope.declared.get(name) == "nonlocal"
            and (scope.parent is None or not scope.parent.owner(name))
        ]


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    """Parameters in the order in which a frame holds them: by position, by name, `*rest`, `**rest`."""
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return found + [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
