"""Stages: what a persona's steps of a certain name may do, and how often.

    @persona(stages=[Stage("plan", allowed_tools=["read"], max_iterations=3)])

A stage is entered with the step of its name and left with it, however that ends. It
only narrows: what encloses the persona stays in force, and a stage that asks only for
what is forbidden has nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Literal

from playhead.errors import ProgramError, StageExhausted
from playhead.policy.annotations import words
from playhead.policy.capability import Policy
from playhead.policy.level import Level, known_level

StepStatus = Literal["completed", "failed", "skipped", "escalated", "cancelled"]


@dataclass(frozen=True, slots=True)
class StageExit:
    """Which stage was left, for the how-manieth time from 1, and how its step ended."""

    stage: str
    iteration: int
    status: StepStatus


@dataclass(frozen=True, slots=True)
class Stage:
    """What the step called `name` may do inside its persona. None inherits, the empty set is nothing.

    After `max_iterations` entries in one call of the persona the next raises `StageExhausted`. `on_exit` is
    program code of the persona: it is awaited after the step has left, outside the stage and before
    whoever called the step goes on; not when the step was cancelled.

    Raises `ValueError` for an unknown level and a negative number of iterations.
    """

    name: str
    allowed_tools: Collection[str] | None = field(default=None, kw_only=True)
    side_effect_level: Level | None = field(default=None, kw_only=True)
    max_iterations: int | None = field(default=None, kw_only=True)
    on_exit: Callable[[StageExit], Awaitable[object]] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        name: Any = self.name
        if not isinstance(name, str) or not name:
            raise ValueError(f"a stage has the name of a step, not {name!r}")
        if self.allowed_tools is not None:
            object.__setattr__(
                self, "allowed_tools", words(self.allowed_tools, f"tools of stage {self.name}")
            )
        if self.side_effect_level is not None:
            known_level(self.side_effect_level)
        most: Any = self.max_iterations
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
            raise ValueError(f"max_iterations of stage {self.name} is a number from 0 on, not {most!r}")

        leave = self.on_exit
        if leave is not None and not iscoroutinefunction(getattr(leave, "function", leave)):
            raise ValueError(f"on_exit of stage {self.name} is an async function, not {leave!r}")

    @property
    def policy(self) -> Policy:
        """What it lets its step do, at most."""
        return Policy(tools=self.allowed_tools, side_effect_level=self.side_effect_level)


class Visit:
    """One entry into a stage."""

    __slots__ = ("iteration", "refused", "stage")

    def __init__(self, stage: Stage, iteration: int) -> None:
        self.stage = stage
        self.iteration = iteration
        self.refused = False
        """Whether it was one too many, so that nobody was ever in it."""

    def check(self) -> None:
        """Raise `StageExhausted` where it is one entry too many."""
        most = self.stage.max_iterations
        if most is not None and self.iteration > most:
            self.refused = True
            raise StageExhausted(
                f"stage {self.stage.name} may be entered {most} times, and this is the next.",
                expected=most,
                found=self.iteration,
            )


class Stages:
    """The stages of one call of a persona, and how often each was entered."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._entered: dict[str, int] = {}

    def enter(self, step: str) -> Visit | None:
        """The visit that a step called `step` is; None where it has no stage."""
        stage = self._stages.get(step)
        if stage is None:
            return None
        iteration = self._entered.get(step, 0) + 1
        self._entered[step] = iteration
        return Visit(stage, iteration)


def checked_stages(stages: Iterable[Any], persona: str) -> tuple[Stage, ...]:
    """Stages as they were declared. Raises `ProgramError` where two have one name."""
    known: dict[str, Stage] = {}
    for stage in stages:
        if not isinstance(stage, Stage):
            raise ProgramError(
                f"{stage!r} is no stage of persona {persona}.", next_step="Write Stage(name, ...)."
            )
        if known.setdefault(stage.name, stage) is not stage:
            raise ProgramError(
                f"two stages of persona {persona} are called {stage.name!r}.",
                next_step="A step has one stage: put both into one.",
            )
    return tuple(known.values())
