"""A hash is the same wherever and whenever it is computed, and covers what was decided and nothing else."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from playhead.composition.hashing import (
    ANNOTATION_DEFAULTS,
    ENTRY_DEFAULTS,
    ENTRY_FOLLOWS,
    canonical_json,
    json_copy,
    manifest_hash,
    projection,
    snippet_hash,
)
from playhead.composition.manifest import Entry, Manifest, build_manifest
from playhead.composition.surface import SurfaceTool
from playhead.errors import BadValue
from tests.composition import json_values

EMPTY = "sha256:1a562d8ce1fd87108effab48d840908fc9f90bb61964dfde7df70c5e83e0e973"
READ = {"name": "read", "annotations": {"side_effect_level": "read_only"}}


# Golden values.


def test_the_hash_of_the_empty_manifest_stays_for_ever() -> None:
    document = {"bindings": [], "metadata": {}, "schema_version": 1, "side_effect_ceiling": "read_only"}

    assert manifest_hash(document) == EMPTY
    assert Manifest().hash == build_manifest([]).hash == EMPTY


@pytest.mark.parametrize(
    ("language", "found"),
    [
        ("harn", "sha256:a0dd1e5e1f071b1946e0734e7c1e8b2b83c99f02ce23c2b631249ecac3ad3c75"),
        ("typescript", "sha256:791803d9af34aeb58b67dee2b6ed6531c7d8251c7f04c88d5006eee15aa90437"),
    ],
)
def test_the_hash_of_a_snippet_stays_for_ever(language: str, found: str) -> None:
    assert snippet_hash(language, 'read_file("AGENTS.md")') == found


def test_the_hash_of_a_tool_with_nothing_but_a_level_stays_for_ever() -> None:
    assert build_manifest([READ]).projection() == {
        "bindings": [
            {"annotations": {"side_effect_level": "read_only"}, "binding": "read", "name": "read"},
        ],
        "metadata": {},
        "schema_version": 1,
        "side_effect_ceiling": "read_only",
    }
    assert (
        build_manifest([READ]).hash
        == "sha256:71dc0d671ce32db670549796f679232df769aae7c9fab1a1898d9ac88ed8fde2"
    )


def test_the_hash_of_a_manifest_is_worked_out_once() -> None:
    manifest = build_manifest([READ])

    assert manifest.hash is manifest.hash
    other = replace(manifest, side_effect_ceiling="network")
    assert other.hash == manifest_hash(other.document()) != manifest.hash


# The projection.


def test_a_member_at_its_default_is_left_out() -> None:
    said = {**READ, "examples": [], "deferred": False, "metadata": {}, "inputSchema": {"type": "object"}}

    assert build_manifest([said]).hash == build_manifest([READ]).hash


def test_a_member_that_a_release_adds_changes_no_hash_while_it_is_at_its_default() -> None:
    document = build_manifest([READ]).document()
    document["bindings"][0]["namespace"] = None

    assert manifest_hash(document) == build_manifest([READ]).hash
    del document["bindings"][0]["namespace"]
    assert manifest_hash(document) == build_manifest([READ]).hash


def test_every_member_of_an_entry_has_its_place_in_the_projection() -> None:
    document = Entry(binding="a", tool=SurfaceTool(name="a")).document()

    assert set(document) == {"name", "binding", "annotations", "policy", *ENTRY_DEFAULTS, *ENTRY_FOLLOWS}
    assert document["annotations"] == ANNOTATION_DEFAULTS
    assert {key: document[key] for key in ENTRY_DEFAULTS} == ENTRY_DEFAULTS


def test_the_sentence_that_explains_a_denial_is_not_hashed() -> None:
    document = build_manifest([READ]).document()
    document["bindings"][0]["policy"]["reason"] = "in other words"

    assert manifest_hash(document) == build_manifest([READ]).hash


def test_a_projection_is_its_own_projection() -> None:
    kept = build_manifest([READ, {"name": "x", "description": "d"}]).projection()

    assert projection(kept) == kept
    assert manifest_hash(kept) == manifest_hash(projection(kept))


@pytest.mark.parametrize(
    "more",
    [
        {"description": "reads"},
        {"inputSchema": {"type": "string"}},
        {"outputSchema": {"type": "string"}},
        {"namespace": "fs"},
        {"examples": [1]},
        {"executor": "host_bridge"},
        {"defer_loading": True},
        {"metadata": {"a": 1}},
        {"annotations": {"side_effect_level": "none"}},
        {"annotations": {"side_effect_level": "read_only", "idempotentHint": False}},
        {"annotations": {"side_effect_level": "read_only", "capabilities": {"fs": ["read"]}}},
        {"annotations": {"side_effect_level": "read_only", "arg_schema": {"path_params": []}}},
    ],
)
def test_whatever_a_surface_says_of_a_tool_is_hashed(more: dict[str, Any]) -> None:
    assert build_manifest([READ | more]).hash != build_manifest([READ]).hash


# Snippets.


def test_a_snippet_in_another_language_is_another_snippet() -> None:
    assert snippet_hash("snippet/1", "1") != snippet_hash("snippet/2", "1")


def test_a_text_that_no_snippet_may_be_has_a_hash_too() -> None:
    assert snippet_hash("snippet/1", "\ud800") != snippet_hash("snippet/1", "\ud801")


# Canonical JSON.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [None, True, {}]}, '{"a":[null,true,{}],"b":1}'),
        ({"ö": "ü", "\U0001f600": 1, "\uffff": 2}, '{"ö":"ü","\uffff":2,"\U0001f600":1}'),
        ('"\\\n\x01\x7f', '"\\"\\\\\\n\\u0001\x7f"'),
        ([], "[]"),
        (2**64 - 1, "18446744073709551615"),
    ],
)
def test_canonical_json_is_compact_sorted_by_bytes_and_not_escaped(value: Any, text: str) -> None:
    assert canonical_json(value) == text.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e16"),
        (1.5e300, "1.5e300"),
        (0.0001, "0.0001"),
        (1e-05, "0.00001"),
        (-1.25e-05, "-0.0000125"),
        (1e-06, "1e-6"),
        (2.5e-10, "2.5e-10"),
    ],
)
def test_a_float_has_its_shortest_digits_and_says_that_it_is_one(value: float, text: str) -> None:
    assert canonical_json(value) == text.encode()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "finite"),
        ([float("inf")], "finite"),
        ({"a": 2**64}, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ({1: 2}, "not a text"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ((1,), "tuple"),
        (b"", "bytes"),
    ],
)
def test_what_is_not_json_has_no_canonical_form(value: Any, why: str) -> None:
    with pytest.raises(BadValue, match=why):
        canonical_json(value)


def test_a_value_that_holds_itself_is_refused_for_its_depth() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(BadValue, match="200"):
        canonical_json(value)


@given(json_values)
def test_canonical_json_reads_back_equal_and_canonical(value: Any) -> None:
    text = canonical_json(value)

    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(json_values)
def test_a_copy_is_equal_and_shares_nothing(value: Any) -> None:
    copied = json_copy(value)

    assert copied == value
    assert copied is not value or not isinstance(value, (list, dict))
