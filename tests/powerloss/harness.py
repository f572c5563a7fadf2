"""One process of the power loss test: record a workload, take the power away many times, look at the rest.

    python -m tests.powerloss.harness RECORDER DIRECTORY full|os|off SEED STATES

Prints one JSON object: how many states, and what was wrong in which. Every number is drawn from the seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from playhead.clock import SystemClock
from playhead.log.driver import connect_reader, connect_writer
from playhead.log.envelope import Append, Appended, NewEvent
from playhead.log.filelock import FileLock, WorkerFiles
from playhead.log.migrations import prepare
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from playhead.log.writer import Writer
from tests.powerloss import workload
from tests.powerloss.states import Call, State, read_trace, states

STATES_PER_WORKLOAD = 125
APPENDS = 40
EVERY_NTH_THROUGH_THE_STORE = 20
AFTER = "run/after"
EVENT = NewEvent("value.recorded", 1, 0, "", None, b"\x80")


def record(recorder: str, directory: Path, durability: str, seed: int) -> list[Call]:
    """Run the workload in `directory` and return what it asked of the disk."""
    watched, trace = directory / "watched", directory / "trace"
    watched.mkdir()
    arguments = [watched, durability, seed, APPENDS]
    subprocess.run(
        [sys.executable, workload.__file__, *map(str, arguments)],
        check=True,
        env=os.environ
        | {
            "LD_PRELOAD": recorder,
            "RECORDER_DIR": str(watched),
            "RECORDER_TRACE": str(trace),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
    )
    return read_trace(trace, watched)


class Truth:
    """What the workload wrote in the end: every state must be a beginning of it."""

    def __init__(self, store: Path, calls: list[Call]) -> None:
        self.digests: list[bytes] = []
        self.end_of: dict[int, int] = {}
        db = connect_reader(store)
        rows = db.execute(
            "select digest, coalesce(p.bytes, b.bytes) from events join payloads p using (position)"
            " left join blobs b on b.address = p.blob order by position"
        )
        for digest, payload in rows:
            self.digests.append(digest)
            self.end_of[json.loads(payload)[0]] = len(self.digests)
        db.close()
        self.ends = {0, *self.end_of.values()}
        self.acks = [int(call.data) for call in calls if call.what == "W" and call.name == workload.ACKS]

    def broken(self, state: State, found: list[bytes], durability: str) -> str:
        """What is wrong with the events that a state holds, or ""."""
        if found != self.digests[: len(found)]:
            return "not a prefix"
        if len(found) not in self.ends:
            return "a torn append"
        acknowledged = self.acks[: state.acknowledged]
        lost = [batch for batch in acknowledged if self.end_of[batch] > len(found)]
        return f"acknowledged appends lost: {len(lost)}" if lost and durability != "os" else ""


def append_as_the_writer(path: Path) -> None:
    """One more append with the store's own writer, without its thread and loop: a tenth of the time."""
    append = Append(AFTER, 0, [EVENT], append_id=bytes(16))
    with closing(FileLock(path.with_name(path.name + "-lock"))) as lock:
        assert lock.acquire(1.0)
        with closing(connect_writer(path, create=True)) as db:
            prepare(db, path)
        lock.release()
        writer = Writer(
            path,
            clock=SystemClock(),
            lock=lock,
            workers=WorkerFiles(path),
            durability="full",
            busy_budget_s=1.0,
            lease_ttl_ns=10**9,
        )
        with closing(writer.connect()) as connection:
            writer.queue.append((append, 1))
            connection.commit()
    if not isinstance(append.outcome, Appended):
        raise append.outcome or AssertionError("no outcome")


async def append_through_the_store(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(AFTER, 0, [EVENT])


def look_at(state: State, directory: Path, truth: Truth, durability: str, number: int) -> str:
    """What is wrong with a state, or "". Opens it as a user would, and appends once more."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in state.files.items():
        (directory / name).write_bytes(content)
    path = directory / workload.STORE
    try:
        if number % EVERY_NTH_THROUGH_THE_STORE == 0 or not state.acknowledged:
            asyncio.run(append_through_the_store(path))
        else:
            append_as_the_writer(path)
        with closing(connect_reader(path)) as db:
            found = [row[0] for row in db.execute("select digest from events order by position")]
        # Without a sync, an anchor can outlive the events that it names; it then says so, and is right.
        verification = verify(path, anchors=() if durability == "os" else None)
    except Exception as error:  # noqa: BLE001  (whatever it is, it goes into the report)
        return f"unusable: {type(error).__name__}: {error}"
    return truth.broken(state, found[:-1], durability) or "".join(
        f"does not verify: {fault}" for fault in verification.faults[:1]
    )


def run(recorder: str, directory: Path, durability: str, seed: int, count: int) -> dict[str, Any]:
    """Look at `count` states of as many workloads as that takes."""
    looked = 0
    wrong: list[str] = []
    kinds: Counter[str] = Counter()
    while looked < count:
        place = directory / f"{seed}-{looked}"
        place.mkdir()
        calls = record(recorder, place, durability, seed * 1_000_003 + looked)
        truth = Truth(place / "watched" / workload.STORE, calls)
        chance = Random(f"{seed}/{looked}")
        for state in states(calls, min(STATES_PER_WORKLOAD, count - looked), chance):
            said = look_at(state, place / "state", truth, durability, looked)
            if said:
                kinds[said.split(":")[0]] += 1
                wrong.append(f"seed {seed}, state {looked}, after {state.calls} calls ({state.how}): {said}")
            looked += 1
        shutil.rmtree(place)
    return {"states": looked, "wrong": wrong[:20], "kinds": dict(kinds), "count": len(wrong)}


if __name__ == "__main__":
    recorder_, directory_, durability_, seed_, count_ = sys.argv[1:]
    print(json.dumps(run(recorder_, Path(directory_), durability_, int(seed_), int(count_))))  # noqa: T201
