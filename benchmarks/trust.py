"""How fast a chain of trust records is verified, and what half a million of them cost in a store.

    python benchmarks/trust.py [--records 200000] [--rounds 5] [--stored 500000] [--json]

A machine is busier at some minutes than at others, so every figure is also told as a ratio: how many times
as long it takes as hashing the canonical forms of the same records and nothing else. Both are measured in
turn, in time of the processor, and the median of all rounds is shown.

Then a store is filled with records of a hundred agents, every second one with an approval in it. Told are
what an append costs in a new store and in the full one, what folding them in takes, and how long answers are
waited for once they were asked for before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from playhead.events.autonomy import TrustRecorded
from playhead.events.codec import CATALOG
from playhead.events.words import GrantWords
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.trust.book import Filters, score
from playhead.trust.chain import chained, verify_chain
from playhead.trust.exchange import Producer, export_chain, import_chain
from playhead.trust.record import TrustRecord, canonical_form
from playhead.trust.timestamp import written
from playhead_projections.projector import models_path
from playhead_projections.trust_graph.graph import chain_of
from playhead_projections.trust_graph.kept import Kept, kept_of, verify_kept

SECOND_NS = 1_000_000_000
STARTED_NS = 1_776_624_131 * SECOND_NS
FLAT = {"provider": "github", "kind": "issue.opened", "attempt_count": 1, "replay": False}
APPROVED = {
    "provider": "github",
    "autonomy.enforcement": "approval_granted",
    "args": [{"path": "notes/today.md", "text": "hello"}, 0.25],
    "approval": {
        "required": True,
        "quorum": 1,
        "signatures": [{"reviewer": "ops", "signed_at": "2026-04-19T19:00:59Z", "signature": "sha256:ab"}],
    },
}


def chain(count: int, metadata: dict[str, Any], zone: str) -> list[TrustRecord]:
    return list(
        chained(
            TrustRecord(
                record_id=f"01966f4c-0f31-7b5d-b44b-{n:012x}",
                agent="github-triage-bot",
                action="github.issue.opened",
                approver="ops",
                outcome="success",
                trace_id=f"trace_{n}",
                autonomy_tier="act_with_approval",
                timestamp=written(STARTED_NS + n * 977_000_000).replace("Z", zone),
                cost_usd=n / 1000,
                metadata=metadata,
            )
            for n in range(count)
        )
    )


def spent(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def hash_all(forms: list[bytes]) -> None:
    for form in forms:
        sha256(form).hexdigest()


def verify_all(records: list[TrustRecord]) -> None:
    assert verify_chain(records).verified


def exported(records: list[TrustRecord]) -> bytes:
    return export_chain(
        records, topic="trust_graph", producer=Producer("bench", "1"), generated_at=written(STARTED_NS)
    )


def measures(count: int) -> dict[str, tuple[list[TrustRecord], Callable[[], object]]]:
    flat, approved = chain(count, FLAT, "Z"), chain(count, APPROVED, "Z")
    odd = chain(count, FLAT, "+00:00")
    few = flat[: count // 10]
    data = exported(few)
    return {
        "verify": (flat, lambda: verify_all(flat)),
        "verify, metadata with an approval": (approved, lambda: verify_all(approved)),
        "verify, times to write again": (odd, lambda: verify_all(odd)),
        "export": (few, lambda: exported(few)),
        "import": (few, lambda: import_chain(data)),
    }


# ------------------------------------------------------------------ a store

AGENTS = 100
BATCH = 1_000
SINGLE_APPENDS = 400
ASKED_TIMES = 5


def told(n: int) -> NewEvent:
    agreed = (GrantWords(reviewer="ada", said_at=STARTED_NS + n * SECOND_NS),) if n % 2 else ()
    fact = TrustRecorded(
        agent=f"agent{n % AGENTS}",
        action="fs.write" if n % 3 else "network.call",
        tool="save",
        outcome="success" if n % 7 else "denied",
        tier="act_with_approval" if agreed else "act_auto",
        enforcement="approval_granted" if agreed else "auto",
        approver="ada" if agreed else None,
        request=f"approval_{n:024x}" if agreed else "",
        quorum=len(agreed),
        granted=agreed,
    )
    return CATALOG.new_event(fact, at=STARTED_NS + n * SECOND_NS, op=f"0/save#{n}")


async def fill(path: Path, count: int) -> tuple[float, float]:
    """Fill a store; what an append of one record takes in a new store and in the full one, in seconds.

    They are measured in turn, so that the disk is as busy for the one as for the other.
    """

    async def single(store: SqliteStore, n: int) -> float:
        started = time.perf_counter()
        await store.append("run/one", n, [told(n)])
        return time.perf_counter() - started

    async with SqliteStore.open(path) as full, SqliteStore.open(path.with_name("new.db")) as new:
        for first in range(SINGLE_APPENDS, count, BATCH):
            last = min(first + BATCH, count)
            await full.append(f"run/{first:012}", 0, [told(n) for n in range(first, last)])
        pairs = [(await single(new, n), await single(full, n)) for n in range(SINGLE_APPENDS)]
    early, late = (statistics.median(times) for times in zip(*pairs, strict=True))
    return early, late


def waited(work: Callable[[], object]) -> float:
    """The median time that an answer is waited for, once it was asked for before, in milliseconds."""
    work()
    took: list[float] = []
    for _ in range(ASKED_TIMES):
        started = time.perf_counter()
        work()
        took.append((time.perf_counter() - started) * 1e3)
    return statistics.median(took)


def answers(log: LogReader, kept: Kept, count: int) -> dict[str, float]:
    """How long some questions take, in milliseconds."""
    agent = Filters(agent="agent7")
    last = kept.last_at(count // 2)
    return {
        f"all {len(kept.find(agent))} records of an agent": waited(lambda: kept.find(agent)),
        "the same as of the middle of the log": waited(lambda: kept.find(agent, last=last)),
        "those that were denied": waited(lambda: kept.find(Filters(agent="agent7", outcome="denied"))),
        "its newest 100": waited(lambda: kept.find(Filters(agent="agent7", limit=100))),
        "its score": waited(lambda: score(kept.find(agent), "agent7")),
        "the newest 100 of all": waited(lambda: kept.find(Filters(limit=100))),
        "how long the chain was at a position": waited(lambda: kept.last_at(count // 2)),
        "how long the chain was at a time": waited(
            lambda: kept.last_at(log.position_at(STARTED_NS + count // 2 * SECOND_NS))
        ),
    }


def stored(count: int) -> dict[str, dict[str, float]]:
    """What so many records in a store cost."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "runs.db"
        early, late = asyncio.run(fill(path, count))
        with LogReader(path) as log:

            def fold() -> None:
                with kept_of(log, path):
                    pass

            folding = spent(fold)
            with kept_of(log, path) as kept:
                found = answers(log, kept, count)
                verifying = spent(lambda: verify_kept(log, kept))
            making = spent(lambda: sum(1 for _ in chain_of(log)))
            records = list(chain_of(log))
            checking = spent(lambda: verify_all(records))
            few = {
                approved: [r for r in records if ("approval" in r.metadata) is approved]
                for approved in (False, True)
            }
        alone = {approved: list(chained(some)) for approved, some in few.items()}
        return {
            "append of one record, ms": {
                "early": early * 1e3,
                "late": late * 1e3,
                "late to early": late / early,
            },
            "records per second": {
                "folded in": count / folding,
                "made anew from the log": count / making,
                "verified: made anew and held against what is kept": count / verifying,
                "verified: chain in memory": count / checking,
                **{
                    f"verified: only those with{'' if approved else 'out'} an approval": len(some)
                    / spent(partial(verify_all, some))
                    for approved, some in alone.items()
                },
            },
            "answers, ms": found,
            "bytes per record": {
                "log": path.stat().st_size / count,
                "read model": models_path(path).stat().st_size / count,
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all measures (median is shown)")
    parser.add_argument("--stored", type=int, default=500_000, help="records in a store; 0 leaves it out")
    parser.add_argument("--json", action="store_true", help="print one document")
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    every = {
        name: (len(records), [canonical_form(record) for record in records], work)
        for name, (records, work) in measures(options.records).items()
    }
    for _ in range(options.rounds):
        for name, (count, forms, work) in every.items():
            plain, took = spent(partial(hash_all, forms)), spent(work)
            found.setdefault(name, []).append((count / took, took / plain))
    rows = {
        name: {
            "records_per_second": statistics.median(rate for rate, _ in pairs),
            "sha256_of_the_same": statistics.median(ratio for _, ratio in pairs),
        }
        for name, pairs in found.items()
    }
    figures = stored(options.stored) if options.stored else {}
    if options.json:
        said = {"schema": "playhead.benchmark/1", "figures": rows, "stored": figures}
        print(json.dumps(said, indent=2))
        return
    print(f"{'':44}{'records per second':>20}{'times SHA-256 of the same':>28}")
    for name, row in rows.items():
        print(f"{name:44}{row['records_per_second']:20,.0f}{row['sha256_of_the_same']:28.1f}")
    for what, numbers in figures.items():
        print(f"\n{what}, {options.stored:,} records in a store")
        for name, number in numbers.items():
            print(f"  {name:52}{number:16,.2f}")


if __name__ == "__main__":
    main()
