"""The chain of trust records: each one names the hash of the one before it.

    sealed = list(chained(records))
    report = verify_chain(sealed)
    report.verified, report.broken_at, report.errors

Indices count from 1, and the first record follows null. A chain alone shows that nobody changed a record and
left the rest as it was: whoever makes it anew from there, or cuts off its end, is found out only by who knows
the root hash from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from playhead.errors import BadValue
from playhead.trust.plain import INTEGER_MAX
from playhead.trust.problem import cut
from playhead.trust.record import TrustRecord, UnreadRecord, hash_of

TOPIC: Final = "trust_graph"
ERRORS_MAX: Final = 100

_NOTHING: Final = ()


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a chain of records came to.

    `broken_at` is the place of the first record that is not as it has to be, counted from 1. `unread` is how
    many records are of versions not known here: they break nothing, and nothing vouches for them, so a chain
    with such records is not verified.
    """

    topic: str
    total: int
    verified: bool
    root_hash: str | None
    broken_at: int | None
    errors: tuple[str, ...]
    unread: int = 0


def chained(records: Iterable[TrustRecord], *, after: TrustRecord | None = None) -> Iterator[TrustRecord]:
    """The records with index, link and hash, in order, as the continuation of `after`.

    Raises `BadValue` for a record that has no hash, and where `after` has none of its own.
    """
    index, previous = 0, None
    if after is not None:
        index, previous = after.chain_index, after.entry_hash
        if index < 1 or not previous:
            raise BadValue("the record to follow stands in no chain.", found=after.record_id)
    for record in records:
        index += 1
        linked = msgspec.structs.replace(record, chain_index=index, previous_hash=previous)
        previous = hash_of(linked)
        yield msgspec.structs.replace(linked, entry_hash=previous)


def verify_chain(records: Iterable[TrustRecord | UnreadRecord], *, topic: str = TOPIC) -> ChainReport:
    """Look at every index, link and hash. An empty chain is verified. Raises nothing for what it finds."""
    walk = Walk()
    for record in records:
        if isinstance(record, TrustRecord):
            walk.take(record)
        else:
            walk.skip(record.entry_hash)
    return walk.report(topic)


class Walk:
    """Goes along a chain, and keeps what is wrong with it."""

    def __init__(self) -> None:
        self.total = 0
        self.unread = 0
        self.broken_at: int | None = None
        self.root: str | None = None
        self.is_root_known = True
        """False after a record that was skipped and does not say its hash."""
        self._errors: list[str] = []
        self._count = 0

    def take(self, record: TrustRecord) -> Sequence[str]:
        """Look at the next record, and tell what is wrong with it."""
        self.total = position = self.total + 1
        if self._is_next(record, position):
            self.root = record.entry_hash
            return _NOTHING
        found: list[str] = []
        if record.chain_index != position:
            found.append(f"expected chain_index {position}, found {_index(record.chain_index)}")
        if record.previous_hash != self.root and self.is_root_known:
            expected, stated = _shown(self.root), _shown(record.previous_hash)
            found.append(f"previous_hash mismatch; expected {expected}, found {stated}")
        try:
            seal = hash_of(record)
        except BadValue as error:
            found.append(error.message)
        else:
            if seal != record.entry_hash:
                found.append(f"entry_hash mismatch; expected {seal}, found {_shown(record.entry_hash)}")
        self.root = record.entry_hash
        self.is_root_known = True
        for text in found:
            self.say(position, text)
        return found

    def _is_next(self, record: TrustRecord, position: int) -> bool:
        """Whether nothing is wrong, as is nearly always so. Quick."""
        if record.chain_index != position or record.previous_hash != self.root or not self.is_root_known:
            return False
        try:
            return hash_of(record) == record.entry_hash
        except BadValue:
            return False

    def skip(self, entry_hash: str | None) -> None:
        """Go on over a record that cannot be looked at, and says that this is its hash."""
        self.total += 1
        self.unread += 1
        self.root = entry_hash
        self.is_root_known = entry_hash is not None

    def say(self, position: int, text: str) -> None:
        """Keep what is wrong at a place."""
        if self.broken_at is None:
            self.broken_at = position
        self._count += 1
        if len(self._errors) < ERRORS_MAX:
            self._errors.append(f"record {position}: {cut(text)}")

    def report(self, topic: str) -> ChainReport:
        """What it came to, up to here."""
        more = self._count - len(self._errors)
        return ChainReport(
            topic=topic,
            total=self.total,
            verified=not self._count and not self.unread,
            root_hash=self.root,
            broken_at=self.broken_at,
            errors=(*self._errors, f"and {more} more") if more else tuple(self._errors),
            unread=self.unread,
        )


def _index(number: int) -> str:
    # An integer can be too long for Python to write down.
    return str(number) if abs(number) <= INTEGER_MAX else "one beyond 64 bits"


def _shown(hash_: str | None) -> str:
    return "null" if hash_ is None else cut(hash_)
