"""What the index answers is what a naive look at every event comes to."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from playhead.log.reader import LogReader
from playhead_projections.search.index import SEARCH, Index, index_of
from playhead_projections.search.language import parse
from tests.search.expressions import NOW, Asked, expressions
from tests.search.generated import make_store
from tests.search.naive import fits, run_of

ALIVE = {"alive"}
RUNS = 120


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
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(asked=expressions)
def test_an_expression_finds_what_a_look_at_every_event_finds(made: Made, asked: tuple[str, Asked]) -> None:
    text, meant = asked

    assert made.find(text) == made.expected(meant), text


NULLS = (("args", ("x",)), ("args", ("n",)), ("args", ("url",)), ("result", ()))
# What chance comes to rarely.
RARE: tuple[tuple[str, Asked], ...] = (
    ("not (tool = fetch)", ("not", ("is", "tool", (), "=", ("fetch",)))),
    ("not name = publish", ("not", ("is", "name", (), "=", ("publish",)))),
    ("not name != publish", ("not", ("is", "name", (), "!=", ("publish",)))),
    (
        "args.x = null or args.n = null or args.url = null or result = null",
        ("or", *(("is", *place, "=", (None,)) for place in NULLS)),
    ),
    ("args.x = true", ("is", "args", ("x",), "=", (True,))),
    ("args.n = 1 or args.x = 1", ("or", *(("is", "args", (name,), "=", (1,)) for name in ("n", "x")))),
    ("args.x != 1", ("is", "args", ("x",), "!=", (1,))),
    ("args.url = [z]", ("is", "args", ("url",), "=", ("[z]",))),
    ("args.url = [z]*", ("is", "args", ("url",), "=", (("glob", "[z]*"),))),
    (
        "op(kind = signal and result exists)",
        ("op", ("and", ("is", "kind", (), "=", ("signal",)), ("is", "result", (), "exists", ()))),
    ),
    ("op(input_tokens exists)", ("op", ("is", "input_tokens", (), "exists", ()))),
    ("op(tokens > 10M)", ("op", ("is", "tokens", (), ">", (10_000_000,)))),
    ("op(cost > $1000000)", ("op", ("is", "cost", (), ">", (10**12,)))),
    (
        "op(kind = approval and 'publish')",
        ("op", ("and", ("is", "kind", (), "=", ("approval",)), ("has", "publish"))),
    ),
    ("status = interrupted or status = diverged", ("is", "status", (), "in", ("interrupted", "diverged"))),
)


@pytest.mark.parametrize(("text", "meant"), RARE, ids=[text for text, _ in RARE])
def test_what_is_rare_is_found_as_well(made: Made, text: str, meant: Asked) -> None:
    expected = made.expected(meant)

    assert made.find(text) == expected
    assert expected or ">" in text


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
