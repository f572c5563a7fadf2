"""One run without the world: the program, its tape, and what it asks for next.

    machine = Machine(run, seed=..., started_at=..., entry=...)
    machine.play(segment, last=False)     # recorded program events up to the next outcome
    machine.deliver(event, fact)          # that outcome
    machine.play(...)                     # ... until the tape ends, then live:
    machine.play((), last=True)
    for new in machine.take(): ...        # program events to append, operations to run

No I/O, no clock, no thread: live, resumed and replayed runs differ only in who
calls this and with what. Invariants:

  * an outcome is delivered only when the program is quiet, one at a time, in the order of the log
  * while a tape plays, every program event equals the recorded one, in the same order, or the
    machine stops with a `Divergence` before anything is executed
  * a new program event comes out of `take` only after the whole tape was played
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from playhead.errors import BadValue, OutsideRun, ProgramError, Runaway
from playhead.events.approval import ApprovalAnswered
from playhead.events.catalog import (
    OperationCancelled,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    SignalReceived,
    TimerFired,
)
from playhead.events.fact import Fact, OutcomeFact, ProgramFact, Site, compared
from playhead.events.redaction import Redaction
from playhead.events.words import ForkWords, PreparedWords
from playhead.runtime.around import NOTHING, Around
from playhead.runtime.difference import Divergence, Recorded, agrees, first_difference
from playhead.runtime.failures import ErrorTypes, record_failure
from playhead.runtime.likeness import Changes
from playhead.runtime.loop import program_loop
from playhead.runtime.place import Place, call_site, site_at, site_of, standing
from playhead.runtime.scope import Scope, current
from playhead.runtime.signals import Unwinding

ROOT: Final = "0"
DRAIN_ROUNDS_MAX: Final = 1_000


class Emitted(msgspec.Struct, frozen=True):
    """A program event that is not on the tape yet, and the operation it begins, if it begins one."""

    op: str
    fact: ProgramFact
    pending: Pending | None


class Pending(msgspec.Struct, eq=False):
    """An operation that waits for its outcome.

    `request` is what stands on the tape, where it stands there: the program may say less of it now.
    `settle` turns the outcome fact into a value or raises. `start` is what a runner calls to make it
    happen in the world; None where only a message or a timer can answer.
    """

    op: str
    request: ProgramFact
    future: asyncio.Future[Any]
    settle: Callable[[Any], Any]
    executor: Any = None


News = SignalReceived | ApprovalAnswered
"""What comes from outside to whoever waits for it, or is kept until somebody does."""
Awaited = str | tuple[Literal["answer"], str]
"""What is waited for: a signal of that name, or answers to that request."""


class Machine:
    """Runs one program against its tape and beyond. Not thread-safe; owned by one runner or player."""

    # Or finding each would be slow: Python is quick with the attributes of an object up to thirty of them.
    __slots__ = ("__weakref__", "_alarms_set", "_context", "_encode_result", "_entry", "_expected",
                 "_last_match", "_out", "_patch_ops", "_patches", "_patches_noted", "_root_task", "_seed",
                 "alarms", "apart", "cancel_reason", "changes", "delivered", "divergence", "errors", "fence",
                 "finished", "fork", "grounds", "holed", "host", "last_words", "live", "loop", "manifests",
                 "matched", "now_ns", "on_caused", "on_told", "pending", "prepared", "redaction", "root",
                 "run", "signals", "started_at", "stopped", "unwinding", "waits")  # fmt: skip

    def __init__(
        self,
        run: str,
        *,
        seed: bytes,
        started_at: int,
        entry: Callable[[], Awaitable[Any]],
        encode_result: Callable[[Any], Any],
        patches: frozenset[str] | None = None,
        context: Context | None = None,
        redaction: Redaction | None = None,
        errors: ErrorTypes | None = None,
        host: Any = None,
        around: Around = NOTHING,
    ) -> None:
        self.run = run
        self.started_at = started_at
        self.now_ns = started_at
        self.live = False
        self.unwinding = False
        self.divergence: Divergence | None = None
        self.stopped = False
        """Whether a divergence was found; nothing runs after that."""
        self.loop = program_loop(self)
        self.root = Scope(ROOT, self, around)
        self.pending: dict[str, Pending] = {}
        self.signals: dict[Awaited, deque[News]] = {}
        self.waits: dict[Awaited, deque[Pending]] = {}
        self.cancel_reason: str | None = None
        self.matched = 0
        self.finished: ProgramFact | None = None
        self.host = host
        self.redaction = redaction
        self.errors = errors or ErrorTypes()
        self.alarms: list[tuple[int, int, str]] = []
        self._alarms_set = 0
        self.last_words: dict[str, Callable[[], None]] = {}
        """By operation: what is still to be said of it when the run ends."""
        self.fence: tuple[str, ...] | None = None
        """What may happen in the world; None is everything."""
        self.prepared: Mapping[str, PreparedWords] = {}
        self.changes = Changes(run)
        self.grounds: dict[str, str] = {}
        """By operation that reads state: what it is asked about, where the run had changed that."""
        self.fork: ForkWords | None = None
        self.delivered = 0
        """How many outcomes it was handed."""
        self.holed = False
        """Whether a part of the outcome that it is handed was erased: what stands there may be no answer."""
        self.apart = False
        """Whether somebody looks at it meanwhile: what they evaluate is not the program, and says nothing."""
        self.on_caused: Callable[[int, str, ProgramFact], None] | None = None
        """Told of every event of the tape that the program causes again, inside the call that does."""
        self.on_told: Callable[[int, str, OutcomeFact], None] | None = None
        """Told of every outcome before the program is."""
        self.manifests: set[str] = set()
        """Hashes of those that were shown in full."""
        self._patch_ops = patches or frozenset()
        self._patches: dict[str, bool] = {}
        self._patches_noted: set[str] = set()
        self._expected: deque[Recorded] = deque()
        self._out: list[Emitted] = []
        self._seed = seed
        self._last_match: Recorded | None = None
        self._entry = entry
        self._encode_result = encode_result
        self._context = context or copy_context()
        self._root_task: asyncio.Task[Any] | None = None

    # ------------------------------------------------------ from the outside

    @property
    def waiting(self) -> list[str]:
        """Ids of the operations and timers that the program waits for."""
        return [*self.pending, *self.loop.timers]

    def play(self, segment: Sequence[Recorded], *, last: bool) -> None:
        """Run until quiet against the recorded program events of `segment`.

        `last` says that the tape ends with them, so that what comes after is new. Sets `divergence`
        where the two do not agree. Raises `Runaway` where the tape does not say so already.
        """
        self._expected.extend(segment)
        self.live = last
        if self._root_task is None:
            self._begin()
        try:
            self.loop.run_until_quiet()
        except Runaway as error:
            if last:
                raise
            self._end(RunFailed(failure=record_failure(error)))
        if self.stopped or self._root_task is None:
            return
        if self.finished is not None:
            pass
        elif self._root_task.done():
            self._finish(self._root_task)
        elif not self.pending and not self.loop.timers:
            self._deadlock()
        if self._expected and not self.stopped:
            recorded = self._expected[0]
            self._diverge("missing", recorded, None, None)

    def deliver(self, seq: int, op: str, at: int, fact: OutcomeFact) -> None:
        """Hand one outcome to the program; `play` afterwards lets it react. Time never goes back.

        Raises `BadValue` where it is `holed` and so does not fit what the program asked for.
        """
        tell = self.on_told
        if tell is not None:
            tell(seq, op, fact)
        kind = type(fact)
        if kind is TimerFired:
            at = max(at, fact.due)  # type: ignore[attr-defined]
        if at > self.now_ns:  # noqa: PLR1730  a tape has many outcomes, and max() costs as much as all the rest
            self.now_ns = at
        self.loop.turns = 0
        self.delivered += 1
        pending = self.pending.get(op)
        if pending is not None:
            self._settle(pending, fact)
        elif kind is TimerFired and self.loop.fire(op):
            return
        elif isinstance(fact, SignalReceived):
            self._receive(fact.signal, fact)
        elif isinstance(fact, ApprovalAnswered):
            self._receive(("answer", fact.request), fact)
        elif isinstance(fact, RunCancelRequested):
            self.cancel_reason = fact.reason
            if self._root_task is not None:
                self._root_task.cancel()
                self.loop.cancelled_now.clear()
        elif not self.unwinding:
            self._diverge("unanswered", Recorded(seq, op, fact), None, None)

    def next_alarm(self) -> int | None:
        """When the next timer that the program still waits for is due, nanoseconds UTC."""
        alarms = self.alarms
        while alarms and not self._awaited(alarms[0][2]):
            heapq.heappop(alarms)
        return alarms[0][0] if alarms else None

    def due(self, now: int) -> list[tuple[str, int]]:
        """Timers that are due at `now`, earliest first, as operation and due time. Each is given once."""
        found: list[tuple[str, int]] = []
        while (alarm := self.next_alarm()) is not None and alarm <= now:
            due, _, op = heapq.heappop(self.alarms)
            found.append((op, due))
        return found

    def set_alarm(self, op: str, due: int) -> None:
        """Remember that `op` waits for `due`."""
        self._alarms_set += 1
        heapq.heappush(self.alarms, (due, self._alarms_set, op))

    def _awaited(self, op: str) -> bool:
        return op in self.loop.timers or op in self.pending

    def take(self) -> list[Emitted]:
        """New program events since the last call, in order."""
        out, self._out = self._out, []
        return out

    def close(self) -> None:
        """Put the program away. Its `finally` blocks run, but no operation starts in them."""
        self.unwinding = True
        self.stopped = False
        with suppress(Runaway):  # a program that does not let itself be put away is dropped as it is
            self._drain()
        self.loop.close()
        self.pending.clear()
        self._out.clear()

    def _drain(self) -> None:
        """Cancel what is left until nothing is."""
        for _ in range(DRAIN_ROUNDS_MAX):
            alive = [task for task in self.loop.tasks.values() if not task.done()]
            if not alive:
                break
            for task in alive:
                task.cancel()
            self.loop.cancelled_now.clear()
            self.loop.turns = 0
            self.loop.run_until_quiet()
        for pending in self.pending.values():
            pending.future.cancel()
        self.loop.run_until_quiet()

    # ------------------------------------------------------ from the program

    def seed_of(self, purpose: str) -> int:
        """A number that follows from the run's seed and `purpose`."""
        return int.from_bytes(hashlib.sha256(self._seed + purpose.encode()).digest(), "big")

    @property
    def model(self) -> str | None:
        """The model that requests name whatever they say; None leaves it to them."""
        fork = self.fork
        return fork.model if fork is not None and self.delivered >= fork.outcomes else None

    def emit(
        self, op: str, fact: ProgramFact, pending: Pending | None = None, place: Place | None = None
    ) -> None:
        """The program did `fact`: match it with the tape, or note it as new.

        `place` is where it did so, for a fact that was made without its site because a tape plays.
        """
        if self.unwinding:
            raise Unwinding
        if self.apart:
            self.check_inside(op)
        if self.stopped:
            return
        expected = self._expected
        if expected:
            recorded = expected[0]
            was, kind = recorded.fact, type(fact)
            content = compared(kind)
            same = type(was) is kind and content(was) == content(fact)
            if recorded.op == op and (same or agrees(recorded, fact)):
                expected.popleft()
                self._last_match = recorded
                self.matched += 1
                if pending is not None:
                    if type(was) is kind:
                        pending.request = was  # what it was declared to be when it was asked for
                    self.pending[op] = pending
                tell = self.on_caused
                if tell is not None:
                    tell(recorded.seq, op, fact)
                return
            self._diverge("changed", recorded, op, fact, place)
            return
        if not self.live:
            self._diverge("extra", None, op, fact, place)
            return
        if pending is not None:
            self.pending[op] = pending
        self._out.append(Emitted(op, fact, pending))

    async def perform(
        self,
        op: str,
        request: ProgramFact,
        settle: Callable[[Any], Any],
        *,
        executor: Any = None,
        began: Callable[[Pending], None] | None = None,
    ) -> Any:
        """Ask the world for something and wait for the recorded outcome.

        `began` is called once the request has been matched or noted.
        """
        pending = self.ask(op, request, settle, executor)
        if began is not None:
            began(pending)
        try:
            return await pending.future
        except asyncio.CancelledError:
            self.abandon(pending)
            raise

    def ask(
        self,
        op: str,
        request: ProgramFact,
        settle: Callable[[Any], Any],
        executor: Any = None,
        place: Place | None = None,
    ) -> Pending:
        """The first half of `perform`: who asks awaits the future, or says `abandon`."""
        self.check_inside(op)
        loop = self.loop
        pending = Pending(op, request, loop.create_answer(), settle, executor)
        loop.turns = 0
        self.emit(op, request, pending, place)
        return pending

    def abandon(self, pending: Pending) -> None:
        """The program was cancelled while it waited: say so once, and let the runner stop what runs."""
        if pending.future.done() and not pending.future.cancelled():
            return  # the outcome came first, and was delivered
        known = self.pending.pop(pending.op, None)
        if known is not None and not self.unwinding and not self.stopped:
            self.emit(pending.op, OperationCancelled())

    def winner(self, op: str) -> int | None:
        """The winner that the race `op` must have; None where the order of outcomes decides."""
        return None

    async def as_recorded(self, op: str, losers: Sequence[str]) -> None:
        """Wait until the race `op`, whose winner must be what it was, may be decided."""

    def site(self, place: Place | None = None) -> Site | None:
        """Where the program is, or `place`, to be recorded; None where a tape plays, which says it already.

        To be asked just before the fact is said: in between, the tape may come to its end.
        """
        if self._expected or not self.live:
            return None
        return call_site() if place is None else site_at(place)

    def spawn(self, work: Coroutine[Any, Any, Any], scope: Scope) -> asyncio.Task[Any]:
        """A task of the program in a scope that the caller chose."""
        if not self.loop.running:
            work.close()
            raise OutsideRun("a task of a run is started from its own program code.")
        return self.loop.spawn(work, scope=scope)

    def redacted(self, raw: Raw, secret: Sequence[str] = ()) -> Raw:
        """`raw` without what is declared secret, here by the names in `secret` as well."""
        redaction = self.redaction
        if redaction is not None:
            return redaction.with_names(secret).apply(raw) if secret or redaction.names else raw
        if secret:
            raise ProgramError(
                f"{', '.join(secret)} is to be redacted, and there is no key to do it with.",
                next_step="Give the redaction that the run was recorded under.",
            )
        return raw

    def check_inside(self, op: str) -> None:
        """Raise `OutsideRun` unless the run's own loop runs this code right now."""
        if not self.loop.running:
            raise OutsideRun(
                f"{op} was called while its run was not being pumped.",
                next_step="Await operations from program code of the run, not from a tool or a thread.",
            )

    def wait_again(self, name: Awaited, pending: Pending, due: int | None) -> Pending:
        """Wait on for `name`, until `due`: the operation of `pending` was told something and goes on."""
        op = pending.op
        more = Pending(op, pending.request, self.loop.create_answer(), pending.settle)
        self.pending[op] = more
        if due is not None and all(alarm[2] != op for alarm in self.alarms):
            self.set_alarm(op, due)
        self.wait_signal(name, more)
        return more

    def wait_signal(self, name: Awaited, pending: Pending) -> None:
        """Queue `pending` for the next signal or answer, or answer it with one that came early."""
        early = self.signals.get(name)
        if early:
            self._settle(pending, early.popleft())
        else:
            waits = self.waits.setdefault(name, deque())
            while waits and waits[0].future.done():
                waits.popleft()  # cancelled, and nobody said anything since
            waits.append(pending)

    def ignored(self, answer: ApprovalAnswered) -> None:
        """Somebody's answer counts for nothing. Those who imagine a run want to know."""

    def patched(self, name: str, op: str) -> bool:
        """Whether the patch `name` is taken at `op`: what the tape says, or yes where none says any more."""
        if name not in self._patches:
            on_tape = bool(self._expected) or not self.live
            passed = self.fork.passed if self.fork is not None else ()
            self._patches[name] = op in self._patch_ops if on_tape else op not in passed
        return self._patches[name]

    def patch_noted(self, name: str) -> bool:
        """Whether the answer to `name` has been written already. The first question is answered no."""
        if name in self._patches_noted:
            return True
        self._patches_noted.add(name)
        return False

    # --------------------------------------------------------------- inside

    def _begin(self) -> None:
        loop = self.loop
        host = asyncio.events._get_running_loop()
        asyncio.events._set_running_loop(loop)
        try:
            self._root_task = loop.spawn(self._run_root(), scope=self.root, name=ROOT, context=self._context)
        finally:
            asyncio.events._set_running_loop(host)

    async def _run_root(self) -> Any:
        # Called inside its own task, so that a persona that is also a step sees its run.
        return await self._entry()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        if self.finished is not None:
            return
        fact: ProgramFact
        if task.cancelled():
            fact = RunCancelled(reason=self.cancel_reason or "")
        elif (error := task.exception()) is not None:
            fact = RunFailed(failure=record_failure(error))
        else:
            fact = self._completed(task.result())
        self._end(fact)

    def _end(self, fact: ProgramFact) -> None:
        self.finished = fact
        self.say_last_words()
        self.emit("", fact)

    def say_last_words(self) -> None:
        """Let whoever has something left to say of an operation say it: nothing comes after the end."""
        for say in list(self.last_words.values()):
            say()

    def _deadlock(self) -> None:
        """Nothing is awaited that could ever come: end here instead of waiting for ever."""
        if self.finished is not None or (
            self._expected and not isinstance(self._expected[0].fact, RunFailed)
        ):
            return
        error = ProgramError(
            "the program waits, but for nothing that the run could ever hand it.",
            next_step="Await an operation, a signal or a timer; a lock or event needs a task that sets it.",
        )
        site = self._waiting_site()
        failure = record_failure(error)
        self._end(
            RunFailed(failure=msgspec.structs.replace(failure, site=site, trace=[site] if site else []))
        )

    def _completed(self, result: Any) -> ProgramFact:
        try:
            return RunCompleted(result=self._encode_result(result))
        except Exception as error:  # noqa: BLE001  a result may be anything, and raise anything when it is encoded
            return RunFailed(failure=record_failure(error))

    def _settle(self, pending: Pending, fact: OutcomeFact) -> None:
        self.pending.pop(pending.op, None)
        future = pending.future
        if future.done():
            return
        settle = pending.settle
        try:
            value = settle(fact)
        except Exception as error:
            if self.holed and isinstance(error, BadValue) and getattr(fact, "failure", None) is None:
                raise
            future.set_exception(error)
        else:
            future.set_result(value)

    def _receive(self, name: Awaited, fact: News) -> None:
        waiting = self.waits.get(name)
        while waiting:
            pending = waiting.popleft()
            if not pending.future.done():
                self._settle(pending, fact)
                return
        self.signals.setdefault(name, deque()).append(fact)

    def _diverge(
        self,
        kind: str,
        recorded: Recorded | None,
        op: str | None,
        fact: Fact | None,
        place: Place | None = None,
    ) -> None:
        if self.stopped:
            return
        self.stopped = True
        name, was, now = first_difference(recorded, op, fact)
        scope = current()
        here = call_site() if scope is not None and scope.machine is self else None  # or nobody asked for it
        site = getattr(fact, "site", None) or (place and site_at(place)) or here
        if kind in ("missing", "unanswered") and recorded is not None:
            site = getattr(recorded.fact, "site", None)
        self.divergence = Divergence(
            kind=kind,
            seq=recorded.seq if recorded else None,
            recorded=recorded,
            now=None if fact is None or op is None else (op, fact),
            site=site or self._waiting_site(),
            last_match=self._last_match,
            field=name,
            recorded_value=was,
            now_value=now,
            waiting=tuple(self.waiting),
        )

    def _waiting_site(self) -> Site | None:
        """Where the program stands now: the innermost line of its own that awaits."""
        for task in self.loop.tasks.values():
            if (frame := standing(task)) is not None:
                return site_of(frame)
        return None
