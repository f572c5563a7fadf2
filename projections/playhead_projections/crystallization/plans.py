"""What is mined: candidates made of steps, each of which says where every one of its inputs comes from.

    for step in candidate.steps:
        print(step.name, step.inputs)       # {'path': Flow(step=1, path=(0, 'path'))}

An input is a constant, a parameter of the workflow, or a value out of the outcome of an earlier step. Steps
count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

import msgspec

from playhead_projections.crystallization.values import MISSING, Path, at, pointer
from playhead_projections.trace import UNTOLD, WRITES, Action, Approval, SideEffect

SCHEMA: Final = "playhead.crystallization.candidate/1"
MODEL: Final = "model_call"
SIGNAL: Final = "signal"

Kind = Literal["candidate", "plan_only", "rejected"]
Risk = Literal["low", "medium", "high"]
Type = Literal["text", "integer", "float", "number", "boolean", "list", "object", "any"]
"""Of what type the examples of a parameter are. A number is an integer or a float."""


class Constant(msgspec.Struct, frozen=True, kw_only=True, tag_field="from", tag="constant"):
    """The same in every example."""

    value: Any


class Given(msgspec.Struct, frozen=True, kw_only=True, tag_field="from", tag="parameter"):
    """A parameter of the workflow, by its name."""

    name: str


class Flow(msgspec.Struct, frozen=True, kw_only=True, tag_field="from", tag="step"):
    """What stands at `path` in the outcome of an earlier step."""

    step: int
    path: Path


class Members(msgspec.Struct, frozen=True, kw_only=True, tag_field="from", tag="object"):
    """An object, member by member."""

    members: dict[str, Source]


class Elements(msgspec.Struct, frozen=True, kw_only=True, tag_field="from", tag="list"):
    """A list, element by element."""

    elements: tuple[Source, ...]


Source: TypeAlias = Constant | Given | Flow | Members | Elements


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A value that the workflow is given: what stood at `path` in the inputs of `step`.

    `equal_to` are parameters that had the same value in every example. `secret` ones were redacted.
    """

    name: str
    step: int
    path: Path
    shape: str
    type: Type = "any"
    examples: tuple[Any, ...] = ()
    equal_to: tuple[str, ...] = ()
    secret: bool = False
    why: str = "it varies"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a workflow goes on after: at `path` of the answer stands one of `accepted`.

    That is the value itself, what shape it has where a later step takes it, or the names of its members.
    """

    path: Path
    what: Literal["value", "shape", "names"]
    accepted: tuple[Any, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a candidate, with what all of its examples have in common.

    `answers` are what was answered where it waits for somebody: what comes then was done after nothing else.
    """

    index: int
    kind: str
    name: str
    signature: str
    segment: Literal["deterministic", "fuzzy"]
    inputs: dict[str, Source]
    preconditions: tuple[str, ...] = ()
    effect: str | None = None
    level: str | None = None
    side_effects: tuple[SideEffect, ...] = ()
    side_effects_known: bool = False
    capabilities: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    approval: Approval | None = None
    expected_output: Constant | None = None
    answers: tuple[Answer, ...] = ()

    @property
    def external(self) -> bool:
        """Whether it does something to the world, or may: what is not known counts as yes."""
        return bool(self.side_effects) or not self.side_effects_known

    @property
    def needs_approval(self) -> bool:
        return self.approval is not None and self.approval.required


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """Where a candidate stands in one trace: the indexes of its actions there."""

    trace: str
    actions: tuple[int, ...]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of running a workflow against one trace.

    `same`: it asked for exactly what was recorded. `different`: `step` is the first that differs. `absent`:
    the trace does not hold its steps, and `step` is the first that is missing. `unknown`: the trace does not
    say what it would have to be compared with. `changed` are steps whose outcome was the same in all examples
    and is another here.
    """

    trace: str
    verdict: Literal["same", "different", "absent", "unknown"]
    step: int | None = None
    what: str | None = None
    expected: Any = None
    found: Any = None
    changed: tuple[int, ...] = ()


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that one snippet performs, and the steps whose outcomes it hands on."""

    steps: tuple[int, ...]
    gives: tuple[int, ...]
    snippet: str
    file: str


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a workflow may use, where that is more than a composition may without a word.

    `timeout_ms` is for one snippet, and ten times what its calls took at most.
    """

    timeout_ms: int = 10_000
    max_output_bytes: int = 65_536
    max_call_output_bytes: int = 1_000_000


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """What agents did before a step that is no step itself, and in how many of the examples."""

    before: int
    kind: str
    name: str
    traces: int


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Something that agents did again and again.

    `bindings` are the names under which snippets call tools, by the tools' own names. `examples` are the
    traces that it was mined from, `also_in` the held-out ones that hold its steps. `left_out` is what stands
    between its steps in the examples, and who was asked before the first.
    """

    id: str
    name: str
    kind: Kind
    confidence: float
    risk: Risk
    reasons: tuple[str, ...] = ()
    rollout: str = "shadow_then_canary"
    external_key: str = ""
    traces: int = 0
    examples: tuple[Example, ...] = ()
    also_in: tuple[Example, ...] = ()
    sources: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    bindings: dict[str, str] = {}
    segments: tuple[Segment, ...] = ()
    gap_max: int = 0
    bounds: Bounds = Bounds()
    capabilities: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    shadow: tuple[Verdict, ...] = ()


