"""What holds inside of a composition, in which order, and what the log keeps: one test for each rule."""

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any, get_args

import msgspec
import pytest

from playhead import Moment, Policy, ReplaceArgs, hook
from playhead.composition.hashing import snippet_hash
from playhead.composition.hosts import CallableHost, StaticHost
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import ManifestOptions, build_manifest
from playhead.composition.retrying import CallRetry, Trust
from playhead.errors import CallFailed
from playhead.events.catalog import AttemptFinished, ToolFailed, ToolRequested
from playhead.events.composition import CompositionCause, CompositionStarted, FailureCategory
from playhead.events.rules import ToolDenied
from playhead.runtime.composition import CATEGORIES
from tests.runtime.compositions import MANIFEST, READS, TOOLS, Library, lived, only, schema, simulated
from tests.runtime.conftest import Home

# What is recorded, and what is looked at first.


def test_without_a_word_limits_are_these_and_of_what_bounds_concurrency_there_is_one() -> None:
    assert CompositionLimits().document() == {
        "max_operations": 64,
        "timeout_ms": 10_000,
        "call_timeout_ms": None,
        "max_output_bytes": 65_536,
        "max_call_output_bytes": 1_000_000,
        "max_concurrent_operations": 16,
        "max_concurrent_per_server": 4,
        "max_steps": 1_000_000,
    }
    none = CompositionLimits(max_concurrent_operations=0, max_concurrent_per_server=0)
    assert (none.max_concurrent_operations, none.max_concurrent_per_server) == (1, 1)


def test_every_way_to_end_has_one_of_eight_categories() -> None:
    assert get_args(FailureCategory) == (
        *("unsupported_language", "schema_validation", "policy_denied", "child_tool_error"),
        *("execution_error", "timeout", "cancelled", "unknown"),
    )
    assert set(CATEGORIES) == set(get_args(CompositionCause))
    assert set(CATEGORIES.values()) <= set(get_args(FailureCategory))


@pytest.mark.parametrize("language", ["", " ", "\n\t"])
async def test_a_blank_language_is_the_one_that_there_is(home: Home, language: str) -> None:
    async with lived(home, "return 1", Library(), language=language) as life:
        (started,) = only(life.facts, CompositionStarted)
        assert (life.composed.value(), started.language) == (1, "snippet/1")
        assert started.snippet_hash == snippet_hash("snippet/1", "return 1")


async def test_a_snippet_that_cannot_be_read_is_a_parse_error_and_no_other_refusal_is(home: Home) -> None:
    for snippet, category in (("return (", "schema_validation"), ("import os", "policy_denied")):
        async with lived(home, snippet, Library()) as life:
            assert (life.composed.cause, life.composed.category) == ("refused", category)
            unread = life.composed.message.startswith("composition parse error: line 1: ")
            assert unread is (category == "schema_validation")


async def test_a_composition_records_its_snippet_its_limits_and_the_lowest_ceiling_without_a_word(
    home: Home,
) -> None:
    async with lived(home, "return 1", Library()) as life:
        (started,) = only(life.facts, CompositionStarted)

    assert (started.language, started.engine, started.snippet) == ("snippet/1", "closures/1", "return 1")
    assert started.manifest_hash == MANIFEST.hash
    assert started.ceiling == "read_only"
    assert started.limits == CompositionLimits().document()
    assert started.site.line > 0


@pytest.mark.parametrize(
    ("how", "snippet", "cause"),
    [
        ({"language": "x", "pinned": "sha256:0"}, "return (", "unsupported_language"),
        ({"pinned": "sha256:0"}, "return (", "manifest_changed"),
        ({"pinned": "sha256:0"}, "import os", "manifest_changed"),
        ({"language": " snippet/1"}, "return 1", "unsupported_language"),
        ({}, "import os\nread_file(", "refused"),
    ],
)
async def test_language_comes_before_manifest_and_manifest_before_the_check(
    home: Home, how: dict[str, Any], snippet: str, cause: str
) -> None:
    async with lived(home, snippet, Library(), limits=CompositionLimits(max_operations=0), **how) as life:
        assert life.composed.cause == cause
        assert life.types("composition") == ["composition.started", "composition.failed"]


async def test_words_of_a_snippet_about_denials_and_limits_change_no_cause(home: Home) -> None:
    for words in ("denied", "side-effect approval", "max_operations", "timeout_ms", "Deadline exceeded"):
        async with lived(home, f'raise ValueError("{words}")', Library()) as life:
            assert (life.composed.cause, life.composed.category) == ("error", "execution_error")


