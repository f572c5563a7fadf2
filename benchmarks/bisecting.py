"""What it takes to find the one answer that makes a long run bad: `python benchmarks/bisecting.py [EVENTS]`.

Two runs of so many events are recorded, 20,000 without a word: in the second one every receipt says something
else, and one ward cannot be published. Then `playhead bisect` is asked what made it bad, in this process.
Beside it stands a plain replay of the good run, and everything is said as a ratio to that: the whole search,
and each of the runs that it imagined.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "engine"), str(ROOT / "projections")]

from playhead.errors import RunFailed  # noqa: E402
from playhead.log.reader import LogReader  # noqa: E402
from playhead.replay.bisect import bisect  # noqa: E402
from playhead.replay.judging import by_ending  # noqa: E402
from playhead.replay.mixing import Pair  # noqa: E402
from playhead.replay.player import on_tape, play  # noqa: E402
from playhead.runtime.tape import Tape  # noqa: E402
from tests import long_run  # noqa: E402

EVENTS = 20_000
ROUNDS = 3


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with tempfile.TemporaryDirectory() as scratch:
        good, bad = both(Path(scratch) / "runs.db", events)
    oracle = long_run.Oracle()
    plain: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        assert play(good, long_run.survey_wards, model=oracle).identical
        plain.append(time.perf_counter() - began)
    pair = Pair(good, bad, long_run.survey_wards, on_tape(None, oracle, None, None))
    began = time.perf_counter()
    found = bisect(pair, by_ending(good, bad))
    took = time.perf_counter() - began
    (culprit,) = found.culprits
    assert culprit.name.endswith("/publish#0")
    whole = min(plain)
    print(f"a replay of the good run, {len(good.events):,} events  {whole:7.2f} s    1.0")
    print(
        f"the one answer among {len(found.suspects):,}, {found.tests} runs imagined"
        f"  {took:7.2f} s  {took / whole:5.1f}"
    )
    print(f"each of these runs, on average  {took / found.tests:7.2f} s  {took / found.tests / whole:5.1f}")


def both(store: Path, events: int) -> tuple[Tape, Tape]:
    """A good run of so many events, and one that fails."""
    long_run.recorded(store, events)
    long_run.EDITION[0] = "second edition, "
    long_run.BROKEN.add(events // long_run.EVENTS_PER_WARD // 3)
    with suppress(RunFailed):
        long_run.recorded(store, events)
    with LogReader(store) as log:
        first, second = log.streams("run")
        return tape_of(log, first), tape_of(log, second)


def tape_of(log: LogReader, stream: str) -> Tape:
    return Tape(stream.removeprefix("run/"), list(log.scan(stream)))


if __name__ == "__main__":
    main()
