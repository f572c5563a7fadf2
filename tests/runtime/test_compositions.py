"""Compositions inside of runs, one test for each rule."""

import asyncio
from typing import Any

import pytest

from playhead import Policy, Stage, persona, step, timeout
from playhead.composition.failing import CATEGORIES
from playhead.composition.hashing import snippet_hash
from playhead.composition.hosts import CallableHost, StaticHost
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import build_manifest
from playhead.composition.retrying import CallRetry, Trust
from playhead.errors import CallFailed, CompositionFailed, ProgramError, TimedOut
from playhead.events.catalog import ToolRequested
from playhead.events.composition import CompositionFailed as CompositionFailedFact
from playhead.events.composition import CompositionStarted
from playhead.runtime.composing import compose
from playhead.runtime.hook import Deny, Moment, ReplaceArgs, ReplaceOutput, hook
from tests.runtime.compositions import MANIFEST, MANY, OPTIONS, READS, TOOLS, Library, lived
from tests.runtime.conftest import Home

# Calls.


async def test_every_call_is_an_operation_of_the_run_and_the_result_is_recorded(home: Home) -> None:
    library = Library()
    async with lived(home, MANY, library) as life:
        assert (life.composed.value(), life.composed.stdout, life.composed.calls) == (40, "read 4\n", 5)
        assert life.types("composition", "tool") == [
            "composition.started",
            *["tool.requested", "tool.completed"],
            *["tool.requested"] * 2,
            *["tool.completed", "tool.requested"] * 2,
            *["tool.completed"] * 2,
            "composition.completed",
        ]
        requests = [fact for _, fact in life.facts if isinstance(fact, ToolRequested)]
        assert [fact.tool for fact in requests] == ["search", *["read.file"] * 4]
        assert [(fact.composed.line, fact.composed.path) for fact in requests if fact.composed] == [
            (2, ()),
            (3, (0,)),
            (3, (1,)),
            (3, (2,)),
            (3, (3,)),
        ]
        assert [op for op, fact in life.facts if isinstance(fact, ToolRequested)][:2] == [
            "0/compose#0/search#0",
            "0/compose#0/read_file#0",
        ]
    assert library.asked[0] == ("search", {"query": "q"})


async def test_a_snippet_that_is_refused_runs_nothing_and_says_everything_that_is_wrong(home: Home) -> None:
    library = Library()
    snippet = 'import os\nx = open("/etc/passwd")\nread_file(path="a")\ndrop(path="a")'
    async with lived(home, snippet, library) as life:
        composed = life.composed
        assert (composed.cause, composed.category, composed.calls) == ("refused", "policy_denied", 0)
        assert [problem["line"] for problem in composed.problems] == [1, 2, 4]
        assert life.types("tool") == []
        with pytest.raises(CompositionFailed, match="line 1"):
            composed.value()
    async with lived(home, "return (", library) as life:
        assert (life.composed.cause, life.composed.category) == ("refused", "schema_validation")
    assert library.asked == []


async def test_a_snippet_that_no_log_could_hold_is_refused_and_recorded_all_the_same(home: Home) -> None:
    for snippet in ('return "\ud800"', "x = 1\n" * 200_000):
        async with lived(home, snippet, Library()) as life:
            assert life.composed.cause == "refused"
            started = next(fact for _, fact in life.facts if isinstance(fact, CompositionStarted))
            assert started.snippet_hash == snippet_hash("snippet/1", snippet)
            assert len(started.snippet) <= 262_144


async def test_another_language_is_refused(home: Home) -> None:
    async with lived(home, "return 1", Library(), language="typescript") as life:
        assert life.composed.cause == life.composed.category == "unsupported_language"
        assert "unsupported composition language 'typescript'" in life.composed.message


async def test_another_manifest_than_the_pinned_one_is_refused(home: Home) -> None:
    async with lived(home, "return 1", Library(), pinned=MANIFEST.hash) as life:
        assert life.composed.value() == 1
    library = Library()
    async with lived(home, MANY, library, pinned="sha256:0") as life:
        assert (life.composed.cause, life.composed.category) == ("manifest_changed", "policy_denied")
    assert library.asked == []


