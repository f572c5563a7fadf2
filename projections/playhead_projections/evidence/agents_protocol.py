"""The receipt of a run as the public agents protocol has it, `receipt-2026-04-25`.

    document = receipt(gather_run(log, "4wq2mzkq7xha"), issuer="playhead.log/…", proof={})
    check(document)                                # raises BadValue where the public schema says no

Everything in it is said by the log. What the log does not say is left out; where the schema wants a word all
the same, docs/receipts.md tells which one stands there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

import jsonschema_rs
import msgspec

from playhead.errors import BadValue
from playhead.events import approval as approvals
from playhead.events import catalog, state
from playhead.events.erasing import MARK, is_needed
from playhead.trust.timestamp import written
from playhead_projections.accounts import Used
from playhead_projections.evidence.canonical import NUMBER_MAX, hash_of, told
from playhead_projections.evidence.files_written import files_written, names_its_files
from playhead_projections.evidence.gathered import Erasure, Gathered, Operation, object_in

SCHEMA: Final = "receipt-2026-04-25"
STATES: Final = {"completed": "SUCCEEDED", "failed": "FAILED", "cancelled": "CANCELED"}
TIERS: Final = ("shadow", "suggest", "act_with_approval", "act_auto")
CURRENCY: Final = "USD"
NOBODY: Final = "playhead"
"""Whose decision it is where nobody's hand was in it: time ran out."""

UNKNOWN: Final = "unknown"
"""Whose decision it is where nobody said it, or where that was erased."""

_CALLS: Final = {"completed": "succeeded", "failed": "failed"}
_HANDOFFS: Final = {"completed": "completed", "failed": "failed"}
_MICROS: Final = 1_000_000
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def receipt(run: Gathered, *, issuer: str, proof: dict[str, Any]) -> dict[str, Any]:
    """The receipt of a run that is over. `proof` goes to `metadata.playhead`.

    Raises `BadValue` for one that is not over.
    """
    document = unhashed(run, issuer=issuer, proof=proof)
    document["chain"]["receipt_hash"] = receipt_hash(document)
    return document


def unhashed(run: Gathered, *, issuer: str, proof: dict[str, Any]) -> dict[str, Any]:
    """A receipt before its hash stands in it."""
    if not run.over or run.first is None or run.last is None:
        raise BadValue(f"run {run.run} is not over, so there is no receipt of it.", found=run.life.status)
    started = run.started
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "receipt_id": id_of(run.run),
        "subject": {"object": "task", "id": run.run},
        "issuer": _told(id=issuer, kind="harness", name="playhead", version=started and started.playhead),
        "issued_at": written(run.last.at),
        "identifiers": _told(
            workspace_ref=issuer,
            session_id=(started and started.parent) or run.run,
            task_id=run.run,
            persona_ref=run.life.persona,
            branch_id=f"run/{run.forked.get('run')}@{run.forked.get('event')}" if run.forked else None,
        ),
        "lifecycle": _lifecycle(run),
        "approvals": [
            {**entry, **_from_elsewhere(one, entry)}
            for one in run.of_kind("approval")
            for entry in approvals_of(one)
        ],
        "trust": _trust(run),
        "autonomy_budget": _budget(run),
        "replay_input": _replay_input(run),
        "model_route": _route(run),
        "cost": _cost(run),
        "side_effects": {
            "fs_writes": list(files_written(one for one in run.of_kind("tool") if not one.copied)),
            "network_egress": list(_egress(run)),
            "tool_calls": [call_of(one) for one in run.of_kind("tool")],
            "a2a_handoffs": [_handoff(one) for one in run.of_kind("child") if not one.copied],
        },
        "final_artifacts": list(_artifacts(run)),
        "deltas": list(_deltas(run)),
        "chain": _told(previous_receipt_hash=None, merkle_root=proof.get("merkle_root")),
        "redactions": list(redactions_of(run)),
        "signatures": [],
        "metadata": {"playhead": {**proof, **_told(forked=run.forked or None), "unknown": unknown_of(run)}},
    }
    document["chain"]["previous_receipt_hash"] = None
    return document


def id_of(run: str) -> str:
    """The id of the receipt of a run."""
    return f"receipt_{run}"


