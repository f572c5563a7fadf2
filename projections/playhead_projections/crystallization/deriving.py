"""Steps out of examples: what is constant, what varies, and what flows from one step to a later one.

    steps, parameters = derived([[search, read], [search, read]])     # the actions of two examples

An input that is the same in every example is a constant. One that varies and equals, in every example, what
stands at one place in the outcome of an earlier step is taken from there: the nearest step, the shallowest
place. Only what varies is evidence for that; what never varied could come from anywhere. Everything else is a
parameter, named by its place and never merged with another. What was redacted is no constant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations, islice
from typing import Any, Final, cast

import msgspec

from playhead.composition.hashing import INTEGER_MIN
from playhead.composition.naming import RESERVED
from playhead.composition.surface import as_list, as_object
from playhead.snippet.check import TAKEN
from playhead_projections.crystallization.answers import answers_of
from playhead_projections.crystallization.plans import (
    SIGNAL,
    Bounds,
    Constant,
    Elements,
    Flow,
    Given,
    Members,
    Parameter,
    Source,
    Step,
    Type,
    contradict,
    effects_told,
    flows,
)
from playhead_projections.crystallization.redaction import holds_mark
from playhead_projections.crystallization.values import (
    Path,
    at,
    key_of,
    places,
    pointer,
    same,
    shape,
    telling,
)
from playhead_projections.trace import Action, Approval

CONSTANT_CHARS_MAX: Final = 1_000
CONSTANT_DEPTH_MAX: Final = 8
EXAMPLES_MAX: Final = 5
PLACES_MAX: Final = 50
NAME_CHARS_MAX: Final = 40
TIMES_LONGER: Final = 10
OF_A_START: Final = frozenset({"key", "name"})
"""Words of `Engine.start`, which an argument of a persona cannot be given by."""
SNIPPET_INTEGER_MAX: Final = 2**63 - 1
TOOL: Final = "tool_call"


def derived(examples: Sequence[Sequence[Action]]) -> tuple[tuple[Step, ...], tuple[Parameter, ...]]:
    """The steps that all `examples` show, and the parameters that they are given. Examples are as long."""
    work = _Derivation(examples)
    steps = tuple(work.step(index) for index in range(1, len(examples[0]) + 1))
    return tuple(_with_answers(step, steps, examples) for step in steps), work.named()


def _with_answers(step: Step, steps: Sequence[Step], examples: Sequence[Sequence[Action]]) -> Step:
    """A wait with what was answered. What the last one brings is what the workflow gives."""
    if step.kind != SIGNAL or step is steps[-1]:
        return step
    sources = [source for later in steps[step.index :] for source in later.inputs.values()]
    taken = {flow.path for source in sources for flow in flows(source) if flow.step == step.index}
    answers = answers_of([example[step.index - 1].output for example in examples], taken)
    return msgspec.structs.replace(step, answers=answers)


def signature(action: Action) -> str:
    """What an action has in common with others of its sort: kind, name, and the shape of its inputs."""
    given = ",".join(f"{name}:{shape(action.inputs[name], 1)}" for name in sorted(action.inputs))
    return f"{action.kind}:{action.name}({given})"


def disagreements(examples: Sequence[Sequence[Action]]) -> list[str]:
    """Why these examples are not of one thing."""
    found: list[str] = []
    for index in range(len(examples[0])):
        column = [example[index] for example in examples]
        said = f"step {index + 1} {column[0].name!r}"
        if any(contradict(one, other) for one, other in combinations(_unlike(column), 2)):
            found.append(f"{said} has divergent side effects across examples")
        if len({_needs_approval(action) for action in column}) > 1:
            found.append(f"{said} asks for an approval in some examples only")
    return found


def _unlike(column: Sequence[Action]) -> list[Action]:
    """Those that tell different things of what they do."""
    return list({key_of(effects_told(action)): action for action in column}.values())


def bounds_of(examples: Sequence[Sequence[Action]]) -> Bounds:
    """What a workflow needs that does what `examples` show, with room to spare, in round numbers."""
    plain = Bounds()
    sizes = [[len(key_of(action.output)) for action in example] for example in examples]
    took = max(sum(action.duration_ms or 0 for action in example) for example in examples)
    return Bounds(
        timeout_ms=max(plain.timeout_ms, -(-took * TIMES_LONGER // 1_000) * 1_000),
        max_output_bytes=_room(max(map(sum, sizes)), plain.max_output_bytes),
        max_call_output_bytes=_room(max(map(max, sizes)), plain.max_call_output_bytes),
    )


def _room(size: int, least: int) -> int:
    """Room for twice the size, doubled from `least` on."""
    room = least
    while room < 2 * size:
        room *= 2
    return room


def _needs_approval(action: Action) -> bool:
    return action.approval is not None and action.approval.required


class _Derivation:
    """One candidate while its steps are found. Parameters are named at the end, when all are known."""

    def __init__(self, examples: Sequence[Sequence[Action]]) -> None:
        self._examples = examples
        self._parameters: list[tuple[Parameter, list[Any]]] = []
        self._taken: set[str] = set()

    def step(self, index: int) -> Step:
        column = [example[index - 1] for example in self._examples]
        first = column[0]
        inputs = {
            name: self._source([action.inputs[name] for action in column], index, (name,))
            for name in sorted(first.inputs)
        }
        wanted = {(flow.step, pointer(flow.path)) for source in inputs.values() for flow in flows(source)}
        levels = {action.level for action in column if action.level is not None}
        deterministic = first.kind == TOOL and not any(action.fuzzy for action in column)
        return Step(
            index=index,
            kind=first.kind,
            name=first.name,
            signature=signature(first),
            segment="deterministic" if deterministic else "fuzzy",
            inputs=inputs,
            preconditions=tuple(
                f"step {step} gives a value at {place or 'its whole outcome'}"
                for step, place in sorted(wanted)
            ),
            effect=_worst(column),
            level=levels.pop() if len(levels) == 1 else None,
            side_effects=max(column, key=lambda action: action.side_effects_known).side_effects,
            side_effects_known=all(action.side_effects_known for action in column),
            capabilities=tuple(sorted({each for action in column for each in action.capabilities})),
            secrets=tuple(sorted({each for action in column for each in action.required_secrets})),
            approval=_approval(column),
            expected_output=self._expected([action.output for action in column]),
        )

    def named(self) -> tuple[Parameter, ...]:
        """The parameters, each with those that had the same values everywhere."""
        keys = [[key_of(value) for value in values] for _, values in self._parameters]
        alike: list[tuple[str, ...]] = [
            tuple(
                other.name
                for (other, _), theirs in zip(self._parameters, keys, strict=True)
                if other is not mine and theirs == own and len(own) > 1
            )
            for (mine, _), own in zip(self._parameters, keys, strict=True)
        ]
        return tuple(
            Parameter(
                name=mine.name,
                step=mine.step,
                path=mine.path,
                shape=mine.shape,
                type=mine.type,
                examples=_examples(values),
                equal_to=equal,
                secret=mine.secret,
                why=mine.why,
            )
            for (mine, values), equal in zip(self._parameters, alike, strict=True)
        )

    def _source(self, values: list[Any], index: int, path: Path) -> Source:
        """Where an input comes from that has these values, one for each example."""
        constant = same(values)
        if constant and _is_writable(values[0]):
            return Constant(value=values[0])
        flow = self._flow(values, index) if not constant or holds_mark(values[0]) else None
        return flow or self._inside(values, index, path) or self._given(values, index, path)

    def _flow(self, values: list[Any], index: int) -> Flow | None:
        """The place in an earlier outcome where every example has its value."""
        if not all(telling(value) for value in values):
            return None
        for step in range(index - 1, 0, -1):
            outcomes = [example[step - 1].output for example in self._examples]
            for path in islice(places(outcomes[0], values[0]), PLACES_MAX):
                pairs = zip(outcomes, values, strict=True)
                if not any(isinstance(name, str) and holds_mark(name) for name in path) and all(
                    _equal(at(outcome, path), value) for outcome, value in pairs
                ):
                    return Flow(step=step, path=path)
        return None

    def _inside(self, values: list[Any], index: int, path: Path) -> Source | None:
        """An object or a list part by part, where all examples have the same parts."""
        if len(path) > CONSTANT_DEPTH_MAX or not values[0]:
            return None
        objects = [members for value in values if (members := as_object(value)) is not None]
        if len(objects) == len(values):
            names = objects[0].keys()
            if all(each.keys() == names for each in objects) and not any(map(holds_mark, names)):
                return Members(
                    members={
                        name: self._source([each[name] for each in objects], index, (*path, name))
                        for name in sorted(names)
                    }
                )
        lists = [found for value in values if (found := as_list(value)) is not None]
        if len(lists) == len(values) and len({len(each) for each in lists}) == 1:
            return self._list(lists, index, path)
        return None

    def _list(self, lists: list[list[Any]], index: int, path: Path) -> Source | None:
        """A list whose elements are all known. With one that is not, the whole list is a parameter."""
        before, taken = len(self._parameters), set(self._taken)
        elements = tuple(
            self._source([each[place] for each in lists], index, (*path, place))
            for place in range(len(lists[0]))
        )
        if len(self._parameters) == before:
            return Elements(elements=elements)
        del self._parameters[before:]
        self._taken = taken
        return None

    def _given(self, values: list[Any], index: int, path: Path) -> Given:
        secret = any(holds_mark(value) for value in values)
        why = "it was redacted" if secret else "it is too large to be written down" if same(values) else ""
        shapes = sorted({shape(value, 1) for value in values})
        parameter = Parameter(
            name=self._name(path),
            step=index,
            path=path,
            shape="|".join(shapes),
            type=_type(values),
            secret=secret,
            why=why or "it varies",
        )
        self._parameters.append((parameter, values))
        return Given(name=parameter.name)

    def _name(self, path: Path) -> str:
        """A name made of the place, that no other parameter, helper or step has."""
        base = parameter_name("_".join(str(step) for step in path))
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    @staticmethod
    def _expected(outputs: list[Any]) -> Constant | None:
        if not same(outputs) or holds_mark(outputs[0]) or len(key_of(outputs[0])) > CONSTANT_CHARS_MAX:
            return None
        return Constant(value=outputs[0])


_TYPES: Final[Mapping[type[object], Type]] = {
    str: "text",
    int: "integer",
    float: "float",
    bool: "boolean",
    list: "list",
    dict: "object",
}


def _type(values: list[Any]) -> Type:
    """The type that all of them have."""
    found: set[Type] = {_TYPES.get(cast("type[object]", type(value)), "any") for value in values}
    if found == {"integer", "float"}:
        return "number"
    return found.pop() if len(found) == 1 else "any"


def parameter_name(wish: str) -> str:
    """`wish` as a name that a variable of a snippet can have."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", wish).strip("_")[:NAME_CHARS_MAX].rstrip("_")
    taken = plain in RESERVED or plain in TAKEN or plain in OF_A_START or plain.startswith("step_")
    if not plain or plain[0].isdigit() or taken:
        plain = f"input_{plain}".rstrip("_")
    return plain


