"""The closed catalog of facts, by family. `playhead schema` prints it as JSON Schema.

Values of users (arguments, results, requests, replies) are `Raw`: msgpack that
was encoded once, at the door, and is never encoded again.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, field

from playhead.events.fact import Failure, OutcomeFact, ProgramFact, Site, WorldFact
from playhead.events.words import (
    NOTHING,
    ComposedWords,
    Declared,
    EffectWord,
    ForkWords,
    HookWords,
    Mode,
    PolicyWords,
    PreparedWords,
    Usage,
)

# ------------------------------------------------------------------- runs


class RunStarted(WorldFact, frozen=True, tag="run.started"):
    """Somebody started a run. The first event of its stream, durable before the program's first line."""

    persona: str
    args: Raw
    args_digest: str
    mode: Mode
    seed: bytes
    name: str | None = None
    key: str | None = None
    parent: str | None = None
    parent_op: str | None = None
    module: str = ""
    code: str = ""
    python: str = ""
    anyio: str = ""
    playhead: str = ""
    policy: PolicyWords | None = None
    """What enclosed the call of a child run: it holds for all of this run."""
    depth: int = 0
    """How many runs lie around this one."""
    max_tokens: int | None = None
    max_micros: int | None = None
    """What was reserved for it in the budgets around its call."""
    hooks: tuple[HookWords, ...] = ()
    """The hooks that hold for it, in the order in which they are asked."""
    model: str | None = None
    """The name of the model client that answers where a call names none."""
    agents: tuple[str, ...] = ()
    """The personas that enclose the call of a child run, outermost first: what holds for them holds here."""
    trusted: bool = False
    """Whether anybody had promoted or demoted an agent by then: for every effect it is looked up."""
    reviewer_keys: dict[str, tuple[str, ...]] | None = None
    """The public keys of people. Where there are any, only answers that are signed with one count."""
    tags: tuple[str, ...] = ()
    """Words by which people find it again, sorted."""
    forked: ForkWords | None = None
    """What it was forked from."""
    prepared: dict[str, PreparedWords] | None = None
    """By operation: what it comes to in this run, without being carried out."""
    fence: tuple[str, ...] | None = None
    """What may happen in the world beside looking at it: tools and classes of effects. None is everything."""


class RunClaimed(WorldFact, frozen=True, tag="run.claimed"):
    """A worker took the lease. Written in the same append that bumps the epoch."""

    worker: str
    pid: int
    host: str


class RunResumed(WorldFact, frozen=True, tag="run.resumed"):
    """The owner is about to run the program again from the top. Written with its claim."""

    after: Literal["crash", "suspension", "release", "request"]
    deaths: int = 0
    """Crashes in a row without a new outcome, this one included."""


class RunSuspended(WorldFact, frozen=True, tag="run.suspended"):
    """The run left memory because it only waits. Written with the release of its lease."""

    waiting: list[str]
    wake_at: int | None = None


class RunReleased(WorldFact, frozen=True, tag="run.released"):
    """The owner let go of an unfinished run, for example because its process is closing."""

    reason: str


class RunParked(WorldFact, frozen=True, tag="run.parked"):
    """The run died too often without progress and waits for a person."""

    deaths: int
    last_op: str
    last_type: str


class RunCancelRequested(OutcomeFact, frozen=True, tag="run.cancel_requested"):
    """The owner took a request to cancel from the mailbox. Written before the program is told."""

    message: int
    reason: str = ""
    sender: str = ""


class RunCompleted(ProgramFact, frozen=True, tag="run.completed"):
    """The program returned. The last event of a run that ended well."""

    result: Raw


class RunFailed(ProgramFact, frozen=True, tag="run.failed"):
    """The program raised. The last event of a run that ended badly."""

    failure: Failure


class RunCancelled(ProgramFact, frozen=True, tag="run.cancelled"):
    """The program ended because it was cancelled. The last event of such a run."""

    reason: str = ""


# ------------------------------------------------------------------ steps


class StepStarted(ProgramFact, frozen=True, tag="step.started"):
    """A step was entered. Written before its first line."""

    step: str
    function: str
    args: Raw
    site: Site | None = None
    code: str = ""
    declared: Declared = Declared()


class StepCompleted(ProgramFact, frozen=True, tag="step.completed"):
    """A step returned."""

    step: str
    result: Raw


class StepFailed(ProgramFact, frozen=True, tag="step.failed"):
    """An error left a step."""

    step: str
    failure: Failure


