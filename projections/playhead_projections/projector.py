"""The projector: keeps read models in a file of their own beside the log, and never touches the log.

    with LogReader(path) as log, ReadModels.open(path, [Runs(), RunReport()]) as models:
        models.catch_up(log)
        models.get(RunReport(), "4wq2mzkq7xha")

Invariants, each held by the part that names it:

  * states, rows and the position they were folded to are one transaction         (_write)
  * processes that catch up and drop at once cannot fold an event twice          (_write, by comparing)
  * states of another version, or of a log whose past is another, are dropped    (_load, _agree)
  * so are those that skipped what this playhead knows, or may know              (_is_whole)
  * so are states that a payload went into which was erased since                (_agree, by `sound`)
  * and none is written that a payload went into which was erased meanwhile      (_write, _park)
  * what is read is what was written, or is damage that says so                  (_state, _standing_of)
  * a projection that raises is parked where it stands, and the others go on     (_retry)

So a crash leaves the last checkpoint, deleting the file loses nothing, and a rebuild
from zero gives the same bytes.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec

from playhead.events.codec import CATALOG, Catalog, Unknown
from playhead.events.erasing import mended
from playhead.log.driver import sqlite
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.as_of import state_as_of, state_at
from playhead_projections.erasures import is_past_of, is_sound
from playhead_projections.listing import Listing, Row, lay_out, put
from playhead_projections.models_file import (
    Closed,
    ModelsDamaged,
    locked,
    meaning,
    models_path,
    open_models,
    rows_of,
    sealed,
)
from playhead_projections.projection import Projection
from playhead_projections.snapshots import drop_snapshots

__all__ = ["Parked", "ReadModels", "Standing", "models_path", "state_as_of", "state_at"]

S = TypeVar("S", bound=msgspec.Struct)

PAGE_EVENTS: Final = 1_000
CHECKPOINT_EVENTS: Final = 10_000
CHECKPOINT_BYTES_PER_EVENT: Final = 500
STATES_KEPT_MAX: Final = 2_000
TRIES_MAX: Final = 3
EVERY: Final = -1  # to SQLite
_STANDING: Final = "position, digest, events, skipped, known, version, sound, keys, seal"
_STATE: Final = "select key, since, label, seal, body from state"


class Parked(NamedTuple):
    """Why a projection stands still: the event it could not fold, and how that failed."""

    name: str
    position: int
    stream: str
    seq: int
    tries: int
    error: str
    traceback: str


class Standing(NamedTuple):
    """How far one projection has come."""

    name: str
    version: int
    position: int
    events: int
    skipped: int
    keys: int
    parked: Parked | None


class _Stood(NamedTuple):
    """What the file says of a projection."""

    position: int
    digest: bytes
    events: int
    skipped: int
    known: int
    version: int | None
    sound: int
    keys: int


class _Kept:
    """A state in memory, with what its row needs."""

    __slots__ = ("since", "state")

    def __init__(self, since: int, state: Any) -> None:
        self.since = since
        self.state = state


class _Track:
    """One projection while it catches up. `states` holds what was read or changed since the checkpoint."""

    def __init__(self, projection: Projection[Any]) -> None:
        self.projection = projection
        self.decoder = msgspec.msgpack.Decoder(projection.state)
        self.states: dict[str, _Kept] = {}
        self.changed: set[str] = set()
        self.rows: list[Row] = []
        self.position = 0
        self.digest = b""
        self.events = 0
        self.skipped = 0
        self.sound = 0
        self.keys = 0
        self.checkpoint = 0
        self.dropped = -1
        """How often states had been dropped when it began to stand there."""
        self.parked = False
        self.behind = False
        """Failed in this sitting: taken up again alone, event by event."""

    def forget(self) -> None:
        self.states.clear()
        self.changed.clear()
        self.rows.clear()


class ReadModels(Closed):
    """The read models of one log. One thread at a time. Close it, or use it as a context manager."""

    def __init__(
        self,
        db: sqlite.Connection,
        path: Path | None,
        projections: Sequence[Projection[Any]],
        catalog: Catalog,
    ) -> None:
        self._db = db
        self.path = path
        """Where they are kept; None while they are only in memory, because nothing can be written there."""
        self._catalog = catalog
        self._tracks = {projection.name: _Track(projection) for projection in projections}
        assert len(self._tracks) == len(projections), "two projections share a name"
        self._encoder = msgspec.msgpack.Encoder()
        self._log: LogReader | None = None
        self._until: int | None = None
        self._began = 0
        """Where the log stood when this sitting began: what was erased before is read as erased."""

    @classmethod
    def open(
        cls,
        store: Path | str,
        projections: Sequence[Projection[Any]],
        *,
        path: Path | None = None,
        catalog: Catalog = CATALOG,
    ) -> Self:
        """The read models of the log at `store`, by default in a file beside it.

        A file that is damaged, or of another layout, is thrown away: everything in it is built again from
        the log. Where the file cannot be written, the read models live in memory. Raises `Busy`.
        """
        db, place = open_models(path or models_path(Path(store)))
        models = cls(db, place, projections, catalog)
        try:
            models._load()
        except BaseException:
            db.close()
            raise
        return models

    def close(self) -> None:
        self._db.close()

    def dropped(self) -> int:
        """How often states were dropped, by anybody."""
        return next((row[0] for row in self._select("select times from dropped")), -1)

    @property
    def projections(self) -> list[Projection[Any]]:
        """What is folded here."""
        return [track.projection for track in self._tracks.values()]

    @property
    def is_usual(self) -> bool:
        """Whether events are read as everybody reads them."""
        return self._catalog is CATALOG

    # --------------------------------------------------------------- folding

    def catch_up(self, log: LogReader, *, until: int | None = None) -> int:
        """Fold in what the log has and the read models have not; returns how many events that was.

        With `until` no event beyond that position. Raises `Busy`, and what reading the log raises. A crash in
        the middle leaves the last checkpoint.
        """
        self._log, self._began, self._until = log, log.position(), until
        self._load()
        self._agree(log)
        count = self._together(log, [track for track in self._tracks.values() if not track.parked])
        for track in self._tracks.values():
            if track.behind:
                self._retry(log, track)
        return count

    def rebuild(self, log: LogReader) -> int:
        """Drop every state and fold the whole log again; returns how many events that was. Unparks."""
        self.drop()
        return self.catch_up(log)

    def drop(self) -> None:
        """Drop every state, and the snapshots of it, damaged ones as well. Unparks."""
        for name in self._tracks:
            self._drop(name)

    def _feed(self, log: LogReader, after: int) -> list[Event]:
        """The next events, with what was kept of erased payloads in their place."""
        page = log.feed(after, PAGE_EVENTS)
        if self._until is not None:
            page = [event for event in page if event.position <= self._until]
        return list(mended(log, page))

    def _together(self, log: LogReader, tracks: list[_Track]) -> int:
        """Fold pages into all of `tracks`, each from where it stands."""
        position = min((track.position for track in tracks), default=0)
        first, since_checkpoint, enough = position, 0, CHECKPOINT_EVENTS
        count = 0
        while any(not track.behind for track in tracks) and (page := self._feed(log, position)):
            for track in tracks:
                if not track.behind:
                    self._fold_page(track, page)
            position = page[-1].position
            count += len(page)
            since_checkpoint += len(page)
            if since_checkpoint >= enough:
                # States are written whole: large ones are written more seldom, or a long run would write
                # with the square of its length.
                enough = max(CHECKPOINT_EVENTS, self._write(tracks) // CHECKPOINT_BYTES_PER_EVENT)
                since_checkpoint = 0
        if position > first:
            self._write(tracks)
        return count

    def _fold_page(self, track: _Track, page: Sequence[Event]) -> None:
        for event in page:
            if event.position <= track.position:
                continue
            try:
                self._fold(track, event)
            except ModelsDamaged:
                raise
            except Exception:  # noqa: BLE001  whatever a handler raises is kept, with its place: see _retry
                track.behind = True
                track.forget()
                return

    def _fold(self, track: _Track, event: Event) -> None:
        key = track.projection.key(event)
        if key is not None:
            fact = self._catalog.decode(event)
            kept = self._kept(track, key, event.position)
            if isinstance(track.projection, Listing):
                kept.state, row = track.projection.add(kept.state, event, fact)
                if row is not None:
                    track.rows.append(row)
            else:
                kept.state = track.projection.take(kept.state, event, fact)
            track.changed.add(key)
            track.events += 1
            track.skipped += isinstance(fact, Unknown)
        track.position, track.digest = event.position, event.digest

    def _kept(self, track: _Track, key: str, position: int) -> _Kept:
        kept = track.states.get(key)
        if kept is None:
            sql = f"{_STATE} where projection = ? and key = ?"
            rows = self._select(sql, (track.projection.name, key))
            if not rows:
                kept = _Kept(position, track.projection.initial(key))
                track.keys += 1
            else:
                kept = _Kept(rows[0][1], self._state(track.projection, track.decoder, rows[0]))
            track.states[key] = kept
        return kept

    def _retry(self, log: LogReader, track: _Track) -> None:
        """Take up a projection that raised, alone: up to the event that it cannot fold, and park it there."""
        track.behind = False
        tries = 0
        while True:
            self._restart(track)
            failed = self._up_to_failure(log, track)
            if failed is None:
                return
            event, error = failed
            tries += 1
            if tries >= TRIES_MAX and self._park(track, event, error, tries):
                return

    def _up_to_failure(self, log: LogReader, track: _Track) -> tuple[Event, Exception] | None:
        """Fold until an event raises; what was folded before it is written."""
        while page := self._feed(log, track.position):
            for event in page:
                good = track.position
                try:
                    self._fold(track, event)
                except ModelsDamaged:
                    raise
                except Exception as error:  # noqa: BLE001  parked with its place and traceback
                    if good > track.checkpoint:
                        self._back_to(log, track, good)
                    return event, error
            self._write([track])
            track.behind = False  # moved by another process: it stands where the file says, and goes on there
        return None

    def _back_to(self, log: LogReader, track: _Track, good: int) -> None:
        """The handler may have left its state half changed: fold again what was good, and write that."""
        self._restart(track)
        for event in self._feed(log, track.position):
            if event.position > good:
                break
            self._fold(track, event)
        self._write([track])
        track.behind = False

    def _park(self, track: _Track, event: Event, error: Exception, tries: int) -> bool:
        """False where something was erased meanwhile, which the error may tell of."""
        track.forget()
        text = "".join(traceback.format_exception(error))
        place = (track.projection.name, event.position, event.stream, event.seq)
        told = (*place, tries, f"{type(error).__name__}: {error}", text)

        def work() -> None:
            track.parked = self._is_sound(track, event.position)
            if track.parked:
                sql = "insert or replace into parked values (?, ?, ?, ?, ?, ?, ?, ?)"
                self._db.execute(sql, (*told, sealed(*told)))

        self._locked(work)
        if not track.parked:
            self._drop_unsound(track)
        return track.parked

    # ---------------------------------------------------------------- writing

    def _write(self, tracks: Sequence[_Track]) -> int:
        """Checkpoint `tracks`; returns how many bytes of states that was.

        One that another process moved meanwhile is loaded again instead, and one that something went into
        which was erased meanwhile is begun again.
        """
        written, unsound = 0, list[_Track]()

        def work() -> None:
            nonlocal written
            dropped = self.dropped()
            for track in tracks:
                if track.behind or track.position == track.checkpoint:
                    continue
                stands = self._standing_of(track.projection.name).position
                if (stands, dropped) != (track.checkpoint, track.dropped):
                    track.behind = True
                elif not self._is_sound(track, track.position):
                    track.behind = True
                    unsound.append(track)
                else:
                    written += self._write_one(track)

        self._locked(work)
        for track in unsound:
            self._drop_unsound(track)
        for track in tracks:
            if track.behind:
                self._restart(track)
                continue
            track.checkpoint = track.position
            track.changed.clear()
            track.rows.clear()
            if len(track.states) > STATES_KEPT_MAX:
                track.states.clear()
        return written

    def _is_sound(self, track: _Track, position: int) -> bool:
        """Whether nothing that was folded up to `position` was erased since. As of now: the log is asked."""
        return self._log is None or is_sound(self._log, track.projection, track.sound, position)

    def _drop_unsound(self, track: _Track) -> None:
        if self._log is not None:
            self._began = self._log.position()
        self._drop(track.projection.name)

    def _write_one(self, track: _Track) -> int:
        name = track.projection.name
        if isinstance(track.projection, Listing):
            if track.checkpoint == 0:
                lay_out(self._db, track.projection)
            put(self._db, track.projection, track.rows)
        rows: list[Row] = []
        for key in sorted(track.changed):
            kept = track.states[key]
            label, body = track.projection.label(kept.state), self._encoder.encode(kept.state)
            rows.append((name, key, kept.since, label, sealed(name, key, kept.since, label, body=body), body))
        self._db.executemany(
            "insert into state values (?, ?, ?, ?, ?, ?) on conflict (projection, key)"
            " do update set label = excluded.label, seal = excluded.seal, body = excluded.body",
            rows,
        )
        told = (track.position, track.digest, track.events, track.skipped, self._catalog.sum)
        stood = _Stood(*told, track.projection.version, track.sound, track.keys)
        self._db.execute(
            f"insert or replace into projection (name, {_STANDING}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (name, *stood, sealed(name, *stood)),
        )
        return sum(len(row[5]) for row in rows)

    def _locked(self, work: Callable[[], object]) -> None:
        locked(self._db, self.path, work)

    def _drop(self, name: str, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Drop the states of a projection, unless another process has made them whole meanwhile."""

        def work() -> None:
            if unless():
                return
            self._db.execute(
                "insert into dropped values (1, 1) on conflict (id) do update set times = times + 1"
            )
            self._db.execute("delete from state where projection = ?", (name,))
            self._db.execute("delete from projection where name = ?", (name,))
            self._db.execute("delete from parked where name = ?", (name,))
            drop_snapshots(self._db, name)
            if track is not None and isinstance(track.projection, Listing):
                lay_out(self._db, track.projection)

        track = self._tracks.get(name)
        self._locked(work)
        if track is not None:
            track.parked = False
            self._restart(track)

    # ---------------------------------------------------------------- loading

    def _select(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return rows_of(self._db, self.path, sql, values)

    def _state(self, projection: Projection[S], decoder: msgspec.msgpack.Decoder[S], row: Row) -> S:
        """The state in a row of `_STATE`. Raises `ModelsDamaged` where it is not what was written."""
        key, since, label, seal, body = row
        try:
            if seal == sealed(projection.name, key, since, label, body=body):
                return decoder.decode(body)
        except (msgspec.MsgspecError, TypeError, UnicodeDecodeError):
            pass  # as below
        raise ModelsDamaged(f"what is kept of {projection.name} {key} is damaged.")

    def _standing_of(self, name: str) -> _Stood:
        sql = f"select {_STANDING} from projection where name = ?"  # noqa: S608
        rows = self._select(sql, (name,))
        if not rows:
            return _Stood(0, b"", 0, 0, 0, None, self._began, 0)
        stood = _Stood(*rows[0][:-1])
        if rows[0][-1] != sealed(name, *stood):
            raise ModelsDamaged(f"how far {name} was folded is damaged.")
        return stood

    def _parked_of(self, name: str) -> Parked | None:
        """Why a projection stands still. Raises `ModelsDamaged` where that is not what was written."""
        for *said, seal in self._select("select * from parked where name = ?", (name,)):
            if seal != sealed(*said):
                raise ModelsDamaged(f"why {name} stands still is damaged.")
            return Parked._make(said)
        return None

    def _restart(self, track: _Track) -> None:
        """Stand where the file says."""
        track.forget()
        track.dropped = self.dropped()
        stood = self._standing_of(track.projection.name)
        track.position, track.digest, track.events, track.skipped = stood[:4]
        track.sound, track.keys = stood.sound, stood.keys
        track.checkpoint = track.position

    def _load(self) -> None:
        for name, track in self._tracks.items():
            if not self._is_whole(track):
                self._drop(name, unless=partial(self._is_whole, track))
        for name, track in self._tracks.items():
            track.parked = self._parked_of(name) is not None
            track.behind = False
            self._restart(track)

    def _is_whole(self, track: _Track) -> bool:
        """Whether what is there is of this version, and of one piece."""
        projection = track.projection
        try:
            stood = self._standing_of(projection.name)
            self._parked_of(projection.name)
        except ModelsDamaged:
            return False
        if stood.version is None:  # then nothing may be left of it that would be folded into
            sql = "select 1 from state where projection = ? limit 1"
            return not self._select(sql, (projection.name,))
        if stood.version != projection.version or stood.keys != self.count(projection):
            return False
        if stood.skipped and stood.known != self._catalog.sum:  # it may be known now
            return False
        return not isinstance(projection, Listing) or projection.is_laid_out(self._db)

    def _agree(self, log: LogReader) -> None:
        """Drop what was folded from another past, or from a payload that was erased since.

        The past is another where the log at this place is another one, or an older copy.
        """
        for name, track in self._tracks.items():
            if track.position and not (
                is_past_of(log, track.position, track.digest) and self._is_sound(track, track.position)
            ):
                self._drop(name)
        for track in self._tracks.values():
            if track.dropped != self.dropped():
                self._restart(track)
            track.sound = max(track.sound, self._began)

    # ---------------------------------------------------------------- reading

    def get(self, projection: Projection[S], key: str) -> S | None:
        """The state of `key`; None where no event of it was folded."""
        rows = self._select(f"{_STATE} where projection = ? and key = ?", (projection.name, key))
        return next((self._state(projection, self._decoder(projection), row) for row in rows), None)

    def newest(self, projection: Projection[S], *, limit: int | None = None, prefix: str = "") -> Iterator[S]:
        """States of keys that start with `prefix`, the youngest key first, all of them without a `limit`.

        One query, read as it is used.
        """
        decoder = self._decoder(projection)
        sql = f"{_STATE} where projection = ? and substr(key, 1, ?) = ? order by since desc limit ?"
        most = EVERY if limit is None else limit
        try:
            for row in self._db.execute(sql, (projection.name, len(prefix), prefix, most)):
                yield self._state(projection, decoder, row)
        except (sqlite.Error, UnicodeDecodeError) as error:
            raise meaning(error, self.path) from error

    def _decoder(self, projection: Projection[S]) -> msgspec.msgpack.Decoder[S]:
        return msgspec.msgpack.Decoder(projection.state)

    def rows(
        self, listing: Listing[Any], columns: str, clauses: str = "", values: Sequence[Any] = ()
    ) -> list[Row]:
        """Some columns of the rows of a list; `clauses` are SQL from `where` on."""
        if self._standing_of(listing.name).version is None:
            return []
        return self._select(f"select {columns} from {listing.table} {clauses}", values)  # noqa: S608

    def labelled(self, projection: Projection[Any], label: str) -> list[str]:
        """Keys of the states called `label`, the youngest first."""
        sql = "select key from state where projection = ? and label = ? order by since desc"
        return [row[0] for row in self._select(sql, (projection.name, label))]

    def contents(self, name: str) -> list[tuple[str, bytes]]:
        """Every key of a projection with its stored bytes, in order of key."""
        sql = "select key, body from state where projection = ? order by key"
        return [(row[0], row[1]) for row in self._select(sql, (name,))]

    def count(self, projection: Projection[Any]) -> int:
        """How many keys there are."""
        sql = "select count(*) from state where projection = ?"
        return int(self._select(sql, (projection.name,))[0][0])

    def standings(self) -> list[Standing]:
        """How far each projection has come, in the order in which they were given."""
        found: list[Standing] = []
        for name, track in self._tracks.items():
            stood, keys = self._standing_of(name), self.count(track.projection)
            told = (stood.position, stood.events, stood.skipped, keys)
            found.append(Standing(name, track.projection.version, *told, self._parked_of(name)))
        return found
