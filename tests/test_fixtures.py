"""Old tapes play: every recorded run still imports, verifies, replays and folds."""

import getpass
import json
import re
from functools import cache
from pathlib import Path

import pytest

from playhead import Diverged, persona
from playhead.clock import SystemClock
from playhead.errors import ImportRefused
from playhead.events.fact import type_of
from playhead.events.registry import FACTS
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import export_lines, import_lines
from playhead.log.verify import verify
from playhead.replay.player import play
from playhead.runtime.tape import Tape
from playhead.testing import Replayed
from playhead.testing.recording import NotReplayed, Programs, replay_recording
from playhead_projections.projector import state_at
from playhead_projections.receipts import Receipts, peek
from playhead_projections.run_report import RunReport, document
from tests.checkout import ROOT, name_of
from tests.record_fixture import record
from tests.recorded.all_of_them import PROGRAMS, RECORDINGS
from tests.recorded_programs import Survey, survey

FIXTURES = sorted((ROOT / "replay_fixtures").glob("*.jsonl"))
README = ROOT / "replay_fixtures" / "README.md"
every_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=name_of)
SIZE_MAX = 60_000


def lines_of(fixture: Path) -> list[bytes]:
    return fixture.read_bytes().splitlines(keepends=True)


async def imported(fixture: Path, directory: Path) -> Path:
    """A fresh store that holds the streams of `fixture`."""
    store = directory / "runs.db"
    async with SqliteStore.open(store, clock=SystemClock()) as log:
        await log.graft(import_lines(lines_of(fixture)))
    return store


def tapes(store: Path) -> list[Tape]:
    with LogReader(store) as log:
        return [Tape(name.partition("/")[2], list(log.scan(name))) for name in log.streams("run")]


def replayed(fixture: Path) -> tuple[Replayed, ...]:
    recording = RECORDINGS[fixture.stem]
    programs = Programs.of([PROGRAMS[fixture.stem]], key=recording.key, model=recording.model)
    return replay_recording(fixture, programs)


@cache
def types_in(fixture: Path) -> frozenset[str]:
    return frozenset(line["type"] for line in map(json.loads, lines_of(fixture)) if "type" in line)


def test_every_recorded_run_is_listed_with_its_purpose_and_can_be_played() -> None:
    rows = [line.split("|") for line in README.read_text().splitlines() if line.startswith("| `0")]

    assert [row[1].strip(" `") for row in rows] == [fixture.name for fixture in FIXTURES]
    assert [fixture.stem for fixture in FIXTURES] == sorted(RECORDINGS)
    assert all(row[2].strip().endswith(".") for row in rows)


def test_every_type_of_event_is_on_a_recorded_tape() -> None:
    found = frozenset().union(*map(types_in, FIXTURES))

    assert {type_of(fact) for fact in FACTS} <= found


@every_fixture
def test_a_recorded_run_is_small_and_tells_nothing_of_the_machine(fixture: Path) -> None:
    text = fixture.read_text()
    lines = [json.loads(line) for line in lines_of(fixture)]

    assert len(text) <= SIZE_MAX
    assert RECORDINGS[fixture.stem].holds <= types_in(fixture)
    assert {line["body"]["host"] for line in lines if line.get("type") == "run.claimed"} <= {"recorder"}
    told = (str(ROOT), f"{Path.home()}/", "/tmp/", f"/{getpass.getuser()}/")
    assert [word for word in told if word in text] == []


@every_fixture
async def test_a_recorded_run_is_imported_verified_folded_and_exported_to_the_same_events(
    fixture: Path, tmp_path: Path
) -> None:
    store = await imported(fixture, tmp_path)

    assert verify(store).ok
    with LogReader(store) as log:
        again = list(export_lines(log, log.streams()))
        for name in log.streams("run"):
            check_folds(log, name, over=RECORDINGS[fixture.stem].verdict == "identical")
    # The first line of a stream names the version that exported it; all others are facts.
    facts = [line for line in lines_of(fixture) if b'"schema"' not in line[:60]]
    assert [line for line in again if b'"schema"' not in line[:60]] == facts


def check_folds(log: LogReader, name: str, *, over: bool) -> None:
    """The report and the receipts of a run say what its events say."""
    kinds = [event.type for event in log.scan(name)]
    report = document(state_at(log, RunReport(), name).state)
    receipts = peek(state_at(log, Receipts(), name).state)
    assert report["totals"]["steps"] == kinds.count("step.started")
    assert len(receipts) == len([kind for kind in kinds if kind in STEP_ENDS])
    assert report["totals"]["model_calls"] == kinds.count("model.called")
    assert report["resumes"] == kinds.count("run.resumed")
    assert report["events_unknown"] == sum(kind not in KNOWN for kind in kinds)
    assert (report["ended"] is not None) == over


@every_fixture
def test_a_recorded_run_replays_as_it_is_said_to(fixture: Path) -> None:
    recording = RECORDINGS[fixture.stem]
    if recording.refused:
        with pytest.raises(NotReplayed, match=re.escape(recording.refused)):
            replayed(fixture)
        return

    first, *others = replayed(fixture)

    assert first.outcome.verdict == recording.verdict
    assert all(other.outcome.identical for other in others)


KNOWN = {type_of(fact) for fact in FACTS}
STEP_ENDS = {f"step.{end}" for end in ("completed", "failed", "skipped", "escalated", "denied", "cancelled")}


# What the first one pins.

FIRST = ROOT / "replay_fixtures" / "0001-first-format-a-run-that-was-killed-and-resumed.jsonl"


async def test_the_first_run_was_killed_twice_and_came_back(tmp_path: Path) -> None:
    store = await imported(FIRST, tmp_path)

    tape = next(tape for tape in tapes(store) if tape.started.persona == "survey")
    with LogReader(store) as log:
        report = document(state_at(log, RunReport(), f"run/{tape.run}").state)
    kinds = [event.type for event in tape.events]

    assert (report["deaths"], report["resumes"], report["in_doubt"]) == (2, 2, [])
    assert kinds.count("operation.outcome_unknown") == kinds.count("operation.resolved") == 1
    assert report["totals"]["cost_micros"] == 7
    assert report["totals"]["reasoning_tokens"] is None
    result = survey.signature.result.decode(tape.catalog.decode(tape.events[-1]).result)  # type: ignore[union-attr]
    assert isinstance(result, Survey)
    assert (result.advice, result.go, result.annex, result.winner) == ("dig deeper", "ahead", 4, 1)


async def test_another_program_diverges_from_it(tmp_path: Path) -> None:
    tape = next(tape for tape in tapes(await imported(FIRST, tmp_path)) if tape.started.persona == "annex")

    @persona(name="annex")
    async def other(places: list[str]) -> int:
        return len(places)

    with pytest.raises(Diverged, match=r"at event \d+"):
        play(tape, other).check()


async def test_an_edited_line_of_it_is_refused(tmp_path: Path) -> None:
    lines = lines_of(FIRST)
    edited = [line.replace(b'"attempt":2', b'"attempt":3') for line in lines]

    assert edited != lines
    with pytest.raises(ImportRefused, match=r"^line \d+"):
        import_lines(edited)


def test_a_recorded_run_is_never_recorded_over() -> None:
    with pytest.raises(FileExistsError):
        record(FIRST)
