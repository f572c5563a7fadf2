"""Secrets leave a value before it is appended, and leave a keyed digest behind.

    redact = Redaction(["api_key", "*token"], key)
    redact.apply(raw)      # {"api_key": "playhead:redacted:5f2c…"}

The digest is HMAC-SHA-256 under a key that stays beside the store, so a replay
can tell same from different without knowing the value, and nobody without the
key can guess a short one.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from playhead.clock import Clock
from playhead.errors import BadValue

PREFIX: Final = "playhead:redacted:"
_PREFIX: Final = PREFIX.encode()
KEY_BYTES: Final = 32


class Redaction:
    """Which keys and fields are secret, and the key that their digests are made with.

    `names` are exact names or shell patterns, compared without case against every key of every
    mapping and every field of every structure, at any depth.
    """

    __slots__ = ("_exact", "_key", "_patterns", "names")

    def __init__(self, names: Sequence[str], key: bytes | Callable[[], bytes]) -> None:
        """`key` may be a function: it is asked when the first secret is met, and not before."""
        self.names = tuple(name.lower() for name in secret_names(names))
        self._exact = frozenset(name for name in self.names if not any(c in name for c in "*?["))
        self._patterns = tuple(name for name in self.names if name not in self._exact)
        self._key = key if isinstance(key, bytes) else functools.cache(key)

    def with_names(self, names: Sequence[str]) -> Redaction:
        """This redaction, with more secret names."""
        return Redaction((*self.names, *names), self._key) if names else self

    def __bool__(self) -> bool:
        return bool(self.names)

    def apply(self, raw: Raw) -> Raw:
        """`raw` without its secrets; the same object where there were none."""
        if not self.names:
            return raw
        value = msgspec.msgpack.decode(raw)
        cleaned = self._clean(value)
        return raw if cleaned is value else Raw(_encode(cleaned))

    def _clean(self, value: Any) -> Any:
        """`value` without secrets; the very same object where it held none."""
        if isinstance(value, dict):
            members = cast("dict[object, object]", value)
            changed = {key: self._clean_member(key, item) for key, item in members.items()}
            return members if all(changed[key] is item for key, item in members.items()) else changed
        if isinstance(value, list):
            before = cast("list[object]", value)
            after = [self._clean(item) for item in before]
            return before if all(a is b for a, b in zip(after, before, strict=True)) else after
        return value

    def _clean_member(self, key: object, item: object) -> object:
        return self._digest(item) if item is not None and self._is_secret(key) else self._clean(item)

    def _is_secret(self, key: Any) -> bool:
        if not isinstance(key, str):
            return False
        name = key.lower()
        return name in self._exact or any(fnmatchcase(name, pattern) for pattern in self._patterns)

    def _digest(self, value: Any) -> str:
        if isinstance(value, str) and value.startswith(PREFIX):
            return value
        key = self._key if isinstance(self._key, bytes) else self._key()
        return PREFIX + hmac.digest(key, _encode(value), "sha256").hex()


def secret_names(given: Sequence[str]) -> tuple[str, ...]:
    """Names of secrets as they were given. Raises `BadValue`: of one text, each letter would be a name."""
    said: Any = given
    try:
        listed: tuple[Any, ...] = tuple(given)
    except TypeError:
        listed = (None,)
    if isinstance(said, str) or not all(isinstance(name, str) for name in listed):
        raise BadValue(
            f"secrets are a list of names, each a text, not {said!r}.",
            expected='["api_key", "*_token"]',
            found=said,
        )
    return listed


def key_place(store: Path) -> Path:
    """Where the key of the redactions in `store` is, once there is one."""
    return store.with_name(f"{store.name}-redaction-key")


def key_beside(store: Path, clock: Clock) -> bytes:
    """The key of the redactions in `store`: a file beside it that only its owner can read.

    Made on first use; a crash while it is made leaves a temporary file, never half a key. Raises
    `BadValue` for a file that holds no key.
    """
    path = key_place(store)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{clock.entropy(4).hex()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(clock.entropy(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # link() does not replace: of two that start at once, one key wins.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return checked_key(path)


def checked_key(path: Path) -> bytes:
    """The key in a file. Raises `BadValue` for a file that holds none."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise BadValue(f"{path.name} holds no key.", expected=KEY_BYTES, found=len(key))
    return key


_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def holds_redacted(raw: Raw) -> bool:
    """Whether something in `raw` was redacted, so that it cannot be used for the real thing."""
    return _PREFIX in bytes(raw)
