"""Mining: what stands in many traces becomes candidates, each held against traces that it was not mined from.

    report = mined(traces, Options(min_examples=3))
    report.selected                     # the best candidate that can run, or None

Traces are split by the hash of their ids. A pattern is mined from one part, and its workflow is run in the
shadow of both: of its own examples, which it must reproduce, and of the held-out traces, which is evidence.
One that differs from a held-out trace is rejected. With two traces nothing is held out, and the report says
so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import chain
from typing import Any, Final, NamedTuple
from unicodedata import normalize

import msgspec

from playhead.errors import BadValue
from playhead_projections.crystallization.alignment import Fit, Links, Score, aligned
from playhead_projections.crystallization.between import Shown, explained, left_out, unasked
from playhead_projections.crystallization.deriving import TOOL, bounds_of, derived, disagreements, signature
from playhead_projections.crystallization.patterns import (
    GAP_MAX,
    HOLE,
    LENGTH_MAX,
    Items,
    frequent,
    occurrence,
    without,
)
from playhead_projections.crystallization.plans import (
    Candidate,
    Example,
    Given,
    Kind,
    Parameter,
    Risk,
    Step,
    document,
    leaves,
)
from playhead_projections.crystallization.redaction import RULES, redacted, redacted_text
from playhead_projections.crystallization.shadow import Line, line_of, shadow_actions
from playhead_projections.crystallization.writing import Unwritable, bindings_of, segments_of
from playhead_projections.trace import Action, Trace

SCHEMA: Final = "playhead.crystallization.report/1"
EXAMPLES_MIN: Final = 2
CANDIDATES_MAX: Final = 8
HELD_OUT_SHARE: Final = 4
CONFIDENCE_MAX: Final = 0.99
_NAME_CHARS_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """In how many traces steps must stand, and how many other actions may stand between two of them."""

    min_examples: int = EXAMPLES_MIN
    gap_max: int = GAP_MAX
    steps_max: int = LENGTH_MAX
    candidates_max: int = CANDIDATES_MAX
    name: str | None = None
    pick: str | None = None
    """The id of the candidate to take; by default the best one."""


class Split(NamedTuple):
    """Traces to mine from, and traces to check with."""

    mined: list[Trace]
    held_out: list[Trace]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found. `traces` are without secrets, in the order of the hashes of their ids."""

    traces: tuple[Trace, ...]
    held_out: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    selected: Candidate | None
    min_examples: int
    exhaustive: bool
    warnings: tuple[str, ...] = ()


def mined(traces: Sequence[Trace], options: Options | None = None) -> Report:
    """Candidates in `traces`, the best first. The order of the traces makes no difference.

    The best pattern is taken, then the best of what is left without it, and so on.
    Raises `BadValue` where there are fewer traces than examples are needed.
    """
    options = options or Options()
    needed = max(options.min_examples, EXAMPLES_MIN)
    own = unlike(traces)
    copies = len(traces) - len(own)
    if len(own) < needed:
        also = f", and {copies} more that say the same" if copies else ""
        raise BadValue(
            f"crystallize requires at least {needed} traces, got {len(own)}{also}.",
            expected=needed,
            found=len(own),
        )
    parts = split(redacted(own))
    work = _Mining(parts, options, needed)
    candidates = work.candidates()
    warnings = (
        [f"{copies} of the traces say the same as another one, and count for nothing"] if copies else []
    )
    if not parts.held_out:
        warnings.append("nothing was held out: there are two traces, and both are needed to mine from")
    if not work.exhaustive:
        warnings.append("the search was ended at its bound, and there may be other candidates")
    return Report(
        traces=(*parts.held_out, *parts.mined),
        held_out=tuple(trace.id for trace in parts.held_out),
        candidates=candidates,
        selected=_selected(candidates, options),
        min_examples=needed,
        exhaustive=work.exhaustive,
        warnings=tuple(warnings),
    )


def unlike(traces: Sequence[Trace]) -> list[Trace]:
    """`traces` without copies: of those that say the same, under whatever id, the first by id counts."""
    found: dict[bytes, Trace] = {}
    for trace in sorted(traces, key=lambda trace: (trace.id, trace.source, trace.source_hash)):
        said = msgspec.structs.replace(trace, id="", source="", source_hash="", flow={})
        found.setdefault(sha256(msgspec.json.encode(said, order="sorted")).digest(), trace)
    return list(found.values())


