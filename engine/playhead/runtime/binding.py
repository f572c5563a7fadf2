"""How a persona is on duty, what sets it off, and what a tick says it did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

from playhead.errors import BadValue, ProgramError
from playhead.policy.duty import DutyBudget, Schedule
from playhead.runtime.persona import Persona

_TEXTS: Final = ("provider", "kind", "subject_key", "source_event_id", "work_key")


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why a persona should run, and with what: `args` are its arguments by name.

    The work key says what is one piece of work: what came before under the same key is not run again. It
    is `work_key`, or made of provider, kind, subject and source event. Raises `BadValue` for a field that
    is no text.
    """

    provider: str
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    kind: str = ""
    subject_key: str = ""
    source_event_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    work_key: str = ""

    def __post_init__(self) -> None:
        for name in _TEXTS:
            check_words(f"{name} of a trigger", getattr(self, name))
        for name in ("args", "metadata"):
            value: Any = getattr(self, name)
            if not isinstance(value, dict):
                raise BadValue(
                    f"{name} of a trigger are a dictionary by name, not {value!r}.",
                    expected="a dictionary",
                    found=type(value).__qualname__,
                )

    @property
    def key(self) -> str:
        """The work key. Raises `ProgramError` where nothing tells this trigger from another."""
        if self.work_key:
            return self.work_key
        if not self.source_event_id and not self.subject_key:
            raise ProgramError(
                f"a trigger of {self.provider} says nothing that tells it from others.",
                expected="work_key, source_event_id or subject_key",
                next_step="Give the id of the event that led to it.",
            )
        parts = (self.provider, self.kind, self.subject_key, self.source_event_id)
        return ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in parts)


def check_words(what: str, text: object) -> None:
    """Raise `BadValue` for what could be written and not be read again."""
    if isinstance(text, str):
        with suppress(UnicodeEncodeError):
            text.encode()
            return
    raise BadValue(
        f"the {what} is a text, not {text!r}.",
        expected="a text",
        found=type(text).__qualname__,
        next_step=f"Give str(...) of it: {str(text)!r}." if isinstance(text, int) else None,
    )


@dataclass(frozen=True, slots=True)
class Binding:
    """How a persona is on duty.

    Raises `ProgramError` for a persona, schedules or a budget that are none, and where two schedules have
    one name; `TypeError` and `BadValue` for arguments of a schedule that the persona cannot take.
    """

    persona: Persona[..., Any]
    schedules: Sequence[Schedule] = ()
    budget: DutyBudget = field(default_factory=DutyBudget)

    def __post_init__(self) -> None:
        if not isinstance(self.persona, Persona):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(
                f"a binding is of a persona, not of {self.persona!r}.", next_step="Mark it with @persona."
            )
        if not isinstance(self.budget, DutyBudget):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ProgramError(
                f"the budget of {self.name} on duty is not {self.budget!r}.",
                expected="DutyBudget(run_usd=..., daily_usd=..., hourly_usd=..., max_tokens=...)",
                found=type(self.budget).__qualname__,
            )
        object.__setattr__(self, "schedules", _known(self.name, self.schedules))
        for schedule in self.schedules:
            signature = self.persona.signature
            signature.recordable(signature.bind_named(schedule.args), lambda raw: raw)

    @property
    def name(self) -> str:
        return self.persona.name


def _known(persona: str, schedules: object) -> tuple[Schedule, ...]:
    several = tuple(cast("Iterable[object]", schedules)) if isinstance(schedules, Iterable) else ()
    found = tuple(schedule for schedule in several if isinstance(schedule, Schedule))
    if len(found) < len(several) or not isinstance(schedules, Iterable):
        raise ProgramError(
            f"the schedules of {persona} are no list of schedules.",
            expected="a list of Schedule(cron, args)",
            found=f"{schedules!r}",
        )
    names = [schedule.name for schedule in found]
    for name in names:
        if names.count(name) > 1:
            raise ProgramError(
                f"two schedules of {persona} are called {name!r}.",
                found=name,
                next_step="Give each a name of its own: Schedule(..., name=...).",
            )
    return found


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one step of a tick did. `status`: completed, failed, refused, expired, fired, duplicate."""

    status: str
    persona: str
    work_key: str = ""
    run: str = ""
    queued: int = 0
    error: str = ""
