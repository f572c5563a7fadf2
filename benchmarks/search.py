"""What searching costs: the index for each event, and questions against a scan of every event.

    python benchmarks/search.py [--events 100000] [--json]

Two stores of as many events: one run, and many runs of ten events. A question is asked of the index once it
is caught up; beside it stands what it takes to read and decode every event and to look at each, which is what
the same answer costs without an index. The ratio is what counts: both are measured in one process, in time of
the processor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact, Failure
from playhead.events.words import Usage
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead_projections.projector import ReadModels, models_path
from playhead_projections.runs import Runs
from playhead_projections.search.grep import Pattern, Scan
from playhead_projections.search.index import Index, index_of
from playhead_projections.search.language import parse

STARTED_NS = 1_700_000_000_000_000_000
SHORT = 10
BATCH = 10_000
TIMES = 5
QUESTIONS = {
    "one value of an argument": 'tool = fetch and args.url = "pages/{middle}"',
    "a text of one call": '"say something of page {middle}."',
    "a text in every run": '"say something"',
    "an error by its text": 'error ~ "page {failed} is gone"',
    "status and cost": "status = completed and cost > $1",
    "a path in every part": "args.url ~ nowhere",
    "two letters": '"zq"',
    "none of them": "not tool = fetch",
}


def raw(value: object) -> Raw:
    return Raw(msgspec.msgpack.encode(value))


def told(count: int, *, per_run: int) -> list[list[NewEvent]]:
    """`count` events in runs of `per_run` each."""
    runs: list[list[NewEvent]] = []
    for first in range(0, count, per_run):
        at = STARTED_NS + first * 1_000_000
        begun = facts.RunStarted(
            persona="p", args=raw({"n": first}), args_digest="", mode="strict", seed=bytes(16)
        )
        events: list[tuple[str, Fact]] = [("", begun)]
        for n in range(first, first + per_run - 2, 4):
            events += _page(n)
        events.append(("", facts.RunCompleted(result=raw(None))))
        runs.append([CATALOG.new_event(fact, at=at + n, op=op) for n, (op, fact) in enumerate(events)])
    return runs


def _page(n: int) -> list[tuple[str, Fact]]:
    """A page that is fetched, and something that a model says of it."""
    fetch, ask = f"0/fetch#{n}", f"0/oracle#{n}"
    gone = Failure(type="LookupError", message=f"page {n} is gone")
    answered = facts.ModelAnswered(
        reply=raw({"text": f"a page like {n % 7}"}),
        usage=Usage(input_tokens=20, output_tokens=5),
        cost_micros=60,
    )
    return [
        (fetch, facts.ToolRequested(tool="fetch", args=raw({"url": f"pages/{n}"}), effect="read_only")),
        (
            fetch,
            facts.ToolFailed(failure=gone)
            if n % 100 == 4
            else facts.ToolCompleted(result=raw({"words": n % 900})),
        ),
        (
            ask,
            facts.ModelCalled(
                client="oracle", model=None, request=raw({"prompt": f"say something of page {n}."})
            ),
        ),
        (ask, answered),
    ]


def fill(path: Path, count: int, *, per_run: int) -> None:
    async def go() -> None:
        async with SqliteStore.open(path) as store:
            for number, events in enumerate(told(count, per_run=per_run)):
                for first in range(0, len(events), BATCH):
                    await store.append(f"run/r{number:011}", first, events[first : first + BATCH])

    asyncio.run(go())


def spent(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def scanned(log: LogReader) -> int:
    """Read and decode every event, and look at what each says: what an answer costs without an index."""
    found, after = 0, 0
    while page := log.feed(after):
        for event in page:
            said = CATALOG.decode(event)
            found += isinstance(said, facts.ToolRequested) and msgspec.msgpack.decode(said.args) == {
                "url": ""
            }
        after = page[-1].position
    return found


def grepped(log: LogReader) -> int:
    scan = Scan(Pattern("nowhere to be found"))
    return sum(1 for s in log.streams("run", limit=10**9) for _ in scan.over(log.scan(s)))


def asked(index: Index, text: str) -> tuple[float, int]:
    """The median time that an answer takes, and how many runs it names."""
    node = parse(text, now=STARTED_NS)
    found = index.find(node, living=bool)
    times = [spent(lambda: index.find(node, living=bool)) for _ in range(TIMES)]
    return statistics.median(times), len(found)


def measured(count: int, *, per_run: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "runs.db"
        fill(path, count, per_run=per_run)
        with LogReader(path) as log:
            events = log.count()
            scan = statistics.median(spent(lambda: scanned(log)) for _ in range(3))

            def list_runs() -> None:
                with ReadModels.open(path, [Runs()], path=path.with_name("list")) as models:
                    models.catch_up(log)

            listing = spent(list_runs)

            def catch_up() -> None:
                with index_of(log, path):
                    pass

            folding, again = spent(catch_up), spent(catch_up)
            with index_of(log, path) as index:
                assert index.full_text
                middle = events // 2 // per_run * per_run if per_run == SHORT else 40_000 * count // 100_000
                names = {"middle": middle, "failed": middle + 4 - middle % 100 if per_run != SHORT else 4}
                answers = {what: asked(index, text.format(**names)) for what, text in QUESTIONS.items()}
                rebuilt = spent(lambda: index.rebuild(log))
            grep = spent(lambda: grepped(log))
            size = models_path(path).stat().st_size / events
        return {
            "index": {
                "microseconds per event": folding / events * 1e6,
                "times reading and decoding all": folding / scan,
                "times the list of runs": folding / listing,
                "rebuilt, times reading and decoding all": rebuilt / scan,
                "caught up with nothing new, ms": again * 1e3,
                "bytes per event": size,
                "bytes per event of the log": path.stat().st_size / events,
            },
            "answers: ms": {what: took * 1e3 for what, (took, _) in answers.items()},
            "answers: runs found": {what: float(found) for what, (_, found) in answers.items()},
            "answers: times as fast as a scan": {what: scan / took for what, (took, _) in answers.items()},
            "scan": {"all events, ms": scan * 1e3, "log --grep, times that": grep / scan},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print one document")
    options = parser.parse_args()
    figures = {
        "one run": measured(options.events, per_run=options.events),
        f"{options.events // SHORT:,} runs": measured(options.events, per_run=SHORT),
    }
    if options.json:
        print(json.dumps({"schema": "playhead.benchmark/1", "figures": figures}, indent=2))
        return
    for what, groups in figures.items():
        print(f"\n{what}, {options.events:,} events")
        for group, numbers in groups.items():
            print(f"  {group}")
            for name, number in numbers.items():
                print(f"    {name:48}{number:14,.2f}")


if __name__ == "__main__":
    main()
