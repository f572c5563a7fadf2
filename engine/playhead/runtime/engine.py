"""The engine: starts, resumes and recovers runs on one log.

    async with Engine.open("runs.db", personas=[audit]) as engine:
        run = await engine.start(audit, urls, key="nightly")
        receipt = await run.result()

Any number of engines may share a log, in one process or many. A run has one owner
at a time; what others say to it goes through its mailbox.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import platform
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from msgspec import Raw

from playhead.clock import Clock, SystemClock, encode_id, new_id
from playhead.errors import (
    BadValue,
    Conflict,
    Diverged,
    Held,
    KeyReuse,
    NotFound,
    PersonaMissing,
    PlayheadError,
    RunCancelled,
    RunFailed,
    RunParked,
    ToolFailed,
)
from playhead.events.catalog import (
    CancelSent,
    ResolutionSent,
    RunClaimed,
    RunParked as RunParkedFact,
    RunReleased,
    RunResumed,
    RunStarted,
    SignalSent,
)
from playhead.events.catalog import RunCancelled as RunCancelledFact
from playhead.events.catalog import RunCompleted, RunFailed as RunFailedFact
from playhead.events.codec import CATALOG, Catalog
from playhead.events.fact import Failure, WorldFact
from playhead.events.redaction import KEY_BYTES, Redaction
from playhead.log.envelope import Event, Head
from playhead.log.store import LogStore
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.machine import Divergence, Machine
from playhead.runtime.operation import raw_value
from playhead.runtime.persona import Persona, Personas
from playhead.runtime.runner import Runner
from playhead.runtime.scope import CURRENT
from playhead.runtime.tape import Notes, Tape

log = structlog.get_logger("playhead")

TERMINAL = ("completed", "failed", "cancelled")
UNFINISHED = ("running", "released", "suspended", "diverged")
POLL_S_MIN = 0.02
POLL_S_MAX = 0.5
SEED_BYTES = 16
READ_EVENTS = 2_000
MAIL_S_MIN = 0.05
MAIL_S_MAX = 0.4
MAIL_S_PER_RUN = 0.0005

Status = Literal["running", "suspended", "released", "diverged", "parked", "completed", "failed", "cancelled"]


@dataclass(slots=True)
class Sleeper:
    """A run that left memory: when it is due, and which message it has not seen."""

    wake_at: int | None
    messages: int
    timer: Any = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its last fact."""

    status: str
    result: Raw | None = None
    failure: Failure | None = None
    reason: str = ""


@dataclass(slots=True)
class Watch:
    """Who waits for a run that this engine runs or has put to sleep."""

    ended: asyncio.Future[Ending]
    parent: str | None = None
    persona: Persona[..., Any] | None = None


class Run:
    """A handle on one run. Cheap; any number may exist."""

    __slots__ = ("_engine", "id")

    def __init__(self, engine: Engine, run: str) -> None:
        self._engine = engine
        self.id = run

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    async def result(self) -> Any:
        """What the program returned, durable. Raises `RunFailed`, `RunCancelled`, `RunParked` or `Diverged`."""
        return await self._engine.result(self.id)

    async def status(self) -> str:
        """What the log says of the run now."""
        return await self._engine.status(self.id)

    async def signal(self, name: str, value: Any = None, *, sender: str = "") -> None:
        """Tell the run something; durable on return."""
        await self._engine.signal(self.id, name, value, sender=sender)

    async def cancel(self, reason: str = "", *, sender: str = "") -> None:
        """Ask the run to stop; durable on return. The program may still tidy up."""
        await self._engine.cancel(self.id, reason, sender=sender)


