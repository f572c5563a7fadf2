"""Which nodes of a report are shown where there is not room for all, and what is said of the others.

    for row in picked(nodes, 200):
        row.node, row.left_out        # one of them: a node, or how many are not shown in its place

In each place the first few are shown, and before others those in which something went wrong. How few follows
from how many there are in all, so a small report is whole, and of a large one every corner is seen a little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

FANS: Final = (1_000, 500, 200, 100, 50, 30, 20, 12, 8, 5, 3)
"""How many are shown in one place, tried in this order."""
UNTROUBLED: Final = frozenset({"completed", "granted"})


class Row(NamedTuple):
    """A node, or where `node` is None, how many in `parent` are not shown."""

    node: dict[str, Any] | None
    depth: int
    left_out: int = 0
    parent: str | None = None


def picked(nodes: Sequence[dict[str, Any]], limit: int | None) -> list[Row]:
    """The rows of a report, depth first; `limit` None is all. Never more than `limit` nodes."""
    if limit is None or len(nodes) <= limit:
        return [Row(node, node["depth"]) for node in nodes]
    within = _within(nodes)
    troubled = _troubled(nodes)
    chosen: set[str] = set()
    for fan in FANS:
        chosen = _chosen(within, troubled, fan)
        if len(chosen) <= limit:
            return list(_rows(nodes, chosen))
    first = {node["op"] for node in [node for node in nodes if node["op"] in chosen][:limit]}
    return list(_rows(nodes, first))


def _within(nodes: Sequence[dict[str, Any]]) -> dict[str | None, list[dict[str, Any]]]:
    within: dict[str | None, list[dict[str, Any]]] = {}
    for node in nodes:
        within.setdefault(node["parent"], []).append(node)
    return within


def _troubled(nodes: Sequence[dict[str, Any]]) -> set[str]:
    """The nodes that did not end well, or in which one did not. What is inside stands behind its place."""
    found: set[str] = set()
    for node in reversed(nodes):
        if node["status"] not in UNTROUBLED or node["op"] in found:
            found.add(node["op"])
            if node["parent"] is not None:
                found.add(node["parent"])
    return found


def _chosen(within: dict[str | None, list[dict[str, Any]]], troubled: set[str], fan: int) -> set[str]:
    chosen: set[str] = set()
    places: list[str | None] = [None]
    for place in places:  # it grows by what is chosen
        inside = within.get(place, [])
        kept = inside
        if len(inside) > fan:
            bad = [node for node in inside if node["op"] in troubled][: fan // 2]
            known = {node["op"] for node in bad}
            kept = [*bad, *(node for node in inside if node["op"] not in known)][:fan]
        chosen.update(node["op"] for node in kept)
        places += [node["op"] for node in kept]
    return chosen


def _rows(nodes: Sequence[dict[str, Any]], chosen: set[str]) -> Iterator[Row]:
    """The chosen ones, and after the last in each place how many there are besides, with those inside."""
    missing: dict[str | None, int] = {}
    shown: dict[str, str | None] = {}
    for node in nodes:
        op, parent = node["op"], node["parent"]
        if op not in chosen:
            place = parent
            while place is not None and place not in chosen:
                place = shown[place]
            missing[place] = missing.get(place, 0) + 1
        shown[op] = parent
    open_places: list[dict[str, Any]] = []
    for node in nodes:
        if node["op"] not in chosen:
            continue
        while open_places and node["depth"] <= open_places[-1]["depth"]:
            yield from _gap(open_places.pop(), missing)
        yield Row(node, node["depth"])
        open_places.append(node)
    while open_places:
        yield from _gap(open_places.pop(), missing)
    if missing.get(None):
        yield Row(None, 0, missing[None], None)


def _gap(node: dict[str, Any], missing: dict[str | None, int]) -> Iterator[Row]:
    count = missing.get(node["op"], 0)
    if count:
        yield Row(None, node["depth"] + 1, count, node["op"])
