"""Every error playhead raises, drawn as one tree.

    PlayheadError
    ├── StoreError            the log could not do what was asked
    │   ├── Conflict          another writer appended first: read again, decide again
    │   ├── Fenced            the lease was lost: another worker owns the stream now
    │   ├── Held              a living worker holds the lease: wait, or ask that worker
    │   ├── IdReuse           one append id, two different contents
    │   ├── OutcomeUnknown    the append may have landed: ask again under the same append id
    │   ├── Busy              another process holds the store longer than the budget allows
    │   ├── StorageFull       no room: nothing was written
    │   ├── ReadOnly          the store cannot be written from here
    │   ├── Corrupt           the bytes read back are not the bytes written: stop
    │   ├── NotAStore         the file is something else
    │   ├── NewerFormat       the file was written by a newer playhead
    │   ├── ForkedStore       an open store was carried through fork()
    │   ├── UnsafeFilesystem  locks and syncs cannot be trusted there
    │   ├── LiveFileOpened    somebody opened the live database files by path
    │   ├── ImportRefused     a log from a stranger broke a rule
    │   └── NotFound          no such stream, run or event
    ├── BadValue              a value that the log cannot hold faithfully
    ├── BadEvent              an event whose payload does not match its type
    ├── ErasedPayload         what is asked for was erased from the log
    ├── ProgramError          program code did what only world code may do
    │   ├── OutsideRun        an operation was called where no run is active
    │   ├── ForeignAwait      program code awaited something the run does not own
    │   ├── WorldTouched      program code opened a file, a socket or a process
    │   ├── Runaway           program code turned for ever without an operation
    │   └── SecretGone        a redacted value was needed to run an operation
    ├── OperationError        what an operation can raise into program code
    │   ├── ToolFailed        a tool raised an error whose type is not registered
    │   ├── ToolTimedOut      an attempt took longer than it was allowed
    │   ├── ToolRejected      a policy does not allow the call: nothing was done
    │   ├── CallFailed        a host could not carry out a call of a composition
    │   ├── CompositionFailed a composition ended without a result
    │   ├── ModelFailed       a model call raised
    │   ├── ChildFailed       a child run ended without a result
    │   ├── TimedOut          a `timeout` block ran out
    │   ├── ApprovalDenied    somebody who has a say said no: nothing was done
    │   ├── ApprovalTimedOut  too few people had agreed when the time was over
    │   ├── StateConflict     another writer changed a key of state: nothing was changed
    │   ├── HookDenied        a hook said that it must not go on
    │   ├── HookFailed        a hook raised, or said what it may not say
    │   ├── BudgetExceeded    a step or persona has spent what it may
    │   ├── StageExhausted    a stage was entered as often as it may be
    │   └── ForkDenied        a fork was not allowed to do it: nothing was done
    ├── RunError              a run that did not end with a result
    │   ├── RunFailed         its program raised
    │   ├── RunCancelled      somebody cancelled it
    │   ├── RunParked         it died too often without progress
    │   ├── PersonaMissing    no persona of that name is registered
    │   ├── HookMissing       a hook that the run is under is not registered
    │   └── KeyReuse          one idempotency key, two different starts
    ├── ForkUnavailable       what a fork needs is not on the tape that it is made from
    └── Diverged              the program no longer does what its tape says

Signals that must pass through a program's own ``except Exception`` are no errors: they derive from
BaseException and live next to the code that catches them, in ``playhead.runtime.signals``.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PlayheadError(Exception):
    """Root of every error here. Carries a code, what was expected and found, and what to do next."""

    code: ClassVar[str] = "playhead"
    next_step: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        expected: Any = None,
        found: Any = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.found = found
        self.next = self.next_step if next_step is None else next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next}".rstrip()


class StoreError(PlayheadError):
    """The log could not do what was asked of it."""

    code = "store"


class Conflict(StoreError):
    """Another writer reached this place in the stream first. Nothing was written."""

    code = "store.conflict"

    def __init__(self, stream: str, *, expected: int, found: int) -> None:
        super().__init__(
            f"{stream}: meant to append at {expected}, but the stream is at {found}.",
            expected=expected,
            found=found,
            next_step="Read the stream again and decide again.",
        )
        self.stream = stream


class Fenced(StoreError):
    """The lease under which this append was made has been taken over. Nothing was written."""

    code = "store.fenced"

    def __init__(self, stream: str, *, epoch: int, found: int) -> None:
        super().__init__(
            f"{stream}: the lease of epoch {epoch} is over, the stream is in epoch {found}.",
            expected=epoch,
            found=found,
            next_step="Stop working on it: another worker has taken it over.",
        )
        self.stream = stream


class Held(StoreError):
    """A living worker holds the lease of this stream. Nothing was written."""

    code = "store.held"

    def __init__(self, stream: str, *, worker: str) -> None:
        super().__init__(
            f"{stream}: worker {worker} holds the lease and is alive.",
            found=worker,
            next_step="Wait for it to end or to release the run, or stop that worker.",
        )
        self.stream = stream
        self.worker = worker


class IdReuse(StoreError):
    """An append id came back with other content than the first time. Nothing was written."""

    code = "store.id_reuse"

    def __init__(self, stream: str, *, seq: int) -> None:
        super().__init__(
            f"{stream}: the append id of event {seq} was used again with other content.",
            found=seq,
            next_step="Draw a new append id for new content.",
        )
        self.stream = stream
        self.seq = seq


class OutcomeUnknown(StoreError):
    """The append may or may not be in the log. Ask again with the same append id to learn which."""

    code = "store.outcome_unknown"
    next_step = "Append the same events again under the same append id: the answer decides."


class Busy(StoreError):
    """Another process holds the store's lock longer than the budget allows. Nothing was written."""

    code = "store.busy"
    next_step = "Try again, or look at the process that holds the lock."


