"""Where the answers of calls come from, and what of them a snippet is given: one test for each rule."""

import asyncio
import json
from typing import Any

import pytest

from playhead import Engine, persona
from playhead.composition.hosts import CallableHost, StaticHost
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import ManifestOptions, build_manifest
from playhead.composition.retrying import CallRetry
from playhead.errors import CallFailed, NotFound, RunFailed
from playhead.events.catalog import AttemptFinished, ToolFailed, ToolRequested
from playhead.events.rules import ToolDenied
from playhead.log.memory_store import MemoryLog
from playhead.policy.effect import EffectClass
from playhead.runtime.composing import compose
from playhead.runtime.hook import Moment, ReplaceArgs, ReplaceOutput, hook
from playhead.snippet.values import DEPTH_MAX
from playhead.testing import MemoryStore
from tests.replay.prefixes import RUN
from tests.runtime.compositions import MANIFEST, READS, Library, lived, only, simulated
from tests.runtime.conftest import Home, until

# What hosts raise.


@pytest.mark.parametrize(
    ("error", "message", "category"),
    [
        (SystemExit(3), "3", "tool_error"),
        (BaseExceptionGroup("both", [SystemExit(1), KeyboardInterrupt()]), "both", "tool_error"),
        (asyncio.CancelledError(), "CancelledError", "cancelled"),
        (StopIteration(1), "coroutine raised StopIteration", "tool_error"),
        (AssertionError(), "AssertionError", "tool_error"),
        (TimeoutError(), "TimeoutError", "timeout"),
        (CallFailed(""), "CallFailed", "tool_error"),
    ],
)
async def test_whatever_a_host_raises_of_its_own_fails_the_call_and_is_never_without_words(
    home: Home, error: BaseException, message: str, category: str
) -> None:
    def raises(binding: str, arguments: dict[str, Any]) -> Any:
        raise error

    manifest = build_manifest([{"name": "t"}], ManifestOptions(vouched_tools=["t"]))
    snippet = "try:\n    t()\nexcept ToolError as error:\n    raise ValueError(str(error))"
    async with lived(home, snippet, CallableHost(raises), manifest=manifest) as life:
        (failed,) = only(life.facts, ToolFailed)
        assert failed.failure.category == category
        assert life.composed.message == f"ValueError: {message}"


class Unspeakable(CallFailed):
    """An error that raises when it is asked for its category."""

    def __getattribute__(self, name: str) -> Any:
        if name == "category":
            raise LookupError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CallFailed("later", category="network", retry_after_s="5"), "later"),  # type: ignore[arg-type]
        (CallFailed("later", category="network", retry_after_s=10**400), "later"),
        (CallFailed("later", category="network", retry_after_s=[]), "later"),  # type: ignore[arg-type]
        (CallFailed("later", category=7, transient="no"), "later"),  # type: ignore[arg-type]
        (CallFailed(7), "7"),  # type: ignore[arg-type]
        (CallFailed(None), "None"),  # type: ignore[arg-type]
        (NotFound(b"x"), "b'x'"),  # type: ignore[arg-type]
        (Unspeakable("x"), "Unspeakable: x"),
    ],
)
async def test_an_error_of_a_host_with_odd_members_fails_the_call_and_not_the_run(
    home: Home, error: Exception, said: str
) -> None:
    def raises(binding: str, arguments: dict[str, Any]) -> Any:
        raise error

    retry = CallRetry(max_delay_ms=1)
    async with lived(home, 'search(query="q")', CallableHost(raises), retry=retry) as life:
        assert (life.composed.cause, life.composed.category) == ("tool_failed", "child_tool_error")
        assert said in life.composed.message


@pytest.mark.parametrize("given", ["q", ["q"], {"q": ["q"]}])
async def test_what_a_host_does_to_its_arguments_stays_with_that_attempt(home: Home, given: Any) -> None:
    seen: list[str] = []

    def changes(binding: str, arguments: dict[str, Any]) -> Any:
        seen.append(json.dumps(arguments))
        arguments["more"] = 1
        if isinstance(arguments["query"], list):
            arguments["query"].append("more")
        elif isinstance(arguments["query"], dict):
            arguments["query"]["q"].append("more")
        raise CallFailed("again", category="network")

    manifest = build_manifest([{"name": "search", "annotations": READS}])
    how: dict[str, Any] = {"manifest": manifest, "retry": CallRetry(base_delay_ms=1)}
    snippet = "try:\n    search(query=given)\nexcept ToolError:\n    return given"
    async with lived(home, snippet, CallableHost(changes), inputs={"given": given}, **how) as life:
        assert life.composed.value() == given
    assert seen == [json.dumps({"query": given})] * 3


