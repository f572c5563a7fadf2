"""Trust records as hypothesis draws them, and a few that stand still."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from playhead.policy.tier import TIERS
from playhead.trust.chain import chained
from playhead.trust.exchange import Producer, export_chain
from playhead.trust.record import OUTCOMES, TrustRecord

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "decision-chain.valid.json"
ROOT_HASH = "sha256:6bb2b155ba07c67443c881f2d9dd954083bb44542df81520db1490fcbfdd5bf9"

APPROVAL = {
    "required": True,
    "quorum": 1,
    "signatures": [{"reviewer": "ops", "signed_at": "2026-04-19T19:00:59Z", "signature": "s"}],
}

texts = st.text(max_size=6)
names = st.text(min_size=1, max_size=6)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

dates = st.dates().map(lambda date: date.isoformat())
hours = st.times().map(lambda time: time.strftime("%H:%M:%S"))
fractions = st.just("") | st.text("0123456789", min_size=1, max_size=12).map(lambda digits: f".{digits}")
offsets = st.sampled_from(["Z", "z", "+00:00", "-00:00"]) | st.builds(
    lambda sign, hour, minute: f"{sign}{hour:02}:{minute:02}",
    st.sampled_from("+-"),
    st.integers(0, 23),
    st.integers(0, 59),
)
timestamps = st.builds(
    lambda date, separator, hour, fraction, offset: f"{date}{separator}{hour}{fraction}{offset}",
    dates,
    st.sampled_from("TTTt "),
    hours,
    fractions,
    offsets,
)


@st.composite
def written_records(draw: st.DrawFn) -> dict[str, Any]:
    """A record as another producer may write it, apart from its place in a chain."""
    record: dict[str, Any] = {
        "schema": "opentrustgraph/v0",
        "record_id": draw(names),
        "agent": draw(names),
        "action": draw(names),
        "outcome": draw(st.sampled_from(OUTCOMES)),
        "trace_id": draw(names),
        "autonomy_tier": draw(st.sampled_from(TIERS)),
        "timestamp": draw(timestamps),
        "metadata": draw(
            st.dictionaries(texts.filter(lambda key: key != "approval"), json_values, max_size=3)
        ),
    }
    if draw(st.booleans()):
        record["approver"] = draw(st.none() | names)
    if draw(st.booleans()):
        record["cost_usd"] = draw(
            st.one_of(st.none(), st.integers(0, 2**64 - 1), st.floats(0, allow_infinity=False))
        )
    return record


def trust_record(**members: Any) -> TrustRecord:
    plain: dict[str, Any] = {
        "record_id": "r1",
        "agent": "triage",
        "action": "issue.opened",
        "outcome": "success",
        "trace_id": "t1",
        "autonomy_tier": "act_auto",
        "timestamp": "2026-04-19T18:42:11Z",
    }
    return TrustRecord(**(plain | members))


def five() -> list[TrustRecord]:
    """A chain in which every member says something."""
    return list(
        chained(
            trust_record(
                record_id=f"r{n}",
                trace_id=f"t{n}",
                approver="ops",
                cost_usd=0.25,
                autonomy_tier="act_with_approval",
                metadata={"n": n, "approval": APPROVAL},
            )
            for n in range(1, 6)
        )
    )


def written(records: list[TrustRecord]) -> dict[str, Any]:
    """The file that holds these records, as plain values to change."""
    document: dict[str, Any] = json.loads(
        export_chain(
            records,
            topic="trust_graph",
            producer=Producer("playhead", "1"),
            generated_at="2026-04-19T18:45:00Z",
        )
    )
    return document


def as_file(document: Any) -> bytes:
    return json.dumps(document).encode()
