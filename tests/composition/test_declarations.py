"""Declarations say what can be called and how, as far as a schema can be said, and nothing becomes code."""

import ast
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.composition.declarations import (
    DESCRIPTION_CHARS_MAX,
    api_text,
    python_stub,
    typescript_declarations,
)
from playhead.composition.examples import EXAMPLES, search_examples
from playhead.composition.manifest import Manifest, ManifestOptions, build_manifest
from playhead.composition.schema_types import NODES_MAX, parameters_of, type_of
from playhead.composition.surface import read_surface
from tests.composition import plain_schemas, surfaces, texts, wild

PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
WRITERS = pytest.mark.parametrize("written", [typescript_declarations, python_stub, api_text])


def manifest_of(*tools: dict[str, Any], **options: Any) -> Manifest:
    levelled = [{"annotations": {"side_effect_level": "read_only"}, **tool} for tool in tools]
    return build_manifest(levelled, ManifestOptions(**options))


def typescript(schema: Any) -> str:
    """The type of `schema` as an output."""
    text = typescript_declarations(manifest_of({"name": "x", "outputSchema": schema}))
    return text.splitlines()[-1].partition("Promise<")[2].removesuffix(">;")


def python(schema: Any) -> str:
    """The type of `schema` as an output, with the classes that it needs."""
    text = python_stub(manifest_of({"name": "x", "outputSchema": schema}))
    *classes, function = [line for line in text.splitlines()[3:] if line]
    return "\n".join([*classes, function.partition(" -> ")[2].removesuffix(": ...")])


def signature(schema: Any) -> str:
    """What stands in brackets after the name, for `schema` as an input."""
    text = python_stub(manifest_of({"name": "x", "inputSchema": schema}))
    return text.splitlines()[-1].removeprefix("def x(").removesuffix(") -> JsonValue: ...")


# What is declared.


@WRITERS
def test_only_allowed_bindings_are_declared(written: Any) -> None:
    text = written(
        manifest_of(
            *({"name": name} for name in ("yes", "ask", "no")),
            gated_tools=["ask"],
            denied_tools=["no"],
            include_denied=True,
        )
    )

    assert "yes" in text
    assert "ask" not in text
    assert " no" not in text


def test_typescript_has_two_types_an_empty_line_and_one_line_for_each_binding() -> None:
    text = typescript_declarations(
        manifest_of(
            {"name": "read.file", "inputSchema": PATH, "outputSchema": {"type": "string"}}, {"name": "a"}
        )
    )

    assert text.splitlines()[1:] == [
        "export type CompositionToolResult = JsonValue;",
        "",
        "export declare function a(args: { [key: string]: JsonValue }): Promise<CompositionToolResult>;",
        "export declare function read_file(args: { path: string }): Promise<string>;",
    ]
    assert text.startswith("export type JsonValue = ")


def test_a_binding_that_is_a_word_of_typescript_is_exported_under_its_name() -> None:
    text = typescript_declarations(manifest_of({"name": "delete"}))

    assert "declare function delete_(" in text
    assert text.endswith("export { delete_ as delete };\n")


def test_a_stub_is_python_with_a_function_for_each_binding() -> None:
    text = python_stub(manifest_of({"name": "read.file", "inputSchema": PATH}))

    assert text == (
        "from typing import Literal, NotRequired, TypeAlias, TypedDict, Unpack\n"
        "\n"
        'JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"\n'
        "\n"
        "def read_file(path: str) -> JsonValue: ...\n"
    )


