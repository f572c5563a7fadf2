"""Small values that a workspace keeps beside its files: a store, checkpoints, and facts about paths.

    documents = Documents(Path("out"))
    await documents.store_set("cursor", {"page": 3})
    await documents.metadata_set("notes/plan.md", "reviewed", True)

Each of the three is one JSON document in `.playhead/`, read and replaced under a lock, so that of many who
change it at once nobody loses a value, and who is killed leaves the old document or the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, cast

from playhead.agent_state.alike import unseen
from playhead.errors import BadValue
from playhead.workspace.ground import Ground, lock, put
from playhead.workspace.paths import RESERVED, parts_of
from playhead.workspace.telling import opened
from playhead.workspace.threads import in_thread

NAME_BYTES_MAX: Final = 200
DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024

_STORE: Final = "store"
_CHECKPOINTS: Final = "checkpoints"
_METADATA: Final = "metadata"
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Values = dict[str, Any]


class Documents:
    """The documents of the workspace at a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def store_get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        return (await in_thread(self._read, _STORE)).get(_name(key), default)

    async def store_set(self, key: str, value: Any) -> None:
        """Keep a value under a key, in the place of what was there."""
        await in_thread(self._change, _STORE, _setting(key, value))

    async def store_delete(self, key: str) -> None:
        """Forget a key. One that is not there is forgotten already."""
        await in_thread(self._change, _STORE, _without(key))

    async def store_clear(self) -> None:
        """Forget all keys."""
        await in_thread(self._change, _STORE, dict[str, Any].clear)

    async def checkpoint_get(self, name: str, default: Any = None) -> Any:
        """What was kept at a checkpoint, or `default`."""
        return (await in_thread(self._read, _CHECKPOINTS)).get(_name(name), default)

    async def checkpoint(self, name: str, value: Any) -> None:
        """Say that a point has been reached, with what is known there."""
        await in_thread(self._change, _CHECKPOINTS, _setting(name, value))

    async def checkpoint_delete(self, name: str) -> None:
        """Forget a checkpoint. One that is not there is forgotten already."""
        await in_thread(self._change, _CHECKPOINTS, _without(name))

    async def checkpoint_clear(self) -> None:
        """Forget all checkpoints."""
        await in_thread(self._change, _CHECKPOINTS, dict[str, Any].clear)

    async def metadata_get(self, path: str) -> dict[str, Any]:
        """What is known of a path, whether or not there is anything."""
        parts_of(path, folder=True)
        return _about(await in_thread(self._read, _METADATA), path)

    async def metadata_set(self, path: str, key: str, value: Any) -> None:
        """Say one thing about a path, in the place of what was said under that key; None takes it back."""
        parts_of(path, folder=True)
        _name(key)
        _check(value)

        def said(facts: Values) -> None:
            about = _about(facts, path)
            if value is None:
                about.pop(key, None)
            else:
                about[key] = value
            facts.pop(path, None)
            if about:
                facts[path] = about

        await in_thread(self._change, _METADATA, said)

    # ------------------------------------------------------------- in a thread

    def _read(self, document: str) -> Values:
        if not os.path.lexists(self._root):
            return {}
        name = f"{RESERVED}/{document}.json"
        with opened(self._root, name) as ground:
            return _values(ground, name)

    def _change(self, document: str, change: Callable[[Values], None]) -> None:
        name = f"{RESERVED}/{document}.json"
        with (
            opened(self._root, name, make=True) as ground,
            ground.made([RESERVED]) as here,
            _locked(here),
        ):
            ground.sweep([RESERVED])
            values = _values(ground, name)
            change(values)
            content = json.dumps({"values": values}, ensure_ascii=False, indent=1, sort_keys=True).encode()
            if len(content) > DOCUMENT_BYTES_MAX:
                raise BadValue(f"it would have more than {DOCUMENT_BYTES_MAX} bytes.")
            put(here, f"{document}.json", [content], mode=None)


@contextlib.contextmanager
def _locked(here: int) -> Generator[None]:
    descriptor = os.open("lock", _LOCK, 0o666, dir_fd=here)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadValue("its lock is no file.")
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _values(ground: Ground, name: str) -> Values:
    """What a document holds; nothing where there is none. Raises `BadValue` for what is no such document."""
    if ground.kind(name) is None:
        return {}
    content = ground.read(name, DOCUMENT_BYTES_MAX)
    if content is None:
        raise BadValue(f"it has more than {DOCUMENT_BYTES_MAX} bytes.")
    try:
        found: Any = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadValue("somebody else wrote it, and it is no JSON.") from None
    values: Any = cast("Values", found).get("values") if isinstance(found, dict) else None
    if not isinstance(values, dict):
        raise BadValue("somebody else wrote it, and it holds no values.")
    return cast("Values", values)


def _about(facts: Values, path: str) -> Values:
    about: Any = facts.get(path, {})
    if not isinstance(about, dict):
        raise BadValue(
            f"somebody else wrote what is known of {path or 'the workspace'}, and it is no object."
        )
    return cast("Values", about)


def _no_number(word: str) -> Any:
    raise ValueError(word)


def _setting(key: str, value: Any) -> Callable[[Values], None]:
    _name(key)
    _check(value)
    return lambda values: values.update({key: value})


def _without(key: str) -> Callable[[Values], None]:
    _name(key)

    def without(values: Values) -> None:
        values.pop(key, None)

    return without


def _name(key: str) -> str:
    """`key`, if it is one. Raises `BadValue`."""
    if not isinstance(key, str) or not key.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadValue("a key is a text that is not empty.", found=repr(key)[:100])
    if (hidden := unseen(key)) is not None:
        raise BadValue(f"the key {key[:100]!a} holds {hidden!a}, which nobody sees.", found=key[:400])
    if len(key.encode()) > NAME_BYTES_MAX:
        raise BadValue(f"the key {key[:100]!a} is longer than {NAME_BYTES_MAX} bytes.", found=key[:400])
    return key


def _check(value: Any) -> None:
    """Raise `BadValue` for what JSON would not bring back as it is."""
    try:
        same = _equal(json.loads(json.dumps(value, allow_nan=False)), value)
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise BadValue(
            "the value is not plain, and JSON would not bring it back.",
            expected="None, bool, int, float, str, list, and dict with text keys",
            found=type(value).__qualname__,
        )


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same in type and content."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        ours = cast("Values", one)
        return ours.keys() == other.keys() and all(_equal(ours[key], other[key]) for key in ours)
    if isinstance(one, list):
        items = cast("Any", one)
        return len(items) == len(other) and all(map(_equal, items, other))
    return bool(one == other)