class StorageFull(StoreError):
    """The disk has no room. Nothing was written."""

    code = "store.full"
    next_step = "Free some space and append again."


class ReadOnly(StoreError):
    """The store was opened for reading, or cannot be written from here."""

    code = "store.read_only"


class Corrupt(StoreError):
    """The bytes read back are not the bytes that were written."""

    code = "store.corrupt"
    next_step = "Run `playhead verify` to see where, and restore a backup."


class NotAStore(StoreError):
    """The file exists, but it is not a playhead log."""

    code = "store.not_a_store"


class NewerFormat(StoreError):
    """The file was written by a newer playhead. It can be read, but not written, from here."""

    code = "store.newer_format"
    next_step = "Upgrade playhead."


class ForkedStore(StoreError):
    """An open store was carried through fork(). The parent's store is unharmed."""

    code = "store.forked"
    next_step = "Open the store again in the child, or start children with spawn."


class UnsafeFilesystem(StoreError):
    """The file system does not give the locks and syncs that the log relies on."""

    code = "store.unsafe_filesystem"
    next_step = "Put the store on a local disk."


class LiveFileOpened(StoreError):
    """The live files of an open store were opened by path, which drops SQLite's locks."""

    code = "store.live_file_opened"
    next_step = "Use `playhead export` or a backup instead of the live file."


class ImportRefused(StoreError):
    """A log from outside broke a rule of the import. Nothing was imported."""

    code = "store.import_refused"


class NotFound(StoreError):
    """There is no such stream, run, event or blob."""

    code = "store.not_found"


class BadValue(PlayheadError):
    """A value that the log cannot hold faithfully. It was refused before anything was written."""

    code = "value.bad"


class BadEvent(PlayheadError):
    """An event whose payload cannot be read as the type it claims to be."""

    code = "event.bad"


class ErasedPayload(PlayheadError):
    """What is asked for needs what an event said, and that was erased."""

    code = "event.erased"
    next_step = "Its log, receipts and chain can still be read."


class ProgramError(PlayheadError):
    """Program code did what only world code may do."""

    code = "program"


class OutsideRun(ProgramError):
    """An operation was called where no run is active, or outside the run's own loop."""

    code = "program.outside_run"


class ForeignAwait(ProgramError):
    """Program code awaited something that the run does not own, so no tape could answer it."""

    code = "program.foreign_await"


class WorldTouched(ProgramError):
    """Program code opened a file, a socket, a process or a thread."""

    code = "program.world_touched"
    next_step = "Move it into a function marked with @tool and await that."


class Runaway(ProgramError):
    """Program code turned for ever without reaching an operation."""

    code = "program.runaway"


class SecretGone(ProgramError):
    """An operation has to run, but one of its arguments was redacted when it was recorded."""

    code = "program.secret_gone"
    next_step = "Read secrets inside a @tool, so that no tape has to hold them."