def receipt_hash(document: dict[str, Any]) -> str:
    """The hash of a receipt: over all of it but the hash itself and signatures."""
    chain = {key: value for key, value in document["chain"].items() if key != "receipt_hash"}
    return hash_of({**{k: v for k, v in document.items() if k != "signatures"}, "chain": chain})


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    text = (
        files("playhead_projections.evidence").joinpath("schemas", f"{SCHEMA}.schema.json").read_text("utf-8")
    )
    return jsonschema_rs.Draft202012Validator(
        cast("dict[str, Any]", json.loads(text)), offline=True, validate_formats=True
    )


def check(document: Any) -> None:
    """Raise `BadValue` where the public schema does not take a receipt."""
    for error in _validator().iter_errors(document):
        place = "".join(f"/{part}" for part in error.instance_path)
        raise BadValue(f"the receipt is not one of {SCHEMA}: {place or '/'}: {error.message[:300]}.")


# ------------------------------------------------------------------- parts


def _told(**members: Any) -> dict[str, Any]:
    """The members that are known."""
    return {key: value for key, value in members.items() if value not in (None, "")}


def _lifecycle(run: Gathered) -> dict[str, Any]:
    assert run.first is not None
    created, ended = run.first.at, run.life.ended
    return {
        "created_at": written(created),
        "started_at": written(created if run.claimed_at is None else run.claimed_at),
        "completed_at": written(created if ended is None else ended),
        "final_state": STATES[run.life.status],
        "failure": failure_of(run),
    }


def failure_of(run: Gathered) -> dict[str, Any] | None:
    """The error that ended a run, or why it was cancelled; None where neither."""
    if run.life.error is not None:
        return cast("dict[str, Any]", msgspec.to_builtins(run.life.error))
    return _told(reason=run.life.reason) or None if run.life.status == "cancelled" else None


def approvals_of(one: Operation) -> Iterator[dict[str, Any]]:
    """Who said what about one request: all who agreed, and who or what ended it."""
    asked = one.fact if isinstance(one.fact, approvals.ApprovalRequested) else None
    if one.ended is None:
        return
    base = _told(approval_id=asked and asked.request, action=asked.action if asked else one.name)
    quorum = _told(required=asked and asked.quorum)
    ends = {**base, "evidence_hash": told(one.ended.digest), "decided_at": written(one.ended.at)}
    if isinstance(one.end, approvals.ApprovalGranted):
        for grant in one.end.granted:
            proof = {**quorum, "satisfied": len(one.end.granted), **_told(signed=grant.signed, key=grant.key)}
            edited = {"instead_of": grant.reviewer} if grant.edited_by else {}
            who = grant.edited_by or grant.reviewer
            said = {"actor": who, "decision": "approved", "decided_at": written(grant.said_at)}
            yield {**ends, **said, "quorum_proof": {**proof, **edited}}
        return
    for leaf, fact in one.agreed():
        said = {"actor": fact.edited_by or fact.reviewer or UNKNOWN, "decision": "approved"}
        proof = {"evidence_hash": told(leaf.event.digest), "decided_at": written(fact.said_at)}
        yield {**base, **proof, **said, "quorum_proof": quorum}
    match one.ended.type:  # it stands in the envelope, and so outlives what was erased
        case "approval.granted" if len(one.agreed()) < (asked.quorum if asked else 1):
            yield {**ends, "actor": UNKNOWN, "decision": "approved"}
        case "approval.denied":
            no = one.end if isinstance(one.end, approvals.ApprovalDenied) else one.denied()
            yield {**ends, "actor": (no and (no.edited_by or no.reviewer)) or UNKNOWN, "decision": "denied"}
        case "approval.timed_out":
            yield {**ends, "actor": NOBODY, "decision": "timeout"}
        case "operation.cancelled":
            principal = asked.principal if asked else ""
            who = principal or NOBODY if one.cancelled_by is None else one.cancelled_by or UNKNOWN
            yield {**ends, "actor": who, "decision": "canceled"}
        case _:
            return


def _from_elsewhere(one: Operation, entry: dict[str, Any]) -> dict[str, Any]:
    """What is said of an approval that a fork has from elsewhere: nobody was asked in it."""
    return {"quorum_proof": {**(entry.get("quorum_proof") or {}), "copied": True}} if one.copied else {}


