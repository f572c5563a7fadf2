"""What is erased while somebody folds what was read before comes back into no file beside the log."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead.events.fact import Fact
from playhead.log.driver import sqlite
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.log.scrubbing import owe, scrub
from playhead_projections import as_of
from playhead_projections.as_of import AsOf, state_at
from playhead_projections.models_file import models_path
from playhead_projections.projection import Projection
from playhead_projections.projector import ReadModels
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from playhead_projections.search.index import SEARCH
from tests.projections.recorded import audit, erase, record


class Noted(msgspec.Struct):
    """The texts of a run, as an error may tell of them."""

    texts: list[str] = []


class Stumbling(Projection[Noted]):
    """Fails with what it read, as a handler may."""

    name = "stumbling"
    version = 1
    state = Noted

    def initial(self, key: str) -> Noted:
        return Noted()

    def apply(self, state: Noted, event: Event, fact: Fact) -> Noted:
        reply = getattr(fact, "reply", None)
        if reply is not None:
            raise ValueError(msgspec.msgpack.decode(bytes(reply)))
        return state


class Paused(LogReader):
    """A reader whose process is not scheduled for a while, once, after it got what it asked for."""

    meanwhile: Callable[[], None] | None = None

    def feed(self, after: int = 0, limit: int = 1_000, *, types: Sequence[str] | None = None) -> list[Event]:
        page = super().feed(after, limit, types=types)
        if types is None and page and self.meanwhile is not None:
            then, self.meanwhile = self.meanwhile, None
            then()
        return page

    def read(
        self, stream: str, start: int = 0, limit: int = 1_000, *, types: Sequence[str] | None = None
    ) -> list[Event]:
        page = super().read(stream, start, limit, types=types)
        if types is None and len(page) > 1 and self.meanwhile is not None:
            then, self.meanwhile = self.meanwhile, None
            then()
        return page


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    record(path, (audit, [1, 2, 3]))
    return path


def victim_of(store: Path) -> tuple[str, int, bytes]:
    """A run, its event whose payload will be erased, and a text that stands only there."""
    with LogReader(store) as log:
        stream = log.streams("run")[0]
        event = next(event for event in log.scan(stream) if event.type == "model.answered")
        assert event.payload is not None
        model = msgspec.msgpack.decode(event.payload)["reply"]["model"]
        return stream.partition("/")[2], event.seq, str(model).encode()


def erased_for_good(store: Path, run: str, seq: int) -> None:
    """The payload goes, and whatever was derived from it is emptied, with nothing left."""
    owe(store)
    erase(store, run, seq)
    assert scrub(store, 5) == ()


def held(store: Path) -> bytes:
    """The bytes of the file of the read models."""
    return models_path(store).read_bytes()


def caught_up(log: LogReader, store: Path, *more: Projection[Any]) -> None:
    with ReadModels.open(store, [Runs(), RunReport(), SEARCH, *more]) as models:
        models.catch_up(log)


def test_nothing_is_written_that_was_read_before_it_was_erased(store: Path) -> None:
    run, seq, text = victim_of(store)
    with Paused(store) as log:
        caught_up(log, store)
        assert text in held(store)
        models_path(store).unlink()

        log.meanwhile = lambda: erased_for_good(store, run, seq)
        caught_up(log, store)

        assert log.meanwhile is None
        assert text not in held(store)
        with ReadModels.open(store, [RunReport()]) as models:
            assert models.get(RunReport(), run) == state_at(log, RunReport(), f"run/{run}").state
            assert models.catch_up(log) == 0


def test_nor_in_the_words_of_what_could_not_be_folded(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seq, text = victim_of(store)
    with LogReader(store) as log:
        caught_up(log, store, Stumbling())
        assert text in held(store)
        models_path(store).unlink()

        with ReadModels.open(store, [Stumbling()]) as models:
            park, given = models._park, list[Any]()

            def slow(*told: Any) -> bool:
                if not given:
                    erased_for_good(store, run, seq)
                given.append(told)
                return park(*told)

            monkeypatch.setattr(models, "_park", slow)
            models.catch_up(log)
            assert given

        assert text not in held(store)


def test_no_snapshot_is_kept_that_was_read_before_it_was_erased(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(as_of, "EVERY_EVENTS", 1)
    run, seq, _ = victim_of(store)
    stream = f"run/{run}"
    with Paused(store) as log:
        log.meanwhile = lambda: erased_for_good(store, run, seq)
        with AsOf(log) as answers:
            answers.state(RunReport(), stream)

            assert log.meanwhile is None
            db = sqlite.connect(models_path(store))
            assert db.execute("select count(*) from snapshot").fetchone() == (0,)
            db.close()
            assert answers.state(RunReport(), stream).state == state_at(log, RunReport(), stream).state
