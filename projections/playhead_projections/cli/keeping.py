"""`playhead where`, `db`, `schema` and `rebuild`: which store, what is in it, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from playhead.errors import NotFound
from playhead_projections.cli.faults import BROKEN, DONE, NO
from playhead_projections.cli.output import cleaned, count, table
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead_projections.projection import Projection
    from playhead_projections.proving import Proven

STREAMS_MAX: Final = 10_000_000
BESIDE: Final = (
    "-wal",
    "-shm",
    "-lock",
    "-anchors",
    "-checkpoints",
    "-tree",
    "-readmodels",
    "-redaction-key",
)
NOT_KEPT: Final = "not kept"
PRAGMAS: Final = (
    "user_version",
    "page_size",
    "page_count",
    "freelist_count",
    "journal_mode",
    "encoding",
    "mmap_size",
    "cell_size_check",
    "trusted_schema",
)


@command("where")
@json_option
def where(session: Session, *, as_json: bool) -> int:
    """Say which store is used and why."""
    place = session.place
    body = {"path": str(place.path.absolute()), "why": place.why, "exists": place.exists}
    if as_json:
        session.out.document("playhead.where/1", body)
    else:
        session.out.line(f"{place.path}  {place.why}{'' if place.exists else ' (not there)'}")
    return DONE if place.exists else NO


@command("schema")
@click.option("--json", "as_json", is_flag=True, help="The same: it is always JSON.")
def schema(session: Session, **_: bool) -> int:
    """Print the JSON Schema of every event."""
    from playhead.events.codec import CATALOG

    document = CATALOG.json_schema()
    session.out.document(document.pop("schema"), document)
    return DONE


@command("db")
@json_option
def db(session: Session, *, as_json: bool) -> int:
    """Print facts about the store file."""
    facts = facts_of(session.store, session)
    if as_json:
        session.out.document("playhead.db/1", facts)
        return DONE
    rows: list[list[str]] = [
        ["path", facts["path"]],
        ["events", f"{facts['events']:,}, the newest at position {facts['position']:,}"],
        ["streams", ", ".join(f"{number:,} {kind}" for kind, number in facts["streams"].items()) or "none"],
        ["size", ", ".join(f"{name} {_size(size)}" for name, size in facts["bytes"].items())],
        ["sqlite", f"{facts['sqlite']['version']} ({facts['sqlite']['library']}), {_race(facts['sqlite'])}"],
        ["settings", ", ".join(f"{name} {value}" for name, value in facts["settings"].items())],
    ]
    session.out.lines(table(rows))
    return DONE


def _race(sqlite: dict[str, Any]) -> str:
    return (
        "has the WAL-reset race; the store's own lock keeps it away" if sqlite["wal_reset_race"] else "fixed"
    )


def facts_of(path: Path, session: Session) -> dict[str, Any]:
    """What `db` prints and `doctor` looks at."""
    from playhead.log.driver import LIBRARY
    from playhead.log.envelope import kind_of

    with session.reading() as log:
        kinds: dict[str, int] = {}
        for stream in log.streams(limit=STREAMS_MAX):
            kinds[kind_of(stream)] = kinds.get(kind_of(stream), 0) + 1
        settings = {name: log.connection.execute(f"pragma {name}").fetchone()[0] for name in PRAGMAS}
        return {
            "path": str(path),
            "events": log.count(),
            "position": log.position(),
            "streams": dict(sorted(kinds.items())),
            "bytes": _sizes(path),
            "sqlite": {
                "library": LIBRARY.name,
                "version": LIBRARY.version,
                "wal_reset_race": LIBRARY.affected,
            },
            "settings": settings,
        }


def _sizes(path: Path) -> dict[str, int]:
    """Of the store and of what lies beside it. Asked of the directory: the live files are never opened."""
    found = {"db": path.stat().st_size}
    for suffix in BESIDE:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            found[suffix[1:]] = beside.stat().st_size
    return found


def _size(size: int) -> str:
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size} B"


def read_models() -> list[Projection[Any]]:
    """What is kept beside a store."""
    from playhead_projections.inbox import Inbox
    from playhead_projections.receipts import Receipts
    from playhead_projections.run_report import RunReport
    from playhead_projections.runs import Runs
    from playhead_projections.search.tables import Search
    from playhead_projections.trust_graph.graph import TrustGraph

    return [Runs(), RunReport(), Receipts(), Inbox(), TrustGraph(), Search()]


def _only_snapshots() -> list[Projection[Any]]:
    """What is folded when it is asked for, and of which only snapshots are kept."""
    from playhead_projections.compositions.fold import Compositions
    from playhead_projections.reports.fold import Reports
    from playhead_projections.timeline import Timeline
    from playhead_projections.trace import Traces
    from playhead_projections.trust_graph.grants import Grants

    return [Timeline(), Traces(), Compositions(), Grants(), Reports()]


@command("rebuild")
@click.option("--verify", is_flag=True, help="Write nothing: say whether what is kept is what the log tells.")
@click.option("--processes", type=click.IntRange(1, 8), help="How many fold. Default: one a processor.")
@json_option
def rebuild(session: Session, *, verify: bool, processes: int | None, as_json: bool) -> int:
    """Drop every read model and fold the whole log again. Exit code 1 where one could not be.

    With --verify exit code 4 where what is kept is not what the log tells.
    """
    if verify:
        return _verify(session, processes, as_json=as_json)
    from playhead_projections.models_file import models_path, undamaged
    from playhead_projections.projector import ReadModels, Standing
    from playhead_projections.rebuilding import rebuild as rebuilt

    def work() -> tuple[list[Standing], Path | None]:
        with ReadModels.open(session.store, read_models()) as models:
            rebuilt(models, log, processes=processes)
            return models.standings(), models.path

    with session.reading() as log:
        standings, path = undamaged(models_path(session.store), work)
    parked = [standing for standing in standings if standing.parked]
    if as_json:
        body = {
            "path": str(path) if path else None,
            "read_models": [
                {**standing._asdict(), "parked": standing.parked._asdict() if standing.parked else None}
                for standing in standings
            ],
        }
        session.out.document("playhead.rebuild/1", body)
        return NO if parked else DONE
    if path is None:
        session.out.aside("the read models cannot be kept beside the store: they live in memory only.")
    rows = [
        [
            standing.name,
            f"version {standing.version}",
            count(standing.keys, "chain" if standing.name == "trust_graph" else "run"),
            count(standing.events, "event"),
            f"{standing.skipped:,} of a newer playhead skipped" if standing.skipped else "",
            f"parked at {standing.parked.stream}@{standing.parked.seq}: {standing.parked.error}"
            if standing.parked
            else "",
        ]
        for standing in standings
    ]
    session.out.lines(table(rows, right=(2, 3)))
    return NO if parked else DONE


def _verify(session: Session, processes: int | None, *, as_json: bool) -> int:
    from playhead_projections.projector import models_path
    from playhead_projections.proving import prove
    from playhead_projections.rebuilding import WORTH_IT_EVENTS, processors

    place = models_path(session.store)
    with session.reading() as log:
        if not place.exists():
            raise NotFound(
                f"nothing is kept beside {session.store}.",
                next_step="Any command that needs it makes it: playhead runs, or playhead rebuild.",
            )
        usual = processors() if log.position() >= WORTH_IT_EVENTS else 1
        found = prove(log, place, read_models(), _only_snapshots(), processes=processes or usual)
    if as_json:
        body = {
            "path": str(place),
            "equal": not found.differences,
            "read_models": [each._asdict() for each in found.compared],
            "differences": [each._asdict() for each in found.differences],
        }
        session.out.document("playhead.rebuild_verify/1", body)
        return BROKEN if found.differences else DONE
    differing = {each.projection for each in found.differences}
    rows = [
        [
            each.projection,
            count(each.states, "state"),
            count(each.rows, "row"),
            count(each.snapshots, "snapshot"),
            _said_of(each, differs=each.projection in differing),
        ]
        for each in found.compared
        if each.states or each.snapshots or each.projection in differing or each.left_out != NOT_KEPT
    ]
    session.out.lines(table(rows, right=(1, 2, 3)))
    for each in found.differences:
        place_of = " ".join(filter(None, (each.projection, each.key)))
        session.out.aside(cleaned(f"{place_of}: {each.what}" if place_of else each.what))
    if found.differences:
        session.out.aside("The log is not touched by that. Make it anew: playhead rebuild")
    return BROKEN if found.differences else DONE


def _said_of(each: Proven, *, differs: bool) -> str:
    """What came of one: that states are not kept is no matter where snapshots are, which were compared."""
    if each.left_out and not (each.left_out == NOT_KEPT and each.snapshots):
        return each.left_out
    return "differs" if differs else "equal to a fresh fold"
