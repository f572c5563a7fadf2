"""Whatever stands in a file, it is read or refused: nothing else is raised, and nothing goes on for ever."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead.trust.exchange import examine_chain, import_chain
from playhead.trust.problem import TEXT_CHARS_MAX
from tests.trust import oracle
from tests.trust.made import GOLDEN, as_file, five, json_values, texts, written

DATA = GOLDEN.read_bytes()
TEXT = DATA.decode()
HASHES = [record["entry_hash"] for record in json.loads(DATA)["records"]]


def told(data: bytes) -> list[str]:
    """The problems of a file; what cannot be read at all is one, too."""
    try:
        return [str(problem) for problem in examine_chain(data).problems]
    except BadValue as error:
        return [str(error)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is not JSON: line 1, column 1"),
        (b"\xff\xfe", "the file is not UTF-8, at byte 0"),
        (b'{"a":"\xed\xa0\x80"}', "the file is not UTF-8, at byte 6"),
        ("\ufeff{}".encode(), "the file is not JSON: line 1, column 1"),
        (b"{", "the file is not JSON: line 1, column 2"),
        (DATA[:-3], "the file is not JSON: line 5"),
        (DATA + b"{}", "the file is not JSON: line 5"),
        (b"{'schema':1}", "the file is not JSON"),
        (b"[1,]", "the file is not JSON"),
        (b'{"a":01}', "the file is not JSON"),
        (b'"\x00"', "the file is not JSON"),
        (b"null", "the file is not opentrustgraph-chain/v0: None"),
        (b"[]", "the file is not opentrustgraph-chain/v0: None"),
        (b"7", "the file is not opentrustgraph-chain/v0: None"),
        (b'"opentrustgraph-chain/v0"', "the file is not opentrustgraph-chain/v0: None"),
        (b"{}", "the file is not opentrustgraph-chain/v0: None"),
        (b"[" * 1_000_000, "nested far too deep"),
        (b'{"a":' * 1_000_000, "nested far too deep"),
        (b"[" * 100_000 + b"]" * 100_000, "nested far too deep"),
        (b'{"schema":"opentrustgraph-chain/v0","schema":"opentrustgraph-chain/v0"}', "'schema' stands in"),
    ],
    ids=range(20),
)
def test_what_is_no_such_file_at_all_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadValue) as caught:
        examine_chain(data)

    assert said in str(caught.value)


def test_a_file_that_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(BadValue, match=f"has {len(DATA)} bytes, and 100 are the most"):
        import_chain(DATA, bytes_max=100)

    assert import_chain(DATA, bytes_max=len(DATA)).report.verified


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        ('"a": 1, "a": 1', "at /records/0/metadata: the key 'a' stands in the object more than once"),
        ('"b": {"a": 1, "c": 2, "a": 3}', "at /records/0/metadata/b: the key 'a' stands in"),
        ('"b": [{"a": 1, "\\u0061": 3}]', "at /records/0/metadata/b/0: the key 'a' stands in"),
        ('"a": NaN', "at /records/0/metadata/a: NaN is no number of JSON"),
        ('"a": [Infinity]', "at /records/0/metadata/a/0: Infinity is no number"),
        ('"a": -Infinity', "at /records/0/metadata/a: -Infinity is no number"),
        ('"a": 1e309', "at /records/0/metadata/a: the number 1e309 is too large"),
        (
            f'"a": {"9" * 10_000}',
            "at /records/0/metadata/a: the number 9999999999999999999999999999999999999999…",
        ),
        ('"a": 18446744073709551616', "at /records/0/metadata/a: the integer does not fit 64 bits"),
        ('"a": -9223372036854775809', "at /records/0/metadata/a: the integer does not fit 64 bits"),
        ('"a": "\\ud800"', "at /records/0/metadata/a: the text holds half of a surrogate pair"),
        ('"\\udfff": 1', "at /records/0/metadata: a key holds half of a surrogate pair"),
        (f'"a": {"[" * 300}{"]" * 300}', "nested deeper than 220 levels of a file"),
    ],
    ids=range(13),
)
def test_what_readers_would_take_differently_is_told_with_its_place(instead: str, said: str) -> None:
    data = TEXT.replace('"provider": "github"', instead, 1).encode()
    assert data != DATA

    problems = told(data)

    assert problems[0].startswith(said) or (said.startswith("nested") and said in problems[0])
    assert not examine_chain(data).report.verified
    assert examine_chain(data).report.broken_at == 1


@pytest.mark.parametrize("member", ["topic", "root_hash", "generated_at"])
def test_a_member_of_the_chain_that_stands_twice_is_told(member: str) -> None:
    data = TEXT.replace('"chain": {', f'"chain": {{ "{member}": "x",', 1).encode()

    assert told(data)[0].startswith(f"at /chain: the key '{member}' stands in the object more than once")


def test_a_member_of_a_record_that_stands_twice_is_told() -> None:
    data = TEXT.replace('"outcome": "success",', '"outcome": "denied", "outcome": "success",', 1).encode()

    assert told(data)[0] == "at /records/0: the key 'outcome' stands in the object more than once"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("18446744073709551616", "the integer does not fit 64 bits"),
        ("NaN", "NaN is no number of JSON"),
        ("null", 'null is not of type "object"'),
        ("[]", '[] is not of type "object"'),
        ('"opentrustgraph/v7"', '"opentrustgraph/v7" is not of type "object"'),
    ],
)
def test_a_record_that_is_no_object_is_told(record: str, said: str) -> None:
    data = TEXT.replace('"records": [', f'"records": [{record},', 1).encode()

    assert told(data)[0].startswith(f"at /records/0: {said}")


def test_an_index_that_is_written_as_a_float_is_told() -> None:
    data = TEXT.replace('"chain_index": 1', '"chain_index": 1.0', 1).encode()

    assert told(data)[0] == "at /records/0: Expected `int`, got `float` - at `$.chain_index`"


def test_a_record_of_another_version_is_not_kept_out_of_a_file_that_others_cannot_read() -> None:
    later = '{"schema": "opentrustgraph/v7"}'
    data = TEXT.replace('"records": [', f'"records": [{later},', 1).replace('"github"', "NaN", 1).encode()

    problems = told(data)

    assert any(
        problem.startswith("at the top: records of other versions cannot be kept") for problem in problems
    )
    assert "at /records/1/metadata/provider: NaN is no number of JSON" in problems


def test_an_escaped_pair_of_surrogates_is_a_character() -> None:
    document = written(five())
    document["records"][0]["metadata"] = {"x": "\U0001f600"}

    problems = told(json.dumps(document, ensure_ascii=True).encode())

    assert [problem.partition(";")[0] for problem in problems] == ["at /records/0: entry_hash mismatch"]


def test_what_is_said_of_a_file_can_be_printed_and_is_short() -> None:
    document = written(five())
    document["chain"]["topic"] = "x" * 100_000
    document["chain"]["root_hash"] = "y" * 100_000
    document["records"][0]["\udc00" * 100_000] = float("nan")
    document["records"][1]["outcome"] = "x\n\x1b[31m" * 100_000
    document["records"][2]["schema"] = f"opentrustgraph/v{'7' * 100_000}"
    document["records"][3]["schema"] = f"opentrustgraph/{'x' * 100_000}"
    found = examine_chain(as_file(document))

    said = [text for problem in found.problems for text in (problem.where, problem.text)] + list(
        found.warnings
    )

    for text in [*said, *found.report.errors]:
        assert len(text) <= 2 * TEXT_CHARS_MAX
        assert text.encode().decode() == text
        assert "\n" not in text


# What would take very long, or very much room, if it were looked at carelessly. The suite's own limit of time
# is what fails here.


def with_metadata(text: str) -> bytes:
    return TEXT.replace('"provider": "github"', text, 1).encode()


def test_a_key_that_stands_twice_among_very_many_is_told() -> None:
    members = ",".join(f'"{n}":0' for n in range(300_000))

    assert "the key '299999' stands" in told(with_metadata(f'{members},"299999":0'))[0]


def test_a_long_name_above_very_many_values_is_told() -> None:
    values = ",".join(['"\\u00e9"'] * 300_000)

    (problem, *_) = told(with_metadata(f'"{"n" * 3_000_000}":[{values},NaN]'))

    assert problem.startswith("at /records/0/metadata/nnn")
    assert problem.endswith("NaN is no number of JSON")


def test_very_many_odd_values_below_a_long_name_are_told() -> None:
    values = ",".join(["NaN"] * 300_000)

    problems = told(with_metadata(f'"{"n" * 3_000_000}":[{values}]'))

    assert len(problems) == 101
    assert problems[-1].startswith("at the top: and at least ")


def test_very_many_records_that_cannot_be_kept_are_told() -> None:
    later = ",".join(['{"schema": "opentrustgraph/v7"}'] * 30_000)
    data = TEXT.replace('"records": [', f'"records": [{later},', 1).replace('"github"', "NaN", 1).encode()

    assert sum("cannot be kept" in problem for problem in told(data)) == 1


# Anything at all.


def assert_same_or_told(changed: bytes) -> None:
    """Something wrong is told, or by a second implementation the records say what they said.

    A record may also have become one of another version, for which nothing vouches.
    """
    if told(changed) or not examine_chain(changed).report.verified:
        return
    assert [oracle.hash_of(record) for record in json.loads(changed)["records"]] == HASHES


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert told(data)


@settings(max_examples=300)
@given(st.integers(0, len(DATA) - 1), st.integers(0, 40), st.binary(max_size=8))
def test_a_file_with_other_bytes_in_it_is_read_or_refused(at: int, length: int, instead: bytes) -> None:
    changed = DATA[:at] + instead + DATA[at + length :]

    # What is not told may have changed spaces, names of the file, or one spelling of a value for another.
    assert_same_or_told(changed)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


odd_values = st.one_of(
    json_values,
    st.sampled_from(
        [float("nan"), 2**64, -(2**64), 10**400, True, 1.0, -0.0, "\ud800", [], {}, [[]], "opentrustgraph/v0"]
    ),
    st.dictionaries(st.sampled_from(["schema", "required", "approval", "quorum", "signatures"]), json_values),
)


@settings(max_examples=400)
@given(st.data(), odd_values, texts)
def test_a_file_with_another_value_at_any_place_is_read_or_refused(data: Any, value: Any, key: str) -> None:
    document = json.loads(TEXT)
    *path, last = data.draw(st.sampled_from(places(document)[1:]))
    inner = document
    for step in path:
        inner = inner[step]
    if data.draw(st.booleans()) and isinstance(inner, dict):
        inner[key] = value
    else:
        inner[last] = value

    assert_same_or_told(as_file(document))
