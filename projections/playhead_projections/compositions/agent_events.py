"""A composition as events of an agent's session, for whoever follows one: start, each call, and the end.

    for event in agent_events(report(told, "0/compose#0"), session_id="s1"):
        send(event)

They are a pure function of the report, in one order: the start, each call followed by its result, the end.
"""

from __future__ import annotations

from typing import Any, Final

BLANK_AT_START: Final[dict[str, Any]] = {
    "stdout": None,
    "stderr": None,
    "artifacts": [],
    "result": None,
    "failure_category": None,
    "error": None,
    "duration_ms": None,
}
"""What nobody knows of a composition when it starts."""
KNOWN_AT_START: Final = ("session_id", "op", "persona", "engine", "limits", "inputs")


def agent_events(report: dict[str, Any], session_id: str) -> list[dict[str, Any]]:
    """The events of a session that a report tells. One that is not over yet has no end."""
    run = report["run"]
    metadata = {name: run["metadata"][name] for name in KNOWN_AT_START}
    started = {**run, **BLANK_AT_START, "metadata": metadata}
    results = {result["tool_call_id"]: result for result in report["child_results"]}
    events: list[dict[str, Any]] = [_event("composition_start", session_id, started)]
    for call in report["child_calls"]:
        events.append(_event("composition_child_call", session_id, call))
        result = results[call["tool_call_id"]]
        if result["status"] != "in_progress":
            events.append(_event("composition_child_result", session_id, result))
    if run["metadata"]["status"] != "running":
        kind = "composition_finish" if report["ok"] else "composition_error"
        events.append(_event(kind, session_id, run))
    return events


def _event(kind: str, session_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "session_id": session_id, **body}
