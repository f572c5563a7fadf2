"""A report as one HTML file: it asks nobody for anything, works without its script, and prints.

What a log holds was written by anybody. All of it comes in through `escaped`, as text or as the value of an
attribute in quotes, and a policy in the page lets nothing be loaded and no script run but the one that is
known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator
from typing import Any, Final

from playhead_projections.accounts import length
from playhead_projections.cli.output import REPLACEMENT, cut, span
from playhead_projections.cli.reports.page_style import SCRIPT, STYLE
from playhead_projections.cli.reports.sections import (
    SHARE_WORDS,
    Section,
    cells,
    headline,
    remarks,
    sections,
    what,
)
from playhead_projections.reports.picking import Row, picked
from playhead_projections.reports.shares import SHARES

NODES: Final = 10_000
OPEN_MAX: Final = 200
"""How many nodes a tree may have to come open."""
DEPTH_MAX: Final = 40
"""Deeper ones lie beside one another: browsers stop at some depth."""
WIDE: Final = 1_000
BUCKETS: Final = 500
CELL_WIDTH: Final = 600
DETAIL_WIDTH: Final = 600
LANES: Final = (
    ("steps", "step", ("step",)),
    ("tools", "tool", ("tool", "value", "state", "hook")),
    ("models", "model", ("model",)),
    ("people", "people", ("approval",)),
    ("signals", "signals", ("signal",)),
    ("child runs", "children", ("child",)),
    ("timers", "timers", ("timer",)),
)
_KINDS: Final = frozenset(kind for _, _, kinds in LANES for kind in kinds) | {"persona", "composition"}
_STATUSES: Final = frozenset(
    {
        "completed",
        "granted",
        "failed",
        "denied",
        "cancelled",
        "open",
        "running",
        "in_doubt",
        "proposed",
        "skipped",
        "escalated",
    }
)


def escaped(text: str, width: int = CELL_WIDTH) -> str:
    """`text` as text of a page, or as the value of an attribute in quotes; controls leave a mark."""
    flat = cut(text, width)
    kept = "".join(ch if ch.isprintable() else REPLACEMENT for ch in flat)
    return html.escape(kept, quote=True)


def lines(document: dict[str, Any], *, limit: int | None) -> Iterator[str]:
    """The page, piece by piece."""
    first, *rest = headline(document)
    yield from _head(first)
    yield f'<h1>{escaped(first)}</h1>\n<ul class="facts">'
    yield from (f"<li>{escaped(line)}</li>" for line in rest)
    yield "</ul>"
    told = list(sections(document))
    for number, section in enumerate(told[:2]):
        yield from _section(section, _shares(document) if not number else ())
    yield from _timeline(document)
    yield from _tree(document, limit)
    for section in told[2:]:
        yield from _section(section)
    yield f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>"


def _head(title: str) -> Iterator[str]:
    policy = (
        f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{escaped(title, 120)}</title>\n<style>{STYLE}</style>\n</head>\n<body>"
    yield '<a class="skip" href="#did">To what it did</a>\n<main>'


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


# --------------------------------------------------------------- sections


def _section(section: Section, before: Iterator[str] | tuple[str, ...] = ()) -> Iterator[str]:
    yield f"<section>\n<h2>{escaped(section.title)}</h2>"
    yield from before
    yield "<table>"
    if any(section.head):
        yield f"<thead><tr>{_cells('th', section.head, section.right)}</tr></thead>"
    yield "<tbody>"
    yield from (f"<tr>{_cells('td', row, section.right)}</tr>" for row in section.rows)
    yield "</tbody></table>"
    if section.left_out:
        yield f'<p class="note">{section.left_out:,} before these are not on this page.</p>'
    yield "</section>"


def _cells(tag: str, row: tuple[str, ...], right: tuple[int, ...]) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    number = ' class="r"'
    return "".join(
        f"<{tag}{scope}{number if n in right else ''}>{escaped(cell)}</{tag}>" for n, cell in enumerate(row)
    )


# --------------------------------------------------------------- pictures


def _shares(document: dict[str, Any]) -> Iterator[str]:
    """One bar: how the time was spent."""
    time = document["time"]
    whole = max(time["took"], 1)
    size = f'viewBox="0 0 {WIDE} 10" preserveAspectRatio="none"'
    yield f'<svg class="share" {size} role="img" aria-label="how the time was spent">'
    at = 0.0
    for name in SHARES:
        width = time[name] * WIDE / whole
        if width:
            yield (
                f'<rect class="{name}" x="{at:.2f}" y="0" width="{width:.2f}" height="10">'
                f"<title>{SHARE_WORDS[name]}, {span(time[name])}</title></rect>"
            )
        at += width
    yield "</svg>"


def _timeline(document: dict[str, Any]) -> Iterator[str]:
    """How much of each kind was under way when, over the whole run: also what the tree has no room for."""
    since, until = _ends(document)
    if until <= since:
        return
    yield '<section>\n<h2>Timeline</h2>\n<div class="lanes">'
    for name, colour, kinds in LANES:
        levels = _levels(document, kinds, since, until)
        most = max(levels)
        if most:
            yield f"<span>{name}, at most {most:,} at once</span>"
            yield (
                f'<svg class="lane" viewBox="0 0 {BUCKETS} 100" preserveAspectRatio="none" role="img" '
                f'aria-label="{name} over time"><path class="{colour}" d="{_area(levels, most)}"/></svg>'
            )
    yield f'</div>\n<p class="note">From its start to {span(until - since)} later.</p>\n</section>'


def _ends(document: dict[str, Any]) -> tuple[int, int]:
    since = document["run"]["started"]
    return (0, 0) if since is None else (since, since + document["time"]["took"])


def _levels(document: dict[str, Any], kinds: tuple[str, ...], since: int, until: int) -> list[int]:
    """How many of these kinds were under way in each part of the time."""
    steps = [0] * (BUCKETS + 1)
    for node in document["nodes"]:
        if node["kind"] in kinds and node["started"] is not None:
            ended = until if node["ended"] is None else node["ended"]
            first = _bucket(node["started"], since, until)
            steps[first] += 1
            steps[max(_bucket(ended, since, until), first) + 1] -= 1
    levels: list[int] = []
    now = 0
    for step in steps[:BUCKETS]:
        now += step
        levels.append(now)
    return levels


def _bucket(at: int, since: int, until: int) -> int:
    return min(max((at - since) * BUCKETS // (until - since), 0), BUCKETS - 1)


def _area(levels: list[int], most: int) -> str:
    """A stepped area as a path; stretches of one height are one piece."""
    pieces = ["M0 100"]
    height = -1
    for n, level in enumerate(levels):
        if level != height:
            pieces.append(f"H{n}V{100 - level * 100 // most}")
            height = level
    return "".join([*pieces, f"H{len(levels)}V100Z"])


# ------------------------------------------------------------------- tree


def _tree(document: dict[str, Any], limit: int | None) -> Iterator[str]:
    rows = picked(document["nodes"], limit)
    if not rows:
        return
    ends = _ends(document)
    shown = sum(row.node is not None for row in rows)
    yield '<section id="did">\n<h2>What it did</h2>'
    if shown < len(document["nodes"]):
        yield (
            f'<p class="note">{shown:,} of {len(document["nodes"]):,} are on this page, '
            "and before others what went wrong. playhead report --all --format html puts in all.</p>"
        )
    yield '<ul class="tree">'
    yield from _items(rows, ends, " open" if shown <= OPEN_MAX else "")
    yield "</ul>\n</section>"


def _items(rows: list[Row], ends: tuple[int, int], opened: str) -> Iterator[str]:
    """The rows as lists in lists, by their depths: each is closed before the next that lies no deeper."""
    depths: list[int] = []
    for number, row in enumerate(rows):
        depth = min(row.depth, DEPTH_MAX)
        while depths and depths[-1] >= depth:
            yield "</ul></details></li>"
            depths.pop()
        following = rows[number + 1] if number + 1 < len(rows) else None
        holds = following is not None and min(following.depth, DEPTH_MAX) > depth
        if row.node is None:
            yield f'<li class="more">… {row.left_out:,} more are not on this page</li>'
        elif holds:
            yield f"<li><details{opened}><summary>{_row(row.node, ends)}</summary>{_facts(row.node)}<ul>"
            depths.append(depth)
        else:
            facts = _facts(row.node)
            inner = _row(row.node, ends)
            fold = f"<details><summary>{inner}</summary>{facts}</details>"
            plain = f'<div class="row">{inner}</div>'
            yield f"<li>{fold if facts else plain}</li>"
    yield from ("</ul></details></li>" for _ in depths)


def _row(node: dict[str, Any], ends: tuple[int, int]) -> str:
    number, status, took, _, used, _ = cells(node)
    kind = node["kind"] if node["kind"] in _KINDS else "step"
    word = f' class="{status}"' if status in _STATUSES else ""
    return (
        f'<span class="seq">{number}</span><span class="what">{escaped(what(node), 200)}</span>'
        f'<span{word}>{escaped(status)}</span><span class="r">{took}</span>'
        f'<span class="used">{escaped(used)}</span>{_bar(node, kind, ends)}'
    )


def _bar(node: dict[str, Any], kind: str, ends: tuple[int, int]) -> str:
    since, until = ends
    whole = max(until - since, 1)
    over = until if node["ended"] is None else node["ended"]
    x = min(max((node["started"] - since) * WIDE // whole, 0), WIDE - 2)
    width = min(max((over - node["started"]) * WIDE // whole, 2), WIDE - x)
    return (
        f'<svg class="bar" viewBox="0 0 {WIDE} 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{kind}" x="{x}" width="{width}" height="8"/></svg>'
    )


def _facts(node: dict[str, Any]) -> str:
    """What is worth reading about a node, where there is something."""
    told = [
        ("given", node["input"]),
        ("gave", node["output"]),
        ("asked at", node["site"]),
        ("model", node.get("model")),
        ("", "; ".join(remarks(node))),
    ]
    for attempt in node.get("attempts", ()):
        error = attempt["error"]
        text = "" if error is None else f": {error['type']}: {error['message']}"
        took = length(attempt["started"], attempt["ended"])
        told.append((f"attempt {attempt['number']}", f"{span(took)}{text}"))
    error = node["error"]
    if error is not None:
        told += [("because", cause) for cause in error["causes"]]
    time = node.get("time")
    if time is not None:
        spent = ", ".join(f"{SHARE_WORDS[name]} {span(time[name])}" for name in SHARES if time[name])
        told.append(("time", spent))
    shown = "".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(text, DETAIL_WIDTH)}</dd>" for name, text in told if text
    )
    return f"<dl>{shown}</dl>" if shown else ""
