"""What a name leads to that can differ: its value, or where that is code, the data which the code keeps.

    dict(kept("m:stamp", stamp))              # {"m:stamp": {"defaults": (17,)}}
    dict(kept("m:Conf", Conf, {"born"}))      # {"m:Conf.born": 17}

A member of a class has one name, wherever it is read, so that a program is innocent of its neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextvars import ContextVar
from types import CellType, FunctionType
from typing import Any, Final, cast

from playhead.replay.frames import is_users
from playhead.replay.portrait import is_alike

Kept = Iterator[tuple[str, object]]
_NOTHING: Final = object()


def kept(name: str, value: object, members: Collection[str] = ()) -> Kept:
    """The values behind `name`, on a line that names these members, of whatever it be.

    Of a class that is named with some of its own members only those count, else all that it keeps.
    """
    if isinstance(value, type):
        yield from _of_class(value, members)
    elif isinstance(value, FunctionType):
        if is_users(value.__module__) and (data := _data(value)):
            yield name, data
    elif isinstance(value, ContextVar):
        yield name, (value.name, cast("ContextVar[object]", value).get(None))
    elif not is_alike(value):
        yield name, value
        yield from _of_its_class(type(value), members)


def _of_class(kind: type[Any], members: Collection[str]) -> Kept:
    if is_users(kind.__module__):
        chosen = list(_of_its_class(kind, members))
        yield from chosen or (each for name, held in vars(kind).items() for each in _member(kind, name, held))


def _of_its_class(kind: type[Any], members: Collection[str]) -> Kept:
    if is_users(kind.__module__):
        for member in members:
            base = next((base for base in kind.__mro__ if member in vars(base)), None)
            if base is not None and is_users(base.__module__):
                yield from _member(base, member, vars(base)[member])


def _member(owner: type[Any], member: str, held: object) -> Kept:
    if member.startswith("__") or isinstance(held, type):
        return
    if isinstance(held, FunctionType) or not hasattr(type(held), "__get__"):
        yield from kept(f"{owner.__module__}:{owner.__qualname__}.{member}", held)


def _data(function: FunctionType) -> dict[str, object]:
    """What a function was made with."""
    cells: tuple[CellType, ...] = function.__closure__ or ()
    held = {
        name: value
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True)
        if not is_alike(value := _content(cell)) and value is not _NOTHING
    }
    found: dict[str, object] = {
        "defaults": function.__defaults__,
        "by name": function.__kwdefaults__,
        "around": held,
    }
    return {name: value for name, value in found.items() if value}


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return _NOTHING
