"""What to write instead of what snippets do not have."""

from __future__ import annotations

import ast
from typing import Final

NAMES: Final = {
    "asyncio": "map_bounded(items, function, concurrency=n) does many things at once",
    "gather": "map_bounded(items, function, concurrency=n) does many things at once",
    "json": "json_parse(text) and json_stringify(value) are there",
    "re": "regular expressions take time that cannot be foreseen; split(), find() and replace() do not",
    "math": "floor(), ceil(), round(), min(), max() and ** are there",
    "os": "only tools reach outside of a snippet",
    "sys": "only tools reach outside of a snippet",
    "open": "only tools reach outside of a snippet",
    "input": "only tools reach outside of a snippet",
    "eval": "a snippet runs no other program",
    "exec": "a snippet runs no other program",
    "compile": "a snippet runs no other program",
    "__import__": "a snippet imports nothing; the helpers are there from the start",
    "time": "a snippet has no clock, or it could not be played back",
    "datetime": "a snippet has no clock, or it could not be played back",
    "random": "a snippet has no dice, or it could not be played back",
    "hash": "hash_value(value) is the same in every run",
    "id": "compare with ==",
    "type": "ask isinstance(value, str)",
    "callable": "a snippet knows which of its names are functions",
    "getattr": "values have no attributes; use value[key] or value.get(key)",
    "setattr": "values have no attributes; use value[key] = …",
    "hasattr": "values have no attributes; ask key in value",
    "vars": "values have no attributes",
    "dir": "values have no attributes",
    "object": "use a dict",
    "frozenset": "use set() or a tuple",
    "bytes": "there are texts only; base64_encode() and hex_encode() make texts of them",
    "bytearray": "there are texts only",
    "iter": "for goes over a list, a text, a dict, a set or a range",
    "next": "take values[0], or use for and break",
    "pow": "use **",
    "divmod": "use // and %",
    "chr": "write the character in a text",
    "ord": "compare texts",
    "BaseException": "Exception is every error that a snippet can catch",
    "StopIteration": "for ends by itself",
    "SystemExit": "return ends a snippet",
    "exit": "return ends a snippet",
    "quit": "return ends a snippet",
    "KeyboardInterrupt": "return ends a snippet",
    "TimeoutError": "a tool that fails raises ToolError",
    "OSError": "a tool that fails raises ToolError",
    "IOError": "a tool that fails raises ToolError",
    "ConnectionError": "a tool that fails raises ToolError",
}

METHODS: Final = {
    "format": "use an f-string, or format(text, values)",
    "format_map": "use an f-string",
    "encode": "there are texts only; base64_encode() and hex_encode() make texts of them",
    "decode": "there are texts only",
    "gather": "map_bounded(items, function, concurrency=n) does many things at once",
    "args": "str(error) is what an error says",
    "dumps": "json_stringify(value) is there",
    "loads": "json_parse(text) is there",
    "fromkeys": "use {key: value for key in keys}",
}

NODES: Final[dict[str, tuple[str, str]]] = {
    "Import": ("a snippet imports nothing", "the helpers are there from the start"),
    "ImportFrom": ("a snippet imports nothing", "the helpers are there from the start"),
    "ClassDef": ("there are no classes in snippets", "use a dict or a tuple"),
    "AsyncFunctionDef": (
        "there are no async functions in snippets",
        "write def; await before a call is ignored",
    ),
    "AsyncFor": ("there is no async for in snippets", "write for"),
    "AsyncWith": ("there is no with in snippets", "tools need no closing"),
    "With": ("there is no with in snippets", "tools need no closing"),
    "Yield": ("there are no generators in snippets", "append to a list and return it"),
    "YieldFrom": ("there are no generators in snippets", "append to a list and return it"),
    "Match": ("there is no match in snippets", "use if and elif"),
    "TryStar": ("there is no except* in snippets", "use except"),
    "TypeAlias": ("there are no declarations of types in snippets", ""),
    "MatMult": ("there is no @ in snippets", "use * and sum()"),
}


def for_import(node: ast.Import | ast.ImportFrom) -> str:
    """What to use in place of a module."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
    found = [NAMES[name.partition(".")[0]] for name in names if name.partition(".")[0] in NAMES]
    return found[0] if found else NODES["Import"][1]
