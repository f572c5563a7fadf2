"""The texts of a recorded value, and when a text contains another.

    [path for path, text in texts({"url": "pages/7", "n": [1, None]})]      # url, n[0], n[1]
    folded("Straße") in folded("in der STRASSE")

Text is what stands in values: texts as they are, numbers, true, false and null as JSON writes them, bytes
in hexadecimal. Names of fields are no text. Case does not count, and neither does how a letter with an
accent is composed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, cast
from unicodedata import normalize

import msgspec

NOT_OF_TEXTS_ONLY: Final = frozenset("0123456789+-.:eETZabcdeftrulsnNIiy")
"""Every character that a value which is no text can be written with."""


ERASED: Final = msgspec.msgpack.Ext(0x70, b"erased")
"""What stands in an indexed value where something was erased: no text, and no value to compare."""


def folded(text: str) -> str:
    """`text` without what does not count: two texts that are told apart by it alone fold to one."""
    if text.isascii():
        return text.lower()
    return normalize("NFC", normalize("NFD", normalize("NFD", text).casefold()))


def word_of(value: Any) -> str:
    """A value that is neither a list nor an object, as text."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, msgspec.msgpack.Ext):
        return bytes(value.data).hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each text in `value` with where it stands, in order."""
    left: list[tuple[str, Any]] = [(path, value)]
    while left:
        place, item = left.pop()
        if (members := as_members(item)) is not None:
            left += [(step(place, key), inner) for key, inner in reversed(members.items())]
        elif (listed := as_list(item)) is not None:
            left += [(f"{place}[{n}]", listed[n]) for n in range(len(listed) - 1, -1, -1)]
        else:
            yield place, word_of(item)


def words_in(value: Any) -> list[str]:
    """The texts in `value`, in some order: what it takes to look for one."""
    found: list[str] = []
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            found.append(item)
        elif (members := as_members(item)) is not None:
            left += members.values()
        elif (listed := as_list(item)) is not None:
            left += listed
        elif item != ERASED:
            found.append(word_of(item))
    return found


def as_members(value: Any) -> dict[Any, Any] | None:
    """`value` where it is an object."""
    return cast("Any", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | tuple[Any, ...] | None:
    """`value` where it is a list."""
    return cast("Any", value) if isinstance(value, (list, tuple)) else None


def step(place: str, key: object) -> str:
    """One name further, as an expression writes it."""
    name = word_of(key)
    shown = name if name and name.replace("_", "a").replace("-", "a").isalnum() else quoted(name)
    return f"{place}.{shown}" if place else shown


def quoted(text: str) -> str:
    """`text` as an expression writes it between quotation marks."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def contains(value: Any, needle: str) -> bool:
    """Whether a text in `value` contains `needle`, which is folded."""
    return any(needle in folded(text) for text in words_in(value))


def only_in_texts(needle: str) -> bool:
    """Whether `needle` can stand in nothing but a text: then the bytes of a value hold it as it is."""
    return any(ch not in NOT_OF_TEXTS_ONLY for ch in needle)


def value_in(raw: bytes | msgspec.Raw | None) -> Any:
    """The value in a recorded payload; None where there is none, or nobody can read it."""
    if raw is None:
        return None
    try:
        return msgspec.msgpack.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, ValueError, TypeError):
        return None


def several_in(raw: bytes) -> list[str]:
    """The texts of a field that may have several."""
    return [text for text in as_list(value_in(raw)) or () if isinstance(text, str)]