async def test_what_was_printed_before_a_limit_is_kept_and_the_result_is_not(home: Home) -> None:
    snippet = 'print("so far")\nsearch(query="q")\nreturn "x" * 70000'
    async with lived(home, snippet, Library()) as life:
        composed = life.composed
        assert (composed.cause, composed.result, composed.stdout) == ("limit", None, "so far\n")
        assert (composed.category, composed.calls) == ("execution_error", 1)
        assert composed.message.startswith("composition output exceeded max_output_bytes=65536")
        assert life.types("tool") == ["tool.requested", "tool.completed"]


# The gate of a call.


async def test_a_gate_comes_before_the_ceiling_and_the_ceiling_before_the_policy_around(home: Home) -> None:
    options = ManifestOptions(side_effect_ceiling="network", gated_tools=["write"])
    manifest = build_manifest([TOOLS[3], TOOLS[3] | {"name": "edit"}], options)
    said = "composition binding"
    snippet = """
said = []
for call in [write, edit]:
    try:
        call(path="a")
    except ToolError as error:
        said.append(str(error))
return said
"""
    library, rules = Library(), Policy(tools=["nothing"])
    async with lived(home, snippet, library, manifest=manifest, policy=rules) as life:
        assert life.composed.value() == [
            f"{said} 'write' requires approval and cannot run without one",
            f"{said} 'edit' requires side-effect level 'workspace_write' above requested ceiling 'read_only'",
        ]
    async with lived(
        home, snippet, library, manifest=manifest, policy=rules, ceiling="workspace_write"
    ) as life:
        first, second = life.composed.value()
        assert "requires approval" in first
        assert "exceeds tool ceiling" in second
        assert library.asked == []


async def test_a_call_that_is_not_let_through_is_recorded_with_its_arguments_and_its_reason(
    home: Home,
) -> None:
    async with lived(home, 'send(to="a")', Library()) as life:
        (denied,) = only(life.facts, ToolDenied)
        assert denied.tool == "send"
        assert msgspec.msgpack.decode(denied.args) == {"to": "a"}
        assert denied.reason == life.composed.message
        assert (life.composed.cause, life.composed.calls) == ("tool_failed", 1)


async def test_a_call_that_is_not_let_through_counts_as_an_operation(home: Home) -> None:
    snippet = """
for n in range(9):
    try:
        send(to="a")
    except ToolError:
        pass
"""
    async with lived(home, snippet, Library(), limits=CompositionLimits(max_operations=4)) as life:
        assert (life.composed.cause, life.composed.calls) == ("limit", 4)
        assert life.composed.message == "composition exceeded max_operations=4"
        assert life.types("tool") == ["tool.denied"] * 4


@pytest.mark.parametrize(
    ("vouched", "ceiling", "said"),
    [
        (False, "network", "requires side-effect level 'undeclared' above requested ceiling 'network'"),
        (False, "desktop_control", None),
        (True, "none", None),
    ],
)
async def test_a_tool_without_a_level_is_above_every_ceiling_but_the_highest_unless_somebody_vouches(
    home: Home, vouched: bool, ceiling: Any, said: str | None
) -> None:
    options = ManifestOptions(side_effect_ceiling="desktop_control", vouched_tools=["t"] if vouched else [])
    manifest = build_manifest([{"name": "t"}], options)
    async with lived(home, "return t()", Library(), manifest=manifest, ceiling=ceiling) as life:
        assert life.composed.cause == (None if said is None else "tool_failed")
        assert said is None or said in life.composed.message


async def test_a_denied_tool_is_refused_by_the_check_with_its_reason_also_where_it_is_never_called(
    home: Home,
) -> None:
    options = ManifestOptions(denied_tools=["write_file"], include_denied=True)
    tools = [{"name": "write_file", "annotations": READS}]
    snippet = "if False:\n    write_file()"
    library = Library()
    for manifest, said in (
        (build_manifest(tools, options), "write_file may not be called"),
        (build_manifest(tools, ManifestOptions(denied_tools=["write_file"])), "neither a variable"),
    ):
        async with lived(home, snippet, library, manifest=manifest) as life:
            assert (life.composed.cause, life.composed.category) == ("refused", "policy_denied")
            assert said in life.composed.message
            assert life.types("tool") == []
    async with lived(home, "return write_file()['path']", library, manifest=build_manifest(tools)) as life:
        assert life.composed.value() == ""


