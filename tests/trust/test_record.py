"""A record has one canonical form, whoever writes it down, and its hash is the hash of that form."""

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from playhead.errors import BadValue
from playhead.trust.record import TrustRecord, canonical_form, hash_of
from tests.trust import oracle
from tests.trust.made import GOLDEN, json_values, trust_record, written_records


def hashed(**members: Any) -> dict[str, Any]:
    """What is hashed, read back."""
    found: dict[str, Any] = json.loads(canonical_form(trust_record(**members)))
    return found


def metadata_text(value: Any) -> str:
    form = canonical_form(trust_record(metadata={"v": value})).decode()
    return form.partition('"metadata":{"v":')[2].partition('},"outcome"')[0]


def test_the_members_stand_in_the_order_of_the_format() -> None:
    assert [field.name for field in msgspec.structs.fields(TrustRecord)] == [
        *("schema", "record_id", "agent", "action", "approver", "outcome", "trace_id", "autonomy_tier"),
        *("timestamp", "cost_usd", "chain_index", "previous_hash", "entry_hash", "metadata"),
    ]


def test_the_hash_of_a_record_stays_for_ever() -> None:
    for record in json.loads(GOLDEN.read_text())["records"]:
        assert hash_of(msgspec.convert(record, TrustRecord)) == record["entry_hash"]


def test_what_is_hashed_is_the_sha_256_of_the_canonical_form() -> None:
    record = trust_record()

    assert hash_of(record) == "sha256:" + sha256(canonical_form(record)).hexdigest()


def test_the_canonical_form_has_sorted_keys_and_nulls_and_no_entry_hash() -> None:
    record = trust_record(entry_hash="sha256:00", metadata={"b": 1, "a": {"z": None, "é": "…", "Z": []}})

    assert canonical_form(record).decode() == (
        '{"action":"issue.opened","agent":"triage","approver":null,"autonomy_tier":"act_auto","chain_index":0,'
        '"cost_usd":null,"metadata":{"a":{"Z":[],"z":null,"é":"…"},"b":1},"outcome":"success",'
        '"previous_hash":null,"record_id":"r1","schema":"opentrustgraph/v0",'
        '"timestamp":"2026-04-19T18:42:11Z","trace_id":"t1"}'
    )


def test_nothing_in_a_text_can_be_taken_for_a_member() -> None:
    trap = ',"entry_hash":"x","metadata":{'

    found = hashed(agent=trap, action=trap, approver=trap, entry_hash=trap, metadata={trap: trap})

    assert "entry_hash" not in found
    assert (found["agent"], found["action"], found["approver"], found["metadata"]) == (
        trap,
        trap,
        trap,
        {trap: trap},
    )


@given(json_values, json_values)
def test_another_entry_hash_changes_no_hash_and_other_metadata_does(one: Any, other: Any) -> None:
    first = trust_record(metadata={"v": one})
    second = trust_record(metadata={"v": other})

    assert hash_of(first) == hash_of(msgspec.structs.replace(first, entry_hash=json.dumps(one)))
    assert (hash_of(first) == hash_of(second)) == (oracle.text(one) == oracle.text(other))


@settings(max_examples=600)
@given(written_records())
def test_the_hash_is_the_one_of_a_second_implementation(record: dict[str, Any]) -> None:
    ours = msgspec.convert(record, TrustRecord)
    theirs = {**record, "chain_index": 0, "previous_hash": None}

    assert hash_of(ours) == oracle.hash_of(theirs)


# How things are written.