def test_api_text_says_the_language_and_where_a_tool_comes_from() -> None:
    text = api_text(
        manifest_of(
            {"name": "docs__read", "_mcp_server": "docs", "_mcp_tool_name": "read", "description": "Reads."},
            {"name": "docs__find", "mcp_server": "docs"},
            {"name": "host", "executor": "host_bridge"},
            {"name": "own"},
        )
    )
    lines = text.splitlines()

    assert lines[0].startswith("# snippet/1 ")
    assert 'read_file(path="a")' in lines[1]
    assert lines[2].startswith("JsonValue = ")
    assert lines[3:] == [
        "",
        "# MCP docs/docs__find -> docs_find",
        "def docs_find(**args: JsonValue) -> JsonValue: ...",
        "",
        "# MCP docs/read -> docs_read",
        "# Reads.",
        "def docs_read(**args: JsonValue) -> JsonValue: ...",
        "",
        "# host_bridge -> host",
        "def host(**args: JsonValue) -> JsonValue: ...",
        "",
        "def own(**args: JsonValue) -> JsonValue: ...",
    ]


# Parameters.


def test_required_parameters_stand_in_the_order_of_the_schema_and_optional_ones_are_by_keyword() -> None:
    schema = {"properties": {name: {"type": "string"} for name in "abcd"}, "required": ["d", "b"]}

    assert signature(schema) == "d: str, b: str, *, a: str = ..., c: str = ..."


def test_the_order_of_parameters_follows_from_what_is_hashed() -> None:
    properties = {"a": {"type": "string"}, "b": {"type": "string"}}
    one = {"properties": properties, "required": ["b", "a"]}
    turned = {"required": ["b", "a"], "properties": dict(reversed(properties.items()))}
    other = {"properties": properties, "required": ["a", "b"]}

    assert signature(one) == signature(turned) != signature(other)
    hashes = [manifest_of({"name": "x", "inputSchema": schema}).hash for schema in (one, turned, other)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("schema", [{"type": "object"}, {}, True, "dict", {"$ref": "#/nowhere"}])
def test_a_tool_that_names_no_parameters_takes_any(schema: Any) -> None:
    assert signature(schema) == "**args: JsonValue"


def test_a_map_takes_any_names_with_values_of_its_type() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert signature(schema) == "**args: int"


@pytest.mark.parametrize("name", ["a-b", "class", "größe", "2", "", "__debug__"])
def test_parameters_of_which_one_is_no_identifier_are_given_as_a_dictionary(name: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"}}}
    assert signature(schema) == "**args: Unpack[XArgs]"


def test_a_choice_of_objects_takes_the_members_of_all_and_requires_what_each_requires() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "integer"}},
        "required": ["c"],
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    }

    assert signature(schema) == "c: int, *, a: str = ..., b: str = ..."


def test_parameters_are_told_by_name_with_the_required_ones_in_the_order_of_the_schema() -> None:
    schema = {"properties": {"a-b": {}, "c": {}, "d": {}}, "required": ["d", "a-b"]}

    assert parameters_of(schema) == (("a-b", "c", "d"), ("d", "a-b"))
    assert parameters_of({"type": "object"}) is None
    assert parameters_of({"type": "string"}) is None
    assert signature({"type": "string"}) == "**args: JsonValue"


def test_what_is_required_and_not_described_is_a_parameter_too() -> None:
    assert signature({"type": "object", "required": ["a"]}) == "a: JsonValue"


# Types.


@pytest.mark.parametrize(
    ("schema", "in_typescript", "in_python"),
    [
        ("string", "string", "str"),
        ("int", "number", "int"),
        ("float", "number", "float"),
        ("bool", "boolean", "bool"),
        ("list", "JsonValue[]", "list[JsonValue]"),
        ("dict", "{ [key: string]: JsonValue }", "dict[str, JsonValue]"),
        ("date", "JsonValue", "JsonValue"),
        (True, "JsonValue", "JsonValue"),
        (False, "JsonValue", "JsonValue"),
        ({}, "JsonValue", "JsonValue"),
        ({"description": "Anything."}, "JsonValue", "JsonValue"),
        ({"minLength": 3}, "JsonValue", "JsonValue"),
        ({"not": {"type": "string"}}, "JsonValue", "JsonValue"),
        ({"type": "telepathy"}, "JsonValue", "JsonValue"),
        ({"type": "integer"}, "number", "int"),
        ({"type": "null"}, "null", "None"),
        ({"type": "array"}, "JsonValue[]", "list[JsonValue]"),
        ({"items": {"type": "string"}}, "string[]", "list[str]"),
        (
            {"type": "object", "additionalProperties": False},
            "{ [key: string]: JsonValue }",
            "dict[str, JsonValue]",
        ),
        ({"additionalProperties": {"type": "number"}}, "{ [key: string]: number }", "dict[str, float]"),
    ],
)
def test_a_type_is_written_in_both_languages(schema: Any, in_typescript: str, in_python: str) -> None:
    assert (typescript(schema), python(schema)) == (in_typescript, in_python)


