"""A process that has imported everything and opened nothing, and forks workers to be killed.

Reads jobs, one JSON object a line, and answers each with one line:

    {"place": "...", "seed": 7, "kills": 12, "control": "", "expected": {}}
    {"kills": 11, "doubts": 4, "faults": [], "results": {"0": "..."}}
"""

import asyncio
import gc
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

import structlog

from tests.crashes.checker import check
from tests.crashes.worker import live
from tests.crashes.workload import testimony

FINISH_S = 40.0
LIFE_S_MIN = 0.01
LIFE_S_MAX = 0.16


def fork(work: Any) -> int:
    """Run `work()` in a child; its exit code is 0, or 1 with a traceback on stderr."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        work()
    except BaseException:  # noqa: BLE001
        traceback.print_exc(limit=-4)
        code = 1
    sys.stderr.flush()
    os._exit(code)


def ended(pid: int, within_s: float) -> int | None:
    """The wait status of `pid`, or None when it still runs after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Job:
    """One store: lives that are killed, one that may finish, and the verdict."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.place = Path(job["place"])
        self.random = Random(f"crash {job['seed']}")
        self.kills_max = job["kills"]
        self.control = job["control"]
        self.expected = job["expected"]
        self.kills = 0
        self.doubts = 0
        self.faults: list[str] = []

    def life(self) -> int:
        # Some runs leave memory while they wait.
        suspend_after_s = self.random.choice([0.0, 0.01, 5.0])
        return fork(
            lambda: asyncio.run(live(self.place, control=self.control, suspend_after_s=suspend_after_s))
        )

    def run(self) -> dict[str, Any]:
        while self.kills < self.kills_max:
            # Now and then a second process looks at the same store and wants the same runs.
            pids = [self.life() for _ in range(2 if self.control or self.random.random() < 0.25 else 1)]
            done = False
            for pid in pids:
                status = ended(pid, self.random.uniform(LIFE_S_MIN, LIFE_S_MAX))
                if status is None:
                    kill(pid)
                    self.kills += 1
                elif status:
                    self.faults.append(f"a worker failed with status {status}")
                else:
                    done = True
            if done or self.faults:
                break
        self.finish()
        return {
            "kills": self.kills,
            "doubts": self.doubts,
            "faults": self.faults,
            "results": self.results(),
        }

    def finish(self) -> None:
        pid = self.life()
        status = ended(pid, FINISH_S)
        if status is None:
            kill(pid)
            self.faults.append(f"the runs had not ended after {FINISH_S} s")
        elif status:
            self.faults.append(f"the last worker failed with status {status}")
        verdict = self.place / "verdict"
        checker = fork(lambda: verdict.write_text(json.dumps(check(self.place, self.expected))))
        if os.waitpid(checker, 0)[1]:
            self.faults.append("the checker failed")
        else:
            faults, self.doubts = json.loads(verdict.read_text())
            self.faults += faults

    def results(self) -> dict[str, str]:
        return dict(testimony(self.place / "results"))


def main() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    gc.freeze()
    for line in sys.stdin:
        answer = Job(json.loads(line)).run()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