@pytest.mark.parametrize(
    ("snippet", "cause", "category", "said"),
    [
        ("return 1 // 0", "error", "execution_error", "ZeroDivisionError: division by zero"),
        ("while True:\n    pass", "limit", "execution_error", "steps"),
        ('return "x" * 70000', "limit", "execution_error", "65536 bytes"),
        ('read_file(path="a", evil=1)', "error", "execution_error", "takes no evil"),
    ],
)
async def test_what_ends_a_snippet_is_told_by_its_cause(
    home: Home, snippet: str, cause: str, category: str, said: str
) -> None:
    library = Library()
    async with lived(home, snippet, library) as life:
        composed = life.composed
        assert (composed.cause, composed.category) == (cause, category)
        assert said in composed.message
        failed = [fact for _, fact in life.facts if isinstance(fact, CompositionFailedFact)]
        assert [fact.error and fact.error.line for fact in failed] == [composed.error and composed.error.line]
    assert library.asked == []


# What encloses it.


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('send(to="a")', "composition binding 'send' requires approval"),
        (
            'write(path="a")',
            "requires side-effect level 'workspace_write' above requested ceiling 'read_only'",
        ),
    ],
)
async def test_what_the_manifest_does_not_let_through_is_recorded_and_raised_into_the_snippet(
    home: Home, call: str, said: str
) -> None:
    library = Library()
    snippet = f"try:\n    {call}\nexcept ToolError as error:\n    return str(error)"
    async with lived(home, snippet, library) as life:
        assert said in life.composed.value()
        assert life.types("tool") == ["tool.denied"]
    assert library.asked == []


async def test_a_higher_ceiling_lets_more_through(home: Home) -> None:
    library = Library()
    async with lived(home, 'return write(path="a")["path"]', library, ceiling="workspace_write") as life:
        assert life.composed.value() == "a"


async def test_a_policy_around_the_composition_holds_for_each_call(home: Home) -> None:
    library = Library()
    snippet = (
        'out = []\nfor path in ["src/a", "etc/b", "src/../etc/c"]:\n    try:\n'
        '        out.append(read_file(path=path)["path"])\n'
        '    except ToolError as error:\n        out.append("no")\nreturn out'
    )
    async with lived(home, snippet, library, policy=Policy(workspace_roots=["src"])) as life:
        assert life.composed.value() == ["src/a", "no", "no"]
        assert life.types("tool.denied") == ["tool.denied"] * 2
    assert library.asked == [("read_file", {"path": "src/a"})]


async def test_a_stage_around_the_composition_holds_for_each_call(home: Home) -> None:
    library, kept = Library(), list[Any]()

    @step
    async def look() -> str:
        composed = await compose('return search(query="q")', MANIFEST, library)
        kept.append(composed.cause)
        return composed.message

    @persona(stages=[Stage("look", allowed_tools=["read.file"])])
    async def program() -> str:
        return await look()

    async with home.engine(program) as engine:
        run = await engine.start(program)
        assert "exceeds tool ceiling" in await run.result()
    assert kept == ["tool_failed"]
    assert library.asked == []


async def test_hooks_are_asked_about_each_call_and_may_deny_and_change_it(home: Home) -> None:
    @hook("PreToolUse")
    async def before(moment: Moment) -> Deny | ReplaceArgs | None:
        if moment.tool == "search":
            return Deny("not today")
        return ReplaceArgs(path=moment.args["path"].upper())

    @hook("PostToolUse")
    async def after(moment: Moment) -> ReplaceOutput:
        return ReplaceOutput({"path": moment.output["path"] + "!"})

    library = Library()
    snippet = (
        'try:\n    search(query="q")\nexcept ToolError as error:\n'
        '    return [str(error), read_file(path="a")["path"]]'
    )
    async with lived(home, snippet, library, hooks=[before, after]) as life:
        assert life.composed.value() == ["not today", "A!"]
    assert library.asked == [("read_file", {"path": "A"})]


async def test_a_hook_puts_in_no_argument_that_a_policy_refuses(home: Home) -> None:
    @hook("PreToolUse")
    async def elsewhere(moment: Moment) -> ReplaceArgs:
        return ReplaceArgs(path="etc/passwd")

    library = Library()
    rules = Policy(workspace_roots=["src"])
    async with lived(home, 'read_file(path="src/a")', library, policy=rules, hooks=[elsewhere]) as life:
        assert life.composed.cause == "tool_failed"
    assert library.asked == []


