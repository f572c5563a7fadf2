"""A workflow held against a trace: it is really run, and the recorded outcomes answer it.

    verdict = shadow(candidate, trace)
    verdict.verdict                     # 'same', 'different', 'absent' or 'unknown'

No host is asked and nothing happens. The generated snippets run on the machine of snippets with the
parameters that the trace shows; every call that they make must be the recorded one, tool and arguments, in
order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, TypeAlias

from playhead.composition.machines import in_process
from playhead.snippet.protocol import Call, Limits, Ok, SnippetVM, ToolBinding
from playhead.snippet.protocol import Step as Moved
from playhead_projections.crystallization.alignment import Fit, aligned
from playhead_projections.crystallization.answers import unaccepted
from playhead_projections.crystallization.deriving import TOOL, signature
from playhead_projections.crystallization.patterns import HOLE
from playhead_projections.crystallization.plans import (
    Candidate,
    Segment,
    Step,
    Verdict,
    contradict,
    effects_told,
    inputs_of,
)
from playhead_projections.crystallization.values import MISSING, at, key_of
from playhead_projections.crystallization.writing import inputs_of_segment, tools_of
from playhead_projections.trace import Action, Trace

COMPOSITION: Final = "composition_run"
Machines: TypeAlias = Callable[[str, Mapping[str, ToolBinding], Limits, Mapping[str, str]], SnippetVM]
"""What makes a machine: here, or in a process of its own for a snippet of somebody else."""


class _Differs(Exception):
    """What the workflow did otherwise, and at which step."""

    def __init__(self, step: int, what: str, expected: Any, found: Any) -> None:
        super().__init__(what)
        self.step = step
        self.what = what
        self.expected = expected
        self.found = found


class Line(NamedTuple):
    """The actions of a trace that a kind of candidate is made of, with their places in the trace."""

    places: tuple[int, ...]
    actions: tuple[Action, ...]


def line_of(trace: Trace, *, tools_only: bool) -> Line:
    """The actions that count: those of tools, or all. What did not complete keeps its place in the line.

    A composition is no action beside its calls.
    """
    kept = [
        (place, action)
        for place, action in enumerate(trace.actions)
        if action.kind == TOOL or not (tools_only or action.kind == COMPOSITION)
    ]
    return Line(tuple(place for place, _ in kept), tuple(action for _, action in kept))


def shadow(candidate: Candidate, trace: Trace, machines: Machines = in_process) -> Verdict:
    """How the workflow of `candidate` compares with `trace`."""
    line = line_of(trace, tools_only=all(step.kind == TOOL for step in candidate.steps))
    found = locate(candidate.steps, line, candidate.gap_max)
    if found is None:
        return _absent(candidate, trace, line)
    return shadow_actions(candidate, trace.id, [line.actions[place] for place in found], machines)


def shadow_actions(
    candidate: Candidate, trace: str, actions: Sequence[Action], machines: Machines = in_process
) -> Verdict:
    """How it compares with the recorded `actions`, one for each step."""
    for step, action in zip(candidate.steps, actions, strict=True):
        if not action.told:
            return Verdict(trace=trace, verdict="unknown", step=step.index, what=_untold(action))
    try:
        _Shadow(candidate, actions, machines).run()
    except _Differs as differs:
        return Verdict(
            trace=trace,
            verdict="different",
            step=differs.step,
            what=differs.what,
            expected=differs.expected,
            found=differs.found,
        )
    changed = [
        step.index
        for step, action in zip(candidate.steps, actions, strict=True)
        if step.expected_output is not None and key_of(step.expected_output.value) != key_of(action.output)
    ]
    return Verdict(trace=trace, verdict="same", changed=tuple(changed))


def locate(steps: Sequence[Step], line: Line, gap_max: int) -> tuple[int, ...] | None:
    """Where in `line` the steps stand, by their signatures, and of several ways the one that fits best."""
    known = {step.signature: number for number, step in enumerate(steps)}
    numbers = {step.index: known[step.signature] for step in steps}
    items = tuple(numbers[step.index] for step in steps)
    sequence = [
        known.get(signature(action), HOLE) if action.status == "completed" else HOLE
        for action in line.actions
    ]
    return aligned(sequence, items, gap_max, Fit(steps, line.actions)) if items else None


def _untold(action: Action) -> str:
    erased = ", ".join(action.erased)
    return f"its {erased} was erased" if erased else f"it is {action.status}"


def _absent(candidate: Candidate, trace: Trace, line: Line) -> Verdict:
    """The first step that the trace does not hold, and what stands there."""
    for count in range(len(candidate.steps) - 1, 0, -1):
        found = locate(candidate.steps[:count], line, candidate.gap_max)
        if found is not None:
            behind = line.actions[found[-1] + 1 : found[-1] + 2]
            return Verdict(
                trace=trace.id,
                verdict="absent",
                step=count + 1,
                what="action",
                expected=candidate.steps[count].signature,
                found=_said(behind[0]) if behind else None,
            )
    first = candidate.steps[0] if candidate.steps else None
    alike = [
        action for action in line.actions if first and (action.kind, action.name) == (first.kind, first.name)
    ]
    there = next(iter(alike or line.actions), None)
    return Verdict(
        trace=trace.id,
        verdict="absent",
        step=1,
        what="action",
        expected=first.signature if first else None,
        found=_said(there) if there else None,
    )


def _said(action: Action) -> str:
    said = signature(action)
    return said if action.status == "completed" else f"{said}, {action.status}"


class _Shadow:
    """One workflow while it is run against one row of actions."""

    def __init__(self, candidate: Candidate, actions: Sequence[Action], machines: Machines) -> None:
        self._candidate = candidate
        self._actions = actions
        self._machines = machines
        self._tools = tools_of(candidate.steps, candidate.bindings)
        self._names = {binding: tool for tool, binding in candidate.bindings.items()}
        self._given: dict[str, Any] = {}
        self._outcomes: dict[int, Any] = {}

    def run(self) -> None:
        """Raises `_Differs` at the first difference."""
        for parameter in self._candidate.parameters:
            value = at(self._actions[parameter.step - 1].inputs, parameter.path)
            if value is MISSING:
                raise _Differs(parameter.step, "parameter", parameter.name, None)
            self._given[parameter.name] = value
        first = {segment.steps[0]: segment for segment in self._candidate.segments}
        for step in self._candidate.steps:
            action = self._actions[step.index - 1]
            self._compare(step, action)
            if step.index in first:
                self._segment(first[step.index])
            elif step.kind != TOOL:
                self._outcomes[step.index] = self._asked(step, action)

    def _compare(self, step: Step, action: Action) -> None:
        """What is to be the same beside the call: what it does to the world, and who is asked first."""
        if contradict(step, action):
            raise _Differs(step.index, "side_effects", effects_told(step), effects_told(action))
        required = action.approval is not None and action.approval.required
        if step.needs_approval != required:
            raise _Differs(step.index, "approval", step.needs_approval, required)

    def _asked(self, step: Step, action: Action) -> Any:
        """A step between snippets: it asks for what was recorded, and is given what came of that."""
        try:
            inputs = inputs_of(step, self._given, self._outcomes)
        except LookupError as error:
            raise _Differs(step.index, "error", None, str(error)) from error
        if key_of(inputs) != key_of(action.inputs):
            raise _Differs(step.index, "inputs", action.inputs, inputs)
        wanted = unaccepted(step.answers, action.output)
        if wanted is not None:
            raise _Differs(step.index, "answer", list(wanted.accepted), action.output)
        return action.output

    def _segment(self, segment: Segment) -> None:
        names = inputs_of_segment(segment, self._candidate.steps, self._candidate.parameters)
        known = self._given | {f"step_{index}": value for index, value in self._outcomes.items()}
        inputs = {name: json.dumps(known[name], ensure_ascii=False) for name in names}
        limits = Limits(max_output_bytes=self._candidate.bounds.max_output_bytes)
        try:
            machine = self._machines(segment.snippet, self._tools, limits, inputs)
            with closing(machine):
                done = self._answered(machine, segment)
        except ValueError as error:  # a value that no snippet holds
            raise _Differs(segment.steps[0], "error", None, str(error)) from error
        last = segment.steps[-1]
        given = json.loads(done.result_json or "null")
        outcomes = [given] if len(segment.gives) == 1 else given
        for index, value in zip(segment.gives, outcomes, strict=True):
            if key_of(value) != key_of(self._actions[index - 1].output):
                raise _Differs(last, "result", self._actions[index - 1].output, value)
            self._outcomes[index] = value

    def _answered(self, machine: SnippetVM, segment: Segment) -> Moved:
        """Answer every call out of the record, to the end of the snippet."""
        moved = machine.start()
        for index in segment.steps:
            action = self._actions[index - 1]
            if moved.status != "waiting":
                raise _ended(moved, index, action)
            self._expect(index, action, moved.calls)
            moved = machine.resume(moved.calls[0].op, Ok(json.dumps(action.output, ensure_ascii=False)))
        last = segment.steps[-1]
        if moved.status == "waiting":
            raise _Differs(last + 1, "calls", None, self._shown(moved.calls[0]))
        if moved.status != "done":
            raise _ended(moved, last, None)
        return moved

    def _expect(self, index: int, action: Action, calls: tuple[Call, ...]) -> None:
        """The one call that is under way is the recorded one."""
        if len(calls) != 1:
            raise _Differs(index, "calls", 1, len(calls))
        tool, arguments = self._names.get(calls[0].binding), json.loads(calls[0].input_json)
        if tool != action.name:
            raise _Differs(index, "tool", action.name, tool)
        if key_of(arguments) != key_of(action.inputs):
            raise _Differs(index, "arguments", action.inputs, arguments)

    def _shown(self, call: Call) -> str:
        return f"{self._names.get(call.binding, call.binding)} {call.input_json}"


def _ended(moved: Moved, index: int, action: Action | None) -> _Differs:
    error = f"{moved.error.type}: {moved.error.message}" if moved.error else "it ended"
    return _Differs(index, "error", action.name if action else None, error)
