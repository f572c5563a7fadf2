"""What the index answers as of a position is what a naive look at every event up to there comes to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playhead.log.reader import LogReader
from playhead_projections.search.fields import RUN
from playhead_projections.search.index import Index, index_of
from playhead_projections.search.language import field_named, parse
from playhead_projections.search.past import Past
from tests.projections.recorded import erase
from tests.search.expressions import NOW, Asked, expressions
from tests.search.generated import make_store
from tests.search.naive import fits, run_of

RUNS = 40
ALIVE = {"alive", "dead"}
"""Of a past nobody knows which workers lived: all did."""


class Then:
    """A log as it stood at a position, and all that can be asked of it, the slow way."""

    def __init__(self, log: LogReader, index: Index, ids: list[str], position: int) -> None:
        self.past = Past(log, index, position)
        told = {run: [event for event in log.read(f"run/{run}") if event.position <= position] for run in ids}
        self.runs = {run: run_of(events, ALIVE) for run, events in reversed(told.items()) if events}


@pytest.fixture(scope="module")
def thens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Then]]:
    path = tmp_path_factory.mktemp("past") / "runs.db"
    ids = make_store(path, seed=3, runs=RUNS)
    erase(path, ids[7], 0)  # of what is gone now, the past says nothing either
    with LogReader(path) as log, index_of(log, path) as index:
        end = log.position()
        made = [
            Then(log, index, ids, position) for position in (0, 1, *range(9, end, end // 8), end - 1, end)
        ]
        yield made
        for each in made:
            each.past.close()


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(asked=expressions, data=st.data())
def test_an_expression_finds_what_a_look_at_every_event_up_to_then_finds(
    thens: list[Then], asked: tuple[str, Asked], data: Any
) -> None:
    text, meant = asked
    then = data.draw(st.sampled_from(thens))

    found = then.past.find(parse(text, now=NOW))

    assert found == [run for run, told in then.runs.items() if fits(told, meant)], text


@pytest.mark.parametrize("field", ["persona", "started", "cost", "operations", "name"])
def test_runs_stand_in_order_wherever_they_are_answered_from(thens: list[Then], field: str) -> None:
    for then in thens:
        for descending in (False, True):
            values = {run: told[field] for run, told in then.runs.items()}
            known = [run for run in values if values[run] is not None]
            known.sort(key=lambda run: values[run], reverse=descending)
            found = then.past.find(None, sort=RUN[field], descending=descending)
            assert found == [*known, *(run for run in values if values[run] is None)]


def test_values_are_counted_wherever_they_are_answered_from(thens: list[Then]) -> None:
    for then in thens:
        found = then.past.find(None)
        counted = then.past.facets(found, *field_named("event"))
        assert counted.total() == sum(len(told["event"]) for told in then.runs.values())


def test_most_runs_are_not_folded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.db"
    ids = make_store(path, seed=3, runs=RUNS)
    folded: list[str] = []
    usual = Index.take

    def take(self: Index, log: LogReader, run: str, events: int) -> None:
        folded.append(run)
        usual(self, log, run, events)

    monkeypatch.setattr(Index, "take", take)
    with LogReader(path) as log, index_of(log, path) as index:
        first = log.positions(f"run/{ids[20]}")[0]
        with Past(log, index, first) as past:
            assert len(past.find(None)) == 21
    assert folded == [ids[20]]