@pytest.mark.parametrize(
    ("schema", "in_typescript", "in_python"),
    [
        ({"type": ["string", "null"]}, "string | null", "str | None"),
        ({"type": ["integer", "number"]}, "number", "int | float"),
        ({"type": []}, "JsonValue", "JsonValue"),
        ({"type": "string", "nullable": True}, "string | null", "str | None"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "string | number", "str | int"),
        ({"oneOf": [{"type": "string"}, {"type": "string"}]}, "string", "str"),
        ({"anyOf": [{"type": "string"}, {}]}, "JsonValue", "JsonValue"),
        ({"anyOf": []}, "JsonValue", "JsonValue"),
        ({"type": "string", "anyOf": [{"minLength": 1}, {"pattern": "a"}]}, "string", "str"),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, "string", "str"),
        ({"items": {"type": ["string", "null"]}}, "(string | null)[]", "list[str | None]"),
    ],
)
def test_choices_become_unions_and_what_holds_along_with_them_stays(
    schema: Any, in_typescript: str, in_python: str
) -> None:
    assert (typescript(schema), python(schema)) == (in_typescript, in_python)


@pytest.mark.parametrize(
    ("values", "in_typescript", "in_python"),
    [
        (["a", "b"], '"a" | "b"', 'Literal["a", "b"]'),
        (['"', "\\", "\n", "'"], r'"\"" | "\\" | "\n" | "' + "'\"", r"""Literal["\"", "\\", '\n', "'"]"""),
        (["\u2028", "ü"], r'"\u2028" | "ü"', r"""Literal['\u2028', "ü"]"""),
        ([1, True, None], "1 | true | null", "Literal[1, True, None]"),
        ([None], "null", "None"),
        ([1.5], "JsonValue", "JsonValue"),
        ([], "JsonValue", "JsonValue"),
    ],
)
def test_an_enum_becomes_a_union_of_quoted_values(values: Any, in_typescript: str, in_python: str) -> None:
    assert (typescript({"enum": values}), python({"enum": values})) == (in_typescript, in_python)


def test_a_constant_is_an_enum_of_one_and_a_value_that_cannot_be_written_falls_back_on_its_type() -> None:
    assert typescript({"const": "a"}) == '"a"'
    assert typescript({"anyOf": [{"const": 1}, {"const": True}]}) == "1 | true"
    assert typescript({"type": "number", "enum": [0.5]}) == "number"
    assert typescript({"items": {"enum": ["a", "b"]}}) == '("a" | "b")[]'


def test_an_object_has_its_members_sorted_and_quoted_where_they_are_no_identifiers() -> None:
    schema = {"properties": {"b": {"type": "string"}, "a-c": {"type": "integer"}}, "required": ["b"]}

    assert typescript(schema) == '{ "a-c"?: number; b: string }'
    assert python(schema) == ('XResult = TypedDict("XResult", {"a-c": NotRequired[int], "b": str})\nXResult')
    del schema["properties"]["a-c"]  # type: ignore[attr-defined]
    assert python(schema) == "class XResult(TypedDict):\n    b: str\nXResult"


@pytest.mark.parametrize("name", ["str", "list", "__a", "None", "Upper"])
def test_a_member_that_would_hide_a_type_is_written_as_a_text(name: str) -> None:
    assert "TypedDict(" in python({"properties": {name: {}}}).replace("(TypedDict)", "")


