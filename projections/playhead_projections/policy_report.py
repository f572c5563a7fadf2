"""What bounded a run and what was decided about it: policies, tiers, budgets, and the people who were asked.

    ruled = state_at(log, PolicyReport(), "run/4wq2mzkq7xha").state
    [(each.tool, each.verdict, each.outcome) for each in ruled.decisions.values()]
    [(each.action, each.status, each.by) for each in ruled.asked.values()]

A decision and a request to people stand under the operation that they are about. An answer is listed
whether it counted or not: who has a say is decided by the program, and what it decided is beside it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from playhead.events import approval as approvals
from playhead.events import autonomy, rules
from playhead.events.fact import Fact
from playhead.events.words import NOTHING
from playhead.log.envelope import Event
from playhead_projections.accounts import brief
from playhead_projections.projection import Projection


class Decision(msgspec.Struct, kw_only=True):
    """What was decided about one effect, and what came of it. What is None is not known, or not yet."""

    op: str
    seq: int
    at: int
    agent: str
    tool: str
    action: str
    verdict: str
    tier: str
    cause: str
    reason: str
    because: tuple[str, ...] = ()
    request: str = ""
    outcome: str | None = None
    enforcement: str | None = None
    approver: str | None = None
    recorded_seq: int | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said. `counted` says whether the decision rests on it."""

    reviewer: str
    word: str
    reason: str
    seq: int
    at: int
    said_at: int
    message: int
    is_signed: bool
    counted: bool = False
    edited: bool = False
    """Whether it agrees to another call than the one that was asked for."""


class Asked(msgspec.Struct, kw_only=True):
    """One request to people. `waits` False means that the program went on, and they were only told."""

    op: str
    seq: int
    at: int
    request: str
    kind: str
    action: str
    digest: str
    principal: str
    reviewers: tuple[str, ...] | None
    quorum: int
    due: int | None
    waits: bool
    status: str = "open"
    by: tuple[str, ...] = ()
    """Who agreed, in their order, or who said no."""
    reason: str = ""
    edited: bool = False
    args: str | None = None
    """What was asked for, in brief."""
    agreed: str | None = None
    """What people agreed to, in brief; None where they did not. Another than `args` where it was `edited`."""
    ended_seq: int | None = None
    ended: int | None = None
    answers: list[Answer] = []


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that was put around a part of a program: by a persona, a stage, or a persona called inside."""

    op: str
    seq: int
    at: int
    of: str
    name: str
    policy: dict[str, Any] | None


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that was used up, or crossed a threshold (`percent`) that a hook waits for."""

    op: str
    seq: int
    at: int
    of: str
    name: str
    limit: str
    limit_value: int
    percent: float | None
    spent_tokens: int | None
    spent_micros: int | None


class Ruled(msgspec.Struct, kw_only=True):
    """All of it, for one run."""

    run: str
    decisions: dict[str, Decision] = {}
    asked: dict[str, Asked] = {}
    bounds: list[Bound] = []
    spent: list[Spent] = []
    by_request: dict[str, str] = {}


class PolicyReport(Projection[Ruled]):
    """One for each run."""

    name = "policy_report"
    version = 2
    state = Ruled
    paged = ("decisions", "asked", "bounds", "spent", "by_request")

    def initial(self, key: str) -> Ruled:
        return Ruled(run=key)

    def apply(self, state: Ruled, event: Event, fact: Fact) -> Ruled:
        match fact:
            case autonomy.AutonomyDecided():
                state.decisions[event.op] = _decision(event, fact)
            case autonomy.TrustRecorded():
                _recorded(state, event, fact)
            case approvals.ApprovalRequested():
                state.asked[event.op] = _asked(event, fact)
                state.by_request[fact.request] = event.op
            case approvals.ApprovalAnswered():
                _answered(state, event, fact)
            case approvals.ApprovalGranted() | approvals.ApprovalDenied() | approvals.ApprovalTimedOut():
                _decided(state, event, fact)
            case rules.StageEntered() | rules.PolicyNarrowed() | rules.PersonaEntered():
                state.bounds.append(_bound(event, fact))
            case rules.BudgetExhausted() | rules.BudgetThresholdCrossed():
                state.spent.append(_spent(event, fact))
            case _:
                pass
        return state