def _trust(run: Gathered) -> dict[str, Any]:
    """The strictest tier that the run's policies name, and the one that was decided by last."""
    start = _tier_named(run)
    tiers = {"start_tier": start, "end_tier": run.tiers[-1] if run.tiers else start}
    tiers |= dict.fromkeys(_tiers_unknown(run), TIERS[0])
    policy = f"run/{run.run}@{run.policies[-1][0]}" if run.policies else None
    return _told(**tiers, policy_ref=policy)


def _tier_named(run: Gathered) -> str:
    """What the policies name, else what was decided by first; "" where that was erased."""
    scopes: list[Any] = [scope for _, policy in run.policies for scope in policy.get("autonomy") or ()]
    named: list[str] = [tier for scope in scopes if (tier := object_in(scope).get("tier")) in TIERS]
    return min(named, key=TIERS.index) if named else (run.tiers[0] if run.tiers else TIERS[-1])


def _tiers_unknown(run: Gathered) -> list[str]:
    """Members of `trust` that say what was erased. What is unknown is never told as the laxest."""
    policies = [one for one in run.erasures.values() if one.type == "policy.narrowed"]
    lost = any(_is_gone(one, "/policy/autonomy") or "/policy" in one.parts for one in policies)
    start = lost or not _tier_named(run)
    end = run.tiers[-1:] == [""] or (start and not run.tiers)
    return [name for name, unknown in (("start_tier", start), ("end_tier", end)) if unknown]


def _budget(run: Gathered) -> dict[str, Any]:
    used, started = run.used, run.started
    assert run.first is not None
    ended = run.first.at if run.life.ended is None else run.life.ended
    consumed = _counts(
        used, tool_calls=len(run.of_kind("tool")), wall_time_ms=max(ended - run.first.at, 0) // 1_000_000
    )
    limit = _told(usd=None if started is None or started.max_micros is None else usd(started.max_micros))
    return {"consumed": consumed, **({"limit": limit} if limit else {})}


def _counts(used: Used, **more: int) -> dict[str, Any]:
    counted = {
        "usd": None if used.cost_micros.value is None else usd(used.cost_micros.value),
        "input_tokens": whole(used.input_tokens.value),
        "output_tokens": whole(used.output_tokens.value),
        **{key: whole(value) for key, value in more.items()},
    }
    return {key: value for key, value in counted.items() if value is not None}


def usd(micros: int) -> float:
    """Millionths as dollars. What is below nothing counts as nothing: the format has no word for it."""
    return max(micros, 0) / _MICROS


def whole(count: int | None) -> int | None:
    """A count, unless no reader of JSON could be sure of it."""
    return count if count is not None and 0 <= count <= NUMBER_MAX else None


def _replay_input(run: Gathered) -> dict[str, Any]:
    assert run.last is not None
    materials: list[dict[str, Any]] = [
        {
            "kind": "event_log",
            "id": f"run/{run.run}",
            "uri": _uri(run, run.last.seq),
            "sha256": told(run.last.digest),
            "metadata": {"events": run.last.seq + 1, "scheme": "playhead.event/1"},
        }
    ]
    lost = [seq for seq, one in sorted(run.erasures.items()) if is_needed(one.type)]
    for one in run.operations.values():
        kind = _MATERIALS.get(one.kind)
        if kind is None or one.ended is None or one.end_hash is None:
            continue
        if one.kind == "tool" and _server(one):
            kind = "mcp_tool_return"
        erased = one.ended.seq in run.erasures
        materials.append(
            {
                "kind": kind,
                "id": one.op,
                "uri": _uri(run, one.ended.seq),
                "sha256": one.end_hash,
                **({"metadata": {"erased": True}} if erased else {}),
            }
        )
    if lost:
        why = f"erased: {', '.join(f'run/{run.run}@{seq}' for seq in lost[:20])}"
        return {"determinism": "unavailable", "materials": materials, "unavailable_reason": why}
    exact = run.started is not None and run.started.mode == "strict"
    return {"determinism": "byte_deterministic" if exact else "best_effort", "materials": materials}


def _is_gone(erasure: Erasure, part: str) -> bool:
    """Whether a part of a payload was erased, or something in it."""
    return not erasure.parts or any(f"{each}/".startswith(f"{part}/") for each in erasure.parts)


_MATERIALS: Final = {
    "model": "llm_provider_response",
    "tool": "host_fact",
    "value": "host_fact",
    "signal": "host_fact",
    "hook": "host_fact",
    "state": "host_fact",
    "child": "host_fact",
}


