"""Snapshots: states as of some events of a run, each kept as what changed since the one before.

    trail = Trail(RunReport(), "4wq2mzkq7xha")
    trail.put(event, events, form.taken(state))
    trail.state_at(trail.before(4711))              # shares everything that is not reached

Invariants, each held by the part that names it:

  * a snapshot is what a fold from zero gives, or is not there at all       (link, Shelf.read)
  * one of another version, or with a flipped bit, is not there             (link)
  * one is only put behind the one that it was folded from                  (Shelf.extend, by the link)
  * one of a log with another past is dropped                               (AsOf, by the digest)
  * one from before a payload was erased is dropped                         (AsOf, by `seen`)
  * one that a payload went into which was erased meanwhile is not put      (Shelf.extend, by asking the log)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from playhead.errors import StoreError
from playhead.log.driver import sqlite
from playhead_projections.models_file import Spare, locked, sealed
from playhead_projections.paging import Form, Part, Taken
from playhead_projections.projection import Projection

S = TypeVar("S", bound=msgspec.Struct)
DOMAIN: Final = b"playhead.snapshot/1"
WHOLE_EVERY: Final = 8
"""Of so many snapshots, one is held in memory whole, and the others as what changed."""


class Snapshot(NamedTuple):
    """One snapshot as it is kept: as of event `seq` of a run, folded from `events` events."""

    seq: int
    digest: bytes
    events: int
    link: bytes
    body: bytes


def first_link(projection: Projection[Any], key: str) -> bytes:
    """What the links of a key begin with: they hold for one version of one projection alone."""
    said = (projection.name, projection.version, list(projection.paged), key)
    return sha256(DOMAIN + msgspec.msgpack.encode(said)).digest()


def link_of(before: bytes, seq: int, digest: bytes, events: int, body: bytes) -> bytes:
    """The link of a snapshot behind another."""
    said = msgspec.msgpack.encode((seq, digest, events))
    return sha256(before + said + sha256(body).digest()).digest()


class Trail(Generic[S]):
    """The snapshots of one run in memory, oldest first. What they share is decoded once.

    `seen` is how many events of the stream are known to hold no erasure of what was folded. While `is_kept`,
    what is here is the beginning of what the shelf has.
    """

    def __init__(self, projection: Projection[S], key: str) -> None:
        self.projection = projection
        self.key = key
        self.form: Form[S] = Form(projection)
        self.seen = 0
        self.is_kept = True
        self.clear()

    def clear(self) -> None:
        self.points: list[Snapshot] = []
        self._seqs: list[int] = []
        self._taken: list[Taken | bytes] = []
        self._wholes: list[list[Part]] = []

    @property
    def link(self) -> bytes:
        """The link of the newest snapshot, behind which the next one stands."""
        return self.points[-1].link if self.points else first_link(self.projection, self.key)

    @property
    def newest(self) -> int:
        """The event of the newest snapshot; -1 where there is none."""
        return self._seqs[-1] if self._seqs else -1

    def before(self, seq: int) -> int:
        """The index of the newest snapshot as of event `seq` or an earlier one; -1 where there is none."""
        return bisect_right(self._seqs, seq) - 1

    def put(self, seq: int, digest: bytes, events: int, body: bytes) -> Snapshot:
        """One more snapshot, as of a later event. It is read when it is needed."""
        point = Snapshot(seq, digest, events, link_of(self.link, seq, digest, events, body), body)
        self._append(point, body)
        return point

    def take(self, point: Snapshot) -> None:
        """One more snapshot, as it is kept. Raises `msgspec.MsgspecError`."""
        self._append(point, self.form.read(point.body))

    def _append(self, point: Snapshot, taken: Taken | bytes) -> None:
        self.points.append(point._replace(body=b""))
        self._seqs.append(point.seq)
        self._taken.append(taken)

    def state_at(self, index: int) -> S:
        """The state of the snapshot at `index`."""
        wholes = (index + 1) // WHOLE_EVERY
        while len(self._wholes) < wholes:
            self._wholes.append(self._parts((len(self._wholes) + 1) * WHOLE_EVERY - 1))
        return self.form.together(self._read(index).rest, self._parts(index))

    def _read(self, index: int) -> Taken:
        taken = self._taken[index]
        if isinstance(taken, bytes):
            taken = self._taken[index] = self.form.read(taken)
        return taken

    def _parts(self, index: int) -> list[Part]:
        whole = min((index + 1) // WHOLE_EVERY, len(self._wholes))
        parts = [part.copy() for part in self._wholes[whole - 1]] if whole else self.form.empty()
        for each in range(whole * WHOLE_EVERY, index + 1):
            self.form.moved(parts, self._read(each))
        return parts


class Shelf(Spare):
    """Where the snapshots of all runs are kept: in the file of the read models.

    It is there to save work, so nothing that goes wrong with it is raised: from then on it is empty.
    """

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        if self._db is None:
            return []
        try:
            return self._db.execute(sql, values).fetchall()
        except (sqlite.Error, UnicodeDecodeError) as error:
            self._fail(error)
            return []

    def seen(self, name: str, key: str) -> int | None:
        """How many events of the stream held no erasure when its snapshots were made.

        None where nobody said so, or what was said is damaged: then all of them are looked at.
        """
        rows = self._rows("select seen, seal from trail where projection = ? and key = ?", (name, key))
        return next((seen for seen, seal in rows if seal == sealed(name, key, seen)), None)

    def newest(self, name: str, key: str) -> int:
        """The event of the newest snapshot; -1 where there is none."""
        sql = "select max(seq) from snapshot where projection = ? and key = ?"
        rows = self._rows(sql, (name, key))
        return rows[0][0] if rows and rows[0][0] is not None else -1

    def read(self, name: str, key: str, after: int, last: int) -> list[Snapshot]:
        """Snapshots as of events above `after` and up to `last`."""
        sql = (
            "select seq, digest, events, link, body from snapshot"
            " where projection = ? and key = ? and seq > ? and seq <= ? order by seq"
        )
        return [Snapshot(*row) for row in self._rows(sql, (name, key, after, last))]

    def extend(
        self,
        name: str,
        key: str,
        before: bytes | None,
        more: Iterable[Snapshot],
        seen: int,
        *,
        is_sound: Callable[[], bool],
    ) -> bool:
        """Put more snapshots behind the one with link `before`, None for the first ones.

        False where another one is the newest there, as what somebody else kept meanwhile stays, and where
        they are not sound any more. That is asked when nobody can empty the file before they are in it.
        """
        db, kept = self._db, False
        if db is None:
            return False

        def work() -> None:
            nonlocal kept
            sql = "select link from snapshot where projection = ? and key = ? order by seq desc limit 1"
            row = db.execute(sql, (name, key)).fetchone()
            if (row[0] if row else None) != before or not is_sound():
                return
            insert = "insert into snapshot values (?, ?, ?, ?, ?, ?, ?)"
            db.executemany(insert, [(name, key, *point) for point in more])
            db.execute(
                "insert into trail values (?, ?, ?, ?)"
                " on conflict (projection, key) do update set seen = excluded.seen, seal = excluded.seal",
                (name, key, seen, sealed(name, key, seen)),
            )
            kept = True

        try:
            locked(db, self._path, work)
        except (StoreError, UnicodeDecodeError) as error:
            self._fail(error)
        return kept

    def drop(self, name: str, key: str) -> None:
        """Throw the snapshots of a key away."""
        db = self._db
        if db is not None:
            with suppress(StoreError):
                locked(db, self._path, lambda: drop_snapshots(db, name, key))


def drop_snapshots(db: sqlite.Connection, name: str, key: str | None = None) -> None:
    """Throw the snapshots of a key away, or of all keys. Part of the transaction that is under way."""
    where, values = (
        ("projection = ?", (name,)) if key is None else ("projection = ? and key = ?", (name, key))
    )
    for table in ("snapshot", "trail"):
        db.execute(f"delete from {table} where {where}", values)  # noqa: S608  one of two names
