"""How much there is to look at when a value is held against a schema, counted before anybody looks.

    Cost({"type": "array", "items": {"type": "string"}}).of(["a", "b"], most=100)      # 3

Schemas and values may come from a stranger, and one that tries two ways at each level of a value that is
fifty levels deep never comes to an end. The count is that of a check which tries everything: nothing that a
schema does takes longer. It is the same each time, so that the same answer is taken or refused everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from playhead.composition.surface import as_list, as_object

_HERE_LISTS: Final = ("anyOf", "oneOf", "allOf")
_HERE: Final = ("not", "if", "then", "else")
_BRANCHES: Final = (*_HERE_LISTS, *_HERE, "dependentSchemas", "contains", "$ref", "$dynamicRef")
_EACH_ITEM: Final = ("items", "contains", "unevaluatedItems")
_EACH_MEMBER: Final = ("additionalProperties", "unevaluatedProperties")
_REFERENCES: Final = ("$ref", "$dynamicRef")
_DATA: Final = ("enum", "const", "default", "examples", "example")
_LOOKS_BACK: Final = re.compile(r"\(\?[=!<]|\\[1-9k]")
BACKTRACKING: Final = 2_000
"""What a pattern counts that cannot be matched in one go."""


class Cost:
    """A schema. Raises `ValueError` for one whose references cannot be followed inside of it."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._anchors: dict[str, Any] = {}
        self.nodes = 0
        self.branches = False
        """Whether one place of a value may be looked at in more than one way."""
        references: list[str] = []
        named = False
        for node in _nodes(schema):
            self.nodes += 1
            self.branches = self.branches or any(key in node for key in _BRANCHES)
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := node.get(key), str):
                    self._anchors[name] = node
            references += [said for key in _REFERENCES if isinstance(said := node.get(key), str)]
            named = named or (node is not schema and isinstance(node.get("$id"), str))
        self.refers = bool(references)
        lost = next((each for each in references if self.at(each) is None), None)
        if lost is not None:
            raise ValueError(f"the reference {lost!r} leads elsewhere")
        if named and references:
            raise ValueError("a part of it has an $id of its own, so that references lead nobody knows where")

    def of(self, value: Any, most: int) -> int:
        """How often something is looked at; more than `most` where it is more than that."""
        counting = _Counting(self, most)
        try:
            return counting.visits(self._schema, value)
        except (_TooMuch, RecursionError):
            return most + 1

    def at(self, reference: Any) -> Any:
        """What a reference leads to; None where that is not inside of the schema."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        if not reference.startswith("#/"):
            return self._anchors.get(reference[1:]) if reference != "#" else self._schema
        found = self._schema
        for step in unquote(reference[2:]).split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            listed = as_list(found)
            if listed is not None:
                found = listed[int(name)] if name.isdecimal() and int(name) < len(listed) else None
            else:
                found = (as_object(found) or {}).get(name)
        return found


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects in `schema`, but for those that are data."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        members = as_object(node)
        if members is None:
            waiting += as_list(node) or []
            continue
        yield members
        waiting += [inner for key, inner in members.items() if key not in _DATA]


class _TooMuch(Exception):
    """There is more to look at than anybody wants to."""


class _Counting:
    def __init__(self, cost: Cost, most: int) -> None:
        self._cost = cost
        self._most = most
        self._known: dict[tuple[int, int], int] = {}
        """By places in memory: everything that is looked at outlives this."""
        self._patterns: dict[str, dict[str, str]] = {}

    def visits(self, schema: Any, value: Any) -> int:
        """Looks at `value` and everything in it. Raises `_TooMuch`."""
        members = as_object(schema)
        if members is None:
            return 1
        # Of values that hold no others, what counts is how long they are.
        holds = as_object(value) is not None or as_list(value) is not None
        place = id(value) if holds else -1 - (len(value) if isinstance(value, str) else 0)
        key = (id(members), place)
        if key in self._known:
            return self._known[key]
        self._known[key] = 0  # a schema that refers to itself at one place looks there once
        total = 1 + len(as_list(members.get("enum")) or ()) + _pattern(members.get("pattern"), value)
        for inner, part in self._inside(members, value):
            total += self.visits(inner, part)
            if total > self._most or len(self._known) > self._most:
                raise _TooMuch
        self._known[key] = total
        return total

    def _inside(self, members: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
        """Which schemas are held against which parts of `value`."""
        for name in _HERE_LISTS:
            yield from ((inner, value) for inner in as_list(members.get(name)) or ())
        yield from ((members[name], value) for name in _HERE if name in members)
        for name in _REFERENCES:
            if name in members:
                yield self._cost.at(members[name]), value
        items, fields = as_list(value), as_object(value)
        if items is not None:
            yield from zip(as_list(members.get("prefixItems")) or (), items, strict=False)
            yield from ((members[name], item) for name in _EACH_ITEM if name in members for item in items)
        if fields is not None:
            yield from self._of_fields(members, fields)

    def _of_fields(self, members: dict[str, Any], fields: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        known = as_object(members.get("properties")) or {}
        yield from ((known[name], field) for name, field in fields.items() if name in known)
        for pattern, inner in (as_object(members.get("patternProperties")) or {}).items():
            for name, field in fields.items():
                yield self._patterns.setdefault(pattern, {"pattern": pattern}), name
                yield inner, field
        for name in _EACH_MEMBER:
            if name in members:
                yield from ((members[name], field) for field in fields.values())
        if "propertyNames" in members:
            yield from ((members["propertyNames"], name) for name in fields)
        for inner in (as_object(members.get("dependentSchemas")) or {}).values():
            yield inner, fields


def _pattern(pattern: Any, value: Any) -> int:
    if not isinstance(pattern, str) or not isinstance(value, str):
        return 0
    return BACKTRACKING if _LOOKS_BACK.search(pattern) else 1 + len(value) // 64
