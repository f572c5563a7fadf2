"""The report of a composition: the form in which other tools know one.

    told = state_at(log, Compositions(), "run/4wq2mzkq7xha").state
    report(told, "0/compose#0")["summary"]        # 'composition completed with 4 child operation(s)'

A report is made of the log alone. Its `run` is the composition, not the run that it is a part of, which
stands in the metadata. Durations are whole milliseconds; what is not known is null.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from playhead.composition.manifest import GATED
from playhead_projections.compositions.fold import Call, Composition, Told

SCHEMA: Final = "playhead.composition/1"
SCHEMA_VERSION: Final = 1
NS_PER_MS: Final = 1_000_000
OWN: Final[dict[str, Any]] = {"kind": "playhead"}
"""Whoever carried out a call that was carried out by nobody."""

# What a call is called by whoever reads a report: of a call in doubt nobody knows more than that it began.
_STATUSES: Final = {
    "open": "in_progress",
    "in_doubt": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "denied": "failed",
}


class _Manifest(msgspec.Struct):
    bindings: list[dict[str, Any]]


def report(told: Told, op: str) -> dict[str, Any]:
    """The report of the composition `op`. Raises `KeyError` where the run has none of that id."""
    found = told.compositions[op]
    run_id = f"{told.run}/{op}"
    entries = _entries(told, found)
    results = [_result(run_id, number, call, entries) for number, call in enumerate(found.calls)]
    ok = found.status == "completed"
    summary = f"composition completed with {len(results)} child operation(s)"
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "ok": ok,
        "run": _envelope(told, found, run_id),
        "child_calls": [
            _call(run_id, number, call, found, entries) for number, call in enumerate(found.calls)
        ],
        "child_results": results,
        "summary": summary if ok else found.message or f"composition is {found.status}",
    }


def _envelope(told: Told, found: Composition, run_id: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "language": found.language,
        "snippet_hash": found.snippet_hash,
        "binding_manifest_hash": found.manifest_hash,
        "requested_side_effect_ceiling": found.ceiling,
        "stdout": found.stdout or None,
        "stderr": None,
        "artifacts": [],
        "result": found.result,
        "failure_category": found.category,
        "error": found.message or None,
        "duration_ms": _ms(found.started, found.ended),
        "metadata": {
            "session_id": told.run,
            "op": found.op,
            "persona": told.persona,
            "status": found.status,
            "cause": found.cause,
            "snippet_error": msgspec.to_builtins(found.error),
            "problems": found.problems,
            "steps": found.steps,
            "engine": found.engine,
            "limits": found.limits,
            "inputs": found.inputs,
            "events_erased": found.erased,
        },
    }


def _entries(told: Told, found: Composition) -> dict[str, dict[str, Any]]:
    """The entries of the manifest that the composition named, by their bindings."""
    try:
        known = msgspec.convert(told.manifests.get(found.manifest_hash or ""), _Manifest)
    except msgspec.ValidationError:  # it was never shown, or something in it was redacted
        return {}
    return {entry["binding"]: entry for entry in known.bindings if isinstance(entry.get("binding"), str)}


def _entry(call: Call, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return entries.get(call.at.binding, {}) if call.at is not None else {}


def _call(
    run_id: str, number: int, call: Call, found: Composition, entries: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    entry = _entry(call, entries)
    annotations: Any = entry.get("annotations")
    policy = {"disposition": "allowed", "reason": None}
    if call.refused is not None:
        gated = entry.get("policy") == {"disposition": "gated", "reason": GATED}
        policy = {"disposition": "gated" if gated else "denied", "reason": call.refused}
    return {
        "run_id": run_id,
        "tool_call_id": f"{run_id}:{number}",
        "tool_name": call.tool,
        "operation_index": number,
        "annotations": annotations if isinstance(annotations, dict) else {},
        "requested_side_effect_level": entry.get("side_effect_level"),
        "policy_context": {**policy, "ceiling": found.ceiling},
        "raw_input": call.arguments,
        "op": call.op,
        "binding": call.at.binding if call.at else None,
        "line": call.at.line if call.at else None,
        "col": call.at.col if call.at else None,
        "path": list(call.at.path) if call.at else [],
        "effect": call.effect,
    }


def _result(run_id: str, number: int, call: Call, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    took = _ms(call.started, call.ended)
    message, category, details = _failure(call)
    return {
        "run_id": run_id,
        "tool_call_id": f"{run_id}:{number}",
        "tool_name": call.tool,
        "operation_index": number,
        "status": _STATUSES[call.status],
        "raw_output": call.output,
        "error": message,
        "error_category": category,
        "error_details": details,
        "executor": _executor(call, _entry(call, entries)),
        "duration_ms": took,
        "execution_duration_ms": took,
        "attempt": call.attempt,
        "retry_attempts": call.attempt - 1,
        "retry_errors": [each.message for each in call.retried],
        "retry_delays_ms": [each.delay_ms for each in call.retried],
        "outcome": "unknown" if call.outcome_unknown else call.status,
        "answered_by": call.by,
    }


def _failure(call: Call) -> tuple[str | None, str | None, dict[str, Any] | None]:
    """What went wrong with a call: the message, its category, and the error that it was."""
    if call.refused is not None:
        return call.refused, "schema_validation" if call.invalid else "permission_denied", None
    if call.status == "cancelled":
        return "nobody waited for it any more", "cancelled", None
    if call.error is None:
        return None, None, None
    return call.error.message or call.error.type, call.error.category, msgspec.to_builtins(call.error)


def _executor(call: Call, entry: dict[str, Any]) -> dict[str, Any]:
    if call.refused is not None:
        return OWN
    if call.at is not None and call.at.server is not None:
        return {"kind": "mcp_server", "server_name": call.at.server}
    return {"kind": "provider_native" if entry.get("source") == "provider_native" else "host_bridge"}


def _ms(started: int, ended: int | None) -> int | None:
    return None if ended is None else max(ended - started, 0) // NS_PER_MS
