"""Playhead: a flight recorder and a time machine for agent runs.

    from playhead import Engine, persona, step, tool

Names are loaded on first use, so that reading a log stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playhead.errors import Diverged as Diverged
    from playhead.errors import NotFound as NotFound
    from playhead.errors import PlayheadError as PlayheadError
    from playhead.errors import RunCancelled as RunCancelled
    from playhead.errors import RunFailed as RunFailed
    from playhead.errors import RunParked as RunParked
    from playhead.errors import TimedOut as TimedOut
    from playhead.errors import ToolFailed as ToolFailed
    from playhead.errors import ToolTimedOut as ToolTimedOut
    from playhead.events.catalog import Usage as Usage
    from playhead.policy.retry import Retry as Retry
    from playhead.replay.bridge import blocking as blocking
    from playhead.replay.engine import Engine as Engine
    from playhead.replay.player import Outcome as Outcome
    from playhead.runtime.asking import model_call as model_call
    from playhead.runtime.attempt import attempt as attempt
    from playhead.runtime.chance import now as now
    from playhead.runtime.chance import random as random
    from playhead.runtime.chance import uuid as uuid
    from playhead.runtime.child import child_run as child_run
    from playhead.runtime.combinators import map_bounded as map_bounded
    from playhead.runtime.combinators import race as race
    from playhead.runtime.combinators import task_group as task_group
    from playhead.runtime.combinators import timeout as timeout
    from playhead.runtime.model import ModelClient as ModelClient
    from playhead.runtime.model import Reply as Reply
    from playhead.runtime.model import Request as Request
    from playhead.runtime.operation import patched as patched
    from playhead.runtime.operation import side_value as side_value
    from playhead.runtime.operation import signal as signal
    from playhead.runtime.operation import sleep as sleep
    from playhead.runtime.operation import sleep_until as sleep_until
    from playhead.runtime.persona import persona as persona
    from playhead.runtime.run import Run as Run
    from playhead.runtime.step import step as step
    from playhead.runtime.tool import tool as tool

_WHERE = {
    "Diverged": "errors",
    "Engine": "replay.engine",
    "ModelClient": "runtime.model",
    "NotFound": "errors",
    "Outcome": "replay.player",
    "PlayheadError": "errors",
    "Reply": "runtime.model",
    "Request": "runtime.model",
    "Retry": "policy.retry",
    "Run": "runtime.run",
    "RunCancelled": "errors",
    "RunFailed": "errors",
    "RunParked": "errors",
    "TimedOut": "errors",
    "ToolFailed": "errors",
    "ToolTimedOut": "errors",
    "Usage": "events.catalog",
    "attempt": "runtime.attempt",
    "blocking": "replay.bridge",
    "child_run": "runtime.child",
    "map_bounded": "runtime.combinators",
    "model_call": "runtime.asking",
    "now": "runtime.chance",
    "patched": "runtime.operation",
    "persona": "runtime.persona",
    "race": "runtime.combinators",
    "random": "runtime.chance",
    "side_value": "runtime.operation",
    "signal": "runtime.operation",
    "sleep": "runtime.operation",
    "sleep_until": "runtime.operation",
    "step": "runtime.step",
    "task_group": "runtime.combinators",
    "timeout": "runtime.combinators",
    "tool": "runtime.tool",
    "uuid": "runtime.chance",
}

__all__ = [
    "Diverged",
    "Engine",
    "ModelClient",
    "NotFound",
    "Outcome",
    "PlayheadError",
    "Reply",
    "Request",
    "Retry",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunParked",
    "TimedOut",
    "ToolFailed",
    "ToolTimedOut",
    "Usage",
    "attempt",
    "blocking",
    "child_run",
    "map_bounded",
    "model_call",
    "now",
    "patched",
    "persona",
    "race",
    "random",
    "side_value",
    "signal",
    "sleep",
    "sleep_until",
    "step",
    "task_group",
    "timeout",
    "tool",
    "uuid",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'playhead' has no attribute {name!r}")
    value = getattr(import_module(f"playhead.{where}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