def _is_writable(value: Any) -> bool:
    """Whether a value can stand in a program: not redacted, not large, and a number that a snippet has."""
    if len(key_of(value)) > CONSTANT_CHARS_MAX or holds_mark(value):
        return False
    left: list[tuple[object, int]] = [(value, 0)]
    while left:
        found, depth = left.pop()
        if depth > CONSTANT_DEPTH_MAX:
            return False
        if type(found) is int and not INTEGER_MIN <= found <= SNIPPET_INTEGER_MAX:
            return False
        left += [(each, depth + 1) for each in (as_object(found) or {}).values()]
        left += [(each, depth + 1) for each in as_list(found) or ()]
    return True


def _equal(found: Any, value: Any) -> bool:
    return type(found) is cast("type[object]", type(value)) and key_of(found) == key_of(value)


def _examples(values: list[Any]) -> tuple[Any, ...]:
    """Up to five values, each once, in an order of their own: not that of the traces."""
    ordered = dict(
        sorted((key_of(value), value) for value in values if len(key_of(value)) <= CONSTANT_CHARS_MAX)
    )
    return tuple(ordered.values())[:EXAMPLES_MAX]


def _worst(column: list[Action]) -> str | None:
    """The effect class of a step; None where an example does not say it."""
    order: tuple[str | None, ...] = ("pure", "read_only", "idempotent", "effect")
    said = [action.effect for action in column if action.effect in order]
    return max(said, key=order.index) if len(said) == len(column) else None


def _approval(column: list[Action]) -> Approval | None:
    asked = [action.approval for action in column if action.approval is not None]
    if not asked:
        return None
    prompts = {each.prompt for each in asked}
    return Approval(
        required=any(each.required for each in asked),
        prompt=prompts.pop() if len(prompts) == 1 else "",
        approver=asked[0].approver,
        boundary=asked[0].boundary,
    )
