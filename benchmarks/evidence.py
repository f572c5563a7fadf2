"""What proofs over a log cost: the tree over a million events, a proof, a checkpoint, a receipt.

    python benchmarks/evidence.py [--events 1000000] [--rounds 5] [--store runs.db] [--json]

The log of a million events is made of rows that hold nothing but what the tree reads. Every figure is also
told as a ratio: how many times as long it takes as reading and hashing all digests of that log once, which is
the least that anybody must do who believes nothing. All are measured in turn in time of the processor, and
the median of all rounds is shown. With `--store`, the newest run of that store is attested as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from playhead.log.driver import sqlite
from playhead.log.proofs import LogTree, every_leaf, tree_path
from playhead.log.reader import APPLICATION_ID, FORMAT, LogReader
from playhead_projections.evidence import agents_protocol
from playhead_projections.evidence.canonical import written
from playhead_projections.evidence.gathered import gather_run
from playhead_projections.evidence.proof import first_over, proof_of

SCHEMA = Path(__file__).parents[1] / "engine" / "playhead" / "log" / "schema.sql"


def make(path: Path, events: int) -> None:
    """A log with rows that the tree reads: positions and digests. Nothing else of it is sound."""
    db = sqlite.connect(str(path))
    db.executescript(SCHEMA.read_text())
    for pragma in ("journal_mode = wal", f"application_id = {APPLICATION_ID}", f"user_version = {FORMAT}"):
        db.execute(f"pragma {pragma}")
    db.execute("insert into store values (1, 'playhead.store/1')")
    db.execute("insert into streams values (1, 'run/benchmark000', 'playhead.event/1')")

    def rows() -> Any:
        for position in range(1, events + 1):
            digest = sha256(position.to_bytes(8, "big")).digest()
            yield (position, 1, position - 1, "some.noted", 1, position, 0, "", None, None, digest, digest)

    db.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows())
    db.commit()
    db.close()


def seconds(function: Callable[[], Any]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def measured(path: Path, rounds: int) -> dict[str, float]:
    with LogReader(path) as log:
        count = log.position()

        def cold() -> None:
            tree_path(log.path).unlink(missing_ok=True)
            LogTree.of(log).root()

        steps: dict[str, Callable[[], Any]] = {
            "every digest read and hashed once": lambda: [None for _ in every_leaf(log, count)],
            "root, nothing kept": cold,
            "root, as it is signed": lambda: LogTree.of(log, shortcut=False).root(),
            "root, nodes kept": lambda: LogTree.of(log).root(),
            "inclusion proof, nodes kept": lambda: LogTree.of(log).inclusion(count // 3),
            "consistency proof, nodes kept": lambda: LogTree.of(log).consistency(count // 3),
        }
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                taken[name].append(seconds(step))
    return {name: statistics.median(times) for name, times in taken.items()}


def attested(path: Path) -> dict[str, Any]:
    with LogReader(path) as log:
        run = log.heads("run", limit=1)[0].stream.partition("/")[2]
        began = time.process_time()
        gathered = gather_run(log, run)
        assert gathered.last is not None
        folded = time.process_time()
        proof = proof_of(log, gathered, first_over(log, gathered.last.position))
        proven = time.process_time()
        data = written(agents_protocol.receipt(gathered, issuer="benchmark", proof=proof))
        ended = time.process_time()
        return {
            "events": gathered.last.seq + 1,
            "fold_s": folded - began,
            "prove_s": proven - folded,
            "write_s": ended - proven,
            "bytes": len(data),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "runs.db"
        make(path, options.events)
        found = measured(path, options.rounds)
    receipt = attested(options.store) if options.store else None
    if options.json:
        print(json.dumps({"events": options.events, "seconds": found, "receipt": receipt}, indent=2))
        return
    least = found["every digest read and hashed once"]
    print(f"a log of {options.events:,} events")
    for name, took in found.items():
        print(f"  {name:36} {took * 1000:10.1f} ms  {took / least:8.4f} times the first")
    if receipt is not None:
        print("the receipt of the newest run")
        for name, value in receipt.items():
            print(f"  {name:36} {value:,.2f}" if isinstance(value, float) else f"  {name:36} {value:,}")


if __name__ == "__main__":
    main()