class StepSkipped(ProgramFact, frozen=True, tag="step.skipped"):
    """A budget ran out in a step whose boundary is `continue`: its call gave None."""

    step: str
    failure: Failure


class StepEscalated(ProgramFact, frozen=True, tag="step.escalated"):
    """A budget ran out in a step whose boundary is `escalate`: the error goes on, marked."""

    step: str
    failure: Failure


class StepRetried(ProgramFact, frozen=True, tag="step.retried"):
    """An error left the code of a step, which is run again after a wait. `attempt` is the one that failed."""

    step: str
    attempt: int
    failure: Failure
    retry_in_ms: int


class StepCancelled(ProgramFact, frozen=True, tag="step.cancelled"):
    """A step was left by cancellation."""

    step: str


# ------------------------------------------------------ tools and attempts


class ToolRequested(ProgramFact, frozen=True, tag="tool.requested"):
    """The program asked for a tool: the intent. Attempt 1 starts with it.

    Durable before the body of a tool of class `effect` starts; for a repeatable tool it is in the log
    no later than its outcome. An `effect` with this fact and no outcome is in doubt.
    """

    tool: str
    args: Raw
    effect: EffectWord
    key: str | None = None
    site: Site | None = None
    code: str = ""
    composed: ComposedWords | None = None
    """Where a composition asked for it."""
    side_effect: str = ""
    """The class of what it does, such as fs.write; "" where it changes nothing, and in older logs."""


class ToolCompleted(OutcomeFact, frozen=True, tag="tool.completed"):
    """A tool returned. The last attempt ends with it. Written before the program is told."""

    result: Raw
    attempt: int = 1
    resolved_by: str | None = None
    """Who supplied the value, when a person or a reconcile function answered for the tool."""


class ToolFailed(OutcomeFact, frozen=True, tag="tool.failed"):
    """A tool raised, and no attempt is left. The last attempt ends with it."""

    failure: Failure
    attempt: int = 1
    resolved_by: str | None = None
    outcome_unknown: bool = False
    """Whether it is an effect that was given up when its time was over: it may have happened all the same."""


class AttemptStarted(WorldFact, frozen=True, tag="attempt.started"):
    """Another attempt (2, 3 …) of an operation is about to start; durable first for class `effect`."""

    attempt: int
    reason: Literal["retry", "resume", "resolution", "fork"]


class AttemptFinished(WorldFact, frozen=True, tag="attempt.finished"):
    """An attempt ended without settling its operation: it will be retried, or nobody waits any more.

    Attempt 0 is an answer of somebody for an operation in doubt that did not fit: `message` says which.
    """

    attempt: int
    failure: Failure | None = None
    retry_in_ms: int | None = None
    message: int | None = None


class EffectWithheld(WorldFact, frozen=True, tag="effect.withheld"):
    """The fence of a fork kept an operation from happening. Written with the failure that the program gets.

    `kind` is tool, model, state or other; any of `allow` would have let it pass.
    """

    kind: str
    name: str
    effect: str = ""
    allow: tuple[str, ...] = ()


class OperationCancelled(ProgramFact, frozen=True, tag="operation.cancelled"):
    """The program stopped waiting for an operation. What its attempt did in the world is not known."""


class OperationOutcomeUnknown(WorldFact, frozen=True, tag="operation.outcome_unknown"):
    """An effect in flight at a crash was found in doubt. It is not repeated until somebody resolves it."""

    attempt: int


class OperationResolved(WorldFact, frozen=True, tag="operation.resolved"):
    """The owner took a person's or a reconcile function's answer for an operation in doubt."""

    action: Literal["retry", "value", "fail"]
    by: str
    message: int | None = None


# ----------------------------------------------------------------- models


class ModelCalled(ProgramFact, frozen=True, tag="model.called"):
    """The program asked a model: the whole request, as the model was shown it."""

    client: str
    model: str | None
    request: Raw
    site: Site | None = None
    code: str = ""


class ModelAnswered(OutcomeFact, frozen=True, tag="model.answered"):
    """A model answered: the whole reply, also of a stream. Written before the program is told."""

    reply: Raw
    model: str | None = None
    usage: Usage = Usage()
    cost_micros: int | None = None
    cost_source: str = "unknown"
    attempt: int = 1


class ModelFailed(OutcomeFact, frozen=True, tag="model.failed"):
    """A model call raised, and no attempt is left."""

    failure: Failure
    attempt: int = 1