# Bounds.


async def test_operations_are_counted_when_they_are_asked_for(home: Home) -> None:
    library = Library()
    snippet = "return map_bounded(list(range(8)), lambda n: slow(ms=20), concurrency=8)"
    async with lived(home, snippet, library, limits=CompositionLimits(max_operations=3)) as life:
        composed = life.composed
        assert (composed.cause, composed.category, composed.calls) == ("limit", "timeout", 3)
        assert composed.message == "composition exceeded max_operations=3"
        assert life.types("tool.requested") == ["tool.requested"] * 3
        assert life.types("operation.cancelled") == ["operation.cancelled"] * 3
    assert len(library.asked) <= 3


async def test_exactly_as_many_operations_as_allowed_are(home: Home) -> None:
    snippet = "for n in range(3):\n    slow(ms=1)\nreturn n"
    async with lived(home, snippet, Library(), limits=CompositionLimits(max_operations=3)) as life:
        assert life.composed.value() == 2


@pytest.mark.parametrize(
    "snippet",
    [
        "slow(ms=60000)",
        "try:\n    slow(ms=60000)\nfinally:\n    read_file(path='after')",
        "return map_bounded([1, 2, 3], lambda n: slow(ms=60000))",
        "while True:\n    try:\n        slow(ms=60000)\n    except Exception:\n        pass",
    ],
)
async def test_when_the_time_is_over_nothing_goes_on_and_every_call_has_an_end(
    home: Home, snippet: str
) -> None:
    library = Library()
    async with lived(home, snippet, library, limits=CompositionLimits(timeout_ms=50)) as life:
        assert (life.composed.cause, life.composed.category) == ("deadline", "timeout")
        assert life.composed.message == "composition exceeded timeout_ms=50"
        assert (
            len(life.types("operation.cancelled")) == len(life.types("tool.requested")) == life.composed.calls
        )
    assert not [name for name, _ in library.asked if name == "read_file"]
    assert library.busy == 0


async def test_a_composition_that_is_cancelled_says_so_and_leaves_nothing_under_way(home: Home) -> None:
    library = Library()

    @persona
    async def program() -> str:
        try:
            async with timeout(0.05):
                await compose("slow(ms=60000)", MANIFEST, library)
        except TimedOut:
            return "in time"
        return "too late"

    async with home.engine(program) as engine:
        run = await engine.start(program)
        assert await run.result() == "in time"
        types = [fact.__struct_config__.tag for _, fact in await engine.facts_of(run.id)]
        failed = [
            fact for _, fact in await engine.facts_of(run.id) if isinstance(fact, CompositionFailedFact)
        ]
        assert [fact.cause for fact in failed] == ["cancelled"]
        assert types.count("operation.cancelled") == 1
        assert (await engine.replay(run.id)).identical
    assert library.busy == 0


async def test_no_more_calls_are_under_way_than_allowed_at_each_server_and_in_all(home: Home) -> None:
    tools = [{**tool, "_mcp_server": server} for tool in TOOLS[2:3] for server in ("one", "two")]
    manifest = build_manifest(tools, OPTIONS)
    snippet = """
def call(n):
    return slow(ms=10) if n % 2 else slow_2(ms=10)
return map_bounded(list(range(12)), call, concurrency=12)["succeeded"]
"""
    for limits, most in (
        (CompositionLimits(max_concurrent_per_server=2), 4),
        (CompositionLimits(max_concurrent_per_server=9, max_concurrent_operations=3), 3),
    ):
        library = Library()
        async with lived(home, snippet, library, manifest=manifest, limits=limits) as life:
            assert life.composed.value() == 12
        assert library.most == most


async def test_a_slow_server_keeps_no_call_of_another_waiting(home: Home) -> None:
    tools = [{**tool, "_mcp_server": server} for tool in TOOLS[2:3] for server in ("slow", "quick")]
    manifest = build_manifest(tools, OPTIONS)
    order: list[str] = []

    def answer(binding: str, arguments: dict[str, Any]) -> int:
        order.append(binding)
        return 1

    snippet = """
def call(server):
    return slow_2(ms=1) if server == "quick" else slow(ms=40)
def several(servers):
    return map_bounded(servers, call)["succeeded"]
found = map_bounded([["slow", "slow"], ["slow", "quick"]], several)
return sum([each["value"] for each in found["results"]])
"""
    limits = CompositionLimits(max_concurrent_per_server=1, max_concurrent_operations=2)
    async with lived(home, snippet, Library(answer), manifest=manifest, limits=limits) as life:
        assert life.composed.value() == 4
    assert order[0] == "slow_2"