class OperationError(PlayheadError):
    """What an operation can raise into program code."""

    code = "operation"


class ToolFailed(OperationError):
    """A tool raised an error whose type is not registered. Carries all that was recorded of it."""

    code = "operation.tool_failed"

    def __init__(self, message: str, *, failure: Any = None) -> None:
        super().__init__(message)
        self.failure = failure


class ToolTimedOut(OperationError):
    """An attempt took longer than it was allowed. What it did in the world is not known."""

    code = "operation.tool_timed_out"


class ToolRejected(OperationError):
    """A policy that encloses the call does not allow it. Nothing was done."""

    code = "operation.tool_rejected"
    next_step = "Call what the policy allows, or widen the stage or persona that forbids it."
    category = "tool_rejected"

    def __init__(self, message: str, *, tool: str = "", verdict: str = "denied") -> None:
        super().__init__(message)
        self.tool = tool
        self.verdict = verdict


class ApprovalDenied(OperationError):
    """Somebody who has a say said no. Nothing was done."""

    code = "operation.approval_denied"
    next_step = "Ask for something else, or go on without it."
    category = "approval_denied"

    def __init__(self, message: str, *, request: str = "", reviewer: str = "") -> None:
        super().__init__(message)
        self.request = request
        self.reviewer = reviewer


class ApprovalTimedOut(OperationError):
    """Too few people had agreed when the time was over. Nothing was done, and answers come too late now."""

    code = "operation.approval_timed_out"
    next_step = "Ask again with a later deadline, or go on without it."
    category = "timeout"

    def __init__(self, message: str, *, request: str = "") -> None:
        super().__init__(message)
        self.request = request


class StateConflict(OperationError):
    """Somebody else wrote this key of state last, or it is at another version. Nothing was changed.

    The conflict is in the log. `conflict` says which key, which version stands, and who wrote it.
    """

    code = "operation.state_conflict"
    next_step = "Reading again does not help: use the policy warn or ignore, or write as the same writer_id."
    category = "state_conflict"

    def __init__(self, message: str, *, conflict: Any = None) -> None:
        super().__init__(message)
        self.conflict = conflict


class StageExhausted(OperationError):
    """A stage was entered as often as its `max_iterations` allows."""

    code = "operation.stage_exhausted"
    next_step = "Leave the loop earlier, or raise max_iterations of the stage."
    category = "stage_exhausted"


class ForkDenied(OperationError):
    """A fork was not allowed to change or to spend anything by this. Nothing was done."""

    code = "operation.fork_denied"
    next_step = "Fork again with --allow, or give it an answer with --outcome."
    category = "fork_denied"


