"""Between the steps: what agents did that a candidate leaves out, and what it may not leave out.

    left_out([(trace, example)])            # what stands in the gaps, and in how many traces
    unasked(steps, [(trace, example)])      # writes before which somebody was always asked
    explained(parameters, steps, [(trace, example)])

A gap is a guess that what stands in it does not matter. Where somebody was asked before something was done to
the world, it does matter, and no guess is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from playhead_projections.crystallization.plans import SIGNAL, Example, LeftOut, Parameter, Step
from playhead_projections.crystallization.shadow import COMPOSITION
from playhead_projections.crystallization.values import at, key_of, nodes, telling
from playhead_projections.trace import Action, Trace

LEFT_OUT_MAX: Final = 50


class Shown(NamedTuple):
    """A trace, and where in it the steps stand."""

    trace: Trace
    example: Example

    def between(self) -> Iterator[tuple[int, Action]]:
        """What is left out, and before which step: what stands between them, and who was asked before."""
        places = self.example.actions
        before = 0
        for place, action in enumerate(self.trace.actions[: places[-1]]):
            if place == places[before]:
                before += 1
            elif action.kind != COMPOSITION and (before or _asks(action)):
                yield before + 1, action


def left_out(shown: Sequence[Shown]) -> tuple[LeftOut, ...]:
    """What is left out, in how many of the traces, what stands in most of them first."""
    counted = Counter(
        each
        for one in shown
        for each in {(before, action.kind, action.name) for before, action in one.between()}
    )
    ordered = sorted(counted.items(), key=lambda each: (-each[1], each[0]))[:LEFT_OUT_MAX]
    return tuple(
        LeftOut(before=before, kind=kind, name=name, traces=count) for (before, kind, name), count in ordered
    )


def unasked(steps: Sequence[Step], shown: Sequence[Shown]) -> list[str]:
    """Why steps that do something to the world may not be done: in every trace somebody was asked before."""
    found: list[str] = []
    asked = [
        [(before, action.name) for before, action in one.between() if action.told and _asks(action)]
        for one in shown
    ]
    for step in steps:
        here = [[name for before, name in each if before <= step.index] for each in asked]
        if step.external and all(here):
            names = ", ".join(repr(name) for name in sorted({name for each in here for name in each}))
            found.append(
                f"step {step.index} {step.name!r} does something to the world, and in every trace "
                f"somebody was asked before, which is left out: {names}"
            )
    return found


def explained(parameters: Sequence[Parameter], shown: Sequence[Shown]) -> tuple[Parameter, ...]:
    """The parameters; of one that always stood in the outcome of what is left out, that is said."""
    return tuple(_explained(parameter, shown) for parameter in parameters)


def _explained(parameter: Parameter, shown: Sequence[Shown]) -> Parameter:
    common: set[tuple[str, str]] | None = None
    for one in shown:
        step = one.trace.actions[one.example.actions[parameter.step - 1]]
        value = at(step.inputs, parameter.path)
        if not telling(value):
            return parameter
        wanted = key_of(value)
        here = {
            (action.kind, action.name)
            for before, action in one.between()
            if before <= parameter.step and action.told and _holds(action, wanted)
        }
        common = here if common is None else common & here
    if not common:
        return parameter
    kind, name = min(common)
    why = f"it varies, and always stood in the outcome of a {kind} that is left out: {name}"
    return msgspec.structs.replace(parameter, why=why)


def _holds(action: Action, wanted: bytes) -> bool:
    return any(key_of(value) == wanted for _, value in nodes(action.output))


def _asks(action: Action) -> bool:
    """Whether it is somebody that was asked."""
    return action.kind == SIGNAL or (action.approval is not None and action.approval.required)
