"""A chain comes out of a file as it went in, and a file that does not hold together is refused."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead.trust.chain import chained, verify_chain
from playhead.trust.exchange import Imported, Producer, examine_chain, export_chain, import_chain
from playhead.trust.record import TrustRecord, UnreadRecord, hash_of
from tests.trust import oracle
from tests.trust.made import (
    APPROVAL,
    DATA,
    GOLDEN,
    ROOT_HASH,
    as_file,
    five,
    names,
    trust_record,
    written,
    written_records,
)

OTHER_HASH = f"sha256:{'0' * 64}"
SCHEMAS = {
    name: json.loads((DATA / f"trust-{name}.v0.schema.json").read_text()) for name in ("record", "chain")
}

Change = Callable[[dict[str, Any]], Any]


def again(found: Imported) -> bytes:
    return export_chain(
        found.entries, topic=found.topic, producer=found.producer, generated_at=found.generated_at
    )


def exported(records: list[TrustRecord]) -> bytes:
    return export_chain(
        records, topic="trust_graph", producer=Producer("playhead", "1"), generated_at="2026-04-19T18:45:00Z"
    )


def problems_of(document: Any) -> list[str]:
    return [str(problem) for problem in examine_chain(as_file(document)).problems]


# The public fixture.


def test_the_public_chain_is_verified_and_its_root_stays_for_ever() -> None:
    found = import_chain(GOLDEN.read_bytes())

    assert found.report.verified
    assert found.report.root_hash == ROOT_HASH
    assert (found.topic, found.generated_at, found.report.total) == ("trust_graph", "2026-04-19T18:45:00Z", 2)
    assert [record.action for record in found.records] == ["github.issue.opened", "trust.promote"]
    assert found.warnings == ()


def test_the_public_chain_is_made_again_from_its_contents() -> None:
    records = import_chain(GOLDEN.read_bytes()).records
    bare = [
        msgspec.structs.replace(record, chain_index=0, previous_hash=None, entry_hash="")
        for record in records
    ]

    assert list(chained(bare)) == list(records)


def test_the_public_chain_is_written_again_byte_for_byte() -> None:
    data = GOLDEN.read_bytes()

    assert again(import_chain(data)) == data


# There and back.


@settings(max_examples=300)
@given(st.lists(written_records(), max_size=3), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_a_chain_of_a_second_implementation_is_verified_and_written_again(
    records: list[dict[str, Any]], ascii_only: bool, indent: int | str | None
) -> None:
    theirs = oracle.sealed(records)
    data = json.dumps(oracle.file_of(theirs), ensure_ascii=ascii_only, indent=indent).encode()

    found = import_chain(data)
    rewritten = json.loads(again(found))

    assert found.report.verified
    # Members that were left out are null, and all others have the same values in the same order.
    assert [with_nulls(record) for record in theirs] == rewritten["records"]
    assert [json.dumps(record["metadata"]) for record in theirs] == [
        json.dumps(record["metadata"]) for record in rewritten["records"]
    ]
    assert [oracle.hash_of(record) for record in rewritten["records"]] == [
        record["entry_hash"] for record in theirs
    ]
    assert rewritten["chain"] == json.loads(data)["chain"]
    assert again(import_chain(again(found))) == again(found)


def with_nulls(record: dict[str, Any]) -> dict[str, Any]:
    """A record as it is written again: with all of its members, and its cost as a float."""
    cost = record.get("cost_usd")
    return {"approver": None, **record, "cost_usd": None if cost is None else float(cost)}


@cache
def public_check() -> jsonschema_rs.Draft202012Validator:
    """The public schemas as they are, the one that refers to the other by the name of its file."""
    base = SCHEMAS["chain"]["$id"].rpartition("/")[0]
    registry = jsonschema_rs.Registry([(f"{base}/trust-record.v0.schema.json", SCHEMAS["record"])])
    return jsonschema_rs.Draft202012Validator(SCHEMAS["chain"], registry=registry, validate_formats=True)


@settings(max_examples=100)
@given(st.lists(written_records(), max_size=3), names)
def test_what_is_written_fits_the_public_schemas(records: list[dict[str, Any]], name: str) -> None:
    chain = list(chained(msgspec.convert(record, TrustRecord) for record in records))
    data = export_chain(chain, topic=name, producer=Producer(name, name), generated_at="2026-04-19T18:45:00Z")
    document = json.loads(data)
    for record in document["records"]:
        record["timestamp"] = oracle.time(
            record["timestamp"]
        )  # the validator knows no leap seconds and no spaces

    assert public_check().is_valid(document)
    assert document["chain"]["total"] == len(records)
    assert document["chain"]["verified"] is True


def test_the_schemas_inside_of_playhead_are_the_public_ones() -> None:
    from playhead.trust.contract import schema

    assert {name: schema(name) for name in SCHEMAS} == SCHEMAS


def test_an_empty_chain_has_no_root_and_is_verified() -> None:
    found = import_chain(exported([]))

    assert found.report.verified
    assert (found.report.root_hash, found.entries) == (None, ())
    assert json.loads(exported([]))["chain"]["root_hash"] is None


def test_a_broken_chain_is_written_and_says_so() -> None:
    data = exported(five()[1:])

    assert json.loads(data)["chain"]["verified"] is False
    with pytest.raises(BadValue, match="expected chain_index 1, found 2"):
        import_chain(data)


def test_a_chain_that_its_producer_did_not_verify_is_looked_at_all_the_same() -> None:
    document = written(five())
    document["chain"]["verified"] = False

    found = import_chain(as_file(document))

    assert found.report.verified
    assert found.warnings == ("its producer did not verify it",)


def test_unknown_metadata_is_kept() -> None:
    metadata = {"vendor.x": {"deep": [1, 1.0, None, "é"]}, "control": "not what it should be", "approval": 7}
    records = list(chained([trust_record(metadata=metadata)]))

    found = import_chain(exported(records)).records

    assert json.dumps(found[0].metadata) == json.dumps(metadata)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"entry_hash": ""}, "/records/0/entry_hash"),
        ({"agent": ""}, "/records/0/agent"),
        ({"outcome": "maybe"}, "/records/0/outcome"),
        ({"cost_usd": -1.0}, "/records/0/cost_usd"),
        ({"chain_index": 0}, "/records/0/chain_index"),
        ({"timestamp": "now"}, "/records/0/timestamp"),
        ({"schema": "opentrustgraph/v1"}, "/records/0/schema"),
        ({"metadata": {"x": {1}}}, "/records/0/metadata/x"),
        ({"trace_id": "\ud800"}, "/records/0/trace_id"),
        ({"metadata": []}, "/records/0/metadata"),
    ],
)
def test_a_record_that_no_file_can_hold_is_not_written(changes: dict[str, Any], place: str) -> None:
    (record,) = chained([trust_record()])

    with pytest.raises(BadValue, match=f"at {place}: "):
        exported([msgspec.structs.replace(record, **changes)])


@pytest.mark.parametrize(
    ("topic", "producer", "generated_at", "place"),
    [
        ("", Producer("a", "1"), "2026-04-19T18:45:00Z", "/chain/topic"),
        ("t", Producer("", "1"), "2026-04-19T18:45:00Z", "/chain/producer/name"),
        ("t", Producer("a", ""), "2026-04-19T18:45:00Z", "/chain/producer/version"),
        ("t", Producer("a", "1"), "today", "/chain/generated_at"),
        ("\udc00", Producer("a", "1"), "2026-04-19T18:45:00Z", "/chain/topic"),
    ],
)
def test_a_file_without_names_or_a_time_is_not_written(
    topic: str, producer: Producer, generated_at: str, place: str
) -> None:
    with pytest.raises(BadValue, match=f"at {place}: "):
        export_chain([], topic=topic, producer=producer, generated_at=generated_at)


# Tampering with a file.

MEMBERS: dict[str, Any] = {
    "schema": "opentrustgraph.v0",
    "record_id": "other",
    "agent": "other",
    "action": "other",
    "approver": "other",
    "outcome": "failure",
    "trace_id": "other",
    "autonomy_tier": "act_auto",
    "timestamp": "2026-04-19T18:42:11.000000001Z",
    "cost_usd": 0.26,
    "chain_index": 9,
    "previous_hash": OTHER_HASH,
    "entry_hash": OTHER_HASH,
    "metadata": {"n": 3, "approval": APPROVAL, "more": None},
}


@pytest.mark.parametrize("index", [0, 2, 4])
@pytest.mark.parametrize("member", MEMBERS)
def test_a_changed_member_is_found_at_its_record(member: str, index: int) -> None:
    document = written(five())
    document["records"][index][member] = MEMBERS[member]

    found = examine_chain(as_file(document))

    assert found.problems[0].where.startswith(f"/records/{index}")
    assert found.report.broken_at == index + 1
    assert not found.report.verified
    with pytest.raises(BadValue, match=f"at /records/{index}"):
        import_chain(as_file(document))


def swap(records: list[Any]) -> None:
    records[1], records[2] = records[2], records[1]


@pytest.mark.parametrize(
    ("tamper", "broken_at", "said"),
    [
        (swap, 2, "/records/1: expected chain_index 2, found 3"),
        (lambda r: r.pop(1), 2, "/records/1: expected chain_index 2, found 3"),
        (lambda r: r.insert(3, r[0]), 4, "/records/3: expected chain_index 4, found 1"),
        (lambda r: r.pop(), 5, "/chain/total: chain.total mismatch; stated 5, found 4 records"),
        (lambda r: r.clear(), 1, "/chain/total: chain.total mismatch; stated 5, found 0 records"),
    ],
    ids=["swapped", "taken out", "put in", "end cut off", "all cut off"],
)
def test_a_record_that_is_missing_or_misplaced_is_found(
    tamper: Callable[[list[Any]], Any], broken_at: int, said: str
) -> None:
    document = written(five())
    tamper(document["records"])

    found = examine_chain(as_file(document))

    assert found.report.broken_at == broken_at
    assert f"at {said}" == str(found.problems[0])


def test_an_end_that_was_cut_off_with_its_total_is_found_by_the_root() -> None:
    document = written(five())
    document["records"].pop()
    document["chain"]["total"] = 4

    found = examine_chain(as_file(document))

    assert found.report.broken_at == 4
    assert found.problems[0].where == "/chain/root_hash"
    assert "chain.root_hash mismatch" in found.problems[0].text


def test_a_last_record_that_was_sealed_again_is_found_by_the_root() -> None:
    records = five()
    forged = msgspec.structs.replace(records[4], outcome="failure")
    document = written([*records[:4], msgspec.structs.replace(forged, entry_hash=hash_of(forged))])
    document["chain"]["root_hash"] = records[4].entry_hash

    assert examine_chain(as_file(document)).report.broken_at == 5


@pytest.mark.parametrize("place", [(), ("chain",), ("chain", "producer"), ("records", 1)])
def test_no_other_keys_stand_around_the_metadata(place: tuple[str | int, ...]) -> None:
    document = written(five())
    inner: Any = document
    for step in place:
        inner = inner[step]
    inner["extra"] = None

    (problem,) = problems_of(document)

    assert "extra" in problem
    assert problem.startswith(f"at {''.join(f'/{step}' for step in place) or 'the top'}: ")


@pytest.mark.parametrize("key", ["chain", "records"])
def test_what_is_missing_around_the_records_is_told(key: str) -> None:
    document = written(five())
    del document[key]

    assert any(f'"{key}" is a required property' in problem for problem in problems_of(document))


@pytest.mark.parametrize("key", ["topic", "total", "root_hash", "verified", "generated_at", "producer"])
def test_what_is_missing_of_the_chain_is_told(key: str) -> None:
    document = written(five())
    del document["chain"][key]

    assert problems_of(document) == [f'at /chain: "{key}" is a required property']


@pytest.mark.parametrize("key", [name for name in MEMBERS if name not in {"approver", "cost_usd"}])
def test_what_is_missing_of_a_record_is_told(key: str) -> None:
    document = written(five())
    del document["records"][1][key]

    assert f'at /records/1: "{key}" is a required property' in problems_of(document)


def test_an_approver_or_a_cost_that_is_left_out_is_hashed_as_null() -> None:
    document = written(list(chained([trust_record()])))
    del document["records"][0]["approver"], document["records"][0]["cost_usd"]

    assert import_chain(as_file(document)).report.verified


def test_a_cost_without_a_point_has_the_hash_of_a_float() -> None:
    data = exported(list(chained([trust_record(cost_usd=1)])))
    bare = data.replace(b'"cost_usd": 1.0', b'"cost_usd": 1')

    assert bare != data
    assert import_chain(bare).report.verified
    assert again(import_chain(bare)) == data


def test_a_time_that_is_written_otherwise_has_the_same_hash_and_stays() -> None:
    data = exported(five()).replace(b"2026-04-19T18:42:11Z", b"2026-04-19t18:42:11.000+00:00")

    assert again(import_chain(data)) == data


def test_all_problems_are_told_at_once_each_with_its_place() -> None:
    document = written(five())
    document["chain"]["topic"] = ""
    document["chain"]["total"] = 6
    document["records"][0]["outcome"] = "maybe"
    document["records"][0]["timestamp"] = "now"
    document["records"][2]["agent"] = "other"
    document["records"][3] = 7

    found = examine_chain(as_file(document))

    assert [problem.where for problem in found.problems] == [
        *("/chain/topic", "/records/0/outcome", "/records/0/timestamp", "/records/2", "/records/3"),
        # Nobody knows what a record that cannot be read says of itself, so what follows it is not judged.
        "/chain/total",
    ]
    with pytest.raises(BadValue, match=r"at /chain/topic: .* And 5 more\.") as caught:
        import_chain(as_file(document))
    assert caught.value.found == found.problems


def test_of_very_many_problems_the_first_are_told_and_the_rest_is_counted() -> None:
    document = written(list(chained(trust_record(record_id=str(n)) for n in range(300))))
    for record in document["records"]:
        record["outcome"] = "maybe"

    problems = examine_chain(as_file(document)).problems

    assert len(problems) == 101
    assert str(problems[-1]) == "at the top: and 200 more"


# Approvals.


def approved(**changes: Any) -> dict[str, Any]:
    """A file whose only record needed an approval, sealed as it is."""
    record = {
        **json.loads(msgspec.json.encode(trust_record(autonomy_tier="act_with_approval", approver="ops"))),
        "metadata": {"approval": APPROVAL},
        **changes,
    }
    return oracle.file_of(oracle.sealed([record]))


def receipt(**changes: Any) -> dict[str, Any]:
    return {"metadata": {"approval": {**APPROVAL, **changes}}}


def signed(**changes: Any) -> dict[str, Any]:
    return receipt(signatures=[{**APPROVAL["signatures"][0], **changes}])  # type: ignore[index]


def test_an_approval_that_was_required_and_given_is_fine() -> None:
    assert problems_of(approved()) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"approver": None}, "approver"),
        ({"approver": "  "}, "approver"),
        (receipt(quorum=0), "metadata/approval/quorum"),
        (receipt(quorum=True), "metadata/approval/quorum"),
        (receipt(quorum=1.5), "metadata/approval/quorum"),
        (receipt(quorum=None), "metadata/approval/quorum"),
        (receipt(signatures=[]), "metadata/approval/signatures"),
        (receipt(signatures={}), "metadata/approval/signatures"),
        (receipt(signatures=[7]), "metadata/approval/signatures/0/reviewer"),
        (signed(reviewer=""), "metadata/approval/signatures/0/reviewer"),
        (signed(signature=None), "metadata/approval/signatures/0/signature"),
        (signed(signed_at=3), "metadata/approval/signatures/0/signed_at"),
        (signed(signed_at="then"), "metadata/approval/signatures/0/signed_at"),
    ],
)
def test_an_approval_that_was_required_is_named_and_signed(changes: dict[str, Any], place: str) -> None:
    document = approved(**changes)

    found = examine_chain(as_file(document))

    assert found.problems[0].where == f"/records/0/{place}"
    assert found.report.broken_at == 1
    assert not found.report.verified


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "denied", "approver": None, "metadata": {"approval": {"required": True}}},
        {"autonomy_tier": "act_auto", "approver": None, "metadata": {"approval": {"required": True}}},
        {"approver": None, "metadata": {"approval": {"required": False}}},
        {"approver": None, "metadata": {"approval": {"required": 1}}},
        {"approver": None, "metadata": {"approval": [True]}},
        {"approver": None, "metadata": {}},
    ],
)
def test_where_no_approval_was_required_none_is_asked_for(changes: dict[str, Any]) -> None:
    assert problems_of(approved(**changes)) == []


pieces = st.sampled_from(
    [None, True, False, 0, 1, 2.0, 1.5, "", "ops", "2026-04-19T19:00:59Z", [], {}, APPROVAL["signatures"]]
)


@settings(max_examples=300)
@given(
    pieces,
    st.dictionaries(st.sampled_from(["required", "quorum", "signatures"]), pieces)
    | st.dictionaries(st.sampled_from(["reviewer", "signed_at", "signature"]), pieces).map(
        lambda one: {**APPROVAL, "signatures": [one]}
    ),
)
def test_the_rule_about_approvals_lets_nothing_through_that_the_public_schema_refuses(
    approver: Any, approval: dict[str, Any]
) -> None:
    document = approved(approver=approver, metadata={"approval": approval})

    if not public_check().is_valid(document):
        assert problems_of(document)


# Records of other versions.


def with_a_later_one() -> dict[str, Any]:
    """A file whose second record is of a version of which nothing is known."""
    first, _, third = oracle.sealed([json.loads(msgspec.json.encode(trust_record()))] * 3)
    later = {"schema": "opentrustgraph/v7", "entry_hash": OTHER_HASH, "who": {"knows": [1e3, 1.5, "\u00e9"]}}
    third["previous_hash"] = later["entry_hash"]
    third["entry_hash"] = oracle.hash_of(third)
    return oracle.file_of([first, later, third])


def test_a_record_of_another_version_is_skipped_with_a_warning() -> None:
    found = import_chain(as_file(with_a_later_one()))

    assert [type(entry) for entry in found.entries] == [TrustRecord, UnreadRecord, TrustRecord]
    assert len(found.records) == 2
    assert found.warnings == ("record 2 is opentrustgraph/v7, which is not known here: it was skipped",)
    assert (found.report.errors, found.report.unread) == ((), 1)


@pytest.mark.parametrize("version", ["opentrustgraph/v0.1", "opentrustgraph/v1", "opentrustgraph/v10.2.3"])
def test_the_name_of_a_version_has_numbers(version: str) -> None:
    document = with_a_later_one()
    document["records"][1]["schema"] = version

    assert import_chain(as_file(document)).report.unread == 1


def test_a_chain_with_a_record_that_nobody_could_look_at_is_not_verified() -> None:
    assert not import_chain(as_file(with_a_later_one())).report.verified


def test_a_record_of_another_version_is_written_as_it_came() -> None:
    text = json.dumps(with_a_later_one(), indent=2)
    odd = text.replace('"\\u00e9"', '"\\u00E9\\/"').replace("1000.0", "1E+3").replace("1.5", "1.50") + "\n"
    assert '1E+3,\n          1.50,\n          "\\u00E9\\/"' in odd

    rewritten = again(import_chain(odd.encode())).decode()

    assert rewritten == odd.replace('"verified": true', '"verified": false')


@pytest.mark.parametrize(
    "schema",
    [
        "something/v0",
        "opentrustgraph/",
        "opentrustgraph/v",
        "opentrustgraph/ v0",
        "opentrustgraph/v0 ",
        "",
        None,
    ],
)
def test_a_record_of_another_kind_is_no_record_of_another_version(schema: str | None) -> None:
    document = with_a_later_one()
    document["records"][1]["schema"] = schema

    assert any("/records/1/schema" in problem for problem in problems_of(document))


def test_what_follows_a_record_of_another_version_has_to_name_its_hash() -> None:
    document = with_a_later_one()
    document["records"][1]["entry_hash"] = f"sha256:{'1' * 64}"

    (problem,) = problems_of(document)

    assert problem.startswith("at /records/2: previous_hash mismatch")


def test_a_last_record_that_does_not_say_its_hash_has_any_root() -> None:
    document: dict[str, Any] = {**written([]), "records": [{"schema": "opentrustgraph/v7"}]}
    document["chain"] |= {"total": 1, "root_hash": OTHER_HASH}

    assert problems_of(document) == []


def test_of_many_warnings_the_first_are_told() -> None:
    later = {"schema": "opentrustgraph/v7"}
    document: dict[str, Any] = {**written([]), "records": [later] * 200}
    document["chain"]["total"] = 200

    found = import_chain(as_file(document))

    assert len(found.warnings) == 101
    assert found.warnings[-1] == "and more"


@pytest.mark.parametrize("schema", ["opentrustgraph-chain/v1", "opentrustgraph/v0", "", None, 7])
def test_a_file_of_another_version_is_refused(schema: Any) -> None:
    with pytest.raises(BadValue, match="is not opentrustgraph-chain/v0"):
        examine_chain(as_file({**written(five()), "schema": schema}))


def test_importing_is_verifying() -> None:
    found = import_chain(exported(five()))

    assert found.report == verify_chain(found.records)
