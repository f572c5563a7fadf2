"""Who granted which effects to whom in a run: what was used of it, what was denied, what nobody granted.

    found = state_at(log, Grants(), "run/4wq2mzkq7xha").state
    found.ungranted                      # effects that happened, and that nobody had granted

A grant is for one effect. People give it, or the rules of the scopes do where an agent may act by
itself. An effect that happened although nothing was decided about it, or although it was asked for
and nobody agreed, was used without one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from playhead.events import approval as approvals
from playhead.events.autonomy import AutonomyDecided
from playhead.events.catalog import ModelCalled, RunStarted, ToolRequested
from playhead.events.fact import Fact
from playhead.events.rules import PersonaEntered
from playhead.events.state import StateRequested
from playhead.events.words import VerdictWord
from playhead.log.envelope import Event
from playhead_projections.accounts import enclosing
from playhead_projections.projection import Projection

_ENDS: Final = frozenset(
    {
        *("tool.completed", "tool.failed", "operation.cancelled"),
        *("state.completed", "state.failed", "model.answered", "model.failed"),
    }
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An effect that an agent wants to have. `seq` is the event that says so."""

    op: str
    agent: str
    tool: str
    action: str
    seq: int
    at: int


class Grant(msgspec.Struct, kw_only=True):
    """An effect that was granted, and by whom: by nobody where the rules let it happen by itself.

    `used` is the event that asked for the tool, None while none did. `outcome` is how that ended.
    """

    to: Wanted
    by: list[str]
    reason: str
    seq: int
    used: int | None = None
    outcome: str | None = None


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """An effect that was not to happen: who said so, nobody where the rules did, and why."""

    to: Wanted
    by: str | None
    word: str
    reason: str
    seq: int


class Ungranted(msgspec.Struct, frozen=True, kw_only=True):
    """An effect that happened and that nobody granted. `decided` is what the rules had said of it."""

    to: Wanted
    decided: VerdictWord | None
    outcome: str
    seq: int


class Granted(msgspec.Struct, kw_only=True):
    """The grants of one run."""

    run: str
    persona: str = "?"
    grants: dict[str, Grant] = {}
    """By the operation of the effect."""
    denials: list[Denial] = []
    ungranted: list[Ungranted] = []
    personas: dict[str, str] = {}
    decided: dict[str, tuple[Wanted, VerdictWord]] = {}
    asked: dict[str, str] = {}
    """The operation that a request is for."""
    wanted: dict[str, Wanted] = {}
    """What may come to be used, by its operation, while it is under way."""


class Grants(Projection[Granted]):
    """The grants of each run."""

    name = "grants"
    version = 2
    state = Granted

    def initial(self, key: str) -> Granted:
        return Granted(run=key)

    def apply(self, state: Granted, event: Event, fact: Fact) -> Granted:
        match fact:
            case RunStarted():
                state.persona = fact.persona
            case PersonaEntered():
                state.personas[event.op] = fact.persona
            case AutonomyDecided():
                _decide(state, event, fact)
            case approvals.ApprovalRequested():
                _ask(state, event, fact)
            case approvals.ApprovalGranted() if (to := _asked_for(state, fact.request)) is not None:
                by = [each.reviewer for each in fact.granted]
                state.grants[to.op] = Grant(to=to, by=by, reason=fact.reason, seq=event.seq)
            case approvals.ApprovalDenied() if (to := _asked_for(state, fact.request)) is not None:
                _deny(state, event, to, "denied", fact.reviewer, fact.reason)
            case approvals.ApprovalTimedOut() if (to := _asked_for(state, fact.request)) is not None:
                _deny(state, event, to, "timed_out", None, "")
            case ToolRequested():
                _use(state, event, fact.tool, fact.side_effect)
            case StateRequested() | ModelCalled():
                _use(state, event, "", "")  # nobody has to grant them where no scope names them
            case _ if event.type in _ENDS:
                _end(state, event)
            case _:
                pass
        return state


def _decide(state: Granted, event: Event, fact: AutonomyDecided) -> None:
    to = Wanted(op=event.op, agent=fact.agent, tool=fact.tool, action=fact.action, seq=event.seq, at=event.at)
    state.decided[event.op] = (to, fact.verdict)
    if fact.verdict == "act":
        state.grants[event.op] = Grant(to=to, by=[], reason=fact.reason, seq=event.seq)
    elif fact.verdict == "ask":
        state.asked[fact.request] = event.op
    else:
        _deny(state, event, to, fact.verdict, None, fact.reason)


def _ask(state: Granted, event: Event, fact: approvals.ApprovalRequested) -> None:
    """A request that lies below an effect is for that; where a policy wants it, nothing else says so."""
    if fact.request in state.asked or not event.op.endswith(approvals.OF_A_CALL):
        return
    op = event.op.removesuffix(approvals.OF_A_CALL)
    state.asked[fact.request] = op
    state.wanted[op] = Wanted(
        op=op, agent=fact.principal, tool=fact.action, action="", seq=event.seq, at=event.at
    )


def _asked_for(state: Granted, request: str) -> Wanted | None:
    op = state.asked.get(request)
    if op is None:
        return None
    return state.decided[op][0] if op in state.decided else state.wanted.get(op)


def _deny(state: Granted, event: Event, to: Wanted, word: str, by: str | None, reason: str) -> None:
    state.denials.append(Denial(to=to, by=by, word=word, reason=reason, seq=event.seq))


def _use(state: Granted, event: Event, tool: str, action: str) -> None:
    if (grant := state.grants.get(event.op)) is not None:
        grant.used = event.seq
    if not action:
        return
    state.wanted[event.op] = Wanted(
        op=event.op,
        agent=_agent(state, event.op),
        tool=tool,
        action=action,
        seq=event.seq,
        at=event.at,
    )


def _end(state: Granted, event: Event) -> None:
    to, grant = state.wanted.pop(event.op, None), state.grants.get(event.op)
    outcome = event.type.rpartition(".")[2]
    if grant is not None:
        grant.outcome = outcome
    elif to is not None:
        decided = state.decided.get(event.op)
        verdict = None if decided is None else decided[1]
        state.ungranted.append(Ungranted(to=to, decided=verdict, outcome=outcome, seq=event.seq))


def _agent(state: Granted, op: str) -> str:
    decided = state.decided.get(op)
    if decided is not None:
        return decided[0].agent
    return next((state.personas[each] for each in enclosing(op, state.personas)), state.persona)
