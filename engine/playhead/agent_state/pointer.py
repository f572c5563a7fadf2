"""JSON Pointer (RFC 6901): a place in a JSON value.

pointed({"a": [1, 2]}, "/a/1")      # 2
"""

from __future__ import annotations

from typing import Any, cast

from playhead.errors import BadValue

INDEX_DIGITS_MAX = 9


def parts_of(pointer: str) -> list[str]:
    """The names on the way, outermost first. Raises `BadValue` for what is no pointer."""
    if pointer and not pointer.startswith("/"):
        raise BadValue("a JSON pointer is empty or begins with /.", expected="/member/0", found=pointer[:200])
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def pointed(value: Any, pointer: str) -> Any:
    """What `pointer` leads to in `value`; None where it leads nowhere. Raises `BadValue`."""
    found = value
    for part in parts_of(pointer):
        if isinstance(found, dict):
            found = cast("dict[str, Any]", found).get(part)
        elif isinstance(found, list):
            found = _element(cast("list[object]", found), part)
        else:
            return None
    return found


def _element(values: list[object], part: str) -> Any:
    if not (part.isascii() and part.isdigit() and len(part) <= INDEX_DIGITS_MAX):
        return None
    if part[0] == "0" and part != "0":
        return None
    return values[int(part)] if int(part) < len(values) else None