# Failures of calls.


async def test_what_a_host_raises_is_an_error_of_the_snippet_with_its_message(home: Home) -> None:
    def answer(binding: str, arguments: dict[str, Any]) -> Any:
        raise ValueError("denied, and 503 timeouts need approval")

    async with lived(home, 'read_file(path="a")', Library(answer)) as life:
        composed = life.composed
        assert (composed.cause, composed.category) == ("tool_failed", "child_tool_error")
        assert composed.message == "denied, and 503 timeouts need approval"
        assert life.types("tool.failed", "attempt") == ["tool.failed"]


@pytest.mark.parametrize(("category", "again"), [("network", True), ("timeout", True), ("tool_error", False)])
async def test_a_call_that_may_pass_is_tried_again_where_its_tool_may_be_repeated(
    home: Home, category: str, again: bool
) -> None:
    tries: list[int] = []

    def answer(binding: str, arguments: dict[str, Any]) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise CallFailed("gone", category=category)
        return {"path": "a"}

    retry = CallRetry(base_delay_ms=1)
    async with lived(home, 'return read_file(path="a")["path"]', Library(answer), retry=retry) as life:
        assert life.composed.cause == (None if again else "tool_failed")
        assert life.types("attempt") == ["attempt.finished", "attempt.started"] * 2 * again
    tries.clear()
    snippet = 'return write(path="a")'
    async with lived(home, snippet, Library(answer), retry=retry, ceiling="workspace_write") as life:
        assert life.composed.cause == "tool_failed"
        assert len(tries) == 1


async def test_a_call_that_takes_too_long_is_a_timeout_and_waiting_for_a_place_does_not_count(
    home: Home,
) -> None:
    # The fifth has waited for longer than one attempt may take before it is its turn.
    limits = CompositionLimits(call_timeout_ms=800, max_concurrent_operations=1)
    snippet = """
r = map_bounded([250, 250, 250, 250, 250, 60000], lambda ms: slow(ms=ms), concurrency=6)
return [each["ok"] for each in r["results"]] + [r["results"][5]["error"]]
"""
    async with lived(home, snippet, Library(), limits=limits, retry=CallRetry(max_attempts=1)) as life:
        said = "composition binding 'slow' timed out after 800ms"
        assert life.composed.value() == [True] * 5 + [False, said]


async def test_arguments_and_answers_that_fit_no_schema_fail_the_call_and_are_not_tried_again(
    home: Home,
) -> None:
    library = Library()
    async with lived(home, "return read_file(path=7)", library) as life:
        assert "inputSchema validation failed" in life.composed.message
        assert '7 is not of type "string"' in life.composed.message
    assert library.asked == []
    answers: list[Any] = [[], {"text": "no path"}, None]
    for wrong in answers:
        library = Library(lambda *_: wrong)  # noqa: B023  it is asked before the next one
        async with lived(home, 'return read_file(path="a")', library) as life:
            assert "outputSchema validation failed" in life.composed.message
        assert len(library.asked) == 1


@pytest.mark.parametrize("strange", [float("nan"), object(), {1: 2}, b"x\xff", "\ud800", 2**70])
async def test_an_answer_that_is_no_json_fails_the_call(home: Home, strange: Any) -> None:
    async with lived(home, 'return search(query="q")', Library(lambda *_: strange)) as life:
        assert life.composed.cause == "tool_failed"


async def test_an_answer_that_is_too_large_fails_the_call(home: Home) -> None:
    limits = CompositionLimits(max_call_output_bytes=100)
    async with lived(home, 'return search(query="q")', Library(lambda *_: "x" * 200), limits=limits) as life:
        assert "at most 100 are taken" in life.composed.message


def test_every_category_is_known() -> None:
    assert set(CATEGORIES) >= {"schema_validation", "permission_denied", "timeout", "output_too_large"}


