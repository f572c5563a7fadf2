"""The key with which an engine redacts: beside the store that it writes, and made when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playhead.events.redaction import KEY_BYTES, key_beside
from playhead.log.store import LogStore
from playhead.runtime import guard


def key_of(store: LogStore) -> bytes:
    """The key of the redactions in `store`: in a file beside it, or for its life where it has no file.

    Raises `BadValue` for a file that holds no key. A crash while it is made leaves a temporary file.
    """
    path: Path | None = getattr(store, "path", None)
    shared: Any = getattr(store, "log", None)
    if shared is not None:  # several workers on one log in memory
        shared.key = shared.key or store.clock.entropy(KEY_BYTES)
        return bytes(shared.key)
    if path is None:
        return store.clock.entropy(KEY_BYTES)
    with guard.outside():  # program code led here, but the file is ours
        return key_beside(path, store.clock)
