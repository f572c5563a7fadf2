"""A composition as a trace: what crystallizing reads, with all that a replay of it would be compared by.

    trace = composition_trace(report(told, "0/compose#0"))
    [action["name"] for action in trace["actions"]]      # ['execute_composition', 'search', 'read.file']

A trace is plain JSON and a pure function of the report.
"""

from __future__ import annotations

from typing import Any, Final, cast

from playhead_projections.compositions.agent_events import agent_events

VERSION: Final = 1
WORKFLOW: Final = "composition_candidate"
_SESSION: Final = "the session of a trace is its run"
_TOOK: Final = "nothing takes the same time twice"
MAY_DIFFER: Final = (
    ("/run_id", "each run has an id of its own"),
    ("/event_log_entries/*/run_id", "events name their run"),
    ("/event_log_entries/*/session_id", _SESSION),
    ("/event_log_entries/*/metadata/session_id", _SESSION),
    ("/event_log_entries/*/tool_call_id", "ids of calls begin with that of their run"),
    ("/event_log_entries/*/duration_ms", _TOOK),
    ("/event_log_entries/*/execution_duration_ms", _TOOK),
    ("/effect_receipts/*/run_id", "receipts name their run"),
    ("/effect_receipts/*/tool_call_id", "ids of calls begin with that of their run"),
    ("/policy_decisions/*/run_id", "decisions name their run"),
    ("/policy_decisions/*/tool_call_id", "ids of calls begin with that of their run"),
)
"""JSON Pointers of what two runs of one composition may differ in, and why."""
_FROM_RUN: Final = ("run_id", "snippet_hash", "binding_manifest_hash", "requested_side_effect_ceiling")
EXTERNAL_LEVELS: Final = frozenset({"process_exec", "network", "desktop_control"})


def composition_trace(
    report: dict[str, Any],
    *,
    trace_id: str | None = None,
    workflow_id: str = WORKFLOW,
    agent_run_id: str | None = None,
    transcript_ref: str | None = None,
) -> dict[str, Any]:
    """The trace of a composition, from its report."""
    run = report["run"]
    results = {result["tool_call_id"]: result for result in report["child_results"]}
    pairs = [(call, results[call["tool_call_id"]]) for call in report["child_calls"]]
    found = trace_id or f"composition_{run['run_id']}"
    return {
        "version": VERSION,
        "id": found,
        "source": "composition_run",
        "source_hash": run["snippet_hash"],
        "workflow_id": workflow_id,
        "flow": {
            "trace_id": run["run_id"],
            "agent_run_id": agent_run_id or run["metadata"]["session_id"],
            "transcript_ref": transcript_ref,
        },
        "actions": [_parent(report, pairs), *(_child(run, call, result) for call, result in pairs)],
        "replay_run": _replay_run(report, pairs),
        "replay_allowlist": [{"path": path, "reason": reason} for path, reason in MAY_DIFFER],
        "metadata": {
            "source_kind": "composition_run",
            "composition_schema_version": report["schema_version"],
            **{name: run[name] for name in _FROM_RUN},
            "ok": report["ok"],
            "failure_category": run["failure_category"],
            "child_count": len(pairs),
        },
    }


Pair = tuple[dict[str, Any], dict[str, Any]]


def _parent(report: dict[str, Any], pairs: list[Pair]) -> dict[str, Any]:
    run = report["run"]
    given = {
        "language": run["language"],
        "snippet_hash": run["snippet_hash"],
        "binding_manifest_hash": run["binding_manifest_hash"],
        "requested_side_effect_ceiling": run["requested_side_effect_ceiling"],
    }
    return {
        "id": "composition_parent",
        "kind": "composition_run",
        "name": "execute_composition",
        "inputs": given,
        "parameters": dict(given),
        "output": run["result"],
        "observed_output": run["result"],
        "capabilities": sorted({each for call, _ in pairs for each in _capabilities(call)}),
        "side_effects": [],
        "side_effects_known": True,
        "duration_ms": run["duration_ms"],
        "deterministic": True,
        "fuzzy": False,
        "metadata": {
            "source_kind": "composition_parent_run",
            "run_id": run["run_id"],
            "ok": report["ok"],
            "failure_category": run["failure_category"],
        },
    }


