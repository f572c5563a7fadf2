"""Trust records: who did what, with which outcome, under which tier. And the hash that seals one.

    record = TrustRecord(
        record_id="01966f4c-0f31-7b5d-b44b-f7f8e7e1d384",
        agent="triage",
        action="github.issue.opened",
        outcome="success",
        trace_id="trace_1",
        autonomy_tier="suggest",
        timestamp="2026-04-19T18:42:11Z",
    )
    hash_of(record)             # 'sha256:…'

The form of a record is opentrustgraph/v0. What is hashed is its canonical form: all members but `entry_hash`,
those that are not set as null, keys sorted by their UTF-8 bytes at every depth, no spaces, nothing escaped
that needs none. A float has the shortest digits that read back to it: plain from 0.00001 up to below 1e16,
where a whole one keeps its `.0` and -0.0 its sign, and outside of that with an exponent that has neither plus
nor leading zeros (`1e16`, `1e-6`). `cost_usd` is a float, so that 1 is hashed as `1.0`; integers of the
metadata stay integers, and must fit 64 bits. Texts are not normalised. The time is hashed in its canonical
form (see `playhead.trust.timestamp`) and kept as it came.
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Any, Final, Literal, get_args

import msgspec

from playhead.errors import BadValue
from playhead.events.words import TrustOutcome
from playhead.policy.tier import Tier
from playhead.trust.plain import INTEGER_MAX, METADATA_LEVEL, check_plain, is_plain
from playhead.trust.timestamp import canonical as canonical_time

RECORD_SCHEMA: Final = "opentrustgraph/v0"
HASH_PREFIX: Final = "sha256:"

Outcome = TrustOutcome

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""From the one that may do least to the one that may do most."""


class TrustRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that an agent did, or that was done about it.

    `chain_index`, `previous_hash` and `entry_hash` are given by `playhead.trust.chain.chained`.
    """

    schema: Literal["opentrustgraph/v0"] = RECORD_SCHEMA
    record_id: str
    agent: str
    action: str
    approver: str | None = None
    outcome: Outcome
    trace_id: str
    autonomy_tier: Tier
    timestamp: str
    cost_usd: float | None = None
    chain_index: int = 0
    previous_hash: str | None = None
    entry_hash: str = ""
    metadata: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if type(self.cost_usd) is int:
            msgspec.structs.force_setattr(self, "cost_usd", float(self.cost_usd))


class UnreadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record of a version that this playhead does not know. It holds its place, and stays as it came.

    `raw` is its JSON, byte for byte. `entry_hash` is what it says its hash is, if it says so in the words of
    this version; nobody checked it.
    """

    schema: str
    entry_hash: str | None
    raw: msgspec.Raw


class _Hashed(msgspec.Struct, frozen=True, gc=False):
    """What is hashed of a record, in the order of the names, so that no member has to be sorted."""

    action: str
    agent: str
    approver: str | None
    autonomy_tier: Tier
    chain_index: int
    cost_usd: float | None
    metadata: dict[str, Any]
    outcome: Outcome
    previous_hash: str | None
    record_id: str
    schema: str
    timestamp: str
    trace_id: str


_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def canonical_form(record: TrustRecord) -> bytes:
    """The bytes that are hashed. Raises `BadValue` for a record that has none."""
    cost, index, metadata = record.cost_usd, record.chain_index, record.metadata
    if cost is not None and (type(cost) is not float or not math.isfinite(cost)):
        raise BadValue(f"cost_usd: {cost!r} is not a finite number.", found=repr(cost))
    if not 0 <= index <= INTEGER_MAX:
        raise BadValue("chain_index: the integer does not fit 64 bits.", found=index)
    if not is_plain(metadata, METADATA_LEVEL):
        check_plain(metadata, where="metadata", around=METADATA_LEVEL)
    hashed = _Hashed(
        record.action,
        record.agent,
        record.approver,
        record.autonomy_tier,
        index,
        cost,
        metadata,
        record.outcome,
        record.previous_hash,
        record.record_id,
        record.schema,
        canonical_time(record.timestamp),
        record.trace_id,
    )
    try:
        return _encode(hashed)
    except UnicodeEncodeError as error:
        raise BadValue(
            "a text of the record holds half of a surrogate pair.", next_step="Clean the text first."
        ) from error


def hash_of(record: TrustRecord) -> str:
    """What `entry_hash` has to be. Raises `BadValue` as `canonical_form`."""
    return HASH_PREFIX + sha256(canonical_form(record)).hexdigest()
