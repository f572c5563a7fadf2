"""A chain tells the first record that was changed, moved, taken out or put in."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead.trust.chain import ERRORS_MAX, chained, verify_chain
from playhead.trust.record import TrustRecord, UnreadRecord, hash_of
from tests.trust import oracle
from tests.trust.made import five, trust_record, written_records

OTHER_HASH = f"sha256:{'0' * 64}"
LATER = UnreadRecord(schema="opentrustgraph/v7", entry_hash=OTHER_HASH, raw=msgspec.Raw(b"{}"))


def with_(records: list[TrustRecord], index: int, **members: Any) -> list[TrustRecord]:
    changed = msgspec.structs.replace(records[index], **members)
    return [*records[:index], changed, *records[index + 1 :]]


def test_an_empty_chain_is_verified() -> None:
    report = verify_chain([])

    assert report.verified
    assert (report.topic, report.total, report.root_hash, report.broken_at, report.errors) == (
        "trust_graph",
        0,
        None,
        None,
        (),
    )


def test_a_chain_counts_from_one_and_each_record_names_the_one_before() -> None:
    records = five()

    assert [record.chain_index for record in records] == [1, 2, 3, 4, 5]
    assert [record.previous_hash for record in records] == [None, *(r.entry_hash for r in records[:-1])]
    assert all(record.entry_hash == hash_of(record) for record in records)


def test_a_whole_chain_is_verified_and_its_root_is_the_last_hash() -> None:
    records = five()

    report = verify_chain(records, topic="audit")

    assert report.verified
    assert (report.topic, report.total, report.root_hash) == ("audit", 5, records[-1].entry_hash)


def test_a_chain_goes_on_where_it_stood() -> None:
    records = five()

    assert [*records[:2], *chained(records[2:], after=records[1])] == records


def test_what_stands_in_no_chain_is_not_gone_on_from() -> None:
    with pytest.raises(BadValue, match="stands in no chain"):
        list(chained(five(), after=trust_record()))


@settings(max_examples=200)
@given(st.lists(written_records(), min_size=1, max_size=4))
def test_a_chain_is_the_one_of_a_second_implementation(records: list[dict[str, Any]]) -> None:
    theirs = oracle.sealed(records)

    ours = list(chained(msgspec.convert(record, TrustRecord) for record in records))

    assert [record.entry_hash for record in ours] == [record["entry_hash"] for record in theirs]
    assert ours == [msgspec.convert(record, TrustRecord) for record in theirs]
    assert verify_chain(ours).verified


# Tampering.

CHANGES: dict[str, Any] = {
    "schema": "opentrustgraph/v1",
    "record_id": "other",
    "agent": "other",
    "action": "other",
    "approver": None,
    "outcome": "failure",
    "trace_id": "other",
    "autonomy_tier": "act_auto",
    "timestamp": "2026-04-19T18:42:12Z",
    "cost_usd": None,
    "chain_index": 9,
    "previous_hash": OTHER_HASH,
    "entry_hash": OTHER_HASH,
    "metadata": {},
}


def test_every_member_is_tampered_with() -> None:
    assert [*CHANGES] == [field.name for field in msgspec.structs.fields(TrustRecord)]


@pytest.mark.parametrize("index", [0, 2, 4])
@pytest.mark.parametrize("member", CHANGES)
def test_a_changed_member_is_found_where_it_stands(member: str, index: int) -> None:
    report = verify_chain(with_(five(), index, **{member: CHANGES[member]}))

    assert not report.verified
    assert report.broken_at == index + 1
    assert any(f"record {index + 1}: entry_hash mismatch" in error for error in report.errors)


@pytest.mark.parametrize("value", [0.25000000000000006, 0, None, 1e300])
def test_a_cost_that_differs_in_the_last_digit_is_found(value: float | None) -> None:
    assert verify_chain(with_(five(), 3, cost_usd=value)).broken_at == 4


def test_a_changed_place_deep_in_the_metadata_is_found() -> None:
    records = five()
    signature = {"reviewer": "ops", "signed_at": "2026-04-19T19:00:59Z", "signature": "S"}
    metadata = {"n": 2, "approval": {"required": True, "quorum": 1, "signatures": [signature]}}

    assert verify_chain(with_(records, 1, metadata=metadata)).broken_at == 2


def test_a_record_that_was_changed_and_sealed_again_is_found_by_the_next_one() -> None:
    records = five()
    forged = msgspec.structs.replace(records[1], outcome="failure")
    forged = msgspec.structs.replace(forged, entry_hash=hash_of(forged))

    report = verify_chain([records[0], forged, *records[2:]])

    assert report.broken_at == 3
    assert report.errors == (
        f"record 3: previous_hash mismatch; expected {forged.entry_hash}, found {records[1].entry_hash}",
    )


@pytest.mark.parametrize(
    ("tamper", "broken_at"),
    [
        (lambda r: [r[0], r[2], r[1], *r[3:]], 2),
        (lambda r: [r[4], *r[:4]], 1),
        (lambda r: r[::-1], 1),
        (lambda r: r[1:], 1),
        (lambda r: [*r[:2], *r[3:]], 3),
        (lambda r: [*r[:3], r[0], *r[3:]], 4),
        (lambda r: [*r, r[4]], 6),
        (lambda r: [trust_record(), *r], 1),
    ],
    ids=["swapped", "last first", "turned", "first out", "third out", "one twice", "last twice", "one more"],
)
def test_a_record_that_was_moved_taken_out_or_put_in_is_found(
    tamper: Callable[[list[TrustRecord]], list[TrustRecord]], broken_at: int
) -> None:
    report = verify_chain(tamper(five()))

    assert not report.verified
    assert report.broken_at == broken_at
    assert f"record {broken_at}: expected chain_index {broken_at}, found" in report.errors[0]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 4), max_size=7))
def test_of_all_lists_of_its_records_only_beginnings_of_a_chain_are_verified(places: list[int]) -> None:
    records = five()

    report = verify_chain([records[place] for place in places])

    whole = next((n for n, place in enumerate(places) if place != n), None)
    assert report.verified == (whole is None)
    assert report.broken_at == (None if whole is None else whole + 1)


def test_a_chain_that_lost_its_end_has_another_root() -> None:
    records = five()

    assert verify_chain(records[:4]).verified
    assert verify_chain(records[:4]).root_hash != verify_chain(records).root_hash


def test_a_record_that_has_no_hash_breaks_the_chain_and_does_not_end_the_look_at_it() -> None:
    report = verify_chain(with_(with_(five(), 1, metadata={"x": float("nan")}), 3, agent="other"))

    assert report.broken_at == 2
    assert report.errors[0] == "record 2: metadata/x: nan is not a finite number."
    assert report.errors[1].startswith("record 4: entry_hash mismatch; expected sha256:")


def test_an_index_that_nobody_could_write_down_is_found() -> None:
    report = verify_chain(with_(five(), 1, chain_index=10**10_000))

    assert report.errors[0] == "record 2: expected chain_index 2, found one beyond 64 bits"


def test_of_many_errors_the_first_are_told_and_the_rest_is_counted() -> None:
    records = list(chained(trust_record(record_id=str(n)) for n in range(ERRORS_MAX + 50)))

    report = verify_chain(records[1:])

    # Each of the other records stands one place too early, and the first also follows nothing.
    assert len(report.errors) == ERRORS_MAX + 1
    assert report.errors[-1] == "and 50 more"


# Records of other versions.


def test_a_record_of_another_version_breaks_nothing_and_nothing_vouches_for_it() -> None:
    first, second = chained([trust_record(), trust_record()])
    linked = msgspec.structs.replace(second, chain_index=3, previous_hash=OTHER_HASH)
    last = msgspec.structs.replace(linked, entry_hash=hash_of(linked))

    report = verify_chain([first, LATER, last])

    assert (report.errors, report.broken_at, report.unread) == ((), None, 1)
    assert not report.verified
    assert report.root_hash == last.entry_hash


def test_what_follows_a_record_of_another_version_has_to_name_its_hash() -> None:
    first, second = chained([trust_record(), trust_record()])
    third = msgspec.structs.replace(second, chain_index=3)
    third = msgspec.structs.replace(third, entry_hash=hash_of(third))
    mute = msgspec.structs.replace(LATER, entry_hash=None)

    assert verify_chain([first, LATER, third]).broken_at == 3
    assert verify_chain([first, mute, third]).broken_at is None


@pytest.mark.parametrize("link", [None, OTHER_HASH])
def test_after_a_record_that_does_not_say_its_hash_links_are_looked_at_again(link: str | None) -> None:
    _, second, third = chained([trust_record()] * 3)
    second = msgspec.structs.replace(second, previous_hash=link)
    second = msgspec.structs.replace(second, entry_hash=hash_of(second))
    (third,) = chained([third], after=second)
    mute = msgspec.structs.replace(LATER, entry_hash=None)
    forged = msgspec.structs.replace(third, previous_hash=OTHER_HASH)
    forged = msgspec.structs.replace(forged, entry_hash=hash_of(forged))

    assert verify_chain([mute, second, third]).broken_at is None
    assert verify_chain([mute, second, forged]).broken_at == 3