def test_objects_inside_of_objects_have_classes_of_their_own() -> None:
    inner = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}
    schema = {"properties": {"many": {"items": inner}, "one": inner}, "required": ["many", "one"]}

    assert python(schema).splitlines() == [
        "class XResultManyItem(TypedDict):",
        "    n: int",
        "class XResultOne(TypedDict):",
        "    n: int",
        "class XResult(TypedDict):",
        "    many: list[XResultManyItem]",
        "    one: XResultOne",
        "XResult",
    ]


def test_a_shorthand_maps_names_to_types_and_each_is_required_unless_it_says_no() -> None:
    shorthand = {"path": "string", "limit": {"type": "int", "required": False}, "items": "list"}

    assert typescript(shorthand) == "{ items: JsonValue[]; limit?: number; path: string }"
    assert signature(shorthand) == "items: list[JsonValue], path: str, *, limit: int = ..."


# References.


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("#/$defs/a", "string"),
        ("#/definitions/b", "number"),
        ("#/$defs/c~1d~0%20e", "boolean"),
        ("#/$defs/f/oneOf/1", "null"),
        ("#/$defs/again", "string"),
        ("#/$defs/f/oneOf/7", "JsonValue"),
        ("#/$defs/missing", "JsonValue"),
        ("#/$defs/loop", "JsonValue"),
        ("#anchor", "JsonValue"),
        ("https://example.org/schema", "JsonValue"),
    ],
)
def test_a_reference_is_followed_inside_of_the_schema(ref: str, found: str) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"$ref": ref}},
        "required": ["x"],
        "$defs": {
            "a": {"type": "string"},
            "again": {"$ref": "#/$defs/a"},
            "c/d~ e": {"type": "boolean"},
            "f": {"oneOf": [{"type": "string"}, {"type": "null"}]},
            "loop": {"$ref": "#/$defs/loop"},
        },
        "definitions": {"b": {"type": "integer"}},
    }

    assert typescript(schema) == f"{{ x: {found} }}"


def test_a_schema_that_refers_to_itself_is_followed_once() -> None:
    tree = {"properties": {"kids": {"items": {"$ref": "#/$defs/tree"}}, "n": {"type": "integer"}}}

    assert (
        typescript({"$ref": "#/$defs/tree", "$defs": {"tree": tree}}) == "{ kids?: JsonValue[]; n?: number }"
    )
    assert typescript({"properties": {"kids": {"items": {"$ref": "#"}}}}) == "{ kids?: JsonValue[] }"


def test_objects_that_must_all_fit_are_one_object() -> None:
    schema = {
        "allOf": [
            {"$ref": "#/$defs/base"},
            {"properties": {"b": {"type": "integer"}, "a": {"minLength": 1}}, "required": ["b"]},
        ],
        "$defs": {"base": {"properties": {"a": {"type": "string"}}, "required": ["a"]}},
    }

    assert typescript(schema) == "{ a: string; b: number }"


def test_a_schema_that_doubles_with_every_reference_is_cut() -> None:
    levels = {
        f"l{n}": {"properties": {side: {"$ref": f"#/$defs/l{n + 1}"} for side in "ab"}} for n in range(40)
    }

    assert len(typescript({"$ref": "#/$defs/l0", "$defs": levels})) < NODES_MAX * 50


def test_a_schema_that_is_deep_is_cut() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        schema = {"type": "array", "items": schema}

    assert typescript(schema).startswith("JsonValue[][]")


# Strangers.


@WRITERS
@pytest.mark.parametrize(
    "text",
    ["\n*/ import os", "\r\nimport os", "\u2028import os", "\x00", '"""', "\u202eimport os", "\x85import os"],
)
def test_what_a_stranger_wrote_stays_on_its_line_and_in_its_quotes(written: Any, text: str) -> None:
    schema = {"properties": {text: {"enum": [text]}}, "required": [text]}
    plain = {"properties": {"a-b": {"enum": ["b"]}}, "required": ["a-b"]}
    tool = {"name": f"x{text}", "executor": f"e{text}", "description": f"d{text}", "inputSchema": schema}
    found = written(manifest_of({**tool, "outputSchema": schema}))
    tame = written(
        manifest_of(
            {"name": "x", "executor": "e", "inputSchema": plain, "outputSchema": plain, "description": "d"}
        )
    )

    assert len(found.splitlines()) == len(tame.splitlines())
    assert found.replace("\n", "").isprintable()
    assert not [line for line in found.splitlines() if line.startswith("import")]


