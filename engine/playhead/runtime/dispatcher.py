"""Personas on duty: set off by triggers and by the clock, one run at a time, all of it on the log.

    desk = Dispatcher(engine, [Binding(triage, schedules=[Schedule("0 7 * * *")])])
    await desk.trigger("triage", Trigger("github", {"issue": 7}, source_event_id="e-1"))
    receipts = await desk.tick("triage")

Everything is decided over the stream of the persona and appended where it was read to,
so any number of processes may tick, tell and trigger at once: one of them is in time,
and the others read again. The run for a work key has an id that follows from it, so a
crash between two events starts nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import Raw

from playhead.errors import Conflict, NotFound, ProgramError
from playhead.events import duty as facts
from playhead.events.erasing import ERASURES_MAX, erasures_in, restored
from playhead.events.fact import Fact, WorldFact
from playhead.events.rules import HookDecided, HookFailed, HookFired
from playhead.events.words import NOTHING
from playhead.log.envelope import Event as Logged
from playhead.log.evidence import ERASED_TYPE
from playhead.policy.duty import (
    Bind,
    Duty,
    DutyBudget,
    Expire,
    Fire,
    NextStep,
    PutAside,
    Queued,
    Refuse,
    Start,
    TakeUp,
    Working,
)
from playhead.runtime.attempt import is_for_us
from playhead.runtime.binding import Binding, Receipt, Trigger, check_words
from playhead.runtime.engine import Engine
from playhead.runtime.failures import record_failure
from playhead.runtime.hook import Event, Moment, tell
from playhead.runtime.operation import raw_value
from playhead.runtime.work import id_of_work, see_through

READ_EVENTS = 1_000
_under_way: set[tuple[str, str]] = set()
"""The work of this process, as worker and run: what its workers hold and is not here was dropped."""


@dataclass(slots=True)
class _Known:
    """What was read of a stream so far."""

    duty: Duty
    seq: int = 0


class Dispatcher:
    """Looks after personas on duty, with an engine that runs them.

    Raises `ProgramError` where one persona has two bindings.
    """

    def __init__(self, engine: Engine, bindings: Sequence[Binding]) -> None:
        self._engine = engine
        self._bindings: dict[str, Binding] = {}
        self._known: dict[str, _Known] = {}
        for binding in bindings:
            if self._bindings.setdefault(binding.name, binding) is not binding:
                raise ProgramError(
                    f"{binding.name} has two bindings.", next_step="Put all its schedules into one."
                )
            engine.personas.add(binding.persona)
            for schedule in binding.schedules:  # once more, now that it is known what is redacted
                self._arguments(binding, schedule.args)

    # -------------------------------------------------------------- reading

    async def duty(self, name: str) -> Duty:
        """How a persona stands, by its stream. Raises `NotFound` for one that nobody ever put on duty."""
        stands = (await self._read(name))[0]
        fields = {field: copy(getattr(stands, field)) for field in stands.__struct_fields__}
        return Duty(**fields)  # a copy: it stays as it is while the persona goes on

    def binding(self, name: str) -> Binding:
        """The binding of a persona. Raises `NotFound`."""
        found = self._bindings.get(name)
        if found is None:
            raise NotFound(
                f"no persona called {name!r} is on duty here.",
                expected=", ".join(sorted(self._bindings)) or "a binding",
                found=name,
            )
        return found

    async def _read(self, name: str) -> tuple[Duty, int]:
        """The fold of a stream, and the seq that comes next. Reads what is new since last time."""
        known = self._known.setdefault(name, _Known(Duty(persona=name)))
        store, catalog = self._engine.store, self._engine.catalog
        while events := await store.read(_stream(name), (seq := known.seq), READ_EVENTS):
            if known.seq != seq:  # somebody else here was reading, too
                continue
            if any(event.payload is None for event in events):
                events = await self._mended(name, events)
            if known.seq != seq:
                continue
            for event in events:
                known.duty.apply(event.at, catalog.decode(event))
                known.seq = event.seq + 1
        if not known.seq:
            self.binding(name)
        return known.duty, known.seq

    async def _mended(self, name: str, events: list[Logged]) -> list[Logged]:
        """With what was kept of payloads that were erased: what was done once is not done again."""
        said = await self._engine.store.read(_stream(name), 0, ERASURES_MAX, types=[ERASED_TYPE])
        return restored(events, erasures_in(said, self._engine.catalog), self._engine.catalog)

    async def _append(self, name: str, seq: int, *new: Fact) -> bool:
        """Append where it was read to. False where somebody was quicker."""
        at = self._engine.clock.now()
        events = [self._engine.catalog.new_event(fact, at=at) for fact in new]
        try:
            await self._engine.store.append(_stream(name), seq, events)
        except Conflict:
            return False
        return True

    async def _say(self, name: str, fact: Fact) -> None:
        while not await self._append(name, (await self._read(name))[1], fact):
            pass

    async def _tell_hooks(self, name: str, event: Event, **details: Any) -> None:
        """Tell whoever wants to know, and write down that they were told. What they raise stops nothing."""
        for hook in self._engine.hooks.matching(event, name):
            moment = Moment(event=event, target=name, persona=name, details=details)
            shown = self._recordable({"args": {}, "details": details, "output": None}, f"hook {hook.name}")
            fired = HookFired(hook=hook.name, event=event, target=name, persona=name, shown=shown)
            await self._say(name, fired)
            said: WorldFact = HookDecided(decision="allow", value=Raw(NOTHING))
            try:
                await tell(hook, moment, self._engine.threads)
            except BaseException as error:
                if is_for_us(error):
                    raise
                # Whatever a hook raises is recorded: what it is told of is done already.
                said = HookFailed(failure=record_failure(error))
            await self._say(name, said)

    def _recordable(self, value: Any, what: str) -> Raw:
        """`value` as it may stand in the log. Raises `BadValue`."""
        return self._engine.redacted(raw_value(value, what))

    def _arguments(self, binding: Binding, args: dict[str, Any]) -> Raw:
        """All arguments of a persona as they may stand in the log. Raises `TypeError` and `BadValue`."""
        signature = binding.persona.signature
        return signature.recordable(signature.bind_named(args), self._engine.redacted)

    # -------------------------------------------------------------- telling

    async def pause(self, name: str, reason: str = "", *, sender: str = "") -> None:
        """Let triggers wait; a run that is under way goes on. Durable on return.

        Raises `NotFound`, `BadValue` for a reason or sender that is no text, like all that follow, and
        `ProgramError` for a persona that is disabled or draining, which takes nothing that could wait.
        """
        _check(reason, sender)
        while True:
            duty, seq = await self._read(name)
            if duty.control in ("disabled", "draining"):
                raise ProgramError(
                    f"{name} is {duty.control}, and takes nothing that could wait.",
                    next_step="Resume it first.",
                )
            if await self._append(name, seq, facts.PersonaPaused(reason=reason, sender=sender)):
                break
        await self._tell_hooks(name, "OnPersonaPaused", reason=reason, sender=sender)

    async def resume(self, name: str, *, sender: str = "") -> None:
        """Run again, what waited first, each once. Durable on return. Raises `NotFound`."""
        _check(sender)
        await self._say(name, facts.PersonaResumed(sender=sender))
        await self._tell_hooks(name, "OnPersonaResumed", sender=sender)

    async def drain(self, name: str, reason: str = "", *, sender: str = "") -> None:
        """Work off what waits and take nothing more. Durable on return. Raises `NotFound`."""
        _check(reason, sender)
        await self._say(name, facts.PersonaDrained(reason=reason, sender=sender))

    async def disable(self, name: str, reason: str = "", *, sender: str = "") -> None:
        """Put aside what waits and what comes. Durable on return. Raises `NotFound`.

        A crash in the middle leaves it disabled; the next tick puts aside what is left.
        """
        _check(reason, sender)
        await self._say(name, facts.PersonaDisabled(reason=reason, sender=sender))
        while True:
            duty, seq = await self._read(name)
            step = duty.next_step((), DutyBudget(), self._engine.clock.now(), gone=False)
            if not isinstance(step, PutAside):
                return
            await self._put_aside(name, seq, step.triggers)

    async def _put_aside(self, name: str, seq: int, triggers: Sequence[Queued]) -> bool:
        aside = [
            facts.TriggerDeadLettered(
                work_key=waiting.work_key, reason="disabled", args=waiting.args, provider=waiting.provider
            )
            for waiting in triggers
        ]
        return await self._append(name, seq, *aside)

    async def trigger(self, name: str, trigger: Trigger) -> str:
        """Set a persona off. Returns `queued`, `duplicate` or `dead_lettered`; durable on return.

        Raises `NotFound`, `BadValue` and `TypeError` for arguments that the persona cannot take, and
        `ProgramError` for a trigger without a work key.
        """
        key, args = trigger.key, self._arguments(self.binding(name), trigger.args)
        about = msgspec.msgpack.decode(self._recordable(trigger.metadata, f"metadata of a trigger of {name}"))
        trigger = replace(trigger, metadata=about)
        while True:
            duty, seq = await self._read(name)
            answer, fact = _received(duty, trigger, key, args)
            if await self._append(name, seq, fact):
                return answer

    # -------------------------------------------------------------- ticking

    async def tick(
        self, name: str, *, runs_max: int = 1_000, into: list[Receipt] | None = None
    ) -> list[Receipt]:
        """Do what is due, until nothing is or `runs_max` runs have ended. Returns what was done, in order.

        With `into`, receipts are put there as they come, for whoever stops waiting before the end. A run
        that cannot be started, or that its program does not fit any more, has failed. A crash in the
        middle leaves the lease to the next who ticks, who takes up the same run. Raises `HookMissing`
        where the engine lacks hooks of a run, and what the store raises.
        """
        binding = self.binding(name)
        done = [] if into is None else into
        before = len(done)
        while sum(receipt.run != "" for receipt in done[before:]) < runs_max:
            duty, seq = await self._read(name)
            now = self._engine.clock.now()
            gone = await self._gone(duty.work)
            step = duty.next_step(binding.schedules, binding.budget, now, gone=gone)
            if step is None:
                return done
            receipt = await self._do(binding, duty, seq, step, now)
            if receipt is not None:
                done.append(receipt)
        return done

    async def _gone(self, work: Working | None) -> bool:
        """Whether whoever works on it is known to be dead, or is us, who do not."""
        if work is None or work.worker is None:
            return False
        if work.worker == self._engine.store.worker:
            return (work.worker, work.run) not in _under_way
        return not await self._engine.store.alive(work.worker)

    async def _do(self, binding: Binding, duty: Duty, seq: int, step: NextStep, now: int) -> Receipt | None:
        """One step. None where somebody else was quicker."""
        name, worker = binding.name, self._engine.store.worker
        match step:
            case PutAside(triggers=triggers):
                await self._put_aside(name, seq, triggers)
            case Bind(schedules=schedules):
                await self._append(name, seq, facts.SchedulesBound(schedules=schedules))
            case Fire(schedule=schedule, due=due):
                key = f"schedule:{schedule.name}:{due}"
                fired = facts.ScheduleFired(schedule=schedule.name, due=due, work_key=key)
                trigger = Trigger("schedule", schedule.args, work_key=key)
                args = self._arguments(binding, schedule.args)
                answer, received = _received(duty, trigger, key, args)
                if await self._append(name, seq, fired, received):
                    queued = len((await self._read(name))[0].waiting)
                    return Receipt("fired" if answer == "queued" else answer, name, key, queued=queued)
            case Expire(work=work):
                expired = facts.WorkExpired(work_key=work.work_key, worker=work.worker or "")
                if await self._append(name, seq, expired):
                    return Receipt("expired", name, work.work_key, queued=len(duty.waiting))
            case Refuse(trigger=waiting, limit=limit, limit_value=value, spent=spent):
                refused = facts.WorkRefused(
                    work_key=waiting.work_key, limit=limit, limit_value=value, spent=spent
                )
                if await self._append(name, seq, refused):
                    return Receipt(
                        "refused", name, waiting.work_key, queued=len(duty.waiting), error=f"{limit} is spent"
                    )
            case Start(trigger=waiting):
                run = id_of_work(name, waiting.work_key)
                work = Working(
                    work_key=waiting.work_key,
                    run=run,
                    worker=worker,
                    args=waiting.args,
                    max_tokens=step.max_tokens,
                    max_micros=step.max_micros,
                )
                return await self._take(binding, seq, work)
            case TakeUp(work=work):
                return await self._take(binding, seq, work)
        return None

    async def _take(self, binding: Binding, seq: int, work: Working) -> Receipt | None:
        """Take the work on, and see it through. None where somebody else was quicker."""
        started = facts.WorkStarted(
            work_key=work.work_key,
            run=work.run,
            worker=self._engine.store.worker,
            args=work.args,
            max_tokens=work.max_tokens,
            max_micros=work.max_micros,
        )
        await self._engine.store.enlist()  # who takes work is seen to live before it is said who has it
        return await self._run(binding, started) if await self._append(binding.name, seq, started) else None

    async def _run(self, binding: Binding, work: facts.WorkStarted) -> Receipt:
        """Start or take up the run of some work, wait for its end, and write that down."""
        mine = (work.worker, work.run)
        _under_way.add(mine)
        try:
            ended = await see_through(self._engine, binding.persona, work)
            await self._write_end(binding.name, work, ended)
        finally:
            _under_way.discard(mine)
        queued = len((await self._read(binding.name))[0].waiting)
        failed = isinstance(ended, facts.WorkFailed)
        error = ended.failure.message if isinstance(ended, facts.WorkFailed) else ""
        status = "failed" if failed else "completed"
        return Receipt(status, binding.name, work.work_key, work.run, queued=queued, error=error)

    async def _write_end(self, name: str, work: facts.WorkStarted, ended: WorldFact) -> None:
        """Say how it ended, unless somebody took the work up meanwhile and says so."""
        while True:
            duty, seq = await self._read(name)
            ours = duty.work is not None and (duty.work.run, duty.work.worker) == (work.run, work.worker)
            if not ours or await self._append(name, seq, ended):
                return


def _check(*texts: object) -> None:
    for what, text in zip(("reason or sender", "sender"), texts, strict=False):
        check_words(what, text)


def _stream(name: str) -> str:
    return f"persona/{name}"


def _received(duty: Duty, trigger: Trigger, key: str, args: Raw) -> tuple[str, WorldFact]:
    """What becomes of a trigger, as things stand."""
    if duty.seen.get(key, "dead") != "dead":
        return "duplicate", facts.TriggerDuplicated(
            work_key=key, provider=trigger.provider, source_event_id=trigger.source_event_id
        )
    if duty.control in ("disabled", "draining"):
        return "dead_lettered", facts.TriggerDeadLettered(
            work_key=key, reason=duty.control, args=args, provider=trigger.provider
        )
    return "queued", facts.TriggerReceived(
        work_key=key,
        provider=trigger.provider,
        args=args,
        kind=trigger.kind,
        subject_key=trigger.subject_key,
        source_event_id=trigger.source_event_id,
        metadata=trigger.metadata or None,
    )
