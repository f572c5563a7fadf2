"""Spans: what was under way when, one inside the other, as tracing tools show it.

    line = state_at(log, Timeline(), "run/4wq2mzkq7xha").state
    [(span.name, span.parent, span.ended) for span in line.spans]

One for each step and each operation of the world: tools, models, hooks, child runs and
personas called from inside. Ids count from 1 in the order of opening. The parent is the
innermost span whose code asked, known from the scope, not from what happened to be open.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from playhead.events import catalog as facts
from playhead.events import rules
from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead_projections.accounts import (
    KINDS,
    OUTCOMES,
    STEP_ENDS,
    Used,
    enclosing,
    name_of,
)
from playhead_projections.projection import Projection

SCHEMA: Final = "playhead.timeline/1"
SHOWN_KINDS: Final = frozenset({"tool", "model", "hook", "child"})


class Span(msgspec.Struct, kw_only=True):
    """One thing that was under way. Times are nanoseconds UTC; `ended` None is not over.

    `metadata` is what was known when it began, `result` what is known of how it ended; what is unknown is
    left out of both.
    """

    id: int
    parent: int | None
    kind: str
    name: str
    op: str
    seq: int
    started: int
    ended_seq: int | None = None
    ended: int | None = None
    metadata: dict[str, Any] = {}
    result: dict[str, Any] = {}


class Line(msgspec.Struct, kw_only=True):
    """The spans of one run, in the order of opening."""

    run: str
    persona: str | None = None
    spans: list[Span] = []
    by_op: dict[str, int] = {}
    """Where in `spans` the newest span of an operation stands."""
    used: dict[str, Used] = {}
    """What models were asked inside each open step."""


class Timeline(Projection[Line]):
    """One line for each run."""

    name = "timeline"
    version = 2
    state = Line
    paged = ("spans", "by_op")

    def initial(self, key: str) -> Line:
        return Line(run=key)

    def apply(self, state: Line, event: Event, fact: Fact) -> Line:
        return _apply(state, event, fact)

    def erased(self, state: Line, event: Event) -> Line:
        return _apply(state, event, None)

    newer = erased


def document(line: Line) -> dict[str, Any]:
    """As one JSON document."""
    return {
        "schema": SCHEMA,
        "run": line.run,
        "persona": line.persona,
        "spans": msgspec.to_builtins(line.spans),
    }


def _apply(line: Line, event: Event, fact: Fact | None) -> Line:
    kind = event.type
    if isinstance(fact, facts.RunStarted):
        line.persona = fact.persona
    elif kind == "step.started":
        _open_step(line, event, fact)
    elif kind == "persona.entered":
        _open(line, event, "persona", getattr(fact, "persona", None) or name_of(event.op), {})
    elif KINDS.get(kind) in SHOWN_KINDS:
        _open_operation(line, event, fact)
    elif kind in STEP_ENDS:
        _close_step(line, event)
    elif kind == "persona.exited":
        _close(line, event, {"status": getattr(fact, "status", "completed")})
    elif kind in OUTCOMES:
        _close_operation(line, event, fact)
    return line


def _open(line: Line, event: Event, kind: str, name: str, metadata: dict[str, Any]) -> None:
    around = next(enclosing(event.op, line.by_op), None)
    span = Span(
        id=len(line.spans) + 1,
        parent=None if around is None else line.spans[line.by_op[around]].id,
        kind=kind,
        name=name,
        op=event.op,
        seq=event.seq,
        started=event.at,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )
    line.by_op[event.op] = len(line.spans)
    line.spans.append(span)


def _open_step(line: Line, event: Event, fact: Fact | None) -> None:
    known = fact if isinstance(fact, facts.StepStarted) else None
    around = (line.spans[line.by_op[op]] for op in enclosing(event.op, line.by_op))
    persona = next((span.name for span in around if span.kind == "persona"), line.persona)
    model = known.declared.model if known else None
    name = known.step if known else name_of(event.op)
    _open(line, event, "step", name, {"persona": persona, "model": model})
    line.used[event.op] = Used()


def _open_operation(line: Line, event: Event, fact: Fact | None) -> None:
    kind = KINDS[event.type]
    name = next(
        (
            value
            for field in ("tool", "client", "hook", "persona")
            if isinstance(value := getattr(fact, field, None), str)
        ),
        name_of(event.op),
    )
    if isinstance(fact, rules.HookFired):
        name = fact.hook
    metadata = {
        "model": getattr(fact, "model", None),
        "effect": getattr(fact, "effect", None),
        "event": getattr(fact, "event", None),
        "run": getattr(fact, "run", None),
    }
    _open(line, event, kind, name, metadata)
    if kind == "model":
        for step in enclosing(event.op, line.used):
            line.used[step].ask()


def _close_step(line: Line, event: Event) -> None:
    used = line.used.pop(event.op, Used())
    _close(line, event, {"status": STEP_ENDS[event.type], **_sums(used)})


def _close_operation(line: Line, event: Event, fact: Fact | None) -> None:
    at = line.by_op.get(event.op)
    if at is None or line.spans[at].ended is not None:
        return
    result: dict[str, Any] = {"status": OUTCOMES[event.type]}
    if line.spans[at].kind == "model":
        one = Used()
        one.ask()
        for used in (one, *(line.used[step] for step in enclosing(event.op, line.used))):
            used.add(fact)
        result |= _sums(one)
    if isinstance(fact, rules.HookDecided):
        result["decision"] = fact.decision
    _close(line, event, result)


def _close(line: Line, event: Event, result: dict[str, Any]) -> None:
    at = line.by_op.get(event.op)
    if at is not None:
        span = line.spans[at]
        span.ended_seq, span.ended, span.result = event.seq, event.at, result


def _sums(used: Used) -> dict[str, Any]:
    """What models used, without what nobody knows."""
    sums = {
        "model_calls": used.model_calls,
        "input_tokens": used.input_tokens.value,
        "output_tokens": used.output_tokens.value,
        "cost_micros": used.cost_micros.value,
    }
    return {name: value for name, value in sums.items() if value is not None}