def split(traces: Sequence[Trace]) -> Split:
    """A quarter of the traces is held out, at least one of three or more, by the hashes of their ids."""
    ordered = sorted(traces, key=lambda trace: (sha256(trace.id.encode()).digest(), trace.source_hash))
    held = max(len(ordered) // HELD_OUT_SHARE, 1) if len(ordered) > EXAMPLES_MIN else 0
    return Split(ordered[held:], ordered[:held])


def document_of(report: Report) -> dict[str, Any]:
    """The report as one JSON document, without the traces themselves."""
    held = set(report.held_out)
    return {
        "schema": SCHEMA,
        "min_examples": report.min_examples,
        "traces": [
            {
                "id": trace.id,
                "source": trace.source,
                "source_hash": trace.source_hash,
                "actions": len(trace.actions),
                "left_out": sum(not action.told for action in trace.actions),
                "role": "held_out" if trace.id in held else "mined",
            }
            for trace in report.traces
        ],
        "held_out": list(report.held_out),
        "selected": report.selected.id if report.selected else None,
        "kind": report.selected.kind if report.selected else "rejected",
        "risk": report.selected.risk if report.selected else "high",
        "rollout": "shadow_then_canary",
        "exhaustive": report.exhaustive,
        "warnings": list(report.warnings),
        "redaction": list(RULES),
        "candidates": [document(candidate) for candidate in report.candidates],
    }


def _selected(candidates: Sequence[Candidate], options: Options) -> Candidate | None:
    if options.pick is not None:
        found = next((each for each in candidates if each.id == options.pick), None)
        if found is None:
            known = ", ".join(each.id for each in candidates) or "none"
            raise BadValue(f"there is no candidate {options.pick}.", expected=known, found=options.pick)
        return found
    for kind in ("candidate", "plan_only"):
        for each in candidates:
            if each.kind == kind:
                return each
    return None


class _Placed(NamedTuple):
    """Where a pattern stands in one trace."""

    trace: Trace
    example: Example
    actions: list[Action]


class _Row(NamedTuple):
    """One trace as a sequence of signatures, which are numbers here."""

    trace: Trace
    line: Line
    items: list[int]

    @classmethod
    def of(cls, trace: Trace, line: Line, numbers: dict[str, int]) -> _Row:
        """What nobody else has, or did not complete, is a hole."""
        items = [numbers.get(signature(action), HOLE) if action.told else HOLE for action in line.actions]
        return cls(trace, line, items)

    def without(self, items: Items, gap_max: int) -> _Row:
        return self._replace(items=without(self.items, items, gap_max))

    def holds(self, items: Items, gap_max: int) -> bool:
        return occurrence(self.items, items, gap_max) is not None

    def placed(self, items: Items, gap_max: int, score: Score) -> _Placed:
        places = aligned(self.items, items, gap_max, score)
        assert places is not None
        example = Example(trace=self.trace.id, actions=tuple(self.line.places[place] for place in places))
        return _Placed(self.trace, example, [self.line.actions[place] for place in places])


def _numbers(lines: Sequence[Line]) -> dict[str, int]:
    """Signatures as numbers, in the order in which they mostly come: the search prefers small ones."""
    first: dict[str, list[int]] = {}
    for line in lines:
        here: dict[str, int] = {}
        for place, action in enumerate(line.actions):
            if action.told:
                here.setdefault(signature(action), place)
        for name, place in here.items():
            first.setdefault(name, []).append(place)
    ordered = sorted(first, key=lambda name: (Fraction(sum(first[name]), len(first[name])), name))
    return {name: number for number, name in enumerate(ordered)}


class _Mining:
    """One search."""

    def __init__(self, parts: Split, options: Options, needed: int) -> None:
        self._parts = parts
        self._options = options
        self._needed = needed
        self._traces = len(parts.mined) + len(parts.held_out)
        self.exhaustive = True

    def candidates(self) -> tuple[Candidate, ...]:
        """Of tools alone, and then of everything else that has a step of another kind."""
        found = {
            candidate.id: candidate
            for tools_only in (True, False)
            for candidate in self._found(tools_only=tools_only)
        }
        return tuple(sorted(found.values(), key=lambda each: (-each.confidence, -len(each.steps), each.id)))

    def _found(self, *, tools_only: bool) -> list[Candidate]:
        mined = [line_of(trace, tools_only=tools_only) for trace in self._parts.mined]
        if not tools_only and all(action.kind == TOOL for line in mined for action in line.actions):
            return []
        numbers = _numbers(mined)
        held = [line_of(trace, tools_only=tools_only) for trace in self._parts.held_out]
        rows: list[_Row] = [_Row.of(*each, numbers) for each in zip(self._parts.mined, mined, strict=True)]
        checked: list[_Row] = [
            _Row.of(*each, numbers) for each in zip(self._parts.held_out, held, strict=True)
        ]
        tools = {number for name, number in numbers.items() if name.startswith(f"{TOOL}:")}
        leave = frozenset[int]() if tools_only else frozenset(tools)
        found: list[Candidate] = []
        while len(found) < self._options.candidates_max:
            best = self._best(rows, checked, leave)
            if best is None:
                break
            items, candidate = best
            found.append(candidate)
            rows = [row.without(items, self._options.gap_max) for row in rows]
            checked = [row.without(items, self._options.gap_max) for row in checked]
        return found

    def _best(
        self, rows: Sequence[_Row], checked: Sequence[_Row], leave: frozenset[int]
    ) -> tuple[Items, Candidate] | None:
        """The best of what is left: a pattern that stands in enough traces and not of `leave` alone."""
        patterns, exhaustive = frequent(
            [row.items for row in rows],
            support_min=max(self._needed - len(checked), EXAMPLES_MIN),
            gap_max=self._options.gap_max,
            length_max=self._options.steps_max,
        )
        self.exhaustive &= exhaustive
        for pattern in patterns:
            if leave.issuperset(pattern.items):
                continue
            here = [row for row in rows if row.holds(pattern.items, self._options.gap_max)]
            also = [row for row in checked if row.holds(pattern.items, self._options.gap_max)]
            if len(here) + len(also) >= self._needed:
                return pattern.items, _Made(
                    self._options, self._traces, pattern.items, here, also
                ).candidate()
        return None


class _Made:
    """One candidate while it is made."""

    def __init__(
        self, options: Options, traces: int, items: Items, here: Sequence[_Row], also: Sequence[_Row]
    ) -> None:
        self._options = options
        self._traces = traces
        gap_max = options.gap_max
        self._examples = [row.placed(items, gap_max, Links(row.line.actions)) for row in here]
        actions = [placed.actions for placed in self._examples]
        self._reasons = disagreements(actions)
        shown = [Shown(placed.trace, placed.example) for placed in self._examples]
        self._steps, parameters = derived(actions)
        self._parameters = explained(parameters, shown)
        self._left_out = left_out(shown)
        self._reasons += unasked(self._steps, shown)
        self._bounds = bounds_of(actions)
        self._also = [row.placed(items, gap_max, Fit(self._steps, row.line.actions)) for row in also]

    def candidate(self) -> Candidate:
        steps = self._steps
        bindings = bindings_of(steps, self._parameters)
        sources = sorted({placed.trace.source_hash for placed in self._examples})
        secrets = {each for step in steps for each in step.secrets}
        secrets |= {parameter.name for parameter in self._parameters if parameter.secret}
        plain = Candidate(
            id=_id_of([step.signature for step in steps], sources),
            name=self._name(bindings),
            kind="candidate",
            confidence=0,
            risk=risk_of(steps, secrets=bool(secrets)),
            traces=self._traces,
            examples=tuple(placed.example for placed in self._examples),
            also_in=tuple(placed.example for placed in self._also),
            sources=tuple(sources),
            steps=steps,
            left_out=self._left_out,
            parameters=self._parameters,
            bindings=bindings,
            gap_max=self._options.gap_max,
            bounds=self._bounds,
            capabilities=tuple(sorted({each for step in steps for each in step.capabilities})),
            secrets=tuple(sorted(secrets)),
        )
        named = msgspec.structs.replace(plain, external_key=plain.name.lower().replace("_", "-"))
        return self._judged(self._shadowed(named))

    def _shadowed(self, candidate: Candidate) -> Candidate:
        """With its snippets, and with what came of running them; or with the reason why there are none."""
        try:
            segments = segments_of(candidate.steps, candidate.parameters, candidate.bindings)
        except Unwritable as refused:
            return msgspec.structs.replace(candidate, kind="plan_only", reasons=(f"{refused}",))
        candidate = msgspec.structs.replace(candidate, segments=segments)
        verdicts = [
            shadow_actions(candidate, placed.trace.id, placed.actions)
            for placed in chain(self._examples, self._also)
        ]
        for verdict in verdicts:
            if verdict.verdict == "different":
                mine = verdict.trace in {placed.trace.id for placed in self._examples}
                part = "a trace that it was mined from" if mine else "a held-out trace"
                why = f"{verdict.what}: {verdict.found}" if verdict.what == "error" else verdict.what
                self._reasons.append(f"the workflow differs from {part} at step {verdict.step}: {why}")
        return msgspec.structs.replace(candidate, shadow=tuple(verdicts))

    def _judged(self, candidate: Candidate) -> Candidate:
        kind: Kind = candidate.kind
        reasons = [*self._reasons, *candidate.reasons]
        if self._reasons:
            kind = "rejected"
        elif kind == "plan_only" and any(step.external for step in candidate.steps):
            # A plan that nobody can run must not hold what changes the world: it would be followed by hand.
            kind = "rejected"
            reasons.append("it does something to the world, and cannot be run")
        share = sum(step.segment == "deterministic" for step in candidate.steps) / len(candidate.steps)
        support = (len(candidate.examples) + len(candidate.also_in)) / candidate.traces
        told = 0.65 * support * _explained(candidate) + 0.35 * share
        confidence = 0.0 if kind == "rejected" else min(CONFIDENCE_MAX, told)
        return msgspec.structs.replace(
            candidate, kind=kind, reasons=tuple(reasons), confidence=round(confidence, 6)
        )

    def _name(self, bindings: dict[str, str]) -> str:
        """The name that was asked for, or one made of the steps."""
        wish = self._options.name
        if wish is None:
            said = [bindings.get(step.name, step.name) for step in self._steps]
            wish = "_".join(dict.fromkeys(said))
        letters = normalize("NFKD", redacted_text(wish)).encode("ascii", "ignore").decode()
        plain = _cut(re.sub(r"[^A-Za-z0-9_]+", "_", letters).strip("_"))
        return plain if plain and not plain[0].isdigit() else f"workflow_{plain}".rstrip("_")


def _explained(candidate: Candidate) -> float:
    """The share of inputs behind the first step that are not given anew: what ties the steps together."""
    given = {parameter.name: parameter for parameter in candidate.parameters}
    sources = [
        leaf for step in candidate.steps[1:] for source in step.inputs.values() for leaf in leaves(source)
    ]
    anew = sum(isinstance(leaf, Given) and _is_new(given[leaf.name], given) for leaf in sources)
    return (len(sources) - anew) / len(sources) if sources else 1.0


def _is_new(parameter: Parameter, given: Mapping[str, Parameter]) -> bool:
    return not any(given[name].step < parameter.step for name in parameter.equal_to)


def _cut(name: str) -> str:
    """`name` at most as long as a name may be, and of whole words where there is room for one."""
    if len(name) <= _NAME_CHARS_MAX:
        return name
    return (name[: _NAME_CHARS_MAX + 1].rpartition("_")[0] or name[:_NAME_CHARS_MAX]).rstrip("_")


def _id_of(signatures: Sequence[str], sources: Sequence[str]) -> str:
    told = b"".join(text.encode() + b"\0" for text in (*signatures, *sources))
    return f"candidate_{sha256(told).hexdigest()[:16]}"


def risk_of(steps: Sequence[Step], *, secrets: bool) -> Risk:
    """How much may go wrong where these steps are done, and secrets are needed or not."""
    external = any(step.external for step in steps)
    return ("low", "medium", "high")[external + secrets]
