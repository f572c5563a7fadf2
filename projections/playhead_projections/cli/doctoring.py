"""`playhead doctor`: is this store, this driver and this machine fit to be trusted? Yes or no, and why.

With a program it looks at that instead: playhead_projections.cli.examining.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from playhead.errors import PlayheadError
from playhead_projections.cli.faults import BROKEN, DONE, NO, Usage
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead_projections.projector import Parked, ReadModels, Standing
    from playhead_projections.runs import Line

FREE_BYTES_MIN: Final = 256 * 1024 * 1024
WAL_BYTES_LOUD: Final = 256 * 1024 * 1024
VERIFY_EVENTS_MAX: Final = 200_000


class Finding(NamedTuple):
    """One question, its answer (None where there is none), and what stands behind it."""

    question: str
    answer: bool | None
    because: str
    integrity: bool = False


@command("doctor")
@click.argument("program", metavar="[FILE.py[:PERSONA]]", required=False)
@click.option("--run", help="The run whose tape is played. Default: the newest of the persona.")
@click.option("--record", metavar="JSON", help="Record a run with these arguments, live, and play that.")
@json_option
def doctor(
    session: Session, *, program: str | None, run: str | None, record: str | None, as_json: bool
) -> int:
    """Check store, driver and machine. Exit code 1 for a no, 4 where the store is broken.

    With a program: play a tape of it twice under different conditions, touching nothing, and name each
    source of nondeterminism with its line. Exit code 0 for none, 1 where there are some, 5 where a play
    diverged.
    """
    if program is not None:
        from playhead_projections.cli.examining import examine

        return examine(session, program, run, record, as_json=as_json)
    if run is not None or record is not None:
        raise Usage("--run and --record go with a program.", expected="playhead doctor FILE.py[:PERSONA]")
    findings = list(_look(session))
    broken = any(finding.answer is False and finding.integrity for finding in findings)
    ailing = any(finding.answer is False for finding in findings)
    if as_json:
        body = {
            "ok": not ailing,
            "findings": [
                {"question": finding.question, "answer": finding.answer, "because": finding.because}
                for finding in findings
            ],
        }
        session.out.document("playhead.doctor/1", body)
    else:
        words = {True: "yes", False: "no", None: "-"}
        for finding in findings:
            word = words[finding.answer]
            session.out.line(
                f"{session.out.word(word)}{' ' * (4 - len(word))} {finding.question}: {finding.because}"
            )
    return BROKEN if broken else NO if ailing else DONE


def _look(session: Session) -> Iterator[Finding]:
    place = session.place
    yield Finding("is there a store", place.exists, f"{place.path}, {place.why}")
    yield from _driver()
    yield from _machine(place.path)
    if place.exists:
        yield from _store(session, place.path)


def _driver() -> Iterator[Finding]:
    from playhead.log.driver import LIBRARY

    because = f"SQLite {LIBRARY.version} ({LIBRARY.name})"
    if LIBRARY.affected:
        because += (
            " can lose commits when two processes checkpoint; every commit is made under one lock, which"
        )
        because += " keeps that away. `pip install playhead[sqlite]` brings a fixed one"
    # The lock holds on every version, so an affected library is no reason to stop.
    yield Finding("is the SQLite library sound", None if LIBRARY.affected else True, because)
    yield Finding(
        "is the Python new enough", True, f"{platform.python_implementation()} {platform.python_version()}"
    )


def _machine(path: Path) -> Iterator[Finding]:
    from playhead.log.guards import MOUNTINFO, filesystem_of, is_unsafe

    directory = path.absolute().parent
    if MOUNTINFO.exists():
        kind = filesystem_of(MOUNTINFO.read_text(errors="surrogateescape"), str(directory.resolve()))
        known = f"{directory} is on {kind or 'an unnamed file system'}"
        yield Finding("can locks and syncs be trusted here", not is_unsafe(kind), known)
    else:
        yield Finding("can locks and syncs be trusted here", None, "this system does not say what is mounted")
    free = shutil.disk_usage(directory).free
    yield Finding("is there room on the disk", free >= FREE_BYTES_MIN, f"{free // 1_000_000:,} MB free")
    yield Finding("can the directory be written", os.access(directory, os.W_OK), str(directory))


def _store(session: Session, path: Path) -> Iterator[Finding]:
    from playhead.log.filelock import holder_of
    from playhead_projections.cli.keeping import facts_of

    try:
        facts = facts_of(path, session)
    except PlayheadError as error:
        yield Finding("can the store be read", False, error.message, integrity=True)
        return
    because = f"format {facts['settings']['user_version']}, {count(facts['events'], 'event')}"
    yield Finding("can the store be read", True, because)
    wal = facts["bytes"].get("wal", 0)
    yield Finding(
        "is the WAL short", wal < WAL_BYTES_LOUD, f"{wal // 1_000:,} kB not yet checkpointed at most"
    )
    holder = holder_of(path.with_name(path.name + "-lock"))
    said = f"process {holder} is committing at this moment" if holder else "nobody holds it"
    yield Finding("is the store's lock free", True if holder is None else None, said)
    yield from _proof(path, facts["events"])
    try:
        yield from list(_runs(session, path))
    except PlayheadError as error:
        yield Finding("can the runs be told", False, error.message)


def _proof(path: Path, events: int) -> Iterator[Finding]:
    from playhead.log.verify import verify

    if events > VERIFY_EVENTS_MAX:
        yield Finding("does the log prove itself", None, f"{events:,} events take a while: `playhead verify`")
        return
    result = verify(path)
    faults = count(len(result.faults) + result.faults_unlisted, "fault")
    because = f"{count(result.events, 'event')}, {faults}"
    if result.faults:
        because += f"; the first: {result.faults[0]}"
    yield Finding("does the log prove itself", result.ok, because, integrity=True)


def _runs(session: Session, path: Path) -> Iterator[Finding]:
    from playhead_projections.cli.addresses import of_runs
    from playhead_projections.cli.standing import Living
    from playhead_projections.runs import Runs, waits

    def look(models: ReadModels) -> tuple[Path | None, Standing, list[Line]]:
        return models.path, models.standings()[0], list(models.newest(Runs()))

    with session.reading() as log:
        living = Living(log, path)
        place, stand, lines = of_runs(log, path, look, quiet=True)
        where = f"kept in {place.name}" if place else "only in memory, nothing can be written there"
        because = _stopped(stand.parked) if stand.parked else f"{count(stand.keys, 'run')}, {where}"
        yield Finding("are the read models up to date", stand.parked is None, because)
        seen: dict[str, int] = {}
        doubts = 0
        for line in lines:
            status = living.status(line.life)
            seen[status] = seen.get(status, 0) + 1
            doubts += any(opened.in_doubt for _, opened in waits(line))
    lost = seen.get("interrupted", 0) + seen.get("released", 0)
    yield Finding(
        "has every unfinished run an owner or a reason to wait", not lost, _advised(lost, "recover")
    )
    stuck = seen.get("parked", 0) + seen.get("diverged", 0) + doubts
    yield Finding("does no run need a person", not stuck, _advised(stuck, "runs"))


def _stopped(parked: Parked) -> str:
    return f"they stop at {parked.stream}@{parked.seq}: {parked.error} Try again: `playhead rebuild`"


def _advised(number: int, advice: str) -> str:
    return f"{count(number, 'run')}" + (f": `playhead {advice}`" if number else "")
