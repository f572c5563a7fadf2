"""What a persona on duty does next: a fold of its stream, and decisions over it. Asks no clock.

    duty = Duty(persona="triage")
    for event, fact in ...: duty.apply(event.at, fact)
    duty.next_step(binding, now)            # Start(...), Refuse(...), Expire(...), ... or None

Each work key is run once. One run at a time; what comes meanwhile waits in the order of
arrival, also while the persona is paused, and is put aside once it is disabled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import Raw

from playhead.errors import BadEvent
from playhead.events import duty as facts
from playhead.events.fact import Fact
from playhead.policy.budget import Budget
from playhead.policy.span import DAY_NS, HOUR_NS

ASIDE_MAX: Final = 10_000
"""How many triggers are put aside at once."""

State = Literal["inactive", "idle", "running", "paused", "draining", "disabled", "failed"]
Limit = Literal["run_usd", "daily_usd", "hourly_usd", "max_tokens"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a persona is set off by the clock: a cron expression in UTC, and the arguments of its run.

    `name` is what a persona tells its schedules apart by, the expression itself where it is empty. Raises
    `ValueError` for an expression that cannot be read.
    """

    cron: str
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.args, dict) or not _is_text(self.cron) or not _is_text(self.name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"a schedule is a cron expression, arguments by name and a name, not {self!r}")
        object.__setattr__(self, "name", self.name or self.cron)
        try:
            CronSim(self.cron, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(f"the schedule {self.cron!r} cannot be read: {error}") from error

    def next_after(self, at: int) -> int:
        """The first time after `at`, nanoseconds UTC."""
        return _nanoseconds(next(CronSim(self.cron, _whole_second(at))))

    def newest_due(self, after: int, now: int) -> int | None:
        """The newest time after `after` that is not after `now`; None where there is none."""
        before = _whole_second(now) + timedelta(seconds=1)
        found = _nanoseconds(next(CronSim(self.cron, before, reverse=True)))
        return found if found > after else None


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value.encode()) >= 0
    except UnicodeEncodeError:
        return False


def _whole_second(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1_000_000_000, UTC)


def _nanoseconds(when: datetime) -> int:
    return round(when.timestamp()) * 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyBudget:
    """What a persona on duty may spend. None is no limit.

    `run_usd` and `max_tokens` are for one run; an hour and a day are those of the clock, in UTC. Raises
    `ValueError` like `Budget`.
    """

    run_usd: Any = None
    daily_usd: Any = None
    hourly_usd: Any = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("run_usd", "daily_usd", "hourly_usd"):
            Budget(max_usd=getattr(self, name))
        Budget(max_tokens=self.max_tokens)

    def micros(self, name: Literal["run_usd", "daily_usd", "hourly_usd"]) -> int | None:
        """A limit of money in millionths."""
        return Budget(max_usd=getattr(self, name)).max_micros


class Queued(msgspec.Struct, kw_only=True):
    """A trigger that waits."""

    work_key: str
    args: Raw
    at: int
    provider: str


class Working(msgspec.Struct, kw_only=True):
    """The run that a persona is on. `worker` None: nobody works on it now."""

    work_key: str
    run: str
    worker: str | None
    args: Raw
    max_tokens: int | None = None
    max_micros: int | None = None


class Spent(msgspec.Struct, kw_only=True):
    """What one run took."""

    at: int
    tokens: int
    cost_micros: int


class Start(msgspec.Struct, frozen=True):
    """Start the run for this trigger; it may use so much."""

    trigger: Queued
    max_tokens: int | None
    max_micros: int | None


class TakeUp(msgspec.Struct, frozen=True):
    """Go on with a run that nobody works on any more."""

    work: Working


class Expire(msgspec.Struct, frozen=True):
    """Say that the worker is gone."""

    work: Working


class Refuse(msgspec.Struct, frozen=True):
    """Say that nothing is left to spend on this trigger."""

    trigger: Queued
    limit: Limit
    limit_value: int
    spent: int


class PutAside(msgspec.Struct, frozen=True):
    """Put aside what still waits for a persona that is disabled."""

    triggers: list[Queued]


