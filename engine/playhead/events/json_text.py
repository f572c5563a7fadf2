"""A recorded value in JSON, for people and for documents: whatever a payload can hold has a text.

    json_text({(1, 2): b"a"}, default=len)         # '{"(1, 2)": 1}'

A mapping of a program may have names of any type, and JSON knows only texts: such a name is what a JSON
pointer to its value calls it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, cast


def json_text(
    value: Any, *, default: Callable[[Any], Any], indent: int | None = None, ordered: bool = False
) -> str:
    """`value` in JSON. `default` says what stands for a value that JSON has no word for."""
    encode = _encoder(default, indent, ordered)
    try:
        return encode(value)
    except TypeError:  # json takes few types as names, and sorts only those of one type
        return encode(_named(value))


@cache
def _encoder(default: Callable[[Any], Any], indent: int | None, ordered: bool) -> Callable[[Any], str]:  # noqa: FBT001
    return json.JSONEncoder(ensure_ascii=False, indent=indent, sort_keys=ordered, default=default).encode


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        members = cast("dict[object, Any]", value).items()
        return {str(name): _named(each) for name, each in members}
    if isinstance(value, (list, tuple)):
        return [_named(each) for each in cast("list[Any]", value)]
    return value