async def test_a_name_that_two_tools_have_leads_each_binding_to_its_own(home: Home) -> None:
    manifest = build_manifest(
        [{"name": "x", "annotations": READS, "description": word} for word in ("first", "second")]
    )

    class Named:
        async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
            return [entry.name, entry.tool.description]

    async with lived(home, "return [x_2(), x()]", Named(), manifest=manifest) as life:
        assert life.composed.value() == [["x", "second"], ["x", "first"]]
        requests = only(life.facts, ToolRequested)
        assert [(fact.tool, fact.composed.binding) for fact in requests] == [("x", "x_2"), ("x", "x")]


async def test_a_static_host_answers_from_its_table_then_the_metadata_then_with_what_it_was_asked(
    home: Home,
) -> None:
    tools = [
        {"name": name, "annotations": READS, "metadata": {"mock_output": None} if name != "c" else {}}
        for name in ("a.x", "b", "c")
    ]
    snippet = 'return [a_x(), b(), c(q=1), c(q="2")]'
    async with lived(home, snippet, StaticHost({"a.x": [1]}), manifest=build_manifest(tools)) as life:
        assert life.composed.value() == [
            [1],
            None,
            {"tool": "c", "input": {"q": 1}},
            {"tool": "c", "input": {"q": "2"}},
        ]


# Schemas.


@pytest.mark.parametrize("answer", [{"text": 1}, None])
async def test_an_answer_that_does_not_fit_its_schema_is_a_failed_call_of_its_own_category_and_final(
    home: Home, answer: Any
) -> None:
    library = Library(lambda *_: answer)
    async with lived(home, 'read_file(path="a")', library, retry=CallRetry(base_delay_ms=0)) as life:
        (failed,) = only(life.facts, ToolFailed)
        assert (failed.failure.category, failed.attempt) == ("schema_validation", 1)
        assert failed.failure.message.startswith("composition binding '")
        assert "outputSchema validation failed: at " in failed.failure.message
        assert life.composed.category == "child_tool_error"
        assert life.types("tool") == ["tool.requested", "tool.failed"]
    assert len(library.asked) == 1


CAUGHT = """
try:
    search(query=7)
except ToolError as error:
    return str(error)
"""


async def test_arguments_are_looked_at_before_a_call_is_recorded_as_allowed(home: Home) -> None:
    library = Library()
    async with lived(home, CAUGHT, library) as life:
        (denied,) = only(life.facts, ToolDenied)
        assert life.types("tool") == ["tool.denied"]
        assert (denied.verdict, msgspec.msgpack.decode(denied.args)) == ("invalid", {"query": 7})
        assert denied.reason.startswith("composition binding 'search' inputSchema validation failed: at ")
        assert life.composed.value() == denied.reason
        assert (life.composed.calls, denied.composed.line) == (1, 3)
    assert library.asked == []


async def test_what_a_policy_forbids_is_not_looked_at_further_and_hooks_see_only_what_fits(
    home: Home,
) -> None:
    @hook("PreToolUse")
    async def corrects(moment: Moment) -> ReplaceArgs:
        shown.append(moment.args)
        return ReplaceArgs(query=8)

    shown: list[Any] = []
    async with lived(home, CAUGHT, Library(), policy=Policy(tools={"read_file"}), hooks=[corrects]) as life:
        assert [fact.verdict for fact in only(life.facts, ToolDenied)] == ["denied"]
    async with lived(home, CAUGHT, Library(), hooks=[corrects]) as life:
        assert [fact.verdict for fact in only(life.facts, ToolDenied)] == ["invalid"]
    assert shown == []
    async with lived(home, CAUGHT.replace("7", '"q"'), Library(), hooks=[corrects]) as life:
        (denied,) = only(life.facts, ToolDenied)
        assert (denied.verdict, msgspec.msgpack.decode(denied.args)) == ("invalid", {"query": 8})
        assert life.composed.value() == denied.reason
    assert len(shown) == 1


async def test_arguments_and_answers_have_limits_of_their_own(home: Home) -> None:
    library = Library(lambda *_: "x" * 999_998)
    async with lived(home, 'return len(search(query="q"))', library) as life:
        assert life.composed.value() == 999_998
    async with lived(home, 'search(query="q")', Library(lambda *_: "x" * 999_999)) as life:
        (failed,) = only(life.facts, ToolFailed)
        assert failed.failure.category == "output_too_large"
    async with lived(home, 'search(query="x" * 262143)', library) as life:
        assert (life.composed.cause, life.composed.calls) == ("error", 0)
        assert "262144 bytes" in life.composed.message


# Attempts.