class HookDenied(OperationError):
    """A hook said that a step, a tool or the end of a run must not go on. Nothing of it was done."""

    code = "operation.hook_denied"
    category = "hook_denied"

    def __init__(self, reason: str, *, hook: str = "", event: str = "", step: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hook = hook
        self.event = event
        self.step = step


class HookFailed(OperationError):
    """A hook raised an error, or said what it may not say at that moment: nobody goes on unasked."""

    code = "operation.hook_failed"

    def __init__(self, message: str, *, failure: Any = None) -> None:
        super().__init__(message)
        self.failure = failure


class BudgetExceeded(OperationError):
    """A step or persona has spent what its budget allows. Whatever passed the limit is paid and counted.

    `limit` is `max_tokens` or `max_usd`; `limit_value` and the consumption are exact: tokens, and money in
    millionths. `step` is the name of whose budget it is and `of` says what that is. After a step with the
    boundary `escalate` the error is `escalated` and its category is `handoff_escalation`.
    """

    code = "operation.budget_exceeded"
    next_step = "Raise the budget, spend less, or give the step another error_boundary."
    kind: ClassVar[str] = "budget_exhausted"

    def __init__(
        self,
        message: str = "",
        *,
        of: str = "step",
        step: str = "",
        function: str = "",
        limit: str = "",
        limit_value: int = 0,
        consumed_tokens: int = 0,
        consumed_micros: int = 0,
        error_boundary: str = "fail",
    ) -> None:
        in_tokens = limit == "max_tokens"
        more = consumed_tokens if in_tokens else consumed_micros
        spent, most = (str(value) if in_tokens else _dollars(value) for value in (more, limit_value))
        said = (
            f"{of} `{step}` exceeded {limit} budget ({spent} > {most})"
            if more > limit_value
            else f"{of} `{step}` has nothing left of its {limit} budget ({spent} of {most})"
        )
        super().__init__(message or said)
        self.category = "budget_exceeded"
        self.reason = f"{of}_budget_exhausted"
        self.of = of
        self.step = step
        self.function = function
        self.limit = limit
        self.limit_value = limit_value
        self.consumed_tokens = consumed_tokens
        self.consumed_micros = consumed_micros
        self.error_boundary = error_boundary
        self.escalated = False

    def escalate(self, *, step: str, function: str) -> None:
        """Say that it left a step with the boundary `escalate`; names that are there already stay."""
        self.escalated = True
        self.category = "handoff_escalation"
        self.step = self.step or step
        self.function = self.function or function


def _dollars(micros: int) -> str:
    whole, part = divmod(micros, 1_000_000)
    return f"${whole}.{part:06d}".rstrip("0").rstrip(".")


class CallFailed(OperationError):
    """A host could not carry out a call of a composition.

    `category` is one of the words of `playhead.composition.failing`. `transient` says whether another
    attempt could do better, where the category does not; `retry_after_s` is how long to wait for it.
    """

    code = "call_failed"

    def __init__(
        self,
        message: str,
        *,
        category: str = "tool_error",
        transient: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.category = category
        self.transient = transient
        self.retry_after_s = retry_after_s


class CompositionFailed(OperationError):
    """A composition ended without a result, and its value was asked for."""

    code = "composition_failed"

    def __init__(self, message: str, *, cause: str, category: str) -> None:
        super().__init__(message)
        self.cause = cause
        self.category = category


class ModelFailed(OperationError):
    """A model call raised an error whose type is not registered."""

    code = "operation.model_failed"

    def __init__(self, message: str, *, failure: Any = None) -> None:
        super().__init__(message)
        self.failure = failure


class ChildFailed(OperationError):
    """A child run ended without a result."""

    code = "operation.child_failed"

    def __init__(self, message: str, *, failure: Any = None) -> None:
        super().__init__(message)
        self.failure = failure


class TimedOut(OperationError, TimeoutError):
    """A `timeout` block ran out of time."""

    code = "operation.timed_out"


class RunError(PlayheadError):
    """A run that did not end with a result."""

    code = "run"


class RunFailed(RunError):
    """The program of the run raised. Carries what was recorded of it."""

    code = "run.failed"

    def __init__(self, message: str, *, failure: Any = None) -> None:
        super().__init__(message)
        self.failure = failure


class RunCancelled(RunError):
    """Somebody cancelled the run."""

    code = "run.cancelled"


class RunParked(RunError):
    """The run died too often without completing a new operation, and waits for a person."""

    code = "run.parked"


class PersonaMissing(RunError):
    """The run was started by a persona that this engine does not know."""

    code = "run.persona_missing"

    def __init__(self, runs: list[str], *, persona: str, known: list[str]) -> None:
        names = ", ".join(runs[:5]) + (f" and {len(runs) - 5} more" if len(runs) > 5 else "")
        super().__init__(
            f"persona {persona!r} is needed by {names}, but not registered.",
            expected=persona,
            found=known,
            next_step=f"Pass it to Engine.open(personas=[...]). Registered: {', '.join(known) or 'none'}.",
        )
        self.runs = runs
        self.persona = persona


class HookMissing(RunError):
    """The run is under a hook that this engine does not know. It does not go on without being asked."""

    code = "run.hook_missing"
    next_step = "Open the engine with the hooks that it was started with: Engine.open(hooks=[...])."


class KeyReuse(RunError):
    """An idempotency key came back with another persona or other arguments."""

    code = "run.key_reuse"


class ForkUnavailable(PlayheadError):
    """What a fork needs is not on the tape that it is made from. Nothing was made."""

    code = "fork.unavailable"
    next_step = "Give it with --outcome, or fork with --mode with_overrides."


class Diverged(PlayheadError):
    """The program no longer does what its tape says. Nothing was executed."""

    code = "diverged"

    def __init__(self, message: str, *, divergence: Any = None) -> None:
        super().__init__(message)
        self.divergence = divergence
