"""The world's side of one run: carries out what the machine asks for, and writes down what came.

Invariants, each held by the part that names it:

  * an outcome is noted before it is delivered, in the same order                     (_deliver)
  * a body starts after every outcome before it is durable, and one of class
    `effect` also after its own intent                                               (_start, _appended)
  * the run goes quiet, ends or answers only with everything before it submitted      (_flush)
  * after a lost lease or a failed append nothing of this run happens here any more   (lose)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any

from playhead.errors import BadEvent, NotFound, PlayheadError
from playhead.events.approval import AnswerSent, ApprovalRequested, taken
from playhead.events.catalog import (
    AttemptFinished,
    AttemptStarted,
    CancelSent,
    OperationCancelled,
    OperationOutcomeUnknown,
    OperationResolved,
    ResolutionSent,
    RunCancelRequested,
    RunFailed,
    RunReleased,
    RunSuspended,
    SignalReceived,
    SignalSent,
    TimerFired,
)
from playhead.events.composition import CompositionCompleted, CompositionFailed
from playhead.events.fact import Fact, OutcomeFact, WorldFact, type_of
from playhead.log.envelope import Append, Appended, NewEvent
from playhead.logger import log
from playhead.runtime.attempt import announce, carry_out
from playhead.runtime.doubts import answered
from playhead.runtime.failures import record_failure
from playhead.runtime.fence import instead_of, withheld_in
from playhead.runtime.host import Host
from playhead.runtime.machine import Emitted, Machine, Pending
from playhead.runtime.outbox import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Outbox, in_parts
from playhead.runtime.relaxed import CALM_TURNS, RelaxedMachine
from playhead.runtime.tape import Notes

Work = Callable[[], Coroutine[Any, Any, OutcomeFact]]


class Runner:
    """Runs one machine live. Lives on the host's loop; every method is called there."""

    def __init__(self, host: Host, machine: Machine, *, epoch: int, notes: Notes) -> None:
        self.host = host
        self.machine = machine
        self.run = machine.run
        self.stream = f"run/{machine.run}"
        self.mailbox = f"mailbox/{machine.run}"
        self.epoch = epoch
        self.threads = host.threads
        self.wary = notes.deaths > 0
        """Whether the last life ended in a crash without a new outcome: every intent is durable first, so
        that the log knows what is to blame when the next one ends there as well."""
        self.end: str | None = None
        """None while it runs; then `completed`, `failed`, `cancelled`, `suspended`, `released`, `lost`."""
        self.error: BaseException | None = None
        self.wake_at: int | None = None
        self.messages = notes.messages
        self._next_seq = notes.next_seq
        self._cause: int | None = notes.delivered if notes.delivered >= 0 else None
        """Seq of the newest outcome that was delivered."""
        self._durable_seq = notes.next_seq
        self._seqs: dict[str, int] = dict(notes.seqs)
        self._buffer: list[NewEvent] = []
        self._buffered_bytes = 0
        self._outbox = Outbox(host.store, self.lose)
        self._barrier: list[Callable[[], None]] = []
        self._inbox: deque[tuple[str, OutcomeFact, WorldFact | None]] = deque()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._busy: set[str] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._doubts: dict[str, Pending] = {}
        self._attempts: dict[str, int] = {}
        """The attempt that each operation in doubt was in."""
        self._loop = asyncio.get_running_loop()
        machine.loop.host = self._loop
        self._context = copy_context()
        """Where outcomes are handed over, so that nothing of a tool's own context gets there."""
        self._scheduled = False
        self._resting = False
        self._alarm: Any = None
        self._alarm_due: int | None = None
        self._idle: Any = None
        self._unsettled = 0
        self._collecting = 0
        self.roused = False
        """Whether a child ended meanwhile, so that a run which just left memory has to come back."""

    # ------------------------------------------------------------- beginning

    def begin(self, notes: Notes) -> None:
        """Go live: take over what the tape left open, then run."""
        if isinstance(self.machine, RelaxedMachine):
            self.machine.notify = self._schedule
        try:
            self.machine.play((), last=True)
        except PlayheadError as error:
            self.fail(error)
            return
        fresh = self.machine.take()
        new = {emitted.op for emitted in fresh if emitted.pending is not None}
        if self.machine.finished is None:  # or nothing may begin, and its end is the last event
            for op, pending in list(self.machine.pending.items()):
                if op not in new:
                    self._take_over(op, pending, notes)
        for emitted in fresh:
            self._emitted(emitted)
        self._schedule()

    def _take_over(self, op: str, pending: Pending, notes: Notes) -> None:
        """An operation whose intent is on the tape and whose outcome is not."""
        if pending.executor is None:
            return
        executor = pending.executor
        unbegun = op in notes.unbegun or instead_of(self.machine, pending) is not None
        started = 0 if unbegun else notes.attempts.get(op, 1)
        finished = notes.finished.get(op, 0)
        recorded = getattr(pending.request, "effect", executor.effect.value)
        repeatable = executor.effect.repeatable and recorded != "effect" and op not in notes.in_doubt
        if repeatable or finished >= started:
            reason = "fork" if not started else "resume" if finished < started else "retry"
            self._spawn(op, pending, partial(self._again, op, pending, started + 1, reason))
            return
        if op not in notes.in_doubt:
            self.note(op, OperationOutcomeUnknown(attempt=started))
        self._doubts[op] = pending
        self._attempts[op] = started
        reconcile = getattr(getattr(executor, "tool", None), "reconcile", None)
        if reconcile is not None:
            asking = self._reconcile(op, pending)
            self._asking[op] = self._loop.create_task(asking, context=self.host.tools_context.copy())

    async def _again(self, op: str, pending: Pending, number: int, reason: str) -> OutcomeFact:
        await announce(pending.executor, self, op, number, reason)
        return await carry_out(pending.executor, self, op, number=number)

    async def _once_more(
        self, op: str, pending: Pending, number: int, announced: asyncio.Future[None]
    ) -> OutcomeFact:
        """Attempt `number`, which is announced in an append of its own."""
        await announced
        return await carry_out(pending.executor, self, op, number=number)

    async def _reconcile(self, op: str, pending: Pending) -> None:
        """Ask the tool's own function what became of an effect in doubt."""
        try:
            value = await pending.executor.reconcile(self.threads)
        except NotFound:
            self._resolve(op, "retry", None, by="reconcile", message=None)
        except Exception as error:  # noqa: BLE001  it could not tell: the operation stays in doubt
            self.note(op, AttemptFinished(attempt=0, failure=record_failure(error)))
        else:
            self._resolve(op, "value", value, by="reconcile", message=None)

    # --------------------------------------------------------------- pumping

    def _schedule(self) -> None:
        if not self._scheduled and self.end is None:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def _rest(self, machine: RelaxedMachine, calm: int = 0, moves: int = -1) -> None:
        """Deliver nothing more until a relaxed program has stood still for a while."""
        calm = calm + 1 if machine.moves == moves else 0
        self._resting = calm < CALM_TURNS
        if self._resting:
            self._loop.call_soon(self._rest, machine, calm, machine.moves)
        elif self._inbox:
            self._schedule()

    def _pump(self) -> None:
        """Hand over what came, one at a time, until nothing is left; then write and wait."""
        self._scheduled = False
        if self.end is not None:
            return
        machine = self.machine
        while True:
            try:
                with machine.loop:
                    self._turn()
            except PlayheadError as error:
                self.fail(error)
                return
            except Exception as error:  # noqa: BLE001  a mistake of ours: nobody may wait for ever because of it
                self.lose(error)
                return
            if machine.finished is not None:
                self._finish()
                return
            self._flush()
            if not self._inbox or self._resting:
                break
        self._set_alarm()
        self._consider_leaving()

    def _turn(self) -> None:
        """Deliver what came, until nothing is left, the program ended, or a batch is full."""
        machine = self.machine
        while True:
            for emitted in machine.take():
                self._emitted(emitted)
            if machine.finished is not None or not self._inbox or self._resting:
                return
            if len(self._buffer) >= BATCH_EVENTS_MAX or self._buffered_bytes >= BATCH_BYTES_MAX:
                return
            self._deliver(*self._inbox.popleft())
            if isinstance(machine, RelaxedMachine):
                self._rest(machine)
                return

    def _deliver(self, op: str, fact: OutcomeFact, before: WorldFact | None) -> None:
        machine = self.machine
        if before is not None:
            self._record(op, before, self.host.clock.now(), self._seqs.get(op))
        if op and op not in machine.pending and op not in machine.loop.timers:
            # The program stopped waiting while this was on its way.
            if not isinstance(fact, TimerFired):
                failure = getattr(fact, "failure", None)
                self.note(op, AttemptFinished(attempt=getattr(fact, "attempt", 1), failure=failure))
            return
        at = self.host.clock.now()
        seq = self._record(op, fact, at, self._seqs.pop(op, None))
        self._cause = seq
        machine.deliver(seq, op, at, fact)
        machine.play((), last=True)

    def _record(self, op: str, fact: Fact, at: int, cause: int | None) -> int:
        event = self.host.catalog.new_event(fact, at=at, op=op, cause=cause)
        self._buffer.append(event)
        self._buffered_bytes += len(event.payload)
        return self._next_seq + len(self._buffer) - 1

    def _emitted(self, emitted: Emitted) -> None:
        """A new program event: write it, and start or stop what it asks for."""
        op, fact, pending = emitted.op, emitted.fact, emitted.pending
        seq = self._record(op, fact, self.host.clock.now(), self._cause)
        if pending is None:
            if isinstance(fact, (OperationCancelled, CompositionCompleted, CompositionFailed)):
                self._stop(op)
            return
        self._seqs[op] = seq
        if pending.executor is not None and not pending.future.done() and self.machine.finished is None:
            self._start(op, pending)

    def _start(self, op: str, pending: Pending) -> None:
        # What the program was told is on disk before it acts on it, so that a crash costs what was in
        # flight and nothing that came before. The intent of a repeatable tool itself may be lost.
        known = self._cause is None or self._cause < self._durable_seq
        may_be_lost = pending.executor.effect.repeatable and not getattr(
            pending.executor, "intent_first", False
        )
        if known and may_be_lost and not self.wary:
            self._spawn(op, pending, partial(carry_out, pending.executor, self, op))
        else:
            self._barrier.append(partial(self._spawn_durably, op, pending))

    def _spawn_durably(self, op: str, pending: Pending) -> None:
        if op in self.machine.pending and self.end is None:
            self._spawn(op, pending, partial(carry_out, pending.executor, self, op))

    def _spawn(self, op: str, pending: Pending, begin: Work) -> None:
        if (said := instead_of(self.machine, pending)) is not None:
            self._arrived(op, said.fact, before=said.before)
            return
        # Not through the loop's task factory: an eager one would begin the work in the middle of a pump.
        task = asyncio.Task(
            self._see_through(op, begin), loop=self._loop, context=self.host.tools_context.copy()
        )
        self._tasks[op] = task
        self._busy.add(op)
        if hasattr(pending.executor, "idle"):
            pending.executor.idle = partial(self._idles, op)
        if hasattr(pending.executor, "doubted"):
            pending.executor.doubted = partial(self._doubted_under, op)

    async def _see_through(self, op: str, begin: Work) -> None:
        """Do the work of an operation, in a task of its own, and hand over the outcome.

        It hands over itself: a callback of the task would come one turn of the loop later.
        """
        try:
            outcome = await begin()
        except asyncio.CancelledError:
            self._over(op)
            raise
        except BaseException as error:
            self._over(op)
            self._context.run(self.lose, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._over(op)
            self._context.run(self._worked, op, outcome)

    def _doubted_under(self, op: str) -> bool:
        """Whether an operation inside of `op` is in doubt."""
        return any(each.startswith(f"{op}/") for each in self._doubts)

    def _over(self, op: str) -> None:
        self._tasks.pop(op, None)
        self._busy.discard(op)

    def _given_up(self, op: str, _: asyncio.Task[None]) -> None:
        self._over(op)  # it may not have begun
        self._consider_leaving()

    def _worked(self, op: str, outcome: OutcomeFact) -> None:
        if self.end is not None:
            return
        self._inbox.append((op, outcome, withheld_in(self.machine, op)))
        if self._busy or self._scheduled:
            # Others may be done in this very turn of the loop: hand them over together.
            self._schedule()
        else:
            self._pump()

    def _arrived(self, op: str, fact: OutcomeFact, *, before: WorldFact | None = None) -> None:
        """Queue an outcome; `before` is written in the same breath, ahead of it."""
        self._inbox.append((op, fact, before))
        self._schedule()

    def _stop(self, op: str) -> None:
        task = self._tasks.get(op)
        if task is not None:
            task.cancel()
            task.add_done_callback(partial(self._given_up, op))
        self._doubts.pop(op, None)

    # --------------------------------------------------------------- writing

    def note(self, op: str, fact: WorldFact) -> None:
        """Write a world fact that the program is not told."""
        if self.end is None:
            self._record(op, fact, self.host.clock.now(), self._seqs.get(op))
            self._schedule()

    async def note_durably(self, op: str, fact: WorldFact) -> None:
        """Write a world fact and return when it is durable."""
        self.note(op, fact)
        await self._durable()

    def _durable(self) -> asyncio.Future[None]:
        """Done as soon as everything noted so far is durable."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._barrier.append(lambda: None if done.done() else done.set_result(None))
        return done

    def _flush(self, **options: Any) -> None:
        """Submit everything noted so far; the barrier opens when all of it is durable.

        It is one append, unless it is very much: then a crash may leave the first part of it, which a
        resumed run does again anyway.
        """
        if not self._buffer:
            barrier, self._barrier = self._barrier, []
            for start in barrier:
                start()
            return
        events, self._buffer = self._buffer, []
        barrier, self._barrier = self._barrier, []
        if len(events) > BATCH_EVENTS_MAX or self._buffered_bytes > BATCH_BYTES_MAX:
            *parts, events = in_parts(events)
            for part in parts:
                self._submit(part, [])
        self._buffered_bytes = 0
        self._submit(events, barrier, **options)

    def _submit(self, events: list[NewEvent], barrier: list[Callable[[], None]], **options: Any) -> None:
        append = Append(
            self.stream,
            self._next_seq,
            events,
            append_id=self.host.clock.entropy(16),
            epoch=self.epoch,
            urgent=self.host.alone,
            done=partial(self._appended, barrier),
            **options,
        )
        self._next_seq += len(events)
        self._unsettled += 1
        self._outbox.submit(append)

    def _appended(self, barrier: list[Callable[[], None]], append: Append) -> None:
        self._unsettled -= 1
        outcome = append.outcome
        if not isinstance(outcome, Appended):
            assert outcome is not None
            self.lose(outcome)
            return
        self._durable_seq = outcome.next_seq
        for start in barrier:
            start()
        if self._unsettled:
            return
        if self.end is not None:
            self.host.ended(self)
        else:
            self._consider_leaving()

    # ---------------------------------------------------------------- ending

    def _finish(self) -> None:
        fact = self.machine.finished
        assert fact is not None
        self.end = type_of(fact).partition(".")[2]
        self._put_away()
        self._flush(release=True, status=self.end, anchor=True)

    def fail(self, error: BaseException) -> None:
        """The program did something no tape can follow: the run ends as failed."""
        self.machine.say_last_words()
        for emitted in self.machine.take():
            self._record(emitted.op, emitted.fact, self.host.clock.now(), self._cause)
        failed = RunFailed(failure=record_failure(error))
        self._record("", failed, self.host.clock.now(), self._cause)
        self.machine.finished = failed
        self._finish()

    def release(self, reason: str) -> None:
        """Let go of an unfinished run; another engine, or this one later, takes it up again."""
        if self.end is None:
            self.note("", RunReleased(reason=reason))
            self.end = "released"
            self._put_away()
            self._flush(release=True, status="released")

    def _suspend(self) -> None:
        """Leave memory: only time, a message or a child can bring this run on."""
        if not self._only_waits():
            return
        self.wake_at = self.machine.next_alarm()
        self.note("", RunSuspended(waiting=sorted(self.machine.waiting), wake_at=self.wake_at))
        self.end = "suspended"
        self._put_away()
        self._flush(release=True, status="suspended", wake_at=self.wake_at)

    def lose(self, error: BaseException) -> None:
        """The log no longer takes our word: stop everything here, at once."""
        if self.error is not None:
            return
        running = self.end is None
        self.end, self.error = "lost", error
        self._outbox.close()
        if running:
            self._put_away()
        self.host.ended(self)

    def _put_away(self) -> None:
        for task in (*self._tasks.values(), *self._asking.values()):
            task.cancel()
        self._tasks.clear()
        self._busy.clear()
        for handle in (self._alarm, self._idle):
            if handle is not None:
                handle.cancel()
        self._alarm = self._idle = None
        self._inbox.clear()
        self.machine.close()

    # --------------------------------------------------------------- waiting

    def _set_alarm(self) -> None:
        due = self.machine.next_alarm()
        if due == self._alarm_due and self._alarm is not None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_due = due
        self._alarm = None if due is None else self.host.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = self._alarm_due = None
        if self.end is None:
            for op, due in self.machine.due(self.host.clock.now()):
                asked = self.machine.pending.get(op)
                if asked is not None and isinstance(asked.request, ApprovalRequested):
                    self._asking[op] = self._loop.create_task(self._hear_out(op, due))
                else:
                    self._inbox.append((op, TimerFired(due=due), None))
            self._schedule()
            self._set_alarm()

    async def _hear_out(self, op: str, due: int) -> None:
        """Take the mail before the time of a request is over: who answered in time is heard."""
        try:
            await self.collect()
        except PlayheadError as error:
            self.lose(error)
        if self.end is None:
            self._arrived(op, TimerFired(due=due))

    def _idles(self, op: str) -> None:
        """The operation `op` is under way elsewhere: the run need not stay in memory for it."""
        self._busy.discard(op)
        self._consider_leaving()

    def _only_waits(self) -> bool:
        """Whether nothing is under way here: no tool, no append, nothing to hand over."""
        return (
            not isinstance(self.machine, RelaxedMachine)
            and not self._busy
            and all(task.done() for task in self._asking.values())
            and not self._unsettled
            and not self._collecting
            and not self._scheduled
            and not self._inbox
            and not self._barrier
            and self.end is None
        )

    def _consider_leaving(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._only_waits():
            self._idle = self._loop.call_later(self.host.suspend_after_s, self._suspend)

    # --------------------------------------------------------------- mailbox

    async def collect(self) -> None:
        """Take what outsiders said to this run since we last looked."""
        self._collecting += 1
        try:
            events = await self.host.store.read(self.mailbox, self.messages)
        finally:
            self._collecting -= 1
            self._consider_leaving()
        for event in events:
            if event.seq < self.messages or self.end is not None:
                continue
            self.messages = event.seq + 1
            try:
                fact = self.host.catalog.decode(event)
            except BadEvent as error:
                log.warning("mail.not_read", run=self.run, message=event.seq, error=error.message)
                continue
            match fact:
                case SignalSent(signal=signal, value=value, sender=sender):
                    self._arrived(
                        "", SignalReceived(signal=signal, value=value, message=event.seq, sender=sender)
                    )
                case AnswerSent():
                    self._arrived("", taken(fact, message=event.seq, said_at=event.at))
                case CancelSent(reason=reason, sender=sender):
                    self._arrived("", RunCancelRequested(message=event.seq, reason=reason, sender=sender))
                case ResolutionSent(op=op, attempt=attempt) if attempt not in (None, self._attempts.get(op)):
                    pass  # it answers an earlier doubt about the same operation
                case ResolutionSent(op=op, action=action, value=value, sender=sender):
                    self._resolve(op, action, value, by=sender or "somebody", message=event.seq)
                case _:
                    pass

    def _resolve(self, op: str, action: Any, value: Any, *, by: str, message: int | None) -> None:
        """Somebody answered for an operation in doubt."""
        pending = self._doubts.pop(op, None)
        if pending is None or self.end is not None:
            return
        resolved = OperationResolved(action=action, by=by, message=message)
        executor = pending.executor
        if action == "retry":
            # In one append: an answer that was taken must not be lost between two crashes.
            number = self._attempts[op] + 1
            self.note(op, resolved)
            self.note(op, AttemptStarted(attempt=number, reason="resolution"))
            self._spawn(op, pending, partial(self._once_more, op, pending, number, self._durable()))
        elif action == "value":
            try:
                answer = answered(executor, value, by, self.machine)
            except PlayheadError as unfit:
                # A slip of somebody's pen must not end the run: the doubt stays, and the log says why.
                self._doubts[op] = pending
                self.note(op, AttemptFinished(attempt=0, failure=record_failure(unfit), message=message))
                return
            self._arrived(op, answer, before=resolved)
        else:
            error = PlayheadError(f"{executor.name} was in doubt and {by} said that it failed.")
            self._arrived(op, executor.failed(record_failure(error), 1), before=resolved)
