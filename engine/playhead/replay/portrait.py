"""What a value looks like, in words that two processes can compare.

    portrait({"b", "a"}) == "{'a' 'b'}"
    portrait(Point(1, 2)) == "Point(x=1 y=2 )"

Nothing of the program is called for it: no `__repr__`, no `__eq__`. A set looks the same in whatever order it
is walked, and an object is its type and what is in it, wherever it lies in memory. So what looks different
in two processes is different.
"""

from __future__ import annotations

import zlib
from _random import Random as _Generator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, cast

from msgspec import Struct

NODES_MAX: Final = 200
DEPTH_MAX: Final = 6
MEMBERS_MAX: Final = 50
"""How many members are looked at from each end of a long one."""
SET_MAX: Final = 2_000
TEXT_MAX: Final = 4_000
SHOWN_MAX: Final = 160
"""How much of a portrait is kept as it is; of a longer one also a digest."""

_PLAIN: Final = frozenset({type(None), bool, float, complex, type(Ellipsis)})
_BY_REPR: Final = frozenset({"datetime", "decimal", "fractions", "uuid", "pathlib", "zoneinfo", "ipaddress"})
_BY_TYPE: Final = ("playhead.", "asyncio", "_asyncio", "contextvars", "threading", "_thread", "anyio")
_DICT: Final[Any] = dict
_ROWS: Final[tuple[Any, ...]] = (list, tuple, deque)
_SETS: Final[tuple[Any, ...]] = (set, frozenset)
_ALIKE: Final = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type)


def is_alike(value: object) -> bool:
    """Whether a value is code, which is the same in every process."""
    return isinstance(value, _ALIKE)


def portrait(value: object, meets: Callable[[Any], None] | None = None) -> str:
    """The words for `value`. `meets` is handed every set in it."""
    kind = type(value)
    if kind in _PLAIN or (kind is int and -(1 << 64) < cast("int", value) < (1 << 64)):
        return repr(value)
    is_short = kind is str and len(cast("str", value)) < SHOWN_MAX // 2
    text = repr(value) if is_short else "".join(_Painter(meets).words(value, DEPTH_MAX))
    if len(text) <= SHOWN_MAX:
        return text
    return f"{text[:SHOWN_MAX]}…{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


class _Painter:
    def __init__(self, meets: Callable[[Any], None] | None) -> None:
        self._left = NODES_MAX
        self._meets = meets

    def words(self, value: Any, depth: int) -> Iterator[str]:
        kind: Any = type(cast("object", value))
        self._left -= 1
        if kind is str or kind is bytes:
            yield repr(value if len(value) <= TEXT_MAX else (value[:SHOWN_MAX], _digest(value)))
        elif kind is int:
            yield repr(value) if -(1 << 64) < value < (1 << 64) else f"int {value % ((1 << 61) - 1):x}"
        elif kind in _PLAIN:
            yield repr(value)
        elif depth <= 0 or self._left <= 0:
            yield f"{kind.__name__}…"
        elif isinstance(value, (set, frozenset)):
            yield from self._set(cast("set[object]", value), depth)
        elif isinstance(value, dict):
            pairs: Any = _DICT.items(value)
            yield f"{'' if kind is dict else kind.__name__}{{{len(pairs)} "
            for name, member in _ends(pairs, reversed(pairs), len(pairs)):
                yield from (*self.words(name, depth - 1), ":", *self.words(member, depth - 1), " ")
            yield "}"
        elif isinstance(value, (list, tuple, deque)):
            bracket = "(" if isinstance(value, tuple) else "["
            base: Any = next(one for one in _ROWS if isinstance(value, one))
            many = base.__len__(value)
            yield f"{'' if kind is base else kind.__name__}{bracket}{many} "
            backwards = (base.__getitem__(value, at) for at in range(-1, -many - 1, -1))
            for member in _ends(base.__iter__(value), backwards, many):
                yield from (*self.words(member, depth - 1), " ")
            yield "]"
        else:
            yield from self._object(value, kind, depth)

    def _set(self, value: set[object], depth: int) -> Iterator[str]:
        if self._meets is not None:
            self._meets(value)
        if len(value) > SET_MAX:
            yield f"{{{len(value)} members}}"
            return
        found: list[str] = []
        base: Any = next(one for one in _SETS if isinstance(value, one))
        for member in base.__iter__(value):
            self._left = max(self._left, MEMBERS_MAX)  # all or none: which come first is another each time
            found.append("".join(self.words(member, min(depth - 1, 2))))
        yield f"{{{' '.join(sorted(found))}}}"

    def _object(self, value: object, kind: type[Any], depth: int) -> Iterator[str]:
        name, module = kind.__qualname__, kind.__module__
        if isinstance(value, _ALIKE):
            yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', name)}"
        elif isinstance(value, Enum):
            yield f"{name}.{value.name}"
        elif module in _BY_REPR:
            yield repr(value)
        elif module.startswith(_BY_TYPE) or module == "playhead":
            yield name
        else:
            yield f"{name}("
            if isinstance(value, _Generator) and kind.random is _Generator.random:
                yield f"{hash(_Generator.getstate(value)):x} "  # numbers alone: no process chooses their hash
            if isinstance(value, BaseException):
                yield from (*self.words(value.args, depth - 1), " ")
            for field, member in _fields(value, kind):
                yield from (f"{field}=", *self.words(member, depth - 1), " ")
            yield ")"


def _ends(first: Iterable[Any], last: Iterable[Any], many: int) -> Iterator[Any]:
    """The first and the last members of a long one."""
    yield from islice(first, many if many <= 2 * MEMBERS_MAX else MEMBERS_MAX)
    if many > 2 * MEMBERS_MAX:
        yield from islice(last, MEMBERS_MAX)


def _fields(value: object, kind: type[Any]) -> Iterator[tuple[str, object]]:
    """What is in an object, as the interpreter keeps it."""
    if isinstance(value, Struct):
        yield from ((field, getattr(value, field)) for field in value.__struct_fields__)
        return
    for base in reversed(kind.__mro__):
        slots: Any = vars(base).get("__slots__", ())
        for field in (slots,) if isinstance(slots, str) else tuple(slots):
            member: Any = vars(base).get(field)
            if hasattr(member, "__get__") and not callable(member) and not isinstance(member, property):
                try:
                    yield field, member.__get__(value, kind)
                except AttributeError:  # never set
                    continue
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return
    if isinstance(held, dict):
        yield from ((str(field), member) for field, member in cast("dict[object, object]", held).items())


def _digest(value: str | bytes) -> int:
    return zlib.crc32(value if isinstance(value, bytes) else value.encode("utf-8", "replace"))
