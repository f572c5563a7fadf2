"""Whatever traces there are, what is made of them is deterministic, holds no secret and has no problem."""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_projections.crystallization.bundle import files_of, write_bundle
from playhead_projections.crystallization.checking import load, problems_of
from playhead_projections.crystallization.mining import mined
from playhead_projections.crystallization.reading import read_traces
from playhead_projections.crystallization.redaction import redacted
from playhead_projections.crystallization.shadow import shadow
from playhead_projections.trace import Action, Approval, SideEffect, Trace

SECRET = "ghp_0123456789abcdef"
words = st.sampled_from(
    [
        *("a", "b", "token", "password", f"x {SECRET}", SECRET, "path", "", "[redacted:1]", "é\n\"'"),
        *("tokens", "9182", '{"password": "x 9182"}', "curl -u a:9182 http://b", "--token", "token=a, x"),
        *("password: [redacted:1] b", "PASSWORD=b[redacted:2]", "a_pass", "password='\n"),
    ]
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 2**64 - 1), st.floats(allow_nan=False), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=3)
actions = st.builds(
    Action,
    id=words,
    kind=st.sampled_from(
        ["tool_call", "tool_call", "tool_call", "model_call", "signal", "child_run", "action"]
    ),
    name=st.sampled_from(["look", "take", SECRET]),
    status=st.sampled_from(["completed", "completed", "completed", "failed", "open", "denied"]),
    inputs=objects,
    output=values,
    error=st.one_of(st.none(), words),
    effect=st.sampled_from([None, "pure", "read_only", "effect", "odd"]),
    level=st.sampled_from([None, "read_only", "network"]),
    side_effects=st.lists(st.builds(SideEffect, kind=words, target=words, metadata=objects), max_size=1).map(
        tuple
    ),
    side_effects_known=st.booleans(),
    capabilities=st.lists(words, max_size=2).map(tuple),
    required_secrets=st.lists(words, max_size=2).map(tuple),
    approval=st.one_of(st.none(), st.builds(Approval, required=st.booleans(), prompt=words)),
    duration_ms=st.one_of(st.none(), st.integers(0, 10**9)),
    fuzzy=st.booleans(),
    erased=st.sampled_from([(), (), ("output",)]),
    metadata=objects,
)
rows = st.lists(actions, max_size=4)


steady = st.builds(
    Action,
    id=words,
    kind=st.sampled_from(["tool_call"] * 8 + ["model_call", "signal", "child_run"]),
    name=st.sampled_from(["look", "take", "put"]),
    inputs=st.dictionaries(st.sampled_from(["a", "b", "token", "path", "prompt"]), values, max_size=3),
    level=st.sampled_from([None, "read_only", "network"]),
    side_effects=st.lists(st.builds(SideEffect, kind=words, target=words), max_size=1).map(tuple),
    side_effects_known=st.booleans(),
    capabilities=st.lists(words, max_size=2).map(tuple),
    metadata=objects,
)


def varied(value: Any, n: int) -> Any:
    """A value of the same shape, which is another one in each trace where it is a text."""
    if isinstance(value, str):
        return f"{value}{n}"
    if isinstance(value, dict):
        members: dict[str, Any] = value
        return {name: varied(each, n) for name, each in members.items()}
    return value


@st.composite
def many(draw: st.DrawFn) -> list[Trace]:
    """Traces that share a few actions, which differ a little."""
    common = draw(st.lists(steady, min_size=2, max_size=4))
    varies = draw(st.lists(st.booleans(), min_size=4, max_size=4))
    outputs = draw(st.lists(values, min_size=4, max_size=4))
    found: list[Trace] = []
    for n in range(draw(st.integers(2, 5))):
        own = [
            msgspec.structs.replace(
                each, inputs=varied(each.inputs, n) if yes else each.inputs, output=output
            )
            for each, yes, output in zip(common, varies, [varied(each, n) for each in outputs], strict=False)
        ]
        found.append(
            Trace(
                id=f"{draw(words)}{n}",
                source=f"{n}.json",
                started=n,
                source_hash=draw(words),
                actions=(*own, *draw(rows)),
                metadata=draw(objects),
                tools={"look": {"level": "read_only", "input_schema": draw(objects)}},
            )
        )
    return found


@settings(max_examples=100, deadline=None)
@given(many())
def test_whatever_there_is_the_bundle_has_no_problem(traces: list[Trace]) -> None:
    report = mined(traces)

    files = files_of(report)
    assert files == files_of(mined(traces[::-1]))
    assert not [name for name, content in files.items() if SECRET.encode() in content or SECRET in name]
    with tempfile.TemporaryDirectory() as place:
        write_bundle(report, Path(place) / "b")
        assert problems_of(Path(place) / "b") == []
        loaded = load(Path(place) / "b")
    assert loaded.candidate == report.selected
    if loaded.candidate is not None and loaded.candidate.kind == "candidate":
        for case in loaded.cases:
            assert shadow(loaded.candidate, loaded.traces[case.fixture]).verdict == case.expected


@settings(max_examples=40, deadline=None)
@given(many())
def test_what_was_redacted_is_not_redacted_again(traces: list[Trace]) -> None:
    once = redacted(traces)

    assert redacted(once) == once


@settings(max_examples=40, deadline=None)
@given(many())
def test_what_was_read_and_written_is_read_as_it_was(traces: list[Trace]) -> None:
    traces = [each for each in traces if each.actions]
    with tempfile.TemporaryDirectory() as place:
        for n, each in enumerate(traces):
            (Path(place) / f"{n}.json").write_bytes(msgspec.json.encode(each))
        first = read_traces(Path(place))
        for n, each in enumerate(first):
            (Path(place) / f"{n}.json").write_bytes(msgspec.json.encode(each))
        again = read_traces(Path(place))

    assert again == first