class Bind(msgspec.Struct, frozen=True):
    """Say what the schedules are from now on."""

    schedules: dict[str, str]


class Fire(msgspec.Struct, frozen=True):
    """A schedule is due."""

    schedule: Schedule
    due: int


NextStep = Start | TakeUp | Expire | Refuse | PutAside | Bind | Fire


class Duty(msgspec.Struct, kw_only=True):
    """What a persona's stream says. Times are nanoseconds UTC."""

    persona: str
    control: Literal["active", "paused", "draining", "disabled"] = "active"
    reason: str = ""
    events: int = 0
    waiting: OrderedDict[str, Queued] = msgspec.field(default_factory=OrderedDict[str, Queued])
    """Triggers that wait, by work key, in the order of arrival."""
    seen: dict[str, str] = {}
    """Every work key that ever came, and what became of it."""
    work: Working | None = None
    spendings: list[Spent] = []
    """What each run took, on the day of the last one."""
    hour: dict[int, int] = {}
    day: dict[int, int] = {}
    """Money of the last two hours, and days, that anything was spent in, by their first nanosecond: a clock
    may go back over the end of one."""
    last_run: str | None = None
    last_ended: int | None = None
    last_error: str | None = None
    schedules: dict[str, str] = {}
    """Cron expressions by name."""
    due_after: dict[tuple[str, str], int] = {}
    """The time that a schedule last went off for, or since when it counts, by name and expression."""
    refused: tuple[Limit, int] | None = None
    """The limit for which the trigger at the head of the queue was refused last, and when."""
    duplicates: int = 0
    dead_letters: int = 0

    @property
    def state(self) -> State:
        """In one word."""
        if self.work is not None and self.work.worker is not None:
            return "running"
        if self.control != "active":
            return self.control
        if not self.events:
            return "inactive"
        return "failed" if self.last_error is not None else "idle"

    # --------------------------------------------------------------- folding

    def apply(self, at: int, fact: Fact | Any) -> None:
        """One event forward."""
        self.events += 1
        match fact:
            case facts.PersonaPaused(reason=reason):
                self._take_again(at)
                self.control, self.reason = "paused", reason
            case facts.PersonaResumed():
                self._take_again(at)
                self.control, self.reason = "active", ""
            case facts.PersonaDrained(reason=reason):
                self.control, self.reason = "draining", reason
            case facts.PersonaDisabled(reason=reason):
                self.control, self.reason, self.refused = "disabled", reason, None
            case facts.TriggerReceived(work_key=key, args=args, provider=provider):
                self.seen[key] = "queued"
                self.waiting[key] = Queued(work_key=key, args=args, at=at, provider=provider)
            case facts.TriggerDuplicated():
                self.duplicates += 1
            case facts.TriggerDeadLettered(work_key=key):
                self._put_aside(key)
            case facts.SchedulesBound(schedules=schedules):
                self.schedules = _readable(schedules)
                for schedule in schedules.items():
                    self.due_after.setdefault(schedule, at)
            case facts.ScheduleFired(schedule=schedule, due=due):
                self.due_after[schedule, self.schedules.get(schedule, schedule)] = due
            case facts.WorkRefused(limit=limit):
                self.refused = limit, at
            case _:
                self._work(at, fact)

    def _take_again(self, at: int) -> None:
        """What came due while nothing was taken is not made up for."""
        if self.control in ("disabled", "draining"):
            self.due_after = dict.fromkeys(self.due_after, at)

    def _put_aside(self, key: str) -> None:
        self.dead_letters += 1
        self.seen[key] = "dead"
        self.waiting.pop(key, None)

    def _work(self, at: int, fact: Fact | Any) -> None:
        match fact:
            case facts.WorkStarted(work_key=key):
                self.seen[key] = "running"
                self.waiting.pop(key, None)
                self.work = Working(
                    work_key=key,
                    run=fact.run,
                    worker=fact.worker,
                    args=fact.args,
                    max_tokens=fact.max_tokens,
                    max_micros=fact.max_micros,
                )
                self.refused = None
            case facts.WorkExpired() if self.work is not None:
                self.work.worker = None
            case facts.WorkCompleted() | facts.WorkFailed():
                failed = isinstance(fact, facts.WorkFailed)
                self.seen[fact.work_key] = "failed" if failed else "completed"
                self.work, self.last_run, self.last_ended = None, fact.run, at
                self.last_error = (
                    f"{fact.failure.type}: {fact.failure.message}"
                    if isinstance(fact, facts.WorkFailed)
                    else None
                )
                self._spend(at, Spent(at=at, tokens=fact.tokens, cost_micros=fact.cost_micros))
            case _:
                pass

    def _spend(self, at: int, spent: Spent) -> None:
        if self.spendings and self.spendings[-1].at // DAY_NS != at // DAY_NS:
            self.spendings = [each for each in self.spendings if each.at // DAY_NS == at // DAY_NS]
        self.spendings.append(spent)
        for span_ns, total in ((HOUR_NS, self.hour), (DAY_NS, self.day)):
            begun = at - at % span_ns
            total[begun] = total.get(begun, 0) + spent.cost_micros
            for old in [each for each in total if each < max(total) - span_ns]:
                del total[old]

    # -------------------------------------------------------------- deciding

    def spent(self, span_ns: int, now: int) -> int:
        """Money of the hour or day that `now` lies in, in millionths."""
        return (self.hour if span_ns == HOUR_NS else self.day).get(now - now % span_ns, 0)

    def held_back(self, now: int) -> Limit | None:
        """The limit for want of which the next trigger waits, as far as is known without its binding."""
        if self.refused is None or not self.waiting:
            return None
        limit, at = self.refused
        span_ns = {"hourly_usd": HOUR_NS, "daily_usd": DAY_NS}.get(limit)
        return limit if span_ns is None or at // span_ns == now // span_ns else None

    def next_step(
        self, schedules: Sequence[Schedule], budget: DutyBudget, now: int, *, gone: bool
    ) -> NextStep | None:
        """What is to be done now; None where nothing is. `gone`: the worker on duty is known to be dead."""
        work = self.work
        if work is not None and work.worker is not None:
            return Expire(work) if gone else None
        bound = {schedule.name: schedule.cron for schedule in schedules}
        if bound != self.schedules:
            return Bind(bound)
        if self.control in ("active", "paused"):
            for schedule in schedules:
                due = schedule.newest_due(self.due_after[schedule.name, schedule.cron], now)
                if due is not None:
                    return Fire(schedule, due)
        if self.control == "disabled" and self.waiting:
            return PutAside([*islice(self.waiting.values(), ASIDE_MAX)])
        if self.control in ("paused", "disabled"):
            return None
        if work is not None:
            return TakeUp(work)
        return self._begin(budget, now) if self.waiting else None

    def _begin(self, budget: DutyBudget, now: int) -> NextStep | None:
        trigger = next(iter(self.waiting.values()))
        per_run, tokens = budget.micros("run_usd"), budget.max_tokens
        limits: list[tuple[Limit, int | None, int]] = [
            ("run_usd", per_run, 0),
            ("daily_usd", budget.micros("daily_usd"), self.spent(DAY_NS, now)),
            ("hourly_usd", budget.micros("hourly_usd"), self.spent(HOUR_NS, now)),
            ("max_tokens", tokens, 0),
        ]
        for limit, most, spent in limits:
            if most is not None and spent >= most:
                told = self.held_back(now) == limit
                return None if told else Refuse(trigger, limit, most, spent)
        left = [most - spent for limit, most, spent in limits if most is not None and limit != "max_tokens"]
        return Start(trigger, tokens, min(left, default=None))

    def next_due(self, now: int) -> int | None:
        """When the next schedule goes off, as far as a tick has seen them."""
        dues = [
            Schedule(cron).next_after(max(self.due_after[name, cron], now))
            for name, cron in self.schedules.items()
        ]
        return min(dues, default=None)


def _readable(schedules: dict[str, str]) -> dict[str, str]:
    """Raises `BadEvent` for an expression that a `Schedule` could not have had."""
    try:
        for cron in schedules.values():
            Schedule(cron)
    except ValueError as error:
        raise BadEvent(f"{error}.", expected="a cron expression") from error
    return schedules
