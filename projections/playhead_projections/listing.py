"""A read model that is a list besides: each event may add one row, and a row never changes.

    class Payments(Listing[Total]):
        name, version, state = "payments", 1, Total
        columns = {"n": "integer not null unique", "agent": "text not null", "micros": "integer"}
        together = "agent, n"

        def add(self, state, event, fact) -> tuple[Total, Row | None]: ...

A state is read and written whole, so one that holds every record of a log would cost more
with each. Rows are written once, in the transaction of the state, and found by their
columns. They are dropped and built again with it. A list that needs other tables says so in
`lay_out` and `put`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

    @property
    def tables(self) -> Sequence[tuple[str, str]]:
        """Every table that rows of it are in, and the columns that order them.

        What is in these is what the log tells, and is held against it by `playhead rebuild --verify`.
        """
        return ((self.table, self.together),)

    def answers(self, db: sqlite.Connection) -> Iterator[Row]:
        """What is answered by other means than its tables, in an order, first what was asked.

        It is held against the log as well. Nothing may be written by asking.
        """
        return iter(())

    @abstractmethod
    def add(self, state: S, event: Event, fact: Fact | Unknown | Erased) -> tuple[S, Row | None]:
        """One decoded event forward: the state after it, and the row that it adds."""

    def apply(self, state: S, event: Event, fact: Fact) -> S:
        return self.add(state, event, fact)[0]

    def take(self, state: S, event: Event, fact: Fact | Unknown | Erased) -> S:
        return self.add(state, event, fact)[0]

    def lay_out(self, db: sqlite.Connection) -> None:
        """Empty tables: one of rows that never change, where nobody says otherwise."""
        db.execute(f"drop table if exists {self.table}")
        columns = ", ".join(f"{name} {said}" for name, said in self.columns.items())
        key = f"primary key ({self.together})"
        db.execute(f"create table {self.table} ({columns}, {key}) strict, without rowid")
        for number, index in enumerate(self.indexes):
            db.execute(f"create index {self.table}_{number} on {self.table} ({index})")

    def is_laid_out(self, db: sqlite.Connection) -> bool:
        """Whether every table is there that `lay_out` makes."""
        there = {row[0] for row in db.execute("select name from sqlite_schema where type = 'table'")}
        return there.issuperset(name for name, _ in self.tables)

    def put(self, db: sqlite.Connection, rows: Iterable[Row]) -> None:
        """More rows, in the order of their events."""
        marks = ", ".join("?" for _ in self.columns)
        db.executemany(f"insert into {self.table} values ({marks})", rows)  # noqa: S608  a name of a class

    @property
    def table(self) -> str:
        """The name of the table that holds the rows."""
        return f"list_{self.name}"


def lay_out(db: sqlite.Connection, listing: Listing[Any]) -> None:
    """Empty tables, also where older ones stood. Part of the transaction that is under way."""
    listing.lay_out(db)


def put(db: sqlite.Connection, listing: Listing[Any], rows: Iterable[Row]) -> None:
    """More rows. Part of the transaction that is under way."""
    listing.put(db, rows)