def _decision(event: Event, fact: autonomy.AutonomyDecided) -> Decision:
    return Decision(
        op=event.op,
        seq=event.seq,
        at=event.at,
        agent=fact.agent,
        tool=fact.tool,
        action=fact.action,
        verdict=fact.verdict,
        tier=fact.tier,
        cause=fact.cause,
        reason=fact.reason,
        because=fact.because,
        request=fact.request,
    )


def _recorded(state: Ruled, event: Event, fact: autonomy.TrustRecorded) -> None:
    decision = state.decisions.get(event.op)
    if decision is not None:
        decision.outcome, decision.enforcement = fact.outcome, fact.enforcement
        decision.approver, decision.recorded_seq = fact.approver, event.seq


def _asked(event: Event, fact: approvals.ApprovalRequested) -> Asked:
    return Asked(
        op=event.op,
        seq=event.seq,
        at=event.at,
        request=fact.request,
        kind=fact.kind,
        action=fact.action,
        digest=fact.digest,
        principal=fact.principal,
        reviewers=fact.reviewers,
        quorum=fact.quorum,
        due=fact.due,
        waits=fact.waits,
        args=brief(fact.args) if bytes(fact.args) != NOTHING else None,
    )


def _answered(state: Ruled, event: Event, fact: approvals.ApprovalAnswered) -> None:
    asked = state.asked.get(state.by_request.get(fact.request, ""))
    if asked is not None:
        asked.answers.append(
            Answer(
                reviewer=fact.reviewer,
                word=fact.word,
                reason=fact.reason,
                seq=event.seq,
                at=event.at,
                said_at=fact.said_at,
                message=fact.message,
                is_signed=bool(fact.signature),
                edited=fact.digest not in ("", asked.digest),
            )
        )


def _decided(
    state: Ruled,
    event: Event,
    fact: approvals.ApprovalGranted | approvals.ApprovalDenied | approvals.ApprovalTimedOut,
) -> None:
    asked = state.asked.get(event.op)
    if asked is None:
        return
    asked.ended_seq, asked.ended = event.seq, event.at
    names: list[str] = []
    match fact:
        case approvals.ApprovalGranted():
            asked.status, asked.reason, asked.edited = "granted", fact.reason, fact.edited
            names = [grant.reviewer for grant in fact.granted]
            asked.by = tuple(_who(grant.reviewer, grant.edited_by) for grant in fact.granted)
            asked.agreed = brief(fact.args) if bytes(fact.args) != NOTHING else None
        case approvals.ApprovalDenied():
            names = [fact.reviewer]
            asked.status, asked.reason, asked.by = (
                "denied",
                fact.reason,
                (_who(fact.reviewer, fact.edited_by),),
            )
        case approvals.ApprovalTimedOut():
            asked.status = "timed_out"
    word = "deny" if asked.status == "denied" else "approve"
    asked.answers = [
        msgspec.structs.replace(each, counted=each.reviewer in names and each.word == word)
        for each in asked.answers
    ]


def _who(reviewer: str, edited_by: str) -> str:
    """Who is said to have decided: an edited answer is nobody's own."""
    return f"{reviewer} (edited by {edited_by})" if edited_by else reviewer


def _bound(event: Event, fact: rules.StageEntered | rules.PolicyNarrowed | rules.PersonaEntered) -> Bound:
    of, name = (
        ("stage", fact.stage)
        if isinstance(fact, rules.StageEntered)
        else ("persona" if isinstance(fact, rules.PolicyNarrowed) else "inner_persona", fact.persona)
    )
    return Bound(op=event.op, seq=event.seq, at=event.at, of=of, name=name, policy=fact.policy)


def _spent(event: Event, fact: rules.BudgetExhausted | rules.BudgetThresholdCrossed) -> Spent:
    if isinstance(fact, rules.BudgetExhausted):
        percent: float | None = None
        tokens: int | None = fact.spent_tokens
        micros: int | None = fact.spent_micros
    else:
        percent, is_money = fact.percent, fact.limit == "max_usd"
        tokens, micros = (None, fact.spent) if is_money else (fact.spent, None)
    return Spent(
        op=event.op,
        seq=event.seq,
        at=event.at,
        of=fact.of,
        name=fact.name,
        limit=fact.limit,
        limit_value=fact.limit_value,
        percent=percent,
        spent_tokens=tokens,
        spent_micros=micros,
    )
