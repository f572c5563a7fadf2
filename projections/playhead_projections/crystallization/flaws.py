"""What in a candidate contradicts itself: steps out of order, values out of nowhere, other code than its own.

    for flaw in flaws_of(candidate):
        print(flaw)                       # "step 2 takes 'x', which is no parameter of it"

A candidate without flaws may be written down as a program: every name in it is one that a program can have.
"""

from __future__ import annotations

from collections.abc import Iterator

from playhead.snippet.check import check_names
from playhead_projections.crystallization.mining import CONFIDENCE_MAX, risk_of
from playhead_projections.crystallization.patterns import GAP_LARGEST
from playhead_projections.crystallization.plans import (
    Candidate,
    Constant,
    Elements,
    Flow,
    Given,
    Members,
    Parameter,
    Source,
)
from playhead_projections.crystallization.writing import Unwritable, bindings_of, segments_of


def flaws_of(candidate: Candidate) -> Iterator[str]:
    """What in a candidate cannot be: steps out of order, and values out of nowhere."""
    steps = candidate.steps
    if [step.index for step in steps] != list(range(1, len(steps) + 1)):
        yield "its steps are not numbered from 1"
        return
    given = {parameter.name: parameter for parameter in candidate.parameters}
    if len(given) != len(candidate.parameters):
        yield "two of its parameters have one name"
    if not 0 <= candidate.gap_max <= GAP_LARGEST:
        yield "its gap is out of bounds"
    if any(not 1 <= parameter.step <= len(steps) for parameter in candidate.parameters):
        yield "a parameter is of a step that there is not"
    for step in steps:
        for source in step.inputs.values():
            yield from _source_flaws(source, step.index, given)
    yield from _program_flaws(candidate)
    yield from _count_flaws(candidate)


def _program_flaws(candidate: Candidate) -> Iterator[str]:
    """Names that no program can have, and snippets that its steps do not make."""
    steps, parameters = candidate.steps, candidate.parameters
    try:
        check_names(candidate.bindings.values(), [parameter.name for parameter in parameters])
    except ValueError as error:
        yield f"{error}"
        return
    if candidate.bindings != bindings_of(steps, parameters):
        yield "its bindings are not those of its tools"
    elif candidate.segments or candidate.kind == "candidate":
        try:
            if segments_of(steps, parameters, candidate.bindings) != candidate.segments:
                yield "its snippets are not those that its steps make"
        except Unwritable as refused:
            yield f"{refused}"


def _count_flaws(candidate: Candidate) -> Iterator[str]:
    """Numbers and words that do not follow from the rest."""
    steps = candidate.steps
    shown = [each.trace for each in (*candidate.examples, *candidate.also_in)]
    if not candidate.examples or len(shown) > candidate.traces or len(set(shown)) != len(shown):
        yield "its examples are none, or more than there are traces"
    if candidate.segments and [verdict.trace for verdict in candidate.shadow] != shown:
        yield "it does not tell what came of each of its examples"
    if not 0 <= candidate.confidence <= CONFIDENCE_MAX:
        yield f"its confidence is not between 0 and {CONFIDENCE_MAX}"
    secrets = {each for step in steps for each in step.secrets}
    secrets |= {parameter.name for parameter in candidate.parameters if parameter.secret}
    if set(candidate.secrets) != secrets:
        yield "its secrets are not those of its steps and parameters"
    if candidate.risk != risk_of(steps, secrets=bool(secrets)):
        yield "its risk is not the one of its steps"
    if set(candidate.capabilities) != {each for step in steps for each in step.capabilities}:
        yield "its capabilities are not those of its steps"


def _source_flaws(source: Source, index: int, given: dict[str, Parameter]) -> Iterator[str]:
    match source:
        case Constant():
            return
        case Given(name=name):
            if name not in given or given[name].step != index:
                yield f"step {index} takes {name!r}, which is no parameter of it"
        case Flow(step=step):
            if not 1 <= step < index:
                yield f"step {index} takes a value from step {step}, which is not before it"
        case Members(members=members):
            for each in members.values():
                yield from _source_flaws(each, index, given)
        case Elements(elements=elements):
            for each in elements:
                yield from _source_flaws(each, index, given)
