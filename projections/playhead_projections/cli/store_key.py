"""The key beside a store that digests of secrets are made with, for commands that make nothing.

    key = StoreKey(session.store)
    ... Player(tape, persona, redaction=key.redaction(secrets)) ...
    key.check(tape)

An engine makes a key where there is none. These commands do not: they go on with one that fits no digest,
and say afterwards what that means.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Raw

from playhead.errors import NotFound
from playhead.events.redaction import KEY_BYTES, Redaction, checked_key, holds_redacted, key_place
from playhead.runtime.tape import Tape


class StoreKey:
    """The key beside `store`, and whether it was wanted and not there. Raises `BadValue` where it is none."""

    def __init__(self, store: Path) -> None:
        self.place = key_place(store)
        self.bytes = checked_key(self.place) if self.place.exists() else None
        self.missed = False

    def redaction(self, secrets: Sequence[str]) -> Redaction:
        """The redaction of runs here, of which the fields in `secrets` are secret."""
        return Redaction(secrets, self._wanted)

    def _wanted(self) -> bytes:
        self.missed = self.bytes is None
        return self.bytes or bytes(KEY_BYTES)

    def check(self, *tapes: Tape) -> None:
        """Raise `NotFound` where the key was wanted, is not there, and a tape holds digests made with it."""
        if not self.missed:
            return
        for tape in tapes:
            if any(holds_redacted(Raw(event.payload)) for event in tape.events if event.payload is not None):
                raise NotFound(
                    f"run {tape.run} holds secrets, and {self.place.name} is not there:"
                    " their digests can only be compared with the key that made them.",
                    next_step="Put the key of the store in which it was recorded beside this one.",
                )
