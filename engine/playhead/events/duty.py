"""Facts about personas on duty: who told them what, what set them off, and what they ran for it.

They stand in streams of their own, `persona/NAME`, and anybody may append: whoever
decides something reads first, and appends where it read to.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Raw

from playhead.events.fact import Failure, WorldFact


class PersonaPaused(WorldFact, frozen=True, tag="persona.paused"):
    """Somebody paused a persona: triggers wait until it is resumed."""

    reason: str = ""
    sender: str = ""


class PersonaResumed(WorldFact, frozen=True, tag="persona.resumed"):
    """Somebody resumed a persona: it runs again, and what waited first."""

    sender: str = ""


class PersonaDrained(WorldFact, frozen=True, tag="persona.drained"):
    """Somebody asked a persona to finish what waits and to take nothing more."""

    reason: str = ""
    sender: str = ""


class PersonaDisabled(WorldFact, frozen=True, tag="persona.disabled"):
    """Somebody disabled a persona: what waited and what comes is put aside."""

    reason: str = ""
    sender: str = ""


class TriggerReceived(WorldFact, frozen=True, tag="trigger.received"):
    """Something set a persona off. It is run once for each work key, in the order of arrival.

    `args` are the arguments of the persona by name.
    """

    work_key: str
    provider: str
    args: Raw
    kind: str = ""
    subject_key: str = ""
    source_event_id: str = ""
    metadata: dict[str, Any] | None = None


class TriggerDuplicated(WorldFact, frozen=True, tag="trigger.duplicated"):
    """A trigger came whose work key is known already. Nothing is run for it."""

    work_key: str
    provider: str
    source_event_id: str = ""


class TriggerDeadLettered(WorldFact, frozen=True, tag="trigger.dead_lettered"):
    """A trigger was put aside, because its persona is disabled or takes nothing more."""

    work_key: str
    reason: str
    args: Raw
    provider: str = ""


class SchedulesBound(WorldFact, frozen=True, tag="schedules.bound"):
    """The schedules of a persona are these from now on: cron expressions by name."""

    schedules: dict[str, str]


class ScheduleFired(WorldFact, frozen=True, tag="schedule.fired"):
    """A schedule came due. Its trigger stands next to it."""

    schedule: str
    due: int
    work_key: str


class WorkStarted(WorldFact, frozen=True, tag="work.started"):
    """A worker took up the work of a persona: the run for a work key. It holds while the worker lives.

    The run's id follows from persona and work key, so whoever takes it up after a crash finds the same run.
    """

    work_key: str
    run: str
    worker: str
    args: Raw
    max_tokens: int | None = None
    max_micros: int | None = None


class WorkExpired(WorldFact, frozen=True, tag="work.expired"):
    """The worker of a persona died, or let its lease run out: another may take its work up."""

    work_key: str
    worker: str


class WorkCompleted(WorldFact, frozen=True, tag="work.completed"):
    """The run for a work key ended with a result."""

    work_key: str
    run: str
    tokens: int
    cost_micros: int


class WorkFailed(WorldFact, frozen=True, tag="work.failed"):
    """The run for a work key ended without a result, or could not be started or taken up."""

    work_key: str
    run: str
    status: Literal["failed", "cancelled", "parked", "diverged", "not_started"]
    failure: Failure
    tokens: int
    cost_micros: int


class WorkRefused(WorldFact, frozen=True, tag="work.refused"):
    """A run was not started, because a budget of the persona has nothing left. Its trigger waits.

    Money is in millionths. Once for each time that a budget is found empty.
    """

    work_key: str
    limit: Literal["run_usd", "daily_usd", "hourly_usd", "max_tokens"]
    limit_value: int
    spent: int
