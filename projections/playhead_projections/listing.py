"""A read model that is a list besides: each event may add one row, and a row never changes.

    class Payments(Listing[Total]):
        name, version, state = "payments", 1, Total
        columns = {"n": "integer not null unique", "agent": "text not null", "micros": "integer"}
        together = "agent, n"

        def add(self, state, event, fact) -> tuple[Total, Row | None]: ...

A state is read and written whole, so one that holds every record of a log would cost more
with each. Rows are written once, in the transaction of the state, and found by their
columns. They are dropped and built again with it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

import msgspec

from playhead.events.codec import Erased, Unknown
from playhead.events.fact import Fact
from playhead.log.driver import sqlite
from playhead.log.envelope import Event
from playhead_projections.projection import Projection

S = TypeVar("S", bound=msgspec.Struct)
Row: TypeAlias = tuple[Any, ...]
"""What an event adds, in the order of the columns."""


class Listing(Projection[S]):
    """One read model with rows. `columns` are their names with what SQL says of them."""

    columns: ClassVar[Mapping[str, str]]
    together: ClassVar[str]
    """The columns by which rows lie in the file, as `agent, n`: what is read together lies together."""
    indexes: ClassVar[Sequence[str]] = ()
    """Each a list of columns by which rows are found besides."""

    @abstractmethod
    def add(self, state: S, event: Event, fact: Fact | Unknown | Erased) -> tuple[S, Row | None]:
        """One decoded event forward: the state after it, and the row that it adds."""

    def apply(self, state: S, event: Event, fact: Fact) -> S:
        return self.add(state, event, fact)[0]

    def take(self, state: S, event: Event, fact: Fact | Unknown | Erased) -> S:
        return self.add(state, event, fact)[0]

    @property
    def table(self) -> str:
        """The name of the table that holds the rows."""
        return f"list_{self.name}"


def lay_out(db: sqlite.Connection, listing: Listing[Any]) -> None:
    """An empty table, also where an older one stood. Part of the transaction that is under way."""
    db.execute(f"drop table if exists {listing.table}")
    columns = ", ".join(f"{name} {said}" for name, said in listing.columns.items())
    key = f"primary key ({listing.together})"
    db.execute(f"create table {listing.table} ({columns}, {key}) strict, without rowid")
    for number, index in enumerate(listing.indexes):
        db.execute(f"create index {listing.table}_{number} on {listing.table} ({index})")


def put(db: sqlite.Connection, listing: Listing[Any], rows: Iterable[Row]) -> None:
    """More rows. Part of the transaction that is under way."""
    marks = ", ".join("?" for _ in listing.columns)
    db.executemany(f"insert into {listing.table} values ({marks})", rows)  # noqa: S608  a name of a class
