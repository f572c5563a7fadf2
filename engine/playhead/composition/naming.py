"""What a tool is called in a snippet.

    identifier("docs__read.file")                  # 'docs_read_file'
    allocate(["read.file", "read_file"])           # ['read_file', 'read_file_2']

A binding is a Python identifier of ASCII letters, digits and `_`. It neither begins nor ends with `_`,
holds no two of them in a row, and is no reserved word. Names that the language itself gives to helpers
and exceptions are handed in as `taken`. The words are written out here, and not asked of the Python that
runs: a tool is called the same under every version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

HARD_KEYWORDS: Final = frozenset(
    {
        *("False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue"),
        *("def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in"),
        *(
            "is",
            "lambda",
            "nonlocal",
            "not",
            "or",
            "pass",
            "raise",
            "return",
            "try",
            "while",
            "with",
            "yield",
        ),
    }
)
SOFT_KEYWORDS: Final = frozenset({"_", "case", "match", "type"})
RESERVED: Final = (
    HARD_KEYWORDS
    | SOFT_KEYWORDS
    | {
        *("agent", "catch", "defer", "enum", "false", "fn", "impl", "interface", "let", "nil", "pipeline"),
        *("pub", "skill", "spawn", "struct", "throw", "true", "var"),
    }
)
"""Words that no binding is: Python's own, and those that read like statements to whoever writes a snippet."""

_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9]+")


def identifier(name: str, taken: frozenset[str] = frozenset()) -> str:
    """The identifier of a tool that is called `name`, before other tools are looked at.

    What is no ASCII letter or digit becomes `_`. An empty rest is `tool`, and `tool_` stands before a digit,
    a reserved word, and a word in `taken`.
    """
    found = _NOT_PLAIN.sub("_", name).strip("_") or "tool"
    if found[0].isdigit():
        found = f"tool_{found}"
    while found in RESERVED or found in taken:
        found = f"tool_{found}"
    return found


def allocate(names: Iterable[str], taken: frozenset[str] = frozenset()) -> list[str]:
    """An identifier for each of `names`, in their order, no two alike.

    The first of several that come out alike has it, the next have `_2`, `_3` and so on, whichever is free.
    """
    used: set[str] = set()
    last: dict[str, int] = {}
    found: list[str] = []
    for name in names:
        base = candidate = identifier(name, taken)
        while candidate in used or candidate in taken:
            last[base] = last.get(base, 1) + 1
            candidate = f"{base}_{last[base]}"
        used.add(candidate)
        found.append(candidate)
    return found