def test_a_long_description_is_cut() -> None:
    lines = api_text(manifest_of({"name": "x", "description": "word " * 500})).splitlines()

    assert max(len(line) for line in lines[3:]) <= DESCRIPTION_CHARS_MAX + 2
    assert lines[4].endswith("…")


def test_a_binding_with_the_name_of_a_type_does_not_hide_it() -> None:
    text = python_stub(
        manifest_of(
            {"name": "JsonValue"},
            {"name": "Literal", "outputSchema": {"enum": ["a"]}},
            {"name": "XResult"},
            {"name": "x", "outputSchema": PATH},
        )
    )

    assert "from typing import Literal as Literal_, NotRequired" in text
    assert "def JsonValue(**args: JsonValue_) -> JsonValue_: ..." in text
    assert 'def Literal(**args: JsonValue_) -> Literal_["a"]: ...' in text
    assert "class XResult2(TypedDict):" in text
    compile(text, "stub", "exec", dont_inherit=True)


@settings(max_examples=200)
@given(surfaces)
def test_declarations_of_python_are_python_with_one_function_for_each_binding(
    surface: list[dict[str, Any]],
) -> None:
    options = ManifestOptions(side_effect_ceiling="desktop_control")
    manifest = build_manifest(surface, options, taken=frozenset({"len", "str"}))
    bindings = [entry.binding for entry in manifest.entries]

    for text in (python_stub(manifest), api_text(manifest)):
        compile(text, "declarations", "exec", dont_inherit=True)
        functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        assert [function.name for function in functions] == bindings
    assert len(typescript_declarations(manifest).splitlines()) == 3 + len(bindings)


@settings(max_examples=300)
@given(wild | plain_schemas)
def test_every_schema_has_a_type_that_is_the_same_each_time(schema: Any) -> None:
    assert type_of(schema) == type_of(schema)
    for tool in read_surface([{"name": "x", "inputSchema": schema, "outputSchema": schema}]).tools:
        manifest = manifest_of({"name": tool.name, "inputSchema": tool.input_schema, "returns": schema})
        ast.parse(python_stub(manifest))
        typescript_declarations(manifest).encode()


# Examples.


def test_there_are_two_examples_and_their_snippets_are_python() -> None:
    assert [example.id for example in EXAMPLES] == ["read-summarize", "search-then-read"]
    for example in EXAMPLES:
        document = example.document()
        assert set(document) == {
            *("id", "title", "language", "snippet", "required_side_effect_level", "tools"),
        }
        assert document["language"] == "snippet/1"
        body = "".join(f"    {line}\n" for line in example.snippet.splitlines())
        called = {
            node.func.id
            for node in ast.walk(ast.parse(f"def snippet():\n{body}"))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert set(example.tools) <= called


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["read-summarize", "search-then-read"]),
        ("  ", ["read-summarize", "search-then-read"]),
        ("MAP_BOUNDED", ["search-then-read"]),
        ('"tools":["read_file"]', ["read-summarize"]),
        ("no such words", []),
    ],
)
def test_examples_are_found_by_their_text_in_whatever_case(query: str, found: list[str]) -> None:
    assert [example.id for example in search_examples(query)] == found


@pytest.mark.parametrize(("limit", "count"), [(-1, 1), (0, 1), (1, 1), (2, 2), (10, 2)])
def test_at_least_one_example_and_at_most_the_limit_are_given(limit: int, count: int) -> None:
    assert len(search_examples("", limit)) == count


@given(texts, st.integers(-3, 12))
def test_whatever_is_asked_for_examples_come_from_the_list(query: str, limit: int) -> None:
    assert set(search_examples(query, limit)) <= set(EXAMPLES)
