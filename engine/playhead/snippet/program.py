"""A checked snippet, ready to run: compiled once, kept for the next time."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from playhead.snippet.building import Builder, Make, Program
from playhead.snippet.calls import CALLS
from playhead.snippet.diagnostic import Places
from playhead.snippet.expressions import EXPRESSIONS
from playhead.snippet.functions import FUNCTIONS
from playhead.snippet.protocol import ToolBinding
from playhead.snippet.scopes import Scopes
from playhead.snippet.statements import STATEMENTS
from playhead.snippet.values import Code, Frame, Parameters, Tool
from playhead.snippet.weight import height

TOP: Final = "<snippet>"
_TABLES: Final[Mapping[type[ast.AST], Make]] = {**STATEMENTS, **EXPRESSIONS, **CALLS, **FUNCTIONS}


def compiled(tree: ast.Module, places: Places, scopes: Scopes, bindings: Mapping[str, ToolBinding]) -> Code:
    """The body of a snippet that passed the check, as a function that waits.

    It gives None, or the value of the `return` that ended it with its line and column.
    """
    tools = {name: Tool(name, binding) for name, binding in bindings.items()}
    builder = Builder(Program(places, scopes, tools, _TABLES), scopes.top)
    run, waits = builder.block(tree.body)

    async def body(frame: Frame) -> Any:
        return await run(frame) if waits else run(frame)

    nothing = Parameters(names=(), positional_only=0, named=(), rest=None, named_rest=None)
    return Code(TOP, nothing, variables=scopes.top.variables, height=height(tree), waits=True, body=body)
