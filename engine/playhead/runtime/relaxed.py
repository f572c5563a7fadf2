"""Relaxed runs: a program that lives in the host's own loop and may await what it likes there.

What a strict run gets from its own loop, a relaxed one gets from rules:

  * tasks are started by playhead's own combinators, so that every operation has a place; an
    operation in any other task is refused
  * a tape is matched operation by operation, not as one order, because what the program awaits
    beside its operations may change their order
  * outcomes are still delivered one at a time, in the order of the log, each when its operation has
    been asked for
  * a race has its recorded winner, and is decided when its losers did what they did before that; what
    they do beyond it is forgotten
  * what is not on the tape waits until the whole tape was delivered

Program code is not watched for files and sockets here, and a relaxed run stays in
memory while it waits: nobody can see what else it awaits.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

from playhead.errors import OutsideRun, ProgramError
from playhead.events.approval import ApprovalAnswered
from playhead.events.catalog import RaceDecided, RunCancelRequested, SignalReceived
from playhead.events.fact import OutcomeFact, ProgramFact, Site, compared
from playhead.runtime.difference import Recorded, agrees
from playhead.runtime.machine import Awaited, Emitted, Machine, Pending
from playhead.runtime.place import Place, call_site, site_at
from playhead.runtime.scope import CURRENT, Scope
from playhead.runtime.signals import Unwinding

if TYPE_CHECKING:
    from playhead.runtime.tape import Tape

CALM_TURNS: Final = 8
"""Turns of the host's loop in which the program does nothing before it is handed the next outcome."""
PATIENCE_S: Final = 10.0
"""How long a tape waits for the program to ask for what is recorded, before it has diverged."""


