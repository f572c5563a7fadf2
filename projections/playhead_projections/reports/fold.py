"""What a report is made of, folded in one sitting: the run report, what policies said, and a few notes.

    whole = state_at(log, Reports(), "run/4wq2mzkq7xha", 41).state
    whole.report.life, whole.ruled.decisions, whole.notes.absences

The notes are what no other read model holds: the line that asked for each operation, what went in and came
out in brief, personas that were called inside, changes of state, and when no process had the run.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events import rules
from playhead.events import state as states
from playhead.events.composition import CompositionCompleted, CompositionFailed, CompositionStarted
from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead.log.evidence import ERASED_TYPE
from playhead_projections.accounts import KINDS, OUTCOMES, STEP_ENDS, brief, brief_value
from playhead_projections.policy_report import PolicyReport, Ruled
from playhead_projections.projection import Projection
from playhead_projections.run_report import Report, RunReport

UNCLAIMED: Final = "waited to be taken up"
LEAVES: Final = frozenset({"run.suspended", "run.released", "run.parked"})
_INPUTS: Final = ("args", "request", "content", "inputs")
_OUTPUTS: Final = ("result", "reply", "value", "answer")


class Detail(msgspec.Struct, kw_only=True):
    """What is known of one operation or step beside what the run report says of it."""

    site: str | None = None
    input: str | None = None
    output: str | None = None
    erased: bool = False


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on state. `version` 0 is none."""

    op: str
    seq: int
    action: str
    root: str
    session: str
    key: str
    version: int = 0
    conflict: bool = False


class Inner(msgspec.Struct, kw_only=True):
    """A persona that was called inside of the run."""

    op: str
    name: str
    seq: int
    started: int
    status: str = "running"
    ended_seq: int | None = None
    ended: int | None = None


class Snippet(msgspec.Struct, kw_only=True):
    """What is known of a composition: how many calls it made, and what ended it."""

    language: str
    lines: int
    calls: int | None = None
    steps: int | None = None
    cause: str | None = None


class Absence(msgspec.Struct, kw_only=True):
    """A time in which no process had the run: before the first one took it, asleep, let go, or dead."""

    since: int
    until: int | None
    why: str


class Notes(msgspec.Struct, kw_only=True):
    """The rest, for one run."""

    details: dict[str, Detail] = {}
    changes: dict[str, Change] = {}
    inner: dict[str, Inner] = {}
    snippets: dict[str, Snippet] = {}
    absences: list[Absence] = []
    set_back: int = 0
    """By how much the clock went back while it ran, nanoseconds."""
    python: str = ""
    playhead: str = ""
    args: str | None = None
    result: str | None = None


class Whole(msgspec.Struct, kw_only=True):
    """The states of the read models that a report is made of."""

    report: Report
    ruled: Ruled
    notes: Notes = msgspec.field(default_factory=Notes)


class Reports(Projection[Whole]):
    """One for each run. Each event is decoded once, for all of them."""

    name = "report"
    version = 4
    state = Whole
    paged = (
        *(f"report.{name}" for name in RunReport.paged),
        *(f"ruled.{name}" for name in PolicyReport.paged),
        *(f"notes.{name}" for name in ("details", "changes", "inner", "snippets", "absences")),
    )

    def __init__(self) -> None:
        self._report = RunReport()
        self._ruled = PolicyReport()

    def initial(self, key: str) -> Whole:
        return Whole(report=self._report.initial(key), ruled=self._ruled.initial(key))

    def apply(self, state: Whole, event: Event, fact: Fact) -> Whole:
        _timed(state, event)
        state.report = self._report.apply(state.report, event, fact)
        state.ruled = self._ruled.apply(state.ruled, event, fact)
        _noted(state.notes, event, fact)
        return state

    def erased(self, state: Whole, event: Event) -> Whole:
        _timed(state, event)
        state.report = self._report.erased(state.report, event)
        if event.type in KINDS or event.type in OUTCOMES or event.type in STEP_ENDS:
            state.notes.details.setdefault(event.op, Detail()).erased = True
        return state

    def newer(self, state: Whole, event: Event) -> Whole:
        _timed(state, event)
        state.report = self._report.newer(state.report, event)
        return state

    def label(self, state: Whole) -> str | None:
        return self._report.label(state.report)


