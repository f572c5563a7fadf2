"""JSON Pointer (RFC 6901): a place in a JSON value.

pointed({"a": [1, 2]}, "/a/1")               # 2
pointed({"a": [1, 2]}, "/b", missing=0)      # 0
"""

from __future__ import annotations

import re
from typing import Any, cast

from playhead.errors import BadValue

INDEX_DIGITS_MAX = 9


def parts_of(pointer: str) -> list[str]:
    """The names on the way, outermost first. Raises `BadValue` for what is no pointer."""
    if pointer and not pointer.startswith("/"):
        raise BadValue("a JSON pointer is empty or begins with /.", expected="/member/0", found=pointer[:200])
    if re.search(r"~(?![01])", pointer):
        raise BadValue("in a JSON pointer ~ is written ~0, and / is ~1.", found=pointer[:200])
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def pointed(value: Any, pointer: str, *, missing: Any = None) -> Any:
    """What `pointer` leads to in `value`; `missing` where it leads nowhere. Raises `BadValue`."""
    found = value
    for part in parts_of(pointer):
        if isinstance(found, dict):
            members = cast("dict[str, Any]", found)
            if part not in members:
                return missing
            found = members[part]
        elif isinstance(found, list) and (index := _index(part)) < len(cast("list[object]", found)):
            found = cast("list[object]", found)[index]
        else:
            return missing
    return found


def _index(part: str) -> int:
    """The index that a name is; one beyond every list where it is none."""
    digits = part.isascii() and part.isdigit() and len(part) <= INDEX_DIGITS_MAX
    return int(part) if digits and (part == "0" or part[0] != "0") else 10**INDEX_DIGITS_MAX
