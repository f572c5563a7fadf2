"""States whose large parts are shared: an entry is copied when a fold touches it, and not before.

    form = Form(RunReport())
    state = form.opened(projection.initial(key))
    ...                                             # fold some events
    body = form.taken(state)                        # what changed since it was opened, or taken last
    form.moved(parts, form.read(body))              # the same change, made in parts that others share

A projection names in `paged` the dictionaries and lists of its state that grow with a run, those of a
structure inside of it as `report.steps`. While it folds, each stands as `Entries` or `Items`: what `apply`
reaches in them, it may change in place, and it is noticed.
They are reached in Python's ways, by key, by index and by iterating; a library that goes past these, as
`heapq` does with lists, would change them unseen, so a field that is used so must not be named.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, ValuesView
from copy import copy
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from playhead_projections.projection import Projection

S = TypeVar("S", bound=msgspec.Struct)
Copy: TypeAlias = Callable[[Any], Any]
Part: TypeAlias = "dict[Any, Any] | list[Any]"

CONSTANT: Final = frozenset({int, str, bytes, bool, float, type(None)})
"""Types of values that nobody can change in place."""

_encode: Final = msgspec.msgpack.Encoder().encode


class Entries(dict[Any, Any]):
    """A dictionary that shares its values with others until they are reached.

    `own` are the keys whose value may differ from what was shared, those that were added in the order of
    adding. `gone` are keys that were taken away, whether or not they came again.
    """

    def __init__(self, shared: dict[Any, Any], copied: Copy, *, whole: bool = False) -> None:
        super().__init__(shared)
        self.copied = copied
        self.settle(shared)
        self.whole = whole

    def settle(self, shared: dict[Any, Any]) -> None:
        """From here on, everything is shared: it is what stands in `shared`, which nobody may change."""
        self._shared = shared
        self.own: dict[Any, None] = {}
        self.gone: dict[Any, None] = {}
        self.whole = False

    def plain(self) -> dict[Any, Any]:
        """A dictionary like any other, with the values that stand here."""
        # What is shared is copied as a whole: dict.copy would reach every value here.
        plain = self._shared.copy()
        for key in self.gone:
            plain.pop(key, None)
        at = super().__getitem__
        for key in self.own:
            plain[key] = at(key)
        return plain

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        if key in self.own or type(value) in CONSTANT:
            return value
        value = self.copied(value)
        self[key] = value
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.own[key] = None

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self.own.pop(key, None)
        self.gone[key] = None

    def __iter__(self) -> Iterator[Any]:  # its being here keeps dict(self) from going past __getitem__
        return super().__iter__()

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  that would be itself

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        if default and key not in self:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[Any, Any]:
        key = next(reversed(self))
        return key, self.pop(key)

    def update(self, *others: Any, **more: Any) -> None:
        for key, value in dict(*others, **more).items():
            self[key] = value

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def values(self) -> Any:
        return ValuesView(self)

    def items(self) -> Any:
        return ItemsView(self)

    def copy(self) -> dict[Any, Any]:
        return {key: self[key] for key in self}

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self


class Items(list[Any]):
    """A list that shares its items with others until they are reached.

    The first `kept` items stand where they stood when all was shared; of them, those at `own` may differ.
    """

    def __init__(self, shared: list[Any], copied: Copy, *, whole: bool = False) -> None:
        super().__init__(shared)
        self.copied = copied
        self.settle()
        self.kept = 0 if whole else len(self)

    def settle(self) -> None:
        """From here on, everything is shared."""
        self.own: dict[int, None] = {}
        self.kept = len(self)

    def plain(self) -> list[Any]:
        """A list like any other, with the items that stand here."""
        return [*super().__iter__()]

    def _at(self, index: int) -> int:
        return index + len(self) if index < 0 else index

    def _loosened(self, start: int) -> None:
        """What stands from `start` on may come to stand elsewhere: none of it is shared."""
        for index in range(start, self.kept):
            self._reached(index)
        self.kept = min(self.kept, start)
        self.own = {index: None for index in self.own if index < start}

    def _reached(self, index: int) -> Any:
        value = super().__getitem__(index)
        if index >= self.kept or index in self.own or type(value) in CONSTANT:
            return value
        value = self.copied(value)
        self[index] = value
        return value

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int):
            wanted = cast("range", range(len(self))[index])
            return [self._reached(at) for at in wanted]
        at = self._at(index)
        return self._reached(at) if 0 <= at < len(self) else super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, int):
            self._loosened(0)
            super().__setitem__(index, value)
            return
        super().__setitem__(index, value)
        if self._at(index) < self.kept:
            self.own[self._at(index)] = None

    def __delitem__(self, index: Any) -> None:
        self._loosened(max(self._at(index), 0) if isinstance(index, int) else 0)
        super().__delitem__(index)

    def __iter__(self) -> Iterator[Any]:
        index = 0
        while index < len(self):
            yield self._reached(index)
            index += 1

    def __reversed__(self) -> Iterator[Any]:
        return (self._reached(index) for index in range(len(self) - 1, -1, -1))

    def pop(self, index: Any = -1) -> Any:
        self._loosened(max(self._at(index), 0))
        return super().pop(index)

    def insert(self, index: Any, value: Any) -> None:
        self._loosened(max(self._at(index), 0))
        super().insert(index, value)

    def remove(self, value: Any) -> None:
        del self[self.index(value)]

    def clear(self) -> None:
        del self[:]

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        self._loosened(0)
        super().sort(key=key, reverse=reverse)

    def reverse(self) -> None:
        self._loosened(0)
        super().reverse()

    def copy(self) -> list[Any]:
        return list(self)

    def __add__(self, other: Any) -> Any:
        return list(self) + other

    def __mul__(self, times: Any) -> Any:
        return list(self) * times

    __rmul__ = __mul__

    def __imul__(self, times: Any) -> Any:
        self[:] = list(self) * times
        return self


# ------------------------------------------------------------------ changes


class _Changed(msgspec.Struct, frozen=True, array_like=True):
    """What became of one part, encoded. Of a list, `kept` items stay, and `more` come behind them."""

    whole: bool
    kept: int
    gone: Raw
    put: Raw
    more: Raw


class _Body(msgspec.Struct, frozen=True, array_like=True):
    """A state without its paged parts, and what became of each of these."""

    rest: bytes
    parts: tuple[_Changed, ...]


class Change(msgspec.Struct, frozen=True, gc=False):
    """What became of one part. Its values are shared by all who make the change."""

    whole: bool
    kept: int
    gone: Iterable[Any]
    put: dict[Any, Any]
    more: list[Any]


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A state without its paged parts, and what became of each of these since it was taken last."""

    rest: bytes
    changes: list[Change]