# ------------------------------------------------------------------- times


def _timed(state: Whole, event: Event) -> None:
    """Who leaves a run says so; who died is missed when the next one claims it. Asked before the report.

    A fork begins with what was made of its source, before anybody claims it: till then it waited for nobody.
    """
    if event.type == ERASED_TYPE:
        return  # done to the log, and by others
    absences, last_at = state.notes.absences, state.report.life.last_at
    if last_at is not None:
        state.notes.set_back += max(last_at - event.at, 0)
    if (event.op or event.type in LEAVES) and absences and absences[-1].until is None:
        if absences[-1].why == UNCLAIMED:
            absences.pop()
        else:
            absences[-1].until = event.at
    if event.type == "run.started":
        absences.append(Absence(since=event.at, until=None, why=UNCLAIMED))
    elif event.type in LEAVES:
        absences.append(Absence(since=event.at, until=None, why=event.type.removeprefix("run.")))
    elif event.type == "run.claimed":
        if absences and absences[-1].until is None:
            absences[-1].until = event.at
        elif last_at is not None:
            since = min(last_at, event.at)
            absences.append(Absence(since=since, until=event.at, why="died"))


# ------------------------------------------------------------------ notes


def _noted(notes: Notes, event: Event, fact: Fact) -> None:
    match fact:
        case facts.RunStarted():
            notes.python, notes.playhead = fact.python, fact.playhead
            notes.args = brief(fact.args)
        case facts.RunCompleted():
            notes.result = brief(fact.result)
        case rules.PersonaEntered():
            inner = Inner(op=event.op, name=fact.persona, seq=event.seq, started=event.at)
            notes.inner[event.op] = inner
        case rules.PersonaExited() if event.op in notes.inner:
            inner = notes.inner[event.op]
            inner.status, inner.ended_seq, inner.ended = fact.status, event.seq, event.at
        case states.StateRequested():
            notes.changes[event.op] = Change(
                op=event.op,
                seq=event.seq,
                action=fact.action,
                root=fact.root,
                session=fact.session,
                key=fact.key,
            )
        case states.StateCompleted() | states.StateFailed() if event.op in notes.changes:
            notes.changes[event.op] = msgspec.structs.replace(
                notes.changes[event.op],
                version=getattr(fact, "version", 0),
                conflict=bool(fact.conflict),
            )
        case CompositionStarted():
            lines = len(fact.snippet.splitlines())
            notes.snippets[event.op] = Snippet(language=fact.language, lines=lines)
        case CompositionCompleted() | CompositionFailed() if event.op in notes.snippets:
            snippet = notes.snippets[event.op]
            snippet.calls, snippet.steps = fact.calls, fact.steps
            snippet.cause = getattr(fact, "cause", None)
        case _:
            pass
    _detailed(notes, event, fact)


def _detailed(notes: Notes, event: Event, fact: Fact) -> None:
    if not event.op:
        return
    if event.type in KINDS or event.type in ("step.started", "tool.denied", "persona.entered"):
        site = getattr(fact, "site", None)
        notes.details[event.op] = Detail(
            site=None if site is None else str(site),
            input=_first(fact, _INPUTS),
        )
    elif event.type in OUTCOMES or event.type in STEP_ENDS:
        detail = notes.details.get(event.op)
        if detail is not None:
            detail.output = _first(fact, _OUTPUTS)


def _first(fact: Fact, fields: tuple[str, ...]) -> str | None:
    """What went in or came out in brief: of a model what it was asked and said, of others the value whole."""
    if isinstance(fact, facts.ModelCalled):
        return _member(fact.request, "prompt", "messages")
    if isinstance(fact, facts.ModelAnswered):
        return _member(fact.reply, "text", "tool_calls", "data")
    for field in fields:
        value = getattr(fact, field, None)
        if isinstance(value, Raw):
            return brief(value)
    return None


def _member(raw: Raw, *names: str) -> str:
    """The first member of those that is there; all of it where none is."""
    value = msgspec.msgpack.decode(raw)
    if not isinstance(value, dict):
        return brief_value(value)
    members = cast("dict[str, Any]", value)
    return brief_value(next((members[name] for name in names if members.get(name)), members))