def _uri(run: Gathered, seq: int) -> str:
    return f"playhead:run/{run.run}@{seq}"


def _server(one: Operation) -> str | None:
    composed = one.fact.composed if isinstance(one.fact, catalog.ToolRequested) else None
    return composed.server if composed is not None else None


def _route(run: Gathered) -> dict[str, Any]:
    """The model that answered most calls, then the one that was asked first."""
    default = run.started.model if run.started else None
    if not run.models:
        chosen = {"provider": default or "none", "model": "none"}
        return {
            "chosen_model": chosen,
            "alternatives_considered": [],
            "route_policy_reason": "no model was asked",
        }
    asked = sorted(run.models.items(), key=lambda item: -item[1].model_calls)
    refs = [
        {
            "provider": client or "unknown",
            "model": model or "unknown",
            "reason": f"{used.model_calls} of {run.used.model_calls} calls",
        }
        for (client, model), used in asked
    ]
    clients = {client for client, _ in run.models}
    why = "the client that the run began with" if clients == {default} else "named by the program"
    return {"chosen_model": refs[0], "alternatives_considered": refs[1:], "route_policy_reason": why}


def _cost(run: Gathered) -> dict[str, Any]:
    """What all models took that were asked, by the program and by hooks."""
    breakdown = [
        _cost_of(client, model, used, **_told(calls_copied=run.models_copied.get((client, model)) or None))
        for (client, model), used in run.models.items()
    ]
    breakdown += [
        _cost_of(client, model, used, asked_by="hooks") for (client, model), used in run.hook_models.items()
    ]
    return {"currency": CURRENCY, "total": cost_of(run), "provider_breakdown": breakdown}


def cost_of(run: Gathered) -> float:
    """What is known of the cost of a run, hooks included."""
    return usd((run.used.cost_micros.value or 0) + (run.hooks.cost_micros.value or 0))


def _cost_of(client: str, model: str, used: Used, **more: Any) -> dict[str, Any]:
    counts = _counts(used)
    return {
        "provider": client or "unknown",
        **_told(model=model),
        "amount": counts.pop("usd", 0),
        **counts,
        "metadata": {
            "calls": used.model_calls,
            "calls_of_unknown_cost": used.cost_micros.unknown,
            **more,
        },
    }


def call_of(one: Operation) -> dict[str, Any]:
    """One call of a tool. `copied` says that a fork has what came of it from elsewhere."""
    fact = one.fact if isinstance(one.fact, catalog.ToolRequested) else None
    more = _told(
        effect=fact and fact.effect,
        side_effect=fact and fact.side_effect,
        server=_server(one),
        resolved_by=getattr(one.end, "resolved_by", None),
    )
    if one.copied:
        more["copied"] = True
    if one.status == "open" or getattr(one.end, "outcome_unknown", False):
        more["outcome"] = "unknown"
    return {
        **_told(
            tool=fact.tool if fact else one.name,
            call_id=one.op,
            status=_CALLS.get(one.status, "canceled"),
            input_hash=one.hash,
            output_hash=one.end_hash if one.status in _CALLS else None,
        ),
        "metadata": {
            "seq": one.asked.seq,
            "ended_seq": one.ended.seq if one.ended else None,
            "attempts": one.attempts,
            **more,
        },
    }


def _egress(run: Gathered) -> Iterator[dict[str, Any]]:
    """What may have left: calls of tools that say they reach the network, and questions to models."""
    for one in run.operations.values():
        fact = one.fact
        if one.copied or one.withheld:
            continue
        if one.kind == "model":
            client = fact.client if isinstance(fact, catalog.ModelCalled) else one.name
            yield {
                "destination": client or "unknown",
                "purpose": "model call",
                "metadata": {"call_id": one.op},
            }
        elif isinstance(fact, catalog.ToolRequested) and (_server(one) or _leaves(fact.side_effect)):
            purpose = fact.side_effect or "tool call"
            yield {
                "destination": _server(one) or f"tool {fact.tool}",
                "purpose": purpose,
                "metadata": {"call_id": one.op},
            }
    for op, client in run.hook_calls:
        about = {"call_id": op}
        yield {"destination": client or "unknown", "purpose": "model call of a hook", "metadata": about}