async def test_an_error_of_a_snippet_without_a_text_is_told_by_its_type(home: Home) -> None:
    async with lived(home, "raise ValueError()", Library()) as life:
        assert life.composed.message == "ValueError"


async def test_a_snippet_of_nothing_has_the_result_null(home: Home) -> None:
    async with lived(home, "", Library()) as life:
        assert (life.composed.ok, life.composed.value(), life.composed.calls) == (True, None, 0)


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_tool_among_thousands_is_called_like_any_other(count: int) -> None:
    tools = [{"name": f"tool.{n}", "annotations": READS} for n in range(count)]
    host = CallableHost(lambda binding, arguments: [binding, arguments])
    composed, _ = simulated(f"return tool_{count - 1}(n=1)", host, manifest=build_manifest(tools))
    assert composed.value() == [f"tool_{count - 1}", {"n": 1}]


# Answers that others give.


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"text": "no path"}, "outputSchema validation failed"),
        ({"path": "x" * 200}, "at most 100 are taken"),
        ({"path": b"x"}, "no plain JSON"),
        ({"path": "b"}, None),
    ],
)
async def test_what_a_hook_puts_in_for_an_answer_is_looked_at_like_that_of_a_host(
    home: Home, answer: Any, said: str | None
) -> None:
    @hook("PostToolUse")
    async def after(moment: Moment) -> ReplaceOutput:
        return ReplaceOutput(answer)

    limits = CompositionLimits(max_call_output_bytes=100)
    async with lived(home, 'return read_file(path="a")', Library(), hooks=[after], limits=limits) as life:
        if said is None:
            assert life.composed.value() == answer
        else:
            assert life.composed.cause == "tool_failed"
            assert "hook" in life.composed.message
            assert said in life.composed.message


async def test_a_call_whose_hook_failed_is_on_the_log_as_one_that_was_not_allowed(home: Home) -> None:
    @hook("PreToolUse")
    async def broken(moment: Moment) -> None:
        raise LookupError("no rules today")

    library = Library()
    async with lived(home, 'return search(query="q")', library, hooks=[broken]) as life:
        (denied,) = only(life.facts, ToolDenied)
        assert life.composed.message == denied.reason == "hook broken failed: LookupError: no rules today"
        assert (denied.tool, denied.composed.line, life.composed.calls) == ("search", 1, 1)
    assert library.asked == []


async def test_what_a_hook_puts_in_has_names_because_the_tools_of_a_manifest_have_no_order(
    home: Home,
) -> None:
    @hook("PreToolUse")
    async def by_place(moment: Moment) -> ReplaceArgs:
        return ReplaceArgs("q")

    library = Library()
    async with lived(home, 'return search(query="q")', library, hooks=[by_place]) as life:
        said = "TypeError: tool search takes its arguments by name, and 1 have none"
        assert life.composed.message == f"hook by_place failed: {said}"
    assert library.asked == []


@pytest.mark.parametrize("said", [EffectClass.READ_ONLY, "read_only", "nonsense", None, LookupError("no")])
async def test_a_host_may_say_what_a_crash_means_and_without_an_answer_it_is_the_worst(
    home: Home, said: Any
) -> None:
    class Knows(Library):
        def effect_of(self, entry: Any) -> Any:
            if isinstance(said, Exception):
                raise said
            return said

    async with lived(home, 'return search(query="q")', Knows()) as life:
        (request,) = only(life.facts, ToolRequested)
        assert request.effect == ("read_only" if said == EffectClass.READ_ONLY else "effect")
        assert life.composed.ok


