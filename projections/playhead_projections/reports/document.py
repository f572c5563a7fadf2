"""The report of a run as one document: the same for every form that it is shown in.

    whole = state_at(log, Reports(), "run/4wq2mzkq7xha").state
    told = document(whole)
    told["time"]["people"], [node["name"] for node in told["nodes"]]

`nodes` are what the program did, each once: steps, personas called inside, compositions, and operations of
every kind, with those that were denied. They stand depth first in the order in which the program came to
them, and `parent` is the operation of the node around each, so a reader needs no recursion and no nesting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from playhead.events.approval import OF_A_CALL
from playhead_projections.accounts import TERMINAL, Used, enclosing, length, name_of
from playhead_projections.policy_report import Asked, Decision
from playhead_projections.reports.fold import Absence, Whole
from playhead_projections.reports.shares import Stretch, shared
from playhead_projections.run_report import (
    Attempt,
    Denial,
    Operation,
    Step,
    brief,
    errors,
    in_doubt,
    totals,
    waits,
)

SCHEMA: Final = "playhead.run_report/1"
WAIT_OF_KIND: Final = {"signal": "signals", "timer": "timers", "child": "children", "approval": "people"}
AT_WORK: Final = frozenset({"tool", "model", "value", "state", "hook"})
"""Kinds of operations that are carried out. A composition is as busy as the calls in it."""
LEFT_AT_WORK: Final = frozenset({"died", "released", "parked"})
"""Why nobody has a run that may have been at work. One that sleeps was not."""
REFUSED: Final = frozenset({"denied", "timed_out"})
OUTCOME_STATUS: Final = {"denied": "denied", "timeout": "failed", "failure": "failed", "success": "completed"}


def document(
    whole: Whole, *, at: int | None = None, status: str | None = None, children: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The report as one JSON document.

    `at` is the event that it was folded to, None for all there is. `status` replaces the recorded one where
    somebody knows better, and `children` are what is known of child runs.
    """
    report, life = whole.report, whole.report.life
    end = life.ended if life.ended is not None else life.last_at
    stretches = list(_stretches(whole, end or 0))
    nodes = _Tree(whole, stretches, end or 0).nodes()
    began = life.started if life.started is not None else end
    return {
        "schema": SCHEMA,
        "at": at,
        "run": {
            **{name: getattr(life, name) for name in _OF_LIFE},
            "status": status or life.status,
            "took": life.duration,
            "args": whole.notes.args,
            "result": whole.notes.result,
            "error": msgspec.to_builtins(life.error),
            "python": whole.notes.python or None,
            "playhead": whole.notes.playhead or None,
        },
        "time": _times(began or 0, end or 0, [*_all(stretches), *_away(whole, end or 0)]),
        "totals": {**totals(report), "denied": len(report.denied), "by_status": _statuses(nodes)},
        "nodes": nodes,
        "errors": errors(report),
        "decisions": _decisions(whole),
        "people": [_asked(asked) for asked in whole.ruled.asked.values()],
        "denied": [{**msgspec.to_builtins(each), **_refusal(whole, each.op)} for each in report.denied],
        "bounds": msgspec.to_builtins(whole.ruled.bounds),
        "budgets": msgspec.to_builtins(whole.ruled.spent),
        "state": msgspec.to_builtins([change for change in whole.notes.changes.values() if change.version]),
        "children": list(children),
        "absences": msgspec.to_builtins(whole.notes.absences),
        "waits_for": [] if life.status in TERMINAL else [brief(each) for each in _awaited(whole)],
        "in_doubt": [each.op for each in in_doubt(report)],
        "mailbox": msgspec.to_builtins(report.mailbox),
        "hooks": report.hooks.document(),
        "patches": report.patches,
        "clock_set_back": whole.notes.set_back,
        "events_unknown": report.skipped,
        "events_erased": report.erased,
    }


_OF_LIFE: Final = (
    "run",
    "name",
    "key",
    "persona",
    "module",
    "mode",
    "started",
    "ended",
    "ended_seq",
    "parent",
    "parent_op",
    "forked_from",
    "resumes",
    "deaths",
    "reason",
    "events",
)