def test_the_waits_between_attempts_follow_from_tool_arguments_and_attempt_and_are_recorded() -> None:
    manifest = build_manifest(
        [{"name": "docs__search", "annotations": READS, "inputSchema": schema(query={"type": "string"})}]
    )
    tries: list[float] = []

    def gone(binding: str, arguments: dict[str, Any]) -> Any:
        tries.append(asyncio.get_running_loop().time())
        raise CallFailed("gone", category="network")

    retry = CallRetry(max_attempts=4, max_delay_ms=10_000)
    composed, facts = simulated(
        'docs_search(query="runtime")', CallableHost(gone), manifest=manifest, retry=retry
    )

    finished = only(facts, AttemptFinished)
    assert [fact.retry_in_ms for fact in finished] == [127, 250, 574]
    assert {(fact.failure.message, fact.failure.category) for fact in finished} == {("gone", "network")}
    waits = [round((later - before) * 1000) for before, later in pairwise(tries)]
    assert waits == [127, 250, 574]
    assert [fact.attempt for fact in only(facts, ToolFailed)] == [4]
    assert composed.message == "gone"


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (CallFailed("later", category="network", retry_after_s=1.2), [1_200, 1_200]),
        (CallFailed("later", category="network", retry_after_s=99.0), [2_000, 2_000]),
        (CallFailed("HTTP 429; Retry-After: 1", category="quota"), [1_000, 1_000]),
        (CallFailed("nothing there", category="quota"), []),
        (ConnectionError("HTTP 429; Retry-After: 1"), [138, 299]),
    ],
)
def test_a_host_says_how_long_to_wait_and_words_count_only_where_it_has_no_category(
    error: Exception, waits: list[int]
) -> None:
    def later(binding: str, arguments: dict[str, Any]) -> Any:
        raise error

    _, facts = simulated('search(query="q")', CallableHost(later))

    assert [fact.retry_in_ms for fact in only(facts, AttemptFinished)] == waits


@pytest.mark.parametrize(("binding", "attempts"), [("read_file", 3), ("write", 1)])
def test_an_attempt_that_takes_too_long_is_repeated_where_the_tool_may_be_and_else_its_outcome_is_unknown(
    binding: str, attempts: int
) -> None:
    library = Library(lambda *_: {"path": "a"})
    manifest = build_manifest(
        [
            {"name": name, "annotations": {"kind": kind, "side_effect_level": level}}
            for name, kind, level in (
                ("read_file", "read", "read_only"),
                ("write", "edit", "workspace_write"),
            )
        ],
        ManifestOptions(side_effect_ceiling="network"),
    )
    composed, facts = simulated(
        f"{binding}(ms=9000)",
        library,
        manifest=manifest,
        limits=CompositionLimits(call_timeout_ms=50),
        ceiling="network",
    )

    (failed,) = only(facts, ToolFailed)
    assert (failed.failure.category, failed.attempt) == ("timeout", attempts)
    assert failed.outcome_unknown == (binding == "write")  # it may still be at work there
    assert len(library.asked) == attempts
    assert composed.message == f"composition binding '{binding}' timed out after 50ms"


@pytest.mark.parametrize("key", ["idempotency_key", "idempotencyKey", "_idempotency_key", "_meta"])
def test_a_key_among_the_arguments_makes_nothing_repeatable(key: str) -> None:
    def gone(binding: str, arguments: dict[str, Any]) -> Any:
        asked.append(arguments)
        raise CallFailed("gone", category="network")

    asked: list[Any] = []
    tools = [{"name": "t", "annotations": {"side_effect_level": "network"}}]
    manifest = build_manifest(tools, ManifestOptions(side_effect_ceiling="network"))
    value = '{"idempotencyKey": "k"}' if key == "_meta" else '"k"'
    _, facts = simulated(f"t({key}={value})", CallableHost(gone), manifest=manifest, ceiling="network")

    assert len(asked) == 1
    assert [fact.effect for fact in only(facts, ToolRequested)] == ["effect"]


def test_a_tool_of_a_server_is_repeated_where_the_server_is_trusted_and_not_otherwise() -> None:
    tools = [{"name": "t", "annotations": {"idempotentHint": True}, "_mcp_server": "s"}]
    options = ManifestOptions(vouched_tools=["t"])
    for trust, attempts in ((Trust(), 1), (Trust(servers={"s"}), 3), (Trust(servers={"other"}), 1)):
        asked: list[int] = []

        def gone(binding: str, arguments: dict[str, Any], asked: list[int] = asked) -> Any:
            asked.append(1)
            raise CallFailed("gone", category="network")

        simulated("t()", CallableHost(gone), manifest=build_manifest(tools, options), trust=trust)
        assert len(asked) == attempts