async def test_what_somebody_says_of_a_call_in_doubt_is_looked_at_like_the_answer_of_a_host() -> None:
    log = MemoryLog()
    stores: list[MemoryStore] = []
    asked = asyncio.Event()

    class Dies:
        async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
            stores[-1].kill()
            asked.set()
            await asyncio.sleep(60)

    tools = [{"name": "t", "outputSchema": {"type": "object", "required": ["id"]}}]
    manifest = build_manifest(tools, ManifestOptions(vouched_tools=["t"]))

    @persona
    async def composes() -> Any:
        return (await compose("return t()", manifest, Dies(), engine="in_process")).value()

    stores.append(MemoryStore(log=log))
    async with Engine.open(stores[-1], personas=[composes]) as engine:
        run = await engine.start(composes)
        await until(asked.is_set)
    async with Engine.open(MemoryStore(log=log), personas=[composes]) as engine:
        (again,) = await engine.recover()
        events = log.streams[RUN + run.id]
        await until(lambda: "operation.outcome_unknown" in [event.type for event in events])
        for wrong in ({"text": "sent"}, "sent", None):
            await engine.resolve(run.id, "0/compose#0/t#0", "value", wrong)
        await until(lambda: [event.type for event in events].count("attempt.finished") == 3)
        refused = [fact.failure.message for fact in only(await engine.facts_of(run.id), AttemptFinished)]
        assert all("outputSchema validation failed" in message for message in refused)
        await engine.resolve(run.id, "0/compose#0/t#0", "value", {"id": 7})
        async with asyncio.timeout(20):
            assert await again.result() == {"id": 7}
        assert (await engine.replay(run.id)).identical


# Time.


class Stubborn:
    """A host that does not let itself be cancelled."""

    def __init__(self) -> None:
        self.cancelled = self.returned = 0

    async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
        await asyncio.sleep(0.05)
        self.returned += 1
        return {"path": "late"}


async def test_a_host_that_answers_after_its_composition_is_over_is_not_heard(home: Home) -> None:
    host = Stubborn()
    snippet = "try:\n    read_file(path='a')\nfinally:\n    search(query='q')"
    async with lived(home, snippet, host, limits=CompositionLimits(timeout_ms=30)) as life:
        assert (life.composed.cause, life.composed.calls) == ("deadline", 1)
        assert life.types("tool", "operation") == ["tool.requested", "operation.cancelled"]
        await until(lambda: host.returned == 1)
        assert await life.engine.facts_of(life.run) == life.facts
    assert host.cancelled == 1


def test_an_answer_that_comes_in_spite_of_its_time_is_the_answer() -> None:
    host = Stubborn()
    limits = CompositionLimits(call_timeout_ms=30)
    composed, _ = simulated('return read_file(path="a")', host, limits=limits)
    assert (composed.value(), host.cancelled) == ({"path": "late"}, 1)


def test_without_any_time_only_what_waits_for_nothing_comes_to_a_result() -> None:
    nothing = CompositionLimits(timeout_ms=0)
    assert simulated("return 1", Library(), limits=nothing)[0].value() == 1
    composed, _ = simulated('return search(query="q")', Library(), limits=nothing)
    assert (composed.cause, composed.category) == ("deadline", "timeout")
    assert composed.message == "composition exceeded timeout_ms=0"


def test_a_call_timeout_of_nought_is_none() -> None:
    limits = CompositionLimits(call_timeout_ms=0)
    assert limits.call_timeout_ms is None
    assert simulated('return search(query="q")', Library(), limits=limits)[0].ok


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(("depth", "fits"), [(60, True), (61, False), (150, False)])
async def test_an_answer_that_no_snippet_could_hold_is_a_failed_call_on_the_log_too(
    home: Home, depth: int, *, fits: bool
) -> None:
    manifest = build_manifest([{"name": "dig", "annotations": READS}])
    async with lived(
        home, "return len(dig())", StaticHost({"dig": nested(depth)}), manifest=manifest
    ) as life:
        assert life.composed.ok is fits
        assert life.types("tool") == ["tool.requested", "tool.completed" if fits else "tool.failed"]
        if not fits:
            assert f"nested deeper than {DEPTH_MAX}" in life.composed.message


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"host": None}, "a host has a method call"),
        ({"host": [len]}, "a host has a method call"),
        ({"limits": {"max_operations": 1}}, "limits are CompositionLimits"),
        ({"inputs": [1]}, "inputs are given by name"),
    ],
)
async def test_what_a_composition_is_not_made_of_is_said_before_it_begins(
    home: Home, how: dict[str, Any], said: str
) -> None:
    @persona
    async def composes() -> None:
        given: dict[str, Any] = {"manifest": MANIFEST, "host": StaticHost({}), **how}
        await compose("return 1", **given)

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        with pytest.raises(RunFailed, match=said):
            await run.result()
        assert "composition.started" not in await home.types(run.id)