# ----------------------------------------------------------------- values


class ValueRequested(ProgramFact, frozen=True, tag="value.requested"):
    """The program asked for a one-off value from the world."""

    name: str
    site: Site | None = None


class ValueRecorded(OutcomeFact, frozen=True, tag="value.recorded"):
    """The value. Written before the program is told."""

    value: Raw
    attempt: int = 1


class ValueFailed(OutcomeFact, frozen=True, tag="value.failed"):
    """Asking for the value raised."""

    failure: Failure
    attempt: int = 1


class PatchTaken(ProgramFact, frozen=True, tag="patch.taken"):
    """`patched(name)` answered True: this run takes the new branch. Absent, it took the old one."""

    name: str


class RaceDecided(ProgramFact, frozen=True, tag="race.decided"):
    """A race has its winner, by index."""

    winner: int


# ------------------------------------------------------------------ waits


class TimerSet(ProgramFact, frozen=True, tag="timer.set"):
    """The program asked to be woken. `due` is in nanoseconds since the epoch, UTC."""

    due: int
    reason: Literal["sleep", "timeout"]
    site: Site | None = None


class TimerFired(OutcomeFact, frozen=True, tag="timer.fired"):
    """A timer came due. Timers of the standard library are recorded by this fact alone."""

    due: int


class WaitStarted(ProgramFact, frozen=True, tag="wait.started"):
    """The program waits for a signal of that name."""

    signal: str
    site: Site | None = None


class SignalReceived(OutcomeFact, frozen=True, tag="signal.received"):
    """The owner took a signal from the mailbox. It answers the oldest wait for its name, or the next."""

    signal: str
    value: Raw
    message: int
    sender: str = ""


# ------------------------------------------------------------- child runs


class ChildRequested(ProgramFact, frozen=True, tag="child.requested"):
    """The program asked for a child run: its id is derived from this run and operation."""

    run: str
    persona: str
    args: Raw
    site: Site | None = None
    policy: PolicyWords | None = None
    """What encloses the call, and so all of the child."""


class ChildCompleted(OutcomeFact, frozen=True, tag="child.completed"):
    """A child run ended with a result. Written before the program is told.

    What it used is told where a budget around its call pays for it; None is not known.
    """

    result: Raw
    used_tokens: int | None = None
    used_micros: int | None = None


class ChildFailed(OutcomeFact, frozen=True, tag="child.failed"):
    """A child run ended without a result."""

    status: Literal["failed", "cancelled", "parked"]
    failure: Failure
    used_tokens: int | None = None
    used_micros: int | None = None


# ---------------------------------------------------------------- mailbox


class SignalSent(WorldFact, frozen=True, tag="signal.sent"):
    """Somebody told a run something. In the mailbox from now on, taken when the owner looks."""

    signal: str
    value: Raw
    sender: str = ""


class CancelSent(WorldFact, frozen=True, tag="cancel.sent"):
    """Somebody asked a run to stop."""

    reason: str = ""
    sender: str = ""


class ResolutionSent(WorldFact, frozen=True, tag="resolution.sent"):
    """Somebody answered for an operation in doubt."""

    op: str
    action: Literal["retry", "value", "fail"]
    value: Raw
    reason: str = ""
    sender: str = ""
    attempt: int | None = None
    """The attempt that was in doubt when it was sent: an old answer does not settle a new doubt."""


class ChildEnded(WorldFact, frozen=True, tag="child.ended"):
    """A child run ended while its parent was not in the same process: the parent should look."""

    run: str
    status: str


class RunForked(WorldFact, frozen=True, tag="run.forked"):
    """Somebody made another run from this one. In the mailbox: its owner has nothing to do about it."""

    run: str
    event: int
    mode: str
    reason: str = ""
    sender: str = ""


# ---------------------------------------------------------------- erasure


class PayloadErased(WorldFact, frozen=True, tag="payload.erased"):
    """A payload of this stream was erased; `cause` names its seq. Written in the erasing transaction."""

    reason: str
    sender: str = ""
    event: int | None = None
    """The event whose payload is gone, as the cause says, for those who read only what events say."""
    parts: tuple[str, ...] = ()
    """JSON pointers to what is gone; none where all of it is."""
    kept: Raw = field(default_factory=lambda: Raw(NOTHING))
    """The payload with a mark in place of each part that is gone."""