# Places.


@pytest.mark.parametrize(
    ("limits", "queries", "order"),
    [
        (
            CompositionLimits(max_concurrent_per_server=1),
            [["again"], ["b"], ["c"]],
            ["again", "b", "c", "again", "again"],
        ),
        (
            CompositionLimits(max_concurrent_operations=2),
            [["again", "once more"], ["c", "d"]],
            ["again", "once more", "c", "d", *["again", "once more"] * 2],
        ),
    ],
    ids=["at a server", "in all"],
)
def test_a_place_is_held_for_one_attempt_and_free_while_a_call_waits_for_the_next(
    limits: CompositionLimits, queries: list[list[str]], order: list[str]
) -> None:
    found: list[str] = []

    def answer(binding: str, arguments: dict[str, Any]) -> Any:
        query: str = arguments["query"]
        found.append(query)
        if len(query) > 1 and found.count(query) < 3:
            raise CallFailed("gone", category="network")
        return 1

    snippet = f"""
def several(queries):
    return map_bounded(queries, lambda query: search(query=query))["succeeded"]
return sum([each["value"] for each in map_bounded({queries}, several)["results"]])
"""
    manifest = build_manifest([TOOLS[1] | {"_mcp_server": "s", "annotations": {"readOnlyHint": True}}])
    composed, _ = simulated(
        snippet, CallableHost(answer), manifest=manifest, limits=limits, trust=Trust(annotations=True)
    )

    assert composed.value() == sum(map(len, queries))
    assert found == order


def test_whoever_asked_first_has_the_next_place() -> None:
    asked: list[int] = []

    class Slow:
        async def call(self, entry: Any, arguments: dict[str, Any]) -> None:
            asked.append(arguments["ms"])
            await asyncio.sleep(0.01)

    manifest = build_manifest([TOOLS[2] | {"_mcp_server": "s"}])
    snippet = "map_bounded(list(range(12)), lambda n: slow(ms=n))"
    simulated(snippet, Slow(), manifest=manifest, limits=CompositionLimits(max_concurrent_per_server=2))

    assert asked == list(range(12))


def test_tools_of_one_server_share_its_places_and_tools_without_one_have_only_those_of_all() -> None:
    tools = [TOOLS[2] | {"name": name, "_mcp_server": "s"} for name in ("one", "two")]
    manifest = build_manifest([*tools, TOOLS[2]], ManifestOptions())
    limits = CompositionLimits(max_concurrent_per_server=1, max_concurrent_operations=8)
    for names, most in (("[one, two]", 1), ("[slow, slow, slow]", 3), ("[one, two, slow, slow]", 3)):
        library = Library()
        simulated(f"map_bounded({names}, lambda f: f(ms=5))", library, manifest=manifest, limits=limits)
        assert library.most == most


def test_maps_in_maps_come_to_their_end_where_only_one_call_may_be_under_way() -> None:
    snippet = """
def many(n):
    return map_bounded([1, 2, 3], lambda m: slow(ms=m))["succeeded"]
return [each["value"] for each in map_bounded([1, 2, 3], many)["results"]]
"""
    library = Library()
    limits = CompositionLimits(max_concurrent_operations=1, max_concurrent_per_server=1)
    composed, _ = simulated(snippet, library, limits=limits)

    assert (composed.value(), library.most) == ([3, 3, 3], 1)


def test_as_many_items_of_a_map_are_under_way_as_calls_may_be_without_a_word() -> None:
    library = Library()
    snippet = 'return map_bounded(list(range(64)), lambda n: slow(ms=5))["succeeded"]'
    composed, facts = simulated(snippet, library)

    assert (composed.value(), library.most) == (64, 16)
    tags = [fact.__struct_config__.tag for _, fact in facts]
    assert tags[: tags.index("tool.completed")].count("tool.requested") == 16


async def test_a_thousand_calls_may_be_under_way_at_once(home: Home) -> None:
    snippet = 'return map_bounded(list(range(1000)), lambda n: slow(ms=n % 7), concurrency=1000)["succeeded"]'
    limits = CompositionLimits(max_operations=1_000, max_concurrent_operations=1_000)
    async with lived(home, snippet, Library(), limits=limits) as life:
        assert life.composed.value() == 1_000
        assert Counter(life.types("tool")) == {"tool.requested": 1_000, "tool.completed": 1_000}
