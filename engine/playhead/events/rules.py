"""Facts about what bounds a program: budgets, policies and stages, personas inside of runs, and hooks."""

from __future__ import annotations

from typing import Literal

from msgspec import Raw

from playhead.events.fact import Failure, OutcomeFact, ProgramFact, Site
from playhead.events.words import ComposedWords, HookModelCall, LimitWord, PolicyWords

# ---------------------------------------------------------------- budgets


class BudgetReserved(ProgramFact, frozen=True, tag="budget.reserved"):
    """A model call under a budget set aside what it may use. Written before the call, under its id.

    None is what no budget around the call limits. Money is in millionths.
    """

    tokens: int | None = None
    cost_micros: int | None = None


class BudgetSettled(ProgramFact, frozen=True, tag="budget.settled"):
    """The call is over, and this is what every budget around it paid."""

    tokens: int
    cost_micros: int
    outcome: Literal["answered", "failed", "cancelled"]


class BudgetExhausted(ProgramFact, frozen=True, tag="budget.exhausted"):
    """A budget was passed, or a call refused because nothing is left of it. The program is told."""

    of: Literal["step", "persona", "run"]
    name: str
    limit: LimitWord
    limit_value: int
    spent_tokens: int
    spent_micros: int


class BudgetThresholdCrossed(ProgramFact, frozen=True, tag="budget.threshold_crossed"):
    """A budget is used up to a threshold that a hook waits for. Once for each hook and budget."""

    of: Literal["step", "persona", "run"]
    name: str
    limit: LimitWord
    percent: float
    limit_value: int
    spent: int


# ------------------------------------------------- policies and personas


class ToolDenied(ProgramFact, frozen=True, tag="tool.denied"):
    """A policy or a hook does not allow a call of a tool, or its arguments do not fit. Nothing was done."""

    tool: str
    args: Raw
    reason: str
    verdict: Literal["denied", "needs_approval", "invalid"] = "denied"
    """`invalid` where the arguments do not fit the input schema of the tool."""
    by: str | None = None
    """The hook that said so; None where it was a policy."""
    site: Site | None = None
    composed: ComposedWords | None = None
    """Where a composition asked for it."""


class StepDenied(ProgramFact, frozen=True, tag="step.denied"):
    """A hook did not let a step begin. The program is told."""

    step: str
    hook: str
    reason: str


class StageEntered(ProgramFact, frozen=True, tag="stage.entered"):
    """A step of a stage was entered: from here on the policy is at most this one. Under the step's id."""

    stage: str
    iteration: int
    policy: PolicyWords


class StageExited(ProgramFact, frozen=True, tag="stage.exited"):
    """The step of a stage was left. `status` is how the step ended."""

    stage: str
    iteration: int
    status: Literal["completed", "failed", "skipped", "escalated", "cancelled"]


class PolicyNarrowed(ProgramFact, frozen=True, tag="policy.narrowed"):
    """A persona put its own policy around its program. Before its first operation."""

    persona: str
    policy: PolicyWords


class PersonaEntered(ProgramFact, frozen=True, tag="persona.entered"):
    """A program called another persona, as a part of the same run. `policy` is what holds inside."""

    persona: str
    policy: PolicyWords | None = None
    site: Site | None = None


class PersonaExited(ProgramFact, frozen=True, tag="persona.exited"):
    """A persona that was called inside a run was left."""

    persona: str
    status: Literal["completed", "failed", "cancelled"]


# ------------------------------------------------------------------ hooks


class HookFired(ProgramFact, frozen=True, tag="hook.fired"):
    """The program came to a moment at which a hook is asked, and this is what it is shown."""

    hook: str
    event: str
    target: str
    persona: str
    shown: Raw
    step: str | None = None
    tool: str | None = None


class HookDecided(OutcomeFact, frozen=True, tag="hook.decided"):
    """What a hook said: `value` are the arguments or the output it put in their place, else nil."""

    decision: Literal["allow", "deny", "replace"]
    value: Raw
    reason: str = ""
    model_calls: tuple[HookModelCall, ...] = ()
    attempt: int = 1


class HookFailed(OutcomeFact, frozen=True, tag="hook.failed"):
    """A hook raised, or said what it may not say at that moment."""

    failure: Failure
    model_calls: tuple[HookModelCall, ...] = ()
    attempt: int = 1
