"""A manifest says what may be called, decides it once, and can be pinned."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.composition.hashing import canonical_json
from playhead.composition.manifest import (
    Changes,
    Entry,
    Manifest,
    ManifestOptions,
    build_manifest,
    changes_since,
    options_of,
)
from playhead.composition.naming import identifier
from playhead.composition.surface import SurfaceTool
from playhead.errors import BadValue
from tests.composition import json_values, surfaces, tools, wild


def tool(name: str, level: str | None = "read_only", **more: Any) -> dict[str, Any]:
    return {"name": name, "annotations": {"side_effect_level": level}, **more}


SURFACE = [
    tool("read"),
    tool("edit", "workspace_write"),
    tool("send"),
    tool("guess", None),
    tool("pure", "none"),
]


def decided(manifest: Manifest) -> dict[str, str]:
    return {entry.binding: entry.policy.disposition for entry in manifest.entries}


# What is decided.


def test_a_denied_tool_is_denied_before_its_level_is_looked_at() -> None:
    options = ManifestOptions(denied_tools=["edit", "send"], gated_tools=["send"], include_denied=True)
    manifest = build_manifest(SURFACE, options)

    for binding in ("edit", "send"):
        entry = manifest.at(binding)
        assert entry is not None
        assert (entry.policy.disposition, entry.policy.reason) == ("denied", "denied by active tool policy")


def test_a_level_above_the_ceiling_is_denied_before_the_gate_and_the_reason_names_both() -> None:
    options = ManifestOptions(gated_tools=["edit"], include_denied=True)
    entry = build_manifest(SURFACE, options).at("edit")

    assert entry is not None
    assert entry.policy.disposition == "denied"
    assert entry.policy.reason == "side-effect level 'workspace_write' is above the ceiling 'read_only'"


def test_a_gated_tool_needs_an_approval_and_stays() -> None:
    entry = build_manifest(SURFACE, ManifestOptions(gated_tools=["send"])).at("send")

    assert entry is not None
    assert (entry.policy.disposition, entry.policy.reason) == (
        "gated",
        "requires host approval before dispatch",
    )
    assert not entry.allowed


def test_everything_else_is_allowed() -> None:
    manifest = build_manifest(SURFACE)

    assert decided(manifest) == {"pure": "allowed", "read": "allowed", "send": "allowed"}
    assert manifest.allowed == manifest.entries
    assert {entry.policy.reason for entry in manifest.entries} == {None}


def test_tools_are_denied_and_gated_by_their_own_names_exactly() -> None:
    options = ManifestOptions(denied_tools=["read_file"], gated_tools=["read*"])

    assert decided(build_manifest([tool("read.file")], options)) == {"read_file": "allowed"}


def test_a_tool_without_a_level_is_denied_under_a_ceiling() -> None:
    entry = build_manifest(SURFACE, ManifestOptions(include_denied=True)).at("guess")

    assert entry is not None
    assert entry.side_effect_level is None
    assert entry.policy.reason == "declares no side-effect level, and the ceiling is 'read_only'"
    assert not entry.within("network")


def test_a_tool_that_hints_to_destroy_is_denied_in_read_only() -> None:
    destroys = {"name": "x", "annotations": {"destructiveHint": True}}

    assert build_manifest([destroys]).entries == ()
    assert build_manifest([{"name": "x", "annotations": {"readOnlyHint": True}}]).at("x") is not None


def test_a_level_from_a_newer_version_is_denied_in_read_only() -> None:
    manifest = build_manifest([tool("x", "telepathy")])

    assert manifest.entries == ()
    assert "telepathy" in manifest.skipped[0].reason


def test_somebody_may_vouch_for_a_tool_without_a_level() -> None:
    entry = build_manifest(SURFACE, ManifestOptions(vouched_tools=["guess"])).at("guess")

    assert entry is not None
    assert entry.allowed
    assert entry.vouched
    assert entry.within("read_only")


def test_vouching_lifts_no_ceiling_no_denial_and_no_gate() -> None:
    for options in (
        ManifestOptions(vouched_tools=["edit"]),
        ManifestOptions(vouched_tools=["guess"], denied_tools=["guess"]),
    ):
        assert {"edit", "guess"}.isdisjoint(decided(build_manifest(SURFACE, options)))
    gated = ManifestOptions(vouched_tools=["guess", "read"], gated_tools=["guess"])
    assert decided(build_manifest(SURFACE, gated))["guess"] == "gated"
    read = build_manifest(SURFACE, gated).at("read")
    assert read is not None
    assert not read.vouched


def test_the_highest_ceiling_allows_everything() -> None:
    options = ManifestOptions(side_effect_ceiling="desktop_control")

    assert set(decided(build_manifest(SURFACE, options)).values()) == {"allowed"}


def test_a_tool_that_is_denied_takes_no_binding_unless_denied_ones_are_included() -> None:
    both = [tool("read.file", "network"), tool("read_file")]

    assert [entry.name for entry in build_manifest(both).entries] == ["read_file"]
    assert build_manifest(both).entries[0].binding == "read_file"
    kept = build_manifest(both, ManifestOptions(include_denied=True))
    assert [(entry.binding, entry.name) for entry in kept.entries] == [
        ("read_file", "read.file"),
        ("read_file_2", "read_file"),
    ]


# Options.


def test_options_are_read_from_a_dictionary() -> None:
    assert options_of({}) == ManifestOptions()
    said = {"side_effect_ceiling": "network", "include_denied": True, "gated_tools": ["a"], "form": "compact"}
    assert options_of(said) == ManifestOptions(
        side_effect_ceiling="network", include_denied=True, gated_tools={"a"}, form="compact"
    )


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"ceiling": "none"}, "ceiling"),
        ({"side_effect_ceiling": "telepathy"}, "telepathy"),
        ({"side_effect_ceiling": ["none"]}, "side_effect_ceiling"),
        ({"form": "long"}, "long"),
        ({"denied_tools": "read"}, "not 'read'"),
        ({"gated_tools": None}, "gated_tools"),
        ({"vouched_tools": [1]}, "vouched_tools"),
        ({"include_denied": "no"}, "include_denied"),
    ],
)
def test_an_option_or_a_word_that_nobody_knows_is_refused(said: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        options_of(said)


# Entries and look-up.


def test_entries_stand_in_the_order_of_their_bindings_and_counts_follow_the_surface() -> None:
    surface = [tool("z"), tool("a.b", description="first"), tool("a_b"), tool("a-b")]
    found = [(entry.binding, entry.name) for entry in build_manifest(surface).entries]

    assert found == [("a_b", "a.b"), ("a_b_2", "a_b"), ("a_b_3", "a-b"), ("z", "z")]


def test_a_call_goes_by_its_binding_so_that_each_of_two_tools_of_one_name_is_reached() -> None:
    manifest = build_manifest([tool("x", description="one"), tool("x", description="two")])

    first, second = manifest.at("x"), manifest.at("x_2")
    assert first is not None
    assert second is not None
    assert (first.tool.description, second.tool.description) == ("one", "two")


def test_the_name_of_a_tool_that_is_no_binding_finds_nothing() -> None:
    manifest = build_manifest([tool("read.file")])

    assert manifest.at("read.file") is None
    assert manifest.at("read_file") is not None


def test_names_of_the_language_are_not_bound() -> None:
    assert decided(build_manifest([tool("print")], taken=frozenset({"print"}))) == {"tool_print": "allowed"}


def test_two_entries_with_one_binding_are_refused() -> None:
    entry = Entry(binding="x", tool=SurfaceTool(name="x"))
    with pytest.raises(ValueError, match="'x'"):
        Manifest(entries=(entry, Entry(binding="x", tool=SurfaceTool(name="y"))))


@pytest.mark.parametrize(
    ("metadata", "server"),
    [
        ({}, None),
        ({"_mcp_server": "a", "mcp_server": "b"}, "a"),
        ({"_mcp_server": "", "mcp_server": "b"}, "b"),
        ({"_mcp_server": 3, "mcp_server": "b"}, None),
        ({"server": {"name": "c"}}, "c"),
        ({"server": "c"}, None),
    ],
)
def test_the_server_is_the_first_that_the_metadata_name(metadata: dict[str, Any], server: str | None) -> None:
    (entry,) = build_manifest([tool("x", metadata=metadata)]).entries

    assert entry.server == server


# Forms.


def test_the_full_form_says_everything() -> None:
    said = {
        "kind": "read",
        "side_effect_level": "read_only",
        "capabilities": {"fs": ["stat", "read"]},
        "arg_schema": {"path_params": ["to", "path"]},
        "idempotentHint": True,
    }
    document = build_manifest([{"name": "read.file", "annotations": said}], metadata={"a": 1}).document()

    assert document == {
        "schema_version": 1,
        "side_effect_ceiling": "read_only",
        "metadata": {"a": 1},
        "bindings": [
            {
                "name": "read.file",
                "binding": "read_file",
                "namespace": None,
                "description": None,
                "input_schema": {"type": "object"},
                "output_schema": None,
                "annotations": {
                    "kind": "read",
                    "side_effect_level": "read_only",
                    "capabilities": {"fs": ["read", "stat"]},
                    "path_params": ["path", "to"],
                    "idempotentHint": True,
                },
                "side_effect_level": "read_only",
                "capabilities": {"fs": ["read", "stat"]},
                "path_args": ["path", "to"],
                "examples": [],
                "source": "playhead",
                "deferred": False,
                "vouched": False,
                "policy": {"disposition": "allowed", "reason": None},
                "metadata": {},
            }
        ],
    }


def test_the_compact_form_has_no_schemas_annotations_and_metadata() -> None:
    document = build_manifest([tool("read", metadata={"a": 1})], metadata={"a": 1}).document("compact")

    assert set(document) == {"schema_version", "side_effect_ceiling", "bindings"}
    assert document["bindings"] == [
        {
            "name": "read",
            "binding": "read",
            "namespace": None,
            "description": None,
            "side_effect_level": "read_only",
            "policy": {"disposition": "allowed", "reason": None},
            "source": "playhead",
            "deferred": False,
            "examples": [],
        }
    ]


def test_a_document_shares_nothing_with_its_manifest() -> None:
    manifest = build_manifest([tool("read")])
    manifest.document()["bindings"][0]["input_schema"]["type"] = "string"

    assert manifest.hash == build_manifest([tool("read")]).hash


def test_metadata_that_are_not_json_are_refused() -> None:
    with pytest.raises(BadValue, match="metadata"):
        build_manifest([], metadata={"a": float("nan")})


def test_what_the_surface_held_besides_is_told_and_not_hashed() -> None:
    manifest = build_manifest([tool("read"), 3])

    assert [found.place for found in manifest.skipped] == ["/1"]
    assert manifest.hash == build_manifest([tool("read")]).hash
    assert manifest == build_manifest([tool("read")])


def test_a_name_in_the_options_that_no_tool_has_is_told_and_is_no_error() -> None:
    options = ManifestOptions(denied_tools=["raed", "broken"], gated_tools=["read_file"], vouched_tools=["x"])
    manifest = build_manifest([tool("read.file"), tool("x"), {"name": "broken", "n": float("nan")}], options)

    assert manifest.unknown == ("raed", "read_file")
    assert manifest == build_manifest([tool("read.file"), tool("x")], ManifestOptions(vouched_tools=["x"]))
    assert manifest.hash == replace(manifest, unknown=()).hash


# Pinning.


def changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Changes:
    pinned = build_manifest(before)
    found = changes_since(pinned.hash, build_manifest(after), pinned.projection())
    assert found is not None
    return found


def test_the_pinned_manifest_has_no_changes() -> None:
    manifest = build_manifest(SURFACE)

    assert changes_since(manifest.hash, build_manifest(SURFACE)) is None
    assert changes_since(manifest.hash, build_manifest(SURFACE[::-1]), manifest.document()) is None


def test_changes_name_what_was_added_removed_and_changed_by_tool_and_member() -> None:
    before = [tool("a"), tool("b"), tool("c")]
    after = [tool("b", "none", description="now with tricks"), tool("c"), tool("d")]
    found = changes(before, after)

    assert (found.added, found.removed) == (("d",), ("a",))
    assert found.changed == {"b": ("annotations.side_effect_level", "description")}
    assert str(found) == (
        "the manifest is not the one that was pinned: 'd' was added; 'a' was removed;"
        " 'b' has another annotations.side_effect_level, description"
    )


def test_another_ceiling_is_a_change_of_the_manifest_itself() -> None:
    pinned = build_manifest([tool("a")])
    higher = build_manifest([tool("a")], ManifestOptions(side_effect_ceiling="network"))
    found = changes_since(pinned.hash, higher, pinned.projection())

    assert found is not None
    assert found.manifest == ("side_effect_ceiling",)
    assert (found.added, found.removed, found.changed) == ((), (), {})


def test_another_decision_is_a_change_of_the_tool() -> None:
    pinned = build_manifest([tool("a")], ManifestOptions(gated_tools=["a"]))
    found = changes_since(pinned.hash, build_manifest([tool("a")]), pinned.projection())

    assert found is not None
    assert found.changed == {"a": ("policy.disposition",)}


def test_the_second_tool_of_a_name_is_told_apart() -> None:
    assert changes([tool("a")], [tool("a"), tool("a")]).added == ("a#2",)
    found = changes([tool("a"), tool("a")], [tool("a"), tool("a", description="new")])
    assert found.changed == {"a#2": ("description",)}


def test_one_and_one_point_nought_are_two_values() -> None:
    found = changes([tool("a", metadata={"n": 1})], [tool("a", metadata={"n": 1.0})])

    assert found.changed == {"a": ("metadata",)}


def test_where_only_the_hash_was_kept_the_change_is_seen_and_not_named() -> None:
    found = changes_since(build_manifest([tool("a")]).hash, build_manifest([tool("b")]))

    assert found is not None
    assert not found.named
    assert f"only its hash was kept: {found.expected}, and now {found.found}" in str(found)


def test_a_kept_manifest_without_the_pinned_hash_is_refused() -> None:
    other = build_manifest([tool("b")])
    with pytest.raises(ValueError, match="pinned hash"):
        changes_since(build_manifest([tool("a")]).hash, other, other.projection())


# Laws.


@given(surfaces, st.randoms(use_true_random=False))
def test_the_hash_depends_on_content_and_not_on_the_order_of_the_surface(
    surface: list[dict[str, Any]], chance: Any
) -> None:
    options = ManifestOptions(side_effect_ceiling="desktop_control")
    shuffled = chance.sample(surface, len(surface))
    one, other = build_manifest(surface, options), build_manifest(shuffled, options)

    assert (one.hash == other.hash) is (
        canonical_json(one.projection()) == canonical_json(other.projection())
    )
    if len({identifier(said["name"]) for said in surface}) == len(surface):
        assert one == other
        assert one.hash == other.hash


@given(tools, st.randoms(use_true_random=False))
def test_the_order_of_the_members_of_a_tool_does_not_matter(said: dict[str, Any], chance: Any) -> None:
    shuffled = dict(chance.sample(sorted(said.items(), key=lambda item: item[0]), len(said)))

    assert build_manifest([said]).hash == build_manifest([shuffled]).hash


@given(surfaces, surfaces)
def test_two_manifests_differ_in_their_hash_exactly_where_changes_are_named(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    options = ManifestOptions(include_denied=True)
    pinned, found = build_manifest(before, options), build_manifest(after, options)
    changed = changes_since(pinned.hash, found, pinned.projection())

    assert (changed is None) is (pinned == found)
    if changed is not None:
        assert changed.added or changed.removed or changed.changed


@given(wild, json_values)
def test_any_surface_gives_a_manifest_that_has_a_hash(one: Any, other: Any) -> None:
    for surface in (one, other, [one, other], {"tools": one}):
        manifest = build_manifest(surface, ManifestOptions(include_denied=True))
        assert manifest.hash.startswith("sha256:")
        assert all(manifest.at(entry.binding) is entry for entry in manifest.entries)
        manifest.document("compact")