def child_runs(whole: Whole) -> list[str]:
    """The child runs that a run asked for, in the order of asking."""
    return [each.child for each in whole.report.operations.values() if each.child is not None]


def child_document(whole: Whole) -> dict[str, Any]:
    """What the report of a parent says of one child run."""
    life, used = whole.report.life, whole.report.used
    return {
        "run": life.run,
        "persona": life.persona,
        "status": life.status,
        "took": life.duration,
        "operations": len(whole.report.operations),
        **used.document(),
    }


def _awaited(whole: Whole) -> list[Operation]:
    """What a run waits for, without requests that people are only told of."""
    told_only = {op for op, asked in whole.ruled.asked.items() if not asked.waits}
    return [each for each in waits(whole.report) if each.op not in told_only]


def _asked(asked: Asked) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(asked)
    said["took"] = length(asked.at, asked.ended)
    return said


def _refusal(whole: Whole, op: str) -> dict[str, Any]:
    """Whether people did not agree to a call, and who said no: `people` is None where nobody was asked."""
    asked = whole.ruled.asked.get(f"{op}{OF_A_CALL}")
    if asked is None or asked.status not in REFUSED:
        return {"people": None}
    return {"people": {"status": asked.status, "by": list(asked.by)}}


def _decisions(whole: Whole) -> dict[str, Any]:
    """How often which verdict fell, and the decisions themselves stand with their operations."""
    counted: dict[tuple[str, str, str, str], int] = {}
    for each in whole.ruled.decisions.values():
        key = (each.verdict, each.tier, each.action, each.outcome or "")
        counted[key] = counted.get(key, 0) + 1
    rows = [
        {"verdict": verdict, "tier": tier, "action": action, "outcome": outcome or None, "count": count}
        for (verdict, tier, action, outcome), count in sorted(counted.items())
    ]
    return {"total": len(whole.ruled.decisions), "by_verdict": rows}


