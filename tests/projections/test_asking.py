"""An answer is the right one whatever others do to the file of the read models while it is read."""

from pathlib import Path

import pytest

from playhead.errors import Busy
from playhead.log.reader import LogReader
from playhead_projections import asking
from playhead_projections.asking import ask
from playhead_projections.models_file import ModelsDamaged, models_path
from playhead_projections.projector import ReadModels
from playhead_projections.runs import Runs
from tests.projections.recorded import started, write

RUNS = 3


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for n in range(RUNS):
        write(tmp_path / "runs.db", f"run{n:09}", started())
    return tmp_path / "runs.db"


def dropped(store: Path) -> None:
    """What another process does that begins a rebuild."""
    with ReadModels.open(store, [Runs()]) as others:
        others.drop()


def test_states_that_another_process_drops_while_they_are_read_are_asked_for_again(store: Path) -> None:
    counted: list[int] = []

    def work(models: ReadModels) -> int:
        if not counted:
            dropped(store)
        counted.append(models.count(Runs()))
        return counted[-1]

    with LogReader(store) as log:
        assert ask(ReadModels, log, store, [Runs()], work) == RUNS
    assert counted == [0, RUNS]


def test_a_file_that_is_thrown_away_while_it_is_read_still_answers(store: Path) -> None:
    def work(models: ReadModels) -> int:
        models_path(store).unlink(missing_ok=True)
        return models.count(Runs())

    with LogReader(store) as log:
        assert ask(ReadModels, log, store, [Runs()], work) == RUNS


def test_where_others_never_stop_it_is_busy(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ASKED_MAX", 3)
    with LogReader(store) as log, pytest.raises(Busy):
        ask(ReadModels, log, store, [Runs()], lambda models: dropped(store))


def test_damage_that_is_met_while_it_is_read_is_made_anew_once(store: Path) -> None:
    asked = 0

    def work(models: ReadModels) -> int:
        nonlocal asked
        asked += 1
        if asked < 2:
            raise ModelsDamaged("a row says something else.")
        return models.count(Runs())

    with LogReader(store) as log:
        assert ask(ReadModels, log, store, [Runs()], work) == RUNS
        asked = -9
        with pytest.raises(ModelsDamaged):
            ask(ReadModels, log, store, [Runs()], work)


def test_whoever_finds_leftovers_that_another_process_just_completed_leaves_them(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at a file that is just being made, another process may have written all of it."""
    usual, looks = ReadModels._is_whole, [False]

    def once_torn(self: ReadModels, track: object) -> bool:
        return looks.pop() if looks else usual(self, track)  # type: ignore[arg-type]

    with LogReader(store) as log, ReadModels.open(store, [Runs()]) as models:
        models.catch_up(log)
        monkeypatch.setattr(ReadModels, "_is_whole", once_torn)
        with ReadModels.open(store, [Runs()]) as others:
            assert others.count(Runs()) == RUNS
        assert not looks
