"""What agents did again and again is found, in whatever order its traces come, and checked on other ones."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead_projections.crystallization.mining import EXAMPLES_MIN, Options, document_of, mined, split
from playhead_projections.crystallization.plans import Bounds, Constant, Elements, Flow, Given, Members
from playhead_projections.trace import Action, Trace
from tests.checkout import ROOT
from tests.crystallization.made import call, report, search_and_read, trace, write

FOUR = [search_and_read(n) for n in range(1, 5)]


def only(*traces: Trace, **options: Any) -> Any:
    """The best candidate, whatever its kind."""
    return report(*traces, **options).candidates[0]


# ---------------------------------------------------------- where inputs come from


def test_what_varies_is_a_parameter_what_does_not_a_constant_and_what_was_given_before_flows() -> None:
    search, read, save = only(*FOUR).steps

    assert search.inputs == {"query": Given(name="query"), "limit": Constant(value=5)}
    assert read.inputs == {"path": Flow(step=1, path=(0, "path"))}
    assert save.inputs == {"text": Flow(step=2, path=("text",)), "to": Constant(value="out.md")}
    assert read.preconditions == ("step 1 gives a value at /0/path",)


def test_what_never_varied_is_no_evidence_of_a_flow() -> None:
    traces = [
        trace(f"t{n}", call("look", {"path": "a.py", "n": n}, n=n), call("read", n, path="a.py"))
        for n in range(3)
    ]

    assert only(*traces).steps[1].inputs == {"path": Constant(value="a.py")}


def test_a_flow_needs_the_value_at_the_same_place_in_every_example() -> None:
    traces = [
        trace(f"t{n}", call("look", {"a" if n % 2 else "b": f"v{n}"}), call("read", n, path=f"v{n}"))
        for n in range(4)
    ]

    (candidate,) = report(*traces).candidates
    assert candidate.steps[1].inputs == {"path": Given(name="path")}


def test_no_flow_goes_through_a_name_that_was_redacted() -> None:
    traces = [
        trace(f"t{n}", call("a", {"ghp_123456": f"v{n}", "z": {"y": f"v{n}"}}, n=n), call("b", n, v=f"v{n}"))
        for n in range(3)
    ]

    assert only(*traces).steps[1].inputs == {"v": Flow(step=1, path=("z", "y"))}


def test_an_object_with_a_name_that_was_redacted_is_a_parameter_as_a_whole() -> None:
    traces = [trace(f"t{n}", call("a", n, v={"ghp_123456": 1, "n": n}), call("b", n)) for n in range(3)]

    candidate = only(*traces)
    assert candidate.kind == "plan_only"
    assert [(each.name, each.secret) for each in candidate.parameters] == [("v", True)]


def test_a_flow_comes_from_the_nearest_step_and_its_shallowest_place() -> None:
    traces = [
        trace(
            f"t{n}",
            call("a", f"v{n}", n=n),
            call("b", {"deep": {"x": f"v{n}"}, "near": f"v{n}"}, n=n),
            call("c", n, path=f"v{n}"),
        )
        for n in range(3)
    ]

    assert only(*traces).steps[2].inputs == {"path": Flow(step=2, path=("near",))}


@pytest.mark.parametrize("values", [[True, False, True], ["", "x", ""], [[], [1], []]])
def test_what_is_everywhere_is_taken_from_nowhere(values: list[Any]) -> None:
    traces = [
        trace(f"t{n}", call("a", {"v": value, "n": n}, n=n), call("b", None, v=value))
        for n, value in enumerate(values)
    ]

    assert only(*traces).steps[1].inputs == {"v": Given(name="v")}


def test_one_and_true_and_one_point_nought_are_three_values() -> None:
    traces = [
        trace(f"t{n}", call("a", {"v": value}, n=n), call("b", None, v=float(value)))
        for n, value in enumerate((10, 20, 30))
    ]

    assert only(*traces).steps[1].inputs == {"v": Given(name="v")}


def test_objects_are_looked_into_and_lists_where_nothing_in_them_is_a_parameter() -> None:
    traces = [
        trace(
            f"t{n}",
            call("a", {"id": f"id{n}"}, n=n),
            call(
                "b", None, filter={"id": f"id{n}", "kind": "x", "n": n}, ids=["all", f"id{n}"], rest=[f"r{n}"]
            ),
        )
        for n in range(3)
    ]

    inputs = only(*traces).steps[1].inputs
    flow = Flow(step=1, path=("id",))
    assert inputs["filter"] == Members(
        members={"id": flow, "kind": Constant(value="x"), "n": Given(name="filter_n")}
    )
    assert inputs["ids"] == Elements(elements=(Constant(value="all"), flow))
    assert inputs["rest"] == Given(name="rest")


def test_parameters_are_named_by_their_place_and_never_merged() -> None:
    traces = [
        trace(
            f"t{n}",
            call(
                "a", None, path=f"p{n}", **{"len": n, "key": f"k{n}", "repo.name": f"r{n}", "déjà": f"d{n}"}
            ),
            call("b", None, path=f"p{n}", options={"path": f"x{n}"}, **{"repo_name": f"s{n}", "9": f"z{n}"}),
        )
        for n in range(3)
    ]

    found = {(each.step, each.path): each for each in only(*traces).parameters}
    assert {place: each.name for place, each in found.items()} == {
        (1, ("key",)): "input_key",
        (1, ("len",)): "input_len",
        (1, ("path",)): "path",
        (1, ("repo.name",)): "repo_name",
        (1, ("déjà",)): "d_j",
        (2, ("9",)): "input_9",
        (2, ("options", "path")): "options_path",
        (2, ("path",)): "path_2",
        (2, ("repo_name",)): "repo_name_2",
    }
    assert found[2, ("path",)].equal_to == ("path",)
    assert found[1, ("path",)].examples == tuple(sorted(found[1, ("path",)].examples))


def test_a_parameter_shows_five_examples_at_most() -> None:
    assert len(only(*[search_and_read(n) for n in range(20)]).parameters[0].examples) == 5


def test_what_is_too_large_to_be_written_down_is_a_parameter_though_it_never_varied() -> None:
    given_ = {"large": "x " * 1_000, "small": 1}
    traces = [trace(f"t{n}", call("a", n, **given_), call("b", n)) for n in range(3)]

    candidate = only(*traces)
    assert candidate.kind == "candidate"
    assert {each.name: each.why for each in candidate.parameters} == {
        "large": "it is too large to be written down",
    }


def test_a_number_that_no_snippet_holds_rejects_what_is_made_of_it() -> None:
    traces = [trace(f"t{n}", call("a", n, number=2**63), call("b", n)) for n in range(3)]

    candidate = only(*traces)
    assert candidate.kind == "rejected"
    assert "does not fit in 64 bits" in candidate.reasons[0]


def test_an_outcome_that_is_always_the_same_is_expected() -> None:
    traces = [trace(f"t{n}", call("a", n, n=n), call("b", {"ok": True})) for n in range(3)]

    first, second = only(*traces).steps
    assert first.expected_output is None
    assert second.expected_output == Constant(value={"ok": True})


def test_of_several_ways_the_one_counts_in_which_actions_belong_together() -> None:
    other = call("read.file", {"text": "other"}, path="other.py")
    traces = [
        trace(
            f"t{n}",
            call("search", [{"path": f"{n}.py"}], query=f"q{n}"),
            *[other] * (n in {1, 5}),
            call("read.file", {"text": f"text {n}"}, path=f"{n}.py"),
            *[other] * (n in {2, 5}),
            write("save", n, text=f"text {n}"),
        )
        for n in range(6)
    ]

    candidate = only(*traces)
    assert [step.inputs for step in candidate.steps[1:]] == [
        {"path": Flow(step=1, path=(0, "path"))},
        {"text": Flow(step=2, path=("text",))},
    ]
    assert {each.verdict for each in candidate.shadow} == {"same"}


def test_a_workflow_may_use_what_its_examples_took_and_more() -> None:
    def example(n: int) -> Trace:
        slow = msgspec.structs.replace(call("a", f"{n} " * 50_000, n=n), duration_ms=7_001)
        return trace(f"t{n}", slow, call("b", n))

    candidate = only(*map(example, range(3)))
    assert candidate.kind == "candidate"
    assert candidate.bounds == Bounds(timeout_ms=71_000, max_output_bytes=262_144)
    assert only(*FOUR).bounds == Bounds()


def test_an_effect_class_that_nobody_knows_is_not_known() -> None:
    traces = [
        trace(f"t{n}", msgspec.structs.replace(call("a", n), effect="odd"), call("b", n)) for n in range(3)
    ]

    assert [step.effect for step in only(*traces).steps] == [None, "read_only"]


# ------------------------------------------------------------------ what is found


def test_a_few_other_actions_may_stand_between() -> None:
    noise = [search_and_read(n, *(call(f"other{n}{k}", k) for k in range(n % 3))) for n in range(6)]

    (candidate, *_) = report(*noise).candidates
    assert [step.name for step in candidate.steps] == ["search", "read.file", "save"]
    assert len(candidate.examples) + len(candidate.also_in) == 6


def test_more_than_the_gap_may_not() -> None:
    noise = [search_and_read(n, *(call(f"other{n}{k}", k) for k in range(3))) for n in range(4)]

    assert [[step.name for step in each.steps] for each in report(*noise).candidates] == [
        ["read.file", "save"]
    ]
    assert len(only(*noise, gap_max=3).steps) == 3


def test_steps_of_another_shape_are_other_steps() -> None:
    traces = [trace(f"t{n}", call("a", n, n=n), call("b", n, v=[n] if n % 2 else f"{n}")) for n in range(4)]

    found = {step.signature for each in report(*traces).candidates for step in each.steps}
    assert {"tool_call:b(v:list)", "tool_call:b(v:text)"} & found != {
        "tool_call:b(v:list)",
        "tool_call:b(v:text)",
    } or len(report(*traces).candidates) == 2


def test_several_things_are_found() -> None:
    traces = [
        trace(
            f"t{n}",
            call("a", n, n=n),
            call("b", n),
            *(call(f"x{n}{k}", k) for k in range(4)),
            call("c", n, n=n),
            call("d", n),
        )
        for n in range(4)
    ]

    found = report(*traces).candidates
    assert sorted([step.name for step in each.steps] for each in found) == [["a", "b"], ["c", "d"]]
    assert len({each.id for each in found}) == 2


def test_one_thing_is_not_found_again_shifted_by_a_step() -> None:
    traces = [trace(f"t{n}", *(call(f"s{k}", k, n=n) for k in range(16))) for n in range(3)]

    lengths = [len(each.steps) for each in report(*traces).candidates]
    assert lengths == [12, 4]


def test_what_did_not_complete_is_no_step_and_takes_its_place() -> None:
    failed = msgspec.structs.replace(call("read.file", None, path="x"), status="failed")
    erased = msgspec.structs.replace(call("read.file", None, path="x"), erased=("output",))
    traces = [search_and_read(n, failed, erased) for n in range(4)]

    found = report(*traces)
    assert [step.name for step in found.candidates[0].steps] == ["search", "read.file", "save"]
    assert found.candidates[0].examples[0].actions == (0, 3, 4)
    assert [each["left_out"] for each in document_of(found)["traces"]] == [2] * 4
    assert len(only(*traces, gap_max=1).steps) == 2


def test_traces_whose_ids_were_secrets_stay_apart() -> None:
    named = [msgspec.structs.replace(each, id=f"ghp_secret{n}") for n, each in enumerate(FOUR)]

    found = report(*named)
    assert len({each.id for each in found.traces}) == 4
    assert "ghp_" not in str(found)
    assert found.selected is not None
    assert mined(found.traces) == found


def test_fewer_traces_than_examples_are_refused() -> None:
    with pytest.raises(BadValue, match="crystallize requires at least 3 traces, got 2"):
        report(*FOUR[:2], min_examples=3)
    with pytest.raises(BadValue, match="at least 2 traces, got 1"):
        report(*FOUR[:1], min_examples=0)


def test_copies_of_a_trace_count_once_under_whatever_ids_they_have() -> None:
    copies = [
        msgspec.structs.replace(FOUR[0], id=f"copy {n}", source=f"{n}.json", source_hash=f"sha256:{n}")
        for n in range(4)
    ]

    with pytest.raises(BadValue, match="at least 2 traces, got 1, and 3 more that say the same"):
        report(*copies)
    found = report(*FOUR[1:3], *copies)
    assert len(found.traces) == 3
    assert "3 of the traces say the same as another one, and count for nothing" in found.warnings
    assert mined(copies[::-1] + FOUR[1:3]) == found
    later = [msgspec.structs.replace(each, started=n) for n, each in enumerate(copies)]
    assert len(report(*later).traces) == 4


def test_steps_stand_in_as_many_traces_as_are_asked_for() -> None:
    other = [trace(f"o{n}", call(f"only{n}", n)) for n in range(3)]

    assert report(*FOUR, *other, min_examples=4).selected is not None
    assert report(*FOUR, *other, min_examples=5).candidates == ()


# --------------------------------------------------------------------- hold-out


@given(st.lists(st.text(min_size=1), min_size=2, max_size=30, unique=True))
def test_a_part_of_the_traces_is_held_out_and_never_all_that_is_needed(names: list[str]) -> None:
    traces = [Trace(id=name) for name in names]

    parts = split(traces)

    assert len(parts.held_out) == (max(len(names) // 4, 1) if len(names) > 2 else 0)
    assert len(parts.mined) >= EXAMPLES_MIN
    assert sorted(each.id for each in chain(parts)) == sorted(names)
    assert split(traces[::-1]) == parts


def chain(parts: Any) -> list[Trace]:
    return [*parts.mined, *parts.held_out]


def test_with_two_traces_nothing_is_held_out_and_that_is_said() -> None:
    found = report(*FOUR[:2])

    assert found.selected is not None
    assert found.held_out == ()
    assert any("nothing was held out" in warning for warning in found.warnings)
    assert not report(*FOUR).warnings


def test_a_candidate_that_differs_from_a_held_out_trace_is_rejected() -> None:
    held = split(FOUR).held_out[0]
    different = msgspec.structs.replace(
        held,
        actions=(
            msgspec.structs.replace(held.actions[0], inputs={"query": "q", "limit": 6}),
            *held.actions[1:],
        ),
    )

    found = report(*(different if each.id == held.id else each for each in FOUR))

    (candidate, *_) = [each for each in found.candidates if len(each.steps) == 3]
    assert (candidate.kind, candidate.confidence) == ("rejected", 0)
    assert candidate.reasons == ("the workflow differs from a held-out trace at step 1: arguments",)
    assert found.selected is None


def test_traces_that_were_mined_from_and_held_out_ones_are_told_apart() -> None:
    found = report(*FOUR)
    candidate = found.selected

    assert candidate is not None
    assert {each.trace for each in candidate.examples} == {"t1", "t2", "t3", "t4"} - set(found.held_out)
    assert tuple(each.trace for each in candidate.also_in) == found.held_out
    assert {each.verdict for each in candidate.shadow} == {"same"}
    assert len(candidate.shadow) == 4


# -------------------------------------------------------------------- invariance

actions = st.builds(
    lambda name, output, inputs: call(name, output, **inputs),
    st.sampled_from("abc"),
    st.one_of(st.integers(0, 3), st.dictionaries(st.sampled_from("xy"), st.integers(0, 50))),
    st.dictionaries(st.sampled_from("xyz"), st.one_of(st.integers(0, 50), st.text(max_size=3)), max_size=2),
)
many = st.lists(st.lists(actions, max_size=6), min_size=2, max_size=6).map(
    lambda rows: [msgspec.structs.replace(trace(f"t{n}", *row), started=n) for n, row in enumerate(rows)]
)


@settings(max_examples=60)
@given(many, st.randoms())
def test_the_order_of_the_traces_makes_no_difference(traces: list[Trace], chance: random.Random) -> None:
    first = mined(traces)
    shuffled = list(traces)
    chance.shuffle(shuffled)

    assert mined(shuffled) == first == mined(first.traces)


@settings(max_examples=60)
@given(many)
def test_the_steps_of_a_candidate_stand_in_each_of_its_examples_in_order(traces: list[Trace]) -> None:
    found = mined(traces)
    by_id = {each.id: each for each in found.traces}

    for candidate in found.candidates:
        for example in (*candidate.examples, *candidate.also_in):
            shown = [by_id[example.trace].actions[place] for place in example.actions]
            assert list(example.actions) == sorted(set(example.actions))
            assert [(each.kind, each.name, each.inputs.keys()) for each in shown] == [
                (step.kind, step.name, step.inputs.keys()) for step in candidate.steps
            ]
        mine = {each.trace for each in candidate.examples}
        if not any("divergent" in reason for reason in candidate.reasons):
            assert {each.verdict for each in candidate.shadow if each.trace in mine} <= {"same"}


def test_the_same_is_found_under_every_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "traces.json").write_bytes(
        msgspec.json.encode([*FOUR, *(search_and_read(n) for n in range(5, 9))])
    )
    program = (
        "import json, msgspec, pathlib, sys\n"
        "from playhead_projections.crystallization.bundle import files_of\n"
        "from playhead_projections.crystallization.mining import mined\n"
        "from playhead_projections.trace import Trace\n"
        "traces = msgspec.json.decode(pathlib.Path(sys.argv[1]).read_bytes(), type=list[Trace])\n"
        "print(json.dumps({name: text.decode() for name, text in files_of(mined(traces)).items()}))\n"
    )

    def under(seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "traces.json")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT / 'engine'}:{ROOT / 'projections'}"},
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout.decode()

    first = under("0")
    assert json.loads(json.loads(first)["report.json"])["selected"]
    assert all(under(seed) == first for seed in ("1", "7", "12345"))


def test_a_candidate_can_be_picked() -> None:
    found = report(*FOUR)
    assert found.selected is not None
    known = found.selected.id

    assert report(*FOUR, pick=known).selected == found.selected
    with pytest.raises(BadValue, match="no candidate nobody"):
        mined(FOUR, Options(pick="nobody"))


def test_what_stands_in_many_long_traces_is_found_among_much_else() -> None:
    chance = random.Random(7)

    def example(n: int) -> Trace:
        row: list[Action] = []
        while len(row) < 97:
            row.append(call(f"tool{chance.randrange(30)}", chance.random(), n=chance.random()))
            if len(row) == 40:
                row += search_and_read(n, call(f"other{n}", n)).actions
        return trace(f"t{n}", *row)

    found = report(*map(example, range(80)))

    assert found.selected is not None
    assert [step.name for step in found.selected.steps] == ["search", "read.file", "save"]
    assert len(found.selected.examples) + len(found.selected.also_in) == 80
    assert not found.exhaustive
    assert any("ended at its bound" in warning for warning in found.warnings)