def leaves(source: Source) -> Iterator[Constant | Given | Flow]:
    """What `source` is made of, in the end."""
    match source:
        case Members(members=members):
            for each in members.values():
                yield from leaves(each)
        case Elements(elements=elements):
            for each in elements:
                yield from leaves(each)
        case _:
            yield source


def flows(source: Source) -> Iterator[Flow]:
    """Every flow in `source`."""
    return (leaf for leaf in leaves(source) if isinstance(leaf, Flow))


def value_of(source: Source, given: Mapping[str, Any], outcomes: Mapping[int, Any]) -> Any:
    """The value that `source` has, as a generated program computes it. Raises `LookupError` where none is."""
    match source:
        case Constant(value=value):
            return value
        case Given(name=name):
            return given[name]
        case Flow(step=step, path=path):
            found = at(outcomes[step], path)
            if found is MISSING:
                raise LookupError(f"step {step} gave nothing at {pointer(path) or 'its whole outcome'}")
            return found
        case Members(members=members):
            return {name: value_of(each, given, outcomes) for name, each in members.items()}
        case Elements(elements=elements):
            return [value_of(each, given, outcomes) for each in elements]


def inputs_of(step: Step, given: Mapping[str, Any], outcomes: Mapping[int, Any]) -> dict[str, Any]:
    """All inputs of a step. Raises `LookupError`."""
    return {name: value_of(source, given, outcomes) for name, source in step.inputs.items()}


def document(candidate: Candidate) -> dict[str, Any]:
    """As one JSON document."""
    plain = cast("dict[str, Any]", msgspec.to_builtins(candidate))
    return {"schema": SCHEMA, **plain}


def effects_told(action: Action | Step) -> dict[str, Any]:
    """What is said of what it does to the world, whatever it does it to."""
    effects = sorted({(each.kind, each.capability, each.mutation) for each in action.side_effects})
    return {"effects": [list(each) for each in effects], "known": action.side_effects_known}


def contradict(one: Action | Step, other: Action | Step) -> bool:
    """Whether they do different things to the world. What only one of them tells is no difference.

    A call tells its effect class; in a composition also its level, and then all that it does is known.
    """
    mine, theirs = _effects(one), _effects(other)
    if one.side_effects_known and other.side_effects_known:
        return mine.told != theirs.told
    if one.side_effects_known or other.side_effects_known:
        known, rest = (mine, theirs) if one.side_effects_known else (theirs, mine)
        return not rest.told <= known.told or bool(rest.classes and not known.told)
    if mine.told or theirs.told:
        return bool(mine.told and theirs.told) and mine.told != theirs.told
    return bool(mine.classes and theirs.classes) and mine.classes != theirs.classes


class _Effects(NamedTuple):
    """What is told of effects by their kind, and where only the class of an effect is told, that."""

    told: frozenset[tuple[str, str, str]]
    classes: frozenset[str]


def _effects(action: Action | Step) -> _Effects:
    found = {(each.kind, each.capability, each.mutation) for each in action.side_effects}
    told = frozenset(each for each in found if action.side_effects_known or each[0] != UNTOLD)
    return _Effects(told, frozenset(each[2] for each in found - told if each[2] in WRITES))
