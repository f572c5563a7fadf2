"""The trust records that are kept beside a log: found by agent, by time and by place in the chain.

    with LogReader(path) as log, kept_of(log, path) as kept:
        kept.find(Filters(agent="audit", outcome="denied", limit=10))
        kept.find(Filters(agent="audit"), last=kept.last_at(position))      # as of then
        verify_kept(log, kept).verified

What is found is what `playhead.trust.book.query` finds in the whole chain, without reading it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from playhead.log.reader import LogReader
from playhead.trust.book import Filters
from playhead.trust.chain import TOPIC, ChainReport, Walk
from playhead.trust.record import TrustRecord, hash_of
from playhead.trust.timestamp import instant
from playhead_projections import asking
from playhead_projections.listing import Row
from playhead_projections.models_file import ModelsDamaged
from playhead_projections.projector import Parked, ReadModels
from playhead_projections.trust_graph.graph import (
    RECORD_COLUMNS,
    WHOLE,
    Head,
    TrustGraph,
    chain_of,
    record_in,
)

T = TypeVar("T")
PAGE_ROWS: Final = 1_000

_GRAPH: Final = TrustGraph()


class Kept:
    """The records of one log, as far as they were folded. `last` is a place in the chain, counted from 1."""

    def __init__(self, models: ReadModels) -> None:
        self._models = models

    @property
    def head(self) -> Head:
        """The end of the chain."""
        return self._models.get(_GRAPH, WHOLE) or Head()

    @property
    def parked(self) -> Parked | None:
        """Where the read model stands still, because an event could not be read."""
        return self._models.standings()[0].parked

    def find(self, filters: Filters, *, last: int | None = None) -> list[TrustRecord]:
        """The records that `filters` ask for, in order of time.

        Raises `BadValue` for a time that is none, and `ModelsDamaged` where one is not what its hash says.
        """
        where, values = _where(filters, last)
        limit = -1 if filters.limit is None else max(filters.limit, 0)
        rows = self._rows(f"{where} order by at desc, n desc limit ?", *values, limit)
        found = [record_in(row) for row in reversed(rows)]
        if any(record.entry_hash != hash_of(record) for record in found):
            raise ModelsDamaged("a trust record that is kept is not what its hash says.")
        return found

    def count(self, filters: Filters, *, last: int | None = None) -> int:
        """How many records there are that `filters` ask for, whatever their limit."""
        where, values = _where(filters, last)
        return self._number("count(*)", where, *values) or 0

    def chain(self, *, last: int | None = None) -> Iterator[TrustRecord]:
        """The records in the order of the chain."""
        return map(record_in, self._in_order(last))

    def root_at(self, last: int) -> str | None:
        """The hash of the record at a place; None where there is none."""
        return next((record_in(row).entry_hash for row in self._rows("where n = ?", last)), None)

    def last_at(self, position: int) -> int:
        """How many records the chain had when the log stood at `position`."""
        return self._number("n", "where position <= ? order by position desc limit 1", position) or 0

    def ends_meet(self) -> bool:
        """Whether the rows end where the chain does."""
        total, head = self._number("max(n)") or 0, self.head
        return total == head.total and self.root_at(total) == head.root

    def differences(self, records: Iterator[TrustRecord]) -> Iterator[tuple[TrustRecord | None, str]]:
        """Each of these records in turn with what is kept otherwise, "" where it is kept so.

        None stands for records that are kept and are none of them.
        """
        rows = self._in_order(None)
        for record in records:
            yield record, _difference(record, next(rows, None))
        if more := sum(1 for _ in rows):
            yield None, f"{more} more kept than the log tells"

    def _in_order(self, last: int | None) -> Iterator[Row]:
        n = 0
        until = self._number("max(n)") or 0 if last is None else last
        while page := self._rows("where n > ? and n <= ? order by n limit ?", n, until, PAGE_ROWS):
            yield from page
            n = page[-1][0]

    def _rows(self, clauses: str, *values: Any) -> list[Row]:
        return self._models.rows(_GRAPH, RECORD_COLUMNS, clauses, values)

    def _number(self, what: str, clauses: str = "", *values: Any) -> int | None:
        return next((row[0] for row in self._models.rows(_GRAPH, what, clauses, values)), None)


@contextmanager
def kept_of(log: LogReader, store: Path) -> Generator[Kept]:
    """The records of the log at `store`, all that it has. Raises `Busy`, and what a damaged file raises."""
    with ReadModels.open(store, [_GRAPH]) as models:
        models.catch_up(log)
        yield Kept(models)


def ask(log: LogReader, store: Path, work: Callable[[Kept], T], *, mend: bool = True) -> T:
    """What `work` makes of the records. What is kept is thrown away and made anew where it is damaged.

    With `mend` also where it can be read and does not end as it should.
    """

    def asked(models: ReadModels) -> T:
        kept = Kept(models)
        if mend and kept.parked is None and not kept.ends_meet():
            raise ModelsDamaged("the trust records that are kept do not end where their chain does.")
        return work(kept)

    return asking.ask(ReadModels, log, store, [_GRAPH], asked)


def verify_kept(log: LogReader, kept: Kept, *, expected: Mapping[int, str] | None = None) -> ChainReport:
    """Make the whole chain of the log anew, and hold what is kept and some known hashes against it.

    `expected` are hashes by the place of their record. Raises `BadEvent` for an event that cannot be read.
    """
    walk, known = Walk(), dict(expected or {})
    for record, difference in kept.differences(chain_of(log)):
        if record is None:
            walk.say(walk.total + 1, difference)
            continue
        walk.total, walk.root = record.chain_index, record.entry_hash
        if difference:
            walk.say(walk.total, difference)
        if known and (wanted := known.pop(walk.total, None)) not in (None, record.entry_hash):
            walk.say(walk.total, f"entry_hash mismatch; expected {wanted}, found {record.entry_hash}")
    for place in sorted(known):
        walk.say(place, f"it is expected, and the chain has {walk.total} records")
    return walk.report(TOPIC)


def _where(filters: Filters, last: int | None) -> tuple[str, list[Any]]:
    said = (
        ("agent = ?", filters.agent),
        ("action = ?", filters.action),
        ("tier = ?", filters.tier),
        ("outcome = ?", filters.outcome),
        ("at >= ?", None if filters.since is None else _in_log(instant(filters.since))),
        ("at <= ?", None if filters.until is None else _in_log(instant(filters.until))),
        ("n <= ?", last),
    )
    asked = [(clause, value) for clause, value in said if value is not None]
    where = f"where {' and '.join(clause for clause, _ in asked)}" if asked else ""
    return where, [value for _, value in asked]


def _in_log(time_ns: int) -> int:
    """A time as the log could hold it: SQLite has no larger number, and no event is beyond it."""
    return min(max(time_ns, -(2**63)), 2**63 - 1)


def _difference(record: TrustRecord, row: Row | None) -> str:
    """What is kept otherwise than the log tells."""
    if row is None:
        return "it is not kept"
    try:
        kept = record_in(row)
    except (msgspec.MsgspecError, TypeError):
        return "what is kept of it cannot be read"
    if kept == record:
        return ""
    if kept.entry_hash != record.entry_hash:
        return f"entry_hash mismatch; expected {record.entry_hash}, found {kept.entry_hash}"
    names = [name for name in record.__struct_fields__ if getattr(kept, name) != getattr(record, name)]
    return f"kept with another {', '.join(names)} than the log tells"
