"""A report for a terminal: aligned, cut where there is too much, and saying so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from playhead_projections.cli.output import cut, table
from playhead_projections.cli.reports.sections import TREE_HEAD, Section, cells, headline, sections, what
from playhead_projections.reports.picking import picked

NODES: Final = 100
INDENT_MAX: Final = 12
WHAT_WIDTH: Final = 64
WHAT_WIDTH_MIN: Final = 30
OTHER_COLUMNS: Final = 56
"""What the columns beside `what` take."""


def lines(
    document: dict[str, Any], *, limit: int | None, width: int, word: Callable[[str], str]
) -> Iterator[str]:
    """The report, line by line. `word` colours a status where that is wanted."""
    first, *rest = headline(document)
    yield cut(first, width)
    yield from (f"  {cut(line, width - 2)}" for line in rest)
    tree = _tree(document, limit, width, word)
    told = list(sections(document))
    for section in told[:2]:
        yield from _section(section, width)
    yield from tree
    for section in told[2:]:
        yield from _section(section, width)


def _section(section: Section, width: int) -> Iterator[str]:
    yield ""
    left_out = f"  … {section.left_out:,} before these: --json" if section.left_out else ""
    yield f"{section.title}{left_out}"
    rows = [tuple(cut(cell, width) for cell in row) for row in section.rows]
    head = section.head if any(section.head) else ()
    yield from (f"  {line}" for line in table(rows, head=head, right=section.right))


def _tree(document: dict[str, Any], limit: int | None, width: int, word: Callable[[str], str]) -> list[str]:
    """What the program did, each set in by how deep it lies, and below it what is worth a word about it."""
    room = min(max(width - OTHER_COLUMNS, WHAT_WIDTH_MIN), WHAT_WIDTH)
    rows: list[tuple[str, ...]] = []
    below: list[str] = []
    for row in picked(document["nodes"], limit):
        by = "  " * min(row.depth, INDENT_MAX)
        if row.node is None:
            rows.append(("", f"{by}… {row.left_out:,} more: playhead report {document['run']['run']} --all"))
            below.append("")
            continue
        number, status, *others, said = cells(row.node)
        rows.append((number, cut(f"{by}{what(row.node)}", room), word(status), *others))
        below.append(f"{by}  {said}" if said else "")
    if not rows:
        return []
    head, *listed = table(rows, head=TREE_HEAD[:-1], right=(0, 3, 4))
    lines = ["", "What it did", f"  {head}"]
    column = 2 + max(len(TREE_HEAD[0]), *(len(row[0]) for row in rows)) + 2
    for line, said in zip(listed, below, strict=True):
        lines.append(f"  {line}")
        if said:
            lines.append(cut(f"{' ' * column}{said}", max(width, WHAT_WIDTH)))
    return lines
