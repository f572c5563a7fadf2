"""`import playhead` gives exactly these names, and costs nothing until one is used.

A name leaves this list only in a release whose changelog says so under Removed.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT

PUBLIC_NAMES: tuple[str, ...] = (
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
    "dual_control",
    "escalate_to",
    "request_approval",
    "attempt",
    "blocking",
    "build_manifest",
    "child_run",
    "compose",
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
)

# Each costs more than the whole of `playhead --help` may.
HEAVY = ["aiosqlite", "asyncio", "pydantic", "structlog"]


def exported() -> list[str]:
    return list(importlib.import_module("playhead").__all__)


def loaded_by(statement: str, cwd: Path) -> set[str]:
    """The modules that a fresh interpreter holds after this statement."""
    code = f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    roots = [str(ROOT / "engine"), str(ROOT / "projections")]
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {roots!r}\n{code}"],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(json.loads(found.stdout))


def test_the_public_names_are_the_ones_on_file() -> None:
    assert sorted(exported()) == sorted(PUBLIC_NAMES)


def test_the_public_names_stand_once() -> None:
    names = exported()

    assert len(names) == len(set(names))


def test_every_public_name_can_be_had_and_is_shown() -> None:
    playhead = importlib.import_module("playhead")

    for name in exported():
        assert getattr(playhead, name) is not None
        assert name in dir(playhead)


def test_nothing_else_is_shown() -> None:
    playhead = importlib.import_module("playhead")
    shown = {name for name in dir(playhead) if not name.startswith("_")}
    floors = {name for name in shown if f"playhead.{name}" in sys.modules}

    assert shown - floors == set(exported()) - floors


def test_a_name_that_does_not_exist_is_refused_in_python_s_own_words() -> None:
    playhead = importlib.import_module("playhead")

    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = playhead.no_such_name


def test_importing_playhead_imports_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_by("import playhead", tmp_path) & set(HEAVY)


def test_importing_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_by("import playhead_projections.cli", tmp_path) & set(HEAVY)