def _effects_unknown(one: Operation) -> bool:
    """Whether what a call that was carried out did, to files or over the network, was erased."""
    fact = one.fact
    if one.copied or one.withheld:
        return False
    if not isinstance(fact, catalog.ToolRequested):
        return fact is None
    return MARK in (fact.side_effect, fact.tool) or not names_its_files(one)


def _leaves(side_effect: str) -> bool:
    return side_effect.partition(".")[0] == "network"


def _handoff(one: Operation) -> dict[str, Any]:
    fact = one.fact if isinstance(one.fact, catalog.ChildRequested) else None
    status = _HANDOFFS.get(one.status, "accepted")
    over = status == "completed" or (isinstance(one.end, catalog.ChildFailed) and one.end.status != "parked")
    return _told(
        target_agent=fact.persona if fact else one.name,
        task_id=fact.run if fact else one.op,
        status=status,
        receipt_id=id_of(fact.run) if fact and over else None,
    )


def _artifacts(run: Gathered) -> Iterator[dict[str, Any]]:
    """The result of the run, and the last version of each key of state that it wrote."""
    if run.result_hash is not None and run.life.ended_seq is not None:
        uri = _uri(run, run.life.ended_seq)
        yield {"artifact_id": uri, "kind": "result", "uri": uri, "sha256": run.result_hash}
    written_: dict[str, dict[str, Any]] = {}
    for one in run.of_kind("state"):
        asked, end = one.fact, one.end
        if (
            isinstance(asked, state.StateRequested)
            and isinstance(end, state.StateCompleted)
            and asked.action in {"write", "handoff"}
            and not one.copied
        ):
            place = f"state/{asked.root}/{asked.session}/{asked.key}"
            written_[place] = {
                "artifact_id": f"{place}@{end.version}",
                "kind": "handoff" if asked.action == "handoff" else "state",
                "uri": _uri(run, one.asked.seq),
                "sha256": one.hash,
            }
    yield from written_.values()


def _deltas(run: Gathered) -> Iterator[dict[str, Any]]:
    """What a fork changed of the run that it was made from: each edit that it began with, by its digests."""
    found: Any = run.forked.get("edits")
    edits = cast("list[object]", found) if isinstance(found, list) else []
    for number, each in enumerate(edits):
        edit = object_in(each)
        before, after = (_digest(edit.get(side)) for side in ("before", "after"))
        event = edit.get("event")
        yield _told(
            delta_id=f"run/{run.run}@0#{number}",
            operation="replace" if edit.get("before") else "add",
            path=f"/{edit.get('what', '')}/{edit.get('of', '')}",
            override_key=edit.get("key"),
            event_id=None if event is None else f"run/{run.forked.get('run')}@{event}",
            before_sha256=before,
            after_sha256=after,
            reason=run.forked.get("reason"),
        )


def _digest(text: Any) -> str | None:
    """A digest as receipts write it, where it is a whole SHA-256."""
    return f"sha256:{text}" if isinstance(text, str) and _SHA256.fullmatch(text) else None


def redactions_of(run: Gathered) -> Iterator[dict[str, Any]]:
    """What was taken out: payloads that were erased, and secrets that never were in the log."""
    for erasure in run.erasures.values():
        for part in erasure.parts or ("",):
            yield {
                "field": f"run/{run.run}@{erasure.seq}{part}",
                "reason": erasure.reason or "erased",
                "proof_hash": erasure.hash,
            }
    for seq, digest in run.secrets:
        yield {"field": f"run/{run.run}@{seq}", "reason": "a secret", "proof_hash": f"sha256:{digest}"}


def unknown_of(run: Gathered) -> dict[str, Any]:
    """What the receipt cannot say: numbers that a model did not tell, events that only others can read."""
    used, hooks = run.used, run.hooks
    return {
        "cost_of_calls": used.cost_micros.unknown + hooks.cost_micros.unknown,
        "input_tokens_of_calls": used.input_tokens.unknown + hooks.input_tokens.unknown,
        "output_tokens_of_calls": used.output_tokens.unknown + hooks.output_tokens.unknown,
        "events_of_newer_types": run.skipped,
        "calls_denied": run.denied,
        **_told(
            hooks=run.hooks_lost or None,
            effects_of_calls=sum(map(_effects_unknown, run.of_kind("tool"))) or None,
        ),
        **({"trust": tiers} if (tiers := _tiers_unknown(run)) else {}),
    }
