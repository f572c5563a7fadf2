"""Steps and personas declared by dictionaries, as a manifest or a generator of agents has them.

    plan = register_step(plan_step, {"name": "plan", "budget": {"max_tokens": 8000}})
    agent = register_persona(run, {"name": "agent", "stages": [{"name": "plan", "allowed_tools": ["read"]}]})

What such a dictionary says and cannot be read is refused: nothing that was meant to
bound an agent is left out in silence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, cast

from playhead.errors import ProgramError
from playhead.policy.retry import Retry
from playhead.runtime.persona import Persona
from playhead.runtime.stage import Stage
from playhead.runtime.step import Step

Async = Callable[..., Awaitable[Any]]

_STEP: Final = ("name", "model", "error_boundary", "budget", "approval", "receipt", "retry")
_PERSONA: Final = ("name", "stages", "budget")
_STAGE: Final = ("name", "allowed_tools", "side_effect_level", "max_iterations", "on_exit")


def register_step(function: Async, metadata: Mapping[str, Any]) -> Step[..., Any]:
    """`function` as a step that is declared by `metadata`.

    It may say `name`, `model` (an empty text is none), `error_boundary`, `budget` with `max_tokens` and
    `max_usd`, `approval`, `receipt` and `retry` with `max_attempts`. Raises `ProgramError` and `ValueError`
    for what it says otherwise.
    """
    said = _metadata(function, metadata, _STEP, "register_step")
    retry = said.get("retry")
    return Step(
        function,
        name=_text(said, "name"),
        model=_text(said, "model"),
        error_boundary=said.get("error_boundary"),
        budget=said.get("budget"),
        approval=said.get("approval"),
        receipt=said.get("receipt") or "audit",
        retry=None if retry is None else Retry(max_attempts=_attempts(retry)),
    )


def register_persona(function: Async, metadata: Mapping[str, Any]) -> Persona[..., Any]:
    """`function` as a persona that is declared by `metadata`: `name`, `stages` and `budget`.

    A stage says its `name`, and may say `allowed_tools`, `side_effect_level`, `max_iterations` and
    `on_exit`. Raises `ProgramError` and `ValueError` for what it says otherwise.
    """
    said = _metadata(function, metadata, _PERSONA, "register_persona")
    return Persona(
        function,
        name=_text(said, "name"),
        stages=[_stage(entry) for entry in _entries(said.get("stages"))],
        budget=said.get("budget"),
    )


def _metadata(function: Any, metadata: Any, known: Sequence[str], what: str) -> dict[str, Any]:
    if not callable(function):
        raise ProgramError(f"{what}: expected (function, metadata_dict)", found=function)
    said = _dict(metadata)
    if said is None:
        raise ProgramError(f"{what}: metadata argument must be a dict", found=type(metadata).__qualname__)
    return _only(said, known, what)


def _dict(value: Any) -> dict[Any, Any] | None:
    found: dict[Any, Any] = {**value} if isinstance(value, Mapping) else {}
    return found if isinstance(value, Mapping) else None


def _list(value: Any) -> list[Any] | None:
    found: list[Any] = [*value] if isinstance(value, (list, tuple)) else []
    return found if isinstance(value, (list, tuple)) else None


def _only(said: dict[Any, Any], known: Sequence[str], what: str) -> dict[str, Any]:
    unknown = sorted(str(key) for key in said if key not in known)
    if unknown:
        raise ProgramError(
            f"{what}: there is no {', '.join(unknown)}", expected=", ".join(known), found=", ".join(unknown)
        )
    return said


def _text(said: Mapping[str, Any], field: str) -> str | None:
    value = said.get(field)
    if value is not None and not isinstance(value, str):
        raise ProgramError(f"{field} must be a text", found=value)
    return value or None


def _attempts(retry: Any) -> int:
    found = (_dict(retry) or {}).get("max_attempts")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ProgramError("retry must be a dict with max_attempts from 1 on", found=retry)
    return found


def _entries(stages: Any) -> list[Any]:
    if stages is None:
        return []
    entries = _list(stages)
    if entries is None:
        raise ProgramError("stages argument must be a list of dicts", found=type(stages).__qualname__)
    return entries


def _whole(number: Any) -> Any:
    return int(number) if isinstance(number, float) and isfinite(number) else number


def _stage(entry: Any) -> Stage:
    if isinstance(entry, Stage):
        return entry
    said = _dict(entry)
    if said is None:
        raise ProgramError("each stage entry must be a dict", found=type(entry).__qualname__)
    said = _only(said, _STAGE, "stage")
    if not isinstance(said.get("name"), str):
        raise ProgramError("stage dict missing required 'name'", found=said.get("name"))
    tools = _list(said.get("allowed_tools"))
    if tools is None and said.get("allowed_tools") is not None:
        raise ProgramError("stage allowed_tools must be a list of strings", found=said["allowed_tools"])
    if not all(isinstance(tool, str) for tool in tools or []):
        raise ProgramError("stage allowed_tools entries must be strings", found=tools)
    return Stage(
        said["name"],
        allowed_tools=tools,
        side_effect_level=cast("Any", _text(said, "side_effect_level")),
        max_iterations=_whole(said.get("max_iterations")),
        on_exit=said.get("on_exit"),
    )