async def test_a_static_host_and_a_function_are_hosts(home: Home) -> None:
    host = StaticHost({"read.file": {"path": "there"}})
    async with lived(home, 'return [read_file(path="a")["path"], search(query="q")]', host) as life:
        assert life.composed.value() == ["there", {"tool": "search", "input": {"query": "q"}}]
    async with lived(home, 'return search(query="q")', CallableHost(lambda name, args: [name, args])) as life:
        assert life.composed.value() == ["search", {"query": "q"}]


# What does not make sense, and what must not get out.


@pytest.mark.parametrize(
    "limits",
    [
        {"timeout_ms": 500.0},
        {"max_operations": 2.5},
        {"max_operations": float("nan")},
        {"max_operations": None},
        {"max_operations": True},
        {"max_steps": None},
        {"max_output_bytes": -1},
        {"call_timeout_ms": "5"},
    ],
)
def test_limits_are_whole_numbers_and_only_times_may_be_left_out(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is a whole number from 0 on"):
        CompositionLimits(**limits)
    assert CompositionLimits(timeout_ms=None, call_timeout_ms=0).call_timeout_ms is None


def test_servers_that_are_trusted_are_a_list_of_names() -> None:
    with pytest.raises(ValueError, match="list of texts"):
        Trust(servers="timeserver")


def test_no_binding_has_the_name_of_a_helper_without_anything_being_said() -> None:
    manifest = build_manifest([{"name": name, "annotations": READS} for name in ("format", "print", "Ok")])
    assert [entry.binding for entry in manifest.entries] == ["tool_Ok", "tool_format", "tool_print"]


@pytest.mark.parametrize("what", [{"manifest": []}, {"engine": "wroker"}, {"snippet": b"return 1"}])
async def test_what_is_no_composition_is_refused_before_anything_is_recorded(
    home: Home, what: dict[str, Any]
) -> None:
    given: dict[str, Any] = {"snippet": "return 1", "manifest": MANIFEST, "host": Library()} | what

    @persona
    async def composes() -> str:
        try:
            await compose(**given)
        except ProgramError as error:
            return error.code
        return "went on"

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        assert await run.result() == "program"
        facts = [fact for _, fact in await engine.facts_of(run.id)]
        assert not [fact for fact in facts if isinstance(fact, CompositionStarted)]


async def test_a_relaxed_run_composes_under_hooks_too(home: Home) -> None:
    @hook("PostToolUse")
    async def after(moment: Moment) -> ReplaceOutput:
        return ReplaceOutput([{"path": "changed"}])

    library = Library()

    @persona(mode="relaxed")
    async def composes() -> Any:
        return (await compose('return search(query="q")', MANIFEST, library)).value()

    async with home.engine(composes, hooks=[after]) as engine:
        run = await engine.start(composes)
        async with asyncio.timeout(30):
            assert await run.result() == [{"path": "changed"}]
        assert (await engine.replay(run.id)).identical
    assert len(library.asked) == 1


async def test_a_hook_that_puts_in_what_is_no_json_fails_the_call_and_nothing_else(home: Home) -> None:
    @hook("PreToolUse")
    async def odd(moment: Moment) -> ReplaceArgs:
        return ReplaceArgs(query=b"bytes")

    library = Library()
    async with lived(home, 'return search(query="q")', library, hooks=[odd]) as life:
        assert life.composed.cause == "tool_failed"
    assert library.asked == []


async def test_what_is_secret_by_name_stands_in_no_message_about_a_schema(home: Home) -> None:
    tools = [
        {
            "name": "t",
            "annotations": READS,
            "outputSchema": {"anyOf": [{"type": "array"}, {"properties": {"token": {"type": "integer"}}}]},
        }
    ]
    manifest = build_manifest(tools)

    @persona
    async def composes() -> str:
        host = CallableHost(lambda *_: {"token": "hunter2"})
        return (await compose("return t()", manifest, host)).message

    async with home.engine(composes, secrets=["token"]) as engine:
        run = await engine.start(composes)
        assert "outputSchema validation failed" in await run.result()
        events = await engine.store.read(f"run/{run.id}", 0, 100)
    assert not [event for event in events if b"hunter2" in (event.payload or b"")]
