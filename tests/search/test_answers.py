"""What the index answers is what a naive look at every event comes to."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from playhead.log.reader import LogReader
from playhead_projections.search.index import SEARCH, Index, index_of
from playhead_projections.search.language import parse
from tests.search.expressions import NOW, Asked, expressions
from tests.search.generated import make_store
from tests.search.naive import fits, run_of

ALIVE = {"alive"}
RUNS = 80


class Made:
    """A store of made up runs, its index, and all that can be asked of them, the slow way."""

    def __init__(self, log: LogReader, index: Index, ids: list[str]) -> None:
        self.index = index
        self.runs: dict[str, dict[str, Any]] = {
            run: run_of(log.read(f"run/{run}"), ALIVE) for run in reversed(ids)
        }

    def find(self, text: str) -> list[str]:
        return self.index.find(parse(text, now=NOW), living=lambda worker: worker in ALIVE)

    def expected(self, asked: Asked) -> list[str]:
        return [run for run, told in self.runs.items() if fits(told, asked)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    path = tmp_path_factory.mktemp("search") / "runs.db"
    ids = make_store(path, seed=1, runs=RUNS)
    with LogReader(path) as log, index_of(log, path) as index:
        yield Made(log, index, ids)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(asked=expressions)
@example(asked=("not (tool = fetch)", ("not", ("is", "tool", (), "=", ("fetch",)))))
def test_an_expression_finds_what_a_look_at_every_event_finds(made: Made, asked: tuple[str, Asked]) -> None:
    text, meant = asked

    assert made.find(text) == made.expected(meant), text


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 32))
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    database=None,
)
@given(asked=expressions)
def test_of_many_stores(
    tmp_path_factory: pytest.TempPathFactory, seed: int, asked: tuple[str, Asked]
) -> None:
    text, meant = asked

    made = _of_seed(tmp_path_factory, seed)

    assert made.find(text) == made.expected(meant), text


_made: dict[int, Made] = {}


def _of_seed(factory: pytest.TempPathFactory, seed: int) -> Made:
    if seed not in _made:
        path = factory.mktemp("search") / "runs.db"
        ids = make_store(path, seed=seed, runs=RUNS)
        log = LogReader(path)
        index = Index.open(path, [SEARCH])
        index.catch_up(log)
        _made[seed] = Made(log, index, ids)
    return _made[seed]