def _statuses(nodes: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for node in nodes:
        kind = found.setdefault(node["kind"], {})
        kind[node["status"]] = kind.get(node["status"], 0) + 1
    return {kind: dict(sorted(found[kind].items())) for kind in sorted(found)}


# ------------------------------------------------------------------- time


class _Of:
    """The stretches of one operation."""

    __slots__ = ("op", "stretches")

    def __init__(self, op: str, stretches: list[Stretch]) -> None:
        self.op = op
        self.stretches = stretches


def _stretches(whole: Whole, end: int) -> Iterator[_Of]:
    """What each operation counts as, and when. What is not over goes on to `end`."""
    told_only = {op for op, asked in whole.ruled.asked.items() if not asked.waits}
    gone = [absence for absence in whole.notes.absences if absence.why in LEFT_AT_WORK]
    for operation in whole.report.operations.values():
        over = operation.ended if operation.ended is not None else end
        wait = WAIT_OF_KIND.get(operation.kind)
        if wait is not None:
            if operation.op not in told_only:
                yield _Of(operation.op, [Stretch(operation.started, over, wait)])
        elif operation.kind in AT_WORK:
            attempts = operation.attempts or [
                Attempt(number=1, reason="first", started=operation.started, ended=operation.ended)
            ]
            yield _Of(operation.op, list(_attempted(operation, attempts, over, gone)))


def _attempted(
    operation: Operation, attempts: list[Attempt], over: int, gone: list[Absence]
) -> Iterator[Stretch]:
    """Attempts and the pauses after them. One ends with its process; what is in doubt waits for people."""
    for number, attempt in enumerate(attempts):
        following = attempts[number + 1] if number + 1 < len(attempts) else None
        upon = over if following is None else following.started
        ended = upon if attempt.ended is None else attempt.ended
        lost = _lost(attempt.started, ended, gone)
        if lost is not None:
            yield Stretch(attempt.started, lost.since, "work")
            if _is_in_doubt(operation, following) and lost.until is not None:
                yield Stretch(lost.until, upon, "people")
            continue
        yield Stretch(attempt.started, ended, "work")
        if following is not None and following.reason == "retry":
            yield Stretch(ended, following.started, "retries")
        elif following is None and attempt.retry_in_ms is not None:
            yield Stretch(ended, over, "retries")


def _lost(started: int, ended: int, gone: list[Absence]) -> Absence | None:
    """The death of its process that an attempt did not survive."""
    at = bisect_left(gone, started, key=lambda absence: absence.since)
    return gone[at] if at < len(gone) and gone[at].since < ended else None


def _is_in_doubt(operation: Operation, following: Attempt | None) -> bool:
    """Whether somebody has to answer for what was lost, or had to."""
    if following is not None:
        return following.reason == "resolution"
    return operation.status == "in_doubt" or operation.resolved_by is not None


def _away(whole: Whole, end: int) -> Iterator[Stretch]:
    for absence in whole.notes.absences:
        yield Stretch(absence.since, _until(absence, end), "away")


def _until(absence: Absence, end: int) -> int:
    return end if absence.until is None else absence.until


def _all(stretches: list[_Of]) -> Iterator[Stretch]:
    for each in stretches:
        yield from each.stretches


def _times(since: int, until: int, stretches: list[Stretch]) -> dict[str, int]:
    return {"took": max(until - since, 0), **shared(since, until, stretches)}


# ------------------------------------------------------------------- tree


class _Tree:
    """What a program did, put inside of one another by their ids."""

    def __init__(self, whole: Whole, stretches: list[_Of], end: int) -> None:
        self.whole = whole
        self.end = end
        self.made: dict[str, dict[str, Any]] = {}
        self._make()
        self.inside: dict[str, list[Stretch]] = {
            op: [] for op, node in self.made.items() if node["kind"] in ("step", "persona", "composition")
        }
        for each in stretches:
            for around in enclosing(each.op, self.inside):
                self.inside[around] += each.stretches

    def _make(self) -> None:
        report = self.whole.report
        for step in report.steps.values():
            self._put(step.op, self._step(step))
        for inner in self.whole.notes.inner.values():
            self._put(inner.op, self._plain("persona", inner.name, inner))
        for operation in report.operations.values():
            self._put(operation.op, self._operation(operation))
        for denial in report.denied:
            self._put(denial.op, self._denied(denial))
        for decision in self.whole.ruled.decisions.values():
            self._put(decision.op, self._only_decided(decision))

    def _put(self, op: str, node: dict[str, Any]) -> None:
        """Each once: what is denied or decided about what is there already is told with it."""
        self.made.setdefault(op, node)

    def nodes(self) -> list[dict[str, Any]]:
        """Depth first. The order among those in one place is that in which the program came to them."""
        within: dict[str | None, list[str]] = {}
        for op in sorted(self.made, key=self._came_to):
            parent = next(enclosing(op, self.made), None)
            self.made[op]["parent"] = parent
            within.setdefault(parent, []).append(op)
        ordered: list[dict[str, Any]] = []
        left = [(op, 0) for op in reversed(within.get(None, []))]
        while left:
            op, depth = left.pop()
            node = self.made[op]
            node["depth"] = depth
            ordered.append(self._whole(op, node))
            left += [(inner, depth + 1) for inner in reversed(within.get(op, []))]
        return ordered

    def _came_to(self, op: str) -> int:
        decision = self.whole.ruled.decisions.get(op)
        seq: int = self.made[op]["seq"]
        return seq if decision is None else min(seq, decision.seq)

    def _whole(self, op: str, node: dict[str, Any]) -> dict[str, Any]:
        """A node with what stands beside it."""
        detail = self.whole.notes.details.get(op)
        node["site"] = None if detail is None else detail.site
        node["input"] = None if detail is None else detail.input
        node["output"] = None if detail is None else detail.output
        if detail is not None and detail.erased:
            node["erased"] = True
        if op in self.inside:
            over = node["ended"] if node["ended"] is not None else self.end
            away = _away(self.whole, self.end)
            node["time"] = _times(node["started"], over, [*self.inside[op], *away])
        decision = self.whole.ruled.decisions.get(op)
        if decision is not None:
            node["decision"] = msgspec.to_builtins(decision)
        asked = self.whole.ruled.asked.get(op)
        if asked is not None:
            node["people"] = _asked(asked)
        agreed = self.whole.ruled.asked.get(f"{op}{OF_A_CALL}")
        if agreed is not None and agreed.edited:
            node["edited"] = {"asked": agreed.args, "agreed": agreed.agreed, "by": list(agreed.by)}
        change = self.whole.notes.changes.get(op)
        if change is not None:
            node["state"] = msgspec.to_builtins(change)
        snippet = self.whole.notes.snippets.get(op)
        if snippet is not None:
            node["snippet"] = msgspec.to_builtins(snippet)
        return node

    def _plain(self, kind: str, name: str, item: Any, **more: Any) -> dict[str, Any]:
        started, ended = item.started, item.ended
        return {
            "op": item.op,
            "parent": None,
            "depth": 0,
            "kind": kind,
            "name": name,
            "status": item.status,
            "seq": item.seq,
            "ended_seq": item.ended_seq,
            "started": started,
            "ended": ended,
            "took": length(started, ended),
            "error": msgspec.to_builtins(getattr(item, "error", None)),
            **more,
        }

    def _step(self, step: Step) -> dict[str, Any]:
        node = self._plain("step", step.name, step, function=step.function)
        node["used"], node["inclusive"] = _used(step.used), _used(step.inclusive)
        for name in ("stage", "iteration", "exhausted"):
            if getattr(step, name) is not None:
                node[name] = getattr(step, name)
        if step.declared is not None:
            node["declared"] = {
                name: getattr(step.declared, name) for name in step.declared.__struct_fields__
            }
        return node

    def _operation(self, operation: Operation) -> dict[str, Any]:
        node = self._plain(operation.kind, operation.name, operation)
        if len(operation.attempts) > 1 or any(attempt.error for attempt in operation.attempts):
            node["attempts"] = msgspec.to_builtins(operation.attempts)
        if operation.kind == "model":
            usage = operation.usage
            node["model"] = operation.model
            node["usage"] = (
                None if usage is None else {name: getattr(usage, name) for name in usage.__struct_fields__}
            )
            node["cost_micros"], node["cost_source"] = operation.cost_micros, operation.cost_source
        for name in ("effect", "due", "child", "resolved_by", "refused"):
            if getattr(operation, name) is not None:
                node[name] = getattr(operation, name)
        if operation.outcome_unknown:
            node["outcome_unknown"] = True
        return node

    def _denied(self, denial: Denial) -> dict[str, Any]:
        node = self._at(denial.op, denial.of, denial.name, "denied", denial.seq, denial.at)
        node["denied"] = {
            "reason": denial.reason,
            "verdict": denial.verdict,
            "by": denial.by,
            **_refusal(self.whole, denial.op),
        }
        return node

    def _only_decided(self, decision: Decision) -> dict[str, Any]:
        """An effect that was decided about and never asked for: proposed, denied, or still with people."""
        status = OUTCOME_STATUS.get(decision.outcome or "", "open")
        if decision.verdict in ("suggest", "shadow"):
            status = "proposed"
        asked = self.whole.ruled.asked.get(f"{decision.op}{OF_A_CALL}")
        if asked is not None and asked.status == "denied":
            status = "denied"
        return self._at(decision.op, "tool", decision.tool, status, decision.seq, decision.at)

    def _at(self, op: str, kind: str, name: str, status: str, seq: int, at: int) -> dict[str, Any]:
        """A node for what has no length: it was never carried out."""
        over = None if status == "open" else at
        return {
            "op": op,
            "parent": None,
            "depth": 0,
            "kind": kind,
            "name": name or name_of(op),
            "status": status,
            "seq": seq,
            "ended_seq": None if over is None else seq,
            "started": at,
            "ended": over,
            "took": None if over is None else 0,
            "error": None,
        }


def _used(used: Used) -> dict[str, Any]:
    return used.document()