def _child(run: dict[str, Any], call: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    given = call["raw_input"]
    effects = _effects(call)
    return {
        "id": f"composition_child_{call['operation_index']}",
        "kind": "tool_call",
        "name": call["tool_name"],
        "inputs": given,
        "parameters": given if isinstance(given, dict) else {"value": given},
        "output": result["raw_output"],
        "observed_output": result["raw_output"],
        "capabilities": _capabilities(call),
        "side_effects": effects or [],
        "side_effects_known": effects is not None,
        "duration_ms": result["duration_ms"],
        "deterministic": True,
        "fuzzy": False,
        "metadata": {
            "source_kind": "composition_child_call",
            "composition_run_id": run["run_id"],
            "composition_tool_call_id": call["tool_call_id"],
            "requested_side_effect_level": call["requested_side_effect_level"],
            "annotations": call["annotations"],
            "policy_context": call["policy_context"],
            "status": result["status"],
            "error_category": result["error_category"],
        },
    }


def _capabilities(call: dict[str, Any]) -> list[str]:
    said = call["annotations"].get("capabilities")
    domains = cast("dict[str, object]", said) if isinstance(said, dict) else {}
    return sorted({f"{domain}.{each}" for domain, named in domains.items() for each in _texts(named)})


def _texts(said: object) -> list[str]:
    """The texts in a list; none where it is no list of texts, for instance because it was redacted."""
    listed = cast("list[object]", said) if isinstance(said, list) else []
    return [each for each in listed if isinstance(each, str)]


def _effects(call: dict[str, Any]) -> list[dict[str, Any]] | None:
    """What a call may have changed, by what its tool declares; None where it declares nothing."""
    level = call["requested_side_effect_level"]
    if call["effect"] is None or level in {"none", "read_only"}:
        return []  # it was not allowed, or it only looks
    if level is None:
        return None
    given = cast("dict[str, Any]", call["raw_input"] if isinstance(call["raw_input"], dict) else {})
    named = _texts(call["annotations"].get("path_params"))
    paths: list[Any] = [given[name] for name in named if name in given]
    capabilities = _capabilities(call)
    return [
        {
            "kind": level,
            "target": target if isinstance(target, str) else None,
            "capability": capabilities[0] if capabilities else None,
            "mutation": call["annotations"].get("kind"),
            "metadata": {"external": level in EXTERNAL_LEVELS},
        }
        for target in paths or [None]
    ]


def _replay_run(report: dict[str, Any], pairs: list[Pair]) -> dict[str, Any]:
    run = report["run"]
    parent = {
        "kind": "composition_parent",
        "composition_schema_version": report["schema_version"],
        **{name: run[name] for name in _FROM_RUN},
        "ok": report["ok"],
        "failure_category": run["failure_category"],
        "result": run["result"],
        "stdout": run["stdout"],
    }
    return {
        "run_id": run["run_id"],
        "event_log_entries": agent_events(report, run["run_id"]),
        "effect_receipts": [parent, *(_receipt(call, result) for call, result in pairs)],
        "policy_decisions": [_decision(call) for call, _ in pairs],
    }


def _of_call(call: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": call["run_id"],
        "tool_call_id": call["tool_call_id"],
        "tool_name": call["tool_name"],
        "operation_index": call["operation_index"],
        "requested_side_effect_level": call["requested_side_effect_level"],
    }


def _receipt(call: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "composition_child",
        **_of_call(call),
        "input": call["raw_input"],
        "status": result["status"],
        "error_category": result["error_category"],
        "output": result["raw_output"],
    }


def _decision(call: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "composition_child_policy", **_of_call(call), **call["policy_context"]}
