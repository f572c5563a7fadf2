"""Asking the index as the log stood at a position.

    with Past(log, index, position) as past:
        found = past.find(parse("status = running", now=then))
        past.facets(found, *field_named("tool"))

A run that has had no event since stands in the index as it stood then. Only runs that were under way are
folded anew, up to there, into an index that is kept nowhere. Whether a run fits depends on nothing but it, so
the answers of both together are the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from playhead.log.reader import LogReader
from playhead_projections.models_file import Closed
from playhead_projections.projection import RUN_STREAMS
from playhead_projections.search.fields import Field
from playhead_projections.search.index import SEARCH, Index, Ranked
from playhead_projections.search.language import Node
from playhead_projections.search.language import Path as Steps


class Past(Closed):
    """The index of a log as of a position. Close it, or use it as a context manager."""

    def __init__(self, log: LogReader, index: Index, position: int) -> None:
        """`index` has caught up. Raises `BadEvent` for an event that cannot be read."""
        self._now: Final = index
        self._then: Final = Index.empty()
        self._as_now = set[str]()
        try:
            for run, first in index.rows(SEARCH, "r.run, r.position", "r"):
                if first > position:
                    continue
                stream = f"{RUN_STREAMS}{run}"
                last = log.positions(stream, log.head(stream).seq - 1, 1)
                if last and last[0] <= position:
                    self._as_now.add(run)
                else:
                    self._then.take(log, run, log.count_at(stream, position))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._then.close()

    def find(self, node: Node | None, *, sort: Field | None = None, descending: bool = False) -> list[str]:
        """The runs that fitted, in the order of `Index.find`. A status is what the log said then."""
        found = [
            row
            for index in (self._now, self._then)
            for row in index.ranked(node, living=lambda _: True, sort=sort, descending=descending)
            if index is self._then or row.run in self._as_now
        ]
        return [row.run for row in _in_order(found, descending=descending)]

    def facets(self, found: Sequence[str], field: Field, path: Steps = ()) -> Counter[str]:
        """How many of the runs in `found` had which value of a field."""
        as_now = [run for run in found if run in self._as_now]
        others = [run for run in found if run not in self._as_now]
        return self._now.facets(as_now, field, path) + self._then.facets(others, field, path)


def _in_order(found: list[Ranked], *, descending: bool) -> list[Ranked]:
    newest = sorted(found, key=lambda row: row.position, reverse=True)
    known = sorted(
        (row for row in newest if row.value is not None), key=lambda row: row.value, reverse=descending
    )
    return [*known, *(row for row in newest if row.value is None)]
