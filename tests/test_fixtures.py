"""Old tapes play: every recorded run still imports, verifies, replays and folds."""

from pathlib import Path

import pytest

from playhead import Diverged, persona
from playhead.clock import SystemClock
from playhead.errors import ImportRefused
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import export_lines, import_lines
from playhead.log.verify import verify
from playhead.replay.player import play
from playhead.runtime.tape import Tape
from playhead_projections.projector import state_at
from playhead_projections.receipts import Receipts, peek
from playhead_projections.run_report import RunReport, document
from tests.checkout import ROOT, name_of
from tests.record_fixture import record
from tests.recorded_programs import Oracle, Survey, annex, survey

FIXTURES = sorted((ROOT / "replay_fixtures").glob("*.jsonl"))
PROGRAMS = {program.name: program for program in (survey, annex)}
every_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=name_of)


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


def test_there_is_a_recorded_run_and_each_is_listed() -> None:
    listed = (ROOT / "replay_fixtures" / "README.md").read_text()

    assert FIXTURES
    assert [fixture.name for fixture in FIXTURES if f"`{fixture.name}`" not in listed] == []


@every_fixture
async def test_a_recorded_run_imports_and_verifies_and_exports_to_the_same_events(
    fixture: Path, tmp_path: Path
) -> None:
    store = await imported(fixture, tmp_path)

    assert verify(store).ok
    with LogReader(store) as log:
        again = list(export_lines(log, log.streams()))
    # The first line of a stream names the version that exported it; all others are facts.
    facts = [line for line in lines_of(fixture) if b'"schema"' not in line[:60]]
    assert [line for line in again if b'"schema"' not in line[:60]] == facts


@every_fixture
async def test_a_recorded_run_replays(fixture: Path, tmp_path: Path) -> None:
    played = tapes(await imported(fixture, tmp_path))

    assert played
    for tape in played:
        outcome = play(tape, PROGRAMS[tape.started.persona], model=Oracle())
        outcome.check()
        assert outcome.identical


@every_fixture
async def test_its_report_and_receipts_are_folded_from_it(fixture: Path, tmp_path: Path) -> None:
    store = await imported(fixture, tmp_path)

    with LogReader(store) as log:
        for name in log.streams("run"):
            events = list(log.scan(name))
            kinds = [event.type for event in events]
            report = document(state_at(log, RunReport(), name).state)
            receipts = peek(state_at(log, Receipts(), name).state)
            assert report["status"] == "completed"
            assert report["totals"]["steps"] == len(receipts) == kinds.count("step.completed")
            assert report["totals"]["model_calls"] == kinds.count("model.answered")
            assert report["resumes"] == kinds.count("run.resumed")
            assert report["events_unknown"] == 0


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
