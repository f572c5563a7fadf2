"""The engine: starts, resumes and recovers runs on one log.

    async with Engine.open("runs.db", personas=[audit]) as engine:
        run = await engine.start(audit, urls, key="nightly")
        receipt = await run.result()

Any number of engines may share a log, in one process or many. A run has one owner
at a time; what others say to it goes through its mailbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from msgspec import Raw

from playhead.clock import Clock, SystemClock, new_id
from playhead.errors import (
    Conflict,
    Diverged,
    Fenced,
    Held,
    KeyReuse,
    NotFound,
    PersonaMissing,
    PlayheadError,
    Runaway,
)
from playhead.events.catalog import ChildEnded, RunStarted
from playhead.events.codec import CATALOG, Catalog
from playhead.events.erasing import MARK
from playhead.events.redaction import Redaction
from playhead.log.envelope import Told
from playhead.log.store import LogStore
from playhead.logger import log
from playhead.policy.budget import Budget
from playhead.runtime import guard, recovery
from playhead.runtime.attempt import ENGINE
from playhead.runtime.building import build
from playhead.runtime.claims import check_free, claim, claimed, give_back
from playhead.runtime.difference import Divergence
from playhead.runtime.endings import Ending, Watch, abandon, ending_of, read_ending, standing_of, unpack
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.holders import held_by_another, hold, let_go
from playhead.runtime.hook import Hook, HookRegistry
from playhead.runtime.keeper import keep
from playhead.runtime.machine import Machine
from playhead.runtime.messages import Messages, keys_of
from playhead.runtime.persona import Persona, Personas
from playhead.runtime.redacting import Redacting, first_of
from playhead.runtime.relaxed import RelaxedMachine
from playhead.runtime.run import Run
from playhead.runtime.runner import Runner
from playhead.runtime.scope import CURRENT
from playhead.runtime.secrets import key_of
from playhead.runtime.sleepers import Sleepers
from playhead.runtime.standings import Standings
from playhead.runtime.starting import SEED_BYTES, Parent, check_text, id_of_key, run_started, tags_of
from playhead.runtime.tape import Notes, Tape
from playhead.runtime.trusting import Trusting
from playhead.sign import Keys, usable

if TYPE_CHECKING:
    from playhead.composition.machines import Workers

T = TypeVar("T")

POLL_S_MIN = 0.02
POLL_S_MAX = 0.5
READ_EVENTS = 2_000


def _loop_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Engine(Messages, Trusting, Redacting):
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
        hooks: Sequence[Hook] = (),
        reviewer_keys: Keys | None = None,
        threads_max: int = 16,
        catalog: Catalog = CATALOG,
    ) -> None:
        self.store = store
        self.personas = Personas(personas)
        self.model = model
        self.hooks = HookRegistry(hooks)
        self.reviewer_keys = reviewer_keys
        self.clock = clock or store.clock
        self.catalog = catalog
        self.standings = Standings(store, catalog, reviewer_keys)
        self.errors = ErrorTypes(errors)
        self.redaction = redaction
        self.suspend_after_s = suspend_after_s
        self.deaths_max = deaths_max
        self.threads = ThreadPoolExecutor(threads_max, thread_name_prefix="playhead-tool")
        self.tools_context = contextvars.copy_context()
        self.tools_context.run(CURRENT.set, None)
        self.tools_context.run(ENGINE.set, self)
        self._home = _loop_here()
        self.runners: dict[str, Runner] = {}
        self.sleepers = Sleepers(call_at=self.call_at, now=self.clock.now, rouse=self._rouse)
        self._watches: dict[str, Watch] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._taking: dict[str, asyncio.Task[None]] = {}
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
        hooks: Sequence[Hook] = (),
        reviewer_keys: str | os.PathLike[str] | Mapping[str, Collection[str]] | None = None,
    ) -> AsyncGenerator[Self]:
        """An engine on the log at `store`, which is made when it does not exist.

        `model` answers `model_call(request)`. `errors` are types that are raised again as themselves on
        replay. `secrets` are names, or shell patterns, of arguments and fields that are redacted before
        anything is recorded. A run that only waits leaves memory after `suspend_after_s`. A run that died
        `deaths_max` times without a new outcome is parked. `hooks` are asked in every run started here.
        With `reviewer_keys`, a keyring or the file of one, such runs count only answers that are signed; this
        needs `playhead[sign]`, and raises `BadValue` for what is no keyring.

        Leaving the block releases unfinished runs: their events stay, and `recover()` takes them up
        again. Raises what opening a store raises: `NotAStore`, `NewerFormat`, `ReadOnly`,
        `UnsafeFilesystem`.
        """
        keys = keys_of(reviewer_keys)
        if isinstance(store, (str, os.PathLike)):
            from playhead.log.sqlite_store import SqliteStore  # noqa: PLC0415  readers of the log do not need it

            opened: Any = SqliteStore.open(Path(store), clock=clock or SystemClock())
        else:
            opened = contextlib.nullcontext(store)
        async with opened as log_store:
            # Tools may declare secrets of their own, so there is always one; its key is made when needed.
            redaction = Redaction(secrets, functools.partial(key_of, log_store))
            engine = cls(
                log_store,
                personas=personas,
                model=model,
                clock=clock,
                errors=errors,
                redaction=redaction,
                suspend_after_s=suspend_after_s,
                deaths_max=deaths_max,
                hooks=hooks,
                reviewer_keys=keys,
            )
            keeper = asyncio.create_task(keep(engine), name="playhead keeper")
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
        tags: Iterable[str] = (),
        **kwargs: Any,
    ) -> Run:
        """Start a run of `persona` and return once its start is durable.

        With `key`, the same start gives the same run, however often it is asked for and wherever the
        first one got to: finished, running, or interrupted and now resumed. `name` and `tags` are for people.
        Raises `KeyReuse` when the key was used with another persona or other arguments, `BadValue` for
        arguments that cannot be recorded, `TypeError` for ones that do not fit.
        """
        arguments = persona.signature.bind(args, kwargs)
        return await self.start_with(persona, arguments, key=key, name=name, tags=tags)

    async def start_with(
        self,
        persona: Persona[..., Any],
        arguments: Mapping[str, Any],
        *,
        key: str | None = None,
        name: str | None = None,
        tags: Iterable[str] = (),
        run: str | None = None,
        parent: Parent | None = None,
        budget: Budget | None = None,
    ) -> Run:
        """Like `start`, with arguments by name. `run` and `parent` are for child runs, `budget` is for all.

        Cancelling the caller does not undo the start: a run that is in the log also runs.
        """
        guard.refuse("engine.start()")
        for what, text in (("name", name), ("key", key)):
            check_text(what, text)
        self.personas.add(persona)
        _ = persona.signature.result  # a result that no log could hold is refused before anything happens
        raw = persona.signature.recordable(dict(arguments), self.redacted)
        if run is None:
            run = new_id(self.clock) if key is None else id_of_key(key)
        started = run_started(
            persona,
            raw,
            seed=self.clock.entropy(SEED_BYTES),
            name=name,
            tags=tags_of(tags),
            key=key,
            parent=parent,
            hooks=self.hooks.words,
            budget=budget,
            model=getattr(self.model, "name", None),
            trusted=await self.standings.in_use(),
            reviewer_keys=self.reviewer_keys,
        )
        starting = self._spawn(self._begin(run, persona, started))
        return await asyncio.shield(starting)

    async def _begin(self, run: str, persona: Persona[..., Any], started: RunStarted) -> Run:
        at = self.clock.now()
        events = [self.catalog.new_event(fact, at=at) for fact in (started, claimed(self.store))]
        stream, ours = f"run/{run}", False
        try:
            ours = hold(self.store, run, self)
            appended = await self.store.append(stream, 0, events, claim=self.store.worker, status="running")
        except (Conflict, Held):
            if ours:
                let_go(self.store, run, self)
            while not (await self.store.head(stream)).seq:  # another engine is about to begin it
                if not held_by_another(self.store, run, self):
                    return await self._begin(run, persona, started)
                await asyncio.sleep(POLL_S_MIN)
            return await self._started_before(run, started)
        except BaseException:
            if ours:
                let_go(self.store, run, self)
            raise
        notes = Notes(next_seq=len(events))
        machine = self._machine(run, persona, started, at, frozenset())
        watch = self.watch(run, persona, started.parent)
        self._go(run, machine, appended.epoch, notes)
        return Run(self, run, watch)

    async def _started_before(self, run: str, wanted: RunStarted) -> Run:
        """The same key again: the same run, taken up where it was."""
        found = self.catalog.decode(await first_of(self.store, self.catalog, f"run/{run}"))
        assert isinstance(found, RunStarted)
        if found.persona != wanted.persona or found.args_digest not in (wanted.args_digest, MARK):
            raise KeyReuse(
                f"the key {wanted.key!r} belongs to run {run} of {found.persona}, with other arguments.",
                expected=f"{wanted.persona} with arguments {wanted.args_digest[:12]}",
                found=f"{found.persona} with arguments {found.args_digest[:12]}",
                next_step="Use another key for another start.",
            )
        with contextlib.suppress(Held):
            return await recovery.take_on(self, run)
        return self.handle(run)

    def handle(self, run: str) -> Run:
        """A handle on `run`, whether it exists or not."""
        return Run(self, run, self._watches.get(run))

    def _machine(
        self, run: str, persona: Persona[..., Any], started: RunStarted, at: int, patches: frozenset[str]
    ) -> Machine:
        kind = Machine if started.mode == "strict" else RelaxedMachine
        return build(kind, run, persona, started, at, patches=patches, host=self)

    def redacted(self, raw: Raw) -> Raw:
        """`raw` without the secrets that `Engine.open` was told of."""
        return raw if self.redaction is None else self.redaction.apply(raw)

    def _go(self, run: str, machine: Machine, epoch: int, notes: Notes) -> Runner:
        runner = Runner(self, machine, epoch=epoch, notes=notes)
        self.runners[run] = runner
        runner.begin(notes)
        return runner

    # --------------------------------------------------------------- resuming

    async def resume(self, run: str) -> Run:
        """Take up an unfinished run: its program runs again from the top, answered by its tape.

        Returns when it is live. A finished run, or one that runs here already, is just returned.
        Raises `NotFound`, `PersonaMissing`, `HookMissing`, `Held` when a living worker owns it, `Diverged`
        when the program no longer fits its tape (nothing is executed then), `RunParked` when it died too
        often.
        """
        guard.refuse("engine.resume()")
        taking = self._taking.get(run)
        if taking is None:
            taking = self._taking[run] = self._spawn(self._take_up(run))
            taking.add_done_callback(lambda _: self._taking.pop(run, None))
        await asyncio.shield(taking)
        return self.handle(run)

    async def _take_up(self, run: str) -> None:
        if run in self.runners:
            return
        tape = Tape(run, await self._read(run), self.catalog)
        if tape.complete:
            return
        tape.check_whole()
        persona = self._persona_for(tape)
        self.hooks.require(tape.started.hooks, run)
        if tape.started.reviewer_keys:
            usable()
        notes = tape.notes()
        ours = hold(self.store, run, self)
        try:
            self.sleepers.forget(run)
            await self._take_from(tape, persona, notes)
        except Conflict:
            if ours:
                let_go(self.store, run, self)
            await check_free(self.store, run)
            await self._take_up(run)  # it grew while we read it, and its owner is gone
        except BaseException:
            if ours:
                let_go(self.store, run, self)
            raise

    async def _take_from(self, tape: Tape, persona: Persona[..., Any], notes: Notes) -> None:
        """Claim a run, play its tape, and go live. Raises `Conflict` where it grew since it was read."""
        run = tape.run
        taken = await claim(self.store, self.catalog, tape, notes, deaths_max=self.deaths_max)
        machine: Machine | None = None
        runaway: Runaway | None = None
        try:
            machine = self._machine(run, persona, tape.started, tape.started_at, tape.patches)
            if isinstance(machine, RelaxedMachine):
                await machine.play_tape(tape, live_at_end=True)
            else:
                tape.play(machine, live_at_end=True)
            if machine.divergence is not None:
                raise self._diverged(tape, persona, machine.divergence)
        except PlayheadError as error:
            if machine is None or not (isinstance(error, Runaway) and machine.live):
                if machine is not None:
                    machine.close()
                await give_back(self.store, self.catalog, run, taken, error)
                raise
            runaway = error
        notes.next_seq = taken.next_seq
        notes.deaths += notes.left == "crash"
        self.watch(run, persona, tape.started.parent)
        runner = self._go(run, machine, taken.epoch, notes)
        if runaway is not None:
            runner.fail(runaway)
        await runner.collect()

    def _persona_for(self, tape: Tape) -> Persona[..., Any]:
        persona = self.personas.get(tape.started.persona)
        if persona is None:
            raise PersonaMissing([tape.run], persona=tape.started.persona, known=self.personas.names)
        return persona

    def _diverged(self, tape: Tape, persona: Persona[..., Any], found: Divergence) -> Diverged:
        """The error for a divergence; the floor above says more."""
        return Diverged(
            f"run {tape.run} no longer fits its tape ({found.kind}), persona {persona.name}.",
            divergence=found,
        )

    async def recover(self, *, missing: Literal["raise", "skip"] = "raise") -> list[Run]:
        """Take up every interrupted run: those whose owner died or let go, and waiting ones that are due.

        Waiting runs that are not due yet are watched, and resumed when their time or a message comes.
        Runs of living workers are left alone. With `missing="raise"`, `PersonaMissing` is raised before
        anything is resumed; with "skip" such runs are left. A run that cannot be taken up is logged
        and left, and the others go on.
        """
        guard.refuse("engine.recover()")
        return await recovery.recover(self, missing=missing)

    @functools.cached_property
    def snippets(self) -> Workers:
        """Who runs the snippets of compositions. What that takes is loaded for the first of them."""
        from playhead.composition.machines import Workers  # noqa: PLC0415

        return Workers()

    @property
    def is_here(self) -> bool:
        """Whether the loop that asks is that of this engine: any, for one that was made outside of loops."""
        return self._home in (None, _loop_here())

    async def persona_of(self, run: str) -> str:
        """The name of the persona that `run` is of, `?` where its first event does not say."""
        first = self.catalog.decode(await first_of(self.store, self.catalog, f"run/{run}"))
        return first.persona if isinstance(first, RunStarted) else "?"

    async def notes_of(self, run: str) -> Notes:
        """What the tape of `run` says beside the program's own story."""
        return Tape(run, await self._read(run), self.catalog).notes()

    async def facts_of(self, run: str) -> list[tuple[str, Any]]:
        """Every event of `run` so far, as its operation and its fact. Raises `BadEvent`."""
        return [(event.op, self.catalog.decode(event)) for event in await self._read(run)]

    async def _read(self, run: str) -> list[Told]:
        events: list[Told] = []
        while True:
            batch = await self.store.tell(f"run/{run}", len(events), READ_EVENTS)
            events.extend(batch)
            if len(batch) < READ_EVENTS:
                return events

    async def _tell_parent(self, parent: str, child: str, status: str) -> None:
        """A child ended: its parent is woken here, or finds a message where it is."""
        if parent in self.runners:
            self.runners[parent].roused = True
        elif parent in self.sleepers:
            self.sleepers.rouse(parent)
        else:
            await self._post(parent, ChildEnded(run=child, status=status))

    async def look(self, run: str) -> None:
        """Let a run of ours take its mail."""
        runner = self.runners.get(run)
        if runner is not None:
            await runner.collect()
        elif run in self.sleepers:
            self.sleepers.rouse(run)

    # ---------------------------------------------------------------- answers

    async def status(self, run: str) -> str:
        """What the log says of `run` now. Raises `NotFound`."""
        guard.refuse("engine.status()")
        head = await self.store.head(f"run/{run}")
        if head.seq == 0:
            raise NotFound(f"there is no run {run}.", next_step="See `playhead runs`.")
        return head.status or await standing_of(self.store, self.catalog, run)

    async def result(self, run: str) -> Any:
        """What the program of `run` returned, once that is durable, whoever runs it.

        Raises `RunFailed` (with the recorded failure), `RunCancelled`, `RunParked`, `Diverged`, `NotFound`.
        """
        ending = await self.ending(run)
        persona = self.personas.get(await self.persona_of(run))
        return unpack(run, ending, persona, self.errors)

    async def ending(self, run: str) -> Ending:
        pause = POLL_S_MIN
        while True:
            watch = self._watches.get(run)
            if watch is not None:
                return await asyncio.shield(watch.ended)
            await self.status(run)
            found = await read_ending(self.store, self.catalog, run)
            if found is not None:
                return found
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_S_MAX)

    # ------------------------------------------------------- runners and sleep

    def watch(self, run: str, persona: Persona[..., Any] | None, parent: str | None) -> Watch:
        """Who waits for `run` in this engine is told by this."""
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

    @property
    def alone(self) -> bool:
        """Whether no other run is in memory, so that nobody else is about to append."""
        return len(self.runners) == 1

    def ended(self, runner: Runner) -> None:
        """A runner is done here: finished, asleep, released or lost."""
        run = runner.run
        if self.runners.get(run) is runner:
            del self.runners[run]
            let_go(self.store, run, self)
        watch = self._watches.get(run)
        match runner.end:
            case "suspended":
                self.sleepers.add(run, runner.wake_at, runner.messages)
                if runner.roused:
                    self.sleepers.rouse(run)
            case "lost" | "released":
                if runner.error is not None:
                    log.warning("run.lost", run=run, error=str(runner.error))
                if watch is not None and not watch.ended.done():
                    self._watches.pop(run, None)
                    if runner.error is None or isinstance(runner.error, (Fenced, Conflict)):
                        self._relay(run, watch)  # somebody else goes on with it
                    else:
                        watch.fail(runner.error)
            case _:
                ending = ending_of(runner.machine.finished)
                assert ending is not None
                self._watches.pop(run, None)
                if watch is not None and not watch.ended.done():
                    watch.ended.set_result(ending)
                if watch is not None and watch.parent is not None and not self._closing:
                    _ = self._spawn(self._tell_parent(watch.parent, run, ending.status))

    def _relay(self, run: str, watch: Watch) -> None:
        """The run goes on elsewhere, or later: whoever waits here learns its end from the log."""
        if self._closing:
            abandon(run, watch)
            return

        async def relay() -> None:
            try:
                ending = await self.ending(run)
            except PlayheadError as error:
                watch.fail(error)
                return
            if not watch.ended.done():
                watch.ended.set_result(ending)

        _ = self._spawn(relay())

    def _rouse(self, run: str) -> None:
        if not self._closing:
            _ = self._spawn(self._rouse_now(run))

    async def _rouse_now(self, run: str) -> None:
        watch = self._watches.get(run)
        try:
            await self.resume(run)
        except (Held, Conflict):
            if watch is not None and not watch.ended.done():
                self._relay(run, watch)
        except PlayheadError as error:
            log.warning("run.not_resumed", run=run, code=error.code, error=error.message)
            if watch is not None:
                self._watches.pop(run, None)
                watch.fail(error)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _close(self) -> None:
        self._closing = True
        self.sleepers.clear()
        for task in list(self._background):
            task.cancel()
        for runner in list(self.runners.values()):
            runner.release("the engine was closed")
        await self.store.drained()
        for run, watch in self._watches.items():
            abandon(run, watch)
        if "snippets" in vars(self):
            self.snippets.close()
        self.threads.shutdown(wait=False, cancel_futures=True)
