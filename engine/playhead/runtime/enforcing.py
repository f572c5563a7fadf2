"""Autonomy in runs: what becomes of an effect before it happens, and what is recorded of it.

    permit = await permitted(scope, op, Wish(...))
    permit.proposed              # what the program gets instead of the effect
    permit.edited                # the arguments that people agreed to instead
    permit.effect                # says what became of it, once it is over

Policies come first, then the scopes of autonomy and how the agent stands, then people. What is decided and
what follows at once is emitted together, so it is one append. A denial, a refusal and a proposal end with a
trust record here; of an effect that happens `Effect` records the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from playhead.errors import (
    ApprovalDenied,
    ApprovalTimedOut,
    BadValue,
    ForkDenied,
    PlayheadError,
    ToolRejected,
)
from playhead.events.approval import OF_A_CALL, ApprovalGranted
from playhead.events.autonomy import (
    AutonomyDecided,
    AutonomyProposed,
    StandingFound,
    StandingRequested,
    TrustRecorded,
)
from playhead.events.fact import Failure, OutcomeFact, ProgramFact
from playhead.events.rules import ToolDenied
from playhead.events.words import ComposedWords, EnforcementWord, TrustOutcome
from playhead.policy.action import BY_NAME_ONLY, Action
from playhead.policy.annotations import Annotations
from playhead.policy.autonomy import NO_WORD, Judgement, Ruling, Standing, judge
from playhead.runtime.approving import Asked, asked_about, digest_of
from playhead.runtime.fence import is_from_source
from playhead.runtime.moments import Call, NamedTool, before_tool
from playhead.runtime.permission import check_tool
from playhead.runtime.place import call_site
from playhead.runtime.proposed import Proposed
from playhead.runtime.scope import Scope
from playhead.runtime.standings import StandingCall
from playhead.trust.book import TRANSITION

NOBODY: Final = "runtime"
"""Whose effect it is where no persona runs."""
REASON_CHARS_MAX: Final = 300


class Wish(msgspec.Struct, frozen=True):
    """A call that somebody wants to make, and what policies go by.

    `named` are its arguments as they are, `recorded` as they stand in the log. `reads` raises `BadValue` for
    edited arguments that it could not be made with; None where nobody can edit it. `bounded` is whether
    policies say what may be called; models are bounded by budgets instead.
    """

    tool: str
    said: Annotations
    action: Action | None
    named: Mapping[str, Any]
    recorded: Raw
    reads: Callable[[Raw], Mapping[str, Any]] | None = None
    composed: ComposedWords | None = None
    bounded: bool = True


class Permit(msgspec.Struct, frozen=True):
    """What became of a wish that was not refused. Everything None: it may be done as it is."""

    proposed: Proposed | None = None
    edited: Raw | None = None
    effect: Effect | None = None
    judged: Raw | None = None
    """The arguments as they were judged; None where nobody looked at them, or they come from the log."""


async def permitted(scope: Scope, op: str, wish: Wish) -> Permit:
    """Ask the policy around `scope`, and people where it wants them.

    What is edited is looked at again: an approval lifts no ceiling. Raises `ToolRejected`, `ApprovalDenied`
    and `ApprovalTimedOut`. A crash while people are asked loses no answer.
    """
    why = check_wish(scope, op, wish)
    judged = await _judged(scope, op, wish, why)
    effect = None if judged is None else Effect(scope, op, wish, *judged)
    if effect is None and not why:
        return Permit(judged=wish.recorded)
    if effect is None or effect.judgement.verdict == "ask":
        try:
            asked = _asked(scope, op, wish, effect, effect.judgement.reason if effect is not None else why)
        except BadValue as error:  # nobody could agree: too few may, or too few of them have keys
            _refuse(scope, op, wish, effect and effect.impossible(error.message), error.message)
        return await _approved(scope, op, wish, effect, asked)
    if effect.judgement.verdict == "act":
        effect.decide()
        return Permit(effect=effect, judged=wish.recorded)
    if effect.judgement.verdict == "denied":
        _refuse(scope, op, wish, effect, effect.judgement.reason)
    return Permit(proposed=await effect.only_propose())


def _refuse(scope: Scope, op: str, wish: Wish, effect: Effect | None, reason: str) -> NoReturn:
    """Deny it, whatever anybody would say. Raises `ToolRejected`."""
    if effect is not None:
        effect.propose()
        effect.decide()
        effect.record("denied", "denied", reason)
    _deny(scope, op, wish, reason, "denied")
    raise ToolRejected(reason, tool=wish.tool)


async def ask_again(
    scope: Scope,
    op: str,
    tool: NamedTool,
    call: Call,
    permit: Permit,
    *,
    composed: ComposedWords | None = None,
) -> None:
    """Ask hooks about what people made of a call. Raises what they raise; `ToolRejected` for a change.

    What people agreed to is done as they agreed to it, or not at all.
    """

    def told(said: Call) -> Raw:
        return scope.machine.redacted(tool.signature.encode(tool.signature.bind(*said)), tool.secret)

    try:
        again, recorded = await before_tool(scope, f"{op}/edited", tool, call, composed=composed), told(call)
        if told(again) != recorded:
            reason = f"a hook changed arguments of {tool.name} that people had agreed to"
            wish = Wish(tool.name, Annotations(), None, {}, recorded, composed=composed)
            _deny(scope, op, wish, reason, "denied")
            raise ToolRejected(reason, tool=tool.name)
    except BaseException as error:
        if permit.effect is not None:
            permit.effect.refuse(error)
        raise


def check_wish(scope: Scope, op: str, wish: Wish) -> str:
    """Why the policy wants people to approve it, "" where it does not. Raises `ToolRejected`."""
    policy = scope.around.policy
    if not wish.bounded or (policy is not None and not policy.bounds_tools):
        return ""
    return check_tool(
        scope, op, wish.tool, wish.said, wish.named, wish.recorded, composed=wish.composed, may_ask=True
    )


async def _judged(scope: Scope, op: str, wish: Wish, why: str) -> tuple[Ruling, Judgement] | None:
    """What scopes of autonomy, and how the agent stands, make of an effect; None where nobody says a word.

    `why` is the reason for which a policy wants people to agree, "" for none.
    """
    policy, action = scope.around.policy, wish.action
    assert policy is not None
    if action is None:
        return None
    ruling = policy.ruling(_agent(scope), action, _within(scope))
    if why:
        ruling = replace(ruling, human=True, because=(*ruling.because, why))
    standing: Standing | None = NO_WORD
    if policy.scopes and not (action.kind in BY_NAME_ONLY and ruling.tier is None and not ruling.human):
        standing = await _looked_up(scope, op, action, ruling)
    judgement = judge(ruling, standing)
    return None if judgement is None else (ruling, judgement)


async def _looked_up(scope: Scope, op: str, action: Action, ruling: Ruling) -> Standing | None:
    """How the agent stands, as an operation of the run; None where that could not be found out."""
    machine, agent = scope.machine, _agent(scope)
    request = StandingRequested(
        agent=agent,
        tool=action.name,
        action=action.kind,
        within=_within(scope),
        per_hour=ruling.per_hour,
        per_day=ruling.per_day,
    )
    standings = getattr(machine.host, "standings", None)
    executor = None if standings is None else StandingCall(standings, (agent, *_within(scope)), ruling)
    found: Standing | None = await machine.perform(f"{op}/standing", request, _standing_of, executor=executor)
    return found


def _standing_of(fact: OutcomeFact) -> Standing | None:
    if isinstance(fact, StandingFound):
        return Standing(fact.tier, fact.hour, fact.day, fact.promoted)
    return None


async def _approved(scope: Scope, op: str, wish: Wish, effect: Effect | None, asked: Asked) -> Permit:
    """Wait until people agree to a call. Raises `ApprovalDenied`, `ApprovalTimedOut` and `ToolRejected`.

    `effect` None: it changes nothing, so nothing is recorded of it but what people said.
    """
    policy = scope.around.policy
    assert policy is not None
    if effect is not None:
        effect.propose()
        effect.decide(asked)
    try:
        counted, answers = await asked.people()
        granted = asked.grant(counted, answers)
        edited = _edited(scope, op, wish, granted)
        if effect is not None and policy.scopes:
            await _still_may(scope, op, wish, effect)
    except (ApprovalDenied, ApprovalTimedOut) as error:
        if effect is not None:
            effect.refuse(error)
        _deny(scope, op, wish, error.message, "needs_approval")
        raise
    except BaseException as error:  # also a hook that fails, and a program that is put away
        if effect is not None:
            effect.refuse(error)
        raise
    if effect is not None:
        effect.granted = granted
    return Permit(edited=edited, effect=effect, judged=wish.recorded if edited is None else None)


async def _still_may(scope: Scope, op: str, wish: Wish, effect: Effect) -> None:
    """Look again how the agent stands: it may have waited for days. Raises `ToolRejected`."""
    standing = await _looked_up(scope, f"{op}{OF_A_CALL}", effect.action, replace(effect.ruling, human=True))
    found = judge(replace(effect.ruling, human=True), standing)
    if found is not None and found.verdict not in ("act", "ask"):
        reason = f"people agreed, and meanwhile {found.reason}"
        _deny(scope, op, wish, reason, "denied")
        raise ToolRejected(reason, tool=wish.tool)


def _asked(scope: Scope, op: str, wish: Wish, effect: Effect | None, why: str) -> Asked:
    said = wish.said.capabilities or {}
    needs = [f"{domain}.{each}" for domain, ops in said.items() for each in ops or ()]
    shown: dict[str, Any] = {"reason": why}
    ruling = Ruling() if effect is None else effect.ruling
    if effect is not None:
        shown |= {"action_class": effect.action.kind, "tier": effect.judgement.tier}
        needs += [effect.action.capability]
    return asked_about(
        scope,
        op,
        wish.tool,
        wish.recorded,
        shown,
        capabilities=set(needs),
        reads=wish.reads or _unreadable,
        reviewers=ruling.reviewers,
        quorum=ruling.quorum,
        deadline_s=ruling.deadline_s,
    )


def _edited(scope: Scope, op: str, wish: Wish, granted: ApprovalGranted) -> Raw | None:
    """The arguments that people agreed to, where they are others. Raises `ToolRejected`."""
    if not granted.edited:
        return None
    assert wish.reads is not None
    named = wish.reads(granted.args)
    check_wish(scope, op, replace(wish, named=named, recorded=granted.args))
    return granted.args


def _deny(scope: Scope, op: str, wish: Wish, reason: str, verdict: Any) -> None:
    denied = ToolDenied(
        tool=wish.tool,
        args=wish.recorded,
        reason=reason,
        verdict=verdict,
        site=call_site(),
        composed=wish.composed,
    )
    scope.machine.emit(op, denied)


def _unreadable(_: Raw) -> Mapping[str, Any]:
    raise BadValue("the arguments of this cannot be edited.")


def _agent(scope: Scope) -> str:
    return scope.around.persona or NOBODY


def _within(scope: Scope) -> tuple[str, ...]:
    """The agents whose code called this one, without itself."""
    around = scope.around
    return tuple(name for name in around.agents if name != around.persona) if around.agents else ()


class Effect:
    """One effect that is decided about: what is recorded of it, from the decision to its end."""

    def __init__(self, scope: Scope, op: str, wish: Wish, ruling: Ruling, judgement: Judgement) -> None:
        assert wish.action is not None
        self.op = op
        self.action = wish.action
        self.ruling = ruling
        self.judgement = judgement
        self.granted: ApprovalGranted | None = None
        self._scope = scope
        self._wish = wish
        self._request = ""
        self._begun = False
        self._fact: OutcomeFact | None = None
        self._asked: ProgramFact | None = None

    # ------------------------------------------------------------- deciding

    def impossible(self, why: str) -> Effect:
        """This one, denied because nobody could agree to it."""
        self.judgement = replace(self.judgement, verdict="denied", reason=why, cause="reviewers")
        return self

    def propose(self) -> None:
        """Write down the effect that is wanted, and does not happen by itself."""
        wish = self._wish
        self._emit(
            AutonomyProposed(
                agent=_agent(self._scope),
                tool=wish.tool,
                action=self.action.kind,
                args=wish.recorded,
                digest=digest_of("approval", wish.tool, wish.recorded),
                tier=self.judgement.tier,
            )
        )

    def decide(self, asked: Asked | None = None) -> None:
        """Write down what was decided."""
        judgement = self.judgement
        self._request = asked.request if asked is not None else ""
        self._scope.machine.last_words[self.op] = self.unfinished
        self._emit(
            AutonomyDecided(
                agent=_agent(self._scope),
                tool=self._wish.tool,
                action=self.action.kind,
                verdict=judgement.verdict,
                tier=judgement.tier,
                cause=judgement.cause,
                reason=judgement.reason,
                because=self.ruling.because,
                request=self._request,
            )
        )
        if judgement.cause in ("per_hour", "per_day"):
            self.record("denied", "budget_exceeded", judgement.reason, transition=True)

    async def only_propose(self) -> Proposed:
        """Tell what would have been done, and under `suggest` tell people besides."""
        suggested = self.judgement.verdict == "suggest"
        asked: Asked | None = None
        if suggested:
            with contextlib.suppress(BadValue):  # there may be nobody to tell
                asked = _asked(self._scope, self.op, self._wish, self, self.judgement.reason)
        self.propose()
        self.decide(asked)
        enforcement: EnforcementWord = "suggest_approval_request" if suggested else "shadow_noop"
        self.record("denied", enforcement, self.judgement.reason)
        if asked is not None:
            await asked.tell()
        return Proposed(
            tool=self._wish.tool,
            action=self.action.kind,
            tier=self.judgement.tier,
            args=msgspec.msgpack.decode(self._wish.recorded),
            request=self._request,
        )

    # --------------------------------------------------------------- ending

    def refuse(self, error: BaseException) -> None:
        """Nothing was done: people said no or were too late, or want what may not be, or nobody waits."""
        if isinstance(error, ApprovalTimedOut):
            self.record("timeout", "approval_timed_out", error.message)
        elif isinstance(error, ApprovalDenied):
            by_rule = self.judgement.cause == "human"
            self.record("denied", "needs_human_denied" if by_rule else "approval_denied", error.message)
        else:
            given_up = isinstance(error, asyncio.CancelledError)
            said = error.message if isinstance(error, PlayheadError) else str(error)
            self.record("denied", "denied", "nobody waits for it any more" if given_up else said)

    def watch(self, settle: Callable[[Any], Any], asked: ProgramFact) -> Callable[[Any], Any]:
        """`settle`, and a look at what it is told when `asked` is answered."""
        self._begun, self._asked = True, asked

        def seen(fact: OutcomeFact) -> Any:
            self._fact = fact
            return settle(fact)

        return seen

    def over(self) -> None:
        """The program was told what became of it, or does not wait any more."""
        failure: Failure | None = getattr(self._fact, "failure", None)
        enforcement: EnforcementWord = "auto" if self.granted is None else "approval_granted"
        if self._fact is None:
            self.record("failure", enforcement, "nobody waits for it any more, and it may have happened")
        elif failure is None:
            self.record("success", enforcement)
        elif failure.category == ForkDenied.category:  # nothing was done, and nobody failed
            self.record("denied", "denied", f"{failure.type}: {failure.message}")
        else:
            outcome: TrustOutcome = "timeout" if failure.category == "timeout" else "failure"
            self.record(outcome, enforcement, f"{failure.type}: {failure.message}")

    def unfinished(self) -> None:
        """The run is about to end, and nobody has said what became of it."""
        if self._begun:
            self.over()
        else:
            self.record("denied", "denied", "the run ended before it was decided")

    def record(
        self,
        outcome: TrustOutcome,
        enforcement: EnforcementWord,
        reason: str = "",
        *,
        transition: bool = False,
    ) -> None:
        """Write the trust record."""
        if not transition:
            self._scope.machine.last_words.pop(self.op, None)
        granted = self.granted.granted if self.granted is not None else ()
        last = max(granted, key=lambda each: each.said_at, default=None)
        self._emit(
            TrustRecorded(
                agent=_agent(self._scope),
                action=TRANSITION if transition else self.action.kind,
                tool=self._wish.tool,
                outcome=outcome,
                tier="act_with_approval" if transition else self.judgement.tier,
                enforcement=enforcement,
                approver=last.reviewer if last is not None else None,
                request=self._request,
                quorum=self.ruling.quorum if self._request else 0,
                granted=granted,
                reason=reason[:REASON_CHARS_MAX],
                cost_micros=getattr(self._fact, "cost_micros", None),
                copied=is_from_source(self._scope.machine, self.op, self._asked),
            )
        )

    def _emit(self, fact: Any) -> None:
        machine = self._scope.machine
        if not machine.unwinding and not machine.stopped:
            machine.emit(self.op, fact)
