"""What a composition begins with: its inputs, and the manifest that its run was shown."""

from typing import Any

import msgspec
import pytest

from playhead import persona
from playhead.composition.hashing import manifest_hash
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import build_manifest
from playhead.errors import ProgramError
from playhead.events.composition import CompositionStarted, ManifestRecorded
from playhead.events.rules import ToolDenied
from playhead.runtime.composing import compose
from playhead.runtime.hook import Deny, Moment, hook
from tests.runtime.compositions import MANIFEST, TOOLS, Library, lived
from tests.runtime.conftest import Home

VALUES: dict[str, Any] = {
    "paths": ["a", "b"],
    "deep": {"é": [1, 2.5, None, True, {"x": -(2**63)}]},
    "text": 'a "quoted"\n\u2028 line',
}


async def test_a_snippet_begins_with_its_inputs_and_they_are_recorded(home: Home) -> None:
    for engine in ("worker", "in_process"):
        async with lived(
            home,
            "seen = []\nfor path in paths:\n    seen.append(read_file(path=path)['path'])\n"
            "def f():\n    return text\nreturn [seen, deep, f(), [text for _ in range(1)]]",
            Library(),
            inputs=VALUES,
            engine=engine,
        ) as life:
            assert life.composed.value() == [["a", "b"], VALUES["deep"], VALUES["text"], [VALUES["text"]]]
            started = next(fact for _, fact in life.facts if isinstance(fact, CompositionStarted))
            assert started.inputs is not None
            assert msgspec.msgpack.decode(started.inputs) == VALUES


async def test_a_snippet_gets_copies_of_its_inputs(home: Home) -> None:
    given = {"rows": [1]}
    async with lived(home, "rows.append(2)\nrows = [rows]\nreturn rows", Library(), inputs=given) as life:
        assert life.composed.value() == [[1, 2]]
    assert given == {"rows": [1]}


async def test_other_inputs_are_a_divergence_and_the_host_is_not_called(home: Home) -> None:
    library, given = Library(), {"path": "a"}

    @persona(name="reads")
    async def reads() -> Any:
        return (await compose("return read_file(path=path)", MANIFEST, library, inputs=given)).value()

    async with home.engine(reads) as engine:
        run = await engine.start(reads)
        await run.result()
        given["path"] = "b"
        outcome = await engine.replay(run.id)
    assert outcome.divergence is not None
    assert outcome.divergence.field == "inputs.path"
    assert library.asked == [("read_file", {"path": "a"})]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"class": 1}, "no name of a variable"),
        ({"__name__": 1}, "no name of a variable"),
        ({"\ufb01le": 1}, "no name of a variable"),
        ({"a b": 1}, "no name of a variable"),
        ({"read_file": 1}, "a helper, an error or a tool"),
        ({"len": 1}, "a helper, an error or a tool"),
        ({"ValueError": 1}, "a helper, an error or a tool"),
        ({"n": 2**63}, "64 bits"),
        ({"n": float("nan")}, "nan"),
        ({"n": {1, 2}}, ""),
        ({"n": (1, 2)}, ""),
        ({"n": b"x"}, ""),
        ({"n": "\ud800"}, "surrogate"),
        ({1: 2}, ""),
        ({"n": "x" * 1_000_001}, "bytes"),
    ],
)
async def test_inputs_that_no_snippet_could_hold_are_an_error_of_the_program(
    home: Home, inputs: Any, said: str
) -> None:
    caught: list[ProgramError] = []

    @persona(name="composes")
    async def composes() -> None:
        try:
            await compose("return 1", MANIFEST, Library(), inputs=inputs)
        except ProgramError as error:
            caught.append(error)

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        await run.result()
        facts = await engine.facts_of(run.id)
    assert said in str(caught[0]), str(caught[0])
    assert not [fact for _, fact in facts if isinstance(fact, CompositionStarted)]


async def test_what_inputs_take_counts_for_the_snippet(home: Home) -> None:
    limits = CompositionLimits(max_steps=10)
    async with lived(home, "return 1", Library(), inputs={"n": [0] * 9_000}, limits=limits) as life:
        assert life.composed.value() == 1  # nothing was done with them yet


async def test_a_manifest_is_shown_in_full_once_in_a_run_and_proves_its_hash(home: Home) -> None:
    other = build_manifest(TOOLS[:1])

    @persona(name="composes")
    async def composes() -> None:
        for manifest in (MANIFEST, MANIFEST, other, MANIFEST):
            (await compose("return 1", manifest, Library())).value()

    async with home.engine(composes) as engine:
        run = await engine.start(composes)
        await run.result()
        assert (await engine.replay(run.id)).identical
        facts = [fact for _, fact in await engine.facts_of(run.id)]
    shown = [fact for fact in facts if isinstance(fact, ManifestRecorded)]
    assert [fact.hash for fact in shown] == [MANIFEST.hash, other.hash]
    for fact in shown:
        assert manifest_hash(msgspec.msgpack.decode(fact.manifest)) == fact.hash
    kinds = [type(fact).__name__ for fact in facts if isinstance(fact, ManifestRecorded | CompositionStarted)]
    assert kinds[:2] == ["ManifestRecorded", "CompositionStarted"]


async def test_another_manifest_is_a_divergence_and_the_host_is_not_called(home: Home) -> None:
    library, manifests = Library(), [MANIFEST]

    @persona(name="reads")
    async def reads() -> Any:
        return (await compose("return read_file(path='a')", manifests[-1], library)).value()

    async with home.engine(reads) as engine:
        run = await engine.start(reads)
        await run.result()
        manifests.append(build_manifest(TOOLS[:1]))
        outcome = await engine.replay(run.id)
    assert outcome.divergence is not None
    assert outcome.divergence.field is not None
    assert outcome.divergence.field.startswith(("hash", "manifest"))
    assert len(library.asked) == 1


async def test_a_call_that_was_denied_says_where_it_stands_in_the_snippet(home: Home) -> None:
    @hook("PreToolUse")
    async def forbids(moment: Moment) -> Deny:
        return Deny("not today")

    snippet = "try:\n    send(to='a')\nexcept ToolError:\n    pass\nreturn map_bounded([1], lambda n: {call})"
    for hooks, call in (((), "write(path='a')"), ((forbids,), "read_file(path='a')")):
        async with lived(home, snippet.replace("{call}", call), Library(), hooks=hooks) as life:
            denied = [fact.composed for _, fact in life.facts if isinstance(fact, ToolDenied)]
            assert [(at.binding, at.line, at.path) for at in denied if at is not None] == [
                ("send", 2, ()),
                (call.partition("(")[0], 5, (0,)),
            ]
