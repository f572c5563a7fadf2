"""Whatever the names and values are, what is written is a program that says them, and nothing else."""

import ast
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.composition.machines import in_process
from playhead.composition.naming import HARD_KEYWORDS
from playhead.snippet.check import TAKEN, Checked, check
from playhead.snippet.protocol import Limits
from playhead_projections.crystallization.shadow import shadow
from playhead_projections.crystallization.writing import Unwritable, literal, tools_of, workflow_of
from playhead_projections.trace import Action, Trace
from tests.crystallization.made import ask, call, report, trace

NASTY = [
    *('"', "'", "\\", '"""', "'''", "\n", "\r\n", "\0", "\x1b[31m", "{x}", "{{", "}}", "%s", "#", "$", ")"),
    *(
        "__import__('os')",
        '"); import os; ("',
        "é",
        "ﬁle",
        "\u2028",
        "\ufeff",
        "😀",
        "日本",
        "a b",
        "a.b",
        "1a",
        "",
    ),
    *("step_1", "_run", "_Any", "workflow", "self", "None", "True", "lambda", "match", "print", "playhead"),
    *sorted(HARD_KEYWORDS)[:12],
    *sorted(TAKEN)[:40],
]
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


@given(values)
def test_a_literal_is_the_value_in_python_and_in_a_snippet(value: Any) -> None:
    written = literal(value)

    assert json.dumps(ast.literal_eval(written) if "- 1)" not in written else value) == json.dumps(value)
    assert written.isascii()
    assert "\n" not in written
    done = in_process(f"return {written}", {}, Limits(), {}).start()
    assert done.result_json is not None, done
    assert json.dumps(json.loads(done.result_json)) == json.dumps(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**63, -(2**63) - 1, "\ud800", b"x", {"a": {1}}]
)
def test_what_no_program_can_say_is_refused(value: Any) -> None:
    with pytest.raises(Unwritable):
        literal(value)


named = st.dictionaries(texts, values, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    tools=st.lists(texts.filter(bool), min_size=2, max_size=4),
    constants=st.lists(named, min_size=4, max_size=4),
    varying=texts,
    inside=texts,
    output=values,
)
def test_a_workflow_of_any_names_and_values_passes_the_check_and_does_what_was_recorded(
    tools: list[str], constants: list[dict[str, Any]], varying: str, inside: str, output: Any
) -> None:
    def example(n: int) -> Any:
        row = [
            call(tool, {inside: f"v{n}", "more": output}, **{**given_, varying: f"v{n - bool(at)}"})
            for at, (tool, given_) in enumerate(zip(tools, constants, strict=False))
        ]
        return trace(f"t{n}", *row)

    found = report(*map(example, range(4)))

    for candidate in found.candidates:
        assert candidate.kind == "candidate", candidate.reasons
        program = workflow_of(candidate)
        tree = compile(program, "workflow.py", "exec")
        assert tree is not None
        assert program.isascii()
        for segment in candidate.segments:
            inputs = [parameter.name for parameter in candidate.parameters]
            checked = check(segment.snippet, tools_of(candidate.steps, candidate.bindings), inputs=inputs)
            assert isinstance(checked, Checked)
        assert {shadow(candidate, each).verdict for each in found.traces} <= {"same", "absent"}


@settings(max_examples=60, deadline=None)
@given(prompt=texts, system=texts, signal=st.sampled_from(["go", "a.b", "x-1", "ask:me"]), name=texts)
def test_a_persona_with_any_questions_is_python(prompt: str, system: str, signal: str, name: str) -> None:
    def example(n: int) -> Any:
        asked = ask(prompt, f"x{n}")
        wait = Action(id="w", kind="signal", name=signal, output=n, side_effects_known=True, fuzzy=True)
        more = Action(
            id="m", kind="model_call", name="m", inputs={"system": system, "prompt": f"{n}"}, output=n
        )
        return trace(f"t{n}", call("a", {"n": n}, n=n), asked, wait, call("b", n, n=n), more)

    for candidate in report(*map(example, range(4)), name=name).candidates:
        compile(workflow_of(candidate), "workflow.py", "exec")
        assert candidate.name.isidentifier()


@pytest.mark.parametrize(
    ("levels", "ceiling"),
    [
        (("read_only", "workspace_write"), '"workspace_write"'),
        (("network", "workspace_write"), '"network"'),
        (("none", "read_only"), '"read_only"'),
        (("none", None), "..."),
        (("none", "sky high"), "..."),
    ],
)
def test_the_ceiling_that_is_advised_is_the_one_that_is_needed(
    levels: tuple[str | None, ...], ceiling: str
) -> None:
    def example(n: int) -> Trace:
        calls = [call(name, n, n=n) for name in "ab"]
        return trace(
            f"t{n}",
            *(msgspec.structs.replace(each, level=level) for each, level in zip(calls, levels, strict=True)),
        )

    (candidate,) = report(*map(example, range(4))).candidates
    written = workflow_of(candidate)
    assert f"side_effect_ceiling={ceiling}))" in written
    assert ("the recorded runs do not tell" in written) == (ceiling == "...")
    compile(written, "workflow.py", "exec")
