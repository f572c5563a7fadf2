"""Asking the index: which runs fit, in which order, and what values they have.

with LogReader(path) as log, index_of(log, path) as index:
    found = index.find(parse("status = failed", now=now), living=lambda worker: True)
    index.facets(found, *field_named("persona"))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

from playhead.events.codec import CATALOG
from playhead.events.erasing import mended
from playhead.log.reader import LogReader
from playhead_projections.models_file import open_models
from playhead_projections.projection import RUN_STREAMS, Projection
from playhead_projections.projector import CHECKPOINT_EVENTS, ReadModels
from playhead_projections.search.asking import at_path, functions, sql_of
from playhead_projections.search.fields import RUN, Field, plain_number, written
from playhead_projections.search.language import CONSTANTS, Node
from playhead_projections.search.language import Path as Steps
from playhead_projections.search.tables import PARTS, Search, full_text_is_usable
from playhead_projections.search.texts import ERASED, quoted, several_in, value_in, word_of

T = TypeVar("T")
SEARCH: Final = Search()
NEWEST: Final = "r.position desc"


class Ranked(NamedTuple):
    """A run that was found, the value that it is sorted by, and the position of its first event."""

    run: str
    value: Any
    position: int


class Index(ReadModels):
    """The read models of a log, with those of search among them."""

    @property
    def full_text(self) -> bool:
        """Whether texts are found by their trigrams. If not, every part is looked at."""
        return full_text_is_usable(self._db)

    def find(
        self,
        node: Node | None,
        *,
        living: Callable[[str | None], bool],
        sort: Field | None = None,
        descending: bool = False,
    ) -> list[str]:
        """The ids of the runs that fit, newest first or by a field, those without it last.

        `living` says whether the process of a worker lives: nothing in a log can.
        """
        return [row.run for row in self.ranked(node, living=living, sort=sort, descending=descending)]

    def ranked(
        self, node: Node | None, *, living: Callable[[str | None], bool], sort: Field | None, descending: bool
    ) -> list[Ranked]:
        """The same, each with what it stands in its place for."""
        for name, (arguments, function) in functions().items():
            self._db.create_function(name, arguments, function, deterministic=True)
        self._stand(living)
        where, values = "", tuple[Any, ...]()
        if node is not None:
            where, values = sql_of(node, full_text=self.full_text)
        order = NEWEST
        if sort is not None:
            way = "desc" if descending else "asc"
            order = f"{sort.sql} is null, {sort.sql} {way}, {NEWEST}"
        clauses = f"r {f'where {where}' if where else ''} order by {order}"
        columns = f"r.run, {'null' if sort is None else sort.sql}, r.position"
        return list(map(Ranked._make, self.rows(SEARCH, columns, clauses, values)))

    @classmethod
    def empty(cls) -> Self:
        """An index of nothing, kept nowhere."""
        db, _ = open_models(None)
        return cls(db, None, [SEARCH], CATALOG)

    def take(self, log: LogReader, run: str, events: int) -> None:
        """Fold the first events of a run into an index that is kept nowhere. Raises `BadEvent`."""
        assert self.path is None
        (track,) = self._tracks.values()
        for n, event in enumerate(mended(log, islice(log.scan(f"{RUN_STREAMS}{run}"), events)), 1):
            self._fold(track, event)
            if n % CHECKPOINT_EVENTS == 0:
                self._write([track])
        self._write([track])

    def _stand(self, living: Callable[[str | None], bool]) -> None:
        def status_now(status: str, worker: str | None) -> str:
            return "interrupted" if status == "running" and not living(worker) else status

        self._db.create_function("status_now", 2, status_now)

    def facets(self, found: Sequence[str], field: Field, path: Steps = ()) -> Counter[str]:
        """How many of the runs in `found` have which value of a field, each run once for each value."""
        wanted, counted = set(found), Counter[str]()
        if field.name in RUN:
            rows: Iterator[Any] = iter(self.rows(SEARCH, f"r.run, {field.sql}", "r"))
        else:
            clauses = f"r join {PARTS} p on p.run = r.run where {field.sql} is not null"
            rows = iter(self.rows(SEARCH, f"distinct r.run, {field.sql}", clauses))
        seen: set[tuple[str, str]] = set()
        for run, value in rows:
            if run not in wanted:
                continue
            for word in _words_of(value, field, path):
                if (run, word) not in seen:
                    seen.add((run, word))
                    counted[word] += 1
        return counted


def _words_of(value: Any, field: Field, path: Steps) -> Iterator[str]:
    if value is None:
        return
    if field.kind == "many":
        yield from several_in(value)
    elif field.kind == "path":
        for each in at_path(value_in(value), path):
            if not isinstance(each, (dict, list, tuple)) and each != ERASED:
                is_text = isinstance(each, str) and (each in CONSTANTS or plain_number(each) is not None)
                yield quoted(each) if is_text else word_of(each)
    elif isinstance(value, int):
        yield written(value, field.kind)
    else:
        yield word_of(value)


@contextmanager
def index_of(log: LogReader, store: Path, *more: Projection[Any]) -> Generator[Index]:
    """The index of the log at `store` and `more` read models, all that the log has. Raises `Busy`."""
    with Index.open(store, [SEARCH, *more]) as index:
        index.catch_up(log)
        yield index