class Engine:
    """Runs personas on a log. Made by `Engine.open`; usable inside its `async with`, on one loop."""

    def __init__(
        self,
        store: LogStore,
        *,
        personas: Sequence[Persona[..., Any]] = (),
        model: Any = None,
        clock: Clock | None = None,
        errors: Sequence[type[Exception]] = (),
        redaction: Redaction | None = None,
        suspend_after_s: float = 5.0,
        deaths_max: int = 5,
        threads_max: int = 16,
        catalog: Catalog = CATALOG,
    ) -> None:
        self.store = store
        self.personas = Personas(personas)
        self.model = model
        self.clock = clock or store.clock
        self.catalog = catalog
        self.errors = ErrorTypes(errors)
        self.redaction = redaction
        self.suspend_after_s = suspend_after_s
        self.deaths_max = deaths_max
        self.threads = ThreadPoolExecutor(threads_max, thread_name_prefix="playhead-tool")
        self.tools_context = contextvars.copy_context()
        self.tools_context.run(CURRENT.set, None)
        self._runners: dict[str, Runner] = {}
        self._sleepers: dict[str, Sleeper] = {}
        self._watches: dict[str, Watch] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: str | os.PathLike[str] | LogStore,
        *,
        personas: Sequence[Persona[..., Any]] = (),
        model: Any = None,
        clock: Clock | None = None,
        errors: Sequence[type[Exception]] = (),
        secrets: Sequence[str] = (),
        suspend_after_s: float = 5.0,
        deaths_max: int = 5,
    ) -> AsyncIterator[Engine]:
        """An engine on the log at `store`, which is made when it does not exist.

        `model` answers `model_call(request)`. `errors` are types that are raised again as themselves on
        replay. `secrets` are names, or shell patterns, of arguments and fields that are redacted before
        anything is recorded. A run that only waits leaves memory after `suspend_after_s`. A run that died
        `deaths_max` times without a new outcome is parked.

        Leaving the block releases unfinished runs: their events stay, and `recover()` takes them up
        again. Raises what opening a store raises: `NotAStore`, `NewerFormat`, `ReadOnly`,
        `UnsafeFilesystem`.
        """
        if isinstance(store, (str, os.PathLike)):
            from playhead.log.sqlite_store import SqliteStore  # noqa: PLC0415  readers of the log do not need it

            opened: Any = SqliteStore.open(Path(store), clock=clock or SystemClock())
        else:
            opened = _borrowed(store)
        async with opened as log_store:
            redaction = Redaction(secrets, _redaction_key(store, log_store.clock)) if secrets else None
            engine = cls(
                log_store,
                personas=personas,
                model=model,
                clock=clock,
                errors=errors,
                redaction=redaction,
                suspend_after_s=suspend_after_s,
                deaths_max=deaths_max,
            )
            keeper = asyncio.create_task(engine._keep(), name="playhead keeper")
            try:
                yield engine
            finally:
                keeper.cancel()
                await engine._close()

    # --------------------------------------------------------------- starting

    async def start(
        self,
        persona: Persona[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Run:
        """Start a run of `persona` and return once its start is durable.

        With `key`, the same start gives the same run, however often it is asked for and wherever the
        first one got to: finished, running, or interrupted and now resumed. `name` is for people.
        Raises `KeyReuse` when the key was used with another persona or other arguments, `BadValue` for
        arguments that cannot be recorded, `TypeError` for ones that do not fit.
        """
        arguments = persona.signature.bind(args, kwargs)
        return await self.start_with(persona, arguments, key=key, name=name)

    async def start_with(
        self,
        persona: Persona[..., Any],
        arguments: Mapping[str, Any],
        *,
        key: str | None = None,
        name: str | None = None,
        run: str | None = None,
        parent: tuple[str, str] | None = None,
    ) -> Run:
        """Like `start`, with arguments by name. `run` and `parent` are for child runs."""
        self.personas.add(persona)
        raw = persona.signature.encode(dict(arguments))
        if self.redaction is not None:
            raw = self.redaction.apply(raw)
        if run is None:
            run = new_id(self.clock) if key is None else _id_of_key(key)
        started = RunStarted(
            persona=persona.name,
            args=raw,
            args_digest=sha256(raw).hexdigest()[:32],
            mode=persona.mode,
            seed=self.clock.entropy(SEED_BYTES),
            name=name,
            key=key,
            parent=parent[0] if parent else None,
            parent_op=parent[1] if parent else None,
            module=persona.function.__module__,
            code=persona.code,
            python=platform.python_version(),
            anyio=_version("anyio"),
            playhead=_version("playhead"),
        )
        at = self.clock.now()
        events = [self.catalog.new_event(fact, at=at) for fact in (started, self._claimed())]
        try:
            appended = await self.store.append(
                f"run/{run}", 0, events, claim=self.store.worker, status="running"
            )
        except Conflict:
            return await self._started_before(run, started)
        notes = Notes(next_seq=len(events))
        machine = self._machine(run, persona, started, at, frozenset())
        self._watch(run, persona, started.parent)
        machine.play((), last=True)
        self._go(run, machine, appended.epoch, notes)
        return Run(self, run)

    async def _started_before(self, run: str, wanted: RunStarted) -> Run:
        """The same key again: the same run, taken up where it was."""
        first = (await self.store.read(f"run/{run}", 0, 1))[0]
        found = self.catalog.decode(first)
        assert isinstance(found, RunStarted)
        if found.persona != wanted.persona or found.args_digest != wanted.args_digest:
            raise KeyReuse(
                f"the key {wanted.key!r} belongs to run {run} of {found.persona}, with other arguments.",
                expected=wanted.persona,
                found=found.persona,
                next_step="Use another key for another start.",
            )
        head = await self.store.head(f"run/{run}")
        if head.status in ("running", "released", "suspended"):
            try:
                return await self.resume(run)
            except Held:
                pass
        return Run(self, run)

    def _claimed(self) -> RunClaimed:
        return RunClaimed(worker=self.store.worker, pid=os.getpid(), host=socket.gethostname())

    def _machine(
        self, run: str, persona: Persona[..., Any], started: RunStarted, at: int, patches: frozenset[str]
    ) -> Machine:
        args, kwargs = persona.signature.decode(started.args)

        def encode_result(value: Any) -> Raw:
            raw = persona.signature.result.encode(value)
            return raw if self.redaction is None else self.redaction.apply(raw)

        return Machine(
            run,
            seed=started.seed,
            started_at=at,
            entry=lambda: persona.function(*args, **kwargs),
            encode_result=encode_result,
            patches=patches,
            context=self.tools_context.copy(),
            redaction=self.redaction,
            errors=self.errors,
            host=self,
        )

    def _go(self, run: str, machine: Machine, epoch: int, notes: Notes) -> Runner:
        runner = Runner(self, machine, epoch=epoch, notes=notes)
        self._runners[run] = runner
        runner.begin(notes)
        return runner

    # --------------------------------------------------------------- resuming

    async def resume(self, run: str) -> Run:
        """Take up an unfinished run: its program runs again from the top, answered by its tape.

        Returns when it is live. A finished run, or one that runs here already, is just returned.
        Raises `NotFound`, `PersonaMissing`, `Held` when a living worker owns it, `Diverged` when the
        program no longer fits its tape (nothing is executed then), `RunParked` when it died too often.
        """
        if run in self._runners:
            return Run(self, run)
        tape = Tape(run, await self._read(run), self.catalog)
        if tape.complete:
            return Run(self, run)
        persona = self.personas.get(tape.started.persona)
        if persona is None:
            raise PersonaMissing([run], persona=tape.started.persona, known=self.personas.names)
        self._forget_sleeper(run)
        epoch, claimed = await self._claim(tape)
        machine = self._machine(run, persona, tape.started, tape.started_at, tape.patches)
        self._watch(run, persona, tape.started.parent)
        try:
            tape.play(machine, live_at_end=True)
            if machine.divergence is not None:
                raise Diverged(_sentence(run, machine.divergence), divergence=machine.divergence)
        except PlayheadError as error:
            machine.close()
            await self._give_back(run, epoch, claimed, error)
            raise
        notes = tape.notes()
        notes.next_seq = claimed
        runner = self._go(run, machine, epoch, notes)
        await runner.collect()
        return Run(self, run)

    async def _claim(self, tape: Tape) -> tuple[int, int]:
        """Take the lease; returns the epoch and the next seq. Parks a run that died too often."""
        notes = tape.notes()
        crashed = notes.left == "crash"
        deaths = notes.deaths + 1 if crashed else notes.deaths
        stream, at = f"run/{tape.run}", self.clock.now()
        if crashed and deaths > self.deaths_max:
            parked = RunParkedFact(deaths=deaths, last_op=notes.last[0], last_type=notes.last[1])
            await self._append_claimed(stream, tape, [self._claimed(), parked], at, status="parked", release=True)
            raise RunParked(
                f"run {tape.run} died {deaths} times at {notes.last[0] or 'its start'} and is parked.",
                found=deaths,
                next_step=f"Find out why, then `playhead resume {tape.run}`.",
            )
        after: Any = {"crash": "crash", "suspension": "suspension", "release": "release"}.get(notes.left, "request")
        resumed = RunResumed(after=after, deaths=deaths if crashed else 0)
        return await self._append_claimed(stream, tape, [self._claimed(), resumed], at, status="running")

    async def _append_claimed(
        self, stream: str, tape: Tape, facts: Sequence[WorldFact], at: int, **options: Any
    ) -> tuple[int, int]:
        appended = await self.store.append(
            stream,
            len(tape.events),
            [self.catalog.new_event(fact, at=at) for fact in facts],
            claim=self.store.worker,
            **options,
        )
        return appended.epoch, appended.next_seq

    async def _give_back(self, run: str, epoch: int, seq: int, error: PlayheadError) -> None:
        """A run that cannot go on here: say why, and let it go."""
        released = RunReleased(reason=f"{error.code}: {error.message}"[:500])
        self._watches.pop(run, None)
        await self.store.append(
            f"run/{run}",
            seq,
            [self.catalog.new_event(released, at=self.clock.now())],
            epoch=epoch,
            release=True,
            status="diverged" if isinstance(error, Diverged) else "released",
        )

    async def recover(self, *, missing: Literal["raise", "skip"] = "raise") -> list[Run]:
        """Take up every interrupted run: those whose owner died or let go, and waiting ones that are due.

        Waiting runs that are not due yet are watched, and resumed when their time or a message comes.
        Runs of living workers are left alone. With `missing="raise"`, `PersonaMissing` is raised before
        anything is resumed; with "skip" such runs are left. A run that diverged or was parked is logged
        and left, and the others go on.
        """
        heads = await self.store.heads("run", status=UNFINISHED, limit=1_000_000)
        todo: list[tuple[Head, str]] = []
        for head in reversed(heads):
            run = head.stream.partition("/")[2]
            if run in self._runners or (head.worker is not None and await self.store.alive(head.worker)):
                continue
            todo.append((head, run))
        personas = {run: await self._persona_of(run) for _, run in todo}
        unknown = [run for run, persona in personas.items() if self.personas.get(persona) is None]
        if unknown and missing == "raise":
            raise PersonaMissing(unknown, persona=personas[unknown[0]], known=self.personas.names)
        recovered: list[Run] = []
        for head, run in todo:
            if run in unknown:
                continue
            if head.status == "suspended" and not await self._is_due(head, run):
                await self._watch_sleeper(head, run)
                recovered.append(Run(self, run))
                continue
            try:
                recovered.append(await self.resume(run))
            except (Diverged, RunParked, Held, Conflict) as error:
                log.warning("run.not_recovered", run=run, code=error.code, error=error.message)
        return recovered

    async def _persona_of(self, run: str) -> str:
        first = self.catalog.decode((await self.store.read(f"run/{run}", 0, 1))[0])
        return first.persona if isinstance(first, RunStarted) else "?"

    async def _is_due(self, head: Head, run: str) -> bool:
        if head.wake_at is not None and head.wake_at <= self.clock.now():
            return True
        mailbox = await self.store.head(f"mailbox/{run}")
        return mailbox.seq > (await self._notes_of(run)).messages

    async def _notes_of(self, run: str) -> Notes:
        return Tape(run, await self._read(run), self.catalog).notes()

    async def _watch_sleeper(self, head: Head, run: str) -> None:
        if run not in self._sleepers:
            notes = await self._notes_of(run)
            persona = self.personas.get(await self._persona_of(run))
            self._watch(run, persona, None)
            self._sleep(run, head.wake_at, notes.messages)

    async def _read(self, run: str) -> list[Event]:
        events: list[Event] = []
        while True:
            batch = await self.store.read(f"run/{run}", len(events), READ_EVENTS)
            events.extend(batch)
            if len(batch) < READ_EVENTS:
                return events

    # --------------------------------------------------------------- messages

    async def signal(self, run: str, name: str, value: Any = None, *, sender: str = "") -> None:
        """Tell `run` something; durable on return. Raises `NotFound`, `BadValue`."""
        await self._post(run, SignalSent(signal=name, value=raw_value(value, f"signal {name}"), sender=sender))

    async def cancel(self, run: str, reason: str = "", *, sender: str = "") -> None:
        """Ask `run` to stop; durable on return. Its program may still tidy up. Raises `NotFound`."""
        await self._post(run, CancelSent(reason=reason, sender=sender))

    async def resolve(
        self,
        run: str,
        op: str,
        action: Literal["retry", "value", "fail"],
        value: Any = None,
        *,
        sender: str = "",
    ) -> None:
        """Answer for the operation `op` of `run` that is in doubt; durable on return.

        `retry` runs it again under the same idempotency key, `value` takes `value` for its result, `fail`
        lets it fail. Raises `NotFound`, `BadValue`.
        """
        raw = raw_value(value, f"value for {op}")
        await self._post(run, ResolutionSent(op=op, action=action, value=raw, sender=sender))

    async def _post(self, run: str, fact: WorldFact) -> None:
        """Put `fact` into the mailbox of `run` and wake its owner if that is us."""
        if (await self.store.head(f"run/{run}")).seq == 0:
            raise NotFound(f"there is no run {run}.", next_step="See `playhead runs`.")
        stream = f"mailbox/{run}"
        event = self.catalog.new_event(fact, at=self.clock.now())
        append_id = self.clock.entropy(16)
        while True:
            head = await self.store.head(stream)
            try:
                await self.store.append(stream, head.seq, [event], append_id=append_id)
            except Conflict:
                continue
            break
        await self._look(run)

    async def _look(self, run: str) -> None:
        """Let a run of ours take its mail."""
        runner = self._runners.get(run)
        if runner is not None:
            await runner.collect()
        elif run in self._sleepers:
            self._rouse(run)

    # ---------------------------------------------------------------- answers

    async def status(self, run: str) -> str:
        """What the log says of `run` now. Raises `NotFound`."""
        head = await self.store.head(f"run/{run}")
        if head.seq == 0:
            raise NotFound(f"there is no run {run}.", next_step="See `playhead runs`.")
        return head.status

    async def result(self, run: str) -> Any:
        """What the program of `run` returned, once that is durable, whoever runs it.

        Raises `RunFailed` (with the recorded failure), `RunCancelled`, `RunParked`, `Diverged`, `NotFound`.
        """
        return self._unpack(run, await self.ending(run))

    async def ending(self, run: str) -> Ending:
        pause = POLL_S_MIN
        while True:
            watch = self._watches.get(run)
            if watch is not None:
                return await asyncio.shield(watch.ended)
            status = await self.status(run)
            if status in (*TERMINAL, "parked", "diverged"):
                return await self._read_ending(run, status)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_S_MAX)

    async def _read_ending(self, run: str, status: str) -> Ending:
        head = await self.store.head(f"run/{run}")
        start = max(0, head.seq - 16)
        for event in reversed(await self.store.read(f"run/{run}", start)):
            match self.catalog.decode(event):
                case RunCompleted(result=result):
                    return Ending("completed", result=result)
                case RunFailedFact(failure=failure):
                    return Ending("failed", failure=failure)
                case RunCancelledFact(reason=reason):
                    return Ending("cancelled", reason=reason)
                case RunReleased(reason=reason) if status == "diverged":
                    return Ending("diverged", reason=reason)
                case RunParkedFact(deaths=deaths, last_op=op):
                    return Ending("parked", reason=f"died {deaths} times at {op or 'its start'}")
                case _:
                    continue
        return Ending(status)

    def _unpack(self, run: str, ending: Ending) -> Any:
        if ending.status == "completed":
            assert ending.result is not None
            persona = self._persona_known(run)
            codec = persona.signature.result if persona is not None else None
            return codec.decode(ending.result) if codec is not None else msgspec.msgpack.decode(ending.result)
        if ending.status == "failed":
            failure = ending.failure
            assert failure is not None
            error = RunFailed(f"run {run} failed: {failure.type}: {failure.message}", failure=failure)
            raise error from self.errors.revive(failure, otherwise=ToolFailed)
        if ending.status == "cancelled":
            raise RunCancelled(f"run {run} was cancelled{': ' + ending.reason if ending.reason else ''}.")
        if ending.status == "parked":
            raise RunParked(f"run {run} is parked: {ending.reason}.", next_step=f"`playhead resume {run}`")
        raise Diverged(f"run {run}: {ending.reason}")

    def _persona_known(self, run: str) -> Persona[..., Any] | None:
        watch = self._watches.get(run)
        return watch.persona if watch is not None else None

    # ------------------------------------------------------- runners and sleep

    def _watch(self, run: str, persona: Persona[..., Any] | None, parent: str | None) -> Watch:
        watch = self._watches.get(run)
        if watch is None or watch.ended.done():
            watch = Watch(asyncio.get_running_loop().create_future(), parent, persona)
            self._watches[run] = watch
        return watch

    def call_at(self, due: int, callback: Callable[[], None]) -> Any:
        """Call back at `due`, by the engine's clock."""
        schedule = getattr(self.clock, "call_at", None)
        if schedule is not None:
            return schedule(due, callback)
        delay = max(0.0, (due - self.clock.now()) / 1e9)
        return asyncio.get_running_loop().call_later(min(delay, 86_400.0), callback)

    def ended(self, runner: Runner) -> None:
        """A runner is done here: finished, asleep, released or lost."""
        run = runner.run
        if self._runners.get(run) is runner:
            del self._runners[run]
        watch = self._watches.get(run)
        match runner.end:
            case "suspended":
                self._sleep(run, runner.wake_at, runner.messages)
            case "lost" | "released":
                if runner.error is not None:
                    log.warning("run.lost", run=run, error=str(runner.error))
                if watch is not None and not watch.ended.done():
                    del self._watches[run]
                    self._relay(run, watch)
            case _:
                ending = _ending_of(runner)
                if watch is not None and not watch.ended.done():
                    watch.ended.set_result(ending)
                if watch is not None and watch.parent is not None and not self._closing:
                    self._spawn(self._look(watch.parent))

    def _relay(self, run: str, watch: Watch) -> None:
        """The run goes on elsewhere, or later: whoever waits here learns its end from the log."""
        if self._closing:
            watch.ended.cancel()
            return

        async def relay() -> None:
            ending = await self.ending(run)
            if not watch.ended.done():
                watch.ended.set_result(ending)

        self._spawn(relay())

    def _sleep(self, run: str, wake_at: int | None, messages: int) -> None:
        sleeper = Sleeper(wake_at, messages)
        self._sleepers[run] = sleeper
        if wake_at is not None:
            sleeper.timer = self.call_at(wake_at, lambda: self._ring(run, wake_at))

    def _ring(self, run: str, wake_at: int) -> None:
        sleeper = self._sleepers.get(run)
        if sleeper is None:
            return
        if self.clock.now() < wake_at:
            sleeper.timer = self.call_at(wake_at, lambda: self._ring(run, wake_at))
        else:
            self._rouse(run)

    def _rouse(self, run: str) -> None:
        if self._forget_sleeper(run) and not self._closing:
            self._spawn(self._rouse_now(run))

    async def _rouse_now(self, run: str) -> None:
        try:
            await self.resume(run)
        except (Held, Conflict):
            watch = self._watches.pop(run, None)
            if watch is not None and not watch.ended.done():
                self._relay(run, watch)
        except PlayheadError as error:
            log.warning("run.not_resumed", run=run, code=error.code, error=error.message)
            watch = self._watches.pop(run, None)
            if watch is not None and not watch.ended.done():
                watch.ended.set_exception(error)

    def _forget_sleeper(self, run: str) -> bool:
        sleeper = self._sleepers.pop(run, None)
        if sleeper is not None and sleeper.timer is not None:
            sleeper.timer.cancel()
        return sleeper is not None

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _keep(self) -> None:
        """Look after mail that other processes send to runs of ours."""
        pause = MAIL_S_MIN
        while True:
            runs = [*self._runners, *self._sleepers]
            await asyncio.sleep(max(pause, MAIL_S_PER_RUN * len(runs)))
            pause = min(pause * 2, MAIL_S_MAX)
            for run in runs:
                mailbox = await self.store.head(f"mailbox/{run}")
                runner, sleeper = self._runners.get(run), self._sleepers.get(run)
                known = runner.messages if runner else sleeper.messages if sleeper else mailbox.seq
                if mailbox.seq > known:
                    pause = MAIL_S_MIN
                    await self._look(run)

    async def _close(self) -> None:
        self._closing = True
        for run in list(self._sleepers):
            self._forget_sleeper(run)
        for task in list(self._background):
            task.cancel()
        for runner in list(self._runners.values()):
            runner.release("the engine was closed")
        await self.store.drained()
        for watch in self._watches.values():
            if not watch.ended.done():
                watch.ended.cancel()
        self.threads.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def _borrowed(store: LogStore) -> AsyncIterator[LogStore]:
    """A store that somebody else closes."""
    yield store


def _redaction_key(store: object, clock: Clock) -> bytes:
    """The key of this log's redactions: in a file beside it that only its owner can read."""
    if not isinstance(store, (str, os.PathLike)):
        return clock.entropy(KEY_BYTES)
    path = Path(f"{os.fspath(store)}-redaction-key")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise BadValue(
                f"{path.name} holds {len(key)} bytes instead of a key.", expected=KEY_BYTES, found=len(key)
            ) from None
        return key
    key = clock.entropy(KEY_BYTES)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


@functools.cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _id_of_key(key: str) -> str:
    return encode_id(sha256(f"playhead.key/1:{key}".encode()).digest())


def _sentence(run: str, divergence: Divergence) -> str:
    at = f" at event {divergence.seq}" if divergence.seq is not None else ""
    return f"run {run} no longer fits its tape{at} ({divergence.kind})."


def _ending_of(runner: Runner) -> Ending:
    match runner.machine.finished:
        case RunCompleted(result=result):
            return Ending("completed", result=result)
        case RunFailedFact(failure=failure):
            return Ending("failed", failure=failure)
        case RunCancelledFact(reason=reason):
            return Ending("cancelled", reason=reason)
        case other:
            raise AssertionError(f"run {runner.run} ended with {other!r}")
