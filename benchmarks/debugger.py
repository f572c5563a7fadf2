"""What it takes to be at an event of a long run, and to take one step back: `python benchmarks/debugger.py`.

A run of 100,000 events is recorded once, or taken from the store that is named. Then `playhead debug` is
started as a person would, on a terminal, and timed from the outside: to the prompt at event 90,000, and from
`back` to the next prompt, 20 times in a row. Beside it stands one plain `playhead replay` of the whole tape,
in a process of its own, and everything is said as a ratio to that.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "engine"), str(ROOT / "projections")]

from tests.long_run import recorded  # noqa: E402
from tests.replay.debugging import debugging  # noqa: E402

EVENTS = 100_000
EVENT = 90_000
STEPS = 20
ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "runs.db"
        if len(sys.argv) > 1:
            store = Path(sys.argv[1])
        else:
            recorded(store, EVENTS)
        reached, back, far, plain = [], [], [], []
        for _ in range(ROUNDS):
            plain.append(replayed(store))
            began = time.perf_counter()
            with debugging(ROOT, "--store", str(store), f"@@{EVENT}", "tests/long_run.py") as terminal:
                assert f"event {EVENT} of" in terminal.said
                reached.append(time.perf_counter() - began)
                for _ in range(STEPS):
                    began = time.perf_counter()
                    terminal.say("back")
                    back.append(time.perf_counter() - began)
                began = time.perf_counter()
                terminal.say(f"to {EVENT // 2}")
                far.append(time.perf_counter() - began)
                terminal.close()
    whole = min(plain)
    print(f"a plain replay of {EVENTS:,} events   {whole:6.2f} s   1")
    for name, found in (
        (f"to the prompt at event {EVENT:,}", min(reached)),
        ("one step back, median", statistics.median(back)),
        ("one step back, slowest", max(back)),
        (f"back to event {EVENT // 2:,}", min(far)),
    ):
        print(f"{name:<35} {found:6.2f} s   {found / whole:.3f}")


def replayed(store: Path) -> float:
    code = "from playhead_projections.cli import main; import sys; main(sys.argv[1:])"
    paths = os.pathsep.join(sys.path[:3])
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, "--store", str(store), "replay", "@", "--program", "tests/long_run.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
