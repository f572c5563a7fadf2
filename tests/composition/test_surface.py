"""A surface is read in every shape that is around, and whatever is left out is reported."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.composition.surface import Hints, Skipped, Surface, SurfaceTool, read_surface
from playhead.policy.level import Level
from tests.composition import json_values, surfaces, wild


def only(tool: dict[str, Any]) -> SurfaceTool:
    surface = read_surface([{"name": "read", **tool}])
    assert surface.skipped == ()
    return surface.tools[0]


def level(annotations: Any, policy: Any = None) -> Level | None:
    return (
        read_surface([{"name": "x", "annotations": annotations, "policy": policy}])
        .tools[0]
        .annotations.side_effect_level
    )


def skipped(tool: dict[str, Any]) -> Skipped:
    (found,) = read_surface([{"name": "read", **tool}]).skipped
    return found


# Shapes.


@pytest.mark.parametrize(
    "given",
    [
        [{"name": "read"}],
        {"tools": [{"name": "read"}]},
        {"tools": [{"name": "read"}], "name": "a registry"},
        {"name": "read"},
        {"name": "read", "tools": "none"},
        [{"type": "function", "function": {"name": "read"}}],
        {"type": "function", "function": {"name": "read"}},
        [{"name": "", "function": {"name": "read"}}],
    ],
)
def test_a_surface_is_a_list_an_object_with_tools_or_one_tool(given: Any) -> None:
    surface = read_surface(given)

    assert [tool.name for tool in surface.tools] == ["read"]
    assert surface.skipped == ()


@pytest.mark.parametrize("given", [None, 3, "read", {}, {"tools": {"read": {}}}, {"name": 3}])
def test_anything_else_has_no_tools_and_says_so(given: Any) -> None:
    (found,) = read_surface(given).skipped

    assert read_surface(given).tools == ()
    assert (found.place, found.tool) == ("", None)
    assert "is not a surface" in found.reason


def test_an_empty_surface_leaves_nothing_out() -> None:
    assert read_surface([]) == read_surface({"tools": []}) == Surface()


def test_a_provider_native_tool_is_read_from_its_function() -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    function = {"name": "read", "description": "Reads.", "parameters": schema, "defer_loading": True}
    (tool,) = read_surface([{"type": "function", "function": function}]).tools

    assert (tool.name, tool.description, tool.input_schema) == ("read", "Reads.", schema)
    assert (tool.source, tool.deferred) == ("provider_native", True)


def test_a_name_at_the_top_comes_before_that_of_the_function() -> None:
    assert only({"function": {"name": "other"}}).name == "read"


# What is left out.


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ("read", "a text is not a tool"),
        (None, "null is not a tool"),
        ([], "a list is not a tool"),
        ({}, "it has no name"),
        ({"name": "  "}, "it has no name"),
        ({"name": 3, "function": {"name": None}}, "it has no name"),
        ({"name": "x", "metadata": {"a": float("nan")}}, "the tool: nan is not a finite number."),
        ({"name": "x", "metadata": {"a": 2**64}}, "the tool: an integer does not fit 64 bits."),
        ({"name": "x", "metadata": {1: 2}}, "the tool: the key 1 is not a text."),
    ],
)
def test_an_element_that_is_no_tool_is_left_out_with_the_reason(element: Any, reason: str) -> None:
    surface = read_surface({"tools": [{"name": "a"}, element, {"name": "b"}]})

    assert [tool.name for tool in surface.tools] == ["a", "b"]
    (found,) = surface.skipped
    assert found.place == "/tools/1"
    assert found.reason.startswith(reason)


def test_a_name_that_no_log_holds_is_reported_in_a_form_that_one_does() -> None:
    (found,) = read_surface([{"name": "a\ud800"}]).skipped

    assert found.tool == "a?"
    assert "surrogate" in found.reason


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"description": 3}, "/0/description"),
        ({"namespace": []}, "/0/namespace"),
        ({"examples": "many"}, "/0/examples"),
        ({"inputSchema": 3}, "/0/inputSchema"),
        ({"returns": []}, "/0/returns"),
        ({"function": {"parameters": 3}}, "/0/function/parameters"),
        ({"annotations": "safe"}, "/0/annotations"),
        ({"annotations": {"kind": "telepathy"}}, "/0/annotations"),
        ({"annotations": {"capabilities": {"fs": "read"}}}, "/0/annotations"),
        ({"annotations": {"readOnlyHint": "yes"}}, "/0/annotations"),
        ({"policy": {"side_effect_level": "telepathy"}}, "/0/policy"),
        ({"policy": {"path_params": [""]}}, "/0/policy"),
    ],
)
def test_a_part_that_cannot_be_read_is_not_said_and_the_tool_stays(part: dict[str, Any], place: str) -> None:
    found = skipped(part)

    assert (found.place, found.tool) == (place, "read")
    assert found.reason


# Description, namespace, examples.


@pytest.mark.parametrize(
    ("tool", "description"),
    [
        ({"description": "Reads."}, "Reads."),
        ({"description": "", "function": {"description": "Inner."}}, "Inner."),
        ({"description": "Outer.", "function": {"description": "Inner."}}, "Outer."),
        ({"description": ""}, None),
        ({}, None),
    ],
)
def test_an_empty_description_is_none_and_falls_back_to_the_function(
    tool: dict[str, Any], description: str | None
) -> None:
    assert only(tool).description == description


def test_namespace_and_examples_are_taken_as_they_are() -> None:
    tool = only({"namespace": "fs", "examples": [{"path": "a"}]})

    assert (tool.namespace, tool.examples) == ("fs", [{"path": "a"}])


# Schemas.


def test_the_first_input_schema_that_is_there_counts() -> None:
    said = {"inputSchema": {"a": 1}, "input_schema": {"b": 1}, "parameters": {"c": 1}}
    said["function"] = {"parameters": {"d": 1}}  # type: ignore[dict-item]
    for key, found in [("inputSchema", "a"), ("input_schema", "b"), ("parameters", "c"), ("function", "d")]:
        assert only(said).input_schema == {found: 1}
        del said[key]
    assert only(said).input_schema == {"type": "object"}


def test_the_first_output_schema_that_is_there_counts() -> None:
    said: dict[str, Any] = {"outputSchema": {"a": 1}, "output_schema": {"b": 1}, "returns": {"c": 1}}
    said["function"] = {"x-acme-output-schema": {"d": 1}}
    for key, found in [("outputSchema", "a"), ("output_schema", "b"), ("returns", "c"), ("function", "d")]:
        assert only(said).output_schema == {found: 1}
        del said[key]
    assert only(said).output_schema is None


def test_the_extension_without_a_vendor_comes_first() -> None:
    function = {"x-acme-output-schema": {"a": 1}, "x-output-schema": {"b": 1}}

    assert only({"function": function}).output_schema == {"b": 1}


def test_a_schema_of_null_is_not_there_and_true_and_a_word_are_schemas() -> None:
    assert only({"inputSchema": None, "parameters": True}).input_schema is True
    assert only({"outputSchema": "string"}).output_schema == "string"


# Source.


@pytest.mark.parametrize(
    ("tool", "source", "deferred"),
    [
        ({}, "playhead", False),
        ({"executor": "host_bridge", "mcp_server": "docs"}, "host_bridge", False),
        ({"executor": {"kind": "x"}}, "playhead", False),
        ({"_mcp_server": "docs", "function": {}}, "mcp_server", False),
        ({"mcp_server": "docs", "defer_loading": True}, "mcp_server", True),
        ({"mcp_server": None}, "playhead", False),
        ({"function": {"defer_loading": True}}, "provider_native", True),
        ({"function": {"defer_loading": True}, "defer_loading": False}, "provider_native", False),
        ({"defer_loading": True}, "deferred", True),
        ({"executor": "deferred"}, "deferred", True),
        ({"executor": "deferred", "defer_loading": False}, "deferred", False),
        ({"defer_loading": "yes"}, "playhead", False),
    ],
)
def test_the_source_is_the_executor_the_server_the_provider_the_deferral_or_our_own(
    tool: dict[str, Any], source: str, *, deferred: bool
) -> None:
    assert (only(tool).source, only(tool).deferred) == (source, deferred)


# Metadata.


@pytest.mark.parametrize(
    ("tool", "metadata"),
    [
        ({}, {}),
        ({"metadata": {"a": 1}, "_meta": {"b": 1}}, {"a": 1}),
        ({"metadata": "x", "_meta": {"b": 1}}, {"b": 1}),
        ({"_mcp_server": "docs", "_mcp_tool_name": "r"}, {"_mcp_server": "docs", "_mcp_tool_name": "r"}),
        ({"metadata": {"mcp_server": "mine"}, "mcp_server": "yours"}, {"mcp_server": "mine"}),
        ({"mcp_server": None}, {}),
    ],
)
def test_metadata_are_completed_with_what_the_tool_says_of_its_server(
    tool: dict[str, Any], metadata: dict[str, Any]
) -> None:
    assert only(tool).metadata == metadata


# Annotations.


def test_annotations_say_kind_level_capabilities_and_paths_and_unknown_words_are_not_looked_at() -> None:
    said = only(
        {
            "annotations": {
                "title": "Read",
                "kind": "read",
                "side_effect_level": "read_only",
                "capabilities": {"fs": ["read"]},
                "arg_schema": {"path_params": ["path"], "arg_aliases": {"p": "path"}},
                "emits_artifacts": False,
            }
        }
    ).annotations

    assert (said.kind, said.side_effect_level) == ("read", "read_only")
    assert said.capabilities == {"fs": {"read"}}
    assert said.path_params == {"path"}


def test_a_policy_may_name_its_paths_loosely() -> None:
    assert only({"policy": {"path_params": ["a"]}}).annotations.path_params == {"a"}
    both = {"path_params": ["a"], "arg_schema": {"path_params": ["b"]}}
    assert only({"policy": both}).annotations.path_params == {"b"}


def test_annotations_come_before_the_policy_word_by_word() -> None:
    said = {"kind": "read", "readOnlyHint": True}
    policy = {"kind": "edit", "side_effect_level": "network"}
    tool = only({"annotations": said, "policy": policy})

    assert (tool.annotations.kind, tool.annotations.side_effect_level) == ("read", "network")


def test_what_nobody_said_is_not_declared() -> None:
    said = only({}).annotations

    assert (said.kind, said.side_effect_level, said.capabilities, said.path_params) == (
        "other",
        None,
        None,
        None,
    )


def test_an_unknown_level_makes_all_the_annotations_unreadable_and_the_policy_is_asked() -> None:
    annotations = {"kind": "read", "side_effect_level": "telepathy"}
    surface = read_surface([{"name": "x", "annotations": annotations, "policy": {"kind": "edit"}}])

    assert surface.tools[0].annotations.kind == "edit"
    assert surface.tools[0].annotations.side_effect_level is None
    assert "telepathy" in surface.skipped[0].reason
    assert level(annotations, {"side_effect_level": "read_only"}) == "read_only"


def test_a_policy_holds_for_its_own_element_and_not_for_another_of_that_name() -> None:
    lenient = {"name": "x", "policy": {"side_effect_level": "read_only"}}

    assert read_surface([lenient, {"name": "x"}]).tools[1].annotations.side_effect_level is None


# Hints.


@pytest.mark.parametrize(
    ("hints", "found"),
    [
        ({}, None),
        ({"title": "x", "idempotentHint": True, "openWorldHint": False}, None),
        ({"destructiveHint": False}, None),
        ({"readOnlyHint": None}, None),
        ({"readOnlyHint": True}, "read_only"),
        ({"readOnlyHint": True, "openWorldHint": True}, "read_only"),
        ({"readOnlyHint": True, "destructiveHint": True}, "network"),
        ({"readOnlyHint": False}, "network"),
        ({"destructiveHint": True}, "network"),
        ({"destructiveHint": True, "openWorldHint": False}, "workspace_write"),
        ({"side_effect_level": "none", "readOnlyHint": True}, "none"),
        ({"side_effect_level": "network", "readOnlyHint": True}, "network"),
        ({"side_effect_level": "workspace_write", "destructiveHint": True}, "workspace_write"),
        ({"side_effect_level": "none", "destructiveHint": True}, "workspace_write"),
        ({"side_effect_level": "read_only", "readOnlyHint": False}, "workspace_write"),
    ],
)
def test_hints_give_a_level_where_none_is_declared_and_never_lower_one(
    hints: dict[str, Any], found: str | None
) -> None:
    assert level(hints) == found


def test_a_hint_that_warns_is_believed_in_annotations_that_cannot_be_read() -> None:
    unreadable = {"side_effect_level": "telepathy", "destructiveHint": True}

    assert level(unreadable) == "network"
    assert level(unreadable, {"side_effect_level": "read_only"}) == "workspace_write"
    assert level({"kind": 3, "readOnlyHint": False}, {"readOnlyHint": True}) == "network"
    assert level({"kind": 3, "readOnlyHint": True}) is None


def test_hints_are_kept_as_they_were_given() -> None:
    tool = only({"annotations": {"idempotentHint": True, "openWorldHint": False, "destructiveHint": None}})

    assert tool.hints == Hints(idempotent=True, open_world=False)
    assert tool.hints.document() == {"idempotentHint": True, "openWorldHint": False}


# Copies.


def test_a_tool_shares_nothing_with_its_surface() -> None:
    said: dict[str, Any] = {"name": "x", "inputSchema": {"properties": {}}, "metadata": {"a": []}}
    tool = read_surface([said]).tools[0]
    said["inputSchema"]["properties"]["a"] = 1
    said["metadata"]["a"].append(1)

    assert (tool.input_schema, tool.metadata) == ({"properties": {}}, {"a": []})


# Anything.


@settings(max_examples=500)
@given(wild | st.lists(st.fixed_dictionaries({"name": st.just("x")}, optional={"annotations": wild})))
def test_reading_never_raises_and_every_element_is_a_tool_or_reported(anything: Any) -> None:
    surface = read_surface(anything)

    elements = anything.get("tools") if isinstance(anything, dict) else anything
    if isinstance(elements, list):
        dropped = [found for found in surface.skipped if re.fullmatch(r"(/tools)?/[0-9]+", found.place)]
        assert len(surface.tools) + len(dropped) == len(elements)
    else:
        assert surface.tools or surface.skipped
    assert all(found.reason for found in surface.skipped)


@given(json_values)
def test_reading_takes_whatever_a_json_parser_gives(value: Any) -> None:
    text = json.dumps([{"name": "x", "metadata": {"a": value}}])

    assert read_surface(json.loads(text)).tools[0].metadata == {"a": value}


@given(surfaces)
def test_the_order_of_a_surface_is_kept(surface: list[dict[str, Any]]) -> None:
    assert [tool.name for tool in read_surface(surface).tools] == [tool["name"] for tool in surface]
