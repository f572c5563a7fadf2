"""What is kept beside a log, held against a fresh fold of it: states, rows, and snapshots, byte by byte.

    found = prove(log, models_path(store), [Runs(), RunReport()])
    found.differences                               # [], or where the first one of each projection is

Nothing is written: the file is opened for reading, and folded is into a directory that is thrown away.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from playhead.errors import BadEvent, Busy, NotFound
from playhead.events.codec import CATALOG
from playhead.events.erasing import mended
from playhead.log.driver import BUSY_MS, sqlite, translated, uri_of
from playhead.log.evidence import ERASED_TYPE
from playhead.log.reader import LogReader
from playhead_projections.listing import Listing
from playhead_projections.models_file import ModelsDamaged, is_laid_out, sealed
from playhead_projections.paging import Form
from playhead_projections.projection import RUN_STREAMS, Projection
from playhead_projections.rebuilding import fold_side_by_side
from playhead_projections.snapshots import first_link, link_of

KEY_SHOWN_MAX: Final = 120
MARKS: Final = "marks"
PAGE_EVENTS: Final = 10_000
_BUSY: Final = frozenset({5, 6})  # SQLITE_BUSY, _LOCKED
ANOTHER: Final = "of another log, and folded again when it is used"
TORN: Final = "damaged, and folded again when it is used"
LEFT: Final = "left over, and folded again when it is used"
_FAULTS: Final = {
    ANOTHER: "it was folded from another log",
    TORN: "how far it was folded is not what was written there",
    LEFT: "states are kept, and not how far they were folded",
}


class Difference(NamedTuple):
    """Where what is kept is not what the log tells. `key` is "" where it is no matter of one key."""

    projection: str
    key: str
    what: str


class Proven(NamedTuple):
    """How much of one projection was compared, and why it was not where it was not."""

    projection: str
    states: int
    rows: int
    snapshots: int
    left_out: str


class Proof(NamedTuple):
    """What came of it. The first difference of each projection is named."""

    compared: list[Proven]
    differences: list[Difference]


class _Stood(NamedTuple):
    """What the file says of a projection. `is_sound` is False where that is not what was written."""

    position: int
    digest: bytes
    events: int
    skipped: int
    known: int
    version: int
    sound: int
    keys: int
    is_sound: bool = True


def prove(
    log: LogReader,
    place: Path,
    projections: Sequence[Projection[Any]],
    snapshots: Sequence[Projection[Any]] = (),
    *,
    processes: int = 1,
) -> Proof:
    """Fold the log anew, and hold what the file at `place` keeps of these projections against it.

    `snapshots` are more projections of which only snapshots are kept. Raises `NotFound` where there is no
    file, `Busy`, and what reading the log raises.
    """
    if not place.exists():
        raise NotFound(f"nothing is kept at {place}.")
    with tempfile.TemporaryDirectory() as directory:
        try:
            with closing(sqlite.connect(_copied(place, Path(directory)))) as db:
                if (damage := _damage(db)) is not None:
                    return Proof([], [Difference("", "", damage)])
                return _compared(log, db, Path(directory) / "fresh", projections, snapshots, processes)
        except (sqlite.Error, UnicodeDecodeError) as error:
            if isinstance(meant := translated(error, place), Busy):
                raise meant from error
            return Proof([], [Difference("", "", f"the file cannot be read: {error}")])


def _copied(place: Path, directory: Path) -> Path:
    """A copy of the file as it stands now, which others may go on writing meanwhile. Raises `Busy`.

    Where a process died while it wrote, it is without what was half written.
    """
    copied = directory / place.name

    def waited(status: int, *_: int) -> None:
        if status in _BUSY:
            raise Busy(f"{place.name} is being written all the time.", next_step="Try again.")

    try:
        with (
            closing(sqlite.connect(uri_of(place, "mode=ro"), uri=True, timeout=BUSY_MS / 1000)) as db,
            closing(sqlite.connect(copied)) as copy,
        ):
            db.backup(copy, progress=waited)
    except sqlite.OperationalError as error:
        if isinstance(translated(error, place), Busy):
            raise
        for each in (place, place.with_name(f"{place.name}-journal")):  # nobody is there who writes it
            if each.exists():
                shutil.copy(each, directory / each.name)
    return copied


def _damage(db: sqlite.Connection) -> str | None:
    """What is wrong with the file as a whole; None where it is as SQLite and this playhead write it."""
    try:
        if not is_laid_out(db):
            return "the file is empty"
    except ModelsDamaged as error:
        return error.message.removesuffix(".")
    said = [row[0] for row in db.execute("pragma integrity_check(1)")]
    return None if said == ["ok"] else f"the file is damaged: {' '.join(said[0].split())}"


def _compared(
    log: LogReader,
    db: sqlite.Connection,
    fresh: Path,
    projections: Sequence[Projection[Any]],
    snapshots: Sequence[Projection[Any]],
    processes: int,
) -> Proof:
    stood = {each.name: _stood_of(db, each.name) for each in projections}
    kept = {row[0] for row in db.execute("select distinct projection from state")}
    reasons = {
        each.name: LEFT
        if stood[each.name] is None and each.name in kept
        else _reason(log, each, stood[each.name])
        for each in projections
    }
    groups: dict[int, list[Projection[Any]]] = {}
    for each in projections:
        said = stood[each.name]
        if said is not None and not reasons[each.name]:
            groups.setdefault(said.position, []).append(each)
    for until, group in groups.items():
        fold_side_by_side(log.path, fresh, group, until=until, processes=processes)
    compared: list[Proven] = []
    differences: list[Difference] = []
    with closing(sqlite.connect(fresh)) as there:
        for each in (*projections, *snapshots):
            states = rows = 0
            found: list[Difference] = []
            if (reason := reasons.get(each.name, "")) in _FAULTS:
                found = [Difference(each.name, "", _FAULTS[reason])]
            elif reasons.get(each.name) == "":
                states, rows, found = _held_against(db, there, each, stood[each.name])
            found += _parked(db, each.name)
            made, more = _snapshots(log, db, each)
            compared.append(Proven(each.name, states, rows, made, reasons.get(each.name, "")))
            differences += (found or more)[:1]
    marks, more = _marks(log, db)
    if marks:
        compared.append(Proven(MARKS, 0, marks, 0, ""))
    return Proof(compared, differences + more)


def _marks(log: LogReader, db: sqlite.Connection) -> tuple[int, list[Difference]]:
    """How many marks of times there are, and the first that the log does not tell."""
    at, latest, count = 0, None, 0
    for position, running, high, seal in db.execute("select * from mark order by position"):
        while at < position and (found := log.latest(at, min(position - at, PAGE_EVENTS))) is not None:
            at, latest = found[0], found[1] if latest is None else max(latest, found[1])
        told = (log.running(position), latest, sealed(position, running, high))
        if at != position or told != (running, high, seal):
            return count, [Difference(MARKS, str(position), "the latest time up to there is another one")]
        count += 1
    return count, []


def _stood_of(db: sqlite.Connection, name: str) -> _Stood | None:
    columns = "position, digest, events, skipped, known, version, sound, keys, seal"
    row = db.execute(f"select {columns} from projection where name = ?", (name,)).fetchone()  # noqa: S608  no value
    return None if row is None else _Stood._make((*row[:8], row[8] == sealed(name, *row[:8])))


def _reason(log: LogReader, projection: Projection[Any], stood: _Stood | None) -> str:
    """Why there is nothing to compare: whoever uses it next begins from zero. "" where there is."""
    if stood is None:
        return "not kept"
    if not stood.is_sound:
        return TORN
    if stood.version != projection.version:
        return f"of version {stood.version}, and folded again when it is used"
    if stood.skipped and stood.known != CATALOG.sum:
        return "from a playhead that knew other types, and folded again when it is used"
    if stood.position <= log.position():
        with suppress(NotFound):
            if log.at(stood.position).digest == stood.digest:
                erased = log.feed(max(stood.sound, 0), 1, types=(ERASED_TYPE,))
                return "from before a payload was erased, and folded again when it is used" if erased else ""
    return ANOTHER


def _held_against(
    db: sqlite.Connection, there: sqlite.Connection, projection: Projection[Any], stood: _Stood | None
) -> tuple[int, int, list[Difference]]:
    """How many states and rows there are, and where the first one is that differs."""
    name = projection.name
    sql = "select key, since, label, seal, body from state where projection = ? order by key"
    states, key = _first(db.execute(sql, (name,)), there.execute(sql, (name,)), 1)
    if key is not None:
        return states, 0, [Difference(name, key, "its state is not what the log tells")]
    rows = 0
    for table, order in projection.tables if isinstance(projection, Listing) else ():
        sql = f"select {order}, * from {table} order by {order}"  # noqa: S608  names of a class
        more, key = _first(db.execute(sql), there.execute(sql), len(order.split(",")))
        rows += more
        if key is not None:
            return states, rows, [Difference(name, key, f"its row in {table} is not what the log tells")]
    if isinstance(projection, Listing):
        _, asked = _first(projection.answers(db), projection.answers(there), 1)
        if asked is not None:
            said = "what is found by it is not what the log tells"
            return states, rows, [Difference(name, repr(asked), said)]
    fresh = _stood_of(there, name)
    if (
        stood is not None
        and fresh is not None
        and (stood.events, stood.skipped, stood.keys) != (fresh.events, fresh.skipped, fresh.keys)
    ):
        counted = f"it counts {stood.events} events, and {fresh.events} were folded"
        return states, rows, [Difference(name, "", counted)]
    return states, rows, []


def _first(kept: Iterator[Any], fresh: Iterator[Any], width: int) -> tuple[int, str | None]:
    """How many rows are kept, up to the first one that differs, and the key of that one."""
    count = 0
    for ours, log in zip_longest(kept, fresh):
        if ours != log:
            named = min((row[:width] for row in (ours, log) if row is not None), key=repr)
            return count, ", ".join(str(part) for part in named)[:KEY_SHOWN_MAX]
        count += 1
    return count, None


# --------------------------------------------------------------- snapshots


def _snapshots(
    log: LogReader, db: sqlite.Connection, projection: Projection[Any]
) -> tuple[int, list[Difference]]:
    """How many snapshots are kept, and which is the first that a fold does not come to."""
    name, count = projection.name, 0
    sql = "select key, seen, seal from trail where projection = ?"
    for key, seen, seal in db.execute(sql, (name,)).fetchall():
        if seal != sealed(name, key, seen):
            said = "up to where its snapshots know of erasures is not what was written there"
            return count, [Difference(name, key, said)]
        stream = f"{RUN_STREAMS}{key}"
        if log.read(stream, max(seen, 0), 1, types=(ERASED_TYPE,)):
            continue  # dropped when it is used
        made, seq = _trail(log, db, projection, key)
        count += made
        if seq is not None:
            where = f"{key}@{seq}"
            return count, [Difference(name, where, "its snapshot is not what the log tells")]
    sql = "select key from snapshot where projection = ?1 except select key from trail where projection = ?1"
    for (key,) in db.execute(f"{sql} limit 1", (name,)):
        return count, [Difference(name, key, "it has snapshots, and not up to where they know of erasures")]
    return count, []


def _parked(db: sqlite.Connection, name: str) -> list[Difference]:
    """Whether what is said of why it stands still is what was written."""
    rows = db.execute("select * from parked where name = ?", (name,)).fetchall()
    said = "why it stands still is not what was written there"
    return [Difference(name, "", said) for *row, seal in rows if seal != sealed(*row)]


def _trail(
    log: LogReader, db: sqlite.Connection, projection: Projection[Any], key: str
) -> tuple[int, int | None]:
    """How many snapshots of a key hold, and the event of the first that does not."""
    sql = "select seq, digest, events, link, body from snapshot where projection = ? and key = ? order by seq"
    rows = iter(db.execute(sql, (projection.name, key)))
    form: Form[Any] = Form(projection)
    state, before, count, events = form.opened(projection.initial(key)), first_link(projection, key), 0, 0
    wanted = next(rows, None)
    for event in mended(log, log.scan(f"{RUN_STREAMS}{key}")):
        if wanted is None:
            return count, None
        if projection.key(event) != key:
            continue
        try:
            state = projection.take(state, event, CATALOG.decode(event))
        except (BadEvent, msgspec.MsgspecError):
            return count, int(wanted[0])
        events += 1
        if event.seq == wanted[0]:
            body = form.taken(state)
            before = link_of(before, event.seq, event.digest, events, body)
            if wanted[1:] != (event.digest, events, before, body):
                return count, event.seq
            count, wanted = count + 1, next(rows, None)
    return count, None if wanted is None else int(wanted[0])
