"""What somebody's answer for an operation in doubt comes to."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from playhead.events.catalog import ToolCompleted
from playhead.events.fact import OutcomeFact
from playhead.runtime.machine import Machine


def answered(executor: Any, value: Any, by: str, machine: Machine) -> OutcomeFact:
    """The outcome that somebody's `value` is. Raises `BadValue` where it fits no result."""
    codec = executor.tool.signature.result
    if isinstance(value, Raw):
        codec.decode(value)
    raw = value if isinstance(value, Raw) else codec.encode(value)
    return ToolCompleted(result=machine.redacted(raw, executor.tool.secret), resolved_by=by)