@pytest.mark.parametrize(
    ("cost", "text"), [(1, b"1.0"), (0, b"0.0"), (0.034, b"0.034"), (2**53 + 1, b"9007199254740992.0")]
)
def test_a_cost_is_a_float(cost: float, text: bytes) -> None:
    assert b'"cost_usd":' + text + b"," in canonical_form(trust_record(cost_usd=cost))
    assert type(trust_record(cost_usd=cost).cost_usd) is float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e15, "1000000000000000.0"),
        (9007199254740993.0, "9007199254740992.0"),
        (9999999999999998.0, "9999999999999998.0"),
        (1e16, "1e16"),
        (-1.5e300, "-1.5e300"),
        (12345678901234567.0, "1.2345678901234568e16"),
        (0.0001, "0.0001"),
        (0.00001, "0.00001"),
        (0.000015, "0.000015"),
        (0.000001, "1e-6"),
        (-1.25e-7, "-1.25e-7"),
        (5e-324, "5e-324"),
        (2**64 - 1, "18446744073709551615"),
        (-(2**63), "-9223372036854775808"),
        (True, "true"),
        (None, "null"),
        ("", '""'),
        ('a"\\/\b\f\n\r\t', '"a\\"\\\\/\\b\\f\\n\\r\\t"'),
        ("\x00\x1f\x7f\u2028", '"\\u0000\\u001f\x7f\u2028"'),
        ("é", '"é"'),
        ("e\u0301", '"e\u0301"'),
        ("\U0001f600", '"\U0001f600"'),
        ([], "[]"),
        ({}, "{}"),
        (
            {"\U0001f600": 1, "\uffff": 2, "é": 3, "a": 4, "A": 5, "": 6},
            '{"":6,"A":5,"a":4,"é":3,"\uffff":2,"\U0001f600":1}',
        ),
        ([{"b": 1, "a": [{"d": 1, "c": 2}]}], '[{"a":[{"c":2,"d":1}],"b":1}]'),
    ],
)
def test_a_value_of_the_metadata_has_one_text(value: Any, text: str) -> None:
    assert metadata_text(value) == text


@given(json_values)
def test_any_value_has_the_text_that_a_second_implementation_gives_it(value: Any) -> None:
    assert metadata_text(value) == oracle.text(value)


def test_the_time_is_hashed_in_its_canonical_form_and_kept_as_it_came() -> None:
    record = trust_record(timestamp="2026-04-19t18:42:11.500+00:00")

    assert hashed(timestamp=record.timestamp)["timestamp"] == "2026-04-19T18:42:11.5Z"
    assert record.timestamp == "2026-04-19t18:42:11.500+00:00"


# What has no hash.


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"a": float("nan")}, "metadata/a: nan is not"),
        ({"a": [1, {"b/c": float("-inf")}]}, "metadata/a/1/b~1c: -inf is not"),
        ({"a": 2**64}, "metadata/a: the integer does not fit 64 bits"),
        ({"a": [-(2**63) - 1]}, "metadata/a/0: the integer does not fit 64 bits"),
        ({1: 2}, "metadata: the key 1 is not a text"),
        ({"a": (1, 2)}, "metadata/a: a tuple is not JSON"),
        ({"a": b"x"}, "metadata/a: a bytes is not JSON"),
        ({"a": {"b": {3}}}, "metadata/a/b: a set is not JSON"),
        ({"a": "\ud800"}, "half of a surrogate pair"),
        ({"\udfff": 1}, "half of a surrogate pair"),
        ({"a": nested(300)}, "nested deeper than 220 levels"),
    ],
)
def test_what_readers_would_read_in_different_ways_has_no_hash(metadata: Any, place: str) -> None:
    with pytest.raises(BadValue, match=place):
        hash_of(trust_record(metadata=metadata))


@pytest.mark.parametrize(
    "members",
    [
        {"cost_usd": float("nan")},
        {"cost_usd": float("inf")},
        {"cost_usd": True},
        {"timestamp": "yesterday"},
        {"chain_index": -1},
        {"chain_index": 2**64},
        {"agent": "\ud800"},
    ],
)
def test_a_record_that_cannot_be_written_has_no_hash(members: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        hash_of(trust_record(**members))


def test_any_value_that_the_log_can_hold_has_room_in_the_metadata() -> None:
    assert hash_of(trust_record(metadata={"args": [nested(200)]}))