class _Part:
    """One paged field: the way to it, and how to read and copy what is in it."""

    def __init__(self, name: str, state: type[msgspec.Struct]) -> None:
        *self.way, self.name = name.split(".")
        hint: Any = state
        for each in (*self.way, self.name):
            hint = next(field.type for field in msgspec.structs.fields(hint) if field.name == each)
        kind, inside = get_origin(hint) or hint, get_args(hint) or (Any, Any)
        assert kind in (dict, list), f"{name} is paged, and is no dictionary or list"
        self.is_list = kind is list
        key, value = (int, inside[0]) if self.is_list else inside
        self._gone = msgspec.msgpack.Decoder(list[key])  # type: ignore[valid-type]  # built from a hint
        self._put = msgspec.msgpack.Decoder(dict[key, value])  # type: ignore[valid-type]
        self._more = msgspec.msgpack.Decoder(list[value])  # type: ignore[valid-type]
        self._one = msgspec.msgpack.Decoder(value)

    def of(self, state: Any) -> Any:
        """What stands there in a state."""
        return getattr(self._around(state), self.name)

    def stand(self, state: Any, value: Any) -> None:
        force_setattr(self._around(state), self.name, value)

    def _around(self, state: Any) -> Any:
        for each in self.way:
            state = getattr(state, each)
        return state

    def copied(self, value: Any) -> Any:
        return self._one.decode(_encode(value))

    def wrapped(self, part: Part, *, whole: bool = False) -> Entries | Items:
        made: type[Any] = Items if self.is_list else Entries
        wrapped: Entries | Items = made(part, self.copied, whole=whole)
        return wrapped

    def is_its_own(self, found: Any) -> bool:
        """Whether that is what was put there, and not another one."""
        return isinstance(found, (Entries, Items)) and found.copied == self.copied

    def taken(self, part: Entries | Items) -> _Changed:
        """What changed in `part`, as bytes."""
        if isinstance(part, Items):
            items = part.plain()
            own = {index: items[index] for index in part.own}
            changed = self._changed(False, part.kept, [], own, items[part.kept :])
            part.settle()
            return changed
        entries = part.plain()
        if part.whole:
            changed = self._changed(True, 0, [], entries, [])
        else:
            changed = self._changed(False, 0, list(part.gone), {key: entries[key] for key in part.own}, [])
        part.settle(entries)
        return changed

    @staticmethod
    def _changed(whole: bool, kept: int, gone: list[Any], put: dict[Any, Any], more: list[Any]) -> _Changed:  # noqa: FBT001
        return _Changed(whole, kept, *(Raw(_encode(each)) for each in (gone, put, more)))

    def read(self, changed: _Changed) -> Change:
        put = self._put.decode(changed.put)
        return Change(
            changed.whole, changed.kept, self._gone.decode(changed.gone), put, self._more.decode(changed.more)
        )

    def moved(self, part: Part, change: Change) -> None:
        """Make a change in a plain dictionary or list."""
        if isinstance(part, list):
            del part[change.kept :]
            for index, value in change.put.items():
                part[index] = value
            part += change.more
            return
        if change.whole:
            part.clear()
        for key in change.gone:
            part.pop(key, None)
        part.update(change.put)


