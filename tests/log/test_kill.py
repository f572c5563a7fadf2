"""What was acknowledged survives SIGKILL at any moment, and no batch is ever torn.

Writers say on a pipe what was acknowledged; they are killed at random moments; then the log is read.
The control acknowledges before the commit, and has to lose something: a harness that cannot fail proves
nothing.
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from random import Random
from subprocess import Popen

import pytest

from playhead.log.reader import LogReader
from playhead.log.verify import verify
from tests.log.store_helpers import child

WRITE = """
import asyncio, os, sys
from playhead.log.envelope import Append, Appended, NewEvent
from playhead.log.sqlite_store import SqliteStore

path, stream, early = sys.argv[1], sys.argv[2], sys.argv[3] == "early"
BATCH = 3

async def main():
    async with SqliteStore.open(path) as store:
        seq = (await store.head(stream)).seq
        finished = asyncio.get_running_loop().create_future()

        def say(append):
            os.write(1, f"{append.expected}\\n".encode())

        def done(append):
            assert isinstance(append.outcome, Appended), append.outcome
            if not early:
                say(append)
            submit(append.outcome.next_seq)

        def submit(seq):
            events = [NewEvent("t", 1, 0, "", None, f"{seq}.{n}".encode() * 40) for n in range(BATCH)]
            append = Append(stream, seq, events, append_id=seq.to_bytes(16, "big"), done=done)
            store.submit(append)
            if early:
                say(append)

        submit(seq)
        await finished

asyncio.run(main())
"""


class Acknowledged:
    """The last place in each stream whose append was acknowledged on a pipe."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}

    def take(self, stream: str, process: Popen[str]) -> None:
        assert process.stdout is not None
        lines = process.stdout.read().split("\n")[:-1]  # a line that was cut off acknowledges nothing
        if lines:
            self.last[stream] = max(self.last.get(stream, -1), int(lines[-1]))


def killed_once(path: Path, chance: Random, said: Acknowledged, how: str) -> None:
    """Two writers, killed one after the other at random moments."""
    writers = {f"run/{name}": child(WRITE, path, f"run/{name}", how) for name in "ab"}
    for process in writers.values():  # a writer that has not begun cannot be caught at it
        assert process.stdout is not None
        select.select([process.stdout], [], [], 10)
    for stream, process in writers.items():
        time.sleep(chance.uniform(0, 0.06))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        said.take(stream, process)
        for pipe in (process.stdout, process.stdin):
            assert pipe is not None
            pipe.close()


def lost(path: Path, said: Acknowledged) -> int:
    """How many acknowledged batches are not there. Checks that no batch is torn and the chain verifies."""
    missing = 0
    with LogReader(path) as log:
        for stream, last in said.last.items():
            head = log.head(stream).seq
            assert head % 3 == 0
            missing += max(0, (last + 3 - head) // 3)
            for found in log.scan(stream, max(0, head - 300)):
                assert found.payload == f"{found.seq - found.seq % 3}.{found.seq % 3}".encode() * 40
    verified = verify(path)
    assert verified.ok, verified.faults
    return missing


def rounds(path: Path, kills: int, how: str, *, seed: int) -> tuple[int, int]:
    chance, said, missing = Random(seed), Acknowledged(), 0
    for _ in range(kills // 2):
        killed_once(path, chance, said, how)
        missing += lost(path, said)
        if how == "early":
            said.last.clear()
    return missing, sum(said.last.values())


def test_nothing_acknowledged_is_lost_by_killing(path: Path) -> None:
    missing, written = rounds(path, 60, "late", seed=60)

    assert missing == 0
    assert written > 500


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_lost_by_killing_for_long(path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    missing = 0
    for part in range(20):
        missing += rounds(path.with_name(f"{part}.db"), 100, "late", seed=seed + part)[0]

    assert missing == 0, f"seed {seed}"


def test_control_acknowledging_before_the_commit_loses_something(path: Path) -> None:
    for seed in range(20):
        if rounds(path, 6, "early", seed=seed)[0]:
            return
    pytest.fail("the harness cannot see a loss")
