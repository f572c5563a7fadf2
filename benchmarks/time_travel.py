"""How long it takes to say how things stood at any event of a long run, and to build read models again.

    python benchmarks/time_travel.py [--events 100000] [--asked 1000] [--rebuilt 500000] [--json]

A run of that length is recorded in a temporary directory. Then its report, its receipts, the state that it
kept, the trust records that it left, and where the log stood at a time are asked for as of random events, in
one process that was asked before. Told are the median and the 95th percentile, and how many times as long a
fold from zero to the same event takes, measured in turn at a part of them; and what the first answer takes,
without any snapshot, and in a process that finds them.

Then a store of several such runs is rebuilt by one process and by two, and held against a fresh fold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from playhead.agent_state.keys import Place
from playhead.log.reader import LogReader
from playhead.trust.book import Filters, query
from playhead_projections.as_of import AsOf, state_at
from playhead_projections.inbox import Inbox
from playhead_projections.moments import Moments
from playhead_projections.projection import Projection
from playhead_projections.projector import ReadModels, models_path
from playhead_projections.proving import prove
from playhead_projections.rebuilding import rebuild
from playhead_projections.receipts import Receipts
from playhead_projections.reports.fold import Reports
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from playhead_projections.state_at import fold_all, keys_at
from playhead_projections.timeline import Timeline
from playhead_projections.trust_graph.graph import TrustGraph, chain_of
from playhead_projections.trust_graph.kept import kept_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.long_run import recorded

FOLDED = 15
"""At so many of the events a fold from zero is timed as well."""
NEWEST = Filters(agent="survey_wards", limit=100)

Answer = Callable[[int, int], object]
"""What is asked, with the event of the run and its position."""


def waited(work: Callable[[], object]) -> float:
    """Milliseconds of the processor: a machine is busier at some minutes than at others."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def measured(log: LogReader, stream: str, ask: Answer, fold: Answer, seqs: list[int]) -> dict[str, float]:
    """Milliseconds: median and 95th percentile of the answers, and of folds from zero beside them."""
    took: list[float] = []
    ratios: list[float] = []
    for number, seq in enumerate(seqs):
        position = log.positions(stream, seq, 1)[0]
        took.append(waited(partial(ask, seq, position)))
        if number % (len(seqs) // FOLDED or 1) == 0:
            ratios.append(waited(partial(fold, seq, position)) / took[-1])
    return {
        "median ms": statistics.median(took),
        "p95 ms": statistics.quantiles(took, n=20)[-1],
        "a fold takes, times": statistics.median(ratios),
    }


def of_run(log: LogReader, projection: Projection[Any], seqs: list[int]) -> dict[str, float]:
    """What one projection of the run takes."""
    stream = log.streams("run")[0]
    with AsOf(log) as answers:
        first = waited(lambda: answers.state(projection, stream))
    with AsOf(log) as answers:
        again = waited(lambda: answers.state(projection, stream))

        def ask(seq: int, _: int) -> object:
            return answers.state(projection, stream, seq)

        def fold(seq: int, _: int) -> object:
            return state_at(log, projection, stream, seq)

        told = measured(log, stream, ask, fold, seqs)
    return {**told, "first ms": first, "first with snapshots ms": again}


def answered(store: Path, asked: int) -> dict[str, dict[str, float]]:
    told: dict[str, dict[str, float]] = {}
    with LogReader(store) as log:
        stream = log.streams("run")[0]
        end = log.head(stream).seq
        seqs = Random(7).sample(range(end), min(asked, end))
        of_runs: list[Projection[Any]] = [Reports(), RunReport(), Receipts(), Timeline(), Runs()]
        for projection in of_runs:
            told[projection.name] = of_run(log, projection, seqs)
        place = Place.of("survey", "wards")
        told["state at"] = measured(
            log,
            stream,
            lambda _, position: keys_at(log, place, position),
            lambda _, position: fold_all(log, position),
            seqs,
        )
        times = {position: log.at(position).at for seq in seqs for position in log.positions(stream, seq, 1)}
        with Moments(log) as moments:
            told["position"] = measured(
                log,
                stream,
                lambda _, position: moments.position_at(times[position]),
                lambda _, position: log.position_at(times[position]),
                seqs,
            )
        with kept_of(log, store) as kept:
            told["trust"] = measured(
                log,
                stream,
                lambda _, position: kept.find(NEWEST, last=kept.last_at(position)),
                lambda _, position: query(list(chain_of(log, position)), NEWEST),
                seqs,
            )
    return told


def rebuilt(store: Path) -> dict[str, float]:
    """Seconds, by one process and by two, and of a proof that wrote nothing.

    Of two processes the one that took longer counts, in time of the processor: so long it takes where each
    has a processor to itself.
    """
    told: dict[str, float] = {}
    every: list[Projection[Any]] = [Runs(), RunReport(), Receipts(), Inbox(), TrustGraph()]
    contents: list[Any] = []
    with LogReader(store) as log:
        told["events"] = log.count()
        for processes in (1, 2):
            with ReadModels.open(store, every) as models:
                told[f"by {processes}, s"] = longest(partial(rebuild, models, log, processes=processes))
                contents.append([models.contents(each.name) for each in every])
        for processes in (1, 2):
            work = partial(prove, log, models_path(store), every, processes=processes)
            told[f"verify by {processes}, s"] = longest(work)
    assert contents[0] == contents[1]
    told["by two is faster, times"] = told["by 1, s"] / told["by 2, s"]
    return told


def longest(work: Callable[[], object]) -> float:
    """Seconds of the processor that this process took, or its child, whichever took more."""
    before = os.times()
    work()
    after = os.times()
    here = after.user + after.system - before.user - before.system
    there = after.children_user + after.children_system - before.children_user - before.children_system
    return max(here, there)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--asked", type=int, default=1_000)
    parser.add_argument("--rebuilt", type=int, default=500_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "runs.db"
        recorded(store, given.events)
        found: dict[str, Any] = {"as of": answered(store, given.asked)}
        while _count(store) < given.rebuilt:
            recorded(store, given.events)
        found["rebuild"] = rebuilt(store)
    if given.json:
        print(json.dumps(found))
        return
    for name, told in found["as of"].items():
        print(f"{name:12} " + "  ".join(f"{what} {value:,.1f}" for what, value in told.items()))
    print("rebuild      " + "  ".join(f"{what} {value:,.1f}" for what, value in found["rebuild"].items()))


def _count(store: Path) -> int:
    with LogReader(store) as log:
        return log.count()


if __name__ == "__main__":
    main()
