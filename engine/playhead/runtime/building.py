"""A machine for a run, from its first fact and its persona: the same for living and for replaying it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import Context
from typing import Any, NamedTuple, Protocol, TypeVar

from msgspec import Raw

from playhead.events.catalog import RunStarted
from playhead.events.redaction import Redaction
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.machine import Machine
from playhead.runtime.moments import session
from playhead.runtime.persona import Persona
from playhead.runtime.starting import around_of

M = TypeVar("M", bound=Machine)


class MachineHost(Protocol):
    """What a machine needs of the engine, or of what stands in its place."""

    @property
    def redaction(self) -> Redaction | None:
        """What is kept out of the log."""
        ...

    @property
    def errors(self) -> ErrorTypes | None:
        """Which recorded errors are raised again as themselves."""
        ...

    @property
    def tools_context(self) -> Context:
        """The context that programs and tools begin with."""
        ...


class StandIn(NamedTuple):
    """Stands where the model client of the recorded run would: its name is in the ids of its calls."""

    name: str


def build(
    kind: Callable[..., M],
    run: str,
    persona: Persona[..., Any],
    started: RunStarted,
    at: int,
    *,
    patches: frozenset[str],
    host: MachineHost,
) -> M:
    """A machine of that kind. Raises `BadValue` where the recorded arguments do not fit the persona."""
    args, kwargs = persona.signature.decode(started.args)
    redaction = host.redaction

    def encode_result(value: Any) -> Raw:
        raw = persona.signature.result.encode(value, ordered=True)
        return raw if redaction is None else redaction.apply(raw)

    machine = kind(
        run,
        seed=started.seed,
        started_at=at,
        entry=functools.partial(session, persona, args, kwargs),
        encode_result=encode_result,
        patches=patches,
        context=host.tools_context.copy(),
        redaction=redaction,
        errors=host.errors,
        host=host,
        around=persona.around(around_of(started)),
    )
    machine.fork, machine.fence, machine.prepared = started.forked, started.fence, started.prepared or {}
    return machine
