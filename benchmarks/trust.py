"""How fast a chain of trust records is verified, beside SHA-256 of the same bytes in the same run.

    python benchmarks/trust.py [--records 200000] [--rounds 5] [--json]

A machine is busier at some minutes than at others, so every figure is also told as a ratio: how many times
as long it takes as hashing the canonical forms of the same records and nothing else. Both are measured in
turn, in time of the processor, and the median of all rounds is shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

from playhead.trust.chain import chained, verify_chain
from playhead.trust.exchange import Producer, export_chain, import_chain
from playhead.trust.record import TrustRecord, canonical_form
from playhead.trust.timestamp import written

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all measures (median is shown)")
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
    if options.json:
        print(json.dumps({"schema": "playhead.benchmark/1", "figures": rows}, indent=2))
        return
    print(f"{'':44}{'records per second':>20}{'times SHA-256 of the same':>28}")
    for name, row in rows.items():
        print(f"{name:44}{row['records_per_second']:20,.0f}{row['sha256_of_the_same']:28.1f}")


if __name__ == "__main__":
    main()
