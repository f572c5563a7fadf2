"""Playhead: a flight recorder and a time machine for agent runs.

    from playhead import Engine, persona, step, tool

Names are loaded on first use, so that reading a log stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playhead.composition.hosts import CallableHost as CallableHost
    from playhead.composition.hosts import StaticHost as StaticHost
    from playhead.composition.limits import CompositionLimits as CompositionLimits
    from playhead.composition.manifest import Manifest as Manifest
    from playhead.composition.manifest import ManifestOptions as ManifestOptions
    from playhead.composition.manifest import build_manifest as build_manifest
    from playhead.composition.mcp import McpHost as McpHost
    from playhead.composition.mcp_servers import McpServer as McpServer
    from playhead.composition.retrying import CallRetry as CallRetry
    from playhead.composition.retrying import Trust as Trust
    from playhead.errors import ApprovalDenied as ApprovalDenied
    from playhead.errors import ApprovalTimedOut as ApprovalTimedOut
    from playhead.errors import BudgetExceeded as BudgetExceeded
    from playhead.errors import CallFailed as CallFailed
    from playhead.errors import CompositionFailed as CompositionFailed
    from playhead.errors import Diverged as Diverged
    from playhead.errors import HookDenied as HookDenied
    from playhead.errors import NotFound as NotFound
    from playhead.errors import PlayheadError as PlayheadError
    from playhead.errors import RunCancelled as RunCancelled
    from playhead.errors import RunFailed as RunFailed
    from playhead.errors import RunParked as RunParked
    from playhead.errors import StateConflict as StateConflict
    from playhead.errors import TimedOut as TimedOut
    from playhead.errors import ToolFailed as ToolFailed
    from playhead.errors import ToolRejected as ToolRejected
    from playhead.errors import ToolTimedOut as ToolTimedOut
    from playhead.events.words import Usage as Usage
    from playhead.policy.approval import ApprovalRules as ApprovalRules
    from playhead.policy.autonomy import Autonomy as Autonomy
    from playhead.policy.budget import Budget as Budget
    from playhead.policy.capability import ArgConstraint as ArgConstraint
    from playhead.policy.capability import Policy as Policy
    from playhead.policy.duty import DutyBudget as DutyBudget
    from playhead.policy.duty import Schedule as Schedule
    from playhead.policy.retry import Retry as Retry
    from playhead.replay.bridge import blocking as blocking
    from playhead.replay.edits import Edits as Edits
    from playhead.replay.engine import Engine as Engine
    from playhead.replay.player import Outcome as Outcome
    from playhead.runtime.approving import Approval as Approval
    from playhead.runtime.approving import ask_user as ask_user
    from playhead.runtime.approving import dual_control as dual_control
    from playhead.runtime.approving import escalate_to as escalate_to
    from playhead.runtime.approving import request_approval as request_approval
    from playhead.runtime.asking import model_call as model_call
    from playhead.runtime.attempt import attempt as attempt
    from playhead.runtime.binding import Binding as Binding
    from playhead.runtime.binding import Trigger as Trigger
    from playhead.runtime.chance import now as now
    from playhead.runtime.chance import random as random
    from playhead.runtime.chance import uuid as uuid
    from playhead.runtime.child import child_run as child_run
    from playhead.runtime.combinators import map_bounded as map_bounded
    from playhead.runtime.combinators import race as race
    from playhead.runtime.combinators import task_group as task_group
    from playhead.runtime.combinators import timeout as timeout
    from playhead.runtime.composing import compose as compose
    from playhead.runtime.composition import Composed as Composed
    from playhead.runtime.dispatcher import Dispatcher as Dispatcher
    from playhead.runtime.hook import Deny as Deny
    from playhead.runtime.hook import Moment as Moment
    from playhead.runtime.hook import ReplaceArgs as ReplaceArgs
    from playhead.runtime.hook import ReplaceOutput as ReplaceOutput
    from playhead.runtime.hook import hook as hook
    from playhead.runtime.model import ModelClient as ModelClient
    from playhead.runtime.model import Reply as Reply
    from playhead.runtime.model import Request as Request
    from playhead.runtime.operation import patched as patched
    from playhead.runtime.operation import side_value as side_value
    from playhead.runtime.operation import signal as signal
    from playhead.runtime.operation import sleep as sleep
    from playhead.runtime.operation import sleep_until as sleep_until
    from playhead.runtime.persona import persona as persona
    from playhead.runtime.proposed import Proposed as Proposed
    from playhead.runtime.registering import register_persona as register_persona
    from playhead.runtime.registering import register_step as register_step
    from playhead.runtime.run import Run as Run
    from playhead.runtime.stage import Stage as Stage
    from playhead.runtime.stage import StageExit as StageExit
    from playhead.runtime.state import Entry as Entry
    from playhead.runtime.state import Handoff as Handoff
    from playhead.runtime.state import State as State
    from playhead.runtime.state import Written as Written
    from playhead.runtime.state import resume_state as resume_state
    from playhead.runtime.state import state as state
    from playhead.runtime.step import step as step
    from playhead.runtime.tool import tool as tool
    from playhead.runtime.tool_host import ToolHost as ToolHost
    from playhead.workspace.workspace import Workspace as Workspace

_WHERE = {
    "Approval": "runtime.approving",
    "ApprovalDenied": "errors",
    "ApprovalRules": "policy.approval",
    "ApprovalTimedOut": "errors",
    "ArgConstraint": "policy.capability",
    "Autonomy": "policy.autonomy",
    "Binding": "runtime.binding",
    "Budget": "policy.budget",
    "BudgetExceeded": "errors",
    "CallFailed": "errors",
    "CallRetry": "composition.retrying",
    "CallableHost": "composition.hosts",
    "Composed": "runtime.composition",
    "CompositionFailed": "errors",
    "CompositionLimits": "composition.limits",
    "Deny": "runtime.hook",
    "Dispatcher": "runtime.dispatcher",
    "Diverged": "errors",
    "DutyBudget": "policy.duty",
    "Edits": "replay.edits",
    "Engine": "replay.engine",
    "Entry": "runtime.state",
    "Handoff": "runtime.state",
    "HookDenied": "errors",
    "Manifest": "composition.manifest",
    "ManifestOptions": "composition.manifest",
    "McpHost": "composition.mcp",
    "McpServer": "composition.mcp_servers",
    "ModelClient": "runtime.model",
    "Moment": "runtime.hook",
    "NotFound": "errors",
    "Outcome": "replay.player",
    "PlayheadError": "errors",
    "Policy": "policy.capability",
    "Proposed": "runtime.proposed",
    "ReplaceArgs": "runtime.hook",
    "ReplaceOutput": "runtime.hook",
    "Reply": "runtime.model",
    "Request": "runtime.model",
    "Retry": "policy.retry",
    "Run": "runtime.run",
    "RunCancelled": "errors",
    "RunFailed": "errors",
    "RunParked": "errors",
    "Schedule": "policy.duty",
    "Stage": "runtime.stage",
    "StageExit": "runtime.stage",
    "State": "runtime.state",
    "StateConflict": "errors",
    "StaticHost": "composition.hosts",
    "TimedOut": "errors",
    "ToolFailed": "errors",
    "ToolHost": "runtime.tool_host",
    "ToolRejected": "errors",
    "ToolTimedOut": "errors",
    "Trigger": "runtime.binding",
    "Trust": "composition.retrying",
    "Usage": "events.words",
    "Workspace": "workspace.workspace",
    "Written": "runtime.state",
    "ask_user": "runtime.approving",
    "dual_control": "runtime.approving",
    "escalate_to": "runtime.approving",
    "request_approval": "runtime.approving",
    "attempt": "runtime.attempt",
    "blocking": "replay.bridge",
    "build_manifest": "composition.manifest",
    "child_run": "runtime.child",
    "compose": "runtime.composing",
    "hook": "runtime.hook",
    "map_bounded": "runtime.combinators",
    "model_call": "runtime.asking",
    "now": "runtime.chance",
    "patched": "runtime.operation",
    "persona": "runtime.persona",
    "race": "runtime.combinators",
    "random": "runtime.chance",
    "register_persona": "runtime.registering",
    "register_step": "runtime.registering",
    "resume_state": "runtime.state",
    "side_value": "runtime.operation",
    "signal": "runtime.operation",
    "sleep": "runtime.operation",
    "sleep_until": "runtime.operation",
    "state": "runtime.state",
    "step": "runtime.step",
    "task_group": "runtime.combinators",
    "timeout": "runtime.combinators",
    "tool": "runtime.tool",
    "uuid": "runtime.chance",
}

__all__ = [
    "Approval",
    "ApprovalDenied",
    "ApprovalRules",
    "ApprovalTimedOut",
    "ArgConstraint",
    "Autonomy",
    "Binding",
    "Budget",
    "BudgetExceeded",
    "CallFailed",
    "CallRetry",
    "CallableHost",
    "Composed",
    "CompositionFailed",
    "CompositionLimits",
    "Deny",
    "Dispatcher",
    "Diverged",
    "DutyBudget",
    "Edits",
    "Engine",
    "Entry",
    "Handoff",
    "HookDenied",
    "Manifest",
    "ManifestOptions",
    "McpHost",
    "McpServer",
    "ModelClient",
    "Moment",
    "NotFound",
    "Outcome",
    "PlayheadError",
    "Policy",
    "Proposed",
    "ReplaceArgs",
    "ReplaceOutput",
    "Reply",
    "Request",
    "Retry",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunParked",
    "Schedule",
    "Stage",
    "StageExit",
    "State",
    "StateConflict",
    "StaticHost",
    "TimedOut",
    "ToolFailed",
    "ToolHost",
    "ToolRejected",
    "ToolTimedOut",
    "Trigger",
    "Trust",
    "Usage",
    "Workspace",
    "Written",
    "ask_user",
    "attempt",
    "blocking",
    "build_manifest",
    "child_run",
    "compose",
    "dual_control",
    "escalate_to",
    "hook",
    "map_bounded",
    "model_call",
    "now",
    "patched",
    "persona",
    "race",
    "random",
    "register_persona",
    "register_step",
    "request_approval",
    "resume_state",
    "side_value",
    "signal",
    "sleep",
    "sleep_until",
    "state",
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
