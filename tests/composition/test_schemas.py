"""Values against schemas, one test for each rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.composition.schema_cost import Cost
from playhead.composition.schemas import PROBLEM_CHARS_MAX, PROBLEMS_MAX, SchemaCheck, full
from tests.composition import json_values, plain_schemas, wild

COUNT = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}


def test_what_is_wrong_is_said_with_its_place() -> None:
    check = SchemaCheck(COUNT)

    assert check.problems({"count": 1}) == []
    assert check.problems({"count": "bad"}) == ['at /count: "bad" is not of type "integer"']
    assert check.problems({}) == ['at the top: "count" is a required property']
    assert SchemaCheck({"items": COUNT}).problems([{"count": 1}, {"count": None}]) == [
        'at /1/count: null is not of type "integer"'
    ]


def test_a_whole_number_is_a_number_and_a_whole_float_an_integer() -> None:
    assert SchemaCheck({"type": "number"}).problems(1) == []
    assert SchemaCheck({"type": "integer"}).problems(1.0) == []
    assert SchemaCheck({"type": "integer"}).problems(1.5) != []


def test_one_of_is_exactly_one_and_any_of_at_least_one() -> None:
    branches = [{"type": "integer"}, {"type": "number"}]
    assert SchemaCheck({"anyOf": branches}).problems(1) == []
    assert "more than one" in SchemaCheck({"oneOf": branches}).problems(1)[0]


@pytest.mark.parametrize("place", ["$defs", "definitions"])
def test_references_inside_of_the_schema_are_followed_also_to_itself(place: str) -> None:
    node = {"type": "object", "properties": {"next": {"$ref": f"#/{place}/node"}}}
    check = SchemaCheck({"$ref": f"#/{place}/node", place: {"node": node}})
    assert check.problems({"next": {"next": {}}}) == []
    assert check.problems({"next": {"next": 7}}) == ['at /next/next: 7 is not of type "object"']


@pytest.mark.parametrize("reference", ["http://example.invalid/a.json", "file:///etc/passwd", "#/nowhere"])
def test_a_reference_that_leads_elsewhere_is_refused_and_nothing_is_fetched(reference: str) -> None:
    with pytest.raises(ValueError, match="no schema of JSON Schema"):
        SchemaCheck({"$ref": reference})


def test_limits_formats_and_unique_items_are_those_of_the_standard() -> None:
    assert SchemaCheck({"exclusiveMinimum": 3}).problems(3) != []
    assert SchemaCheck({"uniqueItems": True}).problems([1, 1]) != []
    assert SchemaCheck({"multipleOf": 0.1}).problems(0.3) == []
    assert SchemaCheck({"const": {"a": [1]}}).problems({"a": [1]}) == []
    assert SchemaCheck({"format": "email"}).problems("no mail") == []  # an annotation, as in the standard


@pytest.mark.parametrize(
    ("shorthand", "fits", "not_"),
    [
        ("string", "x", 1),
        ("int", 1, "x"),
        ("dict", {}, []),
        ({"path": "string"}, {"path": "a"}, {}),
        (
            {"path": "string", "limit": {"type": "int", "required": False}},
            {"path": "a"},
            {"path": "a", "limit": "x"},
        ),
        ({"type": "list", "items": "int"}, [1], ["a"]),
        ({"type": ["int", "null"]}, None, "x"),
        ({"type": "string", "nullable": True}, None, 1),
        ({"properties": {"type": "string"}, "type": "object"}, {"type": "x"}, {"type": 1}),
    ],
)
def test_shorthands_of_surfaces_are_schemas_too(shorthand: Any, fits: Any, not_: Any) -> None:
    check = SchemaCheck(shorthand)
    assert check.problems(fits) == []
    assert check.problems(not_) != []


@pytest.mark.parametrize("word", ["anything", "", True, {}])
def test_what_says_no_type_takes_every_value(word: Any) -> None:
    assert SchemaCheck(word).problems({"x": [1, None]}) == []


def test_false_takes_no_value() -> None:
    assert SchemaCheck(False).problems(1) != []


@pytest.mark.parametrize(
    "nonsense",
    [
        {"type": "strin"},
        {"type": 7},
        {"type": "number", "minimum": "x"},
        {"type": "object", "required": "a"},
        7,
        [],
        None,
    ],
)
def test_what_is_no_schema_is_refused(nonsense: Any) -> None:
    with pytest.raises(ValueError, match="schema"):
        SchemaCheck(nonsense)


def test_a_pattern_that_would_take_for_ever_is_given_up_and_does_not_fit() -> None:
    for pattern in ("^(a+)+$", "^(a|aa)+(?!x)$", "(.*)*b(?=c)"):
        assert SchemaCheck({"pattern": pattern}).problems("a" * 5_000 + "b!") != []


def test_what_is_said_is_cut_and_there_is_not_too_much_of_it() -> None:
    problems = SchemaCheck({"items": {"type": "integer"}}).problems(["x" * 10_000] * 50)
    assert len(problems) == PROBLEMS_MAX + 1
    assert max(map(len, problems)) <= PROBLEM_CHARS_MAX


KEYS = ["type", "properties", "items", "anyOf", "$ref", "required", "x", "nullable"]
json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=12,
)


@given(schema=json, value=json)
def test_whatever_it_is_it_is_a_schema_or_refused_and_never_breaks(schema: Any, value: Any) -> None:
    try:
        check = SchemaCheck(schema)
    except ValueError:
        return
    assert isinstance(check.problems(value), list)


def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema: Any = {}
    for _ in range(150):
        schema = {"items": schema}
    with pytest.raises(ValueError, match="nested deeper"):
        full(schema)


# How long it may take.


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def either(ways: int) -> dict[str, Any]:
    """A schema that tries so many ways at each level of a list."""
    way = {"type": "array", "items": {"$ref": "#/$defs/n"}}
    return {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [way] * ways}}}


def doubling(levels: int) -> dict[str, Any]:
    """A schema that leads to the next part twice, and so often to the last that nobody can count there."""
    parts = {f"p{n}": {"allOf": [{"$ref": f"#/$defs/p{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/p0", "$defs": parts | {f"p{levels}": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (either(2), nested(150)),
        (either(9), nested(12)),
        (doubling(60), 1),
        ({"items": {"anyOf": [{"const": n} for n in range(3_000)]}}, list(range(3_000, 23_000))),
        ({"items": {"not": {"pattern": "^(a|aa)+(?!x)$"}}}, ["a" * 20 + "!"] * 20_000),
        ({"patternProperties": {f"^k{n}": {} for n in range(100)}}, {f"x{n}": 1 for n in range(50_000)}),
    ],
)
def test_what_would_keep_everybody_waiting_is_not_looked_at_and_does_not_fit(schema: Any, value: Any) -> None:
    assert SchemaCheck(schema).problems(value) == ["at the top: there is too much to look at for this schema"]


def test_the_first_thing_that_is_wrong_with_a_value_that_is_large_is_told_alone() -> None:
    many = list(range(300_000))
    assert SchemaCheck({"items": {"type": "integer"}}).problems(many) == []
    assert SchemaCheck({"items": {"type": "string"}}).problems(many) == ['at /0: 0 is not of type "string"']
    either_ = SchemaCheck({"items": {"anyOf": [{"type": "string"}, {"type": "null"}]}})
    assert either_.problems(many) == ["at some place: it does not fit, and is too large to say where"]
    assert either_.problems([None, "a"]) == []
    assert either_.problems([3])[0].startswith("at /0: 3 is not valid")


def test_a_tree_of_values_is_looked_at_once_at_each_place() -> None:
    tree: Any = {"value": 1, "next": []}
    for _ in range(30):
        tree = {"value": 1, "next": [tree, {"value": 2, "next": []}]}
    node = {"properties": {"value": {"type": "integer"}, "next": {"items": {"$ref": "#"}}}}
    assert SchemaCheck(node).problems(tree) == []
    assert Cost(node).of({"value": 1, "next": []}, 100) == 3
    assert Cost({"type": "array", "items": {"type": "string"}}).of(["a", "b"], 100) == 3


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"a": {"$id": "http://a.invalid/", "$ref": "#"}}, "$ref": "http://a.invalid/"},
        {"$defs": {"a": {"$id": "http://a.invalid/"}, "b": {}}, "$ref": "#/$defs/b"},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$id": "http://a.invalid/b", "$ref": "b#/$defs/c", "$defs": {"c": {}}},
    ],
)
def test_a_reference_that_can_be_read_in_two_ways_is_not_followed(schema: Any) -> None:
    with pytest.raises(ValueError, match="no schema of JSON Schema 2020-12"):
        SchemaCheck(schema)


def test_what_only_looks_like_a_reference_is_none() -> None:
    for data in ("enum", "examples"):
        assert SchemaCheck({data: [{"$ref": "x", "$id": "y"}]}).problems({"$ref": "x", "$id": "y"}) == []
    assert SchemaCheck({"properties": {"$ref": {"type": "string"}}}).problems({"$ref": "x"}) == []
    anchored = {"$ref": "#n", "$defs": {"a/b": {"$anchor": "n", "type": "integer"}}}
    assert SchemaCheck(anchored).problems("x") != []
    assert SchemaCheck(anchored | {"$ref": "#/$defs/a~1b"}).problems("x") != []


@given(plain_schemas | wild, json_values)
def test_whatever_is_counted_is_counted_alike_each_time_and_ends(schema: Any, value: Any) -> None:
    try:
        cost = Cost(full(schema))
    except ValueError:
        return
    assert 1 <= cost.of(value, 1_000) == cost.of(value, 1_000) <= 1_001