class Form(Generic[S]):
    """How the states of one projection are taken apart and put together."""

    def __init__(self, projection: Projection[S]) -> None:
        self._parts = [_Part(name, projection.state) for name in projection.paged]
        self._around = {tuple(part.way[: n + 1]): None for part in self._parts for n in range(len(part.way))}
        self._whole = msgspec.msgpack.Decoder(projection.state)
        self._body = msgspec.msgpack.Decoder(_Body)

    def empty(self) -> list[Part]:
        """The paged parts before anything was in them."""
        return [[] if part.is_list else {} for part in self._parts]

    def opened(self, state: S) -> S:
        """A state of one's own, so that what changes from here on is noticed; taken, it is taken whole."""
        for part in self._parts:
            part.stand(state, part.wrapped(part.of(state), whole=True))
        return state

    def together(self, rest: bytes, parts: list[Part]) -> S:
        """A state that shares what is in `parts` until it is reached. `parts` themselves stay as they are."""
        state = self._whole.decode(rest)
        for part, shared in zip(self._parts, parts, strict=True):
            part.stand(state, part.wrapped(shared))
        return state

    def taken(self, state: S) -> bytes:
        """What changed since the state was opened, put together, or taken last."""
        rest = self._copied(state)
        changes: list[_Changed] = []
        for part in self._parts:
            found = part.of(state)
            if not part.is_its_own(found):  # `apply` put another one there
                found = part.wrapped(found, whole=True)
                part.stand(state, found)
            changes.append(part.taken(found))
            part.stand(rest, [] if part.is_list else {})
        return _encode(_Body(_encode(rest), tuple(changes)))

    def _copied(self, state: S) -> S:
        """A copy, with copies of the structures in which paged parts stand."""
        made = copy(state)
        for *way, name in self._around:
            inside: Any = made
            for each in way:
                inside = getattr(inside, each)
            force_setattr(inside, name, copy(getattr(inside, name)))
        return made

    def read(self, body: bytes) -> Taken:
        """What `taken` wrote. Raises `msgspec.MsgspecError`."""
        found = self._body.decode(body)
        read = [part.read(changed) for part, changed in zip(self._parts, found.parts, strict=True)]
        return Taken(found.rest, read)

    def moved(self, parts: list[Part], taken: Taken) -> None:
        """Make the changes in plain parts."""
        for part, found, change in zip(self._parts, parts, taken.changes, strict=True):
            part.moved(found, change)

    def plain(self, state: S) -> S:
        """The state with dictionaries and lists like any others."""
        for part in self._parts:
            found = part.of(state)
            if isinstance(found, (Entries, Items)):
                part.stand(state, found.plain())
        return state