class HostLoop:
    """What a machine asks of a loop, answered by the loop that runs already."""

    def __init__(self) -> None:
        self.timers: dict[str, Any] = {}
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        self.cancelled_now: list[Any] = []
        self.turns = 0
        self.host: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        """The host's loop is the program's: nothing to enter."""

    def __exit__(self, *_: object) -> None:
        """Nothing to leave."""

    @property
    def running(self) -> bool:
        """Whether one of the run's own tasks is what runs right now."""
        task = asyncio.current_task()
        return task is not None and id(task) in self.tasks

    def run_until_quiet(self) -> None:
        """The host pumps its loop by itself."""

    def create_answer(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def spawn(
        self, coro: Any, *, scope: Scope, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """A task of the run, in the scope that the caller chose."""
        context = copy_context() if context is None else context
        context.run(CURRENT.set, scope)
        task = asyncio.get_running_loop().create_task(coro, name=name or scope.path, context=context)
        self.tasks[id(task)] = task
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(id(task), None)
        if not task.cancelled():
            task.exception()

    def fire(self, op: str) -> bool:
        return False

    def close(self) -> None:
        self.tasks.clear()


class RelaxedMachine(Machine):
    """A machine whose program runs in the host's loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loop: Any = HostLoop()
        self.notify: Callable[[], None] = _nobody
        """Called when the program did something; the runner's cue to write it down."""
        self.moves = 0
        """Counts what the program does, so that it can be seen standing still."""
        self._recorded: dict[str, deque[Recorded]] = {}
        self._order: deque[Recorded] = deque()
        self._done: set[int] = set()
        self._held: list[Emitted] = []
        self._behind: list[asyncio.Future[None]] = []
        """Races that wait for what their runners did before they were decided."""
        self._coming = Counter[str]()
        """How many outcomes the tape has yet for an operation."""
        self._ahead: set[str] = set()
        """Operations that a loser got to only this time."""
        self._owners: dict[str, asyncio.Task[Any]] = {}
        self._progress = asyncio.Event()

    def play(self, segment: Sequence[Recorded], *, last: bool) -> None:
        """Begin, or go live; the program runs by itself."""
        if last and not self.live:
            self.live = True
            self._out.extend(self._held)
            self._held.clear()
        if self._root_task is None:
            root: asyncio.Task[Any] = self.loop.spawn(
                self._run_root(), scope=self.root, name="0", context=self._context
            )
            root.add_done_callback(self._root_ended)
            self._root_task = root

    def _root_ended(self, task: asyncio.Task[Any]) -> None:
        if not self.unwinding and not self.stopped:
            self._finish(task)

    def load(self, program_events: Sequence[Recorded]) -> None:
        """What the tape says the program did, by operation."""
        self._order.extend(program_events)
        for recorded in program_events:
            self._recorded.setdefault(recorded.op, deque()).append(recorded)

    @property
    def left_over(self) -> Recorded | None:
        """The earliest recorded program event that the program did not do."""
        order = self._order
        while order and order[0].seq in self._done:
            self._done.discard(order.popleft().seq)
        return order[0] if order else None

    def winner(self, op: str) -> int | None:
        """The recorded winner of the race `op`, if the tape has one."""
        queue = self._recorded.get(op)
        fact = queue[0].fact if queue else None
        return fact.winner if isinstance(fact, RaceDecided) else None

    async def as_recorded(self, op: str, losers: Sequence[str]) -> None:
        """Wait until the race `op` is where it was decided; forget what its losers did beyond that.

        `losers` are their scopes. What they await beside their operations takes its own time, so they may be
        behind the decision or ahead of it.
        Nothing that is forgotten was carried out: it is not on the tape, and so it was held.
        """
        decided = self._recorded[op][0].seq
        while self._is_behind(op, decided):
            waiter = asyncio.get_running_loop().create_future()
            self._behind.append(waiter)
            try:
                await waiter
            finally:
                self._behind.remove(waiter)
        theirs = tuple(f"{loser}/" for loser in losers) + tuple(f"{loser}." for loser in losers)
        ahead = {each.op for each in self._held if each.op.startswith(theirs)}
        self._held = [each for each in self._held if each.op not in ahead]
        self._ahead |= ahead
        for each in ahead:
            self.pending.pop(each, None)

    def _is_behind(self, op: str, decided: int) -> bool:
        """Whether something in the race `op` was done before event `decided`, and not yet this time."""
        for recorded in self._order:
            if recorded.seq >= decided:
                return False
            if recorded.seq not in self._done and recorded.op.startswith(f"{op}."):
                return True
        return False

    def _is_ahead(self, op: str) -> bool:
        """Whether `op` belongs to what was forgotten."""
        ends = [n for n, mark in enumerate(op) if mark in "/."]
        return any(op[:end] in self._ahead for end in (*ends, len(op)))

    def emit(
        self, op: str, fact: ProgramFact, pending: Pending | None = None, place: Place | None = None
    ) -> None:
        """The program did `fact`: match it with what the tape has for this operation, or keep it as new."""
        if self.unwinding or (self._ahead and self._is_ahead(op)):
            raise Unwinding
        if self.stopped:
            return
        self._progress.set()
        self.moves += 1
        queue = self._recorded.get(op)
        if queue:
            self._match(queue, op, fact, place)
        elif self.live:
            self._out.append(Emitted(op, fact, pending))
        else:
            self._held.append(Emitted(op, fact, pending))
        if pending is not None and not self.stopped:
            self.pending[op] = pending
        self.notify()

    def _match(self, queue: deque[Recorded], op: str, fact: ProgramFact, place: Place | None) -> None:
        recorded = queue[0]
        kind = type(fact)
        same = type(recorded.fact) is kind and compared(kind)(recorded.fact) == compared(kind)(fact)
        if same or agrees(recorded, fact):
            queue.popleft()
            self._done.add(recorded.seq)
            self._last_match = recorded
            self.matched += 1
            for waiter in self._behind:
                if not waiter.done():
                    waiter.set_result(None)
        else:
            self._diverge("changed", recorded, op, fact, place)

    def abandon(self, pending: Pending) -> None:
        """The program was cancelled while it waited. Where the tape has an outcome yet, that came first."""
        if not self._coming[pending.op]:
            super().abandon(pending)

    def check_inside(self, op: str) -> None:
        """Raise `ProgramError` for an operation in a task whose place nobody knows."""
        task = asyncio.current_task()
        if task is None or id(task) not in self.loop.tasks:
            raise OutsideRun(
                f"{op} was called in a task that the relaxed run did not start.",
                next_step="Start tasks with playhead.task_group, race or map_bounded, or use a strict run.",
            )
        path = op.rpartition("/")[0]
        owner = self._owners.setdefault(path, task)
        if owner is not task and not owner.done():
            raise ProgramError(
                f"{op} and another operation of scope {path} were called in two tasks at once.",
                next_step="Start tasks with playhead.task_group, race or map_bounded.",
            )
        self._owners[path] = task

    def wait_again(self, name: Awaited, pending: Pending, due: int | None) -> Pending:
        """Wait on for `name`, until `due`; the runner looks at its alarms again."""
        more = super().wait_again(name, pending, due)
        self.moves += 1
        self.notify()
        return more

    def spawn(self, work: Coroutine[Any, Any, Any], scope: Scope) -> asyncio.Task[Any]:
        """A task of the run in a scope that the caller chose."""
        task: asyncio.Task[Any] = self.loop.spawn(work, scope=scope)
        self.moves += 1
        task.add_done_callback(self._moved)
        return task

    def _moved(self, _: Any) -> None:
        self.moves += 1

    def site(self, place: Place | None = None) -> Site | None:
        """Where the program is, or `place`: what is new may be held until the tape is through."""
        return call_site() if place is None else site_at(place)

    def close(self) -> None:
        """Cancel the program; it unwinds in the host's loop, and no operation starts meanwhile."""
        self.unwinding = True
        for task in list(self.loop.tasks.values()):
            task.cancel()
        self.pending.clear()
        self._out.clear()
        self._held.clear()

    async def play_tape(self, tape: Tape, *, live_at_end: bool) -> None:
        """Play `tape` to its end, waiting for the program as long as it takes, up to `PATIENCE_S` a step."""
        decoded = [(event, tape.readable(event)) for event in tape.events]
        self.load(
            [
                Recorded(event.seq, event.op, fact, tape.loss_at(event.seq))
                for event, fact in decoded
                if isinstance(fact, ProgramFact)
            ]
        )
        self._coming.update(event.op for event, fact in decoded if isinstance(fact, OutcomeFact))
        self.play((), last=False)
        for event, fact in decoded:
            if not isinstance(fact, OutcomeFact):
                continue
            # What the program had done by then, it does again by itself; handing over an outcome earlier
            # could cancel a task that has not got there yet.
            asked = not isinstance(fact, (SignalReceived, ApprovalAnswered, RunCancelRequested))
            reached = functools.partial(self._is_where, event.seq, event.op if asked else None)
            if not await self._until(reached):
                break
            self._coming[event.op] -= 1
            tape.hand(self, event, fact)
            await self._rest()
        await self._until(lambda: self.left_over is None)
        if self.divergence is None and (rest := self.left_over) is not None:
            self._diverge("missing", rest, None, None)
        if self.divergence is None and self._held and not live_at_end:
            extra = self._held[0]
            self._diverge("extra", None, extra.op, extra.fact)
        self.play((), last=live_at_end)

    def _is_where(self, seq: int, op: str | None) -> bool:
        """Whether the program did all that is recorded before `seq`, and waits for `op`."""
        rest = self.left_over
        return (rest is None or rest.seq > seq) and (op is None or op in self.pending)

    async def _rest(self) -> None:
        """Give the program its turns: until it has stood still for `CALM_TURNS` of them."""
        calm, moves = 0, -1
        while calm < CALM_TURNS:
            await asyncio.sleep(0)
            calm = calm + 1 if self.moves == moves else 0
            moves = self.moves

    async def _until(self, reached: Callable[[], bool]) -> bool:
        """Wait until `reached()`; False when the program has diverged, or too long does nothing."""
        while not reached():
            if self.stopped:
                return False
            self._progress.clear()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._progress.wait()
            except TimeoutError:
                return False
        return not self.stopped


def _nobody() -> None:
    """No runner listens yet."""
