"""JSON values and places in them: what is equal, what has one shape, and where else a value stands.

    shape({"path": "a.py", "limit": 5})                        # '{limit:number,path:text}'
    at([{"id": 7}], (0, "id"))                                 # 7
    list(places([{"id": 7}], 7))                               # [(0, 'id')]

Equal is what has the same JSON text: 1, 1.0 and true are three values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from playhead.composition.hashing import canonical_json
from playhead.composition.surface import as_list, as_object

Path: TypeAlias = tuple[str | int, ...]
"""A place in a value: members by name, elements by index."""

NODES_MAX: Final = 10_000
SHAPE_DEPTH_MAX: Final = 4
TELLING_CHARS_MIN: Final = 2

_SHAPES: Final[Mapping[type[object], str]] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "list",
}


class _Missing:
    """What stands at a place that a value does not have."""

    __slots__ = ()


MISSING: Final = _Missing()


def key_of(value: Any) -> bytes:
    """What equal values have in common."""
    return canonical_json(value)


def same(values: Sequence[Any]) -> bool:
    """Whether all of them are equal."""
    first = key_of(values[0])
    return all(key_of(value) == first for value in values[1:])


def shape(value: Any, depth: int = 0) -> str:
    """What sort of value it is. A list is a list, whatever it holds: how long it is differs each time."""
    members = as_object(value)
    if members is not None:
        if depth >= SHAPE_DEPTH_MAX:
            return "object"
        inner = ",".join(f"{name}:{shape(members[name], depth + 1)}" for name in sorted(members))
        return f"{{{inner}}}"
    return _SHAPES[cast("type[object]", type(value))]


def at(value: Any, path: Path) -> Any:
    """What stands at `path`; `MISSING` where nothing does."""
    for step in path:
        if isinstance(step, str):
            value = (as_object(value) or {}).get(step, MISSING)
        else:
            elements = as_list(value) or ()
            value = elements[step] if 0 <= step < len(elements) else MISSING
        if value is MISSING:
            return MISSING
    return value


def nodes(value: Any) -> Iterator[tuple[Path, Any]]:
    """Every place in `value` and what stands there, the shallow ones first, at most NODES_MAX."""
    level: list[tuple[Path, Any]] = [((), value)]
    count = 0
    while level:
        below: list[tuple[Path, Any]] = []
        for path, found in level:
            yield path, found
            count += 1
            if count >= NODES_MAX:
                return
            members = as_object(found) or {}
            below += [((*path, name), members[name]) for name in sorted(members)]
            below += [((*path, n), each) for n, each in enumerate(as_list(found) or ())]
        level = below


def places(value: Any, wanted: Any) -> Iterator[Path]:
    """Where in `value` the `wanted` one stands, the shallow places first."""
    kind = cast("type[object]", type(wanted))
    key = key_of(wanted) if isinstance(wanted, (dict, list)) else b""
    for path, found in nodes(value):
        if type(found) is kind and (key_of(found) == key if key else found == wanted):
            yield path


def telling(value: Any) -> bool:
    """Whether it says something that the same value elsewhere is no accident: true and "" are everywhere."""
    if isinstance(value, (dict, list)):
        return bool(as_object(value) or as_list(value))
    if isinstance(value, str):
        return len(value) >= TELLING_CHARS_MIN
    return value is not None and not isinstance(value, bool)


def pointer(path: Path) -> str:
    """`path` as a JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def strict_json(data: bytes) -> Any:
    """The JSON in `data`, which every reader reads alike. Raises `ValueError`, and `RecursionError`."""
    found = json.loads(data.decode("utf-8"), object_pairs_hook=members_once)
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    return found


def members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object out of its members. Raises `ValueError` where two have one name: readers take either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for n, (name, _) in enumerate(pairs) if name in dict(pairs[:n]))
        raise ValueError(f"an object has the member {twice!r} twice")
    return found


def in_line(text: str) -> str:
    """`text` on one line: what is not printable is escaped, and half a character too."""
    return text if text.isprintable() else "".join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in text)
