"""What runs while the recorder watches: appends of all kinds, each acknowledged in a file of its own.

    python workload.py DIRECTORY full|os|off SEED APPENDS

A line in `acks` is written after `append` has returned, and stands in the same trace as the store's own
writes; so "acknowledged before the power went" is exact.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from random import Random

from playhead.clock import SystemClock
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore

STORE = "store.db"
ACKS = "acks"
STREAMS = ("run/a", "run/b", "mailbox/a", "state/k")
CHECKPOINT_FRAMES = 40


class Acks:
    """Written without a buffer: the write is in the trace when `say` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def say(self, batch: int) -> None:
        os.write(self._file, b"%d\n" % batch)


def batch_events(batch: int, chance: Random) -> list[NewEvent]:
    """The events of a batch: each says which batch it is of, and how many there are."""
    count = chance.choice((1, 1, 1, 2, 3, 12))
    size = chance.choice((0, 10, 200, 3000)) if chance.random() < 0.97 else 70_000
    return [
        NewEvent(
            "value.recorded",
            1,
            batch,
            "0/step#0",
            None,
            json.dumps([batch, number, count, "x" * size]).encode(),
        )
        for number in range(count)
    ]


async def one_stream(store: SqliteStore, acks: Acks, stream: str, batches: list[int], seed: int) -> None:
    expected = 0
    for batch in batches:
        chance = Random(f"{seed}/{batch}")
        events = batch_events(batch, chance)
        landed = await store.append(stream, expected, events, anchor=chance.random() < 0.1)
        acks.say(batch)
        expected = landed.next_seq


async def work(directory: Path, durability: str, seed: int, appends: int) -> None:
    acks = Acks(directory / ACKS)
    async with SqliteStore.open(
        directory / STORE, clock=SystemClock(), durability="os" if durability == "os" else "full"
    ) as store:
        committer = store._committer
        assert committer is not None
        committer.writer._checkpoint_frames = CHECKPOINT_FRAMES
        if durability == "off":
            committer.writer._db.execute("pragma synchronous = off")
        # Half of it one after another, half at once, so that groups of one and of many are there.
        half = appends // 2
        await one_stream(store, acks, "run/alone", list(range(half)), seed)
        rest = list(range(half, appends))
        await asyncio.gather(
            *(
                one_stream(store, acks, stream, rest[number :: len(STREAMS)], seed)
                for number, stream in enumerate(STREAMS)
            )
        )


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
