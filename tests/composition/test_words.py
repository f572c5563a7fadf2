"""Which words of a snippet are tools, which are helpers, and which are nothing: one test for each rule."""

from typing import Any

import pytest

from playhead.composition.bindings import bindings_of
from playhead.composition.manifest import ManifestOptions, build_manifest
from playhead.snippet.check import Checked, check
from playhead.snippet.diagnostic import Diagnostic

REACHES_OUTSIDE = [
    "append_file",
    "ask_user",
    "connector_call",
    "copy_file",
    "delete_file",
    "dual_control",
    "escalate_to",
    "event_log_emit",
    "exec",
    "host_call",
    "host_tool_call",
    "http_delete",
    "http_download",
    "http_get",
    "http_patch",
    "http_post",
    "http_put",
    "http_request",
    "llm_call",
    "mcp_call",
    "mcp_connect",
    "pg_execute",
    "pg_query",
    "request_approval",
    "secret_get",
    "write_file",
]
PURE = [
    "Ok",
    "Err",
    "abs",
    "assert_eq",
    "assert_ne",
    "base64_decode",
    "base64_encode",
    "ceil",
    "contains",
    "dedup_by",
    "dirname",
    "entries",
    "ends_with",
    "flat_map",
    "floor",
    "format",
    "group_by",
    "hash_value",
    "hex_decode",
    "hex_encode",
    "is_err",
    "is_ok",
    "join",
    "jq",
    "jq_first",
    "json_extract",
    "json_parse",
    "json_pointer",
    "json_stringify",
    "keys",
    "len",
    "lower",
    "map_bounded",
    "parse_float_or",
    "parse_int_or",
    "split",
    "starts_with",
    "to_float",
    "to_int",
    "to_string",
    "trim",
    "upper",
    "values",
]


def found(snippet: str, *tools: dict[str, Any], **options: Any) -> list[Diagnostic]:
    manifest = build_manifest(
        [{"annotations": {"side_effect_level": "read_only"}, **tool} for tool in tools],
        ManifestOptions(**options),
    )
    checked = check(snippet, bindings_of(manifest))
    return [] if isinstance(checked, Checked) else list(checked)


@pytest.mark.parametrize("name", [*REACHES_OUTSIDE, "event_log.emit", "nobody_knows_me"])
def test_what_reaches_outside_is_refused_where_no_tool_has_its_name(name: str) -> None:
    for snippet in (f"return {name}()", f"if False:\n    {name}(1)", f"call = {name}\nreturn call()"):
        assert found(snippet), snippet


@pytest.mark.parametrize("name", REACHES_OUTSIDE)
def test_a_tool_may_have_a_name_that_reaches_outside_and_is_decided_about_like_any_other(name: str) -> None:
    assert found(f"return {name}()", {"name": name}) == []
    assert found(f"return {name}()", {"name": name}, gated_tools=[name]) == []
    for included in (False, True):
        (denied,) = found(f"{name}()", {"name": name}, denied_tools=[name], include_denied=included)
        assert ("denied" in denied.message) is included


@pytest.mark.parametrize("name", PURE)
def test_every_pure_helper_is_known_and_no_tool_takes_its_name(name: str) -> None:
    assert found(f"call = {name}\nreturn 1") == []
    (entry,) = build_manifest([{"name": name}], ManifestOptions(vouched_tools=[name])).entries
    assert entry.binding == f"tool_{name}"


def test_a_function_of_the_snippet_is_called_like_a_helper_and_assert_is_a_statement() -> None:
    assert found("def twice(n):\n    return n * 2\nassert twice(2) == 4\nreturn twice(3)") == []


@pytest.mark.parametrize(
    "snippet",
    [
        "import os",
        "from os import path",
        "__import__('os')",
        "async def f():\n    pass",
        "yield 1",
        "return len.__class__",
        "return search.__call__(query='a')",
        "return getattr(search, 'x')",
    ],
)
def test_no_snippet_imports_spawns_or_looks_behind_a_value(snippet: str) -> None:
    assert found(snippet, {"name": "search"})


def test_whatever_a_tool_is_called_no_word_of_its_name_becomes_part_of_a_program() -> None:
    names = ["a\nimport os", "q\"'`", "é漢", "../x", "${x}", "f{1}", "\u202e", "x" * 5_000, "__import__"]
    manifest = build_manifest([{"name": name} for name in names], ManifestOptions(vouched_tools=names))

    assert [entry.name for entry in manifest.entries] != names
    assert {entry.name for entry in manifest.entries} == set(names)
    for entry in manifest.entries:
        assert entry.binding.isascii()
        assert isinstance(check(f"return {entry.binding}()", bindings_of(manifest)), Checked)
