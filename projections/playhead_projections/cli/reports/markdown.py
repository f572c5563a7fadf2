"""A report in Markdown, for an issue or a pull request. Nothing in it is markup but what stands here.

What a log holds was written by anybody. Every mark of punctuation that Markdown knows is escaped, also where
it would mean nothing, and tags are written as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from playhead_projections.cli.output import cut
from playhead_projections.cli.reports.sections import TREE_HEAD, Section, cells, headline, sections, what
from playhead_projections.reports.picking import picked

NODES: Final = 500
INDENT_MAX: Final = 12
CELL_WIDTH: Final = 300
_MARKS: Final = re.compile(r"([!\"#$%'()*+,\-./:;=?@\[\\\]^_`{|}~])")
_TAGS: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_HARMLESS: Final = frozenset("$%'(),-./;=?\"{}+^")
"""Marks that mean nothing inside of a line, but for the ones that could make a link of what is none."""


def escaped(text: str) -> str:
    """`text` as Markdown that reads as just this text, on one line."""
    flat = cut(text, CELL_WIDTH)
    flat = re.sub(r"[&<>]", lambda found: _TAGS[found[0]], flat)
    return _MARKS.sub(_escape, flat)


def _escape(found: re.Match[str]) -> str:
    mark = found[0]
    if mark in _HARMLESS and not _links(found):
        return mark
    return f"\\{mark}"


def _links(found: re.Match[str]) -> bool:
    """Whether a dot follows `www`, which some readers make a link of."""
    return found[0] == "." and found.string[: found.start()].lower().endswith("www")


def lines(document: dict[str, Any], *, limit: int | None) -> Iterator[str]:
    """The report, line by line."""
    first, *rest = headline(document)
    yield f"# {escaped(first)}"
    yield ""
    yield from (f"- {escaped(line)}" for line in rest)
    told = list(sections(document))
    for section in told[:2]:
        yield from _section(section)
    yield from _tree(document, limit)
    for section in told[2:]:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    yield from ("", f"## {section.title}", "")
    yield from _table(section.head, section.rows, section.right)
    if section.left_out:
        yield from ("", f"{section.left_out:,} before these are left out.")


def _tree(document: dict[str, Any], limit: int | None) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    left_out = 0
    for row in picked(document["nodes"], limit):
        by = "· " * min(row.depth, INDENT_MAX)
        if row.node is None:
            left_out += row.left_out
            rows.append(("", f"{by}… {row.left_out:,} more", "", "", "", "", ""))
            continue
        number, *others = cells(row.node)
        rows.append((number, f"{by}{what(row.node)}", *others))
    if rows:
        yield from ("", "## What it did", "")
        yield from _table(TREE_HEAD, rows, (0, 3, 4))
    if left_out:
        every = f"playhead report {document['run']['run']} --all"
        yield from ("", f"{left_out:,} are left out. All of them: {escaped(every)}")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> Iterator[str]:
    yield f"| {' | '.join(escaped(cell) for cell in head)} |"
    yield f"| {' | '.join('---:' if n in right else '---' for n in range(len(head)))} |"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"
